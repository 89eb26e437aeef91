//! The diagnosis of one ExternalSecret: why it is stale or failing, and what to do. Pure: from collected facts to text.

mod sheet;

use std::{collections::BTreeSet, fmt::Write as _};

use eso_model::{
    Id,
    expected::{Difference, why},
    texts, unread,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    exit::Exit,
    finding::{Finding, ReadFact, ReadState, Verdict},
    foreign::{self, Foreign},
    inventory::{Inventory, State, StoreView},
    key_names::Hidden,
    plan::{Action, Item},
    reason::Reason,
    report::{API_VERSION, Run},
    restart::plan::Step,
};

/// The most pods that a link names.
const MOST_PODS: usize = 5;

/// The document that `diagnose -o json|yaml` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// `Diagnosis`
    pub kind: &'static str,
    /// The run that printed the document.
    pub run: Run,
    /// The namespace of the ExternalSecret.
    pub namespace: Foreign,
    pub name: Foreign,
    /// The verdict of the drift check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The links from the store to the workloads that use the Secret.
    pub links: Vec<Link>,
    /// The next steps, in order.
    pub next: Vec<Foreign>,
}

/// One link of the chain from the provider to the workloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// The object that the link describes.
    pub about: Foreign,
    /// The state of the link.
    pub health: Health,
    /// Text for people. Never contains a part of a value.
    pub text: Foreign,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// No problem was found.
    Well,
    /// A problem was found.
    Wrong,
    /// The state could not be determined.
    Unknown,
    /// The command was not given what it needs to find out.
    NotChecked,
}

/// Everything that was read.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The ExternalSecret with its planned action.
    pub item: &'a Item,
    /// The snapshot with its stores.
    pub inventory: &'a Inventory,
    /// The operator's warnings about it, oldest first; or the error from reading them.
    pub warnings: Result<&'a [String], &'a str>,
    /// The results of the provider reads.
    pub reads: &'a [ReadFact],
    /// The workloads whose pods use the Secret; or the error from listing them.
    pub consumers: Result<&'a [Consumer], &'a str>,
}

/// A workload whose pods use the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// `KIND/NAME`
    pub workload: String,
    pub data: PodData,
}

/// Which data the pods of a workload run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodData {
    /// The data that the Secret has.
    Current,
    /// Data that the Secret had before, in these pods.
    Old { pods: Vec<String> },
    /// There is no stamp of what its pods started with.
    Unstamped,
    /// Why it is not known.
    Unknown(String),
    /// The stamps were not read, or its kind has none.
    NotRead,
}

impl PodData {
    /// What the decision about a restart knows.
    pub fn of(step: &Step) -> Self {
        let decision = &step.decision;
        if decision.behind {
            let pods = step.old_pods.clone();
            return Self::Old { pods };
        }
        let written = decision.write.iter().map(|write| &write.stamp.assumed);
        let mut assumed = written.chain([&decision.assumed]);
        if assumed.any(|secrets| !secrets.is_empty()) {
            return Self::Unstamped;
        }
        if decision.reason.needs_attention() {
            let (reason, message) = (decision.reason, &decision.message);
            return Self::Unknown(match &**message {
                "" => reason.into_str().to_owned(),
                message => format!("{}: {message}", reason.into_str()),
            });
        }
        Self::Current
    }
}

struct Notes {
    links: Vec<Link>,
    next: Vec<Foreign>,
}

impl Notes {
    fn well(&mut self, about: impl Into<Foreign>, text: impl Into<Foreign>) {
        self.add(about, Health::Well, text);
    }

    fn add(&mut self, about: impl Into<Foreign>, health: Health, text: impl Into<Foreign>) {
        self.links.push(Link {
            about: about.into(),
            health,
            text: text.into(),
        });
    }

    fn then(&mut self, next: impl Into<Foreign>) {
        let next = next.into();
        if !self.next.contains(&next) {
            self.next.push(next);
        }
    }
}

/// Makes the diagnosis of one ExternalSecret.
pub fn diagnose(facts: Facts<'_>, run: Run) -> Diagnosis {
    let mut notes = Notes {
        links: Vec::new(),
        next: Vec::new(),
    };
    stores(facts, &mut notes);
    provider(facts, &mut notes);
    external_secret(facts, &mut notes);
    secret(facts, &mut notes);
    consumers(facts, &mut notes);
    let Item { id, finding, .. } = facts.item;
    let mut diagnosis = Diagnosis {
        api_version: API_VERSION,
        kind: "Diagnosis",
        run,
        namespace: (&id.namespace).into(),
        name: (&id.name).into(),
        verdict: finding.as_ref().map(|finding| finding.verdict),
        links: notes.links,
        next: notes.next,
    };
    diagnosis.run.exit_code = diagnosis.exit().code();
    diagnosis
}

fn stores(facts: Facts<'_>, notes: &mut Notes) {
    for (key, view) in &facts.inventory.stores {
        let about = key.to_string();
        match view {
            StoreView::Missing => {
                notes.add(about, Health::Wrong, "does not exist");
                notes.then(format!(
                    "create {key}, or fix the store reference in the ExternalSecret"
                ));
            }
            StoreView::Unknown(why) => {
                notes.add(about, Health::Unknown, format!("cannot be read: {why}"));
            }
            StoreView::Seen(store) => match &store.ready {
                Some(ready) if ready.ready => {
                    notes.well(about, format!("ready; provider {}", store.provider));
                }
                Some(ready) => {
                    let text = format!("not ready: {}", ready.reason);
                    notes.add(about, Health::Wrong, text);
                    notes.then(format!(
                        "fix the credentials or the address in {key}. `kubectl describe` shows the operator's error"
                    ));
                }
                None => notes.add(
                    about,
                    Health::Unknown,
                    "has no status from the operator yet",
                ),
            },
        }
    }
}

fn provider(facts: Facts<'_>, notes: &mut Notes) {
    for read in facts.reads {
        let about = format!("{} at {}", read.what, read.store);
        match &read.state {
            ReadState::Found => notes.well(about, "exists, and can be read"),
            ReadState::NotFound => {
                notes.add(
                    about,
                    Health::Wrong,
                    "the provider has no such secret or version",
                );
                notes.then(format!(
                    "create {} in the provider, or fix the remote key in the ExternalSecret's spec",
                    read.what
                ));
            }
            ReadState::Fails(word) => {
                notes.add(
                    about,
                    Health::Wrong,
                    format!("the operator would fail with it: {word}"),
                );
            }
            ReadState::Unread {
                word,
                why,
                permission,
            } => {
                let mut text = format!("cannot be read: {why}");
                if let Some(permission) = permission {
                    let _ = write!(text, "; missing permission: {permission}");
                    notes.then(format!(
                        "grant {permission} to the identity that reads the provider"
                    ));
                } else if let Some(next) = Reason::of_read(word).and_then(Reason::next_step) {
                    notes.then(next);
                }
                notes.add(about, Health::Unknown, text);
            }
        }
    }
}

fn external_secret(facts: Facts<'_>, notes: &mut Notes) {
    let item = facts.item;
    let about = "ExternalSecret";
    let since = item.refreshed.map_or_else(
        || "never synced".to_owned(),
        |at| format!("last synced at {at}"),
    );
    match item.state {
        State::Ready => notes.well(about, format!("ready; {since}")),
        State::Overdue => {
            notes.add(about, Health::Wrong, format!("overdue; {since}"));
            notes.then(
                "check that the operator is running, and the length of its queue (`workqueue_depth`)",
            );
        }
        State::NeverSynced => {
            notes.add(about, Health::Wrong, since);
            notes.then("check that the operator is running and serves this namespace");
        }
        State::Failed => failed(facts, &since, notes),
    }
    if let Some((reason, message)) = never_synced(item) {
        let word = reason.as_str();
        let text = if message.is_empty() {
            word
        } else {
            format!("{word}: {message}")
        };
        notes.add(
            "Force-sync",
            Health::Wrong,
            format!("would be skipped: {text}"),
        );
        let next = reason.next_step().map(str::to_owned);
        notes.then(next.unwrap_or_else(|| format!("eso-sync explain {}", reason.as_str())));
    }
}

/// Why no sync of it would be asked for, whatever its data is.
fn never_synced(item: &Item) -> Option<(Reason, &str)> {
    let Action::Skip { reason, message } = &item.action else {
        return None;
    };
    let by_data = matches!(
        reason,
        Reason::InSync | Reason::Unverifiable | Reason::WouldFail | Reason::NotDue
    );
    (!by_data).then_some((*reason, &**message))
}

fn failed(facts: Facts<'_>, since: &str, notes: &mut Notes) {
    let mut text = format!("the operator cannot sync it; {since}");
    match facts.warnings {
        Ok(warnings) => {
            if let Some(warning) = warnings.last() {
                let quoted = texts::quote(warning);
                let reason = Reason::from(quoted.class);
                let _ = write!(text, "; its error ({}): {}", reason.as_str(), quoted.text);
                if let Some(next) = reason.next_step() {
                    notes.then(next);
                }
            }
        }
        Err(why) => {
            let _ = write!(text, "; its error cannot be read: {why}");
        }
    }
    notes.add("ExternalSecret", Health::Wrong, text);
}

fn secret(facts: Facts<'_>, notes: &mut Notes) {
    let item = facts.item;
    let about = format!("Secret {}", item.secret);
    let Some(finding) = &item.finding else {
        notes.add(about, Health::Unknown, "not checked");
        return;
    };
    let keys: BTreeSet<String> = finding
        .keys
        .iter()
        .filter_map(|key| {
            let how = match key.difference {
                Difference::Changed => "differs",
                Difference::Missing => "is missing",
                Difference::Extra => "is unexpected, so a sync removes it",
            };
            Some(format!("{} {how}", key.name.shown()?))
        })
        .collect();
    let mut keys: Vec<String> = keys.into_iter().collect();
    let hidden = finding.keys.iter().filter(|key| key.name.shown().is_none());
    match hidden.count() {
        0 => {}
        hidden => keys.push(Hidden(hidden).to_string()),
    }
    let mut text = match finding.verdict {
        Verdict::InSync if finding.message.is_empty() => "has the expected data".to_owned(),
        Verdict::InSync => format!("has the expected data; {}", finding.message),
        Verdict::Stale
        | Verdict::Tampered
        | Verdict::Partial
        | Verdict::Missing
        | Verdict::Unverifiable => {
            format!("{}: {}", finding.verdict.into_str(), finding.message)
        }
    };
    if !keys.is_empty() {
        let _ = write!(text, " ({})", keys.join(", "));
    }
    let health = match finding.verdict {
        Verdict::InSync if finding.beyond_sync.is_none() => Health::Well,
        Verdict::Unverifiable => Health::Unknown,
        Verdict::InSync
        | Verdict::Stale
        | Verdict::Tampered
        | Verdict::Partial
        | Verdict::Missing => Health::Wrong,
    };
    notes.add(about, health, text);
    suggest_fix(facts, finding, notes);
}

fn consumers(facts: Facts<'_>, notes: &mut Notes) {
    let about = "Consumers";
    match facts.consumers {
        Ok([]) => notes.well(about, "no workload uses the Secret"),
        Ok(all) => {
            for consumer in all {
                consumer_of(consumer, facts, notes);
            }
        }
        Err(why) => notes.add(about, Health::Unknown, format!("cannot be listed: {why}")),
    }
}

fn consumer_of(consumer: &Consumer, facts: Facts<'_>, notes: &mut Notes) {
    let (health, text) = match &consumer.data {
        PodData::Current => (
            Health::Well,
            "its pods run with the Secret's data".to_owned(),
        ),
        PodData::Old { pods } => {
            let names = foreign::first(
                MOST_PODS,
                pods.iter().map(|pod| Foreign::from(pod.as_str())),
            );
            let text = match &*names {
                "" => "it runs with old data".to_owned(),
                names => format!("these pods run with old data: {names}"),
            };
            (Health::Wrong, text)
        }
        PodData::Unstamped => (
            Health::NotChecked,
            "uses the Secret; nothing records the data that its pods started with".to_owned(),
        ),
        PodData::Unknown(why) => (
            Health::Unknown,
            format!("the data of its pods is not known: {why}"),
        ),
        PodData::NotRead => (
            Health::NotChecked,
            "uses the Secret; the data of its pods was not checked".to_owned(),
        ),
    };
    let is_behind = health == Health::Wrong;
    notes.add(consumer.workload.as_str(), health, text);
    // A drift has the same step, if a sync helps at all.
    let drifts = facts
        .item
        .finding
        .as_ref()
        .is_some_and(|it| it.verdict != Verdict::InSync);
    if is_behind && !drifts {
        notes.then(sync_of(&facts.item.id, true));
    }
}

/// The command that syncs an ExternalSecret.
fn sync_of(id: &Id, restarts: bool) -> String {
    let restart = if restarts { " --restart" } else { "" };
    format!("eso-sync sync {} -n {}{restart}", id.name, id.namespace)
}

fn suggest_fix(facts: Facts<'_>, finding: &Finding, notes: &mut Notes) {
    if let Some(reason) = finding.beyond_sync {
        if let Some(next) = finding.next_step(reason) {
            notes.then(next);
        }
    } else if let Some(why) = &finding.unverifiable {
        let next = next_step_of(why.reason).map(str::to_owned);
        notes.then(next.unwrap_or_else(|| format!("eso-sync explain {}", why.reason)));
    } else if finding.verdict.is_drift() {
        if finding.verdict == Verdict::Tampered {
            notes.then("find out who edits the Secret: the next sync overwrites the change");
        }
        if never_synced(facts.item).is_some() {
            // What helps instead is said with the reason.
            return;
        }
        let used = facts.consumers.is_ok_and(|consumers| !consumers.is_empty());
        notes.then(sync_of(&facts.item.id, used));
    }
}

/// What to do about this word. The step of `unverifiable` itself leads to a diagnosis.
fn next_step_of(word: &str) -> Option<&'static str> {
    if let Some(reason) = Reason::of_read(word) {
        return reason.next_step();
    }
    let known = why::ALL.iter().chain(unread::ALL);
    known
        .filter(|known| known.word == word)
        .find_map(|known| known.next)
}

impl Diagnosis {
    /// Returns 3 if a link is unknown, else 1 if a problem was found, else 0.
    pub fn exit(&self) -> Exit {
        self.links
            .iter()
            .map(|link| match link.health {
                Health::Well | Health::NotChecked => Exit::Done,
                Health::Wrong => Exit::Differences,
                Health::Unknown => Exit::Failed,
            })
            .fold(Exit::Done, Exit::or)
    }

    /// Human-readable details.
    pub fn text(&self) -> String {
        let mut text = format!("{}/{}\n\n", self.namespace.terminal(), self.name.terminal());
        for link in &self.links {
            let mark = match link.health {
                Health::Well => "ok",
                Health::Wrong => "WRONG",
                Health::Unknown => "?",
                Health::NotChecked => "-",
            };
            let (about, state) = (link.about.terminal(), link.text.terminal());
            let _ = writeln!(text, "{mark:>5}  {about}: {state}");
        }
        text.push('\n');
        if self.next.is_empty() {
            text.push_str(if self.exit() == Exit::Done {
                "No problems found.\n"
            } else {
                "No further information.\n"
            });
        }
        for (number, next) in (1..).zip(&self.next) {
            let _ = writeln!(text, "{number}. {}", next.terminal());
        }
        text
    }
}

#[cfg(test)]
mod tests;
