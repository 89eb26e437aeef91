//! What a change of remote keys would reach: the ExternalSecrets that use them, their Secrets, and the workloads that use those.
//! Pure.
//!
//! [`affected`] finds the ExternalSecrets. The plan for exactly these says what a run would do about each, so this module decides
//! nothing about syncs and restarts.

mod affected;
mod document;
mod graph;
mod keys;
mod sheet;
mod text;

pub use self::{
    affected::{Affected, Question, Way, affected},
    document::{
        Asked, Facts, Impact, ImpactItem, ImpactSummary, ImpactUse, ImpactWorkload, UseCertainty,
        document,
    },
    graph::{dot, mermaid, tree},
    keys::MoreSecretKeys,
    text::text,
};

#[cfg(test)]
mod tests;
