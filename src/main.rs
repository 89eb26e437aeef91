//! The program: reads arguments, environment and clock, starts the watchdog, runs the command, and returns its exit code.

use std::process::ExitCode;

use eso_sync::{
    cli::{self, Cli},
    commands::execute,
    progress::{Stderr, Style},
    record::Record,
    session::World,
    stop,
    telemetry::{self, LogFormat},
    watchdog,
};
use pace::Clock;

fn main() -> ExitCode {
    let cli = cli::parse();
    let environment: std::collections::BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let logging = &cli.logging;
    let stderr = Stderr::new(Style::detect(
        logging.quiet,
        logging.log_format == LogFormat::Json,
        environment.get("TERM").map(|name| &**name),
    ));
    telemetry::start(
        logging.log_format,
        logging.color,
        logging.verbose,
        logging.quiet,
        &environment,
        &stderr,
    );
    // TLS clients use the process-wide crypto provider. With two providers compiled in, they panic if none is set.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let exit = runtime.block_on(start(cli, environment, stderr));
            // A thread that resolves a name or computes must not keep the process.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}

async fn start(
    cli: Cli,
    environment: std::collections::BTreeMap<String, String>,
    stderr: Stderr,
) -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the time"
    )]
    let now = jiff::Timestamp::now();
    let (stopper, stop) = stop::channel();
    let run = format!(
        "{}-{:08x}",
        now.strftime("%Y%m%dt%H%M%Sz"),
        fastrand::u32(..)
    );
    let record = Record::default();
    let watched = (record.clone(), stderr.clone());
    if let Err(error) = watchdog::start(stopper.clone(), stop.clone(), watched) {
        tracing::warn!(%error, "cannot handle signals");
    }
    execute(
        cli,
        World {
            clock: Clock::starting_at(now),
            environment,
            stopper,
            stop,
            record,
            run,
            stderr,
        },
    )
    .await
    .into()
}
