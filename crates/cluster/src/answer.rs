//! Reads answers of the API server into memory that is wiped, because they may contain Secrets.

use std::time::Duration;

use http::{
    Request,
    header::{CONTENT_LENGTH, RETRY_AFTER},
};
use http_body_util::BodyExt as _;
use kube::{client::Body as RequestBody, core::Status};
use pace::bytes::{Held, Share};
use secret::Buffer;

/// A request without a usable answer.
pub(super) enum Refusal {
    /// The connection failed, or the server returned an error.
    Failed {
        error: kube::Error,
        /// The `Retry-After` of the answer.
        retry_after: Option<Duration>,
    },
    /// The answer is longer than allowed.
    TooLarge,
    /// The share has no room for the answer now.
    Over,
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        Self::Failed {
            error,
            retry_after: None,
        }
    }
}

/// The body of an answer, and the bytes that it holds.
pub(super) struct Body {
    bytes: Buffer,
    _held: Option<Held>,
}

impl Body {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.as_bytes()
    }
}

/// Sends a request and returns the body of the answer. Reads at most `max_bytes`, and no more than the share has room for.
pub(super) async fn body(
    client: &kube::Client,
    request: Request<Vec<u8>>,
    max_bytes: usize,
    share: Option<&Share>,
) -> Result<Body, Refusal> {
    let response = client.send(request.map(RequestBody::from)).await?;
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|after| after.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let announced = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or_default();
    let mut body = response.into_body();
    if announced > max_bytes {
        return Err(Refusal::TooLarge);
    }
    let mut held = share.map(Share::nothing);
    let mut bytes = Buffer::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if data.len() > max_bytes.saturating_sub(bytes.as_bytes().len()) {
                return Err(Refusal::TooLarge);
            }
            if let Some(held) = &mut held {
                held.grow(data.len()).map_err(|_| Refusal::Over)?;
            }
            bytes.push(&data);
        }
    }
    if status.is_client_error() || status.is_server_error() {
        let error_status = error_status(bytes.as_bytes(), status.as_u16());
        return Err(Refusal::Failed {
            error: kube::Error::Api(error_status.boxed()),
            retry_after,
        });
    }
    Ok(Body { bytes, _held: held })
}

/// The error status. A proxy in front of the API server may answer with plain text.
fn error_status(body: &[u8], code: u16) -> Status {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        Status::failure(text.trim(), "Unknown").with_code(code)
    })
}
