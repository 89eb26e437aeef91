//! Runs in a terminal: the plan is shown and must be confirmed.

use serde_json::{Value, json};

use crate::{
    interruptions::annotations,
    scenarios::{POLICY, base},
    support::{Terminal, Workspace, World},
};

const QUESTION: &str = "Sync 2 ExternalSecrets? [y/N]";

async fn asked() -> (World, Terminal) {
    let world = World::sandbox().await;
    base(&world).await;
    let policy = world.bin.file("policy.yaml", &world.named(POLICY));
    let path = policy.to_str().expect("UTF-8");
    let mut terminal = world.bin.on_terminal(&["run", "--config", path]);
    terminal.shows(QUESTION).await;
    (world, terminal)
}

async fn assert_untouched(world: &World) {
    for name in ["db", "api"] {
        assert_eq!(annotations(world, name).await["force-sync"], Value::Null);
    }
    assert_eq!(world.list("Lease").await, Vec::<Value>::new());
}

#[tokio::test]
async fn confirmed_run_syncs() {
    let (_world, mut terminal) = asked().await;
    terminal.types("y\n").await;
    let (code, shown) = terminal.end().await;
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("[2/2]"), "{shown}");
}

#[tokio::test]
async fn any_other_answer_aborts() {
    for answer in ["\n", "n\n", "yess\n"] {
        let (world, mut terminal) = asked().await;
        terminal.types(answer).await;
        let (code, shown) = terminal.end().await;
        assert_eq!(code, 2, "{shown}");
        assert!(shown.contains("nothing was changed"), "{shown}");
        assert_untouched(&world).await;
    }
}

#[tokio::test]
async fn progress_is_a_line_that_disappears() {
    let (_world, mut terminal) = asked().await;
    terminal.types("y\n").await;
    let (code, shown) = terminal.end().await;
    assert_eq!(code, 0, "{shown}");
    let (during, after) = shown.split_once("syncing ").expect(&shown);
    assert!(during.contains(QUESTION), "{shown}");
    let report = after.split_once("2 selected").expect("a report").0;
    let report = report.rsplit_once("NAMESPACE").expect("a table").1;
    assert!(!report.contains("syncing"), "{shown}");
}

#[tokio::test]
async fn long_list_shows_how_far_it_is() {
    let settings = ::sandbox::Settings {
        operator: false,
        ..::sandbox::Settings::default()
    };
    let now = "2026-03-01T12:00:00Z".parse().expect("a time");
    let sandbox = ::sandbox::Sandbox::empty(settings, now)
        .await
        .expect("a sandbox");
    // The client lists 500 objects at a time.
    for number in 0..1200 {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"namespace": "default", "name": format!("es-{number}")},
            "spec": {"secretStoreRef": {"kind": "SecretStore", "name": "store"}},
        });
        sandbox.apply(object).expect("applied");
    }
    let workspace = Workspace::new(vec!["--server".to_owned(), sandbox.url()]);
    let mut terminal = workspace.on_terminal(&["status", "-A"]);
    terminal.shows("listing externalsecrets").await;
    terminal.shows("/1200").await;
    let (_, shown) = terminal.end().await;
    let report = shown.rsplit_once("NAMESPACE").expect("a table").1;
    assert!(!report.contains("listing"), "the line disappears: {shown}");
}

#[tokio::test]
async fn table_fits_the_terminal() {
    let mut workspace = Workspace::new(Vec::new());
    workspace.set("COLUMNS", "60");
    workspace.set("NO_COLOR", "1");
    let (code, shown) = workspace.on_terminal(&["status", "--sandbox"]).end().await;
    assert_eq!(code, 0, "{shown}");
    let table: Vec<&str> = shown
        .lines()
        .map(str::trim_end)
        .skip_while(|line| !line.starts_with("NAMESPACE"))
        .take_while(|line| !line.is_empty())
        .collect();
    assert_eq!(
        table.len(),
        19,
        "17 items, the titles, and what is missing: {shown}"
    );
    let rows = &table[..18];
    assert!(
        rows.iter().all(|line| line.chars().count() <= 60),
        "{shown}"
    );
    assert!(table[18].contains("LAST SYNC"), "{shown}");
    let has_state = |line: &&str| [" ready ", " overdue "].iter().any(|it| line.contains(it));
    assert!(
        rows[1..].iter().all(has_state),
        "the state is never shortened: {shown}"
    );
    let piped = workspace.run(&["status", "--sandbox"]).await;
    assert!(piped.stdout.contains("LAST SYNC"), "a pipe gets everything");
}

/// Watches the ExternalSecrets of a test, and changes one of them.
async fn watched(variables: &[(&str, &str)], arguments: &[&str]) -> (World, Terminal) {
    let mut world = World::sandbox().await;
    base(&world).await;
    for (name, value) in variables {
        world.bin.set(name, value);
    }
    let namespace = world.namespace.clone();
    let arguments = [&["status", "-w", "-n", &namespace], arguments].concat();
    let mut terminal = world.bin.on_terminal(&arguments);
    terminal.shows("db").await;
    let unknown = json!([{"secretKey": "password", "remoteRef": {"key": "unknown"}}]);
    let change = json!({"spec": {"data": unknown}});
    world.patch("ExternalSecret", "db", &change).await;
    terminal.shows("failed").await;
    terminal.types("\u{3}").await;
    (world, terminal)
}

#[tokio::test]
async fn watch_repaints_the_table_until_ctrl_c() {
    let (_world, terminal) = watched(&[("LINES", "30"), ("COLUMNS", "100")], &[]).await;
    let (code, shown) = terminal.end().await;
    assert_eq!(code, 0, "{shown}");
    assert!(shown.matches("\u{1b}[H").count() >= 2, "{shown}");
    assert_eq!(shown.matches("\u{1b}[2J").count(), 1, "{shown}");
}

#[tokio::test]
async fn watch_prints_changed_lines_where_it_cannot_repaint() {
    let (_world, terminal) = watched(&[("TERM", "dumb")], &[]).await;
    let (code, shown) = terminal.end().await;
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let lines = |name: &str| shown.lines().filter(|line| line.contains(name)).count();
    assert_eq!((lines("NAMESPACE"), lines(" api ")), (1, 1), "{shown}");
    assert!(lines(" db ") >= 2, "{shown}");
}

#[tokio::test]
async fn watch_prints_documents_of_json_in_lines() {
    let (_world, terminal) = watched(&[], &["-o", "json"]).await;
    let (code, shown) = terminal.end().await;
    assert_eq!(code, 0, "{shown}");
    let documents = shown.lines().filter(|line| line.starts_with('{'));
    let documents: Vec<Value> = documents
        .map(|line| serde_json::from_str(line).expect("a document"))
        .collect();
    let states: Vec<&Value> = documents
        .iter()
        .map(|it| &it["items"][1]["state"])
        .collect();
    let ends = (states.first(), states.last());
    assert_eq!(ends, (Some(&&json!("ready")), Some(&&json!("failed"))));
}

#[tokio::test]
async fn without_a_terminal_the_error_names_what_would_be_changed() {
    let world = World::sandbox().await;
    base(&world).await;
    let outcome = world
        .bin
        .run(&["sync", "--all", "-n", &world.namespace])
        .await;
    outcome.exits(2);
    assert_eq!(outcome.stdout, "");
    for said in [
        "db ",
        "api ",
        "no terminal to ask on",
        "Sync 2 ExternalSecrets?",
        "--yes",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    assert_untouched(&world).await;
}

#[tokio::test]
async fn ctrl_c_at_the_question_aborts() {
    let (world, mut terminal) = asked().await;
    terminal.types("\u{3}").await;
    let (code, shown) = terminal.end().await;
    assert_eq!(code, 7, "{shown}");
    assert!(shown.contains("nothing was changed"), "{shown}");
    assert_untouched(&world).await;
}
