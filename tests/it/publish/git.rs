//! Git repositories and Applications of Argo CD as sources, with the real Git server (`git http-backend`).

mod server;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value as Json, json};

use self::server::{GitServer, Repository};
use super::{KEY, publish};
use crate::{
    providers::{
        aws::moto::Moto,
        double::{Double, Reply},
    },
    support::{Outcome, Workspace},
};

const PASSWORD: &str = "hunter2-password";

/// An API server with these objects, by their path.
async fn api_server(objects: Vec<(String, Json)>) -> Double {
    Double::start(move |asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        match objects.iter().find(|(known, _)| known == path) {
            Some((_, object)) => Reply::json(200, object),
            None => Reply::json(
                404,
                &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}),
            ),
        }
    })
    .await
}

fn secret(data: &[(&str, &str)]) -> (String, Json) {
    let data: serde_json::Map<_, _> = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(BASE64_STANDARD.encode(value))))
        .collect();
    let object =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "data": data});
    ("/api/v1/namespaces/eso-sync/secrets/git".to_owned(), object)
}

/// The credentials that the server wants, and its certificate authority.
fn login(server: &GitServer) -> (String, Json) {
    let authority = server.authority.clone();
    secret(&[
        ("username", "robot"),
        ("password", PASSWORD),
        ("ca.crt", &authority),
    ])
}

/// Publishes `app.env` of a source, which this API server helps to read. Nothing is written: no provider answers.
async fn planned(api: &Double, source: &str, read: &str, flags: &[&str]) -> Outcome {
    let mut workspace = Workspace::new(vec![
        format!("--server={}", api.url),
        "--lock-namespace=eso-sync".to_owned(),
    ]);
    workspace.set("AWS_ACCESS_KEY_ID", "id");
    workspace.set("AWS_SECRET_ACCESS_KEY", "key");
    workspace.set("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    workspace.set("RUST_LOG", "trace");
    workspace.file(
        "policy.yaml",
        &format!(
            "publish:\n  owner: test\n  items:\n    - name: app\n      source: {source}\n      read: {read}\n      \
             to: {{aws: {{region: eu-west-1}}}}\ndrift: {{endpoints: ['http://127.0.0.1:9']}}\n"
        ),
    );
    let outcome = publish(&workspace, &[&["--dry-run", "-o", "json"], flags].concat()).await;
    let encoded = BASE64_STANDARD.encode(format!("robot:{PASSWORD}"));
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(
            !text.contains("hunter2") && !text.contains(&encoded),
            "{text}"
        );
    }
    let left: Vec<_> = std::fs::read_dir(workspace.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(
        left,
        ["policy.yaml"],
        "nothing of a repository touches the disk"
    );
    outcome
}

const FILE: &str = "{files: [{path: app.env}]}";

fn source(server: &GitServer, git_ref: &str) -> String {
    let url = server.url("app.git");
    format!("{{git: {{url: '{url}', ref: '{git_ref}', secret: git}}}}")
}

/// The names of the secrets, which are the keys of the file.
fn names(document: &Json) -> Vec<&str> {
    let secrets = document["items"][0]["secrets"].as_array();
    let names = secrets.into_iter().flatten().map(|secret| &secret["name"]);
    names.filter_map(Json::as_str).collect()
}

/// The reason of the first fault.
fn fault(outcome: &Outcome) -> (String, String) {
    let document = outcome.document();
    let fault = &document["items"][0]["faults"][0];
    let text = |field: &str| fault[field].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

/// A repository with two commits on `main`, the tag `v1` at the first one, and the branch `other`.
fn repository() -> Repository {
    let repository = Repository::new("app.git");
    repository.commit(&[
        ("app.env", "FIRST=hunter2\n"),
        ("dir/other.env", "OTHER=x\n"),
    ]);
    repository.git(&["tag", "-a", "-m", "release", "v1"]);
    repository.git(&["branch", "other"]);
    repository.commit(&[("app.env", "SECOND=hunter2\n")]);
    repository
}

#[tokio::test]
#[ignore = "needs git (tests/cluster/run)"]
async fn branches_tags_and_commits_of_a_git_repository_are_read() {
    let repository = repository();
    let (first, second) = (repository.id("main~1"), repository.id("main"));
    for filters in [false, true] {
        repository.git(&[
            "config",
            "uploadpack.allowFilter",
            if filters { "true" } else { "false" },
        ]);
        let server = GitServer::start(&repository, Some(PASSWORD)).await;
        let api = api_server(vec![login(&server)]).await;
        for (git_ref, key, commit) in [
            ("main", "SECOND", &second),
            ("HEAD", "SECOND", &second),
            ("refs/heads/other", "FIRST", &first),
            ("v1", "FIRST", &first),
            ("refs/tags/v1", "FIRST", &first),
            (&*first, "FIRST", &first),
        ] {
            let outcome = planned(&api, &source(&server, git_ref), FILE, &[]).await;
            let document = outcome.document();
            assert_eq!(names(&document), [key], "{git_ref}: {document}");
            assert_eq!(document["items"][0]["revision"], **commit, "{document}");
            assert_eq!(document["items"][0]["repository"], server.url("app.git"));
        }
        let outcome = planned(&api, &source(&server, "gone"), FILE, &[]).await;
        assert_eq!(fault(&outcome).0, "revision-not-found");
        let nowhere = "0123456789012345678901234567890123456789";
        let outcome = planned(&api, &source(&server, nowhere), FILE, &[]).await;
        assert_eq!(fault(&outcome).0, "revision-not-found");
    }
}

#[tokio::test]
#[ignore = "needs git (tests/cluster/run)"]
async fn only_needed_files_are_sent_if_the_server_can_leave_files_out() {
    let repository = repository();
    repository.commit_random("large", 40 << 20);
    for (filters, expected) in [("true", None), ("false", Some("too-large"))] {
        repository.git(&["config", "uploadpack.allowFilter", filters]);
        let server = GitServer::start(&repository, Some(PASSWORD)).await;
        let api = api_server(vec![login(&server)]).await;
        let outcome = planned(&api, &source(&server, "main"), FILE, &[]).await;
        let reason = fault(&outcome).0;
        assert_eq!(Some(&*reason).filter(|reason| !reason.is_empty()), expected);
        if expected.is_none() {
            assert_eq!(names(&outcome.document()), ["SECOND"]);
        }
    }
}

#[tokio::test]
#[ignore = "needs git (tests/cluster/run)"]
async fn credentials_go_only_to_the_address_of_the_policy() {
    let repository = repository();
    let server = GitServer::start(&repository, Some(PASSWORD)).await;
    let authority = server.authority.clone();
    let url = server.url("app.git");
    for (data, expected, told) in [
        (
            vec![("ca.crt", &*authority)],
            "git-denied",
            "without credentials",
        ),
        (
            vec![("ca.crt", &authority), ("password", "hunter2-wrong")],
            "git-denied",
            "refuses",
        ),
        (
            vec![("ca.crt", &authority), ("bearerToken", "hunter2-wrong")],
            "git-denied",
            "refuses",
        ),
        (
            vec![("password", PASSWORD)],
            "git-unavailable",
            "certificate",
        ),
        (vec![("ca.crt", "hunter2")], "invalid-credentials", "ca.crt"),
        (
            vec![("other", "hunter2")],
            "invalid-credentials",
            "username",
        ),
    ] {
        let api = api_server(vec![secret(&data)]).await;
        let outcome = planned(&api, &source(&server, "main"), FILE, &[]).await;
        let (reason, message) = fault(&outcome);
        assert_eq!(reason, expected, "{message}");
        assert!(message.contains(told), "{message}");
    }
    let api = api_server(Vec::new()).await;
    let outcome = planned(&api, &source(&server, "main"), FILE, &[]).await;
    assert_eq!(fault(&outcome).0, "key-not-found");

    for bad in [
        url.replace("https://", "http://"),
        url.replace("https://", "https://robot:hunter2@"),
        "file:///etc".to_owned(),
    ] {
        let source = format!("{{git: {{url: '{bad}'}}}}");
        let outcome = planned(&api, &source, FILE, &[]).await;
        assert_eq!(outcome.code, 2, "{bad}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("source.git.url"),
            "{}",
            outcome.stderr
        );
    }
}

#[tokio::test]
#[ignore = "needs git (tests/cluster/run)"]
async fn a_redirect_of_a_git_server_is_not_followed() {
    let repository = repository();
    let other = GitServer::start(&repository, Some(PASSWORD)).await;
    let moved = GitServer::redirecting(&other.url("app.git")).await;
    let api = api_server(vec![login(&moved)]).await;
    let outcome = planned(&api, &source(&moved, "main"), FILE, &[]).await;
    assert_eq!(fault(&outcome).0, "git-redirect");
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
#[ignore = "needs git (tests/cluster/run)"]
async fn links_submodules_and_lfs_of_a_git_repository_are_refused_by_name() {
    let repository = repository();
    repository.commit(&[(
        "lfs.env",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    )]);
    repository.commit_link("link.env", "/etc/passwd");
    repository.commit_submodule("module");
    let server = GitServer::start(&repository, Some(PASSWORD)).await;
    let api = api_server(vec![login(&server)]).await;
    for (path, expected) in [
        ("lfs.env", "lfs-pointer"),
        ("link.env", "symbolic-link"),
        ("module/app.env", "submodule"),
        ("missing.env", "not-found"),
    ] {
        let read = format!("{{files: [{{path: {path}}}]}}");
        let outcome = planned(&api, &source(&server, "main"), &read, &[]).await;
        assert_eq!(fault(&outcome).0, expected, "{path}: {}", outcome.stdout);
    }
}

/// An Application that Argo CD synced at this commit.
fn application(url: &str, commit: &str) -> (String, Json) {
    let source = json!({"repoURL": url, "targetRevision": "main", "path": "."});
    let object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "app", "namespace": "argocd"},
        "spec": {"source": source, "project": "default"},
        "status": {"sync": {"status": "Synced", "revision": commit, "comparedTo": {"source": source}}},
    });
    let path = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/app";
    (path.to_owned(), object)
}

#[tokio::test]
#[ignore = "needs git (tests/cluster/run)"]
async fn an_application_is_read_at_the_commit_that_was_synced() {
    let repository = repository();
    let server = GitServer::start(&repository, Some(PASSWORD)).await;
    let url = server.url("app.git");
    let first = repository.id("main~1");
    let api = api_server(vec![login(&server), application(&url, &first)]).await;
    let source = |more: &str| {
        format!(
            "{{argocd: {{namespace: argocd, name: app, secret: git, repos: ['https://127.0.0.1:*/app.git']{more}}}}}"
        )
    };
    for (more, key) in [("", "FIRST"), (", revision: target", "SECOND")] {
        let outcome = planned(&api, &source(more), FILE, &[]).await;
        assert_eq!(names(&outcome.document()), [key], "{}", outcome.stdout);
    }
}

/// Whoever edits an Application chooses its repository.
#[tokio::test]
#[ignore = "needs git (tests/cluster/run)"]
async fn an_application_names_only_repositories_that_policy_and_flags_permit() {
    let repository = repository();
    let server = GitServer::start(&repository, Some(PASSWORD)).await;
    let url = server.url("app.git");
    let first = repository.id("main~1");
    let api = api_server(vec![login(&server), application(&url, &first)]).await;
    let with = async |repos: &str, flags: &[&str]| {
        let source = format!(
            "{{argocd: {{namespace: argocd, name: app, secret: git, repos: ['{repos}']}}}}"
        );
        planned(&api, &source, FILE, flags).await
    };
    let outcome = with("https://git.example/*", &[]).await;
    assert_eq!(fault(&outcome).0, "repository-not-allowed");
    let flags = [
        "--allow=publish",
        "--allow-target=*",
        "--allow-endpoint=http://127.0.0.1:9",
        "--allow-source=argocd/*",
    ];
    let outcome = with("*", &flags).await;
    let (reason, message) = fault(&outcome);
    assert_eq!(reason, "repository-not-allowed");
    assert!(
        message.contains(&format!("--allow-source git/{url}")),
        "{message}"
    );
    assert_eq!(server.requests(), 0, "nothing was sent");
    let permitted = format!("--allow-source=git/{url}");
    let outcome = with("*", &[&flags[..], &[&permitted]].concat()).await;
    assert_eq!(names(&outcome.document()), ["FIRST"], "{}", outcome.stdout);
}

/// A job that still sees an old commit must not overwrite what another one published from a newer commit.
#[tokio::test]
#[ignore = "needs git and moto (tests/cluster/run)"]
async fn older_commit_does_not_overwrite_a_newer_one() {
    let repository = Repository::new("app.git");
    repository.commit(&[("app.env", "A=one\n")]);
    repository.git(&["branch", "old"]);
    repository.commit(&[("app.env", "A=two\n")]);
    repository.git(&["checkout", "-q", "-b", "fork", "old"]);
    repository.commit(&[("app.env", "A=three\n")]);
    let moto = Moto::at("eu-north-1");
    for (filters, (old, code)) in [
        ("true", (("would-revert", "leave"), 5)),
        // Without filters nobody can tell, and the mark says nothing: the old value was never published.
        ("false", (("changed", "update"), 0)),
    ] {
        repository.git(&["config", "uploadpack.allowFilter", filters]);
        let server = GitServer::start(&repository, Some(PASSWORD)).await;
        let api = api_server(vec![login(&server)]).await;
        let owner = format!("older-{filters}-{}", std::process::id());
        let run = async |git_ref: &str, flags: &[&str]| {
            let mut workspace = Workspace::new(vec![
                format!("--server={}", api.url),
                "--lock-namespace=eso-sync".to_owned(),
            ]);
            workspace.set("PUBLISH_KEY", KEY);
            workspace.set("AWS_ACCESS_KEY_ID", "id");
            workspace.set("AWS_SECRET_ACCESS_KEY", "key");
            workspace.set("AWS_ENDPOINT_URL", &moto.url);
            let source = source(&server, git_ref);
            let text = format!(
                "publish:\n  owner: {owner}\n  key: env:PUBLISH_KEY\n  items:\n    - name: app\n      source: {source}\n      \
                 read: {FILE}\n      to: {{aws: {{region: eu-north-1}}}}\n      names: {{prefix: {owner}}}\n\
                 drift: {{endpoints: ['{}']}}\n",
                moto.url
            );
            workspace.file("policy.yaml", &text);
            let outcome = publish(&workspace, &[&["-o", "json"], flags].concat()).await;
            let document = outcome.document();
            let secret = &document["items"][0]["secrets"][0];
            let word = |field: &str| secret[field].as_str().unwrap_or_default().to_owned();
            (word("verdict"), word("action"), outcome.code)
        };
        let is = |(verdict, action, exit): &(String, String, i32),
                  (expected, exits): ((&str, &str), i32)| {
            assert_eq!((&**verdict, &**action), expected, "{filters}");
            assert_eq!(*exit, exits, "{filters}");
        };
        is(&run("main", &["--yes"]).await, (("absent", "create"), 0));
        is(&run("old", &["--dry-run"]).await, (old, code));
        // Neither commit comes before the other.
        is(
            &run("fork", &["--dry-run"]).await,
            (("changed", "update"), 0),
        );
    }
}
