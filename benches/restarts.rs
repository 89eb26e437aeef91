//! Measures the time and peak memory of a run that restarts 1,000 workloads. It runs the real binary against the sandbox,
//! whose controllers replace the Pods.
//!
//! ```text
//! cargo bench --bench restarts -- [N] [--pods P] [--namespaces M] [--binary FILE]
//! ```
//!
//! N workloads (default 1000) with P Pods each (default 3), in M namespaces (default 1). Each workload has its own
//! ExternalSecret and Secret. All secrets are rotated; the run detects this, syncs them and restarts all workloads. Rates
//! are set too high to matter. The exit code is 1 if the goal for memory is missed.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "any error ends the benchmark"
)]

mod peak;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{ExitCode, Stdio},
    time::Duration,
};

use sandbox::{Sandbox, Settings};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const POLICY: &str = r#"select: [{namespaces: ["bench-*"]}]
sync: {when: drifted}
pace: {inFlight: 10000, default: 1000/s, kubernetes: 10000/s, restarts: 1000/s}
safety: {maxSyncs: 100000, maxRestarts: 100000}
restart: [{match: references, maxConcurrent: 50}]
deadline: 60m
"#;

/// The goal for peak memory, in MiB.
const GOAL: u64 = 64;

struct Setup {
    sandbox: Sandbox,
    workloads: usize,
    pods: usize,
    namespaces: usize,
    binary: PathBuf,
    folder: tempfile::TempDir,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a benchmark prints its results")]
async fn main() -> ExitCode {
    let setup = Setup::new().await;
    setup.fill().await;
    let (adopting, took) = setup.run("adopted").await;
    println!(
        "adopting {} workloads: {} MiB, {took:.1} s",
        setup.workloads, adopting.memory
    );
    setup.rotate("second");
    let (restarting, took) = setup.run("restarted").await;
    let (met, code) = if adopting.memory.max(restarting.memory) <= GOAL {
        ("met", ExitCode::SUCCESS)
    } else {
        ("MISSED", ExitCode::FAILURE)
    };
    println!(
        "restarting {} workloads of {} pods in {} namespaces: {} MiB (goal: {GOAL} MiB, {met}), {took:.1} s, {} s of \
         processors",
        setup.workloads,
        setup.pods,
        setup.namespaces,
        restarting.memory,
        restarting.cpu / 100
    );
    code
}

impl Setup {
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark uses the current time"
    )]
    async fn new() -> Self {
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        let (mut workloads, mut options) = (1000, BTreeMap::new());
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => drop(options.insert(name.to_owned(), words.next().expect("a value"))),
                None => workloads = word.parse().expect("a number of workloads"),
            }
        }
        let mut number = |name: &str, otherwise: usize| {
            let given = options.remove(name);
            given.map_or(otherwise, |text| text.parse().expect("a number"))
        };
        let (pods, namespaces) = (number("pods", 3), number("namespaces", 1));
        let binary = options
            .remove("binary")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_eso-sync").to_owned());
        assert!(options.is_empty(), "unknown: {options:?}");
        let now = jiff::Timestamp::now();
        Self {
            sandbox: Sandbox::empty(Settings::default(), now)
                .await
                .expect("a sandbox"),
            workloads,
            pods,
            namespaces,
            binary: binary.into(),
            folder: tempfile::tempdir().expect("a folder for temporary files"),
        }
    }

    fn apply(&self, object: Value) {
        drop(self.sandbox.apply(object).expect("applied"));
    }

    fn namespace(&self, number: usize) -> String {
        format!("bench-{}", number % self.namespaces)
    }

    /// Sets the value in the provider for all workloads.
    fn rotate(&self, value: &str) {
        for number in 0..self.namespaces {
            self.apply(json!({
                "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
                "metadata": {"name": "store", "namespace": self.namespace(number)},
                "spec": {"provider": {"fake": {"data": [{"key": "password", "value": value}]}}},
            }));
        }
    }

    async fn fill(&self) {
        for number in 0..self.namespaces {
            let name = self.namespace(number);
            self.apply(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            );
        }
        self.rotate("first");
        for number in 0..self.workloads {
            let (namespace, name) = (self.namespace(number), format!("app-{number:05}"));
            let metadata = json!({"name": name, "namespace": namespace});
            self.apply(json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": metadata,
                "spec": {
                    "refreshInterval": "24h", "secretStoreRef": {"kind": "SecretStore", "name": "store"},
                    "data": [{"secretKey": "password", "remoteRef": {"key": "password"}}],
                },
            }));
            let container = json!({"name": "main", "image": "none", "envFrom": [{"secretRef": {"name": name}}]});
            self.apply(json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                "spec": {
                    "replicas": self.pods, "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
                },
            }));
        }
        for number in 0..self.workloads {
            while !self.is_up(number) {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn is_up(&self, number: usize) -> bool {
        let (namespace, name) = (self.namespace(number), format!("app-{number:05}"));
        let deployment = self.sandbox.get("deployments", &namespace, &name);
        let available = deployment
            .is_some_and(|object| object["status"]["availableReplicas"] == json!(self.pods));
        available && self.sandbox.get("secrets", &namespace, &name).is_some()
    }

    /// Runs the binary and returns what it needed, and its time. Fails unless all workloads have this outcome.
    async fn run(&self, outcome: &str) -> (peak::Used, f64) {
        let policy = self.folder.path().join("policy.yaml");
        std::fs::write(&policy, POLICY).expect("the folder can be written");
        let report = std::fs::File::create(self.folder.path().join("report.json")).expect("a file");
        let mut command = tokio::process::Command::new(&self.binary);
        command
            .env_clear()
            .args(["run", "--yes", "-q", "-o", "json"])
            .args(["--lock-namespace", "default"])
            .args(["--server", &self.sandbox.url()])
            .arg("--config")
            .arg(&policy)
            .stdout(Stdio::from(report));
        let start = Instant::now();
        let used = peak::run(&mut command).await;
        let took = start.elapsed().as_secs_f64();
        let report =
            std::fs::read_to_string(self.folder.path().join("report.json")).expect("a report");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let outcomes = &report["summary"]["restarts"]["outcomes"];
        assert!(
            used.ended.success() && outcomes[outcome] == json!(self.workloads),
            "{}: {}",
            used.ended,
            report["summary"]
        );
        (used, took)
    }
}
