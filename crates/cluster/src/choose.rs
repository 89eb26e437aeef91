//! Chooses the server and the credentials from flags, kubeconfig and environment, as kubectl does (client-go's `clientcmd`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rustls::pki_types::ServerName;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{
    address::{Address, Target},
    credentials::{self, Credentials},
    failure::ConnectError,
    kubeconfig::{Cluster, Context, Kubeconfig, User},
    options::Options,
    plugin::{Plugin, Surroundings},
    proxy,
    tls::{self, Tls},
    transport::Settings,
};

/// Where a Pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The chosen connection.
pub(super) struct Chosen {
    pub(super) settings: Settings,
    /// The server as the user wrote it.
    pub(super) server: Address,
    pub(super) context: Option<String>,
    pub(super) namespace: String,
}

pub(super) fn choose(options: &Options) -> Result<Chosen, ConnectError> {
    let file = options.kubeconfig.as_deref();
    let kubeconfig = Kubeconfig::read(file, &options.environment)?;
    let entries = Entries::of(options, &kubeconfig)?;
    if entries.cluster.server.is_empty() {
        return Pod::of(&options.environment)
            .ok_or_else(|| entries.no_server(options))?
            .chosen(options);
    }
    entries.chosen(options)
}

/// The entries of the kubeconfig that apply, with the flags.
struct Entries {
    context_name: String,
    context: Option<Context>,
    cluster_name: String,
    cluster: Cluster,
    user_name: String,
    user: User,
    /// True if there is any context.
    has_contexts: bool,
}

impl Entries {
    fn of(options: &Options, kubeconfig: &Kubeconfig) -> Result<Self, ConnectError> {
        let wanted = named(options.context.as_ref());
        let context_name = wanted.unwrap_or(&kubeconfig.current_context).clone();
        let context = kubeconfig.contexts.get(&context_name);
        if context.is_none() && !context_name.is_empty() {
            return Err(missing("context", &context_name));
        }
        let user_flag = named(options.user.as_ref());
        let user_name = user_flag.or(context.map(|it| &it.user));
        let user_name = user_name.cloned().unwrap_or_default();
        let user = kubeconfig.users.get(&user_name);
        if user.is_none() && user_flag.is_some() {
            return Err(missing("user", &user_name));
        }
        let cluster_flag = named(options.cluster.as_ref());
        let cluster_name = cluster_flag.or(context.map(|it| &it.cluster));
        let cluster_name = cluster_name.cloned().unwrap_or_default();
        let cluster = kubeconfig.clusters.get(&cluster_name);
        if cluster.is_none() && cluster_flag.is_some() {
            return Err(missing("cluster", &cluster_name));
        }
        Ok(Self {
            context_name,
            context: context.cloned(),
            cluster_name,
            cluster: with_cluster_flags(cluster.cloned().unwrap_or_default(), options),
            user_name,
            user: with_user_flags(user.cloned().unwrap_or_default(), options),
            has_contexts: !kubeconfig.contexts.is_empty(),
        })
    }

    /// The reason why there is no server.
    fn no_server(&self, options: &Options) -> ConnectError {
        let cluster = self.cluster_name.escape_default();
        match (&self.context, self.has_contexts) {
            (Some(_), _) if self.cluster_name.is_empty() => ConnectError::Kubeconfig(format!(
                "its context `{}` has no cluster",
                self.context_name.escape_default()
            )),
            (Some(_), _) => ConnectError::Kubeconfig(format!(
                "its cluster `{cluster}` is missing, or has no server"
            )),
            (None, true) => ConnectError::Kubeconfig(
                "it has no current-context. Choose a context with --context".to_owned(),
            ),
            (None, false) if options.kubeconfig.is_some() => {
                ConnectError::Kubeconfig("it has no contexts".to_owned())
            }
            (None, false) => ConnectError::NoConfiguration,
        }
    }

    fn chosen(self, options: &Options) -> Result<Chosen, ConnectError> {
        let server = self.server(options)?;
        self.validate()?;
        let mut settings = Settings::new(server);
        settings.proxy = if self.cluster.proxy_url.is_empty() {
            proxy::Environment::of(&options.environment).proxy(&settings.server)?
        } else {
            Some(proxy::of_kubeconfig(&self.cluster.proxy_url)?)
        };
        settings.headers = credentials::impersonation(&self.user)?;
        settings.compressed = !self.cluster.disable_compression;
        // As in kubectl, credentials are sent only to a server with TLS.
        if settings.server.is_https() {
            settings.tls = self.tls()?;
            settings.credentials = self.credentials(options, &settings)?;
            self.identifies_somebody(&settings)?;
        }
        let context = self.context.as_ref();
        let namespace = options.namespace.as_ref().filter(|name| !name.is_empty());
        let of_context = context.map(|it| &it.namespace);
        let namespace = namespace.or(of_context.filter(|name| !name.is_empty()));
        let namespace = match namespace {
            Some(namespace) => namespace.clone(),
            None => Pod::of(&options.environment)
                .map_or_else(|| "default".to_owned(), |pod| pod.namespace()),
        };
        Ok(Chosen {
            settings,
            server: self.cluster.server.clone(),
            context: context.is_some().then_some(self.context_name),
            namespace,
        })
    }

    /// kubectl asks for a user name if there are no credentials.
    fn identifies_somebody(&self, settings: &Settings) -> Result<(), ConnectError> {
        let identified = !matches!(settings.credentials, Credentials::None)
            || settings.tls.identity.is_some()
            || settings.server.user.is_some();
        if identified {
            return Ok(());
        }
        Err(ConnectError::Kubeconfig(if self.user_name.is_empty() {
            "there are no credentials: no user is chosen. Use --user or --token".to_owned()
        } else {
            let name = self.user_name.escape_default();
            format!("there are no credentials: its user `{name}` is missing or has none")
        }))
    }

    fn server(&self, options: &Options) -> Result<Target, ConnectError> {
        let parsed = self.cluster.server.parse("http").ok();
        parsed.filter(Target::is_http).ok_or_else(|| {
            let is_flag = named_address(options.server.as_ref()).is_some();
            let place = if is_flag {
                "--server"
            } else {
                "the server of the kubeconfig,"
            };
            ConnectError::Address(place, self.cluster.server.clone())
        })
    }

    /// The rules of kubectl's own validation.
    fn validate(&self) -> Result<(), ConnectError> {
        let (cluster, user) = (&self.cluster, &self.user);
        let refuse = |what: &str| Err(ConnectError::Kubeconfig(what.to_owned()));
        if !cluster.certificate_authority.is_empty()
            && !cluster.certificate_authority_data.is_empty()
        {
            return refuse(
                "its cluster has both `certificate-authority` and `certificate-authority-data`; remove one",
            );
        }
        let has_certificate =
            !user.client_certificate.is_empty() || !user.client_certificate_data.is_empty();
        if has_certificate {
            if !user.client_certificate.is_empty() && !user.client_certificate_data.is_empty() {
                return refuse(
                    "its user has both `client-certificate` and `client-certificate-data`; remove one",
                );
            }
            if user.client_key.is_empty() == user.client_key_data.is_empty() {
                return refuse(
                    "its user has a client certificate; it must have exactly one of `client-key` and `client-key-data`",
                );
            }
        }
        let has_token = !user.token.expose_secret().is_empty();
        let has_password = !user.username.is_empty() || !user.password.expose_secret().is_empty();
        if has_password && (has_token || !user.token_file.is_empty()) {
            return refuse("its user has both a token and a username or password; remove one");
        }
        let impersonates_part = !user.impersonate_uid.is_empty()
            || !user.impersonate_groups.is_empty()
            || !user.impersonate_extra.is_empty();
        if impersonates_part && user.impersonate.is_empty() {
            return refuse(
                "a uid, groups or extra fields are to be impersonated without a user; add the user (--as, or `as` in the kubeconfig)",
            );
        }
        self.validate_plugin()
    }

    fn validate_plugin(&self) -> Result<(), ConnectError> {
        let Some(exec) = &self.user.exec else {
            return Ok(());
        };
        let refuse = |what: &str| {
            Err(ConnectError::Kubeconfig(format!(
                "its user's `exec` {what}"
            )))
        };
        if self.user.auth_provider.is_some() {
            return refuse("cannot be combined with `auth-provider`");
        }
        if exec.command.is_empty() {
            return refuse("must have a `command`");
        }
        let beta = match &*exec.api_version {
            "client.authentication.k8s.io/v1" => false,
            "client.authentication.k8s.io/v1beta1" => true,
            "" => return refuse("must have an `apiVersion`"),
            _ => {
                return refuse(
                    "must have the `apiVersion` client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1",
                );
            }
        };
        if exec
            .env
            .iter()
            .any(|variable| variable.name.is_empty() || variable.name.contains(['=', '\0']))
        {
            return refuse("must have a valid `name` for each variable in `env`");
        }
        match &*exec.interactive_mode {
            "Never" | "IfAvailable" | "Always" => Ok(()),
            "" if beta => Ok(()),
            _ => refuse("must have the `interactiveMode` Never, IfAvailable or Always"),
        }
    }

    fn tls(&self) -> Result<Tls, ConnectError> {
        let (cluster, user) = (&self.cluster, &self.user);
        let authorities = data_or_file(
            &cluster.certificate_authority_data,
            &cluster.certificate_authority,
            "certificate authority",
        )?;
        if cluster.insecure_skip_tls_verify && authorities.is_some() {
            return Err(ConnectError::Kubeconfig(
                "a certificate authority and `insecure-skip-tls-verify` exclude each other; remove one".to_owned(),
            ));
        }
        let authorities = match authorities {
            Some(pem) => Some(tls::authorities(&pem).ok_or_else(|| {
                ConnectError::Kubeconfig(
                    "the certificate authority contains no valid PEM certificate".to_owned(),
                )
            })?),
            None => None,
        };
        let certificate = data_or_file(
            &user.client_certificate_data,
            &user.client_certificate,
            "client certificate",
        )?;
        let key = data_or_file(&user.client_key_data, &user.client_key, "client key")?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => {
                let identity = tls::identity(&certificate, &key).map_err(|why| {
                    ConnectError::Kubeconfig(format!(
                        "the client certificate cannot be used: {why}"
                    ))
                })?;
                Some(identity)
            }
            _ => None,
        };
        Ok(Tls {
            authorities,
            authorities_file: None,
            insecure: cluster.insecure_skip_tls_verify,
            server_name: server_name(&cluster.tls_server_name)?,
            identity,
        })
    }

    fn credentials(
        &self,
        options: &Options,
        settings: &Settings,
    ) -> Result<Credentials, ConnectError> {
        let own = credentials::of_user(&self.user, options.clock.now())?;
        match &self.user.exec {
            // As in kubectl, other credentials take precedence over a plugin.
            Some(exec)
                if matches!(own, Credentials::None)
                    && settings.tls.identity.is_none()
                    && settings.server.user.is_none() =>
            {
                let cluster = exec.provide_cluster_info.then(|| self.for_plugin(settings));
                let surroundings = Surroundings {
                    clock: options.clock,
                    stdin_is_terminal: options.stdin_is_terminal,
                    environment: &options.environment,
                    native: options.native.as_ref(),
                };
                let plugin = Plugin::new(exec.clone(), cluster, surroundings)?;
                Ok(Credentials::Plugin(plugin.into()))
            }
            _ => Ok(own),
        }
    }

    /// What a plugin with `provideClusterInfo` learns about the cluster.
    fn for_plugin(&self, settings: &Settings) -> Value {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let cluster = &self.cluster;
        let authorities = data_or_file(
            &cluster.certificate_authority_data,
            &cluster.certificate_authority,
            "certificate authority",
        );
        let mut info = json!({"server": settings.server.as_given(cluster.server.expose())});
        let mut add = |key: &str, value: Value| {
            if let Some(info) = info.as_object_mut() {
                info.insert(key.to_owned(), value);
            }
        };
        if !cluster.tls_server_name.is_empty() {
            add("tls-server-name", json!(cluster.tls_server_name));
        }
        if cluster.insecure_skip_tls_verify {
            add("insecure-skip-tls-verify", json!(true));
        }
        if let Ok(Some(pem)) = authorities {
            add("certificate-authority-data", json!(STANDARD.encode(pem)));
        }
        if !cluster.proxy_url.is_empty() {
            add("proxy-url", json!(cluster.proxy_url.expose()));
        }
        if cluster.disable_compression {
            add("disable-compression", json!(true));
        }
        if let Some(config) = cluster.plugin_config() {
            add("config", config.clone());
        }
        info
    }
}

/// A flag that is set and not empty.
fn named(flag: Option<&String>) -> Option<&String> {
    flag.filter(|name| !name.is_empty())
}

fn named_address(flag: Option<&Address>) -> Option<&Address> {
    flag.filter(|address| !address.is_empty())
}

fn missing(kind: &str, name: &str) -> ConnectError {
    ConnectError::Kubeconfig(format!("it has no {kind} `{}`", name.escape_default()))
}

fn with_cluster_flags(mut cluster: Cluster, options: &Options) -> Cluster {
    if let Some(server) = named_address(options.server.as_ref()) {
        cluster.server = server.clone();
        // The name is that of the kubeconfig's server.
        cluster.tls_server_name = String::new();
    } else if cluster.server.is_empty()
        && let Some(master) = options.environment.get("KUBERNETES_MASTER")
    {
        cluster.server = Address::new(master);
    }
    let authority = options.certificate_authority.as_ref();
    let authority = authority.filter(|path| !path.as_os_str().is_empty());
    if options.insecure_skip_tls_verify || authority.is_some() {
        cluster.insecure_skip_tls_verify = options.insecure_skip_tls_verify;
        cluster.certificate_authority = authority
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        cluster.certificate_authority_data = Vec::new();
    }
    cluster
}

fn with_user_flags(mut user: User, options: &Options) -> User {
    if let Some(token) = &options.token
        && !token.expose_secret().is_empty()
    {
        user.token = token.clone();
    }
    if let Some(name) = named(options.impersonate.as_ref()) {
        user.impersonate.clone_from(name);
    }
    if !options.impersonate_groups.is_empty() {
        user.impersonate_groups
            .clone_from(&options.impersonate_groups);
    }
    user
}

/// The data, or else the content of the file.
fn data_or_file(data: &[u8], file: &str, what: &str) -> Result<Option<Vec<u8>>, ConnectError> {
    match (data, file) {
        ([], "") => Ok(None),
        ([], path) => std::fs::read(path).map(Some).map_err(|error| {
            let path = Path::new(path).display();
            ConnectError::Kubeconfig(format!(
                "the {what} {path} cannot be read: {}",
                error.kind()
            ))
        }),
        (data, _) => Ok(Some(data.to_vec())),
    }
}

fn server_name(name: &str) -> Result<Option<ServerName<'static>>, ConnectError> {
    if name.is_empty() {
        return Ok(None);
    }
    ServerName::try_from(name.to_owned())
        .map(Some)
        .map_err(|_| {
            ConnectError::Kubeconfig("its `tls-server-name` is not a host name".to_owned())
        })
}

/// The service account of the own Pod.
struct Pod {
    server: Address,
    namespace: Option<String>,
}

impl Pod {
    fn of(environment: &BTreeMap<String, String>) -> Option<Self> {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let host = set("KUBERNETES_SERVICE_HOST")?;
        let port = set("KUBERNETES_SERVICE_PORT")?;
        let is_file = Path::new(SERVICE_ACCOUNT).join("token").is_file();
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        is_file.then(|| Self {
            server: Address::new(format!("https://{host}:{port}")),
            namespace: set("POD_NAMESPACE").cloned(),
        })
    }

    fn namespace(&self) -> String {
        let own = self.namespace.clone().or_else(|| {
            let text =
                std::fs::read_to_string(Path::new(SERVICE_ACCOUNT).join("namespace")).ok()?;
            Some(text.trim().to_owned()).filter(|name| !name.is_empty())
        });
        own.unwrap_or_else(|| "default".to_owned())
    }

    fn chosen(self, options: &Options) -> Result<Chosen, ConnectError> {
        let folder = PathBuf::from(SERVICE_ACCOUNT);
        let invalid = || ConnectError::Address("the Pod's API server", self.server.clone());
        let mut settings = Settings::new(self.server.parse("https").map_err(|_| invalid())?);
        settings.proxy = proxy::Environment::of(&options.environment).proxy(&settings.server)?;
        let authority = match &options.certificate_authority {
            Some(path) if !path.as_os_str().is_empty() => path.clone(),
            _ => folder.join("ca.crt"),
        };
        let text = authority.display().to_string();
        let pem = data_or_file(&[], &text, "certificate authority")?.unwrap_or_default();
        settings.tls.authorities = tls::authorities(&pem);
        settings.tls.authorities_file = Some(authority);
        let mut user = User {
            token_file: folder.join("token").display().to_string(),
            ..User::default()
        };
        if options
            .token
            .as_ref()
            .is_some_and(|token| !token.expose_secret().is_empty())
        {
            user.token_file = String::new();
        }
        let user = with_user_flags(user, options);
        settings.headers = credentials::impersonation(&user)?;
        settings.credentials = credentials::of_user(&user, options.clock.now())?;
        let namespace = options.namespace.clone().filter(|name| !name.is_empty());
        Ok(Chosen {
            settings,
            namespace: namespace.unwrap_or_else(|| self.namespace()),
            server: self.server,
            context: None,
        })
    }
}

#[cfg(test)]
mod tests;
