//! Computes the expected data of an ExternalSecret's Secret from the current provider data, by the operator's rules.
//!
//! The result is byte-identical to the operator's. What cannot be computed exactly is [`Unverifiable`], with the place in
//! the spec. The rules come from the operator's source and are compared with a table that v0.20.4 generated
//! (`expected/tests/table.json`). `nullBytePolicy` and `CreateOrMerge` are newer: they follow the source of v2.9.0 and
//! are not in the table.

mod admission;
mod answer;
mod compare;
mod decode;
mod go_regex;
mod held;
mod json;
mod keys;
mod kubernetes;
mod letters;
mod names;
mod payload;
mod pipeline;
mod read;
mod rewrite;
mod search;
mod secret_type;
mod spec;
mod templates;
mod together;
mod verdict;
mod work;

pub use admission::{Existing, Rejection};
pub use answer::{Answer, Content, Raw};
pub use compare::{
    Difference, KeyDifference, SecretFingerprints, compare, data_hash, matches_recorded_hash,
};
pub use decode::decode;
pub use go_regex::{GoRegex, NotCompiled, NotTranslated};
pub use held::HeldValues;
pub use names::{SpecNames, looks_like_a_name};
pub use pipeline::{NoTemplates, expected};
pub use read::{Read, What, members, reads};
pub(crate) use read::{of_data_from, of_ref};
pub use search::Operator;
pub use secret_type::SecretType;
pub use spec::*;
pub use templates::Templates;
pub use together::together;
pub use verdict::{Effect, Expected, Failure, NotComputable, Unverifiable, WouldFail, why};

#[cfg(test)]
mod tests;
