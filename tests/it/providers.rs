//! The providers, each against the best server that can be had.

mod aws;
mod double;
mod gcp;
