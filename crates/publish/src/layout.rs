//! How many values a secret contains.

use eso_model::ProviderKind;
use serde::{Deserialize, Serialize};

/// Where the values of a service, or of an item without services, are written.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// A secret for each value.
    #[default]
    PerKey,
    /// One secret, with a key for each value. Other keys of the secret stay.
    Document,
}

impl Layout {
    /// True if the provider can store secrets in this way.
    pub fn fits(self, provider: &ProviderKind) -> bool {
        match self {
            Self::PerKey => true,
            Self::Document => {
                let publishing = provider.facts().publishing;
                publishing.is_some_and(|publishing| publishing.has_keys)
            }
        }
    }

    /// Why the provider cannot do it.
    pub const UNFIT: &str = "this provider stores one value in a secret; only Vault and OpenBao have secrets with several keys";
}
