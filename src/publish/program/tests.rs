//! Programs that misbehave, and the real ones.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use repository::{Decrypted, KustomizeSecret, Source, Tree};
use rustix::process::{Pid, test_kill_process};
use secret::Value;

use super::{Call, Failed, kustomize::Build};
use crate::publish::fault::Fault;

/// A program in a folder of its own.
fn program(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

async fn run(path: &Path, limit: Duration) -> Result<String, Failed> {
    let mut call = Call::new(path, vec!["argument".into()], b"input");
    call.environment = vec![("ONLY", "this".into())];
    call.limit = limit;
    let text = |value: Value| String::from_utf8(value.expose().to_vec()).unwrap();
    call.run().await.map(text)
}

const SOON: Duration = Duration::from_millis(500);
const LATE: Duration = Duration::from_secs(30);

fn fault(failed: Result<String, Failed>) -> Fault {
    match failed {
        Err(Failed::Fault(fault)) => fault,
        Err(Failed::Said(_, how)) => unreachable!("{how}"),
        Ok(_) => unreachable!("it printed something"),
    }
}

#[tokio::test]
async fn a_program_gets_its_input_and_nothing_of_the_job() {
    let (_folder, path) = program(
        "read -r line; echo \"$line $1 $PWD $ONLY\"; /usr/bin/env -u PWD -u SHLVL -u _ -u ONLY",
    );
    let printed = run(&path, LATE)
        .await
        .unwrap_or_else(|_| unreachable!("it fails"));
    assert_eq!(printed, "input argument / this\n");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_its_children() {
    let (folder, path) = program("/bin/sleep 1000 & echo $! > \"${0%/*}/child\"; wait");
    let fault = fault(run(&path, SOON).await);
    assert_eq!(fault.reason, "program-timeout");
    let child = fs::read_to_string(folder.path().join("child")).unwrap();
    let child = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    let is_gone = || {
        // A killed process that nobody waits for stays as a zombie.
        let status = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        test_kill_process(child).is_err() || status.contains(") Z ")
    };
    let end = std::time::Instant::now() + LATE;
    while !is_gone() {
        assert!(std::time::Instant::now() < end, "the child lives");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_program_that_prints_without_end_is_killed() {
    let (_folder, path) = program("exec /bin/cat /dev/zero");
    assert_eq!(fault(run(&path, LATE).await).reason, "program-output");
    let (_folder, path) = program("/bin/cat /dev/zero >&2");
    assert_eq!(fault(run(&path, SOON).await).reason, "program-timeout");
}

#[tokio::test]
async fn a_program_that_does_not_exist_or_cannot_run_is_named() {
    let missing = fault(run(Path::new("/nonexistent/kustomize"), LATE).await);
    assert_eq!(missing.reason, "program-not-found");
    assert_eq!(missing.message, "/nonexistent/kustomize does not exist");
    let folder = fault(run(Path::new("/"), LATE).await);
    assert_eq!(folder.reason, "program-not-started");
}

#[tokio::test]
async fn a_program_has_no_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!(
        "exec 2> /dev/null; (: > /dev/tcp/127.0.0.1/{port}) && echo connected || echo refused"
    );
    let (_folder, path) = program(&connect);
    let printed = run(&path, LATE)
        .await
        .unwrap_or_else(|_| unreachable!("it fails"));
    assert_eq!(printed, "refused\n");
    // Only programs lose it, and the same script connects with a network.
    let output = std::process::Command::new(&path).output().unwrap();
    assert_eq!(output.stdout, b"connected\n");
}

pub(in crate::publish) fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, content) in files {
        tree.insert(path, Value::from(*content))
            .unwrap_or_else(|fault| unreachable!("{fault}"));
    }
    tree
}

/// What a program makes of a kustomization, as a publication uses it.
async fn built(
    program: &Path,
    tree: &Tree,
    folder: &str,
) -> Result<Vec<KustomizeSecret>, (&'static str, String)> {
    let source = Source {
        tree,
        decrypt: &|_, _| Ok(Decrypted::NotSops),
    };
    let of_file = |fault: repository::Fault| (fault.reason.word(), fault.to_string());
    let decrypted = repository::decrypted_files(source, folder);
    let decrypted = decrypted.map_err(|mut faults| of_file(faults.remove(0)))?;
    let mut build = Build::default();
    assert!(build.printed(&decrypted).is_none() && build.is_asked_for());
    build.run(program, tree, folder).await;
    assert!(!build.is_asked_for());
    let printed = build
        .printed(&decrypted)
        .unwrap_or_else(|| unreachable!("it ran"));
    let printed = printed.map_err(|fault| (fault.reason, fault.message))?;
    repository::printed_secrets(folder, printed, &decrypted).map_err(of_file)
}

#[tokio::test]
async fn a_failure_is_told_without_the_words_of_the_program() {
    let (_folder, path) = program("echo 'line 1: PASSWORD=hunter2' >&2; echo hunter2; exit 7");
    let failed = built(&path, &tree(&[("a/kustomization.yaml", "")]), "a").await;
    let (reason, message) = failed.err().unwrap_or_else(|| unreachable!("it failed"));
    assert_eq!(reason, "kustomize-invalid");
    assert!(
        message.contains("exit code 7") && !message.contains("hunter2"),
        "{message}"
    );
}

#[tokio::test]
async fn the_tree_is_in_memory_while_the_program_runs_and_gone_after_it() {
    let seen = tempfile::tempdir().unwrap();
    let seen = seen.path().join("seen");
    let script = format!("echo \"$2 $(< \"$2/app.env\")\" > {}", seen.display());
    let (_folder, path) = program(&script);
    let tree = tree(&[("k/kustomization.yaml", ""), ("k/app.env", "A=hunter2")]);
    let secrets = built(&path, &tree, "k").await;
    assert!(secrets.is_ok_and(|secrets| secrets.is_empty()));
    let seen = fs::read_to_string(seen).unwrap();
    let (path, content) = seen.split_once(' ').unwrap();
    assert!(
        path.starts_with("/dev/shm/eso-sync-") || path.starts_with("/tmp/eso-sync-"),
        "{path}"
    );
    assert_eq!(content, "A=hunter2\n");
    assert!(!Path::new(path).exists());
}

/// A program that `tests/` provide.
pub(in crate::publish) fn real(variable: &str) -> PathBuf {
    let found = std::env::vars_os().find(|(name, _)| name == variable);
    found.map_or_else(
        || unreachable!("{variable} is not set"),
        |(_, path)| path.into(),
    )
}

type Secrets = Vec<(String, String, Vec<(String, Vec<u8>)>)>;

fn plain(secrets: Vec<KustomizeSecret>) -> Secrets {
    let entry = |entry: &repository::Entry| (entry.key.clone(), entry.value.expose().to_vec());
    let secrets = secrets.into_iter().map(|secret| {
        let entries = secret.entries.iter().map(entry).collect();
        (secret.namespace, secret.name, entries)
    });
    secrets.collect()
}

/// True if the names are equal but for the hash at the end of the real one.
fn is_same(ours: &Secrets, real: &Secrets) -> bool {
    let pairs = ours.iter().zip(real);
    ours.len() == real.len()
        && pairs.into_iter().all(|(ours, real)| {
            let rest = real.1.strip_prefix(&ours.1);
            let is_name = rest.is_some_and(|rest| rest.is_empty() || rest.len() == 11);
            is_name && ours.0 == real.0 && ours.2 == real.2
        })
}

/// The trees of the subset: what it computes, the real program computes, too, and what kustomize refuses is refused.
#[tokio::test]
#[ignore = "needs kubectl (tests/kubectl/run)"]
async fn kustomize_builds_what_the_subset_computes() {
    let program = real("ESO_SYNC_TEST_KUBECTL");
    let text = include_str!("../../../crates/repository/tests/kustomize/corpus.txt");
    let (mut equal, mut different) = (0, Vec::new());
    for case in text.split("\n## ").skip(1) {
        let (header, files) = case.split_once('\n').unwrap();
        let parts: Vec<&str> = header.split(" | ").collect();
        let mut tree = Tree::default();
        for file in files.strip_prefix("-- ").unwrap().split("\n-- ") {
            let (path, content) = file.split_once('\n').unwrap_or((file, ""));
            let content = content.strip_suffix('\n').unwrap_or(content);
            let content = content.replace('␍', "\r") + "\n";
            drop(tree.insert(path, Value::from(content.as_str())));
        }
        let folder = parts.get(2).copied().unwrap_or(".");
        let source = Source {
            tree: &tree,
            decrypt: &|_, _| Ok(Decrypted::NotSops),
        };
        let ours = repository::kustomize(source, folder).map(plain);
        let real = built(&program, &tree, folder).await.map(plain);
        match (&ours, &real) {
            (Ok(ours), Ok(real)) if is_same(ours, real) => equal += 1,
            (Err(fault), Err(_)) if fault.reason.word() == "kustomize-invalid" => equal += 1,
            (Err(fault), _) if fault.reason.word() != "kustomize-invalid" => {}
            _ => different.push(format!("{}: {:?}", parts[0], real.err())),
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(equal >= 60, "{equal}");
}

const PLUGIN: &str = "apiVersion: a/v1\nkind: A\nmetadata:\n  name: a\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./run}\n";

/// What a repository may contain to reach the network, a program or another file, and the reason of its refusal. `URL` is a server on
/// this machine, `OUTSIDE` a folder.
const HOSTILE: [(&str, &str); 17] = [
    ("resources: ['URL/a.yaml']", "kustomize-unsupported"),
    ("resources: ['URL/a//b?ref=main']", "kustomize-unsupported"),
    (
        "resources: ['git@host.example:a/b.git']",
        "kustomize-unsupported",
    ),
    (
        "resources: ['https://host.example/a/b.git//c']",
        "kustomize-unsupported",
    ),
    ("resources: ['file://OUTSIDE']", "kustomize-unsupported"),
    (
        "secretGenerator: [{name: a, files: ['URL/a']}]",
        "kustomize-unsupported",
    ),
    (
        "secretGenerator: [{name: a, envs: ['URL/a']}]",
        "kustomize-unsupported",
    ),
    ("patches: [{path: 'URL/a'}]", "kustomize-unsupported"),
    (
        "generators:\n- |-\n  apiVersion: builtin\n  kind: SecretGenerator\n  metadata: {name: a}\n  files: ['URL/a']",
        "kustomize-unsupported",
    ),
    (
        "helmCharts: [{name: a, repo: 'https://host.example'}]",
        "kustomize-unsupported",
    ),
    ("generators: [plugin.yaml]", "kustomize-unsupported"),
    ("transformers: [plugin.yaml]", "kustomize-unsupported"),
    (
        "secretGenerator: [{name: a, files: ['OUTSIDE/secret']}]",
        "kustomize-invalid",
    ),
    (
        "secretGenerator: [{name: a, files: [../top]}]",
        "kustomize-invalid",
    ),
    (
        "secretGenerator: [{name: a, files: [../../../etc/passwd]}]",
        "kustomize-invalid",
    ),
    ("resources: [../../etc]", "kustomize-invalid"),
    (
        "secretGenerator: [{name: a, files: [missing]}]",
        "kustomize-invalid",
    ),
];

#[tokio::test]
#[ignore = "needs kubectl (tests/kubectl/run)"]
async fn kustomize_follows_nothing_outside_the_repository() {
    let program = real("ESO_SYNC_TEST_KUBECTL");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let outside = tempfile::tempdir().unwrap();
    let marker = outside.path().join("marker");
    fs::write(outside.path().join("secret"), "hunter2").unwrap();
    let script = format!("#!/bin/sh\necho > {}\n", marker.display());
    for (kustomization, reason) in HOSTILE {
        let kustomization = kustomization.replace("URL", &url);
        let kustomization = kustomization.replace("OUTSIDE", outside.path().to_str().unwrap());
        let files = [
            ("k/kustomization.yaml", kustomization.as_str()),
            ("k/plugin.yaml", PLUGIN),
            ("k/run", &script),
            ("top", "hunter2"),
        ];
        let Err((found, message)) = built(&program, &tree(&files), "k").await else {
            unreachable!("accepted: {kustomization}")
        };
        assert_eq!(found, reason, "{kustomization}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert!(listener.accept().is_err(), "something was fetched");
    assert!(!marker.exists(), "a plugin was started");
    let good = "secretGenerator: [{name: a, literals: [A=x]}]";
    let good = built(&program, &tree(&[("k/kustomization.yaml", good)]), "k").await;
    assert_eq!(good.map(plain).map_err(|(_, why)| why).unwrap().len(), 1);
}
