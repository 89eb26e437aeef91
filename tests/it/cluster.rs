//! Whole runs on a real cluster with the real operator: the scenarios of the sandbox, and tests that need a real cluster.

mod admission;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "events-aws")]
mod events;
#[cfg(feature = "aws-parameter-store")]
mod faults;
mod gitops;
mod kubernetes_store;
mod ladder;
mod old_operator;
mod oracle;
#[cfg(feature = "aws")]
mod publish;
mod rollouts;

use serde_json::{Value, json};

use crate::{
    advise, drift, history, impact, init, interruptions, pods, refusals,
    restart::{self, evictions, lone_pods, proof},
    scenarios::{self, POLICY},
    support::{World, eventually, optional_variable},
};

/// Runs scenarios on the real cluster of `ESO_SYNC_TEST_KUBECONFIG`.
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
    an_item_deleted_during_the_run_is_reported
    an_annotation_removed_during_the_run_is_reported
    an_item_edited_during_the_run_is_proven
    a_signal_finishes_items_in_flight_and_starts_none
    a_second_signal_ends_the_run_at_once
    a_deadline_ends_the_run
    a_second_run_reports_the_lock_holder
    a_second_run_can_wait_for_the_lock
    the_next_run_takes_over_from_a_killed_one
    a_stopped_operator_stops_the_run
}

on_the_cluster! {
    refusals:
    what_the_operator_refuses_is_not_planned
    keys_that_a_sync_removes_are_shown_before
}

on_the_cluster! {
    pods:
    late_pods_are_awaited
    unready_pods_of_a_deployment_stop_the_rule_until_healthy
    crashing_pods_are_reported_with_the_reason
    a_deployment_past_its_progress_deadline_fails_at_once
    unready_pods_of_a_stateful_set_stop_the_rule
    unready_pods_of_a_daemon_set_stop_the_rule
}

on_the_cluster! {
    restart:
    a_rotation_restarts_only_workloads_that_use_the_secret
    unchanged_data_writes_to_no_workload
    a_pending_restart_needs_no_sync
    the_component_restarts_what_the_operator_refreshed
    every_kind_is_restarted
    a_rollout_is_restarted_by_its_controller
    workloads_that_must_not_restart_are_left
    a_deleted_stamp_key_restarts_nothing
    a_plan_shows_conditional_restarts_and_writes_nothing
    too_many_restarts_are_refused_before_any_write
    an_ad_hoc_sync_with_restart_proves_every_link
    edited_data_restarts_nothing
    a_restart_waits_for_the_drift_check
}

on_the_cluster! {
    init:
    init_alone_leads_to_a_useful_plan
}

on_the_cluster! {
    advise:
    an_applied_patch_makes_every_interval_good
}

on_the_cluster! {
    history:
    runs_are_kept_and_shown
    a_config_map_of_somebody_else_is_not_touched
}

on_the_cluster! {
    impact:
    a_change_reaches_the_keys_that_come_from_it
    a_key_leads_to_its_secrets_and_workloads
    what_impact_says_is_what_the_plan_says
}

on_the_cluster! {
    proof:
    a_deployment_whose_restart_is_taken_back_is_never_current
    a_stateful_set_whose_restart_is_taken_back_is_never_current
    a_daemon_set_whose_restart_is_taken_back_is_never_current
    a_rollout_whose_restart_is_taken_back_is_never_current
    an_eviction_replaces_pods_whose_restart_was_taken_back
    a_pause_holds_back_pods
    a_partition_holds_back_pods_until_it_is_removed
    pods_that_start_without_an_optional_secret_are_restarted
}

on_the_cluster! {
    evictions:
    pods_are_evicted_one_at_a_time
    pods_of_a_workload_with_the_same_prefix_are_kept
    a_blocking_disruption_budget_is_awaited_and_reported
    a_pod_that_does_not_end_is_held_back
    an_eviction_replaces_pods_that_a_pause_or_on_delete_keeps
}

on_the_cluster! {
    lone_pods:
    unmanaged_pods_are_evicted_one_at_a_time
    unmanaged_pods_are_not_restarted_by_rollout
}

on_the_cluster! {
    scenarios:
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

on_the_cluster! {
    drift:
    each_kind_of_drift_has_its_verdict
    only_drifted_is_synced_and_second_run_writes_nothing
    unverifiable_follows_on_unverifiable
    template_sources_are_read_from_the_cluster
    several_writers_of_one_secret_are_judged_together
}

/// Grants the rights that `eso-sync rbac` prints for a policy, runs the policy with only these rights, and removes them.
async fn run_with_least_rights(world: &World, policy: &str) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "eso-sync", "namespace": world.namespace}});
    world.apply(account).await;
    let user = format!("system:serviceaccount:{}:eso-sync", world.namespace);
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
        .run(&["rbac", "--config", path, "-n", &world.namespace])
        .await;
    let mut granted = Vec::new();
    for document in printed
        .exits(0)
        .stdout
        .split("---\n")
        .filter(|document| !document.trim().is_empty())
    {
        let mut object: Value = serde_saphyr::from_str(document).expect("YAML");
        // Cluster-scoped objects get unique names, so that tests can run in parallel.
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
        "no right was missing"
    );
    for kind in granted {
        world.delete(&kind, &world.namespace).await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn rbac_rights_suffice_for_the_whole_cluster() {
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
async fn rbac_rights_suffice_for_named_namespaces() {
    let world = World::cluster().await;
    scenarios::base(&world).await;
    run_with_least_rights(&world, &world.named(POLICY)).await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn rbac_rights_suffice_for_restarts() {
    let world = World::cluster().await;
    restart::shop(&world).await;
    run_with_least_rights(&world, &world.named(restart::POLICY)).await;
    assert!(restart::stamp(&world, "Deployment", "web").await.is_some());
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn rbac_rights_suffice_for_evictions() {
    let world = World::cluster().await;
    restart::shop(&world).await;
    lone_pods::kept_up(&world).await;
    run_with_least_rights(&world, &world.named(lone_pods::POLICY)).await;
    world.end().await;
}

/// The report lists a namespace that may not be read as a gap.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_denied_namespace_is_reported_as_a_gap() {
    let world = World::cluster().await;
    scenarios::base(&world).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "eso-sync", "namespace": world.namespace}});
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
    let user = format!("system:serviceaccount:{}:eso-sync", world.namespace);
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

/// A store with static keys that uses moto, and an ExternalSecret that reads from it.
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
async fn a_rotation_in_aws_is_synced_and_proven() {
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
async fn a_rotation_in_vault_is_synced_and_proven() {
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

/// An ExternalSecret with a template that expects JSON, and a value that is not JSON.
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

/// The operator's error about a failing template contains a part of the value. The text that we quote from it does not.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn value_parts_in_the_operators_errors_are_not_printed() {
    let world = World::cluster().await;
    world.apply_yaml(PARSED).await;
    world.ready("parsed", "SecretSyncedError").await;
    eventually(
        "the operator's own Event contains a part of the value",
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
    assert!(said.contains("template"), "the failure is reported: {said}");
    for planted in ["wonderwall", "invalid character", "'w'"] {
        assert!(!said.contains(planted), "{planted} was printed");
    }
    world.end().await;
}

/// With a stopped operator nothing is proven. The run ends by its timeout and reports the items as failed.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn stopped_operator_causes_timeout() {
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
    eventually("the operator syncs it after it continues", async || {
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

async fn curl(arguments: &[&str]) -> String {
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
    String::from_utf8(sent.stdout).expect("UTF-8")
}

/// Prints that a test did nothing, because the cluster has no such server.
#[expect(
    clippy::print_stderr,
    reason = "the message is for the reader of the test's output"
)]
pub(crate) fn skipped(what: &str) {
    eprintln!("not tested: this cluster has no {what}");
}

/// A SecretStore `aws` that reads Secrets Manager in this region, with keys of its own.
#[cfg(any(feature = "aws", feature = "events-aws"))]
async fn aws_store(world: &World, region: &str) {
    let ns = &world.namespace;
    let key = |key: &str| json!({"name": "aws", "key": key});
    let keys = json!({"accessKeyIDSecretRef": key("id"), "secretAccessKeySecretRef": key("key")});
    let aws = json!({"service": "SecretsManager", "region": region, "auth": {"secretRef": keys}});
    let version = format!("external-secrets.io/{}", world.version);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws", "namespace": ns},
        "stringData": {"id": "test", "key": "test"}});
    world.apply(secret).await;
    let store = json!({"apiVersion": version, "kind": "SecretStore", "metadata": {"name": "aws", "namespace": ns},
        "spec": {"provider": {"aws": aws}}});
    world.apply(store).await;
}
