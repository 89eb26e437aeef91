//! Requests to key services, which need no SDK: one JSON document is sent, and one field of the answer is needed.

use std::{collections::BTreeMap, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secret::Value;
use zeroize::Zeroizing;

use crate::{Unread, unread};

/// The largest answer. What is decrypted is a key.
const MAX_ANSWER: usize = 64 << 10;

/// The time limit for one answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Sends JSON to a service, and returns a field of its answer.
pub(crate) async fn post(
    http: reqwest::Client,
    request: http::Request<Vec<u8>>,
    field: &str,
) -> Result<Zeroizing<String>, Unread> {
    let request = reqwest::Request::try_from(request)
        .map_err(|_| Unread::secret(unread::UNSUPPORTED, "the key cannot be part of a request"))?;
    let sent = http.execute(request).await;
    let mut answer = sent.map_err(|error| Unread::no_answer(&error))?;
    let status = answer.status().as_u16();
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|error| Unread::no_answer(&error))?
    {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(invalid_answer());
        }
        body.extend_from_slice(&chunk);
    }
    check(status, &body)?;
    let mut fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&body).map_err(|_| invalid_answer())?;
    match fields.remove(field) {
        Some(serde_json::Value::String(text)) => Ok(Zeroizing::new(text)),
        _ => Err(invalid_answer()),
    }
}

/// Fails with the reason if the status is not that of an answer.
fn check(status: u16, body: &[u8]) -> Result<(), Unread> {
    let (reason, detail) = match status {
        200 => return Ok(()),
        401 | 403 => (
            unread::DENIED,
            "the key service refuses the job's identity: it needs the right to decrypt with this key",
        ),
        400 if is_denied(body) => (
            unread::DENIED,
            "the key service refuses the job's identity: it needs the right to decrypt with this key",
        ),
        400 | 404 => (
            unread::UNREADABLE,
            "the key service cannot decrypt this: the key or its version may be gone or disabled, or the file was changed",
        ),
        429 => (unread::THROTTLED, "the key service is throttling"),
        _ => (
            unread::UNAVAILABLE,
            "the key service answered with an error",
        ),
    };
    Err(Unread::secret(reason, format!("{detail} ({status})")))
}

/// True for an error of AWS, which has the status 400.
fn is_denied(body: &[u8]) -> bool {
    let part = b"AccessDenied";
    body.windows(part.len()).any(|found| found == part)
}

/// The client for [`post`]. It follows no redirects, because the credentials would be sent with them.
pub(crate) fn http() -> Result<reqwest::Client, Unread> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER)
        .http1_only()
        .build()
        .map_err(|_| Unread::store(unread::UNAVAILABLE, "cannot set up TLS"))
}

pub(crate) fn invalid_answer() -> Unread {
    Unread::secret(unread::UNREADABLE, "the key service's answer is invalid")
}

/// Decodes base64, of which some services use the alphabet for URLs.
pub(crate) fn decoded(text: &str) -> Result<Value, Unread> {
    let decoded = STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')));
    decoded.map(Value::new).map_err(|_| invalid_answer())
}
