//! Days on which something goes wrong: each ends in a true report, the right exit code, and nothing left behind.

use std::time::Duration;

use eso_sync::{
    policy::{Policy, Selection},
    rbac,
    sandbox::{Fault, Settings},
};
use serde_json::{Value, json};

use crate::{
    scenarios::{AFTER, POLICY, base, rotate},
    support::{Outcome, World, eventually},
};

/// The test's own ExternalSecrets, by name, as they are now.
async fn annotations(world: &World, name: &str) -> Value {
    world.get("ExternalSecret", name).await.expect("it")["metadata"]["annotations"].clone()
}

/// Waits until a run has annotated an ExternalSecret.
async fn annotated(world: &World, name: &str) {
    eventually("it is annotated", async || annotations(world, name).await["force-sync"].as_str().map(drop)).await;
}

async fn run(world: &World, more: &[&str]) -> Outcome {
    world.bin.policy(&world.named(POLICY), more).await
}

fn released(lease: &Value) -> bool {
    lease["spec"]["holderIdentity"] == json!("")
}

/// Both are synced in spite of everything, each by one attempt.
async fn all_is_well(world: &World, outcome: &Outcome) {
    outcome.exits(0);
    assert_eq!([outcome.of("db"), outcome.of("api")], ["synced", "synced"]);
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    assert_eq!(outcome.document()["items"][0]["attempts"], json!(1));
}

#[tokio::test]
async fn an_api_server_that_throttles_is_asked_again_when_it_says() {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world.embedded().inject(Fault::throttled(1).verb("patch").resource("externalsecrets").times(2));
    world.embedded().inject(Fault::throttled(1).verb("list").resource("externalsecrets").times(1));
    all_is_well(&world, &run(&world, &[]).await).await;
}

#[tokio::test]
async fn server_errors_and_conflicts_are_tried_again() {
    for fault in [Fault::status(500), Fault::status(409), Fault::status(503), Fault::drop_before()] {
        let world = World::sandbox().await;
        base(&world).await;
        rotate(&world).await;
        world.embedded().inject(fault.verb("patch").resource("externalsecrets").times(1));
        all_is_well(&world, &run(&world, &[]).await).await;
    }
}

#[tokio::test]
async fn a_lost_answer_is_read_up_on_and_not_repeated() {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world.embedded().inject(Fault::drop_after().verb("patch").resource("externalsecrets").times(2));
    all_is_well(&world, &run(&world, &[]).await).await;
    let requests = world.embedded().requests();
    let patches = requests.iter().filter(|request| request.verb == "patch" && request.resource == "externalsecrets");
    let ours = patches.filter(|request| String::from_utf8_lossy(&request.body).contains("force-sync"));
    assert_eq!(ours.count(), 2, "one for each, though neither answer arrived");
}

#[tokio::test]
async fn a_namespace_in_which_nothing_may_be_written_is_no_reason_to_stop() {
    let world = World::sandbox().await;
    base(&world).await;
    let other = format!("{}-other", world.namespace);
    world.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})).await;
    world
        .apply_yaml(
            "apiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: {name: NS-c}\nspec: {provider: {fake: {data: [{key: k, value: v}]}}}\n---\n\
             apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: denied, namespace: NS-other}\nspec: {secretStoreRef: {name: NS-c, kind: ClusterSecretStore}, data: [{secretKey: k, remoteRef: {key: k}}]}\n",
        )
        .await;
    world.ready_in(&other, "denied", "SecretSynced").await;
    world.embedded().inject(Fault::forbidden().verb("patch").resource("externalsecrets").namespace(&other));
    let outcome = world.bin.policy(&world.named("select: [{namespaces: ['NS*']}]\n"), &[]).await;
    outcome.exits(3);
    assert_eq!([outcome.of("db"), outcome.of("denied")], ["synced", "failed(refused)"]);
    let message = outcome.document()["items"].as_array().expect("items").iter().find(|item| item["name"] == "denied").expect("it")["message"].clone();
    assert!(message.as_str().expect("why").contains("forbidden"), "{message}");
}

#[tokio::test]
async fn where_nothing_may_be_written_at_all_the_exit_code_is_4() {
    let world = World::sandbox().await;
    base(&world).await;
    world.embedded().inject(Fault::forbidden().verb("patch").resource("externalsecrets"));
    run(&world, &[]).await.exits(4);
    let world = World::sandbox().await;
    base(&world).await;
    world.embedded().inject(Fault::forbidden().verb("list").resource("externalsecrets"));
    let outcome = run(&world, &[]).await;
    assert!(outcome.exits(4).stderr.contains("eso-sync rbac"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_watch_that_is_cut_or_too_old_is_opened_anew() {
    for too_old in [false, true] {
        let world = World::sandbox().await;
        base(&world).await;
        rotate(&world).await;
        world.embedded().stop_operator();
        let path = world.bin.file("policy.yaml", &world.named(POLICY));
        let running = world.bin.start(&["run", "-o", "json", "--config", path.to_str().expect("UTF-8")]);
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
    world.embedded().inject(Fault::forbidden().verb("list").resource("events"));
    let outcome = run(&world, &[]).await;
    all_is_well(&world, &outcome).await;
    let warnings = outcome.document()["warnings"].to_string();
    assert!(warnings.contains("Events could not be watched"), "{warnings}");
}

/// Starts a run with the operator at rest, changes something once the run waits for `db`, and lets the operator go on.
async fn meanwhile(change: impl AsyncFnOnce(&World)) -> (World, Outcome) {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world.embedded().stop_operator();
    let path = world.bin.file("policy.yaml", &world.named(POLICY));
    let running = world.bin.start(&["run", "-o", "json", "--config", path.to_str().expect("UTF-8")]);
    annotated(&world, "db").await;
    change(&world).await;
    world.embedded().start_operator();
    let outcome = running.end().await;
    (world, outcome)
}

#[tokio::test]
async fn one_that_is_deleted_meanwhile_is_said_to_be() {
    let (_, outcome) = meanwhile(async |world| world.delete("ExternalSecret", "db").await).await;
    outcome.exits(3);
    assert_eq!([outcome.of("db"), outcome.of("api")], ["failed(deleted)", "synced"]);
}

#[tokio::test]
async fn one_that_is_deleted_during_a_gap_of_the_watch_is_said_to_be() {
    let (_, outcome) = meanwhile(async |world| {
        world.embedded().silence_watches(true);
        world.delete("ExternalSecret", "db").await;
        world.embedded().compact();
        world.embedded().silence_watches(false);
        world.embedded().cut_watches();
    })
    .await;
    assert_eq!(outcome.of("db"), "failed(deleted)");
}

#[tokio::test]
async fn an_annotation_that_is_taken_away_meanwhile_is_said_to_be() {
    let (_, outcome) = meanwhile(async |world| {
        world.patch("ExternalSecret", "db", &json!({"metadata": {"annotations": {"force-sync": null}}})).await;
    })
    .await;
    outcome.exits(3);
    assert_eq!(outcome.of("db"), "failed(overwritten)");
}

/// GitOps changes labels and spec in mid-run: the proof is over the metadata as they then are.
#[tokio::test]
async fn one_that_is_edited_meanwhile_is_proven_as_it_then_is() {
    let (world, outcome) = meanwhile(async |world| {
        let change = json!({"metadata": {"labels": {"team": "renamed"}}, "spec": {"refreshInterval": "2h"}});
        world.patch("ExternalSecret", "db", &change).await;
    })
    .await;
    all_is_well(&world, &outcome).await;
}

/// Between plan and write another object takes the name: it is not the one that was planned for.
#[tokio::test]
async fn one_that_is_replaced_before_it_is_annotated_is_left_alone() {
    let world = World::sandbox().await;
    base(&world).await;
    world.embedded().inject(Fault::latency(Duration::from_millis(700)).verb("patch").resource("externalsecrets").times(1));
    world.embedded().inject(Fault::latency(Duration::from_millis(700)).verb("create").resource("leases").times(1));
    let path = world.bin.file("policy.yaml", &world.named("select: [{namespaces: [NS], names: [db]}]\n"));
    let running = world.bin.start(&["run", "-o", "json", "--config", path.to_str().expect("UTF-8")]);
    eventually("the lock is asked for: the plan stands", async || {
        world.embedded().requests().iter().any(|request| request.resource == "leases").then_some(())
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
    let (_, outcome) = meanwhile(async |world| {
        let store = format!("{}-store", world.namespace);
        world.patch("SecretStore", &store, &json!({"spec": {"provider": {"fake": null, "vault": {
            "server": "http://127.0.0.1:1", "path": "p", "auth": {"tokenSecretRef": {"name": "gone", "key": "token"}}}}}})).await;
        world.embedded().start_operator();
        world.store_is(&store, "False").await;
    })
    .await;
    outcome.exits(3);
    let reasons = [outcome.of("db"), outcome.of("api")];
    assert!(reasons.iter().any(|reason| reason == "failed(store-not-ready)" || reason == "failed(denied)"), "{reasons:?}");
}

/// `count` ExternalSecrets in the test's namespace, all synced.
async fn many(world: &World, count: usize) {
    base(world).await;
    let template = world.get("ExternalSecret", "db").await.expect("db");
    for index in 0..count {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": format!("many-{index:05}"), "namespace": world.namespace},
            "spec": template["spec"],
        });
        world.embedded().apply(object).expect("it is created");
    }
    eventually("the operator has synced all of them", async || {
        let last = world.embedded().get("externalsecrets", &world.namespace, &format!("many-{:05}", count - 1))?;
        last["status"]["syncedResourceVersion"].as_str().map(drop)
    })
    .await;
}

#[tokio::test]
async fn an_operator_that_is_gone_stops_the_run() {
    let world = World::sandbox().await;
    many(&world, 60).await;
    world.embedded().stop_operator();
    let outcome = run(&world, &["--timeout", "2s"]).await;
    outcome.exits(5);
    let document = outcome.document();
    assert_eq!(document["summary"]["stopped"], "too-many-failures");
    assert_eq!(document["run"]["complete"], json!(false));
    let outcomes = &document["summary"]["outcomes"];
    // Twenty may be in flight, and nine more go before ten have failed.
    let failed = outcomes["failed"].as_u64().expect("some");
    assert!((20..=29).contains(&failed) && outcomes["not-reached"] == json!(62 - failed), "{outcomes}");
    assert!(released(&world.get("Lease", "eso-sync").await.expect("the Lease")));
}

#[tokio::test]
async fn a_signal_ends_what_is_in_flight_and_starts_nothing_new() {
    let world = World::sandbox().await;
    many(&world, 60).await;
    world.embedded().stop_operator();
    let path = world.bin.file("policy.yaml", &world.named(POLICY));
    let running = world.bin.start(&["run", "-o", "json", "--config", path.to_str().expect("UTF-8")]);
    annotated(&world, "db").await;
    running.signal("TERM").await;
    world.embedded().start_operator();
    let outcome = running.end().await;
    outcome.exits(7);
    let document = outcome.document();
    let outcomes = &document["summary"]["outcomes"];
    assert_eq!(document["summary"]["stopped"], "signal");
    assert_eq!(outcomes["unproven"], Value::Null, "what was in flight has its answer: {outcomes}");
    let synced = outcomes["synced"].as_u64().expect("some");
    assert!((1..=20).contains(&synced) && outcomes["not-reached"] == json!(62 - synced), "{outcomes}");
    assert!(released(&world.get("Lease", "eso-sync").await.expect("the Lease")));
}

#[tokio::test]
async fn a_second_signal_ends_the_run_at_once() {
    let world = World::sandbox().await;
    base(&world).await;
    world.embedded().stop_operator();
    let path = world.bin.file("policy.yaml", &world.named(POLICY));
    let running = world.bin.start(&["run", "-o", "json", "--config", path.to_str().expect("UTF-8")]);
    annotated(&world, "db").await;
    annotated(&world, "api").await;
    running.signal("TERM").await;
    running.signal("INT").await;
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!([outcome.of("db"), outcome.of("api")], ["unproven(interrupted)", "unproven(interrupted)"]);
    assert!(released(&world.get("Lease", "eso-sync").await.expect("the Lease")));
}

#[tokio::test]
async fn a_deadline_ends_the_run() {
    let world = World::sandbox().await;
    base(&world).await;
    world.embedded().stop_operator();
    let policy = format!("{POLICY}deadline: 1s\n");
    let outcome = world.bin.policy(&world.named(&policy), &[]).await;
    outcome.exits(7);
    assert_eq!(outcome.document()["summary"]["stopped"], "deadline");
    assert_eq!(outcome.of("db"), "unproven(interrupted)");
}

#[tokio::test]
async fn a_second_run_is_told_who_holds_the_lock() {
    let world = World::sandbox().await;
    base(&world).await;
    world.embedded().stop_operator();
    let path = world.bin.file("first.yaml", &world.named(POLICY));
    let first = world.bin.start(&["run", "-o", "json", "--config", path.to_str().expect("UTF-8")]);
    annotated(&world, "db").await;
    let lease = world.get("Lease", "eso-sync").await.expect("the Lease");
    let holder = lease["spec"]["holderIdentity"].as_str().expect("a holder").to_owned();
    let second = run(&world, &[]).await;
    assert!(second.exits(6).stderr.contains(&holder), "{}", second.stderr);
    world.embedded().start_operator();
    first.end().await.exits(0);
}

#[tokio::test]
async fn a_second_run_can_wait_for_the_lock() {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world.embedded().stop_operator();
    let path = world.bin.file("first.yaml", &world.named(POLICY));
    let first = world.bin.start(&["run", "-o", "json", "--config", path.to_str().expect("UTF-8")]);
    annotated(&world, "db").await;
    let mut second = world.bin.start(&["run", "-v", "--config", path.to_str().expect("UTF-8"), "--wait-lock", "60s"]);
    second.says("another run holds the lock").await;
    world.embedded().start_operator();
    first.end().await.exits(0);
    second.end().await.exits(0);
}

#[tokio::test]
async fn a_run_that_is_killed_harms_nothing_and_the_next_takes_over() {
    let world = World::sandbox().await;
    base(&world).await;
    rotate(&world).await;
    world.embedded().stop_operator();
    let path = world.bin.file("first.yaml", &world.named(POLICY));
    let first = world.bin.start(&["run", "--config", path.to_str().expect("UTF-8")]);
    annotated(&world, "db").await;
    first.signal("KILL").await;
    first.end().await;
    world.embedded().start_operator();
    all_is_well(&world, &run(&world, &[]).await).await;
}

#[tokio::test]
async fn who_loses_the_lock_stops_writing() {
    let world = World::sandbox().await;
    many(&world, 60).await;
    world.embedded().stop_operator();
    let path = world.bin.file("policy.yaml", &world.named(POLICY));
    let running = world.bin.start(&["run", "-o", "json", "--config", path.to_str().expect("UTF-8")]);
    annotated(&world, "db").await;
    let mut thief = world.get("Lease", "eso-sync").await.expect("the Lease");
    thief["spec"]["holderIdentity"] = json!("thief");
    thief["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    world.apply(thief).await;
    eventually("the loss is noticed", async || {
        let requests = world.embedded().requests();
        let leases = requests.iter().filter(|request| request.resource == "leases" && request.user_agent.starts_with("eso-sync/"));
        let verbs: Vec<&str> = leases.map(|request| request.verb).collect();
        verbs.ends_with(&["update", "get"]).then_some(())
    })
    .await;
    world.embedded().start_operator();
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!(outcome.document()["summary"]["stopped"], "lock-lost");
    let lease = world.get("Lease", "eso-sync").await.expect("the Lease");
    assert_eq!(lease["spec"]["holderIdentity"], "thief", "it is not released by who lost it");
}

/// Proof, pages and pace for more than fits into ten pages, at hardly more than one request for each.
#[tokio::test]
async fn five_thousand_in_one_namespace_are_synced_with_hardly_more_requests() {
    let world = World::sandbox().await;
    many(&world, 5000).await;
    let policy = format!("{POLICY}safety: {{maxSyncs: 10000}}\npace: {{default: 100000/s, kubernetes: 100000/s}}\n");
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
    let settings = Settings { v1beta1: true, md5: true, ..Settings::default() };
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
    let job = rbac::JobIdentity { namespace: world.namespace.clone(), service_account: "job".to_owned() };
    let granted = rbac::rules(Some(&policy), &job);
    let before = world.embedded().requests().len();
    let path = world.bin.file("all.yaml", "select: [{}]\n");
    let path = path.to_str().expect("UTF-8");
    world.bin.run(&["plan", "--config", path]).await.exits(0);
    world.bin.run(&["status", "-A"]).await.exits(0);
    let looked = world.embedded().requests().split_off(before);
    assert!(looked.iter().all(|request| request.method == "GET"), "looking never writes");
    world.bin.run(&["run", "--config", path]).await.exits(0);
    for request in world.embedded().requests().split_off(before).into_iter().filter(|request| !request.resource.is_empty()) {
        let asked = rbac_request(&request.path, request.verb, request.resource);
        assert!(granted.allows(&asked), "not granted: {asked:?}");
    }
}

fn rbac_request(path: &str, verb: &str, resource: &str) -> rbac::Request {
    let parts: Vec<&str> = path.split('/').collect();
    let group = if path.starts_with("/apis/") { parts[2] } else { "" };
    let within = parts.iter().position(|part| *part == "namespaces").filter(|_| resource != "namespaces");
    let name = parts.iter().position(|part| *part == resource).and_then(|at| parts.get(at + 1));
    rbac::Request {
        verb: verb.to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: within.and_then(|at| parts.get(at + 1)).map(|namespace| (*namespace).to_owned()),
        name: name.map(|name| (*name).to_owned()),
    }
}
