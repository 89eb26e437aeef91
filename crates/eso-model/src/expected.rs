//! What the Secret of an ExternalSecret should hold, by the operator's own rules, from what the providers hold now.
//!
//! The same bytes as the operator's, or none: what cannot be evaluated exactly is [`Unverifiable`], with the place in the spec.
//! Read from the operator's source and held to its own functions by a table that v0.20.4 made (`expected/tests/table.json`);
//! `nullBytePolicy` and `CreateOrMerge`, which are newer, follow what is known of v2.9.0 and were not compared.

mod answer;
mod compare;
mod decode;
mod go_regex;
mod json;
mod keys;
mod kubernetes;
mod letters;
mod payload;
mod pipeline;
mod read;
mod rewrite;
mod search;
mod spec;
mod templates;
mod together;
mod verdict;

pub use answer::{Answer, Content, Provider, Raw};
pub use compare::{Difference, Held, KeyDifference, compare, data_hash, is_as_hashed};
pub use go_regex::{GoRegex, NotTranslated};
pub use pipeline::{NoTemplates, expected};
pub use read::{Read, What, reads};
pub use search::Operator;
pub use spec::*;
pub use templates::Templates;
pub use together::together;
pub use verdict::{Effect, Expected, Failure, NotComputable, Unverifiable, WouldFail, why};

#[cfg(test)]
mod tests;
