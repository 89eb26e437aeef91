//! The advice as rows: a row for each ExternalSecret.

use super::{
    document::{Advice, AdviceItem},
    suggest::Verdict,
    text::{dollars, interval, not_looked_up, totals, unknown_rotations},
};
use crate::{
    foreign::Foreign,
    report::{
        metrics::{Metric, Metrics, count},
        sheet::{Level, Note, Row, Sheet, Tabular},
    },
};

impl Tabular for Advice {
    fn sheet(&self) -> Sheet {
        let gaps = self.gaps.iter().map(Note::from);
        let warnings = self.warnings.iter().map(|one| {
            let items: Vec<&str> = one.items.iter().map(Foreign::exact).collect();
            let items = match &*items {
                [] => String::new(),
                items => format!(" ({})", items.join(", ")),
            };
            let text = format!("{}{items}: {}", one.warning.into_str(), one.message.exact());
            Note::new(Level::Skipped, text)
        });
        let unknown = unknown_rotations(self).into_iter().map(|(why, keys)| {
            let keys: Vec<&str> = keys.iter().map(Foreign::exact).collect();
            Note::new(Level::Unknown, not_looked_up(&keys.join(", "), why.exact()))
        });
        Sheet {
            kind: self.kind.to_owned(),
            run: self.run.clone(),
            totals: totals(self),
            rows: self.items.iter().map(AdviceItem::row).collect(),
            notes: gaps.chain(unknown).chain(warnings).collect(),
        }
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::of(&self.run);
        metrics.add(Metric::Selected, count(self.summary.external_secrets));
        metrics.add(Metric::UnreadResources, count(self.gaps.len()));
        metrics
    }
}

impl AdviceItem {
    fn row(&self) -> Row {
        let suggested = self.suggested_interval.as_ref();
        let suggested = suggested.map(|to| format!(", suggested: {to}"));
        let usd = self.usd_per_month;
        let usd = usd.map(|usd| format!(", ${}", dollars(usd)));
        let message = format!(
            "interval {}{}; {:.0} reads{} a month",
            interval(self),
            suggested.unwrap_or_default(),
            self.reads_per_month,
            usd.unwrap_or_default()
        );
        Row {
            kind: "ExternalSecret",
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            level: match self.verdict {
                Verdict::Good => Level::Good,
                Verdict::TooLong | Verdict::Aggressive => Level::Differs,
                Verdict::Unknown => Level::Unknown,
            },
            store: self
                .store
                .as_ref()
                .map(|store| store.name.clone())
                .unwrap_or_default(),
            verdict: self.verdict.into_str(),
            reason: self
                .reason
                .map(|reason| reason.into_str())
                .unwrap_or_default(),
            message: message.into(),
            ..Row::default()
        }
    }
}
