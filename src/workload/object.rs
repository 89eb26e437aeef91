//! Workloads and pods as the API server writes them, as far as they are read.

use std::collections::BTreeMap;

use cluster::wire::Condition;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// An object of any of the kinds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: Spec,
    /// Its status.
    pub status: Status,
}

/// `metadata`, with who wrote what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// The identity.
    pub uid: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Changes with every write.
    pub resource_version: String,
    /// When it was created.
    pub creation_timestamp: Option<Timestamp>,
    /// Set once it is being deleted.
    pub deletion_timestamp: Option<Timestamp>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// Who owns it.
    pub owner_references: Vec<OwnerReference>,
    /// Who wrote what.
    pub managed_fields: Vec<ManagedFields>,
}

/// An owner of an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// The group and version of its API.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// Whether it is the one that controls the object.
    pub controller: bool,
}

/// What one manager wrote.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedFields {
    /// The name that it gives itself.
    pub manager: String,
    /// When.
    pub time: Option<Timestamp>,
    /// `status`, or empty.
    pub subresource: String,
    /// What.
    pub fields_v1: Value,
}

/// `spec` of a workload.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// How many pods; one if absent.
    pub replicas: Option<i64>,
    /// Whether its rollout is paused.
    pub paused: bool,
    /// Its pods.
    pub selector: LabelSelector,
    /// What pods are made of.
    pub template: Template,
    /// Of StatefulSets and DaemonSets.
    pub update_strategy: UpdateStrategy,
    /// Of a Rollout: where the pod template stands, if not in itself.
    pub workload_ref: Option<WorkloadRef>,
    /// Of a Rollout: pods older than this are replaced.
    pub restart_at: Option<Timestamp>,
    /// Of a pod itself.
    #[serde(flatten)]
    pub pod: PodSpec,
}

/// `spec.workloadRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WorkloadRef {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// `spec.updateStrategy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    pub r#type: String,
    /// Of the former.
    pub rolling_update: RollingUpdate,
}

/// `spec.updateStrategy.rollingUpdate`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RollingUpdate {
    /// Pods of a StatefulSet with a smaller ordinal are not touched.
    pub partition: i64,
}

/// `spec.template`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Template {
    /// Its metadata.
    pub metadata: TemplateMeta,
    /// Its pods' spec.
    pub spec: PodSpec,
}

/// `spec.template.metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TemplateMeta {
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What of a pod's spec can name a Secret, and whether it runs on for ever.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The containers.
    pub containers: Vec<Container>,
    /// Those that run before.
    pub init_containers: Vec<Container>,
    /// By type of volume.
    pub volumes: Vec<BTreeMap<String, Value>>,
    /// What images are pulled with.
    pub image_pull_secrets: Vec<Named>,
    /// `Always` if absent.
    pub restart_policy: String,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Single variables.
    pub env: Vec<Variable>,
    /// Whole Secrets as variables.
    pub env_from: Vec<EnvFrom>,
}

/// An entry of `env`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Variable {
    /// From where.
    pub value_from: ValueFrom,
}

/// `valueFrom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ValueFrom {
    /// A key of a Secret.
    pub secret_key_ref: Option<SecretKey>,
}

/// `secretKeyRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

/// An entry of `envFrom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFrom {
    /// The Secret.
    pub secret_ref: Option<Named>,
}

/// A reference by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// `spec.selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// All of these.
    pub match_labels: BTreeMap<String, String>,
    /// And all of these.
    pub match_expressions: Vec<Expression>,
}

/// An entry of `matchExpressions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Of the two first.
    pub values: Vec<String>,
}

impl LabelSelector {
    /// What a query can ask for, as `labelSelector`: those that this selects, and maybe more.
    pub fn to_query(&self) -> Option<String> {
        let labels = self.match_labels.iter();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        (!labels.is_empty()).then(|| labels.join(","))
    }

    /// Whether these labels are selected. A selector that says nothing selects nothing: the API server refuses one.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let fits = |expression: &Expression| {
            let value = labels.get(&expression.key);
            let listed = value.is_some_and(|value| expression.values.contains(value));
            match &*expression.operator {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        };
        !(self.match_labels.is_empty() && self.match_expressions.is_empty())
            && self
                .match_labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(fits)
    }
}

/// `status` of a workload.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// A number; Argo Rollouts writes it as text.
    pub observed_generation: Value,
    /// Pods, old and new.
    pub replicas: i64,
    /// New ones.
    pub updated_replicas: i64,
    /// Ready ones.
    pub ready_replicas: i64,
    /// Ready for long enough.
    pub available_replicas: i64,
    /// Of a StatefulSet.
    pub current_revision: String,
    /// Of a StatefulSet.
    pub update_revision: String,
    /// Of a DaemonSet.
    pub desired_number_scheduled: i64,
    /// Of a DaemonSet.
    pub updated_number_scheduled: i64,
    /// Of a DaemonSet.
    pub number_available: i64,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// Of a Rollout, or of a pod.
    pub phase: String,
    /// Of a Rollout, for people.
    pub message: String,
    /// Of a Rollout: the `restartAt` that was carried out.
    pub restarted_at: Option<Timestamp>,
}

pub(super) fn is_ready(conditions: &[Condition]) -> bool {
    conditions
        .iter()
        .any(|condition| condition.r#type == "Ready" && condition.status == "True")
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodObject {
    /// Its metadata.
    pub metadata: Meta,
    /// Its status.
    pub status: PodStatus,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// Its containers.
    pub container_statuses: Vec<ContainerStatus>,
    /// Those that run before.
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// How a container is. Its messages are not read: they can hold what the container itself wrote.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Whether it is ready; one that runs before has done its work.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u64,
    /// As it is.
    pub state: ContainerState,
    /// As it was before it was started again.
    pub last_state: ContainerState,
}

/// One of these; both absent while it runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It is to be started.
    pub waiting: Option<Waiting>,
    /// It has ended.
    pub terminated: Option<Terminated>,
}

/// Why a container does not run yet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// One word.
    pub reason: String,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// One word.
    pub reason: String,
    /// Its exit code.
    pub exit_code: i64,
}
