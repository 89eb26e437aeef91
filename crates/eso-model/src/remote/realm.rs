//! The account, region or server of a key.

use crate::provider::normalized;

/// The account, region or server of a key. Parts that are not known are None; they match any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realm {
    /// The region of AWS. The location of GCP, which is empty for a global secret.
    pub region: Option<String>,
    /// The account of AWS, or the project of GCP: its id or its number.
    pub account: Option<String>,
    /// The host of a Key Vault, the server of a Vault, or that of a Kubernetes cluster, which is empty for the store's own.
    pub host: Option<String>,
}

impl Realm {
    /// False if a key cannot be in both.
    pub fn may_be(&self, other: &Self) -> bool {
        let same = |one: &Option<String>, other: &Option<String>| match (one, other) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        let accounts = match (&self.account, &other.account) {
            // Which number a project has cannot be told from its id.
            (Some(one), Some(other)) if is_number(one) != is_number(other) => true,
            (one, other) => same(one, other),
        };
        accounts && same(&self.region, &other.region) && same(&self.host, &other.host)
    }
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The host and port of an address, without its scheme and path.
pub(super) fn host(url: &str) -> String {
    let address = normalized(url);
    let rest = address
        .split_once("://")
        .map_or(&*address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().to_owned()
}
