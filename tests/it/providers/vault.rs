//! Tests of Vault's KV engines against a real OpenBao. Each test has its own Vault namespace.

mod faults;
mod login;
mod operator;
pub(super) mod server;

use eso_model::{
    StoreKey,
    expected::{Raw, What},
};
use pace::rate::Rate;
use providers::{self, Ambient, Answered, Identity, Provider, RateLimiter, StoreSettings};
use serde_json::{Value, json};

use self::server::Server;
use super::support::{find, metadata, nowhere, secret, version};

fn rate() -> Rate {
    Rate::per_second(1000.0).expect("a rate")
}

fn store(settings: Value) -> StoreSettings {
    StoreSettings::new(
        StoreKey::Cluster {
            name: "vault".to_owned(),
        },
        "vault",
        settings,
    )
}

/// Reads as the job, with these environment variables.
async fn as_job(server: &Server, settings: Value, variables: &[(&str, &str)]) -> Box<dyn Provider> {
    let store = store(server.settings(&settings));
    let ambient = Ambient {
        environment: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        endpoints: vec![store.at("/server").as_str().expect("a URL").to_owned()],
        ..Ambient::default()
    };
    let connected = providers::connect(&store, Identity::Ambient(&ambient), &nowhere()).await;
    connected.unwrap_or_else(|unread| panic!("{unread:?}"))
}

/// Reads with the server's own token, at the mount `secret` (KV version 2).
async fn vault(server: &Server) -> Box<dyn Provider> {
    as_job(
        server,
        json!({"path": "secret"}),
        &[("VAULT_TOKEN", &server.token)],
    )
    .await
}

async fn read(vault: &dyn Provider, wanted: &[What]) -> Vec<String> {
    let answers = vault.read(wanted, &RateLimiter::new(rate())).await;
    answers.iter().map(said).collect()
}

fn said(answered: &Answered) -> String {
    let text = |raw: &Raw| match raw {
        Raw::Json(text) => String::from_utf8(text.expose().to_vec()).expect("UTF-8"),
        Raw::Tags(tags) => tags
            .iter()
            .map(|(name, tag)| format!("{name}={} ", String::from_utf8_lossy(tag.expose())))
            .collect::<Vec<_>>()
            .concat(),
        Raw::Bytes(_) | Raw::Keys(_) | Raw::Metadata { .. } => "something else".to_owned(),
    };
    match answered {
        Answered::One(raw, _) => text(raw),
        Answered::Many(found) => found
            .iter()
            .map(|(name, raw)| format!("{name}={} ", text(raw)))
            .collect::<Vec<_>>()
            .concat(),
        Answered::NotFound => "not found".to_owned(),
        Answered::Fails(failure) => format!("fails {}", failure.into_str()),
        Answered::Unread(unread) => unread.why.to_string(),
    }
}

/// OpenBao's KV version 1 keeps numbers as they were written. Version 2 stores floats, so the text changes; the changed text is
/// kept.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn data_in_vault_keeps_its_numbers_as_they_are_written() {
    let Some(server) = Server::start().await else {
        return;
    };
    let numbers =
        r#"{"big":12345678901234567890,"exp":1e3,"nested":{"n":1.50},"price":1.50,"text":"ü🔑\n"}"#;
    server.mount("kv1", "kv", "1").await;
    server
        .write("secret/data/db", &format!(r#"{{"data":{numbers}}}"#))
        .await;
    server.write("kv1/db", numbers).await;
    let v2 = vault(&server).await;
    let token = [("VAULT_TOKEN", server.token.as_str())];
    let v1 = as_job(&server, json!({"path": "kv1", "version": "v1"}), &token).await;
    let floats =
        r#"{"big":12345678901234567000,"exp":1000,"nested":{"n":1.5},"price":1.5,"text":"ü🔑\n"}"#;
    assert_eq!(read(&*v2, &[secret("db")]).await, [floats]);
    assert_eq!(
        read(&*v1, &[secret("db"), secret("none")]).await,
        [numbers, "not found"]
    );
    server.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn versions_in_vault_are_distinct_and_deleted_ones_absent() {
    let Some(server) = Server::start().await else {
        return;
    };
    for value in ["1", "2", "3", "4"] {
        server
            .write(
                "secret/data/db",
                &format!(r#"{{"data":{{"k":"{value}"}}}}"#),
            )
            .await;
    }
    server
        .write("secret/delete/db", r#"{"versions":[2]}"#)
        .await;
    server
        .write("secret/destroy/db", r#"{"versions":[3]}"#)
        .await;
    server.write("secret/data/gone", r#"{"data":{}}"#).await;
    server.send("DELETE", "secret/data/gone", "").await;
    let wanted = [
        secret("db"),
        version("db", "1"),
        version("db", "2"),
        version("db", "3"),
        version("db", "9"),
        secret("gone"),
        secret("none"),
        version("db", "odd"),
    ];
    assert_eq!(
        read(&*vault(&server).await, &wanted).await,
        [
            r#"{"k":"4"}"#,
            r#"{"k":"1"}"#,
            "fails version-deleted",
            "fails version-destroyed",
            "not found",
            "fails version-deleted",
            "not found",
            "unreadable (Vault answered 400 (Field validation failed))",
        ]
    );
    server.end().await;
}

/// Special characters in a key are sent unchanged. None of them is treated as a query or an escape.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn special_characters_in_vault_names_are_kept() {
    let Some(server) = Server::start().await else {
        return;
    };
    let names = [
        "a b",
        "ü/ß",
        "50%25",
        "q?version=1",
        "c#d",
        "e+f&g=h",
        "x:y@z",
        "a.b",
    ];
    for name in names {
        server
            .write_at(&["secret", "data", name], &json!({"data": {"name": name}}))
            .await;
    }
    let vault = vault(&server).await;
    let wanted = names.map(secret);
    let expected = names.map(|name| json!({"name": name}).to_string().replace('&', r"\u0026"));
    assert_eq!(read(&*vault, &wanted).await, expected);
    let paths = ["secret/a b", "secret/data/a b", "/a b", "a b/"].map(secret);
    assert_eq!(read(&*vault, &paths).await, [r#"{"name":"a b"}"#; 4]);
    let out = read(&*vault, &[secret("../../sys/seal-status")]).await;
    assert_eq!(
        out,
        ["unsupported-store (a path with `..` is not supported)"]
    );
    server.end().await;
}

/// The operator uses the version in the store, even if the mount has another one.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn wrong_kv_version_in_vault_gives_the_operators_result() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.mount("kv1", "kv", "1").await;
    server.write("kv1/data/db", r#"{"k":"v1"}"#).await;
    server
        .write("secret/data/db", r#"{"data":{"k":"v2"}}"#)
        .await;
    let token = [("VAULT_TOKEN", server.token.as_str())];
    let v1 = as_job(&server, json!({"path": "secret", "version": "v1"}), &token).await;
    let answers = read(&*v1, &[secret("db"), secret("data/db")]).await;
    assert_eq!(answers[0], "not found");
    assert!(
        answers[1].starts_with(r#"{"data":{"k":"v2"},"metadata":{"#),
        "{answers:?}"
    );
    let v2 = as_job(&server, json!({"path": "kv1"}), &token).await;
    assert_eq!(read(&*v2, &[secret("db")]).await, ["fails no-value"]);
    let none = as_job(&server, json!({}), &token).await;
    let wanted = [secret("secret/db"), secret("secret/data/db")];
    assert_eq!(read(&*none, &wanted).await, [r#"{"k":"v2"}"#; 2]);
    server.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn metadata_in_vault_are_read_as_tags() {
    let Some(server) = Server::start().await else {
        return;
    };
    server
        .write(
            "secret/metadata/db",
            r#"{"custom_metadata":{"owner":"<team>","tier":"1"}}"#,
        )
        .await;
    server
        .write("secret/data/bare", r#"{"data":{"k":"v"}}"#)
        .await;
    let wanted = [metadata("db"), metadata("bare"), metadata("none")];
    assert_eq!(
        read(&*vault(&server).await, &wanted).await,
        ["owner=<team> tier=1 ", "", "not found"]
    );
    let token = [("VAULT_TOKEN", server.token.as_str())];
    let v1 = as_job(&server, json!({"path": "secret", "version": "v1"}), &token).await;
    assert_eq!(read(&*v1, &[metadata("db")]).await, ["fails refused"]);
    server.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn search_in_vault_reads_all_folders() {
    let Some(server) = Server::start().await else {
        return;
    };
    for name in ["api", "team/db", "team/deep/er/db", "team/gone", "team/ü x"] {
        server
            .write_at(&["secret", "data", name], &json!({"data": {"k": name}}))
            .await;
    }
    server.send("DELETE", "secret/data/team/gone", "").await;
    for name in ["api", "team/db"] {
        let tags = r#"{"custom_metadata":{"tier":"1"}}"#;
        server.write(&format!("secret/metadata/{name}"), tags).await;
    }
    let vault = vault(&server).await;
    let wanted = [
        find(None, Some("db$"), &[]),
        find(Some("team"), Some("^team/"), &[]),
        find(Some("team/deep"), Some("."), &[]),
        find(None, None, &[("tier", "1")]),
        find(Some("team"), None, &[("tier", "1")]),
        find(None, Some("nothing"), &[]),
        find(Some("none"), Some("."), &[]),
    ];
    let deep = r#"team/deep/er/db={"k":"team/deep/er/db"} "#;
    let db = r#"team/db={"k":"team/db"} "#;
    assert_eq!(
        read(&*vault, &wanted).await,
        [
            format!("{db}{deep}"),
            format!("{db}{deep}{}", r#"team/ü x={"k":"team/ü x"} "#),
            deep.to_owned(),
            format!("{}{db}", r#"api={"k":"api"} "#),
            db.to_owned(),
            String::new(),
            "not found".to_owned(),
        ]
    );
    server.mount("kv1", "kv", "1").await;
    server.write("kv1/a/b", r#"{"k":"1"}"#).await;
    let token = [("VAULT_TOKEN", server.token.as_str())];
    let v1 = as_job(&server, json!({"path": "kv1", "version": "v1"}), &token).await;
    let wanted = [
        find(None, Some("b"), &[]),
        find(None, None, &[("tier", "1")]),
    ];
    assert_eq!(
        read(&*v1, &wanted).await,
        [r#"a/b={"k":"1"} "#, "fails refused"]
    );
    server.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn other_engines_in_vault_are_not_read() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.mount("transit", "transit", "").await;
    server.write("transit/keys/k", "{}").await;
    let token = [("VAULT_TOKEN", server.token.as_str())];
    let any = as_job(&server, json!({"version": "v1"}), &token).await;
    for (key, what) in [
        ("transit/keys/k", "transit/ is an engine of type transit"),
        (
            "cubbyhole/k",
            "cubbyhole/ is an engine of type ns_cubbyhole",
        ),
        ("auth/token/lookup-self", ""),
        ("none/k", "the mount does not exist"),
    ] {
        let answers = read(&*any, &[secret(key)]).await;
        assert!(answers[0].contains(what), "{key}: {answers:?}");
        let refused = ["unsupported-store", "denied"];
        assert!(
            refused.iter().any(|word| answers[0].starts_with(word)),
            "{key}: {answers:?}"
        );
    }
    server.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn quota_in_vault_is_waited_for() {
    let Some(server) = Server::start().await else {
        return;
    };
    server
        .write("secret/data/db", r#"{"data":{"k":"v"}}"#)
        .await;
    server.quota("secret/", 2).await;
    let limiter = RateLimiter::new(rate());
    let vault = vault(&server).await;
    let wanted = ["db"; 6].map(secret);
    let answers = vault.read(&wanted, &limiter).await;
    assert_eq!(
        answers.iter().map(said).collect::<Vec<_>>(),
        [r#"{"k":"v"}"#; 6]
    );
    assert!(
        limiter.calls() > 7,
        "the mount, the reads, and the throttled reads: {}",
        limiter.calls()
    );
    server.end().await;
}
