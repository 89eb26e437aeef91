//! Measures what a report of each format costs: the processor time and memory that a plan needs more than without it, and the size
//! of the file. It runs the real binary against the sandbox.
//!
//! ```text
//! cargo bench --bench reports -- [N] [--rounds R] [--binary FILE]
//! ```
//!
//! N ExternalSecrets (default 10,000) that the drift check compares: half of them are stale, the others have no Secret, and all are to
//! be synced. Each number is the smallest of R rounds (default 3). The exit code is 1 if a goal is missed.

#![expect(clippy::expect_used, reason = "any error ends the benchmark")]

mod peak;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use sandbox::{Sandbox, Settings};
use serde_json::json;

const POLICY: &str = r#"select: [{namespaces: ["bench-*"]}]
drift: {credentials: store, namespacedStores: true}
pace: {kubernetes: 10000/s}
safety: {maxSyncs: 100000}
"#;

/// The formats with the goals for the file of 10,000 items, in MiB. GitHub shows at most 1 MiB of Markdown.
const FORMATS: [(&str, u64); 7] = [
    ("json", 16),
    ("yaml", 16),
    ("csv", 8),
    ("junit", 16),
    ("markdown", 1),
    ("sarif", 16),
    ("html", 16),
];

/// The goals for a report: hundredths of a second on processors more, and the peak memory of the whole process in MiB, which is below the shipped limit of 128Mi.
const CPU: u64 = 200;
const MEMORY: u64 = 128;

const NAMESPACES: usize = 20;

struct Bench {
    sandbox: Sandbox,
    items: usize,
    rounds: usize,
    binary: PathBuf,
    folder: tempfile::TempDir,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a benchmark prints its results")]
async fn main() -> ExitCode {
    let bench = Bench::new().await;
    bench.fill();
    let (without, least) = bench.run(None).await;
    println!(
        "{} ExternalSecrets, without a report: {:.2} s on processors, {least} MiB",
        bench.items,
        seconds(without)
    );
    let mut all_met = true;
    for (format, largest) in FORMATS {
        let file = bench.folder.path().join(format);
        let (with, memory) = bench.run(Some((format, &file))).await;
        let bytes = std::fs::metadata(&file).expect("a report").len();
        let hundredths = bytes * 100 / (1 << 20);
        let more = with.saturating_sub(without);
        let met = more <= CPU && memory <= MEMORY && bytes <= largest << 20;
        all_met &= met;
        println!(
            "{format:8}  +{:.2} s (goal {:.0} s)  {memory} MiB of memory, {:+} MiB (goal {MEMORY} MiB)  file {}.{:02} MiB (goal {largest} MiB)  {}",
            seconds(more),
            seconds(CPU),
            memory.cast_signed() - least.cast_signed(),
            hundredths / 100,
            hundredths % 100,
            if met { "met" } else { "MISSED" }
        );
    }
    if all_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Hundredths as seconds.
fn seconds(hundredths: u64) -> f64 {
    std::time::Duration::from_millis(hundredths * 10).as_secs_f64()
}

impl Bench {
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark uses the current time"
    )]
    async fn new() -> Self {
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        let (mut items, mut options) = (10_000, BTreeMap::new());
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => drop(options.insert(name.to_owned(), words.next().expect("a value"))),
                None => items = word.parse().expect("a number of ExternalSecrets"),
            }
        }
        let rounds = options.remove("rounds");
        let binary = options
            .remove("binary")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_eso-sync").to_owned());
        assert!(options.is_empty(), "unknown: {options:?}");
        let now = jiff::Timestamp::now();
        // Nothing syncs the ExternalSecrets.
        let settings = Settings {
            operator: false,
            ..Settings::default()
        };
        Self {
            sandbox: Sandbox::empty(settings, now).await.expect("a sandbox"),
            items,
            rounds: rounds.map_or(3, |text| text.parse().expect("a number")),
            binary: binary.into(),
            folder: tempfile::tempdir().expect("a folder for temporary files"),
        }
    }

    fn apply(&self, object: serde_json::Value) {
        drop(self.sandbox.apply(object).expect("applied"));
    }

    fn fill(&self) {
        for number in 0..NAMESPACES {
            let name = format!("bench-{number}");
            self.apply(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            );
            self.apply(json!({
                "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
                "metadata": {"name": "store", "namespace": name},
                "spec": {"provider": {"fake": {"data": [{"key": "password", "value": "new"}]}}},
                "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Valid"}]},
            }));
        }
        for number in 0..self.items {
            let namespace = format!("bench-{}", number % NAMESPACES);
            let name = format!("credentials-of-application-{number:05}");
            if number % 2 == 0 {
                // Its data is not that of the provider.
                self.apply(json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
                    "data": {"password": "b2xk"},
                }));
            }
            self.apply(json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {
                    "refreshInterval": "1h", "secretStoreRef": {"kind": "SecretStore", "name": "store"},
                    "data": [{"secretKey": "password", "remoteRef": {"key": "password"}}],
                },
            }));
        }
    }

    /// The processor time in hundredths of a second, and the peak memory in MiB, of a plan that writes this report.
    async fn run(&self, report: Option<(&str, &Path)>) -> (u64, u64) {
        let policy = self.folder.path().join("policy.yaml");
        std::fs::write(&policy, POLICY).expect("the folder can be written");
        let (mut cpu, mut memory) = (u64::MAX, u64::MAX);
        for _ in 0..self.rounds {
            let mut command = tokio::process::Command::new(&self.binary);
            command
                .env_clear()
                .args(["plan", "-q", "--server", &self.sandbox.url()])
                .arg("--config")
                .arg(&policy)
                .stdout(Stdio::null());
            if let Some((format, file)) = report {
                command.arg("--report");
                command.arg(format!("{format}={}", file.display()));
            }
            let used = peak::run(&mut command).await;
            assert!(used.ended.success(), "{}", used.ended);
            cpu = cpu.min(used.cpu);
            memory = memory.min(used.memory);
        }
        (cpu, memory)
    }
}
