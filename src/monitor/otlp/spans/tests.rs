use std::fmt::Write as _;

use insta::assert_snapshot;

use super::*;
use crate::report;

/// A part of the name of a key at a provider, and of a message.
const PLANTED: &str = "planted";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn span(start: i64, end: Option<i64>) -> trace::Span {
    trace::Span {
        start: at(start),
        end: end.map(at),
    }
}

fn row(kind: &'static str, name: &str, level: Level) -> Row {
    Row {
        kind,
        namespace: "shop".into(),
        name: name.into(),
        level,
        message: PLANTED.into(),
        keys: vec![PLANTED.into()],
        ..Row::default()
    }
}

fn sheet(rows: Vec<Row>) -> Sheet {
    Sheet {
        kind: "Report".to_owned(),
        run: report::Run {
            id: "20260301t120000z-0badcafe".to_owned(),
            version: "0.0.0",
            context: Some("prod\u{1b}[2J".to_owned()),
            server: PLANTED.to_owned(),
            policy_digest: None,
            report_url: None,
            started: at(100),
            finished: at(200),
            complete: true,
            exit_code: 3,
        },
        totals: Vec::new(),
        rows,
        notes: Vec::new(),
    }
}

/// A line for each span, with the name of its parent.
fn tree(spans: &[Span]) -> String {
    let mut text = String::new();
    for span in spans {
        let parent = spans.iter().find(|it| it.span_id == span.parent_span_id);
        let parent = parent.map_or("-", |parent| &parent.name);
        let seconds = |nanoseconds: u64| nanoseconds / 1_000_000_000;
        let (start, end) = (
            seconds(span.start_time_unix_nano),
            seconds(span.end_time_unix_nano),
        );
        let status = span.status.as_ref();
        let status = status.map_or(String::new(), |it| format!(" error: {}", it.message));
        writeln!(text, "{} < {parent}: {start}-{end}{status}", span.name).unwrap();
    }
    text
}

#[test]
fn phases_and_objects_are_below_the_run() {
    let mut times = Times {
        phases: vec![
            (Phase::Discover, span(100, Some(110))),
            (Phase::Check, span(110, Some(130))),
            (Phase::Sync, span(130, Some(150))),
            (Phase::Sync, span(150, Some(170))),
            // It was cut off.
            (Phase::Restart, span(170, None)),
        ],
        ..Times::default()
    };
    let mut add = |kind, name: &str, span| {
        let object = (kind, "shop".to_owned(), name.to_owned());
        times.objects.insert(object, span);
    };
    add("ExternalSecret", "db", span(131, Some(133)));
    add("ExternalSecret", "queue", span(151, Some(152)));
    add("Deployment", "api", span(171, Some(180)));
    let rows = vec![
        row("ExternalSecret", "db", Level::Changed),
        Row {
            reason: "throttled",
            ..row("ExternalSecret", "queue", Level::Failed)
        },
        Row {
            reason: "denied",
            ..row("ExternalSecret", "unread", Level::Unknown)
        },
        row("ExternalSecret", "in-sync", Level::Good),
        row("ExternalSecret", "skipped", Level::Skipped),
        row("Deployment", "api", Level::Good),
        row("secret", PLANTED, Level::Changed),
    ];
    let spans = of(&sheet(rows), "run", &times, None);
    assert_snapshot!(tree(&spans));
    let all = format!("{spans:?}");
    assert!(!all.contains(PLANTED) && !all.contains('\u{1b}'), "{all}");
    let ids: std::collections::BTreeSet<&[u8]> = spans.iter().map(|it| &*it.span_id).collect();
    assert_eq!(ids.len(), spans.len());
    assert!(
        spans
            .iter()
            .all(|it| it.trace_id.len() == 16 && it.span_id.len() == 8)
    );
}

#[test]
fn run_continues_the_trace_of_who_started_it() {
    let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let variables = [
        ("TRACEPARENT", text),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
    ];
    let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (settings, _) = super::super::environment::read(&owned.into());
    let spans = of(
        &sheet(Vec::new()),
        "run",
        &Times::default(),
        settings.parent.as_ref(),
    );
    let parent = settings.parent.unwrap();
    assert_eq!(spans[0].trace_id, parent.trace);
    assert_eq!(spans[0].parent_span_id, parent.span);
}

#[test]
fn span_count_is_limited() {
    let quiet = (0..7).map(|number| row("ExternalSecret", &format!("quiet-{number}"), Level::Good));
    let rows = (0..MOST).map(|number| row("ExternalSecret", &number.to_string(), Level::Failed));
    let rows = quiet.chain(rows).collect();
    let spans = of(&sheet(rows), "run", &Times::default(), None);
    assert_eq!(spans.len(), MOST + 1);
    let is_error = |span: &Span| span.status.is_some();
    assert!(spans.iter().all(is_error), "what failed comes first");
    let left_out = attribute("eso_sync.objects_without_span", Value::IntValue(7));
    assert!(spans[0].attributes.contains(&left_out));
}
