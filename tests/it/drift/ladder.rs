//! The remedies for Secrets that are still stale after a sync: as far as the policy allows, and only if they are safe.
//!
//! The sandbox's operator works correctly. So the drift check reads from another provider than the operator, which returns a
//! wrong value for the first reads.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ::sandbox::Fault;
use async_trait::async_trait;
use cluster::{Access, Cluster, Path, connect::connect_plain};
use eso_model::expected::{Raw, What};
use eso_sync::{
    discover::{Discovered, discover},
    drift::check::Check,
    finding::Findings,
    index::Place as _,
    outcome::{ItemResult, Outcome, SecretChange},
    plan::{self, Facts, ItemAt, RestartFacts, hold::Holds},
    policy::{OnStillStale, Policy, Selection, When},
    reason::Reason,
    record::Record,
    remedy::Remedy,
    restart::workloads::{Options, Workloads},
    results::Results,
    select::select,
    verify::Verifier,
};
use futures::future::BoxFuture;
use pace::rate::Rate;
use providers::{
    Answered, Provider, RateLimiter,
    reader::{ReaderInput, StandIn},
};
use secret::Value;

use super::base;
use crate::support::{World, eventually};
use serde_json::json;

/// Returns `other` for this number of reads, then `before`. Each read calls the function with the number of reads left.
struct WrongProvider(Arc<AtomicU32>, OnRead);

/// Something that happens during a read.
type OnRead = Arc<dyn Fn(u32) -> BoxFuture<'static, ()> + Send + Sync>;

#[async_trait]
impl Provider for WrongProvider {
    async fn read(&self, wanted: &[What], _: &RateLimiter) -> Vec<Answered> {
        let left = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        (self.1)(left.unwrap_or_default()).await;
        let wrong = left.is_ok();
        let value = if wrong { "other" } else { "before" };
        let answer = |_: &What| Answered::One(Raw::Bytes(Value::from(value)), None);
        wanted.iter().map(answer).collect()
    }
}

fn check(cluster: &Cluster, policy: &Policy, discovered: &Discovered, stand_in: StandIn) -> Check {
    let known = ReaderInput {
        cluster: cluster.clone(),
        stores: discovered.sources.clone(),
        labels: discovered.labels.clone(),
        rules: policy.drift.rules(),
        environment: BTreeMap::new(),
        rates: eso_sync::session::rates(&policy.pace),
    };
    Check::new(known, policy, Some(stand_in)).expect("random bytes")
}

/// Verifies one proven ExternalSecret, with a provider that returns a wrong value for `wrong_reads` reads.
async fn verified(world: &World, name: &str, remedy: OnStillStale, wrong_reads: u32) -> ItemResult {
    verified_while(
        world,
        name,
        remedy,
        wrong_reads,
        Arc::new(|_| Box::pin(async {})),
    )
    .await
}

/// The same, and calls a function during each read.
async fn verified_while(
    world: &World,
    name: &str,
    remedy: OnStillStale,
    wrong_reads: u32,
    on_read: OnRead,
) -> ItemResult {
    let never = std::future::pending();
    let (result, _) = verified_until(world, name, remedy, (wrong_reads, on_read), never).await;
    result
}

fn policy_for(name: &str, remedy: OnStillStale) -> Policy {
    let mut policy = Policy::selecting(vec![Selection {
        names: vec![eso_sync::pattern::Pattern::new(name).expect("a name")],
        ..Selection::default()
    }]);
    policy.sync.when = When::Always;
    policy.sync.on_still_stale = remedy;
    policy.sync.timeout = std::time::Duration::from_secs(5);
    policy
}

/// The same, and drops the remedy after `end`. Also returns the record for the watchdog.
async fn verified_until(
    world: &World,
    name: &str,
    remedy: OnStillStale,
    (wrong_reads, on_read): (u32, OnRead),
    end: impl Future<Output = ()>,
) -> (ItemResult, Record) {
    let url = world.embedded().url();
    let rate = Rate::per_second(1000.0).expect("a rate");
    let cluster = connect_plain(&url, Access::Write, rate).expect("a connection");
    let policy = policy_for(name, remedy);
    let discovered = discover(&cluster, &policy).await.expect("a cluster");
    let inventory = &discovered.inventory;
    let now = crate::support::now();
    let selected = select(&policy, inventory, now);
    assert_eq!(selected.checked().len(), 1);
    let facts = Facts {
        inventory,
        selected: &selected,
        findings: &Findings::default(),
        restarts: RestartFacts {
            workloads: &Workloads::default(),
            holds: &Holds::default(),
            options: &Options::default(),
        },
        now,
    };
    let plan = plan::plan(&policy, facts);
    let left = Arc::new(AtomicU32::new(wrong_reads));
    let stand_in: StandIn = Arc::new(move |_| {
        let provider = WrongProvider(Arc::clone(&left), Arc::clone(&on_read));
        Ok(Box::new(provider))
    });
    let mut check = check(&cluster, &policy, &discovered, stand_in);
    let first = ItemAt::at(0);
    let synced = ItemResult {
        outcome: Outcome::Synced,
        ..ItemResult::not_reached(Reason::Signal)
    };
    let mut results = Results {
        items: BTreeMap::from([(first, synced)]),
        ..Results::default()
    };
    let mut verifier = Verifier {
        plan: &plan,
        inventory,
        check: &mut check,
    };
    let stale = verifier.verify(&mut results).await;
    let record = Record::default();
    let remedy = Remedy {
        cluster: &cluster,
        plan: &plan,
        policy: &policy,
        record: &record,
    };
    tokio::select! {
        () = remedy.apply(&mut verifier, stale, &mut results) => {}
        () = end => {}
    }
    let result = results.items.remove(&first).expect("a result");
    assert_eq!(result.secret, SecretChange::Unknown);
    (result, record)
}

async fn uid(world: &World, name: &str) -> String {
    let secret = world.get("Secret", name).await.expect("a Secret");
    secret["metadata"]["uid"]
        .as_str()
        .expect("a uid")
        .to_owned()
}

fn writes(world: &World, since: usize) -> Vec<String> {
    let requests = world.embedded().requests().split_off(since);
    requests
        .iter()
        .filter(|request| request.method != "GET")
        .map(|request| format!("{} {}", request.verb, request.resource))
        .collect()
}

/// Enough for all reads: each check reads a mismatch twice.
const ALWAYS: u32 = 1000;

#[tokio::test]
async fn in_sync_at_the_second_read_is_not_changed() {
    let world = World::sandbox().await;
    base(&world).await;
    let before = world.embedded().requests().len();
    let result = verified(&world, "same", OnStillStale::Recreate, 1).await;
    assert_eq!(result.outcome, Outcome::Synced);
    assert_eq!(writes(&world, before), [""; 0]);
}

#[tokio::test]
async fn report_changes_nothing_and_is_unproven() {
    let world = World::sandbox().await;
    base(&world).await;
    let before = world.embedded().requests().len();
    let result = verified(&world, "same", OnStillStale::Report, ALWAYS).await;
    assert_eq!(
        (result.outcome, result.reason),
        (Outcome::Unproven, Some(Reason::StillStale))
    );
    assert!(
        result.message.starts_with("stale after its sync: "),
        "{}",
        result.message
    );
    assert_eq!(writes(&world, before), [""; 0]);
}

#[tokio::test]
async fn refetch_removes_the_hash_and_keeps_the_secret() {
    let world = World::sandbox().await;
    base(&world).await;
    let secret = uid(&world, "same").await;
    let result = verified(&world, "same", OnStillStale::Refetch, 2).await;
    assert_eq!(result.outcome, Outcome::Synced);
    assert_eq!(
        result.message,
        "still stale after its sync; the Secret was written again (refetch), and is in sync"
    );
    assert_eq!(uid(&world, "same").await, secret);
    let still = verified(&world, "same", OnStillStale::Refetch, ALWAYS).await;
    assert_eq!(
        (still.outcome, still.reason),
        (Outcome::Unproven, Some(Reason::StillStale))
    );
    assert_eq!(
        uid(&world, "same").await,
        secret,
        "the policy allows no more remedies"
    );
}

#[tokio::test]
async fn recreate_runs_only_after_an_unsuccessful_refetch() {
    let world = World::sandbox().await;
    base(&world).await;
    let secret = uid(&world, "same").await;
    let before = world.embedded().requests().len();
    let result = verified(&world, "same", OnStillStale::Recreate, 4).await;
    assert_eq!(result.outcome, Outcome::Synced, "{}", result.message);
    assert!(
        result
            .message
            .ends_with("the Secret was created again (recreate), and is in sync"),
        "{}",
        result.message
    );
    assert_ne!(uid(&world, "same").await, secret);
    let ours: Vec<String> = writes(&world, before)
        .into_iter()
        .filter(|write| write == "patch secrets" || write == "delete secrets")
        .collect();
    assert_eq!(ours, ["patch secrets", "delete secrets"]);
}

#[tokio::test]
async fn secret_that_is_not_recreated_is_a_failure() {
    let world = World::sandbox().await;
    base(&world).await;
    world.rest().await;
    let result = verified(&world, "same", OnStillStale::Recreate, ALWAYS).await;
    assert_eq!(
        (result.outcome, result.reason),
        (Outcome::Failed, Some(Reason::StillStale))
    );
    assert!(
        result
            .message
            .contains("the operator did not write it within 5s"),
        "{}",
        result.message
    );
}

#[tokio::test]
async fn run_that_ends_during_a_recreate_says_that_the_secret_was_deleted() {
    let world = World::sandbox().await;
    base(&world).await;
    world.rest().await;
    let deleted = eventually("the Secret is deleted", async || {
        let secret = world.get("Secret", "same").await;
        secret.is_none().then_some(())
    });
    let nothing: OnRead = Arc::new(|_| Box::pin(async {}));
    let recreate = OnStillStale::Recreate;
    let (result, record) =
        verified_until(&world, "same", recreate, (ALWAYS, nothing), deleted).await;
    assert_eq!(
        (result.outcome, result.reason),
        (Outcome::Failed, Some(Reason::StillStale))
    );
    let said = "the run ended while the Secret was deleted and created again (recreate)";
    assert!(result.message.contains(said), "{}", result.message);
    // The watchdog knows the same.
    assert!(format!("{record:?}").contains(said), "{record:?}");
}

/// The check before the deletion reads the Secret first, and then the provider. In between somebody fixes the Secret.
#[tokio::test]
async fn secret_that_changes_after_it_was_compared_is_not_deleted() {
    let world = World::sandbox().await;
    base(&world).await;
    let before = uid(&world, "same").await;
    let url = world.embedded().url();
    let rate = Rate::per_second(1000.0).expect("a rate");
    let cluster = connect_plain(&url, Access::Write, rate).expect("a connection");
    let path = Path::core(Some(&world.namespace), "secrets").named("same");
    let fixes: OnRead = Arc::new(move |left| {
        let (cluster, path) = (cluster.clone(), path.clone());
        Box::pin(async move {
            if left == ALWAYS - 3 {
                let change = json!({"metadata": {"labels": {"fixed": "yes"}}});
                let patched = cluster.patch::<serde::de::IgnoredAny>(&path, &change);
                patched.await.expect("it can be changed");
            }
        })
    });
    let since = world.embedded().requests().len();
    let recreate = OnStillStale::Recreate;
    let result = verified_while(&world, "same", recreate, ALWAYS, fixes).await;
    assert_eq!(result.outcome, Outcome::Unproven);
    let kept = "the Secret was not deleted (recreate): changed-since-judged: it was written or deleted after it was compared";
    assert!(result.message.contains(kept), "{}", result.message);
    assert_eq!(uid(&world, "same").await, before);
    assert!(!writes(&world, since).contains(&"delete secrets".to_owned()));
}

/// The Secret changes after the last look at it. The API server compares the resource version.
#[tokio::test]
async fn conflict_on_deletion_keeps_the_secret() {
    let world = World::sandbox().await;
    base(&world).await;
    let before = uid(&world, "same").await;
    let conflict = Fault::status(409).verb("delete").resource("secrets");
    world.embedded().inject(conflict);
    let result = verified(&world, "same", OnStillStale::Recreate, ALWAYS).await;
    assert_eq!(result.outcome, Outcome::Unproven);
    let kept = "the Secret was not deleted (recreate): changed-since-judged";
    assert!(result.message.contains(kept), "{}", result.message);
    assert_eq!(uid(&world, "same").await, before);
}

/// Somebody else wrote a key, and the operator did not overwrite it.
#[tokio::test]
async fn secret_with_data_of_another_field_manager_is_not_deleted() {
    let world = World::sandbox().await;
    base(&world).await;
    let before = uid(&world, "same").await;
    world.rest().await;
    let by_hand = json!({"data": {"k": "YnkgaGFuZA=="}});
    world.patch("Secret", "same", &by_hand).await;
    let result = verified(&world, "same", OnStillStale::Recreate, ALWAYS).await;
    let kept = "the Secret was not deleted (recreate): other-writer: another field manager wrote a part of its data";
    assert!(result.message.contains(kept), "{}", result.message);
    assert_eq!(uid(&world, "same").await, before);
}

/// A second ExternalSecret has the same target, although the policy does not select it.
#[tokio::test]
async fn shared_secret_is_not_deleted() {
    let world = World::sandbox().await;
    base(&world).await;
    let before = uid(&world, "same").await;
    let mut second = world.get("ExternalSecret", "same").await.expect("it");
    second["metadata"] = json!({"name": "second", "namespace": world.namespace});
    second["spec"]["target"] = json!({"name": "same", "creationPolicy": "None"});
    world.apply(second).await;
    let since = world.embedded().requests().len();
    verified(&world, "same", OnStillStale::Recreate, ALWAYS).await;
    assert_eq!(uid(&world, "same").await, before);
    assert_eq!(writes(&world, since), [""; 0]);
}

#[tokio::test]
async fn orphan_secret_is_not_deleted() {
    let world = World::sandbox().await;
    base(&world).await;
    // With `creationPolicy: Orphan`, the operator does not check the Secret after it wrote it.
    let before = world.embedded().requests().len();
    let result = verified(&world, "edited", OnStillStale::Recreate, ALWAYS).await;
    assert_eq!(result.outcome, Outcome::Unproven);
    assert_eq!(writes(&world, before), [""; 0]);
}

/// The drift check uses a read-only client on the connection of a run that may write.
#[tokio::test]
async fn read_only_client_of_a_run_sends_no_writes() {
    let world = World::sandbox().await;
    let url = world.embedded().url();
    let rate = Rate::per_second(1000.0).expect("a rate");
    let cluster = connect_plain(&url, Access::Write, rate).expect("a connection");
    let before = world.embedded().requests().len();
    let path = &Path::core(Some("default"), "secrets").named("any");
    let change = serde_json::json!({"metadata": {"annotations": {"any": "thing"}}});
    let read_only = cluster.read_only();
    let patched = read_only
        .patch::<serde::de::IgnoredAny>(path, &change)
        .await;
    let error = patched.expect_err("refused").to_string();
    assert!(error.contains("this command is read-only"), "{error}");
    assert!(read_only.delete(path, "uid", "1").await.is_err());
    assert_eq!(
        world.embedded().requests().len(),
        before,
        "nothing was sent"
    );
    assert_eq!(
        read_only.requests(),
        cluster.requests(),
        "one counter for both"
    );
}
