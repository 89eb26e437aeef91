//! Why one ExternalSecret is stale or failing, and what to do: from what was seen along its way, in plain words. Pure.

use std::{collections::BTreeSet, fmt::Write as _};

use eso_model::{expected::Difference, texts};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    exit::Exit,
    finding::{Finding, ReadFact, ReadState, Verdict},
    inventory::{Inventory, State, StoreView},
    plan::{Action, Item},
    reason::Reason,
    report::{API_VERSION, Run},
};

/// What `diagnose -o json|yaml` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// `Diagnosis`
    pub kind: &'static str,
    /// Which run it was.
    pub run: Run,
    /// The namespace of the ExternalSecret.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What the drift check says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What was seen, from the store to the workloads that use the Secret.
    pub links: Vec<Link>,
    /// What to do next, the first thing first.
    pub next: Vec<String>,
}

/// One link of the chain from the provider to the workloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// What it is about.
    pub about: String,
    /// How it is.
    pub health: Health,
    /// For people; never a part of a value.
    pub text: String,
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// As it should be.
    Well,
    /// Something is wrong.
    Wrong,
    /// It cannot be told.
    Unknown,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The ExternalSecret, and what would become of it.
    pub item: &'a Item,
    /// Its stores.
    pub inventory: &'a Inventory,
    /// The operator's warnings about it, the last one last; or why they could not be read.
    pub warnings: Result<&'a [String], &'a str>,
    /// What the providers answered.
    pub reads: &'a [ReadFact],
    /// The workloads whose pods use the Secret, as `KIND/NAME`; or why they could not be listed.
    pub consumers: Result<&'a [String], &'a str>,
}

struct Notes {
    links: Vec<Link>,
    next: Vec<String>,
}

impl Notes {
    fn well(&mut self, about: impl Into<String>, text: impl Into<String>) {
        self.add(about, Health::Well, text);
    }

    fn add(&mut self, about: impl Into<String>, health: Health, text: impl Into<String>) {
        self.links.push(Link {
            about: about.into(),
            health,
            text: text.into(),
        });
    }

    fn then(&mut self, next: impl Into<String>) {
        let next = next.into();
        if !self.next.contains(&next) {
            self.next.push(next);
        }
    }
}

/// Follows the chain.
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
        namespace: id.namespace.clone(),
        name: id.name.clone(),
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
                notes.add(about, Health::Wrong, "it does not exist");
                notes.then(format!("create {key}, or name the store that is meant"));
            }
            StoreView::Unknown(why) => {
                notes.add(about, Health::Unknown, format!("it cannot be read: {why}"));
            }
            StoreView::Seen(store) => match &store.ready {
                Some(ready) if ready.ready => {
                    notes.well(about, format!("ready; its provider is {}", store.provider));
                }
                Some(ready) => {
                    let text = format!("not ready: {}", ready.reason);
                    notes.add(about, Health::Wrong, text);
                    notes.then(format!(
                        "mend {key}: its credentials or its address; `kubectl describe` shows the operator's text"
                    ));
                }
                None => notes.add(
                    about,
                    Health::Unknown,
                    "the operator has not looked at it yet",
                ),
            },
        }
    }
}

fn provider(facts: Facts<'_>, notes: &mut Notes) {
    for read in facts.reads {
        let about = format!("{} at {}", read.what, read.store);
        match &read.state {
            ReadState::Found => notes.well(about, "it is there, and can be read"),
            ReadState::NotFound => {
                notes.add(
                    about,
                    Health::Wrong,
                    "the provider has no such secret or version",
                );
                notes.then(format!(
                    "create {} in the provider, or mend the key in the spec",
                    read.what
                ));
            }
            ReadState::Fails(word) => {
                notes.add(
                    about,
                    Health::Wrong,
                    format!("the operator fails on it: {word}"),
                );
            }
            ReadState::Unread { why, permission } => {
                let mut text = format!("it cannot be read: {why}");
                if let Some(permission) = permission {
                    let _ = write!(text, "; lacking: {permission}");
                    notes.then(format!(
                        "grant {permission} to whom the provider is read with"
                    ));
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
        || "it has never synced".to_owned(),
        |at| format!("it last synced at {at}"),
    );
    match item.state {
        State::Ready => notes.well(about, format!("ready; {since}")),
        State::Overdue => {
            notes.add(about, Health::Wrong, format!("overdue; {since}"));
            notes.then(
                "check that the operator runs, and how long its queue is (`workqueue_depth`)",
            );
        }
        State::NeverSynced => {
            notes.add(about, Health::Wrong, since);
            notes.then("check that the operator runs and serves this namespace");
        }
        State::Failed => failed(facts, &since, notes),
    }
    if let Action::Skip { reason, message } = &item.action
        && !matches!(
            reason,
            Reason::InSync | Reason::Unverifiable | Reason::WouldFail | Reason::NotDue
        )
    {
        let word = reason.as_str();
        let text = if message.is_empty() {
            word
        } else {
            format!("{word}: {message}")
        };
        notes.add(
            "Force-sync",
            Health::Wrong,
            format!("it would not be synced: {text}"),
        );
        if let Some(next) = reason.next_step() {
            notes.then(next);
        }
    }
}

fn failed(facts: Facts<'_>, since: &str, notes: &mut Notes) {
    let mut text = format!("the operator fails to sync it; {since}");
    match facts.warnings {
        Ok(warnings) => {
            if let Some(warning) = warnings.last() {
                let quoted = texts::quote(warning);
                let reason = Reason::from(quoted.class);
                let _ = write!(text, "; it says ({}): {}", reason.as_str(), quoted.text);
                if let Some(next) = reason.next_step() {
                    notes.then(next);
                }
            }
        }
        Err(why) => {
            let _ = write!(text, "; what it says cannot be read: {why}");
        }
    }
    notes.add("ExternalSecret", Health::Wrong, text);
}

fn secret(facts: Facts<'_>, notes: &mut Notes) {
    let item = facts.item;
    let about = format!("Secret {}", item.secret);
    let Some(finding) = &item.finding else {
        notes.add(about, Health::Unknown, "it was not checked");
        return;
    };
    let keys: BTreeSet<String> = finding
        .keys
        .iter()
        .map(|key| {
            let how = match key.difference {
                Difference::Changed => "differs",
                Difference::Missing => "is lacking",
                Difference::Extra => "should not be there",
            };
            format!("{} {how}", key.name)
        })
        .collect();
    let keys: Vec<String> = keys.into_iter().collect();
    let mut text = match finding.verdict {
        Verdict::InSync => "it holds what it should".to_owned(),
        Verdict::Stale
        | Verdict::Tampered
        | Verdict::Partial
        | Verdict::Missing
        | Verdict::Unverifiable => {
            format!("{}: {}", finding.verdict.as_str(), finding.message)
        }
    };
    if !keys.is_empty() {
        let _ = write!(text, " ({})", keys.join(", "));
    }
    let health = match finding.verdict {
        Verdict::InSync => Health::Well,
        Verdict::Unverifiable => Health::Unknown,
        Verdict::Stale | Verdict::Tampered | Verdict::Partial | Verdict::Missing => Health::Wrong,
    };
    notes.add(about, health, text);
    mend(facts, finding, notes);
}

fn consumers(facts: Facts<'_>, notes: &mut Notes) {
    let about = "Consumers";
    match facts.consumers {
        Ok([]) => notes.well(about, "no workload uses the Secret"),
        Ok(names) => notes.well(about, names.join(", ")),
        Err(why) => notes.add(
            about,
            Health::Unknown,
            format!("they cannot be listed: {why}"),
        ),
    }
}

fn mend(facts: Facts<'_>, finding: &Finding, notes: &mut Notes) {
    if let Some(reason) = finding.beyond_sync {
        if let Some(next) = reason.next_step() {
            notes.then(next);
        }
    } else if finding.verdict.is_drift() {
        let id = &facts.item.id;
        if finding.verdict == Verdict::Tampered {
            notes.then("find out who edits the Secret: the operator's next sync overwrites it");
        }
        let used = facts.consumers.is_ok_and(|consumers| !consumers.is_empty());
        let restart = if used { " --restart" } else { "" };
        notes.then(format!(
            "eso-sync sync {} -n {}{restart}",
            id.name, id.namespace
        ));
    }
}

impl Diagnosis {
    /// 1 where something is wrong, 3 where something cannot be told, else 0.
    pub fn exit(&self) -> Exit {
        self.links
            .iter()
            .map(|link| match link.health {
                Health::Well => Exit::Done,
                Health::Wrong => Exit::Differences,
                Health::Unknown => Exit::Failed,
            })
            .fold(Exit::Done, Exit::or)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}/{}\n\n", self.namespace, self.name);
        for link in &self.links {
            let mark = match link.health {
                Health::Well => "ok",
                Health::Wrong => "WRONG",
                Health::Unknown => "?",
            };
            let _ = writeln!(text, "{mark:>5}  {}: {}", link.about, link.text);
        }
        text.push('\n');
        if self.next.is_empty() {
            text.push_str(if self.exit() == Exit::Done {
                "Nothing is wrong.\n"
            } else {
                "Nothing more is known.\n"
            });
        }
        for (number, next) in (1..).zip(&self.next) {
            let _ = writeln!(text, "{number}. {next}");
        }
        text
    }
}

#[cfg(test)]
mod tests;
