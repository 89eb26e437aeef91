//! Whole publications to AWS Secrets Manager (moto).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value as Json, json};
use tokio::sync::Notify;

use super::{KEY, publish};
use crate::{
    providers::{
        aws::moto::Moto,
        proxy::{Fault, Proxy},
    },
    support::Workspace,
};

/// A workspace whose item `app` publishes `app.env` to a region of moto, for this owner.
fn workspace(moto: &Moto, region: &str, owner: &str) -> Workspace {
    let mut workspace = Workspace::new(Vec::new());
    workspace.set("PUBLISH_KEY", KEY);
    workspace.set("AWS_ACCESS_KEY_ID", "id");
    workspace.set("AWS_SECRET_ACCESS_KEY", "key");
    workspace.set("AWS_ENDPOINT_URL", &moto.url);
    policy(&workspace, moto, region, owner, "");
    workspace
}

fn policy(workspace: &Workspace, moto: &Moto, region: &str, owner: &str, more: &str) {
    let text = format!(
        "publish:\n  owner: {owner}\n  key: env:PUBLISH_KEY\n  items:\n    - name: app\n      source: {{path: {{dir: ., revision: v1}}}}\n      \
         read: {{files: [{{path: app.env}}]}}\n      to: {{aws: {{region: {region}}}}}\n      names: {{prefix: {owner}}}\n{more}\
         drift: {{endpoints: ['{}']}}\n",
        moto.url
    );
    workspace.file("policy.yaml", &text);
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

/// The versions of a secret that the provider keeps.
async fn versions(moto: &Moto, name: &str) -> usize {
    let body = json!({"SecretId": name, "IncludeDeprecated": true});
    let listed = moto.secrets("ListSecretVersionIds", body).await;
    listed["Versions"].as_array().map_or(0, Vec::len)
}

async fn value(moto: &Moto, name: &str) -> String {
    let body = json!({"SecretId": name, "VersionStage": "AWSCURRENT"});
    let read = moto.secrets("GetSecretValue", body).await;
    read["SecretString"].as_str().unwrap_or_default().to_owned()
}

/// A publication of one changed, one new and one unchanged secret.
async fn half_published(moto: &Moto, owner: &str) -> Workspace {
    let workspace = workspace(moto, "eu-north-1", owner);
    workspace.file("app.env", "CHANGED=one\nSAME=same\n");
    publish(&workspace, &["--yes"]).await.exits(0);
    workspace.file("app.env", "CHANGED=two\nNEW=new\nSAME=same\n");
    workspace
}

/// The process is killed at each call: before the provider gets it, and after the provider has carried it out. The next run reaches
/// the same end, with one version for each change, and the one after it writes nothing.
#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn killed_publication_to_aws_is_completed_by_the_next_one() {
    let moto = Moto::at("eu-north-1");
    let owner = |of: &str| format!("killed-{}-{of}", std::process::id());
    let counting = Proxy::before(&moto.url, Box::new(|_| Fault::None)).await;
    let mut workspace = half_published(&moto, &owner("none")).await;
    through(&mut workspace, &counting, &owner("none"));
    publish(&workspace, &["--yes"]).await.exits(0);
    let calls = counting.asked().len();
    assert!(
        calls >= 5,
        "list, describe, two writes and a proof: {calls}"
    );
    for at in 0..calls {
        for is_carried_out in [false, true] {
            let owner = owner(&format!("{at}-{is_carried_out}"));
            let mut workspace = half_published(&moto, &owner).await;
            let (reached, seen) = (Arc::new(Notify::new()), AtomicUsize::new(0));
            let told = Arc::clone(&reached);
            let proxy = Proxy::before(
                &moto.url,
                Box::new(move |_| {
                    if seen.fetch_add(1, Ordering::SeqCst) != at {
                        return Fault::None;
                    }
                    if is_carried_out {
                        return Fault::Kept(Arc::clone(&told));
                    }
                    told.notify_one();
                    Fault::Late
                }),
            )
            .await;
            through(&mut workspace, &proxy, &owner);
            let path = workspace.path().join("policy.yaml");
            let path = path.to_str().expect("UTF-8").to_owned();
            let running = workspace.start(&["publish", "--yes", "--config", &path]);
            reached.notified().await;
            running.signal("KILL").await;
            running.end().await;

            policy(&workspace, &moto, "eu-north-1", &owner, "");
            workspace.set("AWS_ENDPOINT_URL", &moto.url);
            let case = format!("killed at call {at}, carried out: {is_carried_out}");
            let next = publish(&workspace, &["--yes", "-o", "json"]).await;
            assert_eq!(next.code, 0, "{case}: {}", next.stdout);
            for (name, wanted, most) in [
                ("CHANGED", "two", 2),
                ("NEW", "new", 1),
                ("SAME", "same", 1),
            ] {
                let name = format!("{owner}-{name}");
                assert_eq!(value(&moto, &name).await, wanted, "{case}: {name}");
                assert_eq!(versions(&moto, &name).await, most, "{case}: {name}");
            }
            let last = reported(&workspace, &["--yes"]).await.1;
            assert_eq!(last["summary"]["outcomes"], json!({"in-sync": 3}), "{case}");
        }
    }
}

/// Publishes through this proxy from now on.
fn through(workspace: &mut Workspace, proxy: &Proxy, owner: &str) {
    workspace.set("AWS_ENDPOINT_URL", &proxy.url);
    let moto = Moto::at("eu-north-1");
    policy(workspace, &moto, "eu-north-1", owner, "");
    let path = workspace.path().join("policy.yaml");
    let text = std::fs::read_to_string(path).expect("it was written");
    workspace.file("policy.yaml", &text.replace(&moto.url, &proxy.url));
}
