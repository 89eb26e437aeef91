//! Decides what is published from Git to a provider. Pure: no I/O, no clock, no randomness.
//!
//! | module | what |
//! |---|---|
//! | `target` | what shall be published, and where: [`Origin`], [`Wanted`], [`Target`] |
//! | `mark` | the keyed digest that recognises an unchanged value without reading it, and how each provider stores it |
//! | `creation` | how secrets are created, and which parts of that a provider has |
//! | `layout` | how many values a secret contains |
//! | [`name`] | how names are made from keys, and what is checked before anything is sent |
//! | `provenance` | where a value comes from, as it is recorded at the provider |
//! | `held` | what a provider holds under a remote key now |
//! | [`plan`] | the plan: what is written, and why |
//! | `step` | one planned write, with its reason, precondition and cost |

mod creation;
mod held;
mod layout;
mod mark;
pub mod name;
pub mod plan;
mod provenance;
mod step;
mod target;

pub use self::{
    creation::{Creation, Tier, Unfit},
    held::{Compared, Held, History, Owner, Presence, Refusal, Version, VersionState},
    layout::Layout,
    mark::{Bound, Mark, MarkKey, PropertyTag, VersionId},
    provenance::{provenance, revision},
    step::{Action, Cost, Precondition, Reason, Step, Verdict, Wrote},
    target::{Format, Origin, RemoteKey, Store, Target, Wanted},
};
