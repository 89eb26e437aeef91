//! Reads the same keys with the real operator and compares the results.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eso_model::{
    ProviderKind,
    budget::Budget,
    expected::{self, Answer, NoTemplates, NotComputable, Spec, expected, reads},
};
use providers::RateLimiter;
use serde_json::{Value, json};

use super::{as_job, rate, server::Server};
use crate::support::{World, eventually};

/// Stores with a correct and with a wrong mount version.
const STORES: [(&str, &str); 6] = [
    ("secret", "v2"),
    ("secret", "v1"),
    ("kv1", "v1"),
    ("kv1", "v2"),
    ("", "v2"),
    ("", "v1"),
];

const KEYS: [&str; 20] = [
    "db",
    "/db",
    "db/",
    "none",
    "gone",
    "a b",
    "q?version=1",
    "50%25",
    "ü/ß",
    "secret/db",
    "secret//db",
    "secret/data/db",
    "secret/data/a b",
    "secret/secret/db",
    "data/db",
    "kv1/db",
    "kv1/data/db",
    "team/./db",
    "secret/team/db",
    "kv1",
];

/// The operator reports no result for a search in such a store: it panics.
const PANICS: (&str, &str) = ("", "v1");

fn specs(store: (&str, &str)) -> Vec<Value> {
    let data = |key: &str, version: &str| json!({"data": [{"secretKey": "v", "remoteRef": {"key": key, "version": version}}]});
    let find = |path: Value, name: &str| json!({"dataFrom": [{"find": {"path": path, "name": {"regexp": name}}}]});
    let mut specs: Vec<Value> = KEYS.iter().map(|key| data(key, "")).collect();
    specs.extend(["1", "2", "9"].map(|version| data("db", version)));
    specs.extend(["db", "numbers"].map(|key| json!({"dataFrom": [{"extract": {"key": key}}]})));
    if store == PANICS {
        return specs;
    }
    specs.push(find(Value::Null, "db"));
    specs.push(find(json!("team"), "."));
    specs.push(find(json!("none"), "."));
    specs.push(json!({"dataFrom": [{"find": {"tags": {"tier": "1"}}}]}));
    specs
}

async fn fill(server: &Server) {
    server.mount("kv1", "kv", "1").await;
    for name in [
        "db",
        "a b",
        "q?version=1",
        "50%25",
        "ü/ß",
        "secret/db",
        "data/db",
        "team/db",
        "gone",
    ] {
        let value = json!({"name": name, "html": "<&>"});
        server.write_at(&["kv1", name], &value).await;
        for round in [1, 2] {
            let value = json!({"data": {"name": name, "html": "<&>", "round": round}});
            server.write_at(&["secret", "data", name], &value).await;
        }
    }
    let numbers = r#"{"big":12345678901234567890,"exp":1e3,"price":1.50,"nested":{"n":1.50}}"#;
    server.write("kv1/numbers", numbers).await;
    server
        .write("secret/data/numbers", &format!(r#"{{"data":{numbers}}}"#))
        .await;
    for name in ["gone", "secret/db"] {
        server
            .send("DELETE", &format!("secret/data/{name}"), "")
            .await;
    }
    let tags = r#"{"custom_metadata":{"tier":"1"}}"#;
    server.write("secret/metadata/team/db", tags).await;
}

fn settings((mount, version): (&str, &str)) -> Value {
    let mut settings = json!({"version": version});
    if !mount.is_empty() {
        settings["path"] = json!(mount);
    }
    settings
}

/// Our result: the data, or why the operator has none.
async fn ours(
    server: &Server,
    store: (&str, &str),
    spec: &Value,
) -> Result<BTreeMap<String, String>, String> {
    let mut spec = spec.clone();
    spec["secretStoreRef"] = json!({"name": "store"});
    let spec = Spec::parse(&spec).expect("a spec");
    let token = [("VAULT_TOKEN", server.token.as_str())];
    let vault = as_job(server, settings(store), &token).await;
    let reads = reads(&spec);
    let wanted: Vec<_> = reads.iter().map(|read| read.what.clone()).collect();
    let answers = vault.read(&wanted, &RateLimiter::new(rate())).await;
    let answer = |read: &expected::Read| Answer {
        provider: &ProviderKind::Vault,
        content: answers[reads.iter().position(|it| it == read).expect("a read")].content(),
    };
    match expected(&spec, answer, &NoTemplates, &Budget::default()) {
        Ok(computed) => Ok(computed
            .data
            .iter()
            .map(|(key, value)| (key.clone(), STANDARD.encode(value.expose())))
            .collect()),
        Err(NotComputable::WouldFail(_)) => Err("fails".to_owned()),
        Err(NotComputable::Unverifiable(why)) => Err(why.reason.to_owned()),
    }
}

/// The operator's result, once there is one.
async fn theirs(world: &World, name: &str) -> Result<BTreeMap<String, String>, String> {
    let reason = eventually("the operator has synced", async || {
        let object = world.get("ExternalSecret", name).await?;
        let reason = object["status"]["conditions"][0]["reason"].as_str()?;
        Some(reason.to_owned())
    })
    .await;
    if reason != "SecretSynced" {
        return Err("fails".to_owned());
    }
    let secret = world.get("Secret", name).await.unwrap_or(Value::Null);
    let data = secret["data"].as_object().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().expect("base64").to_owned();
    Ok(data
        .iter()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect())
}

/// Creates all stores, and one ExternalSecret of each kind for each store.
async fn apply(world: &World, server: &Server) {
    world
        .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vault", "namespace": world.namespace},
            "stringData": {"token": server.token}}))
        .await;
    let version = format!("external-secrets.io/{}", world.version);
    for (index, store) in STORES.into_iter().enumerate() {
        let mut vault = server.settings(&settings(store));
        vault["auth"] = json!({"tokenSecretRef": {"name": "vault", "key": "token"}});
        world
            .apply(json!({"apiVersion": version, "kind": "SecretStore",
                "metadata": {"name": format!("store-{index}"), "namespace": world.namespace},
                "spec": {"provider": {"vault": vault}}}))
            .await;
        for (number, spec) in specs(store).into_iter().enumerate() {
            let mut spec = spec;
            spec["secretStoreRef"] =
                json!({"name": format!("store-{index}"), "kind": "SecretStore"});
            spec["refreshInterval"] = json!("1h");
            world
                .apply(json!({"apiVersion": version, "kind": "ExternalSecret",
                    "metadata": {"name": format!("case-{index}-{number}"), "namespace": world.namespace}, "spec": spec}))
                .await;
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn expected_data_in_vault_matches_the_operator() {
    let Some(server) = Server::start().await else {
        return;
    };
    let world = World::cluster().await;
    fill(&server).await;
    apply(&world, &server).await;
    let mut different = Vec::new();
    let mut unverified = Vec::new();
    for (index, store) in STORES.into_iter().enumerate() {
        for (number, spec) in specs(store).into_iter().enumerate() {
            let ours = ours(&server, store, &spec).await;
            let theirs = theirs(&world, &format!("case-{index}-{number}")).await;
            match &ours {
                Err(reason) if reason != "fails" => {
                    unverified.push(format!("{store:?} {spec} {reason}"));
                }
                _ if ours != theirs => different.push(format!(
                    "{store:?} {spec}\n  ours {ours:?}\n  theirs {theirs:?}"
                )),
                _ => {}
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    // Keys without any mount: a missing mount cannot be distinguished from a denied one.
    assert!(
        unverified
            .iter()
            .all(|case| case.contains("(\"\",") && case.ends_with("denied")),
        "{}",
        unverified.join("\n")
    );
    assert_eq!(unverified.len(), 32, "{}", unverified.join("\n"));
    world.end().await;
    server.end().await;
}
