//! Syncs the chain provider → `ExternalSecret` → Secret → pods after a rotation, and proves each link.
//!
//! ```text
//!   files, variables, flags ─► settings ─► Policy
//!                                            │
//!   cluster ─► discover ─► Inventory ─► select ─► drift ─► Findings ─► restart::read ─► Workloads
//!                                                                                          │
//!                         plan(policy, inventory, selected, findings, workloads, now) ─► Plan ─► (print, or)
//!                                                                                          │
//!        confirm, lock ─► adopt ─► sync ─► verify ─► remedy ─► restart ─► Results ─► report, Events, exit code
//! ```
//!
//! Decisions are pure and separate from code that acts: [`policy`], [`inventory`], [`eso_model`], [`select`], [`finding`], [`foreign`], [`drift::judge`], [`plan`],
//! [`outcome`], [`results`], [`reason`], [`report`], [`rbac`] and [`providers::trust`] do not depend on a Kubernetes client or a runtime, which a test enforces. A plan
//! contains all decisions: the dry run prints the plan that the run executes.

pub mod advise;
pub mod announce;
pub mod asked;
pub mod called;
pub mod cli;
pub mod commands;
pub mod consumers;
pub mod diagnose;
pub mod discover;
pub mod drift;
pub mod edits;
pub mod events;
pub mod example;
pub mod exit;
pub mod explain;
pub mod failure;
pub mod finding;
pub mod foreign;
pub mod guide;
pub mod history;
pub mod impact;
pub mod index;
pub mod init;
pub mod inventory;
pub mod key_names;
pub mod lock;
pub mod lock_namespace;
pub mod monitor;
pub mod notify;
pub mod noun;
pub mod outcome;
pub mod output;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod progress;
pub mod publish;
pub mod random;
pub mod rbac;
pub mod readers;
pub mod reason;
pub mod record;
mod regular_file;
pub mod remedy;
pub mod report;
pub mod restart;
pub mod results;
pub mod run;
pub mod sandbox_access;
pub mod screen;
pub mod select;
pub mod selector;
pub mod session;
pub mod settings;
pub mod similar;
pub mod stop;
pub mod suggest;
pub mod sync;
pub mod telemetry;
pub mod trace;
pub mod verify;
pub mod watchdog;
pub mod wire;
pub mod workload;
