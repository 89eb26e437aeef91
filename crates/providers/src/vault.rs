//! HashiCorp Vault and OpenBao: KV version 1 and 2.

mod body;
mod client;
mod login;
mod members;
mod path;
mod read;
mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod transit;
mod write;

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use eso_model::expected::What;
use futures::future::join_all;
use pace::Clock;
use reqwest::{Certificate, header::HeaderValue};
use secret::{Buffer, Value};
use url::Url;

use self::{
    client::Client,
    login::Login,
    read::Reader,
    settings::{Settings, unsupported},
};
use super::{
    Answered, Identity, Provider, RateLimiter, StoreSettings, Unread, holder::Writer, unread,
};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// The time limit for a whole answer, including a slow body.
const TOTAL_TIMEOUT: Duration = Duration::from_mins(1);

struct Vault {
    reader: Reader,
}

/// Connects to the Vault of a store. Sends no request until the first read.
pub(super) async fn connect(
    store: &StoreSettings,
    identity: Identity<'_>,
) -> Result<Box<dyn Provider>, Unread> {
    let reader = reader(store, identity).await?;
    Ok(Box::new(Vault { reader }))
}

/// The same connection, for writing.
pub(super) async fn connect_writer(
    store: &StoreSettings,
    identity: Identity<'_>,
    owner: &str,
    clock: Clock,
) -> Result<Box<dyn Writer>, Unread> {
    let reader = reader(store, identity).await?;
    write::writer(reader, owner.to_owned(), clock)
}

async fn reader(store: &StoreSettings, identity: Identity<'_>) -> Result<Reader, Unread> {
    let settings = Settings::of(&store.settings)?;
    let server = settings.server()?;
    if let Identity::Ambient(ambient) = identity {
        // No host is trusted by default: anyone can rent a Vault at HashiCorp.
        ambient.may_go_to(server.as_str(), &[])?;
    }
    let login = Login::of(&settings, identity)?;
    let namespaces = [
        namespace(settings.namespace.as_deref())?,
        namespace(login::namespace(&settings, identity).as_deref())?,
    ];
    let http = http(store, &settings, identity, &server).await?;
    let client = Client::new(http, server, settings.headers()?, namespaces, login);
    Ok(Reader::new(client, settings.paths()))
}

fn namespace(name: Option<&str>) -> Result<Option<HeaderValue>, Unread> {
    name.filter(|name| !name.is_empty())
        .map(HeaderValue::try_from)
        .transpose()
        .map_err(|_| unsupported("spec.provider.vault: the namespace is invalid".to_owned()))
}

/// The HTTP client. It follows no redirects because the token would be sent with them.
async fn http(
    store: &StoreSettings,
    settings: &Settings,
    identity: Identity<'_>,
    server: &Url,
) -> Result<reqwest::Client, Unread> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER)
        .timeout(TOTAL_TIMEOUT)
        // With HTTP/2, a server could send megabytes before they are read.
        .http1_only();
    // A proxy would read what is sent over plain HTTP.
    if matches!(identity, Identity::Ambient(_)) && server.scheme() == "http" {
        builder = builder.no_proxy();
    }
    if let Some(pem) = ca_bundle(store, settings, identity).await? {
        let certificates = Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty());
        builder = builder.tls_certs_only(certificates.ok_or_else(|| {
            Unread::store(
                unread::STORE,
                "the store's CA bundle contains no certificate",
            )
        })?);
    }
    if let Some(pem) = client_certificate(settings, identity).await? {
        builder = builder.identity(reqwest::Identity::from_pem(pem.expose()).map_err(|_| {
            let detail =
                "spec.provider.vault.tls: the Secrets must contain a certificate and its key";
            Unread::store(unread::STORE, detail)
        })?);
    }
    builder
        .build()
        .map_err(|_| Unread::store(unread::UNAVAILABLE, "cannot set up TLS"))
}

async fn ca_bundle(
    store: &StoreSettings,
    settings: &Settings,
    identity: Identity<'_>,
) -> Result<Option<Vec<u8>>, Unread> {
    match (identity, &settings.ca_bundle) {
        (Identity::Store(resolver), _) => resolver.ca_bundle(&store.settings).await,
        (Identity::Ambient(_), Some(bundle)) if !bundle.is_empty() => {
            let decoded = STANDARD.decode(bundle);
            decoded.map(Some).map_err(|_| {
                Unread::store(unread::STORE, "spec.provider.vault.caBundle is not base64")
            })
        }
        (Identity::Ambient(_), _) if settings.ca_provider.is_some() => {
            Err(unsupported(not_with_ambient("caProvider")))
        }
        (Identity::Ambient(_), _) => Ok(None),
    }
}

/// The certificate and its key, concatenated.
async fn client_certificate(
    settings: &Settings,
    identity: Identity<'_>,
) -> Result<Option<Value>, Unread> {
    let tls = &settings.tls;
    // As in the operator: one without the other is ignored.
    let (Some(certificate), Some(key)) = (&tls.cert_secret_ref, &tls.key_secret_ref) else {
        return Ok(None);
    };
    let Identity::Store(resolver) = identity else {
        return Err(unsupported(not_with_ambient("tls")));
    };
    let mut pem = Buffer::default();
    for (reference, default) in [(certificate, "tls.crt"), (key, "tls.key")] {
        let mut reference = reference.clone();
        if let Some(reference) = reference.as_object_mut()
            && reference
                .get("key")
                .and_then(|key| key.as_str())
                .unwrap_or("")
                .is_empty()
        {
            reference.insert("key".to_owned(), default.into());
        }
        pem.push(resolver.secret_key(&reference).await?.expose());
        pem.push(b"\n");
    }
    Ok(Some(pem.finish()))
}

fn not_with_ambient(field: &str) -> String {
    format!("spec.provider.vault.{field} is supported only with the store's own credentials")
}

#[async_trait]
impl Provider for Vault {
    async fn read(&self, wanted: &[What], limiter: &RateLimiter) -> Vec<Answered> {
        join_all(wanted.iter().map(async |what| {
            let answer = match what {
                What::Secret {
                    key,
                    metadata: true,
                    ..
                } => self.reader.metadata(key, limiter).await,
                What::Secret { key, version, .. } => {
                    self.reader.secret(key, version, limiter).await
                }
                What::Find { path, name, tags } => {
                    let (path, name) = (path.as_deref(), name.as_deref());
                    self.reader.find(path, name, tags.as_ref(), limiter).await
                }
            };
            answer.unwrap_or_else(Answered::Unread)
        }))
        .await
    }

    async fn read_members(
        &self,
        what: &What,
        members: &BTreeSet<String>,
        limiter: &RateLimiter,
    ) -> Answered {
        match what {
            What::Secret {
                key,
                version,
                metadata: false,
            } => {
                let read = self.reader.members(key, version, members, limiter).await;
                read.unwrap_or_else(Answered::Unread)
            }
            What::Secret { .. } | What::Find { .. } => Answered::Unread(Unread::value_too_large()),
        }
    }
}
