//! `man`: the manual page.

use clap::CommandFactory as _;

use crate::{cli::Cli, exit::Exit, failure::Failure, output::print};

pub(super) fn man() -> Result<Exit, Failure> {
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    clap_mangen::Man::new(Cli::command()).render(&mut page).ok();
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
