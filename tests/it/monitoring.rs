//! Metrics and pings: what they hold, and that nothing about them can disturb a run.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    interruptions::many,
    providers::double::{Asked, Double, Reply},
    scenarios::POLICY,
    support::{Outcome, Workspace, World},
};

/// A part of the path of the addresses. It must not appear in any output.
const PLANTED: &str = "planted-path";

fn ok(_: &Asked) -> Reply {
    Reply::Say(200, Vec::new(), String::new())
}

/// The method and path of each request.
fn requests(double: &Double) -> Vec<String> {
    let asked = double.asked();
    let lines = asked.iter().map(|it| format!("{} {}", it.method, it.path));
    lines.collect()
}

/// The number of a metric with these labels, as it is written.
fn number<'a>(text: &'a str, metric: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(metric));
    line.unwrap_or_else(|| panic!("no {metric} in {text}"))
        .trim()
}

fn says_nothing(outcome: &Outcome) {
    for output in [&outcome.stdout, &outcome.stderr] {
        assert!(!output.contains(PLANTED), "{output}");
    }
}

#[tokio::test]
async fn run_writes_pushes_and_pings() {
    let double = Double::start(ok).await;
    let mut workspace = Workspace::new(Vec::new());
    let file = workspace.file("eso-sync.prom", "old");
    workspace.set("ESO_SYNC_METRICS_FILE", file.to_str().expect("UTF-8"));
    workspace.set("ESO_SYNC_PUSHGATEWAY", &format!("{}/{PLANTED}", double.url));
    workspace.set(
        "ESO_SYNC_PING_URL",
        &format!("{}/{PLANTED}?key=1", double.url),
    );
    let label = ["--metrics-label", "cluster=prod"];
    let outcome = workspace
        .run(&[&["run", "--sandbox", "-v"][..], &label].concat())
        .await;
    outcome.exits(0);
    says_nothing(&outcome);
    let text = fs::read_to_string(&file).expect("the metrics");
    let labels = r#"{cluster="prod",command="run""#;
    assert_eq!(
        number(&text, &format!("eso_sync_run_exit_code{labels}}}")),
        "0.0"
    );
    let synced = format!(r#"eso_sync_external_secrets{labels},outcome="synced"}}"#);
    assert_ne!(number(&text, &synced), "0.0");
    let restarted = format!(r#"eso_sync_restarts{labels},outcome="restarted"}}"#);
    assert_ne!(number(&text, &restarted), "0.0");
    assert!(text.ends_with("# EOF\n"));
    let sent = requests(&double);
    // The push is sent at the same time as the pings.
    let group = format!("POST /{PLANTED}/metrics/job/eso-sync/cluster/prod/command/run");
    let (groups, pings): (Vec<&String>, Vec<_>) = sent.iter().partition(|it| **it == group);
    assert_eq!(groups.len(), 1, "{sent:?}");
    let [start, done] = ["start", "0"].map(|part| format!("POST /{PLANTED}/{part}?key=1"));
    assert_eq!(pings, [&start, &done]);
    let asked = double.asked();
    let is_push = |it: &&Asked| group.ends_with(&it.path);
    let pushed = &asked.iter().find(is_push).expect("the push").body;
    // The labels of the group are in its path.
    assert_eq!(number(pushed, "eso_sync_run_exit_code"), "0.0");
    // No ExternalSecret, Secret or workload is named.
    for name in ["warehouse", "ledger", "stripe"] {
        assert!(!pushed.contains(name) && !text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn failed_command_keeps_the_time_of_the_last_success() {
    let double = Double::start(ok).await;
    let workspace = Workspace::new(Vec::new());
    let policy = workspace.file("policy.yaml", "select: [{}]\nsync: {when: sometimes}\n");
    let file = workspace.file(
        "eso-sync.prom",
        "eso_sync_last_success_timestamp_seconds{command=\"run\"} 1700000000.25\n",
    );
    let [policy, path] = [&policy, &file].map(|path| path.to_str().expect("UTF-8"));
    let flags = ["--metrics-file", path, "--pushgateway", &double.url];
    let outcome = workspace
        .run(&[&["run", "--config", policy][..], &flags].concat())
        .await;
    outcome.exits(2);
    let text = fs::read_to_string(&file).expect("the metrics");
    let labels = r#"{command="run"}"#;
    assert_eq!(
        number(&text, &format!("eso_sync_run_exit_code{labels}")),
        "2.0"
    );
    let last = format!("eso_sync_last_success_timestamp_seconds{labels}");
    assert_eq!(number(&text, &last), "1700000000.25");
    // A Pushgateway keeps what is not pushed.
    let asked = double.asked();
    assert!(!asked[0].body.contains("last_success"), "{}", asked[0].body);
}

#[tokio::test]
async fn receivers_that_fail_change_nothing() {
    let double = Double::start(|_| Reply::Say(500, Vec::new(), PLANTED.to_owned())).await;
    let address = format!("{}/{PLANTED}", double.url);
    let workspace = Workspace::new(Vec::new());
    let flags = ["--pushgateway", &address, "--ping-url", &address];
    let outcome = workspace
        .run(&[&["status", "--sandbox"][..], &flags].concat())
        .await;
    outcome.exits(0);
    says_nothing(&outcome);
    let said = outcome.stderr.matches("it answered HTTP 500").count();
    assert!(said >= 2, "{}", outcome.stderr);
    // The start, the push and the end, three times each. The last attempts for the start may be given up before the end is told.
    let told = requests(&double);
    assert!((7..=9).contains(&told.len()), "{told:?}");
}

#[tokio::test]
async fn silent_receivers_delay_the_exit_by_five_seconds_at_most() {
    let double = Double::start(|_| Reply::Never).await;
    let workspace = Workspace::new(Vec::new());
    let without = Instant::now();
    workspace.run(&["status", "--sandbox"]).await.exits(0);
    let without = without.elapsed();
    let flags = ["--pushgateway", &double.url, "--ping-url", &double.url];
    let started = Instant::now();
    let outcome = workspace
        .run(&[&["status", "--sandbox"][..], &flags].concat())
        .await;
    outcome.exits(0);
    // Twice the time without receivers, for a busy machine.
    let longest = without * 2 + Duration::from_secs(6);
    assert!(started.elapsed() < longest, "{:?}", started.elapsed());
    assert!(
        outcome.stderr.contains("not answer in time"),
        "{}",
        outcome.stderr
    );
}

#[tokio::test]
async fn run_that_is_cut_off_still_tells() {
    let double = Double::start(ok).await;
    let world = World::sandbox().await;
    many(&world, 100).await;
    let path = world.bin.file("policy.yaml", &world.named(POLICY));
    let file = world.bin.file("eso-sync.prom", "");
    let [path, metrics] = [&path, &file].map(|path| path.to_str().expect("UTF-8"));
    let run = [
        "run",
        "-o",
        "json",
        "--config",
        path,
        "--metrics-file",
        metrics,
        // Each finished item writes a log record. About 15 of them have room.
        "--log-format",
        "json",
    ];
    let flags = ["--ping-url", &double.url, "--pushgateway", &double.url];
    let blocked = world.bin.start_blocked(&[&run[..], &flags].concat(), 4096);
    blocked.is_full().await;
    blocked.signal("TERM").await;
    blocked.signal("INT").await;
    blocked.end().await.exits(7);
    let text = fs::read_to_string(&file).expect("the metrics");
    assert_eq!(
        number(&text, r#"eso_sync_run_complete{command="run"}"#),
        "0.0"
    );
    let told = requests(&double);
    for expected in [
        "POST /start",
        "POST /7",
        "POST /metrics/job/eso-sync/command/run",
    ] {
        assert!(told.iter().any(|it| it == expected), "{expected}: {told:?}");
    }
}

#[tokio::test]
async fn wrong_flags_change_nothing() {
    let workspace = Workspace::new(Vec::new());
    let directory = workspace.path().to_str().expect("UTF-8").to_owned();
    let missing = format!("{directory}/none/metrics.prom");
    for (flags, said) in [
        (["--metrics-file", &missing], "it cannot be written there"),
        (["--metrics-file", "/"], "this is a folder"),
        (["--metrics-file", "-"], "cannot go to stdout"),
        (["--pushgateway", PLANTED], "this is not an address"),
        (["--ping-url", PLANTED], "this is not an address"),
        (["--ping-url-file", &missing], "No such file"),
        (
            ["--metrics-label", "store=x"],
            "not one that metrics have already",
        ),
    ] {
        let outcome = workspace
            .run(&[&["run", "--sandbox"][..], &flags].concat())
            .await;
        outcome.exits(2);
        says_nothing(&outcome);
        assert!(
            outcome.stderr.contains(said),
            "{flags:?}: {}",
            outcome.stderr
        );
    }
}

#[tokio::test]
async fn report_that_cannot_be_written_is_told() {
    let double = Double::start(ok).await;
    let workspace = Workspace::new(Vec::new());
    let metrics = workspace.path().join("eso-sync.prom");
    let path = metrics.to_str().expect("UTF-8");
    let report = format!("json={}/none/report.json", workspace.path().display());
    let flags = [
        "--report",
        &report,
        "--metrics-file",
        path,
        "--ping-url",
        &double.url,
    ];
    let outcome = workspace
        .run(&[&["run", "--sandbox"][..], &flags].concat())
        .await;
    outcome.exits(2);
    let text = fs::read_to_string(&metrics).expect("the metrics");
    let exit = number(&text, r#"eso_sync_run_exit_code{command="run"}"#);
    assert_eq!(exit, "2.0");
    assert_eq!(requests(&double), ["POST /start", "POST /2"]);
}

#[tokio::test]
async fn report_does_not_replace_the_metrics() {
    let workspace = Workspace::new(Vec::new());
    let file = workspace.file("both", "old");
    let path = file.to_str().expect("UTF-8");
    let report = format!("json={path}");
    let flags = ["--report", &report, "--metrics-file", path];
    let outcome = workspace
        .run(&[&["run", "--sandbox"][..], &flags].concat())
        .await;
    outcome.exits(2);
    assert!(
        outcome
            .stderr
            .contains("the metrics are written to this file"),
        "{}",
        outcome.stderr
    );
    let text = fs::read_to_string(&file).expect("the file");
    let exit = number(&text, r#"eso_sync_run_exit_code{command="run"}"#);
    assert_eq!(exit, "2.0");
}
