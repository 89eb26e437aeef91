//! What advice about single intervals does not say.

use std::{collections::BTreeMap, time::Duration};

use eso_model::{
    Id, StoreKey,
    expected::{Spec, What, reads},
    refresh::Refresh,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    rotation::{KeyRotation, Users},
    suggest::{Limit, Needs},
    units::{Facts, Member, Unit, interval_of},
};
use crate::{foreign::Foreign, inventory::ExternalSecret};

/// From this many readers, a key is read by many.
const MANY_READERS: usize = 5;

/// A search at a shorter interval is worth a warning: it lists, and reads everything that it finds.
const SHORT: Duration = Duration::from_mins(15);

/// From this many ExternalSecrets that are due within [`TOGETHER`], they are a herd.
const HERD: usize = 20;

/// In seconds.
const TOGETHER: i64 = 10;

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdviceWarning {
    pub warning: Warning,
    /// Details for people.
    pub message: Foreign,
    /// The ExternalSecrets, as `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub items: Vec<Foreign>,
}

impl AdviceWarning {
    /// A warning about these ExternalSecrets. None without any.
    fn about(warning: Warning, message: &str, items: Vec<Foreign>) -> Option<Self> {
        let message = message.into();
        (!items.is_empty()).then_some(Self {
            warning,
            message,
            items,
        })
    }
}

/// The kinds of warnings.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Warning {
    /// `refreshInterval: 0`: never refreshed, and a force-sync is ignored.
    IntervalZero,
    /// `refreshPolicy: CreatedOnce`: never refreshed, and a force-sync is ignored.
    CreatedOnce,
    /// Many ExternalSecrets with the same interval are refreshed at the same time.
    Herd,
    /// A search at a short interval.
    SearchAtShortInterval,
    /// A key is read by many ExternalSecrets.
    KeyReadByMany,
    /// Its secrets are rotated, and no interval is short enough for that.
    RotationOutrunsRefreshes,
    /// The suggested intervals exceed a limit, because no longer ones are suggested.
    LimitNotMet,
}

/// Returns the warnings about these units, and about the limits that the suggestions do not meet.
pub(super) fn warnings(
    units: &[Unit<'_>],
    suggested: &Needs,
    facts: Facts<'_>,
) -> Vec<AdviceWarning> {
    let members = units.iter().flat_map(|unit| &unit.members);
    let all: Vec<&ExternalSecret> = members.map(|member| member.external_secret).collect();
    let mut warnings = Vec::new();
    let mut add = |warning, message: &str, items: Vec<Foreign>| {
        warnings.extend(AdviceWarning::about(warning, message, items));
    };
    let with = |is: &dyn Fn(&ExternalSecret) -> bool| -> Vec<Foreign> {
        let those = all.iter().filter(|one| is(one));
        those.map(|one| name(&one.id)).collect()
    };
    add(
        Warning::IntervalZero,
        "they are read once, and the operator ignores a force-sync. A long interval costs as little and accepts one",
        with(&|one| one.refresh == Refresh::Periodic(Duration::ZERO)),
    );
    add(
        Warning::CreatedOnce,
        "they are read once, and the operator ignores a force-sync",
        with(&|one| one.refresh == Refresh::CreatedOnce),
    );
    add(
        Warning::SearchAtShortInterval,
        "each refresh lists, and reads everything that the search finds. Use an interval of at least 15 minutes, or name the keys",
        with(&|one| {
            let searches = one.stores.iter().any(|of| of.calls.searches > 0);
            searches && interval_of(one.refresh).is_some_and(|interval| interval < SHORT)
        }),
    );
    for (interval, herd) in herds(&all) {
        let seconds = interval.as_secs();
        let message = format!(
            "they have the interval of {seconds} s and are refreshed within {TOGETHER} s of each other. Spread the intervals by 10 %"
        );
        add(Warning::Herd, &message, herd);
    }
    for ((store, key), readers) in shared(&all) {
        let message = format!(
            "each reads {key} from {store}. One ExternalSecret and references to its Secret, or the provider `kubernetes`, read it once"
        );
        add(Warning::KeyReadByMany, &message, readers);
    }
    warnings.extend(outrun_by_rotations(units, facts));
    let unmet = suggested.exceeded(facts.advise).into_iter();
    warnings.extend(unmet.map(|limit| AdviceWarning {
        warning: Warning::LimitNotMet,
        message: unmet_limit(&limit).into(),
        items: Vec::new(),
    }));
    warnings
}

const fn outrun(users: Users) -> &'static str {
    match users {
        Users::OneUser => {
            "their secrets are rotated, and an old value may end with the rotation, so that no interval is short enough. Let events trigger the syncs (`events.queues`), or run `eso-sync sync` after each rotation. If the rotations alternate between two users: `--rotation=two-users`"
        }
        Users::TwoUsers => {
            "their secrets are rotated, and the time between two rotations is not known or less than two minutes, so that no interval is known to be short enough. Let events trigger the syncs (`events.queues`), or run `eso-sync sync` after each rotation"
        }
    }
}

/// The warning about the ExternalSecrets that are refreshed, and that a rotation outruns.
fn outrun_by_rotations(units: &[Unit<'_>], facts: Facts<'_>) -> Option<AdviceWarning> {
    let message = outrun(facts.rotations?.users);
    let is_outrun = |member: &&Member<'_>| {
        let mut keys = member.rotations.iter();
        keys.any(KeyRotation::outruns_refreshes)
    };
    let units = units.iter();
    let refreshed = units.filter(|unit| !unit.is_covered && unit.interval().is_some());
    let members = refreshed.flat_map(|unit| &unit.members).filter(is_outrun);
    let items = members.map(|member| name(&member.external_secret.id));
    AdviceWarning::about(Warning::RotationOutrunsRefreshes, message, items.collect())
}

fn unmet_limit(limit: &Limit) -> String {
    match limit {
        Limit::Quota(quota) => {
            format!("the refreshes use more than a tenth of the quota of {quota}")
        }
        Limit::Operator => {
            "the refreshes take more than half of the operator's time: raise its `--concurrent`"
                .to_owned()
        }
        Limit::Budget => "the refreshes cost more than `advise.budget`".to_owned(),
    }
}

fn name(id: &Id) -> Foreign {
    id.to_string().into()
}

/// The ExternalSecrets with one interval that are refreshed together.
fn herds(all: &[&ExternalSecret]) -> Vec<(Duration, Vec<Foreign>)> {
    let mut by_interval: BTreeMap<Duration, Vec<(Timestamp, &Id)>> = BTreeMap::new();
    for one in all {
        if let (Some(interval), Some(at)) = (interval_of(one.refresh), one.refreshed) {
            by_interval.entry(interval).or_default().push((at, &one.id));
        }
    }
    let mut herds = Vec::new();
    for (interval, mut refreshed) in by_interval {
        refreshed.sort_unstable();
        let together = |start: usize| {
            let rest = refreshed.get(start..)?;
            let (first, _) = rest.first()?;
            let end =
                rest.partition_point(|(at, _)| at.as_second() - first.as_second() <= TOGETHER);
            rest.get(..end)
        };
        let largest = (0..refreshed.len())
            .filter_map(together)
            .max_by_key(|herd| herd.len());
        if let Some(herd) = largest.filter(|herd| herd.len() >= HERD) {
            herds.push((interval, herd.iter().map(|(_, id)| name(id)).collect()));
        }
    }
    herds
}

/// The keys that many read, with their readers.
fn shared(all: &[&ExternalSecret]) -> Vec<((StoreKey, String), Vec<Foreign>)> {
    let mut readers: BTreeMap<(StoreKey, String), Vec<Foreign>> = BTreeMap::new();
    for one in all {
        let spec = one.spec.as_deref().map(Spec::from_json);
        let Some(Ok(spec)) = spec else { continue };
        for read in reads(&spec) {
            if let What::Secret { key, .. } = read.what {
                let store = read.store.key(&one.id.namespace);
                let by = readers.entry((store, key)).or_default();
                by.push(name(&one.id));
            }
        }
    }
    readers
        .into_iter()
        .map(|(key, mut by)| {
            by.dedup();
            (key, by)
        })
        .filter(|(_, by)| by.len() >= MANY_READERS)
        .collect()
}
