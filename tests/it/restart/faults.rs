//! Runs in which a part fails. No pending restart is lost, and the report shows the state.

use std::time::Duration;

use sandbox::Fault;
use serde_json::json;

use super::{POLICY, is_up, rolled, run, shop, typed, workload};
use crate::{
    scenarios::{AFTER, base, rotate, rotate_to},
    support::{Outcome, World, eventually},
};

/// `later` in base64.
const LATER: &str = "bGF0ZXI=";

/// The number of old pods in the report.
fn old_pods(outcome: &Outcome, name: &str) -> usize {
    outcome.restart(name)["oldPods"]
        .as_array()
        .map_or(0, Vec::len)
}

/// A person who repeats the command within minutes wants the restart now.
#[tokio::test]
async fn an_ad_hoc_restart_ignores_the_cooldown() {
    let world = World::sandbox().await;
    shop(&world).await;
    rotate(&world).await;
    let sync = typed(&world);
    world.bin.run(&sync).await.exits(0);
    rotate_to(&world, "later").await;
    let outcome = world.bin.run(&sync).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 3);
    world.end().await;
}

/// With a policy, the next run restarts it.
#[tokio::test]
async fn retry_overrides_the_cooldown() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    run(&world, &[]).await.exits(0);
    rotate_to(&world, "later").await;
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    assert_eq!(outcome.restart_of("web"), "left(cooling-down)");
    assert_eq!(outcome.restart("web")["behind"], json!(true));
    assert_eq!(old_pods(&outcome, "web"), 3);
    let outcome = run(&world, &["--retry"]).await;
    outcome.restarted("web");
    world.end().await;
}

/// An ad hoc command has no later run that restarts the workload, so it fails.
#[tokio::test]
async fn an_ad_hoc_sync_fails_without_its_restart() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    let paused = json!({"spec": {"paused": true}});
    world.patch("Deployment", "web", &paused).await;
    rotate(&world).await;
    let sync = typed(&world);
    let outcome = world.bin.run(&sync).await;
    outcome.exits(3);
    assert_eq!(outcome.document()["run"]["exitCode"], json!(3));
    assert_eq!(outcome.restart_of("web"), "left(paused)");
    assert_eq!(old_pods(&outcome, "web"), 3);
    world.end().await;
}

/// The first workload fails. The same run reports that the others of its rule have old data.
#[tokio::test]
async fn workloads_of_a_stopped_rule_have_old_data() {
    let world = World::sandbox().await;
    shop(&world).await;
    for name in ["xyz", "yyy"] {
        world.apply(workload("Deployment", name, "db")).await;
        is_up(&world, "Deployment", name).await;
    }
    let policy = world.named(POLICY).replace("wait: 1m", "wait: 2s");
    world.bin.policy(&policy, &[]).await.exits(0);
    let never = json!({"metadata": {"annotations": {"sandbox.eso-sync/ready-after": "never"}}});
    world.patch("Deployment", "web", &never).await;
    rotate(&world).await;
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "failed(not-healthy-again)");
    for name in ["xyz", "yyy"] {
        assert_eq!(outcome.restart_of(name), "not-reached(rule-stopped)");
        assert_eq!(old_pods(&outcome, name), 3);
    }
    let counts = &outcome.document()["summary"]["restarts"];
    assert_eq!(counts["behind"], json!(3), "{counts}");
    world.end().await;
}

/// A run that ends before its restarts reports which workloads run with old data.
#[tokio::test]
async fn a_run_stopped_during_sync_reports_workloads_with_old_data() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    let slow = Fault::latency(Duration::from_secs(3));
    world
        .embedded()
        .inject(slow.verb("patch").path("*/externalsecrets/api"));
    let running = world.start(POLICY);
    eventually("db is synced", async || {
        (world.secret("db", "password").await.as_deref() == Some(AFTER)).then_some(())
    })
    .await;
    running.signal("TERM").await;
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!(outcome.restart_of("web"), "not-reached(signal)");
    assert_eq!(outcome.restart("web")["behind"], json!(true));
    assert_eq!(old_pods(&outcome, "web"), 3);
    world.end().await;
}

/// Without a stamp the Secret is not synced, because later runs could not know that a restart is pending.
#[tokio::test]
async fn a_refused_stamp_holds_the_sync_back() {
    let world = World::sandbox().await;
    shop(&world).await;
    let before = world.secret("db", "password").await;
    rotate(&world).await;
    let refused = Fault::forbidden().verb("patch").resource("deployments");
    world.embedded().inject(refused);
    let outcome = run(&world, &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.of("db"), "skipped(stamp-not-written)");
    assert_eq!(outcome.of("api"), "synced", "no workload uses its Secret");
    assert_eq!(outcome.restart_of("web"), "failed(refused)");
    let document = outcome.document();
    for (part, name) in [("items", "db"), ("restarts", "web")] {
        let of = document[part].as_array().expect("some");
        let it = of.iter().find(|it| it["name"] == name).expect("it");
        let message = it["message"].as_str().expect("why");
        assert!(message.contains("its stamp was not written"), "{message}");
        assert!(it["nextStep"].is_string(), "{it}");
    }
    assert!(outcome.stdout.contains("Deployment/web: its stamp"));
    assert_eq!(world.secret("db", "password").await, before);
    world.embedded().clear_faults();
    let outcome = run(&world, &[]).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

#[tokio::test]
async fn a_short_api_outage_loses_no_stamp() {
    let world = World::sandbox().await;
    shop(&world).await;
    rotate(&world).await;
    let gone = Fault::drop_before().verb("patch").resource("deployments");
    world.embedded().inject(gone.times(3));
    let outcome = run(&world, &[]).await;
    outcome.restarted("web");
    world.end().await;
}

/// While the list of workloads is unknown, Secrets that a rule may restart on are not synced.
async fn holds_back_the_sync_on(fault: Fault, why: &str) {
    let world = World::sandbox().await;
    shop(&world).await;
    let before = world.secret("db", "password").await;
    rotate(&world).await;
    world.embedded().inject(fault);
    let outcome = run(&world, &[]).await;
    outcome.exits(3);
    for name in ["db", "api"] {
        assert_eq!(outcome.of(name), "skipped(stamp-not-written)");
    }
    assert!(outcome.stdout.contains(why), "{}", outcome.stdout);
    assert_eq!(world.secret("db", "password").await, before);
    world.embedded().clear_faults();
    let outcome = run(&world, &[]).await;
    outcome.restarted("web");
    world.end().await;
}

#[tokio::test]
async fn unlisted_workloads_hold_the_sync_back() {
    let fault = Fault::forbidden().verb("list").resource("deployments");
    holds_back_the_sync_on(fault, "deployments could not be listed").await;
}

#[tokio::test]
async fn a_missing_stamp_key_holds_the_sync_back() {
    let fault = Fault::forbidden().verb("create").resource("secrets");
    holds_back_the_sync_on(fault, "secrets/eso-sync-stamp-key could not be read").await;
}

/// The plan shows this too.
#[tokio::test]
async fn a_plan_shows_items_that_are_held_back() {
    let world = World::sandbox().await;
    shop(&world).await;
    let fault = Fault::forbidden().verb("list").resource("deployments");
    world.embedded().inject(fault);
    let path = world.bin.file("plan.yaml", &world.named(POLICY));
    let path = path.to_str().expect("UTF-8");
    let plan = ["plan", "-o", "json", "--config", path];
    let plan = world.bin.run(&plan).await;
    plan.exits(3);
    assert_eq!(plan.of("db"), "skip(stamp-not-written)");
    assert_eq!(plan.document()["summary"]["toSync"], json!(0));
    world.end().await;
}

/// If Argo Rollouts is not installed and the run may not list Rollouts, the list is denied instead of not found.
#[tokio::test]
async fn missing_argo_rollouts_hold_nothing_back() {
    let world = World::sandbox().await;
    shop(&world).await;
    rotate(&world).await;
    let sandbox = world.embedded();
    sandbox.inject(Fault::forbidden().verb("list").resource("rollouts"));
    let sync = typed(&world);
    world.bin.run(&sync).await.exits(3);
    sandbox.inject(Fault::status(404).path("/apis/argoproj.io/v1alpha1"));
    let outcome = world.bin.run(&sync).await;
    outcome.restarted("web");
    world.end().await;
}

/// The Secret was synced, but its workloads cannot be listed again.
#[tokio::test]
async fn workloads_that_cannot_be_listed_again_stay_pending() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    let fault = Fault::status(500).verb("list").resource("deployments");
    world.embedded().inject(fault.after(1));
    let outcome = run(&world, &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.of("db"), "synced");
    assert_eq!(outcome.restart_of("web"), "not-reached(api-unavailable)");
    let gaps = outcome.document()["gaps"].to_string();
    assert!(gaps.contains("deployments"), "{gaps}");
    world.embedded().clear_faults();
    let outcome = run(&world, &[]).await;
    outcome.restarted("web");
    world.end().await;
}

/// A healthy workload does not prove that its pods are new.
#[tokio::test]
async fn unreadable_pods_prove_nothing() {
    let world = World::sandbox().await;
    shop(&world).await;
    let late = json!({"metadata": {"annotations": {"sandbox.eso-sync/ready-after": "2s"}}});
    world.patch("Deployment", "web", &late).await;
    rotate(&world).await;
    let sync = typed(&world);
    let running = world.bin.start(&sync);
    eventually("it is restarted", async || {
        (rolled(&world, "Deployment", "web").await == 2).then_some(())
    })
    .await;
    let fault = Fault::status(500).verb("list").resource("pods");
    world.embedded().inject(fault);
    let outcome = running.end().await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "unproven(api-unavailable)");
    assert_eq!(outcome.restart("web")["behind"], json!(true));
    let document = outcome.document();
    let chain = document["chain"].as_array().expect("a chain");
    let pods = chain.iter().find(|link| link["link"] == "pods");
    let pods = pods.expect("a link");
    assert_eq!(pods["proven"], json!(false), "{pods}");
    let message = pods["message"].as_str().expect("why");
    assert!(message.starts_with("pods could not be read"), "{message}");
    world.end().await;
}

/// Reloader's ignore annotation on the Secret means that Reloader does not restart the workload.
#[tokio::test]
async fn a_secret_ignored_by_reloader_causes_a_restart() {
    let world = World::sandbox().await;
    base(&world).await;
    let mut web = workload("Deployment", "web", "db");
    web["metadata"]["annotations"] = json!({"reloader.stakater.com/auto": "true"});
    world.apply(web).await;
    is_up(&world, "Deployment", "web").await;
    let ignored = json!({"metadata": {"annotations": {"reloader.stakater.com/ignore": "true"}}});
    world.patch("Secret", "db", &ignored).await;
    rotate(&world).await;
    let outcome = run(&world, &[]).await;
    outcome.restarted("web");
    world.end().await;
}

/// The data changes after the drift check and before the restart, so the run has not verified the new data.
#[tokio::test]
async fn data_changed_after_the_check_restarts_nothing() {
    let world = World::sandbox().await;
    shop(&world).await;
    let policy = "select: [{namespaces: [NS]}]\nsync: {when: always}\nrestart: [{match: references, wait: 1m}]\n";
    let policy = world.named(policy);
    world.bin.policy(&policy, &[]).await.exits(0);
    rotate(&world).await;
    let sync = ["sync", "db", "-y", "-n", &world.namespace];
    world.bin.run(&sync).await.exits(0);
    let sandbox = world.embedded();
    let looks = || {
        let requests = sandbox.requests();
        let looks = requests
            .iter()
            .filter(|request| request.verb == "list" && request.resource == "deployments");
        looks.count()
    };
    let before = looks();
    let slow = Fault::latency(Duration::from_secs(5));
    sandbox.inject(slow.verb("list").resource("deployments").times(1));
    let path = world.bin.file("restart.yaml", &policy);
    let path = path.to_str().expect("UTF-8");
    let restart = ["restart", "-o", "json", "--config", path];
    let running = world.bin.start(&restart);
    eventually(
        "the drift check is done and the workloads are listed",
        async || (looks() > before).then_some(()),
    )
    .await;
    rotate_to(&world, "later").await;
    let sync = json!({"metadata": {"annotations": {"force-sync": "now"}}});
    world.patch("ExternalSecret", "db", &sync).await;
    let taken_in = async || (world.secret("db", "password").await? == LATER).then_some(());
    eventually("the operator syncs it", taken_in).await;
    let outcome = running.end().await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "left(secret-not-verified)");
    let message = outcome.restart("web")["message"].to_string();
    assert!(message.contains("has changed since"), "{message}");
    assert_eq!(rolled(&world, "Deployment", "web").await, 1);
    let outcome = world.bin.run(&restart).await;
    outcome.restarted("web");
    world.end().await;
}

/// Status restarts nothing.
#[tokio::test]
async fn status_shows_workloads_with_old_data() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    let path = world.bin.file("status.yaml", &world.named(POLICY));
    let path = path.to_str().expect("UTF-8");
    let status = async |form: &str| {
        let arguments = ["status", "--config", path, "-o", form];
        world.bin.run(&arguments).await
    };
    assert_eq!(status("json").await.restart("web")["behind"], json!(false));
    rotate(&world).await;
    let sync = ["sync", "db", "-y", "-n", &world.namespace];
    world.bin.run(&sync).await.exits(0);
    let outcome = status("json").await;
    assert_eq!(outcome.restart("web")["behind"], json!(true));
    assert_eq!(old_pods(&outcome, "web"), 3);
    let table = status("table").await.stdout;
    let web = table.lines().find(|line| line.contains("web"));
    assert!(web.is_some_and(|web| web.contains("behind")), "{table}");
    assert_eq!(rolled(&world, "Deployment", "web").await, 1);
    world.end().await;
}
