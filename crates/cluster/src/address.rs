//! Addresses of servers and proxies, which may contain a user name and a password.

use std::fmt;

use http::{HeaderValue, Uri, uri::Scheme};

use super::header;

/// The longest address that is shown.
const SHOWN: usize = 200;

/// An address as somebody wrote it. It may be invalid. `Display` and `Debug` show it without user information, query and
/// fragment, which may contain credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address as it was written, with its credentials.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Parses the address like Go's `url.Parse`, as far as that is strict. Without a scheme, `default_scheme` is used.
    pub fn parse(&self, default_scheme: &str) -> Result<Target, InvalidAddress> {
        let invalid = || InvalidAddress(self.clone());
        let text = self.0.split(['?', '#']).next().unwrap_or_default();
        if let Some(target) = Target::of(text) {
            return Ok(target);
        }
        let with_scheme = format!("{default_scheme}://{text}");
        Target::of(&with_scheme)
            .filter(|target| target.uri.path() == "/")
            .ok_or_else(invalid)
    }
}

/// The text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid address")]
pub struct InvalidAddress(Address);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, &*self.0),
        };
        // A password may contain any delimiter if the address is invalid, so everything up to the last `@` is dropped.
        let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        if let Some(scheme) = scheme {
            write!(f, "{scheme}://")?;
        }
        // Spaces and line breaks are no part of an address. After a quote that is not closed, the next lines of the file follow,
        // and they can contain credentials.
        let mut words = rest.split_whitespace();
        let rest = words.next().unwrap_or_default();
        for c in rest.trim_end_matches('/').chars().take(SHOWN) {
            if c.is_ascii_graphic() {
                write!(f, "{c}")?;
            } else {
                write!(f, "{}", c.escape_default())?;
            }
        }
        if words.next().is_some() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// A parsed address. Its URI has no user information.
#[derive(Clone)]
pub struct Target {
    pub(crate) uri: Uri,
    /// The user name and the password, decoded.
    pub(crate) user: Option<(String, String)>,
}

impl Target {
    fn of(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if !is_scheme(scheme) {
            return None;
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return None;
        }
        let host = host.strip_suffix(':').unwrap_or(host);
        let uri = Uri::builder()
            .scheme(&*scheme.to_ascii_lowercase())
            .authority(host)
            .path_and_query(if path.is_empty() { "/" } else { path })
            .build()
            .ok()?;
        // The URI type accepts any number.
        let port = uri.authority()?.as_str().rsplit_once(':');
        let has_port = port.is_some_and(|(_, port)| !port.ends_with(']'));
        if has_port && uri.port_u16().is_none() {
            return None;
        }
        let user = match user {
            Some(user) => Some(user_of(user)?),
            None => None,
        };
        Some(Self { uri, user })
    }

    /// True for HTTP and HTTPS.
    pub fn is_http(&self) -> bool {
        matches!(self.scheme(), "http" | "https")
    }

    pub(crate) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    pub(crate) fn scheme(&self) -> &str {
        self.uri.scheme_str().unwrap_or_default()
    }

    pub(crate) fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port, or the scheme's default port.
    pub(crate) fn port(&self) -> u16 {
        let default = match self.scheme() {
            "http" => 80,
            "socks5" | "socks5h" => 1080,
            _ => 443,
        };
        self.uri.port_u16().unwrap_or(default)
    }

    /// The address as a credential plugin gets it: as it was written, without query and fragment if it has a path.
    pub(crate) fn as_given<'a>(&self, written: &'a str) -> &'a str {
        if self.path().is_empty() {
            written
        } else {
            written.split(['?', '#']).next().unwrap_or_default()
        }
    }

    /// The URI with a port: a tunnel does not know the default ports.
    pub(crate) fn with_port(&self) -> Uri {
        let uri = || {
            let host = self.uri.host()?;
            let mut parts = self.uri.clone().into_parts();
            parts.authority = format!("{host}:{}", self.port()).parse().ok();
            Uri::from_parts(parts).ok()
        };
        uri().unwrap_or_else(|| self.uri.clone())
    }

    /// The path without slashes at its end.
    pub(crate) fn path(&self) -> &str {
        self.uri.path().trim_end_matches('/')
    }

    /// The user information as the value of an `Authorization` or `Proxy-Authorization` header.
    pub(crate) fn basic_auth(&self) -> Option<HeaderValue> {
        let (user, password) = self.user.as_ref()?;
        header::basic_auth(user, password)
    }

    /// This address with the path and query of a request.
    pub(crate) fn with_path(&self, path_and_query: &str) -> Option<Uri> {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = format!("{}{path_and_query}", self.path()).parse().ok();
        Uri::from_parts(parts).ok()
    }
}

fn user_of(text: &str) -> Option<(String, String)> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Some((percent_decoded(user)?, percent_decoded(password)?))
}

/// Decodes percent escapes. None if one is invalid, as in Go.
fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? * 16 + hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_address_has_no_credentials() {
        for (address, shown) in [
            (
                "https://user:hunter2@host:6443/k8s/",
                "https://host:6443/k8s",
            ),
            ("https://host/?token=hunter2#hunter2", "https://host"),
            ("https://hunter2@host", "https://host"),
            ("user:hunter2@host:80", "host:80"),
            // Invalid addresses.
            ("https://user:hun/ter2@host", "https://host"),
            ("https://user:hun?ter2@host", "https://host"),
            ("https://user:hun#ter2@host", "https://host"),
            ("https://us er:hunter2@ho\nst", "https://ho…"),
            ("https://us er:hunter2@ho\u{1b}st", "https://ho\\u{1b}st"),
            // A quote that is not closed.
            (
                "https://host:1\nusers:\n- user: {token: hunter2}",
                "https://host:1…",
            ),
            (" host:1 password: hunter2", "host:1…"),
            ("ht!tp://user:hunter2@host", "host"),
            ("https:/user:hunter2@host", "host"),
            ("", ""),
        ] {
            let address = Address::new(address);
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("ter2"));
        }
    }

    #[test]
    fn address_without_scheme_gets_one() {
        for (text, uri) in [
            ("host", Some("http://host/")),
            ("localhost:8080", Some("http://localhost:8080/")),
            ("127.0.0.1:6443/", Some("http://127.0.0.1:6443/")),
            ("HTTPS://Host:6443/a/b/", Some("https://Host:6443/a/b/")),
            ("https://[::1]:6443", Some("https://[::1]:6443/")),
            ("https://[::1]", Some("https://[::1]/")),
            ("https://host:", Some("https://host/")),
            ("https://host?x=y", Some("https://host/")),
            ("host/path", None),
            ("https://", None),
            ("https://?x", None),
            ("https:///path", None),
            ("https://:6443", None),
            ("https://host:99999", None),
            ("https://host:port", None),
            ("https://ho st", None),
            ("https://user:%zz@host", None),
            ("", None),
        ] {
            let parsed = Address::new(text).parse("http").ok();
            let parsed = parsed.map(|target| target.uri.to_string());
            assert_eq!(parsed.as_deref(), uri, "{text}");
        }
    }

    #[test]
    fn user_information_becomes_a_header() {
        let target = Address::new("https://user:pa%40ss%3Aword@host").parse("http");
        let header = target.unwrap().basic_auth().unwrap();
        assert!(header.is_sensitive());
        // user:pa@ss:word
        assert_eq!(header.to_str().unwrap(), "Basic dXNlcjpwYUBzczp3b3Jk");
    }

    #[test]
    fn path_of_the_server_is_a_prefix() {
        let target = Address::new("https://host/k8s/c1/").parse("http").unwrap();
        let uri = target.with_path("/api/v1?limit=1").unwrap();
        assert_eq!(uri.to_string(), "https://host/k8s/c1/api/v1?limit=1");
    }
}
