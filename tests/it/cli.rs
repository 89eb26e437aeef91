//! The command line of the real binary: help, errors and exit codes.

use insta::assert_snapshot;

use crate::support::Workspace;

/// A workspace without a cluster.
fn without_cluster() -> Workspace {
    Workspace::new(Vec::new())
}

async fn help(command: &[&str]) -> String {
    let outcome = without_cluster().run(&[command, &["-h"]].concat()).await;
    outcome.exits(0);
    assert_eq!(outcome.stderr, "");
    outcome.stdout
}

#[tokio::test]
async fn help_matches_its_snapshot() {
    assert_snapshot!("help", help(&[]).await);
    assert_snapshot!("help_run", help(&["run"]).await);
    assert_snapshot!("help_plan", help(&["plan"]).await);
    assert_snapshot!("help_sync", help(&["sync"]).await);
    assert_snapshot!("help_status", help(&["status"]).await);
}

/// Returns the exit code and stderr of a command that fails without output on stdout.
async fn refused(workspace: &Workspace, arguments: &[&str]) -> String {
    let outcome = workspace.run(arguments).await;
    assert_eq!(outcome.stdout, "");
    let stderr = outcome
        .stderr
        .replace(&workspace.path().display().to_string(), "[folder]");
    format!("{}\n{stderr}", outcome.code)
}

#[tokio::test]
async fn invalid_policy_reports_all_errors() {
    let workspace = without_cluster();
    let text = "select:\n  - namespaces: [a]\n    namess: [b]\n  - names: [1234]\nsync:\n  timeout: 5 minutes\nsyncs: 1\n";
    let file = workspace.file("policy.yaml", text);
    let file = file.to_str().expect("UTF-8");
    for command in ["validate", "run", "plan"] {
        let said = refused(&workspace, &[command, "--config", file]).await;
        insta::allow_duplicates! {
            assert_snapshot!(said, @r#"
            2
            error: nothing was changed: the policy is invalid
            [folder]/policy.yaml:3: select[0].namess: is an unknown key; did you mean `names`?
            [folder]/policy.yaml:4: select[1].names[0]: `1234` is a number in YAML, not text; quote it: `"1234"`
            [folder]/policy.yaml:6: sync.timeout: `5 minutes` is not a duration; write it like `30s`, `5m` or `1h30m`
            [folder]/policy.yaml:7: syncs: is an unknown key; did you mean `sync`?
            "#);
        }
    }
}

#[tokio::test]
async fn missing_policy_file_is_named() {
    assert_snapshot!(refused(&without_cluster(), &["run"]).await, @"
    2
    error: nothing was changed: the policy is invalid
    /etc/eso-sync/config.yaml: cannot be read: No such file or directory (os error 2); name the policy with --config FILE
    ");
    assert_snapshot!(refused(&without_cluster(), &["run", "--config", "nope.yaml"]).await, @"
    2
    error: nothing was changed: the policy is invalid
    nope.yaml: cannot be read: No such file or directory (os error 2); name the policy with --config FILE
    ");
}

#[tokio::test]
async fn policy_above_a_ceiling_is_invalid() {
    let workspace = without_cluster();
    let file = workspace.file(
        "policy.yaml",
        "select: [{namespaces: [a]}]\nsafety: {maxSyncs: 100}\n",
    );
    let file = file.to_str().expect("UTF-8");
    assert_snapshot!(refused(&workspace, &["run", "--config", file, "--max-syncs", "10"]).await, @"
    2
    error: nothing was changed: the policy is invalid
    [folder]/policy.yaml:2: safety.maxSyncs: 100 is more than --max-syncs allows (10); write at most 10, or raise --max-syncs
    ");
}

#[tokio::test]
async fn missing_cluster_exits_4() {
    let workspace = without_cluster();
    assert_snapshot!(refused(&workspace, &["status"]).await, @"
    4
    error: nothing was changed: there is no kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config) and no service account of a Pod
    ");
    assert_snapshot!(refused(&workspace, &["status", "--kubeconfig", "nope"]).await, @"
    4
    error: nothing was changed: the kubeconfig nope cannot be read: entity not found
    ");
    assert_snapshot!(refused(&workspace, &["status", "-q", "--server", "http://127.0.0.1:1"]).await, @"
    4
    error: nothing was changed: cannot read /apis/external-secrets.io: connection refused
    ");
}

/// kube's own error message quotes the lines around the error, which can contain the token.
#[tokio::test]
async fn invalid_kubeconfig_is_not_quoted() {
    let workspace = without_cluster();
    let text = "apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user: {token: hunter2-token\nclusters: 7\n";
    let file = workspace.file("kubeconfig", text);
    let said = refused(
        &workspace,
        &["status", "--kubeconfig", file.to_str().expect("UTF-8")],
    )
    .await;
    assert!(
        said.starts_with("4\n") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test]
async fn missing_exec_plugin_is_named() {
    let workspace = without_cluster();
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
                clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
                users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, \
                interactiveMode: Never, installHint: get it from the cloud}}}]\n";
    let file = workspace.file("kubeconfig", text);
    assert_snapshot!(refused(&workspace, &["status", "--kubeconfig", file.to_str().expect("UTF-8")]).await, @"
    4
    error: nothing was changed: the kubeconfig's credential plugin `no-such-plugin` is not installed here, or not on the PATH; get it from the cloud
    ");
}

#[tokio::test]
async fn invalid_usage_exits_2() {
    for arguments in [
        &["sync"][..],
        &["sync", "a"],
        &["sync", "a", "--all", "--yes"],
        &["plan", "a", "--config", "x.yaml"],
        &["run", "--no-such-flag"],
        &["frobnicate"],
        &["sync", "a", "--yes", "--timeout", "soon"],
        &["sync", "a", "--yes", "--server", "::::"],
        &["sync", "--all", "--yes", "-n", "*"],
        &["status", "-l", "a=b c"],
    ] {
        let outcome = without_cluster().run(arguments).await;
        outcome.exits(2);
        assert!(!outcome.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn unknown_environment_variable_is_a_warning() {
    let mut workspace = without_cluster();
    workspace.set("ESO_SYNC_SERVICE_HOST", "10.0.0.1");
    workspace.set("ESO_SYNC_SYNC__TIMEOUT", "90s");
    let file = workspace.file("policy.yaml", "select: [{namespaces: [a]}]\n");
    let outcome = workspace
        .run(&["validate", "--config", file.to_str().expect("UTF-8")])
        .await;
    outcome.exits(0);
    assert!(
        outcome.stderr.contains("ESO_SYNC_SERVICE_HOST"),
        "{}",
        outcome.stderr
    );
    workspace.set("ESO_SYNC_SYNC__TIMEOUT", "soon");
    let outcome = workspace
        .run(&["validate", "--config", file.to_str().expect("UTF-8")])
        .await;
    assert!(
        outcome.exits(2).stderr.contains("ESO_SYNC_SYNC__TIMEOUT"),
        "{}",
        outcome.stderr
    );
}

#[tokio::test]
async fn offline_commands_print_data_only() {
    for (arguments, start) in [
        (&["schema"][..], "{"),
        (&["schema", "--for", "report"], "{"),
        (&["rbac"], "apiVersion: rbac.authorization.k8s.io/v1"),
        (&["rbac", "--for", "aws"], "{"),
        (&["rbac", "--for", "vault"], "# "),
        (&["completion", "bash"], "_eso__sync()"),
        (&["man"], ".ie"),
        (&["--version"], "eso-sync 0."),
    ] {
        let outcome = without_cluster().run(arguments).await;
        outcome.exits(0);
        assert!(
            outcome.stdout.starts_with(start),
            "{arguments:?}: {}",
            outcome.stdout
        );
        assert_eq!(outcome.stderr, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn sandbox_has_a_default_and_a_bad_day() {
    let plan = without_cluster()
        .run(&["plan", "--sandbox", "-o", "json"])
        .await;
    assert_eq!(
        plan.exits(0).of("bootstrap-ca"),
        "skip(refresh-created-once)"
    );
    assert_eq!(plan.of("oauth"), "sync(stale)");
    let ordinary = without_cluster()
        .run(&["run", "--sandbox", "-o", "json"])
        .await;
    let outcomes = ordinary.exits(0).document()["summary"]["outcomes"].clone();
    assert_eq!(outcomes, serde_json::json!({"skipped": 5, "synced": 12}));
    let bad = without_cluster()
        .run(&["run", "--sandbox=bad-day", "-o", "json"])
        .await;
    assert_eq!(bad.exits(3).of("cdn"), "skipped(unverifiable)");
    assert_eq!(bad.of("warehouse"), "skipped(store-not-ready)");
}
