//! The trace of a run: a span for the run, below it one for each phase, and below these one for each object. Pure.

use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};
use sha2::{Digest as _, Sha256};

use super::{attribute, environment::Parent, nanoseconds, text};
use crate::{
    exit::Exit,
    report::{
        past::names_objects,
        sheet::{Level, Row, Sheet},
    },
    trace::{self, Phase, Times},
};

/// The most objects with a span. The span of the run says how many have none.
const MOST: usize = 2000;

/// The flag of a span that is a part of the trace.
const SAMPLED: u32 = 1;

/// The kind of the rows that are ExternalSecrets.
const EXTERNAL_SECRET: &str = "ExternalSecret";

/// What all spans of a run have in common.
struct Run<'a> {
    sheet: &'a Sheet,
    times: &'a Times,
    trace: Vec<u8>,
    root: Vec<u8>,
}

/// The spans of a run, the first of which is that of the run itself.
pub(super) fn of(
    sheet: &Sheet,
    command: &str,
    times: &Times,
    parent: Option<&Parent>,
) -> Vec<Span> {
    let digest = id(&sheet.run.id, "trace");
    let trace = match parent {
        Some(parent) => parent.trace.to_vec(),
        None => digest.get(..16).unwrap_or_default().to_vec(),
    };
    let run = Run {
        sheet,
        times,
        trace,
        root: span_id(&sheet.run.id, "run"),
    };
    let mut rows: Vec<&Row> = sheet.rows.iter().collect();
    // If there are too many, those that were left alone have none.
    rows.sort_by_key(|row| row.level < Level::Changed && run.own_time(row).is_none());
    let mut root = run.root(command, rows.len().saturating_sub(MOST));
    root.parent_span_id = parent
        .map(|parent| parent.span.to_vec())
        .unwrap_or_default();
    let phases = times.phases.iter().enumerate();
    let mut spans = vec![root];
    spans.extend(phases.map(|(at, (phase, span))| run.phase(at, *phase, *span)));
    let rows = rows.into_iter().take(MOST).enumerate();
    spans.extend(rows.map(|(at, row)| run.object(at, row)));
    spans
}

fn id(run: &str, part: &str) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(run.as_bytes());
    hasher.update(b"/");
    hasher.update(part.as_bytes());
    hasher.finalize().to_vec()
}

/// The ID of a span. It is the same whenever it is computed.
fn span_id(run: &str, part: &str) -> Vec<u8> {
    id(run, part).get(..8).unwrap_or_default().to_vec()
}

fn phase_id(run: &str, at: usize) -> Vec<u8> {
    span_id(run, &format!("phase {at}"))
}

fn error(message: String) -> Status {
    Status {
        message,
        code: StatusCode::Error.into(),
    }
}

impl Run<'_> {
    fn span(&self, name: String, id: Vec<u8>, (start, end): (Timestamp, Timestamp)) -> Span {
        Span {
            trace_id: self.trace.clone(),
            span_id: id,
            parent_span_id: self.root.clone(),
            flags: SAMPLED,
            name,
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanoseconds(start),
            end_time_unix_nano: nanoseconds(end.max(start)),
            ..Span::default()
        }
    }

    fn root(&self, command: &str, left_out: usize) -> Span {
        let run = &self.sheet.run;
        let mut attributes = vec![
            text("eso_sync.command", command),
            text("eso_sync.run.id", &run.id),
            attribute("eso_sync.exit_code", Value::IntValue(run.exit_code.into())),
            attribute("eso_sync.complete", Value::BoolValue(run.complete)),
        ];
        let some = [
            ("eso_sync.context", &run.context),
            ("eso_sync.policy.digest", &run.policy_digest),
            ("eso_sync.report.url", &run.report_url),
        ];
        let some = some
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        attributes.extend(some.map(|(name, value)| text(name, value)));
        if left_out > 0 {
            let count = i64::try_from(left_out).unwrap_or(i64::MAX);
            attributes.push(attribute(
                "eso_sync.objects_without_span",
                Value::IntValue(count),
            ));
        }
        let failed = Exit::is_failure(run.exit_code);
        Span {
            attributes,
            status: failed.then(|| error(format!("exit code {}", run.exit_code))),
            ..self.span(
                format!("eso-sync {command}"),
                self.root.clone(),
                (run.started, run.finished),
            )
        }
    }

    /// A phase that has not ended was cut off.
    fn phase(&self, at: usize, phase: Phase, span: trace::Span) -> Span {
        let id = phase_id(&self.sheet.run.id, at);
        let time = (span.start, span.end.unwrap_or(self.sheet.run.finished));
        self.span(phase.into_str().to_owned(), id, time)
    }

    fn own_time(&self, row: &Row) -> Option<trace::Span> {
        let (namespace, name) = (row.namespace.exact(), row.name.exact());
        let object = (row.kind, namespace.to_owned(), name.to_owned());
        self.times.objects.get(&object).copied()
    }

    /// The phase that worked on the object, or that found out how it is.
    fn phase_of(&self, row: &Row, own: Option<trace::Span>) -> Option<(usize, Phase, trace::Span)> {
        let wanted: &[Phase] = match (row.kind, own) {
            (EXTERNAL_SECRET, Some(_)) => &[Phase::Sync],
            (EXTERNAL_SECRET, None) => &[Phase::Check, Phase::Discover],
            (kind, Some(_)) if names_objects(kind) => &[Phase::Restart],
            (kind, None) if names_objects(kind) => &[Phase::ReadWorkloads],
            _ => &[Phase::Publish, Phase::ReadSources],
        };
        let holds = |span: trace::Span| match own {
            Some(own) => span.start <= own.start && (span.end.is_none() || span.end >= own.end),
            None => true,
        };
        wanted.iter().find_map(|wanted| {
            let mut phases = self.times.phases.iter().enumerate().rev();
            let (at, (phase, span)) =
                phases.find(|(_, (phase, span))| phase == wanted && holds(*span))?;
            Some((at, *phase, *span))
        })
    }

    fn object(&self, at: usize, row: &Row) -> Span {
        let finished = self.sheet.run.finished;
        let own = self.own_time(row);
        let phase = self.phase_of(row, own);
        let time = match (own, phase) {
            (Some(own), _) => (own.start, own.end.unwrap_or(finished)),
            (None, Some((_, _, span))) => {
                let end = span.end.unwrap_or(finished);
                (end, end)
            }
            (None, None) => (finished, finished),
        };
        let name = match phase {
            Some((_, phase, _)) => format!("{} {}", phase.into_str(), row.kind),
            None => row.kind.to_owned(),
        };
        let is_error = matches!(row.level, Level::Failed | Level::Unknown);
        let mut span = self.span(
            name,
            span_id(&self.sheet.run.id, &format!("object {at}")),
            time,
        );
        if let Some((phase, _, _)) = phase {
            span.parent_span_id = phase_id(&self.sheet.run.id, phase);
        }
        span.attributes = attributes(row);
        span.status = is_error.then(|| error(row.reason.to_owned()));
        span
    }
}

/// The attributes of an object. Others than Kubernetes objects are named after keys at providers, so they have no name here.
fn attributes(row: &Row) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("eso_sync.object.kind", row.kind),
        text("eso_sync.level", row.level.into_str()),
    ];
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            attributes.push(text(name, value));
        }
    };
    if names_objects(row.kind) {
        add("k8s.namespace.name", row.namespace.exact());
        add("eso_sync.object.name", row.name.exact());
        add("eso_sync.store", row.store.exact());
    }
    add("eso_sync.verdict", row.verdict);
    add("eso_sync.outcome", row.outcome);
    add("eso_sync.reason", row.reason);
    attributes
}

#[cfg(test)]
mod tests;
