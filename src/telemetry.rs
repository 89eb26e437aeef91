//! Logs on stderr, as text or JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::{
    EnvFilter,
    filter::{FilterExt as _, filter_fn},
    fmt,
    layer::{Filter, Layer as _, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

/// The format of the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Starts logging. `directives` is the value of `RUST_LOG`; `verbosity` is the number of `-v` flags.
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
    let filter = filter(directives, level);
    let ansi = match color {
        Color::Auto => std::io::stderr().is_terminal() && !no_color,
        Color::Always => true,
        Color::Never => false,
    };
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    let registry = tracing_subscriber::registry();
    match format {
        LogFormat::Text => registry
            .with(layer.with_target(false).with_filter(filter))
            .init(),
        LogFormat::Json => registry
            .with(layer.json().flatten_event(true).with_filter(filter))
            .init(),
    }
}

/// Libraries that log responses, which can contain values: the Kubernetes client logs responses that it cannot parse, AWS logs
/// all responses at trace level, Google logs all responses if `GOOGLE_CLOUD_RUST_LOGGING` is set.
const SILENT: [&str; 3] = [
    "kube_client",
    "aws_smithy_runtime",
    "google_cloud_secretmanager_v1",
];

/// Returns the log filter: `directives` in the format of `RUST_LOG`, or `level` if they are missing or invalid. No directive
/// enables the logs of `SILENT` libraries.
pub fn filter<S>(directives: Option<&str>, level: &str) -> impl Filter<S> + use<S> {
    let wanted =
        EnvFilter::try_new(directives.unwrap_or(level)).unwrap_or_else(|_| EnvFilter::new(level));
    let silent = |target: &str| {
        SILENT.iter().any(|name| {
            let rest = target.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
    };
    wanted.and(filter_fn(move |metadata| !silent(metadata.target())))
}
