//! The providers, each against the best server that can be had.

#[cfg(feature = "aws-parameter-store")]
mod aws;
#[cfg(any(feature = "aws-parameter-store", feature = "gcp"))]
mod double;
#[cfg(feature = "gcp")]
mod gcp;
