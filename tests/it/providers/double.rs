//! A server on loopback that answers as a test says, and remembers what it was asked.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// A request.
#[derive(Clone)]
pub(super) struct Asked {
    /// With its query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

impl Asked {
    /// A header's text; empty without one.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// An answer.
pub(super) enum Reply {
    /// Status, headers, body.
    Say(u16, Vec<(&'static str, String)>, String),
    /// The connection ends without one.
    HangUp,
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
            Self::HangUp => Self::HangUp,
        }
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

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
        body.collect().await.map_err(io::Error::other)?;
        let request = Asked {
            path: parts.uri.to_string(),
            headers: parts.headers,
        };
        asked.lock().expect("no panic").push(request.clone());
        match answer(&request) {
            Reply::HangUp => Err(io::Error::other("hung up")),
            Reply::Say(status, headers, body) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                let body =
                    Full::<Bytes>::new(body.into()).map_err(|never: Infallible| match never {});
                Ok(response.body(body).expect("a response"))
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
