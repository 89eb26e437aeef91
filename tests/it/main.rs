//! The one integration test binary.

mod cluster;
mod policy;
mod scenarios;
mod support;
