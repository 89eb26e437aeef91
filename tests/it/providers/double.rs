//! A server on loopback that answers as a test says, and remembers what it was asked.

use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    sync::{Arc, Mutex},
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
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

/// A request.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Asked {
    /// A header's text; empty without one.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body, where it is JSON.
    pub(super) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The fields of the body or of the query, where it is a form.
    pub(super) fn field(&self, name: &str) -> String {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        [self.body.as_str(), query]
            .into_iter()
            .flat_map(|form| form_urlencoded::parse(form.as_bytes()))
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    }
}

/// An answer.
pub(super) enum Reply {
    /// Status, headers, body.
    Say(u16, Vec<(&'static str, String)>, String),
    /// The connection ends without one.
    HangUp,
    /// The connection ends in the middle of one.
    BreakOff,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Json) -> Self {
        Self::Say(status, Vec::new(), body.to_string())
    }

    pub(super) fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Say(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Say(status, headers, body)
            }
            Self::HangUp | Self::BreakOff => self,
        }
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// What is logged while this runs, at the finest level, and of all libraries that may speak.
pub(super) async fn logged(run: impl Future<Output = ()>) -> String {
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
    // The runtime of a test has one thread.
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

/// The server; it stops when it is dropped.
pub(super) struct Double {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Double {
    pub(super) async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, Arc::new(answer), Arc::clone(&asked)));
        Self { url, asked, task }
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
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
        };
        asked.lock().expect("no panic").push(request.clone());
        match answer(&request) {
            Reply::HangUp => Err(io::Error::other("hung up")),
            Reply::BreakOff => {
                let parts = async_stream::stream! {
                    yield Ok(Frame::data(Bytes::from_static(b"{\"Name\":")));
                    // It goes out meanwhile.
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
    // It ends when the client leaves, or when the test has it hang up.
    drop(
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}
