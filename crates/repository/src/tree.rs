//! The files of a repository in memory.

use std::collections::{BTreeMap, BTreeSet};

use secret::Value;

use crate::fault::{Fault, Reason};

/// The maximum size of all files together.
pub const MAX_BYTES: usize = 64 << 20;
/// The maximum number of files.
pub const MAX_FILES: usize = 10_000;
/// The maximum length of a path.
const LONGEST_PATH: usize = 4096;

/// The start of the file that Git LFS stores in place of the real one.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// The files of a repository, by path.
///
/// A path is relative, uses `/`, and has no empty, `.` or `..` component. Links and submodules are not followed: only their paths
/// are kept.
#[derive(Default)]
pub struct Tree {
    files: BTreeMap<String, Value>,
    links: BTreeSet<String>,
    submodules: BTreeSet<String>,
    bytes: usize,
}

impl Tree {
    /// Adds a file.
    pub fn insert(&mut self, path: &str, content: Value) -> Result<(), Fault> {
        let path = validated(path)?;
        let fault = |reason, message: String| Err(Fault::new(&path, reason, message));
        if self.files.contains_key(&path) || self.links.contains(&path) {
            return fault(Reason::DuplicatePath, "the path occurs twice".to_owned());
        }
        let bytes = self.bytes + content.expose().len();
        if self.files.len() >= MAX_FILES {
            return fault(Reason::TooLarge, format!("more than {MAX_FILES} files"));
        }
        if bytes > MAX_BYTES {
            return Err(too_large(&path));
        }
        self.bytes = bytes;
        self.files.insert(path, content);
        Ok(())
    }

    /// Adds the path of a symbolic link.
    pub fn insert_link(&mut self, path: &str) -> Result<(), Fault> {
        if self.links.len() < MAX_FILES {
            self.links.insert(validated(path)?);
        }
        Ok(())
    }

    /// Adds the path of a submodule.
    pub fn insert_submodule(&mut self, path: &str) -> Result<(), Fault> {
        if self.submodules.len() < MAX_FILES {
            self.submodules.insert(validated(path)?);
        }
        Ok(())
    }

    /// Returns the paths of all files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the content of a file.
    pub fn get(&self, path: &str) -> Result<&Value, Fault> {
        let file = self.files.get(path).ok_or_else(|| self.missing(path))?;
        if file.expose().starts_with(LFS_POINTER) {
            let message = "is stored with Git LFS, which is not read: store the file in Git itself";
            return Err(Fault::new(path, Reason::LfsPointer, message));
        }
        Ok(file)
    }

    /// Explains why there is no file or folder of this path.
    pub(crate) fn missing(&self, path: &str) -> Fault {
        let ends = path.match_indices('/').map(|(end, _)| end);
        let starts: Vec<&str> = ends
            .chain([path.len()])
            .filter_map(|end| path.get(..end))
            .collect();
        if starts.iter().any(|start| self.links.contains(*start)) {
            let message = "is a symbolic link, or below one; links are not followed: use the path of the file";
            return Fault::new(path, Reason::SymbolicLink, message);
        }
        if starts.iter().any(|start| self.submodules.contains(*start)) {
            let message = "is in a submodule, which is not read: make the submodule's repository a source of its own";
            return Fault::new(path, Reason::Submodule, message);
        }
        let message = if self.has_folder(path) {
            "is a folder; a file is needed"
        } else {
            "does not exist in the repository"
        };
        Fault::new(path, Reason::NotFound, message)
    }

    /// True if there is a file below this folder. The empty path is the root.
    pub(crate) fn has_folder(&self, folder: &str) -> bool {
        self.below(folder).next().is_some()
    }

    /// True if there is a file or link of this path.
    pub(crate) fn is_present(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.links.contains(path)
    }

    /// Returns the paths of the files below a folder.
    pub(crate) fn below(&self, folder: &str) -> impl Iterator<Item = &str> {
        let start = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let range = self.files.range(start.clone()..);
        range
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(&start))
    }
}

pub(crate) fn too_large(path: &str) -> Fault {
    let message = format!(
        "the files that are needed have more than {} MiB together",
        MAX_BYTES >> 20
    );
    Fault::new(path, Reason::TooLarge, message)
}

/// Returns the path without `.` components at its start and without a `/` at its end.
pub(crate) fn validated(path: &str) -> Result<String, Fault> {
    let invalid = |message: &str| Fault::new("", Reason::InvalidPath, message);
    let inner = path.trim_end_matches('/');
    let inner = inner.strip_prefix("./").unwrap_or(inner);
    if inner.is_empty() || path.len() > LONGEST_PATH {
        return Err(invalid("a path is empty or longer than 4,096 bytes"));
    }
    if inner.chars().any(|c| c.is_control() || c == '\\') {
        return Err(invalid(
            "a path contains a control character or a backslash",
        ));
    }
    if inner.starts_with('/') {
        return Err(invalid("a path is absolute"));
    }
    if inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(invalid("a path contains `..` or an empty component"));
    }
    Ok(inner.to_owned())
}

/// Returns the path that `relative` has as seen from `folder`: `base/../other` becomes `other`.
pub(crate) fn resolve(folder: &str, relative: &str) -> Result<String, Fault> {
    let fault = |reason, message: &str| Err(Fault::new(folder, reason, message));
    if relative.starts_with('/') {
        return fault(
            Reason::OutsideRepository,
            "refers to an absolute path; use one relative to the repository",
        );
    }
    if relative.len() > LONGEST_PATH || relative.chars().any(|c| c.is_control() || c == '\\') {
        return fault(
            Reason::InvalidPath,
            "refers to a path that is too long, or contains a control character or a backslash",
        );
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return fault(
                        Reason::OutsideRepository,
                        "refers to a path outside the repository",
                    );
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Returns the folder and the name of a path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for path in paths {
            tree.insert(path, Value::from("x")).expect("a valid path");
        }
        tree
    }

    #[test]
    fn paths_are_relative_and_stay_inside() {
        for path in [
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/./b",
            "",
            "./",
            "a\\b",
            "a\nb",
            "a\0",
            "../a",
        ] {
            let fault = Tree::default()
                .insert(path, Value::default())
                .expect_err(path);
            assert_eq!(fault.reason, Reason::InvalidPath, "{path}");
        }
        assert!(tree(&["./a/b", "c/"]).paths().eq(["a/b", "c"]));
    }

    #[test]
    fn a_path_occurs_once() {
        let fault = tree(&["a"])
            .insert("./a", Value::default())
            .expect_err("twice");
        assert_eq!(fault.reason, Reason::DuplicatePath);
    }

    #[test]
    fn size_and_count_are_limited() {
        let mut large = Tree::default();
        large
            .insert("a", Value::new(vec![0; MAX_BYTES]))
            .expect("the limit");
        assert_eq!(
            large
                .insert("b", Value::from("x"))
                .expect_err("above")
                .reason,
            Reason::TooLarge
        );
        let mut many = Tree::default();
        for n in 0..MAX_FILES {
            many.insert(&n.to_string(), Value::default())
                .expect("the limit");
        }
        assert_eq!(
            many.insert("x", Value::default())
                .expect_err("above")
                .reason,
            Reason::TooLarge
        );
    }

    #[test]
    fn missing_file_says_why() {
        let mut tree = tree(&["a/b"]);
        tree.insert_link("link").expect("a valid path");
        tree.insert_submodule("module").expect("a valid path");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
        tree.insert("large", Value::from(pointer)).expect("a file");
        let reason = |path| tree.get(path).err().map(|fault| fault.reason);
        assert_eq!(reason("link"), Some(Reason::SymbolicLink));
        assert_eq!(reason("link/x"), Some(Reason::SymbolicLink));
        assert_eq!(reason("a"), Some(Reason::NotFound));
        assert_eq!(reason("linked"), Some(Reason::NotFound));
        assert_eq!(reason("a/b"), None);
        assert_eq!(reason("module/x"), Some(Reason::Submodule));
        assert_eq!(reason("modules"), Some(Reason::NotFound));
        assert_eq!(reason("large"), Some(Reason::LfsPointer));
    }

    #[test]
    fn relative_paths_do_not_leave_the_repository() {
        assert_eq!(resolve("a/b", "../c/./d").as_deref(), Ok("a/c/d"));
        assert_eq!(resolve("", ".").as_deref(), Ok(""));
        for path in ["../../..", "/etc/passwd", "../../../a/b"] {
            let fault = resolve("a/b", path).expect_err(path);
            assert_eq!(fault.reason, Reason::OutsideRepository);
        }
    }

    #[test]
    fn folders_hold_only_files_below_them() {
        let tree = tree(&["ab/x", "a/x", "a/y/z", "a-b"]);
        assert!(tree.below("a").eq(["a/x", "a/y/z"]));
        assert!(tree.has_folder("") && tree.has_folder("a/y") && !tree.has_folder("a/x"));
    }
}
