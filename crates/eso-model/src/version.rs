//! The version of a value, as the provider names it.

use jiff::Timestamp;

/// The version of a value that was read, as far as the provider's answer names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadVersion {
    /// The ARN, URL or resource name of the secret.
    pub resource: Option<String>,
    /// The ID or number.
    pub id: Option<String>,
    /// When it was written.
    pub created: Option<Timestamp>,
}

impl ReadVersion {
    /// None if the answer names no version. Boxed, because many answers wait in memory.
    pub fn boxed(self) -> Option<Box<Self>> {
        let is_known = self.id.is_some() || self.created.is_some();
        is_known.then(|| Box::new(self))
    }
}
