//! Words that are in no JSON Schema: commands, words of `--allow`, metrics, alerts, and why something is unverifiable or would fail.

use clap::{CommandFactory as _, ValueEnum as _};
use eso_model::{
    Word,
    expected::{Failure, why},
    unread,
};
use serde_json::Value;
use strum::{EnumMessage, IntoEnumIterator as _, VariantArray as _};

use super::{Entry, advice};
use crate::{
    cli::Cli,
    policy::Capability,
    publish::{self, reasons_of_sops},
    reason::Reason,
    report::metrics::Metric,
};

/// The alerts, whose texts are also what people get.
const ALERTS: &str = include_str!("../../manifests/components/monitoring/rules.yaml");

const OUTCOME: &str = "outcome of `publish`";

/// All of them.
pub(super) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = unverifiable().collect();
    entries.extend(failures());
    entries.extend(refusals());
    entries.extend(commands());
    entries.extend(Capability::value_variants().iter().filter_map(|one| {
        let value = one.to_possible_value()?;
        Some(Entry {
            word: value.get_name().to_owned(),
            what: "word of `--allow`",
            meaning: value.get_help()?.to_string(),
            next: None,
        })
    }));
    entries.extend(Metric::VARIANTS.iter().map(|metric| Entry {
        word: metric.full_name(),
        what: "metric",
        meaning: metric.help().to_owned(),
        next: None,
    }));
    entries.extend(alerts());
    entries.extend(publish::OUTCOMES.iter().map(|(word, meaning)| Entry {
        word: (*word).to_owned(),
        what: OUTCOME,
        meaning: (*meaning).to_owned(),
        next: advice::of(OUTCOME, word),
    }));
    entries.extend(REPORT.iter().map(|(word, meaning)| Entry {
        word: (*word).to_owned(),
        what: "word of a report",
        meaning: (*meaning).to_owned(),
        next: None,
    }));
    entries
}

/// Words of reports that are neither a state nor a reason.
const REPORT: [(&str, &str); 21] = [
    (
        "behind",
        "Pods of the workload still run with data that their Secret no longer has.",
    ),
    (
        "assumed",
        "It is not known whether the pods started with the data that the Secret has now; the first stamp assumes it.",
    ),
    (
        "wave",
        "Workloads of one wave are restarted together; the next wave begins when all are healthy. Also a tool (`handled-by-wave`).",
    ),
    (
        "proven",
        "This run has seen it: nothing is concluded from the time or from what was asked for.",
    ),
    (
        "not proven",
        "The run has not seen that this link is as it should be; the reason stands beside it.",
    ),
    (
        "not compared",
        "This command did not compare the Secret with its provider: `drift`, `plan` and `run` do, if they may read it.",
    ),
    (
        "not read",
        "This command did not look at this link. It says nothing about how it is.",
    ),
    (
        "no-access",
        "A run of the history that had no cluster, credentials or rights (exit code 4).",
    ),
    (
        "needs-attention",
        "An object of the history that differed, failed or was unknown in its last run.",
    ),
    (
        "acknowledged",
        "The queue no longer keeps these messages: what they concern is proven, or concerns nobody here.",
    ),
    (
        "kept",
        "The queue delivers these messages again, because what they concern is not proven yet.",
    ),
    (
        "attention",
        "The objects of a run with the level differs, unknown or failed.",
    ),
    (
        "ended early",
        "The deadline, a signal or too many failures ended the run before all of its work.",
    ),
    (
        "wrong",
        "A link of the chain that `diagnose` found broken. What to do about it is below the links.",
    ),
    (
        "level",
        "How much attention a row of CSV or HTML needs: good, changed, skipped, differs, unknown or failed.",
    ),
    ("good", "A level: known to be as it should be."),
    (
        "changed",
        "A level: this run changed it, or would change it.",
    ),
    (
        "differs",
        "A level: known to differ from what it should be.",
    ),
    (
        "unknown",
        "A level: it is not known how it is. Unknown is never taken for good.",
    ),
    (
        "note",
        "A row of CSV about the whole run: a warning, a gap or a limit.",
    ),
    (
        "verifiable",
        "The ExternalSecrets whose data could be compared with the provider, of all that were to be compared.",
    ),
];

/// Why a Secret cannot be compared, without the words that are reasons, too.
fn unverifiable() -> impl Iterator<Item = Entry> {
    let all = why::ALL.iter().chain(unread::ALL);
    let own = all.filter(|word| Reason::of_read(word.word).is_none());
    own.map(
        |Word {
             word,
             meaning,
             next,
         }| Entry {
            word: (*word).to_owned(),
            what: "why something is `unverifiable`",
            meaning: (*meaning).to_owned(),
            next: Some(next.unwrap_or("`drift.onUnverifiable` decides what a run does with it")),
        },
    )
}

/// Why the operator's sync would fail, once for each word.
fn failures() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for failure in Failure::VARIANTS {
        let word = failure.into_str();
        if !entries.iter().any(|entry| entry.word == word) {
            entries.push(Entry {
                word: word.to_owned(),
                what: "why the operator's sync would fail",
                meaning: failure.get_documentation().unwrap_or_default().to_owned(),
                next: Some(
                    "correct the provider's data or the ExternalSecret's spec where the message says: `eso-sync diagnose NAME` shows the place",
                ),
            });
        }
    }
    entries
}

/// Why `publish` refuses a file, a repository or a key.
fn refusals() -> impl Iterator<Item = Entry> {
    let files = repository::Reason::iter().map(|reason| (reason.word(), documented(&reason)));
    let git = git::Reason::iter().map(|reason| (reason.into_str(), documented(&reason)));
    let sops = reasons_of_sops().into_iter();
    let sops = sops.map(|(word, meaning)| (word, capitalised(meaning)));
    let others = PUBLISH.iter();
    let others = others.map(|(word, meaning)| (*word, (*meaning).to_owned()));
    let all = files.chain(git).chain(sops).chain(others);
    all.filter(|(word, _)| !word.is_empty()).map(|(word, meaning)| Entry {
        word: word.to_owned(),
        what: "reason of `publish` about a file, a repository or a key",
        meaning,
        next: Some("the message beside it names the place: correct it there, then run again. docs/publish.md describes sources and keys"),
    })
}

fn documented(reason: &impl EnumMessage) -> String {
    reason.get_documentation().unwrap_or_default().to_owned()
}

/// The text as a sentence.
fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(rest).chain(['.']).collect()
}

/// The words of sources and keys that are not words of a file.
const PUBLISH: [(&str, &str); 25] = [
    (
        "artifact-address",
        "The artifact's address is not that of the source-controller of its namespace.",
    ),
    (
        "artifact-unavailable",
        "The artifact cannot be fetched: the source-controller does not answer, or a NetworkPolicy keeps others out.",
    ),
    (
        "git-address",
        "The address of the repository is not one that is supported.",
    ),
    (
        "git-denied",
        "The server of the repository rejects the credentials, or needs some.",
    ),
    (
        "git-unavailable",
        "The server of the repository cannot be reached, or fails.",
    ),
    (
        "invalid-credentials",
        "The Secret with the credentials of the repository has not the keys or values that are needed.",
    ),
    ("invalid-key", "A key is not in the form that is needed."),
    (
        "key-not-found",
        "The Secret, file or variable with a key does not exist.",
    ),
    (
        "key-not-permitted",
        "`sops.kms` does not contain the key that the file names.",
    ),
    (
        "no-memory-folder",
        "Neither `/dev/shm` nor `/tmp` is a tmpfs with room for the repository.",
    ),
    ("no-source", "The item has no source."),
    (
        "no-target",
        "The item has no target that can be written to.",
    ),
    ("program-not-found", "There is no program at this path."),
    ("program-not-started", "The program cannot be started."),
    ("program-output", "The program printed more than 16 MiB."),
    ("program-timeout", "The program took longer than a minute."),
    (
        "repository-not-allowed",
        "The policy or a flag does not permit this repository.",
    ),
    (
        "sops-failed",
        "The program `sops` failed for a reason that is not told here, because its message may contain values.",
    ),
    (
        "source-ambiguous",
        "The Application has more than one source, and the policy chooses none.",
    ),
    (
        "source-not-allowed",
        "A link in `source.path.dir` leads to a folder that `--allow-source` does not permit.",
    ),
    (
        "source-not-found",
        "There is no such GitRepository or Application.",
    ),
    (
        "source-not-ready",
        "The GitRepository or Application is not ready, or its status is of an older spec.",
    ),
    (
        "source-unread",
        "The GitRepository or Application could not be read.",
    ),
    (
        "source-unsupported",
        "The source is of a kind that is not supported, such as a chart.",
    ),
    (
        "ssh-unavailable",
        "The program `ssh` is missing. The image `tools` has it.",
    ),
];

fn commands() -> Vec<Entry> {
    let program = Cli::command();
    let all = program.get_subcommands();
    all.map(|command| Entry {
        word: command.get_name().to_owned(),
        what: "command",
        meaning: command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default(),
        next: Some("`eso-sync help`, with the command, lists its flags"),
    })
    .collect()
}

fn alerts() -> Vec<Entry> {
    let rules: Value = serde_saphyr::from_str(ALERTS).unwrap_or_default();
    let all = rules
        .pointer("/spec/groups/0/rules")
        .and_then(Value::as_array);
    let text = |rule: &Value, pointer| {
        rule.pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    all.into_iter()
        .flatten()
        .filter_map(|rule| {
            let summary = without_templates(&text(rule, "/annotations/summary")?);
            let description = text(rule, "/annotations/description")?;
            Some(Entry {
                word: text(rule, "/alert")?,
                what: "alert",
                meaning: format!("{summary}. {description}"),
                next: Some("docs/monitoring.md says what each alert looks at; `eso-sync history` shows the last runs"),
            })
        })
        .collect()
}

/// The text of an alert with a word in place of each value: `{{ $labels.store }}` becomes `STORE`, `{{ $value }}` becomes `N`.
fn without_templates(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, (template, after))) = rest
        .split_once("{{")
        .and_then(|(before, after)| Some((before, after.split_once("}}")?)))
    {
        plain.push_str(before);
        match template.trim().strip_prefix("$labels.") {
            Some(label) => plain.push_str(&label.to_uppercase()),
            None => plain.push('N'),
        }
        rest = after;
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_begins_with_its_summary_without_templates() {
        let alerts = alerts();
        assert!(alerts.len() >= 10);
        let meaning = |word: &str| {
            let found = alerts.iter().find(|alert| alert.word == word);
            found.map_or("", |alert| alert.meaning.as_str())
        };
        assert!(
            meaning("EsoSyncEventsMissing")
                .starts_with("`eso-sync events` has not run for half an hour. Nothing")
        );
        assert!(meaning("EsoSyncNoSuccess").starts_with("`eso-sync COMMAND` runs, but did not"));
        for alert in &alerts {
            assert!(!alert.meaning.contains("{{"), "{}", alert.meaning);
        }
    }
}
