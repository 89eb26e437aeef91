//! The metrics of a command, from its document: one number for each metric and its labels, in the text format of `OpenMetrics`.
//!
//! Everything is a gauge, because a process that ends after each run has no counters: a number tells about the last run. The
//! names and labels are stable; `docs/monitoring.md` lists them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{MetricType, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use strum::{EnumMessage as _, VariantArray as _};

use super::{Document, Kind, Run, Summary};
use crate::{
    exit::Exit, finding::Verdict, foreign::Foreign, outcome::Outcome,
    restart::results::RestartOutcome,
};

/// The start of all names.
const PREFIX: &str = "eso_sync";

/// The most values of a label. Names of stores and quotas come from the cluster, and each value is a time series. The others are added
/// up under [`OTHERS`].
const MOST_VALUES: usize = 200;

/// The value of the label of what exceeds [`MOST_VALUES`].
const OTHERS: &str = "others";

/// The longest value of a label, in characters.
const LONGEST: usize = 200;

/// The name of the metric that must survive a failed run.
pub const LAST_SUCCESS: &str = "eso_sync_last_success_timestamp_seconds";

/// A metric. Its name is below, without the prefix; its documentation is its help text.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::EnumMessage,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum Metric {
    /// When the last run ended
    #[strum(serialize = "last_run_timestamp_seconds")]
    LastRun,
    /// When the last run ended that did all its work (exit code 0 or 1)
    #[strum(serialize = "last_success_timestamp_seconds")]
    LastSuccess,
    /// How long the last run took
    #[strum(serialize = "run_duration_seconds")]
    Duration,
    /// The exit code of the last run
    #[strum(serialize = "run_exit_code")]
    ExitCode,
    /// 1 if the last run reached everything that it had planned, else 0
    #[strum(serialize = "run_complete")]
    Complete,
    /// The selected ExternalSecrets of the last run
    #[strum(serialize = "external_secrets_selected")]
    Selected,
    /// The ExternalSecrets of the last run, by outcome
    #[strum(serialize = "external_secrets")]
    Outcomes,
    /// The ExternalSecrets by verdict of the drift check, after the run
    #[strum(serialize = "external_secrets_by_verdict")]
    Verdicts,
    /// The ExternalSecrets that the drift check compared or tried to compare, by store
    #[strum(serialize = "external_secrets_checked")]
    Checked,
    /// The ExternalSecrets of `checked` that have another verdict than `unverifiable`, by store
    #[strum(serialize = "external_secrets_verifiable")]
    Verifiable,
    /// The stores whose provider could not be read
    #[strum(serialize = "unread_stores")]
    UnreadStores,
    /// The kinds of Kubernetes objects that could not be read in a namespace
    #[strum(serialize = "unread_resources")]
    UnreadResources,
    /// The calls of the drift check at providers, by quota
    #[strum(serialize = "provider_reads")]
    ProviderReads,
    /// The calls of the drift check that providers throttled, by quota
    #[strum(serialize = "provider_throttles")]
    ProviderThrottles,
    /// The calls of the operator that the planned syncs need, computed from the specs, by quota
    #[strum(serialize = "provider_sync_calls")]
    SyncCalls,
    /// The requests to the API server of the last run
    #[strum(serialize = "kubernetes_requests")]
    KubernetesRequests,
    /// The workloads that a restart rule covers
    #[strum(serialize = "workloads_covered")]
    Workloads,
    /// The workloads that are known to run with old data, after the run
    #[strum(serialize = "workloads_behind")]
    Behind,
    /// The workloads of the last run, by outcome of their restart
    #[strum(serialize = "restarts")]
    Restarts,
    /// The events of the last run, by kind
    #[strum(serialize = "events_received")]
    Events,
    /// The keys with events, by how the work for them ended
    #[strum(serialize = "event_keys")]
    EventKeys,
    /// The messages of queues, by what became of them
    #[strum(serialize = "event_messages")]
    EventMessages,
    /// The median time from an event to the proof of its syncs
    #[strum(serialize = "event_lag_median_seconds")]
    LagMedian,
    /// The longest time from an event to the proof of its syncs
    #[strum(serialize = "event_lag_max_seconds")]
    LagMax,
    /// The messages that waited in a queue before the run, about
    #[strum(serialize = "event_queue_backlog")]
    QueueBacklog,
    /// The messages that were given up, about, by queue
    #[strum(serialize = "event_queue_dead_letters")]
    QueueDeadLetters,
    /// The secrets of the last publication, by outcome
    #[strum(serialize = "published_secrets")]
    Published,
    /// The secrets at providers by how they compared with the repository before the publication
    #[strum(serialize = "publish_secrets_by_verdict")]
    PublishVerdicts,
    /// The files, keys and items that could not be published
    #[strum(serialize = "publish_faults")]
    PublishFaults,
    /// The calls of the last publication at providers
    #[strum(serialize = "publish_provider_calls")]
    PublishCalls,
    /// The calls of the last publication that providers throttled
    #[strum(serialize = "publish_provider_throttles")]
    PublishThrottles,
}

impl Metric {
    /// The name without the prefix.
    fn name(self) -> &'static str {
        self.into()
    }

    /// The name in all formats.
    pub fn full_name(self) -> String {
        format!("{PREFIX}_{}", self.name())
    }

    /// The help text, one sentence.
    pub fn help(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }

    /// The label, if it has one.
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Self::LastRun
            | Self::LastSuccess
            | Self::Duration
            | Self::ExitCode
            | Self::Complete
            | Self::Selected
            | Self::UnreadStores
            | Self::UnreadResources
            | Self::KubernetesRequests
            | Self::Workloads
            | Self::Behind
            | Self::LagMedian
            | Self::LagMax
            | Self::PublishFaults
            | Self::PublishCalls
            | Self::PublishThrottles => None,
            Self::Outcomes | Self::Restarts | Self::Published => Some("outcome"),
            Self::Verdicts | Self::PublishVerdicts => Some("verdict"),
            Self::Checked | Self::Verifiable => Some("store"),
            Self::ProviderReads | Self::ProviderThrottles | Self::SyncCalls => Some("quota"),
            Self::Events => Some("kind"),
            Self::EventKeys => Some("end"),
            Self::EventMessages => Some("disposition"),
            Self::QueueBacklog | Self::QueueDeadLetters => Some("queue"),
        }
    }

    /// All labels, that of each command, and that of the Pushgateway.
    fn labels() -> Vec<&'static str> {
        let own = Self::VARIANTS.iter().filter_map(|metric| metric.label());
        let labels: BTreeSet<&str> = own.chain(["command", "job"]).collect();
        labels.into_iter().collect()
    }
}

/// A label of all metrics: `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    pub value: String,
}

/// The error for an invalid `--metrics-label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    #[error("write NAME=VALUE, for example `cluster=prod`")]
    Form,
    #[error(
        "a name has letters, digits and `_`, does not start with a digit or `__`, and is not one that metrics have already ({})",
        Metric::labels().join(", ")
    )]
    Name,
}

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let (name, value) = text.split_once('=').ok_or(InvalidLabel::Form)?;
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_name = name.chars().all(valid)
            && !name.starts_with("__")
            && name.starts_with(|c: char| !c.is_ascii_digit());
        if !is_name || Metric::labels().contains(&name) {
            return Err(InvalidLabel::Name);
        }
        Ok(Self {
            name: name.to_owned(),
            value: label(value),
        })
    }
}

/// The numbers of a command.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<Metric, BTreeMap<String, f64>>);

impl Metrics {
    /// The numbers that every command has.
    pub fn of(run: &Run) -> Self {
        let mut metrics = Self::default();
        let took = run.finished.duration_since(run.started).as_secs_f64();
        metrics.add(Metric::LastRun, seconds(run.finished));
        metrics.add(Metric::Duration, took.max(0.0));
        metrics.add(Metric::ExitCode, f64::from(run.exit_code));
        metrics.add(Metric::Complete, f64::from(u8::from(run.complete)));
        let done = [Exit::Done, Exit::Differences].map(Exit::code);
        if done.contains(&run.exit_code) {
            metrics.add(Metric::LastSuccess, seconds(run.finished));
        }
        metrics
    }

    /// Adds to a number without a label, which is 0 at first.
    pub fn add(&mut self, metric: Metric, number: f64) {
        self.add_to(metric, "", number);
    }

    /// Adds to the number with this value of its label.
    pub fn add_to(&mut self, metric: Metric, value: &str, number: f64) {
        let values = self.0.entry(metric).or_default();
        let mut value = label(value);
        if values.len() >= MOST_VALUES && !values.contains_key(&value) {
            OTHERS.clone_into(&mut value);
        }
        *values.entry(value).or_default() += number;
    }

    /// Adds counts by the value of the label.
    pub fn counts(&mut self, metric: Metric, counts: &BTreeMap<&'static str, usize>) {
        for (word, number) in counts {
            self.add_to(metric, word, count(*number));
        }
    }

    /// The numbers of each metric, by the value of its label.
    pub fn numbers(&self) -> impl Iterator<Item = (Metric, &BTreeMap<String, f64>)> {
        self.0.iter().map(|(metric, numbers)| (*metric, numbers))
    }

    /// True if the run did all its work.
    pub fn is_success(&self) -> bool {
        self.0.contains_key(&Metric::LastSuccess)
    }

    /// Keeps the time of an earlier success, if this run was none.
    pub fn keep_last_success(&mut self, earlier: f64) {
        if !self.is_success() {
            self.add(Metric::LastSuccess, earlier);
        }
    }

    /// The text. These labels are added to all numbers.
    pub fn text(&self, labels: &BTreeMap<String, String>) -> Result<String, fmt::Error> {
        let owned = labels
            .iter()
            .map(|(name, value)| (Cow::from(name.clone()), Cow::from(value.clone())));
        let mut registry = Registry::with_prefix_and_labels(PREFIX, owned);
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (metric, values) in &self.0 {
            // The encoder adds the unit to the name.
            let (name, unit) = match metric.name().strip_suffix("_seconds") {
                Some(name) => (name, Some(&Unit::Seconds)),
                None => (metric.name(), None),
            };
            let mut family =
                encoder.encode_descriptor(name, metric.help(), unit, MetricType::Gauge)?;
            for (value, number) in values {
                let label = metric.label().map(|name| (name, &**value));
                let labels: Vec<(&str, &str)> = label.into_iter().collect();
                ConstGauge::new(*number).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A value of a label. It may be a name from outside.
fn label(text: &str) -> String {
    let text = Foreign::from(text).terminal();
    text.chars().take(LONGEST).collect()
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

impl Document {
    /// Adds the numbers of a run, a plan, a drift check or a status.
    pub fn measure_into(&self, metrics: &mut Metrics) {
        let summary = &self.summary;
        metrics.add(Metric::Selected, count(summary.selected));
        if self.kind == Kind::Report {
            // All words, so that a query finds a zero.
            for outcome in Outcome::VARIANTS {
                let number = summary.outcomes.get(outcome).copied().unwrap_or(0);
                metrics.add_to(Metric::Outcomes, outcome.into_str(), count(number));
            }
        }
        summary.measure_check(metrics);
        metrics.add(Metric::UnreadStores, count(self.unread.len()));
        metrics.add(Metric::UnreadResources, count(self.gaps.len()));
        for (quota, calls) in &summary.calls {
            metrics.add_to(Metric::SyncCalls, quota, whole(*calls));
        }
        metrics.add(Metric::KubernetesRequests, whole(summary.requests));
        let Some(restarts) = &summary.restarts else {
            return;
        };
        metrics.add(Metric::Workloads, count(restarts.covered));
        metrics.add(Metric::Behind, count(restarts.behind));
        if self.kind == Kind::Report {
            for outcome in RestartOutcome::VARIANTS {
                let number = restarts.outcomes.get(outcome).copied().unwrap_or(0);
                metrics.add_to(Metric::Restarts, outcome.into_str(), count(number));
            }
        }
    }
}

impl Summary {
    /// Adds the numbers of the drift check, if there was one.
    fn measure_check(&self, metrics: &mut Metrics) {
        if self.verifiable.is_empty() {
            return;
        }
        for verdict in Verdict::VARIANTS {
            let number = self.verdicts.get(verdict).copied().unwrap_or(0);
            metrics.add_to(Metric::Verdicts, verdict.into_str(), count(number));
        }
        for store in &self.verifiable {
            let name = store.store.exact();
            metrics.add_to(Metric::Checked, name, count(store.total));
            metrics.add_to(Metric::Verifiable, name, count(store.verifiable));
        }
        for (quota, calls) in &self.reads {
            metrics.add_to(Metric::ProviderReads, quota, whole(*calls));
            let throttles = self.throttles.get(quota).copied().unwrap_or(0);
            metrics.add_to(Metric::ProviderThrottles, quota, whole(throttles));
        }
    }
}

/// A count of objects.
pub const fn count(number: usize) -> f64 {
    whole(number as u64)
}

/// A count of calls.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls are far below the 2^53 that are exact"
)]
pub const fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
