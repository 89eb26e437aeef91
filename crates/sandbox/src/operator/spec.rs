//! The fields of an ExternalSecret's spec that the sandbox's operator uses.

use std::{collections::BTreeMap, time::Duration};

use eso_model::duration::GoDuration;
use serde::Deserialize;
use serde_json::Value;

use crate::object;

/// `spec`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) refresh_interval: Option<String>,
    pub(super) refresh_policy: String,
    pub(super) secret_store_ref: StoreRef,
    pub(super) data: Vec<Data>,
    pub(super) data_from: Vec<DataFrom>,
    pub(super) target: Target,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StoreRef {
    pub(super) name: String,
    pub(super) kind: String,
}

/// `spec.data[]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Data {
    pub(super) secret_key: String,
    pub(super) remote_ref: RemoteRef,
    pub(super) source_ref: SourceRef,
}

/// `remoteRef`, `extract`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RemoteRef {
    pub(super) key: String,
    pub(super) property: String,
    pub(super) version: String,
    pub(super) metadata_policy: String,
    pub(super) decoding_strategy: String,
}

/// `spec.dataFrom[]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DataFrom {
    pub(super) extract: Option<RemoteRef>,
    pub(super) find: Option<Find>,
    pub(super) rewrite: Vec<Value>,
    pub(super) source_ref: SourceRef,
}

/// `find`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Find {
    pub(super) name: Option<FindName>,
    pub(super) path: Option<String>,
    pub(super) tags: Option<Value>,
    pub(super) decoding_strategy: String,
}

/// `find.name`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FindName {
    pub(super) regexp: String,
}

/// `sourceRef`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SourceRef {
    pub(super) store_ref: Option<StoreRef>,
    pub(super) generator_ref: Option<Value>,
}

/// `spec.target`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) creation_policy: String,
    pub(super) deletion_policy: String,
    pub(super) immutable: bool,
    pub(super) template: Option<Template>,
}

/// `spec.target.template`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Template {
    pub(super) r#type: String,
    pub(super) metadata: TemplateMetadata,
    pub(super) data: BTreeMap<String, String>,
    pub(super) merge_policy: String,
    #[serde(rename = "templateFrom")]
    pub(super) from: Vec<Value>,
}

/// `spec.target.template.metadata`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TemplateMetadata {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Spec {
    pub(super) fn of(external_secret: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(object::at(external_secret, "/spec"))
    }

    /// The refresh interval; zero means that it is refreshed only once.
    pub(super) fn interval(&self) -> Duration {
        let interval = self
            .refresh_interval
            .as_deref()
            .and_then(|text| text.parse().ok());
        interval.map_or(Duration::from_hours(1), |GoDuration(interval)| interval)
    }

    /// The name of the target Secret.
    pub(super) fn secret_name<'a>(&'a self, external_secret: &'a str) -> &'a str {
        match self.target.name.as_str() {
            "" => external_secret,
            name => name,
        }
    }

    /// All stores that the spec references, in the operator's order.
    pub(super) fn stores(&self) -> impl Iterator<Item = &StoreRef> {
        let own = Some(&self.secret_store_ref).filter(|store| !store.name.is_empty());
        let of_data = self
            .data
            .iter()
            .filter_map(|data| data.source_ref.store_ref.as_ref());
        let of_data_from = self
            .data_from
            .iter()
            .filter_map(|from| from.source_ref.store_ref.as_ref());
        own.into_iter().chain(of_data).chain(of_data_from)
    }
}

impl StoreRef {
    /// True if it references a ClusterSecretStore.
    pub(super) fn is_cluster_wide(&self) -> bool {
        self.kind == "ClusterSecretStore"
    }

    pub(super) fn kind(&self) -> &'static str {
        if self.is_cluster_wide() {
            "ClusterSecretStore"
        } else {
            "SecretStore"
        }
    }
}
