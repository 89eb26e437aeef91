//! Reads a folder on disk.

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use secret::Value;
use zeroize::Zeroizing;

use crate::{
    fault::{Fault, Reason},
    tree::{MAX_BYTES, Tree, too_large},
};

/// The maximum number of files and folders in the folder, including those that are not read.
const MAX_ENTRIES: usize = 500_000;
/// The maximum depth of folders.
const MAX_DEPTH: usize = 64;

impl Tree {
    /// Reads the files of a folder for which `is_needed` returns true. Links in the path of the folder are followed.
    ///
    /// Links in the folder are not followed, so nothing outside the folder is read, even if somebody replaces a folder by a link
    /// meanwhile. `.git` is left out.
    pub fn from_directory(root: &Path, is_needed: &dyn Fn(&str) -> bool) -> Result<Self, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(root, flags, Mode::empty());
        Self::from_opened(opened, is_needed)
    }

    /// Like [`Self::from_directory`], but links in the path of the folder are not followed either.
    pub fn from_real_directory(
        root: &Path,
        is_needed: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        Self::from_opened(open_without_links(root), is_needed)
    }

    fn from_opened(
        root: rustix::io::Result<OwnedFd>,
        is_needed: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        let root = root.map_err(|error| unreadable("", error.into()))?;
        let mut walk = Walk {
            tree: Self::default(),
            is_needed,
            entries: 0,
        };
        walk.folder(&root, "", 0)?;
        Ok(walk.tree)
    }
}

/// Opens a folder, component by component.
fn open_without_links(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let mut folder = rustix::fs::open(start, flags, Mode::empty())?;
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                folder = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
            }
            Component::ParentDir | Component::Prefix(_) => return Err(rustix::io::Errno::INVAL),
        }
    }
    Ok(folder)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(path: &str, error: std::io::Error) -> Fault {
    Fault::new(
        path,
        Reason::Unreadable,
        format!("cannot be read: {}", error.kind()),
    )
}

struct Walk<'a> {
    tree: Tree,
    is_needed: &'a dyn Fn(&str) -> bool,
    entries: usize,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &OwnedFd, path: &str, depth: usize) -> Result<(), Fault> {
        let failed = |error: rustix::io::Errno| unreadable(path, error.into());
        if depth > MAX_DEPTH {
            return Err(Fault::new(
                path,
                Reason::TooLarge,
                format!("is deeper than {MAX_DEPTH} folders"),
            ));
        }
        for entry in Dir::read_from(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b".." | b".git") {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                let message = format!("the folder has more than {MAX_ENTRIES} files");
                return Err(Fault::new("", Reason::TooLarge, message));
            }
            // A name that is not UTF-8 cannot be named by a policy.
            let Ok(text) = name.to_str() else { continue };
            let below = if path.is_empty() {
                text.to_owned()
            } else {
                format!("{path}/{text}")
            };
            let status =
                rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory => {
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let opened = rustix::fs::openat(folder, name, flags, Mode::empty());
                    let inner = opened.map_err(|error| unreadable(&below, error.into()))?;
                    self.folder(&inner, &below, depth + 1)?;
                }
                FileType::Symlink => self.tree.insert_link(&below)?,
                FileType::RegularFile if (self.is_needed)(&below) => {
                    self.file(folder, name, &below)?;
                }
                FileType::RegularFile
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: &OwnedFd, name: &std::ffi::CStr, path: &str) -> Result<(), Fault> {
        let failed = |error| unreadable(path, error);
        // NONBLOCK: if the file became a pipe, opening it does not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(folder, name, flags, Mode::empty());
        let opened = opened.map_err(|error| failed(error.into()))?;
        let status = rustix::fs::fstat(opened.as_fd()).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(Fault::new(
                path,
                Reason::NotARegularFile,
                "is not a regular file",
            ));
        }
        let size = usize::try_from(status.st_size).unwrap_or(usize::MAX);
        if size > MAX_BYTES {
            return Err(too_large(path));
        }
        // Room for one byte more, so that the buffer never grows, which would leave a copy of its bytes behind.
        let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
        let mut limited = File::from(opened).take(status.st_size.unsigned_abs() + 1);
        limited.read_to_end(&mut content).map_err(failed)?;
        if content.len() > size {
            return Err(Fault::new(
                path,
                Reason::Unreadable,
                "grew while it was read",
            ));
        }
        self.tree
            .insert(path, Value::new(std::mem::take(&mut *content)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let outside = tempfile::tempdir().expect("a folder");
        let root = outside.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).expect("folders");
        std::fs::create_dir_all(root.join(".git")).expect("a folder");
        for file in ["root/a/b/c.env", "root/top", "root/.git/config", "secret"] {
            std::fs::write(outside.path().join(file), file).expect("a file");
        }
        outside
    }

    #[test]
    fn folder_is_read_without_git() {
        let outside = folder();
        let tree = Tree::from_directory(&outside.path().join("root"), &|_| true).expect("readable");
        assert!(tree.paths().eq(["a/b/c.env", "top"]));
        assert_eq!(tree.get("top").expect("a file").expose(), b"root/top");
    }

    #[test]
    fn only_needed_files_are_read() {
        let outside = folder();
        let root = outside.path().join("root");
        let tree = Tree::from_directory(&root, &|path| path == "a/b/c.env").expect("readable");
        assert!(tree.paths().eq(["a/b/c.env"]));
    }

    #[test]
    fn links_are_not_followed() {
        let outside = folder();
        let root = outside.path().join("root");
        symlink(outside.path().join("secret"), root.join("file")).expect("a link");
        symlink(outside.path(), root.join("folder")).expect("a link");
        symlink(".", root.join("loop")).expect("a link");
        let tree = Tree::from_directory(&root, &|_| true).expect("readable");
        assert!(tree.paths().eq(["a/b/c.env", "top"]));
        for path in ["file", "folder/secret", "loop/top"] {
            let fault = tree.get(path).err().expect("not read");
            assert_eq!(fault.reason, Reason::SymbolicLink, "{path}");
        }
    }

    #[test]
    fn the_root_may_be_a_link() {
        let outside = folder();
        symlink("root", outside.path().join("current")).expect("a link");
        let tree =
            Tree::from_directory(&outside.path().join("current"), &|_| true).expect("readable");
        assert!(tree.get("top").is_ok());
    }

    #[test]
    fn real_folder_has_no_link_in_its_path() {
        let outside = folder();
        let real = outside.path().canonicalize().expect("a path");
        symlink("root", real.join("current")).expect("a link");
        let opened = |path: &str| Tree::from_real_directory(&real.join(path), &|_| true);
        assert!(opened("root").is_ok_and(|tree| tree.get("top").is_ok()));
        for path in ["current", "current/a", "root/../root", "nowhere"] {
            let fault = opened(path).err().map(|fault| fault.reason);
            assert_eq!(fault, Some(Reason::Unreadable), "{path}");
        }
    }

    #[test]
    fn special_files_are_left_out() {
        let outside = folder();
        let root = outside.path().join("root");
        let _listener =
            std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket");
        let tree = Tree::from_directory(&root, &|_| true).expect("readable");
        assert!(tree.get("socket").is_err() && tree.get("top").is_ok());
    }

    #[test]
    fn missing_folder_is_a_fault() {
        let outside = folder();
        let fault = Tree::from_directory(&outside.path().join("nowhere"), &|_| true).err();
        assert_eq!(fault.map(|fault| fault.reason), Some(Reason::Unreadable));
        let file = Tree::from_directory(&outside.path().join("secret"), &|_| true).err();
        assert_eq!(file.map(|fault| fault.reason), Some(Reason::Unreadable));
    }

    #[test]
    fn size_is_limited_before_reading() {
        let outside = folder();
        let root = outside.path().join("root");
        let file = File::create(root.join("sparse")).expect("a file");
        file.set_len(MAX_BYTES as u64 + 1).expect("a sparse file");
        let fault = Tree::from_directory(&root, &|_| true)
            .err()
            .expect("too large");
        assert_eq!(
            (fault.reason, fault.file.as_str()),
            (Reason::TooLarge, "sparse")
        );
    }
}
