//! Writes the force-sync annotation.

use std::time::Duration;

use cluster::{ApiError, ErrorKind, Path};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Job, path_of};
use crate::{
    plan::{Step, StepTarget},
    reason::Reason,
    wire::Observed,
};

/// The first backoff of a patch if the API server is unreachable. It doubles with each retry.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The maximum backoff. Retries end at the item's timeout. Before each retry the object is read, in case the last patch
/// succeeded.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The error of a patch.
#[derive(Debug)]
pub(super) struct PatchFailure {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) denied: bool,
}

/// Writes the annotation of a step. After a lost response the object is read before a retry.
pub(super) async fn patch(
    job: &Job<'_>,
    step: &Step,
    value: String,
) -> Result<Observed, PatchFailure> {
    let Annotated { path, key, uid } = annotated(job, step);
    let body = json!({"metadata": {"uid": uid, "annotations": {key: value}}});
    let give_up = Instant::now() + job.policy.sync.timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match job.cluster.patch_paced::<Observed>(&path, &body).await {
            Ok(object) => break Ok(object),
            Err(error) => error,
        };
        let now = job.cluster.get::<Observed>(&path).await;
        if let Ok(object) = &now
            && has_annotation(object, uid, key, &value)
        {
            break now.map_err(|error| refusal(&error, None, uid));
        }
        let other = now.as_ref().is_ok_and(|object| object.metadata.uid != uid);
        let may_pass = matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Conflict) && !other;
        if !may_pass || Instant::now() + pause >= give_up {
            break Err(refusal(&error, now.as_ref().ok(), uid));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The object and the annotation key that a step patches.
struct Annotated<'a> {
    path: Path,
    key: &'a str,
    uid: &'a str,
}

fn annotated<'a>(job: &Job<'a>, step: &'a Step) -> Annotated<'a> {
    match &step.target {
        StepTarget::ExternalSecret(member) => {
            let item = &job.plan.items[*member];
            Annotated {
                path: path_of(job, &item.id),
                key: &job.policy.sync.annotation,
                uid: &item.uid,
            }
        }
        StepTarget::Parent { name, uid } => Annotated {
            path: job.api.path(None, "clusterexternalsecrets").named(name),
            key: eso_model::PARENT_FORCE_SYNC,
            uid,
        },
    }
}

/// True if it is the planned object, with our annotation.
fn has_annotation(object: &Observed, uid: &str, key: &str, value: &str) -> bool {
    object.metadata.uid == uid
        && object
            .metadata
            .annotations
            .get(key)
            .is_some_and(|present| present == value)
}

/// Converts the error of a patch, given the current object.
fn refusal(error: &ApiError, now: Option<&Observed>, uid: &str) -> PatchFailure {
    let other = now.is_some_and(|object| object.metadata.uid != uid);
    let reason = if error.kind == ErrorKind::NotFound {
        Reason::Deleted
    } else if other {
        Reason::Replaced
    } else if error.kind == ErrorKind::Unavailable {
        Reason::ApiUnavailable
    } else {
        Reason::Refused
    };
    PatchFailure {
        reason,
        message: error.to_string(),
        denied: error.kind == ErrorKind::Denied,
    }
}
