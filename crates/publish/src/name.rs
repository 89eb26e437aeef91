//! Names of secrets at a provider: how they are made from keys, and what is checked before anything is sent.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use eso_model::ProviderKind;
use serde::{Deserialize, Serialize};

use crate::target::{Origin, RemoteKey, Wanted};

mod limits;
mod rules;

pub use self::limits::{MAX_PARAMETER, accepts_empty};

/// How prefix, key and suffix become a name.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Style {
    /// `PREFIX-KEY-SUFFIX`, without any change of the parts.
    #[default]
    Join,
    /// As the Secret Manager Controller makes names: like `join`, but `-` at the start of the suffix is dropped, other characters
    /// than letters, digits, `-` and `_` become `_`, runs of `-` become one, and `-` at the ends is dropped. In Parameter Store
    /// `PREFIX/KEY`, with `_` for `.` and `/` in the key.
    Smc,
    /// `PREFIX/KEY/SUFFIX`, without any change of the parts. In Parameter Store with `/` in front.
    Path,
}

/// The naming rules of an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    pub prefix: String,
    pub suffix: String,
    pub style: Style,
}

impl Naming {
    /// Returns the name of a key at a provider. Without a key, it is the name of a document.
    pub fn name(&self, provider: &ProviderKind, key: Option<&str>) -> Result<String, InvalidName> {
        let name = match self.style {
            Style::Join => self.joined("-", key, &self.suffix),
            Style::Path => {
                let name = self.joined("/", key, &self.suffix);
                if provider == &ProviderKind::ParameterStore && !name.starts_with('/') {
                    format!("/{name}")
                } else {
                    name
                }
            }
            Style::Smc if provider == &ProviderKind::ParameterStore => {
                let slash = if self.prefix.starts_with('/') {
                    ""
                } else {
                    "/"
                };
                let key = key.map(|key| key.replace(['.', '/'], "_"));
                slash.to_owned() + &self.joined("/", key.as_deref(), "")
            }
            Style::Smc => {
                let suffix = self.suffix.trim_start_matches('-');
                sanitized(&self.joined("-", key, suffix))
            }
        };
        rules::check(provider, &name, self.style)?;
        Ok(name)
    }

    fn joined(&self, separator: &str, key: Option<&str>, suffix: &str) -> String {
        let ends = |part| Some(part).filter(|part: &&str| !part.is_empty());
        let parts = [ends(&self.prefix), key, ends(suffix)];
        parts
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(separator)
    }
}

/// Replaces characters like the Secret Manager Controller. It keeps letters of all alphabets, which most providers refuse.
fn sanitized(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if c.is_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        };
        if c != '-' || !result.ends_with('-') {
            result.push(c);
        }
    }
    result.trim_matches('-').to_owned()
}

/// The stable word for what a check before the first write finds.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Unpublishable {
    /// The provider refuses a character or the form of the name.
    InvalidName,
    /// The name is longer than the provider accepts.
    NameTooLong,
    /// The provider reserves names of this form.
    ReservedName,
    /// Two keys have the same name at the provider.
    Collision,
    /// The value is larger than the provider accepts.
    ValueTooLarge,
    /// The provider stores only text, and the value is not UTF-8.
    ValueNotText,
    /// The provider refuses the value: it is empty, or refers to another parameter.
    InvalidValue,
    /// Nothing can be published to this provider.
    UnsupportedProvider,
}

/// Why a provider does not accept a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidName {
    pub reason: Unpublishable,
    /// What is wrong, and what would be right. Does not contain the name.
    pub message: Cow<'static, str>,
}

impl InvalidName {
    fn new(reason: Unpublishable, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Why a value cannot be published as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The value that is concerned.
    pub origin: Origin,
    /// In a collision, the other value.
    pub other: Option<Origin>,
    pub reason: Unpublishable,
    /// What is wrong, and what would be right. Contains no key and no value.
    pub message: Cow<'static, str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.other {
            Some(other) => write!(f, " (the other one: item {}, {})", other.item, other.file),
            None => Ok(()),
        }
    }
}

/// Checks all values of all items before anything is sent: their sizes, and that no two have the same name at a provider.
///
/// A collision is a problem of both values. A value and a document with the same name collide, too.
pub fn check<'w>(wanted: impl IntoIterator<Item = &'w Wanted>) -> Vec<Problem> {
    let mut secrets: BTreeMap<RemoteKey, Vec<&Wanted>> = BTreeMap::new();
    for one in wanted {
        secrets
            .entry(one.target.remote_key())
            .or_default()
            .push(one);
    }
    let mut problems = Vec::new();
    for entries in secrets.values() {
        limits::check(entries, &mut problems);
        collide(entries, &mut problems);
    }
    problems
}

/// Finds collisions among the values with the same remote key.
fn collide(entries: &[&Wanted], problems: &mut Vec<Problem>) {
    let mut by_property: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (index, one) in entries.iter().enumerate() {
        let property = one.target.property.as_deref();
        by_property.entry(property).or_default().push(index);
    }
    // A whole secret collides with everything.
    let whole = by_property.get(&None).cloned().unwrap_or_default();
    for (index, one) in entries.iter().enumerate() {
        let property = one.target.property.as_deref();
        let same = by_property
            .get(&property)
            .into_iter()
            .flatten()
            .chain(&whole);
        let mut others = same.copied().filter(|other| *other != index);
        let any = (0..entries.len()).find(|other| property.is_none() && *other != index);
        let Some(other) = others.next().or(any).and_then(|other| entries.get(other)) else {
            continue;
        };
        problems.push(Problem {
            origin: one.origin.clone(),
            other: Some(other.origin.clone()),
            reason: Unpublishable::Collision,
            message: "two keys have the same name at the provider; change a key, or the prefix or suffix of an item".into(),
        });
    }
}

/// The items with a problem: none of their values is published if the problem is a collision.
pub fn items_with_collisions(problems: &[Problem]) -> BTreeSet<&str> {
    let collisions = problems
        .iter()
        .filter(|problem| problem.reason == Unpublishable::Collision);
    collisions
        .map(|problem| problem.origin.item.as_str())
        .collect()
}

#[cfg(test)]
mod tests;
