//! Connections to other API servers, or to this one with another identity, for the Secrets of a Kubernetes store.

use std::{sync::Arc, time::Duration};

use secret::Value;

use super::{
    Access, Cluster,
    address::Target,
    connect::{self, ConnectError},
    credentials::Credentials,
    header::{INVALID_TOKEN, bearer},
    tls,
    transport::{Settings, Transport},
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
    pub address: Target,
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
        let mut settings = (*self.settings).clone();
        if let Some(server) = server {
            settings = Settings::new(server.address);
            settings.proxy = self.proxies.proxy(&settings.server)?;
            settings.tls.authorities = match server.authorities.as_deref() {
                Some(pem) => Some(tls::authorities(pem).ok_or_else(no_authority)?),
                None => None,
            };
        }
        match login {
            Login::Anonymous => {}
            Login::Token(token) => settings.credentials = header(&token)?,
            Login::Certificate { certificate, key } => {
                let identity = tls::identity(certificate.expose(), key.expose());
                let unusable = |why| {
                    ConnectError::Client(format!("the client certificate cannot be used: {why}"))
                };
                settings.tls.identity = Some(identity.map_err(unusable)?);
            }
        }
        settings.connect_timeout = CONNECT;
        let transport = Transport::new(settings)?;
        let cluster = connect::build(transport, Access::ReadOnly, self.ledger.rate());
        Ok(Self {
            call_timeout: CALL_TIMEOUT,
            max_answer: MAX_ANSWER,
            max_pages: MAX_PAGES,
            proxies: Arc::clone(&self.proxies),
            ..cluster
        })
    }
}

fn no_authority() -> ConnectError {
    ConnectError::Client("the CA bundle contains no PEM certificate".to_owned())
}

fn header(token: &Value) -> Result<Credentials, ConnectError> {
    let header = std::str::from_utf8(token.expose()).ok().and_then(bearer);
    header
        .map(Credentials::Header)
        .ok_or(ConnectError::Token(INVALID_TOKEN))
}
