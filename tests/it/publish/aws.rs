//! Whole publications to AWS Secrets Manager (moto).

use serde_json::{Value as Json, json};

use super::{KEY, publish};
use crate::{providers::aws::moto::Moto, support::Workspace};

/// A workspace whose item `app` publishes `app.env` to a region of moto, for this owner.
fn workspace(moto: &Moto, region: &str, owner: &str) -> Workspace {
    let mut workspace = Workspace::new(Vec::new());
    workspace.set("PUBLISH_KEY", KEY);
    workspace.set("AWS_ACCESS_KEY_ID", "id");
    workspace.set("AWS_SECRET_ACCESS_KEY", "key");
    workspace.set("AWS_ENDPOINT_URL", &moto.url);
    let text = format!(
        "publish:\n  owner: {owner}\n  key: env:PUBLISH_KEY\n  items:\n    - name: app\n      source: {{path: {{dir: ., revision: v1}}}}\n      \
         read: {{files: [{{path: app.env}}]}}\n      to: {{aws: {{region: {region}}}}}\n      names: {{prefix: {owner}}}\n\
         drift: {{endpoints: ['{}']}}\n",
        moto.url
    );
    workspace.file("policy.yaml", &text);
    workspace
}

/// The exit code and the document. No output contains the planted value.
async fn reported(workspace: &Workspace, arguments: &[&str]) -> (i32, Json) {
    let outcome = publish(workspace, &[arguments, &["-o", "json"]].concat()).await;
    assert!(!outcome.stdout.contains("hunter2") && !outcome.stderr.contains("hunter2"));
    (outcome.code, outcome.document())
}

/// Each secret with this word, by name.
fn words(document: &Json, word: &str) -> Vec<String> {
    let secrets = document["items"][0]["secrets"].as_array();
    secrets
        .into_iter()
        .flatten()
        .map(|secret| {
            let (name, word) = (&secret["name"], &secret[word]);
            format!(
                "{}: {}",
                name.as_str().unwrap_or("?"),
                word.as_str().unwrap_or("?")
            )
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn published_values_in_aws_are_proven_and_not_written_again() {
    let moto = Moto::at("eu-north-1");
    let owner = format!("whole-{}", std::process::id());
    let workspace = workspace(&moto, "eu-north-1", &owner);
    workspace.file("app.env", "A=hunter2\nB=two\n");
    let run = async |arguments: &[&str]| reported(&workspace, arguments).await;

    let (code, plan) = run(&["--dry-run", "--exit-code"]).await;
    assert_eq!((code, words(&plan, "action").len()), (1, 2), "{plan}");
    let (code, report) = run(&["--yes"]).await;
    let published = [
        format!("{owner}-A: published"),
        format!("{owner}-B: published"),
    ];
    assert_eq!(
        (code, words(&report, "outcome")),
        (0, published.to_vec()),
        "{report}"
    );
    assert_eq!(report["items"][0]["revision"], "v1");

    let (code, again) = run(&["--yes"]).await;
    assert_eq!(code, 0, "{again}");
    assert_eq!(again["summary"]["outcomes"], json!({"in-sync": 2}));
    assert_eq!(
        again["summary"]["calls"], 1,
        "one list for all that is unchanged: {again}"
    );

    // Changed in the repository: a new version of one secret.
    workspace.file("app.env", "A=hunter2\nB=three\n");
    let (code, changed) = run(&["--yes"]).await;
    assert_eq!(code, 0, "{changed}");
    assert_eq!(
        changed["summary"]["outcomes"],
        json!({"in-sync": 1, "published": 1})
    );
    let read = moto
        .secrets(
            "GetSecretValue",
            json!({"SecretId": format!("{owner}-B"), "VersionStage": "AWSCURRENT"}),
        )
        .await;
    assert_eq!(read["SecretString"], "three");
}

/// What somebody else changed, and what the repository no longer has, is reported and kept.
#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn foreign_changes_and_orphans_in_aws_are_reported_and_kept() {
    let moto = Moto::at("eu-north-1");
    let owner = format!("foreign-{}", std::process::id());
    let workspace = workspace(&moto, "eu-north-1", &owner);
    workspace.file("app.env", "A=hunter2\nB=two\n");
    let run = async |arguments: &[&str]| reported(&workspace, arguments).await;
    assert_eq!(run(&["--yes"]).await.0, 0);

    let body = json!({"SecretId": format!("{owner}-A"), "SecretString": "theirs"});
    moto.secrets("PutSecretValue", body).await;
    let (code, foreign) = run(&["--yes"]).await;
    assert_eq!(code, 3, "{foreign}");
    assert_eq!(
        words(&foreign, "verdict")[0],
        format!("{owner}-A: foreign-change")
    );
    let (code, status) = run(&["status"]).await;
    assert_eq!(code, 3, "{status}");
    let read = moto
        .secrets(
            "GetSecretValue",
            json!({"SecretId": format!("{owner}-A"), "VersionStage": "AWSCURRENT"}),
        )
        .await;
    assert_eq!(read["SecretString"], "theirs");

    workspace.file("app.env", "A=hunter2\n");
    let (_, orphaned) = run(&["status"]).await;
    assert!(
        words(&orphaned, "verdict").contains(&format!("{owner}-B: orphaned")),
        "{orphaned}"
    );
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn another_publisher_in_aws_overwrites_nothing() {
    let moto = Moto::at("eu-north-1");
    let owner = format!("first-{}", std::process::id());
    let first = workspace(&moto, "eu-north-1", &owner);
    first.file("app.env", "A=one\n");
    publish(&first, &["--yes"]).await.exits(0);
    let second = workspace(&moto, "eu-north-1", &owner);
    second.file("app.env", "A=two\n");
    // The same names, but another owner.
    let text = std::fs::read_to_string(second.path().join("policy.yaml")).expect("it was written");
    second.file(
        "policy.yaml",
        &text.replace(&format!("owner: {owner}"), "owner: second"),
    );
    let outcome = publish(&second, &["--yes", "-o", "json"]).await;
    assert_eq!(outcome.code, 3, "{}", outcome.stdout);
    assert_eq!(
        words(&outcome.document(), "reason"),
        [format!("{owner}-A: owned-by-other")]
    );
    let read = moto
        .secrets(
            "GetSecretValue",
            json!({"SecretId": format!("{owner}-A"), "VersionStage": "AWSCURRENT"}),
        )
        .await;
    assert_eq!(read["SecretString"], "one");
}
