//! A proxy in front of a real server. It forwards requests and changes the answers as a test requires.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use form_urlencoded::parse;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    client, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

#[derive(Clone)]
pub(crate) struct Asked {
    /// The AWS operation, such as `secretsmanager.GetSecretValue`, or the method and path.
    pub(crate) operation: String,
    pub(crate) body: Bytes,
    /// The number of earlier requests of the same operation.
    pub(crate) before: usize,
    pub(crate) at: Instant,
    method: Method,
    pub(crate) uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    async fn of(request: Request<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let target = head.headers.get("x-amz-target");
        let target = target.map(|target| target.to_str().expect("text").to_owned());
        let action = || {
            let action = parse(&body).find(|(name, _)| name == "Action");
            action.map(|(_, action)| format!("sts.{action}"))
        };
        let operation = target
            .or_else(action)
            .unwrap_or_else(|| format!("{} {}", head.method, head.uri.path()));
        Ok(Self {
            operation,
            body,
            before: 0,
            at: Instant::now(),
            method: head.method,
            uri: head.uri,
            headers: head.headers,
        })
    }

    /// True for a request for credentials.
    pub(crate) fn is_login(&self) -> bool {
        self.operation.starts_with("sts.")
            || self.operation.ends_with("/login")
            || self.operation == "POST /token"
            || self.operation.contains("/oauth2/")
    }

    /// The path and the query.
    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("", |path| path.as_str())
    }

    /// The value of a header, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The fault that an answer gets.
pub(crate) enum Fault {
    /// The answer is unchanged.
    None,
    /// This answer replaces that of the server, which gets no request.
    Instead(u16, Vec<(&'static str, String)>, String),
    /// The answer is edited.
    Edited(Box<dyn FnOnce(&mut Value) + Send>),
    /// Half of the answer, as if it were complete.
    Halved,
    /// Half of the answer, then the connection is reset.
    Reset,
    /// The server gets the request, and the connection is reset instead of its answer.
    Lost,
    /// The request goes to this path and query.
    At(String),
    /// The answer is delayed beyond every timeout. The server gets no request.
    Late,
    /// The server answers, which is told, and the answer is delayed beyond every timeout.
    Kept(Arc<Notify>),
}

/// TLS on both sides, with one certificate, which the client trusts, too.
#[derive(Clone)]
pub(crate) struct Tls {
    shown: TlsAcceptor,
    expected: TlsConnector,
}

impl Tls {
    /// Reads a certificate for the address 127.0.0.1 and its key.
    pub(crate) fn of(certificate: &str, key: &str) -> Self {
        let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate");
        let expected = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let shown = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate with its key");
        Self {
            shown: TlsAcceptor::from(Arc::new(shown)),
            expected: TlsConnector::from(Arc::new(expected)),
        }
    }
}

/// The server behind the proxy.
#[derive(Clone)]
struct Upstream {
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Upstream {
    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let Some(tls) = &self.tls else {
            return send(self.address, request).await;
        };
        let stream = TcpStream::connect(self.address).await.expect("a server");
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = tls.expected.connect(name, stream).await;
        exchange(stream.expect("its certificate"), request).await
    }
}

pub(crate) type Script = dyn Fn(&Asked) -> Fault + Send + Sync;

/// The requests so far, and the number of faults.
#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    faults: usize,
    times: BTreeMap<String, usize>,
}

/// The proxy. It stops when the value is dropped.
pub(crate) struct Proxy {
    pub(crate) url: String,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// Starts the proxy in front of the server at this URL on loopback.
    pub(crate) async fn before(server: &str, script: Box<Script>) -> Self {
        let server = Upstream {
            address: address(server),
            tls: None,
        };
        Self::start(server, script).await
    }

    /// Starts the proxy over TLS in front of the server at this URL on loopback.
    pub(crate) async fn before_tls(server: &str, tls: Tls, script: Box<Script>) -> Self {
        let address = server.strip_prefix("https://").expect("TLS");
        let server = Upstream {
            address: address.parse().expect("an address"),
            tls: Some(tls),
        };
        Self::start(server, script).await
    }

    async fn start(server: Upstream, script: Box<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if server.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let script = Arc::from(script);
        let seen = Arc::default();
        let kept = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // An early end of the connection is a reset.
                stream.set_zero_linger().expect("a socket");
                let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
                let server = server.clone();
                connections.spawn(async move {
                    match server.tls.clone() {
                        None => connection(stream, server, script, kept).await,
                        Some(tls) => {
                            // A client may close the connection at any time.
                            if let Ok(stream) = tls.shown.accept(stream).await {
                                connection(stream, server, script, kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, seen, serving }
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.lock().expect("no panic").asked.clone()
    }

    /// The time between the first and the second call of an operation.
    pub(crate) fn pause(&self, operation: &str) -> Duration {
        let asked = self.asked();
        let mut calls = asked.iter().filter(|asked| asked.operation == operation);
        let [first, second] = [calls.next(), calls.next()].map(|call| call.expect("a call").at);
        second - first
    }

    /// The number of requests with a fault.
    pub(crate) fn faults(&self) -> usize {
        self.seen.lock().expect("no panic").faults
    }
}

/// The first answers of each operation get a fault. Logins do not.
pub(crate) fn first(
    times: usize,
    fault: impl Fn() -> Fault + Send + Sync + 'static,
) -> Box<Script> {
    Box::new(move |asked| {
        if asked.before < times && !asked.is_login() {
            fault()
        } else {
            Fault::None
        }
    })
}

/// All answers get a fault.
pub(crate) fn always(fault: impl Fn() -> Fault + Send + Sync + 'static) -> Box<Script> {
    first(usize::MAX, fault)
}

/// A gateway's error page in place of an answer.
pub(crate) fn page(status: u16, retry_after: Option<&str>) -> Fault {
    let wait = retry_after.map(|wait| ("retry-after", wait.to_owned()));
    Fault::Instead(status, wait.into_iter().collect(), "<html>".to_owned())
}

/// The address of a server on loopback.
pub(crate) fn address(url: &str) -> SocketAddr {
    let address = url.strip_prefix("http://").expect("plain HTTP");
    address.trim_end_matches('/').parse().expect("an address")
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    server: Upstream,
    script: Arc<Script>,
    seen: Arc<Mutex<Seen>>,
) {
    let service = service_fn(async |request| {
        let mut asked = Asked::of(request).await.map_err(|_| Cut)?;
        let fault = {
            let mut seen = seen.lock().expect("no panic");
            let times = seen.times.entry(asked.operation.clone()).or_default();
            asked.before = *times;
            *times += 1;
            seen.asked.push(asked.clone());
            let fault = script(&asked);
            seen.faults += usize::from(!matches!(fault, Fault::None));
            fault
        };
        answer(&server, asked, fault).await
    });
    let http = server::conn::http1::Builder::new();
    // A client may close the connection at any time, and faults reset it.
    drop(http.serve_connection(TokioIo::new(stream), service).await);
}

type Body = UnsyncBoxBody<Bytes, Cut>;

/// The connection was cut.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut")]
struct Cut;

async fn answer(server: &Upstream, mut asked: Asked, fault: Fault) -> Result<Response<Body>, Cut> {
    let edit = match fault {
        Fault::Instead(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            return Ok(response.body(whole(body.into())).expect("a response"));
        }
        Fault::Late => return std::future::pending().await,
        Fault::At(path) => {
            asked.uri = path.parse().expect("a path");
            Fault::None
        }
        Fault::None
        | Fault::Edited(_)
        | Fault::Halved
        | Fault::Reset
        | Fault::Lost
        | Fault::Kept(_) => fault,
    };
    let mut request = Request::builder().method(asked.method).uri(asked.uri);
    *request.headers_mut().expect("a request") = asked.headers;
    let request = request.body(Full::new(asked.body)).expect("a request");
    let (mut head, body) = server.send(request).await.into_parts();
    head.headers.remove(header::CONNECTION);
    let half = body.slice(..body.len() / 2);
    let body = match edit {
        Fault::Edited(edit) => {
            let mut said = serde_json::from_slice(&body).expect("JSON");
            edit(&mut said);
            whole(said.to_string().into())
        }
        Fault::Halved => whole(half),
        Fault::Reset => return Ok(Response::from_parts(head, cut_after(half))),
        Fault::Lost => return Err(Cut),
        Fault::Kept(answered) => {
            answered.notify_one();
            return std::future::pending().await;
        }
        Fault::None | Fault::Instead(..) | Fault::Late | Fault::At(_) => whole(body),
    };
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, body))
}

fn whole(body: Bytes) -> Body {
    let body = Full::new(body).map_err(|never: Infallible| match never {});
    body.boxed_unsync()
}

/// Sends this part and then nothing more, whatever length was announced.
fn cut_after(sent: Bytes) -> Body {
    let parts = async_stream::stream! {
        yield Ok(Frame::data(sent));
        // Give the part time to be sent.
        tokio::task::yield_now().await;
        yield Err(Cut);
    };
    StreamBody::new(parts).boxed_unsync()
}

pub(crate) async fn send(server: SocketAddr, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let stream = TcpStream::connect(server).await.expect("a server");
    exchange(stream, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Response<Bytes> {
    let http = client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = http.expect("a connection");
    let connection = tokio::spawn(connection);
    let (head, body) = sender
        .send_request(request)
        .await
        .expect("an answer")
        .into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    connection.abort();
    Response::from_parts(head, body)
}
