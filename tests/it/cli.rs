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

/// The rows of a document, as `namespace/name`.
fn selected(outcome: &crate::support::Outcome) -> Vec<String> {
    let document = outcome.document();
    let items = document["items"].as_array().expect("items");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    items
        .iter()
        .map(|item| format!("{}/{}", text(&item["namespace"]), text(&item["name"])))
        .collect()
}

#[tokio::test]
async fn names_and_a_namespace_narrow_the_selection_of_a_policy() {
    let workspace = without_cluster();
    let text =
        "select: [{namespaces: [payments, web]}]\ndrift: {enabled: false}\nsync: {when: always}\n";
    let file = workspace.file("policy.yaml", text);
    let file = file.to_str().expect("UTF-8");
    let status = async |more: &[&str]| {
        let command = ["status", "--sandbox", "-o", "json", "--config", file];
        workspace.run(&[&command, more].concat()).await
    };
    let chosen = async |more: &[&str]| selected(status(more).await.exits(0));
    assert_eq!(chosen(&["s*"]).await, ["payments/stripe", "web/session"]);
    assert_eq!(chosen(&["-n", "payments", "s*"]).await, ["payments/stripe"]);
    assert_eq!(
        chosen(&["-n", "payments"]).await,
        ["payments/db", "payments/ledger", "payments/stripe"]
    );
    // The policy does not select it.
    let missing = status(&["registry"]).await;
    assert!(
        missing
            .exits(3)
            .stderr
            .contains("the policy does not select the ExternalSecret platform/registry"),
        "{}",
        missing.stderr
    );
    let flags = status(&["-A"]).await;
    assert!(
        flags
            .exits(2)
            .stderr
            .contains("NAME and -n narrow the policy's selection"),
        "{}",
        flags.stderr
    );
}

#[tokio::test]
async fn names_and_a_namespace_narrow_a_run() {
    let workspace = without_cluster();
    let text = "select: [{namespaces: [payments, web]}]
drift: {enabled: false}
sync: {when: always}
restart: [{match: references, require: proven}]
";
    let file = workspace.file("policy.yaml", text);
    let file = file.to_str().expect("UTF-8");
    let run = async |command: &str, more: &[&str]| {
        let command = [command, "--sandbox", "-o", "json", "--config", file];
        workspace.run(&[&command, more].concat()).await
    };
    let outcome = run("run", &["s*"]).await;
    assert_eq!(
        selected(outcome.exits(0)),
        ["payments/stripe", "web/session"]
    );
    assert_eq!(outcome.of("stripe"), "synced");
    let both = run("run", &["-n", "payments", "s*"]).await;
    assert_eq!(selected(both.exits(0)), ["payments/stripe"]);
    // The policy does not select it.
    let missing = run("run", &["registry", "-y"]).await;
    let missing = &missing.exits(3).stderr;
    assert!(
        missing.contains("does not select the ExternalSecret platform/registry"),
        "{missing}"
    );
    // Only the workloads that use the Secrets of what is named.
    let document = run("restart", &["stripe"]).await.exits(0).document();
    let workloads = document["restarts"].as_array().expect("restarts");
    let names = workloads.iter().map(|one| &one["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["api"]);
}

/// The words of a document that are not free text.
fn words(document: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    use serde_json::Value;
    let is_word = |key: &str| {
        [
            "reason",
            "verdict",
            "outcome",
            "state",
            "unverifiable",
            "warning",
            "trend",
            "end",
        ]
        .contains(&key)
    };
    match document {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().filter(|_| is_word(key)) {
                    Some(word) if !word.is_empty() => _ = found.insert(word.to_owned()),
                    _ => words(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| words(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Who reads a word in a report can ask what it means.
#[tokio::test]
async fn explain_knows_every_word_that_the_sandbox_shows() {
    let workspace = without_cluster();
    let mut found = std::collections::BTreeSet::new();
    for command in [
        "run", "plan", "drift", "restart", "publish", "events", "status", "advise", "history",
        "impact", "diagnose",
    ] {
        for sandbox in ["--sandbox", "--sandbox=bad-day"] {
            let outcome = workspace.run(&[command, sandbox, "-o", "json"]).await;
            words(&outcome.document(), &mut found);
        }
    }
    assert!(found.len() > 30, "{found:?}");
    for word in found {
        let outcome = workspace.run(&["explain", &word]).await;
        assert_eq!(outcome.code, 0, "{word}: {}", outcome.stderr);
    }
}

/// Reports name an ExternalSecret with its namespace, so people copy it so.
#[tokio::test]
async fn name_with_a_namespace_is_an_error_that_says_how_to_write_it() {
    for command in ["sync", "drift", "run", "diagnose"] {
        let arguments = [command, "payments/stripe", "--sandbox"];
        let outcome = without_cluster().run(&arguments).await;
        let stderr = &outcome.exits(2).stderr;
        assert!(
            stderr.contains("hint: write `stripe -n payments`"),
            "{command}: {stderr}"
        );
    }
}

#[tokio::test]
async fn error_is_a_json_object_if_the_logs_are() {
    let explain = ["diagnose", "gone", "--sandbox", "--log-format", "json"];
    let outcome = without_cluster().run(&explain).await;
    let stderr = &outcome.exits(3).stderr;
    for line in stderr.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(record["level"].is_string(), "{line}");
    }
    let last = stderr.lines().last().expect("a line");
    assert!(last.contains("not found in namespace default"), "{last}");
}

/// A flag that says how to compare is not ignored.
#[tokio::test]
async fn sync_compares_if_the_flags_of_providers_are_given() {
    let sync = ["sync", "db", "-n", "payments", "--sandbox", "-o", "json"];
    let workspace = without_cluster();
    let verdict = async |more: &[&str]| {
        let outcome = workspace.run(&[&sync, more].concat()).await;
        let item = outcome.exits(0).document()["items"][0].clone();
        assert_eq!(item["outcome"], "synced");
        item["verdict"].clone()
    };
    assert_eq!(verdict(&[]).await, serde_json::Value::Null);
    let flags = [
        "--namespaced-stores",
        "--endpoint",
        "https://vault.example:8200",
    ];
    assert_eq!(verdict(&flags).await, "in-sync");
}

#[tokio::test]
async fn nothing_left_of_a_policy_is_an_error_that_says_why() {
    let workspace = without_cluster();
    let text = "select: [{namespaces: [payments, web]}]\ndrift: {enabled: false}\n";
    let file = workspace.file("policy.yaml", text);
    let file = file.to_str().expect("UTF-8");
    for command in ["run", "plan", "status"] {
        let told = async |more: &[&str]| {
            let policy = ["--sandbox", "--config", file];
            let outcome = workspace
                .run(&[&[command][..], &policy, more].concat())
                .await;
            outcome.exits(3).stderr.clone()
        };
        for (more, said) in [
            (
                &["-n", "paymnts"][..],
                "the policy selects no ExternalSecret in namespace paymnts",
            ),
            (
                &["zz*"],
                "the policy selects no ExternalSecret that matches `zz*`",
            ),
            (&["-n", "web", "zz*"], "that matches `zz*` in namespace web"),
            (
                &["catalog"],
                "the policy does not select the ExternalSecret shop/catalog",
            ),
            (
                &["catalog"],
                "`eso-sync --sandbox sync catalog -n shop` syncs it without the policy",
            ),
            (&["stirpe"], "did you mean `stripe`?"),
        ] {
            let stderr = told(more).await;
            assert!(stderr.contains(said), "{command} {more:?}: {stderr}");
        }
    }
    let outcome = workspace
        .run(&["run", "--sandbox", "--config", file, "-n", "shop"])
        .await;
    outcome.exits(3);
    let all = workspace
        .run(&["plan", "monitorin", "-A", "--sandbox"])
        .await;
    let stderr = &all.exits(3).stderr;
    assert!(
        stderr.contains("\"monitorin\" not found in any namespace"),
        "{stderr}"
    );
    assert!(stderr.contains("did you mean `monitoring`?"), "{stderr}");
}

#[tokio::test]
async fn watch_and_a_report_cannot_share_stdout() {
    let workspace = without_cluster();
    let both = ["status", "--watch", "--sandbox", "--report", "csv=-"];
    let outcome = workspace.run(&both).await;
    assert!(outcome.exits(2).stdout.is_empty(), "{}", outcome.stdout);
}

#[tokio::test]
async fn without_a_name_the_sandbox_shows_an_example() {
    let workspace = without_cluster();
    for sandbox in ["--sandbox", "--sandbox=bad-day"] {
        for (command, chosen) in [
            ("diagnose", "diagnose "),
            ("impact", "impact prod/web/oauth"),
            ("sync", "sync "),
        ] {
            let outcome = workspace.run(&[command, sandbox]).await;
            let said = format!("nothing is named, so this shows: eso-sync {chosen}");
            assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
            assert!(
                outcome.code < 2 || sandbox.ends_with("bad-day"),
                "{command}: {}",
                outcome.stderr
            );
            assert_ne!(outcome.code, 2, "{command}: {}", outcome.stderr);
            assert!(!outcome.stdout.is_empty(), "{command}");
        }
    }
    // The example is in another namespace.
    for command in ["diagnose", "sync"] {
        workspace
            .run(&[command, "--sandbox", "-n", "web"])
            .await
            .exits(2);
    }
    // The examples are not in a directory.
    let file = workspace.file("empty.yaml", "");
    let directory = file.parent().expect("a directory").display();
    let sandbox = format!("--sandbox={directory}");
    for command in ["diagnose", "impact", "sync"] {
        workspace.run(&[command, &sandbox]).await.exits(2);
    }
}

#[tokio::test]
async fn columns_of_a_run_are_chosen_and_sorted() {
    let workspace = without_cluster();
    for command in [&["run"][..], &["sync", "-A"], &["run", "--dry-run"]] {
        let table = [
            "--sandbox",
            "--columns",
            "name,namespace",
            "--sort-by",
            "name",
        ];
        let outcome = workspace.run(&[command, &table].concat()).await;
        let lines = outcome.exits(0).stdout.lines();
        let rows = lines.skip_while(|line| !line.starts_with("NAME "));
        let rows: Vec<&str> = rows.take_while(|line| !line.is_empty()).collect();
        assert!(rows.len() > 10, "{}", outcome.stdout);
        let names = rows.iter().skip(1);
        assert!(
            names.is_sorted_by_key(|row| row.split(' ').next()),
            "{rows:?}"
        );
    }
    let outcome = workspace
        .run(&["restart", "--sandbox", "--columns", "name"])
        .await;
    assert!(
        outcome
            .exits(2)
            .stderr
            .contains("`restart` shows workloads")
    );
}

#[tokio::test]
async fn column_without_values_is_refused() {
    let workspace = without_cluster();
    for (command, column) in [
        ("status", "verdict"),
        ("plan", "secret"),
        ("drift", "status"),
    ] {
        for flag in ["--columns", "--sort-by"] {
            let outcome = workspace.run(&[command, "--sandbox", flag, column]).await;
            let said = &outcome.exits(2).stderr;
            let what = format!("{flag}: this command has no values for the column `{column}`");
            assert!(said.contains(&what), "{said}");
            assert!(said.contains("its columns are namespace, name, "), "{said}");
        }
    }
}

#[tokio::test]
async fn unknown_name_is_answered_with_what_may_be_meant() {
    let workspace = without_cluster();
    let told = async |command: &[&str]| {
        let outcome = workspace.run(command).await;
        outcome.exits(3).stderr.clone()
    };
    let elsewhere = told(&["sync", "db", "--sandbox"]).await;
    assert!(
        elsewhere.contains("it exists in another namespace: use `-n payments`"),
        "{elsewhere}"
    );
    let misspelt = told(&["status", "stirpe", "-n", "payments", "--sandbox"]).await;
    assert!(misspelt.contains("did you mean `stripe`?"), "{misspelt}");
}

#[tokio::test]
async fn list_is_another_name_of_status() {
    let workspace = without_cluster();
    let of = async |command: &str| {
        selected(
            &workspace
                .run(&[command, "-A", "--sandbox", "-o", "json"])
                .await,
        )
    };
    assert_eq!(of("list").await, of("status").await);
}

#[tokio::test]
async fn plugin_of_kubectl_names_itself_as_its_user_does() {
    let workspace = without_cluster();
    let plugin = workspace.path().join("kubectl-eso_sync");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_eso-sync"), &plugin).expect("a link");
    let run = tokio::process::Command::new(plugin)
        .args(["sync", "-h"])
        .output()
        .await
        .expect("it runs");
    let help = String::from_utf8(run.stdout).expect("UTF-8");
    assert!(help.contains("Usage: kubectl eso-sync sync"), "{help}");
}

/// What changes the drift check is the same in all commands that make one.
#[tokio::test]
async fn flags_for_reading_providers_are_the_same_everywhere() {
    let workspace = without_cluster();
    let text = "select: [{namespaces: [payments]}]\n";
    let file = workspace.file("policy.yaml", text);
    let file = file.to_str().expect("UTF-8");
    for command in ["plan", "drift", "run"] {
        let of = async |more: &[&str]| {
            let command = [command, "--sandbox", "-o", "json", "--config", file];
            let outcome = workspace.run(&[&command, more].concat()).await;
            outcome.document()["unread"].as_array().map_or(0, Vec::len)
        };
        // A SecretStore is not read with the job's own credentials, unless that is allowed.
        assert_eq!(of(&[]).await, 1, "{command}");
        assert_eq!(of(&["--namespaced-stores"]).await, 0, "{command}");
    }
    let plan = ["plan", "-n", "payments", "--sandbox", "-o", "json"];
    let verdicts = async |more: &[&str]| {
        let outcome = workspace.run(&[&plan, more].concat()).await;
        outcome.document()["summary"]["verdicts"]
            .as_object()
            .map_or(0, serde_json::Map::len)
    };
    assert_eq!(verdicts(&[]).await, 0);
    assert!(verdicts(&["--credentials", "store"]).await > 0);
}
