//! Runs the real binary in an environment that contains only what the test sets.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Longer than any run of a test takes. A test that reaches it fails.
const PATIENCE: Duration = Duration::from_secs(170);

/// A folder for a test's files, and the arguments and variables for all commands of the test.
pub(crate) struct Workspace {
    folder: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The exit code and output of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running command.
pub(crate) struct Running {
    child: Child,
    said: String,
    stderr: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
}

/// The capacity of a pipe on Linux.
const PIPE: usize = 65_536;

/// A running command whose stderr nobody reads.
pub(crate) struct Blocked {
    child: Child,
    pipe: std::io::PipeWriter,
    unread: std::io::PipeReader,
}

impl Blocked {
    /// Waits until its stderr is full. Its next write blocks it.
    pub(crate) async fn is_full(&self) {
        use std::os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _};
        // Opened again, because a blocking write is a property of the open file, which the command shares.
        const NONBLOCKING: i32 = 0o4000;
        let path = format!("/proc/self/fd/{}", self.pipe.as_raw_fd());
        let mut options = std::fs::OpenOptions::new();
        options.write(true).custom_flags(NONBLOCKING);
        let mut again = options.open(path).expect("the pipe can be opened again");
        super::eventually("its stderr is full", async || {
            let written = std::io::Write::write(&mut again, b" ");
            written.is_err().then_some(())
        })
        .await;
    }

    /// Sends a signal, given by its name.
    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Returns the exit code and stdout.
    pub(crate) async fn end(mut self) -> Outcome {
        let mut stdout = String::new();
        let mut pipe = self.child.stdout.take().expect("piped");
        let all = async {
            pipe.read_to_string(&mut stdout).await.expect("UTF-8");
            self.child.wait().await.expect("it ends")
        };
        let status = timeout(PATIENCE, all).await.expect("the command ends");
        drop(self.unread);
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr: String::new(),
        }
    }
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("it runs").to_string();
    let sent = Command::new("kill")
        .args(["-s", name, &pid])
        .status()
        .await
        .expect("kill");
    assert!(sent.success());
}

impl Workspace {
    pub(crate) fn new(arguments: Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        Self {
            folder,
            arguments,
            environment: Vec::new(),
        }
    }

    /// Sets an environment variable for all commands.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the folder can be written");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eso-sync"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .args(arguments)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        let output = timeout(PATIENCE, self.command(arguments).output())
            .await
            .expect("the command ends");
        let output = output.expect("the command starts");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs `eso-sync run -o json` with this policy.
    pub(crate) async fn policy(&self, policy: &str, more: &[&str]) -> Outcome {
        let path = self.file("policy.yaml", policy);
        let path = path.to_str().expect("UTF-8");
        self.run(&[&["run", "-o", "json", "--config", path], more].concat())
            .await
    }

    /// Starts a command whose stderr is a pipe that nobody reads, and that has room for this many bytes. The command is blocked
    /// as soon as it writes more.
    pub(crate) fn start_blocked(&self, arguments: &[&str], room: usize) -> Blocked {
        let (unread, mut pipe) = std::io::pipe().expect("a pipe");
        std::io::Write::write_all(&mut pipe, &vec![b' '; PIPE - room]).expect("the pipe has room");
        let stderr = pipe.try_clone().expect("the same pipe");
        let child = self.command(arguments).stderr(stderr).spawn();
        Blocked {
            child: child.expect("the command starts"),
            pipe,
            unread,
        }
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).spawn().expect("the command starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        Running {
            child,
            said: String::new(),
            stderr,
        }
    }

    /// Starts a command on a new terminal.
    pub(crate) fn on_terminal(&self, arguments: &[&str]) -> Terminal {
        let quoted = std::iter::once(env!("CARGO_BIN_EXE_eso-sync"))
            .chain(arguments.iter().copied())
            .chain(self.arguments.iter().map(String::as_str))
            .map(|word| format!("'{}'", word.replace('\'', r"'\''")));
        // Without `exec`, the shell would handle Ctrl-C.
        let line = format!("exec {}", quoted.collect::<Vec<_>>().join(" "));
        // `script` (util-linux) opens a pseudo-terminal, and exits with the exit code of the command (-e).
        let mut child = Command::new("script")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.folder.path())
            .env("TERM", "xterm")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .args(["-qefc", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`script` of util-linux");
        Terminal {
            keys: child.stdin.take().expect("piped"),
            screen: child.stdout.take().expect("piped"),
            shown: String::new(),
            child,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A command that runs on a terminal.
pub(crate) struct Terminal {
    keys: tokio::process::ChildStdin,
    screen: tokio::process::ChildStdout,
    shown: String,
    child: Child,
}

impl Terminal {
    /// Waits until the screen has shown this text.
    pub(crate) async fn shows(&mut self, text: &str) {
        let shown = async {
            let mut part = [0; 4096];
            while !self.shown.contains(text) {
                match self.screen.read(&mut part).await {
                    Ok(read) if read > 0 => {
                        self.shown += &String::from_utf8_lossy(&part[..read]);
                    }
                    _ => return false,
                }
            }
            true
        };
        let found = timeout(PATIENCE, shown).await.unwrap_or(false);
        assert!(found, "the screen never showed {text:?}: {}", self.shown);
    }

    pub(crate) async fn types(&mut self, keys: &str) {
        let typed = self.keys.write_all(keys.as_bytes()).await;
        typed.expect("the command reads its input");
    }

    /// Waits for the end. Returns the exit code, and everything that was shown.
    pub(crate) async fn end(mut self) -> (i32, String) {
        let all = async {
            let mut rest = Vec::new();
            self.screen.read_to_end(&mut rest).await.expect("a pipe");
            self.shown += &String::from_utf8_lossy(&rest);
            self.child.wait().await.expect("it ends")
        };
        let status = timeout(PATIENCE, all).await.expect("the command ends");
        (status.code().unwrap_or(-1), self.shown)
    }
}

impl Running {
    /// Waits for a line on stderr that contains this text, and returns it.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        let said = async {
            while let Ok(Some(line)) = self.stderr.next_line().await {
                self.said.push_str(&line);
                self.said.push('\n');
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        };
        let found = timeout(PATIENCE, said).await.unwrap_or_default();
        found.unwrap_or_else(|| panic!("stderr never contained {text:?}: {}", self.said))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal, given by its name.
    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    pub(crate) async fn end(mut self) -> Outcome {
        let mut stdout = String::new();
        let mut pipe = self.child.stdout.take().expect("piped");
        let all = async {
            let (read, said) = tokio::join!(pipe.read_to_string(&mut stdout), async {
                let mut said = String::new();
                while let Ok(Some(line)) = self.stderr.next_line().await {
                    said.push_str(&line);
                    said.push('\n');
                }
                said
            });
            read.expect("UTF-8");
            self.said.push_str(&said);
            self.child.wait().await.expect("it ends")
        };
        let status = timeout(PATIENCE, all).await.expect("the command ends");
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr: self.said,
        }
    }
}

impl Outcome {
    /// The JSON document on stdout.
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "stdout is not JSON ({error}): {}\n{}",
                self.stdout, self.stderr
            )
        })
    }

    /// `outcome(reason)` of an item, or `action(reason)` in a plan.
    pub(crate) fn of(&self, name: &str) -> String {
        let document = self.document();
        let items = document["items"].as_array().expect("items");
        let item = items.iter().find(|item| item["name"] == name);
        let item = item.unwrap_or_else(|| panic!("no item {name}: {}", self.stdout));
        let what = item["outcome"]
            .as_str()
            .or(item["action"].as_str())
            .expect("an outcome");
        match item["reason"].as_str() {
            Some(reason) if what != "synced" => format!("{what}({reason})"),
            _ => what.to_owned(),
        }
    }

    /// The entry of a workload in the document.
    pub(crate) fn restart(&self, name: &str) -> Value {
        let document = self.document();
        let restarts = document["restarts"].as_array().expect("restarts");
        let restart = restarts.iter().find(|restart| restart["name"] == name);
        restart
            .unwrap_or_else(|| panic!("no workload {name}: {}", self.stdout))
            .clone()
    }

    /// `outcome(reason)` of a workload, or `action(reason)` in a plan.
    pub(crate) fn restart_of(&self, name: &str) -> String {
        let restart = self.restart(name);
        let what = restart["outcome"].as_str().or(restart["action"].as_str());
        let reason = restart["reason"].as_str().expect("a reason");
        format!("{}({reason})", what.expect("an outcome"))
    }

    /// Asserts exit code 0, and that this workload was restarted because its data changed.
    #[track_caller]
    pub(crate) fn restarted(&self, name: &str) {
        let found = self.exits(0).restart_of(name);
        assert_eq!(found, "restarted(data-changed)");
    }

    /// Asserts the exit code. Prints all output if it differs.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }
}
