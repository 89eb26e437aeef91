//! The one integration test binary.
#![cfg(test)]

mod cli;
mod cluster;
mod house;
mod policy;
mod scenarios;
mod support;
