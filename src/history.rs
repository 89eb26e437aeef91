//! The history: summaries of the last runs in a ConfigMap of the job's namespace, and what can be learned from them.
//!
//! The Lease does not protect the ConfigMap, because a run is over when its summary is written. So each write names the resource version
//! that it read. Nothing here changes the exit code of a run.

mod document;
mod read;
mod sheet;
mod store;
mod text;

pub use self::{
    document::{
        About, History, HistoryItem, HistoryPoint, HistoryRun, HistorySummary, HistoryTrend, Trend,
        document,
    },
    read::{Kept, parse},
    store::{HistoryError, Keeper, read},
    text::text,
};

#[cfg(test)]
mod tests;
