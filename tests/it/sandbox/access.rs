//! The stores of the sandbox as providers: a read returns the values that the operator writes.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eso_model::{
    StoreKey,
    expected::{Raw, What},
};
use eso_sync::sandbox_access;
use pace::rate::Rate;
use providers::{Answered, RateLimiter, StoreSettings, Unread, unread};
use sandbox::{Content, Sandbox, Settings};
use serde_json::{Value, json};

use super::support::{
    external_secret, now, store as fake_store, with, with_annotations, with_spec, without_operator,
};
use crate::support::eventually;

fn settings(name: &str, provider: &str) -> StoreSettings {
    StoreSettings::new(
        StoreKey::Cluster {
            name: name.to_owned(),
        },
        provider,
        json!({}),
    )
}

fn store(name: &str, provider: &str, annotations: Value) -> Value {
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": name},
        "spec": {"provider": {provider: {}}},
    });
    with_annotations(object, annotations)
}

fn values(store: &str, values: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "team-a", "name": store, "annotations": {"sandbox.eso-sync/store": format!("ClusterSecretStore/{store}")}},
        "data": {"values.yaml": values},
    })
}

fn secret(key: &str) -> What {
    What::Secret {
        key: key.to_owned(),
        version: String::new(),
        metadata: false,
    }
}

fn limiter() -> RateLimiter {
    RateLimiter::new(Rate::per_second(1000.0).unwrap())
}

/// Formats an answer for comparison. Secret values have no such format themselves; the values here are not secret.
fn shown(answered: &Answered) -> String {
    let text = |value: &secret::Value| String::from_utf8_lossy(value.expose()).into_owned();
    let raw = |raw: &Raw| match raw {
        Raw::Bytes(value) => format!("bytes {}", text(value)),
        Raw::Json(value) => format!("json {}", text(value)),
        Raw::Keys(keys) => {
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{key}={}", text(value)))
                .collect();
            format!("keys {}", keys.join(" "))
        }
        Raw::Tags(_) | Raw::Metadata { .. } => "metadata".to_owned(),
    };
    match answered {
        Answered::One(one, _) => raw(one),
        Answered::Many(many) => {
            let many: BTreeMap<&str, String> = many
                .iter()
                .map(|(key, one)| (key.as_str(), raw(one)))
                .collect();
            format!("{many:?}")
        }
        Answered::NotFound => "not found".to_owned(),
        Answered::Fails(failure) => format!("{failure:?}"),
        Answered::Unread(unread) => format!("{unread:?}"),
    }
}

async fn read(sandbox: &Sandbox, settings: &StoreSettings, what: What) -> String {
    let provider = sandbox_access::connect(sandbox, settings).unwrap();
    let answers = provider.read(&[what], &limiter()).await;
    assert_eq!(answers.len(), 1);
    shown(&answers[0])
}

async fn unread(sandbox: &Sandbox, settings: &StoreSettings) -> Unread {
    let provider = sandbox_access::connect(sandbox, settings).unwrap();
    let answer = provider.read(&[secret("db")], &limiter()).await.remove(0);
    let Answered::Unread(unread) = answer else {
        panic!("{}", shown(&answer))
    };
    unread
}

#[tokio::test]
async fn each_provider_returns_its_value_format() {
    let sandbox = without_operator().await;
    for (provider, expected) in [
        ("aws", r#"bytes {"password":"p"}"#),
        ("azurekv", r#"bytes {"password":"p"}"#),
        ("gcpsm", r#"bytes {"password":"p"}"#),
        ("vault", r#"json {"password":"p"}"#),
        ("kubernetes", "keys password=p"),
    ] {
        sandbox.apply(store(provider, provider, json!({}))).unwrap();
        sandbox
            .apply(values(provider, "db: {password: p}\ndb-old: {}\nother: {}"))
            .unwrap();
        let settings = settings(provider, provider);
        assert_eq!(read(&sandbox, &settings, secret("db")).await, expected);
        assert_eq!(read(&sandbox, &settings, secret("gone")).await, "not found");
        let find = What::Find {
            path: None,
            name: Some("^db".to_owned()),
            tags: None,
        };
        let found = read(&sandbox, &settings, find).await;
        assert!(
            found.contains("db-old") && !found.contains("other"),
            "{found}"
        );
    }
    sandbox
        .apply(fake_store(&json!({"password": "p"})))
        .unwrap();
    assert_eq!(
        read(&sandbox, &settings("fake", "fake"), secret("/db")).await,
        r#"bytes {"password":"p"}"#
    );
    let versioned = What::Secret {
        key: "db".to_owned(),
        version: "3".to_owned(),
        metadata: false,
    };
    assert!(
        read(&sandbox, &settings("aws", "aws"), versioned)
            .await
            .contains(unread::UNSUPPORTED)
    );
}

#[tokio::test(start_paused = true)]
async fn provider_failures_have_stable_reasons() {
    let sandbox = without_operator().await;
    let message = "p4ssw0rd";
    for (name, annotations) in [
        ("denied", json!({"sandbox.eso-sync/deny": message})),
        (
            "failing",
            json!({"sandbox.eso-sync/fail-first": "1", "sandbox.eso-sync/fail-text": message}),
        ),
        ("busy", json!({"sandbox.eso-sync/throttle": "0.01/s"})),
        ("unready", json!({"sandbox.eso-sync/not-ready": message})),
    ] {
        sandbox.apply(store(name, "aws", annotations)).unwrap();
    }
    let denied = unread(&sandbox, &settings("denied", "aws")).await;
    assert_eq!(
        (denied.why.reason, denied.whole_store),
        (unread::DENIED, true)
    );
    assert_eq!(
        denied.permission.as_deref(),
        Some("secretsmanager:GetSecretValue")
    );
    let failing = settings("failing", "aws");
    let failed = unread(&sandbox, &failing).await;
    assert_eq!(
        (failed.why.reason, failed.whole_store),
        (unread::UNAVAILABLE, false)
    );
    assert_eq!(
        read(&sandbox, &failing, secret("db")).await,
        "bytes generated by the sandbox: db",
        "the fault occurs only once"
    );
    assert_eq!(
        unread(&sandbox, &settings("busy", "aws")).await.why.reason,
        unread::THROTTLED
    );
    for (name, provider, reason) in [
        ("unready", "aws", unread::LOGIN),
        ("nowhere", "aws", unread::STORE),
        ("denied", "webhook", unread::UNSUPPORTED),
    ] {
        let unread = sandbox_access::connect(&sandbox, &settings(name, provider))
            .err()
            .unwrap();
        assert_eq!((unread.why.reason, unread.whole_store), (reason, true));
        assert!(!format!("{unread:?}").contains(message));
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_calls_are_retried() {
    let sandbox = without_operator().await;
    let slow = json!({"sandbox.eso-sync/throttle": "1/s"});
    sandbox.apply(store("slow", "aws", slow)).unwrap();
    let provider = sandbox_access::connect(&sandbox, &settings("slow", "aws")).unwrap();
    let limiter = limiter();
    let answers = provider
        .read(&[secret("a"), secret("b"), secret("c")], &limiter)
        .await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Answered::One(..))),
        "throttled calls are retried"
    );
    assert!(limiter.calls() > 3, "retries count as calls");
}

/// A generated secret is the same for every reader.
#[tokio::test]
async fn generated_secrets_contain_the_requested_parts() {
    let sandbox = with(Settings::default()).await;
    for provider in ["aws", "vault"] {
        sandbox.apply(store(provider, provider, json!({}))).unwrap();
        let mut parts = with_spec(
            &format!("{provider}-parts"),
            json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": provider}}),
        );
        parts["spec"]["data"] = json!([
            {"secretKey": "user", "remoteRef": {"key": "db", "property": "user"}},
            {"secretKey": "password", "remoteRef": {"key": "db", "property": "pass.word"}},
        ]);
        sandbox.apply(parts).unwrap();
        let mut members = with_spec(
            &format!("{provider}-members"),
            json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": provider}}),
        );
        members["spec"]["data"] = json!([]);
        members["spec"]["dataFrom"] = json!([{"extract": {"key": "all"}}]);
        sandbox.apply(members).unwrap();
        let form = if provider == "aws" { "bytes" } else { "json" };
        let settings = settings(provider, provider);
        let generated = |key: &str| format!("generated by the sandbox: {key}");
        assert_eq!(
            read(&sandbox, &settings, secret("db")).await,
            format!(
                "{form} {}",
                json!({"pass.word": generated("db"), "user": generated("db")})
            )
        );
        assert_eq!(
            read(&sandbox, &settings, secret("all")).await,
            format!("{form} {}", json!({"generated": generated("all")}))
        );
        for (name, expected) in [
            (
                "parts",
                json!({"user": STANDARD.encode(generated("db")), "password": STANDARD.encode(generated("db"))}),
            ),
            (
                "members",
                json!({"generated": STANDARD.encode(generated("all"))}),
            ),
        ] {
            let secret = eventually("the Secret", async || {
                sandbox.get("secrets", "team-a", &format!("{provider}-{name}"))
            })
            .await;
            assert_eq!(secret["data"], expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn default_content_has_every_kind_of_drift() {
    let sandbox = sandbox::start(&Content::Default, now()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    let data = |namespace: &str, name: &str, key: &str| {
        let secret = sandbox.get("secrets", namespace, name)?;
        let bytes = STANDARD.decode(secret["data"][key].as_str()?).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    };
    assert_eq!(
        data("web", "session", "key").as_deref(),
        Some("fake-session-key"),
        "in sync"
    );
    assert_eq!(
        data("payments", "db", "password").as_deref(),
        Some("fake-db-password-of-yesterday"),
        "stale"
    );
    assert_eq!(
        data("data", "etl", "token").as_deref(),
        Some("edited-by-hand"),
        "tampered"
    );
    assert_eq!(
        (
            data("web", "cdn", "token").as_deref(),
            data("web", "cdn", "purge-token")
        ),
        (Some("fake-cdn-token"), None),
        "partial"
    );
    assert_eq!(sandbox.get("secrets", "data", "reports"), None, "missing");
    let aws = settings("aws-prod", "aws");
    assert_eq!(
        read(&sandbox, &aws, secret("prod/web/cdn")).await,
        r#"bytes {"purge-token":"fake-cdn-purge-token","token":"fake-cdn-token"}"#
    );
}

#[tokio::test]
async fn invalid_edit_annotations_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let object = with_annotations(
        external_secret("db"),
        json!({"sandbox.eso-sync/edited": "gone"}),
    );
    std::fs::write(folder.path().join("m.json"), object.to_string()).unwrap();
    let error = sandbox::start(&Content::Directory(folder.path().to_owned()), now())
        .await
        .err()
        .unwrap();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("invalid value of the annotation sandbox.eso-sync/edited"),
        "{cause}"
    );
}
