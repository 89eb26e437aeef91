//! `--kustomize-program` and `--sops-program`, with programs that answer as the real ones do, or fail. `src/publish/program/tests.rs`
//! has the real ones.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::Value as Json;

use super::publish;
use crate::support::{Outcome, Workspace};

/// A workspace with a policy of one item.
fn workspace(read: &str, more: &str) -> Workspace {
    let mut workspace = Workspace::new(Vec::new());
    workspace.set("AWS_ACCESS_KEY_ID", "id");
    workspace.set("AWS_SECRET_ACCESS_KEY", "secret");
    // Nothing listens there.
    workspace.set("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let policy = format!(
        "publish:\n  owner: test\n  items:\n    - name: app\n      source: {{path: {{dir: .}}}}\n      read: {read}\n      \
         to: {{aws: {{region: eu-west-1}}}}\ndrift: {{endpoints: ['http://127.0.0.1:9']}}\n{more}"
    );
    workspace.file("policy.yaml", &policy);
    std::fs::create_dir(workspace.path().join("k")).expect("a folder");
    workspace
}

/// Adds a program to a workspace, and returns its path.
fn program(workspace: &Workspace, script: &str) -> String {
    workspace.file("program", &format!("#!/bin/bash\n{script}\n"));
    let path = workspace.path().join("program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
    path.to_str().expect("UTF-8").to_owned()
}

async fn dry_run(workspace: &Workspace, flag: &str, program: &str) -> Outcome {
    let flag = format!("{flag}={program}");
    let outcome = publish(workspace, &["--dry-run", "-o", "json", &flag]).await;
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    outcome
}

fn names(document: &Json) -> Vec<&str> {
    let secrets = document["items"][0]["secrets"].as_array();
    let secrets = secrets.into_iter().flatten();
    secrets
        .filter_map(|secret| secret["name"].as_str())
        .collect()
}

fn fault(document: &Json) -> (&str, &str) {
    let fault = &document["items"][0]["faults"][0];
    let text = |field: &str| fault[field].as_str().unwrap_or_default();
    (text("reason"), text("message"))
}

#[tokio::test]
async fn a_kustomization_is_built_by_the_program_of_the_flag() {
    let workspace = workspace("{kustomize: {path: k}}", "");
    workspace.file("k/kustomization.yaml", "generators: [plugin.yaml]\n");
    let subset = publish(&workspace, &["--dry-run", "-o", "json"])
        .await
        .document();
    assert_eq!(fault(&subset).0, "kustomize-unsupported", "{subset}");
    let script = "[ \"$1\" = build ] && echo '{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"a\"}, \
                  \"stringData\": {\"PASSWORD\": \"hunter2\"}}'";
    let path = program(&workspace, script);
    let document = dry_run(&workspace, "--kustomize-program", &path)
        .await
        .document();
    assert_eq!(names(&document), ["PASSWORD"], "{document}");
    // A path relative to the current folder of the job.
    let document = dry_run(&workspace, "--kustomize-program", "program")
        .await
        .document();
    assert_eq!(names(&document), ["PASSWORD"], "{document}");
}

#[tokio::test]
async fn a_file_of_sops_is_decrypted_by_the_program_of_the_flag() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/sops/tests/files");
    let read = "{files: [{path: app.env}]}\n      sops: {allowEmpty: true, allowUnencrypted: true, keys: ['file:age.txt']}";
    let workspace = workspace(read, "");
    let copy = |from: &str, to: &str| {
        workspace.file(to, &std::fs::read_to_string(files.join(from)).expect(from));
    };
    copy("encrypted/all.env", "app.env");
    copy("age.txt", "age.txt");
    // It prints what it gets, and fails without the key of the item.
    let script = "set -e; [[ $(< \"$SOPS_AGE_KEY_FILE\") == *AGE-SECRET-KEY-1* ]]; [[ $(/bin/cat) == *sops_mac* ]]; echo \"PASSWORD=hunter2\"";
    let path = program(&workspace, script);
    let document = dry_run(&workspace, "--sops-program", &path)
        .await
        .document();
    assert_eq!(names(&document), ["PASSWORD"], "{document}");
    let path = program(
        &workspace,
        "echo PASSWORD=hunter2 | /usr/bin/tee /dev/stderr; exit 1",
    );
    let document = dry_run(&workspace, "--sops-program", &path)
        .await
        .document();
    assert_eq!(fault(&document).0, "sops-failed", "{document}");
    assert_eq!(names(&document), [""; 0], "{document}");
}

/// The rules for what the MAC of SOPS does not cover hold for the real program, too.
#[tokio::test]
async fn the_program_does_not_change_what_is_refused_in_a_file_of_sops() {
    let workspace = workspace("{files: [{path: app.env}]}", "");
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/sops/tests/files/encrypted/all.env");
    workspace.file("app.env", &std::fs::read_to_string(file).expect("a file"));
    let path = program(&workspace, "echo A=hunter2");
    let document = dry_run(&workspace, "--sops-program", &path)
        .await
        .document();
    assert_eq!(fault(&document).0, "empty-value", "{document}");
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_a_fault_of_the_item() {
    let workspace = workspace("{kustomize: {path: k}}", "");
    workspace.file("k/kustomization.yaml", "resources: []\n");
    let outcome = dry_run(&workspace, "--kustomize-program", "/nonexistent/kustomize").await;
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert_eq!(fault(&outcome.document()).0, "program-not-found");
}

#[tokio::test]
async fn a_program_that_hangs_does_not_outlive_the_deadline() {
    let workspace = workspace("{kustomize: {path: k}}", "deadline: 2s\n");
    workspace.file("k/kustomization.yaml", "resources: []\n");
    let path = program(
        &workspace,
        "echo $$ > \"${0%/*}/pid\"; exec /bin/sleep 1000",
    );
    let outcome = dry_run(&workspace, "--kustomize-program", &path).await;
    assert_eq!(outcome.code, 7, "{}", outcome.stderr);
    let pid = std::fs::read_to_string(workspace.path().join("pid")).expect("it was started");
    let status = format!("/proc/{}/status", pid.trim());
    let lives = || std::fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while lives() {
        assert!(std::time::Instant::now() < end, "the program lives");
        tokio::task::yield_now().await;
    }
}

/// A policy cannot name a program: who edits it would start what he likes.
#[tokio::test]
async fn a_policy_names_no_program() {
    for read in [
        "{kustomize: {path: k, program: /bin/sh}}",
        "{kustomize: {path: k, engine: /bin/sh}}",
    ] {
        publish(&workspace(read, ""), &["list"]).await.exits(2);
    }
    let helper = "{files: [{path: a.env}]}\n      sops: {helper: /bin/sh}";
    publish(&workspace(helper, ""), &["list"]).await.exits(2);
}
