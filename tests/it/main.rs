//! The one integration test binary.

mod cli;
mod cluster;
mod house;
mod policy;
mod scenarios;
mod support;
