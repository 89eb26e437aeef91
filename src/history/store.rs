//! Reads and writes the ConfigMap.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster::{ApiError, Cluster, ErrorKind, Path, wire::Meta};
use sandbox::Sandbox;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::sync::oneshot;

use super::read::{Kept, change, parse};
use crate::{
    rbac::HISTORY,
    report::past::{Compared, PastRun, Word},
};

/// The label that marks the ConfigMap as one that eso-sync may overwrite.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "eso-sync");

/// How often a write is tried, if other runs write at the same time.
const ATTEMPTS: usize = 8;

/// The longest time that the end of a run waits for its summary to be written.
const LONGEST: Duration = Duration::from_secs(4);

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The ConfigMap cannot be read or written.
    #[error(transparent)]
    Call(#[from] ApiError),
    /// Another program made the ConfigMap.
    #[error(
        "the ConfigMap {0} was not made by eso-sync: it lacks the label {label}: {value}. Rename it, or delete it if nobody needs it",
        label = MANAGED_BY.0, value = MANAGED_BY.1
    )]
    Foreign(String),
    #[error("other runs write to the ConfigMap {0} all the time")]
    Busy(String),
    #[error("the API server does not answer within {} seconds", LONGEST.as_secs())]
    Slow,
}

/// The ConfigMap, as far as it matters.
#[derive(Debug, Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

fn maps(namespace: &str) -> Path {
    Path::core(Some(namespace), "configmaps")
}

/// The name of the ConfigMap for people.
pub(super) fn shown(namespace: &str) -> String {
    format!("{namespace}/{HISTORY}")
}

/// Reads the ConfigMap. None if it does not exist.
async fn object(cluster: &Cluster, namespace: &str) -> Result<Option<Object>, HistoryError> {
    let path = maps(namespace).named(HISTORY);
    let object: Object = match cluster.get(&path).await {
        Ok(object) => object,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (label, value) = MANAGED_BY;
    if object.metadata.labels.get(label).map(String::as_str) != Some(value) {
        return Err(HistoryError::Foreign(shown(namespace)));
    }
    Ok(Some(object))
}

/// Reads the history. None if no run has been kept yet.
pub async fn read(cluster: &Cluster, namespace: &str) -> Result<Option<Kept>, HistoryError> {
    let object = object(cluster, namespace).await?;
    Ok(object.map(|object| parse(&object.data)))
}

/// What a run needs to add its summary at its end.
#[derive(Clone)]
pub struct Keeper {
    pub cluster: Cluster,
    pub namespace: String,
    /// How many runs of the same command and job are kept.
    pub most: usize,
    pub run: Word,
    pub command: &'static str,
    pub job: Option<Word>,
    /// The embedded cluster must run until the end.
    pub sandbox: Option<Arc<Sandbox>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    /// Adds a summary. An error is a warning, because the run itself is over. `known` gets the difference from the last run as soon as
    /// the history is read.
    pub async fn append(&self, past: &PastRun, known: oneshot::Sender<Compared>) {
        let mut known = Some(known);
        let adding = tokio::time::timeout(LONGEST, self.add(past, &mut known));
        if let Err(error) = adding.await.unwrap_or(Err(HistoryError::Slow)) {
            if let Some(known) = known {
                known.send(Err(error.to_string())).ok();
            }
            let denied =
                matches!(&error, HistoryError::Call(error) if error.kind == ErrorKind::Denied);
            let hint = if denied {
                ". `eso-sync rbac` prints the rights that `report.history` needs"
            } else {
                ""
            };
            tracing::warn!("the run is missing in the history: {error}{hint}");
        }
    }

    async fn add(
        &self,
        past: &PastRun,
        known: &mut Option<oneshot::Sender<Compared>>,
    ) -> Result<(), HistoryError> {
        for _ in 0..ATTEMPTS {
            let object = object(&self.cluster, &self.namespace).await?;
            if let Some(known) = known.take() {
                let kept = object.as_ref().map(|object| parse(&object.data));
                // Nobody may be told about changes.
                known
                    .send(self.compare(past, &kept.unwrap_or_default()))
                    .ok();
            }
            let is_known = object.is_some();
            let written = match object {
                Some(object) => self.patch(&object, past).await,
                None => self.create(past).await,
            };
            match written {
                // Another run was faster, or somebody deleted it.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) if is_known && error.kind == ErrorKind::NotFound => {}
                written => return Ok(written?),
            }
        }
        Err(HistoryError::Busy(shown(&self.namespace)))
    }

    /// The difference from the last run of the same command and job.
    fn compare(&self, past: &PastRun, kept: &Kept) -> Compared {
        let runs = kept.runs.iter();
        let earlier: Vec<&PastRun> = runs
            .filter(|(id, run)| *id != self.run && run.series() == past.series())
            .map(|(_, run)| run)
            .collect();
        if earlier.is_empty() && kept.dropped > 0 {
            let place = shown(&self.namespace);
            return Err(format!(
                "entries of the ConfigMap {place} are no summaries of runs"
            ));
        }
        Ok(past.change_since(&earlier))
    }

    async fn patch(&self, object: &Object, past: &PastRun) -> Result<(), ApiError> {
        let change = change(&object.data, (&self.run, past), self.most);
        let path = maps(&self.namespace).named(HISTORY);
        let version = &object.metadata.resource_version;
        let body = json!({"metadata": {"resourceVersion": version}, "data": change});
        let patched = self.cluster.patch::<IgnoredAny>(&path, &body);
        patched.await.map(drop)
    }

    async fn create(&self, past: &PastRun) -> Result<(), ApiError> {
        let (label, value) = MANAGED_BY;
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": HISTORY, "labels": {"app.kubernetes.io/name": "eso-sync", label: value}},
            "data": {self.run.as_str(): past.text()},
        });
        let maps = maps(&self.namespace);
        let created = self.cluster.create::<IgnoredAny>(&maps, &object);
        created.await.map(drop)
    }
}
