//! `events`: its stories in the sandbox, events from a file, and runs over a queue.

#[cfg(feature = "events-azure")]
mod azurite;
#[cfg(feature = "events-aws")]
mod runs;
#[cfg(all(
    feature = "events-aws",
    feature = "aws-parameter-store",
    feature = "gcp",
    feature = "vault"
))]
mod settle;
#[cfg(feature = "events-aws")]
mod sqs;

use eso_sync::report::file::FileFormat;
use serde_json::{Value as Json, json};

use crate::support::{Outcome, Workspace};

async fn run(workspace: &Workspace, arguments: &[&str]) -> Outcome {
    workspace.run(arguments).await
}

fn summary(outcome: &Outcome) -> Json {
    outcome.document()["summary"].clone()
}

/// The end and the ExternalSecrets of each key that is reported.
fn keys(outcome: &Outcome) -> Vec<(String, Vec<String>)> {
    let document = outcome.document();
    let keys = document["keys"].as_array().expect("keys");
    let mut keys: Vec<_> = keys
        .iter()
        .map(|key| {
            let of = key["externalSecrets"].as_object().expect("a map");
            let end = key["end"].as_str().expect("an end").to_owned();
            (end, of.keys().cloned().collect())
        })
        .collect();
    keys.sort();
    keys
}

/// An event of Secrets Manager about a key of the sandbox.
fn rotated(name: &str) -> Json {
    json!({
        "source": "aws.secretsmanager", "detail-type": "Secret Label Updated", "region": "eu-central-1",
        "time": "2026-01-01T00:00:00Z",
        "detail": {"name": name, "labelUpdated": "AWSCURRENT", "versionId": "2"},
    })
}

#[tokio::test]
async fn rotations_are_proven_and_acknowledged_in_the_sandbox() {
    let workspace = Workspace::new(Vec::new());
    let outcome = run(&workspace, &["events", "--sandbox", "-o", "json"]).await;
    outcome.exits(0);
    let summary = summary(&outcome);
    assert_eq!(summary["received"], json!({"changed": 5, "irrelevant": 1}));
    assert_eq!(summary["reasons"], json!({"pending": 1}));
    assert_eq!(summary["keys"], json!({"synced": 3, "unused": 1}));
    assert_eq!(
        (&summary["acknowledged"], &summary["kept"]),
        (&json!(6), &json!(0))
    );
    let of = |name: &str| ("synced".to_owned(), vec![name.to_owned()]);
    let mut expected = vec![of("data/lake"), of("platform/registry"), of("web/oauth")];
    expected.sort();
    assert_eq!(keys(&outcome), expected);
    // Nothing else was compared or synced.
    let items = outcome.document()["runs"][0]["items"].clone();
    assert_eq!(items.as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn bad_day_keeps_what_is_not_proven_and_leaves_foreign_queues_alone() {
    let workspace = Workspace::new(Vec::new());
    let outcome = run(&workspace, &["events", "--sandbox=bad-day", "-o", "json"]).await;
    outcome.exits(5);
    let summary = summary(&outcome);
    assert_eq!(summary["received"]["unreadable"], json!(1));
    assert!(summary["kept"].as_u64() >= Some(2), "{summary}");
    let queues = outcome.document()["queues"].clone();
    assert_eq!(queues[1]["refused"], json!("other-owner"));
    // Its event is about a key that is used, and was not received.
    assert_eq!(summary["received"]["changed"], json!(2));
}

#[tokio::test]
async fn events_from_a_file_concern_only_the_users_of_their_keys() {
    let workspace = Workspace::new(Vec::new());
    let lines = [
        rotated("prod/web/cdn"),
        rotated("prod/web/cdn"),
        rotated("prod/web"),
    ];
    let lines: Vec<String> = lines.iter().map(Json::to_string).collect();
    let path = workspace.file("events.json", &format!("{}\n\n", lines.join("\n")));
    let path = path.to_str().expect("UTF-8");
    let outcome = run(
        &workspace,
        &["events", "--sandbox", "--from", path, "-o", "json"],
    )
    .await;
    outcome.exits(0);
    assert_eq!(
        keys(&outcome),
        [("synced".to_owned(), vec!["web/cdn".to_owned()])]
    );
    assert_eq!(summary(&outcome)["keys"], json!({"synced": 1, "unused": 1}));
    let dry = [
        "events",
        "--sandbox",
        "--from",
        path,
        "--dry-run",
        "-o",
        "json",
    ];
    let plan = run(&workspace, &dry).await;
    plan.exits(0);
    let items = plan.document()["items"].clone();
    assert_eq!(items.as_array().map(Vec::len), Some(1));
    assert_eq!(items[0]["name"], "cdn");
}

/// Nobody would look at an event that was left out in silence.
#[tokio::test]
async fn line_that_is_not_understood_is_named_by_its_number() {
    let workspace = Workspace::new(Vec::new());
    let lines = format!("{}\n\nhello\n{{}}\n", rotated("prod/web/cdn"));
    let path = workspace.file("events.json", &lines);
    let path = path.to_str().expect("UTF-8");
    let from = ["events", "--sandbox", "--from", path];
    let outcome = run(&workspace, &[&from[..], &["-o", "json"]].concat()).await;
    outcome.exits(3);
    assert_eq!(summary(&outcome)["unreadableLines"], json!([3, 4]));
    assert_eq!(summary(&outcome)["keys"], json!({"synced": 1}));
    let text = run(&workspace, &from).await;
    text.exits(3);
    let named = "not understood: lines 3, 4";
    assert!(text.stdout.contains(named), "{}", text.stdout);
    let plan = run(&workspace, &[&from[..], &["--dry-run"]].concat()).await;
    plan.exits(3);
    let named = "2 lines of the file are not understood, the first one is line 3";
    assert!(plan.stderr.contains(named), "{}", plan.stderr);
}

#[tokio::test]
async fn events_of_unknown_kinds_are_counted_by_name() {
    let workspace = Workspace::new(Vec::new());
    let mut lines = Vec::new();
    for number in 0..30 {
        let kind = format!("New Kind {:02}", number / 2 * 2);
        let mut event = rotated("prod/web/cdn");
        event["detail-type"] = json!(kind);
        lines.push(event.to_string());
    }
    for kind in 0..10 {
        let mut event = rotated("prod/web/cdn");
        event["detail-type"] = json!(format!("Other {kind}"));
        lines.push(event.to_string());
    }
    let path = workspace.file("events.json", &lines.join("\n"));
    let path = path.to_str().expect("UTF-8");
    let from = ["events", "--sandbox", "--from", path, "-o", "json"];
    let outcome = run(&workspace, &from).await;
    outcome.exits(0);
    let kinds = summary(&outcome)["unknownKinds"].clone();
    assert_eq!(kinds["New Kind 28"], json!(2), "{kinds}");
    assert_eq!(kinds["others"], json!(5), "{kinds}");
    assert_eq!(kinds.as_object().map(serde_json::Map::len), Some(21));
    assert_eq!(summary(&outcome)["reasons"], json!({"unknown-kind": 40}));
}

#[tokio::test]
async fn nothing_of_a_body_is_shown() {
    let planted = "hunter2-hunter2";
    let workspace = Workspace::new(Vec::new());
    let mut event = rotated(planted);
    event["detail"]["secretString"] = json!(planted);
    let lines = format!("{event}\n{{\"password\": \"{planted}\"}}\n{planted}\n");
    let path = workspace.file("events.json", &lines);
    let path = path.to_str().expect("UTF-8");
    let mut workspace = workspace;
    workspace.set("RUST_LOG", "trace");
    for output in ["table", "wide", "json", "yaml"] {
        let arguments = ["events", "--sandbox", "--from", path, "-vvv", "-o", output];
        let outcome = run(&workspace, &arguments).await;
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(planted), "{text}");
        }
    }
    let formats = <FileFormat as clap::ValueEnum>::value_variants();
    assert!(formats.len() > 4);
    for format in formats {
        let word = clap::ValueEnum::to_possible_value(format).expect("a word");
        let file = format!("{}=report", word.get_name());
        let arguments = ["events", "--sandbox", "--from", path, "--report", &file];
        let outcome = run(&workspace, &arguments).await;
        let report = std::fs::read(workspace.path().join("report")).expect("the report");
        let report = String::from_utf8_lossy(&report).into_owned();
        for text in [&report, &outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(planted), "{file}: {text}");
        }
    }
}

#[tokio::test]
async fn policy_without_queues_is_refused_before_anything_is_received() {
    let workspace = Workspace::new(Vec::new());
    let path = workspace.file("policy.yaml", "select: [{}]\n");
    let path = path.to_str().expect("UTF-8");
    let outcome = run(&workspace, &["events", "--config", path]).await;
    outcome.exits(2);
    assert!(
        outcome.stderr.contains("names no queue"),
        "{}",
        outcome.stderr
    );
}
