//! Servers that record who reaches them, with which credentials and through what: API servers and proxies.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::Full;
use hyper::{
    Request, Response, body::Bytes, body::Incoming, header::AUTHORIZATION, service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};

/// A certificate with its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate authority and what it signed.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, names: &[&str], common: &str, usage: ExtendedKeyUsagePurpose) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, common);
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer);
        Pair {
            certificate: certificate.expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn client(&self, name: &str) -> Pair {
        self.sign(&[], name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn server(&self, names: &[&str]) -> Pair {
        self.sign(names, "server", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// TLS for a server with this certificate, which asks for client certificates of the authority.
    pub(crate) fn acceptor(&self, pair: &Pair) -> TlsAcceptor {
        use tokio_rustls::rustls::pki_types::pem::PemObject as _;
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .expect("a verifier");
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.expect("PEM")], key.expect("PEM"))
            .expect("a certificate with its key");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What the servers have seen, in order.
pub(super) type Log = Arc<Mutex<Vec<String>>>;

/// A server. It stops when the value is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The answer to a request.
pub(super) type Answer = Arc<dyn Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync>;

/// Every request is forbidden, so that a command ends after its first one.
pub(super) fn forbidden() -> Answer {
    Arc::new(|_| status(403, "Forbidden"))
}

pub(super) fn status(code: u16, reason: &str) -> Response<Full<Bytes>> {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"{reason}","message":"no","code":{code}}}"#
    );
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .expect("a response")
}

impl Server {
    async fn listen(
        host: &str,
        each: impl Fn(TcpStream) -> JoinHandle<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(each(stream));
            }
        });
        Self { address, serving }
    }

    /// An API server with TLS.
    pub(super) async fn tls(
        name: &'static str,
        host: &str,
        authority: &Authority,
        pair: &Pair,
        log: &Log,
        answer: Answer,
    ) -> Self {
        let (tls, log) = (authority.acceptor(pair), Arc::clone(log));
        Self::listen(host, move |stream| {
            let (tls, log, answer) = (tls.clone(), Arc::clone(&log), Arc::clone(&answer));
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let (_, session) = stream.get_ref();
                let certificate = session
                    .peer_certificates()
                    .map(|chain| common_name(&chain[0]));
                let seen = match (certificate, session.server_name()) {
                    (Some(client), _) => format!("{name} cert={client}"),
                    (None, _) => name.to_owned(),
                };
                serve(stream, seen, log, answer).await;
            })
        })
        .await
    }

    /// An API server without TLS.
    pub(super) async fn plain(name: &'static str, log: &Log, answer: Answer) -> Self {
        let log = Arc::clone(log);
        Self::listen("127.0.0.1", move |stream| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            tokio::spawn(serve(stream, name.to_owned(), log, answer))
        })
        .await
    }

    /// A proxy that connects to `target`, whatever it is asked for.
    pub(super) async fn http_proxy(
        name: &'static str,
        tls: Option<(&Authority, &Pair)>,
        target: SocketAddr,
        log: &Log,
    ) -> Self {
        let tls = tls.map(|(authority, pair)| authority.acceptor(pair));
        let log = Arc::clone(log);
        Self::listen("127.0.0.1", move |stream| {
            let (log, tls) = (Arc::clone(&log), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => connect(stream, name, target, log).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            connect(stream, name, target, log).await;
                        }
                    }
                }
            })
        })
        .await
    }

    /// A SOCKS5 proxy that connects to `target`, whatever it is asked for.
    pub(super) async fn socks(name: &'static str, target: SocketAddr, log: &Log) -> Self {
        let log = Arc::clone(log);
        Self::listen("127.0.0.1", move |stream| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                socks(stream, name, target, log).await;
            })
        })
        .await
    }
}

/// The name in a client certificate, which the tests choose.
fn common_name(certificate: &CertificateDer<'_>) -> String {
    let text = String::from_utf8_lossy(certificate);
    let known = ["alice", "bob"];
    let found = known.iter().find(|name| text.contains(**name));
    (*found.unwrap_or(&"?")).to_owned()
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seen: String,
    log: Log,
    answer: Answer,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        log.lock().unwrap().push(describe(&seen, &request));
        let answer = answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

/// The server, the prefix of its paths, and the credentials of a request.
fn describe(seen: &str, request: &Request<Incoming>) -> String {
    let path = request.uri().path();
    let prefix = path.find("/api").map_or("", |at| &path[..at]);
    let mut text = format!("{seen}{prefix}");
    let header = |value: &hyper::header::HeaderValue| {
        let value = value.to_str().expect("text").to_owned();
        match value.strip_prefix("Basic ") {
            Some(basic) => format!(
                "Basic {}",
                String::from_utf8_lossy(&STANDARD.decode(basic).expect("base64"))
            ),
            None => value,
        }
    };
    if let Some(value) = request.headers().get(AUTHORIZATION) {
        text = format!("{text} {}", header(value));
    }
    let mut impersonated: Vec<String> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("impersonate-")?;
            Some(format!(" {name}={}", value.to_str().expect("text")))
        })
        .collect();
    impersonated.sort();
    text + &impersonated.concat()
}

async fn connect(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    name: &str,
    target: SocketAddr,
    log: Log,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let asked = head.split_whitespace().nth(1).unwrap_or_default();
    let login = head.lines().find_map(|line| {
        let (key, value) = line.split_once(": Basic ")?;
        let decoded = STANDARD.decode(value).ok()?;
        key.eq_ignore_ascii_case("proxy-authorization")
            .then(|| format!(" {}", String::from_utf8_lossy(&decoded)))
    });
    let login = login.unwrap_or_default();
    log.lock().unwrap().push(format!("{name} {asked}{login} >"));
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .ok();
    if let Ok(mut server) = TcpStream::connect(target).await {
        copy_bidirectional(&mut client, &mut server).await.ok();
    }
}

async fn socks(mut client: TcpStream, name: &str, target: SocketAddr, log: Log) -> Option<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).await.ok()?;
    let mut methods = vec![0; greeting[1].into()];
    client.read_exact(&mut methods).await.ok()?;
    let mut login = String::new();
    if methods.contains(&2) {
        client.write_all(&[5, 2]).await.ok()?;
        client.read_u8().await.ok()?;
        let mut text = async || {
            let length = client.read_u8().await.ok()?;
            let mut text = vec![0; length.into()];
            client.read_exact(&mut text).await.ok()?;
            String::from_utf8(text).ok()
        };
        let (user, password) = (text().await?, text().await?);
        login = format!(" {user}:{password}");
        client.write_all(&[1, 0]).await.ok()?;
    } else {
        client.write_all(&[5, 0]).await.ok()?;
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await.ok()?;
    let host = match request[3] {
        1 => {
            let mut ip = [0; 4];
            client.read_exact(&mut ip).await.ok()?;
            std::net::Ipv4Addr::from(ip).to_string()
        }
        3 => {
            let length = client.read_u8().await.ok()?;
            let mut host = vec![0; length.into()];
            client.read_exact(&mut host).await.ok()?;
            String::from_utf8(host).ok()?
        }
        _ => return None,
    };
    let port = client.read_u16().await.ok()?;
    log.lock()
        .unwrap()
        .push(format!("{name} {host}:{port}{login} >"));
    client
        .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        .await
        .ok()?;
    let mut server = TcpStream::connect(target).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok();
    Some(())
}
