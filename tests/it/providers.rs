//! The providers, each against the best server that can be had.

mod double;
mod kubernetes;
mod reader;
mod resolver;
mod support;
mod trust;
