//! The double of Azure Key Vault that the provider's own tests use, under Azure's host names: for programs that are other processes.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

pub(crate) use self::double::{Call, Certificate, Double, Reply};

#[path = "../../../crates/providers/src/double.rs"]
#[expect(dead_code, reason = "the providers' own tests use all of it")]
mod double;
#[path = "../../../crates/providers/src/azure/tests/service.rs"]
#[expect(dead_code, reason = "the provider's own tests use all of it")]
pub(crate) mod service;

/// A proxy for HTTPS, which connects requests for Azure's hosts to one server.
pub(crate) struct Tunnel {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Tunnel {
    pub(crate) async fn start(at: &str, azure: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(tunnel(stream, azure));
            }
        });
        Self { address, serving }
    }
}

async fn tunnel(stream: TcpStream, azure: SocketAddr) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let host = head.strip_prefix("CONNECT ").unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    if !host.ends_with(".vault.azure.net") && host != "login.microsoftonline.com" {
        return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut azure = TcpStream::connect(azure).await?;
    copy_bidirectional(&mut stream, &mut azure).await?;
    Ok(())
}
