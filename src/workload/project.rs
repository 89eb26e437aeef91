//! Converts Kubernetes API objects to workloads and pods.

use jiff::Timestamp;

use super::{
    Holds, IGNORE, Kind, Manager, Owner, Pod, RESTARTED_AT, Reloader, STAMP, TemplateIn, Workload,
    WorkloadId,
    health::{self, Counts},
    object::{
        ManagedFields, Meta, Object, OwnerReference, PodObject, PodSpec, Spec, WorkloadRef,
        is_ready,
    },
    references::{References, references},
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
        let Self { metadata, spec, .. } = self;
        let annotation = |name: &str| metadata.annotations.get(name);
        let on_delete = spec.update_strategy.r#type == "OnDelete";
        let partition = spec.update_strategy.rolling_update.partition;
        let (References { uses, optional }, reloader) = secrets(kind, &metadata, &spec);
        let restarted = restarted(kind, &spec);
        let owner = owner(&metadata.owner_references);
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
            optional,
            stamp: annotation(STAMP).cloned(),
            ignored: annotation(IGNORE).is_some_and(|value| value == "true"),
            reloader,
            restarted,
            owner,
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
            tolerance: counts.tolerance(),
            wanted: counts.wanted,
            excluded_below: (kind == Kind::StatefulSet && !on_delete && partition > 0)
                .then(|| spec.ordinals.start.saturating_add(partition)),
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

/// The Secrets that its pods use, and the other tools that restart it.
fn secrets(kind: Kind, metadata: &Meta, spec: &Spec) -> (References, Reloader) {
    if kind == Kind::Pod {
        // Reloader does not restart the controllers of such pods.
        return (references(&spec.pod), Reloader::default());
    }
    let template = &spec.template;
    let annotations = &metadata.annotations;
    let reloader = Reloader::of(annotations, &template.metadata.annotations);
    let reloader = reloader.with_wave(kind, &metadata.namespace, annotations);
    (references(&template.spec), reloader)
}

/// What the last restart wrote to the spec.
fn restarted(kind: Kind, spec: &Spec) -> Option<String> {
    if kind == Kind::Rollout {
        spec.restart_at.map(restart_at)
    } else {
        spec.template
            .metadata
            .annotations
            .get(RESTARTED_AT)
            .cloned()
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
        template: entry.fields_v1.pointer("/f:spec/f:template").is_some(),
    }
}

/// A Rollout's `restartAt` as it is written.
pub fn restart_at(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn controller(owners: Vec<OwnerReference>) -> Option<Owner> {
    let owner = owners.into_iter().find(|owner| owner.controller)?;
    Some(owner.into())
}

/// The controlling owner, else the first one.
fn owner(owners: &[OwnerReference]) -> Option<Owner> {
    let controller = owners.iter().find(|owner| owner.controller);
    controller.or(owners.first()).cloned().map(Into::into)
}

impl From<OwnerReference> for Owner {
    fn from(owner: OwnerReference) -> Self {
        Self {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
        }
    }
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
    /// The pod, or None if it has ended.
    pub fn pod(self) -> Option<Pod> {
        if has_ended(&self.status.phase) {
            return None;
        }
        let running = self.status.container_statuses.iter();
        let running = running.filter_map(|container| container.state.running.as_ref());
        Some(Pod {
            started: running.filter_map(|running| running.started_at).min(),
            created: self.metadata.creation_timestamp?,
            namespace: self.metadata.namespace,
            name: self.metadata.name,
            uid: self.metadata.uid,
            labels: self.metadata.labels,
            owner: controller(self.metadata.owner_references),
            ready: is_ready(&self.status.conditions),
            ending: self.metadata.deletion_timestamp.is_some(),
        })
    }
}
