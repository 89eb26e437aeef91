//! The process ends in time, and reports what it knows, whatever blocks its runtime.

use std::time::{Duration, Instant};

use crate::{
    interruptions::many,
    scenarios::POLICY,
    support::{World, eventually},
};

#[tokio::test]
async fn blocked_run_reports_what_it_has_done_and_ends() {
    let world = World::sandbox().await;
    many(&world, 100).await;
    let path = world.bin.file("policy.yaml", &world.named(POLICY));
    let path = path.to_str().expect("UTF-8");
    let file = world.bin.file("report.json", "");
    let flag = format!("json={}", file.display());
    // Each finished item writes a log record. About 15 of them have room.
    let records = ["--log-format", "json"];
    let run = ["run", "-o", "json", "--config", path, "--report", &flag];
    let arguments = [&run[..], &records].concat();
    let blocked = world.bin.start_blocked(&arguments, 4096);
    blocked.is_full().await;
    // A second signal of the same kind could be merged with the first one.
    blocked.signal("TERM").await;
    blocked.signal("INT").await;
    let asked = Instant::now();
    let outcome = blocked.end().await;
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    outcome.exits(7);
    let document = outcome.document();
    assert_eq!(document["summary"]["stopped"], "signal");
    assert_eq!(document["run"]["complete"], false);
    assert_eq!(document["run"]["exitCode"], 7);
    let file = std::fs::read_to_string(file).expect("the report file");
    assert_eq!(serde_json::from_str(&file).ok(), Some(document.clone()));
    let count = |outcome: &str| document["summary"]["outcomes"][outcome].as_u64();
    let [synced, unproven, not_reached] =
        ["synced", "unproven", "not-reached"].map(|it| count(it).unwrap_or_default());
    assert!(synced > 0, "{}", document["summary"]);
    assert_eq!(
        synced + unproven + not_reached,
        102,
        "{}",
        document["summary"]
    );
}

#[tokio::test]
async fn deadline_ends_a_run_that_is_blocked_from_the_start() {
    let world = World::sandbox().await;
    let path = world.bin.file(
        "policy.yaml",
        &format!("{}deadline: 1s\n", world.named(POLICY)),
    );
    let path = path.to_str().expect("UTF-8");
    let started = Instant::now();
    let blocked = world.bin.start_blocked(&["run", "--config", path], 0);
    let outcome = blocked.end().await;
    // The deadline, the grace time, and five seconds.
    assert!(
        started.elapsed() < Duration::from_secs(1 + 20 + 5),
        "{:?}",
        started.elapsed()
    );
    outcome.exits(7);
    assert_eq!(outcome.stdout, "");
}

/// An ExternalSecret whose template searches a text 30,000 times.
const COSTLY: &str = r#"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: part, value: PART}, {key: whole, value: WHOLE}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: costly, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  target: {template: {data: {t: "{{ range until 30000 }}{{ if contains $.part $.whole }}x{{ end }}{{ end }}"}}}
  data: [{secretKey: part, remoteRef: {key: part}}, {secretKey: whole, remoteRef: {key: whole}}]
---
apiVersion: v1
kind: Secret
metadata: {name: costly, namespace: NS}
stringData: {t: before}
"#;

async fn costly(world: &World) {
    let (part, whole) = (format!("{}b", "a".repeat(100_000)), "a".repeat(200_000));
    let yaml = COSTLY.replace("PART", &part).replace("WHOLE", &whole);
    world.rest().await;
    world.apply_yaml(&yaml).await;
}

/// True if a thread for computing runs on a processor, or waits for one.
fn computes(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut tasks = tasks.into_iter().flatten().flatten();
    tasks.any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.contains("(compute-") && stat.contains(") R ")
    })
}

#[tokio::test]
async fn signal_ends_a_run_that_computes() {
    let world = World::sandbox().await;
    costly(&world).await;
    let running = world.start("select:\n  - namespaces: [NS]\n");
    eventually("it computes", async || {
        computes(running.pid()).then_some(())
    })
    .await;
    running.signal("TERM").await;
    let asked = Instant::now();
    running.end().await.exits(7);
    // The computing takes more than a minute in a debug build.
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn deadline_ends_a_run_that_computes() {
    let world = World::sandbox().await;
    costly(&world).await;
    let started = Instant::now();
    let policy = world.named("select:\n  - namespaces: [NS]\ndeadline: 2s\n");
    world.bin.policy(&policy, &[]).await.exits(7);
    assert!(
        started.elapsed() < Duration::from_secs(2 + 5),
        "{:?}",
        started.elapsed()
    );
}
