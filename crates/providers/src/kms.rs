//! Key services: they decrypt what was encrypted with one of their keys. They are called with the job's own credentials, which go
//! only to the clouds' own hosts, and to endpoints that the policy names.

use std::{collections::BTreeMap, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use pace::Clock;
use secret::Value;
use zeroize::Zeroizing;

use crate::{Ambient, Unread, unread};

/// A key of a service.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// AWS KMS.
    Aws {
        arn: &'a str,
        /// The encryption context.
        context: &'a BTreeMap<String, String>,
    },
    /// GCP KMS: `projects/…/locations/…/keyRings/…/cryptoKeys/…`
    Gcp { resource: &'a str },
    /// An RSA key of Azure Key Vault.
    Azure {
        vault: &'a str,
        name: &'a str,
        version: &'a str,
    },
    /// The transit engine of Vault or OpenBao.
    Vault {
        server: &'a str,
        mount: &'a str,
        name: &'a str,
    },
}

/// Decrypts with a key.
pub async fn decrypt(
    key: Key<'_>,
    encrypted: &[u8],
    ambient: &Ambient,
    clock: Clock,
) -> Result<Value, Unread> {
    // Each service is a feature, and only AWS signs with the time.
    let _ = (encrypted, ambient, clock);
    match key {
        #[cfg(feature = "aws")]
        Key::Aws { arn, context } => {
            crate::aws::kms::decrypt(arn, context, encrypted, ambient, clock).await
        }
        #[cfg(feature = "gcp")]
        Key::Gcp { resource } => crate::gcp::kms::decrypt(resource, encrypted, ambient).await,
        #[cfg(feature = "azure")]
        Key::Azure {
            vault,
            name,
            version,
        } => crate::azure::keys::decrypt([vault, name, version], encrypted, ambient).await,
        #[cfg(feature = "vault")]
        Key::Vault {
            server,
            mount,
            name,
        } => crate::vault::transit::decrypt([server, mount, name], encrypted, ambient).await,
        #[cfg(not(all(feature = "aws", feature = "gcp", feature = "azure", feature = "vault")))]
        _ => Err(Unread::store(
            unread::UNSUPPORTED,
            "this build has no client for this key service",
        )),
    }
}

/// The largest answer. What is decrypted is a key.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
const MAX_ANSWER: usize = 64 << 10;

/// The time limit for one answer.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
const ANSWER: Duration = Duration::from_secs(20);

/// Sends JSON to a service, and returns a field of its answer.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
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
    match status {
        200 => {}
        401 | 403 => {
            return Err(Unread::secret(
                unread::DENIED,
                format!(
                    "the key service refuses the job's identity ({status}): it needs the right to decrypt with this key"
                ),
            ));
        }
        400 if is_denied(&body) => {
            return Err(Unread::secret(
                unread::DENIED,
                "the job's identity has no right to decrypt with this key",
            ));
        }
        400 | 404 => {
            return Err(Unread::secret(
                unread::UNREADABLE,
                format!(
                    "the key service cannot decrypt this: the key or its version may be gone or disabled, or the file was changed ({status})"
                ),
            ));
        }
        429 => {
            return Err(Unread::secret(
                unread::THROTTLED,
                "the key service is throttling",
            ));
        }
        _ => {
            return Err(Unread::secret(
                unread::UNAVAILABLE,
                format!("the key service answered {status}"),
            ));
        }
    }
    let mut fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&body).map_err(|_| invalid_answer())?;
    match fields.remove(field) {
        Some(serde_json::Value::String(text)) => Ok(Zeroizing::new(text)),
        _ => Err(invalid_answer()),
    }
}

/// True for an error of AWS, which has the status 400.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn is_denied(body: &[u8]) -> bool {
    let part = b"AccessDenied";
    body.windows(part.len()).any(|found| found == part)
}

/// The client for [`post`]. It follows no redirects, because the credentials would be sent with them.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
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
