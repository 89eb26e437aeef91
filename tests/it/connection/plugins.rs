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
        let scene = Self::with_exec("command: ./aws", answer).await;
        let path = std::env::var_os("PATH").expect("a PATH");
        let scene = scene.setting("PATH", &path.to_string_lossy());
        write(
            scene.workspace.path(),
            "aws",
            &format!("#!/bin/sh\n{PRINT}{script}\n"),
        );
        scene
    }

    /// With this plugin in the kubeconfig. No program is on the PATH.
    async fn with_exec(exec: &str, answer: Answer) -> Self {
        let (log, authority): (Log, _) = (Arc::default(), Authority::new("authority"));
        let pair = authority.server(&["127.0.0.1"]);
        let server = Server::tls("a", "127.0.0.1", &authority, &pair, &log, answer).await;
        let mut workspace = Workspace::new(Vec::new());
        workspace.set("KUBECONFIG", "config");
        workspace.set("PATH", "/nowhere");
        let folder = workspace.path();
        write(folder, "ca.pem", &authority.pem);
        let config = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://{}', certificate-authority: ca.pem}}}}]\n\
             users: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, {exec}, interactiveMode: IfAvailable}}}}}}]\n",
            server.address
        );
        write(folder, "config", &config);
        Self {
            workspace,
            log,
            _server: server,
        }
    }

    fn setting(mut self, name: &str, value: &str) -> Self {
        self.workspace.set(name, value);
        self
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

const EKS: &str = "command: aws, args: [--region, eu-west-1, eks, get-token, --cluster-name, prod, --output, json], \
    env: [{name: AWS_ACCESS_KEY_ID, value: AKIAEXAMPLE}]";

/// The request to STS in the token that the API server received.
#[cfg(feature = "aws")]
fn presigned(seen: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let token = seen.strip_prefix("a Bearer k8s-aws-v1.").expect("a token");
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).expect("base64")).expect("text")
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn token_of_a_missing_program_is_made_here() {
    let answer: Answer = Arc::new(|_| status(401, "Unauthorized"));
    let scene = Scene::with_exec(EKS, answer).await;
    let scene = scene.setting("AWS_SECRET_ACCESS_KEY", "hunter2");
    let outcome = scene.status().await;
    outcome.exits(4);
    let said = "the credential plugin aws is not installed here, or not on the PATH; eso-sync makes the token of `aws eks get-token` itself";
    // Once, although the token was renewed after the API server rejected it.
    assert_eq!(
        outcome.stderr.matches(said).count(),
        1,
        "{}",
        outcome.stderr
    );
    assert!(!outcome.stderr.contains("hunter2") && !outcome.stderr.contains("k8s-aws-v1"));
    assert_eq!(scene.seen().len(), 2);
    let url = presigned(&scene.seen()[0]);
    assert!(
        url.starts_with("https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&"),
        "{url}"
    );
    assert!(url.contains("X-Amz-Credential=AKIAEXAMPLE%2F"), "{url}");
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn installed_program_is_replaced_only_by_a_flag() {
    let with_program = async || {
        let scene = Scene::with_exec(EKS, forbidden()).await;
        write(
            scene.workspace.path(),
            "bin/aws",
            &format!("#!/bin/sh\n{PRINT}print t\n"),
        );
        let bin = scene.workspace.path().join("bin");
        let rest = std::env::var_os("PATH").expect("a PATH");
        let path = format!("{}:{}", bin.display(), rest.to_string_lossy());
        let scene = scene.setting("AWS_SECRET_ACCESS_KEY", "hunter2");
        scene.setting("PATH", &path)
    };
    let scene = with_program().await;
    let outcome = scene.status().await;
    assert_eq!(scene.seen()[0], "a Bearer t");
    assert!(!outcome.stderr.contains("itself"), "{}", outcome.stderr);
    let scene = with_program().await;
    let outcome = scene.workspace.run(&["status", "--native-auth"]).await;
    assert!(presigned(&scene.seen()[0]).contains("AKIAEXAMPLE"));
    assert_eq!(scene.starts(), 0);
    assert!(
        outcome
            .stderr
            .contains("the credential plugin aws is not used (--native-auth); eso-sync makes")
    );
}

#[tokio::test]
async fn token_that_cannot_be_made_says_why() {
    let missing = "is not installed here, or not on the PATH";
    let known = "`aws eks get-token`, `aws-iam-authenticator token`, `gke-gcloud-auth-plugin` and `kubelogin get-token`";
    for (exec, flags, why) in [
        ("command: tsh, args: [kube]", &[][..], format!("`tsh` {missing}\n")),
        ("command: tsh, args: [kube]", &["--native-auth"], format!("`tsh` cannot be replaced, as --native-auth demands: eso-sync makes the tokens of {known}\n")),
        #[cfg(feature = "aws")]
        ("command: aws, args: [sso, login]", &[], format!("`aws` {missing}, and eso-sync cannot make its token: argument 1 must be `eks`\n")),
        #[cfg(feature = "azure")]
        ("command: kubelogin, args: [get-token, --server-id, x]", &[], format!("`kubelogin` {missing}, and eso-sync cannot make its token: --login devicecode needs a person or another program. Possible are --login workloadidentity, spn (with a client secret) and msi\n")),
        #[cfg(feature = "gcp")]
        ("command: gke-gcloud-auth-plugin, args: [--secret=hunter2]", &["--native-auth"], "`gke-gcloud-auth-plugin` is not used (--native-auth), and eso-sync cannot make its token: the flag --secret is not supported; supported are --use_application_default_credentials\n".to_owned()),
    ] {
        let scene = Scene::with_exec(exec, forbidden()).await;
        let arguments: Vec<&str> = ["status"].iter().chain(flags).copied().collect();
        let outcome = scene.workspace.run(&arguments).await;
        outcome.exits(4);
        assert!(outcome.stderr.contains(&why), "{exec}: {}", outcome.stderr);
        assert!(scene.seen().is_empty());
    }
}
