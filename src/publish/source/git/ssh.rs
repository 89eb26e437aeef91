//! Git's protocol over SSH, by the program `ssh`.

use std::{
    io::ErrorKind,
    os::fd::{AsRawFd as _, OwnedFd},
    process::Stdio,
    time::Duration,
};

use git::{HEADER, Next};
use secret::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Login, MAX_ANSWER};
use crate::publish::fault::Fault;

/// The longest time of one answer.
const TOTAL: Duration = Duration::from_mins(3);
/// The most that is read of what `ssh` prints as the reason of a failure.
const MAX_STDERR: u64 = 16 << 10;

/// A repository at an SSH server. The program ends when the value is dropped.
pub(super) struct Ssh {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Ssh {
    /// Connects, and returns what the server advertises.
    pub(super) async fn open(address: &git::Ssh, login: &Login) -> Result<(Self, Vec<u8>), Fault> {
        let lacks = |what: &str| {
            let message = format!("an address with SSH needs a Secret (`secret`) with {what}");
            Fault::new("invalid-credentials", message)
        };
        let key = login.ssh_key.as_ref();
        let key = key.ok_or_else(|| lacks("`sshPrivateKey` or `identity`, the private key"))?;
        let hosts = login.known_hosts.as_ref();
        let hosts = hosts.ok_or_else(|| {
            lacks("`known_hosts`, the server's keys: otherwise anybody could be the server. `ssh-keyscan HOST` prints them")
        })?;
        let files = [in_memory(key)?, in_memory(hosts)?];
        // They are read when the program connects, so they stay until the first answer.
        Self::start(&mut command(address, &files)).await
    }

    async fn start(command: &mut Command) -> Result<(Self, Vec<u8>), Fault> {
        let mut child = command.spawn().map_err(|error| {
            let message = if error.kind() == ErrorKind::NotFound {
                "this image has no program `ssh`. Use an HTTPS address, or build an image that contains it (openssh-client)"
            } else {
                "the program `ssh` cannot be started"
            };
            Fault::new("ssh-unavailable", message)
        })?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| unavailable("the program `ssh` has no pipes"))?;
        let mut connection = Self {
            child,
            input,
            output,
        };
        let advertised = connection.answer().await?;
        Ok((connection, advertised))
    }

    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, Fault> {
        let sent = async {
            self.input.write_all(request).await?;
            self.input.flush().await
        };
        let sent = timeout(TOTAL, sent).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(unavailable("the connection by `ssh` ended"));
        }
        self.answer().await
    }

    /// Reads an answer up to its end.
    async fn answer(&mut self) -> Result<Vec<u8>, Fault> {
        match timeout(TOTAL, self.packets()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Some(fault))) => Err(fault),
            Ok(Err(None)) => Err(self.why().await),
            Err(_) => Err(unavailable("the Git server does not answer in time")),
        }
    }

    /// Reads packets up to a flush. If the output ends before, the error has no fault.
    async fn packets(&mut self) -> Result<Vec<u8>, Option<Fault>> {
        let mut answer = Vec::new();
        loop {
            let mut header = [0; HEADER];
            let read = self.output.read_exact(&mut header).await;
            read.map_err(|_| None)?;
            answer.extend_from_slice(&header);
            let next = git::next(header).map_err(super::refused)?;
            let length = match next {
                Next::Content(length) => length,
                Next::Delimiter => 0,
                Next::Flush | Next::ResponseEnd => return Ok(answer),
            };
            let start = answer.len();
            if start + length > MAX_ANSWER {
                let message = format!("the Git server sends more than {} MiB", MAX_ANSWER >> 20);
                return Err(Some(Fault::new("too-large", message)));
            }
            answer.resize(start + length, 0);
            let rest = answer.get_mut(start..).unwrap_or_default();
            self.output.read_exact(rest).await.map_err(|_| None)?;
        }
    }

    /// Why `ssh` ended. Its text is not quoted.
    async fn why(&mut self) -> Fault {
        let mut text = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let mut stderr = stderr.take(MAX_STDERR);
            let read = stderr.read_to_end(&mut text);
            // What was read until the end or the timeout is enough.
            drop(timeout(Duration::from_secs(5), read).await);
        }
        let contains = |part: &str| {
            let part = part.as_bytes();
            text.windows(part.len()).any(|found| found == part)
        };
        if contains("Host key verification failed") {
            let message = "the SSH server's key is not one of `known_hosts` in the Secret";
            return Fault::new("git-denied", message);
        }
        if contains("Permission denied") || contains("error in libcrypto") {
            let message = "the SSH server refuses the private key in the Secret, or the key is invalid or has a passphrase";
            return Fault::new("git-denied", message);
        }
        if contains("No user exists for uid") {
            return Fault::new(
                "ssh-unavailable",
                "`ssh` needs an entry for the job's user in /etc/passwd",
            );
        }
        unavailable(
            "`ssh` could not connect to the Git server, or the server has no such repository",
        )
    }
}

fn unavailable(message: &str) -> Fault {
    Fault::new("git-unavailable", message)
}

/// A file in memory that only this user can read: `ssh` refuses other ones.
#[cfg(target_os = "linux")]
fn in_memory(content: &Value) -> Result<OwnedFd, Fault> {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};

    use rustix::fs::{MemfdFlags, memfd_create};

    let failed = || unavailable("cannot pass the key to `ssh`");
    let file = memfd_create("eso-sync", MemfdFlags::CLOEXEC).map_err(|_| failed())?;
    let mut file = std::fs::File::from(file);
    let written = file
        .set_permissions(std::fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(content.expose()))
        // A private key ends with a line break.
        .and_then(|()| file.write_all(b"\n"));
    written.map_err(|_| failed())?;
    Ok(file.into())
}

/// Other systems have no such files.
#[cfg(not(target_os = "linux"))]
fn in_memory(_: &Value) -> Result<OwnedFd, Fault> {
    Err(Fault::new(
        "ssh-unavailable",
        "a repository can be read over SSH only on Linux: use an HTTPS address",
    ))
}

fn command(address: &git::Ssh, [key, hosts]: &[OwnedFd; 2]) -> Command {
    let path = |file: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let mut command = Command::new("ssh");
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("GIT_PROTOCOL", "version=2")
        // No configuration, no agent, no questions, no unknown server.
        .args(["-F", "/dev/null", "-T", "-x", "-a", "-i", &path(key)]);
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "GlobalKnownHostsFile=/dev/null",
        "PermitLocalCommand=no",
        "ClearAllForwardings=yes",
        "PreferredAuthentications=publickey",
        "ConnectTimeout=20",
        "ServerAliveInterval=15",
        "SendEnv=GIT_PROTOCOL",
        &format!("UserKnownHostsFile={}", path(hosts)),
    ] {
        command.args(["-o", option]);
    }
    if let Some(port) = address.port {
        command.args(["-p", &port.to_string()]);
    }
    let host = address.host.trim_matches(['[', ']']);
    command
        .args(["-l", &address.user, "--", host])
        .arg(format!("git-upload-pack {}", quoted(&address.path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A word for the shell of the server.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_an_address_is_an_option_or_a_command() {
        assert_eq!(quoted("/a'; id #"), r"'/a'\''; id #'");
        let address: git::Address = "ssh://git@git.example:2222/a'b"
            .parse()
            .expect("an address");
        let git::Address::Ssh(address) = address else {
            unreachable!("SSH")
        };
        let files = [in_memory(&Value::from("a")), in_memory(&Value::from("b"))];
        let files = files.map(|file| file.expect("a file"));
        let command = command(&address, &files);
        let arguments: Vec<_> = command.as_std().get_args().collect();
        let end = arguments.iter().position(|argument| *argument == "--");
        let rest: Vec<_> = arguments[end.expect("an end") + 1..].to_vec();
        assert_eq!(rest, ["git.example", r"git-upload-pack '/a'\''b'"]);
        assert!(arguments.windows(2).any(|pair| pair == ["-p", "2222"]));
    }

    /// A program in place of `ssh`. It gets an empty environment, except for the version of the protocol.
    fn program(script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .env("GIT_PROTOCOL", "version=2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    #[tokio::test]
    #[ignore = "needs git (tests/cluster/run)"]
    async fn one_connection_answers_all_requests() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display();
        let script = format!(
            "cd '{path}' && exec 3>&1 >&2 && git init -q -b main && echo A=1 > app.env && git add app.env && \
             git -c user.name=a -c user.email=a@a.example commit -q -m a && git config uploadpack.allowFilter true && \
             exec git upload-pack . >&3"
        );
        let (ssh, advertised) = Ssh::start(&mut program(&script))
            .await
            .expect("a connection");
        let connection = super::super::Connection::Ssh(Box::new(ssh));
        let opened = super::super::read(connection, &advertised, &git::Revision::Head, &|_| true);
        let (tree, _) = opened.await.expect("files");
        assert!(
            tree.get("app.env")
                .is_ok_and(|value| value.expose() == b"A=1\n")
        );
    }

    #[tokio::test]
    async fn a_failure_of_ssh_is_explained_without_its_text() {
        for (script, expected) in [
            (
                "echo Host key verification failed. hunter2 >&2; exit 255",
                "git-denied",
            ),
            (
                "echo 'git@x: Permission denied (publickey). hunter2' >&2; exit 255",
                "git-denied",
            ),
            ("echo hunter2 >&2; exit 255", "git-unavailable"),
            ("echo hunter2", "git-protocol"),
            ("exit 0", "git-unavailable"),
        ] {
            let fault = Ssh::start(&mut program(script))
                .await
                .err()
                .expect("a failure");
            assert_eq!(fault.reason, expected, "{script}");
            assert!(!fault.message.contains("hunter2"), "{}", fault.message);
        }
        let missing = Ssh::start(Command::new("/nonexistent/ssh").stdin(Stdio::piped())).await;
        assert_eq!(missing.err().expect("a failure").reason, "ssh-unavailable");
    }
}
