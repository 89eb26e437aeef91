//! The document that `history -o json|yaml` prints. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::read::Kept;
use crate::{
    foreign::Foreign,
    report::{
        API_VERSION, Run,
        past::{PastItem, PastRun, Word},
        sheet::Level,
    },
    similar,
};

/// What the summaries of the last runs show.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// `History`
    pub kind: &'static str,
    /// The run that printed the document.
    pub run: Run,
    /// The ConfigMap with the history: `NAMESPACE/NAME`.
    pub config_map: String,
    /// The name that the command asked about; absent for all objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    pub summary: HistorySummary,
    /// The runs, the newest first.
    pub runs: Vec<HistoryRun>,
    /// How each command and job develops.
    pub trends: Vec<HistoryTrend>,
    /// Every object that a run named, sorted: those that need attention first, for the longest time first.
    pub items: Vec<HistoryItem>,
    /// Warnings for people.
    pub warnings: Vec<Foreign>,
}

/// What the command asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct About {
    pub namespace: String,
    /// The name of an ExternalSecret or a workload.
    pub name: String,
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistorySummary {
    /// The number of runs.
    pub runs: usize,
    /// How many of them ended with an exit code above 1.
    pub failed: usize,
    /// The start of the oldest run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// The number of objects that need attention now.
    pub attention: usize,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRun {
    /// The ID of the run. The annotations that it wrote start with it.
    pub id: String,
    /// The command, for example `run`.
    pub command: String,
    /// The name of the job, from `--job`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// A digest of its policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<String>,
    /// Where its report is, from `report.url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_url: Option<String>,
    /// The start time (RFC 3339).
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// The duration in seconds.
    pub took_seconds: f64,
    /// The exit code of the command.
    pub exit_code: u8,
    /// True if the run reached everything that it had planned.
    pub complete: bool,
    /// The number of objects that it was about: 0 if it ended before it knew them.
    pub objects: u32,
    /// How many of them needed attention.
    pub attention: u32,
    /// ExternalSecrets by outcome.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub outcomes: BTreeMap<String, u32>,
    /// ExternalSecrets by verdict, after the run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub verdicts: BTreeMap<String, u32>,
    /// Workloads by outcome.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub workloads: BTreeMap<String, u32>,
    /// Published secrets by outcome.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub published: BTreeMap<String, u32>,
    /// The number of changed objects and of those that need attention that the summary had no room for.
    pub cut: u32,
}

/// How the runs of one command and job develop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HistoryTrend {
    /// The command.
    pub command: String,
    /// The name of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    pub trend: Trend,
    /// The number of objects that needed attention, in each run that knew its objects; the oldest first.
    pub attention: Vec<u32>,
}

/// How the last run compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Trend {
    /// Fewer objects need attention.
    Better,
    /// As many objects need attention as before.
    Same,
    /// More objects need attention.
    Worse,
    /// There are fewer than two runs to compare.
    Unknown,
}

/// One ExternalSecret or workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryItem {
    /// `ExternalSecret`, `Deployment`, …
    pub kind: &'static str,
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// Since when it needs attention, without a run in between that found it good; absent if it does not need attention now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub attention_since: Option<Timestamp>,
    /// The first of these runs that found its Secret without the provider's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub first_drifted: Option<Timestamp>,
    /// What the runs said about it, the newest first. Runs that found nothing to say are missing.
    pub course: Vec<HistoryPoint>,
}

/// What one run said about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPoint {
    /// The ID of the run.
    pub run: String,
    /// The start of the run.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// True if somebody had to look at it.
    pub attention: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it was, as in report files.
    #[serde(skip)]
    pub level: Level,
}

/// Makes the document. `job` leaves out the runs of other jobs.
pub fn document(
    kept: Kept,
    config_map: String,
    about: Option<About>,
    job: Option<&Word>,
    run: Run,
) -> History {
    let mut warnings = Vec::new();
    if kept.dropped > 0 {
        let text = format!(
            "{} entries of the ConfigMap {config_map} are no summaries of runs. They are left out, and the next run removes them",
            kept.dropped
        );
        warnings.push(text.into());
    }
    warnings.extend(job.and_then(|job| unknown_job(job, &kept)).map(Into::into));
    let runs: Vec<(Word, PastRun)> = kept
        .runs
        .into_iter()
        .filter(|(_, run)| job.is_none_or(|job| run.job.as_ref() == Some(job)))
        .collect();
    let mut items = items(&runs, about.as_ref());
    if let Some(about) = about.as_ref().filter(|_| items.is_empty()) {
        warnings.extend(meant(about, &runs).map(Into::into));
    }
    // Absent is last.
    items.sort_by_key(|item| (item.attention_since.is_none(), item.attention_since));
    let summary = HistorySummary {
        runs: runs.len(),
        failed: runs.iter().filter(|(_, run)| run.failed()).count(),
        since: runs.last().map(|(_, run)| run.started),
        attention: items
            .iter()
            .filter(|item| item.attention_since.is_some())
            .count(),
    };
    History {
        api_version: API_VERSION,
        kind: "History",
        run,
        config_map,
        about,
        summary,
        trends: trends(&runs),
        runs: runs.into_iter().map(|(id, run)| shown(&id, run)).collect(),
        items,
        warnings,
    }
}

/// The objects with this name in other namespaces, or with a similar name, that runs know.
fn meant(about: &About, runs: &[(Word, PastRun)]) -> Option<String> {
    let known = items(runs, None);
    let far = |item: &HistoryItem| {
        let in_namespace = item.namespace == about.namespace;
        similar::distance(&about.name, &item.name).filter(|far| *far == 0 || in_namespace)
    };
    let near = known
        .iter()
        .filter_map(|item| Some((far(item)?, format!("{}/{}", item.namespace, item.name))));
    let shown = similar::first(near);
    (!shown.is_empty()).then(|| format!("The runs know {}.", shown.join(", ")))
}

/// The warning about a job that has no runs here, although others have.
fn unknown_job(job: &Word, kept: &Kept) -> Option<String> {
    let jobs: BTreeSet<&Word> = kept
        .runs
        .iter()
        .filter_map(|(_, run)| run.job.as_ref())
        .collect();
    if kept.runs.is_empty() || jobs.contains(job) {
        return None;
    }
    let known: Vec<&str> = jobs.into_iter().map(Word::as_str).collect();
    let known = match &*known {
        [] => "none of them has a job".to_owned(),
        known => format!("the jobs are {}", known.join(", ")),
    };
    Some(format!(
        "none of the {} runs is one of the job {}; {known}",
        kept.runs.len(),
        job.as_str()
    ))
}

fn text(word: &Word) -> String {
    word.as_str().to_owned()
}

fn shown(id: &Word, run: PastRun) -> HistoryRun {
    let counts = |counts: BTreeMap<Word, u32>| {
        let each = counts.into_iter();
        each.map(|(word, count)| (text(&word), count)).collect()
    };
    HistoryRun {
        id: text(id),
        command: text(&run.command),
        job: run.job.as_ref().map(text),
        policy_digest: run.policy.as_ref().map(text),
        report_url: run.url.as_ref().map(|url| url.as_str().to_owned()),
        started: run.started,
        took_seconds: run.took().as_secs_f64(),
        exit_code: run.exit_code,
        complete: run.complete,
        objects: run.objects,
        attention: run.attention,
        outcomes: counts(run.outcomes),
        verdicts: counts(run.verdicts),
        workloads: counts(run.workloads),
        published: counts(run.published),
        cut: run.cut,
    }
}

/// The runs of each command and job, the newest first.
type Series<'a> = BTreeMap<(&'a Word, Option<&'a Word>), Vec<&'a PastRun>>;

fn trends(runs: &[(Word, PastRun)]) -> Vec<HistoryTrend> {
    let mut series: Series<'_> = BTreeMap::new();
    for (_, run) in runs {
        series.entry(run.series()).or_default().push(run);
    }
    let trend = |((command, job), runs): ((&Word, Option<&Word>), Vec<&PastRun>)| {
        let known = runs.iter().rev().filter(|run| run.objects > 0);
        let attention: Vec<u32> = known.map(|run| run.attention).collect();
        let trend = match &*attention {
            [.., before, last] if last < before => Trend::Better,
            [.., before, last] if last > before => Trend::Worse,
            [.., _, _] => Trend::Same,
            [] | [_] => Trend::Unknown,
        };
        HistoryTrend {
            command: text(command),
            job: job.map(text),
            trend,
            attention,
        }
    };
    series.into_iter().map(trend).collect()
}

/// The key of an object.
type Key<'a> = (&'a str, &'static str, &'a str);

fn items(runs: &[(Word, PastRun)], about: Option<&About>) -> Vec<HistoryItem> {
    let mut found: BTreeMap<Key<'_>, Vec<(usize, &PastItem)>> = BTreeMap::new();
    for (at, (_, run)) in runs.iter().enumerate() {
        for item in &run.items {
            let is_meant = about
                .is_none_or(|about| about.namespace == item.namespace && about.name == item.name);
            if is_meant {
                let key = (&*item.namespace, item.kind.as_str(), &*item.name);
                let of = found.entry(key).or_default();
                // A run names an object once.
                if of.last().is_none_or(|(last, _)| *last != at) {
                    of.push((at, item));
                }
            }
        }
    }
    let items = found.into_values();
    items.filter_map(|points| item(runs, &points)).collect()
}

/// One object, from the runs that name it, by their index.
fn item(runs: &[(Word, PastRun)], points: &[(usize, &PastItem)]) -> Option<HistoryItem> {
    let (_, first) = points.first()?;
    let mut drifts = points.iter().filter(|(_, item)| item.is_drift());
    let course = points.iter().filter_map(|(at, item)| {
        let (id, run) = runs.get(*at)?;
        Some(HistoryPoint {
            run: text(id),
            at: run.started,
            attention: item.level.needs_attention(),
            verdict: item.verdict.as_ref().map(text),
            outcome: item.outcome.as_ref().map(text),
            reason: item.reason.as_ref().map(text),
            level: item.level,
        })
    });
    Some(HistoryItem {
        kind: first.kind.as_str(),
        namespace: first.namespace.clone(),
        name: first.name.clone(),
        attention_since: since(runs, points),
        first_drifted: drifts
            .next_back()
            .and_then(|(at, _)| Some(runs.get(*at)?.1.started)),
        course: course.collect(),
    })
}

/// The start of the unbroken series of runs, up to the newest, in which the object needs attention. Only runs of a command and job
/// that named it before say something about it.
fn since(runs: &[(Word, PastRun)], points: &[(usize, &PastItem)]) -> Option<Timestamp> {
    let series: Vec<(&Word, Option<&Word>)> = points
        .iter()
        .filter_map(|(at, _)| Some(runs.get(*at)?.1.series()))
        .collect();
    let by_run: BTreeMap<usize, &PastItem> = points.iter().copied().collect();
    let mut since = None;
    for (at, (_, run)) in runs.iter().enumerate() {
        match by_run.get(&at) {
            Some(item) if item.level.needs_attention() => since = Some(run.started),
            // The run ended before it knew its objects, had no room for all, or is about other objects.
            None if run.objects == 0 || run.cut > 0 || !series.contains(&run.series()) => {}
            Some(_) | None => break,
        }
    }
    since
}
