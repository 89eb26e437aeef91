//! Where a publisher's keys come from.

use std::{fmt, path::PathBuf, str::FromStr};

use cluster::names::is_name;
use serde::{Deserialize, Serialize};

/// Where a key comes from. In a policy: `secret:NAME`, `file:PATH` or `env:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyFrom {
    /// A Secret in the job's own namespace.
    Secret(String),
    /// A file of the job.
    File(PathBuf),
    /// A variable of the job's environment.
    Variable(String),
}

/// The error for an invalid [`KeyFrom`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("does not name a key")]
pub struct InvalidKeyFrom;

impl InvalidKeyFrom {
    /// How to fix an invalid text.
    pub const HINT: &str = "write `secret:NAME`, `file:PATH` or `env:NAME`";
}

impl FromStr for KeyFrom {
    type Err = InvalidKeyFrom;

    fn from_str(text: &str) -> Result<Self, InvalidKeyFrom> {
        let is_variable = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match text.split_once(':') {
            Some(("secret", name)) if is_name(name) => Ok(Self::Secret(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() && is_variable(name) => {
                Ok(Self::Variable(name.to_owned()))
            }
            _ => Err(InvalidKeyFrom),
        }
    }
}

impl TryFrom<String> for KeyFrom {
    type Error = InvalidKeyFrom;

    fn try_from(text: String) -> Result<Self, InvalidKeyFrom> {
        text.parse()
    }
}

impl From<KeyFrom> for String {
    fn from(from: KeyFrom) -> Self {
        from.to_string()
    }
}

impl fmt::Display for KeyFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "secret:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
        }
    }
}
