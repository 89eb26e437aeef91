//! The impact as rows: a row for each ExternalSecret, with its chain, and for each workload.

use super::{
    document::{Impact, ImpactItem, ImpactUse, ImpactWorkload, UseCertainty},
    text::{action, keys, nothing},
};
use crate::{
    foreign::Foreign,
    report::{
        DocumentAction, RestartAction,
        metrics::{Metric, Metrics, count},
        sheet::{ChainLink, Level, Note, Row, Sheet, Tabular, totals},
    },
};

impl Tabular for Impact {
    fn sheet(&self) -> Sheet {
        let items = self.items.iter().map(|item| Row {
            chain: self.chain(item),
            ..item.row()
        });
        let workloads = self.workloads.iter().map(ImpactWorkload::row);
        let rows: Vec<Row> = items.chain(workloads).collect();
        Sheet {
            kind: self.kind.to_owned(),
            run: self.run.clone(),
            totals: totals(&rows, |row| row.outcome),
            rows,
            notes: self.notes(),
        }
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::of(&self.run);
        metrics.add(Metric::Selected, count(self.summary.external_secrets));
        metrics.add(Metric::UnreadResources, count(self.gaps.len()));
        metrics
    }
}

impl Impact {
    fn notes(&self) -> Vec<Note> {
        let refused = self.summary.refused.iter();
        let refused = refused.map(|why| {
            let text = format!("a run over these would be refused: {why}");
            Note::new(Level::Failed, text)
        });
        let gaps = self.gaps.iter().map(Note::from);
        let warnings = self.warnings.iter();
        let warnings = warnings.map(|text| Note::new(Level::Skipped, text.clone()));
        let nothing = self.items.is_empty().then(|| nothing(self));
        let nothing = nothing.map(|text| Note::new(Level::Skipped, text));
        let all = nothing.into_iter().chain(refused);
        all.chain(gaps).chain(warnings).collect()
    }

    /// The links from the keys to the workloads.
    fn chain(&self, item: &ImpactItem) -> Vec<ChainLink> {
        let mut chain: Vec<ChainLink> = item.uses.iter().map(ImpactUse::link).collect();
        let level = item.level();
        chain.push(ChainLink {
            kind: "ExternalSecret",
            name: item.name.clone(),
            level,
            state: action(item),
        });
        let Some(secret) = &item.secret else {
            return chain;
        };
        chain.push(ChainLink {
            kind: "Secret",
            name: secret.clone(),
            level,
            state: if level == Level::Changed {
                "would be written"
            } else {
                "stays as it is"
            },
        });
        let uses = |workload: &&ImpactWorkload| {
            workload.namespace == item.namespace && workload.secrets.contains(secret)
        };
        let workloads = self.workloads.iter().filter(uses);
        chain.extend(workloads.map(|workload| ChainLink {
            kind: workload.kind.into_str(),
            name: workload.name.clone(),
            level: workload.level(),
            state: workload.action.into_str(),
        }));
        chain
    }
}

impl ImpactItem {
    const fn level(&self) -> Level {
        match self.action {
            DocumentAction::Sync => Level::Changed,
            DocumentAction::Skip if self.reason.needs_attention() => Level::Unknown,
            DocumentAction::Skip => Level::Skipped,
        }
    }

    fn row(&self) -> Row {
        let first = self.uses.first();
        let provider = first.and_then(|used| used.provider.clone());
        let keys: Vec<Foreign> = keys(self);
        let keys: Vec<&str> = keys.iter().map(Foreign::exact).collect();
        let keys = keys.join(", ");
        let parts = [&*keys, self.message.exact()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let more = self.more_secret_keys.iter();
        let more = more.map(|more| more.words().into());
        Row {
            kind: "ExternalSecret",
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            level: self.level(),
            store: first
                .map(|used| used.store.name.clone())
                .unwrap_or_default(),
            provider: provider.map(Foreign::from).unwrap_or_default(),
            verdict: self.certainty.into_str(),
            outcome: action(self),
            reason: self.reason.into_str(),
            message: parts.join("; ").into(),
            next_step: self.next_step.unwrap_or_default().into(),
            keys: self.secret_keys.iter().cloned().chain(more).collect(),
            ..Row::default()
        }
    }
}

impl ImpactUse {
    fn link(&self) -> ChainLink {
        let what = self.key.as_ref().or(self.search.as_ref());
        let what = what.map(Foreign::exact).unwrap_or_default();
        ChainLink {
            kind: "provider",
            name: format!("{} {what}", self.store.name.exact()).into(),
            level: match self.certainty {
                UseCertainty::Uses | UseCertainty::ByTemplate => Level::Changed,
                UseCertainty::MayUse => Level::Unknown,
            },
            state: self.certainty.into_str(),
        }
    }
}

impl ImpactWorkload {
    const fn level(&self) -> Level {
        match self.action {
            RestartAction::Restart | RestartAction::RestartIfChanged => Level::Changed,
            RestartAction::Leave if self.reason.needs_attention() => Level::Unknown,
            RestartAction::Leave => Level::Skipped,
        }
    }

    fn row(&self) -> Row {
        Row {
            kind: self.kind.into_str(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            level: self.level(),
            outcome: self.action.into_str(),
            reason: self.reason.into_str(),
            message: self.message.clone(),
            next_step: self.next_step.unwrap_or_default().into(),
            wave: self.rule.zip(self.wave),
            ..Row::default()
        }
    }
}
