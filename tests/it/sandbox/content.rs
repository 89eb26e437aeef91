//! The content of a sandbox.

use std::{collections::BTreeSet, path::Path, process::Command};

use sandbox::{self, Content, Sandbox, SandboxError, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{external_secret, get, names, now, with};
use crate::support::eventually;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

async fn load(folder: &Path) -> Result<Sandbox, SandboxError> {
    let settings = Settings {
        operator: false,
        ..Settings::default()
    };
    Sandbox::with(&Content::Directory(folder.to_owned()), settings, now()).await
}

/// The error message, with its causes.
async fn load_error(files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let error = load(folder.path()).await.err().expect("an error");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.replace(&format!("{}/", folder.path().display()), "")
}

#[tokio::test]
async fn sandbox_flag_selects_the_content() {
    for (text, content) in [
        ("", Content::Default),
        ("bad-day", Content::BadDay),
        ("some/dir", Content::Directory("some/dir".into())),
    ] {
        assert_eq!(text.parse(), Ok(content));
    }
}

/// The clock is paused, so that all pending work of the operator is done before time passes.
#[tokio::test(start_paused = true)]
async fn default_content_needs_no_operator_action() {
    let sandbox = sandbox::start(&Content::Default, now()).await.unwrap();
    let versions = |sandbox: &Sandbox| -> BTreeSet<String> {
        let resources = [
            "externalsecrets",
            "secrets",
            "clusterexternalsecrets",
            "events",
        ];
        let objects = resources
            .iter()
            .flat_map(|resource| sandbox.list(resource, None));
        let version = |object: Value| {
            let metadata = &object["metadata"];
            format!(
                "{} {} {} {}",
                object["kind"],
                metadata["namespace"],
                metadata["name"],
                metadata["resourceVersion"]
            )
        };
        // The operator writes Events about stores that become Ready. Everything about ExternalSecrets must stay
        // unchanged.
        objects
            .filter(|object| {
                !object["involvedObject"]["kind"]
                    .as_str()
                    .unwrap_or_default()
                    .ends_with("Store")
            })
            .map(version)
            .collect()
    };
    let before = versions(&sandbox);
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    assert_eq!(versions(&sandbox), before);
    let secret = sandbox.get("secrets", "payments", "db").unwrap();
    assert_eq!(
        secret["data"]["password"],
        json!("ZmFrZS1kYi1wYXNzd29yZC1vZi15ZXN0ZXJkYXk="),
        "the value from before the rotation"
    );
    assert_eq!(
        secret["metadata"]["creationTimestamp"], "2026-05-01T11:25:00Z",
        "created at the last sync"
    );
}

#[test]
fn run_with_default_content_succeeds() {
    let run = Command::new(env!("CARGO_BIN_EXE_eso-sync"))
        .args(["run", "--sandbox"])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{report}");
    assert!(report.contains("refresh-created-once"), "{report}");
}

#[test]
fn run_on_bad_day_reports_reasons_without_values() {
    let run = Command::new(env!("CARGO_BIN_EXE_eso-sync"))
        .args(["run", "--sandbox=bad-day"])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(3), "{report}");
    for reason in [
        "denied",
        "store-not-ready",
        "no-property",
        "template",
        "secret-missing",
        "foreign-class",
    ] {
        assert!(report.contains(reason), "{reason}: {report}");
    }
    assert!(
        !report.contains("invalid character"),
        "contains part of a value: {report}"
    );
}

#[tokio::test]
async fn kubectl_output_loads_unchanged() {
    let folder = folder(&[
        ("all.yaml", include_str!("content/kubectl-get.yaml")),
        ("notes.txt", "not a manifest"),
    ]);
    let sandbox = load(folder.path()).await.unwrap();
    let object = sandbox.get("externalsecrets", "team-a", "db").unwrap();
    assert_eq!(
        object["metadata"]["uid"],
        "aa82fe02-f319-4514-a77d-2b4b065a40cb"
    );
    assert_eq!(object["status"]["refreshTime"], "2026-11-24T17:16:44Z");
    assert_eq!(object["metadata"]["generation"], 2);
    assert!(
        sandbox.get("namespaces", "", "team-a").is_some(),
        "the namespace of the object was created"
    );
    assert_eq!(
        names(&get(&sandbox, "/api/v1/namespaces/team-a/configmaps").await),
        ["kube-root-ca.crt"]
    );
    // The Secret is not in the manifests, but the ExternalSecret was synced, so it exists.
    let secret = sandbox.get("secrets", "team-a", "db").unwrap();
    assert_eq!(
        secret["metadata"]["labels"]["reconcile.external-secrets.io/managed"],
        "true"
    );
}

/// The operator changes nothing if everything is as it left it.
#[tokio::test(start_paused = true)]
async fn kubectl_output_needs_no_operator_action() {
    let folder = folder(&[("all.yaml", include_str!("content/kubectl-get.yaml"))]);
    let content = Content::Directory(folder.path().to_owned());
    let later = "2026-11-24T17:20:00Z".parse().unwrap();
    let sandbox = sandbox::start(&content, later).await.unwrap();
    let before = sandbox.get("externalsecrets", "team-a", "db").unwrap();
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    assert_eq!(
        sandbox.get("externalsecrets", "team-a", "db").unwrap(),
        before
    );
}

#[tokio::test]
async fn manifests_can_contain_times_and_settings() {
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: eso-sync-sandbox}\ndata: {digest: md5}\n";
    let mut object = external_secret("db");
    object["status"] = json!({
        "refreshTime": "${now-2h}", "syncedResourceVersion": "${synced}", "binding": {"name": "db"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "SecretSynced"}],
    });
    let folder = folder(&[("a.yaml", settings), ("b.json", &object.to_string())]);
    let sandbox = load(folder.path()).await.unwrap();
    let status = sandbox.get("externalsecrets", "team-a", "db").unwrap()["status"].clone();
    assert_eq!(status["refreshTime"], "2026-05-01T10:00:00Z");
    assert_eq!(
        status["syncedResourceVersion"].as_str().unwrap().len(),
        "1-".len() + 32
    );
}

#[tokio::test]
async fn stores_without_values_get_generated_values() {
    let sandbox = with(Settings::default()).await;
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": "fake"},
        "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "eu-central-1"}}},
    });
    sandbox.apply(store).unwrap();
    sandbox.apply(external_secret("db")).unwrap();
    let secret = eventually("the Secret", async || {
        sandbox.get("secrets", "team-a", "db")
    })
    .await;
    assert_eq!(
        secret["data"]["password"],
        "Z2VuZXJhdGVkIGJ5IHRoZSBzYW5kYm94OiAvZGI="
    );
}

#[tokio::test]
async fn load_errors_have_file_and_line_without_secrets() {
    let fine = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n";
    for (text, expected) in [
        (
            format!("{fine}\n# a comment\nkind: Secret\n"),
            "7: `apiVersion` or `kind` is missing",
        ),
        (
            format!("{fine}apiVersion: v1\nkind: Secret\ndata: {{p: aHVudGVyMg==}}\n"),
            "5: Secret: `metadata.name` is missing",
        ),
        (
            format!("{fine}apiVersion: v1\nkind: Secret\ndata: {{p: hunter2, p: hunter2}}\n"),
            "7: is not valid YAML",
        ),
        (format!("{fine}- 1\n"), "5: is not a Kubernetes object"),
        (
            format!(
                "{fine}apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  x: ${{now-2x}}\n"
            ),
            "9: invalid time; use `${now}` or `${now-2h30m}`",
        ),
        (
            format!(
                "{fine}apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, annotations: {{sandbox.eso-sync/throttle: fast}}}}\n"
            ),
            "5: ConfigMap a: invalid value of the annotation sandbox.eso-sync/throttle",
        ),
        (
            format!(
                "{fine}apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Secret, metadata: {{name: a}}}}\n- {{apiVersion: v1}}\n"
            ),
            "5: item 2: `apiVersion` or `kind` is missing",
        ),
    ] {
        let error = load_error(&[("m.yaml", &text)]).await;
        assert_eq!(
            error,
            format!("the sandbox could not load its content: m.yaml:{expected}")
        );
    }
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: eso-sync-sandbox}\ndata: {workers: many}\n";
    assert!(
        load_error(&[("m.yaml", settings)])
            .await
            .contains("`workers`")
    );
    assert!(
        load_error(&[("readme.txt", "")])
            .await
            .contains("no manifests")
    );
    let missing = load(Path::new("no/such/folder")).await.err().unwrap();
    assert!(
        std::error::Error::source(&missing)
            .unwrap()
            .to_string()
            .contains("no/such/folder")
    );
}

#[tokio::test]
async fn thousands_of_external_secrets_sync() {
    const MANY: usize = 5_000;
    let sandbox = with(Settings {
        operator: false,
        workers: 50,
        ..Settings::default()
    })
    .await;
    sandbox
        .apply(super::support::store(&json!({"password": "p"})))
        .unwrap();
    for index in 0..MANY {
        sandbox
            .apply(external_secret(&format!("es-{index:05}")))
            .unwrap();
    }
    sandbox.start_operator();
    let is_synced = |object: &Value| object["status"]["syncedResourceVersion"].is_string();
    let last = format!("es-{:05}", MANY - 1);
    eventually("the last is synced", async || {
        sandbox
            .get("externalsecrets", "team-a", &last)
            .filter(is_synced)
    })
    .await;
    eventually("all are synced", async || {
        sandbox
            .list("externalsecrets", None)
            .iter()
            .all(is_synced)
            .then_some(())
    })
    .await;
    assert_eq!(sandbox.list("secrets", None).len(), MANY);
    let page = get(&sandbox, &format!("{}?limit=500", super::support::ALL)).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(500));
    assert_eq!(page["metadata"]["remainingItemCount"], json!(MANY - 500));
}
