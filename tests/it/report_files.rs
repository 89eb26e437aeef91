//! `--report`: the files are written at every exit, beside the output.

use std::fs;

use crate::support::Workspace;

const FORMATS: [&str; 7] = ["json", "yaml", "csv", "junit", "markdown", "sarif", "html"];

/// The flags for one file of each format, and their paths.
fn files(workspace: &Workspace) -> (Vec<String>, Vec<String>) {
    let paths = FORMATS.map(|format| workspace.file(&format!("report.{format}"), "old"));
    let paths = paths.map(|path| path.to_str().expect("UTF-8").to_owned());
    let flag = |(format, path)| format!("--report={format}={path}");
    let flags = FORMATS.iter().zip(&paths).map(flag).collect();
    (flags, paths.to_vec())
}

fn text(path: &str) -> String {
    fs::read_to_string(path).expect("the report exists")
}

#[tokio::test]
async fn every_command_that_reports_writes_every_format() {
    for command in [
        &["run", "--sandbox=bad-day"][..],
        &["run", "--sandbox", "--dry-run"],
        &["plan", "--sandbox"],
        &["drift", "--sandbox"],
        &["sync", "--sandbox", "--all", "-n", "payments"],
        &["status", "--sandbox", "-o", "name"],
        &["diagnose", "--sandbox", "db", "-n", "payments"],
        &["publish", "--sandbox"],
        &["impact", "--sandbox", "prod/web/oauth"],
        &["impact", "--sandbox", "prod/web/oauth", "-o", "dot"],
        &["advise", "--sandbox"],
        &["advise", "--sandbox", "--patch"],
        &["history", "--sandbox"],
        &["publish", "list", "--sandbox"],
        &["publish", "status", "--sandbox=bad-day"],
    ] {
        let workspace = Workspace::new(Vec::new());
        let (flags, paths) = files(&workspace);
        let flags = flags.iter().map(String::as_str);
        let arguments: Vec<&str> = command.iter().copied().chain(flags).collect();
        let outcome = workspace.run(&arguments).await;
        assert!(!outcome.stdout.is_empty(), "{command:?}: {outcome:?}");
        for path in &paths {
            let text = text(path);
            assert!(
                text.len() > 50 && text != "old",
                "{command:?} {path}: {text}"
            );
        }
        let [json, ..] = &*paths else { unreachable!() };
        let document: serde_json::Value = serde_json::from_str(&text(json)).expect("JSON");
        assert_eq!(document["run"]["exitCode"], outcome.code, "{command:?}");
    }
}

#[tokio::test]
async fn failed_command_writes_its_error_to_every_file() {
    let workspace = Workspace::new(Vec::new());
    let policy = workspace.file("policy.yaml", "select: [{}]\nsync: {when: sometimes}\n");
    let policy = policy.to_str().expect("UTF-8");
    let (flags, paths) = files(&workspace);
    let flags = flags.iter().map(String::as_str);
    let arguments: Vec<&str> = ["run", "--config", policy]
        .into_iter()
        .chain(flags)
        .collect();
    workspace.run(&arguments).await.exits(2);
    for path in &paths {
        assert!(text(path).contains("sometimes"), "{path}: {}", text(path));
    }
}

#[tokio::test]
async fn only_one_writer_has_stdout() {
    let workspace = Workspace::new(Vec::new());
    let outcome = workspace
        .run(&["status", "--sandbox", "--report", "csv=-"])
        .await;
    outcome.exits(0);
    assert!(outcome.stdout.starts_with("kind,namespace,"), "{outcome:?}");
    for more in [["-o", "table"], ["--report", "json=-"]] {
        let arguments = [&["status", "--sandbox", "--report", "csv=-"], &more[..]].concat();
        let outcome = workspace.run(&arguments).await;
        outcome.exits(2);
        assert_eq!(outcome.stdout, "");
        assert!(
            outcome.stderr.contains("writes to stdout, too"),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn file_that_cannot_be_written_stops_the_command_before_it_starts() {
    let workspace = Workspace::new(Vec::new());
    let outcome = workspace
        .run(&["run", "--sandbox", "--report", "json=missing/report.json"])
        .await;
    outcome.exits(2);
    assert!(
        outcome.stderr.contains("json=missing/report.json"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn github_gets_a_summary_and_annotations() {
    let mut workspace = Workspace::new(Vec::new());
    let summary = workspace.file("summary.md", "before\n");
    let summary = summary.to_str().expect("UTF-8");
    workspace.set("GITHUB_STEP_SUMMARY", summary);
    workspace.set("GITHUB_ACTIONS", "true");
    workspace.run(&["status", "--sandbox"]).await.exits(0);
    assert!(text(summary).starts_with("before\n## eso-sync: Status"));
    let policy = workspace.file("policy.yaml", "select: [{}]\nsync: {when: '50%,::x'}\n");
    let policy = policy.to_str().expect("UTF-8");
    let outcome = workspace.run(&["validate", "--config", policy]).await;
    outcome.exits(2);
    let annotation = outcome.stderr.lines().find(|line| line.starts_with("::"));
    let annotation = annotation.expect("an annotation");
    assert!(annotation.starts_with("::error file="), "{annotation}");
    assert!(annotation.contains("policy.yaml,line=2::"), "{annotation}");
    assert!(
        annotation.contains("::sync.when: ") && annotation.contains("50%25,::x"),
        "{annotation}"
    );
}

/// A workflow that names the summary as a report gets it once.
#[tokio::test]
async fn summary_is_not_written_twice() {
    let mut workspace = Workspace::new(Vec::new());
    let summary = workspace.file("summary.md", "before\n");
    let summary = summary.to_str().expect("UTF-8");
    workspace.set("GITHUB_STEP_SUMMARY", summary);
    let link = workspace.path().join("link.md");
    std::os::unix::fs::symlink(summary, &link).expect("a link");
    let written = [summary, "summary.md", link.to_str().expect("UTF-8")];
    for (runs, path) in (1..).zip(written) {
        let report = format!("markdown={path}");
        let status = ["status", "--sandbox", "--report", &report];
        workspace.run(&status).await.exits(0);
        let text = text(summary);
        assert!(text.starts_with("before\n## eso-sync: Status"), "{text}");
        assert_eq!(
            text.matches("## eso-sync: Status").count(),
            runs,
            "{path}: {text}"
        );
    }
}

/// Nobody may ever read it, and the run would wait before its deadline begins.
#[tokio::test]
async fn pipe_without_a_reader_is_refused() {
    let workspace = Workspace::new(Vec::new());
    let pipe = workspace.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let report = format!("csv={}", pipe.display());
    let status = ["status", "--sandbox", "--report", &report];
    let outcome = workspace.run(&status).await;
    outcome.exits(2);
    assert!(
        outcome.stderr.contains("it is a pipe that nobody reads"),
        "{outcome:?}"
    );
    let reader = tokio::process::Command::new("cat")
        .arg(&pipe)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("cat");
    let opened = fs::OpenOptions::new().write(true).open(&pipe);
    let outcome = workspace.run(&status).await;
    outcome.exits(0);
    drop(opened);
    let read = reader.wait_with_output().await.expect("cat ends");
    assert!(read.stdout.starts_with(b"kind,namespace,"), "{read:?}");
}

/// The chain belongs to the workload if the report has no ExternalSecrets.
#[tokio::test]
async fn report_of_restart_has_the_chain_of_each_workload() {
    let workspace = Workspace::new(Vec::new());
    let (flags, paths) = files(&workspace);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let outcome = workspace
        .run(&[&["restart", "--sandbox"], &*flags].concat())
        .await;
    outcome.exits(0);
    let path = |format: &str| paths.iter().find(|path| path.ends_with(format));
    let markdown = text(path("markdown").expect("a path"));
    let chain = markdown
        .lines()
        .find(|line| line.starts_with("- **shop/catalog**"));
    let chain = chain.expect("a chain");
    let links: Vec<&str> = chain.split(" → ").collect();
    assert!(
        links[0].ends_with("provider aws of shop/catalog (✅ proven)"),
        "{chain}"
    );
    assert_eq!(
        links[2..],
        [
            "Secret catalog (✅ proven)",
            "Deployment catalog (🔄 restarted)",
            "pods catalog (✅ proven)"
        ]
    );
    let html = text(path("html").expect("a path"));
    assert!(html.contains(r#""kind":"pods""#));
}

#[tokio::test]
async fn two_reports_cannot_have_one_file() {
    let workspace = Workspace::new(Vec::new());
    let file = workspace.file("a", "");
    let link = workspace.path().join("b");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let json = format!("json={}", file.display());
    for yaml in [&*file, &*link] {
        let yaml = format!("yaml={}", yaml.display());
        let arguments = ["status", "--sandbox", "--report", &json, "--report", &yaml];
        let outcome = workspace.run(&arguments).await;
        outcome.exits(2);
        assert!(outcome.stderr.contains(&json), "{}", outcome.stderr);
    }
    let arguments = ["status", "--sandbox", "--report", "json=/dev/stdout"];
    let outcome = workspace.run(&arguments).await;
    outcome.exits(2);
    assert!(outcome.stdout.is_empty(), "{}", outcome.stdout);
    let null = [
        "status",
        "--sandbox",
        "--report",
        "json=/dev/null",
        "--report",
        "yaml=/dev/null",
    ];
    workspace.run(&null).await.exits(0);
}

const BY_POLICY: &str = "select: [{}]\nreport:\n  url: https://reports.example/a?b=c#d\n  files: [{format: markdown, name: report.md}, {format: json, name: report.json}]\n";

#[tokio::test]
async fn policy_names_files_and_a_flag_their_folder() {
    let workspace = Workspace::new(Vec::new());
    let policy = workspace.file("policy.yaml", BY_POLICY);
    let policy = policy.to_str().expect("UTF-8");
    let folder = workspace.path().to_str().expect("UTF-8");
    let arguments = [
        "run",
        "--sandbox",
        "--config",
        policy,
        "--report-dir",
        folder,
    ];
    let outcome = workspace.run(&arguments).await;
    let document = text(&format!("{folder}/report.json"));
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["run"]["exitCode"], outcome.code);
    assert_eq!(
        document["run"]["reportUrl"],
        "https://reports.example/a?b=c#d"
    );
    let markdown = text(&format!("{folder}/report.md"));
    assert!(
        markdown.contains("](<https://reports.example/a?b=c#d>)"),
        "{markdown}"
    );
}

#[tokio::test]
async fn run_refuses_files_of_a_policy_without_a_folder() {
    let workspace = Workspace::new(Vec::new());
    let policy = workspace.file("policy.yaml", BY_POLICY);
    let policy = policy.to_str().expect("UTF-8");
    let outcome = workspace
        .run(&["run", "--sandbox", "--config", policy])
        .await;
    outcome.exits(2);
    for word in ["`report.files`", "--report-dir"] {
        assert!(outcome.stderr.contains(word), "{outcome:?}");
    }
    workspace
        .run(&["validate", "--config", policy])
        .await
        .exits(0);
    // A person who only looks needs no folder.
    let outcome = workspace
        .run(&["plan", "--sandbox", "--config", policy])
        .await;
    assert!(!outcome.stderr.contains("--report-dir"), "{outcome:?}");
}

#[tokio::test]
async fn policy_cannot_leave_the_folder() {
    let workspace = Workspace::new(Vec::new());
    for name in ["../x", "/etc/x", "a/b", "..", ".x", "''", "a\\b", "a b"] {
        let text = format!(
            "select: [{{}}]\nreport: {{files: [{{format: json, name: \"{}\"}}]}}\n",
            name.trim_matches('\'')
        );
        let policy = workspace.file("policy.yaml", &text.replace('\\', "\\\\"));
        let policy = policy.to_str().expect("UTF-8");
        let outcome = workspace.run(&["validate", "--config", policy]).await;
        outcome.exits(2);
        assert!(
            outcome.stderr.contains("report.files[0].name"),
            "{name}: {outcome:?}"
        );
    }
}

/// What a drift check finds is neither passed nor changed.
#[tokio::test]
async fn files_of_a_drift_check_show_every_difference() {
    let workspace = Workspace::new(Vec::new());
    let (flags, paths) = files(&workspace);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let drift = workspace
        .run(&[&["drift", "--sandbox", "-o", "json"], &*flags].concat())
        .await;
    let verdicts = &drift.exits(1).document()["summary"]["verdicts"];
    let differ = ["stale", "tampered", "partial", "missing"];
    let count = |word: &&str| verdicts[*word].as_u64().unwrap_or_default();
    let expected: u64 = differ.iter().map(count).sum();
    assert!(expected > 1, "{verdicts}");
    let of = |format: &str| {
        text(
            paths
                .iter()
                .find(|path| path.ends_with(format))
                .expect("a path"),
        )
    };
    let (csv, junit, markdown) = (of("csv"), of("junit"), of("markdown"));
    let failures = junit.matches("<failure").count();
    assert_eq!(u64::try_from(failures).ok(), Some(expected), "{junit}");
    let rows = csv.lines().filter(|row| row.contains(",differs,"));
    assert_eq!(u64::try_from(rows.count()).ok(), Some(expected), "{csv}");
    assert!(!markdown.contains("### Changed"), "{markdown}");
}

/// A step names the object, so that it can be copied.
#[tokio::test]
async fn next_steps_name_the_object() {
    let workspace = Workspace::new(Vec::new());
    let (flags, paths) = files(&workspace);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    // Its namespaced store is not read.
    let policy = workspace.file("policy.yaml", "select: [{namespaces: [payments]}]\n");
    let policy = policy.to_str().expect("UTF-8");
    let run = ["run", "stripe", "--sandbox", "--config", policy];
    let outcome = workspace.run(&[&run, &*flags].concat()).await;
    let step = "run `eso-sync --sandbox diagnose stripe -n payments` to see why";
    let stdout = &outcome.exits(3).stdout;
    assert!(stdout.contains(step), "{stdout}");
    for format in ["markdown", "junit", "csv", "sarif", "html"] {
        let path = paths.iter().find(|path| path.ends_with(format));
        let text = text(path.expect("a path"));
        let named = "eso-sync diagnose stripe -n payments";
        assert!(text.contains(named), "{format}: {text}");
    }
}
