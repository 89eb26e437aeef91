//! The structure of the code: the allowed dependencies between modules.

mod graph;

use std::{fs, path::Path};

use self::graph::{Graph, is_within};

/// Modules that only compute. They must not depend on a client, a runtime, or modules with side effects.
const PURE: &[&str] = &[
    "eso_model",
    "repository",
    "secret",
    "events",
    "publish",
    "sops",
    "git",
    "eso_sync::advise",
    "eso_sync::finding",
    "eso_sync::impact",
    "eso_sync::select",
    "eso_sync::plan",
    "eso_sync::report",
    "eso_sync::restart::decide",
];

/// True if pure modules must not depend on this module, directly or indirectly.
fn has_side_effects(module: &str) -> bool {
    let is_client = is_within(module, "cluster")
        && !is_within(module, "cluster::escape")
        && !is_within(module, "cluster::names")
        && !is_within(module, "cluster::path")
        && !is_within(module, "cluster::wire");
    is_client
        || module == "tokio"
        || module == "kube"
        || is_within(module, "eso_sync::sync")
        || is_within(module, "sandbox")
}

/// The known dependencies in cycles. Do not add any.
const CYCLES: &[&str] = &[];

/// The known forbidden dependencies of pure modules. Do not add any.
const IMPURE: &[&str] = &[];

fn workspace() -> Graph {
    Graph::of_workspace(Path::new(env!("CARGO_MANIFEST_DIR")))
}

fn impure(graph: &Graph) -> Vec<String> {
    let paths = PURE
        .iter()
        .filter_map(|module| graph.path(module, &has_side_effects));
    paths.map(|path| path.join(" -> ")).collect()
}

#[test]
fn modules_have_no_cycles() {
    let found = workspace().edges_in_cycles();
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), CYCLES);
}

#[test]
fn pure_modules_have_no_forbidden_dependencies() {
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
fn planted_cycle_is_found() {
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
fn dependencies_of_tests_are_ignored() {
    let graph = planted(&[
        ("a", "mod b; mod c;"),
        ("a::b", "use super::c;"),
        ("a::c", "#[cfg(test)] mod tests { use crate::b; }"),
    ]);
    assert!(graph.edges_in_cycles().is_empty());
}

#[test]
fn planted_forbidden_dependency_is_found() {
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

/// The starts of paths on a developer's machine, each in two parts so that this file does not contain them.
const MACHINE_PATHS: &[(&str, &str)] = &[("/ro", "ot/"), ("/wo", "rk/")];

#[test]
fn repository_contains_no_path_of_a_developers_machine() {
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
            assert!(!text.contains(&machine), "{path} contains {machine}");
        }
    }
}
