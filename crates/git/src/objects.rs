//! The objects of a commit.

use std::collections::{HashMap, HashSet};

use secret::Value;

use crate::{
    budget::{Budget, MAX_BYTES},
    id::Id,
    pack::{self, Kind, Object},
    refusal::Refused,
};

/// Objects that a server sent, by the ID that was computed from their content.
pub struct Objects {
    by_id: HashMap<Id, Object>,
    budget: Budget,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            budget: Budget::new(MAX_BYTES),
        }
    }
}

/// The maximum number of commits of a history that are fetched.
pub const MAX_HISTORY: usize = 10_000;

impl Objects {
    /// True if one of these commits comes before the other, as far as the server sent them.
    pub fn descends(&self, commit: Id, ancestor: Id) -> bool {
        let mut open = vec![commit];
        let mut seen = HashSet::new();
        while let Some(id) = open.pop() {
            let Some(content) = self.get(id, Kind::Commit) else {
                continue;
            };
            for parent in parents(content) {
                if parent == ancestor {
                    return true;
                }
                if seen.insert(parent) {
                    open.push(parent);
                }
            }
        }
        false
    }

    /// Adds the objects in the answer to a fetch.
    pub fn add(&mut self, answer: &[u8]) -> Result<(), Refused> {
        let pack = pack::pack_of(answer)?;
        pack::read(&pack, &mut self.budget, &mut self.by_id)
    }

    /// The content of a file, if the server sent it.
    pub fn file(&self, id: Id) -> Option<&Value> {
        self.get(id, Kind::Blob)
    }

    pub(crate) fn get(&self, id: Id, kind: Kind) -> Option<&Value> {
        let object = self.by_id.get(&id)?;
        (object.kind == kind).then_some(&object.content)
    }
}

/// The parents of a commit. They stand in its header, which ends with an empty line.
fn parents(commit: &Value) -> impl Iterator<Item = Id> + '_ {
    let lines = commit.expose().split(|byte| *byte == b'\n');
    let header = lines.take_while(|line| !line.is_empty());
    header.filter_map(|line| {
        let id = line.strip_prefix(b"parent ")?;
        std::str::from_utf8(id).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::tests::id_of;

    /// A commit with these parents, whose message names other commits.
    fn add(objects: &mut Objects, message: &str, parents: &[Id]) -> Id {
        let parents = parents.iter().map(|id| format!("parent {id}\n"));
        let header: String = parents.collect();
        let text = format!("tree {:040}\n{header}author a\n\n{message}\n", 0);
        let id = id_of("commit", text.as_bytes());
        let (kind, content) = (Kind::Commit, Value::from(text.as_str()));
        objects.by_id.insert(id, Object { kind, content });
        id
    }

    #[test]
    fn only_commits_before_another_are_its_ancestors() {
        let mut objects = Objects::default();
        let first = add(&mut objects, "first", &[]);
        let second = add(&mut objects, "second", &[first]);
        let branch = add(&mut objects, "branch", &[first]);
        // A message is not a parent.
        let lies = add(&mut objects, &format!("parent {second}"), &[branch]);
        let merge = add(&mut objects, "merge", &[branch, second]);
        let beyond: Id = "0123456789012345678901234567890123456789".parse().unwrap();
        let shallow = add(&mut objects, "shallow", &[beyond]);
        for (commit, ancestor, expected) in [
            (second, first, true),
            (merge, first, true),
            (merge, second, true),
            (first, second, false),
            (second, second, false),
            (second, branch, false),
            (lies, second, false),
            (shallow, beyond, true),
            (shallow, first, false),
            (beyond, first, false),
        ] {
            assert_eq!(objects.descends(commit, ancestor), expected);
        }
    }
}
