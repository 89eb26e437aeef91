//! Closes the chain provider → `ExternalSecret` → Secret after a rotation, and proves it.

pub mod duration;
pub mod eso;
pub mod inventory;
pub mod pattern;
pub mod policy;
pub mod rbac;
pub mod selector;
pub mod settings;
