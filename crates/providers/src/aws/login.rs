//! AWS credentials: the job's own or those of the store, and the roles that they assume.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{
    BehaviorVersion, SdkConfig, default_provider::credentials::DefaultCredentialsChain,
    timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_sdk_sts::config::Region;
use aws_types::service_config::ServiceConfigKey;
use cluster::cause;
use secret::Value;

use super::{
    Jwt, KeyRefs, Settings,
    error::{
        AssumeRoleFailed, AwsError, NO_CREDENTIALS, NOT_FETCHED, in_chain, is_expired,
        login_failure,
    },
    unsupported,
};
use crate::{Ambient, Identity, Resolver, Unread, credentials::TokenFile, unread};

/// The session name that `CloudTrail` records.
pub(super) const SESSION: &str = "eso-sync";

/// The variable with the file of the service account token.
pub(super) const WEB_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";

/// The time limit for one answer.
pub(super) const ANSWER: Duration = Duration::from_secs(20);

/// The services that get credentials, as the SDK names them.
const SERVICES: [&str; 4] = ["Secrets Manager", "SQS", "SSM", "STS"];

/// The login for one store.
pub(super) struct Login {
    settings: Settings,
    who: Who,
    /// Endpoints from the job's environment (`AWS_ENDPOINT_URL…`) that replace those of AWS. (The SDK clients also read the
    /// process's own environment, even with a store's credentials.)
    endpoint_overrides: BTreeMap<String, String>,
}

enum Who {
    Ambient(Ambient),
    Store(Box<Resolver>),
}

/// The endpoint of a service in a `[services]` section of the shared configuration file.
pub(super) fn endpoint_of_service(config: &SdkConfig, service: &str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service)
        .profile("endpoint_url")
        .env("AWS_ENDPOINT_URL")
        .build()
        .ok()?;
    config.service_config()?.load_config(key)
}

impl Login {
    pub(super) fn new(settings: Settings, identity: Identity<'_>) -> Self {
        let (who, endpoint_overrides) = match identity {
            Identity::Ambient(ambient) => {
                let urls = ambient
                    .environment
                    .iter()
                    .filter(|(name, url)| name.starts_with("AWS_ENDPOINT_URL") && !url.is_empty());
                let urls = urls.map(|(name, url)| (name.clone(), url.clone()));
                (Who::Ambient(ambient.clone()), urls.collect())
            }
            Identity::Store(resolver) => (Who::Store(Box::new(resolver.clone())), BTreeMap::new()),
        };
        Self {
            settings,
            who,
            endpoint_overrides,
        }
    }

    pub(super) fn region(&self) -> &str {
        &self.settings.region
    }

    /// The endpoint of a service, if it is overridden.
    pub(super) fn endpoint(&self, service: &str) -> Option<&str> {
        let own = self
            .endpoint_overrides
            .get(&format!("AWS_ENDPOINT_URL_{service}"));
        own.or_else(|| self.endpoint_overrides.get("AWS_ENDPOINT_URL"))
            .map(String::as_str)
    }

    /// Logs in and fetches the first credentials.
    pub(super) async fn config(&self) -> Result<SdkConfig, Unread> {
        let bare = self.bare().await;
        let first = match &self.who {
            Who::Ambient(ambient) => {
                self.check_ambient(ambient, &bare).await?;
                self.ambient(ambient).await
            }
            Who::Store(resolver) => self.of_store(&bare, resolver).await?,
        };
        let mut config = with(&bare, first);
        for role in &self.settings.additional_roles {
            let taken = Role::new(self.sts(&config), role);
            config = with(&config, SharedCredentialsProvider::new(taken));
        }
        if !self.settings.role.is_empty() {
            let taken = Role {
                settings: Some(self.settings.clone()),
                ..Role::new(self.sts(&config), &self.settings.role)
            };
            config = with(&config, SharedCredentialsProvider::new(taken));
        }
        primed(&config).await.map_err(|failed| match &self.who {
            Who::Ambient(ambient) if has_nothing(ambient, &failed) => {
                Unread::store(unread::LOGIN, NOTHING_SET)
            }
            Who::Ambient(_) | Who::Store(_) => failed,
        })
    }

    /// A configuration with the region and timeouts, without credentials.
    async fn bare(&self) -> SdkConfig {
        let limits = TimeoutConfig::builder()
            .operation_attempt_timeout(ANSWER)
            .build();
        aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.settings.region.clone()))
            .timeout_config(limits)
            .no_credentials()
            .load()
            .await
    }

    fn sts(&self, config: &SdkConfig) -> aws_sdk_sts::Client {
        let mut builder = aws_sdk_sts::config::Builder::from(config);
        if let Some(url) = self.endpoint("STS") {
            builder = builder.endpoint_url(url);
        }
        aws_sdk_sts::Client::from_conf(builder.build())
    }

    /// Checks where the job's own credentials are sent, and the service account token that the SDK would use.
    async fn check_ambient(&self, ambient: &Ambient, bare: &SdkConfig) -> Result<(), Unread> {
        for (variable, url) in &self.endpoint_overrides {
            Ambient::over_tls(variable, url)?;
        }
        // From the shared configuration file.
        if let Some(url) = bare.endpoint_url() {
            Ambient::over_tls("endpoint_url", url)?;
        }
        for service in SERVICES {
            if let Some(url) = endpoint_of_service(bare, service) {
                Ambient::over_tls(&format!("endpoint_url of {service}"), &url)?;
            }
        }
        match ambient.environment.get(WEB_IDENTITY) {
            Some(path) if !path.is_empty() => {
                let token = TokenFile::at(path, WEB_IDENTITY, ambient);
                token.read().await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The environment first, then the rest of the SDK's default chain.
    async fn ambient(&self, ambient: &Ambient) -> SharedCredentialsProvider {
        let variable = |name| {
            ambient
                .environment
                .get(name)
                .filter(|value| !value.is_empty())
        };
        let keys = (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        );
        if let (Some(id), Some(secret)) = keys {
            let token = variable("AWS_SESSION_TOKEN").cloned();
            return SharedCredentialsProvider::new(Credentials::new(
                id,
                secret,
                token,
                None,
                "environment",
            ));
        }
        let chain = DefaultCredentialsChain::builder()
            .region(Region::new(self.settings.region.clone()))
            .build()
            .await;
        SharedCredentialsProvider::new(chain)
    }

    async fn of_store(
        &self,
        bare: &SdkConfig,
        resolver: &Resolver,
    ) -> Result<SharedCredentialsProvider, Unread> {
        match (&self.settings.auth.jwt, &self.settings.auth.secret_ref) {
            (Some(jwt), _) => web_identity(self.sts(bare), resolver, jwt).await,
            (None, Some(keys)) => keys_of_secrets(resolver, keys).await,
            (None, None) => Err(Unread::store(
                unread::CONTROLLER_IDENTITY,
                "the store has no `auth`",
            )),
        }
    }
}

async fn keys_of_secrets(
    resolver: &Resolver,
    keys: &KeyRefs,
) -> Result<SharedCredentialsProvider, Unread> {
    let id = text(&resolver.secret_key(&keys.access_key_id).await?)?;
    let secret = text(&resolver.secret_key(&keys.secret_access_key).await?)?;
    let token = match &keys.session_token {
        Some(reference) => Some(text(&resolver.secret_key(reference).await?)?),
        None => None,
    };
    let credentials = Credentials::new(id, secret, token, None, "store");
    Ok(SharedCredentialsProvider::new(credentials))
}

fn text(value: &Value) -> Result<String, Unread> {
    match std::str::from_utf8(value.expose()) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Unread::store(
            unread::LOGIN,
            "the access key is not valid UTF-8",
        )),
    }
}

/// Assumes the role of a service account's annotation, as the operator does.
async fn web_identity(
    client: aws_sdk_sts::Client,
    resolver: &Resolver,
    jwt: &Jwt,
) -> Result<SharedCredentialsProvider, Unread> {
    let account = &jwt.service_account_ref;
    let annotations = resolver.service_account_annotations(account).await?;
    let of = |name| annotations.get(name).filter(|value| !value.is_empty());
    let role = of("eks.amazonaws.com/role-arn").ok_or_else(|| {
        Unread::store(
            unread::LOGIN,
            "the service account has no annotation eks.amazonaws.com/role-arn",
        )
    })?;
    let audience =
        of("eks.amazonaws.com/audience").map_or("sts.amazonaws.com", |audience| audience);
    Ok(SharedCredentialsProvider::new(WebIdentity {
        client,
        resolver: DebugResolver(resolver.clone()),
        account: account.clone(),
        audience: audience.to_owned(),
        role: role.clone(),
    }))
}

/// Wraps a resolver in a type with `Debug`, which the SDK requires.
struct DebugResolver(Resolver);

impl fmt::Debug for DebugResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// `AssumeRoleWithWebIdentity`, with a new token for each call.
#[derive(Debug)]
struct WebIdentity {
    client: aws_sdk_sts::Client,
    resolver: DebugResolver,
    account: serde_json::Value,
    audience: String,
    role: String,
}

impl WebIdentity {
    async fn take(&self) -> Result<Credentials, CredentialsError> {
        let audiences = [self.audience.clone()];
        let token = self
            .resolver
            .0
            .service_account_token(&self.account, &audiences)
            .await
            .map_err(|unread| assume_role_failed(&self.role, unread.why.to_string()))?;
        let token = text(&token)
            .map_err(|unread| assume_role_failed(&self.role, unread.why.to_string()))?;
        let answer = self
            .client
            .assume_role_with_web_identity()
            .role_arn(&self.role)
            .role_session_name(SESSION)
            .web_identity_token(token)
            .send()
            .await
            .map_err(|error| assume_role_failed(&self.role, AwsError::of(&error).code))?;
        credentials(&self.role, answer.credentials)
    }
}

impl ProvideCredentials for WebIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.take())
    }
}

/// `AssumeRole`. The external id and the tags apply to the last role of a chain, as in the operator.
#[derive(Debug)]
struct Role {
    client: aws_sdk_sts::Client,
    arn: String,
    settings: Option<Settings>,
}

impl Role {
    fn new(client: aws_sdk_sts::Client, arn: &str) -> Self {
        Self {
            client,
            arn: arn.to_owned(),
            settings: None,
        }
    }

    async fn take(&self) -> Result<Credentials, CredentialsError> {
        let mut call = self
            .client
            .assume_role()
            .role_arn(&self.arn)
            .role_session_name(SESSION);
        if let Some(settings) = &self.settings {
            let external = Some(settings.external_id.clone()).filter(|id| !id.is_empty());
            call = call.set_external_id(external);
            for tag in &settings.session_tags {
                let tag = aws_sdk_sts::types::Tag::builder()
                    .key(&tag.key)
                    .value(&tag.value)
                    .build()
                    .map_err(CredentialsError::invalid_configuration)?;
                call = call.tags(tag);
            }
            for key in &settings.transitive_tag_keys {
                call = call.transitive_tag_keys(key);
            }
        }
        match call.send().await {
            Ok(answer) => credentials(&self.arn, answer.credentials),
            // The caller's own credentials failed: report that error, not one about this role.
            Err(error) => match in_chain::<CredentialsError>(&error) {
                Some(_) => Err(CredentialsError::provider_error(error)),
                None => Err(assume_role_failed(&self.arn, AwsError::of(&error).code)),
            },
        }
    }
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.take())
    }
}

fn assume_role_failed(role: &str, code: String) -> CredentialsError {
    CredentialsError::provider_error(AssumeRoleFailed {
        role: role.to_owned(),
        code,
    })
}

pub(super) fn credentials(
    role: &str,
    answer: Option<aws_sdk_sts::types::Credentials>,
) -> Result<Credentials, CredentialsError> {
    let answer = answer
        .ok_or_else(|| assume_role_failed(role, "the answer contains no credentials".to_owned()))?;
    let seconds = u64::try_from(answer.expiration.secs()).unwrap_or_default();
    Ok(Credentials::new(
        answer.access_key_id,
        answer.secret_access_key,
        Some(answer.session_token),
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        "sts",
    ))
}

const NOTHING_SET: &str = "the job has no credentials for AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; \
     in Kubernetes, give its ServiceAccount a role (eks.amazonaws.com/role-arn, or EKS Pod Identity)";

/// True if the job names no credentials, and no machine has any for it.
fn has_nothing(ambient: &Ambient, failed: &Unread) -> bool {
    const NAMES: [&str; 5] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        WEB_IDENTITY,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ];
    let is_set = |name: &&str| {
        ambient
            .environment
            .get(*name)
            .is_some_and(|value| !value.is_empty())
    };
    [NO_CREDENTIALS, NOT_FETCHED].contains(&&*failed.why.detail) && !NAMES.iter().any(is_set)
}

fn with(config: &SdkConfig, provider: SharedCredentialsProvider) -> SdkConfig {
    config
        .clone()
        .into_builder()
        .credentials_provider(provider)
        .build()
}

/// Fetches the first credentials, so that a failed login is reported once and before the first read.
async fn primed(config: &SdkConfig) -> Result<SdkConfig, Unread> {
    let Some(inner) = config.credentials_provider() else {
        return Err(unsupported("no credentials"));
    };
    match inner.provide_credentials().await {
        Ok(first) => Ok(with(
            config,
            SharedCredentialsProvider::new(Primed {
                first: Mutex::new(Some(first)),
                inner,
            }),
        )),
        Err(error) => {
            let why = login_failure(&error);
            let login = match cause::certificate(&error) {
                Some(problem) => Unread::certificate(problem, cause::of(&error)),
                None if why.rsplit(' ').next().is_some_and(is_expired) => {
                    Unread::store(unread::CREDENTIALS_EXPIRED, why)
                }
                None => Unread::store(unread::LOGIN, why),
            };
            Err(match in_chain::<AssumeRoleFailed>(&error) {
                Some(failed) if failed.code.starts_with("AccessDenied") => {
                    login.lacking(format!("sts:AssumeRole on {}", failed.role))
                }
                _ => login,
            })
        }
    }
}

/// Returns the credentials that were fetched already once, then those of the inner provider.
#[derive(Debug)]
struct Primed {
    first: Mutex<Option<Credentials>>,
    inner: SharedCredentialsProvider,
}

impl ProvideCredentials for Primed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match first {
            Some(first) => future::ProvideCredentials::ready(Ok(first)),
            None => self.inner.provide_credentials(),
        }
    }
}
