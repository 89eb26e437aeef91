//! Renders templates like the operator: Go's text/template with the operator's functions. The result is exact, or an
//! error.
//!
//! Every construct and function here was compared with the operator's own renderer (v0.20.4) on difficult inputs;
//! `cases.json` contains some of them. Everything else makes the template unverifiable, because a guess could be reported
//! as drift or hide it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "anything unknown must be rejected"
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

/// The maximum nesting of parentheses and blocks.
const MAX_NESTING: usize = 48;

/// The limits for rendering a template.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps: commands, loop iterations and list items.
    pub steps: usize,
    /// Bytes of text, including intermediate results.
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

/// The error for a template that was not rendered. It names constructs, functions and keys, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The operator's result is unknown.
    #[error("eso-sync cannot evaluate {what}")]
    Unverifiable { what: String },
    /// The operator fails on this template with this data.
    #[error("the operator fails on {what}")]
    WouldFail { what: String },
}

impl Failure {
    fn unverifiable(what: impl Into<String>) -> Self {
        Self::Unverifiable { what: what.into() }
    }

    fn fails(what: impl Into<String>) -> Self {
        Self::WouldFail { what: what.into() }
    }

    /// Adds the name of the function that failed.
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

/// Renders a template with the data, like the operator for one key.
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

/// Renders a template with the data and parses the result as keys and values, like the operator for `literal` and
/// `templateAs: KeysAndValues`.
pub fn render_keys_and_values(
    template: &str,
    data: &BTreeMap<String, Vec<u8>>,
    limits: Limits,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    entries::read(&Zeroizing::new(render(template, data, limits)?))
}
