//! Attacks of a tenant, with a store of the tenant and with a store that does not serve the tenant.

use eso_model::{StoreKey, expected::Read};
use providers::{
    trust::{Credentials, Rules},
    unread,
};
use serde_json::json;

use super::{
    double::{Double, Reply},
    reader::{answer, reader_with},
    support::{asked, put, read, sandbox},
};

fn ambient() -> Rules {
    Rules::default()
}

/// Rules that name this store in the policy.
fn trusting(store: &str) -> Rules {
    let mut rules = ambient();
    rules
        .stores
        .insert(store.parse().unwrap(), Credentials::Ambient);
    rules
}

#[tokio::test]
async fn verdict_reveals_no_more_than_the_tenants_credential() {
    let sandbox = sandbox().await;
    put(&sandbox, "remote", "db", &[("k", "not the tenant's")]);
    put(&sandbox, "team-a", "login", &[("token", "tenant-token")]);
    let referent = json!({
        "remoteNamespace": "remote",
        "auth": {"token": {"bearerToken": {"name": "login", "key": "token"}}},
    });
    let narrow = json!({
        "remoteNamespace": "remote",
        "auth": {"serviceAccount": {"name": "reader", "namespace": "remote"}},
    });
    let vault = json!({
        "server": "http://127.0.0.1:1",
        "auth": {"tokenSecretRef": {"name": "login", "key": "token"}},
    });
    let stores = [
        ("ClusterSecretStore/referent", "kubernetes", referent),
        ("ClusterSecretStore/narrow", "kubernetes", narrow),
        ("ClusterSecretStore/vault", "vault", vault),
    ];
    let supported = if cfg!(feature = "vault") { 3 } else { 2 };
    let mut reader = reader_with(&sandbox, &stores, ambient());
    let wanted: Vec<Read> = ["referent", "narrow", "vault"]
        .iter()
        .take(supported)
        .map(|store| read("ClusterSecretStore", store, "db"))
        .collect();
    reader
        .read(wanted.iter().map(|read| ("team-a", read)))
        .await;
    for read in &wanted {
        assert_eq!(answer(&reader, "team-a", read), unread::NOT_TRUSTED);
    }
    assert_eq!(asked(&sandbox), [""; 0]);
}

#[tokio::test]
async fn tenant_store_gets_no_job_credentials() {
    let sandbox = sandbox().await;
    put(&sandbox, "remote", "db", &[("k", "not the tenant's")]);
    let evil = Double::start(|_| Reply::json(200, &json!({"data": {}}))).await;
    let stores = [
        (
            "SecretStore/team-a/here",
            "kubernetes",
            json!({"remoteNamespace": "remote"}),
        ),
        (
            "SecretStore/team-a/there",
            "kubernetes",
            json!({"server": {"url": evil.url}}),
        ),
    ];
    let mut reader = reader_with(&sandbox, &stores, ambient());
    let (here, there) = (
        read("SecretStore", "here", "db"),
        read("SecretStore", "there", "db"),
    );
    reader.read([("team-a", &here), ("team-a", &there)]).await;
    for read in [&here, &there] {
        assert_eq!(answer(&reader, "team-a", read), unread::NOT_TRUSTED);
    }
    assert_eq!(asked(&sandbox), [""; 0]);
    assert!(evil.asked().is_empty());
}

#[tokio::test]
async fn trusted_tenant_store_cannot_choose_the_endpoint() {
    let sandbox = sandbox().await;
    let evil = Double::start(|_| Reply::json(200, &json!({"data": {}}))).await;
    let stores = [(
        "SecretStore/team-a/there",
        "kubernetes",
        json!({"server": {"url": evil.url}}),
    )];
    let rules = trusting("SecretStore/team-a/there");
    let mut reader = reader_with(&sandbox, &stores, rules);
    let there = read("SecretStore", "there", "db");
    reader.read([("team-a", &there)]).await;
    assert_eq!(answer(&reader, "team-a", &there), unread::NOT_TRUSTED);
    assert!(evil.asked().is_empty());
}

#[tokio::test]
async fn cluster_store_reveals_nothing_to_excluded_tenants() {
    let sandbox = sandbox().await;
    put(&sandbox, "remote", "db", &[("k", "v")]);
    let settings = json!({"remoteNamespace": "remote", "conditions": [{"namespaces": ["team-b"]}]});
    let stores = [("ClusterSecretStore/shared", "kubernetes", settings)];
    let db = read("ClusterSecretStore", "shared", "db");
    let rules = trusting("ClusterSecretStore/shared");
    let mut reader = reader_with(&sandbox, &stores, rules);
    reader.read([("team-a", &db)]).await;
    assert_eq!(answer(&reader, "team-a", &db), unread::NAMESPACE);
    assert_eq!(asked(&sandbox), [""; 0]);
    assert!(
        reader.reader.store_errors().is_empty(),
        "the store itself is readable"
    );
    reader.read([("team-b", &db)]).await;
    assert_eq!(answer(&reader, "team-b", &db), "k=v");
    assert_eq!(answer(&reader, "team-a", &db), unread::NAMESPACE);
}

#[tokio::test]
async fn same_store_name_in_two_namespaces_is_two_stores() {
    let sandbox = sandbox().await;
    put(&sandbox, "default", "db", &[("k", "v")]);
    let trusted: StoreKey = "SecretStore/team-b/own".parse().unwrap();
    let stores = [
        ("SecretStore/team-a/own", "kubernetes", json!({})),
        ("SecretStore/team-b/own", "kubernetes", json!({})),
    ];
    let mut rules = ambient();
    rules.stores.insert(trusted, Credentials::Ambient);
    let mut reader = reader_with(&sandbox, &stores, rules);
    let db = read("SecretStore", "own", "db");
    reader.read([("team-a", &db), ("team-b", &db)]).await;
    assert_eq!(answer(&reader, "team-a", &db), unread::NOT_TRUSTED);
    assert_eq!(answer(&reader, "team-b", &db), "k=v");
}
