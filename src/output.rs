//! Prints documents to stdout, and writes the container's termination message.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};

use crate::{
    called::Called,
    failure::Failure,
    history::Keeper,
    monitor::{Ended, Monitor, Receivers},
    policy::{Report, ReportFile},
    report::{
        API_VERSION,
        file::{LIMIT, Place, Target, markdown},
        format::Output,
        past::{PastRun, Word},
        sheet::Tabular,
        view::View,
    },
    screen::Screen,
    trace::Trace,
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
    let called = files.called();
    let text = |document: &T| called.in_commands(&text(document, &view));
    let rendered = output.unwrap_or(Output::Table).render(document, text);
    print(&rendered.map_err(|why| unprintable(&why))?)?;
    written
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
    called: Called,
    /// The summary of a step of GitHub Actions, to which every command adds.
    summary: Option<PathBuf>,
    monitor: Monitor,
    /// What the monitor tells about the document.
    ended: Ended,
    /// None if the command does not report.
    reporting: Option<Reporting>,
    /// True once the files of a policy were created.
    by_policy: bool,
    url: Option<String>,
    keeper: Option<Keeper>,
    /// The summary of the document, if a history is kept.
    past: Option<PastRun>,
    trace: Trace,
}

/// A command that reports, and what its flags say about the reports that a policy asks for.
#[derive(Clone, Debug)]
pub struct Reporting {
    pub command: &'static str,
    /// True if it carries out a policy.
    pub carries_out: bool,
    /// True if people want to hear about its end.
    pub notifies: bool,
    /// `--job`
    pub job: Option<Word>,
    /// `--report-dir`
    pub folder: Option<PathBuf>,
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

    /// Sets how the user called the program.
    pub fn called_as(&self, called: Called) {
        self.files().called = called;
    }

    /// How the user called the program.
    pub fn called(&self) -> Called {
        self.files().called.clone()
    }

    /// Adds the summary of a step of GitHub Actions.
    pub fn summarize_in(&self, path: PathBuf) {
        self.files().summary = Some(path);
    }

    /// Sets who is told about the document.
    pub fn monitored_by(&self, monitor: Monitor) {
        let mut files = self.files();
        if monitor.traces() {
            files.trace.switch_on();
        }
        files.monitor = monitor;
    }

    /// The times of the command's phases.
    pub fn trace(&self) -> Trace {
        self.files().trace.clone()
    }

    /// True if messages about the document may be sent.
    pub fn notifies(&self) -> bool {
        let files = self.files();
        files.reporting.as_ref().is_some_and(|it| it.notifies)
    }

    /// Sets who gets messages about the document.
    pub fn notify(&self, receivers: Receivers) {
        self.files().monitor.notify(receivers);
    }

    /// Who is told about the document, and what.
    pub fn monitoring(&self) -> (Monitor, Ended) {
        let files = self.files();
        (files.monitor.clone(), files.ended.clone())
    }

    /// Sets what the flags say about the reports that a policy asks for.
    pub fn report_as(&self, reporting: Reporting) {
        self.files().reporting = Some(reporting);
    }

    /// What the flags say, if the command reports.
    pub fn reporting(&self) -> Option<Reporting> {
        self.files().reporting.clone()
    }

    /// Creates the files that a policy asks for, in the folder that a flag names. Later calls create nothing.
    pub fn create_by_policy(&self, report: &Report) -> Result<(), Failure> {
        let Some(reporting) = self.reporting() else {
            return Ok(());
        };
        self.files().url.clone_from(&report.url);
        if report.files.is_empty() || std::mem::replace(&mut self.files().by_policy, true) {
            return Ok(());
        }
        let Some(folder) = reporting.folder else {
            if !reporting.carries_out {
                return Ok(());
            }
            let message = "the policy asks for files in `report.files`, but --report-dir names no folder for them";
            return Err(Failure::usage(message)
                .hint("add --report-dir DIR, or remove `report.files` from the policy"));
        };
        let target = |file: &ReportFile| Target {
            format: file.format,
            place: Place::File(folder.join(&file.name)),
        };
        let targets: Vec<Target> = report.files.iter().map(target).collect();
        self.create(&targets, None)
    }

    /// Where people find the report.
    pub fn url(&self) -> Option<String> {
        self.files().url.clone()
    }

    /// The document is summarised for a history.
    pub fn kept_by(&self, keeper: Keeper) {
        self.files().keeper = Some(keeper);
    }

    /// The summary of the document, and who adds it to the history.
    pub fn past(&self) -> Option<(Keeper, PastRun)> {
        let mut files = self.files();
        Some((files.keeper.take()?, files.past.take()?))
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
                Place::File(path) if self.files().monitor.writes_to(path) => {
                    return Err(Failure::usage(format!(
                        "--report {target}: the metrics are written to this file. Name another one"
                    )));
                }
                Place::File(path) => {
                    let file = create(path).map_err(|error| {
                        Failure::usage(format!(
                            "--report {target}: the file cannot be written: {error}"
                        ))
                    })?;
                    self.check_alone(target, &file)?;
                    Some(file)
                }
            };
            self.files().open.push((target.clone(), file));
        }
        Ok(())
    }

    /// Fails if another report, or the table on stdout, is written to this file, too.
    fn check_alone(&self, target: &Target, file: &File) -> Result<(), Failure> {
        let Some(same) = identity(file) else {
            return Ok(());
        };
        let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        let other = if stdout.is_ok_and(|stdout| identity(&stdout) == Some(same)) {
            "stdout, where the result is printed".to_owned()
        } else {
            let files = self.files();
            let mut open = files.open.iter();
            let other = open.find(|(_, open)| open.as_ref().and_then(identity) == Some(same));
            match other {
                Some((other, _)) => format!("the file of --report {other}"),
                None => return Ok(()),
            }
        };
        Err(Failure::usage(format!(
            "--report {target}: this is {other}. Name another file"
        )))
    }

    /// Writes all files. An error of one does not prevent the others. Later calls write nothing.
    pub fn write(&self, document: &impl Tabular) -> Result<(), Failure> {
        let (open, summary, monitor, keeper) = {
            let mut files = self.files();
            (
                std::mem::take(&mut files.open),
                files.summary.take(),
                files.monitor.clone(),
                files.keeper.clone().filter(|_| files.past.is_none()),
            )
        };
        if let Some(keeper) = keeper {
            let past = PastRun::of(&document.outline(), keeper.command, keeper.job.as_ref());
            self.files().past = past;
        }
        // This is kept first, because the watchdog tells it if a file blocks.
        let ended = monitor.about(document, &self.trace().so_far());
        self.files().ended = ended.clone();
        let mut first = Ok(());
        // Nobody may read stdout, so it comes after everything else.
        let (on_stdout, in_files): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(_, file)| file.is_none());
        for (target, file) in in_files {
            first = first.and(write_report(&target, file, document));
        }
        if let Some(path) = summary
            && let Err(error) = summarize(&path, document)
        {
            tracing::warn!(%error, "cannot write the summary of the step to {}", path.display());
        }
        monitor.write(&ended);
        for (target, file) in on_stdout {
            first = first.and(write_report(&target, file, document));
        }
        first
    }
}

/// Creates the file. A pipe must have a reader: opening it would wait for one, perhaps for ever.
fn create(path: &Path) -> io::Result<File> {
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(without_waiting)
        .open(path);
    let file = opened.map_err(|error| {
        if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
            io::Error::other("it is a pipe that nobody reads")
        } else {
            error
        }
    })?;
    // The report itself may wait until the reader has taken it.
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

/// The device and the number of a file or a pipe. None for what can have several writers, such as `/dev/null`.
fn identity(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok()?;
    let kind = metadata.file_type();
    (kind.is_file() || kind.is_fifo()).then(|| (metadata.dev(), metadata.ino()))
}

/// Writes one report to its file, or to stdout.
fn write_report(
    target: &Target,
    file: Option<File>,
    document: &impl Tabular,
) -> Result<(), Failure> {
    let text = target.format.render(document);
    let text = text.map_err(|why| unprintable(&why))?;
    match file {
        None => print(&text),
        Some(mut file) => file
            .write_all(text.as_bytes())
            .map_err(|error| Failure::failed(format!("cannot write the report {target}: {error}"))),
    }
}

/// Adds the report to the summary of a step, which other commands of the step write, too.
fn summarize(path: &Path, document: &impl Tabular) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let used = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let text = markdown(&document.sheet(), LIMIT.saturating_sub(used));
    if text.is_empty() {
        return Err(io::Error::other(format!(
            "it has {used} bytes already, and GitHub shows {LIMIT} at most"
        )));
    }
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
