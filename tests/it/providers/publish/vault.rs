//! The KV engine of a real OpenBao, version 2 but for the tests that say so. Each test has a mount of its own.

use std::collections::BTreeMap;

use eso_model::StoreKey;
use futures::{FutureExt as _, future::BoxFuture};
use pace::Clock;
use providers::{Ambient, Identity, StoreSettings, Unread, connect_writer, holder::Writer};
use serde_json::{Value as Json, json};

use super::{Place, keeps, unique};
use crate::support::{now, optional_variable};

pub(crate) fn address() -> String {
    optional_variable("ESO_SYNC_TEST_VAULT").expect("OpenBao (tests/cluster/run)")
}

pub(crate) fn token() -> String {
    optional_variable("ESO_SYNC_TEST_VAULT_TOKEN").expect("OpenBao (tests/cluster/run)")
}

pub(crate) async fn send(method: &str, path: &str, body: Json) -> Json {
    let sent = tokio::process::Command::new("curl")
        .args([
            "-sS",
            "-X",
            method,
            "-H",
            &format!("X-Vault-Token: {}", token()),
        ])
        .args(["-d", &body.to_string(), &format!("{}/v1/{path}", address())])
        .output()
        .await
        .expect("curl");
    assert!(sent.status.success(), "{method} {path}");
    serde_json::from_slice(&sent.stdout).unwrap_or_default()
}

/// A mount of version 2 that a test has for itself.
pub(crate) async fn mount(test: &str) -> String {
    let mount = unique(test);
    let kv = json!({"type": "kv", "options": {"version": "2"}});
    send("POST", &format!("sys/mounts/{mount}"), kv).await;
    // A new mount is upgraded in the background.
    while send("GET", &format!("{mount}/config"), json!({})).await["data"].is_null() {
        tokio::task::yield_now().await;
    }
    mount
}

async fn place(test: &str) -> Place {
    let settings = json!({"server": address(), "path": mount(test).await});
    let key = StoreKey::Cluster {
        name: "vault".to_owned(),
    };
    Place {
        settings: StoreSettings::new(key, "vault", settings),
        url: address(),
        unique: "team/".to_owned(),
        connect,
        by_hand,
        // One call for the subtree, and one for the mount.
        calls: 2.0 / 200.0,
        document: true,
    }
}

fn connect<'a>(
    settings: &'a StoreSettings,
    url: &'a str,
    owner: &'a str,
) -> BoxFuture<'a, Result<Box<dyn Writer>, Unread>> {
    async move {
        let mut settings = settings.clone();
        settings.settings["server"] = json!(url);
        let ambient = Ambient {
            environment: BTreeMap::from([("VAULT_TOKEN".to_owned(), token())]),
            endpoints: vec![url.to_owned()],
            ..Ambient::default()
        };
        let clock = Clock::starting_at(now());
        connect_writer(&settings, Identity::Ambient(&ambient), owner, clock).await
    }
    .boxed()
}

fn by_hand<'a>(place: &'a Place, name: &'a str, value: &'a str) -> BoxFuture<'a, ()> {
    async move {
        let mount = place.settings.at("/path").as_str().expect("a mount");
        let path = format!("{mount}/data/{}", place.name(name));
        let written = send("POST", &path, json!({"data": {"value": value}})).await;
        assert!(written["data"]["version"].is_number(), "{written}");
    }
    .boxed()
}

keeps!(place, "needs OpenBao (tests/cluster/run)":
    every_call_may_fail,
    foreign_change_is_kept_or_overwritten,
    lost_mark_key_makes_no_version,
    orphan_is_deleted_and_can_be_restored,
    own_secret_that_was_deleted_is_restored,
    own_secret_that_was_deleted_is_restored_with_a_new_value,
    repeated_run_makes_no_version,
    second_run_writes_nothing_and_reads_no_value,
    secret_of_another_publisher_is_left_alone,
    secret_that_appears_after_the_plan_is_not_overwritten,
    secret_without_owner_is_adopted_without_a_version,
    two_publishers_do_not_overwrite_each_other,
    value_is_created_and_read_back,
    value_that_returns_is_current_again,
);

#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn keys_of_others_in_a_document_stay() {
    let place = place("others").await;
    let mount = place.settings.at("/path").as_str().expect("a mount");
    let path = format!("{mount}/data/{}", place.name("db"));
    send("POST", &path, json!({"data": {"other": "x", "number": 7}})).await;
    let mut publisher = place.publisher().await;
    publisher.rules.adopt = publish::plan::Adopt::Any;
    publisher
        .run(&[("db", "a \"quoted\" \u{e9}\n value")])
        .await;
    let held = send("GET", &path, json!({})).await;
    assert_eq!(
        held["data"]["data"],
        json!({"other": "x", "number": 7, "value": "a \"quoted\" \u{e9}\n value"})
    );
}

/// A write elsewhere could create credentials.
#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn only_a_kv_engine_is_written() {
    let place = place("transit").await;
    let mount = unique("transit");
    send(
        "POST",
        &format!("sys/mounts/{mount}"),
        json!({"type": "transit"}),
    )
    .await;
    let mut settings = place.settings.settings.clone();
    settings["path"] = json!(mount);
    let other = Place {
        settings: StoreSettings::new(place.settings.key.clone(), "vault", settings),
        ..place
    };
    let run = other.publisher().await.run(&[("db", "a")]).await;
    assert_eq!(run.lines.len(), 1);
    assert!(
        run.lines[0].contains("is an engine of type transit"),
        "{:?}",
        run.lines
    );
}

/// Vault has no scan, and a token may lack the capability.
#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn server_without_scan_is_listed() {
    let place = place("list").await;
    place
        .publisher()
        .await
        .run(&[("a", "1"), ("folder/b", "2")])
        .await;
    let script = |asked: &crate::providers::proxy::Asked| {
        if asked.operation.starts_with("SCAN") {
            crate::providers::proxy::page(405, None)
        } else {
            crate::providers::proxy::Fault::None
        }
    };
    let proxy = crate::providers::proxy::Proxy::before(&place.url, Box::new(script)).await;
    let run = place
        .through(&proxy.url)
        .await
        .run(&[("a", "1"), ("folder/b", "2")])
        .await;
    assert_eq!(
        run.lines,
        [
            "a: in-sync leave in-sync",
            "folder/b: in-sync leave in-sync"
        ]
    );
}

/// The same place with a mount of version 1.
async fn place_of_version_1(test: &str) -> (Place, String) {
    let place = place(test).await;
    let mount = unique(test);
    let kv = json!({"type": "kv", "options": {"version": "1"}});
    send("POST", &format!("sys/mounts/{mount}"), kv).await;
    let settings = json!({"server": address(), "path": mount, "version": "v1"});
    let place = Place {
        settings: StoreSettings::new(place.settings.key.clone(), "vault", settings),
        ..place
    };
    (place, mount)
}

#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn version_1_is_written_without_records() {
    let (place, mount) = place_of_version_1("one").await;
    let mut publisher = place.publisher().await;
    let values = [("db", "a"), ("folder/api", "b")];
    let first = publisher.run(&values).await;
    assert_eq!(
        first.lines,
        [
            "db: absent create absent",
            "folder/api: absent create absent"
        ]
    );
    assert!(publisher.holds("db", "a").await);
    let second = publisher.run(&values).await;
    assert_eq!(
        second.lines,
        [
            "db: in-sync leave in-sync",
            "folder/api: in-sync leave in-sync"
        ]
    );
    // Nobody can tell who wrote it, so it is left alone unless the policy says otherwise.
    let third = publisher.run(&[("db", "c")]).await;
    assert_eq!(third.lines, ["db: foreign-change leave not-owned"]);
    publisher.rules.adopt = publish::plan::Adopt::Any;
    let path = format!("{mount}/{}", place.name("db"));
    send("POST", &path, json!({"value": "a", "other": "x"})).await;
    let fourth = publisher.run(&[("db", "c")]).await;
    assert_eq!(fourth.lines, ["db: changed update changed"]);
    // The keys of others stay.
    let held = send("GET", &path, json!({})).await;
    assert_eq!(held["data"], json!({"value": "c", "other": "x"}));
}

/// In a mount of another version the secrets have other names, and all of them would seem to be absent.
#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn mount_of_another_version_is_not_written() {
    let (one, _) = place_of_version_1("mixed").await;
    for (version, says) in [("v1", "is version 2"), ("v2", "is version 1")] {
        let two = place("mixed").await;
        let mut settings = if version == "v1" {
            two.settings.settings.clone()
        } else {
            one.settings.settings.clone()
        };
        settings["version"] = json!(version);
        let wrong = Place {
            settings: StoreSettings::new(one.settings.key.clone(), "vault", settings),
            ..two
        };
        let run = wrong.publisher().await.run(&[("db", "a")]).await;
        assert!(
            run.lines.iter().all(|line| line.contains(says)),
            "{:?}",
            run.lines
        );
        assert_eq!(run.lines.len(), 1);
    }
}

/// A token that may only read and write the secrets themselves.
#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn version_1_is_written_without_the_right_to_list() {
    let (place, _) = place_of_version_1("unlisted").await;
    let script = |asked: &crate::providers::proxy::Asked| {
        if asked.uri.query().is_some_and(|it| it.contains("list=true")) {
            crate::providers::proxy::page(403, None)
        } else {
            crate::providers::proxy::Fault::None
        }
    };
    let proxy = crate::providers::proxy::Proxy::before(&place.url, Box::new(script)).await;
    let publisher = place.through(&proxy.url).await;
    let first = publisher.run(&[("db", "a")]).await;
    assert_eq!(first.lines, ["db: absent create absent"]);
    let second = publisher.run(&[("db", "a")]).await;
    assert_eq!(second.lines, ["db: in-sync leave in-sync"]);
}
