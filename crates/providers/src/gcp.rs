//! Google Cloud Secret Manager.
//!
//! The calls and the permissions that they need on the secret or its project:
//!
//! | call | when | permission |
//! |---|---|---|
//! | `AccessSecretVersion` | each version (no batch call) | `secretmanager.versions.access` (`roles/secretmanager.secretAccessor`) |
//! | `ListSecretVersions` | `LatestOrFetch` [^1] | `secretmanager.versions.list` (`roles/secretmanager.viewer`) |
//! | `GetSecret` | `metadataPolicy: Fetch`; rotation schedules | `secretmanager.secrets.get` (`roles/secretmanager.viewer`) |
//! | `ListSecrets` | `find` | `secretmanager.secrets.list` (`roles/secretmanager.viewer`) |
//!
//! [^1]: `secretVersionSelectionPolicy: LatestOrFetch`, if the newest version is disabled or destroyed.
//!
//! Impersonating a service account needs `iam.serviceAccounts.getAccessToken` (`roles/iam.workloadIdentityUser`).
//!
//! A store has no address. Its location becomes a part of a Google host name and is refused if it could change more of the host
//! name. The URLs in the `credConfig` of a workload identity federation may belong to anyone, so `credConfig` is not supported.

use pace::Clock;
use serde::Deserialize;
use serde_json::Value as Json;

use self::{login::Login, secrets::Secrets};
use super::{Identity, Provider, StoreSettings, Unread, holder::Writer, unread};

mod error;
pub(crate) mod kms;
mod login;
pub(crate) mod plugin;
#[cfg(feature = "events-gcp")]
mod queue;
mod search;
mod secrets;
mod write;

#[cfg(feature = "events-gcp")]
pub(crate) use self::queue::connect_queue;

/// `spec.provider.gcpsm` of a store.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default, rename = "projectID")]
    project: String,
    #[serde(default)]
    location: String,
    #[serde(default, rename = "secretVersionSelectionPolicy")]
    policy: Option<String>,
    #[serde(default)]
    auth: Auth,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Auth {
    secret_ref: Option<KeyRef>,
    workload_identity: Option<WorkloadIdentity>,
    workload_identity_federation: Option<Federation>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRef {
    #[serde(rename = "secretAccessKeySecretRef")]
    key: Json,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WorkloadIdentity {
    service_account_ref: Json,
    #[serde(default)]
    cluster_location: String,
    #[serde(default)]
    cluster_name: String,
    #[serde(default, rename = "clusterProjectID")]
    cluster_project: String,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Federation {
    cred_config: Option<Json>,
    service_account_ref: Option<Json>,
    aws_security_credentials: Option<Json>,
    #[serde(default)]
    audience: String,
    #[serde(default, rename = "externalTokenEndpoint")]
    _external_token_endpoint: String,
    #[serde(default, rename = "gcpServiceAccountEmail")]
    email: String,
}

impl Settings {
    /// Parses the settings of a store. Fails on any unknown setting.
    fn of(store: &StoreSettings) -> Result<Self, Unread> {
        let mut settings: Self = Self::deserialize(&store.settings)
            .map_err(|error| unsupported(super::not_understood(&error)))?;
        if settings.project.is_empty()
            && let Some(identity) = &settings.auth.workload_identity
        {
            settings.project.clone_from(&identity.cluster_project);
        }
        let policy = settings.policy.as_deref();
        if settings.project.is_empty() {
            // The operator asks the metadata server of its own cluster, which may be in another project.
            Err(unsupported("`projectID` is required"))
        } else if !is_project(&settings.project) {
            Err(unsupported("`projectID` is not a valid project id"))
        } else if !is_location(&settings.location) {
            Err(unsupported(
                "`location` must be the name of a location, for example europe-west1",
            ))
        } else if !matches!(policy, None | Some("" | "LatestOrFail" | "LatestOrFetch")) {
            Err(unsupported("`secretVersionSelectionPolicy`"))
        } else {
            Ok(settings)
        }
    }

    /// True if the newest enabled version is read when the newest version is disabled.
    fn fetches_enabled(&self) -> bool {
        self.policy.as_deref() == Some("LatestOrFetch")
    }
}

/// True for `my-project`, `example.com:my-project`, or a project number.
fn is_project(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(inner)
}

/// True if the text is empty, or can be one label of a host name and nothing else.
fn is_location(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 50 && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(inner)
}

fn unsupported(what: impl Into<String>) -> Unread {
    Unread::store(unread::UNSUPPORTED, what)
}

/// Logs in once.
pub(super) async fn connect(
    store: &StoreSettings,
    identity: Identity<'_>,
) -> Result<Box<dyn Provider>, Unread> {
    let settings = Settings::of(store)?;
    let login = Login::new(settings.clone(), identity);
    Ok(Box::new(Secrets::connect(login, settings).await?))
}

/// Logs in once, for writing.
pub(super) async fn connect_writer(
    store: &StoreSettings,
    identity: Identity<'_>,
    owner: &str,
    _clock: Clock,
) -> Result<Box<dyn Writer>, Unread> {
    let settings = Settings {
        // What is published is the newest version, so no other one is compared.
        policy: None,
        ..Settings::of(store)?
    };
    let login = Login::new(settings.clone(), identity);
    let reader = Secrets::connect(login, settings).await?;
    Ok(Box::new(write::Publisher::new(reader, owner.to_owned())))
}

#[cfg(test)]
mod tests {
    use eso_model::StoreKey;
    use serde_json::json;

    use super::*;

    fn settings(settings: Json) -> Result<Settings, String> {
        let store = StoreSettings::new(
            StoreKey::Cluster {
                name: "gcp".to_owned(),
            },
            "gcpsm",
            settings,
        );
        Settings::of(&store).map_err(|unread| {
            assert!(unread.whole_store);
            unread.why.to_string()
        })
    }

    #[test]
    fn unsupported_setting_is_named() {
        let cases = [
            (json!({}), "`projectID` is required"),
            (
                json!({"projectID": "p/secrets/x"}),
                "`projectID` is not a valid project id",
            ),
            (
                json!({"projectID": ".."}),
                "`projectID` is not a valid project id",
            ),
            (
                json!({"projectID": "p", "secretVersionSelectionPolicy": "Newest"}),
                "`secretVersionSelectionPolicy`",
            ),
            (
                json!({"projectID": "p", "endpoint": "x"}),
                "unknown field `endpoint`",
            ),
        ];
        for (given, detail) in cases {
            assert_eq!(
                settings(given).err(),
                Some(format!("unsupported-store ({detail})"))
            );
        }
    }

    /// The location becomes a part of a host name that receives the job's own credentials.
    #[test]
    fn location_cannot_change_the_host() {
        for bad in [
            "evil.example/",
            "evil.example",
            "a#",
            "a@b",
            "-a",
            "A",
            "a/../b",
        ] {
            let result = settings(json!({"projectID": "p", "location": bad}));
            assert!(
                result.err().is_some_and(|why| why.contains("`location`")),
                "{bad}"
            );
        }
        assert!(
            settings(json!({"projectID": "example.com:p", "location": "europe-west1"})).is_ok()
        );
    }

    #[test]
    fn cluster_project_is_the_default_project() {
        let given = json!({"auth": {"workloadIdentity": {"serviceAccountRef": {"name": "a"}, "clusterProjectID": "c"}}});
        assert_eq!(
            settings(given).map(|settings| settings.project),
            Ok("c".to_owned())
        );
    }
}
