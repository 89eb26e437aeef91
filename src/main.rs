//! The program: reads arguments, environment and clock, starts the watchdog, runs the command, and returns its exit code.

use std::process::ExitCode;

use eso_sync::{
    cli::{self, Cli},
    commands::execute,
    record::Record,
    session::World,
    stop, telemetry, watchdog,
};
use pace::Clock;

fn main() -> ExitCode {
    let cli = cli::parse();
    let environment: std::collections::BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let logging = &cli.logging;
    telemetry::start(
        logging.log_format,
        logging.color,
        logging.verbose,
        logging.quiet,
        environment.get("RUST_LOG").map(|directives| &**directives),
        environment
            .get("NO_COLOR")
            .is_some_and(|value| !value.is_empty()),
    );
    // TLS clients use the process-wide crypto provider. With two providers compiled in, they panic if none is set.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let exit = runtime.block_on(start(cli, environment));
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

async fn start(cli: Cli, environment: std::collections::BTreeMap<String, String>) -> ExitCode {
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
    if let Err(error) = watchdog::start(stopper.clone(), stop.clone(), record.clone()) {
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
        },
    )
    .await
    .into()
}
