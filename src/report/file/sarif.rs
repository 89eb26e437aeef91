//! SARIF 2.1.0, for code scanning: one result for each object that needs attention.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::report::sheet::{Level, Note, Row, Sheet};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

pub(super) fn sarif(sheet: &Sheet) -> Result<String, String> {
    let rows = sheet.rows.iter().filter(|row| row.level.needs_attention());
    let notes = sheet.notes.iter();
    let notes = notes.filter(|note| note.level.needs_attention());
    let found: Vec<(&str, Value)> = rows.map(of_row).chain(notes.map(of_note)).collect();
    let mut rules: Vec<&str> = found.iter().map(|(rule, _)| *rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules: Vec<Value> = rules.iter().map(|id| json!({"id": id})).collect();
    let results: Vec<Value> = found.into_iter().map(|(_, result)| result).collect();
    let run = &sheet.run;
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "eso-sync",
                "version": run.version,
                "rules": rules,
            }},
            "automationDetails": {"id": format!("eso-sync/{}/{}", sheet.kind, run.id)},
            "invocations": [{
                // An item that failed is a result. The tool itself did what it was asked for.
                "executionSuccessful": matches!(run.exit_code, 0 | 1 | 3 | 5),
                "exitCode": run.exit_code,
                "startTimeUtc": run.started.to_string(),
                "endTimeUtc": run.finished.to_string(),
            }],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    let text = serde_json::to_string_pretty(&log).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

fn of_row(row: &Row) -> (&'static str, Value) {
    let rule = [row.reason, row.verdict, row.outcome];
    let rule = rule.into_iter().find(|word| !word.is_empty());
    let rule = rule.unwrap_or(row.level.into_str());
    let name = format!("{} {}", row.kind, row.id().terminal());
    let path = format!(
        "{}/{}/{}",
        row.namespace.terminal(),
        row.kind,
        row.name.terminal()
    );
    let mut text = format!("{name}: {}", row.why().terminal());
    if !row.next_step.is_empty() {
        text = format!("{text}. {}", row.next_step);
    }
    let result = json!({
        "ruleId": rule,
        "level": level(row.level),
        "message": {"text": message(&text)},
        "locations": [{"logicalLocations": [{
            "name": row.name.terminal(),
            "fullyQualifiedName": path,
            "kind": "resource",
        }]}],
        "partialFingerprints": {"object/v1": format!("{path}:{rule}")},
    });
    (rule, result)
}

fn of_note(note: &Note) -> (&'static str, Value) {
    let rule = if note.place.is_some() {
        "invalid-policy"
    } else {
        "run"
    };
    let text = note.text.terminal();
    let mut result = json!({
        "ruleId": rule,
        "level": level(note.level),
        "message": {"text": message(&text)},
    });
    if let (Some((file, line)), Some(fields)) = (&note.place, result.as_object_mut()) {
        let mut place = json!({"artifactLocation": {"uri": uri(file.exact())}});
        if let (Some(line), Some(place)) = (line.filter(|line| *line > 0), place.as_object_mut()) {
            place.insert("region".to_owned(), json!({"startLine": line}));
        }
        let locations = json!([{"physicalLocation": place}]);
        fields.insert("locations".to_owned(), locations);
    }
    (rule, result)
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Failed | Level::Unknown => "error",
        Level::Differs => "warning",
        Level::Skipped | Level::Good | Level::Changed => "note",
    }
}

/// Escapes a message: brackets would be a link, and braces a placeholder.
fn message(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '[' | ']' | '\\' => escaped.extend(['\\', c]),
            '{' | '}' => escaped.extend([c, c]),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A path as a URI reference.
fn uri(path: &str) -> String {
    // A relative reference must not start with a slash.
    let start = if path.starts_with('/') { "file://" } else { "" };
    let mut uri = start.to_owned();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(byte));
            }
            byte => {
                // Writing to a String cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn path_is_a_valid_uri_reference() {
        assert_eq!(uri("policies/a b.yaml"), "policies/a%20b.yaml");
        assert_eq!(uri("/etc/=policy.yaml"), "file:///etc/%3Dpolicy.yaml");
    }
}
