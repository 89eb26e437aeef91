//! The remedies of `sync.onStillStale` with the real operator: a Secret that is stale after a proven sync is written again
//! (refetch), and if that does not help, deleted and created again (recreate).
//!
//! A Secret is stale after a proven sync if the provider gave the operator an older value than us: a lagging replica, or a cache.
//! In these tests, a Vault gives the operator the old value until eso-sync has read the key a number of times.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    providers::double::{Asked, Double, Reply},
    restart::{is_up, rolled, workload},
    scenarios::AFTER,
    support::{Outcome, World},
};

const OPERATOR: &str = "operator";
const OURS: &str = "ours";

/// The number of times that each check (before the sync, after it, after each remedy) reads a key: differences are read twice.
const READS_PER_CHECK: u32 = 2;

/// A Vault. Counts how often eso-sync has read each key since the rotation; None before the rotation.
#[derive(Clone, Default)]
struct Lagging(Arc<Mutex<Option<BTreeMap<String, u32>>>>);

impl Lagging {
    async fn serve(&self) -> Double {
        let vault = self.clone();
        Double::start(move |asked| vault.answer(asked)).await
    }

    fn rotate(&self) {
        *self.0.lock().expect("no panic") = Some(BTreeMap::new());
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let path = asked.path.split('?').next().unwrap_or_default();
        if path.starts_with("/v1/sys/internal/ui/mounts/") {
            let mount = json!({"path": "secret/", "type": "kv", "options": {"version": "2"}});
            return Reply::json(200, &json!({"data": mount}));
        }
        let Some(key) = path.strip_prefix("/v1/secret/data/") else {
            return Reply::json(
                200,
                &json!({"data": {"type": "service", "ttl": 3600, "expire_time": null}}),
            );
        };
        match self.value(key, asked.header("X-Vault-Token")) {
            Some(value) => Reply::json(
                200,
                &json!({"data": {"data": {"k": value}, "metadata": {"version": 1}}}),
            ),
            None => Reply::json(403, &json!({"errors": ["permission denied"]})),
        }
    }

    fn value(&self, key: &str, token: &str) -> Option<&'static str> {
        let mut state = self.0.lock().expect("no panic");
        let Some(reads) = state.as_mut() else {
            return Some("before");
        };
        let reads = reads.entry(key.to_owned()).or_default();
        if token == OURS {
            *reads += 1;
            return (key != "denied" || *reads <= READS_PER_CHECK).then_some("after");
        }
        let caught_up = match key {
            "refetched" => *reads >= 2 * READS_PER_CHECK,
            "recreated" | "co-owned" => *reads >= 3 * READS_PER_CHECK,
            _ => false,
        };
        Some(if caught_up { "after" } else { "before" })
    }
}

/// A cluster with ExternalSecrets that read from that Vault, each with this `target`. Their values have been rotated.
async fn lagging(external_secrets: &[(&str, Value)]) -> (World, Double) {
    let mut world = World::cluster().await;
    let vault = Lagging::default();
    let double = vault.serve().await;
    world.bin.set("VAULT_TOKEN", OURS);
    world
        .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vault"}, "stringData": {"token": OPERATOR}}))
        .await;
    let version = format!("external-secrets.io/{}", world.version);
    let provider = json!({"vault": {"server": double.url, "path": "secret", "version": "v2",
        "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}}}});
    world
        .apply(json!({"apiVersion": version, "kind": "SecretStore", "metadata": {"name": "lagging"}, "spec": {"provider": provider}}))
        .await;
    for (name, target) in external_secrets {
        let spec = json!({"refreshInterval": "1h", "secretStoreRef": {"name": "lagging"}, "target": target,
            "data": [{"secretKey": "k", "remoteRef": {"key": name, "property": "k"}}]});
        world
            .apply(json!({"apiVersion": version, "kind": "ExternalSecret", "metadata": {"name": name}, "spec": spec}))
            .await;
    }
    for (name, _) in external_secrets {
        world.ready(name, "SecretSynced").await;
    }
    vault.rotate();
    (world, double)
}

async fn run(world: &World, vault: &Double, rung: &str) -> Outcome {
    let policy = format!(
        "select: [{{namespaces: [NS]}}]\nsync: {{onStillStale: {rung}}}\n\
         drift: {{endpoints: ['{}'], namespacedStores: true}}\n\
         pace: {{restarts: 100/s}}\nrestart: [{{match: references, wait: 1m}}]\n",
        vault.url
    );
    world.bin.policy(&world.named(&policy), &[]).await
}

async fn uid(world: &World, name: &str) -> Value {
    world.get("Secret", name).await.expect("it")["metadata"]["uid"].clone()
}

fn item(outcome: &Outcome, name: &str) -> Value {
    let document = outcome.document();
    let items = document["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["name"] == name);
    item.expect("it").clone()
}

/// Without its hash, the operator reads the provider again: the same Secret gets the new value, and the pods restart.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_refetch_fixes_a_secret_with_an_old_value() {
    let (world, vault) = lagging(&[("refetched", json!({}))]).await;
    world
        .apply(workload("Deployment", "web", "refetched"))
        .await;
    is_up(&world, "Deployment", "web").await;
    let before = uid(&world, "refetched").await;
    let outcome = run(&world, &vault, "refetch").await;
    outcome.exits(0);
    assert_eq!(outcome.of("refetched"), "synced");
    assert_eq!(
        item(&outcome, "refetched")["message"],
        "still stale after its sync; the Secret was written again (refetch), and is in sync"
    );
    assert_eq!(world.secret("refetched", "k").await.as_deref(), Some(AFTER));
    assert_eq!(uid(&world, "refetched").await, before);
    assert_eq!(outcome.restart_of("web"), "restarted(data-changed)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    let again = run(&world, &vault, "refetch").await;
    assert_eq!(again.exits(0).of("refetched"), "skipped(in-sync)");
    assert_eq!(again.restart_of("web"), "left(current)");
    world.end().await;
}

/// The same without a policy, for one ExternalSecret.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn sync_of_one_external_secret_can_refetch() {
    let (world, vault) = lagging(&[("refetched", json!({}))]).await;
    let sync = [
        "sync",
        "refetched",
        "-n",
        &world.namespace,
        "--yes",
        "-o",
        "json",
    ];
    let reading = ["--endpoint", &vault.url, "--namespaced-stores"];
    let reported = world
        .bin
        .run(&[&sync[..], &reading, &["--on-still-stale", "report"]].concat())
        .await;
    reported.exits(3);
    assert_eq!(item(&reported, "refetched")["verdict"], "stale");
    let before = uid(&world, "refetched").await;
    let outcome = world
        .bin
        .run(&[&sync[..], &reading, &["--on-still-stale", "refetch"]].concat())
        .await;
    outcome.exits(0);
    assert_eq!(outcome.of("refetched"), "synced");
    assert_eq!(item(&outcome, "refetched")["verdict"], "in-sync");
    assert_eq!(world.secret("refetched", "k").await.as_deref(), Some(AFTER));
    assert_eq!(uid(&world, "refetched").await, before);
    world.end().await;
}

/// If a refetch does not help, the Secret is deleted, and the operator creates it with the new value. The pods restart.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_recreate_fixes_what_a_refetch_does_not() {
    let (world, vault) = lagging(&[("recreated", json!({}))]).await;
    world
        .apply(workload("Deployment", "web", "recreated"))
        .await;
    is_up(&world, "Deployment", "web").await;
    let before = uid(&world, "recreated").await;
    let outcome = run(&world, &vault, "recreate").await;
    outcome.exits(0);
    assert_eq!(outcome.of("recreated"), "synced");
    assert_eq!(
        item(&outcome, "recreated")["message"],
        "still stale after its sync; the Secret was written again (refetch); the Secret was created again (recreate), and is in \
         sync"
    );
    assert_eq!(world.secret("recreated", "k").await.as_deref(), Some(AFTER));
    assert_ne!(uid(&world, "recreated").await, before);
    assert_eq!(outcome.restart_of("web"), "restarted(data-changed)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    let again = run(&world, &vault, "recreate").await;
    assert_eq!(again.exits(0).of("recreated"), "skipped(in-sync)");
    assert_eq!(again.restart_of("web"), "left(current)");
    world.end().await;
}

/// Secrets that the ExternalSecret does not own, immutable Secrets, and Secrets that cannot be verified are not deleted.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn secrets_that_must_not_be_deleted_stay_stale() {
    let (world, vault) = lagging(&[
        ("orphan", json!({"creationPolicy": "Orphan"})),
        (
            "merged",
            json!({"creationPolicy": "Merge", "name": "vault"}),
        ),
        ("frozen", json!({"immutable": true})),
        ("sealed", json!({})),
        ("denied", json!({})),
    ])
    .await;
    // Somebody else makes it immutable, so the operator fails.
    let seal = json!({"immutable": true});
    world.patch("Secret", "sealed", &seal).await;
    let mut before = BTreeMap::new();
    for name in ["orphan", "vault", "frozen", "sealed", "denied"] {
        before.insert(name, uid(&world, name).await);
    }
    let outcome = run(&world, &vault, "recreate").await;
    outcome.exits(3);
    for (name, uid) in before {
        assert_eq!(self::uid(&world, name).await, uid, "{name}");
        let value = world.secret(name, "k").await;
        assert!(value.is_some_and(|value| value != AFTER), "{name}");
    }
    let kept = |word: &str| format!("the Secret was not deleted (recreate): {word}");
    let orphan = kept("orphan: the operator does not create it again before the next refresh");
    let merged =
        kept("merged: others may have written keys to it, which the operator does not write again");
    let too_late =
        "stale after its sync: the provider (or the ExternalSecret) changed since the last sync";
    let refetched = "still stale after its sync; the Secret was written again (refetch)";
    for (name, message) in [
        (
            "orphan",
            format!("still stale after its sync; {orphan}; {too_late}"),
        ),
        ("merged", format!("{refetched}; {merged}; {too_late}")),
    ] {
        assert_eq!(outcome.of(name), "unproven(still-stale)");
        assert_eq!(item(&outcome, name)["message"], message, "{name}");
    }
    for name in ["frozen", "sealed"] {
        assert_eq!(outcome.of(name), "skipped(immutable)");
    }
    let denied = item(&outcome, "denied");
    assert_eq!(
        [&denied["outcome"], &denied["verdict"]],
        ["synced", "unverifiable"]
    );
    assert_eq!(denied["message"], Value::Null, "no remedy was tried");
    world.end().await;
}

/// The real operator and API server: a field manager that applied the same value co-owns the key, and the operator's refetch leaves it
/// so. A deletion with an older resource version is refused.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_secret_that_somebody_else_wrote_too_is_not_deleted() {
    let (world, vault) = lagging(&[("co-owned", json!({}))]).await;
    let before = world.get("Secret", "co-owned").await.expect("it");
    let same = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "co-owned", "namespace": world.namespace},
        "data": {"k": before["data"]["k"]},
    });
    world.apply_server_side(&same, "gitops").await;
    let outcome = run(&world, &vault, "recreate").await;
    outcome.exits(3);
    assert_eq!(outcome.of("co-owned"), "unproven(still-stale)");
    let message = item(&outcome, "co-owned")["message"].to_string();
    let kept = "the Secret was not deleted (recreate): other-writer";
    assert!(message.contains(kept), "{message}");
    assert_eq!(uid(&world, "co-owned").await, before["metadata"]["uid"]);
    let meta = &before["metadata"];
    let old = (meta["uid"].as_str(), meta["resourceVersion"].as_str());
    let (Some(uid), Some(version)) = old else {
        panic!("no uid and version: {before}");
    };
    assert_eq!(
        world
            .delete_if_unchanged("Secret", "co-owned", uid, version)
            .await,
        409
    );
    let now = world
        .get("Secret", "co-owned")
        .await
        .expect("it is still there");
    let version = now["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version");
    assert_eq!(
        world
            .delete_if_unchanged("Secret", "co-owned", "other-uid", version)
            .await,
        409
    );
    assert_eq!(
        world
            .delete_if_unchanged("Secret", "co-owned", uid, version)
            .await,
        200
    );
    world.end().await;
}
