//! What a tenant tries with a store of his own, and with one that is not meant for him.

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

/// The same, where the policy names this store.
fn trusting(store: &str) -> Rules {
    let mut rules = ambient();
    rules
        .stores
        .insert(store.parse().unwrap(), Credentials::Ambient);
    rules
}

#[tokio::test]
async fn a_verdict_tells_a_tenant_no_more_than_his_own_credential_would() {
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
async fn a_tenants_store_does_not_get_the_jobs_own_credentials() {
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
async fn trust_in_tenants_stores_does_not_let_them_choose_where_credentials_go() {
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
async fn a_cluster_store_that_is_not_meant_for_a_tenant_tells_him_nothing() {
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
        reader.store_troubles().is_empty(),
        "nothing is wrong with the store"
    );
    reader.read([("team-b", &db)]).await;
    assert_eq!(answer(&reader, "team-b", &db), "k=v");
    assert_eq!(answer(&reader, "team-a", &db), unread::NAMESPACE);
}

#[tokio::test]
async fn a_tenants_store_of_the_same_name_is_another_one() {
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
