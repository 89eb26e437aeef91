//! Closes the chain provider → `ExternalSecret` → Secret after a rotation, and proves it.

pub mod announce;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod discover;
pub mod duration;
pub mod eso;
pub mod exit;
pub mod inventory;
pub mod lock;
pub mod pace;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod progress;
pub mod rbac;
pub mod reason;
pub mod report;
pub mod sandbox;
pub mod selector;
pub mod settings;
pub mod stop;
pub mod sync;
pub mod telemetry;
pub mod wire;
