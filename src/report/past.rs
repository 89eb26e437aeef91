//! The summary of a run that the history keeps: numbers, and the objects that were not as they should be. It holds no names of keys, no
//! messages and no values. What is read back is text from outside, so everything in it has a form and a limit.

mod change;

use std::{collections::BTreeMap, str::FromStr};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use strum::VariantArray as _;

pub use self::change::{Change, Compared};
use super::sheet::{Level, Row, Sheet};
use crate::{exit::Exit, finding::Verdict, workload};

/// The largest summary, in bytes.
pub const LARGEST: usize = 16 * 1024;

/// The longest run. A summary that claims a longer one is not believed.
const LONGEST: SignedDuration = SignedDuration::from_hours(48);

/// The kind of the rows that are ExternalSecrets.
const EXTERNAL_SECRET: &str = "ExternalSecret";

/// The kind of the rows that are published secrets. Their names are those of remote keys, so only their number is kept.
const PUBLISHED: &str = "secret";

/// The summary of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastRun {
    pub command: Word,
    /// The name that `--job` gave to the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Word>,
    /// The digest of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Word>,
    /// Where its report is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Link>,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub exit_code: u8,
    /// True if the run reached everything that it had planned.
    pub complete: bool,
    /// The number of objects that the run was about.
    pub objects: u32,
    /// How many of them needed attention.
    pub attention: u32,
    /// ExternalSecrets by outcome.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<Word, u32>,
    /// ExternalSecrets by verdict, after the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verdicts: BTreeMap<Word, u32>,
    /// Workloads by outcome.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workloads: BTreeMap<Word, u32>,
    /// Published secrets by outcome.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub published: BTreeMap<Word, u32>,
    /// The objects that changed, differed, failed or were unknown, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<PastItem>,
    /// How many of them are missing in `items`, because the summary would be too large.
    #[serde(default)]
    pub cut: u32,
}

/// One object of a run. In the summary it is one text: kind, namespace/name, level, verdict, outcome and reason, with `-` for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PastItem {
    pub kind: ObjectKind,
    pub namespace: String,
    pub name: String,
    pub level: Level,
    pub verdict: Option<Word>,
    pub outcome: Option<Word>,
    pub reason: Option<Word>,
}

impl PastItem {
    fn of(row: &Row) -> Option<Self> {
        let word = |text: &str| text.parse().ok();
        Some(Self {
            kind: kind(row.kind)?,
            namespace: name(row.namespace.exact())?,
            name: name(row.name.exact())?,
            level: row.level,
            verdict: word(row.verdict),
            outcome: word(row.outcome),
            reason: word(row.reason),
        })
    }

    /// True if its Secret was known not to have the provider's data, or was synced because of that.
    pub fn is_drift(&self) -> bool {
        let words = [&self.verdict, &self.reason];
        let mut words = words.into_iter().flatten();
        words.any(|word| Verdict::is_word_of_drift(word.as_str()))
    }
}

impl From<PastItem> for String {
    fn from(item: PastItem) -> Self {
        let PastItem {
            kind,
            namespace,
            name,
            level,
            verdict,
            outcome,
            reason,
        } = item;
        let word = |word: Option<Word>| word.map_or_else(|| "-".to_owned(), |word| word.0);
        let (verdict, outcome, reason) = (word(verdict), word(outcome), word(reason));
        let level = level.into_str();
        let kind = kind.as_str();
        format!("{kind} {namespace}/{name} {level} {verdict} {outcome} {reason}")
    }
}

impl TryFrom<String> for PastItem {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let words: Vec<&str> = text.split(' ').collect();
        let [of, id, level, verdict, outcome, reason] = &*words else {
            return Err(Malformed);
        };
        let (namespace, named) = id.split_once('/').ok_or(Malformed)?;
        let mut levels = Level::VARIANTS.iter();
        let level = levels.find(|known| known.into_str() == *level);
        let word = |text: &str| match text {
            "-" => Ok(None),
            text => text.parse().map(Some),
        };
        Ok(Self {
            kind: kind(of).ok_or(Malformed)?,
            namespace: name(namespace).ok_or(Malformed)?,
            name: name(named).ok_or(Malformed)?,
            level: *level.ok_or(Malformed)?,
            verdict: word(verdict)?,
            outcome: word(outcome)?,
            reason: word(reason)?,
        })
    }
}

/// `ExternalSecret`, `Deployment`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKind(&'static str);

impl ObjectKind {
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// The kind, if it is one of those that runs are about.
fn kind(text: &str) -> Option<ObjectKind> {
    let workloads = workload::Kind::VARIANTS
        .iter()
        .map(workload::Kind::into_str);
    let mut kinds = workloads.chain([EXTERNAL_SECRET]);
    kinds.find(|kind| *kind == text).map(ObjectKind)
}

/// True if rows of this kind are Kubernetes objects that runs are about. Others may have the names of keys.
pub fn names_objects(text: &str) -> bool {
    kind(text).is_some()
}

fn name(text: &str) -> Option<String> {
    cluster::names::is_name(text).then(|| text.to_owned())
}

/// A word of the program: lower-case letters, digits and `-`, at most 63 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Word(String);

impl Word {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts && text.len() <= 63 && text.bytes().all(is_good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Malformed)
        }
    }
}

impl TryFrom<String> for Word {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

/// A link as `report.url` permits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Link(String);

impl Link {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Link {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        if crate::policy::form::is_link(&text) {
            Ok(Self(text))
        } else {
            Err(Malformed)
        }
    }
}

/// The error for a text that is no part of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not of the form that eso-sync writes; use lower-case letters, digits and `-`, at most 63"
)]
pub struct Malformed;

impl PastRun {
    /// Summarises a document. None if the command was called in a wrong way, so that there was no run.
    pub fn of(sheet: &Sheet, command: &str, job: Option<&Word>) -> Option<Self> {
        let run = &sheet.run;
        if run.exit_code == Exit::Invalid.code() {
            return None;
        }
        let mut past = Self {
            command: command.parse().ok()?,
            job: job.cloned(),
            policy: run.policy_digest.as_ref().and_then(|it| it.parse().ok()),
            url: run.report_url.clone().and_then(|it| it.try_into().ok()),
            started: run.started,
            finished: run.finished.max(run.started),
            exit_code: run.exit_code,
            complete: run.complete,
            objects: 0,
            attention: 0,
            outcomes: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            workloads: BTreeMap::new(),
            published: BTreeMap::new(),
            items: Vec::new(),
            cut: 0,
        };
        // A limit refused the plan, so it says nothing about how its objects are.
        let is_refused = sheet.kind == "Plan";
        let rows = || sheet.rows.iter().filter(|_| !is_refused);
        for row in rows() {
            past.count(row);
        }
        let mut items: Vec<PastItem> = rows()
            .filter(|row| row.level >= Level::Changed)
            .filter_map(PastItem::of)
            .collect();
        items.sort_by(|a, b| {
            let worst = b.level.cmp(&a.level);
            let one = (&a.namespace, &a.name, a.kind);
            worst.then_with(|| one.cmp(&(&b.namespace, &b.name, b.kind)))
        });
        past.keep(items);
        Some(past)
    }

    fn count(&mut self, row: &Row) {
        self.objects = self.objects.saturating_add(1);
        if row.level.needs_attention() {
            self.attention = self.attention.saturating_add(1);
        }
        let add = |counts: &mut BTreeMap<Word, u32>, word: &str| {
            if let Ok(word) = word.parse() {
                let count: &mut u32 = counts.entry(word).or_default();
                *count = count.saturating_add(1);
            }
        };
        if row.kind == EXTERNAL_SECRET {
            add(&mut self.outcomes, row.outcome);
            add(&mut self.verdicts, row.verdict);
        } else if row.kind == PUBLISHED {
            add(&mut self.published, row.outcome);
        } else if kind(row.kind).is_some() {
            add(&mut self.workloads, row.outcome);
        }
    }

    /// Keeps as many items as fit, and the number of the others.
    fn keep(&mut self, items: Vec<PastItem>) {
        let all = items.len();
        // The number of those that were cut needs some bytes, too.
        let mut left = LARGEST.saturating_sub(self.text().len() + 32);
        self.items = items
            .into_iter()
            .take_while(|item| {
                // Quotes and a comma.
                let size = String::from(item.clone()).len() + 3;
                let fits = size <= left;
                left = left.saturating_sub(size);
                fits
            })
            .collect();
        self.cut = u32::try_from(all - self.items.len()).unwrap_or(u32::MAX);
    }

    /// The text that the history keeps.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// True if the run failed, was refused, or did not reach everything.
    pub const fn failed(&self) -> bool {
        self.exit_code > 1
    }

    pub fn took(&self) -> SignedDuration {
        self.finished.duration_since(self.started)
    }

    /// What tells the runs of different jobs apart.
    pub fn series(&self) -> (&Word, Option<&Word>) {
        (&self.command, self.job.as_ref())
    }
}

impl FromStr for PastRun {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.len() > LARGEST {
            return Err(Malformed);
        }
        let run: Self = serde_json::from_str(text).map_err(|_| Malformed)?;
        let took = run.took();
        let is_good = run.exit_code <= 7 && !took.is_negative() && took <= LONGEST;
        is_good.then_some(run).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests;
