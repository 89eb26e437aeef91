//! Credential plugins, which are shell scripts here, behind the real binary.

use std::{path::Path, sync::Arc};

use super::{
    servers::{Answer, Authority, Log, Server, forbidden, status},
    write,
};
use crate::support::{Outcome, Running, Workspace, eventually};

const PRINT: &str = r#"print() { echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$1'"}}'; }
echo start >> starts
"#;

/// An API server, and a kubeconfig whose plugin is a script.
struct Scene {
    workspace: Workspace,
    log: Log,
    _server: Server,
}

impl Scene {
    async fn new(script: &str, answer: Answer) -> Self {
        let (log, authority): (Log, _) = (Arc::default(), Authority::new("authority"));
        let pair = authority.server(&["127.0.0.1"]);
        let server = Server::tls("a", "127.0.0.1", &authority, &pair, &log, answer).await;
        let mut workspace = Workspace::new(Vec::new());
        workspace.set(
            "PATH",
            &std::env::var_os("PATH").expect("a PATH").to_string_lossy(),
        );
        workspace.set("KUBECONFIG", "config");
        let folder = workspace.path();
        write(folder, "ca.pem", &authority.pem);
        write(folder, "aws", &format!("#!/bin/sh\n{PRINT}{script}\n"));
        let config = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://{}', certificate-authority: ca.pem}}}}]\n\
             users: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./aws, interactiveMode: IfAvailable}}}}}}]\n",
            server.address
        );
        write(folder, "config", &config);
        Self {
            workspace,
            log,
            _server: server,
        }
    }

    async fn status(&self) -> Outcome {
        self.workspace.run(&["status"]).await
    }

    fn starts(&self) -> usize {
        let starts = std::fs::read_to_string(self.workspace.path().join("starts"));
        starts.unwrap_or_default().lines().count()
    }

    fn seen(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// True while a process with the ID in this file runs.
fn runs(file: &Path) -> bool {
    let pid = std::fs::read_to_string(file).unwrap_or_default();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A zombie has ended.
    !stat.is_empty() && !stat.contains(") Z ")
}

const HANGS: &str = "sleep 1000 & echo $! > child\nwait";

async fn hanging(arguments: &[&str]) -> (Scene, Running) {
    let scene = Scene::new(HANGS, forbidden()).await;
    scene
        .workspace
        .file("policy.yaml", "select: [{}]\ndeadline: 5s\n");
    let mut running = scene.workspace.start(arguments);
    let line = running.says("waiting for the credential plugin aws").await;
    assert!(line.contains(" s, at most "), "until when? {line}");
    (scene, running)
}

async fn child_ends(scene: &Scene) {
    let file = scene.workspace.path().join("child");
    eventually("the plugin's child ends", async || {
        (!runs(&file)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn plugin_that_hangs_is_killed_by_a_signal() {
    let (scene, running) = hanging(&["status"]).await;
    assert!(runs(&scene.workspace.path().join("child")));
    running.signal("TERM").await;
    running.end().await.exits(7);
    child_ends(&scene).await;
}

#[tokio::test]
async fn plugin_that_hangs_is_killed_at_the_deadline() {
    let (scene, running) = hanging(&["run", "--config", "policy.yaml"]).await;
    let outcome = running.end().await;
    outcome.exits(7);
    child_ends(&scene).await;
    assert_eq!(scene.starts(), 1);
}

#[tokio::test]
async fn plugin_shows_a_device_code_without_control_characters() {
    let script = format!("printf 'open https://login.test and enter ABCD\\033[2J\\n' >&2\n{HANGS}");
    let scene = Scene::new(&script, forbidden()).await;
    let mut running = scene.workspace.start(&["status"]);
    running
        .says(r"aws: open https://login.test and enter ABCD\u{1b}[2J")
        .await;
    running.signal("TERM").await;
    running.end().await.exits(7);
}

#[tokio::test]
async fn plugin_is_started_once_for_a_command() {
    let scene = Scene::new("print t", forbidden()).await;
    scene.status().await.exits(4);
    assert_eq!(scene.seen()[0], "a Bearer t");
    assert_eq!(scene.starts(), 1);
}

#[tokio::test]
async fn rejected_credentials_are_renewed() {
    let script = "print token-$(wc -l < starts | tr -d ' ')";
    let answer: Answer = Arc::new(|request| {
        let header = request.headers()["authorization"].to_str().expect("text");
        if header == "Bearer token-2" {
            status(403, "Forbidden")
        } else {
            status(401, "Unauthorized")
        }
    });
    let scene = Scene::new(script, answer).await;
    scene.status().await.exits(4);
    assert_eq!(scene.seen()[..2], ["a Bearer token-1", "a Bearer token-2"]);
    assert_eq!(scene.starts(), 2);
}

#[tokio::test]
async fn plugin_is_not_started_again_and_again() {
    let answer: Answer = Arc::new(|_| status(401, "Unauthorized"));
    let scene = Scene::new("print t", answer).await;
    scene.status().await.exits(4);
    assert_eq!(scene.starts(), 2);
}

#[tokio::test]
async fn what_a_plugin_prints_is_never_quoted() {
    for (script, why) in [
        ("echo 'hunter2: ['", "did not print an ExecCredential"),
        (
            "print 'hunter2\\u0001'",
            "printed a token with a line break",
        ),
        ("print hunter2; exit 3", "failed: exit code 3"),
        ("print hunter2; kill -KILL $$", "was killed by a signal"),
        (
            "print hunter2; yes hunter2 | head -c 3000000",
            "printed more than 1 MiB",
        ),
        ("print hunter2 | tr v w", "did not print an ExecCredential"),
    ] {
        let scene = Scene::new(script, forbidden()).await;
        let outcome = scene.workspace.run(&["status", "-vvv"]).await;
        outcome.exits(4);
        assert!(outcome.stderr.contains(why), "{script}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
        assert_eq!(scene.starts(), 1);
    }
}

#[tokio::test]
async fn plugin_cannot_flood_stderr() {
    let scene = Scene::new("yes xxxxxxxx | head -c 3000000 >&2\nprint t", forbidden()).await;
    let outcome = scene.status().await;
    outcome.exits(4);
    assert!(
        outcome.stderr.len() < 10_000,
        "{} bytes",
        outcome.stderr.len()
    );
    assert!(outcome.stderr.contains("aws: (more lines are not shown)"));
}

#[tokio::test]
async fn process_that_a_plugin_leaves_behind_blocks_nothing() {
    let scene = Scene::new("sleep 1000 & echo $! > child\nprint t", forbidden()).await;
    scene.status().await.exits(4);
    assert_eq!(scene.seen()[0], "a Bearer t");
    let pid = std::fs::read_to_string(scene.workspace.path().join("child")).expect("a pid");
    std::process::Command::new("kill")
        .arg(pid.trim())
        .status()
        .expect("kill");
}
