//! The standard variables of OpenTelemetry (`opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables`). Pure.

use std::{collections::BTreeMap, time::Duration};

use percent_encoding::percent_decode_str;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::super::{http::ATTEMPT, http_address};
use crate::foreign::Foreign;

/// The only protocol.
const PROTOCOL: &str = "http/protobuf";

/// What the variables say.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) traces: Option<Target>,
    pub(super) metrics: Option<Target>,
    /// The attributes of the resource, without those that eso-sync adds.
    pub(super) resource: BTreeMap<String, String>,
    pub(super) parent: Option<Parent>,
}

/// Where a signal is sent.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// The time for one attempt.
    pub(super) timeout: Duration,
}

/// The span that started the job, from `TRACEPARENT` (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    is_sampled: bool,
}

/// The variables.
#[derive(Clone, Copy)]
struct Variables<'a>(&'a BTreeMap<String, String>);

/// What is sent.
#[derive(Clone, Copy)]
enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// As in the names of variables.
    const fn upper(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// As in the path.
    const fn lower(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// Reads the variables. Returns also warnings, which quote no address and no header.
pub(super) fn read(environment: &BTreeMap<String, String>) -> (Settings, Vec<String>) {
    let variables = Variables(environment);
    let mut settings = Settings::default();
    let mut warnings = Vec::new();
    let is_disabled = variables.get("OTEL_SDK_DISABLED");
    if is_disabled.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return (settings, warnings);
    }
    let mut target = |signal| variables.target(signal, &mut warnings);
    let (traces, metrics) = (target(Signal::Traces), target(Signal::Metrics));
    warnings.extend(match (&traces, &metrics) {
        (Err(why), Err(same)) if why == same => vec![unsent("traces and no metrics", why)],
        (traces, metrics) => {
            let traces = traces.as_ref().err().map(|why| unsent("traces", why));
            let metrics = metrics.as_ref().err().map(|why| unsent("metrics", why));
            traces.into_iter().chain(metrics).collect()
        }
    });
    settings.traces = traces.ok().flatten();
    settings.metrics = metrics.ok().flatten();
    if settings.traces.is_none() && settings.metrics.is_none() {
        return (settings, warnings);
    }
    let listed = variables.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or("");
    settings.resource = pairs(listed).flatten().collect();
    if let Some(name) = variables.get("OTEL_SERVICE_NAME") {
        let name = name.to_owned();
        settings.resource.insert("service.name".to_owned(), name);
    }
    settings.parent = variables.get("TRACEPARENT").and_then(parent);
    if settings.parent.is_some_and(|parent| !parent.is_sampled) {
        settings.traces = None;
    }
    warnings.dedup();
    (settings, warnings)
}

fn unsent(what: &str, why: &str) -> String {
    format!("no {what} are sent: {why}")
}

impl<'a> Variables<'a> {
    /// The value. An empty one counts as not set.
    fn get(self, name: &str) -> Option<&'a str> {
        let value = self.0.get(name)?.trim();
        Some(value).filter(|value| !value.is_empty())
    }

    /// The value for this signal, else the one for all signals, with the name of its variable.
    fn of(self, signal: Signal, name: &str) -> Option<(String, &'a str)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{name}", signal.upper());
        let all = format!("OTEL_EXPORTER_OTLP_{name}");
        let value = |name: String| self.get(&name).map(|value| (name, value));
        value(own).or_else(|| value(all))
    }

    /// Where the signal is sent. None if that is not configured.
    fn target(self, signal: Signal, warnings: &mut Vec<String>) -> Result<Option<Target>, String> {
        let Some((name, endpoint)) = self.of(signal, "ENDPOINT") else {
            return Ok(None);
        };
        if !self.is_exported(signal)? {
            return Ok(None);
        }
        if let Some((name, protocol)) = self.of(signal, "PROTOCOL")
            && protocol != PROTOCOL
        {
            let protocol = shown(protocol);
            return Err(format!(
                "{name} is {protocol}, and eso-sync only has {PROTOCOL}"
            ));
        }
        let mut url = http_address(endpoint).ok_or_else(|| {
            format!("{name} is not an address like http://collector:4318. It is not shown, because it may be secret")
        })?;
        let is_of_all = !name.contains(signal.upper());
        if let Ok(mut path) = url.path_segments_mut()
            && is_of_all
        {
            path.pop_if_empty().extend(["v1", signal.lower()]);
        }
        let mut headers = HeaderMap::new();
        if let Some((name, text)) = self.of(signal, "HEADERS") {
            let all_valid = add_headers(&mut headers, text);
            if !all_valid {
                warnings.push(format!(
                    "{name}: an entry is not of the form NAME=VALUE. It is not shown, because it may be secret"
                ));
            }
        }
        Ok(Some(Target {
            url,
            headers,
            timeout: self.timeout(signal, warnings),
        }))
    }

    fn is_exported(self, signal: Signal) -> Result<bool, String> {
        let name = format!("OTEL_{}_EXPORTER", signal.upper());
        let Some(exporters) = self.get(&name) else {
            return Ok(true);
        };
        let has = |exporter| exporters.split(',').any(|one| one.trim() == exporter);
        match (has("otlp"), has("none")) {
            (true, _) => Ok(true),
            (false, true) => Ok(false),
            (false, false) => Err(format!(
                "{name} is {}, and eso-sync only has `otlp` and `none`",
                shown(exporters)
            )),
        }
    }

    fn timeout(self, signal: Signal, warnings: &mut Vec<String>) -> Duration {
        let Some((name, text)) = self.of(signal, "TIMEOUT") else {
            return ATTEMPT;
        };
        match text.parse() {
            Ok(milliseconds) if milliseconds > 0 => {
                Duration::from_millis(milliseconds).min(ATTEMPT)
            }
            Ok(_) | Err(_) => {
                let text = shown(text);
                warnings.push(format!(
                    "{name} is {text}, which is no number of milliseconds"
                ));
                ATTEMPT
            }
        }
    }
}

/// A value for people.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    format!("`{}`", Foreign::from(short).terminal())
}

/// The pairs of a list `NAME=VALUE,…` whose values are percent-encoded. None for each invalid one.
fn pairs(list: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let entries = list.split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty()).map(|entry| {
        let (name, value) = entry.split_once('=')?;
        let name = Some(name.trim()).filter(|name| !name.is_empty())?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.to_owned(), value.into_owned()))
    })
}

/// Adds the headers of a list. False if an entry is invalid, which is left out.
fn add_headers(headers: &mut HeaderMap, list: &str) -> bool {
    let mut all_valid = true;
    for pair in pairs(list) {
        let header = pair.and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(&value).ok()?))
        });
        match header {
            Some((name, mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            None => all_valid = false,
        }
    }
    all_valid
}

/// Parses `VERSION-TRACE-SPAN-FLAGS`. What is invalid is ignored, as the standard demands.
fn parent(text: &str) -> Option<Parent> {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags, more @ ..] = &*parts else {
        return None;
    };
    let [version] = bytes::<1>(version)?;
    let [flags] = bytes::<1>(flags)?;
    let (trace, span) = (bytes::<16>(trace)?, bytes::<8>(span)?);
    let is_valid =
        version != 0xff && (version > 0 || more.is_empty()) && trace != [0; 16] && span != [0; 8];
    is_valid.then_some(Parent {
        trace,
        span,
        is_sampled: flags & 1 == 1,
    })
}

/// Bytes in lower-case hexadecimal.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
