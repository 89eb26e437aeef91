//! The ladder of `sync.onStillStale` on the real operator: what a proven sync leaves stale is written anew, and if need be deleted
//! and created anew.
//!
//! The operator writes what it was told. So a Secret is stale after a proven sync where the provider told it something older than it
//! tells us: replicas that lag, a cache in between. Here it is a Vault that lags for the operator until we have looked so often.

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

/// How often a key is read by us before the sync, since what differs is read twice; and from sync to rung, and from rung to rung.
const LOOK: u32 = 2;

/// A Vault, and how often we have read a key since its value has moved on; None as long as it has not.
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
            return (key != "denied" || *reads <= LOOK).then_some("after");
        }
        let caught_up = match key {
            "refetched" => *reads >= 2 * LOOK,
            "recreated" => *reads >= 3 * LOOK,
            _ => false,
        };
        Some(if caught_up { "after" } else { "before" })
    }
}

/// A world whose ExternalSecrets read from that Vault, each with more of its `target`; by now its values have moved on.
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

/// The operator reads the provider anew once its hash is taken off: the same Secret holds the new value, and pods get it.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_refetch_cures_what_the_operator_was_told_too_late() {
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
        "it was still stale after its sync; its Secret was written anew (refetch), and is in sync"
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

/// What a refetch does not cure is deleted, and comes back by itself: another Secret, with the new value, and pods get it.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_recreation_cures_what_a_refetch_does_not() {
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
        "it was still stale after its sync; its Secret was written anew (refetch); its Secret was created anew (recreate), and is in \
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

/// What is not the operator's alone, what is immutable, and what the provider was not read for: all of them stay stale, and are
/// there.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn what_may_not_be_deleted_stays_although_it_is_stale() {
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
    // By somebody else: the operator fails at it.
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
    let too_late =
        "stale after its sync: the provider (or the ExternalSecret) changed since the last sync";
    let refetched = "it was still stale after its sync; its Secret was written anew (refetch)";
    for (name, message) in [
        ("orphan", too_late.to_owned()),
        ("merged", format!("{refetched}; {too_late}")),
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
    assert_eq!(denied["message"], Value::Null, "nothing was tried");
    world.end().await;
}
