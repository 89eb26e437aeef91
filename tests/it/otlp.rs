//! OTLP: what a collector of OpenTelemetry gets, and that nothing about it can disturb a run.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data, number_data_point},
    trace::v1::{Span, status::StatusCode},
};
use prost::Message as _;

use crate::{
    providers::double::{Asked, Double, Reply},
    support::{Outcome, Workspace},
};

/// A part of the address and of the headers. It must not appear in any output.
const PLANTED: &str = "planted";

/// A workspace whose collector is at this address.
fn workspace(url: &str) -> Workspace {
    let mut workspace = Workspace::new(Vec::new());
    workspace.set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("{url}/{PLANTED}"));
    workspace.set(
        "OTEL_EXPORTER_OTLP_HEADERS",
        &format!("authorization=Bearer%20{PLANTED}"),
    );
    workspace
}

async fn run(workspace: &Workspace, arguments: &[&str]) -> Outcome {
    let outcome = workspace.run(&[arguments, &["-vvv"]].concat()).await;
    for output in [&outcome.stdout, &outcome.stderr] {
        assert!(!output.contains(PLANTED), "{output}");
    }
    outcome
}

fn ok(_: &Asked) -> Reply {
    Reply::Say(200, Vec::new(), String::new())
}

/// The requests to this path.
fn sent(double: &Double, signal: &str) -> Vec<Asked> {
    let path = format!("/{PLANTED}/v1/{signal}");
    let mut asked = double.asked();
    asked.retain(|asked| asked.path == path);
    asked
}

/// The spans of the only request.
fn spans(double: &Double) -> Vec<Span> {
    let [asked] = &*sent(double, "traces") else {
        panic!("not one request");
    };
    assert_eq!(asked.header("content-type"), "application/x-protobuf");
    assert_eq!(asked.header("authorization"), format!("Bearer {PLANTED}"));
    let message = ExportTraceServiceRequest::decode(&*asked.bytes).expect("the message");
    let scopes = message
        .resource_spans
        .into_iter()
        .flat_map(|it| it.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn metrics(double: &Double) -> Vec<Metric> {
    let [asked] = &*sent(double, "metrics") else {
        panic!("not one request");
    };
    let message = ExportMetricsServiceRequest::decode(&*asked.bytes).expect("the message");
    let scopes = message
        .resource_metrics
        .into_iter()
        .flat_map(|it| it.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<&str, &str> {
    let mut texts = BTreeMap::new();
    for attribute in attributes {
        let value = attribute.value.as_ref().and_then(|it| it.value.as_ref());
        if let Some(Value::StringValue(text)) = value {
            texts.insert(&*attribute.key, &**text);
        }
    }
    texts
}

#[tokio::test]
async fn collector_gets_the_phases_the_objects_and_the_metrics() {
    let double = Double::start(ok).await;
    let mut workspace = workspace(&double.url);
    workspace.set("OTEL_SERVICE_NAME", "rotation");
    run(&workspace, &["run", "--sandbox"]).await.exits(0);
    let spans = spans(&double);
    let root = &spans[0];
    assert_eq!(root.name, "eso-sync run");
    assert!(root.parent_span_id.is_empty() && root.status.is_none());
    let below = |parent: &Span| -> Vec<&Span> {
        let spans = spans.iter();
        spans
            .filter(|span| span.parent_span_id == parent.span_id)
            .collect()
    };
    let phases: Vec<&str> = below(root).iter().map(|span| &*span.name).collect();
    let all = [
        "discover",
        "check",
        "read-workloads",
        "lock",
        "sync",
        "verify",
        "restart",
    ];
    for phase in all {
        assert!(phases.contains(&phase), "{phase}: {phases:?}");
    }
    for span in &spans {
        assert_eq!(span.trace_id, root.trace_id);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(
            root.start_time_unix_nano <= span.start_time_unix_nano,
            "{}",
            span.name
        );
    }
    let phase = |name: &str| below(root).into_iter().find(|span| span.name == name);
    let syncs = below(phase("sync").expect("the phase"));
    assert!(!syncs.is_empty());
    for span in syncs {
        assert_eq!(span.name, "sync ExternalSecret");
        let attributes = texts(&span.attributes);
        assert_eq!(attributes["eso_sync.outcome"], "synced");
        assert!(attributes.contains_key("k8s.namespace.name"));
        // From the annotation to the proof.
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
    }
    let restarts = below(phase("restart").expect("the phase"));
    assert!(
        restarts
            .iter()
            .any(|span| span.name == "restart Deployment")
    );
    check_metrics(&metrics(&double));
}

#[tokio::test]
async fn spans_of_what_failed_are_errors() {
    let double = Double::start(ok).await;
    let workspace = workspace(&double.url);
    run(&workspace, &["run", "--sandbox=bad-day"])
        .await
        .exits(3);
    let spans = spans(&double);
    let status = |span: &Span| span.status.clone().unwrap_or_default();
    assert_eq!(status(&spans[0]).code(), StatusCode::Error);
    assert_eq!(status(&spans[0]).message, "exit code 3");
    let objects = || {
        spans
            .iter()
            .filter(|span| span.name.ends_with("ExternalSecret"))
    };
    let is_error = |span: &Span| status(span).code() == StatusCode::Error;
    assert!(objects().any(|span| is_error(span) && !status(span).message.is_empty()));
    assert!(objects().any(|span| !is_error(span)));
}

fn check_metrics(metrics: &[Metric]) {
    let metric = |name: &str| {
        metrics
            .iter()
            .find(|it| it.name == name)
            .expect("the metric")
    };
    let Some(Data::Gauge(gauge)) = &metric("eso_sync_run_exit_code").data else {
        panic!("no gauge");
    };
    let point = &gauge.data_points[0];
    let Some(number_data_point::Value::AsDouble(code)) = point.value else {
        panic!("no number");
    };
    assert!(code.abs() < f64::EPSILON);
    assert_eq!(texts(&point.attributes)["command"], "run");
    assert_eq!(metric("eso_sync_run_duration_seconds").unit, "s");
    assert!(metric("eso_sync_run_duration_seconds").description.len() > 10);
}

#[tokio::test]
async fn published_secrets_have_spans_without_names() {
    let double = Double::start(ok).await;
    let workspace = workspace(&double.url);
    let outcome = run(&workspace, &["publish", "--sandbox", "--yes", "-o", "json"]).await;
    outcome.exits(0);
    let items = outcome.document()["items"].clone();
    let name = items[0]["secrets"][0]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let spans = spans(&double);
    let secrets = spans.iter().filter(|span| span.name == "publish secret");
    assert!(secrets.count() > 0, "{spans:?}");
    let all = format!("{spans:?}");
    assert!(!all.contains(&name), "{name}: {all}");
}

#[tokio::test]
async fn collector_that_fails_or_hangs_changes_nothing() {
    let double = Double::start(|_| Reply::Say(503, Vec::new(), PLANTED.to_owned())).await;
    let outcome = run(&workspace(&double.url), &["status", "--sandbox"]).await;
    outcome.exits(0);
    let warning = "the OTLP collector was not told: traces: it answered HTTP 503; metrics: it answered HTTP 503";
    assert_eq!(
        outcome.stderr.matches(warning).count(),
        1,
        "{}",
        outcome.stderr
    );
    assert_eq!(double.asked().len(), 6, "three attempts for each");

    let without = Instant::now();
    Workspace::new(Vec::new())
        .run(&["status", "--sandbox"])
        .await
        .exits(0);
    let without = without.elapsed();
    let double = Double::start(|_| Reply::Never).await;
    let started = Instant::now();
    let outcome = run(&workspace(&double.url), &["status", "--sandbox"]).await;
    outcome.exits(0);
    // Twice the time without a collector, for a busy machine.
    let longest = without * 2 + Duration::from_secs(6);
    assert!(started.elapsed() < longest, "{:?}", started.elapsed());
    assert_eq!(
        outcome.stderr.matches("not answer in time").count(),
        1,
        "{}",
        outcome.stderr
    );
}

#[tokio::test]
async fn variables_switch_it_off_and_another_protocol_is_named() {
    let double = Double::start(ok).await;
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ] {
        let mut workspace = workspace(&double.url);
        workspace.set(name, value);
        let outcome = run(&workspace, &["status", "--sandbox"]).await;
        outcome.exits(0);
        let is_protocol = value == "grpc";
        let warning = "OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`, and eso-sync only has http/protobuf";
        assert_eq!(
            outcome.stderr.contains(warning),
            is_protocol,
            "{}",
            outcome.stderr
        );
    }
    assert!(double.asked().is_empty());
}
