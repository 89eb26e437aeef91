//! Tells others about the run: a file with metrics, a Pushgateway, and the address of a dead man's switch.
//!
//! Nothing here changes the exit code, and all of it together delays the exit by at most five seconds. The addresses may hold
//! credentials: they appear in no log and no error.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinHandle;

use crate::{cli::MonitoringArgs, exit::Exit, failure::Failure, report::metrics::Metrics};

mod file;

/// The longest time that the exit waits for answers.
const LONGEST: Duration = Duration::from_secs(5);

/// The same for a run that was cut off, because the watchdog has promised an end.
const LONGEST_AFTER_CUT: Duration = Duration::from_secs(1);

/// The time for one attempt. A second one follows if nobody answered, or with HTTP 5xx.
const ATTEMPT: Duration = Duration::from_secs(2);

/// The pause before the second attempt.
const PAUSE: Duration = Duration::from_millis(300);

/// The longest address that a file may hold, in bytes.
const LONGEST_ADDRESS: u64 = 4096;

/// The `job` of the metrics at a Pushgateway.
const JOB: &str = "eso-sync";

/// Whom a command tells.
#[derive(Clone, Default)]
pub struct Monitor {
    file: Option<PathBuf>,
    labels: BTreeMap<String, String>,
    pushgateway: Option<Url>,
    ping: Option<Url>,
    /// The task that says that the command starts. Clones share it.
    starting: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The addresses may hold credentials.
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Monitor {
    /// Checks the flags. `command` is the label of all metrics, and `reports` are the files of reports.
    pub fn new(
        args: &MonitoringArgs,
        command: &str,
        reports: &[&Path],
    ) -> Result<Self, Failure> {
        let mut labels: BTreeMap<String, String> = args
            .metrics_labels
            .iter()
            .map(|label| (label.name.clone(), label.value.clone()))
            .collect();
        labels
            .entry("command".to_owned())
            .or_insert_with(|| command.to_owned());
        let pushgateway = args.pushgateway.as_ref();
        let pushgateway = pushgateway.map(|text| address("--pushgateway", text.expose_secret()));
        let ping = match (&args.ping_url, &args.ping_url_file) {
            (Some(text), _) => Some(address("--ping-url", text.expose_secret())),
            (None, Some(path)) => Some(
                read_address(path)
                    .and_then(|text| address("--ping-url-file", text.expose_secret())),
            ),
            (None, None) => None,
        };
        let mut pushgateway = pushgateway.transpose()?;
        if let Some(url) = &mut pushgateway {
            group(url, &labels);
        }
        let file = args.metrics_file.as_ref();
        let file = file.map(|path| file::check(path, reports)).transpose()?;
        Ok(Self {
            file,
            labels,
            pushgateway,
            ping: ping.transpose()?,
            starting: Arc::default(),
        })
    }

    /// True if the metrics of a document are needed.
    pub const fn measures(&self) -> bool {
        self.file.is_some() || self.pushgateway.is_some()
    }

    /// Writes the file. An error is a warning, because the report is more important.
    pub fn write(&self, metrics: &Metrics) {
        let Some(path) = &self.file else { return };
        if let Err(error) = file::write(path, metrics, &self.labels) {
            tracing::warn!(%error, "cannot write the metrics to {}", path.display());
        }
    }

    /// Says that the command starts, without waiting for the answer.
    pub fn start(&self) {
        if self.ping.is_some() {
            let monitor = self.clone();
            let task = tokio::spawn(async move { monitor.ping("start").await });
            *self.starting() = Some(task);
        }
    }

    fn starting(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the start was told, or gives it up, because a start that arrives after the end would look like a job that hangs.
    async fn end_start(&self, longest: Duration) {
        let task = self.starting().take();
        if let Some(mut task) = task
            && tokio::time::timeout(longest, &mut task).await.is_err()
        {
            task.abort();
        }
    }

    /// Says how the command ended: pushes the metrics, and tells the exit code.
    pub async fn finish(&self, exit: Exit, metrics: Option<&Metrics>) {
        self.finish_within(LONGEST, exit, metrics).await;
    }

    async fn finish_within(&self, longest: Duration, exit: Exit, metrics: Option<&Metrics>) {
        let code = exit.code().to_string();
        let both = async {
            let ping = async {
                self.end_start(longest / 4).await;
                self.ping(&code).await;
            };
            tokio::join!(self.push(metrics), ping);
        };
        if tokio::time::timeout(longest, both).await.is_err() {
            tracing::warn!("the receivers of metrics or pings do not answer in time");
        }
    }

    /// As [`Monitor::finish`], for a run that was cut off: its runtime may be blocked.
    pub fn finish_after_cut(&self, exit: Exit, metrics: Option<&Metrics>) {
        if self.pushgateway.is_none() && self.ping.is_none() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            runtime.block_on(self.finish_within(LONGEST_AFTER_CUT, exit, metrics));
            runtime.shutdown_background();
        }
    }

    async fn push(&self, metrics: Option<&Metrics>) {
        let (Some(url), Some(metrics)) = (&self.pushgateway, metrics) else {
            return;
        };
        // The labels are in the path.
        let Ok(text) = metrics.text(&BTreeMap::new()) else {
            return;
        };
        // POST replaces only metrics of the same names, so the time of the last success stays.
        let format = "text/plain; version=0.0.4";
        if let Err(why) = tell(url.clone(), text, format).await {
            tracing::warn!("the metrics were not pushed to the Pushgateway: {why}");
        }
    }

    async fn ping(&self, part: &str) {
        let Some(url) = self.ping.as_ref().and_then(|url| below(url, part)) else {
            return;
        };
        if let Err(why) = tell(url, String::new(), "text/plain").await {
            tracing::warn!("the address of --ping-url was not told: {why}");
        }
    }
}

/// An address of HTTP. The error does not quote it.
fn address(flag: &str, text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text.trim()).ok();
    let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    url.ok_or_else(|| {
        Failure::usage(format!(
            "{flag}: this is not an address like https://monitoring.example/path. It is not shown, because it may be secret"
        ))
    })
}

fn read_address(path: &Path) -> Result<SecretString, Failure> {
    use std::io::Read as _;
    let refused = |why: &str| Failure::usage(format!("--ping-url-file {}: {why}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_ADDRESS + 1).read_to_string(&mut text))
        .map_err(|error| refused(&error.to_string()))?;
    let text = SecretString::from(text);
    if u64::try_from(text.expose_secret().len()).is_ok_and(|len| len > LONGEST_ADDRESS) {
        return Err(refused("an address has at most 4096 bytes"));
    }
    if text.expose_secret().trim().lines().nth(1).is_some() {
        return Err(refused("the file must have one line: the address"));
    }
    Ok(text)
}

/// The path of the group of metrics with these labels: `/metrics/job/eso-sync/LABEL/VALUE…`, below the path of the address.
fn group(url: &mut Url, labels: &BTreeMap<String, String>) {
    // An address of HTTP can be a base.
    let Ok(mut path) = url.path_segments_mut() else {
        return;
    };
    path.pop_if_empty().extend(["metrics", "job", JOB]);
    for (name, value) in labels {
        // A Pushgateway splits at slashes and knows no empty part, and the parts `.` and `..` mean folders.
        let is_plain = !["", ".", ".."].contains(&&**value) && !value.contains('/');
        if is_plain {
            path.extend([name, value]);
        } else {
            let value = match value.as_str() {
                // The form of an empty value in base64.
                "" => "=".to_owned(),
                value => BASE64_URL_SAFE_NO_PAD.encode(value),
            };
            path.extend([&format!("{name}@base64"), &value]);
        }
    }
}

/// The address with one more part of its path. Its query stays.
fn below(url: &Url, part: &str) -> Option<Url> {
    let mut url = url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().push(part);
    Some(url)
}

/// Sends one message, twice if nobody answers or the server fails. The error does not quote the address.
async fn tell(url: Url, body: String, format: &'static str) -> Result<(), String> {
    let client = Client::builder()
        // Credentials of the address stay there.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ATTEMPT)
        .user_agent(concat!("eso-sync/", env!("CARGO_PKG_VERSION")))
        .build();
    let client = client.map_err(|_| "cannot set up TLS".to_owned())?;
    let once = async || {
        let request = client
            .post(url.clone())
            .header("content-type", format)
            .body(body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err((
                answer.status().is_server_error(),
                format!("it answered HTTP {}", answer.status().as_u16()),
            )),
            Err(error) if error.is_timeout() => {
                Err((true, "it does not answer in time".to_owned()))
            }
            Err(error) if error.is_connect() => Err((true, "cannot connect to it".to_owned())),
            Err(_) => Err((true, "the connection failed".to_owned())),
        }
    };
    match once().await {
        Err((true, _)) => {
            tokio::time::sleep(PAUSE).await;
            once().await.map_err(|(_, why)| why)
        }
        ended => ended.map_err(|(_, why)| why),
    }
}

#[cfg(test)]
mod tests;
