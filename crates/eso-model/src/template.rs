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

use self::value::{Text, Value};
use crate::budget::{Budget, TooCostly};

mod call;
mod functions;
mod integer;
mod json;
mod lex;
mod literal;
mod parse;
mod print;
mod run;
mod tree;
mod uses;
mod value;
mod yaml;

pub use uses::{Uses, uses};

#[cfg(test)]
mod tests;

/// The memory of an entry of a map or list, and of the administration of a text.
const ENTRY: usize = 64;

/// The memory of a parsed template, for each byte of its text.
const PARSED: usize = 8;

/// The maximum nesting of parentheses and blocks.
const MAX_NESTING: usize = 48;

/// The error for a template that was not rendered. It names constructs, functions and keys, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The operator's result is unknown.
    #[error("eso-sync cannot evaluate {what}")]
    Unverifiable { what: String },
    /// The operator fails on this template with this data.
    #[error("the operator fails on {what}")]
    WouldFail { what: String },
    /// Rendering it exceeds the budget.
    #[error("{0}")]
    TooCostly(#[from] TooCostly),
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
            Self::TooCostly(_) => self,
        }
    }
}

/// The data that templates are rendered with. Several templates can share it.
pub struct Data(BTreeMap<Vec<u8>, Value>);

impl Data {
    /// Copies the values once. The copies are wiped together with the data.
    pub fn of<'v>(
        values: impl IntoIterator<Item = (&'v str, &'v [u8])>,
        budget: &Budget,
    ) -> Result<Self, TooCostly> {
        let values = values.into_iter().map(|(key, value)| {
            budget.write(key.len() + value.len() + ENTRY)?;
            let value = Value::Text(Text::from(value.to_vec()));
            Ok((key.as_bytes().to_vec(), value))
        });
        values.collect::<Result<_, _>>().map(Self)
    }
}

/// Renders a template with the data, like the operator for one key. The budget pays for all work, and for the memory of the
/// result.
pub fn render(template: &str, data: &Data, budget: &Budget) -> Result<Vec<u8>, Failure> {
    let rendered = budget.temporarily(|| {
        budget.step(1)?;
        if !template.contains("{{") {
            budget.write(template.len())?;
            return Ok(template.as_bytes().to_vec());
        }
        // The memory of the parsed template: at most one node for each pair of bytes.
        budget.write(template.len().saturating_mul(PARSED))?;
        run::run(&parse::parse(template)?, data, budget)
    })?;
    budget.write(rendered.len())?;
    Ok(rendered)
}

/// Renders a template with the data and parses the result as keys and values, like the operator for `literal` and
/// `templateAs: KeysAndValues`.
pub fn render_keys_and_values(
    template: &str,
    data: &Data,
    budget: &Budget,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let text = Zeroizing::new(render(template, data, budget)?);
    yaml::entries(&mut value::Heap::new(budget.clone()), &text)
}
