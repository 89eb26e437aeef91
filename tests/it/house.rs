//! How the house is kept: which rooms may look into which.

use std::{fs, path::Path};

/// The rooms that decide. They know no client and no runtime, and nothing of the rooms that act.
const PURE: &[&str] = &[
    "diagnose",
    "diagnose.rs",
    "drift.rs",
    "drift/judge",
    "drift/judge.rs",
    "drift/target.rs",
    "drift/templates.rs",
    "duration.rs",
    "eso",
    "eso.rs",
    "exit.rs",
    "inventory.rs",
    "outcome.rs",
    "pattern.rs",
    "plan",
    "plan.rs",
    "policy",
    "policy.rs",
    "provider/trust",
    "provider/trust.rs",
    "rbac",
    "rbac.rs",
    "reason.rs",
    "report",
    "report.rs",
    "restart/decide",
    "restart/decide.rs",
    "restart/known.rs",
    "restart/others.rs",
    "restart/owner.rs",
    "restart/plan",
    "restart/plan.rs",
    "restart/results.rs",
    "restart/stamp.rs",
    "restart/subject.rs",
    "restart/targets.rs",
    "restart/waves.rs",
    "selector.rs",
    "sync/proof.rs",
    "wire",
    "wire.rs",
    "workload",
    "workload.rs",
];

/// What a room that decides does not name.
const ACTING: &[&str] = &[
    "kube::",
    "tokio",
    "std::env",
    "std::fs",
    "std::net",
    "Timestamp::now",
    "Instant::now",
    "fastrand",
    "crate::announce",
    "crate::cluster",
    "crate::command",
    "crate::discover",
    "crate::lock",
    "crate::pace",
    "crate::sandbox",
    "crate::sync",
];

fn files(path: &Path, found: &mut Vec<(String, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            files(&entry.expect("an entry").path(), found);
        }
    } else {
        found.push((
            path.display().to_string(),
            fs::read_to_string(path).expect("a source file"),
        ));
    }
}

/// The lines of a file that are neither comments nor tests.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn what_decides_does_not_act() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for room in PURE {
        files(&source.join(room), &mut found);
    }
    assert!(found.len() >= PURE.len());
    let mut offences = Vec::new();
    for (path, text) in &found {
        for line in code(text) {
            if let Some(what) = ACTING.iter().find(|acting| line.contains(**acting)) {
                offences.push(format!("{path} names {what}: {}", line.trim()));
            }
        }
    }
    assert_eq!(offences, [""; 0]);
}

/// The sandbox is reached over HTTP like any cluster: only the command that starts it may name it.
#[test]
fn nothing_looks_into_the_sandbox() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&source, &mut found);
    let mut looking: Vec<String> = Vec::new();
    for (path, text) in &found {
        let name = path
            .strip_prefix(&source.display().to_string())
            .expect("below src")
            .to_owned();
        let inside = name.starts_with("/sandbox");
        let used = code(text).any(|line| line.contains("sandbox::") || line.contains("sandbox::{"));
        if used && !inside {
            looking.push(name);
        }
    }
    assert_eq!(looking, ["/command.rs"]);
}

/// Nothing in the repository names a path of a developer's machine.
#[test]
fn no_path_of_a_machine_is_written_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for part in [
        "src",
        "tests",
        "manifests",
        "docs",
        "README.md",
        "config.example.yaml",
        ".ci",
        ".github",
        "Dockerfile",
    ] {
        if root.join(part).exists() {
            files(&root.join(part), &mut found);
        }
    }
    let homes = ["/ro", "/wo"]
        .map(|start| format!("{start}{}", if start == "/ro" { "ot/" } else { "rk/" }));
    for (path, text) in &found {
        for home in &homes {
            assert!(!text.contains(home.as_str()), "{path} names {home}");
        }
    }
}
