//! The results of a plan. Pure.

use std::collections::BTreeMap;

use eso_model::QuotaKey;

use crate::{
    finding::Finding,
    outcome::ItemResult,
    plan::{Item, ItemAt},
    reason::Reason,
    restart::results::RestartResults,
};

/// The results of a plan. Empty before anything was executed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// The result of each item that the plan syncs.
    pub items: BTreeMap<ItemAt, ItemResult>,
    /// The findings of the drift check after the syncs.
    pub checked: BTreeMap<ItemAt, Finding>,
    pub restarts: RestartResults,
    /// Why the syncs ended early, if they did.
    pub stopped: Option<Reason>,
    /// The namespaces whose syncs ended early because too many failed, each with a text.
    pub stopped_namespaces: BTreeMap<String, String>,
    /// True if anything was written.
    pub wrote: bool,
    /// True if the API server denied a write.
    pub denied: bool,
    /// The reason if Events could not be watched. Repeated failures then appear as timeouts.
    pub events_unwatched: Option<String>,
    /// Provider calls of all drift checks, by quota.
    pub reads: BTreeMap<QuotaKey, u64>,
    /// How often providers throttled these checks, by quota.
    pub throttles: BTreeMap<QuotaKey, u64>,
}

impl Results {
    /// The reason if the run, or its work in some namespaces, ended early.
    pub fn stopped(&self) -> Option<Reason> {
        let some = !self.stopped_namespaces.is_empty();
        let in_namespaces = some.then_some(Reason::TooManyFailures);
        self.stopped.or(self.restarts.stopped).or(in_namespaces)
    }

    /// The latest finding for an item.
    pub fn finding<'a>(&'a self, at: ItemAt, item: &'a Item) -> Option<&'a Finding> {
        self.checked.get(&at).or(item.finding.as_ref())
    }
}
