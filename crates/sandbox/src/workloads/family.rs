//! The ReplicaSets of a Deployment or an Argo Rollout, one for each version of the template.

use std::{cmp::Reverse, sync::Arc};

use eso_model::digest::Algorithm;
use serde_json::{Map, Value, json};

use super::{Key, Kind, Workloads, number, reference};
use crate::object;

/// The annotations in which the two controllers count template versions.
const REVISIONS: [&str; 2] = [
    "deployment.kubernetes.io/revision",
    "rollout.argoproj.io/revision",
];

fn revision_key(owner: &Value) -> &'static str {
    let [deployment, rollout] = REVISIONS;
    match object::text(owner, "/kind") {
        "Rollout" => rollout,
        _ => deployment,
    }
}

pub(super) struct Family {
    /// The ReplicaSet of the current template.
    pub(super) new: Option<Arc<Value>>,
    /// The other ReplicaSets, oldest first.
    pub(super) old: Vec<Arc<Value>>,
}

/// The desired number of Pods, and how many more or fewer a rolling update may have.
#[derive(Clone, Copy)]
pub(super) struct RolloutBounds {
    pub(super) replicas: i64,
    pub(super) surge: i64,
    pub(super) unavailable: i64,
}

impl Family {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(&self.new)
    }

    /// The sum of a number over all ReplicaSets.
    pub(super) fn sum(&self, pointer: &str) -> i64 {
        self.all().map(|set| number(set, pointer, 0)).sum()
    }

    /// The number of the new ReplicaSet.
    pub(super) fn of_new(&self, pointer: &str) -> i64 {
        self.new.as_ref().map_or(0, |set| number(set, pointer, 0))
    }
}

fn wanted(set: &Value) -> i64 {
    number(set, "/spec/replicas", 1)
}

fn revision(set: &Value) -> i64 {
    let counted = REVISIONS
        .iter()
        .find_map(|key| object::annotation(set, key));
    counted
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// The hash of a template, for names and labels.
pub(super) fn hash(template: &Value) -> String {
    let digest = Algorithm::Md5.hex(&template.to_string());
    digest.get(..10).unwrap_or_default().to_owned()
}

impl Workloads {
    /// The ReplicaSets of an owner. `label` identifies the template of their Pods.
    pub(super) fn family(&self, owner: &Value, label: &str) -> Family {
        let mut sets = self.owned(owner, Kind::ReplicaSet);
        sets.sort_by_cached_key(|set| (revision(set), object::name(set).to_owned()));
        let template = object::at(owner, "/spec/template");
        let is_new = |set: &Arc<Value>| {
            let mut own = object::at(set, "/spec/template").clone();
            if let Some(labels) = own.pointer_mut("/metadata/labels") {
                object::as_map(labels).remove(label);
            }
            own == *template
        };
        let new = sets
            .iter()
            .rposition(is_new)
            .map(|index| sets.remove(index));
        Family { new, old: sets }
    }

    /// Creates the ReplicaSet of the current template.
    pub(super) fn create_replica_set(
        &self,
        owner: &Value,
        family: &Family,
        label: &str,
        replicas: i64,
    ) {
        let mut template = object::at(owner, "/spec/template").clone();
        let hash = hash(&template);
        let mut selector = object::at(owner, "/spec/selector").clone();
        object::child(&mut selector, "matchLabels").insert(label.to_owned(), hash.as_str().into());
        let labels = object::metadata(&mut template)
            .entry("labels")
            .or_insert_with(|| json!({}));
        object::set(labels, label, hash.as_str());
        let labels = labels.clone();
        let mut annotations = annotations_for_sets(owner);
        annotations.insert(
            revision_key(owner).to_owned(),
            next_revision(family).to_string().into(),
        );
        let mut spec = json!({"replicas": replicas, "selector": selector, "template": template});
        if let Some(seconds) = owner.pointer("/spec/minReadySeconds") {
            object::set(&mut spec, "minReadySeconds", seconds.clone());
        }
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "namespace": object::namespace(owner), "name": format!("{}-{hash}", object::name(owner)), "labels": labels,
                "annotations": annotations, "ownerReferences": reference(owner),
            },
            "spec": spec,
        });
        self.create("replicasets", set, owner);
    }

    /// Updates the revision annotations of the new ReplicaSet and its owner, and copies the owner's annotations to the
    /// ReplicaSet.
    pub(super) fn annotate(&self, key: &Key, owner: &Value, family: &Family) {
        let Some(new) = &family.new else {
            return;
        };
        let count = revision(new).max(next_revision(family)).to_string();
        let mut passed = annotations_for_sets(owner);
        passed.insert(revision_key(owner).to_owned(), count.as_str().into());
        let counted = Map::from_iter([(revision_key(owner).to_owned(), count.into())]);
        for (key, annotations) in [(&Key::of(Kind::ReplicaSet, new), passed), (key, counted)] {
            self.change(key, false, |object| {
                let present = object::metadata(object)
                    .entry("annotations")
                    .or_insert_with(|| json!({}));
                object::as_map(present).extend(annotations);
            });
        }
    }

    pub(super) fn scale(&self, set: &Value, replicas: i64) {
        if wanted(set) != replicas {
            self.change(&Key::of(Kind::ReplicaSet, set), false, |set| {
                object::child(set, "spec").insert("replicas".to_owned(), replicas.into());
            });
        }
    }

    /// Performs one step of a rolling update.
    pub(super) fn roll(&self, family: &Family, bounds: RolloutBounds) {
        let Some(new) = &family.new else {
            return;
        };
        let total: i64 = family.all().map(|set| wanted(set)).sum();
        let has = wanted(new);
        if has > bounds.replicas {
            return self.scale(new, bounds.replicas);
        }
        let more = (bounds.replicas + bounds.surge - total).min(bounds.replicas - has);
        if more > 0 {
            return self.scale(new, has + more);
        }
        let least = bounds.replicas - bounds.unavailable;
        let coming = has - number(new, "/status/availableReplicas", 0);
        let mut fewer = total - least - coming;
        let mut old: Vec<(&Arc<Value>, i64)> =
            family.old.iter().map(|set| (set, wanted(set))).collect();
        // Unavailable Pods are removed first.
        for (set, has) in &mut old {
            let broken =
                (*has - number(set, "/status/availableReplicas", 0)).clamp(0, fewer.max(0));
            *has -= broken;
            fewer -= broken;
        }
        let mut spare = family.sum("/status/availableReplicas") - least;
        for (_, has) in &mut old {
            let gone = (*has).min(spare).min(fewer).max(0);
            *has -= gone;
            spare -= gone;
            fewer -= gone;
        }
        for (set, has) in old {
            self.scale(set, has);
        }
    }

    /// Deletes old ReplicaSets beyond `revisionHistoryLimit`.
    pub(super) fn delete_old_replica_sets(&self, owner: &Value, family: &Family) {
        let limit =
            usize::try_from(number(owner, "/spec/revisionHistoryLimit", 10)).unwrap_or_default();
        let mut empty: Vec<&Arc<Value>> = family
            .old
            .iter()
            .filter(|set| wanted(set) == 0 && number(set, "/status/replicas", 0) == 0)
            .collect();
        empty.sort_by_key(|set| Reverse(revision(set)));
        for set in empty.iter().skip(limit) {
            self.delete(set, Kind::ReplicaSet);
        }
    }
}

/// The annotations that a ReplicaSet gets from its owner.
fn annotations_for_sets(owner: &Value) -> Map<String, Value> {
    let mut annotations = object::at(owner, "/metadata/annotations").clone();
    let annotations = object::as_map(&mut annotations);
    annotations.retain(|key, _| {
        !REVISIONS.contains(&key.as_str())
            && key != "kubectl.kubernetes.io/last-applied-configuration"
    });
    std::mem::take(annotations)
}

fn next_revision(family: &Family) -> i64 {
    family
        .old
        .iter()
        .map(|set| revision(set))
        .max()
        .unwrap_or_default()
        + 1
}
