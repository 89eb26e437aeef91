//! Tells others about the run: a file with metrics, a Pushgateway, a collector of OpenTelemetry, a dead man's switch, and the receivers
//! of messages.
//!
//! Nothing here changes the exit code, and all of it together delays the exit by at most five seconds. The addresses may hold
//! credentials: they appear in no log and no error.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{
    Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinHandle;

use crate::{
    cli::MonitoringArgs,
    exit::Exit,
    failure::Failure,
    notify::Message,
    policy::notify::TextFrom,
    report::{
        metrics::Metrics,
        past::{Change, Compared},
        sheet::Tabular,
    },
    trace::Times,
};

mod file;
mod http;
#[cfg(not(feature = "otlp"))]
mod no_otlp;
#[cfg(feature = "otlp")]
mod otlp;
mod receivers;

#[cfg(not(feature = "otlp"))]
use self::no_otlp as otlp;
pub use self::receivers::Receivers;
use self::{
    http::{ATTEMPT, Request, tell},
    otlp::Otlp,
};

/// The longest time that the exit waits for answers.
const LONGEST: Duration = Duration::from_secs(5);

/// The same for a run that was cut off, because the watchdog has promised an end.
const LONGEST_AFTER_CUT: Duration = Duration::from_secs(1);

/// The `job` of the metrics at a Pushgateway.
const JOB: &str = "eso-sync";

/// What is told about a document.
#[derive(Clone, Default)]
pub struct Ended {
    metrics: Option<Metrics>,
    message: Option<(Receivers, Message)>,
    otlp: otlp::Messages,
}

/// Whom a command tells.
#[derive(Clone, Default)]
pub struct Monitor {
    command: String,
    receivers: Receivers,
    file: Option<PathBuf>,
    labels: BTreeMap<String, String>,
    pushgateway: Option<Url>,
    ping: Option<Url>,
    otlp: Option<Otlp>,
    /// The task that says that the command starts. Clones share it.
    starting: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The receivers have addresses that may hold credentials.
        f.debug_struct("Ended").finish_non_exhaustive()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The addresses may hold credentials.
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Monitor {
    /// Checks the flags. `command` is the label of all metrics. The environment may name a collector of OpenTelemetry.
    pub fn new(
        args: &MonitoringArgs,
        command: &str,
        environment: &BTreeMap<String, String>,
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
        let file = file.map(|path| file::check(path)).transpose()?;
        let (otlp, warnings) = Otlp::of(environment);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            command: command.to_owned(),
            receivers: Receivers::default(),
            file,
            labels,
            pushgateway,
            ping: ping.transpose()?,
            otlp,
            starting: Arc::default(),
        })
    }

    /// True if the metrics are written to this file, by whatever name.
    pub fn writes_to(&self, path: &Path) -> bool {
        let place = file::resolve(path).ok().flatten();
        place.is_some() && place == self.file
    }

    /// Sets who gets messages.
    pub fn notify(&mut self, receivers: Receivers) {
        self.receivers = receivers;
    }

    /// True if somebody gets a trace.
    pub fn traces(&self) -> bool {
        self.otlp.as_ref().is_some_and(Otlp::traces)
    }

    /// What is told about this document, which was made in these times.
    pub fn about(&self, document: &impl Tabular, times: &Times) -> Ended {
        let measures = self.file.is_some()
            || self.pushgateway.is_some()
            || self.otlp.as_ref().is_some_and(Otlp::measures);
        let metrics = measures.then(|| document.metrics());
        let otlp = self.otlp.as_ref().map(|otlp| {
            let document = (&document.outline(), &*self.command);
            otlp.about(document, times, metrics.as_ref(), &self.labels)
        });
        let sheet = (!self.receivers.is_empty()).then(|| document.sheet());
        let message = sheet.map(|sheet| {
            let message = Message::of(&sheet, &self.command);
            (self.receivers.clone(), message)
        });
        Ended {
            metrics,
            message,
            otlp: otlp.unwrap_or_default(),
        }
    }

    /// Writes the file. An error is a warning, because the report is more important.
    pub fn write(&self, ended: &Ended) {
        let (Some(path), Some(metrics)) = (&self.file, &ended.metrics) else {
            return;
        };
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

    fn starting(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
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
    pub async fn finish(
        &self,
        exit: Exit,
        ended: &Ended,
        compared: impl Future<Output = Compared>,
    ) {
        self.finish_within(LONGEST, exit, ended, compared).await;
    }

    async fn finish_within(
        &self,
        longest: Duration,
        exit: Exit,
        ended: &Ended,
        compared: impl Future<Output = Compared>,
    ) {
        let code = exit.code().to_string();
        let all = async {
            let ping = async {
                self.end_start(longest / 4).await;
                self.ping(&code).await;
            };
            let message = async {
                if let Some((receivers, message)) = &ended.message {
                    let mut message = message.clone();
                    if receivers.compares() {
                        // Most of the time is left for the message.
                        message.compare(known(tokio::time::timeout(longest / 3, compared)).await);
                    }
                    receivers.tell(&message, &self.labels).await;
                }
            };
            let otlp = async {
                if let Some(otlp) = &self.otlp {
                    otlp.send(&ended.otlp).await;
                }
            };
            tokio::join!(self.push(ended.metrics.as_ref()), ping, message, otlp);
        };
        if tokio::time::timeout(longest, all).await.is_err() {
            tracing::warn!(
                "the receivers of metrics, traces, pings or messages do not answer in time"
            );
        }
    }

    /// As [`Monitor::finish`], for a run that was cut off: its runtime may be blocked.
    pub fn finish_after_cut(&self, exit: Exit, ended: &Ended) {
        let tells_nobody = self.pushgateway.is_none()
            && self.ping.is_none()
            && ended.message.is_none()
            && ended.otlp.is_empty();
        if tells_nobody {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            // The history is read by the runtime that may be blocked.
            let compared = async { Err("the run was cut off".to_owned()) };
            runtime.block_on(self.finish_within(LONGEST_AFTER_CUT, exit, ended, compared));
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
        if let Err(why) = tell(post(url.clone(), format, text)).await {
            tracing::warn!("the metrics were not pushed to the Pushgateway: {why}");
        }
    }

    async fn ping(&self, part: &str) {
        let Some(url) = self.ping.as_ref().and_then(|url| below(url, part)) else {
            return;
        };
        if let Err(why) = tell(post(url, "text/plain", String::new())).await {
            tracing::warn!("the address of --ping-url was not told: {why}");
        }
    }
}

/// The comparison with the last run. If it is not known, a warning says why.
async fn known(
    compared: impl Future<Output = Result<Compared, tokio::time::error::Elapsed>>,
) -> Result<Option<Change>, ()> {
    let late = || Err("the history could not be read in time".to_owned());
    compared.await.unwrap_or_else(|_| late()).map_err(|why| {
        tracing::warn!("`notify.on: change` counts every failure as a change this time: {why}");
    })
}

fn http_address(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok();
    url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

/// An address of HTTP. The error does not quote it.
fn address(flag: &str, text: &str) -> Result<Url, Failure> {
    http_address(text).ok_or_else(|| {
        Failure::usage(format!(
            "{flag}: this is not an address like https://monitoring.example/path. It is not shown, because it may be secret"
        ))
    })
}

fn read_address(path: &Path) -> Result<SecretString, Failure> {
    let text = TextFrom::File(path.to_owned()).read(&BTreeMap::new());
    text.map_err(|why| Failure::usage(format!("--ping-url-file: {why}")))
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

fn post(url: Url, content_type: &'static str, body: String) -> Request {
    let content_type = HeaderValue::from_static(content_type);
    Request {
        url,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
        body: body.into_bytes(),
        attempt: ATTEMPT,
    }
}

/// The address with one more part of its path. Its query stays.
fn below(url: &Url, part: &str) -> Option<Url> {
    let mut url = url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().push(part);
    Some(url)
}

#[cfg(test)]
mod tests;
