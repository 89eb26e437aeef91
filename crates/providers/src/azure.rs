//! Azure Key Vault. Reads and writes secrets only; keys and certificates are recognised and reported.

mod client;
mod fault;
pub(crate) mod keys;
mod login;
pub(crate) mod plugin;
#[cfg(feature = "events-azure")]
mod queue;
mod rotation;
mod settings;
#[cfg(test)]
mod tests;
mod write;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models::{Secret, SecretProperties};
use eso_model::{
    ProviderKind,
    expected::{Failure, Operator, Raw, What, why},
    rotation::Rotation,
    version::ReadVersion,
};
use futures::{StreamExt as _, future::join_all, stream};
use jiff::Timestamp;
use pace::Clock;
use secret::Value;
use serde_json::Value as Json;

#[cfg(feature = "events-azure")]
pub(super) use self::queue::connect_queue;
use self::{
    client::{Client, Listing},
    fault::{Fault, Problem},
    login::Login,
    settings::Settings,
};
use super::{
    Ambient, Answered, Identity, Provider, RateLimiter, Receiver, StoreSettings, Unread,
    engine::SEARCH_CALLS, found::Found, holder::Writer, names::Names, unread,
};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// The time limit for a whole answer, including a slow body.
const TOTAL_TIMEOUT: Duration = Duration::from_mins(1);

/// The maximum number of names in a search. A longer or endless list is not read.
const MAX_NAMES: usize = 100_000;

/// The maximum number of pages in a search. A page has up to 25 names and may be empty.
const MAX_PAGES: usize = 10_000;

/// The longest name that Azure allows.
const MAX_NAME_LENGTH: usize = 127;

struct KeyVault {
    client: Client,
    /// The vault's host, for messages.
    name: String,
}

/// Connects to the vault of a store. Sends no request until the first read.
pub(super) async fn connect(
    store: &StoreSettings,
    identity: Identity<'_>,
) -> Result<Box<dyn Provider>, Unread> {
    Ok(Box::new(vault(store, identity).await?))
}

/// The same connection, for writing.
pub(super) async fn connect_writer(
    store: &StoreSettings,
    identity: Identity<'_>,
    owner: &str,
    clock: Clock,
) -> Result<Box<dyn Writer>, Unread> {
    let vault = vault(store, identity).await?;
    let publisher = write::Publisher::new(vault, owner.to_owned(), clock);
    Ok(Box::new(publisher))
}

/// The addresses that a store names for the job's own credentials.
pub(super) fn receivers(settings: &Json) -> Result<Vec<Receiver>, Unread> {
    Settings::of(settings)?.receivers(true)
}

async fn vault(store: &StoreSettings, identity: Identity<'_>) -> Result<KeyVault, Unread> {
    let http = http()?;
    let settings = Settings::of(&store.settings)?;
    if let Identity::Ambient(ambient) = identity {
        let authority = login::authority(ambient);
        for (address, hosts) in settings.receivers(authority.is_none())? {
            ambient.may_go_to(&address, &hosts)?;
        }
        if let Some(authority) = authority {
            Ambient::over_tls("AZURE_AUTHORITY_HOST", &authority)?;
        }
    }
    open(&settings, identity, http).await
}

/// The client for all requests. It follows no redirects, because the credentials would be sent with them.
fn http() -> Result<reqwest::Client, Unread> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER)
        .timeout(TOTAL_TIMEOUT)
        .build()
        .map_err(|_| Unread::store(unread::UNAVAILABLE, "cannot set up TLS"))
}

/// Connects with this HTTP client.
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
    async fn read(&self, wanted: &[What], limiter: &RateLimiter) -> Vec<Answered> {
        join_all(wanted.iter().map(async |what| {
            let answer = match what {
                What::Secret {
                    key,
                    version,
                    metadata,
                } => self.one(key, version, *metadata, limiter).await,
                What::Find { name, tags, .. } => {
                    self.find(name.as_deref(), tags.as_ref(), limiter).await
                }
            };
            answer.unwrap_or_else(|problem| self.answered(problem))
        }))
        .await
    }

    async fn rotations(
        &self,
        keys: &[String],
        limiter: &RateLimiter,
    ) -> Vec<Result<Rotation, Unread>> {
        self.schedules(keys, limiter).await
    }
}

impl KeyVault {
    async fn one(
        &self,
        key: &str,
        version: &str,
        metadata: bool,
        limiter: &RateLimiter,
    ) -> Result<Answered, Problem> {
        let Some(name) = name_of(key)? else {
            return Ok(Answered::Fails(Failure::Refused));
        };
        // Azure allows no other names and versions, and rejects the request.
        let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let fits = (1..=MAX_NAME_LENGTH).contains(&name.len()) && version.len() <= MAX_NAME_LENGTH;
        if !fits || !is_name(name) || !is_name(version) {
            return Ok(Answered::Fails(Failure::Refused));
        }
        let secret = self.client.secret(name, version, limiter).await?;
        if metadata {
            let tags = secret.tags.into_iter().flatten();
            let tags = tags.map(|(name, tag)| (name, Value::new(tag.into_bytes())));
            return Ok(Answered::One(Raw::Tags(tags.collect()), None));
        }
        let version = version_of(&secret);
        Ok(match value(secret) {
            Some(raw) => Answered::One(raw, version),
            None => Answered::Fails(Failure::NoValue),
        })
    }

    /// `GetAllSecrets`: the newest versions of enabled secrets.
    async fn find(
        &self,
        name: Option<&str>,
        tags: Option<&BTreeMap<String, String>>,
        limiter: &RateLimiter,
    ) -> Result<Answered, Problem> {
        let (name, tags) = match Operator::of(&ProviderKind::AzureKeyVault, name, tags) {
            Some(Operator::NameAndTags(name)) => (Some(name), tags),
            Some(Operator::Name(name)) => (Some(name), None),
            Some(Operator::Tags) => (None, tags),
            Some(Operator::All) | None => (None, None),
        };
        let mut wanted = match name {
            Some(regexp) => Names::matching(regexp, limiter).await?,
            None => Names::all(limiter),
        };
        let mut names = Vec::new();
        let mut next = None;
        for pages in 1.. {
            let page = self
                .client
                .page(Listing::Secrets, next.as_ref(), limiter)
                .await?;
            next = self.client.next(&page)?;
            let listed = page.value.iter();
            let listed = listed.filter_map(|secret| enabled(secret, tags)).collect();
            names.extend(wanted.of(listed, limiter).await?);
            if next.is_none() {
                break;
            }
            if pages >= MAX_PAGES || names.len() > MAX_NAMES {
                let detail = "the vault lists too many secrets";
                return Err(Unread::secret(unread::UNREADABLE, detail).into());
            }
        }
        let secrets = names.into_iter().map(async |name| {
            let secret = self.client.secret(&name, "", limiter).await?;
            Ok::<_, Problem>(value(secret).map(|raw| (name, raw)))
        });
        let mut secrets = stream::iter(secrets).buffer_unordered(SEARCH_CALLS);
        let mut found = Found::new(limiter)?;
        while let Some(secret) = secrets.next().await {
            if let Some((name, raw)) = secret? {
                found.insert(name, raw)?;
            }
        }
        Ok(found.into())
    }

    fn answered(&self, problem: Problem) -> Answered {
        match problem {
            Problem::NotFound => Answered::NotFound,
            // The operator treats it as a general error and keeps the Secret.
            Problem::Disabled => Answered::Fails(Failure::VersionDisabled),
            problem @ Problem::Conflict(_) => Answered::Unread(Fault::answer(problem).unread()),
            Problem::Unread(unread) => {
                Answered::Unread(self.lacking(unread, "Key Vault Secrets User"))
            }
        }
    }

    /// Adds the role that is missing if access to a secret is denied.
    fn lacking(&self, unread: Unread, role: &str) -> Unread {
        if unread.why.reason != unread::DENIED || unread.whole_store {
            return unread;
        }
        unread.lacking(format!("\"{role}\" on {}", self.name))
    }
}

/// The name of the secret with this key; None if the operator refuses the key.
fn name_of(key: &str) -> Result<Option<&str>, Unread> {
    let mut parts = key.split('/');
    match (parts.next(), parts.next()) {
        (Some("key" | "cert"), Some(_)) => Err(Unread::secret(why::KIND, "only secrets are read")),
        (Some("secret"), Some(name)) | (Some(name), None) => Ok(Some(name)),
        _ => Ok(None),
    }
}

fn timestamp(time: OffsetDateTime) -> Option<Timestamp> {
    Timestamp::from_second(time.unix_timestamp()).ok()
}

fn version_of(secret: &Secret) -> Option<Box<ReadVersion>> {
    let id = secret.id.as_ref().and_then(|id| id.rsplit('/').next());
    let attributes = secret.attributes.as_ref();
    let created = attributes.and_then(|attributes| attributes.created);
    let version = ReadVersion {
        resource: secret.id.clone(),
        id: id.map(str::to_owned),
        created: created.and_then(timestamp),
    };
    version.boxed()
}

fn value(secret: Secret) -> Option<Raw> {
    let value = secret.value?;
    Some(Raw::Bytes(Value::new(value.into_bytes())))
}

/// The name of a secret, if it is enabled and has these tags.
fn enabled(secret: &SecretProperties, tags: Option<&BTreeMap<String, String>>) -> Option<String> {
    let found = secret.id.as_ref()?.rsplit('/').next()?;
    let enabled = secret.attributes.as_ref()?.enabled?;
    let tagged = tags.into_iter().flatten().all(|(name, value)| {
        let tag = secret.tags.as_ref().and_then(|tags| tags.get(name));
        tag == Some(value)
    });
    (enabled && tagged).then(|| found.to_owned())
}
