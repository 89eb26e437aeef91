//! AWS: Secrets Manager and Parameter Store.
//!
//! The calls and the permissions that they need:
//!
//! | call | when | permission |
//! |---|---|---|
//! | `BatchGetSecretValue` | newest versions, 20 per call; `find` by path or tags | `secretsmanager:BatchGetSecretValue` on `*` [^1] |
//! | `GetSecretValue` | other versions; all if the batch call is denied | `secretsmanager:GetSecretValue` on the secret |
//! | `DescribeSecret` | `metadataPolicy: Fetch`; rotation schedules | `secretsmanager:DescribeSecret` on the secret |
//! | `ListSecrets` | `find` by name without a path | `secretsmanager:ListSecrets` on `*` |
//! | `GetParameters` | parameters, up to 10 per call | `ssm:GetParameters` on each parameter |
//! | `GetParameter` | if the batch call is denied; to recognise a missing version | `ssm:GetParameter` on the parameter |
//! | `ListTagsForResource` | `metadataPolicy: Fetch` | `ssm:ListTagsForResource` on the parameter |
//! | `GetParametersByPath` | `find` by name | `ssm:GetParametersByPath` on the path |
//! | `DescribeParameters` | `find` by tags; `find` by name if `GetParametersByPath` is denied | `ssm:DescribeParameters` on `*` |
//!
//! [^1]: And `secretsmanager:GetSecretValue` on each secret.
//!
//! Data that is encrypted with a customer managed key also needs `kms:Decrypt` on that key. `role` and `additionalRoles` need
//! `sts:AssumeRole`, and `sessionTags` also `sts:TagSession`.
//!
//! A store has no address. Its region becomes a part of an AWS host name and is refused if it could change more of the host name,
//! so the author of a store cannot send the job's own credentials to another host.

use std::collections::BTreeMap;

use aws_smithy_types::DateTime;
use eso_model::version::ReadVersion;
use jiff::Timestamp;
use pace::Clock;
use serde::Deserialize;
use serde_json::Value as Json;

use self::{login::Login, secrets_manager::SecretsManager};
use super::{Identity, Provider, StoreSettings, Unread, holder::Writer, unread};

mod batch;
mod bounded;
mod error;
pub(crate) mod kms;
mod login;
#[cfg(feature = "aws-parameter-store")]
mod parameter_store;
pub(crate) mod plugin;
#[cfg(feature = "events-aws")]
mod queue;
mod secrets_manager;
mod service;

#[cfg(feature = "events-aws")]
pub(crate) use self::queue::connect_queue;

/// `spec.provider.aws` of a store.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    service: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    additional_roles: Vec<String>,
    #[serde(default, rename = "externalID")]
    external_id: String,
    #[serde(default)]
    session_tags: Vec<Tag>,
    #[serde(default)]
    session_tags_policy: Option<String>,
    #[serde(default)]
    custom_session_tags: BTreeMap<String, String>,
    #[serde(default)]
    transitive_tag_keys: Vec<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    auth: Auth,
    /// For deleting secrets. Not used here.
    #[serde(default, rename = "secretsManager")]
    _secrets_manager: Json,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tag {
    key: String,
    value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Auth {
    secret_ref: Option<KeyRefs>,
    jwt: Option<Jwt>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRefs {
    #[serde(rename = "accessKeyIDSecretRef")]
    access_key_id: Json,
    #[serde(rename = "secretAccessKeySecretRef")]
    secret_access_key: Json,
    #[serde(rename = "sessionTokenSecretRef")]
    session_token: Option<Json>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    service_account_ref: Json,
}

impl Settings {
    /// Parses the settings of a store. Fails on any unknown setting.
    fn of(store: &StoreSettings) -> Result<Self, Unread> {
        let settings: Self = Self::deserialize(&store.settings)
            .map_err(|error| unsupported(super::not_understood(&error)))?;
        // The tags of a policy contain the ExternalSecret's namespace: each namespace would need a separate login.
        let policy = settings.session_tags_policy.as_deref();
        if settings.region.is_empty() {
            Err(unsupported("`region` is required"))
        } else if !is_region(&settings.region) {
            Err(unsupported(
                "`region` must be the name of a region, for example eu-west-1",
            ))
        } else if !matches!(policy, None | Some("" | "None")) {
            Err(unsupported("`sessionTagsPolicy` must be None"))
        } else if !settings.custom_session_tags.is_empty() {
            Err(unsupported("`customSessionTags`"))
        } else {
            Ok(settings)
        }
    }
}

/// True if the text can be one label of a host name and nothing else.
fn is_region(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 50 && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(inner)
}

/// The version of a value, as an answer names it.
fn read_version(
    resource: Option<String>,
    id: Option<String>,
    created: Option<&DateTime>,
) -> Option<Box<ReadVersion>> {
    let created = created.and_then(|date| {
        let nanos = i32::try_from(date.subsec_nanos()).ok()?;
        Timestamp::new(date.secs(), nanos).ok()
    });
    let version = ReadVersion {
        resource,
        id,
        created,
    };
    version.boxed()
}

/// True if the length is valid for a name or ARN: AWS refuses longer ones.
fn fits(key: &str) -> bool {
    key.chars().count() <= 2048
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
    let service = settings.service.clone();
    let prefix = settings.prefix.clone();
    let login = Login::new(settings, identity);
    match service.as_str() {
        "SecretsManager" => Ok(Box::new(SecretsManager::connect(login, prefix).await?)),
        #[cfg(feature = "aws-parameter-store")]
        "ParameterStore" => Ok(Box::new(
            parameter_store::ParameterStore::connect(login, prefix).await?,
        )),
        other => Err(unsupported(format!("`service: {other}`"))),
    }
}

/// Logs in once, for writing.
pub(super) async fn connect_writer(
    store: &StoreSettings,
    identity: Identity<'_>,
    owner: &str,
    _clock: Clock,
) -> Result<Box<dyn Writer>, Unread> {
    let settings = Settings::of(store)?;
    let service = settings.service.clone();
    let login = Login::new(settings, identity);
    // The names to write already contain the prefix of the store.
    let prefix = String::new();
    match service.as_str() {
        "SecretsManager" => {
            let reader = SecretsManager::connect(login, prefix).await?;
            Ok(Box::new(secrets_manager::Publisher::new(
                reader,
                owner.to_owned(),
            )))
        }
        #[cfg(feature = "aws-parameter-store")]
        "ParameterStore" => {
            let reader = parameter_store::ParameterStore::connect(login, prefix).await?;
            Ok(Box::new(parameter_store::Publisher::new(
                reader,
                owner.to_owned(),
            )))
        }
        other => Err(unsupported(format!("`service: {other}`"))),
    }
}

#[cfg(test)]
mod tests {
    use eso_model::StoreKey;
    use serde_json::json;

    use super::*;

    fn settings(settings: Json) -> Result<Settings, String> {
        let store = StoreSettings::new(
            StoreKey::Cluster {
                name: "aws".to_owned(),
            },
            "aws",
            settings,
        );
        Settings::of(&store).map_err(|unread| {
            assert!(unread.whole_store);
            unread.why.to_string()
        })
    }

    #[test]
    fn unsupported_setting_is_named() {
        let with = |more: Json| {
            let mut all = json!({"service": "SecretsManager", "region": "eu-west-1"});
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            settings(all).map(|_| ())
        };
        assert_eq!(
            with(json!({"secretsManager": {"recoveryWindowInDays": 7}})),
            Ok(())
        );
        assert_eq!(with(json!({"sessionTagsPolicy": "None"})), Ok(()));
        let cases = [
            (json!({"region": ""}), "`region` is required"),
            (
                json!({"sessionTagsPolicy": "Simple"}),
                "`sessionTagsPolicy` must be None",
            ),
            (
                json!({"customSessionTags": {"a": "b"}}),
                "`customSessionTags`",
            ),
            (
                json!({"vpcEndpoint": "https://x"}),
                "unknown field `vpcEndpoint`",
            ),
            (json!({"auth": {"oidc": {}}}), "unknown field `oidc`"),
        ];
        for (more, detail) in cases {
            assert_eq!(with(more), Err(format!("unsupported-store ({detail})")));
        }
    }

    /// The region becomes a part of a host name that receives the job's own credentials.
    #[test]
    fn region_cannot_change_the_host() {
        for bad in [
            "evil.example/",
            "evil.example#",
            "evil.example",
            "a:b@evil",
            "eu-west-1/..",
            "-eu",
            "eu-",
            "EU-WEST-1",
            "eu west",
        ] {
            let result = settings(json!({"service": "SecretsManager", "region": bad}));
            assert!(result.unwrap_err().contains("`region`"), "{bad}");
        }
        for good in ["eu-west-1", "us-gov-east-1", "cn-north-1"] {
            assert!(is_region(good));
        }
    }
}
