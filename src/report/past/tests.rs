use proptest::prelude::*;

use super::*;
use crate::{
    foreign::Foreign,
    report::{Run, sheet::ChainLink},
};

/// In every field that the history must not keep.
const PLANTED: &str = "planted";

fn run(exit_code: u8) -> Run {
    Run {
        id: "20260301t120000z-0badcafe".to_owned(),
        version: "0.0.0",
        context: Some(PLANTED.to_owned()),
        server: PLANTED.to_owned(),
        policy_digest: Some("1a2b3c4d5e6f".to_owned()),
        started: "2026-03-01T12:00:00Z".parse().unwrap(),
        finished: "2026-03-01T12:01:10Z".parse().unwrap(),
        complete: true,
        exit_code,
        report_url: Some("https://reports.example/x".to_owned()),
    }
}

fn row(name: &str, level: Level) -> Row {
    Row {
        kind: "ExternalSecret",
        namespace: "shop".into(),
        name: name.into(),
        level,
        store: PLANTED.into(),
        provider: PLANTED.into(),
        verdict: "stale",
        outcome: "failed",
        reason: "denied",
        message: PLANTED.into(),
        next_step: PLANTED.into(),
        keys: vec![PLANTED.into()],
        chain: vec![ChainLink {
            kind: "provider",
            name: PLANTED.into(),
            level,
            state: "read",
        }],
        ..Row::default()
    }
}

fn past(rows: Vec<Row>) -> PastRun {
    past_of(PLANTED, rows)
}

fn past_of(kind: &str, rows: Vec<Row>) -> PastRun {
    let sheet = Sheet {
        kind: kind.to_owned(),
        run: run(3),
        totals: vec![PLANTED.to_owned()],
        rows,
        notes: vec![crate::report::sheet::Note::new(Level::Failed, PLANTED)],
    };
    let job = "nightly".parse().unwrap();
    PastRun::of(&sheet, "run", Some(&job)).unwrap()
}

#[test]
fn a_summary_has_names_of_objects_and_words_of_the_program_only() {
    let published = Row {
        kind: "secret",
        name: PLANTED.into(),
        ..row(PLANTED, Level::Failed)
    };
    let workload = Row {
        kind: "Deployment",
        verdict: "",
        ..row("web", Level::Changed)
    };
    let fine = row("fine", Level::Good);
    let past = past(vec![row("api", Level::Failed), published, workload, fine]);
    let text = past.text();
    assert!(!text.contains(PLANTED), "{text}");
    insta::assert_snapshot!(text, @r#"{"command":"run","job":"nightly","policy":"1a2b3c4d5e6f","url":"https://reports.example/x","started":"2026-03-01T12:00:00Z","finished":"2026-03-01T12:01:10Z","exitCode":3,"complete":true,"objects":4,"attention":2,"outcomes":{"failed":2},"verdicts":{"stale":2},"workloads":{"failed":1},"published":{"failed":1},"items":["ExternalSecret shop/api failed stale failed denied","Deployment shop/web changed - failed denied"],"cut":0}"#);
    assert_eq!(text.parse(), Ok(past));
}

#[test]
fn a_summary_is_bounded_and_keeps_the_worst() {
    let long = |index: usize| format!("{index:05}{}", "x".repeat(240));
    let level = |index: usize| {
        if index < 20 {
            Level::Failed
        } else {
            Level::Changed
        }
    };
    let rows = (0..10_000).rev();
    let past = past(rows.map(|index| row(&long(index), level(index))).collect());
    assert!(past.text().len() <= LARGEST, "{}", past.text().len());
    let kept = past.items.len();
    assert_eq!(kept + usize::try_from(past.cut).unwrap(), 10_000);
    assert!(
        past.items[..20]
            .iter()
            .all(|item| item.level == Level::Failed)
    );
    assert_eq!(past.items[0].name, long(0));
    assert_eq!(past.attention, 20);
    assert_eq!(past.text().parse(), Ok(past));
}

#[test]
fn wrong_calls_are_no_runs() {
    let mut sheet = Sheet {
        kind: String::new(),
        run: run(2),
        totals: Vec::new(),
        rows: Vec::new(),
        notes: Vec::new(),
    };
    assert_eq!(PastRun::of(&sheet, "run", None), None);
    sheet.run.exit_code = 4;
    assert!(PastRun::of(&sheet, "run", None).is_some());
}

#[test]
fn texts_that_no_run_writes_are_refused() {
    let good = past(vec![row("api", Level::Failed)]).text();
    assert!(good.parse::<PastRun>().is_ok());
    for (what, instead) in [
        ("\"run\"", "\"RUN\""),
        ("\"run\"", "\"\u{1b}[2J\""),
        ("\"nightly\"", "\"<script>\""),
        ("\"exitCode\":3", "\"exitCode\":8"),
        ("\"exitCode\":3", "\"exitCode\":-1"),
        ("12:01:10", "11:01:10"),
        ("2026-03-01T12:01:10", "2036-03-01T12:01:10"),
        ("https://reports.example/x", "javascript:alert(1)"),
        ("https://reports.example/x", "https://a/)[x](y"),
        ("shop/api", "shop/../api"),
        ("shop/api", "shop"),
        ("shop/api", "shop/<b>"),
        ("ExternalSecret shop", "Evil shop"),
        ("failed stale", "terrible stale"),
        (" denied", " denied more"),
        ("\"stale\":1", "\"::error::\":1"),
        ("\"objects\":1", "\"objects\":4294967296"),
    ] {
        let text = good.replacen(what, instead, 1);
        assert_ne!(text, good, "{what}");
        assert_eq!(text.parse::<PastRun>(), Err(Malformed), "{text}");
    }
    let large = good.replacen('{', &format!("{{{}", " ".repeat(LARGEST)), 1);
    assert_eq!(large.parse::<PastRun>(), Err(Malformed));
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), name in any::<String>(), from in 0_usize..400, to in 0_usize..400) {
        drop(text.parse::<PastRun>());
        drop(PastItem::try_from(text));
        let past = past(vec![Row { namespace: Foreign::from(name.clone()), ..row(&name, Level::Failed) }]);
        let mut text = past.text();
        prop_assert_eq!(text.parse(), Ok(past));
        let (from, to) = (from.min(text.len()), to.min(text.len()));
        if from < to && text.is_char_boundary(from) && text.is_char_boundary(to) {
            text.replace_range(from..to, "");
            drop(text.parse::<PastRun>());
        }
    }
}

#[test]
fn refused_plan_says_nothing_about_its_objects() {
    let refused = past_of("Plan", vec![row("db", Level::Changed)]);
    assert_eq!((refused.objects, refused.items.len()), (0, 0));
}
