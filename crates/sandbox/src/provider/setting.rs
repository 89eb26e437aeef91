//! Settings of the sandbox in annotations on stores and ExternalSecrets. A real cluster ignores them.

use std::{collections::BTreeMap, time::Duration};

use eso_model::duration::GoDuration;
use serde_json::Value;

use super::NO_LATENCY;
use crate::object;

/// On a ConfigMap: the store whose values it contains.
pub(crate) const STORE: &str = "sandbox.eso-sync/store";

/// On an ExternalSecret: an edit of its Secret after the last sync, as a merge patch. `null` means that it was deleted.
pub(crate) const EDITED: &str = "sandbox.eso-sync/edited";

/// On a GitRepository: the contents of its files, by path, in YAML.
pub(crate) const FILES: &str = "sandbox.eso-sync/files";

/// On a store: it is not Ready. The value is the message of its Event.
pub(crate) const NOT_READY: &str = "sandbox.eso-sync/not-ready";

const LATENCY: &str = "sandbox.eso-sync/latency";
const DENY: &str = "sandbox.eso-sync/deny";
const FAIL_FIRST: &str = "sandbox.eso-sync/fail-first";
const FAIL_TEXT: &str = "sandbox.eso-sync/fail-text";
const THROTTLE: &str = "sandbox.eso-sync/throttle";

/// The simulated latency and failures of calls for one store or ExternalSecret.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// The latency of each call.
    pub(super) latency: Duration,
    /// Each call is denied with this message.
    pub(super) deny: Option<String>,
    /// The number of calls that fail at first.
    pub(super) fail_first: u32,
    /// The message of these failures.
    pub(super) fail_text: Option<String>,
    /// The maximum number of calls per second.
    pub(super) throttle: Option<f64>,
}

impl Settings {
    pub(super) fn of(asked: &Value) -> Self {
        let text = |key| object::annotation(asked, key);
        let latency = text(LATENCY).and_then(|text| text.parse().ok());
        Self {
            latency: latency.map_or(NO_LATENCY, |GoDuration(latency)| latency),
            deny: text(DENY).map(str::to_owned),
            fail_first: text(FAIL_FIRST)
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
            fail_text: text(FAIL_TEXT).map(str::to_owned),
            throttle: text(THROTTLE).and_then(rate),
        }
    }
}

/// `5/s`
fn rate(text: &str) -> Option<f64> {
    text.strip_suffix("/s")?
        .parse()
        .ok()
        .filter(|rate| *rate > 0.0)
}

/// `null`, or `{stringData: {password: edited}}`
pub(crate) fn edit(text: &str) -> Option<Value> {
    let options = serde_saphyr::options! { with_snippet: false };
    let edit: Value = serde_saphyr::from_str_with_options(text, options).ok()?;
    (edit.is_null() || edit.is_object()).then_some(edit)
}

/// The contents of files, by path: `{README.md: "…"}`
pub(crate) fn files(text: &str) -> Option<BTreeMap<String, String>> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).ok()
}

/// Validates the setting annotations of an object. The error is the first invalid key.
pub(crate) fn check(asked: &Value) -> Result<(), &'static str> {
    let understood = |key, understood: fn(&str) -> bool| match object::annotation(asked, key) {
        Some(text) if !understood(text) => Err(key),
        _ => Ok(()),
    };
    understood(LATENCY, |text| text.parse::<GoDuration>().is_ok())?;
    understood(FAIL_FIRST, |text| text.parse::<u32>().is_ok())?;
    understood(THROTTLE, |text| rate(text).is_some())?;
    understood(FILES, |text| files(text).is_some())?;
    understood(EDITED, |text| edit(text).is_some())
}
