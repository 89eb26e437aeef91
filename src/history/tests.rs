use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{read::MOST_BYTES, *};
use crate::report::{
    Run,
    past::{LARGEST, PastRun, Word},
    view::View,
};

fn run() -> Run {
    Run {
        id: String::new(),
        version: "0.0.0",
        context: None,
        server: String::new(),
        policy_digest: None,
        started: "2026-03-09T12:00:00Z".parse().unwrap(),
        finished: "2026-03-09T12:00:01Z".parse().unwrap(),
        complete: true,
        exit_code: 0,
        report_url: None,
    }
}

fn word(text: &str) -> Word {
    text.parse().unwrap()
}

/// The summary of a run on this day. The items are texts, as in the ConfigMap.
fn past(day: usize, command: &str, job: &str, items: &[&str]) -> (String, String) {
    let attention = items.iter().filter(|item| !item.contains(" changed "));
    let run = serde_json::json!({
        "command": command, "job": job, "started": format!("2026-03-{day:02}T01:00:00Z"),
        "finished": format!("2026-03-{day:02}T01:00:30Z"), "exitCode": 3, "complete": true,
        "objects": 10, "attention": attention.count(), "outcomes": {"failed": 1}, "items": items,
    });
    (format!("{command}-{job}-{day}"), run.to_string())
}

fn kept(runs: &[(String, String)]) -> Kept {
    let kept = parse(&runs.iter().cloned().collect());
    assert_eq!(kept.dropped, 0);
    kept
}

fn shown(runs: &[(String, String)], name: Option<&str>) -> History {
    let about = name.map(|name| About {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    });
    document(
        kept(runs),
        "ns/eso-sync-history".to_owned(),
        about,
        None,
        run(),
    )
}

const FAILED: &str = "ExternalSecret shop/api failed stale failed denied";
const SYNCED: &str = "ExternalSecret shop/api changed in-sync synced stale";

/// When the object needs attention since, and when it drifted first, as days.
fn days(runs: &[(String, String)]) -> (Option<i8>, Option<i8>) {
    let document = shown(runs, Some("api"));
    let item = document.items.first();
    let day = |time: jiff::Timestamp| time.to_zoned(jiff::tz::TimeZone::UTC).day();
    (
        item.and_then(|item| item.attention_since).map(day),
        item.and_then(|item| item.first_drifted).map(day),
    )
}

#[test]
fn attention_begins_after_the_last_run_that_found_nothing() {
    let of = |items: &[&[&str]]| -> Vec<(String, String)> {
        let days = (1..).zip(items);
        days.map(|(day, items)| past(day, "run", "a", items))
            .collect()
    };
    assert_eq!(days(&of(&[&[], &[], &[]])), (None, None));
    assert_eq!(
        days(&of(&[&[FAILED], &[], &[FAILED], &[FAILED]])),
        (Some(3), Some(1))
    );
    assert_eq!(
        days(&of(&[&[FAILED], &[SYNCED], &[FAILED]])),
        (Some(3), Some(1))
    );
    assert_eq!(days(&of(&[&[FAILED], &[FAILED], &[]])), (None, Some(1)));
    let unknown = "ExternalSecret shop/api unknown unverifiable skipped unverifiable";
    assert_eq!(days(&of(&[&[unknown], &[FAILED]])), (Some(1), Some(2)));
}

#[test]
fn runs_that_cannot_know_an_object_neither_begin_nor_end_its_series() {
    let blind = |day: usize, change: &str, instead: &str| {
        let (id, text) = past(day, "run", "a", &[]);
        (id, text.replacen(change, instead, 1))
    };
    let runs = [
        past(1, "run", "a", &[FAILED]),
        blind(2, "\"objects\":10", "\"objects\":0"),
        blind(3, "\"complete\":true", "\"complete\":true,\"cut\":5"),
        past(4, "run", "a", &[FAILED]),
        past(5, "publish", "a", &[]),
        past(6, "run", "another", &[]),
    ];
    assert_eq!(days(&runs), (Some(1), Some(1)));
}

#[test]
fn a_trend_compares_runs_of_the_same_command_and_job() {
    let other = "ExternalSecret shop/db failed stale failed denied";
    let runs = [
        past(1, "run", "a", &[FAILED]),
        past(2, "run", "b", &[]),
        past(3, "run", "a", &[FAILED, other]),
        past(4, "run", "b", &[]),
        past(5, "run", "c", &[FAILED]),
    ];
    let trends = shown(&runs, None).trends;
    let of = |at: usize| (trends[at].trend, &*trends[at].attention);
    assert_eq!(of(0), (Trend::Worse, &[1, 2][..]));
    assert_eq!(of(1), (Trend::Same, &[0, 0][..]));
    assert_eq!(of(2), (Trend::Unknown, &[1][..]));
}

#[test]
fn history_as_text() {
    let runs = [
        past(1, "run", "a", &[SYNCED]),
        past(
            2,
            "run",
            "a",
            &[
                FAILED,
                "Deployment shop/web unknown - unproven not-healthy-again",
            ],
        ),
        past(3, "run", "a", &[FAILED]),
    ];
    insta::assert_snapshot!(text(&shown(&runs, None), &View::default()), @"
    STARTED                RUN       COMMAND   JOB   EXIT   TOOK     OBJECTS   ATTENTION   RESULT
    2026-03-03 01:00:00Z   run-a-3   run       a     3      30.0 s   10        1           1 failed
    2026-03-02 01:00:00Z   run-a-2   run       a     3      30.0 s   10        2           1 failed
    2026-03-01 01:00:00Z   run-a-1   run       a     3      30.0 s   10        0           1 failed

    Needs attention:
    NAMESPACE   KIND             NAME   SINCE                  RUNS   LAST
    shop        ExternalSecret   api    2026-03-02 01:00:00Z   2      stale, failed, denied

    Objects that need attention, oldest run first:
      run of a: 0 2 1 (better)
    3 runs since 2026-03-01 01:00:00Z, 3 failed; need attention now: 1
    ");
    insta::assert_snapshot!(text(&shown(&runs, Some("api")), &View::default()), @"
    ExternalSecret shop/api
    STARTED                RUN       VERDICT   OUTCOME   REASON
    2026-03-03 01:00:00Z   run-a-3   stale     failed    denied
    2026-03-02 01:00:00Z   run-a-2   stale     failed    denied
    2026-03-01 01:00:00Z   run-a-1   in-sync   synced    stale
    First drifted: 2026-03-01 01:00:00Z
    Now: needs attention since 2026-03-02 01:00:00Z; it needed attention in 2 of 3 runs.
    ");
    insta::assert_snapshot!(text(&shown(&runs, Some("other")), &View::default()), @"None of 3 runs changed shop/other or found anything wrong with it. Its name was not checked: runs keep only what needed something.");
    insta::assert_snapshot!(text(&shown(&[], None), &View::default()), @"The ConfigMap ns/eso-sync-history has no runs. A policy with `report: {history: 20}` keeps the last 20.");
}

/// The data after this run was added.
fn added(
    data: &BTreeMap<String, String>,
    id: &str,
    run: &str,
    most: usize,
) -> BTreeMap<String, String> {
    let run: PastRun = run.parse().unwrap();
    let mut data = data.clone();
    for (key, text) in read::change(&data, (&word(id), &run), most) {
        match text {
            Some(text) => drop(data.insert(key, text)),
            None => drop(data.remove(&key)),
        }
    }
    data
}

#[test]
fn each_command_and_job_keeps_its_own_runs() {
    let mut data = BTreeMap::from([("README".to_owned(), "edited by hand".to_owned())]);
    for day in 1..=9 {
        for (id, run) in [
            past(day, "run", "a", &[FAILED]),
            past(day, "events", "a", &[]),
        ] {
            data = added(&data, &id, &run, 3);
        }
    }
    let ids: Vec<&str> = data.keys().map(String::as_str).collect();
    let expected = [
        "events-a-7",
        "events-a-8",
        "events-a-9",
        "run-a-7",
        "run-a-8",
        "run-a-9",
    ];
    assert_eq!(ids, expected);
}

#[test]
fn the_config_map_stays_small_whatever_it_holds() {
    let mut data = BTreeMap::new();
    for index in 0..400 {
        let (id, run) = past(1 + index % 28, "run", &format!("job-{index}"), &[FAILED]);
        let padding = " ".repeat(LARGEST - run.len());
        data.insert(format!("{id}-{index}"), format!("{padding}{run}"));
    }
    data.insert("junk".to_owned(), "x".repeat(500_000));
    let (id, run) = past(9, "run", "mine", &[FAILED]);
    let data = added(&data, &id, &run, 50);
    let size: usize = data.iter().map(|(key, text)| key.len() + text.len()).sum();
    assert!(size <= MOST_BYTES && size > MOST_BYTES / 2, "{size}");
    assert!(data.contains_key(&id) && !data.contains_key("junk"));
}

#[test]
fn entries_of_another_form_are_counted() {
    let (id, good) = past(1, "run", "a", &[FAILED]);
    let data = BTreeMap::from([
        (id, good.clone()),
        ("Not A Word".to_owned(), good),
        ("x".to_owned(), "{}".to_owned()),
    ]);
    let kept = parse(&data);
    assert_eq!((kept.runs.len(), kept.dropped), (1, 2));
    let document = document(kept, "ns/eso-sync-history".to_owned(), None, None, run());
    assert!(text(&document, &View::default()).starts_with("2 entries of the ConfigMap"));
}

proptest! {
    #[test]
    fn no_data_panics(data in prop::collection::btree_map("[a-z0-9]{1,5}", any::<String>(), 0..5), edit in any::<String>(), at in 0_usize..300) {
        let (id, good) = past(1, "run", "a", &[FAILED]);
        let mut edited = good.clone();
        if edited.is_char_boundary(at.min(edited.len())) {
            edited.insert_str(at.min(good.len()), &edit);
        }
        let mut data = data;
        data.insert(id, edited);
        let document = document(parse(&data), String::new(), None, None, run());
        drop(text(&document, &View::default()));
        drop(added(&data, "new", &good, 2));
    }
}
