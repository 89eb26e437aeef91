//! Reads answers of the API server into memory that is wiped, because they may contain Secrets. Recognises what is not an API
//! server: a proxy, a login page or a load balancer.

use std::{fmt, time::Duration};

use futures::{Stream, stream};
use http::{
    HeaderMap, Request, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use http_body_util::BodyExt as _;
use kube::{
    client::Body as RawBody,
    core::{Status, WatchEvent},
};
use pace::bytes::{Held, Share};
use secret::Buffer;
use serde::de::DeserializeOwned;

use super::{Address, WATCH_SECONDS};

/// The longest error message that is read.
const MAX_ERROR: usize = 1 << 20;

/// A watch that is silent for longer than this has lost its connection: the API server ends it earlier.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// A failed call.
pub(super) enum Refused {
    /// The API server returned an error.
    Status {
        status: Box<Status>,
        retry_after: Option<Duration>,
    },
    /// Something other than an API server answered.
    Stranger {
        code: u16,
        sent: Sent,
        retry_after: Option<Duration>,
    },
    /// The answer is invalid.
    Unreadable(&'static str),
    /// The answer is longer than allowed.
    TooLarge,
    /// The share has no room for the answer now.
    Over,
    /// There is no answer.
    NoAnswer(kube::Error),
}

/// What something other than an API server sent.
pub(super) enum Sent {
    /// A redirect to this address.
    Redirect(Address),
    Html,
    Other,
}

impl From<kube::Error> for Refused {
    fn from(error: kube::Error) -> Self {
        Self::NoAnswer(error)
    }
}

impl fmt::Display for Refused {
    /// What something other than the API server sent is not quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, .. } => f.write_str(&status.message),
            Self::NoAnswer(error) => f.write_str(&super::cause::of(error)),
            Self::Unreadable(why) => f.write_str(why),
            Self::TooLarge | Self::Over => f.write_str("the answer is too large"),
            Self::Stranger { code, sent, .. } => {
                f.write_str("what answered is not a Kubernetes API server: it sent ")?;
                match sent {
                    Sent::Redirect(to) if to.is_empty() => write!(f, "a redirect ({code})")?,
                    Sent::Redirect(to) => write!(f, "a redirect ({code}) to {to}")?,
                    Sent::Html => write!(f, "an HTML page ({code})")?,
                    Sent::Other => write!(f, "code {code} without a Kubernetes status")?,
                }
                f.write_str(
                    ". It may be a proxy, a login page or a load balancer. Check the server's address, the proxy settings and your login",
                )
            }
        }
    }
}

/// The body of an answer, and the bytes that it holds.
pub(super) struct Body {
    bytes: Buffer,
    _held: Option<Held>,
    code: u16,
    is_html: bool,
}

impl Body {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.as_bytes()
    }

    /// The error for a body that cannot be parsed.
    pub(super) const fn unparsable(&self) -> Refused {
        if self.is_html {
            Refused::Stranger {
                code: self.code,
                sent: Sent::Html,
                retry_after: None,
            }
        } else {
            Refused::Unreadable("the answer does not have the form of the API")
        }
    }
}

/// Sends a request and returns the body of the answer. Reads at most `max_bytes`, and no more than the share has room for.
pub(super) async fn body(
    client: &kube::Client,
    request: Request<Vec<u8>>,
    max_bytes: usize,
    share: Option<&Share>,
) -> Result<Body, Refused> {
    let response = checked(client, request).await?;
    let is_html = is_html(response.headers());
    let code = response.status().as_u16();
    let mut held = share.map(Share::nothing);
    let bytes = read(response, max_bytes, held.as_mut()).await?;
    Ok(Body {
        bytes,
        _held: held,
        code,
        is_html,
    })
}

/// Sends the request of a watch and returns its events.
pub(super) async fn events<T: DeserializeOwned + Clone>(
    client: &kube::Client,
    request: Request<Vec<u8>>,
) -> Result<impl Stream<Item = Result<WatchEvent<T>, Refused>> + use<T>, Refused> {
    let response = checked(client, request).await?;
    let lines = Lines {
        body: response.into_body(),
        read: Buffer::default(),
        ended: false,
    };
    Ok(stream::unfold(lines, async |mut lines| {
        let event = lines.event().await?;
        Some((event, lines))
    }))
}

/// Sends a request. Fails if the answer is an error, a redirect or a web page.
async fn checked(
    client: &kube::Client,
    request: Request<Vec<u8>>,
) -> Result<Response<RawBody>, Refused> {
    let response = client.send(request.map(RawBody::from)).await?;
    let (status, headers) = (response.status(), response.headers());
    let code = status.as_u16();
    let retry_after = headers
        .get(RETRY_AFTER)
        .and_then(|after| after.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let stranger = |sent| Refused::Stranger {
        code,
        sent,
        retry_after,
    };
    if status.is_redirection() {
        let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
        return Err(stranger(Sent::Redirect(Address::new(
            to.unwrap_or_default(),
        ))));
    }
    if !(status.is_client_error() || status.is_server_error()) {
        return Ok(response);
    }
    let is_html = is_html(headers);
    let bytes = read(response, MAX_ERROR, None).await?;
    match error_status(bytes.as_bytes(), code) {
        Some(status) if !is_html => Err(Refused::Status {
            status,
            retry_after,
        }),
        _ if is_html => Err(stranger(Sent::Html)),
        _ => Err(stranger(Sent::Other)),
    }
}

fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(b"text/html"))
}

async fn read(
    response: Response<RawBody>,
    max_bytes: usize,
    mut held: Option<&mut Held>,
) -> Result<Buffer, Refused> {
    let announced = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or_default();
    if announced > max_bytes {
        return Err(Refused::TooLarge);
    }
    let mut body = response.into_body();
    let mut bytes = Buffer::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if data.len() > max_bytes.saturating_sub(bytes.as_bytes().len()) {
                return Err(Refused::TooLarge);
            }
            if let Some(held) = &mut held {
                held.grow(data.len()).map_err(|_| Refused::Over)?;
            }
            bytes.push(&data);
        }
    }
    Ok(bytes)
}

/// The error status that an API server sends. For an unknown path and for too many requests, it sends one of these texts instead.
fn error_status(body: &[u8], code: u16) -> Option<Box<Status>> {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: String,
    }
    let is_status = serde_json::from_slice(body).is_ok_and(|it: Kind| it.kind == "Status");
    if is_status {
        let mut status: Status = serde_json::from_slice(body).ok()?;
        status.code = code;
        return Some(status.boxed());
    }
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    let known = [
        (404, "404 page not found"),
        (429, "Too many requests, please try again later."),
    ];
    known
        .contains(&(code, text))
        .then(|| Status::failure(text, "Unknown").with_code(code).boxed())
}

/// The lines of a watch, each of which is an event.
struct Lines {
    body: RawBody,
    /// What was read and is not yet parsed.
    read: Buffer,
    ended: bool,
}

impl Lines {
    /// The next event. None at the end of the watch.
    async fn event<T: DeserializeOwned>(&mut self) -> Option<Result<WatchEvent<T>, Refused>> {
        while !self.ended {
            if let Some(line) = self.line() {
                if line.as_bytes().trim_ascii().is_empty() {
                    continue;
                }
                let event = serde_json::from_slice(line.as_bytes());
                return Some(event.map_err(|_| {
                    Refused::Unreadable("the event does not have the form of the API")
                }));
            }
            match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.push(&data);
                    }
                }
                Ok(Some(Err(error))) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
                // The end, or a lost connection. What was read last is not a whole event.
                Ok(None) | Err(_) => self.ended = true,
            }
        }
        None
    }

    /// Takes one line from what was read.
    fn line(&mut self) -> Option<Buffer> {
        let bytes = self.read.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = bytes.split_at_checked(end + 1)?;
        let (mut taken, mut left) = (Buffer::default(), Buffer::default());
        taken.push(line);
        left.push(rest);
        self.read = left;
        Some(taken)
    }
}
