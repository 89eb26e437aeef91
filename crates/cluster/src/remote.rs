//! Connections to other API servers, or to this one with another identity, for the Secrets of a Kubernetes store.

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

/// The time limits for an answer and for connecting. The server may belong to a tenant: a silent one may delay its store but not
/// the run.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);

/// The maximum size of an answer: a Secret of the largest size in base64, with metadata. The maximum number of pages of a list: a
/// hundred thousand Secrets of ordinary size.
const MAX_ANSWER: usize = 2 << 20;
const MAX_PAGES: usize = 200;

pub struct Server {
    pub address: Uri,
    /// The CA certificates as PEM. Without them, the system's CAs are used.
    pub authorities: Option<Vec<u8>>,
}

/// The credentials for a server.
pub enum Login {
    /// No credentials.
    Anonymous,
    /// A bearer token.
    Token(Value),
    /// A client certificate.
    Certificate {
        /// The certificate as PEM.
        certificate: Value,
        /// The private key as PEM.
        key: Value,
    },
}

impl Cluster {
    /// Connects with other credentials to this server or another one. Read-only, with this cluster's rate. Sends no request yet.
    pub fn with_login(&self, login: Login, server: Option<Server>) -> Result<Self, ConnectError> {
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
            call_timeout: CALL_TIMEOUT,
            max_answer: MAX_ANSWER,
            max_pages: MAX_PAGES,
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
            "the CA bundle contains no PEM certificate".to_owned(),
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
        .map_err(|_| ConnectError::Client("the token is not valid UTF-8".to_owned()))
}
