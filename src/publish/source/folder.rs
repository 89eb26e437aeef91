//! A folder that contains a checkout.

use std::path::{Component, Path, PathBuf};

use repository::Tree;

use super::{Opened, Opener, without_credentials};
use crate::{
    pattern::Wildcard,
    policy::publish::PathSource,
    publish::fault::Fault,
    regular_file::{self, Links},
};

/// The largest configuration and the largest list of references of a checkout that are read.
const LARGEST_CONFIG: u64 = 1 << 20;
const MOST_REFERENCES: u64 = 16 << 20;

impl Opener<'_> {
    pub(super) fn folder(
        &self,
        PathSource { dir, revision }: &PathSource,
        is_needed: &dyn Fn(&str) -> bool,
    ) -> Result<Opened, Fault> {
        let tree = match self.permitted {
            None => Tree::from_directory(dir, is_needed),
            Some(permitted) => Tree::from_real_directory(&real(dir, permitted)?, is_needed),
        };
        let tree = tree.map_err(Fault::of_file)?;
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

/// The path of a folder without links, if the flags permit the folder to which they lead. The policy's own text was compared already.
fn real(dir: &Path, permitted: &[Wildcard]) -> Result<PathBuf, Fault> {
    let failed = |error: std::io::Error| {
        let message = format!("the folder cannot be opened: {}", error.kind());
        Fault::new("unreadable", message)
    };
    let real = dir.canonicalize().map_err(failed)?;
    let current = std::env::current_dir().map_err(failed)?;
    let written = current.join(dir);
    let has_links = !real.components().eq(written
        .components()
        .filter(|component| *component != Component::CurDir));
    let word = format!("path/{}", real.display());
    if has_links && !permitted.iter().any(|glob| glob.matches(&word)) {
        let shown = crate::foreign::line(&word);
        let message = format!(
            "a link in `source.path.dir` leads to `{shown}`, which is not permitted by --allow-source. Use another folder, or add --allow-source {shown}"
        );
        return Err(Fault::new("source-not-allowed", message));
    }
    Ok(real)
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
        let packed = text(&dir.join(".git/packed-refs"), MOST_REFERENCES)?;
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
    let config = text(&dir.join(".git/config"), LARGEST_CONFIG)?;
    let mut lines = config.lines().map(str::trim);
    lines.find(|line| *line == "[remote \"origin\"]")?;
    let url = lines
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| line.strip_prefix("url = "))?;
    Some(without_credentials(url))
}

/// The trimmed text of a small file.
fn small(path: &Path) -> Option<String> {
    let text = text(path, 4096)?;
    Some(text.trim().to_owned())
}

/// Who commits or checks out cannot make these files links to others.
fn text(path: &Path, largest: u64) -> Option<String> {
    let content = regular_file::read(path, largest, Links::Refused).ok()?;
    let text = std::str::from_utf8(content.expose()).ok()?;
    Some(text.to_owned())
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

    #[test]
    fn files_of_git_that_are_links_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let git = dir.path().join(".git");
        std::fs::create_dir(&git).unwrap();
        for name in ["HEAD", "config"] {
            std::os::unix::fs::symlink("/dev/zero", git.join(name)).unwrap();
        }
        assert_eq!((head(dir.path()), remote(dir.path())), (None, None));
    }

    #[test]
    fn a_link_leads_only_to_a_folder_that_is_permitted() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["repo/inner", "other"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("../other", root.join("repo/out")).unwrap();
        std::os::unix::fs::symlink("inner", root.join("repo/in")).unwrap();
        let globs = [format!("path/{}/repo/*", root.display()).parse().unwrap()];
        let of = |name: &str| real(&root.join(name), &globs).map_err(|fault| fault.reason);
        for name in ["repo/in", "repo/inner", "repo/./inner"] {
            assert_eq!(of(name), Ok(root.join("repo/inner")), "{name}");
        }
        assert_eq!(of("repo/out"), Err("source-not-allowed"));
        assert_eq!(of("repo/missing"), Err("unreadable"));
        // A relative folder without links was permitted by its own text.
        assert!(real(Path::new("."), &globs).is_ok());
    }
}
