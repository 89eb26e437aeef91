//! Text from outside that tries to control a terminal, a CI system or a request.

use serde_json::json;

use crate::{
    scenarios::{POLICY, base, family},
    support::World,
};

/// A terminal sequence, two workflow commands on lines of their own, an 8-bit control character, and a direction mark.
const ATTACK: &str = "x\u{1b}[2J\n::add-mask::a\r\n  ::stop-commands::b\u{9b}1m##[error]c\u{202e}d";

/// Fails if a terminal or a CI system would execute a part of this output.
fn assert_harmless(what: &str, output: &str) {
    for line in output.split('\n') {
        let control = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!line.contains(control), "{what} prints {line:?}");
        let command = line.trim_start().starts_with("::") || line.contains("##[");
        assert!(!command, "{what} prints {line:?}");
    }
}

#[tokio::test]
async fn hostile_text_of_an_object_is_escaped_in_every_table() {
    let world = World::sandbox().await;
    base(&world).await;
    let hostile = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "hostile", "namespace": world.namespace},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"name": format!("{}-store", world.namespace), "kind": "SecretStore"},
            "data": [{"secretKey": "password", "remoteRef": {"key": ATTACK}}],
        },
    });
    world.apply(hostile).await;
    world.ready("hostile", "SecretSyncedError").await;
    let policy = world.named("select:\n  - namespaces: [NS]\n");
    let path = world.bin.file("policy.yaml", &policy);
    let config = ["--config", path.to_str().expect("UTF-8")];
    let mut shown = 0;
    for command in [
        &["plan"][..],
        &["drift"],
        &["status"],
        &["run"],
        &["run", "-v"],
    ] {
        let outcome = world.bin.run(&[command, &config].concat()).await;
        assert_harmless(command[0], &outcome.stdout);
        assert_harmless(command[0], &outcome.stderr);
        shown += usize::from(outcome.stdout.contains("\\u{1b}[2J"));
    }
    let namespace = ["-n", &world.namespace];
    for command in [&["diagnose", "hostile"][..], &["sync", "hostile"]] {
        let outcome = world.bin.run(&[command, &namespace].concat()).await;
        assert_harmless(command[0], &outcome.stdout);
        assert_harmless(command[0], &outcome.stderr);
        shown += usize::from(outcome.stdout.contains("\\u{1b}[2J"));
    }
    assert!(shown > 0, "no output shows the hostile text");
    world.end().await;
}

#[tokio::test]
async fn hostile_arguments_files_and_variables_are_escaped_in_errors() {
    let world = World::sandbox().await;
    let policy = world.bin.file(
        "policy.yaml",
        &format!("select: []\n{}: 1\n", json!(ATTACK)),
    );
    let policy = policy.to_str().expect("UTF-8");
    for arguments in [
        &["validate", "--config", policy][..],
        &["diagnose", ATTACK],
        &["sync", ATTACK, "--yes"],
        &["status", "-l", ATTACK],
        &["plan", "--config", ATTACK],
    ] {
        let outcome = world.bin.run(arguments).await;
        assert_ne!(outcome.code, 0, "{arguments:?}");
        assert_harmless(arguments[0], &outcome.stderr);
        assert_harmless(arguments[0], &outcome.stdout);
    }
    world.end().await;
}

/// The names of templates and targets come from specs, which tenants write.
#[tokio::test]
async fn name_that_is_not_a_name_is_not_requested() {
    let world = World::sandbox().await;
    base(&world).await;
    let from = json!({"secret": {"name": "../../kube-system/secrets/x", "items": [{"key": "a"}]}});
    let change = json!({"spec": {"target": {"template": {"templateFrom": [from]}}}});
    world.patch("ExternalSecret", "db", &change).await;
    let policy = world.named("select:\n  - namespaces: [NS]\n");
    let outcome = world.bin.policy(&policy, &[]).await;
    let document = outcome.document();
    let items = document["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["name"] == "db");
    let item = item.expect("an item");
    assert_eq!(item["verdict"], "unverifiable", "{item}");
    let requests = world.embedded().requests();
    let outside = requests
        .iter()
        .find(|request| format!("{request:?}").contains("kube-system"));
    assert!(outside.is_none(), "{outside:?}");
    world.end().await;
}

#[tokio::test]
async fn parent_is_believed_only_if_its_uid_matches() {
    let world = World::sandbox().await;
    base(&world).await;
    family(&world).await;
    let db = world.get("ExternalSecret", "db").await.expect("db");
    let impostor = json!({"metadata": {"uid": db["metadata"]["uid"], "ownerReferences": [{
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret",
        "name": format!("{}-family", world.namespace), "uid": "another", "controller": true,
    }]}});
    world.patch("ExternalSecret", "db", &impostor).await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(0);
    assert_eq!(outcome.of("db"), "synced");
    let db = world.get("ExternalSecret", "db").await.expect("db");
    let annotation = &db["metadata"]["annotations"]["force-sync"];
    assert!(annotation.is_string(), "{db}");
    world.end().await;
}
