//! The providers, each against the best server that can be had.

#[cfg(feature = "vault")]
mod vault;
