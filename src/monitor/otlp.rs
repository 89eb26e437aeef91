//! OTLP: the metrics and a trace of the run, for a collector of OpenTelemetry. The standard variables configure it. The messages are made
//! when the report is made, from the same data, so nothing runs beside the command.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use self::environment::{Settings, Target};
use super::http::{Request, tell};
use crate::{
    foreign::Foreign,
    report::{metrics::Metrics, sheet::Sheet},
    trace::Times,
};

mod environment;
mod points;
mod spans;

/// The longest text of an attribute, in characters.
const LONGEST: usize = 200;

/// The collector, and what is sent to it.
#[derive(Clone)]
pub(super) struct Otlp {
    settings: Settings,
}

/// The messages about a document.
#[derive(Clone, Default)]
pub(super) struct Messages {
    traces: Option<Vec<u8>>,
    metrics: Option<Vec<u8>>,
}

impl Messages {
    pub(super) const fn is_empty(&self) -> bool {
        self.traces.is_none() && self.metrics.is_none()
    }
}

impl Otlp {
    /// Reads the standard variables. None if they name no collector. Returns also warnings.
    pub(super) fn of(environment: &BTreeMap<String, String>) -> (Option<Self>, Vec<String>) {
        let (settings, warnings) = environment::read(environment);
        let is_on = settings.traces.is_some() || settings.metrics.is_some();
        (is_on.then_some(Self { settings }), warnings)
    }

    /// True if spans are sent.
    pub(super) const fn traces(&self) -> bool {
        self.settings.traces.is_some()
    }

    /// True if metrics are sent.
    pub(super) const fn measures(&self) -> bool {
        self.settings.metrics.is_some()
    }

    /// The messages about a run. The labels are added to all metrics.
    pub(super) fn about(
        &self,
        (sheet, command): (&Sheet, &str),
        times: &Times,
        metrics: Option<&Metrics>,
        labels: &BTreeMap<String, String>,
    ) -> Messages {
        let traces = self.traces().then(|| {
            let spans = spans::of(sheet, command, times, self.settings.parent.as_ref());
            let request = ExportTraceServiceRequest {
                resource_spans: vec![ResourceSpans {
                    resource: Some(self.resource()),
                    scope_spans: vec![ScopeSpans {
                        scope: Some(scope()),
                        spans,
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }],
            };
            request.encode_to_vec()
        });
        let metrics = metrics.filter(|_| self.measures()).map(|metrics| {
            let request = ExportMetricsServiceRequest {
                resource_metrics: vec![ResourceMetrics {
                    resource: Some(self.resource()),
                    scope_metrics: vec![ScopeMetrics {
                        scope: Some(scope()),
                        metrics: points::of(metrics, sheet.run.finished, labels),
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }],
            };
            request.encode_to_vec()
        });
        Messages { traces, metrics }
    }

    /// Sends the messages. All errors are one warning.
    pub(super) async fn send(&self, messages: &Messages) {
        let Settings {
            traces, metrics, ..
        } = &self.settings;
        let (traces, metrics) = tokio::join!(
            send("traces", traces.as_ref(), messages.traces.as_ref()),
            send("metrics", metrics.as_ref(), messages.metrics.as_ref()),
        );
        let failed: Vec<String> = [traces, metrics].into_iter().flatten().collect();
        if !failed.is_empty() {
            tracing::warn!("the OTLP collector was not told: {}", failed.join("; "));
        }
    }

    fn resource(&self) -> Resource {
        let mut attributes = BTreeMap::from([
            ("service.name".to_owned(), "eso-sync".to_owned()),
            (
                "service.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
        ]);
        attributes.extend(self.settings.resource.clone());
        let attributes = attributes.iter();
        Resource {
            attributes: attributes.map(|(name, value)| text(name, value)).collect(),
            ..Resource::default()
        }
    }
}

/// Sends one message. Returns why that failed.
async fn send(what: &str, target: Option<&Target>, message: Option<&Vec<u8>>) -> Option<String> {
    let (target, message) = (target?, message?);
    let mut headers = target.headers.clone();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    let request = Request {
        url: target.url.clone(),
        headers,
        body: message.clone(),
        attempt: target.timeout,
    };
    let told = tell(request).await;
    told.err().map(|why| format!("{what}: {why}"))
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "eso-sync".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// An attribute with a text, which may come from outside.
fn text(name: &str, value: &str) -> KeyValue {
    let value = Foreign::from(value).terminal();
    let value = value.chars().take(LONGEST).collect();
    attribute(name, Value::StringValue(value))
}

fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Nanoseconds since 1970.
fn nanoseconds(time: jiff::Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}
