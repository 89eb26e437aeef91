//! Reads a `.tar.gz` archive, such as the artifact of a Flux source.

use std::{
    collections::HashSet,
    io::{BufReader, ErrorKind, Read},
};

use flate2::bufread::MultiGzDecoder;
use secret::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    fault::{Fault, Reason},
    tree::{MAX_BYTES, MAX_FILES, Tree, too_large, validated},
};

/// The size of a header, and what the size of content is rounded up to.
const BLOCK: usize = 512;
/// The maximum size of an extended header, which holds a long path.
const MAX_EXTENDED: usize = 64 << 10;

impl Tree {
    /// Reads the files of a `.tar.gz` archive for which `is_needed` returns true.
    ///
    /// `digest` is the expected digest of the archive, `sha256:` and 64 hexadecimal digits. It is checked first. An archive
    /// with a link, a special file, or a path that is absolute, contains `..` or occurs twice is refused as a whole. So is an
    /// archive with more than [`MAX_FILES`] entries or [`MAX_BYTES`] of content, needed or not.
    pub fn from_archive(
        archive: &[u8],
        digest: &str,
        is_needed: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        check_digest(archive, digest)?;
        Self::unpack(archive, MAX_BYTES, is_needed)
    }

    fn unpack(
        archive: &[u8],
        max_bytes: usize,
        is_needed: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        if archive.is_empty() {
            return Err(invalid("the archive is empty"));
        }
        let mut reader = ArchiveReader {
            input: BufReader::with_capacity(BLOCK, MultiGzDecoder::new(archive)),
            content_left: max_bytes,
            headers_left: 3 * MAX_FILES,
        };
        let mut tree = Self::default();
        let mut seen = HashSet::new();
        while let Some(Member {
            path,
            size,
            is_folder,
        }) = reader.member()?
        {
            let path = validated(&path)?;
            if seen.len() >= MAX_FILES {
                return Err(too_many());
            }
            // A folder may occur again: some programs write it before each of its files.
            if !seen.insert(path.clone()) && !is_folder {
                return Err(Fault::new(
                    &path,
                    Reason::DuplicatePath,
                    "the path occurs twice",
                ));
            }
            let content = reader.content(size, &path)?;
            if !is_folder && is_needed(&path) {
                tree.insert(&path, content)?;
            }
        }
        Ok(tree)
    }
}

fn check_digest(archive: &[u8], digest: &str) -> Result<(), Fault> {
    let fault = |message: &str| Err(Fault::new("", Reason::DigestMismatch, message));
    let Some(expected) = digest.strip_prefix("sha256:") else {
        return fault("the artifact has no digest of the form sha256:…, so it cannot be verified");
    };
    let actual = hex(&Sha256::digest(archive));
    if expected.eq_ignore_ascii_case(&actual) {
        Ok(())
    } else {
        fault(
            "the artifact's digest is not the one in the status of its source: it was changed on the way or in the store",
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

fn invalid(message: &str) -> Fault {
    Fault::new("", Reason::InvalidArchive, message)
}

fn too_many() -> Fault {
    let message = format!("the archive has more than {MAX_FILES} entries");
    Fault::new("", Reason::TooLarge, message)
}

/// A file or folder in the archive; its content follows in the input.
struct Member {
    path: String,
    size: usize,
    is_folder: bool,
}

struct ArchiveReader<R> {
    input: R,
    content_left: usize,
    headers_left: usize,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads headers up to the next file or folder.
    fn member(&mut self) -> Result<Option<Member>, Fault> {
        let mut extended = Extended::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.kind {
                b'x' => {
                    let records = self.content(header.size.min(MAX_EXTENDED + 1), &header.path)?;
                    extended.add_pax(records.expose())?;
                }
                b'L' => {
                    let name = self.content(header.size.min(MAX_EXTENDED + 1), &header.path)?;
                    extended.add_long_name(name.expose())?;
                }
                // Of all files, such as the commit that `git archive` writes.
                b'g' => {
                    let records = self.content(header.size.min(MAX_EXTENDED + 1), &header.path)?;
                    Extended::default().add_pax(records.expose())?;
                }
                b'0' | 0 | b'5' => {
                    let path = extended.path.unwrap_or(header.path);
                    let is_folder = header.kind == b'5' || path.ends_with('/');
                    let size = extended.size.unwrap_or(header.size);
                    return Ok(Some(Member {
                        path,
                        size,
                        is_folder,
                    }));
                }
                _ => {
                    let path = extended.path.unwrap_or(header.path);
                    let path = validated(&path).unwrap_or_default();
                    let message = "is a link, device or other special file; only regular files are allowed in the archive";
                    return Err(Fault::new(&path, Reason::NotARegularFile, message));
                }
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>, Fault> {
        self.headers_left = self.headers_left.checked_sub(1).ok_or_else(too_many)?;
        let mut block = [0; BLOCK];
        if !self.fill(&mut block)? || block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        Header::parse(&block).map(Some)
    }

    /// Reads content and its padding.
    fn content(&mut self, size: usize, path: &str) -> Result<Value, Fault> {
        self.content_left = self
            .content_left
            .checked_sub(size)
            .ok_or_else(|| too_large(path))?;
        let mut content = Zeroizing::new(vec![0; size]);
        let mut padding = [0; BLOCK];
        let padding = padding
            .get_mut(..size.wrapping_neg() % BLOCK)
            .unwrap_or_default();
        if (size > 0 && !self.fill(&mut content)?)
            || (!padding.is_empty() && !self.fill(padding)?)
        {
            return Err(invalid("the archive is cut off"));
        }
        Ok(Value::new(std::mem::take(&mut *content)))
    }

    /// Fills the buffer. Returns false if the input ends before the first byte.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, Fault> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(invalid("the archive is cut off")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(invalid("the archive is not a valid .tar.gz file")),
            }
        }
        Ok(true)
    }
}

struct Header {
    path: String,
    size: usize,
    kind: u8,
}

impl Header {
    fn parse(block: &[u8; BLOCK]) -> Result<Self, Fault> {
        let field =
            |start: usize, length: usize| block.get(start..start + length).unwrap_or_default();
        let checksum = field(148, 8);
        let sum: usize = block.iter().map(|byte| usize::from(*byte)).sum();
        let own: usize = checksum.iter().map(|byte| usize::from(*byte)).sum();
        if octal(checksum) != Some(sum - own + 8 * usize::from(b' ')) {
            return Err(invalid("a header of the archive has a wrong checksum"));
        }
        let mut path = text(field(0, 100))?;
        let prefix = text(field(345, 155))?;
        if field(257, 6) == b"ustar\0" && !prefix.is_empty() {
            path = format!("{prefix}/{path}");
        }
        Ok(Self {
            path,
            size: octal(field(124, 12))
                .ok_or_else(|| invalid("a header of the archive has an invalid size"))?,
            kind: field(156, 1).first().copied().unwrap_or_default(),
        })
    }
}

/// Values of extended headers for the next file.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    size: Option<usize>,
}

impl Extended {
    fn add_long_name(&mut self, name: &[u8]) -> Result<(), Fault> {
        if name.len() > MAX_EXTENDED {
            return Err(too_long());
        }
        self.path = Some(text(name)?);
        Ok(())
    }

    /// Reads records of the form `LENGTH KEY=VALUE`, each with a line feed at its end.
    fn add_pax(&mut self, mut records: &[u8]) -> Result<(), Fault> {
        let broken = || invalid("an extended header of the archive is invalid");
        if records.len() > MAX_EXTENDED {
            return Err(too_long());
        }
        while !records.is_empty() {
            let digits = records
                .iter()
                .position(|byte| *byte == b' ')
                .ok_or_else(broken)?;
            let length = records
                .get(..digits)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            let length: usize = length
                .and_then(|length| length.parse().ok())
                .ok_or_else(broken)?;
            let record = records.get(digits + 1..length).ok_or_else(broken)?;
            let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(broken)?;
            let (key, value) = record.split_at_checked(equals).ok_or_else(broken)?;
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"path" => self.path = Some(text(value)?),
                b"size" => {
                    let size = std::str::from_utf8(value)
                        .ok()
                        .and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or_else(broken)?);
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(Fault::new(
                        "",
                        Reason::NotARegularFile,
                        "the archive holds a sparse file, which is not supported",
                    ));
                }
                _ => {}
            }
            records = records.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

fn too_long() -> Fault {
    Fault::new(
        "",
        Reason::TooLarge,
        "an extended header of the archive is too large",
    )
}

/// Returns the text up to the first zero byte.
fn text(field: &[u8]) -> Result<String, Fault> {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    let text = field
        .get(..end)
        .and_then(|text| std::str::from_utf8(text).ok());
    text.map(str::to_owned)
        .ok_or_else(|| Fault::new("", Reason::InvalidPath, "a path is not UTF-8"))
}

/// Reads octal digits between blanks. Sizes of 8 GiB and more have another form, and are too large anyway.
fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?;
    usize::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

#[cfg(test)]
mod tests;
