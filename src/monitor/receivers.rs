//! The receivers of messages, with their addresses.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use futures::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value as Json;
use sha2::Sha256;

use super::{
    http::{Request, tell},
    post,
};
use crate::{
    notify::{Message, Payload},
    pattern::Wildcard,
    policy::notify::{self, Notify, NotifyOn, Slack, TextFrom, Webhook},
};

/// The path of the Alertmanager's API.
const ALERTS: [&str; 3] = ["api", "v2", "alerts"];

/// The header with the signature of a webhook.
const SIGNATURE: HeaderName = HeaderName::from_static("x-eso-sync-signature");

/// The receivers of a policy, as far as their addresses could be read.
#[derive(Clone, Default)]
pub struct Receivers {
    on: Vec<NotifyOn>,
    all: Vec<Receiver>,
}

#[derive(Clone)]
struct Receiver {
    /// For warnings: `notify.to[0]`.
    place: String,
    url: Url,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Slack,
    Alertmanager {
        lasts: Duration,
    },
    Webhook {
        key: Option<SecretString>,
        template: Option<Json>,
    },
}

impl Receivers {
    /// Reads the addresses. Without a list of permitted globs, all are permitted. Returns also why a receiver gets nothing, which
    /// must not stop a run.
    pub fn of(
        notify: &Notify,
        environment: &BTreeMap<String, String>,
        permitted: Option<&[Wildcard]>,
        has_history: bool,
    ) -> (Self, Vec<String>) {
        let (mut all, mut warnings) = (Vec::new(), Vec::new());
        for (index, one) in notify.to.iter().enumerate() {
            let place = format!("notify.to[{index}]");
            match Receiver::of(place.clone(), one, environment, permitted) {
                Ok(receiver) => all.extend(receiver),
                Err(why) => warnings.push(format!("{place} gets no message: {why}")),
            }
        }
        let on = notify.occasions(has_history);
        (Self { on, all }, warnings)
    }

    /// True if nobody is told.
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// True if somebody is told only about changes.
    pub(super) fn compares(&self) -> bool {
        self.on.contains(&NotifyOn::Change)
    }

    /// Sends the message to each receiver that must get it.
    pub(super) async fn tell(&self, message: &Message, labels: &BTreeMap<String, String>) {
        join_all(self.all.iter().map(async |receiver| {
            let Some(request) = receiver.request(message, &self.on, labels) else {
                return;
            };
            if let Err(why) = tell(request).await {
                tracing::warn!("{} was not told: {why}", receiver.place);
            }
        }))
        .await;
    }
}

impl Receiver {
    fn of(
        place: String,
        from: &notify::Receiver,
        environment: &BTreeMap<String, String>,
        permitted: Option<&[Wildcard]>,
    ) -> Result<Option<Self>, String> {
        let notify::Receiver {
            slack,
            alertmanager,
            webhook,
        } = from;
        let url = |from: &TextFrom| address(from, environment, permitted);
        let (url, kind) = if let Some(Slack { url_from }) = slack {
            (url(url_from)?, Kind::Slack)
        } else if let Some(notify::Alertmanager { url_from, lasts }) = alertmanager {
            let mut url = url(url_from)?;
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().extend(ALERTS);
            }
            (url, Kind::Alertmanager { lasts: *lasts })
        } else if let Some(Webhook {
            url_from,
            sign_with,
            body,
        }) = webhook
        {
            let key = sign_with.as_ref();
            let kind = Kind::Webhook {
                key: key.map(|from| from.read(environment)).transpose()?,
                template: body.as_deref().and_then(notify::template),
            };
            (url(url_from)?, kind)
        } else {
            return Ok(None);
        };
        Ok(Some(Self { place, url, kind }))
    }

    /// The request, if the receiver must get one.
    fn request(
        &self,
        message: &Message,
        on: &[NotifyOn],
        labels: &BTreeMap<String, String>,
    ) -> Option<Request> {
        let (payload, key) = match &self.kind {
            // A good run resolves the alert of an earlier one.
            Kind::Alertmanager { lasts } => {
                let is_firing = message.is_firing(on);
                if !is_firing && !message.is_about_work() {
                    return None;
                }
                let payload = Payload::alertmanager(message, is_firing, *lasts, labels);
                (payload, None)
            }
            _ if !message.is_due(on) => return None,
            Kind::Slack => (Payload::slack(message), None),
            Kind::Webhook { key, template } => {
                let payload = match template {
                    Some(template) => Payload::templated(message, template),
                    None => Payload::event(message),
                };
                (payload, key.as_ref())
            }
        };
        let mut request = post(self.url.clone(), payload.content_type, payload.body);
        if let Some(signature) = key.and_then(|key| signature(key, &request.body)) {
            request.headers.insert(SIGNATURE, signature);
        }
        Some(request)
    }
}

/// The address. The error does not quote it.
fn address(
    from: &TextFrom,
    environment: &BTreeMap<String, String>,
    permitted: Option<&[Wildcard]>,
) -> Result<Url, String> {
    let text = from.read(environment)?;
    let url = super::http_address(text.expose_secret()).ok_or_else(|| {
        format!("{from} is not an address of HTTP. It is not shown, because it may be secret")
    })?;
    let origin = url.origin().ascii_serialization();
    let is_permitted = permitted.is_none_or(|globs| globs.iter().any(|glob| glob.matches(&origin)));
    if is_permitted {
        Ok(url)
    } else {
        Err(format!(
            "--allow-notify does not permit the address of {from}"
        ))
    }
}

/// `sha256=` and the HMAC-SHA-256 in hexadecimal.
fn signature(key: &SecretString, body: &[u8]) -> Option<HeaderValue> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()).ok()?;
    mac.update(body);
    let mut signature = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        // Writing to a String cannot fail.
        let _ = write!(signature, "{byte:02x}");
    }
    HeaderValue::try_from(signature).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 4231, section 4.3.
    #[test]
    fn signature_is_the_hmac_of_the_body() {
        let signature = signature(&"Jefe".to_owned().into(), b"what do ya want for nothing?");
        assert_eq!(
            signature.unwrap(),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
