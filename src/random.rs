//! Random bytes for keys.

use rustls::crypto::aws_lc_rs;
use zeroize::Zeroizing;

/// The system has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomness;

/// A new key from the cryptographic generator.
pub fn key() -> Result<Zeroizing<[u8; 32]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut *bytes)
        .map_err(|_| NoRandomness)?;
    Ok(bytes)
}
