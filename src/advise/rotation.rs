//! What the rotation schedules of secrets allow. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eso_model::{
    StoreKey,
    expected::{Spec, What, reads},
    rotation::{RemoteSecret, Rotation, Schedule},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::inventory::ExternalSecret;

/// The shortest overlap that an interval can be short enough for: the shortest interval is half of it.
const SHORTEST_OVERLAP: Duration = Duration::from_mins(2);

/// Whether an old value stays valid after a rotation. The metadata of a secret does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Users {
    /// Each rotation changes the password of the one user: the old value ends with the rotation
    OneUser,
    /// Rotations alternate between two users: the old value stays valid until the next rotation
    TwoUsers,
}

/// The rotation schedules that were looked up.
#[derive(Clone, Debug)]
pub struct Rotations {
    pub users: Users,
    /// What is known about each secret, or why it is not.
    pub of: BTreeMap<RemoteSecret, Result<Rotation, String>>,
}

/// What is known about the rotation of a key.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum RotationState {
    /// The provider has a schedule for it. In Azure: a time at which it expires.
    Scheduled,
    /// The provider has no schedule for it. Somebody may still change it at any time.
    Unscheduled,
    /// Providers of this type keep no schedules.
    NotKept,
    /// A search finds the keys when it reads them, so they are not looked up.
    Search,
    /// It could not be looked up.
    Unknown,
}

/// The rotation of one key, or of what a search finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRotation {
    /// None if the spec is not known.
    pub(super) store: Option<StoreKey>,
    /// None for a search, and if the spec is not known.
    pub(super) key: Option<String>,
    pub(super) state: RotationState,
    pub(super) schedule: Schedule,
    /// How long an old value stays valid after a rotation; None if it is not known.
    pub(super) overlap: Option<Duration>,
    /// Why it could not be looked up.
    pub(super) why: Option<String>,
}

/// The secrets whose rotation advice about these ExternalSecrets needs.
pub fn rotated<'a>(
    selected: impl IntoIterator<Item = &'a ExternalSecret>,
) -> BTreeSet<RemoteSecret> {
    let mut wanted = BTreeSet::new();
    for external_secret in selected {
        let found = keys(external_secret).into_iter().flatten();
        wanted.extend(found.filter_map(|(store, key)| {
            Some(RemoteSecret {
                namespace: external_secret.id.namespace.clone(),
                store,
                key: key?,
            })
        }));
    }
    wanted
}

/// The stores and keys that it reads, without a key for a search; or why they are not known.
fn keys(external_secret: &ExternalSecret) -> Result<BTreeSet<(StoreKey, Option<String>)>, String> {
    let spec = external_secret.spec.as_deref();
    let spec = spec.ok_or("the specs of its namespace are too large to be kept in memory")?;
    let spec = Spec::from_json(spec);
    let spec = spec.map_err(|error| format!("its spec cannot be parsed: {error}"))?;
    let namespace = &external_secret.id.namespace;
    let of = reads(&spec).into_iter().map(|read| {
        let key = match read.what {
            What::Secret { key, .. } => Some(key),
            What::Find { .. } => None,
        };
        (read.store.key(namespace), key)
    });
    Ok(of.collect())
}

impl Rotations {
    /// What is known about the keys of this ExternalSecret.
    pub(super) fn of(&self, external_secret: &ExternalSecret) -> Vec<KeyRotation> {
        match keys(external_secret) {
            Ok(keys) => {
                let namespace = &external_secret.id.namespace;
                let keys = keys.into_iter();
                keys.map(|(store, key)| self.key(namespace, store, key))
                    .collect()
            }
            Err(why) => vec![KeyRotation {
                store: None,
                ..KeyRotation::without_schedule(RotationState::Unknown, Some(why))
            }],
        }
    }

    fn key(&self, namespace: &str, store: StoreKey, key: Option<String>) -> KeyRotation {
        use RotationState::{NotKept, Scheduled, Search, Unknown, Unscheduled};
        let Some(key) = key else {
            return KeyRotation {
                store: Some(store),
                ..KeyRotation::without_schedule(Search, None)
            };
        };
        let secret = RemoteSecret {
            namespace: namespace.to_owned(),
            store,
            key,
        };
        let known = match self.of.get(&secret) {
            Some(Ok(Rotation::Scheduled(schedule))) => KeyRotation {
                schedule: *schedule,
                overlap: self.overlap(*schedule),
                ..KeyRotation::without_schedule(Scheduled, None)
            },
            Some(Ok(Rotation::Unscheduled)) => KeyRotation::without_schedule(Unscheduled, None),
            Some(Ok(Rotation::NotKept)) => KeyRotation::without_schedule(NotKept, None),
            Some(Err(why)) => KeyRotation::without_schedule(Unknown, Some(why.clone())),
            None => {
                let why = "it was not looked up".to_owned();
                KeyRotation::without_schedule(Unknown, Some(why))
            }
        };
        KeyRotation {
            store: Some(secret.store),
            key: Some(secret.key),
            ..known
        }
    }

    const fn overlap(&self, schedule: Schedule) -> Option<Duration> {
        match self.users {
            Users::OneUser => Some(Duration::ZERO),
            Users::TwoUsers => schedule.period,
        }
    }
}

impl KeyRotation {
    fn without_schedule(state: RotationState, why: Option<String>) -> Self {
        Self {
            store: None,
            key: None,
            state,
            schedule: Schedule::default(),
            overlap: None,
            why,
        }
    }

    /// The longest interval with which no Secret has a value that is no longer valid: half of the overlap. None without a rotation,
    /// and if no interval is short enough.
    pub(super) fn longest_interval(&self) -> Option<Duration> {
        let overlap = self.overlap.filter(|it| *it >= SHORTEST_OVERLAP)?;
        Some(overlap / 2)
    }

    /// True if it is rotated, and no interval is short enough.
    pub(super) fn outruns_refreshes(&self) -> bool {
        self.state == RotationState::Scheduled && self.longest_interval().is_none()
    }
}
