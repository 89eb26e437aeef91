//! The same whole runs on a real cluster with the real operator, and what only a real one can show.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "aws-parameter-store")]
mod faults;
mod gitops;
mod kubernetes_store;
mod old_operator;
mod oracle;
mod rollouts;

use serde_json::{Value, json};

use crate::{
    drift, interruptions,
    restart::{self, evictions, lone_pods},
    scenarios::{self, POLICY},
    support::{World, eventually, optional_variable},
};

/// Scenarios on the cluster that the environment names.
macro_rules! on_the_cluster {
    ($module:ident: $($name:ident)*) => {
        $(#[tokio::test]
        #[ignore = "needs a cluster (tests/cluster/run)"]
        async fn $name() {
            $module::real::$name().await;
        })*
    };
}

on_the_cluster! {
    interruptions:
    one_that_is_deleted_meanwhile_is_said_to_be
    an_annotation_that_is_taken_away_meanwhile_is_said_to_be
    one_that_is_edited_meanwhile_is_proven_as_it_then_is
    a_signal_ends_what_is_in_flight_and_starts_nothing_new
    a_second_signal_ends_the_run_at_once
    a_deadline_ends_the_run
    a_second_run_is_told_who_holds_the_lock
    a_second_run_can_wait_for_the_lock
    a_run_that_is_killed_harms_nothing_and_the_next_takes_over
    an_operator_that_is_gone_stops_the_run
}

on_the_cluster! {
    restart:
    a_rotation_restarts_what_uses_the_secret_and_nothing_else
    unchanged_data_writes_to_no_workload
    a_restart_that_another_run_owes_is_made_without_a_sync
    every_kind_is_restarted
    a_rollout_is_restarted_by_its_controller
    what_must_not_be_rolled_is_left_with_its_reason
    a_lost_key_restarts_nothing
    a_plan_names_what_restarts_if_its_data_changes_and_writes_nothing
    a_limit_refuses_restarts_before_anything_is_written
    what_a_partition_keeps_back_is_told_in_every_run
    one_is_synced_and_restarted_ad_hoc_and_every_link_is_told
    edited_data_restarts_nothing
    a_restart_waits_for_the_drift_check
}

on_the_cluster! {
    evictions:
    pods_are_evicted_one_by_one
    pods_of_a_workload_whose_name_begins_the_same_are_none_of_ours
    a_budget_that_allows_none_is_waited_for_and_reported
}

on_the_cluster! {
    lone_pods:
    pods_of_another_controller_are_evicted_one_after_the_other
    nothing_rolls_single_pods_and_that_is_said
}

on_the_cluster! {
    scenarios:
    a_rotation_is_taken_in_and_proven
    one_failure_is_one_line_of_the_report
    a_failure_that_repeats_itself_is_heard_of
    what_the_operator_ignores_is_skipped_with_its_reason
    processed_but_not_written_is_not_proven
    children_are_synced_through_their_parent
    a_child_that_is_left_out_keeps_its_siblings
    a_store_that_cannot_be_used_skips_what_reads_from_it
    wishes_are_respected
    looking_writes_nothing
    a_limit_refuses_before_anything_is_written
    selections_select
    one_is_synced_ad_hoc
    the_lock_keeps_runs_apart
    a_lock_that_nobody_renews_is_taken_over
}

on_the_cluster! {
    drift:
    each_kind_of_drift_is_told_as_what_it_is
    only_what_drifted_is_synced_and_a_second_run_writes_nothing
    what_cannot_be_told_is_as_clean_as_the_policy_says
    templates_are_rendered_from_where_they_stand
    those_that_write_one_secret_are_judged_together
}

/// Applies what `eso-sync rbac` prints for a policy, runs that policy with just those rights, and takes them away again.
async fn run_with_least_rights(world: &World, policy: &str) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "job", "namespace": world.namespace}});
    world.apply(account).await;
    let user = format!("system:serviceaccount:{}:job", world.namespace);
    let path = world.bin.file("least.yaml", policy);
    let path = path.to_str().expect("UTF-8");
    let before = world
        .bin
        .run(&["run", "--config", path, "--as", &user])
        .await;
    before.exits(4);
    assert!(before.stderr.contains("eso-sync rbac"), "{}", before.stderr);

    let printed = world
        .bin
        .run(&[
            "rbac",
            "--config",
            path,
            "-n",
            &world.namespace,
            "--service-account",
            "job",
        ])
        .await;
    let mut granted = Vec::new();
    for document in printed
        .exits(0)
        .stdout
        .split("---\n")
        .filter(|document| !document.trim().is_empty())
    {
        let mut object: Value = serde_saphyr::from_str(document).expect("YAML");
        // Cluster-wide names are the test's own, so that tests can run side by side.
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["name"] = json!(world.namespace);
            if object["roleRef"].is_object() {
                object["roleRef"]["name"] = json!(world.namespace);
            }
            granted.push(object["kind"].as_str().expect("a kind").to_owned());
        }
        world.apply(object).await;
    }
    let outcome = world
        .bin
        .run(&["run", "--config", path, "--as", &user, "-o", "json"])
        .await;
    outcome.exits(0);
    assert_eq!([outcome.of("db"), outcome.of("api")], ["synced", "synced"]);
    let document = outcome.document();
    assert_eq!(
        [&document["gaps"], &document["warnings"]],
        [&json!([]), &json!([])],
        "nothing was lacking"
    );
    for kind in granted {
        world.delete(&kind, &world.namespace).await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn the_rights_that_rbac_prints_suffice_for_the_whole_cluster() {
    let world = World::cluster().await;
    scenarios::base(&world).await;
    run_with_least_rights(
        &world,
        &world.named("select: [{namespaces: ['NS*'], namespaceSelector: test=NS}]\ndrift: {enabled: false}\n"),
    )
    .await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn the_rights_that_rbac_prints_suffice_for_named_namespaces() {
    let world = World::cluster().await;
    scenarios::base(&world).await;
    run_with_least_rights(&world, &world.named(POLICY)).await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn the_rights_that_rbac_prints_suffice_for_restarts() {
    let world = World::cluster().await;
    restart::shop(&world).await;
    run_with_least_rights(&world, &world.named(restart::POLICY)).await;
    assert!(restart::stamp(&world, "Deployment", "web").await.is_some());
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn the_rights_that_rbac_prints_suffice_for_evictions() {
    let world = World::cluster().await;
    restart::shop(&world).await;
    lone_pods::kept_up(&world).await;
    run_with_least_rights(&world, &world.named(lone_pods::POLICY)).await;
    world.end().await;
}

/// A namespace that may not be read is missing from the report, and said to be.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_namespace_that_is_denied_is_a_gap() {
    let world = World::cluster().await;
    scenarios::base(&world).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "job", "namespace": world.namespace}});
    world.apply(account).await;
    let own = world.bin.file("own.yaml", &world.named(POLICY));
    let printed = world
        .bin
        .run(&[
            "rbac",
            "--config",
            own.to_str().expect("UTF-8"),
            "-n",
            &world.namespace,
            "--service-account",
            "job",
        ])
        .await;
    for document in printed
        .exits(0)
        .stdout
        .split("---\n")
        .filter(|document| document.contains("kind: Role"))
    {
        world
            .apply(serde_saphyr::from_str(document).expect("YAML"))
            .await;
    }
    let user = format!("system:serviceaccount:{}:job", world.namespace);
    let outcome = world
        .bin
        .policy(
            &world.named("select: [{namespaces: [NS, default]}]\ndrift: {enabled: false}\n"),
            &["--as", &user],
        )
        .await;
    outcome.exits(3);
    assert_eq!(outcome.of("db"), "synced");
    let gaps = outcome.document()["gaps"].clone();
    let gap = gaps
        .as_array()
        .expect("gaps")
        .iter()
        .find(|gap| gap["what"] == "externalsecrets")
        .expect("a gap");
    assert_eq!(gap["namespace"], "default");
    world.end().await;
}

/// A store at moto, with static keys, and an ExternalSecret that reads from it.
const AWS: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: aws, namespace: NS}
stringData: {id: test, key: test}
---
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-aws, namespace: NS}
spec:
  provider:
    aws:
      service: SecretsManager
      region: eu-west-1
      auth: {secretRef: {accessKeyIDSecretRef: {name: aws, key: id}, secretAccessKeySecretRef: {name: aws, key: key}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: db, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-aws, kind: SecretStore}
  data: [{secretKey: password, remoteRef: {key: NS-db}}]
";

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_rotation_in_aws_is_taken_in_and_proven() {
    let Some(moto) = optional_variable("ESO_SYNC_TEST_MOTO") else {
        return skipped("moto");
    };
    let world = World::cluster().await;
    let name = format!("{}-db", world.namespace);
    let call = async |operation: &str, body: Value| {
        let target = format!("X-Amz-Target: secretsmanager.{operation}");
        let credential = "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/secretsmanager/aws4_request";
        curl(&[
            "-H",
            "Content-Type: application/x-amz-json-1.1",
            "-H",
            &target,
            "-H",
            credential,
            "-d",
            &body.to_string(),
            &moto,
        ])
        .await;
    };
    call(
        "CreateSecret",
        json!({"Name": name, "SecretString": "before", "ClientRequestToken": "a".repeat(32)}),
    )
    .await;
    world.apply_yaml(AWS).await;
    world.ready("db", "SecretSynced").await;
    call(
        "PutSecretValue",
        json!({"SecretId": name, "SecretString": "after", "ClientRequestToken": "b".repeat(32)}),
    )
    .await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(0);
    assert_eq!(
        world.secret("db", "password").await.as_deref(),
        Some(scenarios::AFTER)
    );
    assert_eq!(
        outcome.document()["summary"]["calls"],
        json!({"aws SecretsManager eu-west-1": 1})
    );
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_rotation_in_vault_is_taken_in_and_proven() {
    let (Some(vault), Some(token)) = (
        optional_variable("ESO_SYNC_TEST_VAULT"),
        optional_variable("ESO_SYNC_TEST_VAULT_TOKEN"),
    ) else {
        return skipped("OpenBao");
    };
    let world = World::cluster().await;
    let write = async |value: &str| {
        let header = format!("X-Vault-Token: {token}");
        let body = json!({"data": {"password": value}}).to_string();
        curl(&[
            "-H",
            &header,
            "-d",
            &body,
            &format!("{vault}/v1/secret/data/{}", world.namespace),
        ])
        .await;
    };
    write("before").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vault", "namespace": world.namespace},
        "stringData": {"token": token}});
    world.apply(secret).await;
    let store = json!({"vault": {"server": vault, "path": "secret", "version": "v2",
        "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}}}});
    world
        .apply(json!({"apiVersion": format!("external-secrets.io/{}", world.version), "kind": "SecretStore",
            "metadata": {"name": format!("{}-vault", world.namespace), "namespace": world.namespace}, "spec": {"provider": store}}))
        .await;
    world
        .apply_yaml(
            "apiVersion: external-secrets.io/VERSION\nkind: ExternalSecret\nmetadata: {name: db, namespace: NS}\nspec:\n  \
             refreshInterval: 1h\n  secretStoreRef: {name: NS-vault, kind: SecretStore}\n  \
             data: [{secretKey: password, remoteRef: {key: NS, property: password}}]\n",
        )
        .await;
    world.ready("db", "SecretSynced").await;
    write("after").await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(0);
    assert_eq!(
        world.secret("db", "password").await.as_deref(),
        Some(scenarios::AFTER)
    );
    world.end().await;
}

/// An ExternalSecret whose template wants JSON, and a value that is none.
const PARSED: &str = r#"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-planted, namespace: NS}
spec: {provider: {fake: {data: [{key: planted, value: "wonderwall-planted"}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: parsed, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-planted, kind: SecretStore}
  target: {template: {data: {out: "{{ (.k | mustFromJson).x }}"}}}
  data: [{secretKey: k, remoteRef: {key: planted}}]
"#;

/// The operator's own text about a failing template holds a piece of the value; what is quoted of it does not.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_piece_of_a_value_in_the_operators_text_is_not_repeated() {
    let world = World::cluster().await;
    world.apply_yaml(PARSED).await;
    world.ready("parsed", "SecretSyncedError").await;
    eventually(
        "the operator's own Event holds a piece of the value",
        async || {
            let events = world.list("Event").await;
            events
                .iter()
                .any(|event| event["message"].to_string().contains("invalid character"))
                .then_some(())
        },
    )
    .await;
    let mut said = String::new();
    for output in ["table", "json"] {
        let path = world.bin.file("policy.yaml", &world.named(POLICY));
        let outcome = world
            .bin
            .run(&[
                "run",
                "-vvv",
                "-o",
                output,
                "--config",
                path.to_str().expect("UTF-8"),
            ])
            .await;
        said.push_str(&outcome.exits(3).stdout);
        said.push_str(&outcome.stderr);
    }
    for event in world
        .list("Event")
        .await
        .iter()
        .filter(|event| event["source"]["component"] == "eso-sync")
    {
        said.push_str(&event.to_string());
    }
    assert!(said.contains("template"), "it was spoken of: {said}");
    for planted in ["wonderwall", "invalid character", "'w'"] {
        assert!(!said.contains(planted), "{planted} was said");
    }
    world.end().await;
}

/// The operator stands still: nothing is proven, the run stops by itself, and says what it did not reach.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn an_operator_that_stands_still_is_a_time_out() {
    let Some(pid) = optional_variable("ESO_SYNC_TEST_ESO_PID") else {
        return skipped("the operator's process");
    };
    let world = World::cluster().await;
    scenarios::base(&world).await;
    signal("STOP", &pid).await;
    let outcome = world
        .bin
        .policy(&world.named(POLICY), &["--timeout", "3s"])
        .await;
    signal("CONT", &pid).await;
    outcome.exits(3);
    assert_eq!(
        [outcome.of("db"), outcome.of("api")],
        ["failed(timed-out)", "failed(timed-out)"]
    );
    eventually("the operator takes it in once it goes on", async || {
        let db = world.get("ExternalSecret", "db").await?;
        let outcome = world
            .bin
            .run(&["status", "db", "-n", &world.namespace, "-o", "json"])
            .await;
        (outcome.of("db") == "sync(selected)" && db["status"]["conditions"][0]["status"] == "True")
            .then_some(())
    })
    .await;
    world.end().await;
}

async fn signal(name: &str, pid: &str) {
    let sent = tokio::process::Command::new("kill")
        .args(["-s", name, pid])
        .status()
        .await
        .expect("kill");
    assert!(sent.success());
}

async fn curl(arguments: &[&str]) {
    let sent = tokio::process::Command::new("curl")
        .args(["-sSf", "-X", "POST"])
        .args(arguments)
        .output()
        .await
        .expect("curl");
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
}

/// A cluster of somebody else's has no such server beside it. Said, since the test did not test anything.
#[expect(
    clippy::print_stderr,
    reason = "the reader of the test's output is told"
)]
pub(crate) fn skipped(what: &str) {
    eprintln!("not tested: this cluster has no {what} beside it");
}
