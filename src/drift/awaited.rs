//! Checks again until the values that events tell of can be read.

use std::{collections::BTreeSet, time::Duration};

use eso_model::Id;
use tokio::time::{Instant, sleep};

use super::check::{Check, Versions};
use crate::{finding::Findings, inventory::Inventory};

/// The first pause. Each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// Returns the ExternalSecrets that have not read the awaited values yet, by the versions that were read.
pub type Missing<'a> = dyn Fn(&Inventory, &Versions) -> BTreeSet<Id> + Sync + 'a;

/// Values that must be read before a check ends.
#[derive(Clone, Copy)]
pub struct Awaited<'a> {
    pub missing: &'a Missing<'a>,
    /// How long to wait. Zero: the versions are kept, but nothing is waited for.
    pub at_most: Duration,
}

impl Awaited<'_> {
    /// Checks these ExternalSecrets after a pause, and those that have not read the values again after further ones.
    pub async fn check(
        self,
        check: &mut Check,
        inventory: &Inventory,
        wanted: &BTreeSet<Id>,
        end: Option<Instant>,
    ) -> Findings {
        let mut until = Instant::now() + self.at_most;
        if let Some(end) = end {
            until = until.min(end);
        }
        let mut findings = Findings::default();
        let mut missing = wanted.clone();
        let mut pause = PAUSE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            sleep(pause.min(left)).await;
            pause *= 2;
            let mut found = check.first(inventory, &missing, end).await;
            let again = std::mem::take(&mut found.of);
            let mut of = std::mem::take(&mut findings.of);
            of.extend(again);
            findings = Findings { of, ..found };
            let versions = check.versions();
            missing = versions.map_or_else(BTreeSet::new, |it| (self.missing)(inventory, it));
            missing.retain(|id| wanted.contains(id));
            if missing.is_empty() || Instant::now() >= until {
                return findings;
            }
        }
    }
}
