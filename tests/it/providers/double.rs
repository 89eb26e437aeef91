//! An HTTP server on loopback. A test provides the answers, and the server records the requests.

use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    sync::{Arc, LazyLock, Mutex},
};

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tracing_subscriber::{
    filter::LevelFilter,
    layer::{Layer as _, SubscriberExt as _},
};

#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// The same, also if it is no text.
    pub(crate) bytes: Bytes,
}

impl Asked {
    /// The value of a header, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A field of a form in the body or the query.
    pub(crate) fn field(&self, name: &str) -> String {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        [self.body.as_str(), query]
            .into_iter()
            .flat_map(|form| form_urlencoded::parse(form.as_bytes()))
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    }
}

pub(crate) enum Reply {
    /// Status, headers and body.
    Say(u16, Vec<(&'static str, String)>, String),
    /// Keeps the connection open without an answer.
    Never,
    /// Closes the connection without an answer.
    CloseConnection,
    /// Closes the connection in the middle of an answer.
    CutAnswer,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Json) -> Self {
        Self::Say(status, Vec::new(), body.to_string())
    }

    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Say(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Say(status, headers, body)
            }
            Self::Never | Self::CloseConnection | Self::CutAnswer => self,
        }
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A second subscriber, which logs nothing. With only one, a test of another thread that reaches a place first would switch off the
/// events of that place for the one that captures them, too.
static ANOTHER: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry().with(LevelFilter::OFF)));

/// Returns the log of this future at the finest level, including all libraries.
pub(crate) async fn logged(run: impl Future<Output = ()>) -> String {
    let log = Log::default();
    let writer = {
        let log = log.clone();
        move || log.clone()
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer)
        .with_filter(eso_sync::telemetry::filter(Some("trace"), "trace"));
    let subscriber = tracing_subscriber::registry().with(layer);
    LazyLock::force(&ANOTHER);
    // The test's runtime has one thread.
    let guard = tracing::subscriber::set_default(subscriber);
    run.await;
    drop(guard);
    let bytes = log.0.lock().expect("no panic").clone();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server. It stops when it is dropped.
pub(crate) struct Double {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Double {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, Arc::new(answer), Arc::clone(&asked)));
        Self { url, asked, task }
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, answer: Arc<Answer>, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&answer), Arc::clone(&asked)));
    }
}

async fn connection(stream: TcpStream, answer: Arc<Answer>, asked: Arc<Mutex<Vec<Asked>>>) {
    let service = service_fn(async |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let request = Asked {
            method: parts.method.to_string(),
            path: parts.uri.to_string(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            bytes: body,
        };
        asked.lock().expect("no panic").push(request.clone());
        match answer(&request) {
            Reply::Never => std::future::pending().await,
            Reply::CloseConnection => Err(io::Error::other("hung up")),
            Reply::CutAnswer => {
                let parts = async_stream::stream! {
                    yield Ok(Frame::data(Bytes::from_static(b"{\"Name\":")));
                    // Give the part time to be sent.
                    tokio::task::yield_now().await;
                    yield Err(io::Error::from(ErrorKind::ConnectionReset));
                };
                Ok(Response::new(StreamBody::new(parts).boxed_unsync()))
            }
            Reply::Say(status, headers, body) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                let body =
                    Full::<Bytes>::new(body.into()).map_err(|never: Infallible| match never {});
                Ok(response.body(body.boxed_unsync()).expect("a response"))
            }
        }
    });
    // The connection ends when the client or the test closes it.
    drop(
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}
