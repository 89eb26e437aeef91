//! The report of `events` as rows.

use std::collections::BTreeMap;

use super::document::{DocumentEventKey, EventsDocument};
use crate::{
    foreign::{Foreign, first},
    report::{
        metrics::{Metric, Metrics, whole},
        sheet::{Level, Note, Row, Sheet, Tabular},
    },
};

/// The ExternalSecrets of a key that a row names.
const NAMED: usize = 5;

impl Tabular for EventsDocument {
    fn sheet(&self) -> Sheet {
        let mut objects: BTreeMap<(&'static str, String), Row> = BTreeMap::new();
        let mut notes = Vec::new();
        for run in &self.runs {
            let Sheet {
                rows, notes: of, ..
            } = run.sheet();
            // A later run knows more about the same object, but what the one before did counts.
            for row in rows {
                let key = (row.kind, row.id().exact().to_owned());
                let is_news = row.level != Level::Good || !objects.contains_key(&key);
                if is_news {
                    objects.insert(key, row);
                }
            }
            notes.extend(of);
        }
        let refused = self.queues.iter().any(|queue| queue.refused.is_some());
        let level = if refused {
            Level::Failed
        } else {
            Level::Skipped
        };
        let warnings = self.warnings.iter();
        notes.extend(warnings.map(|text| Note::new(level, text.exact())));
        let keys = self.keys.iter().filter(|key| key.is_open());
        Sheet {
            kind: self.kind.to_owned(),
            run: self.run.clone(),
            totals: self.summary.lines(),
            rows: objects
                .into_values()
                .chain(keys.map(DocumentEventKey::row))
                .collect(),
            notes,
        }
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::of(&self.run);
        let summary = &self.summary;
        metrics.counts(Metric::Events, &summary.received);
        metrics.counts(Metric::EventKeys, &summary.keys);
        let dispositions = BTreeMap::from([
            ("acknowledged", summary.acknowledged),
            ("kept", summary.kept),
            ("poisoned", summary.poisoned),
            ("not-disposed", summary.not_disposed),
        ]);
        metrics.counts(Metric::EventMessages, &dispositions);
        if let Some(lag) = &summary.lag {
            metrics.add(Metric::LagMedian, lag.median_seconds);
            metrics.add(Metric::LagMax, lag.max_seconds);
        }
        for queue in &self.queues {
            let name = queue.queue.exact();
            if let Some(backlog) = queue.backlog {
                metrics.add_to(Metric::QueueBacklog, name, whole(backlog));
            }
            if let Some(given_up) = queue.dead_letters {
                metrics.add_to(Metric::QueueDeadLetters, name, whole(given_up));
            }
        }
        for run in &self.runs {
            run.measure_into(&mut metrics);
        }
        metrics
    }
}

impl DocumentEventKey {
    /// True if somebody has to look at it.
    fn is_open(&self) -> bool {
        !matches!(self.end, "synced" | "skipped")
    }

    fn row(&self) -> Row {
        let name = match first(NAMED, self.external_secrets.keys()) {
            none if none.is_empty() => Foreign::from("no ExternalSecret"),
            some => some.into(),
        };
        Row {
            kind: "event",
            name,
            level: match self.end {
                "gone" | "warning" => Level::Differs,
                "failed" | "left-to-run" => Level::Failed,
                _ => Level::Unknown,
            },
            verdict: self.event,
            outcome: self.end,
            ..Row::default()
        }
    }
}
