//! The diagnosis as rows: one for each link.

use super::{Diagnosis, Health};
use crate::report::{
    metrics::Metrics,
    sheet::{Level, Note, Row, Sheet, Tabular},
};

impl Tabular for Diagnosis {
    fn sheet(&self) -> Sheet {
        let rows = self.links.iter().map(|link| Row {
            kind: "link",
            namespace: self.namespace.clone(),
            name: link.about.clone(),
            level: match link.health {
                Health::Well => Level::Good,
                Health::Wrong => Level::Differs,
                Health::Unknown => Level::Unknown,
                Health::NotChecked => Level::Skipped,
            },
            message: link.text.clone(),
            ..Row::default()
        });
        let next = self.next.iter();
        let verdict = self.verdict.map(|verdict| verdict.into_str());
        let id = format!("{}/{}", self.namespace.terminal(), self.name.terminal());
        Sheet {
            kind: self.kind.to_owned(),
            run: self.run.clone(),
            totals: [id].into_iter().chain(verdict.map(str::to_owned)).collect(),
            rows: rows.collect(),
            notes: next
                .map(|next| Note::new(Level::Skipped, format!("next: {}", next.exact())))
                .collect(),
        }
    }

    fn metrics(&self) -> Metrics {
        Metrics::of(&self.run)
    }
}
