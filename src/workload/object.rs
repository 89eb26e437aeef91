//! The Kubernetes API types of workloads and pods, with only the fields that are read.

use std::collections::BTreeMap;

use cluster::wire::Condition;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// A workload of any kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

/// `metadata`, with managed fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// Incremented on each change of the spec.
    pub generation: i64,
    /// Changes with every write.
    pub resource_version: String,
    pub creation_timestamp: Option<Timestamp>,
    /// Set while it is being deleted.
    pub deletion_timestamp: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owner_references: Vec<OwnerReference>,
    pub managed_fields: Vec<ManagedFields>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// The API group and version.
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    /// True for the controlling owner.
    pub controller: bool,
}

/// The fields of one manager.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedFields {
    pub manager: String,
    /// The time of its last write.
    pub time: Option<Timestamp>,
    /// `status`, or empty.
    pub subresource: String,
    pub fields_v1: Value,
}

/// `spec` of a workload.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The number of pods. Absent means 1.
    pub replicas: Option<i64>,
    /// True if the rollout is paused.
    pub paused: bool,
    /// The label selector of its pods.
    pub selector: LabelSelector,
    /// The pod template.
    pub template: Template,
    /// For StatefulSets and DaemonSets.
    pub update_strategy: UpdateStrategy,
    /// For StatefulSets.
    pub ordinals: Ordinals,
    /// For a Rollout: a reference to the object with its pod template.
    pub workload_ref: Option<WorkloadRef>,
    /// For a Rollout: older pods are replaced.
    pub restart_at: Option<Timestamp>,
    /// The spec of a pod.
    #[serde(flatten)]
    pub pod: PodSpec,
}

/// `spec.workloadRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WorkloadRef {
    pub kind: String,
    pub name: String,
}

/// `spec.ordinals`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// The ordinal of the first pod.
    pub start: i64,
}

/// `spec.updateStrategy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    pub r#type: String,
    /// For `RollingUpdate`.
    pub rolling_update: RollingUpdate,
}

/// `spec.updateStrategy.rollingUpdate`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// The number of pods, from the first one, that are not updated.
    pub partition: i64,
    /// For a DaemonSet: a number, or a share like `10%`.
    pub max_unavailable: Value,
}

/// `spec.template`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Template {
    pub metadata: TemplateMeta,
    pub spec: PodSpec,
}

/// `spec.template.metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TemplateMeta {
    pub annotations: BTreeMap<String, String>,
}

/// The fields of a pod spec whose Secrets reach the containers, and the restart policy. Secrets for pulling images are not among
/// them: a node reads them when it pulls, and a running container has no use for them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    /// By type of volume.
    pub volumes: Vec<BTreeMap<String, Value>>,
    /// Absent means `Always`.
    pub restart_policy: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub env: Vec<Variable>,
    pub env_from: Vec<EnvFrom>,
}

/// An entry of `env`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Variable {
    pub value_from: ValueFrom,
}

/// `valueFrom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ValueFrom {
    pub secret_key_ref: Option<SecretKey>,
}

/// `secretKeyRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretKey {
    pub name: String,
    pub key: String,
    /// True if the container starts without it.
    pub optional: bool,
}

/// An entry of `envFrom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFrom {
    pub secret_ref: Option<SecretName>,
}

/// `secretRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretName {
    pub name: String,
    /// True if the container starts without it.
    pub optional: bool,
}

/// `spec.selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// All of these must match.
    pub match_labels: BTreeMap<String, String>,
    /// All of these must match, too.
    pub match_expressions: Vec<Expression>,
}

/// An entry of `matchExpressions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Expression {
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// For `In` and `NotIn`.
    pub values: Vec<String>,
}

impl LabelSelector {
    /// The part of the selector that a `labelSelector` query supports. It selects the same objects or more.
    pub fn to_query(&self) -> Option<String> {
        let labels = self.match_labels.iter();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        (!labels.is_empty()).then(|| labels.join(","))
    }

    /// True if the selector matches these labels. An empty selector matches nothing: the API server rejects it.
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
    /// A number. Argo Rollouts writes it as a string.
    pub observed_generation: Value,
    /// Old and new pods.
    pub replicas: i64,
    /// Pods with the current template.
    pub updated_replicas: i64,
    /// Ready pods.
    pub ready_replicas: i64,
    /// Pods that are ready for long enough.
    pub available_replicas: i64,
    /// For a StatefulSet.
    pub current_revision: String,
    /// For a StatefulSet.
    pub update_revision: String,
    /// For a DaemonSet.
    pub desired_number_scheduled: i64,
    /// For a DaemonSet.
    pub updated_number_scheduled: i64,
    /// For a DaemonSet.
    pub number_available: i64,
    pub conditions: Vec<Condition>,
    /// For a Rollout or a pod.
    pub phase: String,
    /// For a Rollout: human-readable details.
    pub message: String,
    /// For a Rollout: the last `restartAt` that is done.
    pub restarted_at: Option<Timestamp>,
}

pub(super) fn is_ready(conditions: &[Condition]) -> bool {
    conditions
        .iter()
        .any(|condition| condition.r#type == "Ready" && condition.status == "True")
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodObject {
    pub metadata: Meta,
    pub status: PodStatus,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    pub conditions: Vec<Condition>,
    pub container_statuses: Vec<ContainerStatus>,
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// The status of a container. Its messages are not read, because they can contain what the container wrote.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    /// True if it is ready. For an init container: it has finished.
    pub ready: bool,
    pub restart_count: u64,
    pub state: ContainerState,
    /// The state before the last restart.
    pub last_state: ContainerState,
}

/// One of these is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It is running.
    pub running: Option<Running>,
    /// It has not started yet.
    pub waiting: Option<Waiting>,
    /// It has ended.
    pub terminated: Option<Terminated>,
}

/// Since when a container is running.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    pub started_at: Option<Timestamp>,
}

/// Why a container is not running yet.
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
    pub exit_code: i64,
}
