//! A key as a person or an event names it.

use std::collections::BTreeSet;

use super::realm::{Realm, host};
use crate::provider::ProviderKind;

/// The longest text that can name a key, in bytes: the API server accepts no longer ones in an ExternalSecret.
const LONGEST: usize = 2048;

/// A key of a provider, as far as its name tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteKey {
    /// The provider, if it is known.
    pub provider: Option<ProviderKind>,
    pub realm: Realm,
    /// The names that it may have.
    pub names: BTreeSet<String>,
}

/// The error for a text that names no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("is empty")]
    Empty,
    #[error("is longer than {LONGEST} bytes")]
    TooLong,
    #[error("contains a control character")]
    Control,
    #[error("is not the ARN of a secret or a parameter")]
    Arn,
    #[error("is not the URL of a secret in a Key Vault, or of a path in a Vault")]
    Url,
}

impl InvalidKey {
    /// The forms that are accepted.
    pub const HINT: &str = "write a name, an ARN, `https://VAULT.vault.azure.net/secrets/NAME`, `projects/PROJECT/secrets/NAME`, or the path in a Vault";
}

impl RemoteKey {
    /// The keys that a text can name: a name, an ARN, the URL of a secret in a Key Vault, a resource name of GCP, or a path or
    /// URL of a Vault.
    pub fn read(text: &str) -> Result<Vec<Self>, InvalidKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if text.len() > LONGEST {
            return Err(InvalidKey::TooLong);
        }
        if text.contains(char::is_control) {
            return Err(InvalidKey::Control);
        }
        if text.starts_with("arn:") {
            let arn = Arn::parse(text).ok_or(InvalidKey::Arn)?;
            return Ok(vec![Self {
                realm: arn.realm(),
                names: arn.names().collect(),
                provider: Some(arn.provider),
            }]);
        }
        if text.contains("://") {
            return of_url(text).map(|key| vec![key]).ok_or(InvalidKey::Url);
        }
        let plain = Self {
            names: BTreeSet::from([text.to_owned()]),
            ..Self::default()
        };
        // A path of a Vault can look like a resource name.
        Ok(of_resource(text).into_iter().chain([plain]).collect())
    }
}

/// `https://VAULT/secrets/NAME/VERSION`, or `https://SERVER/v1/PATH`.
fn of_url(text: &str) -> Option<RemoteKey> {
    let (scheme, rest) = text.split_once("://")?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return None;
    }
    let (_, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next()?;
    let realm = Realm {
        host: Some(host(text)),
        ..Realm::default()
    };
    let mut parts = path.split('/');
    let (provider, name) = match parts.next()? {
        "secrets" | "certificates" | "keys" => (ProviderKind::AzureKeyVault, parts.next()?),
        "v1" => (ProviderKind::Vault, path.strip_prefix("v1/")?),
        _ => return None,
    };
    (!name.is_empty()).then(|| RemoteKey {
        provider: Some(provider),
        realm,
        names: BTreeSet::from([name.to_owned()]),
    })
}

/// `projects/P/secrets/S`, also with a location, a version, or the service before it.
fn of_resource(text: &str) -> Option<RemoteKey> {
    let text = text
        .strip_prefix("//secretmanager.googleapis.com/")
        .unwrap_or(text);
    let parts: Vec<&str> = text.split('/').collect();
    let (project, location, rest) = match parts.as_slice() {
        [
            "projects",
            project,
            "locations",
            location,
            "secrets",
            rest @ ..,
        ] => (project, *location, rest),
        ["projects", project, "secrets", rest @ ..] => (project, "", rest),
        _ => return None,
    };
    let ([name] | [name, "versions", _]) = rest else {
        return None;
    };
    Some(RemoteKey {
        provider: Some(ProviderKind::GcpSecretManager),
        realm: Realm {
            region: Some(location.to_owned()),
            account: Some((*project).to_owned()),
            host: None,
        },
        names: BTreeSet::from([(*name).to_owned()]),
    })
}

/// The first part of the ARNs in a region.
pub fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The ARN of a secret or a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    pub(super) provider: ProviderKind,
    region: &'a str,
    account: &'a str,
    tail: &'a str,
}

impl<'a> Arn<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let ("arn", _partition) = (parts.next()?, parts.next()?) else {
            return None;
        };
        let (service, region, account) = (parts.next()?, parts.next()?, parts.next()?);
        let resource = parts.next()?;
        let (provider, tail) = match service {
            "secretsmanager" => (
                ProviderKind::SecretsManager,
                resource.strip_prefix("secret:")?,
            ),
            "ssm" => (
                ProviderKind::ParameterStore,
                resource.strip_prefix("parameter/")?,
            ),
            _ => return None,
        };
        (!tail.is_empty()).then_some(Self {
            provider,
            region,
            account,
            tail,
        })
    }

    pub(super) fn realm(&self) -> Realm {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Realm {
            region: known(self.region),
            account: known(self.account),
            host: None,
        }
    }

    /// The names that the secret may have. The ARN of a secret ends in a random suffix, which people and tools often leave out.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let suffixed = self.provider == ProviderKind::SecretsManager;
        let bare = without_suffix(self.tail).filter(|_| suffixed);
        [Some(self.tail), bare]
            .into_iter()
            .flatten()
            .map(str::to_owned)
    }
}

/// Returns the text without `-` and six letters or digits at its end.
fn without_suffix(tail: &str) -> Option<&str> {
    let (name, suffix) = tail.rsplit_once('-')?;
    let random = suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (random && !name.is_empty()).then_some(name)
}
