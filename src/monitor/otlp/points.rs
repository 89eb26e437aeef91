//! The metrics as OTLP has them: a gauge for each, with the names of `docs/monitoring.md`. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, metric::Data, number_data_point,
};

use super::{nanoseconds, text};
use crate::report::metrics::Metrics;

/// The metrics at this time.
pub(super) fn of(
    metrics: &Metrics,
    at: Timestamp,
    labels: &BTreeMap<String, String>,
) -> Vec<Metric> {
    let all = metrics.numbers().map(|(metric, numbers)| {
        let name = metric.full_name();
        let points = numbers.iter().map(|(value, number)| {
            let own = metric.label().map(|label| text(label, value));
            let labels = labels.iter().map(|(name, value)| text(name, value));
            NumberDataPoint {
                attributes: labels.chain(own).collect(),
                time_unix_nano: nanoseconds(at),
                value: Some(number_data_point::Value::AsDouble(*number)),
                ..NumberDataPoint::default()
            }
        });
        let gauge = Gauge {
            data_points: points.collect(),
        };
        Metric {
            description: metric.help().to_owned(),
            // Everything else is a count, which has no unit.
            unit: if name.ends_with("_seconds") { "s" } else { "" }.to_owned(),
            name,
            data: Some(Data::Gauge(gauge)),
            ..Metric::default()
        }
    });
    all.collect()
}
