//! The documents of `publish` as rows.

use super::document::{DocumentFault, DocumentPublished, PublishDocument, PublishKind};
use crate::report::{
    metrics::{Metric, Metrics, count, whole},
    sheet::{Level, Note, Row, Sheet, Tabular, totals},
};

impl Tabular for PublishDocument {
    fn sheet(&self) -> Sheet {
        let kind = match self.kind {
            PublishKind::PublishPlan => "PublishPlan",
            PublishKind::PublishReport => "PublishReport",
            PublishKind::PublishStatus => "PublishStatus",
            PublishKind::PublishList => "PublishList",
        };
        let rows = self.items.iter().flat_map(|item| {
            let secrets = item.secrets.iter().map(|secret| Row {
                kind: "secret",
                namespace: item.name.clone(),
                name: secret.name.clone(),
                level: match self.kind {
                    // It is about how the two sides compare.
                    PublishKind::PublishStatus if secret.level == Level::Changed => Level::Differs,
                    PublishKind::PublishStatus
                    | PublishKind::PublishPlan
                    | PublishKind::PublishReport
                    | PublishKind::PublishList => secret.level,
                },
                store: item.target.clone(),
                verdict: secret.verdict,
                outcome: secret.outcome.unwrap_or(secret.action),
                reason: secret.reason.into_str(),
                message: secret.message.clone(),
                ..Row::default()
            });
            let faults = item.faults.iter().map(|fault| fault.row(item));
            let alone = (self.kind == PublishKind::PublishList).then(|| item.row());
            secrets.chain(faults).chain(alone).collect::<Vec<_>>()
        });
        let mut rows: Vec<Row> = rows.collect();
        let mut sheet = Sheet {
            kind: kind.to_owned(),
            run: self.run.clone(),
            totals: totals(&rows, |row| row.outcome),
            rows: Vec::new(),
            notes: Vec::new(),
        };
        if let Some(run) = &self.sync {
            let run = run.sheet();
            rows.extend(run.rows);
            sheet.totals.extend(run.totals);
            sheet.notes.extend(run.notes);
        }
        if !self.sync_failure.is_empty() {
            let why = self.sync_failure.clone();
            sheet.notes.push(Note::new(Level::Failed, why));
        }
        Sheet { rows, ..sheet }
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::of(&self.run);
        let summary = &self.summary;
        if self.kind == PublishKind::PublishReport {
            metrics.counts(Metric::Published, &summary.outcomes);
        }
        metrics.counts(Metric::PublishVerdicts, &summary.verdicts);
        metrics.add(Metric::PublishFaults, count(summary.faults));
        metrics.add(Metric::PublishCalls, whole(summary.calls));
        metrics.add(Metric::PublishThrottles, whole(summary.throttles));
        if let Some(run) = &self.sync {
            run.measure_into(&mut metrics);
        }
        metrics
    }
}

impl DocumentPublished {
    /// The item itself, for a list.
    fn row(&self) -> Row {
        Row {
            kind: "item",
            name: self.name.clone(),
            store: self.target.clone(),
            outcome: if self.suspended {
                "suspended"
            } else {
                "active"
            },
            ..Row::default()
        }
    }
}

impl DocumentFault {
    fn row(&self, item: &DocumentPublished) -> Row {
        let file = self.file.clone().unwrap_or_else(|| item.name.clone());
        Row {
            kind: "file",
            namespace: item.name.clone(),
            name: file,
            level: Level::Failed,
            store: item.target.clone(),
            reason: self.reason,
            message: self.message.clone(),
            keys: self.key.iter().cloned().collect(),
            ..Row::default()
        }
    }
}
