//! The history of runs, in a ConfigMap of the job's namespace.

use std::time::{Duration, Instant};

use ::sandbox::Fault;
use serde_json::{Value, json};

use crate::{
    providers::double::{Asked, Double, Reply},
    scenarios::{BASE, base, rotate},
    support::{Outcome, World, scenarios},
};

scenarios! {
    runs_are_kept_and_shown
    a_config_map_of_somebody_else_is_not_touched
}

const NAME: &str = "eso-sync-history";

const POLICY: &str = "select:\n  - namespaces: [NS]\ndrift: {enabled: false}\nreport: {history: 2, url: 'https://reports.example/x'}\n";

async fn run(world: &World, more: &[&str]) -> Outcome {
    world.bin.policy(&world.named(POLICY), more).await
}

async fn history(world: &World, more: &[&str]) -> Outcome {
    let arguments = [&["history", "-o", "json", "-n", &world.namespace], more].concat();
    world.bin.run(&arguments).await
}

/// The entries of the ConfigMap.
async fn entries(world: &World) -> Vec<Value> {
    let object = world.get("ConfigMap", NAME).await.unwrap_or_default();
    let data = object["data"].as_object().cloned().unwrap_or_default();
    let texts = data.values().map(|text| text.as_str().expect("text"));
    texts
        .map(|text| serde_json::from_str(text).expect("JSON"))
        .collect()
}

async fn runs_are_kept_and_shown(world: World) {
    base(&world).await;
    rotate(&world).await;
    for _ in 0..3 {
        run(&world, &["--job", "nightly"]).await.exits(0);
    }
    let kept = entries(&world).await;
    assert_eq!(kept.len(), 2, "{kept:?}");
    let shown = history(&world, &[]).await;
    shown.exits(0);
    let document = shown.document();
    let newest = &document["runs"][0];
    assert_eq!(newest["command"], "run");
    assert_eq!(newest["job"], "nightly");
    assert_eq!(newest["exitCode"], 0);
    assert_eq!(newest["objects"], 2);
    assert_eq!(newest["outcomes"], json!({"synced": 2}));
    assert_eq!(newest["reportUrl"], "https://reports.example/x");
    let of_one = history(&world, &["db"]).await;
    let document = of_one.exits(0).document();
    assert_eq!(document["items"][0]["course"][0]["outcome"], "synced");
    assert_eq!(document["items"].as_array().map(Vec::len), Some(1));
    let others = history(&world, &["--job", "other"]).await.document();
    assert_eq!(others["runs"], json!([]));
    // A dry run is no run.
    run(&world, &["--dry-run"]).await.exits(0);
    assert_eq!(entries(&world).await.len(), 2);
    world.end().await;
}

async fn a_config_map_of_somebody_else_is_not_touched(world: World) {
    base(&world).await;
    let own = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"a": "b"}});
    world.apply(own).await;
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    assert!(
        outcome.stderr.contains("was not made by eso-sync"),
        "{}",
        outcome.stderr
    );
    let object = world.get("ConfigMap", NAME).await.expect("it");
    assert_eq!(object["data"], json!({"a": "b"}));
    let shown = history(&world, &[]).await;
    shown.exits(3);
    assert!(shown.stderr.contains("was not made by eso-sync"));
    world.end().await;
}

#[tokio::test]
async fn failed_and_refused_runs_are_kept_without_names_of_keys() {
    let world = World::sandbox().await;
    base(&world).await;
    let broken = BASE.replace("key: db}", "key: no-such-key}");
    world.apply_yaml(&broken).await;
    run(&world, &[]).await.exits(3);
    let refused = POLICY.replace("report:", "safety: {maxSyncs: 1}\nreport:");
    world.bin.policy(&world.named(&refused), &[]).await.exits(5);
    let document = history(&world, &["db"]).await.document();
    let codes: Vec<&Value> = document["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| &run["exitCode"])
        .collect();
    assert_eq!(codes, [5, 3]);
    let item = &document["items"][0];
    assert_eq!(
        item["course"]
            .as_array()
            .and_then(|course| course.last())
            .expect("a run")["outcome"],
        "failed"
    );
    let object = world.get("ConfigMap", NAME).await.expect("it");
    let text = object["data"].to_string();
    for name in ["no-such-key", "password", "token"] {
        assert!(!text.contains(name), "{text}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_write_that_another_run_overtakes_is_tried_again() {
    let world = World::sandbox().await;
    base(&world).await;
    run(&world, &[]).await.exits(0);
    let conflict = Fault::status(409)
        .verb("patch")
        .resource("configmaps")
        .times(2);
    world.embedded().inject(conflict);
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    assert!(!outcome.stderr.contains("history"), "{}", outcome.stderr);
    assert_eq!(entries(&world).await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn runs_that_end_at_the_same_time_are_all_kept() {
    let world = World::sandbox().await;
    base(&world).await;
    let policy = POLICY
        .replace("history: 2", "history: 20")
        .replace("report:", "lock: {enabled: false}\nreport:");
    let file = world.bin.file("policy.yaml", &world.named(&policy));
    let file = file.to_str().expect("UTF-8");
    let arguments = ["run", "--config", file];
    let one = || world.bin.run(&arguments);
    let ended = tokio::join!(one(), one(), one(), one());
    for outcome in [ended.0, ended.1, ended.2, ended.3] {
        assert!(!outcome.stderr.contains("history"), "{}", outcome.stderr);
    }
    assert_eq!(entries(&world).await.len(), 4);
    world.end().await;
}

#[tokio::test]
async fn history_that_cannot_be_written_is_a_warning_in_time() {
    for (fault, text) in [
        (Fault::forbidden(), "`eso-sync rbac` prints the rights"),
        (
            Fault::latency(Duration::from_mins(2)),
            "does not answer within",
        ),
    ] {
        let world = World::sandbox().await;
        base(&world).await;
        world.embedded().inject(fault.resource("configmaps"));
        let start = Instant::now();
        let outcome = run(&world, &[]).await;
        outcome.exits(0);
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(
            outcome.stderr.contains("missing in the history") && outcome.stderr.contains(text),
            "{}",
            outcome.stderr
        );
        world.end().await;
    }
}

#[tokio::test]
async fn a_config_map_with_hostile_text_is_shown_without_it() {
    let world = World::sandbox().await;
    base(&world).await;
    run(&world, &[]).await.exits(0);
    let evil = json!({"a": "\u{1b}[2J<script>", "b": "{\"command\": \"::error::x\"}", "c": "x".repeat(100_000)});
    world.patch("ConfigMap", NAME, &json!({"data": evil})).await;
    let outcome = world.bin.run(&["history"]).await;
    outcome.exits(0);
    assert!(
        outcome.stdout.contains("3 entries of the ConfigMap"),
        "{outcome:?}"
    );
    assert!(!outcome.stdout.contains("script"), "{outcome:?}");
    run(&world, &[]).await.exits(0);
    assert_eq!(entries(&world).await.len(), 2);
    world.end().await;
}

/// Sends messages to the double at this address.
fn telling(world: &mut World, double: &Double) -> String {
    for name in ["WEBHOOK", "ALERTS"] {
        let address = format!("{}/{}", double.url, name.to_lowercase());
        world.bin.set(name, &address);
    }
    format!(
        "{POLICY}notify: {{to: [{{webhook: {{urlFrom: env:WEBHOOK}}}}, {{alertmanager: {{urlFrom: env:ALERTS}}}}]}}\n"
    )
}

/// The titles that the webhook got since the last call, and if the last alert ends later than its run.
fn told(double: &Double, already: &mut usize) -> (Vec<String>, bool) {
    let asked = double.asked().split_off(*already);
    *already += asked.len();
    let (alerts, events): (Vec<Asked>, Vec<Asked>) = asked
        .into_iter()
        .partition(|it| it.path.starts_with("/alerts"));
    let titles = events
        .iter()
        .map(|it| it.json()["data"]["title"].to_string());
    let titles = titles.collect();
    let alert = &alerts.last().expect("an alert").json()[0];
    // A firing one lasts two hours.
    let [start, end] = ["startsAt", "endsAt"].map(|key| {
        let time: jiff::Timestamp = alert[key]
            .as_str()
            .expect("a time")
            .parse()
            .expect("a time");
        time
    });
    (titles, end.duration_since(start).as_hours() >= 2)
}

#[tokio::test]
async fn message_is_sent_when_something_changed_since_the_last_run() {
    let double = Double::start(|_| Reply::Say(200, Vec::new(), String::new())).await;
    let mut world = World::sandbox().await;
    base(&world).await;
    let policy = telling(&mut world, &double);
    let mut already = 0;
    let mut course = Vec::new();
    let broken = BASE.replace("key: db}", "key: no-such-key}");
    for (content, code) in [(BASE, 0), (&*broken, 3), (&broken, 3), (BASE, 0), (BASE, 0)] {
        world.apply_yaml(content).await;
        let outcome = world.bin.policy(&world.named(&policy), &[]).await;
        outcome.exits(code);
        assert!(!outcome.stderr.contains("notify.on"), "{}", outcome.stderr);
        course.push(told(&double, &mut already));
    }
    let titles: Vec<&[String]> = course.iter().map(|(titles, _)| &**titles).collect();
    assert!(
        titles[0].is_empty() && titles[2].is_empty() && titles[4].is_empty(),
        "{titles:?}"
    );
    assert!(
        titles[1][0].contains("run failed (exit code 3)"),
        "{titles:?}"
    );
    assert!(titles[3][0].contains("run recovered"), "{titles:?}");
    let firing: Vec<bool> = course.iter().map(|(_, firing)| *firing).collect();
    assert_eq!(firing, [false, true, true, false, false]);
    world.end().await;
}

#[tokio::test]
async fn failure_is_told_if_the_history_cannot_be_read() {
    let double = Double::start(|_| Reply::Say(200, Vec::new(), String::new())).await;
    let mut world = World::sandbox().await;
    base(&world).await;
    let policy = telling(&mut world, &double);
    let mut already = 0;
    let broken = BASE.replace("key: db}", "key: no-such-key}");
    world.apply_yaml(&broken).await;
    for fault in [Fault::forbidden(), Fault::latency(Duration::from_mins(2))] {
        world.embedded().inject(fault.resource("configmaps"));
        let outcome = world.bin.policy(&world.named(&policy), &[]).await;
        outcome.exits(3);
        let warning = "`notify.on: change` counts every failure as a change this time";
        assert!(outcome.stderr.contains(warning), "{}", outcome.stderr);
        let (titles, firing) = told(&double, &mut already);
        assert_eq!((titles.len(), firing), (1, true));
    }
    world.end().await;
}
