//! The commands, one per file. Each converts its arguments, calls another module and prints the result, without decisions.

mod advise;
mod completion;
mod diagnose;
mod drift;
mod events;
mod explain;
mod guide;
mod history;
mod impact;
mod init;
mod man;
mod plan;
mod publish;
mod rbac;
mod restart;
mod run;
mod schema;
mod status;
mod sync;
mod validate;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    cli::{Cli, Command, by_kubectl},
    example,
    exit::Exit,
    failure::Failure,
    monitor::Monitor,
    output::Reporting,
    report::file::{FileFormat, Place, Target},
    screen::Screen,
    session::{Session, World},
    telemetry::LogFormat,
};

/// Creates the report files of the command, so that nothing is changed if one of them cannot be written, and says that it starts.
fn open_reports(session: &Session, command: &Command) -> Result<(), Failure> {
    let Some((files, output)) = command.reports() else {
        return Ok(());
    };
    let reports = session.world.record.files();
    let monitor = Monitor::new(
        &files.monitoring,
        command.name(),
        &session.world.environment,
    )?;
    reports.report_as(Reporting {
        command: command.name(),
        carries_out: command.carries_out(),
        notifies: command.notifies(),
        job: files.job.clone(),
        folder: files.report_dir.clone(),
    });
    monitor.start();
    reports.monitored_by(monitor);
    let summary = session.world.environment.get("GITHUB_STEP_SUMMARY");
    let summary = summary.filter(|path| !path.is_empty()).map(PathBuf::from);
    // The summary of the step is written in any case, after what other commands have written there.
    let by_itself = |target: &&Target| {
        let summary = summary.as_deref();
        summary.is_some_and(|summary| is_summary(target, summary))
    };
    let asked = files.reports.iter().filter(|target| !by_itself(target));
    let asked: Vec<Target> = asked.cloned().collect();
    reports.create(&asked, output)?;
    if let Some(path) = summary {
        reports.summarize_in(path);
    }
    Ok(())
}

/// True if the target is the Markdown summary, however its path is written.
fn is_summary(target: &Target, summary: &Path) -> bool {
    let Place::File(path) = &target.place else {
        return false;
    };
    let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    target.format == FileFormat::Markdown && whole(path) == whole(summary)
}

/// Executes the command.
pub async fn execute(mut cli: Cli, world: World) -> Exit {
    let chosen = example::choose(&mut cli);
    let session = Session {
        connection: cli.connection,
        logging: cli.logging,
        world,
    };
    if let Some(chosen) = chosen {
        session.say(&chosen);
    }
    let is_run = matches!(
        cli.command,
        Command::Run(_) | Command::Sync(_) | Command::Restart(_) | Command::Events(_)
    );
    if is_run && session.connection.sandbox.is_none() {
        session.world.record.in_container();
    }
    let screen = Screen::of_stdout(session.logging.color, &session.world.environment);
    let files = session.world.record.files();
    files.shown_on(screen);
    files.called_as(session.connection.called(by_kubectl()));
    let opened = open_reports(&session, &cli.command);
    let result = match cli.command {
        _ if opened.is_err() => opened.map(|()| Exit::Invalid),
        Command::Run(args) => Box::pin(run::run(&session, args)).await,
        Command::Sync(args) => Box::pin(sync::sync(&session, args)).await,
        Command::Restart(args) => Box::pin(restart::restart(&session, args)).await,
        Command::Events(args) => Box::pin(events::events(&session, &args)).await,
        Command::Publish(args) => Box::pin(publish::publish(&session, *args)).await,
        Command::Plan(args) => Box::pin(plan::plan(&session, args)).await,
        Command::Drift(args) => Box::pin(drift::drift(&session, args)).await,
        Command::History(args) => history::history(&session, &args).await,
        Command::Diagnose(args) => Box::pin(diagnose::diagnose(&session, args)).await,
        Command::Status(args) => Box::pin(status::status(&session, args)).await,
        Command::Advise(args) => Box::pin(advise::advise(&session, args)).await,
        Command::Impact(args) => Box::pin(impact::impact(&session, args)).await,
        Command::Init(args) => Box::pin(init::init(&session, &args)).await,
        Command::Guide(args) => Box::pin(guide::guide(&session, &args)).await,
        Command::Validate(args) => validate::validate(&session, &args),
        Command::Schema(args) => schema::schema(args.of),
        Command::Rbac(args) => rbac::rbac(&session, &args),
        Command::Explain { words } => explain::explain(&words),
        Command::Completion { shell } => completion::completion(shell),
        Command::Man => man::man(),
    };
    let exit = result.unwrap_or_else(|failure| report_failure(&session, &failure, is_run));
    tell(&session, exit).await;
    exit
}

/// Reports a command that failed before it had anything else to report.
fn report_failure(session: &Session, failure: &Failure, is_run: bool) -> Exit {
    let files = session.world.record.files();
    let print = |failure: &Failure| {
        let called = files.called();
        match session.logging.log_format {
            LogFormat::Text => failure.print(&called),
            LogFormat::Json => failure.log(&called),
        }
    };
    print(failure);
    for annotation in failure.annotations(&session.world.environment) {
        // A closed stderr must not cause another error.
        writeln!(io::stderr(), "{annotation}").ok();
    }
    let run = session.run(None, None, session.world.clock.now());
    if let Err(failure) = files.write(&failure.document(run)) {
        print(&failure);
    }
    if is_run {
        session.write_termination_message(&failure.termination_summary());
    }
    failure.exit
}

/// Why the run is not compared with the last one.
const NO_HISTORY: &str =
    "`report.history` keeps no history of this command, or the run ended before it could be read";

/// Tells others how the command ended, and adds it to the history.
async fn tell(session: &Session, exit: Exit) {
    let files = session.world.record.files();
    let (monitor, ended) = files.monitoring();
    let (known, compared) = tokio::sync::oneshot::channel();
    let remember = async move {
        if let Some((keeper, past)) = files.past() {
            keeper.append(&past, known).await;
        }
    };
    let compared = async {
        compared
            .await
            .unwrap_or_else(|_| Err(NO_HISTORY.to_owned()))
    };
    tokio::join!(monitor.finish(exit, &ended, compared), remember);
}
