//! The document that `advise -o json|yaml` prints, and the patch with the suggested intervals.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eso_model::{ProviderKind, ProviderName, QuotaKey, duration::GoDuration, refresh::Refresh};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    MONTH,
    rotation::{KeyRotation, RotationState},
    stores::{AdviceStore, Intervals, rounded, stores},
    suggest::{Needs, Reason, Suggestion, Verdict, queue, suggest},
    units::{Facts, Member, Unit, interval_of},
    warnings::{AdviceWarning, warnings},
};
use crate::{
    exit::Exit,
    foreign::Foreign,
    policy::Advise,
    report::{API_VERSION, DocumentGap, DocumentStore, Run},
};

/// Advice about refresh intervals.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// `Advice`
    pub kind: &'static str,
    /// The run that printed the document.
    pub run: Run,
    pub summary: AdviceSummary,
    /// The prices of 10,000 reads that the costs are computed with.
    pub prices: Vec<AdvicePrice>,
    /// The quotas that the shares are computed with.
    pub quotas: Vec<AdviceQuota>,
    /// Every store, sorted.
    pub stores: Vec<AdviceStore>,
    /// Every selected ExternalSecret, sorted by namespace and name.
    pub items: Vec<AdviceItem>,
    pub warnings: Vec<AdviceWarning>,
    /// Resources that could not be read, and are missing in `items`.
    pub gaps: Vec<DocumentGap>,
    /// The patches of `--patch`.
    #[serde(skip)]
    pub(super) patches: Vec<Patch>,
}

/// Totals. Costs leave out what has no known price.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdviceSummary {
    /// The number of selected ExternalSecrets.
    pub external_secrets: usize,
    /// The number of ExternalSecrets by verdict.
    pub verdicts: BTreeMap<Verdict, usize>,
    /// Provider calls a month.
    pub reads_per_month: f64,
    /// Their cost in US dollars.
    pub usd_per_month: f64,
    /// Provider calls a month with the suggested intervals.
    pub suggested_reads_per_month: f64,
    /// Their cost in US dollars.
    pub suggested_usd_per_month: f64,
    /// What the suggestions save in a month, in US dollars; negative if they cost more.
    pub saved_usd_per_month: f64,
    /// The share of the operator's time that the refreshes take, from 0; more than 1 is more than it has.
    pub operator_load: f64,
    /// The same with the suggested intervals.
    pub suggested_operator_load: f64,
}

/// The price of reads at a provider.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdvicePrice {
    pub provider: String,
    /// US dollars for 10,000 reads; absent if the price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_10_000: Option<f64>,
    /// Where the price is from: an address, or `advise.prices`.
    pub source: String,
    /// The month of the list price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<&'static str>,
}

/// The quota of reads at a provider, for each account, vault or project.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdviceQuota {
    pub provider: String,
    /// Calls per second; absent if there is no quota, or none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_second: Option<f64>,
    /// Where the quota is from: an address, or `advise.quotas`.
    pub source: String,
    /// The month of the provider's default quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<&'static str>,
}

/// One ExternalSecret.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdviceItem {
    pub namespace: Foreign,
    /// The name of the ExternalSecret.
    pub name: Foreign,
    /// The ClusterExternalSecret that sets its interval; absent if it sets its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Foreign>,
    /// The store of its spec; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<DocumentStore>,
    /// `Periodic`, `OnChange` or `CreatedOnce`.
    pub refresh_policy: &'static str,
    /// The refresh interval in seconds; absent if it is not refreshed periodically.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<f64>,
    /// Provider calls of one refresh, computed from the spec.
    pub reads: u32,
    /// Provider calls a month.
    pub reads_per_month: f64,
    /// Their cost in US dollars; absent if the price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_month: Option<f64>,
    /// How long a change stays unseen on average, in seconds; absent if it is not refreshed periodically.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_staleness_seconds: Option<f64>,
    /// The longest time, with the operator's queue if all are due at once; absent if it is not refreshed periodically.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_staleness_seconds: Option<f64>,
    /// The share of the provider's quota that it uses; absent without a known quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_share: Option<f64>,
    /// The share of the operator's time that it takes.
    pub operator_load: f64,
    pub verdict: Verdict,
    /// Why the verdict is not `good`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The suggested interval as a Go duration; absent if the present one is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_interval: Option<String>,
    /// The suggested interval in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_interval_seconds: Option<u64>,
    /// What the suggestion saves in a month, in US dollars; negative if it costs more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_usd_per_month: Option<f64>,
    /// With `--rotation`: when the keys that it reads are rotated, sorted by store and key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub rotations: Vec<AdviceRotation>,
}

/// When a key is rotated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdviceRotation {
    /// `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`; absent if the spec is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<Foreign>,
    /// The remote key; absent for a search, and if the spec is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Foreign>,
    pub state: RotationState,
    /// The next rotation; absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub next: Option<Timestamp>,
    /// The time between two rotations in seconds; absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u64>,
    /// How long an old value is taken to stay valid after a rotation, in seconds: 0 with one user, the period with two; absent if it is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<u64>,
    /// Why it could not be looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Foreign>,
}

impl From<&KeyRotation> for AdviceRotation {
    fn from(of: &KeyRotation) -> Self {
        Self {
            store: of.store.as_ref().map(|store| store.to_string().into()),
            key: of.key.as_deref().map(Into::into),
            state: of.state,
            next: of.schedule.next,
            period_seconds: of.schedule.period.map(|period| period.as_secs()),
            overlap_seconds: of.overlap.map(|overlap| overlap.as_secs()),
            why: of.why.as_deref().map(Into::into),
        }
    }
}

impl AdviceItem {
    fn has_unknown_rotation(&self) -> bool {
        let mut rotations = self.rotations.iter();
        rotations.any(|rotation| rotation.state == RotationState::Unknown)
    }
}

/// The object whose interval changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    ExternalSecret { namespace: String, name: String },
    ClusterExternalSecret(String),
}

/// A change of one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) owner: Owner,
    pub(super) interval: Duration,
}

/// Makes the document.
pub fn advice(facts: Facts<'_>, run: Run) -> Advice {
    let Facts {
        inventory, advise, ..
    } = facts;
    let units = Unit::of(facts);
    let suggestions = suggest(&units, advise);
    let present: Vec<Option<Duration>> = units.iter().map(Unit::interval).collect();
    let intervals: Vec<Option<Duration>> = suggestions.iter().map(|it| it.interval).collect();
    let (now, then) = (Needs::of(&units, &present), Needs::of(&units, &intervals));
    let queue = queue(&units, advise);
    let mut items: Vec<AdviceItem> = units
        .iter()
        .zip(&suggestions)
        .flat_map(|(unit, suggestion)| {
            let members = unit.members.iter();
            members.map(|member| item(unit, member, *suggestion, queue, advise))
        })
        .collect();
    items.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let patches = units.iter().zip(&suggestions);
    let patches = patches.filter_map(|(unit, suggestion)| patch(unit, *suggestion));
    let of_stores = Intervals {
        present: &present,
        suggested: &intervals,
        now: &now,
        then: &then,
        queue,
    };
    let mut advice = Advice {
        api_version: API_VERSION,
        kind: "Advice",
        run,
        summary: summary(&items, [&now, &then], advise),
        prices: prices(&now, advise),
        quotas: quotas(&now, advise),
        stores: stores(&units, &of_stores, facts),
        items,
        warnings: warnings(&units, &then, facts),
        gaps: inventory.gaps.iter().map(DocumentGap::from).collect(),
        patches: patches.collect(),
    };
    advice.run.exit_code = advice.exit().code();
    advice
}

fn item(
    unit: &Unit<'_>,
    member: &Member<'_>,
    suggestion: Suggestion,
    queue: Duration,
    advise: &Advise,
) -> AdviceItem {
    let one = member.external_secret;
    let present = interval_of(one.refresh);
    let changed = (suggestion.interval != present)
        .then_some(suggestion.interval)
        .flatten();
    let per_month = |interval: Option<Duration>| {
        interval.map_or(0.0, |interval| MONTH / interval.as_secs_f64())
    };
    let usd = |interval| Some(rounded(member.usd? * per_month(interval)));
    let rate = |calls: f64| present.map_or(0.0, |interval| calls / interval.as_secs_f64());
    let share = |(quota, calls): &(QuotaKey, u32)| {
        let quota = advise.quotas.of(&quota.provider)?;
        Some(rate(f64::from(*calls)) / quota)
    };
    let shares = member.charges.accounts.iter().filter_map(share);
    let load = Needs {
        refreshes: rate(1.0),
        ..Needs::default()
    };
    AdviceItem {
        namespace: (&one.id.namespace).into(),
        name: (&one.id.name).into(),
        parent: unit.parent.map(Into::into),
        store: one.store_keys().next().map(|store| DocumentStore {
            kind: store.kind(),
            name: store.name().into(),
        }),
        refresh_policy: match one.refresh {
            Refresh::Periodic(_) => "Periodic",
            Refresh::OnChange => "OnChange",
            Refresh::CreatedOnce => "CreatedOnce",
        },
        interval_seconds: match one.refresh {
            Refresh::Periodic(interval) => Some(interval.as_secs_f64()),
            Refresh::OnChange | Refresh::CreatedOnce => None,
        },
        reads: member.charges.total(),
        reads_per_month: (member.calls() * per_month(present)).round(),
        usd_per_month: usd(present),
        mean_staleness_seconds: present.map(|interval| interval.as_secs_f64() / 2.0),
        worst_staleness_seconds: present.map(|interval| (interval + queue).as_secs_f64().round()),
        quota_share: shares.reduce(f64::max).map(rounded),
        operator_load: rounded(load.load(advise)),
        verdict: suggestion.verdict,
        reason: suggestion.reason,
        suggested_interval: changed.map(|interval| GoDuration(interval).to_string()),
        suggested_interval_seconds: changed.map(|interval| interval.as_secs()),
        saved_usd_per_month: changed
            .and_then(|_| Some(rounded(usd(present)? - usd(suggestion.interval)?))),
        rotations: member.rotations.iter().map(AdviceRotation::from).collect(),
    }
}

fn patch(unit: &Unit<'_>, suggestion: Suggestion) -> Option<Patch> {
    let interval = suggestion.interval?;
    if Some(interval) == unit.interval() {
        return None;
    }
    let id = &unit.members.first()?.external_secret.id;
    let own = || Owner::ExternalSecret {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    };
    let parent = |name: &str| Owner::ClusterExternalSecret(name.to_owned());
    let owner = unit.parent.map_or_else(own, parent);
    Some(Patch { owner, interval })
}

fn summary(items: &[AdviceItem], [now, then]: [&Needs; 2], advise: &Advise) -> AdviceSummary {
    let mut verdicts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for item in items {
        *verdicts.entry(item.verdict).or_default() += 1;
    }
    let reads =
        |needs: &Needs| (needs.calls.values().fold(0.0, |sum, calls| sum + calls) * MONTH).round();
    AdviceSummary {
        external_secrets: items.len(),
        verdicts,
        reads_per_month: reads(now),
        usd_per_month: rounded(now.usd),
        suggested_reads_per_month: reads(then),
        suggested_usd_per_month: rounded(then.usd),
        saved_usd_per_month: rounded(now.usd - then.usd),
        operator_load: rounded(now.load(advise)),
        suggested_operator_load: rounded(then.load(advise)),
    }
}

/// The providers that are read.
fn read(needs: &Needs) -> BTreeSet<&ProviderKind> {
    needs.calls.keys().map(|quota| &quota.provider).collect()
}

fn quotas(needs: &Needs, advise: &Advise) -> Vec<AdviceQuota> {
    let of = |kind: &ProviderKind| {
        let own = ProviderName::value_of(&advise.quotas.0, kind).is_some();
        let (source, as_of) = match kind.facts().read_quota {
            _ if own => ("advise.quotas", None),
            Some(quota) => (quota.source, Some(quota.as_of)),
            None => ("none is known: advise.quotas can set one", None),
        };
        AdviceQuota {
            provider: ProviderName::from(kind).as_str().to_owned(),
            calls_per_second: advise.quotas.of(kind),
            source: source.to_owned(),
            as_of,
        }
    };
    read(needs).into_iter().map(of).collect()
}

/// The prices of the providers that are read.
fn prices(needs: &Needs, advise: &Advise) -> Vec<AdvicePrice> {
    let of = |kind: &ProviderKind| {
        let usd = advise.prices.of(kind);
        let listed = kind.facts().price;
        let own = ProviderName::value_of(&advise.prices.0, kind).is_some();
        let (source, as_of) = match (own, listed, usd) {
            (true, _, _) => ("advise.prices", None),
            (false, Some(price), _) => (price.source, Some(price.as_of)),
            (false, None, Some(_)) => ("reads are free", None),
            (false, None, None) => ("not known: set advise.prices", None),
        };
        let service = ProviderName::from(kind);
        AdvicePrice {
            provider: service.as_str().to_owned(),
            usd_per_10_000: usd,
            source: source.to_owned(),
            as_of,
        }
    };
    read(needs).into_iter().map(of).collect()
}

impl Advice {
    /// 3 if something could not be read, or has no verdict.
    pub fn exit(&self) -> Exit {
        let unknown = self
            .items
            .iter()
            .any(|item| item.verdict == Verdict::Unknown || item.has_unknown_rotation());
        if unknown || !self.gaps.is_empty() {
            Exit::Failed
        } else {
            Exit::Done
        }
    }

    /// The suggested intervals as patches for kustomize, one document for each object.
    pub fn patch(&self, api_version: &str) -> Result<String, String> {
        if self.patches.is_empty() {
            return Ok("# no interval needs a change\n".to_owned());
        }
        let mut text = String::new();
        for Patch { owner, interval } in &self.patches {
            let interval = GoDuration(*interval).to_string();
            let document = match owner {
                Owner::ExternalSecret { namespace, name } => serde_json::json!({
                    "apiVersion": api_version, "kind": "ExternalSecret",
                    "metadata": {"namespace": namespace, "name": name},
                    "spec": {"refreshInterval": interval},
                }),
                Owner::ClusterExternalSecret(name) => serde_json::json!({
                    "apiVersion": api_version, "kind": "ClusterExternalSecret",
                    "metadata": {"name": name},
                    "spec": {"externalSecretSpec": {"refreshInterval": interval}},
                }),
            };
            let document = serde_saphyr::to_string(&document).map_err(|error| error.to_string())?;
            text.push_str("---\n");
            text.push_str(&document);
        }
        Ok(text)
    }
}
