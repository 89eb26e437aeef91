use insta::assert_snapshot;

use super::*;
use crate::{
    foreign::Foreign,
    report::{
        Run,
        sheet::{ChainLink, Level, Note, Row, Sheet},
    },
};

/// Everything that a hostile name could try, in one text.
const HOSTILE: &str = "=cmd|' /C calc'!A1,\"x\"<script>alert(1)</script>|[x](http://y)\u{1b}[2J\n::error::z ]]> @team";

fn run() -> Run {
    Run {
        id: "20260301t120000z-0badcafe".to_owned(),
        version: "0.0.0",
        context: None,
        server: "https://prod:6443".to_owned(),
        policy_digest: None,
        started: "2026-03-01T12:00:00Z".parse().unwrap(),
        finished: "2026-03-01T12:01:10Z".parse().unwrap(),
        complete: true,
        exit_code: 3,
        report_url: None,
    }
}

fn row(name: &str, level: Level) -> Row {
    let link = |kind, state, level| ChainLink {
        kind,
        name: name.into(),
        level,
        state,
    };
    Row {
        kind: "ExternalSecret",
        namespace: "shop".into(),
        name: name.into(),
        level,
        store: "aws-prod".into(),
        provider: "aws".into(),
        verdict: "stale",
        outcome: "synced",
        reason: "timeout",
        message: "no answer".into(),
        next_step: "check that the operator is running".into(),
        keys: vec!["password".into()],
        at: "2026-03-01T12:00:05Z".parse().ok(),
        seconds: Some(1.5),
        wave: None,
        chain: vec![
            link("provider", "read", Level::Good),
            link("Secret", "updated", level),
        ],
    }
}

fn sheet() -> Sheet {
    Sheet {
        kind: "Report".to_owned(),
        run: run(),
        totals: vec!["2 ExternalSecrets synced".to_owned()],
        rows: vec![
            row("api", Level::Changed),
            row("db", Level::Failed),
            row("mail", Level::Skipped),
            row("web", Level::Unknown),
        ],
        notes: vec![
            Note::new(Level::Unknown, "could not read pods: forbidden"),
            Note {
                place: Some(("policies/a b.yaml".into(), Some(7))),
                ..Note::new(Level::Failed, "sync.when: `x` is not allowed")
            },
        ],
    }
}

fn hostile() -> Sheet {
    let text = || Foreign::from(HOSTILE);
    let mut row = row(HOSTILE, Level::Failed);
    (row.namespace, row.store, row.provider, row.message) = (text(), text(), text(), text());
    row.keys = vec![text()];
    let changed = Row {
        level: Level::Changed,
        ..row.clone()
    };
    Sheet {
        rows: vec![row, changed],
        notes: vec![Note {
            place: Some((text(), Some(1))),
            ..Note::new(Level::Failed, HOSTILE)
        }],
        ..sheet()
    }
}

#[test]
fn csv_has_a_line_for_each_object_and_note() {
    assert_snapshot!(csv::csv(&sheet()));
}

#[test]
fn junit_has_a_case_for_each_object_and_note() {
    assert_snapshot!(junit::junit(&sheet()).unwrap());
}

#[test]
fn markdown_shows_what_needs_attention_and_the_chain_of_what_changed() {
    assert_snapshot!(markdown(&sheet(), LIMIT));
}

#[test]
fn markdown_shows_the_chain_of_a_restart_without_a_sync() {
    let link = |kind, name: &str, level, state| ChainLink {
        kind,
        name: name.into(),
        level,
        state,
    };
    let row = |name: &str, level, restarted| Row {
        kind: "ExternalSecret",
        namespace: "shop".into(),
        name: name.into(),
        level,
        chain: vec![
            link("Secret", name, Level::Good, "in-sync"),
            link("Deployment", name, restarted, "restarted"),
        ],
        ..Row::default()
    };
    let sheet = Sheet {
        rows: vec![
            row("good", Level::Good, Level::Changed),
            row("skipped", Level::Skipped, Level::Changed),
            row("current", Level::Good, Level::Good),
            row("failed", Level::Failed, Level::Changed),
        ],
        notes: Vec::new(),
        ..sheet()
    };
    let text = markdown(&sheet, LIMIT);
    let chains: Vec<&str> = text.lines().filter(|line| line.starts_with("- ")).collect();
    assert_eq!(
        chains,
        [
            "- **shop/good**: Secret good (✅ in-sync) → Deployment good (🔄 restarted)",
            "- **shop/skipped**: Secret skipped (✅ in-sync) → Deployment skipped (🔄 restarted)",
        ]
    );
}

#[test]
fn sarif_has_a_result_for_what_needs_attention() {
    assert_snapshot!(sarif::sarif(&sheet()).unwrap());
}

#[test]
fn hostile_text_is_harmless_in_every_format() {
    let (csv, junit) = (csv::csv(&hostile()), junit::junit(&hostile()).unwrap());
    let (markdown, sarif) = (
        markdown(&hostile(), LIMIT),
        sarif::sarif(&hostile()).unwrap(),
    );
    for text in [&csv, &junit, &markdown, &sarif] {
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(!text.lines().any(|line| line.trim().starts_with("::")));
    }
    assert!(!junit.contains("<script"), "{junit}");
    assert!(!markdown.contains("<script"), "{markdown}");
    assert!(!markdown.contains("[x]") && !markdown.contains("://y"));
    assert!(!csv.contains(",=cmd") && !csv.contains(",\"=cmd"), "{csv}");
    assert_eq!(csv.matches("\r\n").count(), 4);
    assert_eq!(csv.matches('\n').count(), 4);
    let sarif: serde_json::Value = serde_json::from_str(&sarif).unwrap();
    let message = &sarif["runs"][0]["results"][0]["message"]["text"];
    assert!(message.as_str().unwrap().contains("\\[x\\]"), "{message}");
    // A table of six columns has seven bars, whatever the cells contain.
    let rows = markdown.lines().filter(|line| line.starts_with("| ❌"));
    for row in rows {
        assert_eq!(row.matches('|').count(), 7, "{row}");
    }
}

/// The text of the element with the data.
fn data(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

#[test]
fn html_page_contains_only_its_own_elements_whatever_the_data_says() {
    let count = |page: &str| {
        [
            "<script", "</script", "<style", "<img", "<!--", "http://", "https://",
        ]
        .map(|tag| page.matches(tag).count())
    };
    let mut own = sheet();
    own.run.server = String::new();
    let mut hostile = hostile();
    hostile.run.server = "</script><script>alert(1)</script><!--".to_owned();
    hostile.kind = "</title><img src=x onerror=alert(1)>".to_owned();
    let (own, page) = (html::html(&own).unwrap(), html::html(&hostile).unwrap());
    let [script, end, style, image, comment, ..] = count(&page);
    assert_eq!([script, end, style, image, comment], [2, 2, 1, 0, 0]);
    // Nothing is loaded: the page names no address.
    assert_eq!(count(&own), [2, 2, 1, 0, 0, 0, 0]);
    assert!(!own.contains("src=") && !own.contains("@import") && !own.contains("url("));
    assert_eq!(data(&page)["rows"][0]["message"], HOSTILE);
}

#[test]
fn html_page_accepts_only_its_own_script_and_style() {
    let page = html::html(&sheet()).unwrap();
    let (_, policy) = page.split_once("Content-Security-Policy").unwrap();
    let (policy, _) = policy.split_once('>').unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for handler in [
        "onclick",
        "onload",
        "innerHTML",
        "insertAdjacentHTML",
        "eval(",
    ] {
        assert!(!page.contains(handler), "{handler}");
    }
}

#[test]
fn html_page_names_every_element_that_its_script_uses() {
    let page = html::html(&sheet()).unwrap();
    let used = page.split("byId(\"").skip(1);
    let names: Vec<&str> = used.filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names.into_iter().filter(|name| !name.ends_with('-')) {
        assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
    }
}

#[test]
fn html_page_of_10_000_objects_is_small() {
    let rows = (0..10_000).map(|number| row(&format!("name-{number}"), Level::Changed));
    let large = Sheet {
        rows: rows.collect(),
        ..sheet()
    };
    let page = html::html(&large).unwrap();
    assert!(page.len() < 6 * 1024 * 1024, "{}", page.len());
}

#[test]
fn markdown_never_exceeds_its_limit() {
    let long = |number: usize| row(&format!("{}{number}", "<".repeat(250)), Level::Failed);
    let large = Sheet {
        rows: (0..10_000).map(long).collect(),
        ..sheet()
    };
    for limit in [0, 100, 5_000, LIMIT] {
        assert!(markdown(&large, limit).len() <= limit);
    }
    let text = markdown(&large, LIMIT);
    assert!(text.contains("and 9900 more"), "{text}");
    assert!(text.len() < 1_000_000);
}

#[test]
fn report_flag_names_a_format_and_a_file() {
    let target: Target = "junit=a=b.xml".parse().unwrap();
    assert_eq!(target.format, FileFormat::Junit);
    assert_eq!(target.place, Place::File("a=b.xml".into()));
    assert_eq!("json=-".parse::<Target>().unwrap().place, Place::Stdout);
    for wrong in ["json", "json=", "=x"] {
        assert!(wrong.parse::<Target>().is_err(), "{wrong}");
    }
    assert_eq!(
        "xml=x".parse::<Target>().unwrap_err().to_string(),
        "`xml` is not a format; the formats are json, yaml, csv, junit, markdown, sarif, html"
    );
}
