//! The one integration test binary.
#![cfg(test)]

mod cluster;
mod policy;
mod scenarios;
mod support;
