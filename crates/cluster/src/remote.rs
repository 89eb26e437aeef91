//! Other API servers, and this one under another identity: where the Secrets of a Kubernetes store are.

use std::time::Duration;

use http::Uri;
use kube::config::AuthInfo;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use secrecy::SecretString;
use secret::Value;

use super::{
    Access, Cluster,
    connect::{self, ConnectError},
};

/// How long a server that may be anybody's has for an answer, and for a connection: one that keeps silent holds up a store, and
/// not the run.
const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer, and a list, of such a server may be: a page of 500 Secrets, and a hundred thousand of them.
const LONGEST_ANSWER: usize = 64 << 20;
const MOST_PAGES: usize = 200;

/// An API server.
pub struct Server {
    /// Its address.
    pub address: Uri,
    /// The PEM of the authorities that may sign its certificate; without it those of the system.
    pub authorities: Option<Vec<u8>>,
}

/// Who asks.
pub enum Login {
    /// Nobody.
    Anonymous,
    /// Who bears this token.
    Token(Value),
    /// The owner of this certificate.
    Certificate {
        /// Its PEM.
        certificate: Value,
        /// The PEM of its key.
        key: Value,
    },
}

impl Cluster {
    /// This server, or another one, under another identity. It only looks, at this cluster's pace; nothing is sent yet.
    pub fn under(&self, login: Login, server: Option<Server>) -> Result<Self, ConnectError> {
        let mut config = (*self.address).clone();
        if let Some(server) = server {
            config = kube::Config::new(server.address);
            config.proxy_url = connect::proxy_from_environment(&config.cluster_url);
            config.root_cert = server.authorities.as_deref().map(ders).transpose()?;
        }
        config.auth_info = auth_info(login)?;
        config.connect_timeout = Some(CONNECT);
        let cluster = connect::build(config, None, Access::ReadOnly, self.ledger.rate())
            .map_err(connect::describe)?;
        Ok(Self {
            patience: PATIENCE,
            longest_answer: LONGEST_ANSWER,
            most_pages: MOST_PAGES,
            ..cluster
        })
    }
}

fn ders(pem: &[u8]) -> Result<Vec<Vec<u8>>, ConnectError> {
    let ders: Result<Vec<Vec<u8>>, _> = CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect();
    match ders {
        Ok(ders) if !ders.is_empty() => Ok(ders),
        _ => Err(ConnectError::Client(
            "what should hold certificates of authorities holds none in PEM".to_owned(),
        )),
    }
}

fn auth_info(login: Login) -> Result<AuthInfo, ConnectError> {
    let mut info = AuthInfo::default();
    match login {
        Login::Anonymous => {}
        Login::Token(token) => info.token = Some(text(&token)?),
        Login::Certificate { certificate, key } => {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            info.client_certificate_data = Some(STANDARD.encode(certificate.expose()));
            info.client_key_data = Some(STANDARD.encode(key.expose()).into());
        }
    }
    Ok(info)
}

fn text(value: &Value) -> Result<SecretString, ConnectError> {
    let text = std::str::from_utf8(value.expose());
    text.map(SecretString::from)
        .map_err(|_| ConnectError::Client("the token is no text".to_owned()))
}
