//! Sends requests to one API server: through its proxy, with its TLS settings, and with credentials that are renewed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode, header::AUTHORIZATION};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self,
        connect::{
            Connect, HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
    },
    rt::TokioExecutor,
};
use kube::client::Body;
use rustls::{ClientConfig, pki_types::ServerName, sign::CertifiedKey};
use tokio::time::timeout;
use tower::{BoxError, Service, ServiceExt as _, util::BoxCloneSyncService};

use super::{
    address::Target,
    cause::Own,
    credentials::{Credentials, Current},
    failure::ConnectError,
    tls::Tls,
};

/// The time limit for a TCP connection.
const CONNECT: Duration = Duration::from_secs(30);

/// The time limit until an answer begins. Longer than the API server's own limit of 60 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(65);

/// A server with all that is needed to send requests to it.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) server: Target,
    pub(super) tls: Tls,
    pub(super) proxy: Option<Target>,
    pub(super) credentials: Credentials,
    /// The headers of each request.
    pub(super) headers: HeaderMap,
    pub(super) connect_timeout: Duration,
    /// True if answers may be compressed.
    pub(super) compressed: bool,
}

impl Settings {
    pub(super) fn new(server: Target) -> Self {
        Self {
            server,
            tls: Tls::default(),
            proxy: None,
            credentials: Credentials::None,
            headers: HeaderMap::new(),
            connect_timeout: CONNECT,
            compressed: true,
        }
    }

    /// The same server without credentials.
    pub(super) fn anonymous(&self) -> Self {
        let mut anonymous = self.clone();
        anonymous.credentials = Credentials::None;
        anonymous.tls.identity = None;
        anonymous.headers = HeaderMap::new();
        anonymous.server.user = None;
        anonymous
    }
}

type Connections = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

/// The service that sends requests.
#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// The connections of the current client certificate. Other certificates need other connections.
    open: Mutex<(Option<Arc<CertifiedKey>>, Connections)>,
}

impl Transport {
    pub(super) fn new(settings: Settings) -> Result<Self, ConnectError> {
        let open = (None, connections(&settings, None)?);
        Ok(Self(Arc::new(Inner {
            settings,
            open: Mutex::new(open),
        })))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Gets the credentials, so that the first request does not have to wait for them.
    pub(super) async fn log_in(&self) -> Result<(), ConnectError> {
        let credentials = &self.0.settings.credentials;
        credentials.current().await.map_err(ConnectError::Plugin)?;
        Ok(())
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.send(request).await })
    }
}

impl Inner {
    /// Sends a request. If the server rejects the credentials, sends it once more with others.
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let uri = self.settings.server.with_path(path);
        *request.uri_mut() = uri.ok_or_else(|| Own("the path is not valid".to_owned()))?;
        for (name, value) in &self.settings.headers {
            request.headers_mut().append(name, value.clone());
        }
        let again = request.body().try_clone().map(|body| {
            let mut again = Request::new(body);
            *again.method_mut() = request.method().clone();
            again.uri_mut().clone_from(request.uri());
            again.headers_mut().clone_from(request.headers());
            again
        });
        let current = self.settings.credentials.current().await?;
        let answer = self.send_as(request, &current).await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(again) = again
            && let Some(other) = self.settings.credentials.other_than(&current).await
        {
            return self.send_as(again, &other).await;
        }
        Ok(answer)
    }

    async fn send_as(
        &self,
        mut request: Request<Body>,
        current: &Current,
    ) -> Result<Response<Incoming>, BoxError> {
        // As in kubectl, user information in the server's address takes precedence.
        let header = self.settings.server.basic_auth().or(current.header.clone());
        if let Some(header) = header {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        let answer = self.connections(current)?.oneshot(request);
        let no_answer = || {
            let seconds = ANSWER_TIMEOUT.as_secs();
            Own(format!("the API server did not answer within {seconds} s"))
        };
        timeout(ANSWER_TIMEOUT, answer)
            .await
            .map_err(|_| no_answer())?
    }

    fn connections(&self, current: &Current) -> Result<Connections, ConnectError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (&open.0, &current.identity) {
            (None, None) => true,
            (Some(open), Some(current)) => Arc::ptr_eq(open, current),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            let identity = current.identity.clone();
            *open = (
                identity,
                connections(&self.settings, current.identity.as_ref())?,
            );
        }
        Ok(open.1.clone())
    }
}

/// The connection pool. `issued` is a client certificate of a plugin.
fn connections(
    settings: &Settings,
    issued: Option<&Arc<CertifiedKey>>,
) -> Result<Connections, ConnectError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(settings.connect_timeout));
    let config = settings.tls.config(issued)?;
    let name = settings.tls.server_name.as_ref();
    Ok(match &settings.proxy {
        None => pool(https(config, name, tcp)),
        Some(proxy) if proxy.scheme().starts_with("socks") => {
            let mut socks = SocksV5::new(proxy.with_port(), tcp);
            if let Some((user, password)) = proxy.user.clone() {
                socks = socks.with_auth(user, password);
            }
            pool(https(config, name, socks))
        }
        Some(proxy) if proxy.is_https() => {
            // As in kubectl, the proxy has to be proven by the same authorities as the server.
            let proxied = https(config.clone(), name, tcp);
            pool(https(config, name, tunnel(proxy, proxied)))
        }
        Some(proxy) => pool(https(config, name, tunnel(proxy, tcp))),
    })
}

fn tunnel<C>(proxy: &Target, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.with_port(), connector);
    match proxy.basic_auth() {
        Some(header) => tunnel.with_auth(header),
        None => tunnel,
    }
}

fn https<C>(
    config: ClientConfig,
    name: Option<&ServerName<'static>>,
    connector: C,
) -> HttpsConnector<C> {
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http();
    match name {
        Some(name) => builder
            .with_server_name_resolver(FixedServerNameResolver::new(name.clone()))
            .enable_http1()
            .wrap_connector(connector),
        None => builder.enable_http1().wrap_connector(connector),
    }
}

fn pool<C>(connector: C) -> Connections
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    BoxCloneSyncService::new(client.map_err(BoxError::from))
}
