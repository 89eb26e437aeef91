//! Runs with faults. Each must end with a correct report, the right exit code, and no leftovers.

use std::time::Duration;

use eso_sync::{
    policy::{Policy, Selection},
    rbac,
};
use sandbox::{Fault, Request, Settings};
use serde_json::json;

use crate::{
    interruptions::{all_is_well, annotated, annotations, many, meanwhile, run},
    scenarios::{POLICY, base, rotate},
    support::{World, eventually},
};

#[tokio::test]
async fn throttled_requests_are_retried_after_retry_after() {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world.embedded().inject(
        Fault::throttled(1)
            .verb("patch")
            .resource("externalsecrets")
            .times(2),
    );
    world.embedded().inject(
        Fault::throttled(1)
            .verb("list")
            .resource("externalsecrets")
            .times(1),
    );
    all_is_well(&world, &run(&world, &[]).await).await;
}

#[tokio::test]
async fn server_errors_and_conflicts_are_retried() {
    for fault in [
        Fault::status(500),
        Fault::status(409),
        Fault::status(503),
        Fault::drop_before(),
    ] {
        let world = World::sandbox().await;
        base(&world).await;
        rotate(&world).await;
        world
            .embedded()
            .inject(fault.verb("patch").resource("externalsecrets").times(1));
        all_is_well(&world, &run(&world, &[]).await).await;
    }
}

#[tokio::test]
async fn lost_patch_response_is_not_repeated() {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world.embedded().inject(
        Fault::drop_after()
            .verb("patch")
            .resource("externalsecrets")
            .times(2),
    );
    all_is_well(&world, &run(&world, &[]).await).await;
    let requests = world.embedded().requests();
    let patches = requests
        .iter()
        .filter(|request| request.verb == "patch" && request.resource == "externalsecrets");
    let ours =
        patches.filter(|request| String::from_utf8_lossy(&request.body).contains("force-sync"));
    assert_eq!(
        ours.count(),
        2,
        "one patch for each, although both responses were lost"
    );
}

#[tokio::test]
async fn denied_namespace_does_not_stop_the_run() {
    let world = World::sandbox().await;
    base(&world).await;
    let other = format!("{}-other", world.namespace);
    world
        .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}))
        .await;
    world
        .apply_yaml(
            "apiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: {name: NS-c}\nspec: {provider: {fake: {data: [{key: k, value: v}]}}}\n---\n\
             apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: denied, namespace: NS-other}\nspec: {secretStoreRef: {name: NS-c, kind: ClusterSecretStore}, data: [{secretKey: k, remoteRef: {key: k}}]}\n",
        )
        .await;
    world.ready_in(&other, "denied", "SecretSynced").await;
    world.embedded().inject(
        Fault::forbidden()
            .verb("patch")
            .resource("externalsecrets")
            .namespace(&other),
    );
    let outcome = world
        .bin
        .policy(
            &world.named("select: [{namespaces: ['NS*']}]\ndrift: {enabled: false}\n"),
            &[],
        )
        .await;
    outcome.exits(3);
    assert_eq!(
        [outcome.of("db"), outcome.of("denied")],
        ["synced", "failed(refused)"]
    );
    let message = outcome.document()["items"]
        .as_array()
        .expect("items")
        .iter()
        .find(|item| item["name"] == "denied")
        .expect("it")["message"]
        .clone();
    assert!(
        message.as_str().expect("why").contains("forbidden"),
        "{message}"
    );
}

#[tokio::test]
async fn run_without_any_allowed_write_exits_4() {
    let world = World::sandbox().await;
    base(&world).await;
    world
        .embedded()
        .inject(Fault::forbidden().verb("patch").resource("externalsecrets"));
    run(&world, &[]).await.exits(4);
    let world = World::sandbox().await;
    base(&world).await;
    world
        .embedded()
        .inject(Fault::forbidden().verb("list").resource("externalsecrets"));
    let outcome = run(&world, &[]).await;
    assert!(
        outcome.exits(4).stderr.contains("eso-sync rbac"),
        "{}",
        outcome.stderr
    );
}

#[tokio::test]
async fn cut_or_expired_watch_is_opened_again() {
    for too_old in [false, true] {
        let world = World::sandbox().await;
        base(&world).await;
        rotate(&world).await;
        world.embedded().stop_operator();
        let path = world.bin.file("policy.yaml", &world.named(POLICY));
        let running = world.bin.start(&[
            "run",
            "-o",
            "json",
            "--config",
            path.to_str().expect("UTF-8"),
        ]);
        annotated(&world, "db").await;
        annotated(&world, "api").await;
        if too_old {
            world.embedded().compact();
        }
        world.embedded().cut_watches();
        world.embedded().start_operator();
        all_is_well(&world, &running.end().await).await;
    }
}

#[tokio::test]
async fn items_are_read_once_before_they_time_out() {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world.embedded().silence_watches(true);
    let outcome = run(&world, &["--timeout", "2s"]).await;
    world.embedded().silence_watches(false);
    outcome.exits(0);
    assert_eq!([outcome.of("db"), outcome.of("api")], ["synced", "synced"]);
}

#[tokio::test]
async fn report_warns_if_events_cannot_be_watched() {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world
        .embedded()
        .inject(Fault::forbidden().verb("list").resource("events"));
    let outcome = run(&world, &[]).await;
    all_is_well(&world, &outcome).await;
    let warnings = outcome.document()["warnings"].to_string();
    assert!(
        warnings.contains("Events could not be watched"),
        "{warnings}"
    );
}

#[tokio::test]
async fn deletion_during_a_watch_gap_is_reported() {
    let (_, outcome) = meanwhile(World::sandbox().await, async |world: &World| {
        world.embedded().silence_watches(true);
        world.delete("ExternalSecret", "db").await;
        world.embedded().compact();
        world.embedded().silence_watches(false);
        world.embedded().cut_watches();
    })
    .await;
    assert_eq!(outcome.of("db"), "failed(deleted)");
}

/// Between plan and write, the ExternalSecret is replaced by a new object with the same name.
#[tokio::test]
async fn replaced_external_secret_is_not_annotated() {
    let world = World::sandbox().await;
    base(&world).await;
    world.embedded().inject(
        Fault::latency(Duration::from_secs(3))
            .verb("patch")
            .resource("externalsecrets")
            .times(1),
    );
    world.embedded().inject(
        Fault::latency(Duration::from_secs(3))
            .verb("create")
            .resource("leases")
            .times(1),
    );
    let path = world.bin.file(
        "policy.yaml",
        &world.named("select: [{namespaces: [NS], names: [db]}]\ndrift: {enabled: false}\n"),
    );
    let running = world.bin.start(&[
        "run",
        "-o",
        "json",
        "--config",
        path.to_str().expect("UTF-8"),
    ]);
    eventually(
        "the run creates its Lease, so the plan exists",
        async || {
            world
                .embedded()
                .requests()
                .iter()
                .any(|request| request.verb == "create" && request.resource == "leases")
                .then_some(())
        },
    )
    .await;
    // The watch is silent, so that the write itself detects the replacement.
    world.embedded().silence_watches(true);
    let mut again = world.get("ExternalSecret", "db").await.expect("db");
    world.delete("ExternalSecret", "db").await;
    again["metadata"] = json!({"name": "db", "namespace": world.namespace});
    again.as_object_mut().expect("an object").remove("status");
    world.apply(again).await;
    let outcome = running.end().await;
    outcome.exits(3);
    assert_eq!(outcome.of("db"), "failed(replaced)");
    assert!(annotations(&world, "db").await["force-sync"].is_null());
}

#[tokio::test]
async fn store_that_becomes_unready_is_the_reported_reason() {
    let (_, outcome) = meanwhile(World::sandbox().await, async |world: &World| {
        let store = format!("{}-store", world.namespace);
        world.patch("SecretStore", &store, &json!({"spec": {"provider": {"fake": null, "vault": {
            "server": "http://127.0.0.1:1", "path": "p", "auth": {"tokenSecretRef": {"name": "gone", "key": "token"}}}}}})).await;
        world.embedded().start_operator();
        world.store_is(&store, "False").await;
    })
    .await;
    outcome.exits(3);
    let reasons = [outcome.of("db"), outcome.of("api")];
    assert!(
        reasons
            .iter()
            .any(|reason| reason == "failed(store-not-ready)" || reason == "failed(denied)"),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn run_that_loses_the_lock_stops_writing() {
    let world = World::sandbox().await;
    many(&world, 60).await;
    // The rate is slow, so that writes remain when the lock is lost.
    let policy = format!("{POLICY}pace: {{kubernetes: 2/s}}\n");
    let running = world.start(&policy);
    eventually("some annotations are written", async || {
        (patches(&world) >= 3).then_some(())
    })
    .await;
    let mut thief = world.get("Lease", "eso-sync").await.expect("the Lease");
    thief["spec"]["holderIdentity"] = json!("thief");
    thief["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("resourceVersion");
    world.apply(thief).await;
    eventually("the run detects the lost lock", async || {
        let requests = world.embedded().requests();
        let ours = |request: &&Request| {
            request.resource == "leases" && request.user_agent.starts_with("eso-sync/")
        };
        let verbs: Vec<&str> = requests
            .iter()
            .filter(ours)
            .map(|request| request.verb)
            .collect();
        verbs.ends_with(&["update", "get"]).then_some(())
    })
    .await;
    let written = patches(&world);
    let outcome = running.end().await;
    outcome.exits(7);
    assert!(
        patches(&world) <= written + 1,
        "one write may have been in flight"
    );
    let document = outcome.document();
    assert_eq!(document["summary"]["stopped"], "lock-lost");
    assert!(
        document["summary"]["outcomes"]["not-reached"]
            .as_u64()
            .expect("some")
            > 40
    );
    let lease = world.get("Lease", "eso-sync").await.expect("the Lease");
    assert_eq!(
        lease["spec"]["holderIdentity"], "thief",
        "the run must not release a lock that it lost"
    );
}

/// The number of annotations that eso-sync has written.
fn patches(world: &World) -> usize {
    let requests = world.embedded().requests();
    let ours =
        |request: &&Request| request.verb == "patch" && request.user_agent.starts_with("eso-sync/");
    requests.iter().filter(ours).count()
}

/// The API server is unavailable for some seconds during the run, as when its node is replaced.
#[tokio::test]
async fn run_waits_for_an_unavailable_api_server() {
    let world = World::sandbox().await;
    many(&world, 30).await;
    let policy = format!("{POLICY}pace: {{kubernetes: 5/s}}\n");
    let running = world.start(&policy);
    eventually("some annotations are written", async || {
        (patches(&world) >= 3).then_some(())
    })
    .await;
    let before = world.embedded().requests().len();
    for verb in ["get", "list", "watch", "patch", "update"] {
        world.embedded().inject(Fault::drop_before().verb(verb));
    }
    world.embedded().cut_watches();
    eventually("the run has retried many times", async || {
        (world.embedded().requests().len() > before + 20).then_some(())
    })
    .await;
    world.embedded().clear_faults();
    let outcome = running.end().await;
    outcome.exits(0);
    assert_eq!(
        outcome.document()["summary"]["outcomes"],
        json!({"synced": 32})
    );
}

#[tokio::test]
async fn missing_named_objects_are_an_error() {
    let world = World::sandbox().await;
    base(&world).await;
    let namespace = world.namespace.clone();
    for arguments in [
        &["sync", "nope", "--yes", "-n", &namespace][..],
        &["sync", "db", "nope", "--yes", "-n", &namespace],
        &["sync", "--store", "fak", "--yes", "-n", &namespace],
        &["plan", "nope", "-n", &namespace],
        &["status", "nope", "-n", &namespace],
    ] {
        let outcome = world.bin.run(arguments).await;
        assert!(
            outcome.exits(3).stderr.contains("nothing was changed"),
            "{}",
            outcome.stderr
        );
    }
    assert!(annotations(&world, "db").await["force-sync"].is_null());
    world
        .bin
        .run(&["status", "no-*", "-n", &namespace])
        .await
        .exits(0);
}

/// A unique value that one ExternalSecret copies and another rejects (it is not JSON).
const PLANTED: &str = r#"
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: NS-planted, namespace: NS}
spec: {provider: {fake: {data: [{key: planted, value: "wonderwall-planted"}]}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: extracted, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-planted}, dataFrom: [{extract: {key: planted}}]}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: copied, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-planted}, data: [{secretKey: k, remoteRef: {key: planted}}]}
"#;

/// Searches all output, at every log level and in every format, for planted values.
#[tokio::test]
async fn no_output_contains_a_value() {
    let world = World::sandbox().await;
    base(&world).await;
    world.apply_yaml(PLANTED).await;
    world.ready("extracted", "SecretSyncedError").await;
    world.ready("copied", "SecretSynced").await;
    // No retries, to save time.
    let policy = format!("{POLICY}sync: {{retries: 0}}\n");
    let path = world.bin.file("policy.yaml", &world.named(&policy));
    let path = path.to_str().expect("UTF-8");
    let mut said = String::new();
    for output in ["table", "json", "yaml"] {
        for arguments in [
            &["run", "-vvv"][..],
            &["run", "-vvv", "--log-format", "json"],
            &["plan", "-vvv"],
        ] {
            let outcome = world
                .bin
                .run(&[arguments, &["--config", path, "-o", output]].concat())
                .await;
            outcome.exits(if arguments[0] == "run" { 3 } else { 0 });
            said.push_str(&outcome.stdout);
            said.push_str(&outcome.stderr);
        }
    }
    for event in world
        .list("Event")
        .await
        .iter()
        .filter(|event| event["source"]["component"] == "eso-sync")
    {
        said.push_str(&event.to_string());
    }
    said.push_str(&annotations(&world, "copied").await.to_string());
    assert!(said.contains("extracted"), "the output mentions it");
    for planted in [
        "wonderwall",
        "planted-",
        "d29uZGVyd2FsbA",
        "'w'",
        "776f6e64657277616c6c",
    ] {
        assert!(!said.contains(planted), "the output contains {planted}");
    }
}

/// More than ten pages of ExternalSecrets need hardly more than one request each.
#[tokio::test]
async fn five_thousand_syncs_need_about_one_request_each() {
    let world = World::sandbox().await;
    many(&world, 5000).await;
    let policy = format!(
        "{POLICY}safety: {{maxSyncs: 10000}}\npace: {{default: 100000/s, kubernetes: 100000/s}}\n"
    );
    let outcome = world.bin.policy(&world.named(&policy), &["-q"]).await;
    outcome.exits(0);
    let summary = &outcome.document()["summary"];
    assert_eq!(summary["outcomes"], json!({"synced": 5002}));
    let requests = summary["requests"].as_u64().expect("a count");
    assert!(requests <= 5002 * 105 / 100, "{requests} requests");
}

#[tokio::test]
async fn long_names_and_unicode_are_synced_and_proven() {
    let world = World::sandbox().await;
    base(&world).await;
    let name = format!("{}.x", "n".repeat(251));
    let spec = world.get("ExternalSecret", "db").await.expect("db")["spec"].clone();
    world
        .apply(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {
                "name": name, "namespace": world.namespace, "labels": {"l".repeat(63): "v".repeat(63)},
                "annotations": {"note": "Grüße\n— 秘密 🔑: {map[a:b]}", "empty": ""},
            },
            "spec": spec,
        }))
        .await;
    world.ready(&name, "SecretSynced").await;
    let outcome = run(&world, &[]).await;
    assert_eq!(outcome.exits(0).of(&name), "synced");
    let table = world.bin.run(&["status", "-n", &world.namespace]).await;
    assert!(table.exits(0).stdout.contains(&name));
}

#[tokio::test]
async fn operator_with_md5_and_v1beta1_is_supported() {
    let settings = Settings {
        v1beta1: true,
        md5: true,
        ..Settings::default()
    };
    let world = World::sandbox_with(settings).await;
    base(&world).await;
    rotate(&world).await;
    all_is_well(&world, &run(&world, &[]).await).await;
}

/// `rbac` grants every request that the program sends, and read-only commands do not write.
#[tokio::test]
async fn printed_rbac_covers_every_request() {
    let world = World::sandbox().await;
    base(&world).await;
    let mut policy = Policy::selecting(vec![Selection::default()]);
    policy.report.history = 2;
    let job = rbac::JobIdentity {
        namespace: world.namespace.clone(),
        service_account: "job".to_owned(),
    };
    let granted = rbac::rules(Some(&policy), &job);
    let before = world.embedded().requests().len();
    let path = world
        .bin
        .file("all.yaml", "select: [{}]\nreport: {history: 2}\n");
    let path = path.to_str().expect("UTF-8");
    world.bin.run(&["plan", "--config", path]).await.exits(0);
    world.bin.run(&["status", "-A"]).await.exits(0);
    world.bin.run(&["history"]).await.exits(0);
    let looked = world.embedded().requests().split_off(before);
    assert!(
        looked.iter().all(|request| request.method == "GET"),
        "read-only commands must not write"
    );
    for _ in 0..2 {
        world.bin.run(&["run", "--config", path]).await.exits(0);
    }
    for request in world
        .embedded()
        .requests()
        .split_off(before)
        .into_iter()
        .filter(|request| !request.resource.is_empty())
    {
        let asked = rbac_request(&request.path, request.verb, request.resource);
        assert!(granted.allows(&asked), "not granted: {asked:?}");
    }
}

fn rbac_request(path: &str, verb: &str, resource: &str) -> rbac::Request {
    let parts: Vec<&str> = path.split('/').collect();
    let group = if path.starts_with("/apis/") {
        parts[2]
    } else {
        ""
    };
    let within = parts
        .iter()
        .position(|part| *part == "namespaces")
        .filter(|_| resource != "namespaces");
    let name = parts
        .iter()
        .position(|part| *part == resource)
        .and_then(|at| parts.get(at + 1));
    rbac::Request {
        verb: verb.to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: within
            .and_then(|at| parts.get(at + 1))
            .map(|namespace| (*namespace).to_owned()),
        name: name.map(|name| (*name).to_owned()),
    }
}

/// The job's own Pod gets one Event with a summary of the run.
#[tokio::test]
async fn job_pod_gets_one_summary_event() {
    let mut world = World::sandbox().await;
    base(&world).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job-abc", "namespace": world.namespace},
        "spec": {"containers": [{"name": "eso-sync", "image": "eso-sync"}]},
    });
    world.apply(pod).await;
    let namespace = world.namespace.clone();
    world.bin.set("ESO_SYNC_POD_NAME", "job-abc");
    world.bin.set("ESO_SYNC_POD_NAMESPACE", &namespace);
    run(&world, &[]).await.exits(0);
    let events = world.list("Event").await;
    let ours: Vec<_> = events
        .iter()
        .filter(|event| event["source"]["component"] == "eso-sync")
        .collect();
    assert_eq!(ours.len(), 1, "no Events on synced objects: {ours:?}");
    assert_eq!(
        [&ours[0]["involvedObject"]["kind"], &ours[0]["reason"]],
        [&json!("Pod"), &json!("RunSucceeded")]
    );
    let message = ours[0]["message"].as_str().expect("a text");
    assert!(
        message.contains("2 synced") && message.contains("exit code 0"),
        "{message}"
    );
}
