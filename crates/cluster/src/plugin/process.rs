//! The process of a credential plugin. It never outlives the wait for it.

use std::{
    collections::BTreeMap,
    io,
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use secret::Buffer;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

use super::Why;
use crate::{escape, kubeconfig::Exec};

/// The longest output in bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// The lines of stderr that are shown, and their longest length.
const MAX_LINES: usize = 40;
const MAX_LINE: usize = 500;

/// How long to wait for the end of the output after the plugin has ended. A process that it left behind may keep it open.
const REST: Duration = Duration::from_millis(500);

/// A running plugin. Dropping it kills the process, with all processes that it started unless it uses the terminal.
pub(super) struct Started {
    child: Child,
    group: ProcessGroup,
}

/// What a plugin printed.
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
}

/// The process groups of running plugins.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Kills all running plugins. For the end of the process without the end of the runtime.
pub fn kill_plugins() {
    if let Ok(running) = RUNNING.try_lock() {
        for group in running.iter() {
            kill_process_group(*group, Signal::KILL).ok();
        }
    }
}

/// A process group that is killed on drop, or by [`kill_plugins`].
pub struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group of this process, which must be its first one.
    pub fn of(leader: Option<u32>) -> Self {
        let leader = leader.and_then(|leader| leader.try_into().ok());
        Self::new(leader.and_then(Pid::from_raw))
    }

    fn new(group: Option<Pid>) -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.extend(group);
        Self(group)
    }

    /// Ends the responsibility for the processes that a plugin leaves running, such as a cache.
    fn release(&mut self) -> Option<Pid> {
        let group = self.0.take()?;
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|running| *running != group);
        Some(group)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.release() {
            // It fails if all its processes have ended.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Started {
    pub(super) fn new(
        exec: &Exec,
        environment: &BTreeMap<&str, &str>,
        interactive: bool,
    ) -> Result<Self, Why> {
        // The operating system's calls end at a null character.
        let texts = exec.args.iter().map(String::as_str);
        let texts = texts.chain(environment.iter().flat_map(|(name, value)| [*name, *value]));
        if exec.command.contains('\0') || texts.into_iter().any(|text| text.contains('\0')) {
            return Err(Why::NotStarted("it contains a null character".to_owned()));
        }
        let mut command = Command::new(&exec.command);
        command
            .args(&exec.args)
            .envs(environment)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if interactive {
            // A process of another group would be stopped when it reads from the terminal.
            command.stdin(Stdio::inherit());
        } else {
            command.stdin(Stdio::null()).process_group(0);
        }
        let child = command.spawn().map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Why::NotInstalled
            } else {
                Why::NotStarted(error.kind().to_string())
            }
        })?;
        let leader = child.id().filter(|_| !interactive);
        Ok(Self {
            child,
            group: ProcessGroup::of(leader),
        })
    }

    /// Waits for the end of the plugin. Shows what it writes to stderr.
    pub(super) async fn output(mut self, name: &str) -> Result<Output, Why> {
        let (mut stdout, mut stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let mut output = Buffer::default();
        let mut said = Lines::new(name);
        let ended = {
            let mut reading = Box::pin(read_both(
                stdout.as_mut(),
                stderr.as_mut(),
                &mut output,
                &mut said,
            ));
            tokio::select! {
                read = &mut reading => {
                    read?;
                    self.child.wait().await
                }
                ended = self.child.wait() => {
                    if let Ok(read) = timeout(REST, reading).await {
                        read?;
                    }
                    ended
                }
            }
        };
        said.end();
        let status = ended.map_err(|error| Why::Failed(error.kind().to_string()))?;
        if !status.success() {
            return Err(Why::Failed(match status.code() {
                Some(code) => format!("exit code {code}"),
                None => "it was killed by a signal".to_owned(),
            }));
        }
        self.group.release();
        Ok(Output {
            stdout: output.as_bytes().to_vec(),
        })
    }
}

async fn read_both(
    stdout: Option<&mut ChildStdout>,
    stderr: Option<&mut ChildStderr>,
    output: &mut Buffer,
    said: &mut Lines<'_>,
) -> Result<(), Why> {
    let out = each_part(stdout, |part| {
        if output.as_bytes().len() + part.len() > MAX_OUTPUT {
            return Err(Why::TooMuch);
        }
        output.push(part);
        Ok(())
    });
    let err = each_part(stderr, |part| {
        said.push(part);
        Ok(())
    });
    tokio::try_join!(out, err).map(|_| ())
}

async fn each_part(
    pipe: Option<&mut (impl AsyncRead + Unpin)>,
    mut each: impl FnMut(&[u8]) -> Result<(), Why>,
) -> Result<(), Why> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut part = vec![0; 4096];
    loop {
        match pipe.read(&mut part).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => each(part.get(..read).unwrap_or_default())?,
        }
    }
}

/// The lines that a plugin writes to stderr, for example the code for a login. They are shown as soon as they are complete.
struct Lines<'a> {
    name: &'a str,
    line: Vec<u8>,
    shown: usize,
}

impl<'a> Lines<'a> {
    const fn new(name: &'a str) -> Self {
        Self {
            name,
            line: Vec::new(),
            shown: 0,
        }
    }

    fn push(&mut self, part: &[u8]) {
        for byte in part {
            match byte {
                b'\n' | b'\r' => self.end(),
                _ if self.line.len() < 4 * MAX_LINE => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.trim().is_empty() || self.shown > MAX_LINES {
            return;
        }
        self.shown += 1;
        let line = if self.shown > MAX_LINES {
            "(more lines are not shown)".to_owned()
        } else {
            shown(line.trim_end())
        };
        tracing::warn!("{}: {line}", self.name);
    }
}

/// A text from outside: on one line, without control characters, and bounded.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(MAX_LINE) {
        escape::push(&mut shown, c);
    }
    if text.chars().nth(MAX_LINE).is_some() {
        shown.push('…');
    }
    shown
}
