//! `notify`: who gets a message, and that nothing about it can disturb a run.

use std::fs;

use serde_json::Value as Json;

use crate::{
    providers::double::{Asked, Double, Reply},
    support::{Outcome, Workspace},
};

/// A part of the path of the addresses. It must not appear in any output.
const PLANTED: &str = "planted-path";

const RECEIVERS: &str = "select: [{}]
drift: {namespacedStores: true}
notify:
  on: [failure]
  to:
    - slack: {urlFrom: env:SLACK}
    - alertmanager: {urlFrom: env:ALERTMANAGER}
    - webhook: {urlFrom: env:WEBHOOK, signWith: env:SIGNING_KEY}
    - webhook: {urlFrom: env:CHAT, body: '{\"msg\": \"{title}\"}'}
";

/// A workspace whose receivers are the double.
fn workspace(double: &Double) -> Workspace {
    let mut workspace = Workspace::new(Vec::new());
    for name in ["SLACK", "ALERTMANAGER", "WEBHOOK", "CHAT"] {
        let address = format!("{}/{PLANTED}/{}", double.url, name.to_lowercase());
        workspace.set(name, &address);
    }
    workspace.set("SIGNING_KEY", "planted-key");
    workspace
}

async fn run(workspace: &Workspace, policy: &str, flags: &[&str]) -> Outcome {
    let file = workspace.file("policy.yaml", policy);
    let file = file.to_str().expect("UTF-8");
    let outcome = workspace
        .run(&[&["run", "--config", file][..], flags].concat())
        .await;
    for output in [&outcome.stdout, &outcome.stderr] {
        assert!(!output.contains("planted"), "{output}");
    }
    outcome
}

/// What was sent to the address that ends so.
fn sent(double: &Double, end: &str) -> Vec<Asked> {
    let all = double.asked().into_iter();
    all.filter(|asked| asked.path == format!("/{PLANTED}/{end}"))
        .collect()
}

fn ok(_: &Asked) -> Reply {
    Reply::Say(200, Vec::new(), String::new())
}

#[tokio::test]
async fn failed_run_tells_all_receivers_once() {
    let double = Double::start(ok).await;
    let workspace = workspace(&double);
    let outcome = run(&workspace, RECEIVERS, &["--sandbox=bad-day"]).await;
    outcome.exits(3);
    assert_eq!(double.asked().len(), 4);
    let slack = sent(&double, "slack");
    let title = "eso-sync run failed (exit code 3) in the context sandbox";
    assert_eq!(slack[0].json()["text"], title);
    let alert = &sent(&double, "alertmanager/api/v2/alerts")[0].json()[0];
    assert_eq!(alert["labels"]["command"], "run");
    assert!(
        alert["endsAt"].as_str() > alert["startsAt"].as_str(),
        "{alert}"
    );
    let event = &sent(&double, "webhook")[0];
    assert_eq!(event.header("content-type"), "application/cloudevents+json");
    assert_eq!(
        event.header("x-eso-sync-signature").len(),
        "sha256=".len() + 64
    );
    assert_eq!(event.json()["data"]["exitCode"], 3);
    let chat = sent(&double, "chat");
    assert_eq!(chat[0].json()["msg"], title);
    assert_eq!(chat[0].header("x-eso-sync-signature"), "");
}

#[tokio::test]
async fn good_run_and_a_dry_run_tell_nobody_but_the_alertmanager() {
    let double = Double::start(ok).await;
    let workspace = workspace(&double);
    run(&workspace, RECEIVERS, &["--sandbox"]).await.exits(0);
    let asked = double.asked();
    assert_eq!(
        asked.len(),
        1,
        "{:?}",
        asked.iter().map(|it| &it.path).collect::<Vec<_>>()
    );
    let alert = &asked[0].json()[0];
    // It resolves the alert of an earlier run.
    let ended = alert["endsAt"].as_str().expect("a time");
    assert!(Some(ended) >= alert["startsAt"].as_str());
    run(&workspace, RECEIVERS, &["--sandbox=bad-day", "--dry-run"]).await;
    assert_eq!(double.asked().len(), 1);
}

#[tokio::test]
async fn run_that_a_limit_refuses_is_told() {
    let double = Double::start(ok).await;
    let workspace = workspace(&double);
    let policy = format!("{RECEIVERS}safety: {{maxSyncs: 1}}\n");
    let preview = run(&workspace, &policy, &["--sandbox", "--dry-run"]).await;
    preview.exits(5);
    assert!(double.asked().is_empty());
    run(&workspace, &policy, &["--sandbox"]).await.exits(5);
    let event = sent(&double, "webhook")[0].json();
    assert_eq!(event["data"]["exitCode"], 5);
}

#[tokio::test]
async fn receivers_that_fail_change_nothing() {
    let double = Double::start(|_| Reply::Say(500, Vec::new(), "planted".to_owned())).await;
    let workspace = workspace(&double);
    let outcome = run(&workspace, RECEIVERS, &["--sandbox=bad-day"]).await;
    outcome.exits(3);
    let said = outcome
        .stderr
        .matches("was not told: it answered HTTP 500")
        .count();
    assert_eq!(said, 4, "{}", outcome.stderr);
    // Three attempts each.
    assert_eq!(double.asked().len(), 12);
}

#[tokio::test]
async fn unusable_addresses_are_warnings_that_do_not_show_them() {
    let double = Double::start(ok).await;
    let mut workspace = workspace(&double);
    workspace.set("SLACK", "planted text");
    workspace.set("ALERTMANAGER", "");
    workspace.set(
        "WEBHOOK",
        "https://planted.example/a\nhttps://planted.example/b",
    );
    let outcome = run(&workspace, RECEIVERS, &["--sandbox=bad-day"]).await;
    outcome.exits(3);
    for warning in [
        "notify.to[0] gets no message: env:SLACK is not an address of HTTP",
        "notify.to[1] gets no message: the variable ALERTMANAGER is not set",
        "notify.to[2] gets no message: env:WEBHOOK is not one line",
    ] {
        assert!(
            outcome.stderr.contains(warning),
            "{warning}: {}",
            outcome.stderr
        );
    }
    assert_eq!(sent(&double, "chat").len(), 1);
}

#[tokio::test]
async fn policy_sends_nothing_without_the_flag_that_permits_it() {
    let double = Double::start(ok).await;
    let workspace = workspace(&double);
    let allow = "--allow=drift,sync,namespaced-stores";
    let refused = run(&workspace, RECEIVERS, &["--sandbox=bad-day", allow]).await;
    refused.exits(2);
    assert!(
        refused
            .stderr
            .contains("notify.to[0]: is not permitted, because there is no --allow-notify"),
        "{}",
        refused.stderr
    );
    assert_eq!(double.asked().len(), 0);
    let elsewhere = [
        "--sandbox=bad-day",
        allow,
        "--allow-notify=https://hooks.slack.com",
    ];
    let outcome = run(&workspace, RECEIVERS, &elsewhere).await;
    outcome.exits(3);
    let said = outcome
        .stderr
        .matches("--allow-notify does not permit the address")
        .count();
    assert_eq!(said, 4, "{}", outcome.stderr);
    assert_eq!(double.asked().len(), 0);
    let here = format!("--allow-notify={}", double.url);
    run(&workspace, RECEIVERS, &["--sandbox=bad-day", allow, &here])
        .await
        .exits(3);
    assert_eq!(double.asked().len(), 4);
}

#[tokio::test]
async fn address_can_be_in_a_file_and_a_run_that_could_not_start_is_told() {
    let double = Double::start(ok).await;
    let workspace = workspace(&double);
    let url = workspace.file("url", &format!("{}/{PLANTED}/file\n", double.url));
    let policy = format!(
        "select: [{{namespaces: [none]}}]\nnotify: {{to: [{{webhook: {{urlFrom: 'file:{}'}}}}]}}\n",
        url.display()
    );
    let none = workspace.file("kubeconfig", "");
    let kubeconfig = ["--kubeconfig", none.to_str().expect("UTF-8")];
    let outcome = run(&workspace, &policy, &kubeconfig).await;
    outcome.exits(4);
    let event: Json = sent(&double, "file")[0].json();
    assert_eq!(event["data"]["exitCode"], 4);
    fs::remove_file(url).expect("the file");
}
