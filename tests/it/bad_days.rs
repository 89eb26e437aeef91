//! Days on which something goes wrong: each ends in a true report, the right exit code, and nothing left behind.

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
async fn an_api_server_that_throttles_is_asked_again_when_it_says() {
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
async fn server_errors_and_conflicts_are_tried_again() {
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
async fn a_lost_answer_is_read_up_on_and_not_repeated() {
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
        "one for each, though neither answer arrived"
    );
}

#[tokio::test]
async fn a_namespace_in_which_nothing_may_be_written_is_no_reason_to_stop() {
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
async fn where_nothing_may_be_written_at_all_the_exit_code_is_4() {
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
async fn a_watch_that_is_cut_or_too_old_is_opened_anew() {
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
async fn what_a_silent_watch_hides_is_read_before_it_times_out() {
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
async fn without_the_right_to_hear_events_the_report_says_so() {
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
async fn one_that_is_deleted_during_a_gap_of_the_watch_is_said_to_be() {
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

/// Between plan and write another object takes the name: it is not the one that was planned for.
#[tokio::test]
async fn one_that_is_replaced_before_it_is_annotated_is_left_alone() {
    let world = World::sandbox().await;
    base(&world).await;
    world.embedded().inject(
        Fault::latency(Duration::from_millis(700))
            .verb("patch")
            .resource("externalsecrets")
            .times(1),
    );
    world.embedded().inject(
        Fault::latency(Duration::from_millis(700))
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
    eventually("the lock is asked for: the plan stands", async || {
        world
            .embedded()
            .requests()
            .iter()
            .any(|request| request.resource == "leases")
            .then_some(())
    })
    .await;
    // The watch does not tell: the write itself finds out.
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
async fn a_store_that_turns_not_ready_meanwhile_is_the_reason_of_the_failure() {
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
async fn who_loses_the_lock_stops_writing() {
    let world = World::sandbox().await;
    many(&world, 60).await;
    // Slow enough that writes are left when the lock is lost.
    let policy = format!("{POLICY}pace: {{kubernetes: 2/s}}\n");
    let running = world.start(&policy);
    eventually("some are written", async || {
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
    eventually("the loss is noticed", async || {
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
        "one may have been on its way"
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
        "it is not released by who lost it"
    );
}

/// How often eso-sync has annotated something.
fn patches(world: &World) -> usize {
    let requests = world.embedded().requests();
    let ours =
        |request: &&Request| request.verb == "patch" && request.user_agent.starts_with("eso-sync/");
    requests.iter().filter(ours).count()
}

/// The API server is away for some seconds in mid-run, as when its node is replaced: the run waits, and goes on.
#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_is_waited_for() {
    let world = World::sandbox().await;
    many(&world, 30).await;
    let policy = format!("{POLICY}pace: {{kubernetes: 5/s}}\n");
    let running = world.start(&policy);
    eventually("some are written", async || {
        (patches(&world) >= 3).then_some(())
    })
    .await;
    let before = world.embedded().requests().len();
    for verb in ["get", "list", "watch", "patch", "update"] {
        world.embedded().inject(Fault::drop_before().verb(verb));
    }
    world.embedded().cut_watches();
    eventually("it has tried again and again", async || {
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
async fn what_is_named_and_not_there_is_no_finished_rotation() {
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

/// A value that is easily found, copied by one ExternalSecret and refused by another (it is no JSON).
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

/// Planted values are nowhere to be found, however much is said and in whatever form.
#[tokio::test]
async fn no_value_is_said_at_any_level_in_any_form() {
    let world = World::sandbox().await;
    base(&world).await;
    world.apply_yaml(PLANTED).await;
    world.ready("extracted", "SecretSyncedError").await;
    world.ready("copied", "SecretSynced").await;
    // One try each: how often it fails is not what is looked at.
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
    assert!(said.contains("extracted"), "it was spoken of");
    for planted in [
        "wonderwall",
        "planted-",
        "d29uZGVyd2FsbA",
        "'w'",
        "776f6e64657277616c6c",
    ] {
        assert!(!said.contains(planted), "{planted} was said");
    }
}

/// Proof, pages and pace for more than fits into ten pages, at hardly more than one request for each.
#[tokio::test]
async fn five_thousand_in_one_namespace_are_synced_with_hardly_more_requests() {
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
async fn names_at_their_limits_and_unicode_are_synced_and_proven() {
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
async fn an_operator_that_writes_md5_and_serves_v1beta1_is_understood() {
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

/// What the program really asks is what `rbac` grants, and nothing that looks writes.
#[tokio::test]
async fn every_request_is_covered_by_the_printed_rights() {
    let world = World::sandbox().await;
    base(&world).await;
    let policy = Policy::selecting(vec![Selection::default()]);
    let job = rbac::JobIdentity {
        namespace: world.namespace.clone(),
        service_account: "job".to_owned(),
    };
    let granted = rbac::rules(Some(&policy), &job);
    let before = world.embedded().requests().len();
    let path = world.bin.file("all.yaml", "select: [{}]\n");
    let path = path.to_str().expect("UTF-8");
    world.bin.run(&["plan", "--config", path]).await.exits(0);
    world.bin.run(&["status", "-A"]).await.exits(0);
    let looked = world.embedded().requests().split_off(before);
    assert!(
        looked.iter().all(|request| request.method == "GET"),
        "looking never writes"
    );
    world.bin.run(&["run", "--config", path]).await.exits(0);
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

/// The job's own Pod gets one Event that sums the run up.
#[tokio::test]
async fn the_own_pod_is_told_how_the_run_went() {
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
    assert_eq!(ours.len(), 1, "none on what synced: {ours:?}");
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
