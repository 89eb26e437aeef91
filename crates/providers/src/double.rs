//! An HTTP server for provider tests. A function returns the answers, and the server records the requests.

use std::{
    fmt::Display,
    io,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt as _};

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// The URI as it was sent. Contains the host if the request goes to a proxy.
    pub(crate) uri: http::Uri,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(crate) fn query(&self, name: &str) -> Option<String> {
        parameter(self.uri.query().unwrap_or(""), name)
    }

    pub(crate) fn form(&self, name: &str) -> Option<String> {
        parameter(&self.body, name)
    }
}

fn parameter(encoded: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(encoded.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// The status of a reply that is not sent.
const RESET: u16 = 0;

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Display) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    /// Closes the connection without an answer.
    pub(crate) fn reset() -> Self {
        Self::new(RESET, "")
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A TLS server certificate.
pub(crate) struct Certificate {
    pub(crate) public: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    /// The CA certificate, as PEM.
    pub(crate) authority: String,
}

impl Certificate {
    /// A self-signed certificate for these names.
    pub(crate) fn self_signed(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Self {
            public: made.cert.der().clone(),
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key"),
            authority: made.cert.pem(),
        }
    }
}

type Answer = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;

/// The server. It stops when the value is dropped.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Double {
    /// Starts it over HTTP.
    pub(crate) async fn plain(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(answer)).await
    }

    /// Starts it over HTTPS.
    pub(crate) async fn tls(
        shown: Certificate,
        answer: impl Fn(&Call) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![shown.public], shown.key)
            .expect("a certificate with its key");
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::start(Some(tls), Arc::new(answer)).await
    }

    async fn start(tls: Option<TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&calls);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer, kept) = (tls.clone(), Arc::clone(&answer), Arc::clone(&kept));
                tokio::spawn(connection(stream, tls, answer, kept));
            }
        });
        Self {
            address,
            calls,
            serving,
        }
    }

    /// The requests so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("calls").clone()
    }

    /// Method and path of each request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.calls()
            .iter()
            .map(|call| format!("{} {}", call.method, call.path()))
            .collect()
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    answer: Answer,
    kept: Arc<Mutex<Vec<Call>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, kept) = (Arc::clone(&answer), Arc::clone(&kept));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let call = Call {
                method: head.method.to_string(),
                uri: head.uri,
                headers: head.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            };
            let reply = answer(&call);
            kept.lock().expect("calls").push(call);
            if reply.status == RESET {
                return Err(io::Error::other("the connection is closed"));
            }
            let mut response = Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            let body = Full::new(Bytes::from(reply.body));
            Ok(response.body(body).expect("a response"))
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // A client may close the connection at any time.
    match tls {
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                drop(http.serve_connection(TokioIo::new(stream), service).await);
            }
        }
        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
    }
}

/// A second subscriber, which logs nothing. With only one, a test of another thread that reaches a place first would switch off the
/// events of that place for the one that captures them, too.
static ANOTHER: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry().with(LevelFilter::OFF)));

/// Captures the log of this thread at the finest level until the guard is dropped.
pub(crate) fn capture_log() -> (tracing::subscriber::DefaultGuard, Log) {
    let log = Log::default();
    let kept = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || kept.clone())
        .finish();
    LazyLock::force(&ANOTHER);
    (tracing::subscriber::set_default(subscriber), log)
}

/// The captured log.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
