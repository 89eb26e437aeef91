//! Logs on stderr, as text or JSON.

use std::{collections::BTreeMap, io::IsTerminal as _};

use tracing_subscriber::{
    EnvFilter,
    filter::{FilterExt as _, filter_fn},
    fmt,
    layer::{Filter, Layer as _, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use crate::{progress::Stderr, screen::Color};

/// The format of the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Starts logging. `verbosity` is the number of `-v` flags.
pub fn start(
    format: LogFormat,
    color: Color,
    verbosity: u8,
    quiet: bool,
    environment: &BTreeMap<String, String>,
    stderr: &Stderr,
) {
    let level = level(verbosity, quiet);
    let directives = environment.get("RUST_LOG").map(|directives| &**directives);
    let filter = filter(directives, &level);
    let ansi = color.is_used(std::io::stderr().is_terminal(), environment);
    let stderr = stderr.clone();
    let layer = fmt::layer()
        .with_writer(move || stderr.clone())
        .with_ansi(ansi);
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

/// The crates of this workspace that log.
const OWN: [&str; 5] = ["eso_sync", "cluster", "pace", "providers", "sandbox"];

/// The filter for this number of `-v` flags, in the format of `RUST_LOG`.
fn level(verbosity: u8, quiet: bool) -> String {
    let (others, own) = match (quiet, verbosity) {
        (true, _) => return "error".to_owned(),
        (false, 0) => return "warn,eso_sync::progress=info".to_owned(),
        (false, 1) => ("warn", "info"),
        (false, 2) => ("info", "debug"),
        (false, _) => return "trace".to_owned(),
    };
    let own = OWN.map(|name| format!("{name}={own}"));
    format!("{others},{}", own.join(","))
}

/// Libraries that log responses, which can contain values: the Kubernetes client logs responses that it cannot parse, AWS logs
/// all responses at trace level and what token services answer as a warning, Google logs all responses if `GOOGLE_CLOUD_RUST_LOGGING` is set.
const SILENT: [&str; 4] = [
    "kube_client",
    "aws_config",
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn more_flags_show_more_of_our_own_crates() {
        assert_eq!(level(2, true), "error");
        assert_eq!(level(0, false), "warn,eso_sync::progress=info");
        let own = "eso_sync=info,cluster=info,pace=info,providers=info,sandbox=info";
        assert_eq!(level(1, false), format!("warn,{own}"));
        assert!(level(2, false).starts_with("info,eso_sync=debug,"));
        assert_eq!(level(3, false), "trace");
    }

    /// Otherwise `-v` and `-vv` would not show what such a crate logs.
    #[test]
    fn all_crates_that_log_are_known() {
        for entry in fs::read_dir("crates").unwrap() {
            let path = entry.unwrap().path();
            let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
            let logs = manifest.lines().any(|line| line.starts_with("tracing"));
            let name = path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .replace('-', "_");
            assert!(
                !logs || OWN.contains(&name.as_str()),
                "{name} logs, and is not in OWN"
            );
        }
    }
}
