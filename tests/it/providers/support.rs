//! A cluster with tenants, and helpers for reading its stores.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::{Access, Cluster, connect::connect_plain};
use eso_model::{
    expected::{Raw, Read, StoreRef, What},
    rotation::{Rotation, Schedule},
};
use pace::rate::Rate;
use providers::{Answered, Backoff, RateLimiter, Resolver, StoreSettings, Unread};
use sandbox::{Sandbox, Settings};
use secret::Value;
use serde_json::{Value as Json, json};

use crate::support::now;

/// A sandbox with the namespaces `team-a`, `team-b` and `remote`, without an operator.
pub(super) async fn sandbox() -> Sandbox {
    let settings = Settings {
        operator: false,
        ..Settings::default()
    };
    let sandbox = Sandbox::empty(settings, now()).await.unwrap();
    for name in ["team-a", "team-b", "remote"] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        sandbox.apply(namespace).unwrap();
    }
    sandbox
}

/// A read-only connection.
pub(super) fn read_only_cluster(url: &str) -> Cluster {
    let rate = Rate::per_second(10_000.0).unwrap();
    connect_plain(url, Access::ReadOnly, rate).unwrap()
}

/// A connection to a cluster that does not exist. No request is sent to it.
pub(super) fn nowhere() -> Cluster {
    read_only_cluster("http://127.0.0.1:1")
}

/// Creates or replaces a Secret.
pub(super) fn put(sandbox: &Sandbox, namespace: &str, name: &str, data: &[(&str, &str)]) {
    let data: BTreeMap<&str, String> = data
        .iter()
        .map(|(key, value)| (*key, STANDARD.encode(value)))
        .collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "data": data, "type": "Opaque",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
    });
    sandbox.apply(secret).unwrap();
}

/// Creates or replaces a ServiceAccount.
pub(super) fn put_account(sandbox: &Sandbox, namespace: &str, name: &str) {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"namespace": namespace, "name": name, "annotations": {"role": "reader"}},
    });
    sandbox.apply(account).unwrap();
}

/// The requests that a sandbox received: `GET /api/…`.
pub(super) fn asked(sandbox: &Sandbox) -> Vec<String> {
    let requests = sandbox.requests();
    requests
        .iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

/// Resolves a store's references for an ExternalSecret in this namespace.
pub(super) fn resolver(sandbox: &Sandbox, store: &str, namespace: &str) -> Resolver {
    Resolver::new(
        read_only_cluster(&sandbox.url()),
        store.parse().unwrap(),
        namespace,
    )
}

pub(super) fn kubernetes(store: &str, settings: Json) -> StoreSettings {
    StoreSettings::new(store.parse().unwrap(), "kubernetes", settings)
}

/// A rate limiter that never waits. It only counts calls.
pub(super) fn limiter() -> RateLimiter {
    RateLimiter::new(Rate::per_second(100_000.0).unwrap()).with_backoff(Backoff {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(20),
    })
}

/// A request for the newest version of a secret.
pub(super) fn secret(key: &str) -> What {
    version(key, "")
}

/// A request for a version of a secret.
pub(super) fn version(key: &str, version: &str) -> What {
    What::Secret {
        key: key.to_owned(),
        version: version.to_owned(),
        metadata: false,
    }
}

/// A request for the tags or labels of a secret.
pub(super) fn metadata(key: &str) -> What {
    What::Secret {
        key: key.to_owned(),
        version: String::new(),
        metadata: true,
    }
}

pub(super) fn find(path: Option<&str>, name: Option<&str>, tags: &[(&str, &str)]) -> What {
    let tags: BTreeMap<String, String> = tags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    What::Find {
        path: path.map(str::to_owned),
        name: name.map(str::to_owned),
        tags: Some(tags).filter(|tags| !tags.is_empty()),
    }
}

/// A read of one secret of a store.
pub(super) fn read(kind: &str, store: &str, key: &str) -> Read {
    Read {
        store: StoreRef {
            kind: kind.to_owned(),
            name: store.to_owned(),
        },
        what: secret(key),
    }
}

/// What is known about a rotation as one line.
pub(super) fn rotation(of: Result<Rotation, Unread>) -> String {
    match of {
        Ok(Rotation::Scheduled(Schedule { next, period })) => {
            let next = next.map_or_else(|| "-".to_owned(), |next| next.to_string());
            format!(
                "every {} s, next {next}",
                period.map_or(0, |it| it.as_secs())
            )
        }
        Ok(Rotation::Unscheduled) => "unscheduled".to_owned(),
        Ok(Rotation::NotKept) => "not kept".to_owned(),
        Err(unread) => {
            let lacking = unread.permission.map(|it| format!(" [{it}]"));
            format!("{}{}", unread.why, lacking.unwrap_or_default())
        }
    }
}

/// An answer as one line.
pub(super) fn shown(answered: &Answered) -> String {
    match answered {
        Answered::One(raw, _) => shown_raw(raw),
        Answered::Many(found) => {
            let each: Vec<String> = found
                .iter()
                .map(|(name, raw)| format!("{name}({})", shown_raw(raw)))
                .collect();
            each.concat()
        }
        Answered::NotFound => "not found".to_owned(),
        Answered::Fails(failure) => failure.into_str().to_owned(),
        Answered::Unread(unread) => unread.why.reason.to_owned(),
    }
}

pub(super) fn shown_raw(raw: &Raw) -> String {
    match raw {
        Raw::Bytes(value) => text(value),
        Raw::Keys(keys) => pairs(keys),
        Raw::Metadata {
            labels,
            annotations,
        } => format!("{};{}", pairs(labels), pairs(annotations)),
        Raw::Json(_) | Raw::Tags(_) => panic!("these providers return no such answer"),
    }
}

fn pairs(values: &BTreeMap<String, Value>) -> String {
    let each: Vec<String> = values
        .iter()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    each.join(",")
}

pub(super) fn text(value: &Value) -> String {
    String::from_utf8(value.expose().to_vec()).unwrap()
}
