//! The choice of a proxy, as Go and therefore kubectl choose it.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    address::{Address, Target},
    failure::ConnectError,
};

/// The proxies that the environment names.
#[derive(Clone, Default)]
pub(super) struct Environment {
    http: Option<Target>,
    https: Option<Target>,
    exceptions: Vec<Exception>,
    /// True in a CGI program, where a client can set `HTTP_PROXY`.
    is_cgi: bool,
}

/// An entry of `NO_PROXY`.
#[derive(Clone)]
enum Exception {
    All,
    Network(IpAddr, u8),
    Ip(IpAddr, Option<String>),
    /// A suffix that starts with a dot.
    Domain {
        suffix: String,
        port: Option<String>,
        /// True if the entry also matches the domain itself.
        itself: bool,
    },
}

impl Environment {
    pub(super) fn of(variables: &BTreeMap<String, String>) -> Self {
        let any = |names: [&str; 2]| {
            let mut values = names.iter().filter_map(|name| variables.get(*name));
            values.find(|value| !value.is_empty()).cloned()
        };
        let proxy = |names| Address::new(any(names)?).parse("http").ok();
        let exceptions = any(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        Self {
            http: proxy(["HTTP_PROXY", "http_proxy"]),
            https: proxy(["HTTPS_PROXY", "https_proxy"]),
            exceptions: exceptions.split(',').filter_map(Exception::of).collect(),
            is_cgi: variables
                .get("REQUEST_METHOD")
                .is_some_and(|value| !value.is_empty()),
        }
    }

    /// The proxy for a server. Local servers have none.
    pub(super) fn proxy(&self, server: &Target) -> Result<Option<Target>, ConnectError> {
        let proxy = if server.is_https() {
            &self.https
        } else {
            &self.http
        };
        let Some(proxy) = proxy else { return Ok(None) };
        let host = server.host().to_ascii_lowercase();
        let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
            return Ok(None);
        }
        let port = server.port().to_string();
        if self
            .exceptions
            .iter()
            .any(|it| it.matches(&host, &port, ip))
        {
            return Ok(None);
        }
        if self.is_cgi && !server.is_https() {
            return Err(ConnectError::Proxy(
                "$HTTP_PROXY is not used, because $REQUEST_METHOD is set: a CGI program's client can set it"
                    .to_owned(),
            ));
        }
        // As in Go, an unknown scheme of a proxy means HTTP.
        Ok(Some(proxy.clone()))
    }
}

/// The proxy of a kubeconfig's `proxy-url`.
pub(super) fn of_kubeconfig(address: &Address) -> Result<Target, ConnectError> {
    let parsed = address
        .expose()
        .contains("://")
        .then(|| address.parse(""))
        .and_then(Result::ok);
    let Some(proxy) = parsed else {
        return Err(ConnectError::Proxy(format!(
            "`proxy-url` of the kubeconfig, `{address}`, is not a valid address; write it like http://HOST:PORT"
        )));
    };
    match proxy.scheme() {
        "http" | "https" | "socks5" => Ok(proxy),
        scheme => Err(ConnectError::Proxy(format!(
            "`proxy-url` of the kubeconfig has the unsupported scheme `{scheme}`; use http, https or socks5"
        ))),
    }
}

impl Exception {
    fn of(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_lowercase();
        if entry.is_empty() {
            return None;
        }
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = entry.split_once('/')
            && let (Ok(ip), Ok(bits)) = (address.parse(), bits.parse())
        {
            return Some(Self::Network(ip, bits));
        }
        let (host, port) = split_port(&entry);
        if host.is_empty() {
            return None;
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Some(Self::Ip(ip.to_canonical(), port));
        }
        let host = host
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(host);
        Some(if host.starts_with('.') {
            Self::Domain {
                suffix: host.to_owned(),
                port,
                itself: false,
            }
        } else {
            Self::Domain {
                suffix: format!(".{host}"),
                port,
                itself: true,
            }
        })
    }

    fn matches(&self, host: &str, port: &str, ip: Option<IpAddr>) -> bool {
        let is_port = |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == port);
        match self {
            Self::All => true,
            Self::Network(network, bits) => ip.is_some_and(|ip| contains(*network, *bits, ip)),
            Self::Ip(wanted, port) => ip == Some(*wanted) && is_port(port),
            Self::Domain {
                suffix,
                port,
                itself,
            } => {
                let is_itself = *itself && suffix.strip_prefix('.') == Some(host);
                (is_itself || host.ends_with(&**suffix)) && is_port(port)
            }
        }
    }
}

/// Splits `host:port`, `[ipv6]:port`, or a host without a port.
fn split_port(entry: &str) -> (&str, Option<String>) {
    if let Some(rest) = entry.strip_prefix('[')
        && let Some((host, port)) = rest.split_once("]:")
    {
        return (host, Some(port.to_owned()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port.to_owned())),
        _ => (entry, None),
    }
}

fn contains(network: IpAddr, bits: u8, ip: IpAddr) -> bool {
    let (network, ip, length) = match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => (
            u128::from(network.to_bits()),
            u128::from(ip.to_bits()),
            32_u32,
        ),
        (IpAddr::V6(network), IpAddr::V6(ip)) => (network.to_bits(), ip.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let Some(rest) = length.checked_sub(u32::from(bits)) else {
        return false;
    };
    // A shift by the whole width leaves nothing to compare.
    let shifted = |address: u128| address.checked_shr(rest).unwrap_or_default();
    shifted(network) == shifted(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)], server: &str) -> Option<String> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let server = Address::new(server).parse("http").unwrap();
        let proxy = Environment::of(&variables).proxy(&server).unwrap();
        proxy.map(|proxy| proxy.uri.to_string())
    }

    #[test]
    fn no_proxy_has_the_rules_of_go() {
        for (exceptions, server, proxied) in [
            ("", "https://api.corp", true),
            ("*", "https://api.corp", false),
            ("corp", "https://api.corp", false),
            ("corp", "https://corp", false),
            (".corp", "https://corp", true),
            (".corp", "https://api.corp", false),
            ("*.corp", "https://API.corp", false),
            ("orp", "https://api.corp", true),
            ("corp:443", "https://api.corp", false),
            ("corp:443", "https://api.corp:6443", true),
            ("10.0.0.0/8", "https://10.1.2.3", false),
            ("10.0.0.0/8", "https://11.1.2.3", true),
            ("0.0.0.0/0", "https://11.1.2.3", false),
            ("10.0.0.0/99", "https://10.0.0.0", true),
            ("fd00::/8", "https://[fd00::1]:6443", false),
            ("10.0.0.1", "https://10.0.0.1:6443", false),
            ("10.0.0.1:443", "https://10.0.0.1:6443", true),
            ("[fd00::1]:6443", "https://[fd00::1]:6443", false),
            ("fd00::1", "https://[fd00::1]:6443", false),
            (" a , ,corp ", "https://api.corp", false),
            ("", "https://127.0.0.1", true),
        ] {
            let found = proxy(
                &[
                    ("HTTPS_PROXY", "http://proxy:3128"),
                    ("NO_PROXY", exceptions),
                ],
                server,
            );
            let local = server.contains("127.");
            assert_eq!(found.is_some(), proxied && !local, "{exceptions} {server}");
        }
    }

    #[test]
    fn local_servers_have_no_proxy() {
        for server in ["https://localhost", "https://127.0.0.9:1", "https://[::1]"] {
            assert_eq!(proxy(&[("HTTPS_PROXY", "http://proxy")], server), None);
        }
    }

    #[test]
    fn empty_variable_counts_as_unset() {
        let variables = [("HTTPS_PROXY", ""), ("https_proxy", "proxy:3128")];
        let found = proxy(&variables, "https://api.corp");
        assert_eq!(found.as_deref(), Some("http://proxy:3128/"));
    }

    #[test]
    fn all_proxy_is_not_used() {
        assert_eq!(
            proxy(&[("ALL_PROXY", "http://proxy")], "https://api.corp"),
            None
        );
    }
}
