//! Snapshots of what commands print on terminals of 80 and 120 columns, with and without colour.

use std::sync::LazyLock;

use regex::Regex;
use unicode_width::UnicodeWidthStr as _;

use crate::support::Workspace;

/// The parts that differ between runs, each with a text of the same width.
static VARYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (
            r"\d{4}-\d\d-\d\d([ T])\d\d:\d\d:\d\dZ",
            "YYYY-MM-DD${1}HH:MM:SSZ",
        ),
        (r"-[0-9a-f]{10}(-[a-z0-9]{5})\b", "-HASH$1"),
        (r"\b\d+(\.\d+)? s\b", "SECONDS"),
        (r"\b\ds\b", "Ns"),
        (r"\d+ API requests", "N API requests"),
        (r"\d+ to (aws|azurekv|gcpsm|vault|fake)\b", "N to $1"),
    ]
    .into_iter()
    .map(|(pattern, text)| (Regex::new(pattern).expect("a pattern"), text))
    .collect()
});

static COLOR: LazyLock<Regex> = LazyLock::new(|| Regex::new("\u{1b}\\[\\d*m").expect("a pattern"));

/// Fails if a line of a table is wider than the terminal, and returns the number of tables. A table is a line of titles, and the lines up to an
/// empty one.
fn assert_fits(shown: &str, width: usize) -> usize {
    let is_title = |line: &str| {
        let letters = line.chars().filter(|c| c.is_alphabetic());
        line.contains("  ")
            && letters.clone().count() > 5
            && letters.into_iter().all(char::is_uppercase)
    };
    let (mut in_table, mut tables) = (false, 0);
    for line in shown.lines() {
        let starts = !in_table && is_title(line);
        tables += usize::from(starts);
        in_table = starts || in_table && !line.is_empty() && !line.starts_with('(');
        let plain = COLOR.replace_all(line, "");
        assert!(
            !in_table || plain.width() <= width,
            "{} columns: {plain}",
            plain.width()
        );
    }
    tables
}

async fn screen(arguments: &[&str], width: usize, color: bool) -> String {
    let mut workspace = Workspace::new(Vec::new());
    workspace.set("COLUMNS", &width.to_string());
    workspace.set("LINES", "50");
    if !color {
        workspace.set("NO_COLOR", "1");
    }
    let (_, shown) = workspace.on_terminal(arguments).end().await;
    let shown = shown.replace('\r', "");
    assert_eq!(COLOR.is_match(&shown), color, "{shown}");
    let tables = assert_fits(&shown, width);
    // `diagnose` prints a list.
    let has_none = tables == 0;
    assert_eq!(has_none, arguments.contains(&"diagnose"), "{shown}");
    let mut shown = COLOR
        .replace_all(&shown, |found: &regex::Captures<'_>| {
            found[0].replace('\u{1b}', "␛")
        })
        .into_owned();
    for (pattern, instead) in VARYING.iter() {
        shown = pattern.replace_all(&shown, *instead).into_owned();
    }
    let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
    let colors = if color { "colours" } else { "no colours" };
    format!("--- {width} columns, {colors}\n{}\n", lines.join("\n"))
}

async fn screens(name: &str, arguments: &[&str], kinds: &[(usize, bool)]) {
    let mut all = format!("$ eso-sync {}\n", arguments.join(" "));
    for &(width, color) in kinds {
        all.push_str(&screen(arguments, width, color).await);
    }
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "snapshots/screens", omit_expression => true}, {
        insta::assert_snapshot!(name, all);
    });
}

macro_rules! screens {
    ($($name:ident: [$($argument:literal),*], $kinds:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                screens(stringify!($name), &[$($argument),*], &$kinds).await;
            }
        )*
    };
}

const ALL: [(usize, bool); 4] = [(80, false), (80, true), (120, false), (120, true)];

/// What has no colours.
const PLAIN: [(usize, bool); 2] = [(80, false), (120, false)];

screens! {
    run: ["run", "--sandbox", "--quiet"], ALL;
    plan: ["plan", "--sandbox", "--quiet"], ALL;
    status: ["status", "-n", "web", "--sandbox=bad-day", "--quiet"], ALL;
    sync: ["sync", "--all", "--yes", "--restart", "--sandbox", "--quiet", "-n", "shop"], ALL;
    restart: ["restart", "--sandbox", "--quiet"], ALL;
    diagnose: ["diagnose", "--sandbox=bad-day", "--quiet"], PLAIN;
    events: ["events", "--sandbox=bad-day", "--quiet"], ALL;
    drift: ["drift", "--sandbox=bad-day", "--quiet"], ALL;
    impact: ["impact", "--store", "ClusterSecretStore/aws-prod", "--sandbox", "--quiet"], PLAIN;
    advise: ["advise", "--sandbox", "--quiet"], PLAIN;
    history: ["history", "--sandbox", "--quiet"], PLAIN;
    publish: ["publish", "--sandbox", "--quiet", "--yes"], PLAIN;
}
