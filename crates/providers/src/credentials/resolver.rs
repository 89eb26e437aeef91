//! Resolves the references of a store's `auth`: keys of Secrets, service account tokens, certificates.
//!
//! References of a SecretStore always stay in its own namespace. References of a ClusterSecretStore without a namespace use the
//! ExternalSecret's namespace. Names come from tenants, so only valid Kubernetes names become part of a path.

use std::{collections::BTreeMap, fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::{ApiError, Cluster, ErrorKind, Path, names::is_name, wire};
use eso_model::StoreKey;
use secret::Value;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::{Unread, unread};

/// The shortest token lifetime that Kubernetes allows.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_mins(10);

/// Resolves the references of a store's `auth`.
#[derive(Clone)]
pub struct Resolver {
    cluster: Cluster,
    store: StoreKey,
    /// The namespace of the ExternalSecret. References of a ClusterSecretStore without a namespace use it.
    namespace: String,
}

impl Resolver {
    /// Creates a resolver for an ExternalSecret in this namespace.
    pub fn new(cluster: Cluster, store: StoreKey, namespace: impl Into<String>) -> Self {
        Self {
            cluster,
            store,
            namespace: namespace.into(),
        }
    }

    /// The value at a `{name, key, namespace}` reference.
    pub async fn secret_key(&self, reference: &Json) -> Result<Value, Unread> {
        let object = self.object(Kind::Secret, reference)?;
        let key = key_of(&object, reference)?;
        let mut secret: wire::Secret = self.read(&object).await?;
        secret
            .data
            .remove(key)
            .ok_or_else(|| object.missing_key(key))
    }

    /// A token for the service account of a `{name, namespace, audiences}` reference, for its audiences and these.
    pub async fn service_account_token(
        &self,
        account: &Json,
        audiences: &[String],
    ) -> Result<Value, Unread> {
        let object = self.object(Kind::ServiceAccount, account)?;
        let own = account["audiences"].as_array().into_iter().flatten();
        let mut all: Vec<&str> = own.filter_map(Json::as_str).collect();
        for audience in audiences {
            if !all.contains(&audience.as_str()) {
                all.push(audience);
            }
        }
        let wanted = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": all, "expirationSeconds": TOKEN_LIFETIME.as_secs()},
        });
        let path = object.path().named("token");
        let answer: Result<wire::TokenRequest, ApiError> =
            self.cluster.create(&path, &wanted).await;
        match answer {
            Ok(answer) => Ok(answer.status.token),
            Err(error) => Err(object.no_token(&error)),
        }
    }

    /// The annotations of the service account of a reference.
    pub async fn service_account_annotations(
        &self,
        account: &Json,
    ) -> Result<BTreeMap<String, String>, Unread> {
        let object = self.object(Kind::ServiceAccount, account)?;
        let account: wire::ServiceAccount = self.read(&object).await?;
        Ok(account.metadata.annotations)
    }

    /// The PEM of `caBundle` or `caProvider` in a store's settings, if set.
    pub async fn ca_bundle(&self, settings: &Json) -> Result<Option<Vec<u8>>, Unread> {
        if let Some(bundle) = settings["caBundle"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            return pem(bundle).map(Some).ok_or_else(|| {
                Unread::store(
                    unread::STORE,
                    "`caBundle` is not a base64-encoded PEM certificate",
                )
            });
        }
        let provider = &settings["caProvider"];
        if provider.is_null() {
            return Ok(None);
        }
        let named = provider["namespace"].as_str();
        if matches!(self.store, StoreKey::Cluster { .. }) && named.is_none() {
            return Err(Unread::store(
                unread::STORE,
                "`caProvider` has no namespace: it is required in a ClusterSecretStore",
            ));
        }
        match provider["type"].as_str() {
            Some("Secret") => {
                let value = self.secret_key(provider).await?;
                Ok(Some(value.expose().to_vec()))
            }
            Some("ConfigMap") => {
                let object = self.object(Kind::ConfigMap, provider)?;
                // The operator would read it, but a tenant must not make the job read another namespace.
                if named.is_some_and(|named| named != object.namespace) {
                    return Err(Unread::store(
                        unread::NOT_TRUSTED,
                        "`caProvider` of a SecretStore must not refer to another namespace",
                    ));
                }
                let key = key_of(&object, provider)?;
                let mut map: wire::ConfigMap = self.read(&object).await?;
                let text = map
                    .data
                    .remove(key)
                    .ok_or_else(|| object.missing_key(key))?;
                Ok(Some(text.into_bytes()))
            }
            _ => Err(Unread::store(
                unread::UNSUPPORTED,
                "the type of `caProvider` must be `Secret` or `ConfigMap`",
            )),
        }
    }

    fn object(&self, kind: Kind, reference: &Json) -> Result<Object, Unread> {
        let namespace = match (&self.store, reference["namespace"].as_str()) {
            (StoreKey::Namespaced { namespace, .. }, _) => namespace,
            (StoreKey::Cluster { .. }, Some(named)) => named,
            (StoreKey::Cluster { .. }, None) => &self.namespace,
        };
        let name = reference["name"].as_str().unwrap_or_default();
        if !is_name(namespace) || !is_name(name) {
            return Err(Unread::store(
                unread::STORE,
                format!("the store's reference to a {kind} has an invalid name"),
            ));
        }
        Ok(Object {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    async fn read<T: DeserializeOwned>(&self, object: &Object) -> Result<T, Unread> {
        let read: Result<T, ApiError> = self.cluster.get(&object.path()).await;
        read.map_err(|error| object.unread(&error))
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Secret,
    ConfigMap,
    ServiceAccount,
}

impl Kind {
    const fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
            Self::ServiceAccount => "serviceaccounts",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
        })
    }
}

/// The target of a reference.
struct Object {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Object {
    fn path(&self) -> Path {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        Path::core(Some(namespace), kind.plural()).named(name)
    }

    fn unread(&self, error: &ApiError) -> Unread {
        let right = format!("get {}/{}", self.kind.plural(), self.name);
        self.api_error(error, "be read", &right)
    }

    fn no_token(&self, error: &ApiError) -> Unread {
        let right = format!("create serviceaccounts/token of {}", self.name);
        self.api_error(error, "be asked for a token", &right)
    }

    fn api_error(&self, error: &ApiError, what: &str, right: &str) -> Unread {
        if error.kind == ErrorKind::NotFound {
            return Unread::store(unread::STORE, format!("{self} does not exist"));
        }
        let unread = Unread::store(
            unread::STORE,
            format!("{self} cannot {what}: {}", error.why()),
        );
        if error.kind == ErrorKind::Denied {
            return unread.lacking(format!("{right} in {}", self.namespace));
        }
        unread
    }

    fn missing_key(&self, key: &str) -> Unread {
        Unread::store(unread::STORE, format!("{self} has no key `{key}`"))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

fn key_of<'a>(object: &Object, reference: &'a Json) -> Result<&'a str, Unread> {
    reference["key"]
        .as_str()
        .filter(|key| !key.is_empty())
        .ok_or_else(|| {
            Unread::store(
                unread::STORE,
                format!("the store's reference to {object} has no key"),
            )
        })
}

/// Decodes the base64 PEM. It may be encoded twice: the operator accepts that.
fn pem(bundle: &str) -> Option<Vec<u8>> {
    let once = decoded(bundle.as_bytes())?;
    if is_pem(&once) {
        return Some(once);
    }
    decoded(&once).filter(|twice| is_pem(twice))
}

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    STANDARD.decode(text).ok()
}

fn is_pem(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    bytes.windows(BEGIN.len()).any(|window| window == BEGIN)
}
