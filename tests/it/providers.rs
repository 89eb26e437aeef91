//! Tests of the providers, each against the most realistic server that is available.

#[cfg(feature = "aws-parameter-store")]
pub(crate) mod aws;
#[cfg(feature = "azure")]
pub(crate) mod azure;
#[cfg(feature = "events-azure")]
pub(crate) mod azurite;
pub(crate) mod double;
#[cfg(all(feature = "aws-parameter-store", feature = "gcp", feature = "vault"))]
pub(crate) mod expiry;
#[cfg(feature = "gcp")]
pub(crate) mod gcp;
mod kubernetes;
pub(crate) mod proxy;
#[cfg(all(feature = "aws-parameter-store", feature = "vault"))]
pub(crate) mod publish;
#[cfg(any(
    feature = "events-aws",
    feature = "events-azure",
    feature = "events-gcp"
))]
mod queue;
mod reader;
mod resolver;
mod support;
mod trust;
#[cfg(feature = "vault")]
mod vault;
