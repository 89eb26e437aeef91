//! Starts a program that cannot open a network connection.

use std::io;

use tokio::process::{Child, Command};

/// Starts the program from a thread of its own, because a process inherits the system calls that its thread gave up.
#[cfg(target_os = "linux")]
pub(super) fn spawn(mut command: Command) -> io::Result<Child> {
    let runtime = tokio::runtime::Handle::current();
    let start = move || {
        let _runtime = runtime.enter();
        give_up_network()?;
        command.spawn()
    };
    let thread = std::thread::Builder::new().spawn(start)?;
    let ended = thread.join();
    ended.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it ended")))
}

/// Lets this thread, and what it starts, open no socket. `io_uring` could open one, too.
#[cfg(target_os = "linux")]
fn give_up_network() -> io::Result<()> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    let denied = u32::try_from(libc::EPERM).unwrap_or(1);
    let calls = [libc::SYS_socket, libc::SYS_io_uring_setup];
    let architecture = std::env::consts::ARCH.try_into();
    let filter = architecture.and_then(|architecture| {
        SeccompFilter::new(
            calls.map(|call| (call, Vec::new())).into(),
            SeccompAction::Allow,
            SeccompAction::Errno(denied),
            architecture,
        )
    });
    let program: Result<BpfProgram, _> = filter.and_then(TryInto::try_into);
    let program = program.map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

/// Elsewhere nothing takes the network from a program, so none is started.
#[cfg(not(target_os = "linux"))]
pub(super) fn spawn(_: Command) -> io::Result<Child> {
    Err(io::ErrorKind::Unsupported.into())
}
