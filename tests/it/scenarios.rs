//! Whole runs with the same results in the sandbox and on a real cluster with the real operator. A difference is a bug in the
//! sandbox.

use serde_json::json;

use crate::support::{World, eventually, now, scenarios};

scenarios! {
    rotation_is_synced_and_proven
    one_failure_does_not_stop_other_syncs
    repeated_failure_is_detected_by_its_event
    external_secrets_that_ignore_force_sync_are_skipped
    processed_without_written_secret_is_unproven
    children_are_synced_through_their_parent
    unselected_child_skips_its_siblings
    unusable_store_skips_its_external_secrets
    ignore_and_exclude_skip
    read_only_commands_write_nothing
    exceeded_limit_refuses_before_any_write
    each_selection_field_selects
    sync_command_syncs_one_external_secret
    lock_prevents_concurrent_runs
    expired_lock_is_taken_over
}

/// Selects everything in the namespace of the test.
pub(crate) const POLICY: &str = "select:\n  - namespaces: [NS]\ndrift: {enabled: false}\n";

/// A store with two keys, and two ExternalSecrets that read them.
pub(crate) const BASE: &str = r#"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: db, value: before}, {key: api, value: '{"user":"u","token":"before"}'}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: db, namespace: NS, labels: {team: a}}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  data: [{secretKey: password, remoteRef: {key: db}}]
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: api, namespace: NS, labels: {team: b}}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  dataFrom: [{extract: {key: api}}]
"#;

/// `kind: ExternalSecret` with this name and these lines of its spec, reading `db`.
fn external_secret(name: &str, spec: &str) -> String {
    format!(
        "\n---\napiVersion: external-secrets.io/VERSION\nkind: ExternalSecret\nmetadata: {{name: {name}, namespace: NS}}\nspec:\n  \
         secretStoreRef: {{name: NS-store, kind: SecretStore}}\n  \
         data: [{{secretKey: password, remoteRef: {{key: db}}}}]\n  {}\n",
        spec.replace('\n', "\n  ")
    )
}

pub(crate) async fn base(world: &World) {
    world.apply_yaml(BASE).await;
    world.ready("db", "SecretSynced").await;
    world.ready("api", "SecretSynced").await;
}

/// Changes the values in the provider.
pub(crate) async fn rotate(world: &World) {
    rotate_to(world, "after").await;
}

/// Changes the values in the provider to this value.
pub(crate) async fn rotate_to(world: &World, value: &str) {
    let api = json!({"user": "u", "token": value}).to_string();
    let data = json!([{"key": "db", "value": value}, {"key": "api", "value": api}]);
    let store = format!("{}-store", world.namespace);
    let change = json!({"spec": {"provider": {"fake": {"data": data}}}});
    world.patch("SecretStore", &store, &change).await;
    world.store_is(&store, "True").await;
}

/// `after`, in base64.
pub(crate) const AFTER: &str = "YWZ0ZXI=";

async fn rotation_is_synced_and_proven(world: World) {
    base(&world).await;
    rotate(&world).await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(0);
    assert_eq!([outcome.of("db"), outcome.of("api")], ["synced", "synced"]);
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    assert_eq!(world.secret("api", "token").await.as_deref(), Some(AFTER));
    let document = outcome.document();
    assert_eq!(document["summary"]["outcomes"], json!({"synced": 2}));
    assert_eq!(document["run"]["complete"], json!(true));
    let lease = world
        .get("Lease", "eso-sync")
        .await
        .expect("the lock's Lease");
    assert_eq!(
        lease["spec"]["holderIdentity"],
        json!(""),
        "the lock is released"
    );
    world.end().await;
}

async fn one_failure_does_not_stop_other_syncs(world: World) {
    base(&world).await;
    world
        .apply_yaml(&external_secret(
            "gone",
            "dataFrom: [{extract: {key: no-such-key}}]",
        ))
        .await;
    world.ready("gone", "SecretSyncedError").await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(3);
    assert_eq!(
        [outcome.of("db"), outcome.of("gone")],
        ["synced", "failed(not-found)"]
    );
    let document = outcome.document();
    let item = document["items"]
        .as_array()
        .expect("items")
        .iter()
        .find(|item| item["name"] == "gone")
        .expect("it");
    let message = item["message"].as_str().expect("ESO's text");
    assert!(message.contains("Secret does not exist"), "{message}");
    assert!(item["nextStep"].is_string());
    eventually("there is one Event, about the failure", async || {
        let events = world.list("Event").await;
        let ours: Vec<_> = events
            .iter()
            .filter(|event| event["source"]["component"] == "eso-sync")
            .collect();
        (ours.len() == 1
            && ours[0]["involvedObject"]["name"] == "gone"
            && ours[0]["reason"] == "ForceSyncFailed")
            .then_some(())
    })
    .await;
    world.end().await;
}

/// A repeated failure does not change the status, only the count of the Event.
async fn repeated_failure_is_detected_by_its_event(world: World) {
    base(&world).await;
    world
        .apply_yaml(&external_secret(
            "gone",
            "dataFrom: [{extract: {key: no-such-key}}]",
        ))
        .await;
    world.ready("gone", "SecretSyncedError").await;
    for _ in 0..2 {
        let outcome = world
            .bin
            .policy(&world.named(POLICY), &["--timeout", "50s"])
            .await;
        outcome.exits(3);
        assert_eq!(outcome.of("gone"), "failed(not-found)", "not a timeout");
    }
    world.end().await;
}

async fn external_secrets_that_ignore_force_sync_are_skipped(world: World) {
    let once = external_secret("once", "refreshPolicy: CreatedOnce");
    let zero = external_secret("zero", "refreshInterval: '0'");
    let change = external_secret("change", "refreshPolicy: OnChange\nrefreshInterval: '0'");
    world
        .apply_yaml(&format!("{BASE}{once}{zero}{change}"))
        .await;
    for name in ["once", "zero", "change", "db"] {
        world.ready(name, "SecretSynced").await;
    }
    rotate(&world).await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(0);
    assert_eq!(outcome.of("once"), "skipped(refresh-created-once)");
    assert_eq!(outcome.of("zero"), "skipped(refresh-interval-zero)");
    assert_eq!(outcome.of("change"), "synced");
    assert_ne!(
        world.secret("once", "password").await.as_deref(),
        Some(AFTER)
    );
    assert_eq!(
        world.secret("change", "password").await.as_deref(),
        Some(AFTER)
    );
    world.end().await;
}

async fn processed_without_written_secret_is_unproven(world: World) {
    let none = external_secret("none", "target: {creationPolicy: None}");
    let merge = external_secret(
        "merge",
        "target: {creationPolicy: Merge, name: NS-not-there}",
    );
    let immutable = external_secret("immutable", "target: {immutable: true}");
    world
        .apply_yaml(&format!("{BASE}{none}{merge}{immutable}"))
        .await;
    world.ready("none", "SecretSynced").await;
    world.ready("merge", "SecretMissing").await;
    world.ready("immutable", "SecretSynced").await;
    rotate(&world).await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.of("none"), "unproven(not-written)");
    assert_eq!(outcome.of("merge"), "unproven(secret-missing)");
    assert_eq!(outcome.of("immutable"), "unproven(immutable)");
    assert_ne!(
        world.secret("immutable", "password").await.as_deref(),
        Some(AFTER)
    );
    world.end().await;
}

/// Two more namespaces, a ClusterSecretStore, and a ClusterExternalSecret with a child in each.
const FAMILY: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: NS-one, labels: {family: NS}}
---
apiVersion: v1
kind: Namespace
metadata: {name: NS-two, labels: {family: NS}}
---
apiVersion: external-secrets.io/VERSION
kind: ClusterSecretStore
metadata: {name: NS-cluster}
spec: {provider: {fake: {data: [{key: db, value: before}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ClusterExternalSecret
metadata: {name: NS-family}
spec:
  externalSecretName: child
  namespaceSelectors: [{matchLabels: {family: NS}}]
  refreshTime: 1h
  externalSecretSpec:
    refreshInterval: 1h
    secretStoreRef: {name: NS-cluster, kind: ClusterSecretStore}
    data: [{secretKey: password, remoteRef: {key: db}}]
";

pub(crate) async fn family(world: &World) -> [String; 2] {
    world.apply_yaml(FAMILY).await;
    let namespaces = ["one", "two"].map(|name| format!("{}-{name}", world.namespace));
    for namespace in &namespaces {
        world.ready_in(namespace, "child", "SecretSynced").await;
    }
    eventually("the parent lists its children", async || {
        let parent = world
            .get(
                "ClusterExternalSecret",
                &format!("{}-family", world.namespace),
            )
            .await?;
        (parent["status"]["provisionedNamespaces"].as_array()?.len() == 2).then_some(())
    })
    .await;
    namespaces
}

async fn children_are_synced_through_their_parent(world: World) {
    let namespaces = family(&world).await;
    let outcome = world
        .bin
        .policy(
            &world.named("select:\n  - namespaces: [NS-one, NS-two]\ndrift: {enabled: false}\n"),
            &[],
        )
        .await;
    outcome.exits(0);
    assert_eq!(
        outcome.document()["summary"]["outcomes"],
        json!({"synced": 2})
    );
    let mut values = Vec::new();
    for namespace in &namespaces {
        let child = world
            .get_in(namespace, "ExternalSecret", "child")
            .await
            .expect("a child");
        let annotations = &child["metadata"]["annotations"];
        assert!(
            annotations["force-sync"].is_null(),
            "the child itself must not be annotated: {annotations}"
        );
        values.push(annotations["external-secrets.io/force-sync"].clone());
    }
    assert!(
        values[0].is_string() && values[0] == values[1],
        "one write for both: {values:?}"
    );
    end_family(world).await;
}

async fn unselected_child_skips_its_siblings(world: World) {
    family(&world).await;
    let outcome = world
        .bin
        .policy(
            &world.named("select:\n  - namespaces: [NS-one]\ndrift: {enabled: false}\n"),
            &[],
        )
        .await;
    outcome.exits(0);
    assert_eq!(
        outcome.of("child"),
        "skipped(child-of-cluster-external-secret)"
    );
    assert!(
        outcome.document()["items"][0]["message"]
            .as_str()
            .expect("why")
            .contains("-two")
    );
    end_family(world).await;
}

pub(crate) async fn end_family(world: World) {
    if world.sandbox.is_none() {
        let parent = format!("{}-family", world.namespace);
        world.delete("ClusterExternalSecret", &parent).await;
        world
            .delete(
                "ClusterSecretStore",
                &format!("{}-cluster", world.namespace),
            )
            .await;
        for name in ["one", "two"] {
            world
                .delete("Namespace", &format!("{}-{name}", world.namespace))
                .await;
        }
    }
    world.end().await;
}

async fn unusable_store_skips_its_external_secrets(world: World) {
    base(&world).await;
    // A store without credentials never becomes ready.
    world
        .apply_yaml(
            r#"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-broken, namespace: NS}
spec: {provider: {vault: {server: "http://127.0.0.1:1", path: secret, auth: {tokenSecretRef: {name: not-there, key: token}}}}}
---
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-foreign, namespace: NS}
spec: {controller: another-class, provider: {fake: {data: [{key: db, value: x}]}}}
"#,
        )
        .await;
    world
        .store_is(&format!("{}-broken", world.namespace), "False")
        .await;
    for (name, store) in [
        ("of-broken", "NS-broken"),
        ("of-foreign", "NS-foreign"),
        ("of-missing", "NS-missing"),
    ] {
        let spec = external_secret(name, "refreshInterval: 1h").replace("NS-store", store);
        world.apply_yaml(&spec).await;
    }
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.of("of-broken"), "skipped(store-not-ready)");
    assert_eq!(outcome.of("of-foreign"), "skipped(foreign-class)");
    assert_eq!(outcome.of("of-missing"), "skipped(store-missing)");
    assert_eq!(outcome.of("db"), "synced");
    world.end().await;
}

async fn ignore_and_exclude_skip(world: World) {
    base(&world).await;
    world
        .patch(
            "ExternalSecret",
            "db",
            &json!({"metadata": {"annotations": {"eso-sync/ignore": "true"}}}),
        )
        .await;
    let policy = format!("{POLICY}exclude:\n  - names: [api]\n");
    let outcome = world.bin.policy(&world.named(&policy), &[]).await;
    outcome.exits(0);
    assert_eq!(
        [outcome.of("db"), outcome.of("api")],
        ["skipped(ignored)", "skipped(excluded)"]
    );
    let db = world.get("ExternalSecret", "db").await.expect("db");
    assert!(db["metadata"]["annotations"]["force-sync"].is_null());
    world.end().await;
}

async fn read_only_commands_write_nothing(world: World) {
    base(&world).await;
    let mut before = Vec::new();
    for name in ["db", "api"] {
        before.push(
            world.get("ExternalSecret", name).await.expect("it")["metadata"]["resourceVersion"]
                .clone(),
        );
    }
    let dry = world.bin.policy(&world.named(POLICY), &["--dry-run"]).await;
    let path = world.bin.path().join("policy.yaml");
    let plan = world
        .bin
        .run(&[
            "plan",
            "-o",
            "json",
            "--config",
            path.to_str().expect("UTF-8"),
        ])
        .await;
    let status = world
        .bin
        .run(&["status", "-o", "name", "-n", &world.namespace])
        .await;
    assert_eq!(
        [dry.exits(0).of("db"), plan.exits(0).of("db")],
        ["sync(selected)", "sync(selected)"]
    );
    let [mut of_dry, mut of_plan] = [dry.document(), plan.document()];
    for document in [&mut of_dry, &mut of_plan] {
        assert_eq!(document["kind"], "Plan");
        document["run"] = json!(null);
        for item in document["items"].as_array_mut().expect("items") {
            item["ageSeconds"] = json!(null);
        }
    }
    assert_eq!(of_dry, of_plan, "the dry run must print the plan");
    let names = "externalsecret.external-secrets.io/api\nexternalsecret.external-secrets.io/db\n";
    assert_eq!(status.exits(0).stdout, names);
    let mut after = Vec::new();
    for name in ["db", "api"] {
        after.push(
            world.get("ExternalSecret", name).await.expect("it")["metadata"]["resourceVersion"]
                .clone(),
        );
    }
    assert_eq!(before, after);
    assert_eq!(world.get("Lease", "eso-sync").await, None);
    world.end().await;
}

async fn exceeded_limit_refuses_before_any_write(world: World) {
    base(&world).await;
    let policy = format!("{POLICY}safety: {{maxSyncs: 1}}\n");
    let outcome = world.bin.policy(&world.named(&policy), &[]).await;
    outcome.exits(5);
    let document = outcome.document();
    assert_eq!(document["kind"], "Plan");
    assert_eq!(
        document["summary"]["refused"],
        "2 ExternalSecrets would be synced, but safety.maxSyncs allows 1"
    );
    for name in ["db", "api"] {
        let object = world.get("ExternalSecret", name).await.expect("it");
        assert!(
            object["metadata"]["annotations"]["force-sync"].is_null(),
            "{name}"
        );
    }
    world.end().await;
}

async fn each_selection_field_selects(world: World) {
    base(&world).await;
    for (selection, selected) in [
        ("{namespaces: [NS], labelSelector: team=a}", &["db"][..]),
        (
            "{namespaces: [NS], labelSelector: 'team in (a, b)'}",
            &["api", "db"],
        ),
        ("{namespaces: [NS], names: ['a*']}", &["api"]),
        ("{namespaceSelector: test=NS}", &["api", "db"]),
        (
            "{namespaces: ['NS*'], stores: [{kind: SecretStore, name: NS-store}]}",
            &["api", "db"],
        ),
        (
            "{namespaces: [NS], stores: [{kind: ClusterSecretStore, name: '*'}]}",
            &[],
        ),
        ("{namespaces: [NS], providers: [fake]}", &["api", "db"]),
        ("{namespaces: [NS], providers: [aws]}", &[]),
        ("{namespaces: [NS], states: [failed, never-synced]}", &[]),
        (
            "{namespaces: [NS], states: [overdue], overdueAfter: 1ns}",
            &["api", "db"],
        ),
    ] {
        let policy = world.bin.file(
            "select.yaml",
            &world.named(&format!(
                "select: [{selection}]\ndrift: {{enabled: false}}\n"
            )),
        );
        let outcome = world
            .bin
            .run(&[
                "plan",
                "-o",
                "json",
                "--config",
                policy.to_str().expect("UTF-8"),
            ])
            .await;
        let document = outcome.exits(0).document();
        let items = document["items"].as_array().expect("items");
        let names: Vec<&str> = items
            .iter()
            .map(|item| item["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(names, selected, "{selection}");
    }
    world.end().await;
}

async fn sync_command_syncs_one_external_secret(world: World) {
    base(&world).await;
    rotate(&world).await;
    let refused = world.bin.run(&["sync", "db", "-n", &world.namespace]).await;
    assert!(
        refused.exits(2).stderr.contains("--yes"),
        "{}",
        refused.stderr
    );
    let outcome = world
        .bin
        .run(&["sync", "db", "-n", &world.namespace, "--yes", "-o", "json"])
        .await;
    assert_eq!(outcome.exits(0).of("db"), "synced");
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    assert_ne!(
        world.secret("api", "token").await.as_deref(),
        Some(AFTER),
        "the other one must not be synced"
    );
    world.end().await;
}

async fn lock_prevents_concurrent_runs(world: World) {
    base(&world).await;
    let lease = |renewed: jiff::Timestamp, transitions: u32| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "eso-sync", "namespace": world.namespace},
            "spec": {
                "holderIdentity": "somebody-else", "leaseDurationSeconds": 15, "leaseTransitions": transitions,
                "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            },
        })
    };
    // Another run renews the lock during the whole test. Its clock is slow, so its Lease always looks expired.
    let start = now() - jiff::SignedDuration::from_secs(50);
    world.apply(lease(start, 1)).await;
    let alive = async {
        let mut beat = tokio::time::interval(std::time::Duration::from_secs(3));
        let begun = tokio::time::Instant::now();
        for transitions in 2.. {
            beat.tick().await;
            world
                .apply(lease(
                    start + jiff::SignedDuration::try_from(begun.elapsed()).expect("short"),
                    transitions,
                ))
                .await;
        }
    };
    let policy = world.named(POLICY);
    let outcome = tokio::select! {
        outcome = world.bin.policy(&policy, &[]) => outcome,
        () = alive => unreachable!("it never ends"),
    };
    outcome.exits(6);
    assert!(
        outcome.stderr.contains("somebody-else"),
        "{}",
        outcome.stderr
    );
    let db = world.get("ExternalSecret", "db").await.expect("db");
    assert!(db["metadata"]["annotations"]["force-sync"].is_null());
    world.end().await;
}

async fn expired_lock_is_taken_over(world: World) {
    base(&world).await;
    world
        .apply(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "eso-sync", "namespace": world.namespace},
            "spec": {
                "holderIdentity": "killed", "leaseDurationSeconds": 15, "leaseTransitions": 4,
                "renewTime": now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            },
        }))
        .await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(0);
    let lease = world.get("Lease", "eso-sync").await.expect("the Lease");
    assert_eq!(lease["spec"]["leaseTransitions"], json!(5));
    world.end().await;
}
