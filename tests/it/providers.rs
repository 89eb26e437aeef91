//! The providers, each against the best server that can be had.

#[cfg(feature = "aws-parameter-store")]
mod aws;
mod double;
#[cfg(feature = "gcp")]
mod gcp;
mod kubernetes;
pub(crate) mod proxy;
mod reader;
mod resolver;
mod support;
mod trust;
#[cfg(feature = "vault")]
mod vault;
