//! Closes the chain provider → `ExternalSecret` → Secret after a rotation, and proves it.
//!
//! ```text
//!   files, variables, flags ─► settings ─► Policy
//!                                            │
//!   cluster ─► discover ─► Inventory ─► drift ─► plan(policy, inventory, findings, now) ─► Plan ─► (print, or)
//!                                                                                           │
//!            lock ─► sync: lanes at a pace, one watch, a proof for each ─► drift again ─► Results ─► report, Events, exit code
//! ```
//!
//! Decisions are pure and separate from the edges that act: [`policy`], [`inventory`], [`eso`], [`drift::judge`], [`plan`], [`outcome`],
//! [`reason`], [`report`], [`rbac`] and [`provider::trust`] know no Kubernetes client and no runtime, which a test enforces. A plan leaves nothing
//! to choose: the dry run is the same plan, printed.

pub mod announce;
pub mod cli;
pub mod command;
pub mod diagnose;
pub mod discover;
pub mod drift;
pub mod exit;
pub mod inventory;
pub mod lock;
pub mod outcome;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod progress;
pub mod rbac;
pub mod reason;
pub mod report;
pub mod restart;
pub mod sandbox_access;
pub mod selector;
pub mod settings;
pub mod stop;
pub mod sync;
pub mod telemetry;
pub mod wire;
pub mod workload;
