//! Creates a client from kubectl's connection flags: with a kubeconfig, or else with the Pod's service account.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, header::USER_AGENT};
use kube::client::{Body, ClientBuilder, retry::RetryPolicy};
use pace::rate::Rate;
use tower::{
    BoxError, Layer as _, ServiceExt as _,
    retry::{Policy, RetryLayer},
};
use tower_http::decompression::DecompressionLayer;

use super::{
    Cluster,
    address::Address,
    choose::choose,
    gate::{Access, GateLayer, Ledger, WaitsFor},
    proxy,
    transport::{Settings, Transport},
};

pub use super::{failure::ConnectError, options::Options};

/// The retries after an error of the API server, with its `Retry-After` or exponential backoff.
const RETRIES: u32 = 6;

/// Connects. Sends no request yet, but gets the credentials of a credential plugin.
pub async fn connect(
    options: &Options,
    access: Access,
    rate: Rate,
) -> Result<Cluster, ConnectError> {
    let chosen = choose(options)?;
    let transport = Transport::new(chosen.settings)?;
    transport.log_in().await?;
    let mut cluster = build(transport, access, rate);
    cluster.proxies = Arc::new(proxy::Environment::of(&options.environment));
    cluster.context = chosen.context;
    cluster.server = chosen.server;
    cluster.namespace = chosen.namespace;
    Ok(cluster)
}

/// Connects to a server on loopback without credentials: the sandbox.
pub fn connect_plain(url: &str, access: Access, rate: Rate) -> Result<Cluster, ConnectError> {
    let server = Address::new(url);
    let target = server.parse("http");
    let target = target.map_err(|_| ConnectError::Address("the sandbox", server.clone()))?;
    let mut cluster = build(Transport::new(Settings::new(target))?, access, rate);
    cluster.context = Some("sandbox".to_owned());
    cluster.server = server;
    Ok(cluster)
}

pub(super) fn build(transport: Transport, access: Access, rate: Rate) -> Cluster {
    let settings = Arc::new(transport.settings().anonymous());
    let compressed = settings.compressed;
    let ledger = Arc::new(Ledger::new(access, rate));
    let retries = RetryPolicy::new(
        Duration::from_millis(250),
        Duration::from_secs(10),
        RETRIES,
        true,
    )
    .unwrap_or_default();
    let service = DecompressionLayer::new()
        .gzip(compressed)
        .layer(transport.map_request(with_agent));
    let client = ClientBuilder::new(service, "default")
        .with_layer(&GateLayer(Arc::clone(&ledger)))
        .with_layer(&RetryLayer::new(Retries(retries)))
        .build();
    Cluster {
        client,
        ledger,
        settings,
        proxies: Arc::default(),
        only_reads: false,
        call_timeout: super::CALL_TIMEOUT,
        max_answer: super::MAX_ANSWER,
        // The server is trusted to end its lists.
        max_pages: usize::MAX,
        bytes: None,
        once: false,
        lists: None,
        context: None,
        server: Address::default(),
        namespace: "default".to_owned(),
    }
}

fn with_agent(mut request: Request<Body>) -> Request<Body> {
    let agent = http::HeaderValue::from_static(concat!("eso-sync/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(USER_AGENT, agent);
    request
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
        let pause = self.0.retry(request, result);
        if let (Some(_), Ok(answer)) = (&pause, result) {
            let code = answer.status().as_u16();
            WaitsFor::set_for(request, format!("the API server, which answered {code}"));
        }
        pause
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let policy: &mut dyn Policy<_, Response<Res>, BoxError, Future = Self::Future> =
            &mut self.0;
        policy.clone_request(request)
    }
}
