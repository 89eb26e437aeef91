use std::{collections::BTreeSet, fs};

use insta::assert_snapshot;

use super::*;

fn run(exit_code: u8) -> Run {
    Run {
        id: "20260301t120000z-0badcafe".to_owned(),
        version: "0.0.0",
        context: None,
        server: String::new(),
        policy_digest: None,
        started: "2026-03-01T12:00:00Z".parse().unwrap(),
        finished: "2026-03-01T12:01:10.5Z".parse().unwrap(),
        complete: true,
        exit_code,
        report_url: None,
    }
}

fn text(metrics: &Metrics) -> String {
    metrics.text(&BTreeMap::new()).unwrap()
}

#[test]
fn every_command_has_the_numbers_of_its_run() {
    let labels = BTreeMap::from([("command".to_owned(), "run".to_owned())]);
    assert_snapshot!(Metrics::of(&run(0)).text(&labels).unwrap(), @r#"
    # HELP eso_sync_last_run_timestamp_seconds When the last run ended
    # TYPE eso_sync_last_run_timestamp_seconds gauge
    # UNIT eso_sync_last_run_timestamp_seconds seconds
    eso_sync_last_run_timestamp_seconds{command="run"} 1772366470.5
    # HELP eso_sync_last_success_timestamp_seconds When the last run ended that did all its work (exit code 0 or 1)
    # TYPE eso_sync_last_success_timestamp_seconds gauge
    # UNIT eso_sync_last_success_timestamp_seconds seconds
    eso_sync_last_success_timestamp_seconds{command="run"} 1772366470.5
    # HELP eso_sync_run_duration_seconds How long the last run took
    # TYPE eso_sync_run_duration_seconds gauge
    # UNIT eso_sync_run_duration_seconds seconds
    eso_sync_run_duration_seconds{command="run"} 70.5
    # HELP eso_sync_run_exit_code The exit code of the last run
    # TYPE eso_sync_run_exit_code gauge
    eso_sync_run_exit_code{command="run"} 0.0
    # HELP eso_sync_run_complete 1 if the last run reached everything that it had planned, else 0
    # TYPE eso_sync_run_complete gauge
    eso_sync_run_complete{command="run"} 1.0
    # EOF
    "#);
}

#[test]
fn only_a_run_that_did_its_work_is_a_success() {
    let is_success = |code| Metrics::of(&run(code)).is_success();
    assert_eq!(
        (0..8).filter(|code| is_success(*code)).collect::<Vec<_>>(),
        [0, 1]
    );
    let mut failed = Metrics::of(&run(3));
    failed.keep_last_success(17.0);
    assert!(text(&failed).contains(&format!("\n{LAST_SUCCESS} 17.0\n")));
    let mut done = Metrics::of(&run(0));
    done.keep_last_success(17.0);
    assert!(!text(&done).contains("17.0"));
}

#[test]
fn names_from_outside_cannot_break_a_line_and_cannot_make_more_than_some_series() {
    let mut metrics = Metrics::default();
    metrics.add_to(Metric::Checked, "a\"b\\c\nd\u{202e}\u{1b}[2J", count(1));
    let long = "x".repeat(5000);
    metrics.add_to(Metric::Checked, &long, count(1));
    for number in 0..1000 {
        metrics.add_to(Metric::Checked, &format!("store-{number}"), count(2));
    }
    let text = text(&metrics);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), MOST_VALUES + 1);
    assert!(lines.iter().all(|line| line.len() < 300));
    let known = r#"eso_sync_external_secrets_checked{store="a\"b"#;
    assert!(lines.iter().any(|line| line.starts_with(known)), "{text}");
    let others = format!(r#"{{store="others"}} {}.0"#, (1000 - 198) * 2);
    assert!(text.contains(&others), "{text}");
    assert!(!text.contains(['\u{202e}', '\u{1b}']));
}

#[test]
fn quota_without_throttles_has_a_zero() {
    let counts = |counts: &[(&str, u64)]| {
        let counts = counts.iter();
        let owned = counts.map(|(quota, count)| ((*quota).to_owned(), *count));
        owned.collect()
    };
    let summary = Summary {
        verifiable: vec![crate::report::DocumentVerifiable {
            store: "shop/aws".into(),
            verifiable: 1,
            total: 1,
        }],
        reads: counts(&[("aws/1", 20), ("vault/1", 3)]),
        throttles: counts(&[("aws/1", 2)]),
        ..Summary::default()
    };
    let mut metrics = Metrics::default();
    summary.measure_check(&mut metrics);
    let text = text(&metrics);
    for (quota, throttles) in [("aws/1", "2.0"), ("vault/1", "0.0")] {
        let line = format!("eso_sync_provider_throttles{{quota=\"{quota}\"}} {throttles}\n");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn label_is_a_name_and_a_value() {
    let parsed = |text: &str| text.parse::<Label>();
    let label = parsed("cluster=prod=1").unwrap();
    assert_eq!((&*label.name, &*label.value), ("cluster", "prod=1"));
    assert_eq!(
        parsed("cluster="),
        Ok(Label {
            name: "cluster".to_owned(),
            value: String::new()
        })
    );
    assert_eq!(parsed("cluster"), Err(InvalidLabel::Form));
    for name in [
        "", "1a", "__a", "a-b", "a b", "é", "store", "outcome", "job", "command",
    ] {
        assert_eq!(
            parsed(&format!("{name}=x")),
            Err(InvalidLabel::Name),
            "{name}"
        );
    }
}

/// Alerts and dashboards of users contain the names and labels. A changed name needs a line in the CHANGELOG.
#[test]
fn names_do_not_change() {
    let lines = Metric::VARIANTS.iter().map(|metric| {
        let label = metric.label().unwrap_or_default();
        format!("{} {label}", metric.full_name())
            .trim_end()
            .to_owned()
    });
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn names_are_unique_and_those_of_the_conventions() {
    let all = Metric::VARIANTS.iter();
    let names: BTreeSet<String> = all.map(|metric| metric.full_name()).collect();
    assert_eq!(names.len(), Metric::VARIANTS.len());
    for name in &names {
        let valid = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(valid), "{name}");
        // `_total` is for counters, and these endings belong to histograms and info metrics.
        for end in ["_total", "_count", "_sum", "_bucket", "_info"] {
            assert!(!name.ends_with(end), "{name}");
        }
    }
    assert!(names.contains(LAST_SUCCESS));
}

#[test]
fn page_about_monitoring_lists_every_metric() {
    let page = fs::read_to_string("docs/monitoring.md").unwrap();
    for metric in Metric::VARIANTS {
        let label = metric.label().map(|name| format!("`{name}`"));
        let (label, help) = (label.unwrap_or_default(), metric.help());
        let row = format!("| `{}` | {label} | {help} |", metric.full_name());
        assert!(
            page.contains(&row),
            "docs/monitoring.md lacks this line:\n{row}"
        );
    }
    let rows = page.lines().filter(|line| line.starts_with("| `eso_sync_"));
    assert_eq!(rows.count(), Metric::VARIANTS.len());
}
