//! The job's credentials end in the middle of a run. The provider is behind a proxy that rejects them.

#[cfg(feature = "azure")]
mod azure;

use serde_json::{Value, json};

use crate::{
    providers::{
        expiry,
        proxy::{Asked, Fault, Proxy, Script},
    },
    support::{Outcome, World},
};

pub(crate) const READ: &str = "secretsmanager.GetSecretValue";

fn expired() -> Fault {
    let kind = ("content-type", "application/x-amz-json-1.1".to_owned());
    let body = json!({"__type": "ExpiredTokenException", "message": "hunter2-planted"});
    Fault::Instead(400, vec![kind], body.to_string())
}

/// Rejects reads of the provider from this one to that one, counted from 0.
fn rejects(from: usize, to: usize) -> Box<Script> {
    Box::new(move |asked: &Asked| {
        if asked.operation == READ && (from..=to).contains(&asked.before) {
            expired()
        } else {
            Fault::None
        }
    })
}

/// An ExternalSecret whose value was rotated, in a store of AWS that assumes a role.
pub(crate) async fn rotated(world: &World) {
    rotated_in_region(world, "eu-west-1").await;
}

/// The same, in this region.
pub(crate) async fn rotated_in_region(world: &World, region: &str) {
    let provider = json!({"aws": {
        "service": "SecretsManager", "region": region, "role": "arn:aws:iam::123456789012:role/reader",
        "auth": {"secretRef": {
            "accessKeyIDSecretRef": {"name": "login", "key": "id"},
            "secretAccessKeySecretRef": {"name": "login", "key": "key"},
        }},
    }});
    rotated_in(world, provider, ["job", "hunter2-planted"]).await;
}

/// An ExternalSecret whose value was rotated, in a store of this provider with this login.
async fn rotated_in(world: &World, provider: Value, [id, key]: [&str; 2]) {
    let ns = &world.namespace;
    let values = |value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"values.yaml": format!("db: {value}")},
            "metadata": {"name": "values", "namespace": ns,
                "annotations": {"sandbox.eso-sync/store": format!("SecretStore/{ns}/store")}}})
    };
    world.apply(values("old")).await;
    let login = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": ns},
        "stringData": {"id": id, "key": key}});
    world.apply(login).await;
    let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
        "metadata": {"name": "store", "namespace": ns}, "spec": {"provider": provider}});
    world.apply(store).await;
    world
        .apply_yaml(
            "apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: db, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: store, kind: SecretStore}
  data: [{secretKey: k, remoteRef: {key: db}}]
",
        )
        .await;
    world.ready("db", "SecretSynced").await;
    // As in the double.
    world.apply(values("v")).await;
}

async fn run(world: &mut World, proxy: &Proxy) -> Outcome {
    world.bin.set("AWS_ENDPOINT_URL", &proxy.url);
    let policy = format!(
        "select: [{{namespaces: [NS]}}]\ndrift: {{credentials: store, endpoints: ['{}']}}\n",
        proxy.url
    );
    world.bin.policy(&world.named(&policy), &[]).await
}

fn logins(proxy: &Proxy) -> usize {
    let asked = proxy.asked();
    asked.iter().filter(|asked| asked.is_login()).count()
}

/// The comparison before the sync was made with the first credentials, that after it with new ones.
#[tokio::test]
async fn credentials_that_end_in_the_middle_of_a_run_are_renewed() {
    let mut world = World::sandbox().await;
    rotated(&world).await;
    let double = expiry::secrets_manager().await;
    let proxy = Proxy::before(&double.url, rejects(1, 1)).await;
    let outcome = run(&mut world, &proxy).await;
    outcome.exits(0);
    assert_eq!(outcome.of("db"), "synced");
    // `v`
    assert_eq!(world.secret("db", "k").await.as_deref(), Some("dg=="));
    assert_eq!((proxy.faults(), logins(&proxy)), (1, 2));
    let reads: Vec<Asked> = proxy.asked();
    let reads = reads.iter().filter(|asked| asked.operation == READ);
    // Compared for the plan, again before the sync, and after it.
    assert_eq!(reads.count(), 3 + 1, "the rejected one is repeated once");
    world.end().await;
}

#[tokio::test]
async fn credentials_that_stay_expired_are_reported_with_what_to_look_at() {
    let mut world = World::sandbox().await;
    rotated(&world).await;
    let double = expiry::secrets_manager().await;
    let proxy = Proxy::before(&double.url, rejects(0, usize::MAX)).await;
    let outcome = run(&mut world, &proxy).await;
    outcome.exits(3);
    assert_eq!((proxy.faults(), logins(&proxy)), (2, 2));
    is_told(&outcome, "check the session token");
    world.end().await;
}

/// The second rejection says what to look at.
fn is_told(outcome: &Outcome, what: &str) {
    let document = outcome.document();
    let why = document["unread"][0]["why"].as_str().expect("a reason");
    assert!(why.starts_with("credentials-expired"), "{why}");
    assert!(why.contains(what), "{why}");
    let item = document["items"][0].to_string();
    assert!(item.contains("unverifiable"), "{item}");
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(
            !text.contains("hunter2") && !text.contains("s3cret"),
            "{text}"
        );
    }
}
