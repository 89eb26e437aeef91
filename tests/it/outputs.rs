//! Snapshots of the complete output and the exit code of every command.

use std::sync::LazyLock;

use regex::Regex;

use crate::support::{Outcome, Workspace};

/// The parts of the output that differ between runs, each with its replacement.
static VARYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        // In Markdown, the colon is escaped.
        (
            r"\d{4}-\d\d-\d\d[T ]\d\d(:|&#58;)\d\d(:|&#58;)\d\d(\.\d+)?Z",
            "TIME",
        ),
        (r"\d{8}t\d{6}z-[0-9a-f]{8}", "RUN"),
        (r"127\.0\.0\.1(:|&#58;)\d+", "ADDRESS"),
        // The template of a restarted workload contains a time.
        (r"-[0-9a-f]{10}(-[a-z0-9]{5})\b", "-HASH$1"),
        (r"\b\d+(\.\d+)? s\b", "SECONDS"),
        (r"\b\d+(\.\d+)? ms\b", "SECONDS"),
        (r"\b\d+[hm]\d+[ms]\b", "AGE"),
        (r"\d+ API requests", "N API requests"),
        // It changes with every key of the policy.
        (r#""policyDigest": "[0-9a-f]+""#, "\"policyDigest\": DIGEST"),
        // This store throttles, so some calls are made again.
        (
            r"(?m)^(Provider calls of the drift check: .*)\b\d+ to azurekv",
            "${1}N to azurekv",
        ),
        (r#"(?m)("?(?:\w*Seconds|requests)"?): [\d.]+"#, "$1: 0"),
        (r#""version": "[^"]+""#, "\"version\": VERSION"),
        (r" +", " "),
        (r"-{3,}|─{3,}", "---"),
    ]
    .into_iter()
    .map(|(pattern, text)| (Regex::new(pattern).expect("a pattern"), text))
    .collect()
});

/// True for a line of progress. The order and number of these lines depend on the speed of the machine.
fn is_progress(line: &str) -> bool {
    line.starts_with("synced ") && line.contains(" after ")
        || line.contains(" WARN ")
        || line.contains(" INFO waiting for ")
        || line.starts_with("retrying ")
        || line.ends_with(" SECONDS") && line.contains(": restarted in ")
}

fn stable(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, instead) in VARYING.iter() {
        text = pattern.replace_all(&text, *instead).into_owned();
    }
    let mut stable = String::new();
    for line in text.lines().filter(|line| !is_progress(line)) {
        stable.push_str(line.trim_end());
        stable.push('\n');
    }
    stable
}

fn shown(arguments: &[&str], outcome: &Outcome) -> String {
    format!(
        "$ eso-sync {}\nexit {}\n--- stdout\n{}--- stderr\n{}",
        arguments.join(" "),
        outcome.code,
        stable(&outcome.stdout),
        stable(&outcome.stderr)
    )
}

async fn print(name: &str, arguments: &[&str], files: &[(&str, &str)]) {
    let workspace = Workspace::new(Vec::new());
    for (file, text) in files {
        workspace.file(file, text);
    }
    let outcome = workspace.run(arguments).await;
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "snapshots/outputs", omit_expression => true}, {
        insta::assert_snapshot!(name, shown(arguments, &outcome));
    });
}

/// A policy with every section, and a rule for restarts.
const POLICY: &str = "
select:
  - namespaces: [payments, 'web*']
exclude:
  - names: [session]
sync: {when: drifted, retries: 1}
pace: {stores: {'SecretStore/payments/vault': 50/s}}
safety: {maxSyncs: 20}
restart:
  - match: references
";

const QUEUE: &str = "
select: [{}]
events: {queues: [{sqs: {url: 'https://sqs.eu-west-1.amazonaws.com/123456789012/rotations'}}]}
";

const INVALID: &str = "
select:
  - namespaces: [Prod]
    label: {}
sync: {when: sometimes, timeout: 0s}
pace: {aws: fast}
restart: [{match: labels, cooldown: -1s}]
";

macro_rules! outputs {
    ($($name:ident: [$($argument:literal),*] $(with $file:literal = $text:expr)?;)*) => {
        $(#[tokio::test]
        async fn $name() {
            print(stringify!($name), &[$($argument),*], &[$(($file, $text))?]).await;
        })*
    };
}

outputs! {
    help_restart: ["restart", "--help"];
    help_drift: ["drift", "--help"];
    help_diagnose: ["diagnose", "--help"];
    help_validate: ["validate", "--help"];
    help_schema: ["schema", "--help"];
    help_rbac: ["rbac", "--help"];
    short_help_run: ["run", "-h"];
    status: ["status", "--sandbox"];
    status_wide: ["status", "--sandbox", "-A", "-o", "wide"];
    status_json: ["status", "--sandbox", "-n", "payments", "-o", "json"];
    status_yaml: ["status", "--sandbox=bad-day", "-o", "yaml"];
    status_columns: ["status", "--sandbox", "--columns", "provider,namespace,NAME", "--sort-by", "provider"];
    status_unknown_column: ["status", "--sandbox", "--columns", "name,nope"];
    drift_sorted: ["drift", "--sandbox=bad-day", "--sort-by", "verdict"];
    status_names: ["status", "--sandbox", "-o", "name"];
    publish: ["publish", "--sandbox"];
    publish_bad_day: ["publish", "--sandbox=bad-day"];
    publish_plan: ["publish", "--sandbox", "--dry-run", "-o", "json"];
    publish_status: ["publish", "status", "--sandbox"];
    publish_list: ["publish", "list", "--sandbox"];
    plan: ["plan", "--sandbox"];
    plan_differences: ["plan", "--sandbox", "--exit-code", "-n", "payments"];
    plan_json: ["plan", "--sandbox=bad-day", "-o", "json"];
    plan_policy: ["plan", "--sandbox", "--config", "policy.yaml"] with "policy.yaml" = POLICY;
    plan_namespace_limit: ["plan", "--sandbox", "--max-syncs", "3"];
    plan_refused: ["plan", "--sandbox", "--max-syncs", "1"];
    drift: ["drift", "--sandbox"];
    drift_bad_day: ["drift", "--sandbox=bad-day"];
    drift_json: ["drift", "--sandbox=bad-day", "-o", "json"];
    diagnose: ["diagnose", "stripe", "-n", "payments", "--sandbox"];
    diagnose_bad_day: ["diagnose", "pipeline", "-n", "platform", "--sandbox=bad-day"];
    diagnose_json: ["diagnose", "warehouse", "-n", "data", "--sandbox=bad-day", "-o", "json"];
    help_impact: ["impact", "--help"];
    impact: ["impact", "prod/web/oauth", "--sandbox"];
    impact_policy: ["impact", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/web/oauth-AbCdEf", "--sandbox", "--config", "policy.yaml"] with "policy.yaml" = POLICY;
    impact_bad_day: ["impact", "--store", "ClusterSecretStore/azure-prod", "--sandbox=bad-day"];
    impact_wide: ["impact", "--store", "SecretStore/vault", "--sandbox", "-o", "wide"];
    impact_tree: ["impact", "prod/monitoring", "--sandbox", "-o", "tree"];
    impact_dot: ["impact", "--secret", "payments/db", "--sandbox", "-o", "dot"];
    impact_mermaid: ["impact", "--store", "vault", "--sandbox", "-o", "mermaid"];
    impact_json: ["impact", "https://vault.example:8200/v1/secret/data/payments/db", "--sandbox", "-o", "json"];
    impact_unused: ["impact", "prod/nobody", "-n", "web", "--sandbox"];
    help_history: ["history", "--help"];
    history: ["history", "--sandbox"];
    history_of_one: ["history", "--sandbox", "web/oauth"];
    history_bad_day: ["history", "--sandbox=bad-day"];
    history_json: ["history", "--sandbox", "oauth", "-n", "web", "--job", "nightly", "-o", "json"];
    history_markdown: ["history", "--sandbox", "--report", "markdown=-"];
    impact_markdown: ["impact", "--sandbox", "prod/web/oauth", "--report", "markdown=-"];
    advise_markdown: ["advise", "--sandbox", "--report", "markdown=-"];
    help_advise: ["advise", "--help"];
    advise: ["advise", "--sandbox"];
    advise_bad_day: ["advise", "--sandbox=bad-day"];
    advise_namespace_json: ["advise", "--sandbox", "-n", "web", "-o", "json"];
    advise_rotation: ["advise", "--sandbox", "--rotation=two-users"];
    advise_rotation_json: ["advise", "--sandbox", "-n", "team-a", "--rotation", "-o", "json"];
    advise_patch: ["advise", "--sandbox", "--patch"];
    help_events: ["events", "--help"];
    events: ["events", "--sandbox"];
    events_bad_day: ["events", "--sandbox=bad-day"];
    events_json: ["events", "--sandbox", "-o", "json"];
    events_dry: ["events", "--sandbox", "--dry-run"];
    schema_events: ["schema", "--for", "events"];
    schema_diagnosis: ["schema", "--for", "diagnosis"];
    schema_failure: ["schema", "--for", "failure"];
    help_guide: ["guide", "--help"];
    guide_aws: ["guide", "aws", "--sandbox"];
    guide_azure: ["guide", "azure", "--sandbox"];
    guide_gcp: ["guide", "gcp", "--sandbox"];
    guide_vault: ["guide", "vault", "--sandbox"];
    guide_kubernetes: ["guide", "kubernetes", "--sandbox"];
    run: ["run", "--sandbox"];
    run_bad_day: ["run", "--sandbox=bad-day"];
    run_bad_day_json: ["run", "--sandbox=bad-day", "-o", "json"];
    run_policy: ["run", "--sandbox", "--config", "policy.yaml"] with "policy.yaml" = POLICY;
    run_policy_dry: ["run", "--sandbox", "--config", "policy.yaml", "--dry-run"] with "policy.yaml" = POLICY;
    sync_restart: ["sync", "db", "-n", "payments", "--restart", "--sandbox", "--yes"];
    sync_without_yes: ["sync", "db", "-n", "payments", "--sandbox"];
    sync_nothing_named: ["sync", "--sandbox"];
    sync_unknown_name: ["sync", "nope", "-n", "payments", "--sandbox", "--yes"];
    sync_unknown_store: ["sync", "--store", "ClusterSecretStore/nope", "-A", "--sandbox", "--yes"];
    sync_all_dry: ["sync", "--all", "-A", "--sandbox", "--dry-run", "-o", "json"];
    restart: ["restart", "--sandbox"];
    restart_without_rule: ["restart", "--sandbox", "--config", "policy.yaml"] with "policy.yaml" = "select: [{}]\n";
    restart_policy: ["restart", "--sandbox", "--config", "policy.yaml", "--dry-run"] with "policy.yaml" = POLICY;
    validate: ["validate", "--config", "policy.yaml"] with "policy.yaml" = POLICY;
    validate_invalid: ["validate", "--config", "policy.yaml"] with "policy.yaml" = INVALID;
    validate_json: ["validate", "--config", "policy.yaml", "-o", "json"] with "policy.yaml" = INVALID;
    schema_report: ["schema", "--for", "report"];
    schema_publish: ["schema", "--for", "publish"];
    rbac: ["rbac"];
    rbac_policy: ["rbac", "--config", "policy.yaml"] with "policy.yaml" = POLICY;
    rbac_helm: ["rbac", "-o", "helm-values", "--config", "policy.yaml"] with "policy.yaml" = POLICY;
    rbac_aws: ["rbac", "--for", "aws"];
    rbac_aws_queue: ["rbac", "--for", "aws", "--config", "policy.yaml"] with "policy.yaml" = QUEUE;
    rbac_azure: ["rbac", "--for", "azure"];
    rbac_gcp: ["rbac", "--for", "gcp"];
    rbac_vault: ["rbac", "--for", "vault"];
    no_cluster: ["status"];
    unknown_command: ["synk"];
    bad_server: ["status", "--server", "not an address"];
}
