//! The addresses of queues. Pure.

use std::{fmt, str::FromStr};

use strum::IntoEnumIterator as _;

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
    AzureQueue {
        cloud: AzureCloud,
        account: String,
        name: String,
        /// The queue of the same account for messages that are not understood.
        poison: Option<String>,
    },
    PubSub {
        project: String,
        subscription: String,
    },
}

/// An Azure cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumIter)]
pub enum AzureCloud {
    Public,
    UsGovernment,
    China,
}

impl AzureCloud {
    /// The suffix of the hosts of its queues.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Public => ".queue.core.windows.net",
            Self::UsGovernment => ".queue.core.usgovcloudapi.net",
            Self::China => ".queue.core.chinacloudapi.cn",
        }
    }
}

/// The error for a text that is not the address of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("is not the URL of an SQS queue")]
    Sqs,
    #[error("is not the URL of an Azure Storage queue")]
    AzureQueue,
    /// A shared access signature is a secret, and the job has its own identity.
    #[error("has a query, as a URL with a SAS token: the job logs in with its own identity")]
    AzureSas,
    #[error("is not the name of another queue of the same storage account")]
    Poison,
    #[error("is not the name of a Pub/Sub subscription")]
    PubSub,
}

impl InvalidAddress {
    /// The form that is accepted.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Sqs => "write `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`",
            Self::AzureQueue | Self::AzureSas => {
                "write `https://ACCOUNT.queue.core.windows.net/QUEUE`"
            }
            Self::Poison => "write only the name, for example `eso-sync-prod-poison`",
            Self::PubSub => "write `projects/PROJECT/subscriptions/NAME`",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqs { url, .. } => f.write_str(url),
            Self::AzureQueue {
                cloud,
                account,
                name,
                poison: _,
            } => write!(f, "https://{account}{}/{name}", cloud.suffix()),
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
        if text.contains(".queue.core.") {
            return azure_queue(text);
        }
        sqs(text).ok_or(InvalidAddress::Sqs)
    }
}

impl Address {
    /// Adds the queue for messages that are not understood.
    pub fn with_poison(self, poison: &str) -> Result<Self, InvalidAddress> {
        match self {
            Self::AzureQueue {
                cloud,
                account,
                name,
                poison: _,
            } if is_azure_queue_name(poison) && poison != name => Ok(Self::AzureQueue {
                cloud,
                account,
                name,
                poison: Some(poison.to_owned()),
            }),
            Self::AzureQueue { .. } | Self::Sqs { .. } | Self::PubSub { .. } => {
                Err(InvalidAddress::Poison)
            }
        }
    }
}

/// True if a queue of Azure Storage can have this name.
pub fn is_azure_queue_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len())
        && name.bytes().all(is_good)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

fn azure_queue(url: &str) -> Result<Address, InvalidAddress> {
    if url.contains('?') {
        return Err(InvalidAddress::AzureSas);
    }
    let read = || {
        let (host, name) = url.strip_prefix("https://")?.split_once('/')?;
        let of = |cloud: AzureCloud| Some((cloud, host.strip_suffix(cloud.suffix())?));
        let (cloud, account) = AzureCloud::iter().find_map(of)?;
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = (3..=24).contains(&account.len())
            && account.bytes().all(is_good)
            && is_azure_queue_name(name);
        valid.then(|| Address::AzureQueue {
            cloud,
            account: account.to_owned(),
            name: name.to_owned(),
            poison: None,
        })
    };
    read().ok_or(InvalidAddress::AzureQueue)
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
            "https://shop.queue.core.windows.net/eso-sync-prod",
            "https://shop0.queue.core.usgovcloudapi.net/eso-sync-prod",
            "https://shop.queue.core.chinacloudapi.cn/eso-sync-prod",
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
            "",
        ] {
            assert_eq!(read(bad), Err(InvalidAddress::Sqs), "{bad}");
        }
        for bad in [
            "https://shop.queue.core.windows.net.evil.example/eso-sync",
            "https://evil.example/shop.queue.core.windows.net/eso-sync",
            "https://evil.example#.queue.core.windows.net/eso-sync",
            "https://user@shop.queue.core.windows.net/eso-sync",
            "https://shop.blob.queue.core.windows.net/eso-sync",
            "http://shop.queue.core.windows.net/eso-sync",
            "https://shop.queue.core.windows.net:8443/eso-sync",
            "https://Shop.queue.core.windows.net/eso-sync",
            "https://sh.queue.core.windows.net/eso-sync",
            "https://shop.queue.core.windows.net/eso-sync/messages",
            "https://shop.queue.core.windows.net/eso--sync",
            "https://shop.queue.core.windows.net/-eso-sync",
            "https://shop.queue.core.windows.net/Eso-sync",
            "https://shop.queue.core.windows.net/es",
            "https://shop.queue.core.windows.net/",
        ] {
            assert_eq!(read(bad), Err(InvalidAddress::AzureQueue), "{bad}");
        }
        let signed = "https://shop.queue.core.windows.net/eso-sync?sv=2026&sig=hunter2";
        let refused = read(signed).unwrap_err();
        assert_eq!(refused, InvalidAddress::AzureSas);
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
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
    #[test]
    fn poison_queue_is_another_one_of_the_same_account() {
        let queue: Address = "https://shop.queue.core.windows.net/eso-sync"
            .parse()
            .unwrap();
        let with = |name: &str| queue.clone().with_poison(name);
        assert!(with("eso-sync-poison").is_ok());
        for bad in ["eso-sync", "", "a/b", "https://x.example/abc", "abc?sig=x"] {
            assert_eq!(with(bad), Err(InvalidAddress::Poison), "{bad}");
        }
        let topic: Address = "projects/shop/subscriptions/abc".parse().unwrap();
        assert_eq!(topic.with_poison("abc"), Err(InvalidAddress::Poison));
    }
}
