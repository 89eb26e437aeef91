//! Logs, on stderr: for people or, in a cluster, as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, filter::Directive};

/// The form of the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Starts logging. `directives` are those of `RUST_LOG`, if it is set; `verbosity` is the number of `-v`.
pub fn start(
    format: LogFormat,
    color: Color,
    verbosity: u8,
    quiet: bool,
    directives: Option<&str>,
    no_color: bool,
) {
    let level = match (quiet, verbosity) {
        (true, _) => "error",
        (false, 0) => "warn,eso_sync::progress=info",
        (false, 1) => "eso_sync=info,warn",
        (false, 2) => "eso_sync=debug,info",
        (false, _) => "trace",
    };
    // The Kubernetes client logs whole answers that it cannot parse, whatever is in them; Google's logs all answers, values of
    // secrets too, where `GOOGLE_CLOUD_RUST_LOGGING` is set.
    let silent: Vec<Directive> = [
        "kube_client=off",
        "google_cloud_secretmanager_v1=off",
        "google_cloud_secretmanager_v1::tracing=off",
    ]
    .iter()
    .filter_map(|directive| directive.parse().ok())
    .collect();
    let filter =
        EnvFilter::try_new(directives.unwrap_or(level)).unwrap_or_else(|_| EnvFilter::new(level));
    let filter = silent.into_iter().fold(filter, EnvFilter::add_directive);
    let ansi = match color {
        Color::Auto => std::io::stderr().is_terminal() && !no_color,
        Color::Always => true,
        Color::Never => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
