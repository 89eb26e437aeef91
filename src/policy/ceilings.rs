//! The ceilings: what a policy may ask for. They are set by flags only, so that somebody who can edit the policy cannot widen
//! what the job does.
//!
//! [`KEYS`] classifies every key of the policy, and a test fails on a key that is missing there. [`Ceilings::hold`] applies the
//! table. It is pure, and every command that reads a policy uses it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use ::publish::plan::{Adopt, OnForeignChange, PruneMode};
use eso_model::ProviderName;
use pace::rate::{InvalidRate, Rate};
use providers::trust::{Credentials, Origin};

use super::{
    Drift, DuringDenyWindow, FailureLimit, InFlight, OnBrokenData, OnStillStale, OnUnverifiable,
    Pace, Policy, Require, RequireOwner, RestartRule, RestartWhen, Safety, Sync, When,
    events::QueueFrom,
    publish::{Create, PublishItem},
    ten_minutes,
};
use crate::{foreign::line, pattern::Wildcard, workload::Strategy};

/// Upper limits for any policy. The default limits nothing. Once `allow` is set, everything without a flag is limited to the
/// default of its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ceilings {
    /// The permitted actions and values (`--allow`). None: all.
    pub allow: Option<Vec<Capability>>,
    /// The endpoints that a policy may list (`--allow-endpoint`). Empty: all, or none if `allow` is set.
    pub endpoints: Vec<Origin>,
    /// The maximum of `safety.maxSyncs` (`--max-syncs`).
    pub max_syncs: Option<u32>,
    /// The maximum of `safety.maxRestarts` (`--max-restarts`).
    pub max_restarts: Option<u32>,
    /// The maxima of `pace` (`--max-rate`).
    pub max_rates: BTreeMap<RateOf, Rate>,
    /// The places that a policy may publish to (`--allow-target`). Empty: all, or none if `allow` is set.
    pub targets: Vec<Wildcard>,
    /// The repositories that a policy may publish from (`--allow-source`). Empty: all, or none if `allow` is set.
    pub sources: Vec<Wildcard>,
    /// The queues that a policy may receive from (`--allow-queue`). Empty: all, or none if `allow` is set.
    pub queues: Vec<Wildcard>,
    /// The receivers of messages that a policy may name (`--allow-notify`). Empty: all, or none if `allow` is set.
    pub notify: Vec<Wildcard>,
}

/// An action or a value that `--allow` can permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Capability {
    /// Read the values in providers and Secrets; changes nothing
    Drift,
    /// Force-sync ExternalSecrets
    Sync,
    /// Restart workloads
    Restart,
    /// Remove the operator's hash from a Secret that is still stale
    Refetch,
    /// Delete a Secret that is still stale
    Recreate,
    /// `sync.generators`: create new credentials
    Generators,
    /// `sync.annotation`: any key
    AnyAnnotation,
    /// `sync.retries`: more than the default
    Retries,
    /// `restart[].when`: also workloads that may run on current data
    RestartUnchanged,
    /// `restart[].require`: also on data that was not compared with the provider
    UnverifiedData,
    /// `restart[].onBrokenData`: also if keys vanished or values became empty
    BrokenData,
    /// `restart[].duringDenyWindow`: also while `syncWindows` deny syncs
    DenyWindow,
    /// `restart[].strategy`: evict pods
    Evict,
    /// `restart[].maxConcurrent`: more than one at a time
    ParallelRestarts,
    /// `restart[].cooldown` and `maxPerDay`: restarts of one workload more often than by default
    FrequentRestarts,
    /// `pace.inFlight`: any number
    InFlight,
    /// `safety.stopAfterFailures`: more failures than the default
    Failures,
    /// `drift.credentials` and `drift.stores`: use the credentials that stores name
    StoreCredentials,
    /// `drift.stores`: use the job's own credentials for single stores that the operator reads with fewer rights
    AmbientStores,
    /// `drift.namespacedStores`: use the job's own credentials for SecretStores, which tenants write
    NamespacedStores,
    /// `drift.onUnverifiable`: sync what cannot be verified
    Unverifiable,
    /// Publish values from repositories to providers
    Publish,
    /// `publish.items[].write.adopt`: take over secrets that have no owner
    Adopt,
    /// `publish.items[].write.onForeignChange`: overwrite what somebody else changed
    Overwrite,
    /// Publish values that are older than what was published. No policy key asks for it
    Revert,
    /// `publish.items[].create`: tags, KMS keys, locations and paid tiers of new secrets
    Creation,
    /// `publish.items[].prune.mode`: delete published secrets that the repository no longer has
    Prune,
    /// `publish.items[].versions.keep`: destroy old versions
    Destroy,
    /// `publish.items[].sops`: accept empty values, and values that are not encrypted, in encrypted files
    UnprotectedValues,
    /// `publish.items[].sops.kms`: decrypt with keys of key services
    KeyServices,
    /// Receive rotation events from queues
    Events,
    /// `events.owner`: also receive from queues without an owner tag
    UnownedQueues,
    /// `report.history`: keep summaries of runs in a ConfigMap of the job's namespace
    History,
    /// `lock.enabled`: run without the lock
    NoLock,
    /// `deadline`: later than the default
    LongDeadline,
    /// Send the job's token for the API server to a provider, for a login there. Only this word allows it
    ApiServerToken,
}

impl Capability {
    /// The word on the command line.
    pub(crate) fn word(self) -> String {
        use clap::ValueEnum as _;
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// The commands that it matters to.
    const fn concern(self) -> Concern {
        match self {
            Self::Drift => Concern::Reading,
            Self::StoreCredentials
            | Self::AmbientStores
            | Self::NamespacedStores
            | Self::LongDeadline
            | Self::ApiServerToken => Concern::ReadingAndPublishing,
            Self::Publish
            | Self::Adopt
            | Self::Overwrite
            | Self::Revert
            | Self::Creation
            | Self::Prune
            | Self::Destroy
            | Self::UnprotectedValues
            | Self::KeyServices
            | Self::History => Concern::Publishing,
            Self::Sync
            | Self::Restart
            | Self::Refetch
            | Self::Recreate
            | Self::Generators
            | Self::AnyAnnotation
            | Self::Retries
            | Self::RestartUnchanged
            | Self::UnverifiedData
            | Self::BrokenData
            | Self::DenyWindow
            | Self::Evict
            | Self::ParallelRestarts
            | Self::FrequentRestarts
            | Self::InFlight
            | Self::Failures
            | Self::Unverifiable
            | Self::Events
            | Self::UnownedQueues
            | Self::NoLock => Concern::Acting,
        }
    }
}

/// What a capability is about. All of them matter to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    /// Commands that cannot write.
    Reading,
    /// These, and `publish`.
    ReadingAndPublishing,
    /// `publish`, which neither syncs nor restarts. A run keeps a history, too.
    Publishing,
    /// Syncs and restarts.
    Acting,
}

/// What a rate of `--max-rate` is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RateOf {
    /// `pace.default`, and providers that have no rate of their own.
    Default,
    /// `pace.kubernetes`.
    ApiServer,
    /// `pace.restarts`.
    Restarts,
    /// `pace.providers`.
    Provider(ProviderName),
}

impl RateOf {
    const DEFAULT: &str = "default";
    const API_SERVER: &str = "api-server";
    const RESTARTS: &str = "restarts";
}

impl fmt::Display for RateOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => Self::DEFAULT,
            Self::ApiServer => Self::API_SERVER,
            Self::Restarts => Self::RESTARTS,
            Self::Provider(name) => name.as_str(),
        })
    }
}

/// One `--max-rate NAME=RATE`.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxRate {
    pub of: RateOf,
    pub rate: Rate,
}

/// The error for an invalid `--max-rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMaxRate {
    #[error(
        "write PROVIDER=RATE, for example `vault=50/s`; besides providers there are `default`, `api-server` and `restarts`"
    )]
    Form,
    #[error("the rate {0}; {hint}", hint = InvalidRate::HINT)]
    Rate(InvalidRate),
}

impl FromStr for MaxRate {
    type Err = InvalidMaxRate;

    fn from_str(text: &str) -> Result<Self, InvalidMaxRate> {
        let (name, rate) = text.split_once('=').ok_or(InvalidMaxRate::Form)?;
        let of = match name {
            RateOf::DEFAULT => RateOf::Default,
            RateOf::API_SERVER => RateOf::ApiServer,
            RateOf::RESTARTS => RateOf::Restarts,
            _ => RateOf::Provider(name.parse().map_err(|_| InvalidMaxRate::Form)?),
        };
        let rate = rate.parse().map_err(InvalidMaxRate::Rate)?;
        Ok(Self { of, rate })
    }
}

/// The place of a key: `["restart", "[0]", "cooldown"]`.
pub type Place = Vec<String>;

/// A key of a policy that exceeds a ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    pub place: Place,
    pub what: String,
    /// What would be valid, and the flag that would allow it.
    pub hint: String,
}

/// A key of the policy, and what holds it.
pub struct Key {
    /// `[]` stands for each entry of a list, `.*` for all keys below.
    pub path: &'static str,
    pub class: Class,
}

/// What holds a key.
pub enum Class {
    /// No value makes the job do more, or act with less care, than the default.
    Narrows,
    /// Chooses among what the job may do anyway. Names what bounds that.
    Scope(&'static str),
    /// Values that need words of `--allow`.
    Allowed {
        /// The values that need none.
        free: &'static str,
        /// The words that any value may need.
        words: &'static [Capability],
        /// Returns the values in a policy that need words.
        beyond: fn(&Policy) -> Vec<Beyond>,
    },
    /// Values that are limited by a flag of their own.
    Limited {
        /// The values that need no flag.
        free: &'static str,
        flag: &'static str,
        hold: fn(&mut Check<'_>),
    },
}

/// A value that needs words of `--allow`.
pub struct Beyond {
    place: Place,
    value: String,
    needs: Vec<Capability>,
}

/// A policy while its limits are checked.
pub struct Check<'a> {
    ceilings: &'a Ceilings,
    policy: &'a mut Policy,
    /// True if a source sets this key, false if it has its default.
    is_set: &'a dyn Fn(&[String]) -> bool,
    exceeded: Vec<Exceeded>,
}

const PUBLISHED: &str = "the owner tags of the secrets";
const SYNCS: &str = "the job's rights, `--max-syncs`, the rates";
const RESTARTS: &str = "the job's rights, `--max-restarts`";

/// The number that `pace.inFlight: auto` starts with.
const FIRST_IN_FLIGHT: u32 = 20;

/// All keys, in the order of the schema. A new key needs a row, and the table in `docs/ceilings.md` must be printed again.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    scope("select[].namespaces", SYNCS),
    scope("select[].namespaceSelector", SYNCS),
    scope("select[].labelSelector", SYNCS),
    scope("select[].names", SYNCS),
    scope("select[].stores[].kind", SYNCS),
    scope("select[].stores[].namespace", SYNCS),
    scope("select[].stores[].name", SYNCS),
    scope("select[].providers", SYNCS),
    scope("select[].states", SYNCS),
    scope("select[].overdueAfter", SYNCS),
    narrows("exclude[].*"),
    allowed("sync.when", "`never`", &[Capability::Sync],
        |policy| value(["sync", "when"], policy.sync.when != When::Never, &policy.sync.when.into_str(), Capability::Sync)),
    allowed("sync.annotation", "a key without a prefix, or under `eso-sync/` or `eso.external-secrets.io/`, or `external-secrets.io/force-sync`",
        &[Capability::AnyAnnotation],
        |policy| value(["sync", "annotation"], !is_our_annotation(&policy.sync.annotation), &policy.sync.annotation, Capability::AnyAnnotation)),
    allowed("sync.generators", "`false`", &[Capability::Generators],
        |policy| value(["sync", "generators"], policy.sync.generators, &"true", Capability::Generators)),
    scope("sync.timeout", "`deadline`"),
    allowed("sync.retries", "at most the default", &[Capability::Retries],
        |policy| value(["sync", "retries"], policy.sync.retries > Sync::default().retries, &policy.sync.retries, Capability::Retries)),
    allowed("sync.onStillStale", "`report`", &[Capability::Refetch, Capability::Recreate], remedies),
    scope("restart[].namespaces", RESTARTS),
    scope("restart[].labelSelector", RESTARTS),
    scope("restart[].names", RESTARTS),
    scope("restart[].match", RESTARTS),
    scope("restart[].kinds", RESTARTS),
    scope("restart[].secrets", RESTARTS),
    narrows("restart[].exclude[].*"),
    allowed("restart", "an empty list", &[Capability::Restart], |policy| {
        let any = !policy.restart.is_empty();
        any.then(|| Beyond { place: place(["restart"]), value: String::new(), needs: vec![Capability::Restart] }).into_iter().collect()
    }),
    allowed("restart[].when", "`changed`", &[Capability::RestartUnchanged],
        |policy| rules(policy, "when", Capability::RestartUnchanged, |rule|
            (rule.when != RestartWhen::Changed).then(|| rule.when.into_str().to_owned()))),
    allowed("restart[].require", "`in-sync`", &[Capability::UnverifiedData],
        |policy| rules(policy, "require", Capability::UnverifiedData, |rule|
            (rule.require != Require::InSync).then(|| rule.require.into_str().to_owned()))),
    allowed("restart[].onBrokenData", "`leave`", &[Capability::BrokenData],
        |policy| rules(policy, "onBrokenData", Capability::BrokenData, |rule|
            (rule.on_broken_data != OnBrokenData::Leave).then(|| rule.on_broken_data.into_str().to_owned()))),
    allowed("restart[].duringDenyWindow", "`leave`", &[Capability::DenyWindow],
        |policy| rules(policy, "duringDenyWindow", Capability::DenyWindow, |rule|
            (rule.during_deny_window != DuringDenyWindow::Leave).then(|| rule.during_deny_window.into_str().to_owned()))),
    allowed("restart[].strategy", "`rollout`", &[Capability::Evict],
        |policy| rules(policy, "strategy", Capability::Evict, |rule|
            (rule.strategy != Strategy::Rollout).then(|| rule.strategy.into_str().to_owned()))),
    allowed("restart[].maxConcurrent", "the default", &[Capability::ParallelRestarts],
        |policy| rules(policy, "maxConcurrent", Capability::ParallelRestarts, |rule|
            (rule.max_concurrent > RestartRule::default().max_concurrent).then(|| rule.max_concurrent.to_string()))),
    scope("restart[].wait", "`deadline`"),
    allowed("restart[].cooldown", "at least the default", &[Capability::FrequentRestarts],
        |policy| rules(policy, "cooldown", Capability::FrequentRestarts, |rule|
            (rule.cooldown < RestartRule::default().cooldown).then(|| duration(rule.cooldown)))),
    allowed("restart[].maxPerDay", "at most the default", &[Capability::FrequentRestarts],
        |policy| rules(policy, "maxPerDay", Capability::FrequentRestarts, |rule|
            (rule.max_per_day > RestartRule::default().max_per_day).then(|| rule.max_per_day.to_string()))),
    allowed("pace.inFlight", "`auto`, or at most 20", &[Capability::InFlight], |policy| match policy.pace.in_flight {
        InFlight::Fixed(number) => value(["pace", "inFlight"], number.get() > FIRST_IN_FLIGHT, &number, Capability::InFlight),
        InFlight::Auto => Vec::new(),
    }),
    limited("pace.default", "at most the default", "--max-rate default=RATE", |check| check.rate(&RateOf::Default)),
    limited("pace.providers", "at most the default", "--max-rate PROVIDER=RATE", provider_rates),
    narrows("pace.stores"),
    narrows("pace.writes"),
    limited("pace.kubernetes", "at most the default", "--max-rate api-server=RATE", |check| check.rate(&RateOf::ApiServer)),
    limited("pace.restarts", "at most the default", "--max-rate restarts=RATE", |check| check.rate(&RateOf::Restarts)),
    limited("safety.maxSyncs", "at most the default", "--max-syncs N", |check| {
        let most = check.ceilings.max_syncs;
        check.count(["safety", "maxSyncs"], "--max-syncs", most, Safety::default().max_syncs, |policy| &mut policy.safety.max_syncs);
    }),
    limited("safety.maxRestarts", "at most the default", "--max-restarts N", |check| {
        let most = check.ceilings.max_restarts;
        check.count(["safety", "maxRestarts"], "--max-restarts", most, Safety::default().max_restarts, |policy| &mut policy.safety.max_restarts);
    }),
    allowed("safety.stopAfterFailures", "at most the default", &[Capability::Failures], |policy| {
        let limit = policy.safety.stop_after_failures;
        value(["safety", "stopAfterFailures"], permits_more(limit, Safety::default().stop_after_failures), &limit, Capability::Failures)
    }),
    narrows("safety.requireMatch"),
    narrows("safety.keyNames"),
    allowed("drift.enabled", "`false`", &[Capability::Drift],
        |policy| value(["drift", "enabled"], policy.drift.enabled, &"true", Capability::Drift)),
    allowed("drift.credentials", "`ambient`", &[Capability::StoreCredentials],
        |policy| value(["drift", "credentials"], policy.drift.credentials == Credentials::Store, &"store", Capability::StoreCredentials)),
    allowed("drift.stores", "an empty map", &[Capability::AmbientStores, Capability::StoreCredentials], single_stores),
    limited("drift.endpoints", "an empty list", "--allow-endpoint URL", endpoints),
    allowed("drift.namespacedStores", "`false`", &[Capability::NamespacedStores],
        |policy| value(["drift", "namespacedStores"], policy.drift.namespaced_stores, &"true", Capability::NamespacedStores)),
    allowed("drift.onUnverifiable", "`fail` or `report`", &[Capability::Unverifiable],
        |policy| value(["drift", "onUnverifiable"], policy.drift.on_unverifiable == OnUnverifiable::Sync, &"sync", Capability::Unverifiable)),
    narrows("advise.*"),
    scope("publish.owner", PUBLISHED),
    scope("publish.key", "the job's own namespace, files and environment"),
    allowed("publish.items", "an empty list", &[Capability::Publish], publish_items),
    scope("publish.items[].name", PUBLISHED),
    narrows("publish.items[].suspend"),
    limited("publish.items[].source.*", "nothing", "--allow-source GLOB", publish_sources),
    scope("publish.items[].read.*", "`--allow-source`"),
    scope("publish.items[].sops.keys", "the job's own namespace, files and environment"),
    allowed("publish.items[].sops.kms", "an empty list", &[Capability::KeyServices],
        |policy| items(policy, ["sops", "kms"], Capability::KeyServices, |item|
            item.sops.kms.first().map(ToString::to_string))),
    allowed("publish.items[].sops.allowEmpty", "`false`", &[Capability::UnprotectedValues],
        |policy| items(policy, ["sops", "allowEmpty"], Capability::UnprotectedValues, |item|
            item.sops.allow_empty.then(|| "true".to_owned()))),
    allowed("publish.items[].sops.allowUnencrypted", "`false`", &[Capability::UnprotectedValues],
        |policy| items(policy, ["sops", "allowUnencrypted"], Capability::UnprotectedValues, |item|
            item.sops.allow_unencrypted.then(|| "true".to_owned()))),
    limited("publish.items[].to.*", "nothing", "--allow-target GLOB", publish_targets),
    scope("publish.items[].names.*", "`--allow-target`, and the owner tags of the secrets"),
    scope("publish.items[].layout", "`--allow-target`, and the owner tags of the secrets"),
    allowed("publish.items[].create.*", "an empty map", &[Capability::Creation], creations),
    narrows("publish.items[].write.when"),
    allowed("publish.items[].write.adopt", "`never`", &[Capability::Adopt],
        |policy| items(policy, ["write", "adopt"], Capability::Adopt, |item|
            (item.write.adopt != Adopt::Never).then(|| item.write.adopt.into_str().to_owned()))),
    allowed("publish.items[].write.onForeignChange", "`report`", &[Capability::Overwrite],
        |policy| items(policy, ["write", "onForeignChange"], Capability::Overwrite, |item| {
            let asked = item.write.on_foreign_change;
            (asked != OnForeignChange::Report).then(|| asked.into_str().to_owned())
        })),
    allowed("publish.items[].versions.keep", "no value", &[Capability::Destroy],
        |policy| items(policy, ["versions", "keep"], Capability::Destroy, |item|
            item.versions.keep.map(|keep| keep.to_string()))),
    allowed("publish.items[].prune.mode", "`report`", &[Capability::Prune],
        |policy| items(policy, ["prune", "mode"], Capability::Prune, |item|
            (item.prune.mode != PruneMode::Report).then(|| item.prune.mode.into_str().to_owned()))),
    scope("publish.items[].prune.after", "`--allow prune`, and `--max-prunes`"),
    scope("publish.items[].prune.max", "`--allow prune`, and `--max-prunes`"),
    allowed("publish.items[].then.sync", "`false`", &[Capability::Sync],
        |policy| items(policy, ["then", "sync"], Capability::Sync, |item|
            item.then.sync.then(|| "true".to_owned()))),
    allowed("events.queues", "an empty list", &[Capability::Events, Capability::Sync], event_queues),
    limited("events.queues[].sqs.*", "nothing", "--allow-queue GLOB",
        |check| check.queues("sqs", |queue| queue.sqs.is_some())),
    limited("events.queues[].azureQueue.*", "nothing", "--allow-queue GLOB",
        |check| check.queues("azureQueue", |queue| queue.azure_queue.is_some())),
    limited("events.queues[].pubsub.*", "nothing", "--allow-queue GLOB",
        |check| check.queues("pubsub", |queue| queue.pubsub.is_some())),
    scope("events.listen", "`deadline`"),
    scope("events.maxMessages", SYNCS),
    scope("events.settle", "what the provider returns"),
    scope("events.maxAttempts", "what an ExternalSecret's own configuration makes fail"),
    allowed("events.owner", "`require`", &[Capability::UnownedQueues], |policy| {
        let owner = policy.events.as_ref().map_or(RequireOwner::Require, |events| events.owner);
        value(["events", "owner"], owner != RequireOwner::Require, &owner.into_str(), Capability::UnownedQueues)
    }),
    scope("events.when", SYNCS),
    scope("events.key", "`--allow-queue`"),
    narrows("notify.on"),
    limited("notify.to[].*", "nothing", "--allow-notify GLOB", receivers),
    allowed("report.history", "`0`", &[Capability::History],
        |policy| value(["report", "history"], policy.report.history > 0, &policy.report.history, Capability::History)),
    scope("report.files[].format", "`--report-dir`"),
    scope("report.files[].name", "`--report-dir`"),
    scope("report.url", "it is shown, and never opened"),
    allowed("lock.enabled", "`true`", &[Capability::NoLock],
        |policy| value(["lock", "enabled"], !policy.lock.enabled, &"false", Capability::NoLock)),
    allowed("deadline", "at most the default", &[Capability::LongDeadline],
        |policy| value(["deadline"], policy.deadline > ten_minutes(), &duration(policy.deadline), Capability::LongDeadline)),
];

const fn narrows(path: &'static str) -> Key {
    Key {
        path,
        class: Class::Narrows,
    }
}

const fn scope(path: &'static str, bound: &'static str) -> Key {
    Key {
        path,
        class: Class::Scope(bound),
    }
}

const fn allowed(
    path: &'static str,
    free: &'static str,
    words: &'static [Capability],
    beyond: fn(&Policy) -> Vec<Beyond>,
) -> Key {
    Key {
        path,
        class: Class::Allowed {
            free,
            words,
            beyond,
        },
    }
}

const fn limited(
    path: &'static str,
    free: &'static str,
    flag: &'static str,
    hold: fn(&mut Check<'_>),
) -> Key {
    Key {
        path,
        class: Class::Limited { free, flag, hold },
    }
}

impl Ceilings {
    /// True if `--allow` permits this.
    pub fn allows(&self, capability: Capability) -> bool {
        self.allow
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&capability))
    }

    /// True if the job's token for the API server may be sent to a provider. Needs the word even without other ceilings.
    pub fn allows_api_server_token(&self) -> bool {
        self.allow.is_some() && self.allows(Capability::ApiServerToken)
    }

    /// The sources that a policy may publish from. None: all.
    pub fn permitted_sources(&self) -> Option<Vec<Wildcard>> {
        let is_limited = self.allow.is_some() || !self.sources.is_empty();
        is_limited.then(|| self.sources.clone())
    }

    /// The addresses that messages may be sent to. None: all.
    pub fn permitted_receivers(&self) -> Option<&[Wildcard]> {
        let is_limited = self.allow.is_some() || !self.notify.is_empty();
        is_limited.then_some(&*self.notify)
    }

    /// The ceilings of a command that cannot write: it needs no permission to write.
    #[must_use]
    pub fn of_reading(self) -> Self {
        self.of(&[Concern::Reading, Concern::ReadingAndPublishing])
    }

    /// The ceilings of `publish`: it needs no permission for what it does not do.
    #[must_use]
    pub fn of_publishing(self) -> Self {
        self.of(&[Concern::Publishing, Concern::ReadingAndPublishing])
    }

    /// Permits everything else.
    fn of(mut self, concerns: &[Concern]) -> Self {
        use clap::ValueEnum as _;
        if let Some(allow) = &mut self.allow {
            let all = Capability::value_variants().iter().copied();
            allow.extend(all.filter(|capability| !concerns.contains(&capability.concern())));
        }
        self
    }

    /// Lowers keys that no source sets to their ceilings, and returns the errors of the others. `is_set` is true if a source
    /// sets the key.
    pub fn hold(&self, policy: &mut Policy, is_set: &dyn Fn(&[String]) -> bool) -> Vec<Exceeded> {
        if !self.allows(Capability::Drift) && !is_set(&place(["drift", "enabled"])) {
            policy.drift.enabled = false;
        }
        policy.drift.api_server_token = self.allows_api_server_token();
        let mut check = Check {
            ceilings: self,
            policy,
            is_set,
            exceeded: Vec::new(),
        };
        for key in KEYS {
            match key.class {
                Class::Narrows | Class::Scope(_) => {}
                Class::Allowed { free, beyond, .. } => check.words(free, beyond),
                Class::Limited { hold, .. } => hold(&mut check),
            }
        }
        check.exceeded
    }
}

impl Check<'_> {
    fn words(&mut self, free: &str, beyond: fn(&Policy) -> Vec<Beyond>) {
        for Beyond {
            place,
            value,
            needs,
        } in beyond(self.policy)
        {
            let free = with_default(free, &place);
            let lacking: Vec<String> = needs
                .into_iter()
                .filter(|capability| !self.ceilings.allows(*capability))
                .map(Capability::word)
                .collect();
            if lacking.is_empty() {
                continue;
            }
            let subject = if value.is_empty() {
                String::new()
            } else {
                format!("`{value}` ")
            };
            self.exceeded.push(Exceeded {
                place,
                what: format!("{subject}is not permitted by --allow"),
                hint: format!("write {free}, or add --allow {}", lacking.join(",")),
            });
        }
    }

    fn count<const N: usize>(
        &mut self,
        keys: [&str; N],
        flag: &str,
        most: Option<u32>,
        default: u32,
        field: fn(&mut Policy) -> &mut u32,
    ) {
        let closed = self.ceilings.allow.is_some();
        let Some(ceiling) = most.or(closed.then_some(default)) else {
            return;
        };
        let asked = field(self.policy);
        if *asked <= ceiling {
            return;
        }
        let place = place(keys);
        if (self.is_set)(&place) {
            let with = format!("{flag} {asked}");
            let (asked, ceiling) = (asked.to_string(), ceiling.to_string());
            self.too_much(place, &asked, &ceiling, most.map(|_| flag), &with);
        } else {
            *asked = ceiling;
        }
    }

    /// Adds an error. `flag` is the flag that set the ceiling, `with` the flag that would allow the value.
    fn too_much(
        &mut self,
        place: Place,
        asked: &str,
        ceiling: &str,
        flag: Option<&str>,
        with: &str,
    ) {
        let (what, remedy) = match flag {
            Some(flag) => (
                format!("{asked} is more than {flag} allows ({ceiling})"),
                format!("raise {flag}"),
            ),
            None => (
                format!("{asked} is more than --allow permits without another flag ({ceiling})"),
                format!("add {with}"),
            ),
        };
        self.exceeded.push(Exceeded {
            place,
            what,
            hint: format!("write at most {ceiling}, or {remedy}"),
        });
    }

    /// Checks where published items come from, or where they go.
    fn publishing(
        &mut self,
        key: &str,
        flag: &str,
        known: &[Wildcard],
        named: impl Fn(&PublishItem) -> String,
    ) {
        if self.ceilings.allow.is_none() && known.is_empty() {
            return;
        }
        let items = self
            .policy
            .publish
            .iter()
            .flat_map(|publish| &publish.items);
        for (index, item) in items.enumerate() {
            let name = named(item);
            if known.iter().any(|glob| glob.matches(&name)) {
                continue;
            }
            self.exceeded.push(Exceeded {
                place: place(["publish", "items", &format!("[{index}]"), key]),
                what: format!("`{}` is not permitted by {flag}", line(&name)),
                hint: format!("remove it, or add {flag} {}", line(&name)),
            });
        }
    }

    fn queues(&mut self, kind: &str, is_meant: impl Fn(&QueueFrom) -> bool) {
        let known = &self.ceilings.queues;
        if self.ceilings.allow.is_none() && known.is_empty() {
            return;
        }
        let queues = self.policy.events.iter().flat_map(|events| &events.queues);
        for (index, queue) in queues.enumerate().filter(|(_, queue)| is_meant(queue)) {
            let is_known = |name: &String| known.iter().any(|glob| glob.matches(name));
            for name in queue.names().filter(|name| !is_known(name)) {
                self.exceeded.push(Exceeded {
                    place: place(["events", "queues", &format!("[{index}]"), kind]),
                    what: format!("`{}` is not permitted by --allow-queue", line(&name)),
                    hint: format!("remove it, or add --allow-queue {}", line(&name)),
                });
            }
        }
    }

    /// The ceiling of a rate, if it has one, and true if a flag set it.
    fn ceiling_of(&self, of: &RateOf) -> Option<(Rate, bool)> {
        let flags = &self.ceilings.max_rates;
        let shared = match of {
            RateOf::Provider(name) => name.shared().map(RateOf::Provider),
            RateOf::ApiServer | RateOf::Restarts | RateOf::Default => None,
        };
        let flag = flags.get(of).or_else(|| flags.get(&shared?));
        if let Some(most) = flag {
            return Some((*most, true));
        }
        let defaults = Pace::default();
        let default = match of {
            RateOf::ApiServer => defaults.kubernetes,
            RateOf::Restarts => defaults.restarts,
            RateOf::Default => defaults.default,
            RateOf::Provider(name) => match defaults.providers.get(name) {
                Some(rate) => *rate,
                None => return self.ceiling_of(&RateOf::Default),
            },
        };
        self.ceilings.allow.as_ref().map(|_| (default, false))
    }

    fn rate(&mut self, of: &RateOf) {
        let rates = &self.policy.pace;
        let (key, asked) = match of {
            RateOf::ApiServer => (place(["pace", "kubernetes"]), rates.kubernetes),
            RateOf::Restarts => (place(["pace", "restarts"]), rates.restarts),
            RateOf::Default => (place(["pace", "default"]), rates.default),
            RateOf::Provider(name) => {
                let own = rates.providers.get(name).copied();
                let key = place(["pace", "providers", name.as_str()]);
                (key, own.unwrap_or(rates.default))
            }
        };
        let Some((ceiling, is_flag)) = self.ceiling_of(of) else {
            return;
        };
        if asked.as_per_second() <= ceiling.as_per_second() {
            return;
        }
        if (self.is_set)(&key) {
            let with = format!("--max-rate {of}={asked}");
            let (asked, ceiling) = (asked.to_string(), ceiling.to_string());
            let flag = is_flag.then_some("--max-rate");
            self.too_much(key, &asked, &ceiling, flag, &with);
            return;
        }
        let pace = &mut self.policy.pace;
        match of {
            RateOf::ApiServer => pace.kubernetes = ceiling,
            RateOf::Restarts => pace.restarts = ceiling,
            RateOf::Default => pace.default = ceiling,
            RateOf::Provider(name) => drop(pace.providers.insert(name.clone(), ceiling)),
        }
    }
}

/// Checks the rates of the providers that the policy, a default or a flag names. The others have the rate `pace.default`.
fn provider_rates(check: &mut Check<'_>) {
    let limited = check.ceilings.max_rates.keys().filter_map(|of| match of {
        RateOf::Provider(name) => Some(name),
        RateOf::Default | RateOf::ApiServer | RateOf::Restarts => None,
    });
    let mut names: BTreeSet<ProviderName> = limited.cloned().collect();
    names.extend(check.policy.pace.providers.keys().cloned());
    for name in names {
        check.rate(&RateOf::Provider(name));
    }
}

fn endpoints(check: &mut Check<'_>) {
    let known = &check.ceilings.endpoints;
    if check.ceilings.allow.is_none() && known.is_empty() {
        return;
    }
    for (index, endpoint) in check.policy.drift.endpoints.iter().enumerate() {
        if known.contains(endpoint) {
            continue;
        }
        check.exceeded.push(Exceeded {
            place: place(["drift", "endpoints", &format!("[{index}]")]),
            what: format!("`{endpoint}` is not permitted by --allow-endpoint"),
            hint: format!("remove it, or add --allow-endpoint {endpoint}"),
        });
    }
}

fn place<const N: usize>(keys: [&str; N]) -> Place {
    keys.map(str::to_owned).to_vec()
}

/// The value of a key, if it is beyond what is free.
fn value<const N: usize>(
    keys: [&str; N],
    is_beyond: bool,
    value: &impl ToString,
    needs: Capability,
) -> Vec<Beyond> {
    let beyond = is_beyond.then(|| Beyond {
        place: place(keys),
        value: value.to_string(),
        needs: vec![needs],
    });
    beyond.into_iter().collect()
}

/// The values of a key of restart rules that are beyond what is free.
fn rules(
    policy: &Policy,
    key: &str,
    needs: Capability,
    beyond: impl Fn(&RestartRule) -> Option<String>,
) -> Vec<Beyond> {
    let rules = policy.restart.iter().enumerate();
    rules
        .filter_map(|(index, rule)| {
            Some(Beyond {
                place: place(["restart", &format!("[{index}]"), key]),
                value: beyond(rule)?,
                needs: vec![needs],
            })
        })
        .collect()
}

/// The values of a key of published items that are beyond what is free.
fn items(
    policy: &Policy,
    [section, key]: [&str; 2],
    needs: Capability,
    beyond: impl Fn(&PublishItem) -> Option<String>,
) -> Vec<Beyond> {
    let items = policy.publish.iter().flat_map(|publish| &publish.items);
    items
        .enumerate()
        .filter_map(|(index, item)| {
            Some(Beyond {
                place: place(["publish", "items", &format!("[{index}]"), section, key]),
                value: beyond(item)?,
                needs: vec![needs],
            })
        })
        .collect()
}

fn creations(policy: &Policy) -> Vec<Beyond> {
    let items = policy.publish.iter().flat_map(|publish| &publish.items);
    items
        .enumerate()
        .filter(|(_, item)| item.create != Create::default())
        .map(|(index, _)| Beyond {
            place: place(["publish", "items", &format!("[{index}]"), "create"]),
            value: String::new(),
            needs: vec![Capability::Creation],
        })
        .collect()
}

fn publish_items(policy: &Policy) -> Vec<Beyond> {
    let any = policy
        .publish
        .as_ref()
        .is_some_and(|publish| !publish.items.is_empty());
    let beyond = any.then(|| Beyond {
        place: place(["publish", "items"]),
        value: String::new(),
        needs: vec![Capability::Publish],
    });
    beyond.into_iter().collect()
}

/// The addresses themselves are checked when they are read.
fn receivers(check: &mut Check<'_>) {
    let permitted = check.ceilings.permitted_receivers();
    if permitted.is_none_or(|globs| !globs.is_empty()) {
        return;
    }
    let receivers = check.policy.notify.iter().flat_map(|notify| &notify.to);
    let exceeded = receivers.enumerate().map(|(index, _)| Exceeded {
        place: place(["notify", "to", &format!("[{index}]")]),
        what: "is not permitted, because there is no --allow-notify".to_owned(),
        hint: "remove it, or add --allow-notify https://HOST".to_owned(),
    });
    check.exceeded.extend(exceeded);
}

fn event_queues(policy: &Policy) -> Vec<Beyond> {
    let mut events = policy.events.iter();
    let any = events.any(|events| !events.queues.is_empty());
    let beyond = any.then(|| Beyond {
        place: place(["events", "queues"]),
        value: String::new(),
        needs: vec![Capability::Events, Capability::Sync],
    });
    beyond.into_iter().collect()
}

fn publish_sources(check: &mut Check<'_>) {
    let known = &check.ceilings.sources;
    check.publishing("source", "--allow-source", known, |item| {
        item.source.to_string()
    });
}

fn publish_targets(check: &mut Check<'_>) {
    let known = &check.ceilings.targets;
    check.publishing("to", "--allow-target", known, |item| item.to.to_string());
}

/// `recreate` runs `refetch` first.
fn remedies(policy: &Policy) -> Vec<Beyond> {
    let asked = policy.sync.on_still_stale;
    let needs = match asked {
        OnStillStale::Report => return Vec::new(),
        OnStillStale::Refetch => vec![Capability::Refetch],
        OnStillStale::Recreate => vec![Capability::Refetch, Capability::Recreate],
    };
    vec![Beyond {
        place: place(["sync", "onStillStale"]),
        value: asked.into_str().to_owned(),
        needs,
    }]
}

fn single_stores(policy: &Policy) -> Vec<Beyond> {
    let Drift { stores, .. } = &policy.drift;
    let beyond = stores.iter().map(|(store, credentials)| {
        let needs = match credentials {
            Credentials::Ambient => Capability::AmbientStores,
            Credentials::Store => Capability::StoreCredentials,
        };
        Beyond {
            place: place(["drift", "stores", &store.to_string()]),
            value: credentials.into_str().to_owned(),
            needs: vec![needs],
        }
    });
    beyond.collect()
}

/// True if no other program reads an annotation with this key.
fn is_our_annotation(key: &str) -> bool {
    match key.split_once('/') {
        None | Some(("eso-sync" | "eso.external-secrets.io", _)) => true,
        Some(_) => key == eso_model::PARENT_FORCE_SYNC,
    }
}

/// True if `limit` may permit more failures than `other`. A share applies after the first ten attempts.
fn permits_more(limit: FailureLimit, other: FailureLimit) -> bool {
    match (limit, other) {
        (FailureLimit::Share(limit), FailureLimit::Share(other)) => limit > other,
        (FailureLimit::Count(limit), FailureLimit::Count(other)) => limit > other,
        (FailureLimit::Count(limit), FailureLimit::Share(other)) => f64::from(limit) > 10.0 * other,
        (FailureLimit::Share(_), FailureLimit::Count(_)) => true,
    }
}

fn duration(duration: std::time::Duration) -> String {
    eso_model::duration::GoDuration(duration).to_string()
}

/// Replaces "the default" by the default of the key at this place.
fn with_default(free: &str, place: &[String]) -> String {
    let (whole, keys) = match place {
        [list, _, keys @ ..] if list == "restart" => {
            (serde_json::to_value(RestartRule::default()), keys)
        }
        _ => (serde_json::to_value(Policy::selecting(Vec::new())), place),
    };
    let whole = whole.unwrap_or_default();
    let default = keys.iter().try_fold(&whole, |value, key| value.get(key));
    match default {
        Some(serde_json::Value::String(text)) => free.replace("the default", &format!("`{text}`")),
        Some(serde_json::Value::Number(number)) => {
            free.replace("the default", &format!("`{number}`"))
        }
        _ => free.to_owned(),
    }
}

/// The table of `docs/ceilings.md`.
pub fn table() -> String {
    let mut lines = vec![
        "| key | class | allowed without a flag | bounded by, or the flag for more |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    lines.extend(KEYS.iter().map(|key| {
        let (class, free, flag) = match &key.class {
            Class::Narrows => ("narrows only", "any value", String::new()),
            Class::Scope(bound) => ("scope", "any value", (*bound).to_owned()),
            Class::Allowed { free, words, .. } => {
                let words: Vec<String> = words.iter().map(|word| word.word()).collect();
                ("ceiling", *free, format!("`--allow {}`", words.join(",")))
            }
            Class::Limited { free, flag, .. } => ("ceiling", *free, format!("`{flag}`")),
        };
        let place: Place = key
            .path
            .replace("[]", ".[]")
            .split('.')
            .map(str::to_owned)
            .collect();
        let free = with_default(free, &place);
        format!("| `{}` | {class} | {free} | {flag} |", key.path)
    }));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests;
