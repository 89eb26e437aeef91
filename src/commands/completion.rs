//! `completion`: prints the completion script of a shell.

use crate::{cli, exit::Exit, failure::Failure, output::print};

pub(super) fn completion(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "eso-sync", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
