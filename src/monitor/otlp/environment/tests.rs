use std::fmt::Write as _;

use insta::assert_snapshot;

use super::*;

const SECRET: &str = "planted";

fn with(variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let variables = variables.iter();
    let owned = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    read(&owned.collect())
}

/// A collector for both signals.
const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/x/");
/// Each with its name.
const CASES: [(&str, &[(&str, &str)]); 12] = [
    (
        "nothing",
        &[
            ("OTEL_SERVICE_NAME", "x"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ],
    ),
    ("one for both", &[BASE]),
    (
        "empty counts as not set",
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
    ),
    (
        "only traces",
        &[(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://collector:4318/own",
        )],
    ),
    (
        "own address",
        &[
            BASE,
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://other/own"),
        ],
    ),
    ("disabled", &[BASE, ("OTEL_SDK_DISABLED", "TRUE")]),
    ("no traces", &[BASE, ("OTEL_TRACES_EXPORTER", "none")]),
    (
        "another exporter",
        &[BASE, ("OTEL_METRICS_EXPORTER", "prometheus")],
    ),
    (
        "one of two exporters",
        &[BASE, ("OTEL_METRICS_EXPORTER", "prometheus, otlp")],
    ),
    (
        "another protocol",
        &[BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
    ),
    (
        "the right protocol",
        &[
            BASE,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ],
    ),
    (
        "no address",
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "planted:4317")],
    ),
];

#[test]
fn variables_decide_where_each_signal_goes() {
    let mut table = String::new();
    for (name, variables) in CASES {
        let (settings, warnings) = with(variables);
        let shown = |target: &Option<Target>| match target {
            Some(target) => target.url.to_string(),
            None => "-".to_owned(),
        };
        let (traces, metrics) = (shown(&settings.traces), shown(&settings.metrics));
        writeln!(table, "{name}: {traces} {metrics} {}", warnings.join("; ")).unwrap();
    }
    assert!(!table.contains(SECRET), "{table}");
    assert_snapshot!(table);
}

#[test]
fn headers_are_decoded_and_never_shown() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector");
    let text = "authorization=Bearer%20planted, x-tenant = a%2Cb,planted,bad name=planted";
    let (settings, warnings) = with(&[
        endpoint,
        ("OTEL_EXPORTER_OTLP_HEADERS", text),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "only=this"),
    ]);
    let [traces, metrics] = [settings.traces, settings.metrics].map(|it| it.unwrap().headers);
    assert_eq!(traces["authorization"], "Bearer planted");
    assert_eq!(traces["x-tenant"], "a,b");
    assert_eq!(traces.len(), 2);
    assert!(!format!("{traces:?}").contains(SECRET));
    assert_eq!((metrics.len(), &metrics["only"] == "this"), (1, true));
    assert_eq!(
        warnings,
        [
            "OTEL_EXPORTER_OTLP_HEADERS: an entry is not of the form NAME=VALUE. It is not shown, because it may be secret"
        ]
    );
}

#[test]
fn time_limit_can_only_be_shorter() {
    let timeout = |text| {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector");
        let (settings, warnings) = with(&[endpoint, ("OTEL_EXPORTER_OTLP_TIMEOUT", text)]);
        (settings.traces.unwrap().timeout, warnings.len())
    };
    assert_eq!(timeout("500"), (Duration::from_millis(500), 0));
    assert_eq!(timeout("10000"), (ATTEMPT, 0));
    assert_eq!(timeout("2s"), (ATTEMPT, 1));
}

#[test]
fn resource_has_the_attributes_and_the_name() {
    let (settings, _) = with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=other,team=a%20b,junk",
        ),
        ("OTEL_SERVICE_NAME", "rotation"),
    ]);
    let resource: Vec<(&str, &str)> = settings
        .resource
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(resource, [("service.name", "rotation"), ("team", "a b")]);
}

#[test]
fn span_that_started_the_job_is_the_parent() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let with = |text: &str| {
        with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector"),
            ("TRACEPARENT", text),
        ])
        .0
    };
    let valid = with(&format!("00-{trace}-b7ad6b7169203331-01"));
    let parent = valid.parent.unwrap();
    assert_eq!(
        parent.span,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
    );
    assert_eq!(parent.trace[0], 0x0a);
    assert!(valid.traces.is_some());
    // Whoever started the job does not want it in the trace.
    let unsampled = with(&format!("00-{trace}-b7ad6b7169203331-00"));
    assert!(unsampled.traces.is_none() && unsampled.metrics.is_some());
    for invalid in [
        "x",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ] {
        assert_eq!(with(invalid).parent, None, "{invalid}");
    }
}
