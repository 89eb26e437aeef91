//! `init`: the policy that it writes is valid, and a run can use it.

use std::fs;

use serde_json::json;

use crate::support::{Outcome, Workspace, World, eventually, scenarios};

scenarios! {
    init_alone_leads_to_a_useful_plan
}

async fn init(workspace: &Workspace, more: &[&str]) -> Outcome {
    workspace.run(&[&["init"][..], more].concat()).await
}

#[tokio::test]
async fn policy_is_valid_and_plan_runs_it() {
    for sandbox in ["--sandbox", "--sandbox=bad-day"] {
        let workspace = Workspace::new(Vec::new());
        let written = init(&workspace, &[sandbox]).await;
        written.exits(0);
        let policy = workspace.file("policy.yaml", &written.stdout);
        let policy = policy.to_str().expect("UTF-8");
        workspace
            .run(&["validate", "--config", policy])
            .await
            .exits(0);
        let plan = ["plan", sandbox, "-o", "json", "--config", policy];
        let plan = workspace.run(&plan).await;
        let status = ["status", sandbox, "-A", "-o", "json"];
        let status = workspace.run(&status).await;
        // It selects everything.
        assert_eq!(
            plan.document()["summary"]["selected"],
            status.document()["summary"]["selected"]
        );
        assert_eq!(plan.document()["summary"].get("refused"), None, "{plan:?}");
    }
}

#[tokio::test]
async fn rule_for_restarts_is_valid_without_its_comment_signs() {
    let workspace = Workspace::new(Vec::new());
    let written = init(&workspace, &["--sandbox"]).await;
    let text = written
        .stdout
        .replace("#restart:", "restart:")
        .replace("#  - match", "  - match");
    assert_ne!(text, written.stdout);
    let policy = workspace.file("policy.yaml", &text);
    let policy = policy.to_str().expect("UTF-8");
    let plan = ["plan", "--sandbox", "-o", "json", "--config", policy];
    let plan = workspace.run(&plan).await.document();
    assert_eq!(
        plan["summary"]["restarts"]["covered"], 6,
        "{}",
        plan["summary"]
    );
}

#[tokio::test]
async fn namespaces_narrow_it() {
    let workspace = Workspace::new(Vec::new());
    let written = init(&workspace, &["--sandbox", "-n", "payments,web"]).await;
    written.exits(0);
    assert!(
        written.stdout.contains("  - namespaces: [payments, web]\n"),
        "{}",
        written.stdout
    );
    assert!(
        written.stdout.contains("SecretStore/payments/vault"),
        "{}",
        written.stdout
    );
    assert!(!written.stdout.contains("gcp"), "{}", written.stdout);
    let invalid = init(&workspace, &["--sandbox", "-n", "payments,Web"]).await;
    invalid.exits(2);
    assert!(
        invalid
            .stderr
            .contains("`Web` is not a valid namespace name"),
        "{}",
        invalid.stderr
    );
}

#[tokio::test]
async fn namespace_without_external_secrets_is_a_warning() {
    let workspace = Workspace::new(Vec::new());
    let written = init(&workspace, &["--sandbox", "-n", "payments,paymens"]).await;
    written.exits(0);
    let warning = "the namespace `paymens` does not exist";
    assert!(written.stderr.contains(warning), "{}", written.stderr);
    assert!(!written.stderr.contains("`payments`"), "{}", written.stderr);
}

#[tokio::test]
async fn folder_that_cannot_be_written_is_noticed_before_the_cluster_is_read() {
    let workspace = Workspace::new(Vec::new());
    let file = workspace.file("file", "");
    let below = file.join("dir");
    let below = below.to_str().expect("UTF-8");
    let refused = init(&workspace, &["--kubeconfig", "none", "--dir", below]).await;
    refused.exits(2);
    assert!(
        refused.stderr.contains("Not a directory"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn printed_commands_are_quoted_for_a_shell() {
    let workspace = Workspace::new(Vec::new());
    let dir = workspace.path().join("a b$(id)");
    let path = dir.to_str().expect("UTF-8");
    let written = init(&workspace, &["--sandbox", "--dir", path]).await;
    written.exits(0);
    let command = format!("kubectl apply -k '{path}'");
    assert!(written.stderr.contains(&command), "{}", written.stderr);
}

#[tokio::test]
async fn folder_has_all_that_a_job_needs_and_its_flags_permit_the_policy() {
    let workspace = Workspace::new(Vec::new());
    let dir = workspace.path().join("new/job");
    let path = dir.to_str().expect("UTF-8");
    let written = init(&workspace, &["--sandbox", "--dir", path]).await;
    written.exits(0);
    assert_eq!(written.stdout, "");
    let text = |name: &str| fs::read_to_string(dir.join(name)).expect(name);
    let kustomization = text("kustomization.yaml");
    // It would move the Roles of all namespaces to one.
    assert!(!kustomization.contains("\nnamespace:"), "{kustomization}");
    for entry in fs::read_dir(&dir).expect("the folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("UTF-8");
        assert!(
            name == "kustomization.yaml" || kustomization.contains(name),
            "{name}"
        );
    }
    let cronjob: serde_json::Value = serde_saphyr::from_str(&text("cronjob.yaml")).expect("YAML");
    let args = &cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().expect("the flags").iter();
    let args: Vec<&str> = args.filter_map(serde_json::Value::as_str).collect();
    assert_eq!(args[..2], ["run", "--config=/etc/eso-sync/config.yaml"]);
    let config = format!("--config={path}/config.yaml");
    // The ceilings of the job permit what the policy asks for.
    let flags = [&["validate", &config][..], &args[2..]].concat();
    let valid = workspace.run(&flags).await;
    valid.exits(0);
    // Fewer do not.
    let fewer = workspace
        .run(&["validate", &config, "--allow=drift,sync"])
        .await;
    fewer.exits(2);
    let rights = workspace.run(&["rbac", &config]).await;
    let granted = text("rbac.yaml");
    for right in [
        "externalsecrets",
        "secrets",
        "serviceaccounts/token",
        "leases",
    ] {
        assert!(
            granted.contains(right) && rights.stdout.contains(right),
            "{right}"
        );
    }
    // The identity that the stores use, and no other.
    assert!(granted.contains("external-secrets"), "{granted}");
    let again = init(&workspace, &["--sandbox", "--dir", path]).await;
    again.exits(2);
    assert!(
        again.stderr.contains("nothing is overwritten"),
        "{}",
        again.stderr
    );
}

const BASE: &str = r"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: a, value: one}, {key: b, value: one}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: behind, namespace: NS}
spec: {refreshInterval: 24h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: a}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: fine, namespace: NS}
spec: {refreshInterval: 24h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: b}}]}
";

/// From nothing to a plan that names what is wrong, with no other file and no flag that `init` did not print.
async fn init_alone_leads_to_a_useful_plan(world: World) {
    world.apply_yaml(BASE).await;
    for name in ["behind", "fine"] {
        eventually("a Secret", async || world.get("Secret", name).await).await;
    }
    let data = json!([{"key": "a", "value": "two"}, {"key": "b", "value": "one"}]);
    let rotated = json!({"spec": {"provider": {"fake": {"data": data}}}});
    let store = format!("{}-store", world.namespace);
    world.patch("SecretStore", &store, &rotated).await;
    let arguments = ["init", "-n", &world.namespace];
    let policy = world.bin.run(&arguments).await.exits(0).stdout.clone();
    let policy = world.bin.file("policy.yaml", &policy);
    let policy = policy.to_str().expect("UTF-8");
    world
        .bin
        .run(&["validate", "--config", policy])
        .await
        .exits(0);
    let plan = ["plan", "--config", policy, "-o", "json"];
    let plan = world.bin.run(&plan).await.exits(0).document();
    let items = plan["items"].as_array().expect("items");
    let told = items.iter().map(|item| {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        (text("name"), text("action"), text("verdict"))
    });
    let told: Vec<(String, String, String)> = told.collect();
    let expected = [("behind", "sync", "stale"), ("fine", "skip", "in-sync")];
    let expected =
        expected.map(|(name, action, verdict)| (name.into(), action.into(), verdict.into()));
    assert_eq!(told, expected);
    world.end().await;
}
