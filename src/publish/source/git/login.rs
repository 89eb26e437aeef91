//! The credentials for a repository.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::HeaderValue;
use secret::{Buffer, Value};

use crate::publish::fault::Fault;

/// What a Secret contains for a repository, as Argo CD or Flux name it.
#[derive(Default)]
pub(in crate::publish::source) struct Login {
    /// The header `Authorization`.
    pub(super) authorization: Option<HeaderValue>,
    /// The certificates of the authorities that sign the server's certificate, in PEM.
    pub(super) authorities: Option<Value>,
    /// The client's certificate and its key, in PEM.
    pub(super) certificate: Option<Value>,
    /// The private key for SSH.
    pub(super) ssh_key: Option<Value>,
    /// The keys of SSH servers.
    pub(super) known_hosts: Option<Value>,
}

/// The keys of a Secret that are understood, in the words of Argo CD and of Flux.
const KEYS: &str = "`username` and `password`, `bearerToken`, `tlsClientCertData` and `tlsClientCertKey` (or `tls.crt` and `tls.key`), \
    `ca.crt`, `sshPrivateKey` (or `identity`), `known_hosts`";

impl Login {
    pub(in crate::publish::source) fn of(
        name: &str,
        data: &BTreeMap<String, Value>,
    ) -> Result<Self, Fault> {
        let invalid = |what: &str| {
            let message = format!("the Secret {name} {what}");
            Fault::new("invalid-credentials", message)
        };
        let get = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| data.get(*key));
            found.filter(|value| !value.expose().is_empty())
        };
        if data.keys().any(|key| key.starts_with("githubApp")) {
            return Err(invalid(
                "contains the key of a GitHub App, which is not supported. Use `username` and `password` with a token",
            ));
        }
        let (username, password) = (get(&["username"]), get(&["password"]));
        let authorization = match (password, get(&["bearerToken"])) {
            (Some(_), Some(_)) => {
                return Err(invalid("contains a password and a bearer token: keep one"));
            }
            (Some(password), None) => Some(basic(username, password)),
            (None, Some(token)) => Some(header("Bearer ", line(token))),
            (None, None) if username.is_some() => {
                return Err(invalid("contains a user name without a password"));
            }
            (None, None) => None,
        };
        let authorization = authorization.transpose();
        let authorization = authorization.map_err(|()| {
            invalid("contains a password or token with characters that no header can have")
        })?;
        let certificate = get(&["tlsClientCertData", "tls.crt", "certFile"]);
        let key = get(&["tlsClientCertKey", "tls.key", "keyFile"]);
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(joined(certificate, key)),
            (None, None) => None,
            _ => {
                return Err(invalid(
                    "contains a client certificate without its key, or a key alone",
                ));
            }
        };
        let login = Self {
            authorization,
            authorities: get(&["ca.crt", "caFile"]).map(Value::duplicate),
            certificate,
            ssh_key: get(&["sshPrivateKey", "identity"]).map(Value::duplicate),
            known_hosts: get(&["known_hosts", "sshKnownHosts"]).map(Value::duplicate),
        };
        if login.is_empty() {
            return Err(invalid(&format!(
                "contains no credentials. These are understood: {KEYS}"
            )));
        }
        Ok(login)
    }

    const fn is_empty(&self) -> bool {
        let Self {
            authorization,
            authorities,
            certificate,
            ssh_key,
            known_hosts,
        } = self;
        authorization.is_none()
            && authorities.is_none()
            && certificate.is_none()
            && ssh_key.is_none()
            && known_hosts.is_none()
    }
}

/// The value without a line break at its end, which editors and `echo` add.
fn line(value: &Value) -> &[u8] {
    let bytes = value.expose();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// Servers that only look at the token accept any user name.
fn basic(username: Option<&Value>, password: &Value) -> Result<HeaderValue, ()> {
    let mut both = Buffer::default();
    both.push(username.map_or(b"git", line));
    both.push(b":");
    both.push(line(password));
    let encoded = zeroize::Zeroizing::new(STANDARD.encode(both.as_bytes()));
    header("Basic ", encoded.as_bytes())
}

fn header(scheme: &str, text: &[u8]) -> Result<HeaderValue, ()> {
    let mut whole = Buffer::with_capacity(scheme.len() + text.len());
    whole.push(scheme.as_bytes());
    whole.push(text);
    let mut header = HeaderValue::from_bytes(whole.as_bytes()).map_err(drop)?;
    header.set_sensitive(true);
    Ok(header)
}

fn joined(certificate: &Value, key: &Value) -> Value {
    let mut both = Buffer::default();
    both.push(certificate.expose());
    both.push(b"\n");
    both.push(key.expose());
    both.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(data: &[(&str, &str)]) -> Result<Login, Fault> {
        let data = data.iter();
        let data = data.map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
        Login::of("git", &data.collect())
    }

    fn authorization(data: &[(&str, &str)]) -> String {
        let login = login(data).expect("a login");
        let header = login.authorization.expect("a header");
        assert!(header.is_sensitive());
        header.to_str().expect("text").to_owned()
    }

    #[test]
    fn the_words_of_argo_cd_and_flux_are_understood() {
        // user:hunter2
        let basic = "Basic dXNlcjpodW50ZXIy";
        for data in [
            &[("username", "user"), ("password", "hunter2")],
            &[("username", "user\n"), ("password", "hunter2\r\n")],
        ] {
            assert_eq!(authorization(data), basic);
        }
        // git:hunter2
        assert_eq!(
            authorization(&[("password", "hunter2")]),
            "Basic Z2l0Omh1bnRlcjI="
        );
        assert_eq!(
            authorization(&[("bearerToken", "hunter2\n")]),
            "Bearer hunter2"
        );
        for data in [
            &[("tlsClientCertData", "a"), ("tlsClientCertKey", "b")],
            &[("tls.crt", "a"), ("tls.key", "b")],
        ] {
            let login = login(data).expect("a login");
            assert!(
                login
                    .certificate
                    .is_some_and(|both| both.expose() == b"a\nb")
            );
        }
        for key in ["sshPrivateKey", "identity"] {
            assert!(login(&[(key, "x")]).is_ok_and(|login| login.ssh_key.is_some()));
        }
        assert!(login(&[("ca.crt", "x")]).is_ok_and(|login| login.authorities.is_some()));
        assert!(login(&[("known_hosts", "x")]).is_ok_and(|login| login.known_hosts.is_some()));
    }

    #[test]
    fn incomplete_and_ambiguous_credentials_are_refused_without_their_values() {
        for data in [
            &[][..],
            &[("other", "hunter2")],
            &[("username", "user"), ("password", "")],
            &[("password", "hunter2"), ("bearerToken", "hunter2")],
            &[("bearerToken", "hunter2\nX-Other: 1")],
            &[("tls.crt", "hunter2")],
            &[("tls.key", "hunter2")],
            &[("githubAppID", "1"), ("githubAppPrivateKey", "hunter2")],
        ] {
            let fault = login(data).err().expect("refused");
            assert_eq!(fault.reason, "invalid-credentials", "{data:?}");
            assert!(!fault.message.contains("hunter2"), "{}", fault.message);
        }
    }
}
