//! Answers of something that is not an API server, waits, and addresses with passwords.

use std::sync::Arc;

use http_body_util::Full;
use hyper::{Response, body::Bytes};

use super::servers::{Answer, Log, Server, status};
use crate::support::{Outcome, Workspace};

fn page(code: u16, kind: &'static str, body: &'static str) -> Answer {
    Arc::new(move |_| {
        Response::builder()
            .status(code)
            .header("content-type", kind)
            .header(
                "location",
                "https://n:hunter2@login.test/start?code=hunter2",
            )
            .body(Full::new(Bytes::from(body)))
            .expect("a response")
    })
}

async fn status_of(answer: Answer, arguments: &[&str]) -> Outcome {
    let log: Log = Arc::default();
    let server = Server::plain("plain", &log, answer).await;
    let address = format!("--server=http://{}", server.address);
    let workspace = Workspace::new(Vec::new());
    workspace
        .run(&[&["status", &address], arguments].concat())
        .await
}

const HTML: &str = "<html><title>hunter2</title></html>";

#[tokio::test]
async fn answer_of_a_stranger_is_named_and_not_quoted() {
    for (answer, what) in [
        (
            page(200, "text/html; charset=utf-8", HTML),
            "an HTML page (200)",
        ),
        (page(403, "text/html", HTML), "an HTML page (403)"),
        (page(404, "text/html", HTML), "an HTML page (404)"),
        (page(401, "TEXT/HTML", HTML), "an HTML page (401)"),
        (
            page(302, "text/html", HTML),
            "a redirect (302) to https://login.test/start",
        ),
        (
            page(307, "text/plain", ""),
            "a redirect (307) to https://login.test/start",
        ),
        (
            page(403, "text/plain", "hunter2"),
            "code 403 without a Kubernetes status",
        ),
        (
            page(403, "application/json", r#"{"error":"hunter2"}"#),
            "code 403 without a Kubernetes status",
        ),
    ] {
        let outcome = status_of(answer, &["-vvv"]).await;
        outcome.exits(4);
        let said = &outcome.stderr;
        let sentence = format!("what answered is not a Kubernetes API server: it sent {what}");
        assert!(said.contains(&sentence), "{said}");
        assert!(!said.contains("rbac"), "{said}");
        assert!(
            !said.contains("hunter2") && !said.contains("<html"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn denial_of_an_api_server_advises_rbac() {
    let outcome = status_of(Arc::new(|_| status(403, "Forbidden")), &[]).await;
    outcome.exits(4);
    assert!(outcome.stderr.contains("rbac"), "{}", outcome.stderr);
}

#[tokio::test]
async fn wait_for_an_api_server_says_what_it_waits_for() {
    let log: Log = Arc::default();
    let answer: Answer = Arc::new(|_| {
        let mut answer = status(503, "ServiceUnavailable");
        answer.headers_mut().insert("retry-after", 30.into());
        answer
    });
    let server = Server::plain("plain", &log, answer).await;
    let address = format!("--server=http://{}", server.address);
    let workspace = Workspace::new(Vec::new());
    let mut running = workspace.start(&["status", &address]);
    let line = running
        .says("waiting for the API server, which answered 503")
        .await;
    assert!(line.contains(" s, at most "), "until when? {line}");
    running.signal("TERM").await;
    running.end().await.exits(7);
}

/// Runs a command at trace level, and asserts that no output contains the password.
async fn hides(workspace: &Workspace, arguments: &[&str]) {
    for format in ["text", "json"] {
        let log_format = format!("--log-format={format}");
        let outcome = workspace
            .run(&[arguments, &["-vvv", &log_format]].concat())
            .await;
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!said.contains("hunter2"), "{arguments:?}: {said}");
        assert_ne!(outcome.code, 101, "{said}");
    }
}

#[tokio::test]
async fn password_in_an_address_is_never_shown() {
    let log: Log = Arc::default();
    let answer: Answer = Arc::new(|_| status(403, "Forbidden"));
    let server = Server::plain("plain", &log, answer).await;
    let host = server.address;
    let plain = Workspace::new(Vec::new());
    for address in [
        format!("http://n:hunter2@{host}/?k=hunter2#hunter2"),
        format!("n:hunter2@{host}"),
        "https://n:hunter2@127.0.0.1:1".to_owned(),
        "https://n:hun/hunter2@host".to_owned(),
        "https://n:hunter2 @host".to_owned(),
        "ftp://n:hunter2@host".to_owned(),
        "hunter2@".to_owned(),
    ] {
        hides(&plain, &["status", "-o", "json", "--server", &address]).await;
        hides(&plain, &["status", "--server", &address]).await;
        hides(&plain, &["drift", "--server", &address]).await;
        hides(&plain, &["drift", "--sandbox", "--endpoint", &address]).await;
        hides(&plain, &["validate", "--allow-endpoint", &address]).await;
        let mut by_variable = Workspace::new(Vec::new());
        by_variable.set("ESO_SYNC_SERVER", &address);
        hides(&by_variable, &["status"]).await;
        for proxy in [&address, &format!("socks5://n:hunter2@{host}")] {
            let mut proxied = Workspace::new(Vec::new());
            let config = format!(
                "current-context: c\ncontexts: [{{name: c, context: {{cluster: k}}}}]\n\
                 clusters: [{{name: k, cluster: {{server: 'https://api.test', proxy-url: \"{proxy}\"}}}}]\n"
            );
            proxied.file("config", &config);
            hides(&proxied, &["status", "--kubeconfig=config"]).await;
            proxied.set("HTTPS_PROXY", proxy);
            hides(&proxied, &["status", "--server=https://api.test"]).await;
        }
    }
    let seen = log.lock().unwrap().clone();
    assert_eq!(seen[0], "plain Basic n:hunter2", "the password is used");
}
