//! Programs that flags name: the real kustomize and the real sops.
//!
//! They read what strangers commit, so they get no network, no environment, and no file but those of their task. What they print may
//! contain values: the output is wiped, and the text of errors is never shown.

pub(super) mod folder;
pub(super) mod kustomize;
mod offline;

use std::{
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use cluster::ProcessGroup;
use secret::{Buffer, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use super::fault::Fault;

/// The programs that flags name. None: eso-sync does the work itself.
#[derive(Default)]
pub struct Programs {
    pub kustomize: Option<PathBuf>,
    pub sops: Option<PathBuf>,
}

/// The longest time that a program may take for one kustomization or file.
const LIMIT: Duration = Duration::from_mins(1);
/// The longest output in bytes.
const MAX_OUTPUT: usize = 16 << 20;
/// The most that is kept of what a program says about a failure.
const MAX_STDERR: usize = 16 << 10;

/// A call of a program.
pub(super) struct Call<'a> {
    program: &'a Path,
    arguments: Vec<OsString>,
    /// All variables that it gets.
    pub(super) environment: Vec<(&'static str, OsString)>,
    input: &'a [u8],
    limit: Duration,
}

/// Why a program printed nothing.
pub(super) enum Failed {
    /// It could not do its work at all.
    Fault(Fault),
    /// It ended with an error. Its words are for the choice of a reason, and are never shown.
    Said(Value, String),
}

impl Failed {
    /// True if the program said one of these words.
    pub(super) fn says(said: &Value, words: &[&str]) -> bool {
        let said = said.expose();
        let contains = |word: &&str| said.windows(word.len()).any(|part| part == word.as_bytes());
        words.iter().any(contains)
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(program: &'a Path, arguments: Vec<OsString>, input: &'a [u8]) -> Self {
        Self {
            program,
            arguments,
            environment: Vec::new(),
            input,
            limit: LIMIT,
        }
    }

    /// Starts the program, and returns what it prints.
    pub(super) async fn run(&self) -> Result<Value, Failed> {
        let name = shown(self.program);
        let mut command = Command::new(self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = offline::spawn(command).map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                let message = format!("{name} does not exist");
                return Failed::Fault(Fault::new("program-not-found", message));
            }
            self.not_started(&error.kind().to_string())
        })?;
        // Dropping it kills the program with all that it started.
        let _group = ProcessGroup::of(child.id());
        let ended = timeout(self.limit, self.talk(child)).await;
        let (status, output, said) = ended.map_err(|_| {
            let limit = self.limit.as_secs();
            let message = format!("{name} did not end within {limit} s, and was killed");
            Failed::Fault(Fault::new("program-timeout", message))
        })??;
        if status.success() {
            return Ok(output);
        }
        let how = match status.code() {
            Some(code) => format!("{name} failed with exit code {code}"),
            None => format!("{name} was killed by a signal"),
        };
        Err(Failed::Said(said, how))
    }

    /// Writes the input, and reads all that the program prints.
    async fn talk(&self, mut child: Child) -> Result<(ExitStatus, Value, Value), Failed> {
        let pipes = child.stdin.take().zip(child.stdout.take());
        let pipes = pipes.zip(child.stderr.take());
        let Some(((mut input, output), said)) = pipes else {
            return Err(self.not_started("it has no pipes"));
        };
        let write = async {
            // A program that does not read its input says why on stderr.
            drop(input.write_all(self.input).await);
            drop(input);
            Ok(())
        };
        let too_much = || {
            let mib = MAX_OUTPUT >> 20;
            let message = format!("{} printed more than {mib} MiB", shown(self.program));
            Failed::Fault(Fault::new("program-output", message))
        };
        let output = async {
            let (value, is_all) = read(output, MAX_OUTPUT, true).await;
            if is_all { Ok(value) } else { Err(too_much()) }
        };
        let said = async { Ok(read(said, MAX_STDERR, false).await.0) };
        let ((), output, said) = tokio::try_join!(write, output, said)?;
        let ended = child.wait().await;
        let status = ended.map_err(|error| self.not_started(&error.kind().to_string()))?;
        Ok((status, output, said))
    }

    fn not_started(&self, why: &str) -> Failed {
        let message = format!("{} cannot be started: {why}", shown(self.program));
        Failed::Fault(Fault::new("program-not-started", message))
    }
}

/// Reads to the end. What is beyond the limit is not kept; with `stops`, it is not even read. Returns whether it was all.
async fn read(mut from: impl AsyncRead + Unpin, limit: usize, stops: bool) -> (Value, bool) {
    let mut kept = Buffer::default();
    let mut part = zeroize::Zeroizing::new(vec![0; 8192]);
    let mut is_all = true;
    loop {
        let read = match from.read(&mut part).await {
            Ok(0) | Err(_) => return (kept.finish(), is_all),
            Ok(read) => part.get(..read).unwrap_or_default(),
        };
        let room = limit - kept.as_bytes().len();
        is_all &= read.len() <= room;
        kept.push(read.get(..room).unwrap_or(read));
        if stops && !is_all {
            return (kept.finish(), false);
        }
    }
}

/// The path of a program, for messages.
fn shown(program: &Path) -> String {
    crate::foreign::line(&program.display().to_string())
}

#[cfg(test)]
pub(super) mod tests;
