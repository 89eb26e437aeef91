//! Decides from one observation if *this* sync is proven. Pure.

use crate::{
    inventory::{Ready, Target},
    reason::Reason,
    wire::Observed,
};

/// The expected state of an ExternalSecret after the sync.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) uid: &'a str,
    /// The key of the annotation.
    pub(super) key: &'a str,
    /// The value of the annotation, unique to the attempt.
    pub(super) value: &'a str,
    pub(super) target: Target,
    /// True if it had synced before.
    pub(super) synced_before: bool,
    /// The Ready condition at the time of the annotation.
    pub(super) before: Option<&'a Ready>,
}

/// The result of one observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It does not have our annotation: not yet, or not any more.
    NotAnnotated,
    /// The operator has not processed it yet.
    Waiting,
    /// The operator processed our write and wrote the Secret.
    Proven,
    /// The operator processed our write, but wrote no Secret.
    Unproven(Reason),
    /// The operator failed. The error text comes with an Event.
    Failed,
    /// It is being deleted.
    Deleted,
    /// It is another object of the same name.
    Replaced,
}

/// Judges one observation.
pub(super) fn judge(expected: Expected<'_>, observed: &Observed) -> Judgement {
    let metadata = &observed.metadata;
    if metadata.uid != expected.uid {
        return Judgement::Replaced;
    }
    if metadata.deletion_timestamp.is_some() {
        return Judgement::Deleted;
    }
    if metadata
        .annotations
        .get(expected.key)
        .is_none_or(|value| value != expected.value)
    {
        return Judgement::NotAnnotated;
    }
    let ready = crate::wire::ready(&observed.status.conditions);
    if observed.is_synced() {
        return ready
            .as_ref()
            .map_or(Judgement::Waiting, |ready| answered(expected, ready));
    }
    match ready {
        // A repeated failure does not change the status, so only a changed condition is an answer to our write.
        Some(ready) if !ready.ready && Some(&ready) != expected.before => Judgement::Failed,
        _ => Judgement::Waiting,
    }
}

/// Judges a processed write by the reason of the condition. "retained" has no reason of its own and is found in the message.
fn answered(expected: Expected<'_>, ready: &Ready) -> Judgement {
    if !ready.ready {
        return Judgement::Failed;
    }
    match &*ready.reason {
        "SecretDeleted" | "ResourceDeleted" => Judgement::Unproven(Reason::SecretDeleted),
        "SecretMissing" | "ResourceMissing" => Judgement::Unproven(Reason::SecretMissing),
        _ if ready.message.contains("retained") => Judgement::Unproven(Reason::Retained),
        _ if !expected.target.written => Judgement::Unproven(Reason::NotWritten),
        _ if expected.target.immutable && expected.synced_before => {
            Judgement::Unproven(Reason::Immutable)
        }
        _ => Judgement::Proven,
    }
}

#[cfg(test)]
mod tests {
    use eso_model::{
        digest::{Algorithm, synced_resource_version},
        expected::CreationPolicy,
    };
    use serde_json::{Value, json};

    use super::*;

    const WRITTEN: Target = Target {
        written: true,
        immutable: false,
        creation: CreationPolicy::Owner,
        templated: false,
    };

    fn expected(before: Option<&Ready>) -> Expected<'_> {
        Expected {
            uid: "u",
            key: "force-sync",
            value: "run",
            target: WRITTEN,
            synced_before: true,
            before,
        }
    }

    /// An object with our annotation; if `synced`, with this digest of its current metadata.
    fn object(synced: Option<Algorithm>, status: &str, reason: &str, message: &str) -> Value {
        let annotations = [("force-sync".to_owned(), "run".to_owned())].into();
        let labels = [("app".to_owned(), "demo".to_owned())].into();
        let proof =
            synced.map(|algorithm| synced_resource_version(algorithm, 3, &annotations, &labels));
        json!({
            "metadata": {"uid": "u", "generation": 3, "annotations": annotations, "labels": labels},
            "status": {
                "syncedResourceVersion": proof.unwrap_or_else(|| "3-0".to_owned()),
                "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}],
            },
        })
    }

    fn judged(expected: Expected<'_>, object: Value) -> Judgement {
        judge(expected, &serde_json::from_value(object).unwrap())
    }

    #[test]
    fn each_digest_algorithm_proves() {
        for algorithm in Algorithm::ALL {
            let synced = object(Some(algorithm), "True", "SecretSynced", "secret synced");
            assert_eq!(judged(expected(None), synced), Judgement::Proven);
        }
    }

    #[test]
    fn old_ready_condition_proves_nothing() {
        let old = object(None, "True", "SecretSynced", "secret synced");
        assert_eq!(judged(expected(None), old), Judgement::Waiting);
    }

    #[test]
    fn proof_without_our_annotation_does_not_count() {
        let mut other = object(Some(Algorithm::Sha3_224), "True", "SecretSynced", "");
        other["metadata"]["annotations"]["force-sync"] = json!("somebody else");
        assert_eq!(judged(expected(None), other), Judgement::NotAnnotated);
    }

    #[test]
    fn changed_labels_invalidate_the_digest() {
        let mut edited = object(Some(Algorithm::Sha3_224), "True", "SecretSynced", "");
        edited["metadata"]["labels"]["app"] = json!("edited meanwhile");
        assert_eq!(judged(expected(None), edited), Judgement::Waiting);
    }

    #[test]
    fn processed_without_secret_is_unproven() {
        let synced = |reason: &str, message: &str| {
            object(Some(Algorithm::Sha3_224), "True", reason, message)
        };
        for (reason, message, judgement) in [
            ("SecretDeleted", "", Reason::SecretDeleted),
            ("SecretMissing", "", Reason::SecretMissing),
            (
                "SecretSynced",
                "secret retained due to DeletionPolicy=Retain",
                Reason::Retained,
            ),
        ] {
            assert_eq!(
                judged(expected(None), synced(reason, message)),
                Judgement::Unproven(judgement)
            );
        }
        let none = Target {
            written: false,
            ..WRITTEN
        };
        let none = Expected {
            target: none,
            ..expected(None)
        };
        assert_eq!(
            judged(none, synced("SecretSynced", "")),
            Judgement::Unproven(Reason::NotWritten)
        );
        let immutable = Expected {
            target: Target {
                immutable: true,
                ..WRITTEN
            },
            ..expected(None)
        };
        assert_eq!(
            judged(immutable, synced("SecretSynced", "")),
            Judgement::Unproven(Reason::Immutable)
        );
        let first = Expected {
            synced_before: false,
            ..immutable
        };
        assert_eq!(
            judged(first, synced("SecretSynced", "")),
            Judgement::Proven,
            "the first sync writes"
        );
    }

    #[test]
    fn only_a_changed_failure_is_an_answer() {
        let message = "could not get secret data from provider";
        let failed = || object(None, "False", "SecretSyncedError", message);
        assert_eq!(judged(expected(None), failed()), Judgement::Failed);
        let same = Ready {
            ready: false,
            reason: "SecretSyncedError".to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(judged(expected(Some(&same)), failed()), Judgement::Waiting);
        let other = Ready {
            message: "could not update secret".to_owned(),
            ..same
        };
        assert_eq!(judged(expected(Some(&other)), failed()), Judgement::Failed);
    }

    #[test]
    fn recreated_object_is_replaced() {
        let mut replaced = object(Some(Algorithm::Sha3_224), "True", "SecretSynced", "");
        replaced["metadata"]["uid"] = json!("v");
        assert_eq!(judged(expected(None), replaced), Judgement::Replaced);
        let mut deleted = object(Some(Algorithm::Sha3_224), "True", "SecretSynced", "");
        deleted["metadata"]["deletionTimestamp"] = json!("2026-03-01T12:00:00Z");
        assert_eq!(judged(expected(None), deleted), Judgement::Deleted);
    }
}
