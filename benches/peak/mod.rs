//! Runs a process, and measures its time and peak memory.

use std::{process::ExitStatus, time::Duration};

use tokio::{
    process::Command,
    time::{Instant, sleep},
};

/// What a process needed.
pub(crate) struct Used {
    pub ended: ExitStatus,
    /// In MiB.
    pub memory: u64,
    pub seconds: f64,
}

/// Runs the process to its end.
pub(crate) async fn run(command: &mut Command) -> Used {
    let start = Instant::now();
    let mut run = command.spawn().expect("the binary starts");
    let status = format!("/proc/{}/status", run.id().expect("it runs"));
    let mut memory = 0;
    let ended = loop {
        tokio::select! {
            ended = run.wait() => break ended.expect("it ends"),
            () = sleep(Duration::from_millis(5)) => memory = memory.max(high_water(&status)),
        }
    };
    Used {
        ended,
        memory,
        seconds: start.elapsed().as_secs_f64(),
    }
}

/// Returns the peak memory of a process in MiB, or 0 if it has ended.
fn high_water(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default().div_ceil(1024)
}
