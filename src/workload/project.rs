//! Converts Kubernetes API objects to workloads and pods.

use super::{
    Holds, IGNORE, Kind, Manager, Owner, Pod, Reloader, STAMP, TemplateIn, Workload, WorkloadId,
    health::{self, Counts},
    object::{ManagedFields, Object, OwnerReference, PodObject, PodSpec, WorkloadRef, is_ready},
    references::references,
};

impl WorkloadRef {
    fn template_in(self) -> TemplateIn {
        let Self { kind, name } = self;
        match &*kind {
            "Deployment" => TemplateIn::Workload(Kind::Deployment, name),
            "ReplicaSet" => TemplateIn::Workload(Kind::ReplicaSet, name),
            _ => TemplateIn::Other(format!("{kind} {name}")),
        }
    }
}

impl Object {
    /// Returns the fields that decisions need.
    pub fn workload(self, kind: Kind) -> Workload {
        let counts = Counts::of(kind, &self);
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let annotation = |name: &str| metadata.annotations.get(name);
        let on_delete = spec.update_strategy.r#type == "OnDelete";
        let partition = spec.update_strategy.rolling_update.partition;
        let (uses, reloader) = if kind == Kind::Pod {
            // Reloader does not restart the controllers of such pods.
            (references(&spec.pod), Reloader::default())
        } else {
            let template = &spec.template;
            let annotations = &template.metadata.annotations;
            let reloader = Reloader::of(&metadata.annotations, annotations);
            (references(&template.spec), reloader)
        };
        let controller = controller(metadata.owner_references);
        let deleting = metadata.deletion_timestamp.is_some();
        let addressed = match (kind, &controller) {
            (Kind::ReplicaSet, owner) => owner.is_none(),
            (Kind::Pod, None) => false,
            (Kind::Pod, Some(owner)) => {
                comes_back(owner, &spec.pod) && !deleting && !has_ended(&counts.phase)
            }
            (Kind::DaemonSet | Kind::Deployment | Kind::Rollout | Kind::StatefulSet, _) => true,
        };
        Workload {
            uses,
            stamp: annotation(STAMP).cloned(),
            ignored: annotation(IGNORE).is_some_and(|value| value == "true"),
            reloader,
            controller,
            addressed,
            holds: Holds {
                deleting,
                paused: spec.paused || counts.phase == "Paused",
                scaled_to_zero: counts.wanted == 0,
                on_delete,
                partitioned: kind == Kind::StatefulSet && !on_delete && partition >= counts.wanted,
            },
            health: health::health(&counts),
            wanted: counts.wanted,
            partly: (kind == Kind::StatefulSet
                && !on_delete
                && (1..counts.wanted).contains(&partition))
            .then_some(status.update_revision),
            template_in: spec.workload_ref.map(WorkloadRef::template_in),
            managers: metadata.managed_fields.iter().map(manager).collect(),
            selector: spec.selector,
            id: WorkloadId {
                namespace: metadata.namespace,
                kind,
                name: metadata.name,
            },
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            labels: metadata.labels,
        }
    }
}

fn manager(entry: &ManagedFields) -> Manager {
    Manager {
        name: entry.manager.clone(),
        time: entry.time,
        annotations: entry
            .fields_v1
            .pointer("/f:metadata/f:annotations")
            .is_some(),
    }
}

fn controller(owners: Vec<OwnerReference>) -> Option<Owner> {
    let owner = owners.into_iter().find(|owner| owner.controller)?;
    Some(Owner {
        api_version: owner.api_version,
        kind: owner.kind,
        name: owner.name,
        uid: owner.uid,
    })
}

/// True if the pod's controller replaces it and is of a kind that rules do not cover. Pods that run to completion are not
/// replaced, and a node does not recreate the pods of its static manifests.
fn comes_back(owner: &Owner, spec: &PodSpec) -> bool {
    let group = owner
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    let has_a_kind = group == "apps" || (group.is_empty() && owner.kind == "Node");
    let runs_on = matches!(&*spec.restart_policy, "" | "Always");
    runs_on && !has_a_kind && !owner.kind.ends_with("Job")
}

/// True if a pod of this phase has ended.
fn has_ended(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

impl PodObject {
    /// The pod, or None if it has ended or is being deleted.
    pub fn pod(self) -> Option<Pod> {
        if has_ended(&self.status.phase) || self.metadata.deletion_timestamp.is_some() {
            return None;
        }
        Some(Pod {
            created: self.metadata.creation_timestamp?,
            namespace: self.metadata.namespace,
            name: self.metadata.name,
            uid: self.metadata.uid,
            labels: self.metadata.labels,
            owner: controller(self.metadata.owner_references),
            ready: is_ready(&self.status.conditions),
        })
    }
}
