//! The body of a message → notices.
//!
//! | source | bodies |
//! |---|---|
//! | AWS Secrets Manager | its own event, API calls and service events through `CloudTrail` |
//! | AWS Parameter Store | its own event, API calls through `CloudTrail` |
//! | Azure Key Vault | Event Grid, in its own schema and as `CloudEvents` |
//! | Google Secret Manager | notifications, and entries of the audit log |
//! | any | a JSON pointer of the policy that finds the key |
//!
//! Around them: arrays, base64, SNS, the output of `aws sqs receive-message` and of a Pub/Sub pull.

mod aws;
mod azure;
mod gcp;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eso_model::{ProviderKind, remote::RemoteKey};
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::{
    json::parse,
    notice::{Notice, Says, Unreadable},
};

/// The largest body, in bytes: that of the largest message of any queue, 1 MiB, in base64.
pub const MAX_BODY: usize = (1 << 20) / 3 * 4 + 4;

/// The most events of one message.
const MOST: usize = 100;

/// The most envelopes around an event, each of which holds the next one as text.
const ENVELOPES: usize = 4;

/// The longest version that is kept, in bytes.
const LONGEST_VERSION: usize = 128;

/// What the policy says about bodies.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// The JSON pointer to the key, tried on bodies from no known source.
    pub key: Option<String>,
}

impl Decoder {
    /// Returns what the body says: at least one notice.
    pub fn decode(&self, body: &str) -> Vec<Notice> {
        let notices = self.text(body, ENVELOPES);
        let notices = notices.unwrap_or_else(|why| vec![Notice::unreadable(why)]);
        if notices.is_empty() {
            return vec![Notice::unreadable(Unreadable::UnknownShape)];
        }
        notices
    }

    fn text(&self, body: &str, envelopes: usize) -> Result<Vec<Notice>, Unreadable> {
        if body.len() > MAX_BODY {
            return Err(Unreadable::TooLarge);
        }
        let body = body.trim();
        if body.is_empty() {
            return Err(Unreadable::NotJson);
        }
        if !body.starts_with(['{', '[']) {
            let plain = STANDARD.decode(body).ok();
            let plain = plain.and_then(|bytes| String::from_utf8(bytes).ok());
            return self.within(&plain.ok_or(Unreadable::NotJson)?, envelopes);
        }
        let parsed = parse(body)?;
        let Some(all) = parsed.as_array() else {
            return self.event(&parsed, envelopes);
        };
        if all.len() > MOST {
            return Err(Unreadable::TooManyEvents);
        }
        let each = all.iter().map(|event| self.event(event, envelopes));
        let each = each.map(|read| read.unwrap_or_else(|why| vec![Notice::unreadable(why)]));
        Ok(each.flatten().collect())
    }

    /// Decodes the text inside an envelope.
    fn within(&self, text: &str, envelopes: usize) -> Result<Vec<Notice>, Unreadable> {
        let left = envelopes.checked_sub(1).ok_or(Unreadable::TooDeep)?;
        self.text(text, left)
    }

    fn event(&self, event: &Json, envelopes: usize) -> Result<Vec<Notice>, Unreadable> {
        if let Some(inner) = sns(event).or_else(|| received(event)) {
            return self.within(inner, envelopes);
        }
        let notice = aws::decode(event)
            .or_else(|| azure::decode(event))
            .or_else(|| gcp::decode(event));
        if let Some(notice) = notice {
            return Ok(vec![notice]);
        }
        let named = self
            .key
            .as_ref()
            .and_then(|key| event.pointer(key)?.as_str());
        if let Some(named) = named {
            let keys = RemoteKey::read(named).unwrap_or_default();
            return Ok(vec![Notice::about(Says::Changed, keys)]);
        }
        match gcp::data(event) {
            Some(inner) => self.within(inner, envelopes),
            None => Err(Unreadable::UnknownShape),
        }
    }
}

/// The message in a notification of SNS.
fn sns(event: &Json) -> Option<&str> {
    let is_notification = text(event, "/Type") == Some("Notification");
    let inner = text(event, "/Message")?;
    (is_notification && event.get("TopicArn").is_some()).then_some(inner)
}

/// The body in a message as `aws sqs receive-message` prints it.
fn received(event: &Json) -> Option<&str> {
    event.get("ReceiptHandle")?;
    text(event, "/Body")
}

/// The text at a JSON pointer, unless it is empty.
fn text<'a>(event: &'a Json, pointer: &str) -> Option<&'a str> {
    let text = event.pointer(pointer)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

/// The time at a JSON pointer.
fn time(event: &Json, pointer: &str) -> Option<Timestamp> {
    text(event, pointer)?.parse().ok()
}

/// The version, if it can be one.
fn version(text: Option<&str>) -> Option<String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.filter(|text| text.len() <= LONGEST_VERSION && text.bytes().all(is_word))
        .map(str::to_owned)
}

/// The keys of this provider that a text names.
fn keys_of(provider: &ProviderKind, named: &str) -> Vec<RemoteKey> {
    let mut keys = RemoteKey::read(named).unwrap_or_default();
    keys.retain(|key| key.provider.as_ref() == Some(provider));
    keys
}

#[cfg(test)]
mod tests;
