//! Where a confidential text of the job comes from.

use std::{collections::BTreeMap, fmt, io::ErrorKind, path::PathBuf, str::FromStr};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::key_from::KeyFrom;
use crate::regular_file::{self, Links};

/// The longest text, in bytes.
const LONGEST: u64 = 4096;

/// Where a text comes from that must not be in a policy. In a policy: `env:NAME` or `file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TextFrom {
    /// A variable of the job's environment.
    Variable(String),
    /// A file of the job.
    File(PathBuf),
}

/// The error for an invalid [`TextFrom`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("does not name a variable or a file")]
pub struct InvalidTextFrom;

impl InvalidTextFrom {
    /// How to fix an invalid text.
    pub const HINT: &str = "write `env:NAME` or `file:PATH`";
}

impl TextFrom {
    /// The text, without the line break at its end. The error does not quote it.
    pub fn read(&self, environment: &BTreeMap<String, String>) -> Result<SecretString, String> {
        let text = match self {
            Self::Variable(name) => {
                let text = environment.get(name).filter(|text| !text.is_empty());
                text.cloned()
                    .ok_or_else(|| format!("the variable {name} is not set"))?
            }
            Self::File(path) => {
                let failed = |why: &str| format!("{} cannot be read: {why}", path.display());
                let read = regular_file::read(path, LONGEST, Links::Followed);
                let content = read.map_err(|error| {
                    if error.kind() == ErrorKind::FileTooLarge {
                        self.no_line()
                    } else {
                        failed(&error.to_string())
                    }
                })?;
                let text = std::str::from_utf8(content.expose());
                text.map_err(|_| failed("it is not UTF-8"))?.to_owned()
            }
        };
        let is_short = u64::try_from(text.len()).is_ok_and(|length| length <= LONGEST);
        let text = text.trim();
        if !is_short || text.is_empty() || text.contains(char::is_control) {
            return Err(self.no_line());
        }
        Ok(text.into())
    }

    fn no_line(&self) -> String {
        format!("{self} is not one line of at most {LONGEST} bytes")
    }
}

impl FromStr for TextFrom {
    type Err = InvalidTextFrom;

    fn from_str(text: &str) -> Result<Self, InvalidTextFrom> {
        match text.parse() {
            Ok(KeyFrom::File(path)) => Ok(Self::File(path)),
            Ok(KeyFrom::Variable(name)) => Ok(Self::Variable(name)),
            Ok(KeyFrom::Secret(_)) | Err(_) => Err(InvalidTextFrom),
        }
    }
}

impl TryFrom<String> for TextFrom {
    type Error = InvalidTextFrom;

    fn try_from(text: String) -> Result<Self, InvalidTextFrom> {
        text.parse()
    }
}

impl From<TextFrom> for String {
    fn from(from: TextFrom) -> Self {
        from.to_string()
    }
}

impl fmt::Display for TextFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}
