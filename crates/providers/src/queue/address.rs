//! The addresses of queues. Pure.

use std::{fmt, str::FromStr};

/// Where a queue is. Can only be an address of the queue's own cloud.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Sqs {
        /// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`
        url: String,
        region: String,
        account: String,
        name: String,
    },
    PubSub {
        project: String,
        subscription: String,
    },
}

/// The error for a text that is not the address of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("is not the URL of an SQS queue")]
    Sqs,
    #[error("is not the name of a Pub/Sub subscription")]
    PubSub,
}

impl InvalidAddress {
    /// The form that is accepted.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Sqs => "write `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`",
            Self::PubSub => "write `projects/PROJECT/subscriptions/NAME`",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqs { url, .. } => f.write_str(url),
            Self::PubSub {
                project,
                subscription,
            } => write!(f, "projects/{project}/subscriptions/{subscription}"),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text.starts_with("projects/") {
            return pub_sub(text).ok_or(InvalidAddress::PubSub);
        }
        sqs(text).ok_or(InvalidAddress::Sqs)
    }
}

fn sqs(url: &str) -> Option<Address> {
    let rest = url.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/')?;
    let host = host.strip_prefix("sqs.")?;
    let region = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let (account, name) = path.split_once('/')?;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let bare = name.strip_suffix(".fifo").unwrap_or(name);
    let valid = is_label(region)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (1..=80).contains(&name.len())
        && !bare.is_empty()
        && bare.bytes().all(is_word);
    valid.then(|| Address::Sqs {
        url: url.to_owned(),
        region: region.to_owned(),
        account: account.to_owned(),
        name: name.to_owned(),
    })
}

fn pub_sub(text: &str) -> Option<Address> {
    let mut parts = text.split('/');
    let ("projects", project, "subscriptions", name, None) = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next(),
    ) else {
        return None;
    };
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte);
    let project_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
    let valid = (1..=100).contains(&project.len())
        && project.bytes().all(project_byte)
        && project.starts_with(|first: char| first.is_ascii_alphanumeric())
        && (3..=255).contains(&name.len())
        && name.bytes().all(is_word)
        && name.starts_with(|first: char| first.is_ascii_alphabetic());
    valid.then(|| Address::PubSub {
        project: project.to_owned(),
        subscription: name.to_owned(),
    })
}

/// True if the text can be one label of a host name and nothing else.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=50).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_names_only_the_clouds_own_hosts() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        for good in [
            "https://sqs.eu-west-1.amazonaws.com/123456789012/eso-sync-prod",
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/events.fifo",
            "projects/shop/subscriptions/eso-sync-prod",
            "projects/example.com:shop/subscriptions/eso-sync",
        ] {
            assert_eq!(read(good), Ok(good.to_owned()));
        }
        for bad in [
            "https://sqs.eu-west-1.amazonaws.com.evil.example/123456789012/q",
            "https://evil.example/sqs.eu-west-1.amazonaws.com/123456789012/q",
            "https://user@sqs.eu-west-1.amazonaws.com/123456789012/q",
            "https://sqs.evil.example#.amazonaws.com/123456789012/q",
            "http://sqs.eu-west-1.amazonaws.com/123456789012/q",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/q?sig=x",
            "https://sqs.eu-west-1.amazonaws.com/12/q",
            "https://acct.queue.core.windows.net/q?sig=hunter2",
            "",
        ] {
            assert_eq!(read(bad), Err(InvalidAddress::Sqs), "{bad}");
        }
        for bad in [
            "projects/shop/subscriptions/ab",
            "projects/shop/subscriptions/a/../b",
            "projects/../subscriptions/abc",
            "projects/shop/topics/abc",
            "projects/shop/subscriptions/abc:pull",
        ] {
            assert_eq!(read(bad), Err(InvalidAddress::PubSub), "{bad}");
        }
    }
}
