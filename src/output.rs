//! Prints documents to stdout, and writes the container's termination message.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    failure::Failure,
    monitor::Monitor,
    report::{
        API_VERSION,
        file::{LIMIT, Place, Target, markdown},
        format::Output,
        metrics::Metrics,
        sheet::Tabular,
        view::View,
    },
    screen::Screen,
};

/// The file from which the kubelet reads the termination message.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Prints to stdout. A closed pipe is not an error.
pub fn print(text: &str) -> Result<(), Failure> {
    print_if_read(text).map(drop)
}

/// Prints to stdout. False if nobody reads it any more.
pub fn print_if_read(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}"))),
    }
}

/// Writes the report files, and prints a document to stdout in this format. `text` renders the table. Without a format, a report
/// file on stdout replaces the table.
pub fn print_as<T: Tabular>(
    output: Option<Output>,
    files: &ReportFiles,
    document: &T,
    text: impl FnOnce(&T, &View) -> String,
) -> Result<(), Failure> {
    // Nobody may read stdout, which would block.
    let written = files.write(document);
    if output.is_none() && files.own_stdout() {
        return written;
    }
    let view = View::of(output, files.screen());
    let text = |document: &T| text(document, &view);
    print_rendered(output.unwrap_or(Output::Table), document, text)?;
    written
}

/// Prints a document that no report file contains.
pub fn print_rendered<T: serde::Serialize>(
    output: Output,
    document: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let rendered = output.render(document, text);
    print(&rendered.map_err(|why| unprintable(&why))?)
}

pub fn unprintable(why: &str) -> Failure {
    Failure::failed(format!("cannot print the {API_VERSION} document: {why}"))
}

/// The report files of a command. They are created before anything is changed, and written once. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ReportFiles(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    open: Vec<(Target, Option<File>)>,
    own_stdout: bool,
    /// What stdout is connected to.
    screen: Screen,
    /// The summary of a step of GitHub Actions, to which every command adds.
    summary: Option<PathBuf>,
    monitor: Monitor,
    /// The numbers of the document, if the monitor needs them.
    metrics: Option<Metrics>,
}

impl ReportFiles {
    /// The lock is held only for moments, and never while something is written.
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a report file is written to stdout.
    pub fn own_stdout(&self) -> bool {
        self.files().own_stdout
    }

    /// Sets what stdout is connected to.
    pub fn shown_on(&self, screen: Screen) {
        self.files().screen = screen;
    }

    /// What stdout is connected to.
    pub fn screen(&self) -> Screen {
        self.files().screen
    }

    /// Adds the summary of a step of GitHub Actions.
    pub fn summarize_in(&self, path: PathBuf) {
        self.files().summary = Some(path);
    }

    /// Sets who is told about the document.
    pub fn monitored_by(&self, monitor: Monitor) {
        self.files().monitor = monitor;
    }

    /// Who is told about the document, and its numbers.
    pub fn monitoring(&self) -> (Monitor, Option<Metrics>) {
        let files = self.files();
        (files.monitor.clone(), files.metrics.clone())
    }

    /// Creates the files. `output` is the format of `-o`, if the user chose one: only one of them can have stdout.
    pub fn create(&self, targets: &[Target], output: Option<Output>) -> Result<(), Failure> {
        for target in targets {
            let file = match &target.place {
                Place::Stdout => {
                    let taken = std::mem::replace(&mut self.files().own_stdout, true);
                    if taken || output.is_some() {
                        let mut files = self.files();
                        files
                            .open
                            .retain(|(target, _)| target.place != Place::Stdout);
                        let other = if taken { "another `--report`" } else { "`-o`" };
                        return Err(Failure::usage(format!(
                            "--report {target}: {other} writes to stdout, too. Name a file for one of them"
                        )));
                    }
                    None
                }
                Place::File(path) => Some(File::create(path).map_err(|error| {
                    Failure::usage(format!(
                        "--report {target}: the file cannot be written: {error}"
                    ))
                })?),
            };
            self.files().open.push((target.clone(), file));
        }
        Ok(())
    }

    /// Writes all files. An error of one does not prevent the others. Later calls write nothing.
    pub fn write(&self, document: &impl Tabular) -> Result<(), Failure> {
        let (open, summary, monitor) = {
            let mut files = self.files();
            (
                std::mem::take(&mut files.open),
                files.summary.take(),
                files.monitor.clone(),
            )
        };
        if monitor.measures() {
            let metrics = document.metrics();
            monitor.write(&metrics);
            self.files().metrics = Some(metrics);
        }
        if let Some(path) = summary
            && let Err(error) = summarize(&path, document)
        {
            tracing::warn!(%error, "cannot write the summary of the step to {}", path.display());
        }
        let mut first = Ok(());
        for (target, file) in open {
            let written = target
                .format
                .render(document)
                .map_err(|why| unprintable(&why))
                .and_then(|text| match file {
                    None => print(&text),
                    Some(mut file) => file.write_all(text.as_bytes()).map_err(|error| {
                        Failure::failed(format!("cannot write the report {target}: {error}"))
                    }),
                });
            first = first.and(written);
        }
        first
    }
}

/// Adds the report to the summary of a step, which other commands of the step write, too.
fn summarize(path: &Path, document: &impl Tabular) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let used = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let text = markdown(&document.sheet(), LIMIT.saturating_sub(used));
    file.write_all(text.as_bytes())
}

/// Writes the summary that `kubectl describe pod` shows. Does nothing outside of a container.
pub fn write_termination_message(summary: &str) {
    let file = OpenOptions::new()
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
