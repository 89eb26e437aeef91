//! The origins that credentials may be sent to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::answer::Unread;
use eso_model::unread;

/// Scheme, host and port: `https://vault.corp:8200`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// The reason why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOrigin(&'static str);

const NOT_PLAIN: InvalidOrigin = InvalidOrigin("is not a simple HTTP or HTTPS address");

impl InvalidOrigin {
    /// The expected format.
    pub const HINT: &str = "write it like `https://vault.corp:8200`";
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Parses `https://vault.corp:8200`. The scheme's default port may be omitted.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let url = plain(text).ok_or(NOT_PLAIN)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidOrigin("must have only a scheme, a host and a port"));
        }
        Self::of_private(&url)
    }
}

impl Origin {
    /// The origin of an address, which may have a path.
    pub fn of_address(text: &str) -> Result<Self, InvalidOrigin> {
        Self::of_private(&plain(text).ok_or(NOT_PLAIN)?)
    }

    fn of_private(url: &Url) -> Result<Self, InvalidOrigin> {
        if !is_private(url) {
            return Err(InvalidOrigin(
                "must use https, because credentials are never sent over plain HTTP (except to a loopback address such as `http://127.0.0.1:8200`)",
            ));
        }
        Ok(Self::of(url))
    }

    /// The origin of an address that [`plain`] accepts. The scheme's default port is omitted.
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

/// Ok if the job's own credentials may be sent to this address: to one of these endpoints, or to the provider's own hosts over
/// HTTPS on the default port. `cloud` lists the suffixes of these hosts (`.vault.azure.net`).
pub fn may_go_to(
    address: &str,
    cloud: &[&str],
    endpoints: impl IntoIterator<Item = Origin>,
) -> Result<(), Unread> {
    let Some(url) = plain(address) else {
        return Err(Unread::store(
            unread::NOT_TRUSTED,
            "the store's address is not a simple HTTP or HTTPS address",
        ));
    };
    let origin = Origin::of(&url);
    if !is_private(&url) {
        return Err(Unread::store(
            unread::NOT_TRUSTED,
            format!("the job's own credentials are never sent over plain HTTP, as to {origin}"),
        ));
    }
    if is_cloud(&url, cloud) || endpoints.into_iter().any(|endpoint| endpoint == origin) {
        return Ok(());
    }
    Err(Unread::store(
        unread::NOT_TRUSTED,
        format!(
            "the job's own credentials may not be sent to {origin}: neither `drift.endpoints` of the policy nor `--endpoint` names it"
        ),
    ))
}

/// True if what is sent to this address is encrypted or stays on this machine.
pub fn is_encrypted(address: &str) -> bool {
    plain(address).is_some_and(|url| is_private(&url))
}

/// A name such as `localhost` is resolved, perhaps to another machine, so only addresses count as loopback.
fn is_private(url: &Url) -> bool {
    url.scheme() == "https"
        || match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(_)) | None => false,
        }
}

fn is_cloud(url: &Url, suffixes: &[&str]) -> bool {
    let Some(Host::Domain(host)) = url.host() else {
        return false;
    };
    // `port()` is None for the scheme's default port.
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

/// Parses an address that has only one possible interpretation.
///
/// The check and the client may parse an address differently. So this rejects user information, characters that are decoded,
/// mapped or dropped, and unusual forms of a host.
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

    fn may_go(address: &str, endpoints: &[&str]) -> bool {
        let endpoints: Vec<Origin> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
        may_go_to(address, AZURE, endpoints).is_ok()
    }

    #[test]
    fn cloud_hosts_receive_credentials() {
        for address in [
            "https://corp.vault.azure.net",
            "https://corp.vault.azure.net/",
            "https://corp.vault.azure.net:443/secrets?x=y",
            "HTTPS://Corp.Vault.Azure.NET",
            "https://a.b.vault.azure.cn",
            "https://vault.azure.net",
        ] {
            assert!(may_go(address, &[]), "{address}");
        }
    }

    #[test]
    fn other_hosts_receive_no_credentials() {
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
            // A Cyrillic letter, a full-width letter, a full stop of another script, and characters that parsers drop or decode.
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
            assert!(!may_go(address, &[]), "{address:?}");
        }
    }

    #[test]
    fn endpoint_matches_by_scheme_host_and_port() {
        let endpoints = [
            "https://vault.corp:8200",
            "http://127.0.0.1:8200",
            "https://[fd00::1]",
            "https://10.0.0.1:8200",
        ];
        for address in [
            "https://vault.corp:8200/v1/kv",
            "https://VAULT.corp:8200",
            "http://127.0.0.1:8200/",
            "https://[fd00::1]:443/x",
            "https://10.0.0.1:8200",
        ] {
            assert!(may_go(address, &endpoints), "{address}");
        }
        for address in [
            "http://vault.corp:8200",
            "https://vault.corp",
            "https://vault.corp:8201",
            "https://vault.corp:8200@evil.example",
            "https://vault.corp.evil.example:8200",
            "https://a.vault.corp:8200",
            "https://167772161:8200",
            "https://0x0a.0.0.1:8200",
            "https://10.1:8200",
            "http://10.0.0.1:8200",
            "http://127.1:8200",
            "https://[fd00:0::1]",
        ] {
            assert!(!may_go(address, &endpoints), "{address}");
        }
    }

    /// A policy or flag cannot even name such an endpoint.
    #[test]
    fn credentials_never_go_over_plain_http() {
        for address in [
            "http://vault.corp:8200",
            "http://10.0.0.1",
            "http://localhost:8200",
            "http://127.0.0.1.evil.example",
            "http://[::ffff:127.0.0.1]",
            "http://0.0.0.0:8200",
            "http://[fd00::1]:8200",
            "HTTP://vault.corp",
        ] {
            assert!(!is_encrypted(address), "{address}");
            let refused = address.parse::<Origin>().unwrap_err().to_string();
            assert!(
                refused.contains("https") || address.contains("ffff"),
                "{address}: {refused}"
            );
            let refused = may_go_to(address, &["vault.corp"], []).unwrap_err();
            assert_eq!(refused.why.reason, unread::NOT_TRUSTED, "{address}");
        }
        for address in [
            "http://127.0.0.1:8200",
            "http://127.3.2.1",
            "http://[::1]:8200",
            "https://10.0.0.1",
        ] {
            assert!(is_encrypted(address), "{address}");
            assert!(may_go(address, &[address]), "{address}");
        }
    }

    #[test]
    fn default_port_may_be_omitted() {
        assert!(may_go("https://vault.corp", &["https://vault.corp:443"]));
        assert!(may_go("https://vault.corp:443", &["https://vault.corp/"]));
        assert!(may_go("http://127.0.0.1:80", &["http://127.0.0.1"]));
        assert!(!may_go("https://vault.corp:80", &["https://vault.corp"]));
    }

    #[test]
    fn refused_address_is_shown_without_its_path() {
        let refused = may_go_to("https://evil.example:1/secret?t=x", AZURE, []).unwrap_err();
        assert_eq!(refused.why.reason, unread::NOT_TRUSTED);
        assert!(refused.whole_store);
        assert!(refused.why.detail.contains("https://evil.example:1:"));
        assert!(!refused.why.detail.contains("secret"));
    }

    #[test]
    fn invalid_origin_has_a_reason() {
        let wrong = |text: &str| text.parse::<Origin>().unwrap_err().to_string();
        assert_eq!(
            wrong("https://vault.corp/v1"),
            "must have only a scheme, a host and a port"
        );
        assert_eq!(
            wrong("https://vault.corp?x"),
            "must have only a scheme, a host and a port"
        );
        for text in [
            "vault.corp:8200",
            "https://u@vault.corp",
            "*.corp",
            "ftp://vault.corp",
        ] {
            assert_eq!(
                wrong(text),
                "is not a simple HTTP or HTTPS address",
                "{text}"
            );
        }
        let origin: Origin = "HTTPS://Vault.corp:443/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://vault.corp");
    }
}
