//! In place of OTLP, in a program without the feature `otlp`.

use std::collections::BTreeMap;

use crate::{
    report::{metrics::Metrics, sheet::Sheet},
    trace::Times,
};

/// Has no values, because this program sends nothing to a collector.
#[derive(Clone)]
pub(super) enum Otlp {}

/// No messages.
#[derive(Clone, Default)]
pub(super) struct Messages;

impl Messages {
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) const fn is_empty(&self) -> bool {
        true
    }
}

impl Otlp {
    /// Warns if the standard variables name a collector.
    pub(super) fn of(environment: &BTreeMap<String, String>) -> (Option<Self>, Vec<String>) {
        let named = environment
            .keys()
            .find(|name| name.starts_with("OTEL_EXPORTER_OTLP_") && name.ends_with("ENDPOINT"));
        let warning = |name: &String| {
            format!("{name} has no effect: this program was built without the feature `otlp`")
        };
        (None, named.map(warning).into_iter().collect())
    }

    pub(super) const fn traces(&self) -> bool {
        match *self {}
    }

    pub(super) const fn measures(&self) -> bool {
        match *self {}
    }

    pub(super) fn about(
        &self,
        _document: (&Sheet, &str),
        _times: &Times,
        _metrics: Option<&Metrics>,
        _labels: &BTreeMap<String, String>,
    ) -> Messages {
        match *self {}
    }

    pub(super) async fn send(&self, _messages: &Messages) {
        match *self {}
    }
}
