//! AWS: Secrets Manager and Parameter Store.
//!
//! Calls, and the permissions that they need:
//!
//! | call | when | permission |
//! |---|---|---|
//! | `BatchGetSecretValue` | newest versions, twenty in one call; `find` with a path or by tags | `secretsmanager:BatchGetSecretValue` on `*`, and `secretsmanager:GetSecretValue` on each secret |
//! | `GetSecretValue` | other versions; all, where the batch right is denied | `secretsmanager:GetSecretValue` on the secret |
//! | `DescribeSecret` | `metadataPolicy: Fetch` | `secretsmanager:DescribeSecret` on the secret |
//! | `ListSecrets` | `find` by name without a path | `secretsmanager:ListSecrets` on `*` |
//! | `GetParameters` | parameters, ten in one call | `ssm:GetParameters` on each parameter |
//! | `GetParameter` | where that is denied for one of them, and to tell a missing version from a missing parameter | `ssm:GetParameter` on the parameter |
//! | `ListTagsForResource` | `metadataPolicy: Fetch` | `ssm:ListTagsForResource` on the parameter |
//! | `GetParametersByPath` | `find` by name | `ssm:GetParametersByPath` on the path |
//! | `DescribeParameters` | `find` by tags; `find` by name where the call before is denied | `ssm:DescribeParameters` on `*` |
//!
//! What a key of one's own encrypts needs `kms:Decrypt` on that key too; `role` and `additionalRoles` need `sts:AssumeRole`, with
//! `sessionTags` also `sts:TagSession`.
//!
//! A store names no address: its region becomes a part of one of AWS's own host names, and is refused if it could become
//! more than that. So the job's own credentials cannot be sent anywhere else by who writes a store.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use self::{login::Login, secrets_manager::SecretsManager};
use super::{Identity, Provider, StoreSettings, Unread, unread};

mod batch;
mod login;
#[cfg(feature = "aws-parameter-store")]
mod parameter_store;
mod secrets_manager;
mod service;
mod trouble;

/// What stands under `provider.aws`.
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
    /// About deleting secrets, which nobody does here.
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
    /// Those of a store, if all that it says is understood.
    fn of(store: &StoreSettings) -> Result<Self, Unread> {
        let settings: Self = serde_json::from_value(store.settings.clone())
            .map_err(|error| unsupported(super::not_understood(&error)))?;
        // The tags of a policy hold the ExternalSecret's namespace: each would need a login of its own.
        let policy = settings.session_tags_policy.as_deref();
        if settings.region.is_empty() {
            Err(unsupported("`region` is missing"))
        } else if !is_region(&settings.region) {
            Err(unsupported(
                "`region` is not the name of a region, such as eu-west-1",
            ))
        } else if !matches!(policy, None | Some("" | "None")) {
            Err(unsupported("`sessionTagsPolicy` other than None"))
        } else if !settings.custom_session_tags.is_empty() {
            Err(unsupported("`customSessionTags`"))
        } else {
            Ok(settings)
        }
    }
}

/// A part of a host name, and no more.
fn is_region(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 50 && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(inner)
}

/// Whether a name or ARN is one that AWS takes; a longer one is refused.
fn fits(key: &str) -> bool {
    key.chars().count() <= 2048
}

fn unsupported(what: impl Into<String>) -> Unread {
    Unread::store(unread::UNSUPPORTED, what)
}

/// Logs in, once.
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

#[cfg(test)]
mod tests {
    use eso_model::StoreKey;
    use serde_json::json;

    use super::*;

    fn settings(settings: Json) -> Result<Settings, String> {
        let store = StoreSettings {
            key: StoreKey::Cluster {
                name: "aws".to_owned(),
            },
            provider: "aws".to_owned(),
            settings,
        };
        Settings::of(&store).map_err(|unread| {
            assert!(unread.whole_store);
            unread.why.to_string()
        })
    }

    #[test]
    fn what_is_not_supported_is_named() {
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
            (json!({"region": ""}), "`region` is missing"),
            (
                json!({"sessionTagsPolicy": "Simple"}),
                "`sessionTagsPolicy` other than None",
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

    /// It becomes a part of a host name that the job's own credentials go to.
    #[test]
    fn a_region_cannot_become_another_host() {
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
