//! Credentials: the job's own, or those that the store names.

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
use crate::{Ambient, Identity, Resolver, Unread, unread};

/// A login, or an answer, takes this long at most.
const ANSWER: Duration = Duration::from_secs(20);

/// As for `gcloud`.
const ELSEWHERE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER";

/// Where Google exchanges tokens of others for its own.
const EXCHANGE: &str = "https://sts.googleapis.com/v1/token";

/// A key of a service account may name another universe of hosts: the operator does not follow it.
const UNIVERSE: &str = "googleapis.com";

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How to log in at a store.
pub(super) struct Login {
    settings: Settings,
    who: Who,
    /// Where the service is, if the job's environment has it elsewhere than Google.
    elsewhere: Option<String>,
    /// Where tokens of others are exchanged for Google's.
    exchange: String,
}

enum Who {
    Ambient(Ambient),
    Store(Box<Resolver>),
}

impl Login {
    pub(super) fn new(settings: Settings, identity: Identity<'_>) -> Self {
        let (who, elsewhere) = match identity {
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
            elsewhere,
            exchange: EXCHANGE.to_owned(),
        }
    }

    /// A client with credentials that work: a login that fails is told once, and before anything is read.
    pub(super) async fn client(&self) -> Result<SecretManagerService, Unread> {
        let credentials = match &self.who {
            Who::Ambient(ambient) => of_job(ambient).await?,
            Who::Store(resolver) => self.of_store(resolver).await?,
        };
        let first = credentials.headers(http::Extensions::new());
        match tokio::time::timeout(ANSWER, first).await {
            Ok(Ok(_)) => {}
            // Its text holds what the server said.
            Ok(Err(_)) => return Err(failed("the credentials could not be fetched")),
            Err(_) => return Err(failed("the credentials did not come in time")),
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
                "the client could not be made: are there CA certificates (SSL_CERT_FILE)?",
            )
        })
    }

    /// Where the service is, if it is not at its one address for the world.
    fn endpoint(&self) -> Option<String> {
        let location = &self.settings.location;
        let regional = || format!("https://secretmanager.{location}.rep.googleapis.com");
        let elsewhere = self.elsewhere.clone();
        elsewhere.or_else(|| (!location.is_empty()).then(regional))
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

    /// GKE's: the cluster is an identity provider of its project's pool.
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
                // The operator asks the metadata server of the cluster that it runs in.
                return Err(unsupported(format!(
                    "`auth.workloadIdentity` without `{field}`"
                )));
            }
        }
        let pool = format!("{project}.svc.id.goog");
        let cluster = format!("projects/{project}/locations/{location}/clusters/{name}");
        let audience =
            format!("identitynamespace:{pool}:https://container.googleapis.com/v1/{cluster}");
        let email = annotated(resolver, account).await?;
        self.exchanged(resolver, account, vec![pool], audience, email)
    }

    /// A pool of the project's, with the cluster as one of its providers.
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
            "" => annotated(resolver, account).await?,
            email => Some(email.to_owned()),
        };
        // The token is for the audiences of the reference alone.
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
                return Err(failed("the account to impersonate is not an address"));
            }
            builder = builder.with_target_principal(email);
        }
        builder
            .build()
            .map_err(|_| failed("the identity of the service account cannot be exchanged"))
    }
}

fn failed(why: impl Into<String>) -> Unread {
    Unread::store(unread::LOGIN, why)
}

/// Application default credentials.
async fn of_job(ambient: &Ambient) -> Result<Credentials, Unread> {
    let path = ambient
        .environment
        .get("GOOGLE_APPLICATION_CREDENTIALS")
        .filter(|path| !path.is_empty());
    let Some(path) = path else {
        return google_cloud_auth::credentials::Builder::default()
            .build()
            .map_err(|_| failed("no application default credentials were found"));
    };
    let text = tokio::fs::read(path)
        .await
        .map(Value::new)
        .map_err(|_| failed("the file that GOOGLE_APPLICATION_CREDENTIALS names cannot be read"))?;
    let json = json_of(&text)?;
    let built = match type_of(&json) {
        Some("service_account") => service_account::Builder::new(json).build(),
        Some("external_account") => external_account::Builder::new(json).build(),
        Some("authorized_user") => user_account::Builder::new(json).build(),
        Some("impersonated_service_account") => impersonated::Builder::new(json).build(),
        _ => return Err(failed("application default credentials of an unknown type")),
    };
    built.map_err(|_| failed("the application default credentials are not complete"))
}

fn json_of(text: &Value) -> Result<Json, Unread> {
    // The error would quote it.
    serde_json::from_slice(text.expose()).map_err(|_| failed("the credentials are not JSON"))
}

fn type_of(json: &Json) -> Option<&str> {
    json.get("type")?.as_str()
}

/// Signs tokens by itself: the address for tokens that such a key names is not asked.
async fn key_of_secret(resolver: &Resolver, key: &KeyRef) -> Result<Credentials, Unread> {
    of_key(&resolver.secret_key(&key.key).await?)
}

fn of_key(text: &Value) -> Result<Credentials, Unread> {
    let json = json_of(text)?;
    if type_of(&json) != Some("service_account") {
        return Err(failed("the key is not that of a service account"));
    }
    service_account::Builder::new(json)
        .with_universe_domain(UNIVERSE)
        .build()
        .map_err(|_| failed("the key of the service account is not complete"))
}

/// The account that Kubernetes' service account stands for, if it names one.
async fn annotated(resolver: &Resolver, account: &Json) -> Result<Option<String>, Unread> {
    let mut annotations = resolver.service_account_annotations(account).await?;
    let email = annotations.remove("iam.gke.io/gcp-service-account");
    Ok(email.filter(|email| !email.is_empty()))
}

/// It becomes a part of a path at Google.
fn is_email(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte);
    text.contains('@') && text.bytes().all(inner)
}

/// Tokens of a service account of Kubernetes'.
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

/// The cluster gave no token.
#[derive(Debug)]
struct NoToken;

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cluster gave no token for the service account")
    }
}

impl std::error::Error for NoToken {}

impl SubjectTokenProviderError for NoToken {
    fn is_transient(&self) -> bool {
        false
    }
}
