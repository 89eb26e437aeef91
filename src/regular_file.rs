//! Reads files whose paths are chosen by a policy or by a repository: only regular ones, which end, and only up to a size.

use std::{fs::File, io, io::Read as _, path::Path};

use rustix::fs::{Mode, OFlags};
use secret::Value;
use zeroize::Zeroizing;

/// Which links are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// All, as in a mounted Secret of Kubernetes.
    Followed,
    /// The file itself must not be one.
    Refused,
}

/// The content of a regular file of at most `largest` bytes.
pub(crate) fn read(path: &Path, largest: u64, links: Links) -> io::Result<Value> {
    // NONBLOCK: opening a pipe does not wait for a writer.
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if links == Links::Refused {
        flags |= OFlags::NOFOLLOW;
    }
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let what = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let too_large = || {
        let what = format!("it is larger than {largest} bytes");
        io::Error::new(io::ErrorKind::FileTooLarge, what)
    };
    if metadata.len() > largest {
        return Err(too_large());
    }
    // Room for one byte more, so that the buffer never grows, which would leave a copy of its bytes behind.
    let room = usize::try_from(metadata.len()).unwrap_or_default() + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    // Files of `/proc` have a size of 0, and others may grow.
    file.take(largest + 1).read_to_end(&mut content)?;
    if content.len() as u64 > largest {
        return Err(too_large());
    }
    Ok(Value::new(std::mem::take(&mut *content)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_of_the_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "12345").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), Mode::RUSR).unwrap();
        let length = |name: &str, largest, links| {
            let read = read(&path(name), largest, links);
            read.ok().map(|value| value.expose().len())
        };
        assert_eq!(length("file", 5, Links::Refused), Some(5));
        assert_eq!(length("link", 5, Links::Followed), Some(5));
        assert_eq!(length("link", 5, Links::Refused), None);
        assert_eq!(length("file", 4, Links::Followed), None);
        for name in ["zero", "pipe", ".", "missing"] {
            assert_eq!(length(name, 5, Links::Followed), None, "{name}");
        }
    }
}
