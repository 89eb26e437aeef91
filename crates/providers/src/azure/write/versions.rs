//! What tags and properties tell about versions.

use std::collections::{BTreeMap, HashMap};

use azure_security_keyvault_secrets::models::{
    DeletedSecret, Secret, SecretAttributes, SecretProperties,
};
use jiff::Timestamp;
use publish::{Bound, Held, History, Mark, Owner, Presence, Refusal, VersionState};
use zeroize::Zeroize as _;

use crate::{
    Unread,
    azure::{client::Listing, timestamp},
    holder::{MARK, OWNER, SOURCE},
    unread,
};

/// The number of tags that a version can have.
pub(super) const MAX_TAGS: usize = 15;

/// How far the clock of the job may be from that of Key Vault, in seconds, including the time that a request takes. If it is
/// farther, the next run reads the value once and renews the mark.
const SKEW: i64 = 60;

pub(super) type Tags = BTreeMap<String, String>;

/// A version of a secret, without its value.
#[derive(Clone)]
pub(super) struct Version {
    /// In a list of secrets, the name of the secret. Empty if Key Vault does not tell the last version of a deleted secret.
    pub(super) id: String,
    pub(super) created: Option<Timestamp>,
    is_enabled: bool,
    /// True if it belongs to a certificate.
    is_managed: bool,
    pub(super) tags: Tags,
    pub(super) content_type: Option<String>,
}

/// The answer does not say which version it is about.
pub(super) fn unnamed() -> Unread {
    let detail = "Key Vault's answer does not name the version";
    Unread::secret(unread::UNREADABLE, detail)
}

/// The parts of an identifier: `https://HOST/secrets/NAME/VERSION`, or `https://HOST/secrets/NAME`.
fn parts(id: Option<&str>) -> Option<(&str, Option<&str>)> {
    let (_, path) = id?.split_once("/secrets/")?;
    let (name, version) = match path.split_once('/') {
        Some((name, version)) => (name, Some(version).filter(|version| !version.is_empty())),
        None => (path, None),
    };
    (!name.is_empty()).then_some((name, version))
}

/// The version in an identifier.
pub(super) fn version(id: Option<&str>) -> Option<String> {
    parts(id)?.1.map(str::to_owned)
}

/// The tag with a mark. The mark is that of a version that was created at about this time: others may copy the tag to a later one.
pub(super) fn bound(mark: Mark, created: Timestamp) -> String {
    let version = created.as_second().to_string();
    Bound { mark, version }.to_string()
}

impl Version {
    fn new(
        id: String,
        attributes: Option<SecretAttributes>,
        tags: Option<HashMap<String, String>>,
    ) -> Self {
        let attributes = attributes.unwrap_or_default();
        Self {
            id,
            created: attributes.created.and_then(timestamp),
            is_enabled: attributes.enabled != Some(false),
            is_managed: false,
            tags: tags.into_iter().flatten().collect(),
            content_type: None,
        }
    }

    /// The version, after its value is wiped.
    pub(super) fn of_secret(secret: Secret) -> Option<Self> {
        let mut secret = secret;
        secret.value.zeroize();
        Some(Self {
            is_managed: secret.managed == Some(true),
            content_type: secret.content_type,
            ..Self::new(
                version(secret.id.as_deref())?,
                secret.attributes,
                secret.tags,
            )
        })
    }

    /// An entry of a list.
    pub(super) fn listed(in_list: Listing<'_>, of: SecretProperties) -> Option<Self> {
        let (name, version) = parts(of.id.as_deref())?;
        let id = match in_list {
            Listing::Secrets => name.to_owned(),
            Listing::Versions(_) => version?.to_owned(),
        };
        Some(Self {
            is_managed: of.managed == Some(true),
            content_type: of.content_type,
            ..Self::new(id, of.attributes, of.tags)
        })
    }

    /// The last version of a deleted secret.
    pub(super) fn of_deleted(secret: DeletedSecret) -> Self {
        let id = version(secret.id.as_deref()).unwrap_or_default();
        Self {
            is_managed: secret.managed == Some(true),
            content_type: secret.content_type,
            ..Self::new(id, secret.attributes, secret.tags)
        }
    }

    /// The mark, if it was written for this version.
    pub(super) fn mark(&self) -> Option<Mark> {
        let Bound { mark, version } = self.tags.get(MARK)?.parse().ok()?;
        let written: i64 = version.parse().ok()?;
        let apart = self.created?.as_second().checked_sub(written)?;
        (-SKEW..=SKEW).contains(&apart).then_some(mark)
    }

    fn owner(&self, owner: &str) -> Owner {
        Owner::of(self.tags.get(OWNER).map(String::as_str), owner)
    }

    /// The secret with this current version, without the version's ID and history.
    pub(super) fn held(&self, presence: Presence, owner: &str) -> Held {
        let refusal = if self.is_managed {
            Some(Refusal::Managed)
        } else {
            (!self.is_enabled).then_some(Refusal::Disabled)
        };
        Held {
            mark: self.mark(),
            owner: self.owner(owner),
            refusal,
            provenance: self.tags.get(SOURCE).cloned(),
            ..Held::new(presence)
        }
    }
}

/// The history, from all versions.
pub(super) fn history(current: &str, versions: &[Version], owner: &str) -> History {
    // The newest first. Key Vault keeps whole seconds.
    let mut sorted: Vec<&Version> = versions.iter().collect();
    sorted.sort_by_key(|version| std::cmp::Reverse((version.created, version.id == current)));
    let is_ours = |version: &Version| {
        let is_owned = matches!(version.owner(owner), Owner::Ours { .. });
        is_owned && version.mark().is_some()
    };
    let ours = sorted.iter().filter(|version| is_ours(version));
    History {
        // Without the last one.
        earlier: ours
            .clone()
            .skip(1)
            .filter_map(|version| version.mark())
            .collect(),
        // An old version cannot become current again.
        went_back: false,
        writes: ours.filter_map(|version| version.created).collect(),
        versions: sorted
            .iter()
            .filter(|version| version.id != current)
            .map(|version| publish::Version {
                id: version.id.clone(),
                created: version.created,
                is_ours: is_ours(version),
                state: if version.is_enabled {
                    VersionState::Enabled
                } else {
                    VersionState::Disabled
                },
                is_named: false,
            })
            .collect(),
        last_read: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_name_the_secret_and_its_version() {
        let host = "https://kv.vault.azure.net";
        for (id, expected) in [
            ("/secrets/db", Some(("db", None))),
            ("/secrets/db/", Some(("db", None))),
            ("/secrets/db/1a", Some(("db", Some("1a")))),
            ("/secrets/secrets/1a", Some(("secrets", Some("1a")))),
            ("/secrets/", None),
            ("/keys/db/1a", None),
        ] {
            assert_eq!(parts(Some(&format!("{host}{id}"))), expected, "{id}");
        }
        assert_eq!(parts(None), None);
    }

    #[test]
    fn last_version_of_a_deleted_secret_may_be_unknown() {
        let deleted = |id: &str| {
            let mut deleted = DeletedSecret::default();
            deleted.id = Some(format!("https://kv.vault.azure.net/secrets/{id}"));
            Version::of_deleted(deleted).id
        };
        assert_eq!(deleted("db/1a"), "1a");
        assert_eq!(deleted("db"), "");
    }
}
