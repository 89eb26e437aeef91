//! Which refresh interval is right for each ExternalSecret: what its reads cost, how long a change stays unseen, and which interval
//! balances both. Pure.
//!
//! `suggest` chooses the intervals. They do not depend on the present ones, and intervals that are near enough stay, so applying
//! all suggestions and advising again changes nothing.

mod coverage;
mod document;
mod rotation;
mod sheet;
mod stores;
mod suggest;
mod text;
mod units;
mod warnings;

pub use self::{
    document::{Advice, AdviceItem, AdviceQuota, AdviceRotation, AdviceSummary, Owner, advice},
    rotation::{RotationState, Rotations, Users, rotated},
    stores::AdviceStore,
    suggest::{Reason, Verdict},
    text::text,
    units::Facts,
    warnings::{AdviceWarning, Warning},
};

/// The seconds of a month: 730 hours.
const MONTH: f64 = 2_628_000.0;

#[cfg(test)]
mod tests;
