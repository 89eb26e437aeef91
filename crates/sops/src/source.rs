//! The file as it is stored: the same tree for all formats, before decryption.

mod dotenv;
mod ini;
mod json;
mod limits;
mod scalar;
mod yaml;

pub(crate) use self::{
    ini::DEFAULT as DEFAULT_SECTION,
    limits::Limits,
    scalar::{Plain, hashed_bool, hashed_float, is_time},
};
use crate::{
    Format,
    refusal::{Reason, Refused},
    tree::{self, Node},
};

/// The largest file, in bytes.
pub const MAX_FILE: usize = 4 << 20;
/// The deepest nesting of maps and lists.
pub const MAX_DEPTH: usize = 64;
/// The most values, maps, lists and comments of a file.
pub const MAX_NODES: usize = 100_000;
/// The longest path, in bytes of its keys.
pub const MAX_PATH: usize = 4096;

pub(crate) type Stored = Node<Plain, String>;
pub(crate) type Member = tree::Member<Plain, String>;
pub(crate) type Element = tree::Element<Plain, String>;
/// The members of a document's top-level map.
pub(crate) type Document = Vec<Member>;

/// Parses a file into its documents. Only YAML can have several.
pub(crate) fn parse(format: Format, text: &[u8]) -> Result<Vec<Document>, Refused> {
    if text.len() > MAX_FILE {
        return Err(Reason::FileTooLarge.into());
    }
    let text = std::str::from_utf8(text).map_err(|_| Reason::NotUtf8)?;
    match format {
        Format::Yaml => yaml::parse(text),
        Format::Json | Format::Binary => json::parse(text).map(|document| vec![document]),
        Format::Dotenv => dotenv::parse(text).map(|document| vec![document]),
        Format::Ini => ini::parse(text).map(|document| vec![document]),
    }
}
