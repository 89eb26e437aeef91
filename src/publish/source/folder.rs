//! A folder that contains a checkout.

use std::path::Path;

use repository::Tree;

use super::{Opened, Opener, without_credentials};
use crate::{policy::publish::PathSource, publish::fault::Fault};

impl Opener<'_> {
    pub(super) fn folder(
        &self,
        PathSource { dir, revision }: &PathSource,
        is_needed: &dyn Fn(&str) -> bool,
    ) -> Result<Opened, Fault> {
        let tree = Tree::from_directory(dir, is_needed).map_err(Fault::of_file)?;
        let known = revision
            .clone()
            .or_else(|| self.github_sha.map(str::to_owned));
        Ok(Opened {
            tree,
            repository: remote(dir).unwrap_or_else(|| dir.display().to_string()),
            revision: known.or_else(|| head(dir)).unwrap_or_default(),
            history: None,
        })
    }
}

/// The commit that `.git/HEAD` names.
fn head(dir: &Path) -> Option<String> {
    let head = small(&dir.join(".git/HEAD"))?;
    let Some(name) = head.strip_prefix("ref: ") else {
        return commit(&head);
    };
    let is_good = |part: &str| !matches!(part, "" | "." | "..");
    if !name.starts_with("refs/") || !name.split('/').all(is_good) {
        return None;
    }
    let loose = small(&dir.join(".git").join(name)).and_then(|text| commit(&text));
    loose.or_else(|| {
        let packed = std::fs::read_to_string(dir.join(".git/packed-refs")).ok()?;
        let line = packed
            .lines()
            .find(|line| line.ends_with(&format!(" {name}")))?;
        commit(line.split(' ').next()?)
    })
}

fn commit(text: &str) -> Option<String> {
    let is_hash =
        matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

/// The address of the remote `origin`.
fn remote(dir: &Path) -> Option<String> {
    let config = std::fs::read_to_string(dir.join(".git/config")).ok()?;
    let mut lines = config.lines().map(str::trim);
    lines.find(|line| *line == "[remote \"origin\"]")?;
    let url = lines
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| line.strip_prefix("url = "))?;
    Some(without_credentials(url))
}

/// The trimmed text of a small file.
fn small(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    (text.len() <= 4096).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_of_a_checkout_is_what_its_head_names() {
        let dir = tempfile::tempdir().unwrap();
        let git = dir.path().join(".git");
        std::fs::create_dir_all(git.join("refs/heads")).unwrap();
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let write = |name: &str, text: &str| std::fs::write(git.join(name), text).unwrap();
        write("HEAD", "ref: refs/heads/main\n");
        assert_eq!(head(dir.path()), None);
        write(
            "packed-refs",
            &format!("# pack-refs\n{hash} refs/heads/main\n"),
        );
        assert_eq!(head(dir.path()).as_deref(), Some(hash));
        write("refs/heads/main", &hash.replace('0', "1"));
        assert_eq!(head(dir.path()).unwrap(), hash.replace('0', "1"));
        write("HEAD", "ref: refs/../../../etc/passwd\n");
        assert_eq!(head(dir.path()), None);
        write("HEAD", hash);
        assert_eq!(head(dir.path()).as_deref(), Some(hash));
        write(
            "config",
            "[core]\n[remote \"origin\"]\n\turl = https://u:hunter2@git.example/x.git\n",
        );
        assert!(!remote(dir.path()).unwrap().contains("hunter2"));
    }
}
