//! The settings of a Vault store.

use std::collections::BTreeMap;

use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::Value as Json;

use super::path::{Paths, Version};
use crate::{Unread, unread};

/// `spec.provider.vault`. Unknown fields are rejected because they may change what is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    server: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    version: Version,
    /// The Vault namespace of the secrets.
    #[serde(default)]
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) auth: Option<Json>,
    #[serde(default)]
    pub(super) ca_bundle: Option<String>,
    #[serde(default)]
    pub(super) ca_provider: Option<Json>,
    #[serde(default)]
    pub(super) tls: Tls,
    #[serde(default)]
    headers: Option<BTreeMap<String, Json>>,
    #[serde(default)]
    read_your_writes: bool,
    #[serde(default)]
    forward_inconsistent: bool,
    /// Used only for writes.
    #[serde(default, rename = "checkAndSet")]
    _check_and_set: Option<serde::de::IgnoredAny>,
}

/// The client certificate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tls {
    #[serde(default)]
    pub(super) cert_secret_ref: Option<Json>,
    #[serde(default)]
    pub(super) key_secret_ref: Option<Json>,
}

impl Settings {
    /// Parses the settings.
    pub(super) fn of(settings: &Json) -> Result<Self, Unread> {
        Self::deserialize(settings).map_err(|error| not_understood("", &error))
    }

    /// The URL of the server.
    pub(super) fn server(&self) -> Result<Url, Unread> {
        let server = Url::parse(&self.server)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        server.ok_or_else(|| {
            unsupported("spec.provider.vault.server is not an http or https URL".to_owned())
        })
    }

    /// The mapping of keys to paths.
    pub(super) fn paths(&self) -> Paths {
        Paths {
            mount: self.path.clone(),
            version: self.version,
        }
    }

    /// The headers of every request. The store's own headers may not set the token, the namespace or the host.
    pub(super) fn headers(&self) -> Result<HeaderMap, Unread> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().flatten() {
            let refused = || {
                unsupported(format!(
                    "spec.provider.vault.headers: `{name}` is not supported"
                ))
            };
            let parsed = HeaderName::try_from(name).map_err(|_| refused())?;
            if RESERVED_HEADERS.contains(&parsed.as_str()) {
                return Err(refused());
            }
            let value = value.as_str().map(HeaderValue::try_from);
            headers.insert(parsed, value.and_then(Result::ok).ok_or_else(refused)?);
        }
        // A Vault Agent may require it as protection against requests from a browser.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        // A performance standby may return old data, so the operator's option to use the active node is followed.
        if self.read_your_writes && self.forward_inconsistent {
            headers.insert(
                "x-vault-inconsistent",
                HeaderValue::from_static("forward-active-node"),
            );
        }
        Ok(headers)
    }
}

/// Headers that the client sets itself, hop-by-hop headers, and headers that change a plain read. A wrapped answer, for example,
/// is another token.
const RESERVED_HEADERS: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-vault-namespace",
    "x-vault-request",
    "x-vault-token",
    "x-vault-wrap-format",
    "x-vault-wrap-ttl",
];

/// An error about a setting that is not understood.
pub(super) fn not_understood(below: &str, error: &serde_json::Error) -> Unread {
    let problem = crate::not_understood(error);
    unsupported(format!("spec.provider.vault{below}: {problem}"))
}

/// An error for a store with unsupported settings.
pub(super) fn unsupported(detail: String) -> Unread {
    Unread::store(unread::UNSUPPORTED, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(settings: &Json) -> String {
        let settings = Settings::of(settings);
        let refused = settings.and_then(|it| it.server().and_then(|_| it.headers()));
        refused.unwrap_err().why.to_string()
    }

    #[test]
    fn unsupported_setting_is_named() {
        insta::assert_snapshot!(
            refused(&json!({"server": "https://v:8200", "vaultURL": "x"})),
            @"unsupported-store (spec.provider.vault: unknown field `vaultURL`)"
        );
        insta::assert_snapshot!(
            refused(&json!({"server": "unix:///run/vault"})),
            @"unsupported-store (spec.provider.vault.server is not an http or https URL)"
        );
        insta::assert_snapshot!(
            refused(&json!({"server": "https://v:8200", "headers": {"X-Vault-Token": "x"}})),
            @"unsupported-store (spec.provider.vault.headers: `X-Vault-Token` is not supported)"
        );
    }

    #[test]
    fn header_that_changes_a_read_is_refused() {
        for name in [
            "X-Vault-Wrap-TTL",
            "Content-Length",
            "Transfer-Encoding",
            "connection",
            "HOST",
        ] {
            let store = json!({"server": "https://v:8200", "headers": {name: "1"}});
            let expected = format!(
                "unsupported-store (spec.provider.vault.headers: `{name}` is not supported)"
            );
            assert_eq!(refused(&store), expected);
        }
    }

    #[test]
    fn reference_store_is_accepted() {
        let settings = Settings::of(&json!({
            "server": "https://vault.corp:8200/base", "path": "secret", "version": "v1", "namespace": "team/a",
            "caBundle": "", "tls": {}, "readYourWrites": true, "forwardInconsistent": true,
            "headers": {"X-Extra": "1"}, "checkAndSet": {"required": true},
            "auth": {"tokenSecretRef": {"name": "token", "key": "token"}},
        }))
        .unwrap();
        assert_eq!(
            settings.server().unwrap().as_str(),
            "https://vault.corp:8200/base"
        );
        assert_eq!(settings.paths().data("a"), "secret/a");
        let headers = settings.headers().unwrap();
        assert_eq!(headers["x-vault-inconsistent"], "forward-active-node");
        assert_eq!(headers["x-extra"], "1");
    }
}
