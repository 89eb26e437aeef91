//! The files of a commit.

use crate::{
    id::Id,
    objects::Objects,
    pack::Kind,
    refusal::{Reason, Refused},
};

/// The maximum number of files and folders.
pub const MAX_ENTRIES: usize = 500_000;
/// The maximum depth of folders.
pub const MAX_DEPTH: usize = 64;

/// Something in a folder that is no folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The path, with `/` between its parts. It may contain anything else that is UTF-8.
    pub path: String,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    File(Id),
    /// A symbolic link.
    Link,
    Submodule,
}

impl Objects {
    /// The files, links and submodules of a commit, in the order of the repository. Names that are not UTF-8 are left out.
    pub fn list(&self, commit: Id) -> Result<Vec<Listed>, Refused> {
        let text = self.get(commit, Kind::Commit).ok_or_else(|| {
            Refused::damaged(
                "the server did not send this commit. If the revision is the ID of a tag, write the tag's name or its commit",
            )
        })?;
        let line = text.expose().split(|byte| *byte == b'\n').next();
        let tree = line.and_then(|line| line.strip_prefix(b"tree "));
        let tree = tree.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        let tree = tree.ok_or_else(|| Refused::damaged("the commit is invalid"))?;
        let mut walk = Walk {
            objects: self,
            entries: 0,
            listed: Vec::new(),
        };
        walk.folder(tree, "", 0)?;
        Ok(walk.listed)
    }
}

struct Walk<'a> {
    objects: &'a Objects,
    entries: usize,
    listed: Vec<Listed>,
}

impl Walk<'_> {
    fn folder(&mut self, tree: Id, path: &str, depth: usize) -> Result<(), Refused> {
        if depth > MAX_DEPTH {
            let message = format!("the repository has more than {MAX_DEPTH} levels of folders");
            return Err(Refused::new(Reason::TooLarge, message));
        }
        let missing = || Refused::damaged("the server did not send all folders of the commit");
        let mut rest = self
            .objects
            .get(tree, Kind::Tree)
            .ok_or_else(missing)?
            .expose();
        while let Some((entry, after)) = Entry::split(rest) {
            rest = after;
            // Small objects can describe a very large tree, because a folder can occur in many places.
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                let message =
                    format!("the repository has more than {MAX_ENTRIES} files and folders");
                return Err(Refused::new(Reason::TooLarge, message));
            }
            let Ok(name) = std::str::from_utf8(entry.name) else {
                continue;
            };
            let path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            let content = match entry.mode {
                b"40000" => {
                    self.folder(entry.id, &path, depth + 1)?;
                    continue;
                }
                b"120000" => Content::Link,
                b"160000" => Content::Submodule,
                mode if mode.starts_with(b"100") => Content::File(entry.id),
                _ => return Err(Refused::damaged("a folder of the commit is invalid")),
            };
            self.listed.push(Listed { path, content });
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(Refused::damaged("a folder of the commit is invalid"))
        }
    }
}

struct Entry<'a> {
    mode: &'a [u8],
    name: &'a [u8],
    id: Id,
}

impl<'a> Entry<'a> {
    /// The first entry of a folder, and the rest. None at the end, or if the folder is invalid.
    fn split(folder: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let until = |bytes: &'a [u8], end: u8| {
            let at = bytes.iter().position(|byte| *byte == end)?;
            Some((bytes.get(..at)?, bytes.get(at + 1..)?))
        };
        let (mode, rest) = until(folder, b' ')?;
        let (name, rest) = until(rest, 0)?;
        let (id, rest) = rest.split_at_checked(Id::LENGTH)?;
        let id = Id::from_bytes(id)?;
        Some((Self { mode, name, id }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::tests::{BLOB, Builder, COMMIT, TREE, id_of};

    fn raw(id: Id) -> Vec<u8> {
        let digits = id.to_string();
        let pairs = digits.as_bytes().chunks(2);
        pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn entry(mode: &str, name: &[u8], id: Id) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, b"\0", &raw(id)].concat()
    }

    /// The answer of a server with these trees and one file. The last tree is that of the commit.
    fn answer(trees: &[Vec<u8>]) -> (Objects, Id) {
        let mut builder = Builder::default();
        builder.object(BLOB, b"A=1\n");
        for tree in trees {
            builder.object(TREE, tree);
        }
        let tree = id_of("tree", trees.last().expect("a tree"));
        let commit = format!("tree {tree}\nauthor x\n\nmessage\n");
        builder.object(COMMIT, commit.as_bytes());
        let mut answer = b"000dpackfile\n".to_vec();
        for part in builder.finish().chunks(1000) {
            answer.extend_from_slice(format!("{:04x}\x01", part.len() + 5).as_bytes());
            answer.extend_from_slice(part);
        }
        answer.extend_from_slice(b"0000");
        let mut objects = Objects::default();
        objects.add(&answer).expect("a pack");
        (objects, id_of("commit", commit.as_bytes()))
    }

    #[test]
    fn files_links_and_submodules_are_listed_and_not_followed() {
        let file = id_of("blob", b"A=1\n");
        let inner = entry("100755", b"run", file);
        let root = [
            entry("100644", b"a.env", file),
            entry("40000", b"dir", id_of("tree", &inner)),
            entry("120000", b"link", file),
            entry("100644", b"not \xff UTF-8", file),
            entry("160000", b"module", file),
        ]
        .concat();
        let (objects, commit) = answer(&[inner, root]);
        let listed = objects.list(commit).unwrap();
        let listed: Vec<_> = listed.iter().map(|it| (&*it.path, it.content)).collect();
        assert_eq!(
            listed,
            [
                ("a.env", Content::File(file)),
                ("dir/run", Content::File(file)),
                ("link", Content::Link),
                ("module", Content::Submodule),
            ]
        );
        assert!(
            objects
                .file(file)
                .is_some_and(|value| value.expose() == b"A=1\n")
        );
        assert!(objects.file(commit).is_none());
    }

    fn refused(trees: &[Vec<u8>]) -> Reason {
        let (objects, commit) = answer(trees);
        objects.list(commit).expect_err("refused").reason
    }

    #[test]
    fn a_small_pack_cannot_describe_a_huge_tree() {
        let mut trees = vec![entry("100644", b"a", id_of("blob", b"A=1\n"))];
        for _ in 0..12 {
            let below = id_of("tree", trees.last().unwrap());
            let names = (b'a'..=b'j').map(|name| entry("40000", &[name], below));
            trees.push(names.collect::<Vec<_>>().concat());
        }
        assert_eq!(refused(&trees), Reason::TooLarge);
    }

    #[test]
    fn depth_is_limited() {
        let mut trees = vec![entry("100644", b"a", id_of("blob", b"A=1\n"))];
        for _ in 0..=MAX_DEPTH {
            let below = id_of("tree", trees.last().unwrap());
            trees.push(entry("40000", b"a", below));
        }
        assert_eq!(refused(&trees), Reason::TooLarge);
    }

    #[test]
    fn an_invalid_or_missing_folder_is_refused() {
        let file = id_of("blob", b"A=1\n");
        for tree in [
            entry("40000", b"missing", file),
            entry("777", b"a", file),
            b"100644 a\0short".to_vec(),
            b"100644".to_vec(),
        ] {
            assert_eq!(refused(&[tree]), Reason::InvalidPack);
        }
        let (objects, _) = answer(&[Vec::new()]);
        assert_eq!(
            objects.list(file).expect_err("no commit").reason,
            Reason::InvalidPack
        );
    }
}
