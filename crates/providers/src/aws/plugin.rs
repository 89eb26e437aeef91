//! Tokens for EKS, as `aws eks get-token` and `aws-iam-authenticator token` make them: a presigned request to STS. The API server
//! sends it, and learns from the answer who the caller is.

#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_config::{
    BehaviorVersion, SdkConfig,
    default_provider::credentials::DefaultCredentialsChain,
    meta::region::ProvideRegion as _,
    profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider},
    provider_config::ProviderConfig,
    timeout::TimeoutConfig,
    web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, SharedCredentialsProvider},
};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_sts::config::{
    Region,
    endpoint::{DefaultResolver, Params, ResolveEndpoint as _},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cluster::native::{Call, Source, Token};
use secret::Value;

use super::{
    error::{AwsError, login_failure},
    is_region,
    login::{ANSWER, SESSION, WEB_IDENTITY, credentials, endpoint_of_service},
};
use crate::{
    Ambient,
    arguments::{Arguments, Flag, switch, value},
    credentials::TokenFile,
};

/// How long STS accepts the request, apart from its own 15 minutes.
const EXPIRES: Duration = Duration::from_mins(1);

/// How long a token is used. EKS accepts it for 15 minutes.
const USED: Duration = Duration::from_mins(14);

/// The region that signs requests to the global endpoint, and its host.
const GLOBAL: (&str, &str) = ("us-east-1", "sts.amazonaws.com");

/// The variables of a kubeconfig that are honoured, and `AWS_PAGER`, which means nothing here. The SDK would read others from the
/// process's own environment.
const VARIABLES: [&str; 18] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_STS",
    "AWS_PAGER",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// The variables with the files of profiles.
const FILES: [(&str, EnvConfigFileKind); 2] = [
    (
        "AWS_SHARED_CREDENTIALS_FILE",
        EnvConfigFileKind::Credentials,
    ),
    ("AWS_CONFIG_FILE", EnvConfigFileKind::Config),
];

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// The name of the cluster, or its ID on Outposts.
    cluster: String,
    region: Option<String>,
    /// The profile of `--profile`, which takes precedence over keys in the environment.
    profile: Option<String>,
    role: Option<Role>,
}

#[derive(Debug, PartialEq, Eq)]
struct Role {
    arn: String,
    session: String,
    external_id: Option<String>,
}

/// `aws eks get-token`.
pub(crate) fn of_cli(call: &Call) -> Result<Source, String> {
    let wanted = parse_cli(&call.arguments)?;
    source("aws eks get-token", wanted, call)
}

/// `aws-iam-authenticator token`.
pub(crate) fn of_authenticator(call: &Call) -> Result<Source, String> {
    let wanted = parse_authenticator(&call.arguments)?;
    source("aws-iam-authenticator token", wanted, call)
}

fn parse_cli(arguments: &[String]) -> Result<Wanted, String> {
    const FLAGS: [Flag; 9] = [
        value("--cluster-name"),
        value("--cluster-id"),
        value("--role-arn"),
        value("--session-name"),
        value("--region"),
        value("--profile"),
        value("--output"),
        switch("--no-cli-pager"),
        switch("--no-cli-auto-prompt"),
    ];
    let parsed = Arguments::parse(&["eks", "get-token"], &FLAGS, arguments)?;
    if !matches!(parsed.get("--output"), None | Some("json" | "yaml")) {
        return Err("--output must be json, as `aws eks update-kubeconfig` writes it".to_owned());
    }
    let cluster = match (parsed.get("--cluster-name"), parsed.get("--cluster-id")) {
        (Some(cluster), None) | (None, Some(cluster)) => cluster.to_owned(),
        (Some(_), Some(_)) => {
            return Err("--cluster-name and --cluster-id exclude each other".to_owned());
        }
        (None, None) => return Err("the flag --cluster-name is missing".to_owned()),
    };
    let owned = |name: &str| parsed.get(name).map(str::to_owned);
    let session = owned("--session-name").unwrap_or_else(|| "EKSGetTokenAuth".to_owned());
    Ok(Wanted {
        cluster,
        region: owned("--region"),
        profile: owned("--profile"),
        role: owned("--role-arn").map(|arn| Role {
            arn,
            session,
            external_id: None,
        }),
    })
}

fn parse_authenticator(arguments: &[String]) -> Result<Wanted, String> {
    const FLAGS: [Flag; 5] = [
        value("--cluster-id").or("-i"),
        value("--role").or("-r"),
        value("--external-id").or("-e"),
        value("--session-name").or("-s"),
        value("--region"),
    ];
    let parsed = Arguments::parse(&["token"], &FLAGS, arguments)?;
    let owned = |name: &str| parsed.get(name).map(str::to_owned);
    let cluster = owned("--cluster-id").ok_or("the flag --cluster-id (-i) is missing")?;
    Ok(Wanted {
        cluster,
        region: owned("--region"),
        profile: None,
        role: owned("--role").map(|arn| Role {
            arn,
            session: owned("--session-name").unwrap_or_else(|| SESSION.to_owned()),
            external_id: owned("--external-id"),
        }),
    })
}

fn source(command: &'static str, wanted: Wanted, call: &Call) -> Result<Source, String> {
    let unknown = |name: &&String| name.starts_with("AWS_") && !VARIABLES.contains(&name.as_str());
    if let Some(name) = call.of_kubeconfig.iter().find(unknown) {
        return Err(format!(
            "the kubeconfig sets {name}, which is not supported there; set it for eso-sync"
        ));
    }
    let login = Arc::new(Login {
        wanted,
        call: call.clone(),
    });
    Ok(Source {
        command,
        issue: Arc::new(move |_| {
            let login = Arc::clone(&login);
            Box::pin(async move { login.token().await })
        }),
    })
}

/// Where a request is sent, and the region that signs it.
struct Endpoint {
    url: String,
    region: String,
}

/// The login for the tokens of one plugin.
struct Login {
    wanted: Wanted,
    call: Call,
}

impl Login {
    async fn token(&self) -> Result<Token, String> {
        let region = self.region().await;
        if region.as_deref().is_some_and(|region| !is_region(region)) {
            return Err("the region is invalid".to_owned());
        }
        let config = self.config(region.as_deref()).await;
        let endpoint = self.endpoint(&config, region.as_deref()).await?;
        let region = Region::new(endpoint.region.clone());
        let mut keys = self.credentials(region).await?;
        if let Some(role) = &self.wanted.role {
            keys = assume(&config, &endpoint, keys, role).await?;
        }
        let now = self.call.clock.now();
        let url = presigned(&endpoint, &self.wanted.cluster, keys, now.into())
            .ok_or("the request to STS cannot be signed")?;
        let token = format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url));
        Ok(Token {
            token: Value::new(token.into_bytes()),
            renewed: now + USED,
        })
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let value = self.call.environment.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    fn is_on(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The profile of the flag, or of the environment.
    fn profile(&self) -> Option<&str> {
        let of_flag = self.wanted.profile.as_deref();
        of_flag
            .or_else(|| self.variable("AWS_DEFAULT_PROFILE"))
            .or_else(|| self.variable("AWS_PROFILE"))
    }

    /// The files with profiles.
    fn files(&self) -> EnvConfigFiles {
        let mut files = EnvConfigFiles::builder();
        for (name, kind) in FILES {
            files = match (self.variable(name), kind) {
                // As for the CLI, a file that does not exist is empty.
                (Some(path), _) if !Path::new(path).exists() => files,
                (Some(path), kind) => files.with_file(kind, path),
                (None, EnvConfigFileKind::Credentials) => {
                    files.include_default_credentials_file(true)
                }
                (None, EnvConfigFileKind::Config) => files.include_default_config_file(true),
            };
        }
        files.build()
    }

    async fn region(&self) -> Option<String> {
        let set = self
            .wanted
            .region
            .as_deref()
            .or_else(|| self.variable("AWS_REGION"))
            .or_else(|| self.variable("AWS_DEFAULT_REGION"));
        if let Some(region) = set {
            return Some(region.to_owned());
        }
        let mut of_profile = ProfileFileRegionProvider::builder().profile_files(self.files());
        if let Some(profile) = self.profile() {
            of_profile = of_profile.profile_name(profile);
        }
        let region = of_profile.build().region().await?;
        Some(region.as_ref().to_owned())
    }

    /// A configuration without credentials: for the endpoints of the profile.
    async fn config(&self, region: Option<&str>) -> SdkConfig {
        let region = region.unwrap_or(GLOBAL.0).to_owned();
        let limits = TimeoutConfig::builder()
            .operation_attempt_timeout(ANSWER)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region))
            .timeout_config(limits)
            .profile_files(self.files())
            .no_credentials();
        if let Some(profile) = self.profile() {
            loader = loader.profile_name(profile);
        }
        loader.load().await
    }

    /// The endpoint of the environment or the profile, or else that of AWS.
    async fn endpoint(&self, config: &SdkConfig, region: Option<&str>) -> Result<Endpoint, String> {
        let signing = region.unwrap_or(GLOBAL.0).to_owned();
        let named = [
            (
                "AWS_ENDPOINT_URL_STS",
                self.variable("AWS_ENDPOINT_URL_STS").map(str::to_owned),
            ),
            (
                "AWS_ENDPOINT_URL",
                self.variable("AWS_ENDPOINT_URL").map(str::to_owned),
            ),
            ("endpoint_url of STS", endpoint_of_service(config, "STS")),
            ("endpoint_url", config.endpoint_url().map(str::to_owned)),
        ];
        for (name, url) in named {
            if let Some(url) = url {
                Ambient::over_tls(name, &url).map_err(|unread| unread.why.detail)?;
                let region = signing;
                return Ok(Endpoint { url, region });
            }
        }
        let global = self.variable("AWS_STS_REGIONAL_ENDPOINTS") == Some("legacy");
        let parameters = Params::builder()
            .region(region.unwrap_or("aws-global"))
            .use_global_endpoint(global)
            .use_fips(self.is_on("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(self.is_on("AWS_USE_DUALSTACK_ENDPOINT"))
            .build();
        let unknown = "the region has no endpoint of STS";
        let parameters = parameters.map_err(|_| unknown)?;
        let resolved = DefaultResolver::new().resolve_endpoint(&parameters).await;
        let url = resolved.map_err(|_| unknown)?.url().to_owned();
        let is_global = url.trim_start_matches("https://") == GLOBAL.1;
        let region = if is_global {
            GLOBAL.0.to_owned()
        } else {
            signing
        };
        Ok(Endpoint { url, region })
    }

    /// The credentials in the order of the AWS CLI.
    async fn credentials(&self, region: Region) -> Result<Credentials, String> {
        let provider = self.provider(region).await?;
        let fetched = tokio::time::timeout(ANSWER, provider.provide_credentials()).await;
        let fetched = fetched.map_err(|_| "fetching the credentials timed out")?;
        fetched.map_err(|error| login_failure(&error))
    }

    async fn provider(&self, region: Region) -> Result<SharedCredentialsProvider, String> {
        let configuration = ProviderConfig::without_region().with_region(Some(region.clone()));
        if self.wanted.profile.is_none() {
            if let Some(keys) = self.keys() {
                return Ok(SharedCredentialsProvider::new(keys));
            }
            if let (Some(path), Some(role)) =
                (self.variable(WEB_IDENTITY), self.variable("AWS_ROLE_ARN"))
            {
                self.check_token(path).await?;
                let session = self.variable("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION);
                let identity = WebIdentityTokenCredentialsProvider::builder()
                    .configure(&configuration)
                    .static_configuration(StaticConfiguration {
                        web_identity_token_file: path.into(),
                        role_arn: role.to_owned(),
                        session_name: session.to_owned(),
                    });
                return Ok(SharedCredentialsProvider::new(identity.build()));
            }
        }
        let of_kubeconfig = FILES
            .iter()
            .any(|(name, _)| self.call.of_kubeconfig.contains(*name));
        if self.wanted.profile.is_some() || of_kubeconfig {
            let mut profile = ProfileFileCredentialsProvider::builder()
                .configure(&configuration)
                .profile_files(self.files());
            if let Some(name) = self.profile() {
                profile = profile.profile_name(name);
            }
            return Ok(SharedCredentialsProvider::new(profile.build()));
        }
        let mut chain = DefaultCredentialsChain::builder().region(region);
        if let Some(name) = self.profile() {
            chain = chain.profile_name(name);
        }
        Ok(SharedCredentialsProvider::new(chain.build().await))
    }

    fn keys(&self) -> Option<Credentials> {
        let id = self.variable("AWS_ACCESS_KEY_ID")?;
        let secret = self.variable("AWS_SECRET_ACCESS_KEY")?;
        let token = self.variable("AWS_SESSION_TOKEN").map(str::to_owned);
        Some(Credentials::new(id, secret, token, None, "environment"))
    }

    /// Refuses a token of the service account that the API server accepts.
    async fn check_token(&self, path: &str) -> Result<(), String> {
        let file = TokenFile::at(path, WEB_IDENTITY, &Ambient::default());
        let token = file.read().await;
        token.map(drop).map_err(|unread| unread.why.detail)
    }
}

async fn assume(
    config: &SdkConfig,
    endpoint: &Endpoint,
    keys: Credentials,
    role: &Role,
) -> Result<Credentials, String> {
    let builder = aws_sdk_sts::config::Builder::from(config)
        .endpoint_url(&endpoint.url)
        .region(Region::new(endpoint.region.clone()))
        .credentials_provider(keys);
    let answer = aws_sdk_sts::Client::from_conf(builder.build())
        .assume_role()
        .role_arn(&role.arn)
        .role_session_name(&role.session)
        .set_external_id(role.external_id.clone())
        .send()
        .await
        .map_err(|error| format!("AssumeRole of {}: {}", role.arn, AwsError::of(&error).code))?;
    credentials(&role.arn, answer.credentials).map_err(|error| login_failure(&error))
}

/// The request for `GetCallerIdentity`, with the cluster in a signed header.
fn presigned(
    endpoint: &Endpoint,
    cluster: &str,
    keys: Credentials,
    now: SystemTime,
) -> Option<String> {
    let address = format!(
        "{}/?Action=GetCallerIdentity&Version=2011-06-15",
        endpoint.url.trim_end_matches('/')
    );
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = keys.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&endpoint.region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()
        .ok()?;
    let headers = [("x-k8s-aws-id", cluster)];
    let body = SignableBody::Bytes(&[]);
    let signable = SignableRequest::new("GET", &address, headers.into_iter(), body).ok()?;
    let (instructions, _) = sign(signable, &parameters.into()).ok()?.into_parts();
    let mut request = http::Request::get(&address).body(()).ok()?;
    instructions.apply_to_request_http1x(&mut request);
    Some(request.uri().to_string())
}
