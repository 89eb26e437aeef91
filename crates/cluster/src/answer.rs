//! Reads answers of the API server into memory that is wiped, because they may contain Secrets.

use std::time::Duration;

use http::{Request, header::RETRY_AFTER};
use http_body_util::BodyExt as _;
use kube::{client::Body, core::Status};
use secret::Buffer;
use serde::de::DeserializeOwned;

/// A failed call: the connection failed, the server returned an error, or the answer could not be parsed.
pub(super) struct Refused {
    pub(super) error: kube::Error,
    /// The `Retry-After` of the answer.
    pub(super) retry_after: Option<Duration>,
}

impl From<kube::Error> for Refused {
    fn from(error: kube::Error) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

/// Sends a request and parses the answer. (kube's own method keeps the text in plain memory and logs what it cannot parse.) Fails
/// if the answer is longer than `max_bytes`.
pub(super) async fn to<T: DeserializeOwned>(
    client: &kube::Client,
    request: Request<Vec<u8>>,
    max_bytes: usize,
) -> Result<T, Refused> {
    let response = client.send(request.map(Body::from)).await?;
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|after| after.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let mut body = response.into_body();
    let mut bytes = Buffer::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if data.len() > max_bytes.saturating_sub(bytes.as_bytes().len()) {
                let error = serde::de::Error::custom("too long");
                return Err(kube::Error::SerdeError(error).into());
            }
            bytes.push(&data);
        }
    }
    if status.is_client_error() || status.is_server_error() {
        let error_status = error_status(bytes.as_bytes(), status.as_u16());
        return Err(Refused {
            error: kube::Error::Api(error_status.boxed()),
            retry_after,
        });
    }
    serde_json::from_slice(bytes.as_bytes()).map_err(|error| kube::Error::SerdeError(error).into())
}

/// The error status. A proxy in front of the API server may answer with plain text.
fn error_status(body: &[u8], code: u16) -> Status {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        Status::failure(text.trim(), "Unknown").with_code(code)
    })
}
