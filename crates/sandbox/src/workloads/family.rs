//! The ReplicaSets of a Deployment or of an Argo Rollout: one for each template that it has had.

use std::{cmp::Reverse, sync::Arc};

use eso_model::digest::Algorithm;
use serde_json::{Map, Value, json};

use super::{Key, Kind, Workloads, number, reference};
use crate::object;

/// Where the two controllers count templates.
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

/// The ReplicaSets of one owner.
pub(super) struct Family {
    /// That of the present template.
    pub(super) new: Option<Arc<Value>>,
    /// The others, oldest first.
    pub(super) old: Vec<Arc<Value>>,
}

/// How many Pods a rolling update is to have, and how many more or fewer it may.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) replicas: i64,
    pub(super) surge: i64,
    pub(super) unavailable: i64,
}

impl Family {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(&self.new)
    }

    /// A number of the status, over all.
    pub(super) fn sum(&self, pointer: &str) -> i64 {
        self.all().map(|set| number(set, pointer, 0)).sum()
    }

    /// A number of the new one.
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

/// The hash of a template, as names and labels carry it.
pub(super) fn hash(template: &Value) -> String {
    let digest = Algorithm::Md5.hex(&template.to_string());
    digest.get(..10).unwrap_or_default().to_owned()
}

impl Workloads {
    /// The ReplicaSets of an owner; `label` is the one that tells their Pods apart.
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

    /// Makes the ReplicaSet of the present template.
    pub(super) fn found(&self, owner: &Value, family: &Family, label: &str, replicas: i64) {
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

    /// Keeps the count of templates, on the new ReplicaSet and on the owner, and passes the owner's annotations on.
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

    /// One step of a rolling update.
    pub(super) fn roll(&self, family: &Family, room: Room) {
        let Some(new) = &family.new else {
            return;
        };
        let total: i64 = family.all().map(|set| wanted(set)).sum();
        let has = wanted(new);
        if has > room.replicas {
            return self.scale(new, room.replicas);
        }
        let more = (room.replicas + room.surge - total).min(room.replicas - has);
        if more > 0 {
            return self.scale(new, has + more);
        }
        let least = room.replicas - room.unavailable;
        let coming = has - number(new, "/status/availableReplicas", 0);
        let mut fewer = total - least - coming;
        let mut old: Vec<(&Arc<Value>, i64)> =
            family.old.iter().map(|set| (set, wanted(set))).collect();
        // What does not work goes first.
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

    /// Deletes the ReplicaSets of templates that are long gone.
    pub(super) fn forget(&self, owner: &Value, family: &Family) {
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

/// Those that a ReplicaSet has from its owner.
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
