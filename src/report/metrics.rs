//! The metrics of a command, from its document: one number for each metric and its labels, in the text format of OpenMetrics.
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
    metrics::gauge::ConstGauge,
    registry::{Registry, Unit},
};
use strum::VariantArray as _;

use super::{Document, Kind, Run, Summary};
use crate::{
    exit::Exit, finding::Verdict, foreign::Foreign, outcome::Outcome,
    restart::results::RestartOutcome,
};

/// The start of all names.
const PREFIX: &str = "eso_sync";

/// The most sets of labels of one metric. Names of stores and quotas come from the cluster, and each set is a time series. The others
/// are added up under [`OTHERS`].
const MOST_SETS: usize = 200;

/// The value of all labels of what exceeds [`MOST_SETS`].
const OTHERS: &str = "others";

/// The longest value of a label, in characters.
const LONGEST: usize = 200;

/// The name of the metric that must survive a failed run.
pub const LAST_SUCCESS: &str = "eso_sync_last_success_timestamp_seconds";

/// A metric. [`Metric::facts`] has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::VariantArray)]
pub enum Metric {
    LastRun,
    LastSuccess,
    Duration,
    ExitCode,
    Complete,
    Selected,
    Outcomes,
    Verdicts,
    Checked,
    Verifiable,
    UnreadStores,
    UnreadResources,
    ProviderReads,
    SyncCalls,
    KubernetesRequests,
    Workloads,
    Behind,
    Restarts,
    Events,
    EventKeys,
    EventMessages,
    LagMedian,
    LagMax,
    QueueBacklog,
    QueueDeadLetters,
    Published,
    PublishVerdicts,
    PublishFaults,
    PublishCalls,
}

/// What is known of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The name without prefix and unit.
    name: &'static str,
    in_seconds: bool,
    /// The labels, in the order of their values.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

impl Facts {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            in_seconds: false,
            labels: &[],
            help,
        }
    }

    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    const fn seconds(self) -> Self {
        Self {
            in_seconds: true,
            ..self
        }
    }

    /// The whole name.
    pub fn full_name(&self) -> String {
        let unit = if self.in_seconds { "_seconds" } else { "" };
        format!("{PREFIX}_{}{unit}", self.name)
    }
}

impl Metric {
    /// The labels of metrics, and that of the Pushgateway.
    fn words() -> Vec<&'static str> {
        let all = Self::VARIANTS
            .iter()
            .flat_map(|metric| metric.facts().labels);
        let words: BTreeSet<&str> = all.copied().chain(["job"]).collect();
        words.into_iter().collect()
    }

    pub const fn facts(self) -> Facts {
        match self {
            Self::LastRun => Facts::new("last_run_timestamp", "When the last run ended").seconds(),
            Self::LastSuccess => Facts::new(
                "last_success_timestamp",
                "When the last run ended that did all its work (exit code 0 or 1)",
            )
            .seconds(),
            Self::Duration => Facts::new("run_duration", "How long the last run took").seconds(),
            Self::ExitCode => Facts::new("run_exit_code", "The exit code of the last run"),
            Self::Complete => Facts::new(
                "run_complete",
                "1 if the last run reached everything that it had planned, else 0",
            ),
            Self::Selected => Facts::new(
                "external_secrets_selected",
                "The selected ExternalSecrets of the last run",
            ),
            Self::Outcomes => Facts::new(
                "external_secrets",
                "The ExternalSecrets of the last run, by outcome",
            )
            .by(&["outcome"]),
            Self::Verdicts => Facts::new(
                "external_secrets_by_verdict",
                "The ExternalSecrets by verdict of the drift check, after the run",
            )
            .by(&["verdict"]),
            Self::Checked => Facts::new(
                "external_secrets_checked",
                "The ExternalSecrets that the drift check compared or tried to compare, by store",
            )
            .by(&["store"]),
            Self::Verifiable => Facts::new(
                "external_secrets_verifiable",
                "The ExternalSecrets of `checked` that have another verdict than `unverifiable`, by store",
            )
            .by(&["store"]),
            Self::UnreadStores => Facts::new(
                "unread_stores",
                "The stores whose provider could not be read",
            ),
            Self::UnreadResources => Facts::new(
                "unread_resources",
                "The kinds of Kubernetes objects that could not be read in a namespace",
            ),
            Self::ProviderReads => Facts::new(
                "provider_reads",
                "The calls of the drift check at providers, by quota",
            )
            .by(&["quota"]),
            Self::SyncCalls => Facts::new(
                "provider_sync_calls",
                "The calls of the operator that the planned syncs need, computed from the specs, by quota",
            )
            .by(&["quota"]),
            Self::KubernetesRequests => Facts::new(
                "kubernetes_requests",
                "The requests to the API server of the last run",
            ),
            Self::Workloads => Facts::new(
                "workloads_covered",
                "The workloads that a restart rule covers",
            ),
            Self::Behind => Facts::new(
                "workloads_behind",
                "The workloads that are known to run with old data, after the run",
            ),
            Self::Restarts => Facts::new(
                "restarts",
                "The workloads of the last run, by outcome of their restart",
            )
            .by(&["outcome"]),
            Self::Events => Facts::new(
                "events_received",
                "The events of the last run, by kind",
            )
            .by(&["kind"]),
            Self::EventKeys => Facts::new(
                "event_keys",
                "The keys with events, by how the work for them ended",
            )
            .by(&["end"]),
            Self::EventMessages => Facts::new(
                "event_messages",
                "The messages of queues, by what became of them",
            )
            .by(&["disposition"]),
            Self::LagMedian => Facts::new(
                "event_lag_median",
                "The median time from an event to the proof of its syncs",
            )
            .seconds(),
            Self::LagMax => Facts::new(
                "event_lag_max",
                "The longest time from an event to the proof of its syncs",
            )
            .seconds(),
            Self::QueueBacklog => Facts::new(
                "event_queue_backlog",
                "The messages that waited in a queue before the run, about",
            )
            .by(&["queue"]),
            Self::QueueDeadLetters => Facts::new(
                "event_queue_dead_letters",
                "The messages that were given up, about, by queue",
            )
            .by(&["queue"]),
            Self::Published => Facts::new(
                "published_secrets",
                "The secrets of the last publication, by outcome",
            )
            .by(&["outcome"]),
            Self::PublishVerdicts => Facts::new(
                "publish_secrets_by_verdict",
                "The secrets at providers by how they compared with the repository before the publication",
            )
            .by(&["verdict"]),
            Self::PublishFaults => Facts::new(
                "publish_faults",
                "The files, keys and items that could not be published",
            ),
            Self::PublishCalls => Facts::new(
                "publish_provider_calls",
                "The calls of the last publication at providers",
            ),
        }
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
        Metric::words().join(", ")
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
        if !is_name || Metric::words().contains(&name) {
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
pub struct Metrics(BTreeMap<Metric, BTreeMap<Vec<String>, f64>>);

impl Metrics {
    /// The numbers that every command has.
    pub fn of(run: &Run) -> Self {
        let mut metrics = Self::default();
        let took = run.finished.duration_since(run.started).as_secs_f64();
        metrics.add(Metric::LastRun, &[], seconds(run.finished));
        metrics.add(Metric::Duration, &[], took.max(0.0));
        metrics.add(Metric::ExitCode, &[], f64::from(run.exit_code));
        metrics.add(Metric::Complete, &[], f64::from(u8::from(run.complete)));
        let done = [Exit::Done, Exit::Differences].map(Exit::code);
        if done.contains(&run.exit_code) {
            metrics.add(Metric::LastSuccess, &[], seconds(run.finished));
        }
        metrics
    }

    /// Adds to a number, which is 0 at first. `values` are those of the labels.
    pub fn add(&mut self, metric: Metric, values: &[&str], number: f64) {
        let sets = self.0.entry(metric).or_default();
        let mut values: Vec<String> = values.iter().map(|value| label(value)).collect();
        if sets.len() >= MOST_SETS && !sets.contains_key(&values) {
            values.fill(OTHERS.to_owned());
        }
        *sets.entry(values).or_default() += number;
    }

    /// Adds a count.
    pub fn count(&mut self, metric: Metric, values: &[&str], number: usize) {
        // Counts of objects are far below the 2^53 that are exact.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        self.add(metric, values, number as f64);
    }

    /// Adds counts by the value of the only label.
    pub fn counts(&mut self, metric: Metric, counts: &BTreeMap<&'static str, usize>) {
        for (word, number) in counts {
            self.count(metric, &[word], *number);
        }
    }

    /// True if the run did all its work.
    pub fn is_success(&self) -> bool {
        self.0.contains_key(&Metric::LastSuccess)
    }

    /// Keeps the time of an earlier success, if this run was none.
    pub fn keep_last_success(&mut self, earlier: f64) {
        if !self.is_success() {
            self.add(Metric::LastSuccess, &[], earlier);
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
        for (metric, sets) in &self.0 {
            let facts = metric.facts();
            let unit = facts.in_seconds.then_some(&Unit::Seconds);
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut family = encoder.encode_descriptor(facts.name, facts.help, unit, kind)?;
            for (values, number) in sets {
                let gauge = ConstGauge::new(*number);
                let names = facts.labels.iter().copied();
                let labels: Vec<(&str, &str)> =
                    names.zip(values.iter().map(String::as_str)).collect();
                gauge.encode(family.encode_family(&labels)?)?;
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
        metrics.count(Metric::Selected, &[], summary.selected);
        if self.kind == Kind::Report {
            // All words, so that a query finds a zero.
            for outcome in Outcome::VARIANTS {
                let count = summary.outcomes.get(outcome).copied().unwrap_or(0);
                metrics.count(Metric::Outcomes, &[outcome.into_str()], count);
            }
        }
        summary.measure_check(metrics);
        metrics.count(Metric::UnreadStores, &[], self.unread.len());
        metrics.count(Metric::UnreadResources, &[], self.gaps.len());
        for (quota, calls) in &summary.calls {
            metrics.add(Metric::SyncCalls, &[quota], whole(*calls));
        }
        metrics.add(Metric::KubernetesRequests, &[], whole(summary.requests));
        let Some(restarts) = &summary.restarts else {
            return;
        };
        metrics.count(Metric::Workloads, &[], restarts.covered);
        metrics.count(Metric::Behind, &[], restarts.behind);
        if self.kind == Kind::Report {
            for outcome in RestartOutcome::VARIANTS {
                let count = restarts.outcomes.get(outcome).copied().unwrap_or(0);
                metrics.count(Metric::Restarts, &[outcome.into_str()], count);
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
            let count = self.verdicts.get(verdict).copied().unwrap_or(0);
            metrics.count(Metric::Verdicts, &[verdict.into_str()], count);
        }
        for store in &self.verifiable {
            let name = [store.store.exact()];
            metrics.count(Metric::Checked, &name, store.total);
            metrics.count(Metric::Verifiable, &name, store.verifiable);
        }
        for (quota, calls) in &self.reads {
            metrics.add(Metric::ProviderReads, &[quota], whole(*calls));
        }
    }
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
