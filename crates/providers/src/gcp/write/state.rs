//! What Secret Manager says about a secret and its versions.

use google_cloud_secretmanager_v1::model::{
    Secret, SecretVersion, secret::SecretType, secret_version::State,
};
use jiff::Timestamp;
use publish::{Held, History, Owner, Presence, Refusal, Version, VersionState};

use super::recorded::Recorded;
use crate::{
    Unread,
    holder::{ORPHANED, OWNER, SOURCE},
    unread,
};

/// A version of a secret.
pub(super) struct Numbered {
    /// Versions count from 1.
    pub(super) number: u64,
    pub(super) state: VersionState,
    pub(super) created: Option<Timestamp>,
    pub(super) etag: String,
}

impl Numbered {
    pub(super) fn of(version: SecretVersion) -> Result<Self, Unread> {
        Ok(Self {
            number: number(&version.name)?,
            state: match version.state {
                // A secret may delay destructions. Such a version is disabled until then.
                _ if version.scheduled_destroy_time.is_some() => VersionState::Destroyed,
                State::Enabled => VersionState::Enabled,
                State::Destroyed => VersionState::Destroyed,
                State::Disabled | State::Unspecified | State::UnknownValue(_) | _ => {
                    VersionState::Disabled
                }
            },
            created: version
                .create_time
                .and_then(|at| Timestamp::new(at.seconds(), at.nanos()).ok()),
            etag: version.etag,
        })
    }
}

/// The number in the name of a version.
pub(super) fn number(name: &str) -> Result<u64, Unread> {
    let number = name.rsplit_once("/versions/").map(|(_, number)| number);
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| {
            let detail = "Secret Manager returned a version without a number";
            Unread::secret(unread::UNREADABLE, detail)
        })
}

/// The version that `latest` means: the newest one, in any state.
pub(super) fn newest(versions: &[Numbered]) -> Option<&Numbered> {
    versions.iter().max_by_key(|version| version.number)
}

/// True if an alias refers to the version.
pub(super) fn is_named(secret: &Secret, number: u64) -> bool {
    let mut aliases = secret.version_aliases.values();
    aliases.any(|alias| u64::try_from(*alias) == Ok(number))
}

/// What a list tells: nothing about versions.
pub(super) fn listed(secret: &Secret, owner: &str) -> Held {
    let recorded = Recorded(&secret.annotations);
    let is_rotated = secret
        .rotation
        .as_ref()
        .is_some_and(|rotation| rotation.managed_rotation_status.is_some());
    Held {
        recorded: recorded.last().map(|last| last.mark),
        owner: Owner::of(recorded.text(OWNER), owner),
        refusal: if is_rotated {
            Some(Refusal::Rotated)
        } else {
            // Google writes its versions.
            (secret.secret_type == SecretType::CloudSqlDbCredentials).then_some(Refusal::Managed)
        },
        provenance: recorded.text(SOURCE).map(str::to_owned),
        orphaned_since: recorded.text(ORPHANED).and_then(|at| at.parse().ok()),
        ..Held::new(Presence::Present)
    }
}

/// What a description tells.
pub(super) fn described(secret: &Secret, versions: &[Numbered], owner: &str) -> Held {
    let recorded = Recorded(&secret.annotations);
    let newest = newest(versions);
    let current = newest.map(|newest| newest.number.to_string());
    let state = newest.map(|newest| newest.state);
    let of_list = listed(secret, owner);
    let own = recorded.versions();
    let old = versions
        .iter()
        .filter(|version| newest.is_none_or(|newest| newest.number != version.number));
    let history = History {
        earlier: recorded.earlier(),
        // `latest` never goes back.
        went_back: false,
        writes: versions
            .iter()
            .filter_map(|version| version.created)
            .collect(),
        versions: old
            .map(|version| {
                let id = version.number.to_string();
                Version {
                    created: version.created,
                    is_ours: own.contains(&id),
                    state: version.state,
                    is_named: is_named(secret, version.number),
                    id,
                }
            })
            .collect(),
        last_read: None,
    };
    Held {
        presence: match state {
            None | Some(VersionState::Destroyed) => Presence::Empty,
            Some(VersionState::Enabled | VersionState::Disabled) => Presence::Present,
        },
        mark: current
            .as_deref()
            .and_then(|current| recorded.last()?.of_version(current)),
        recorded: None,
        refusal: of_list
            .refusal
            .or((state == Some(VersionState::Disabled)).then_some(Refusal::Disabled)),
        version: current,
        history: Some(history),
        ..of_list
    }
}
