//! Templates, as the operator renders them: Go's text/template with the operator's functions, exactly or not at all.
//!
//! Every construct and every function here was compared with the operator's own renderer (v0.20.4) over awkward inputs;
//! `cases.json` keeps a part of them. Whatever was not is named, and makes the template unverifiable: a guess would be
//! reported as drift, or worse, as none.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever is not named is refused, as it must be for what is new"
)]

use std::collections::BTreeMap;

use zeroize::Zeroizing;

mod call;
mod entries;
mod functions;
mod json;
mod lex;
mod literal;
mod parse;
mod print;
mod run;
mod tree;
mod value;

#[cfg(test)]
mod tests;

/// Parentheses and blocks may lie this deep in each other.
const MAX_NESTING: usize = 48;

/// What a template may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps: commands, rounds of a loop, items of a list.
    pub steps: usize,
    /// Bytes of text, the intermediate included.
    pub bytes: usize,
}

impl Default for Limits {
    /// Far more than a Secret can hold (1 MiB).
    fn default() -> Self {
        Self {
            steps: 200_000,
            bytes: 8 << 20,
        }
    }
}

/// Why there is no rendered text. It names constructs, functions and keys, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What the operator renders is not known here.
    #[error("{what} cannot be evaluated here")]
    Unverifiable {
        /// What cannot be evaluated.
        what: String,
    },
    /// The operator fails on this template with this data.
    #[error("the operator fails on {what}")]
    WouldFail {
        /// What it fails on.
        what: String,
    },
}

impl Failure {
    fn unverifiable(what: impl Into<String>) -> Self {
        Self::Unverifiable { what: what.into() }
    }

    fn fails(what: impl Into<String>) -> Self {
        Self::WouldFail { what: what.into() }
    }

    /// The same failure, with the function that it came from.
    fn within(self, name: &str) -> Self {
        let named = |what: String| match what.as_str() {
            "" => format!("`{name}`"),
            what => format!("`{name}`: {what}"),
        };
        match self {
            Self::Unverifiable { what } => Self::unverifiable(named(what)),
            Self::WouldFail { what } => Self::fails(named(what)),
        }
    }
}

/// Renders a template over the data, as the operator does for one key.
pub fn render(
    template: &str,
    data: &BTreeMap<String, Vec<u8>>,
    limits: Limits,
) -> Result<Vec<u8>, Failure> {
    if !template.contains("{{") {
        return Ok(template.as_bytes().to_vec());
    }
    run::run(&parse::parse(template)?, data, limits)
}

/// Renders a template over the data and takes the text for keys and values, as the operator does with `literal` and with
/// `templateAs: KeysAndValues`.
pub fn render_keys_and_values(
    template: &str,
    data: &BTreeMap<String, Vec<u8>>,
    limits: Limits,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    entries::read(&Zeroizing::new(render(template, data, limits)?))
}
