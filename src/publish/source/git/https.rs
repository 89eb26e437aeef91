//! Git's protocol over HTTPS.

use std::time::Duration;

use reqwest::{
    Certificate, Client, Identity, RequestBuilder, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};

use super::{Login, MAX_ANSWER};
use crate::publish::fault::Fault;

const CONNECT: Duration = Duration::from_secs(20);
/// The longest silence of a server. It may have to collect the objects first.
const SILENCE: Duration = Duration::from_mins(1);
/// The longest time of one answer.
const TOTAL: Duration = Duration::from_mins(3);

/// A repository at an HTTPS server.
pub(super) struct Https {
    client: Client,
    url: String,
    authorization: Option<reqwest::header::HeaderValue>,
}

impl Https {
    /// Connects, and returns what the server advertises.
    pub(super) async fn open(url: &Url, login: &Login) -> Result<(Self, Vec<u8>), Fault> {
        let connection = Self {
            client: client(login)?,
            url: url.to_string(),
            authorization: login.authorization.clone(),
        };
        let address = format!("{}/info/refs?service=git-upload-pack", connection.url);
        let answer = connection.send(connection.client.get(address)).await?;
        Ok((connection, answer))
    }

    pub(super) async fn ask(&self, request: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let address = format!("{}/git-upload-pack", self.url);
        let request = self
            .client
            .post(address)
            .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
            .header(ACCEPT, "application/x-git-upload-pack-result")
            .body(request);
        self.send(request).await
    }

    async fn send(&self, mut request: RequestBuilder) -> Result<Vec<u8>, Fault> {
        request = request.header("git-protocol", "version=2");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let mut answer = request.send().await.map_err(|error| unanswered(&error))?;
        self.check(answer.status().as_u16())?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| unanswered(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                let message = format!(
                    "the Git server sends more than {} MiB. If it supports filters (`uploadpack.allowFilter`), only the needed files are sent",
                    MAX_ANSWER >> 20
                );
                return Err(Fault::new("too-large", message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn check(&self, status: u16) -> Result<(), Fault> {
        let secret = match self.authorization {
            Some(_) => "the credentials in `secret`",
            None => "a request without credentials. Name a Secret with credentials in `secret`",
        };
        let (reason, message) = match status {
            200 => return Ok(()),
            300..=399 => (
                "git-redirect",
                "the Git server redirects to another address, and credentials are not sent there. Use the repository's new address"
                    .to_owned(),
            ),
            401 | 403 => ("git-denied", format!("the Git server refuses {secret} ({status})")),
            404 => (
                "repository-not-found",
                format!("the Git server knows no such repository, or hides it from {secret} (404)"),
            ),
            _ => ("git-unavailable", format!("the Git server answered {status}")),
        };
        Err(Fault::new(reason, message))
    }
}

fn client(login: &Login) -> Result<Client, Fault> {
    let invalid = |what: &str| Fault::new("invalid-credentials", what);
    let mut builder = Client::builder()
        .https_only(true)
        // Credentials go only to the address of the policy.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .timeout(TOTAL)
        // Some servers answer only to programs whose name starts like this.
        .user_agent("git/2.0 (eso-sync)")
        .http1_only();
    if let Some(pem) = &login.authorities {
        let certificates = Certificate::from_pem_bundle(pem.expose()).ok();
        let certificates = certificates.filter(|certificates| !certificates.is_empty());
        builder = builder.tls_certs_only(
            certificates
                .ok_or_else(|| invalid("`ca.crt` in the Secret contains no certificate"))?,
        );
    }
    if let Some(pem) = &login.certificate {
        builder = builder.identity(Identity::from_pem(pem.expose()).map_err(|_| {
            invalid("the client certificate in the Secret, or its key, is invalid")
        })?);
    }
    builder
        .build()
        .map_err(|_| Fault::new("git-unavailable", "cannot set up TLS"))
}

fn unanswered(error: &reqwest::Error) -> Fault {
    let what = if error.is_timeout() {
        "the Git server does not answer in time"
    } else if error.is_connect() {
        "cannot connect to the Git server: check the host, the network policies, and the certificate (`ca.crt` in the Secret)"
    } else {
        "the connection to the Git server failed"
    };
    Fault::new("git-unavailable", what)
}
