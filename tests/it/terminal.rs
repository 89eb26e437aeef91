//! Runs in a terminal: the plan is shown and must be confirmed.

use serde_json::Value;

use crate::{
    interruptions::annotations,
    scenarios::{POLICY, base},
    support::{Terminal, World},
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
