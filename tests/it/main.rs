//! The one integration test binary.
#![cfg(test)]

mod cli;
mod cluster;
mod house;
mod policy;
mod sandbox;
mod scenarios;
mod support;
