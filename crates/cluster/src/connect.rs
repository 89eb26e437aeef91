//! Creates a client from kubectl's connection flags: with a kubeconfig, or else with the Pod's service account.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{Request, Response, Uri};
use kube::{
    Config,
    client::{AuthError, Body, ClientBuilder, retry::RetryPolicy},
    config::{
        AuthInfo, Cluster as KubeconfigCluster, Context, InClusterError, KubeConfigOptions,
        Kubeconfig, KubeconfigError, NamedAuthInfo, NamedCluster, NamedContext,
    },
};
use pace::rate::Rate;
use secrecy::SecretString;
use tower::{
    BoxError,
    buffer::BufferLayer,
    retry::{Policy, RetryLayer},
};

use super::{
    Cluster,
    gate::{Access, GateLayer, Ledger},
};

/// The retries after an error of the API server, with its `Retry-After` or exponential backoff.
const RETRIES: u32 = 6;

/// The maximum number of requests between the gate and the connections.
const BUFFER: usize = 64;

/// The name of the kubeconfig entries that flags create.
const FROM_FLAGS: &str = "flags";

/// kubectl's connection flags.
#[derive(Clone, Default)]
pub struct Options {
    /// `--kubeconfig`
    pub kubeconfig: Option<PathBuf>,
    /// `--context`
    pub context: Option<String>,
    /// `--cluster`
    pub cluster: Option<String>,
    /// `--user`
    pub user: Option<String>,
    /// `--server`
    pub server: Option<String>,
    /// `--token`
    pub token: Option<SecretString>,
    /// `--certificate-authority`
    pub certificate_authority: Option<PathBuf>,
    /// `--insecure-skip-tls-verify`
    pub insecure_skip_tls_verify: bool,
    /// `--as`
    pub impersonate: Option<String>,
    /// `--as-group`
    pub impersonate_groups: Vec<String>,
    /// `--namespace`
    pub namespace: Option<String>,
}

/// The reason why no connection could be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    /// `--server` is invalid.
    #[error("--server `{0}` is not a valid address; write it like https://HOST:PORT")]
    Address(String),
    /// There is neither a kubeconfig nor a service account.
    #[error(
        "there is no kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config) and no service account of a Pod ({0})"
    )]
    NoConfiguration(String),
    /// The exec plugin of the kubeconfig cannot be started.
    #[error("the kubeconfig's exec plugin `{plugin}` {why}{hint}")]
    Plugin {
        plugin: String,
        /// The reason.
        why: String,
        /// The `installHint` of the kubeconfig.
        hint: String,
    },
    /// The client cannot be created.
    #[error("cannot create a client: {0}")]
    Client(String),
}

/// Connects. Sends no request yet.
pub async fn connect(
    options: &Options,
    access: Access,
    rate: Rate,
) -> Result<Cluster, ConnectError> {
    let mut plugin = None;
    let (mut config, context) = match kubeconfig(options)? {
        Some(kubeconfig) => {
            let context = options
                .context
                .clone()
                .or_else(|| kubeconfig.current_context.clone());
            plugin = exec_plugin(&kubeconfig, context.as_deref(), options.user.as_deref());
            let own_proxy = has_proxy(&kubeconfig);
            let chosen = KubeConfigOptions {
                context: options.context.clone(),
                cluster: options.cluster.clone(),
                user: options.user.clone(),
            };
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &chosen)
                .await
                .map_err(|error| ConnectError::Kubeconfig(describe_kubeconfig(&error)))?;
            if !own_proxy {
                config.proxy_url = proxy_from_environment(&config.cluster_url);
            }
            (config, context.filter(|name| name != FROM_FLAGS))
        }
        None => (in_cluster(options)?, None),
    };
    if let Some(namespace) = &options.namespace {
        config.default_namespace.clone_from(namespace);
    }
    build(config, context, access, rate).map_err(|error| match (error, plugin) {
        (kube::Error::Auth(error), Some((plugin, hint))) => ConnectError::Plugin {
            plugin,
            why: describe_auth(&error),
            hint,
        },
        (error, _) => describe(error),
    })
}

/// Connects to a server on loopback without credentials: the sandbox.
pub fn connect_plain(url: Uri, access: Access, rate: Rate) -> Result<Cluster, ConnectError> {
    build(Config::new(url), Some("sandbox".to_owned()), access, rate).map_err(describe)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the texts of the other errors contain no secrets"
)]
pub(super) fn describe(error: kube::Error) -> ConnectError {
    ConnectError::Client(match error {
        kube::Error::Auth(error) => describe_auth(&error),
        other => super::root_cause(&other),
    })
}

pub(super) fn build(
    mut config: Config,
    context: Option<String>,
    access: Access,
    rate: Rate,
) -> Result<Cluster, kube::Error> {
    // kube's own retries (15, up to 1,000 s apart) would run below the rate limiter and could use up a deadline unnoticed.
    config.default_retry = false;
    let mut address = config.clone();
    address.auth_info = AuthInfo::default();
    let agent = http::HeaderValue::from_static(concat!("eso-sync/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, agent));
    let (server, namespace) = (
        config.cluster_url.to_string(),
        config.default_namespace.clone(),
    );
    let ledger = Arc::new(Ledger::new(access, rate));
    let retries = RetryPolicy::new(
        Duration::from_millis(250),
        Duration::from_secs(10),
        RETRIES,
        true,
    )
    .unwrap_or_default();
    let client = ClientBuilder::try_from(config)?
        .with_layer(&BufferLayer::new(BUFFER))
        .with_layer(&GateLayer(Arc::clone(&ledger)))
        .with_layer(&RetryLayer::new(Retries(retries)))
        .build();
    Ok(Cluster {
        client,
        ledger,
        address: Arc::new(address),
        only_reads: false,
        call_timeout: super::CALL_TIMEOUT,
        max_answer: super::MAX_ANSWER,
        // The server is trusted to end its lists.
        max_pages: usize::MAX,
        bytes: None,
        once: false,
        context,
        server: server.trim_end_matches('/').to_owned(),
        namespace,
    })
}

/// Marks a request that is not retried here, because its caller retries it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Once;

/// Retries requests that the API server could not handle at the time. Evictions are not retried here: a disruption budget also
/// answers 429, and the caller needs the reason and does its own retries.
#[derive(Clone)]
struct Retries(RetryPolicy);

impl<Res> Policy<Request<Body>, Response<Res>, BoxError> for Retries {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<Res>, BoxError>,
    ) -> Option<Self::Future> {
        let once = request.extensions().get::<Once>().is_some();
        if once || request.uri().path().ends_with("/eviction") {
            return None;
        }
        self.0.retry(request, result)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let policy: &mut dyn Policy<_, Response<Res>, BoxError, Future = Self::Future> =
            &mut self.0;
        policy.clone_request(request)
    }
}

/// The kubeconfig with the flags applied. None if only a service account can be used.
fn kubeconfig(options: &Options) -> Result<Option<Kubeconfig>, ConnectError> {
    if let Some(server) = &options.server {
        let parsed = server.parse::<Uri>().ok();
        let whole = parsed.is_some_and(|uri| uri.scheme().is_some() && uri.authority().is_some());
        if !whole {
            return Err(ConnectError::Address(server.clone()));
        }
    }
    let read = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map(Some),
        None => match Kubeconfig::read() {
            Err(KubeconfigError::FindPath) => Ok(None),
            Err(KubeconfigError::ReadConfig(error, _))
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            other => other.map(Some),
        },
    };
    let found = read.map_err(|error| ConnectError::Kubeconfig(describe_kubeconfig(&error)))?;
    match found.filter(|kubeconfig| !kubeconfig.contexts.is_empty()) {
        Some(mut kubeconfig) => {
            if let Some(user) = &options.user
                && !kubeconfig
                    .auth_infos
                    .iter()
                    .any(|named| named.name == *user)
            {
                return Err(ConnectError::Kubeconfig(format!("it has no user `{user}`")));
            }
            overlay(&mut kubeconfig, options);
            Ok(Some(kubeconfig))
        }
        None if options.kubeconfig.is_some() || options.context.is_some() => {
            let missing = options.context.clone().unwrap_or_default();
            Err(ConnectError::Kubeconfig(format!(
                "it has no context{}",
                named(&missing)
            )))
        }
        None if options.server.is_some() => Ok(Some(from_flags(options))),
        None => Ok(None),
    }
}

fn overlay(kubeconfig: &mut Kubeconfig, options: &Options) {
    let current = options
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone());
    let name = current.as_ref();
    let context = kubeconfig
        .contexts
        .iter()
        .find(|named| Some(&named.name) == name);
    let context = context
        .and_then(|named| named.context.clone())
        .unwrap_or_default();
    let cluster = options.cluster.as_ref().unwrap_or(&context.cluster);
    for named in kubeconfig
        .clusters
        .iter_mut()
        .filter(|named| named.name == *cluster)
    {
        overlay_cluster(named.cluster.get_or_insert_default(), options);
    }
    let user = options.user.clone().or(context.user);
    let known = kubeconfig
        .auth_infos
        .iter()
        .any(|named| Some(&named.name) == user.as_ref());
    if !known && (options.token.is_some() || options.impersonate.is_some()) {
        // The context has no user, or a missing one: the flags define it.
        let name = user.clone().unwrap_or_else(|| FROM_FLAGS.to_owned());
        for named in kubeconfig
            .contexts
            .iter_mut()
            .filter(|named| Some(&named.name) == current.as_ref())
        {
            named.context.get_or_insert_default().user = Some(name.clone());
        }
        kubeconfig.auth_infos.push(NamedAuthInfo {
            name,
            ..NamedAuthInfo::default()
        });
    }
    let user = user.unwrap_or_else(|| FROM_FLAGS.to_owned());
    for named in kubeconfig
        .auth_infos
        .iter_mut()
        .filter(|named| named.name == user)
    {
        overlay_user(named.auth_info.get_or_insert_default(), options);
    }
}

fn named(name: &str) -> String {
    if name.is_empty() {
        "s".to_owned()
    } else {
        format!(" `{name}`")
    }
}

fn overlay_cluster(cluster: &mut KubeconfigCluster, options: &Options) {
    if let Some(server) = &options.server {
        cluster.server = Some(server.clone());
    }
    if let Some(path) = &options.certificate_authority {
        cluster.certificate_authority = Some(path.display().to_string());
        cluster.certificate_authority_data = None;
    }
    if options.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(true);
    }
}

fn overlay_user(user: &mut AuthInfo, options: &Options) {
    if let Some(token) = &options.token {
        *user = AuthInfo {
            token: Some(token.clone()),
            ..AuthInfo::default()
        };
    }
    if let Some(name) = &options.impersonate {
        user.impersonate = Some(name.clone());
        user.impersonate_groups = Some(options.impersonate_groups.clone());
    }
}

fn from_flags(options: &Options) -> Kubeconfig {
    let (mut cluster, mut user) = (KubeconfigCluster::default(), AuthInfo::default());
    overlay_cluster(&mut cluster, options);
    overlay_user(&mut user, options);
    let name = FROM_FLAGS.to_owned();
    let context = Context {
        cluster: name.clone(),
        user: Some(name.clone()),
        ..Context::default()
    };
    Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    }
}

fn in_cluster(options: &Options) -> Result<Config, ConnectError> {
    let mut config = Config::incluster()
        .map_err(|error| ConnectError::NoConfiguration(describe_in_cluster(&error)))?;
    overlay_user(&mut config.auth_info, options);
    Ok(config)
}

fn exec_plugin(
    kubeconfig: &Kubeconfig,
    context: Option<&str>,
    user: Option<&str>,
) -> Option<(String, String)> {
    let context = kubeconfig
        .contexts
        .iter()
        .find(|named| Some(&*named.name) == context)?;
    let user = user.or(context.context.as_ref()?.user.as_deref())?;
    let user = kubeconfig
        .auth_infos
        .iter()
        .find(|named| named.name == user)?
        .auth_info
        .as_ref()?;
    let exec = user.exec.as_ref()?;
    let hint = exec
        .install_hint
        .as_ref()
        .map(|hint| format!("; {}", hint.trim()))
        .unwrap_or_default();
    Some((exec.command.clone()?, hint))
}

fn has_proxy(kubeconfig: &Kubeconfig) -> bool {
    kubeconfig.clusters.iter().any(|named| {
        named
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.proxy_url.is_some())
    })
}

/// kube 5.0 matches `NO_PROXY` against the proxy's address instead of the server's, so the proxy is chosen here.
pub(super) fn proxy_from_environment(server: &Uri) -> Option<Uri> {
    hyper_util::client::proxy::matcher::Matcher::from_env()
        .intercept(server)
        .map(|proxy| proxy.uri().clone())
}

/// Does not use kube's own text, which quotes lines of the file, including tokens.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the texts of the other errors contain no secrets"
)]
fn describe_kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "it is not valid YAML, or not a kubeconfig".to_owned(),
        KubeconfigError::ReadConfig(cause, path) => {
            format!("{} cannot be read: {cause}", path.display())
        }
        KubeconfigError::LoadContext(name) => format!("it has no context `{name}`"),
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("its context refers to a missing cluster `{name}`")
        }
        KubeconfigError::CurrentContextNotSet => {
            "it has no current-context. Choose a context with --context".to_owned()
        }
        other => other.to_string(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the texts of the other errors contain no secrets"
)]
fn describe_in_cluster(error: &InClusterError) -> String {
    match error {
        InClusterError::ReadEnvironmentVariable(_) => {
            "KUBERNETES_SERVICE_HOST is not set".to_owned()
        }
        other => other.to_string(),
    }
}

/// Does not use kube's own text, which quotes the output of a plugin, including tokens.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the text of an unknown error may contain a token"
)]
pub(super) fn describe_auth(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            "is not installed here, or not on the PATH".to_owned()
        }
        AuthError::AuthExecStart(cause) => format!("cannot be started: {cause}"),
        AuthError::AuthExecRun { out, .. } => format!("failed with {}", out.status),
        AuthError::AuthExecParse(_) => "did not print an ExecCredential".to_owned(),
        AuthError::ReadTokenFile(cause, path) => {
            format!("the token file {} cannot be read: {cause}", path.display())
        }
        _ => "the credentials cannot be used".to_owned(),
    }
}
