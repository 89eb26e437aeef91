//! The process ends in time, and reports what it knows, whatever blocks its runtime.

use std::time::{Duration, Instant};

use crate::{interruptions::many, scenarios::POLICY, support::World};

#[tokio::test]
async fn blocked_run_reports_what_it_has_done_and_ends() {
    let world = World::sandbox().await;
    many(&world, 100).await;
    let path = world.bin.file("policy.yaml", &world.named(POLICY));
    let path = path.to_str().expect("UTF-8");
    // Each finished item writes a line. About 40 of them have room.
    let blocked = world
        .bin
        .start_blocked(&["run", "-o", "json", "--config", path], 4096);
    blocked.is_full().await;
    blocked.signal("TERM").await;
    blocked.signal("TERM").await;
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
