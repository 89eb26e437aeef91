//! Writes Kubernetes Events before the process ends: one for each ExternalSecret and workload that failed, and one on the job's
//! Pod. None for successes, because that would double the load on the API server.

use std::time::Duration;

use cluster::{Cluster, FIELD_MANAGER, Path, wire};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    discover::Api,
    outcome::Outcome,
    plan::{Item, Plan},
    report::Document,
    restart::{plan::Step, results::RestartOutcome},
    results::Results,
};

/// The timeout for all Events. A Pod has 30 s between SIGTERM and SIGKILL.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(8);

/// Parallel writes.
const AT_ONCE: usize = 8;

/// The API server's limit for an Event's note.
const NOTE: usize = 1024;

/// The Pod that the process runs in.
#[derive(Clone, Debug)]
pub struct JobPod {
    pub namespace: String,
    pub name: String,
}

/// The contents of the Events.
#[derive(Clone, Copy, Debug)]
pub struct EventData<'a> {
    pub plan: &'a Plan,
    pub results: &'a Results,
    pub document: &'a Document,
}

pub async fn announce(
    cluster: &Cluster,
    api: &Api,
    pod: Option<&JobPod>,
    data: EventData<'_>,
    now: Timestamp,
) {
    let EventData {
        plan,
        results,
        document,
    } = data;
    let failed = results
        .items
        .iter()
        .filter(|(_, result)| result.outcome == Outcome::Failed)
        .map(|(&at, result)| {
            let item = &plan.items[at];
            let reason = result
                .reason
                .map(crate::reason::Reason::as_str)
                .unwrap_or_default();
            on_external_secret(
                api,
                item,
                &document.run.id,
                &format!("{reason}: {}", result.message),
                now,
            )
        });
    let not_restarted = plan.restarts.steps.iter().filter_map(|step| {
        let result = results.restarts.of.get(&step.id)?;
        (result.outcome == RestartOutcome::Failed).then(|| {
            let message = format!("{}: {}", result.reason.as_str(), result.message);
            on_workload(step, &document.run.id, &message, now)
        })
    });
    let written = stream::iter(failed.chain(not_restarted).collect::<Vec<_>>())
        .map(|(namespace, event)| write(cluster, namespace, event))
        .buffer_unordered(AT_ONCE)
        .for_each(|()| std::future::ready(()));
    let all = async {
        written.await;
        if let Some(pod) = pod {
            announce_on_pod(cluster, pod, document, now).await;
        }
    };
    if timeout(EVENTS_TIMEOUT, all).await.is_err() {
        tracing::warn!("could not write all Events in time");
    }
}

fn on_external_secret(
    api: &Api,
    item: &Item,
    run: &str,
    message: &str,
    now: Timestamp,
) -> (String, Value) {
    let about = json!({
        "apiVersion": api.api_version(),
        "kind": "ExternalSecret",
        "namespace": item.id.namespace,
        "name": item.id.name,
        "uid": item.uid,
    });
    let event = event(
        &about,
        &item.id.name,
        run,
        "Warning",
        "ForceSyncFailed",
        message,
        now,
    );
    (item.id.namespace.clone(), event)
}

fn on_workload(step: &Step, run: &str, message: &str, now: Timestamp) -> (String, Value) {
    let kind = step.id.kind;
    let about = json!({
        "apiVersion": format!("{}/{}", kind.group(), kind.version()),
        "kind": kind.into_str(),
        "namespace": step.id.namespace,
        "name": step.id.name,
        "uid": step.uid,
    });
    // A workload and an ExternalSecret can have the same name, but their Events must not.
    let name = format!("{}-{}", kind.into_str().to_lowercase(), step.id.name);
    let event = event(&about, &name, run, "Warning", "RestartFailed", message, now);
    (step.id.namespace.clone(), event)
}

/// Writes the summary Event on the job's Pod.
pub async fn announce_on_pod(cluster: &Cluster, pod: &JobPod, document: &Document, now: Timestamp) {
    #[derive(serde::Deserialize)]
    struct Pod {
        metadata: wire::Meta,
    }
    let path = Path::core(Some(&pod.namespace), "pods").named(&pod.name);
    let uid = match cluster.get::<Pod>(&path).await {
        Ok(pod) => pod.metadata.uid,
        Err(error) => {
            tracing::debug!(%error, "could not write an Event on this Pod");
            return;
        }
    };
    let about = json!({"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": uid});
    let (kind, reason) = if document.run.exit_code == 0 {
        ("Normal", "RunSucceeded")
    } else {
        ("Warning", "RunFailed")
    };
    let counts: Vec<String> = document
        .summary
        .outcomes
        .iter()
        .map(|(outcome, count)| format!("{count} {}", outcome.into_str()))
        .collect();
    let counts = if counts.is_empty() {
        "nothing selected".to_owned()
    } else {
        counts.join(", ")
    };
    let message = format!(
        "run {}: {counts}; exit code {}",
        document.run.id, document.run.exit_code
    );
    let event = event(
        &about,
        &pod.name,
        &document.run.id,
        kind,
        reason,
        &message,
        now,
    );
    write(cluster, pod.namespace.clone(), event).await;
}

fn event(
    about: &Value,
    name: &str,
    run: &str,
    kind: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Value {
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    // The name of an Event is the object's name plus a unique suffix. It must be a DNS subdomain of at most 253 characters.
    let room = 252_usize.saturating_sub(run.len());
    let short: String = name.chars().take(room).collect();
    let note: String = message.chars().take(NOTE).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{}.{}", short.trim_end_matches(['.', '-']), run.to_lowercase())},
        "involvedObject": about,
        "type": kind,
        "reason": reason,
        "message": note,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": run,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}

async fn write(cluster: &Cluster, namespace: String, event: Value) {
    let path = Path::core(Some(&namespace), "events");
    if let Err(error) = cluster.create::<serde::de::IgnoredAny>(&path, &event).await {
        tracing::debug!(%error, "could not write an Event");
    }
}
