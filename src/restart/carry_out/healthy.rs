//! Watches a workload until it is healthy.

use std::{collections::BTreeMap, time::Duration};

use cluster::{Cluster, ErrorKind, Path, Query};
use futures::StreamExt as _;
use kube::core::WatchEvent;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    reason::Reason,
    workload::{
        Health, Kind, WorkloadId,
        health::unready_reason,
        object::{Object, PodObject},
    },
};

/// The pause before a watch is started again.
const PAUSE: Duration = Duration::from_millis(500);

/// The timeout for finding the cause of an unhealthy workload.
const LOOK: Duration = Duration::from_secs(2);

/// Why waiting ended without a healthy workload.
pub(super) struct Ended {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// Waits until the workload is healthy. If it is not in time, the error says why its pods are not ready. `from` is the object
/// that the restart's patch returned.
pub(super) async fn wait(
    cluster: &Cluster,
    id: &WorkloadId,
    from: Option<&Object>,
    give_up: Instant,
) -> Result<(), Ended> {
    let Err(mut ended) = until_healthy(cluster, id, from, give_up).await else {
        return Ok(());
    };
    if ended.reason == Reason::NotHealthyAgain {
        ended.message = explained(cluster, id, ended.message).await;
    }
    Err(ended)
}

/// Adds the reason from its pods, if there is one.
pub(super) async fn explained(cluster: &Cluster, id: &WorkloadId, lacking: String) -> String {
    match timeout(LOOK, reason_from_pods(cluster, id)).await {
        Ok(Some(why)) => format!("{lacking}; {why}"),
        Ok(None) | Err(_) => lacking,
    }
}

/// The reason of the unready pod with the most container restarts, and the number of other unready pods.
async fn reason_from_pods(cluster: &Cluster, id: &WorkloadId) -> Option<String> {
    let workload = cluster.get::<Object>(&id.path()).await.ok()?;
    let workload = workload.workload(id.kind);
    let mut query = Query::new(Path::core(Some(&id.namespace), "pods"));
    if let Some(labels) = workload.selector.to_query() {
        query = query.with("labelSelector", labels);
    }
    let mut reasons: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let listed = cluster.list(&query, |pod: PodObject| {
        let status = &pod.status;
        let containers = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses);
        let again = containers.map(|container| container.restart_count).max();
        if let Some(reason) = unready_reason(&pod)
            && let Some(pod) = pod.pod().filter(|pod| workload.owns(pod))
        {
            reasons.insert(pod.name, (again.unwrap_or(0), reason));
        }
    });
    listed.await.ok()?;
    let others = reasons.len().checked_sub(1)?;
    let (_, worst) = reasons.into_values().max_by_key(|(again, _)| *again)?;
    let others = if others == 0 {
        String::new()
    } else {
        format!(" ({others} more are not ready)")
    };
    Some(format!("{worst}{others}"))
}

async fn until_healthy(
    cluster: &Cluster,
    id: &WorkloadId,
    from: Option<&Object>,
    give_up: Instant,
) -> Result<(), Ended> {
    let mut last = "its controller has not observed the restart yet".to_owned();
    // The patch returned the status from before the restart.
    let spared = from.map_or(0, |object| object.clone().workload(id.kind).spared());
    let after = After {
        generation: from.map_or(0, |object| object.metadata.generation),
        spared,
    };
    let mut version = from.map(|object| object.metadata.resource_version.clone());
    if let Some(object) = from
        && let Some(verdict) = verdict(id.kind, object.clone(), after, &mut last)
    {
        return verdict;
    }
    let watching = async {
        loop {
            let from = match version.take() {
                Some(version) => version,
                None => match cluster.get::<Object>(&id.path()).await {
                    Ok(object) => {
                        let version = object.metadata.resource_version.clone();
                        if let Some(verdict) = verdict(id.kind, object, after, &mut last) {
                            return verdict;
                        }
                        version
                    }
                    Err(error) if error.kind == ErrorKind::NotFound => return Err(deleted()),
                    Err(error) => {
                        last = error.to_string();
                        sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            if let Some(verdict) = watch(cluster, id, &from, after, &mut last).await {
                return verdict;
            }
            sleep(PAUSE).await;
        }
    };
    match timeout_at(give_up, watching).await {
        Ok(verdict) => verdict,
        Err(_) => Err(Ended {
            reason: Reason::NotHealthyAgain,
            message: last,
        }),
    }
}

/// Watches one workload until the result is certain. Returns None if the watch ends before that.
async fn watch(
    cluster: &Cluster,
    id: &WorkloadId,
    from: &str,
    after: After,
    last: &mut String,
) -> Option<Result<(), Ended>> {
    let query = Query::new(id.kind.path(Some(&id.namespace)))
        .with("fieldSelector", format!("metadata.name={}", id.name));
    let stream = cluster.watch::<Object>(&query, from).await.ok()?;
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event.ok()? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let verdict = verdict(id.kind, object, after, last);
                if verdict.is_some() {
                    return verdict;
                }
            }
            WatchEvent::Deleted(_) => return Some(Err(deleted())),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(_) => return None,
        }
    }
    None
}

/// The state to wait for.
#[derive(Clone, Copy)]
struct After {
    /// The minimum generation of the object.
    generation: i64,
    /// The number of pods that need not be available.
    spared: i64,
}

/// The result in this state, or None if it may still become healthy.
fn verdict(
    kind: Kind,
    object: Object,
    after: After,
    last: &mut String,
) -> Option<Result<(), Ended>> {
    if object.metadata.generation < after.generation {
        return None;
    }
    let workload = object.workload(kind);
    match workload.health {
        Health::Healthy => Some(Ok(())),
        Health::Unavailable(_) if workload.tolerance.lacking <= after.spared => Some(Ok(())),
        Health::Failing(message) => Some(Err(Ended {
            reason: Reason::NotHealthyAgain,
            message,
        })),
        Health::Unobserved => None,
        Health::Rolling(message) | Health::Unavailable(message) => {
            *last = message;
            None
        }
    }
}

fn deleted() -> Ended {
    Ended {
        reason: Reason::Deleted,
        message: "it was deleted in the meantime".to_owned(),
    }
}
