//! `man`: prints the manual page.

use crate::{cli, exit::Exit, failure::Failure, output::print};

pub(super) fn man() -> Result<Exit, Failure> {
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    clap_mangen::Man::new(cli::command()).render(&mut page).ok();
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
