use std::{collections::BTreeMap, time::Duration};

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    policy::notify,
    report::{Run, sheet::Note},
};

fn sheet(exit_code: u8, rows: Vec<Row>) -> Sheet {
    Sheet {
        kind: "Report".to_owned(),
        run: Run {
            id: "20260301t120000z-0badcafe".to_owned(),
            version: "0.0.0",
            context: Some("prod".to_owned()),
            server: "https://10.0.0.1:6443".to_owned(),
            policy_digest: None,
            report_url: Some("https://ci.example/run?id=1&x=2".to_owned()),
            started: "2026-03-01T12:00:00Z".parse().unwrap(),
            finished: "2026-03-01T12:01:10Z".parse().unwrap(),
            complete: true,
            exit_code,
        },
        totals: vec!["1 ExternalSecret failed".to_owned()],
        rows,
        notes: vec![
            Note::new(Level::Skipped, "only a warning"),
            Note::new(Level::Unknown, "could not read pods: forbidden"),
        ],
    }
}

fn row(name: &str, level: Level) -> Row {
    Row {
        kind: "ExternalSecret",
        namespace: "shop".into(),
        name: name.into(),
        level,
        ..Row::default()
    }
}

fn message(rows: Vec<Row>) -> Message {
    Message::of(&sheet(3, rows), "run")
}

fn body(payload: &Payload) -> Json {
    serde_json::from_str(&payload.body).unwrap()
}

#[test]
fn only_the_occasions_of_the_policy_make_a_message_due() {
    let with = |exit_code, row| Message::of(&sheet(exit_code, vec![row]), "run").occasions;
    let plain = || row("db", Level::Good);
    assert_eq!(with(0, plain()), [NotifyOn::Always]);
    // Differences are no failure, and another run that holds the lock does the work.
    assert_eq!(with(1, plain()), [NotifyOn::Always]);
    assert_eq!(with(6, plain()), [NotifyOn::Always]);
    for code in [2, 3, 4, 5, 7] {
        assert_eq!(with(code, plain()), [NotifyOn::Failure, NotifyOn::Always]);
    }
    let repaired = Row {
        verdict: "stale",
        ..row("db", Level::Changed)
    };
    assert_eq!(with(0, repaired), [NotifyOn::Drift, NotifyOn::Always]);
    let restarted = Row {
        kind: "Deployment",
        outcome: "restarted",
        ..row("api", Level::Changed)
    };
    assert_eq!(
        with(0, restarted.clone()),
        [NotifyOn::Restart, NotifyOn::Always]
    );
    let message = Message::of(&sheet(0, vec![restarted]), "run");
    assert!(message.is_due(&[NotifyOn::Failure, NotifyOn::Restart]));
    assert!(!message.is_due(&[NotifyOn::Failure, NotifyOn::Drift]));
    assert!(!message.is_due(&[]));
}

#[test]
fn change_is_due_once_and_its_alert_stays_until_nothing_is_wrong() {
    let on = [NotifyOn::Change];
    let with = |exit_code, rows, compared| {
        let mut message = Message::of(&sheet(exit_code, rows), "run");
        message.compare(compared);
        (message.is_due(&on), message.is_firing(&on), message)
    };
    let failed = || vec![row("db", Level::Failed)];
    let began = Change {
        began: 1,
        ..Change::default()
    };
    let (due, firing, message) = with(3, failed(), Ok(Some(began)));
    assert!(due && firing);
    assert_eq!(message.lines()[1], "need more attention than before: 1");
    let (due, firing, _) = with(3, failed(), Ok(None));
    assert!(!due && firing);
    // Drift that `run` is told to leave is no failure, and still there.
    let (due, firing, _) = with(0, vec![row("db", Level::Differs)], Ok(None));
    assert!(!due && firing);
    let recovery = Change {
        is_recovery: true,
        failed_before: Some(3),
        began: 0,
        ended: vec!["ExternalSecret shop/db".to_owned()],
    };
    let (due, firing, message) = with(0, Vec::new(), Ok(Some(recovery)));
    assert!(due && !firing);
    assert_eq!(
        message.title(),
        "eso-sync run recovered in the context prod"
    );
    assert_eq!(message.lines()[1], "the run before failed (exit code 3)");
    assert_eq!(
        message.lines()[2],
        "ExternalSecret shop/db needs less attention than before"
    );
    // Without a history, every failure is told.
    let (due, firing, _) = with(3, failed(), Err(()));
    assert!(due && firing);
    let (due, firing, _) = with(0, Vec::new(), Err(()));
    assert!(!due && !firing);
    let (due, firing, message) = with(6, Vec::new(), Ok(None));
    assert!(!due && !firing && !message.is_about_work());
}

#[test]
fn default_is_change_where_a_history_is_kept() {
    let unset = notify::Notify::default();
    assert_eq!(unset.occasions(true), [NotifyOn::Change]);
    assert_eq!(unset.occasions(false), [NotifyOn::Failure]);
    let set = notify::Notify {
        on: Some(vec![NotifyOn::Drift]),
        ..unset
    };
    assert_eq!(set.occasions(true), [NotifyOn::Drift]);
}

#[test]
fn message_names_the_most_severe_first_and_counts_the_others() {
    let mut rows: Vec<Row> = (0..12)
        .map(|number| row(&format!("stale-{number}"), Level::Differs))
        .collect();
    rows.push(row("well", Level::Good));
    rows.push(Row {
        reason: "throttled",
        ..row("db", Level::Failed)
    });
    let lines = message(rows).lines();
    assert_eq!(lines[1], "could not read pods: forbidden");
    assert_eq!(lines[2], "ExternalSecret shop/db failed: throttled");
    assert_eq!(lines[3], "ExternalSecret shop/stale-0 differs");
    assert_eq!(lines.last().unwrap(), "and 3 more");
    assert!(!lines.join("\n").contains("well"));
}

#[test]
fn slack_gets_a_short_text_without_foreign_markup() {
    let hostile = "<!channel> & <https://evil.example|click>\u{1b}[2J";
    let payload = Payload::slack(&message(vec![Row {
        message: hostile.into(),
        ..row("db", Level::Failed)
    }]));
    let body = body(&payload);
    let text = body["blocks"][1]["text"]["text"].as_str().unwrap();
    assert_eq!(
        body["text"],
        "eso-sync run failed (exit code 3) in the context prod"
    );
    assert!(text.contains("&lt;!channel&gt; &amp; "), "{text}");
    assert!(!text.contains('\u{1b}'));
    assert_eq!(text.matches('<').count(), 1, "{text}");
    assert!(text.ends_with("<https://ci.example/run?id=1&amp;x=2|report>"));
    for block in body["blocks"].as_array().unwrap() {
        assert_eq!(block["text"]["verbatim"], true);
    }
    let row = Row {
        message: "<".repeat(5000).into(),
        ..row("db", Level::Failed)
    };
    let rows = vec![row; 10];
    let long: Json = serde_json::from_str(&Payload::slack(&message(rows)).body).unwrap();
    let text = long["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(text.chars().count() <= 3000);
    assert!(text.ends_with("|report>"), "the link is cut off");
    let before = text.rsplit_once('…').unwrap().0;
    assert!(
        before.ends_with(';') || !before.contains('&'),
        "half of an entity"
    );
}

#[test]
fn alert_of_a_failed_run_is_resolved_by_a_good_one() {
    let labels = BTreeMap::from([("cluster".to_owned(), "prod".to_owned())]);
    let alert = |is_due| {
        let message = message(vec![row("db", Level::Failed)]);
        let payload = Payload::alertmanager(&message, is_due, Duration::from_hours(2), &labels);
        body(&payload)
    };
    let failed = alert(true);
    assert_eq!(
        failed[0]["labels"],
        json!({"alertname": "EsoSyncRun", "cluster": "prod", "severity": "warning"})
    );
    assert_eq!(failed[0]["endsAt"], "2026-03-01T14:01:10Z");
    assert_eq!(failed[0]["generatorURL"], "https://ci.example/run?id=1&x=2");
    let good = alert(false);
    assert_eq!(good[0]["endsAt"], "2026-03-01T12:01:10Z");
    assert_eq!(good[0]["labels"], failed[0]["labels"]);
}

#[test]
fn webhook_gets_an_event() {
    let row = Row {
        reason: "throttled",
        ..row("db", Level::Failed)
    };
    let payload = Payload::event(&message(vec![row]));
    assert_eq!(payload.content_type, "application/cloudevents+json");
    assert_snapshot!(serde_json::to_string_pretty(&body(&payload)).unwrap());
}

#[test]
fn template_is_filled_once_and_stays_json() {
    let template = notify::template(
        r#"{"text": "*{title}* ({exitCode}) {unknown} {", "cards": [{"body": "{text}", "url": "{link}", "n": 1}]}"#,
    );
    let hostile = Row {
        message: "\"}], \"x\": \"{link}".into(),
        ..row("db", Level::Failed)
    };
    let body = body(&Payload::templated(
        &message(vec![hostile]),
        &template.unwrap(),
    ));
    assert_eq!(
        body["text"],
        "*eso-sync run failed (exit code 3) in the context prod* (3) {unknown} {"
    );
    let text = body["cards"][0]["body"].as_str().unwrap();
    assert!(text.ends_with(r#"failed: "}], "x": "{link}"#), "{text}");
    assert_eq!(body["cards"][0]["url"], "https://ci.example/run?id=1&x=2");
    assert_eq!(body["cards"][0]["n"], 1);
    assert_eq!(notify::template("[1]"), None);
    assert_eq!(notify::template("text"), None);
}
