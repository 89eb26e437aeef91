//! What is true for every provider.

use std::collections::BTreeSet;

use providers::holder::WriteFailure;
use publish::{
    MarkKey, Owner, Presence,
    plan::{Adopt, OnForeignChange, PruneMode},
};

use super::{Place, Publisher, Run};
use crate::providers::proxy::{Fault, Proxy, page};

const IN_SYNC: &str = "db: in-sync leave in-sync";

/// The number of versions, including the current one.
async fn versions(publisher: &Publisher, name: &str) -> usize {
    let held = publisher.held(name).await;
    let history = held.history.expect("a history");
    history.versions.len() + usize::from(held.version.is_some())
}

async fn published(place: &Place, values: &[(&str, &str)]) -> Publisher {
    let publisher = place.publisher().await;
    let run = publisher.run(values).await;
    for (name, _) in values {
        let created = format!("{name}: absent create absent");
        assert!(run.lines.contains(&created), "{:?}", run.lines);
    }
    publisher
}

pub(super) async fn value_is_created_and_read_back(place: &Place) {
    let publisher = published(place, &[("db", "hunter2")]).await;
    assert!(publisher.holds("db", "hunter2").await);
    assert!(!publisher.holds("db", "hunter3").await);
    let held = publisher.held("db").await;
    let item = "item".to_owned();
    assert_eq!(held.owner, Owner::Ours { item });
    assert_eq!(held.provenance.as_deref(), Some("repo@0a1b2c:a.env"));
}

/// Also the number of calls, with 200 keys.
pub(super) async fn second_run_writes_nothing_and_reads_no_value(place: &Place) {
    let names: Vec<String> = (0..200).map(|index| format!("key-{index}")).collect();
    let values: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "value")).collect();
    published(place, &values).await;
    let run = place.publisher().await.run(&values).await;
    assert_eq!(run.lines.len(), 200);
    for line in &run.lines {
        assert!(line.ends_with(": in-sync leave in-sync"), "{line}");
    }
    let calls = f64::from(u32::try_from(run.calls).expect("few"));
    let permitted = place.calls * 200.0;
    assert!(calls <= permitted, "{calls} calls, {permitted} permitted");
}

/// Values A, B, then A again.
pub(super) async fn value_that_returns_is_current_again(place: &Place) {
    let mut publisher = published(place, &[("db", "a")]).await;
    let run = publisher.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: changed update changed"]);
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: would-revert leave would-revert"]);
    assert!(publisher.holds("db", "b").await);

    publisher.ceilings.revert = true;
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: would-revert update changed"]);
    assert!(publisher.holds("db", "a").await);
    assert_eq!(publisher.run(&[("db", "a")]).await.lines, [IN_SYNC]);
    assert_eq!(versions(&publisher, "db").await, 3);
}

pub(super) async fn repeated_run_makes_no_version(place: &Place) {
    let publisher = published(place, &[("db", "a")]).await;
    publisher.run(&[("db", "b")]).await;
    for _ in 0..3 {
        assert_eq!(publisher.run(&[("db", "b")]).await.lines, [IN_SYNC]);
    }
    assert_eq!(versions(&publisher, "db").await, 2);
}

/// A lost key costs reads, but no version.
pub(super) async fn lost_mark_key_makes_no_version(place: &Place) {
    published(place, &[("db", "a")]).await;
    let mut other = place.publisher().await;
    other.marks = MarkKey::from_bytes([9; 32]);
    let run = other.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: in-sync adopt mark-renewed"]);
    assert_eq!(other.run(&[("db", "a")]).await.lines, [IN_SYNC]);
    assert_eq!(versions(&other, "db").await, 1);
    // A later change is written as usual, from the new mark.
    let run = other.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: changed update changed"]);
}

/// Two runs plan from the same state, and both write.
pub(super) async fn two_publishers_do_not_overwrite_each_other(place: &Place) {
    let first = published(place, &[("db", "a")]).await;
    let second = place.publisher().await;
    let (one, other) = (
        first.item(&[("db", "one")]),
        second.item(&[("db", "other")]),
    );
    let (plan, known) = first.planned(&one).await.expect("a plan");
    let (late_plan, late_known) = second.planned(&other).await.expect("a plan");
    let wrote = first.write(&one, &plan.entries[0], &known).await;
    wrote.expect("a write");
    let late = second
        .write(&other, &late_plan.entries[0], &late_known)
        .await;
    assert!(matches!(late, Err(WriteFailure::Raced(_))), "{late:?}");
}

pub(super) async fn secret_that_appears_after_the_plan_is_not_overwritten(place: &Place) {
    let first = place.publisher().await;
    let second = place.publisher().await;
    let (one, other) = (
        first.item(&[("db", "one")]),
        second.item(&[("db", "other")]),
    );
    let (plan, known) = first.planned(&one).await.expect("a plan");
    let (late_plan, late_known) = second.planned(&other).await.expect("a plan");
    let wrote = first.write(&one, &plan.entries[0], &known).await;
    wrote.expect("a write");
    let late = second
        .write(&other, &late_plan.entries[0], &late_known)
        .await;
    assert!(matches!(late, Err(WriteFailure::Raced(_))), "{late:?}");
    assert!(first.holds("db", "one").await);
}

pub(super) async fn own_secret_that_was_deleted_is_restored(place: &Place) {
    let publisher = published(place, &[("db", "a"), ("x", "1")]).await;
    publisher.retire("db").await;
    let now = publisher.held("db").await;
    assert!(matches!(now.presence, Presence::Retired { .. }), "{now:?}");

    let same = place.publisher().await;
    let run = same.run(&[("db", "a"), ("x", "1")]).await;
    assert_eq!(run.lines[0], "db: absent restore deleted");
    assert!(same.holds("db", "a").await);
    assert_eq!(same.run(&[("db", "a"), ("x", "1")]).await.lines[0], IN_SYNC);
}

pub(super) async fn own_secret_that_was_deleted_is_restored_with_a_new_value(place: &Place) {
    let publisher = published(place, &[("db", "a")]).await;
    publisher.retire("db").await;
    let run = publisher.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: absent restore deleted"]);
    assert!(publisher.holds("db", "b").await);
    assert_eq!(publisher.run(&[("db", "b")]).await.lines, [IN_SYNC]);
}

pub(super) async fn orphan_is_deleted_and_can_be_restored(place: &Place) {
    let mut publisher = published(place, &[("db", "a"), ("old", "1")]).await;
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines[1], "old: orphaned leave prune-reports");
    publisher.rules.prune.mode = PruneMode::Prune;
    // Reading it back a moment ago counts as an access.
    publisher.rules.prune.after = jiff::SignedDuration::ZERO;
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines[1], "old: orphaned retire orphaned");
    assert_eq!(publisher.run(&[("db", "a")]).await.lines, [IN_SYNC]);
    let run = publisher.run(&[("db", "a"), ("old", "1")]).await;
    assert_eq!(run.lines[1], "old: absent restore deleted");
    assert!(publisher.holds("old", "1").await);
}

pub(super) async fn secret_of_another_publisher_is_left_alone(place: &Place) {
    published(place, &[("db", "a")]).await;
    let mut other = place.other().await;
    other.rules.adopt = Adopt::Any;
    other.rules.on_foreign_change = OnForeignChange::Overwrite;
    let run = other.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: foreign-change leave owned-by-other"]);
    let run = other.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: in-sync leave owned-by-other"]);
}

pub(super) async fn secret_without_owner_is_adopted_without_a_version(place: &Place) {
    (place.by_hand)(place, "db", "a").await;
    let mut publisher = place.publisher().await;
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: in-sync leave not-owned"]);
    publisher.rules.adopt = Adopt::Equal;
    let run = publisher.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: foreign-change leave not-owned"]);
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: in-sync adopt adopted"]);
    // From now on its mark proves the value.
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, [IN_SYNC]);
    assert_eq!(versions(&publisher, "db").await, 1);
    let run = publisher.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: changed update changed"]);
}

/// The faults of one answer.
const FAULTS: [&str; 6] = ["429", "403", "404", "500", "503 once", "reset"];

fn fault(kind: &str, before: usize) -> Fault {
    match kind {
        "429" if before == 0 => page(429, Some("0")),
        "403" => page(403, None),
        // A gateway, not the provider.
        "404" => page(404, None),
        "500" => page(500, None),
        "503 once" if before == 0 => page(503, None),
        // The server did what was asked.
        "reset" if before == 0 => Fault::Reset,
        _ => Fault::None,
    }
}

/// The operations of a run, without logins.
async fn operations(place: &Place, values: &[(&str, &str)]) -> BTreeSet<String> {
    let proxy = Proxy::before(&place.url, Box::new(|_| Fault::None)).await;
    place.through(&proxy.url).await.run(values).await;
    let asked = proxy.asked();
    let calls = asked.iter().filter(|asked| !asked.is_login());
    calls.map(|asked| asked.operation.clone()).collect()
}

/// Runs with each fault at each operation of a change from `values` to `changed`, each time with another name. Afterwards a run
/// without faults must find or reach the wanted state, with at most one version more.
pub(super) async fn every_call_may_fail(place: &Place) {
    let mut number = 0;
    for stage in ["create", "update"] {
        let start = async |name: &str| {
            if stage == "update" {
                published(place, &[(name, "a")]).await;
            }
        };
        let probe = format!("probe-{stage}");
        start(&probe).await;
        let calls = operations(place, &[(&probe, "b")]).await;
        assert!(calls.len() >= 2, "{calls:?}");
        for (call, kind) in calls
            .iter()
            .flat_map(|call| FAULTS.map(|kind| (call, kind)))
        {
            number += 1;
            let name = format!("db-{number}");
            start(&name).await;
            let call = call.replace(&place.name(&probe), &place.name(&name));
            let run = with_fault(place, &name, &call, kind).await;
            check(
                place,
                &name,
                &run,
                &format!("{stage}: {call} {kind}"),
                stage,
            )
            .await;
        }
    }
}

async fn with_fault(place: &Place, name: &str, call: &str, kind: &'static str) -> Run {
    let failing = call.to_owned();
    let script = move |asked: &crate::providers::proxy::Asked| {
        if asked.operation == failing {
            fault(kind, asked.before)
        } else {
            Fault::None
        }
    };
    let proxy = Proxy::before(&place.url, Box::new(script)).await;
    place.through(&proxy.url).await.run(&[(name, "b")]).await
}

async fn check(place: &Place, name: &str, run: &Run, what: &str, stage: &str) {
    for line in &run.lines {
        assert!(!line.contains("hunter2"), "{what}: {line}");
        if stage == "update" {
            assert!(!line.contains(": absent "), "{what}: {line}");
        }
    }
    let publisher = place.publisher().await;
    let again = publisher.run(&[(name, "b")]).await;
    let line = again
        .lines
        .iter()
        .find(|line| line.starts_with(&format!("{name}:")))
        .expect("a line");
    assert!(!line.contains('→'), "{what}: {:?}, then {line}", run.lines);
    assert!(publisher.holds(name, "b").await, "{what}: {line}");
    let last = publisher.run(&[(name, "b")]).await;
    let settled = format!("{name}: in-sync leave in-sync");
    assert!(last.lines.contains(&settled), "{what}: {:?}", last.lines);
    let most = if stage == "update" { 2 } else { 1 };
    let versions = versions(&publisher, name).await;
    assert_eq!(versions, most, "{what}: {:?}, then {line}", run.lines);
}

pub(super) async fn foreign_change_is_kept_or_overwritten(place: &Place) {
    let mut publisher = published(place, &[("db", "a")]).await;
    (place.by_hand)(place, "db", "b").await;
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: foreign-change leave foreign-change"]);
    publisher.rules.on_foreign_change = OnForeignChange::Overwrite;
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: foreign-change update foreign-overwritten"]);
    assert!(publisher.holds("db", "a").await);
    assert_eq!(publisher.run(&[("db", "a")]).await.lines, [IN_SYNC]);
}
