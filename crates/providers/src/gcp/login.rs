//! Google credentials: the job's own or those of the store.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use google_cloud_auth::{
    credentials::{
        Credentials, external_account, impersonated, service_account,
        subject_token::{self, SubjectToken, SubjectTokenProvider},
        user_account,
    },
    errors::SubjectTokenProviderError,
};
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use secret::Value;
use serde_json::Value as Json;

use super::{Federation, KeyRef, Settings, WorkloadIdentity, unsupported};
use crate::{Ambient, Identity, Resolver, Unread, credentials::TokenFile, unread};

/// The time limit for a login or an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(20);

/// The endpoint override of `gcloud`.
const ELSEWHERE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER";

/// The variable with the file of the job's credentials.
pub(super) const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// Google's endpoint for exchanging foreign tokens.
const EXCHANGE: &str = "https://sts.googleapis.com/v1/token";

/// A service account key may name another universe. The operator ignores it.
const UNIVERSE: &str = "googleapis.com";

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The login for one store.
pub(super) struct Login {
    settings: Settings,
    who: Who,
    /// The endpoint from the job's environment, if it is overridden.
    endpoint_override: Option<String>,
    /// The endpoint of the token exchange.
    exchange: String,
}

enum Who {
    Ambient(Ambient),
    Store(Box<Resolver>),
}

impl Login {
    pub(super) fn new(settings: Settings, identity: Identity<'_>) -> Self {
        let (who, endpoint_override) = match identity {
            Identity::Ambient(ambient) => {
                let url = ambient.environment.get(ELSEWHERE);
                let url = url.filter(|url| !url.is_empty()).cloned();
                (Who::Ambient(ambient.clone()), url)
            }
            Identity::Store(resolver) => (Who::Store(Box::new(resolver.clone())), None),
        };
        Self {
            settings,
            who,
            endpoint_override,
            exchange: EXCHANGE.to_owned(),
        }
    }

    /// Creates a client with working credentials. A failed login is reported once and before the first read.
    pub(super) async fn client(&self) -> Result<SecretManagerService, Unread> {
        let credentials = match &self.who {
            Who::Ambient(ambient) => {
                if let Some(url) = &self.endpoint_override {
                    Ambient::over_tls(ELSEWHERE, url)?;
                }
                of_job(ambient).await?
            }
            Who::Store(resolver) => self.of_store(resolver).await?,
        };
        let first = credentials.headers(http::Extensions::new());
        match tokio::time::timeout(ANSWER, first).await {
            Ok(Ok(_)) => {}
            // The error text contains the server's answer.
            Ok(Err(_)) => return Err(failed(self.not_fetched())),
            Err(_) => return Err(failed("fetching the credentials timed out")),
        }
        let mut builder = SecretManagerService::builder()
            .with_credentials(credentials)
            .with_retry_policy(NeverRetry)
            .with_attempt_timeout(ANSWER);
        if let Some(url) = self.endpoint() {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.map_err(|_| {
            Unread::store(
                unread::UNAVAILABLE,
                "the client could not be created. Check that CA certificates are installed (SSL_CERT_FILE)",
            )
        })
    }

    fn not_fetched(&self) -> &'static str {
        match &self.who {
            Who::Ambient(ambient) if ambient.environment.get(FILE).is_none_or(String::is_empty) => {
                "the job has no credentials for Google: set GOOGLE_APPLICATION_CREDENTIALS to a key file or a configuration of workload \
                 identity federation; in GKE, bind its ServiceAccount to a service account of Google"
            }
            Who::Ambient(_) | Who::Store(_) => "the credentials could not be fetched",
        }
    }

    /// The endpoint, if it is not the global one.
    fn endpoint(&self) -> Option<String> {
        let location = &self.settings.location;
        let regional = || format!("https://secretmanager.{location}.rep.googleapis.com");
        let endpoint_override = self.endpoint_override.clone();
        endpoint_override.or_else(|| (!location.is_empty()).then(regional))
    }

    async fn of_store(&self, resolver: &Resolver) -> Result<Credentials, Unread> {
        let auth = &self.settings.auth;
        match (
            &auth.secret_ref,
            &auth.workload_identity,
            &auth.workload_identity_federation,
        ) {
            (Some(key), _, _) => key_of_secret(resolver, key).await,
            (None, Some(identity), _) => self.workload_identity(resolver, identity).await,
            (None, None, Some(federation)) => self.federated(resolver, federation).await,
            (None, None, None) => Err(Unread::store(
                unread::CONTROLLER_IDENTITY,
                "the store has no `auth`",
            )),
        }
    }

    /// Workload Identity of GKE: the cluster is an identity provider of its project's pool.
    async fn workload_identity(
        &self,
        resolver: &Resolver,
        identity: &WorkloadIdentity,
    ) -> Result<Credentials, Unread> {
        let WorkloadIdentity {
            service_account_ref: account,
            cluster_location: location,
            cluster_name: name,
            cluster_project: project,
        } = identity;
        for (field, value) in [
            ("clusterProjectID", project),
            ("clusterLocation", location),
            ("clusterName", name),
        ] {
            if value.is_empty() {
                // The operator asks the metadata server of its own cluster.
                return Err(unsupported(format!(
                    "`auth.workloadIdentity` without `{field}`"
                )));
            }
        }
        let pool = format!("{project}.svc.id.goog");
        let cluster = format!("projects/{project}/locations/{location}/clusters/{name}");
        let audience =
            format!("identitynamespace:{pool}:https://container.googleapis.com/v1/{cluster}");
        let email = annotated_account(resolver, account).await?;
        self.exchanged(resolver, account, vec![pool], audience, email)
    }

    /// Workload identity federation: the cluster is a provider in a pool of the project.
    async fn federated(
        &self,
        resolver: &Resolver,
        federation: &Federation,
    ) -> Result<Credentials, Unread> {
        if federation.cred_config.is_some() {
            return Err(unsupported("`auth.workloadIdentityFederation.credConfig`"));
        }
        if federation.aws_security_credentials.is_some() {
            return Err(unsupported(
                "`auth.workloadIdentityFederation.awsSecurityCredentials`",
            ));
        }
        let Some(account) = &federation.service_account_ref else {
            return Err(unsupported(
                "`auth.workloadIdentityFederation` without `serviceAccountRef`",
            ));
        };
        if federation.audience.is_empty() {
            return Err(unsupported(
                "`auth.workloadIdentityFederation` without `audience`",
            ));
        }
        let email = match federation.email.as_str() {
            "" => annotated_account(resolver, account).await?,
            email => Some(email.to_owned()),
        };
        // The token has only the audiences of the reference.
        self.exchanged(
            resolver,
            account,
            Vec::new(),
            federation.audience.clone(),
            email,
        )
    }

    fn exchanged(
        &self,
        resolver: &Resolver,
        account: &Json,
        audiences: Vec<String>,
        audience: String,
        email: Option<String>,
    ) -> Result<Credentials, Unread> {
        let source = Tokens {
            resolver: resolver.clone(),
            account: account.clone(),
            audiences,
        };
        let mut builder = external_account::ProgrammaticBuilder::new(Arc::new(source))
            .with_audience(audience)
            .with_subject_token_type(JWT)
            .with_token_url(&self.exchange);
        if let Some(email) = email {
            if !is_email(&email) {
                return Err(failed(
                    "the service account to impersonate is not an email address",
                ));
            }
            builder = builder.with_target_principal(email);
        }
        builder
            .build()
            .map_err(|_| failed("the token of the service account cannot be exchanged"))
    }
}

fn failed(why: impl Into<String>) -> Unread {
    Unread::store(unread::LOGIN, why)
}

/// The job's application default credentials.
pub(super) async fn of_job(ambient: &Ambient) -> Result<Credentials, Unread> {
    let path = ambient
        .environment
        .get(FILE)
        .filter(|path| !path.is_empty());
    let Some(path) = path else {
        return google_cloud_auth::credentials::Builder::default()
            .build()
            .map_err(|_| failed("no application default credentials were found"));
    };
    let text = tokio::fs::read(path)
        .await
        .map(Value::new)
        .map_err(|_| failed("the file in GOOGLE_APPLICATION_CREDENTIALS cannot be read"))?;
    let json = json_of(&text)?;
    check_of_job(&json, ambient).await?;
    let built = match type_of(&json) {
        Some("service_account") => service_account::Builder::new(json).build(),
        Some("external_account") => external_account::Builder::new(json).build(),
        Some("authorized_user") => user_account::Builder::new(json).build(),
        Some("impersonated_service_account") => impersonated::Builder::new(json).build(),
        _ => {
            return Err(failed(
                "the application default credentials have an unknown type",
            ));
        }
    };
    built.map_err(|_| failed("the application default credentials are incomplete"))
}

/// Checks where the credentials of a file are sent, and the service account token that it names.
pub(super) async fn check_of_job(json: &Json, ambient: &Ambient) -> Result<(), Unread> {
    const FIELDS: [&str; 3] = [
        "token_url",
        "token_uri",
        "service_account_impersonation_url",
    ];
    for field in FIELDS {
        if let Some(url) = json.get(field).and_then(Json::as_str) {
            Ambient::over_tls(&format!("{field} in {FILE}"), url)?;
        }
    }
    match json
        .pointer("/credential_source/file")
        .and_then(Json::as_str)
    {
        Some(path) => TokenFile::at(path, FILE, ambient).read().await.map(drop),
        None => Ok(()),
    }
}

pub(super) fn json_of(text: &Value) -> Result<Json, Unread> {
    // The error would quote the text.
    serde_json::from_slice(text.expose()).map_err(|_| failed("the credentials are not JSON"))
}

pub(super) fn type_of(json: &Json) -> Option<&str> {
    json.get("type")?.as_str()
}

/// Signs tokens locally: the token URL in the key is not used.
async fn key_of_secret(resolver: &Resolver, key: &KeyRef) -> Result<Credentials, Unread> {
    of_key(&resolver.secret_key(&key.key).await?)
}

fn of_key(text: &Value) -> Result<Credentials, Unread> {
    let json = json_of(text)?;
    if type_of(&json) != Some("service_account") {
        return Err(failed("the key is not a service account key"));
    }
    service_account::Builder::new(json)
        .with_universe_domain(UNIVERSE)
        .build()
        .map_err(|_| failed("the service account key is incomplete"))
}

/// The Google service account in the annotation of the Kubernetes service account, if set.
async fn annotated_account(resolver: &Resolver, account: &Json) -> Result<Option<String>, Unread> {
    let mut annotations = resolver.service_account_annotations(account).await?;
    let email = annotations.remove("iam.gke.io/gcp-service-account");
    Ok(email.filter(|email| !email.is_empty()))
}

/// True if the text is an email address that can be one segment of a Google API path.
fn is_email(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte);
    text.contains('@') && text.bytes().all(inner)
}

/// Fetches tokens of a Kubernetes service account.
struct Tokens {
    resolver: Resolver,
    account: Json,
    audiences: Vec<String>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl SubjectTokenProvider for Tokens {
    type Error = NoToken;

    async fn subject_token(&self) -> Result<SubjectToken, NoToken> {
        let token = self
            .resolver
            .service_account_token(&self.account, &self.audiences)
            .await
            .map_err(|_| NoToken)?;
        let token = std::str::from_utf8(token.expose()).map_err(|_| NoToken)?;
        Ok(subject_token::Builder::new(token).build())
    }
}

/// The cluster returned no token.
#[derive(Debug)]
struct NoToken;

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cluster returned no token for the service account")
    }
}

impl std::error::Error for NoToken {}

impl SubjectTokenProviderError for NoToken {
    fn is_transient(&self) -> bool {
        false
    }
}
