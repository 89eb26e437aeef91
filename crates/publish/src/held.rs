//! What a provider holds under a remote key now. Contains no value.

use eso_model::expected::Unverifiable;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    mark::{Mark, PropertyTag},
    target::Format,
};

/// One secret at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub presence: Presence,
    /// The provider's ID of the current version.
    pub version: Option<String>,
    /// The mark that is bound to the current version. None if eso-sync did not write this version.
    pub mark: Option<Mark>,
    /// The mark that is recorded, where a list does not tell the current version. With an equal value, it needs no renewal.
    pub recorded: Option<Mark>,
    pub owner: Owner,
    /// The reason why the provider, or its conventions, forbid writing it.
    pub refusal: Option<Refusal>,
    /// Where the current value comes from, as eso-sync recorded it.
    pub provenance: Option<String>,
    /// Since when it is recorded as orphaned.
    pub orphaned_since: Option<Timestamp>,
    /// The keys of a document that eso-sync wrote.
    pub properties: Vec<PropertyTag>,
    /// How the provider stores it. None if it has only one format.
    pub format: Option<Format>,
    /// What a list does not tell. None if the secret was only listed, which may be some minutes old.
    pub history: Option<History>,
}

impl Held {
    /// A secret in this state about which nothing else is known.
    pub const fn new(presence: Presence) -> Self {
        Self {
            presence,
            version: None,
            mark: None,
            recorded: None,
            owner: Owner::None,
            refusal: None,
            provenance: None,
            orphaned_since: None,
            properties: Vec::new(),
            format: None,
            history: None,
        }
    }

    /// A secret that the provider says does not exist. Nothing more can be told about it.
    pub fn absent() -> Self {
        Self {
            history: Some(History::default()),
            ..Self::new(Presence::Absent)
        }
    }
}

/// If a secret exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    Present,
    /// It exists, but no version has a value.
    Empty,
    /// It is deleted and can be restored, until this time if the provider says so.
    Retired {
        until: Option<Timestamp>,
    },
    /// The provider says that it does not exist.
    Absent,
    /// It could not be read. Never taken for absent.
    Unknown(Unverifiable),
}

/// Who owns a secret, by its owner tag `<owner>/<item>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It has no owner tag.
    None,
    /// This publisher, for this item.
    Ours { item: String },
    /// Another publisher, or a tag that is not understood.
    Other,
}

impl Owner {
    /// Parses the owner tag. `owner` is the ID of this publisher.
    pub fn of(tag: Option<&str>, owner: &str) -> Self {
        let Some(tag) = tag.filter(|tag| !tag.is_empty()) else {
            return Self::None;
        };
        match tag.rsplit_once('/') {
            Some((id, item)) if id == owner && !item.is_empty() => Self::Ours {
                item: item.to_owned(),
            },
            _ => Self::Other,
        }
    }

    /// The owner tag of an item.
    pub fn tag(owner: &str, item: &str) -> String {
        format!("{owner}/{item}")
    }
}

/// Why a secret must not be written.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Refusal {
    /// The provider rotates it.
    Rotated,
    /// Another service of the provider manages it: a database's credentials, a certificate's key.
    Managed,
    /// It is a replica of a secret in another region.
    Replica,
    /// Its current version is disabled, or locked.
    Disabled,
    /// The parameter has a type that is not written, for example `StringList`.
    OtherType,
}

/// The result of reading a secret and comparing it with the wanted value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    Equal,
    /// The keys of a document that differ; empty if the value is the whole secret.
    Different {
        properties: Vec<String>,
    },
    Unknown(Unverifiable),
}

/// What the description of one secret tells beyond a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The marks of earlier versions that eso-sync wrote, newest first. Without the last version that it wrote.
    pub earlier: Vec<Mark>,
    /// True if the current version is one of eso-sync, but not the last that it wrote: somebody went back to it.
    pub went_back: bool,
    /// When eso-sync wrote versions; when anybody did, if the provider does not tell them apart. In any order.
    pub writes: Vec<Timestamp>,
    /// The versions that exist, except the current one.
    pub versions: Vec<Version>,
    /// When it was last read by anybody, if the provider records it.
    pub last_read: Option<Timestamp>,
}

/// An old version of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub id: String,
    pub created: Option<Timestamp>,
    /// True if eso-sync wrote it.
    pub is_ours: bool,
    pub state: VersionState,
    /// True if a label or an alias refers to it.
    pub is_named: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    Enabled,
    Disabled,
    Destroyed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_tag_names_the_publisher_and_the_item() {
        let ours = |item: &str| Owner::Ours {
            item: item.to_owned(),
        };
        assert_eq!(
            Owner::of(Some(&Owner::tag("prod/eu", "idam")), "prod/eu"),
            ours("idam")
        );
        assert_eq!(Owner::of(Some("prod/eu/idam"), "prod"), Owner::Other);
        for (tag, owner) in [
            (None, Owner::None),
            (Some(""), Owner::None),
            (Some("prod"), Owner::Other),
            (Some("prod/"), Owner::Other),
            (Some("dev/idam"), Owner::Other),
        ] {
            assert_eq!(Owner::of(tag, "prod"), owner, "{tag:?}");
        }
    }
}
