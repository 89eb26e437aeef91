//! What `publish` refuses before anything is sent. No provider is needed: the address of the provider is one at which nothing
//! listens, or the policy is refused.

use std::path::Path;

use serde_json::Value as Json;

use super::{KEY, publish};
use crate::support::Workspace;

const SOURCE: &str = "source: {path: {dir: .}}\n      read: {files: [{path: app.env}]}\n      to: {aws: {region: eu-west-1}}";

/// A workspace with a policy of one item, which publishes `app.env`.
fn workspace(more: &str) -> Workspace {
    let mut workspace = Workspace::new(Vec::new());
    workspace.set("PUBLISH_KEY", KEY);
    workspace.set("AWS_ACCESS_KEY_ID", "id");
    workspace.set("AWS_SECRET_ACCESS_KEY", "hunter2");
    // Nothing listens there.
    workspace.set("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    workspace.file("app.env", "A=hunter2\n");
    let policy = format!(
        "publish:\n  owner: test\n  key: env:PUBLISH_KEY\n  items:\n    - name: app\n      {SOURCE}\ndrift: {{endpoints: ['http://127.0.0.1:9']}}\n{more}"
    );
    workspace.file("policy.yaml", &policy);
    workspace
}

#[tokio::test]
async fn list_shows_what_ceilings_name_and_reads_nothing() {
    let workspace = workspace("");
    let outcome = publish(&workspace, &["list"]).await;
    let outcome = outcome.exits(0);
    for part in ["app", "path/.", "aws/eu-west-1", "active"] {
        assert!(outcome.stdout.contains(part), "{}", outcome.stdout);
    }
}

/// The component of `manifests/`: its CronJob may publish what its policy says, and nothing else.
#[tokio::test]
async fn ceilings_of_the_component_fit_its_policy() {
    let component = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/components/publish");
    let read = |name: &str| std::fs::read_to_string(component.join(name)).expect(name);
    let cron_job: Json = serde_saphyr::from_str(&read("cronjob.yaml")).expect("YAML");
    let container = &cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().expect("arguments");
    let flags: Vec<&str> = arguments
        .iter()
        .filter_map(Json::as_str)
        .filter(|flag| flag.starts_with("--allow"))
        .collect();
    assert_eq!(flags.len(), 3);
    let workspace = Workspace::new(Vec::new());
    workspace.file("policy.yaml", &read("config.yaml"));
    publish(&workspace, &[&["list"], &flags[..]].concat())
        .await
        .exits(0);
    let other = read("config.yaml").replace("name: aws-prod", "name: other");
    workspace.file("policy.yaml", &other);
    publish(&workspace, &[&["list"], &flags[..]].concat())
        .await
        .exits(2);
}

#[tokio::test]
async fn a_policy_publishes_only_from_and_to_what_the_flags_allow() {
    let workspace = workspace("");
    let with = async |flags: &[&str]| publish(&workspace, &[&["list"], flags].concat()).await;
    let closed = with(&["--allow=drift,sync"]).await.exits(2).stderr.clone();
    for told in [
        "--allow publish",
        "--allow-source path/.",
        "--allow-target aws/eu-west-1",
    ] {
        assert!(closed.contains(told), "{told}: {closed}");
    }
    let endpoint = "--allow-endpoint=http://127.0.0.1:9";
    let of = |source, target| ["--allow=publish", endpoint, source, target];
    let open = of("--allow-source=path/*", "--allow-target=aws/eu-*");
    with(&open).await.exits(0);
    for (closed, told) in [
        (
            of("--allow-source=path/*", "--allow-target=aws/us-*"),
            "by --allow-target",
        ),
        (
            of("--allow-source=flux/*", "--allow-target=*"),
            "by --allow-source",
        ),
    ] {
        let outcome = with(&closed).await;
        let stderr = &outcome.exits(2).stderr;
        assert!(stderr.contains(told), "{stderr}");
        assert_eq!(stderr.matches("is not permitted").count(), 1, "{stderr}");
    }
}

#[tokio::test]
async fn other_commands_do_not_read_the_section() {
    let workspace = workspace("select: [{}]\n");
    let path = workspace.path().join("policy.yaml");
    let path = path.to_str().expect("UTF-8");
    let outcome = workspace
        .run(&[
            "plan",
            "--sandbox",
            "--config",
            path,
            "--allow=drift,sync",
            "--allow-endpoint=http://127.0.0.1:9",
        ])
        .await;
    assert_ne!(outcome.code, 2, "{}", outcome.stderr);
}

#[tokio::test]
async fn an_item_names_exactly_one_source_and_one_target() {
    for (text, told) in [
        ("source: {}", "publish.items[0].source"),
        (
            "source: {path: {dir: .}, flux: {namespace: a, name: b}}",
            "publish.items[0].source",
        ),
    ] {
        let workspace = Workspace::new(Vec::new());
        let item = SOURCE.replace("source: {path: {dir: .}}", text);
        workspace.file(
            "policy.yaml",
            &format!("publish:\n  owner: test\n  items:\n    - name: app\n      {item}\n"),
        );
        let outcome = publish(&workspace, &["list"]).await.exits(2).stderr.clone();
        assert!(outcome.contains(told), "{outcome}");
    }
}

#[tokio::test]
async fn a_missing_key_stops_before_anything_is_read() {
    let workspace = workspace("");
    workspace.file(
        "policy.yaml",
        &format!(
            "publish:\n  owner: test\n  key: env:OTHER\n  items:\n    - name: app\n      {SOURCE}\n"
        ),
    );
    let outcome = publish(&workspace, &["--dry-run"]).await;
    let stderr = outcome.exits(4).stderr.clone();
    assert!(stderr.contains("the variable OTHER is not set"), "{stderr}");
}

/// One item's failure is data in the report, and the provider is not asked about it.
#[tokio::test]
async fn a_file_that_cannot_be_read_exactly_is_reported_with_its_line() {
    let workspace = workspace("");
    workspace.file("app.env", "GOOD=x\nA=hunter2\\nmore\n");
    let outcome = publish(&workspace, &["--dry-run", "-o", "json"]).await;
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let document = outcome.document();
    let fault = &document["items"][0]["faults"][0];
    assert_eq!(fault["reason"], "dialects-differ", "{document}");
    assert_eq!(fault["file"], "app.env:2", "{document}");
    assert_eq!(names(&document), [""; 0], "{document}");
    assert!(!outcome.stdout.contains("hunter2") && !outcome.stderr.contains("hunter2"));
}

/// The lines of a value look like keys, and keys become names at the provider and in reports.
#[tokio::test]
async fn no_line_of_a_longer_value_becomes_a_name() {
    let workspace = workspace("");
    let policy = std::fs::read_to_string(workspace.path().join("policy.yaml")).expect("a policy");
    let key = "hV8fGtq2Lw9JmZc4QzYnRw";
    workspace.file(
        "app.env",
        &format!("GOOD=x\nKEY=-----BEGIN PRIVATE KEY-----\n{key}==\n-----END PRIVATE KEY-----\n"),
    );
    for dialect in [
        "",
        ", dialect: smc",
        ", dialect: kustomize",
        ", dialect: sops",
    ] {
        let file = format!("{{path: app.env{dialect}}}");
        workspace.file("policy.yaml", &policy.replace("{path: app.env}", &file));
        let outcome = publish(&workspace, &["--dry-run", "-o", "json"]).await;
        assert_eq!(outcome.code, 3, "{dialect}: {}", outcome.stderr);
        let document = outcome.document();
        assert_eq!(names(&document), [""; 0], "{dialect}: {document}");
        let fault = &document["items"][0]["faults"][0];
        assert_eq!(fault["file"], "app.env:2", "{document}");
        assert!(!outcome.stdout.contains(key) && !outcome.stderr.contains(key));
    }
}

#[tokio::test]
async fn an_item_without_keys_is_an_error() {
    let workspace = workspace("");
    workspace.file("app.env", "# nothing\n");
    let outcome = publish(&workspace, &["--dry-run", "-o", "json"]).await;
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let document = outcome.document();
    let fault = &document["items"][0]["faults"][0];
    assert_eq!(fault["reason"], "empty-source", "{document}");
}

/// The provider stores no empty value, so the advice cannot be to allow it.
#[tokio::test]
async fn an_empty_value_stops_its_item_with_one_fault() {
    let workspace = workspace("");
    workspace.file("app.env", "GOOD=x\nEMPTY=\n");
    let outcome = publish(&workspace, &["--dry-run", "-o", "json"]).await;
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let document = outcome.document();
    let faults = document["items"][0]["faults"].as_array().expect("faults");
    let [fault] = faults.as_slice() else {
        panic!("one fault: {document}");
    };
    assert_eq!(fault["reason"], "empty-value", "{document}");
    assert!(!fault.to_string().contains("allow"), "{fault}");
    let secrets = document["items"][0]["secrets"].as_array().expect("secrets");
    let reasons: Vec<&str> = secrets
        .iter()
        .filter_map(|secret| secret["reason"].as_str())
        .collect();
    assert_eq!(reasons, ["empty-value", "item-stopped"], "{document}");
}

#[tokio::test]
async fn a_file_is_found_however_its_path_is_written() {
    let workspace = workspace("");
    let policy = std::fs::read_to_string(workspace.path().join("policy.yaml")).expect("a policy");
    workspace.file(
        "policy.yaml",
        &policy.replace("path: app.env", "path: ./app.env"),
    );
    let document = publish(&workspace, &["--dry-run", "-o", "json"])
        .await
        .document();
    assert_eq!(names(&document), ["A"], "{document}");
}

#[tokio::test]
async fn a_mount_of_vault_has_one_spelling() {
    let workspace = workspace("");
    let policy = std::fs::read_to_string(workspace.path().join("policy.yaml")).expect("a policy");
    for path in ["./kv", "../kv", "kv//a"] {
        let to = format!("to: {{vault: {{server: 'http://127.0.0.1:9', path: {path}}}}}");
        workspace.file(
            "policy.yaml",
            &policy.replace("to: {aws: {region: eu-west-1}}", &to),
        );
        let refused = publish(&workspace, &["list"]).await;
        let told = &refused.exits(2).stderr;
        assert!(
            told.contains("is not the path of a mount"),
            "{path}: {told}"
        );
    }
}

#[tokio::test]
async fn a_folder_does_not_leave_what_a_flag_allows() {
    let workspace = workspace("");
    let root = workspace.path().canonicalize().expect("a path");
    let policy = std::fs::read_to_string(root.join("policy.yaml")).expect("a policy");
    for folder in ["allowed/inner", "other"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
        workspace.file(&format!("{folder}/app.env"), "A=hunter2\n");
    }
    for (to, link) in [("../other", "allowed/out"), ("inner", "allowed/in")] {
        std::os::unix::fs::symlink(to, root.join(link)).expect("a link");
    }
    let shown = root.display();
    let with = async |folder: &str| {
        let source = format!("path: {{dir: {shown}/{folder}}}");
        workspace.file("policy.yaml", &policy.replace("path: {dir: .}", &source));
        let source = format!("--allow-source=path/{shown}/allowed/*");
        let flags = [
            "--allow=publish",
            "--allow-endpoint=http://127.0.0.1:9",
            "--allow-target=*",
        ];
        let arguments = [&["--dry-run", "-o", "json", &source], &flags[..]].concat();
        publish(&workspace, &arguments).await
    };
    let refused = with("allowed/../other").await;
    let told = &refused.exits(2).stderr;
    assert!(
        told.contains("publish.items[0].source.path.dir: "),
        "{told}"
    );
    let document = with("allowed/out").await.document();
    let fault = &document["items"][0]["faults"][0];
    assert_eq!(fault["reason"], "source-not-allowed", "{document}");
    assert_eq!(names(&document), [""; 0], "{document}");
    for folder in ["allowed/inner", "allowed/in"] {
        let document = with(folder).await.document();
        assert_eq!(names(&document), ["A"], "{folder}: {document}");
    }
}

/// `/dev/zero` has no end.
#[tokio::test]
async fn a_key_is_a_regular_file() {
    let workspace = workspace("");
    let policy = std::fs::read_to_string(workspace.path().join("policy.yaml")).expect("a policy");
    workspace.file(
        "policy.yaml",
        &policy.replace("env:PUBLISH_KEY", "file:/dev/zero"),
    );
    let outcome = publish(&workspace, &["--dry-run"]).await;
    let told = &outcome.exits(4).stderr;
    assert!(told.contains("not a regular file"), "{told}");
}

#[tokio::test]
async fn old_versions_of_a_provider_that_destroys_none_are_not_promised() {
    let workspace = workspace("");
    let policy = std::fs::read_to_string(workspace.path().join("policy.yaml")).expect("a policy");
    let to = "to: {aws: {region: eu-west-1}}";
    let keep = format!("{to}\n      versions: {{keep: 3}}");
    workspace.file("policy.yaml", &policy.replace(to, &keep));
    let document = publish(&workspace, &["--dry-run", "-o", "json"])
        .await
        .document();
    let fault = &document["items"][0]["faults"][0];
    assert_eq!(fault["reason"], "unsupported-store", "{document}");
    let message = fault["message"].as_str().expect("text");
    assert!(message.starts_with("`versions.keep`: "), "{message}");
}

#[tokio::test]
async fn an_unknown_item_is_an_error_and_not_an_empty_success() {
    let workspace = workspace("");
    let outcome = publish(&workspace, &["list", "--only", "ap"]).await;
    let stderr = outcome.exits(2).stderr.clone();
    assert!(stderr.contains("no such item"), "{stderr}");
}

/// Publishes files that the real sops encrypted with the age key of its tests. Returns the exit code and the document.
async fn encrypted(files: &[&str], sops: &str) -> (i32, Json) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/sops/tests/files");
    let workspace = workspace("");
    let files: Vec<String> = files
        .iter()
        .map(|file| format!("{{path: {file}}}"))
        .collect();
    // For example `a.yaml, format: binary`.
    let folder = folder.display();
    workspace.file(
        "policy.yaml",
        &format!(
            "publish:\n  owner: test\n  key: env:PUBLISH_KEY\n  items:\n    - name: app\n      source: {{path: {{dir: {folder}/encrypted}}}}\n      \
             read: {{files: [{}]}}\n      to: {{aws: {{region: eu-west-1}}}}\n      sops: {{keys: ['file:{folder}/age.txt']{sops}}}\n\
             drift: {{endpoints: ['http://127.0.0.1:9']}}\n",
            files.join(", ")
        ),
    );
    let outcome = publish(&workspace, &["--dry-run", "-o", "json"]).await;
    (outcome.code, outcome.document())
}

fn names(document: &Json) -> Vec<&str> {
    let secrets = document["items"][0]["secrets"].as_array();
    secrets
        .into_iter()
        .flatten()
        .filter_map(|secret| secret["name"].as_str())
        .collect()
}

#[tokio::test]
async fn files_of_sops_are_decrypted_and_named() {
    let (_, document) = encrypted(
        &["encrypted-suffix.yaml", "all.env"],
        ", allowUnencrypted: true, allowEmpty: true",
    )
    .await;
    for name in ["password", "database.password", "apple.note", "A", "F"] {
        assert!(names(&document).contains(&name), "{name}: {document}");
    }
    // Names and values that AWS refuses; nothing is wrong with the files.
    let faults = document["items"][0]["faults"].as_array();
    for fault in faults.into_iter().flatten() {
        let reason = fault["reason"].as_str().expect("a word");
        assert!(
            ["invalid-name", "invalid-value"].contains(&reason),
            "{fault}"
        );
    }
}

/// sops writes it in a notation of its own.
#[tokio::test]
async fn text_of_a_yaml_file_of_sops_is_not_invented() {
    let (code, document) = encrypted(
        &["encrypted-suffix.yaml, format: binary"],
        ", allowUnencrypted: true, allowEmpty: true",
    )
    .await;
    assert_eq!(code, 3, "{document}");
    let fault = &document["items"][0]["faults"][0];
    assert_eq!(fault["reason"], "no-exact-text", "{document}");
    assert!(fault.to_string().contains("--sops-program"), "{document}");
    assert_eq!(names(&document), [""; 0], "{document}");
}

/// The MAC of SOPS covers neither the names of such values, nor empty ones.
#[tokio::test]
async fn unencrypted_and_empty_values_in_files_of_sops_are_refused() {
    for (file, reason) in [
        ("encrypted-suffix.yaml", "unencrypted-value"),
        ("all.env", "empty-value"),
    ] {
        let (code, document) = encrypted(&[file], "").await;
        assert_eq!(code, 3, "{document}");
        assert_eq!(
            document["items"][0]["faults"][0]["reason"], reason,
            "{document}"
        );
        assert_eq!(names(&document), [""; 0], "{document}");
    }
}

const MANIFEST: &str = "apiVersion: secret-management.microscaler.io/v1beta1
kind: SecretManagerConfig
metadata: {name: shop, namespace: apps}
spec:
  sourceRef: {kind: GitRepository, name: shop, namespace: flux-system}
  provider: {type: aws, aws: {region: eu-west-1}}
  secrets: {environment: dev, prefix: shop}
  otel: {}
";

/// Runs `publish` with manifests in `smc.yaml`.
async fn from_smc(manifests: &str, arguments: &[&str]) -> crate::support::Outcome {
    let workspace = Workspace::new(Vec::new());
    workspace.file("smc.yaml", manifests);
    let path = workspace.path().join("smc.yaml");
    let path = path.to_str().expect("UTF-8");
    let flags = ["--from-smc", path];
    workspace.run(&[arguments, &flags].concat()).await
}

#[tokio::test]
async fn manifests_of_smc_become_the_policy_that_is_printed() {
    let printed = from_smc(MANIFEST, &["publish", "--print-policy"]).await;
    let policy = printed.exits(0).stdout.clone();
    assert!(printed.stderr.contains("spec.otel"), "{}", printed.stderr);
    let listed = from_smc(MANIFEST, &["publish", "list"]).await;
    let listed = listed.exits(0);
    assert!(
        listed.stdout.contains("flux/flux-system/shop"),
        "{}",
        listed.stdout
    );
    assert!(listed.stdout.contains("aws/eu-west-1"), "{}", listed.stdout);
    assert!(
        listed.stderr.contains("the equivalent policy"),
        "{}",
        listed.stderr
    );
    for line in policy.lines() {
        let is_shown = listed.stderr.lines().any(|shown| shown == line);
        assert!(is_shown, "{line}: {}", listed.stderr);
    }
    let of_list = from_smc(MANIFEST, &["publish", "list", "--print-policy"]).await;
    assert_eq!(of_list.exits(0).stdout, policy);
    // It is a policy like any other one.
    let workspace = Workspace::new(Vec::new());
    workspace.file("policy.yaml", &policy);
    publish(&workspace, &["list"]).await.exits(0);
}

#[tokio::test]
async fn policy_that_is_printed_is_valid() {
    let invalid = MANIFEST.replace("environment: dev", "environment: ../../etc");
    let refused = from_smc(&invalid, &["publish", "--print-policy"]).await;
    let told = &refused.exits(2).stderr;
    assert!(
        told.contains("environment") && refused.stdout.is_empty(),
        "{told}"
    );
}

#[tokio::test]
async fn manifest_of_smc_with_a_project_publishes_to_google() {
    let provider = "{type: aws, aws: {region: eu-west-1}}";
    let manifest = MANIFEST.replace(provider, "{type: gcp, gcp: {projectId: shop-dev}}");
    let listed = from_smc(&manifest, &["publish", "list"]).await;
    let listed = listed.exits(0);
    assert!(listed.stdout.contains("gcp/shop-dev"), "{}", listed.stdout);
    let allowed = [
        "publish",
        "list",
        "--allow=publish,adopt,overwrite,unprotected-values",
        "--allow-source=flux/*",
        "--allow-target=gcp/shop-*",
    ];
    from_smc(&manifest, &allowed).await.exits(0);
    let other = manifest.replace("shop-dev", "other");
    from_smc(&other, &allowed).await.exits(2);
}

/// The policy names the provider, so what it does not support is an error before anything is read.
#[tokio::test]
async fn creation_that_the_provider_does_not_support_is_an_error_of_the_policy() {
    let workspace = workspace("");
    let path = workspace.path().join("policy.yaml");
    let policy = std::fs::read_to_string(path).expect("it was written");
    let to = "to: {aws: {region: eu-west-1}}";
    for (target, create, part) in [
        (to, "tier: advanced", "create.tier"),
        (to, "replication: [europe-west1]", "create.replication"),
        (
            "to: {gcp: {project: p}}",
            "kmsKey: alias/a",
            "create.kmsKey",
        ),
        ("to: {gcp: {project: p}}", "tags: {Team: a}", "create.tags"),
        (
            "to: {gcp: {project: p, location: europe-west1}}",
            "replication: [europe-west1]",
            "create.replication",
        ),
    ] {
        let more = format!("{target}\n      create: {{{create}}}");
        workspace.file("policy.yaml", &policy.replace(to, &more));
        let told = publish(&workspace, &["list"]).await.exits(2).stderr.clone();
        assert!(
            told.contains(&format!("publish.items[0].{part}: ")),
            "{told}"
        );
    }
}

#[tokio::test]
async fn document_at_a_provider_without_keys_in_secrets_is_an_error_of_the_policy() {
    let workspace = workspace("");
    let path = workspace.path().join("policy.yaml");
    let policy = std::fs::read_to_string(path).expect("it was written");
    let to = "to: {aws: {region: eu-west-1}}";
    for (target, code) in [
        (to, 2),
        ("to: {gcp: {project: p}}", 2),
        ("to: {azure: {vaultUrl: 'https://a.vault.azure.net'}}", 2),
        ("to: {vault: {server: 'http://127.0.0.1:9', path: kv}}", 0),
    ] {
        let more = format!("{target}\n      layout: document");
        workspace.file("policy.yaml", &policy.replace(to, &more));
        let outcome = publish(&workspace, &["list"]).await;
        let told = &outcome.exits(code).stderr;
        let is_told = told.contains("publish.items[0].layout: this provider stores one value");
        assert_eq!(is_told, code == 2, "{told}");
    }
}

#[tokio::test]
async fn manifests_of_smc_are_held_to_the_ceilings() {
    let closed = from_smc(MANIFEST, &["publish", "list", "--allow=publish"]).await;
    let told = closed.exits(2).stderr.clone();
    for flag in [
        "--allow-source flux/flux-system/shop",
        "--allow-target aws/eu-west-1",
        "--allow adopt",
        "--allow overwrite",
    ] {
        assert!(told.contains(flag), "{flag}: {told}");
    }
}

#[tokio::test]
async fn manifests_of_smc_with_a_vault_publish_to_azure() {
    let aws = "{type: aws, aws: {region: eu-west-1}}";
    let azure = "{type: azure, azure: {vaultName: shop-prod}}";
    let manifest = MANIFEST.replace(aws, azure);
    let target = "azure/https://shop-prod.vault.azure.net";
    let listed = from_smc(&manifest, &["publish", "list"]).await;
    assert!(listed.exits(0).stdout.contains(target), "{}", listed.stdout);
    let closed = from_smc(&manifest, &["publish", "list", "--allow=publish"]).await;
    let told = closed.exits(2).stderr.clone();
    let flag = format!("--allow-target {target}");
    assert!(told.contains(&flag), "{told}");
}

#[tokio::test]
async fn manifests_of_smc_that_say_something_unknown_publish_nothing() {
    let unknown = MANIFEST.replace("otel: {}", "unheardOf: true");
    let refused = from_smc(&unknown, &["publish", "list"]).await;
    let told = refused.exits(2).stderr.clone();
    assert!(
        told.contains("spec.unheardOf") && told.contains("smc.yaml:8"),
        "{told}"
    );
    let nothing = from_smc(
        "apiVersion: v1\nkind: List\nitems: []\n",
        &["publish", "list"],
    )
    .await;
    assert!(
        nothing.exits(2).stderr.contains("no SecretManagerConfig"),
        "{}",
        nothing.stderr
    );
}

/// Without a cluster nobody knows which ExternalSecrets read a secret. The rest is published.
#[tokio::test]
async fn publisher_without_a_cluster_says_that_it_deletes_nothing() {
    let workspace = workspace("");
    let path = workspace.path().join("policy.yaml");
    let policy = std::fs::read_to_string(path).expect("it was written");
    let prune = "to: {aws: {region: eu-west-1}}\n      prune: {mode: prune}";
    workspace.file(
        "policy.yaml",
        &policy.replace("to: {aws: {region: eu-west-1}}", prune),
    );
    let outcome = publish(&workspace, &["--dry-run", "-o", "json"]).await;
    let told = &outcome.stderr;
    assert!(
        told.contains("nothing is deleted, because it is not known what ExternalSecrets read"),
        "{told}"
    );
    assert_eq!(outcome.document()["kind"], "PublishPlan");
}

#[tokio::test]
async fn sync_that_follows_needs_a_selection() {
    let workspace = workspace("");
    let path = workspace.path().join("policy.yaml");
    let policy = std::fs::read_to_string(path).expect("it was written");
    let then = "to: {aws: {region: eu-west-1}}\n      then: {sync: true}";
    let policy = policy.replace("to: {aws: {region: eu-west-1}}", then);
    workspace.file("policy.yaml", &policy);
    let refused = publish(&workspace, &["list"]).await;
    let told = &refused.exits(2).stderr;
    assert!(
        told.contains("publish.items[0].then.sync") && told.contains("add `select`"),
        "{told}"
    );
    workspace.file(
        "policy.yaml",
        &format!("select: [{{namespaces: [a]}}]\n{policy}"),
    );
    publish(&workspace, &["list"]).await.exits(0);
}
