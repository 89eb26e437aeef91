//! Azure Key Vault: secrets. Its certificates and keys are told apart, and not read.

mod client;
mod fault;
mod login;
mod settings;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use azure_security_keyvault_secrets::models::{Secret, SecretProperties};
use eso_model::expected::{self, Failure, GoRegex, Operator, Raw, What, why};
use futures::future::{join_all, try_join_all};
use secret::Value;

use self::{client::Client, fault::Problem, login::Login, settings::Settings};
use super::{Answered, Identity, Provider, StoreSettings, Turns, Unread, unread};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// For a whole answer: one that trickles in is none.
const WHOLE_ANSWER: Duration = Duration::from_mins(1);

/// Names that a search looks at; a vault that lists more, or lists without end, is not read to its end.
const MOST_NAMES: usize = 100_000;

/// Pages of such a list: those of Azure's have up to 25 names on them, and may have none.
const MOST_PAGES: usize = 10_000;

/// Azure has no longer names.
const LONGEST_NAME: usize = 127;

struct KeyVault {
    client: Client,
    /// The vault, as it is named to people.
    name: String,
}

/// A connection to the vault of a store. Nothing is sent to it before something is read.
pub(super) async fn connect(
    store: &StoreSettings,
    identity: Identity<'_>,
) -> Result<Box<dyn Provider>, Unread> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER)
        .timeout(WHOLE_ANSWER)
        .build()
        .map_err(|error| Unread::store(unread::UNAVAILABLE, format!("no TLS: {error}")))?;
    let settings = Settings::of(&store.settings)?;
    if let Identity::Ambient(ambient) = identity {
        let cloud = settings.cloud()?;
        let hosts: Vec<&str> = cloud.vaults.into_iter().collect();
        ambient.may_go_to(settings.vault()?.as_str(), &hosts)?;
        // Of a cloud that the store describes, the login is as much somebody else's as the vault.
        if cloud.vaults.is_none() && login::authority(ambient).is_none() {
            ambient.may_go_to(&cloud.authority, &[])?;
        }
    }
    Ok(Box::new(open(&settings, identity, http).await?))
}

/// With this HTTP client.
async fn open(
    settings: &Settings,
    identity: Identity<'_>,
    http: reqwest::Client,
) -> Result<KeyVault, Unread> {
    let vault = settings.vault()?;
    let mut cloud = settings.cloud()?;
    if let Identity::Ambient(ambient) = identity {
        cloud.authority = login::authority(ambient).unwrap_or(cloud.authority);
    }
    let name = vault.host_str().unwrap_or_default().to_owned();
    let login = Login::of(settings, identity).await?;
    Ok(KeyVault {
        client: Client::new(vault, login, cloud, http),
        name,
    })
}

#[async_trait]
impl Provider for KeyVault {
    async fn read(&self, wanted: &[What], turns: &Turns) -> Vec<Answered> {
        join_all(wanted.iter().map(async |what| {
            let answer = match what {
                What::Secret {
                    key,
                    version,
                    metadata,
                } => self.one(key, version, *metadata, turns).await,
                What::Find { name, tags, .. } => {
                    self.find(name.as_deref(), tags.as_ref(), turns).await
                }
            };
            answer.unwrap_or_else(|problem| self.answered(problem))
        }))
        .await
    }
}

impl KeyVault {
    async fn one(
        &self,
        key: &str,
        version: &str,
        metadata: bool,
        turns: &Turns,
    ) -> Result<Answered, Problem> {
        let mut parts = key.split('/');
        let name = match (parts.next(), parts.next()) {
            (Some("key" | "cert"), Some(_)) => {
                return Err(Unread::secret(why::KIND, "only secrets are read").into());
            }
            (Some("secret"), Some(name)) | (Some(name), None) => name,
            _ => return Ok(Answered::Fails(Failure::Refused)),
        };
        // Azure has no other names and versions, and refuses the request.
        let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let fits = (1..=LONGEST_NAME).contains(&name.len()) && version.len() <= LONGEST_NAME;
        if !fits || !is_name(name) || !is_name(version) {
            return Ok(Answered::Fails(Failure::Refused));
        }
        let secret = self.client.secret(name, version, turns).await?;
        if metadata {
            let tags = secret.tags.into_iter().flatten();
            let tags = tags.map(|(name, tag)| (name, Value::new(tag.into_bytes())));
            return Ok(Answered::One(Raw::Tags(tags.collect())));
        }
        Ok(value(secret).map_or(Answered::Fails(Failure::NoValue), Answered::One))
    }

    /// `GetAllSecrets`: enabled ones, by the name of their newest version.
    async fn find(
        &self,
        name: Option<&str>,
        tags: Option<&BTreeMap<String, String>>,
        turns: &Turns,
    ) -> Result<Answered, Problem> {
        let provider = expected::Provider::AzureKeyVault;
        let (name, tags) = match Operator::of(provider, name, tags) {
            Some(Operator::NameAndTags(name)) => (Some(name), tags),
            Some(Operator::Name(name)) => (Some(name), None),
            Some(Operator::Tags) => (None, tags),
            Some(Operator::All) | None => (None, None),
        };
        let name = name
            .map(GoRegex::new)
            .transpose()
            .map_err(|_| Unread::secret(why::REGEXP, "find.name.regexp"))?;
        let mut names = Vec::new();
        let mut next = None;
        for pages in 1.. {
            let page = self.client.page(next.as_ref(), turns).await?;
            next = self.client.next(&page)?;
            names.extend(
                page.value
                    .iter()
                    .filter_map(|secret| matching(secret, name.as_ref(), tags)),
            );
            if next.is_none() {
                break;
            }
            if pages >= MOST_PAGES || names.len() > MOST_NAMES {
                let detail = "the list of the vault's secrets has no end";
                return Err(Unread::secret(unread::UNREADABLE, detail).into());
            }
        }
        let found = names.into_iter().map(async |name| {
            let secret = self.client.secret(&name, "", turns).await?;
            Ok::<_, Problem>(value(secret).map(|raw| (name, raw)))
        });
        let found = try_join_all(found).await?;
        Ok(Answered::Many(found.into_iter().flatten().collect()))
    }

    fn answered(&self, problem: Problem) -> Answered {
        match problem {
            Problem::NotFound => Answered::NotFound,
            // The operator gets an error as for any other, and keeps what it has.
            Problem::Disabled => Answered::Fails(Failure::NoValue),
            Problem::Unread(unread)
                if unread.why.reason == unread::DENIED && !unread.whole_store =>
            {
                let right = format!("\"Key Vault Secrets User\" on {}", self.name);
                Answered::Unread(unread.lacking(right))
            }
            Problem::Unread(unread) => Answered::Unread(unread),
        }
    }
}

fn value(secret: Secret) -> Option<Raw> {
    let value = secret.value?;
    Some(Raw::Bytes(Value::new(value.into_bytes())))
}

/// The name of an enabled secret that is searched for.
fn matching(
    secret: &SecretProperties,
    name: Option<&GoRegex>,
    tags: Option<&BTreeMap<String, String>>,
) -> Option<String> {
    let found = secret.id.as_ref()?.rsplit('/').next()?;
    let enabled = secret.attributes.as_ref()?.enabled?;
    let tagged = tags.into_iter().flatten().all(|(name, value)| {
        let tag = secret.tags.as_ref().and_then(|tags| tags.get(name));
        tag == Some(value)
    });
    let named = name.is_none_or(|name| name.is_match(found));
    (enabled && tagged && named).then(|| found.to_owned())
}
