//! Explains the words of reports and the keys of a policy. The texts are those of the JSON Schemas, which come from the doc
//! comments of the types, so they cannot differ from what the types say. Other lists have their texts beside them, too.

mod advice;
mod lists;

use std::fmt::Write as _;

use serde_json::Value;
use strum::VariantArray as _;

use crate::{
    advise, events::Refused, exit::Exit, history, impact, reason::Reason, report, settings, similar,
};

/// One meaning of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub word: String,
    /// What the word is, for example `verdict`.
    pub what: &'static str,
    pub meaning: String,
    /// What to do.
    pub next: Option<&'static str>,
}

/// The types of the report whose words are explained, and what these are.
const WORDS: [(&str, &str); 11] = [
    ("Reason", "reason"),
    ("Verdict", "verdict"),
    ("Outcome", "outcome"),
    ("RestartOutcome", "outcome of a workload"),
    ("State", "state"),
    ("DocumentAction", "planned action"),
    ("RestartAction", "planned action for a workload"),
    ("StampAction", "change of a stamp"),
    ("SecretChange", "change of the Secret"),
    ("Difference", "difference of a key"),
    ("LinkKind", "proven link of a chain"),
];

/// All entries, in a fixed order.
pub fn entries() -> Vec<Entry> {
    let report = report::schema();
    let mut entries = Vec::new();
    for (name, what) in WORDS {
        if let Some(schema) = report.pointer(&format!("/$defs/{name}")) {
            words(schema, what, &mut entries);
        }
    }
    of_other_documents(&mut entries);
    entries.extend(lists::entries());
    let exits = schemars::schema_for!(Exit).to_value();
    let mut codes = Vec::new();
    words(&exits, "exit code", &mut codes);
    entries.extend(codes.into_iter().filter_map(|entry| {
        let (code, meaning) = entry.meaning.split_once(": ")?;
        Some(Entry {
            word: code.to_owned(),
            meaning: meaning.to_owned(),
            next: advice::of("exit code", code),
            ..entry
        })
    }));
    keys(&settings::schema(), "", &mut entries);
    entries
}

/// Adds the words of `publish`, `events`, `advise`, `impact` and `history`.
fn of_other_documents(entries: &mut Vec<Entry>) {
    for (schema, what) in [
        (
            schemars::schema_for!(publish::Reason),
            "reason of `publish`",
        ),
        (
            schemars::schema_for!(::events::End),
            "end of the work for the key of an event",
        ),
        (
            schemars::schema_for!(::events::Ignored),
            "reason of an event without effect",
        ),
        (
            schemars::schema_for!(::events::Warned),
            "reason of an event with a warning",
        ),
        (
            schemars::schema_for!(::events::Unreadable),
            "reason of an event that is not understood",
        ),
        (
            schemars::schema_for!(Refused),
            "reason why nothing is received from a queue",
        ),
        (
            schemars::schema_for!(advise::Verdict),
            "verdict of `advise`",
        ),
        (schemars::schema_for!(advise::Reason), "reason of `advise`"),
        (
            schemars::schema_for!(advise::Warning),
            "warning of `advise`",
        ),
        (
            schemars::schema_for!(advise::RotationState),
            "rotation of a key in `advise`",
        ),
        (
            schemars::schema_for!(impact::UseCertainty),
            "how sure `impact` is that an ExternalSecret uses a key",
        ),
        (schemars::schema_for!(history::Trend), "trend of `history`"),
        (
            schemars::schema_for!(publish::Refusal),
            "why `publish` must not write a secret",
        ),
    ] {
        words(&schema.to_value(), what, entries);
    }
}

/// Adds the words of an enumeration.
fn words(schema: &Value, what: &'static str, entries: &mut Vec<Entry>) {
    for one in list(schema, "oneOf") {
        let word = one.pointer("/const").or_else(|| one.pointer("/enum/0"));
        let Some(word) = word.and_then(Value::as_str) else {
            continue;
        };
        let reason = Reason::VARIANTS
            .iter()
            .find(|reason| what == "reason" && reason.into_str() == word);
        entries.push(Entry {
            word: word.to_owned(),
            what,
            meaning: text(one),
            next: reason
                .and_then(|reason| reason.next_step())
                .or_else(|| advice::of(what, word)),
        });
    }
}

/// Adds the keys of a policy.
fn keys(schema: &Value, path: &str, entries: &mut Vec<Entry>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, schema) in properties.into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{key}");
        let mut meaning = text(schema);
        let values: Vec<String> = list(schema, "enum").filter_map(value).collect();
        if !values.is_empty() {
            let _ = write!(meaning, "\nValues: {}.", values.join(", "));
        }
        if let Some(default) = schema.get("default").and_then(value) {
            let _ = write!(meaning, "\nDefault: {default}.");
        }
        entries.push(Entry {
            word: path.clone(),
            what: "policy key",
            meaning: meaning.trim().to_owned(),
            next: None,
        });
        keys(schema, &path, entries);
        if let Some(items) = schema.get("items") {
            keys(items, &format!("{path}[]"), entries);
        }
    }
}

fn value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(format!("`{text}`")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(format!("`{value}`"))
        }
    }
}

fn text(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn list<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = &'a Value> {
    let list = schema.get(keyword).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// Explains a word: a word of a report, an exit code, a command, a metric, an alert, or a key of a policy with or without its path.
/// Fails with the most similar words.
pub fn explain(word: &str) -> Result<String, Vec<String>> {
    let entries = entries();
    let wanted = plain(word);
    let is_meant = |entry: &&Entry| {
        let known = plain(&entry.word);
        let last = known.rsplit('.').next().unwrap_or_default();
        known == wanted || (entry.what == "policy key" && last == wanted)
    };
    let found: Vec<&Entry> = entries.iter().filter(is_meant).collect();
    if found.is_empty() {
        return Err(similar_words(&wanted, &entries));
    }
    let mut text = String::new();
    for Entry {
        word,
        what,
        meaning,
        next,
    } in found
    {
        let gap = if text.is_empty() { "" } else { "\n" };
        let meaning = meaning.replace('\n', "\n  ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{gap}{word} ({what})\n  {meaning}");
        if let Some(next) = next {
            let _ = writeln!(text, "  What to do: {next}.");
        }
    }
    Ok(text)
}

/// Ignores case, dashes and the indices of a list: `TimedOut`, `timed-out`, `select[0].names`.
fn plain(word: &str) -> String {
    let word = word.trim().to_lowercase();
    let word = word.strip_prefix("exit ").unwrap_or(&word);
    let word = word.strip_prefix("code ").unwrap_or(word);
    let mut plain = String::new();
    let mut in_index = false;
    for c in word.chars() {
        match c {
            '[' => in_index = true,
            ']' => in_index = false,
            '-' | '_' | ' ' => {}
            c if !in_index => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// The most similar words.
fn similar_words(wanted: &str, entries: &[Entry]) -> Vec<String> {
    let far = |entry: &Entry| {
        let known = plain(&entry.word);
        let last = known.rsplit('.').next().unwrap_or_default();
        let both = [&*known, last].into_iter();
        both.filter_map(|name| similar::distance(wanted, name))
            .min()
    };
    let near = entries
        .iter()
        .filter_map(|entry| Some((far(entry)?, &entry.word)));
    similar::first(near).into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Verdict, inventory::State, outcome::Outcome, restart::results::RestartOutcome,
    };

    #[test]
    fn every_word_of_a_report_has_an_explanation() {
        let reasons = Reason::VARIANTS.iter().map(Reason::into_str);
        let verdicts = Verdict::VARIANTS.iter().map(Verdict::into_str);
        let outcomes = Outcome::VARIANTS.iter().map(Outcome::into_str);
        let restarts = RestartOutcome::VARIANTS
            .iter()
            .map(RestartOutcome::into_str);
        let states = [
            State::Ready,
            State::Failed,
            State::NeverSynced,
            State::Overdue,
        ]
        .map(|state| state.into_str());
        let all = reasons.chain(verdicts).chain(outcomes).chain(restarts);
        let entries = entries();
        let codes = (0..8).map(|code| ["0", "1", "2", "3", "4", "5", "6", "7"][code]);
        for word in all.chain(states).chain(codes) {
            let found = entries.iter().find(|entry| entry.word == word);
            let found = found.unwrap_or_else(|| panic!("{word} is not explained"));
            assert!(found.meaning.len() > 5, "{word}: {}", found.meaning);
            assert!(found.next.is_some(), "{word}: what to do?");
        }
    }

    #[test]
    fn outcomes_of_a_publication_have_an_explanation() {
        let entries = entries();
        for (word, _) in crate::publish::OUTCOMES {
            let what = "outcome of `publish`";
            let mut found = entries.iter().filter(|entry| entry.word == word);
            assert!(found.any(|entry| entry.what == what), "{word}");
        }
        assert!(explain("raced").unwrap().contains("at the same time"));
    }

    #[test]
    fn words_of_events_have_an_explanation() {
        for word in [
            "left-to-run",
            "scope-incomplete",
            "not-yet-visible",
            "reminder",
            "rotation-failed",
            "unknown-shape",
            "other-owner",
        ] {
            assert!(explain(word).is_ok(), "{word}");
        }
    }

    #[test]
    fn words_of_publish_impact_and_advise_have_an_explanation() {
        for word in [
            "too-long",
            "aggressive",
            "rotated",
            "would-revert",
            "still-read",
            "by-template",
        ] {
            assert!(explain(word).is_ok(), "{word}");
        }
    }

    #[test]
    fn words_of_other_lists_have_an_explanation() {
        for word in [
            "store-not-trusted",
            "too-costly",
            "key-collision",
            "init",
            "ambient-stores",
            "store-credentials",
            "eso_sync_workloads_behind",
            "EsoSyncStale",
        ] {
            let text = explain(word).unwrap_or_else(|near| panic!("{word}: {near:?}"));
            assert!(text.len() > word.len() + 30, "{text}");
        }
        for entry in lists::entries() {
            assert!(!entry.meaning.is_empty(), "{}", entry.word);
        }
    }

    #[test]
    fn every_exit_code_has_an_explanation() {
        for code in 0..=7 {
            let text = explain(&code.to_string()).unwrap();
            assert!(
                text.starts_with(&format!("{code} (exit code)\n  ")),
                "{text}"
            );
            assert_eq!(explain(&format!("exit {code}")), Ok(text));
        }
    }

    #[test]
    fn every_policy_key_of_the_table_of_ceilings_has_an_explanation() {
        let entries = entries();
        for key in crate::policy::ceilings::KEYS {
            let path = key.path.trim_end_matches(".*").trim_end_matches("[]");
            let is_key = |entry: &Entry| entry.what == "policy key" && entry.word == path;
            assert!(entries.iter().any(is_key), "{path}");
        }
    }

    #[test]
    fn keys_are_found_without_their_path_and_with_indices() {
        let text = explain("cooldown").unwrap();
        assert!(text.contains("restart[].cooldown (policy key)"), "{text}");
        assert_eq!(explain("restart[0].cooldown"), Ok(text));
    }

    #[test]
    fn misspelt_words_get_suggestions() {
        assert_eq!(explain("stael").unwrap_err(), ["stale"]);
        let near = explain("sync.timout").unwrap_err();
        assert_eq!(near.first().map(String::as_str), Some("sync.timeout"));
        assert_eq!(explain("xxxxxxxxxxxxxxxxx").unwrap_err(), [""; 0]);
    }

    /// Keys, numbers, and words that say what was planned, done or found need no advice.
    #[test]
    fn every_word_that_may_need_an_action_says_what_to_do() {
        const PLAIN: [&str; 11] = [
            "policy key",
            "metric",
            "word of `--allow`",
            "word of a report",
            "planned action",
            "planned action for a workload",
            "change of a stamp",
            "change of the Secret",
            "difference of a key",
            "proven link of a chain",
            "how sure `impact` is that an ExternalSecret uses a key",
        ];
        let silent = entries()
            .into_iter()
            .filter(|entry| entry.next.is_none() && !PLAIN.contains(&entry.what));
        let silent: Vec<String> = silent
            .map(|entry| format!("{} ({})", entry.word, entry.what))
            .collect();
        assert_eq!(silent, Vec::<String>::new());
    }

    #[test]
    fn reason_says_what_to_do() {
        let text = explain("credentials-expired").unwrap();
        assert!(text.contains("What to do: renew the credentials"), "{text}");
    }
}
