//! Runs a process, and measures its time and peak memory. The numbers come from Linux's `/proc`.

use std::{process::ExitStatus, time::Duration};

use tokio::{process::Command, time::sleep};

/// What a process needed.
pub(crate) struct Used {
    pub ended: ExitStatus,
    /// In MiB.
    pub memory: u64,
    /// The time on processors, in hundredths of a second. Unlike the time that passes, it does not depend on what else the machine does.
    pub cpu: u64,
}

/// Runs the process to its end.
pub(crate) async fn run(command: &mut Command) -> Used {
    let mut run = command.spawn().expect("the binary starts");
    let folder = format!("/proc/{}", run.id().expect("it runs"));
    let (mut memory, mut cpu) = (0, 0);
    let ended = loop {
        tokio::select! {
            ended = run.wait() => break ended.expect("it ends"),
            () = sleep(Duration::from_millis(5)) => {
                memory = memory.max(high_water(&folder));
                cpu = cpu.max(ticks(&folder));
            }
        }
    };
    Used { ended, memory, cpu }
}

/// Returns the peak memory of a process in MiB, or 0 if it has ended.
fn high_water(folder: &str) -> u64 {
    let text = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default().div_ceil(1024)
}

/// Returns the time of a process on processors, in ticks of a hundredth of a second, or 0 if it has ended.
fn ticks(folder: &str) -> u64 {
    let text = std::fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
    // The name of the process, in parentheses, may contain spaces.
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let tick = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    // User and system time.
    tick(11).unwrap_or_default() + tick(12).unwrap_or_default()
}
