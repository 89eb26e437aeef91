//! The providers that the operator's stores name.

use std::fmt;

/// The key of a provider quota: an account and region, a vault, a project or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaKey {
    /// The provider's name in the spec.
    pub provider: String,
    /// Distinguishes accounts of the provider; empty if the spec names none.
    pub account: String,
}

impl fmt::Display for QuotaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.account.is_empty() {
            f.write_str(&self.provider)
        } else {
            write!(f, "{} {}", self.provider, self.account)
        }
    }
}
