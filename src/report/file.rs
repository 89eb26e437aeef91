//! The files that `--report` writes beside the output: one format, one file in this folder.

mod csv;
mod html;
mod junit;
mod markdown;
mod sarif;

use std::{fmt, path::PathBuf, str::FromStr};

use clap::ValueEnum;

pub use self::markdown::{LIMIT, markdown};
use super::{format::Output, sheet::Tabular};
pub use crate::policy::FileFormat;

impl FileFormat {
    /// Renders a document. Returns an error text if it cannot be rendered.
    pub fn render(self, document: &impl Tabular) -> Result<String, String> {
        let no_table = |_: &_| String::new();
        match self {
            Self::Json => Output::Json.render(document, no_table),
            Self::Yaml => Output::Yaml.render(document, no_table),
            Self::Csv => Ok(csv::csv(&document.sheet())),
            Self::Junit => junit::junit(&document.sheet()),
            Self::Markdown => Ok(markdown(&document.sheet(), LIMIT)),
            Self::Sarif => sarif::sarif(&document.sheet()),
            Self::Html => html::html(&document.sheet()),
        }
    }

    fn words() -> String {
        let words = Self::value_variants().iter().map(ToString::to_string);
        words.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}

/// One `--report FORMAT=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub format: FileFormat,
    pub place: Place,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Stdout => write!(f, "{}=-", self.format),
            Place::File(path) => write!(f, "{}={}", self.format, path.display()),
        }
    }
}

/// Where a report is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `-`
    Stdout,
    File(PathBuf),
}

impl From<&str> for Place {
    fn from(text: &str) -> Self {
        if text == "-" {
            Self::Stdout
        } else {
            Self::File(PathBuf::from(text))
        }
    }
}

/// The error for an invalid `--report`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    #[error(
        "write FORMAT=FILE, for example `junit=report.xml`, or `FORMAT=-` for stdout; the formats are {}",
        FileFormat::words()
    )]
    Form,
    #[error("`{0}` is not a format; the formats are {words}", words = FileFormat::words())]
    Format(String),
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let (format, file) = text.split_once('=').ok_or(InvalidTarget::Form)?;
        if file.is_empty() {
            return Err(InvalidTarget::Form);
        }
        let format = <FileFormat as ValueEnum>::from_str(format, false)
            .map_err(|_| InvalidTarget::Format(format.to_owned()))?;
        Ok(Self {
            format,
            place: file.into(),
        })
    }
}

#[cfg(test)]
mod tests;
