//! Where credentials may go.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::answer::{Unread, unread};

/// Scheme, host and port: `https://vault.corp:8200`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOrigin(&'static str);

impl InvalidOrigin {
    /// What would be right.
    pub const HINT: &str = "write it like `https://vault.corp:8200`";
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Reads `https://vault.corp:8200`; the port of the scheme may be left out.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let url = plain(text).ok_or(InvalidOrigin("is no plain address of http or https"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidOrigin("has more than scheme, host and port"));
        }
        Ok(Self::of(&url))
    }
}

impl Origin {
    /// Of an address that [`plain`] takes: without the port where it is the scheme's.
    fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Origin {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, InvalidOrigin> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

/// Whether the job's own credentials may be sent to this address: to the provider's own hosts, `cloud` being their suffixes
/// (`.vault.azure.net`), over HTTPS and on its port; or to one of these endpoints.
pub fn may_go_to(
    address: &str,
    cloud: &[&str],
    endpoints: impl IntoIterator<Item = Origin>,
) -> Result<(), Unread> {
    let Some(url) = plain(address) else {
        return Err(Unread::store(
            unread::NOT_TRUSTED,
            "the store's address is not a plain one of http or https",
        ));
    };
    let origin = Origin::of(&url);
    if is_cloud(&url, cloud) || endpoints.into_iter().any(|endpoint| endpoint == origin) {
        return Ok(());
    }
    Err(Unread::store(
        unread::NOT_TRUSTED,
        format!(
            "the job's own credentials do not go to {origin}: `drift.endpoints` of the policy does not name it"
        ),
    ))
}

fn is_cloud(url: &Url, suffixes: &[&str]) -> bool {
    let Some(Host::Domain(host)) = url.host() else {
        return false;
    };
    // The URL's own port is none where it is the scheme's.
    url.scheme() == "https"
        && url.port().is_none()
        && suffixes.iter().any(|suffix| {
            let domain = suffix.trim_start_matches('.');
            host == domain
                || host
                    .strip_suffix(domain)
                    .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
        })
}

/// The address, if there is only one way to read it.
///
/// Who checks an address and who connects to it parse it with different code. So one with user information, with characters
/// that are decoded, mapped or left out, or with a host in another form than the usual, is none.
fn plain(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let written = rest.get(..end)?;
    let host = url.host_str()?;
    let as_read = match url.port_or_known_default()? {
        port if written.len() > host.len() => format!("{host}:{port}"),
        _ => host.to_owned(),
    };
    let same = scheme.eq_ignore_ascii_case(url.scheme()) && written.eq_ignore_ascii_case(&as_read);
    same.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AZURE: &[&str] = &[".vault.azure.net", ".vault.azure.cn"];

    fn goes(address: &str, endpoints: &[&str]) -> bool {
        let endpoints: Vec<Origin> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
        may_go_to(address, AZURE, endpoints).is_ok()
    }

    #[test]
    fn credentials_go_to_the_clouds_own_hosts() {
        for address in [
            "https://corp.vault.azure.net",
            "https://corp.vault.azure.net/",
            "https://corp.vault.azure.net:443/secrets?x=y",
            "HTTPS://Corp.Vault.Azure.NET",
            "https://a.b.vault.azure.cn",
            "https://vault.azure.net",
        ] {
            assert!(goes(address, &[]), "{address}");
        }
    }

    #[test]
    fn a_tenant_gets_them_nowhere_else() {
        for address in [
            "https://evil.example",
            "https://vault.azure.net.evil.example",
            "https://evilvault.azure.net",
            "https://evil-vault.azure.net",
            "https://corp.vault.azure.net@evil.example",
            "https://x@evil.example",
            "https://x@corp.vault.azure.net",
            "https://user:password@corp.vault.azure.net",
            "https://evil.example/corp.vault.azure.net",
            "https://evil.example#.vault.azure.net",
            "https://evil.example?.vault.azure.net",
            r"https://evil.example\.vault.azure.net",
            r"https://evil.example\@corp.vault.azure.net",
            "https:evil.example",
            r"https:\\evil.example",
            "https:///corp.vault.azure.net",
            "//corp.vault.azure.net",
            "corp.vault.azure.net",
            "http://corp.vault.azure.net",
            "ftp://corp.vault.azure.net",
            "https://corp.vault.azure.net:8443",
            "https://corp.vault.azure.net:80",
            "https://corp.vault.azure.net.",
            "https://corp.vault.azure.net:",
            "https://corp.vault.azure.net:0443",
            "https://.vault.azure.net",
            // A Cyrillic letter, a full-width one, a full stop of another script, and what parsers leave out or decode.
            "https://corp.v\u{430}ult.azure.net",
            "https://corp.\u{ff56}ault.azure.net",
            "https://corp.vault.azure\u{3002}net",
            "https://corp.vault.az\u{ad}ure.net",
            "https://corp.vault.az\nure.net",
            "https://corp.vault.azure.net\t",
            " https://corp.vault.azure.net",
            "https://corp.vault%2Eazure.net",
            "https://10.0.0.1",
            "https://[::1]",
            "https://",
            "",
        ] {
            assert!(!goes(address, &[]), "{address:?}");
        }
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        let endpoints = [
            "https://vault.corp:8200",
            "http://10.0.0.1:8200",
            "https://[fd00::1]",
        ];
        for address in [
            "https://vault.corp:8200/v1/kv",
            "https://VAULT.corp:8200",
            "http://10.0.0.1:8200/",
            "https://[fd00::1]:443/x",
        ] {
            assert!(goes(address, &endpoints), "{address}");
        }
        for address in [
            "http://vault.corp:8200",
            "https://vault.corp",
            "https://vault.corp:8201",
            "https://vault.corp:8200@evil.example",
            "https://vault.corp.evil.example:8200",
            "https://a.vault.corp:8200",
            "http://167772161:8200",
            "http://0x0a.0.0.1:8200",
            "http://10.1:8200",
            "https://[fd00:0::1]",
        ] {
            assert!(!goes(address, &endpoints), "{address}");
        }
    }

    #[test]
    fn the_port_of_the_scheme_may_be_left_out() {
        assert!(goes("https://vault.corp", &["https://vault.corp:443"]));
        assert!(goes("https://vault.corp:443", &["https://vault.corp/"]));
        assert!(goes("http://vault.corp:80", &["http://vault.corp"]));
        assert!(!goes("https://vault.corp:80", &["https://vault.corp"]));
    }

    #[test]
    fn what_is_refused_is_named_without_its_path() {
        let refused = may_go_to("https://evil.example:1/secret?t=x", AZURE, []).unwrap_err();
        assert_eq!(refused.why.reason, unread::NOT_TRUSTED);
        assert!(refused.whole_store);
        assert!(refused.why.detail.contains("https://evil.example:1:"));
        assert!(!refused.why.detail.contains("secret"));
    }

    #[test]
    fn an_origin_says_what_is_wrong_with_it() {
        let wrong = |text: &str| text.parse::<Origin>().unwrap_err().to_string();
        assert_eq!(
            wrong("https://vault.corp/v1"),
            "has more than scheme, host and port"
        );
        assert_eq!(
            wrong("https://vault.corp?x"),
            "has more than scheme, host and port"
        );
        for text in [
            "vault.corp:8200",
            "https://u@vault.corp",
            "*.corp",
            "ftp://vault.corp",
        ] {
            assert_eq!(
                wrong(text),
                "is no plain address of http or https",
                "{text}"
            );
        }
        let origin: Origin = "HTTPS://Vault.corp:443/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://vault.corp");
    }
}
