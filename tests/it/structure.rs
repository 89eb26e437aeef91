//! The structure of the code: which modules may name which.

mod graph;

use std::{fs, path::Path};

use self::graph::{Graph, is_within};

/// Modules that decide. They do not reach a client, a runtime, or the code that acts.
const PURE: &[&str] = &[
    "eso_model",
    "secret",
    "eso_sync::finding",
    "eso_sync::select",
    "eso_sync::plan",
    "eso_sync::report",
    "eso_sync::restart::decide",
];

/// What a pure module must not reach, by any way.
fn acts(module: &str) -> bool {
    let is_client = is_within(module, "cluster")
        && !is_within(module, "cluster::names")
        && !is_within(module, "cluster::wire");
    is_client
        || module == "tokio"
        || module == "kube"
        || is_within(module, "eso_sync::sync")
        || is_within(module, "sandbox")
}

/// Edges on cycles that are still there. The list only shrinks.
const CYCLES: &[&str] = &[];

/// Pure modules that still reach what acts. The list only shrinks.
const IMPURE: &[&str] = &[];

fn workspace() -> Graph {
    Graph::of_workspace(Path::new(env!("CARGO_MANIFEST_DIR")))
}

fn impure(graph: &Graph) -> Vec<String> {
    let ways = PURE.iter().filter_map(|module| graph.way(module, &acts));
    ways.map(|way| way.join(" -> ")).collect()
}

#[test]
fn modules_have_no_cycles() {
    let found = workspace().edges_in_cycles();
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), CYCLES);
}

#[test]
fn pure_modules_do_not_reach_what_acts() {
    assert_eq!(impure(&workspace()), IMPURE);
}

fn planted(sources: &[(&str, &str)]) -> Graph {
    let sources: Vec<(String, String)> = sources
        .iter()
        .map(|(module, text)| ((*module).to_owned(), (*text).to_owned()))
        .collect();
    Graph::of(&sources)
}

#[test]
fn a_planted_cycle_is_found() {
    let graph = planted(&[
        ("a", "pub mod b; pub mod c; pub mod d;"),
        ("a::b", "use crate::c::X;"),
        (
            "a::c",
            "pub struct X; fn f() { let _ = vec![super::d::Y]; }",
        ),
        (
            "a::d",
            "pub struct Y; impl Y { fn f(_: &crate::b::deep::Z) {} }",
        ),
        ("a::b::deep", "pub struct Z;"),
    ]);
    let found: Vec<String> = graph.edges_in_cycles().into_iter().collect();
    assert_eq!(found, ["a: b -> c", "a: c -> d", "a: d -> b"]);
}

#[test]
fn an_edge_of_a_test_is_no_edge() {
    let graph = planted(&[
        ("a", "mod b; mod c;"),
        ("a::b", "use super::c;"),
        ("a::c", "#[cfg(test)] mod tests { use crate::b; }"),
    ]);
    assert!(graph.edges_in_cycles().is_empty());
}

#[test]
fn a_planted_way_out_of_a_pure_module_is_found() {
    for (plant, end) in [
        ("use tokio::time::Instant;", "tokio"),
        ("fn f() { kube::f() }", "kube"),
        ("use cluster::Cluster;", "cluster"),
        ("use crate::sync::Lane;", "eso_sync::sync"),
    ] {
        let graph = planted(&[
            ("eso_sync", "mod plan; mod policy; mod sync;"),
            (
                "eso_sync::plan",
                "use crate::policy::Policy; use cluster::wire::Meta;",
            ),
            ("eso_sync::policy", plant),
            ("eso_sync::sync", ""),
            ("cluster", "pub mod wire;"),
            ("cluster::wire", ""),
        ]);
        assert_eq!(
            impure(&graph),
            [format!("eso_sync::plan -> eso_sync::policy -> {end}")]
        );
    }
}

/// Paths of a developer's machine: their first parts, in two pieces so that this file does not hold them.
const MACHINE_PATHS: &[(&str, &str)] = &[("/ro", "ot/"), ("/wo", "rk/")];

#[test]
fn the_repository_names_no_path_of_a_machine() {
    fn files(path: &Path, found: &mut Vec<(String, String)>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("a folder") {
                files(&entry.expect("an entry").path(), found);
            }
        } else if let Ok(text) = fs::read_to_string(path) {
            found.push((path.display().to_string(), text));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for part in [
        "src",
        "crates",
        "tests",
        "benches",
        "manifests",
        "docs",
        "README.md",
        "config.example.yaml",
        ".ci",
        ".github",
        "Dockerfile",
    ] {
        files(&root.join(part), &mut found);
    }
    for (path, text) in &found {
        for (start, end) in MACHINE_PATHS {
            let machine = format!("{start}{end}");
            assert!(!text.contains(&machine), "{path} names {machine}");
        }
    }
}
