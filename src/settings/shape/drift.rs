//! The keys about drift.

use super::{Field, Shape, field, list};
use crate::{
    policy::{OnStillStale, OnUnverifiable},
    settings::format,
};

/// The words of `sync.onStillStale`.
pub(super) const STILL_STALE: &[&str] = &[
    OnStillStale::Report.as_str(),
    OnStillStale::Refetch.as_str(),
    OnStillStale::Recreate.as_str(),
];

const UNVERIFIABLE: &[&str] = &[
    OnUnverifiable::Fail.as_str(),
    OnUnverifiable::Report.as_str(),
    OnUnverifiable::Sync.as_str(),
];

const CREDENTIALS: &[&str] = &["ambient", "store"];

static WHOSE: Shape = Shape::Word(CREDENTIALS);
static ENDPOINT: Shape = Shape::Text(&format::ENDPOINT);

/// The section `drift`.
pub(super) const FIELDS: &[Field] = &[
    field(
        "enabled",
        Shape::Switch,
        "Whether drift is checked; it needs to read the target Secrets, and the providers.",
    ),
    field(
        "credentials",
        Shape::Word(CREDENTIALS),
        "What providers are read with: the job's own credentials, or those that each store names.",
    ),
    field(
        "stores",
        Shape::Entries {
            key: &format::STORE,
            value: &WHOSE,
        },
        "The same by store: `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`.",
    ),
    field(
        "endpoints",
        list(&ENDPOINT),
        "Where the job's own credentials may go beyond the clouds' own hosts.",
    ),
    field(
        "namespacedStores",
        Shape::Switch,
        "Whether the job's own credentials may read for a SecretStore. Whoever can write one could then aim them at secrets \
         that are not theirs.",
    ),
    field(
        "onUnverifiable",
        Shape::Word(UNVERIFIABLE),
        "What becomes of those of which it cannot be told: they are left alone and the run counts as failed; they are left \
         alone; or they are synced as if they had drifted.",
    ),
];
