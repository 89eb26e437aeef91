//! Prints documents to stdout, and writes the container's termination message.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Failure,
    report::{API_VERSION, format::Output},
};

/// The file from which the kubelet reads the termination message.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Prints to stdout. A closed pipe is not an error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure {
            exit: Exit::Failed,
            message: format!("cannot write to stdout: {error}"),
            hint: None,
        }),
        _ => Ok(()),
    }
}

/// Prints a document in this output format. `text` renders the table.
pub fn print_as<T: Serialize>(
    output: Output,
    document: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let rendered = output.render(document, text).map_err(|why| Failure {
        exit: Exit::Failed,
        message: format!("cannot print the {API_VERSION} document: {why}"),
        hint: None,
    })?;
    print(&rendered)
}

/// Writes the summary that `kubectl describe pod` shows. Does nothing outside of a container.
pub fn write_termination_message(summary: &str) {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(TERMINATION_LOG);
    let written = file.and_then(|mut file| file.write_all(summary.as_bytes()));
    if let Err(error) = written
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "cannot write the termination message");
    }
}
