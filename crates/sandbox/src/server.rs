//! The HTTP server on loopback.

use std::{io, net::SocketAddr, sync::Arc};

use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::{
    api::{Api, Dropped},
    call::Call,
};

/// A server that runs until it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on a free port of the loopback interface.
    pub(super) async fn start(api: Arc<Api>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok(Self {
            address,
            task: tokio::spawn(accept(listener, api)),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The connections end too, because this task owns them.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, api: Arc<Api>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&api)));
                }
                Err(error) => tracing::debug!(%error, "the sandbox could not accept a connection"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, api: Arc<Api>) {
    let service = service_fn(|request| serve(request, &api));
    // Without this, small responses could be delayed.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the sandbox could not set TCP_NODELAY on a connection");
    }
    if let Err(error) = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::trace!(%error, "a connection to the sandbox ended");
    }
}

async fn serve(
    request: Request<Incoming>,
    api: &Api,
) -> Result<http::Response<super::api::Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    api.answer(&Call::new(&parts, body)).await
}
