//! A folder in memory for the files that a program reads.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{publish::fault::Fault, random};

/// Where folders are made, if it is in memory.
const PLACES: [&str; 2] = ["/dev/shm", "/tmp"];
/// How the names of folders start.
const PREFIX: &str = "eso-sync-";

/// A folder in memory that only this user can read. It is wiped and removed when dropped.
pub(in crate::publish) struct Folder {
    path: PathBuf,
    files: Vec<PathBuf>,
    /// Locked while this process lives.
    _lock: File,
}

impl Folder {
    pub(in crate::publish) fn create() -> Result<Self, Fault> {
        let places = PLACES.iter().map(Path::new);
        let mut places = places.filter(|place| is_memory(place));
        let made = places.find_map(|place| {
            remove_abandoned(place);
            Self::create_in(place).ok()
        });
        made.ok_or_else(|| {
            let message = "the program needs a writable folder in memory for decrypted files: mount a tmpfs (in Kubernetes an `emptyDir` with \
                           `medium: Memory`) at /dev/shm";
            Fault::new("no-memory-folder", message)
        })
    }

    fn create_in(place: &Path) -> io::Result<Self> {
        let random = random::key().map_err(|_| io::ErrorKind::Other)?;
        let name = random
            .iter()
            .take(8)
            .fold(PREFIX.to_owned(), |name, byte| format!("{name}{byte:02x}"));
        let path = place.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::open(&path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            path,
            files: Vec::new(),
            _lock: lock,
        })
    }

    pub(in crate::publish) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a file. The path has no `..`, because it comes from a tree or from this program.
    pub(in crate::publish) fn add(&mut self, path: &str, content: &[u8]) -> Result<PathBuf, Fault> {
        let path = self.path.join(path);
        self.files.push(path.clone());
        let written = write(&path, content);
        written.map(|()| path).map_err(|error| {
            let kind = error.kind();
            let message = format!("the folder in memory cannot be written: {kind}. It needs room for all files of the repository");
            Fault::new("no-memory-folder", message)
        })
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)
}

impl Drop for Folder {
    fn drop(&mut self) {
        for file in &self.files {
            // What cannot be overwritten is still removed.
            drop(wipe(file));
        }
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Overwrites a file with zeros. In memory, they take the place of its content.
fn wipe(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut rest = file.metadata()?.len();
    let zeros = [0; 8192];
    while rest > 0 {
        let length = rest.min(8192);
        let part = zeros.get(..usize::try_from(length).unwrap_or_default());
        file.write_all(part.unwrap_or_default())?;
        rest -= length;
    }
    Ok(())
}

/// Removes the folders of processes that were killed.
fn remove_abandoned(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_ours || !is_folder {
            continue;
        }
        // The folder of another user cannot be opened.
        if let Ok(folder) = File::open(entry.path())
            && flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// True if files in this folder are never written to a disk.
#[cfg(target_os = "linux")]
fn is_memory(folder: &Path) -> bool {
    // TMPFS_MAGIC
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_type == 0x0102_1994)
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_in_memory_private_and_removed() {
        let mut folder = Folder::create().unwrap_or_else(|fault| unreachable!("{}", fault.message));
        let file = folder
            .add("a/b", b"hunter2")
            .unwrap_or_else(|fault| unreachable!("{}", fault.message));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&file)), (0o700, 0o600));
        assert!(is_memory(folder.path()));
        wipe(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), [0; 7]);
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_of_a_killed_process_is_removed_by_the_next_one() {
        let place = tempfile::tempdir().unwrap();
        let abandoned = place.path().join(format!("{PREFIX}abandoned"));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("a"), "hunter2").unwrap();
        let other = place.path().join("other");
        fs::create_dir(&other).unwrap();
        let alive = Folder::create_in(place.path()).unwrap();
        remove_abandoned(place.path());
        assert!(!abandoned.exists());
        assert!(other.exists() && alive.path().exists());
    }
}
