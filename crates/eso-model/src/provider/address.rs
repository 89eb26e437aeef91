//! Addresses of servers in one form, so that two spellings of an address are one server.

use url::Url;

/// Returns the address of a server without its user, query and default port, in lower case except for the path. In a text that is
/// not an address, everything before the last `@` is removed, because it may be a password.
pub(crate) fn normalized(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    if let Some(address) = parsed(&with_scheme) {
        return address;
    }
    match text.rsplit_once('@') {
        Some((_, rest)) => normalized(rest),
        None => text.trim_end_matches('/').to_ascii_lowercase(),
    }
}

fn parsed(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    // An absolute name is the same host.
    let host = host.strip_suffix('.').unwrap_or(host);
    // `Url::port` returns None if the port is the scheme's default.
    let port = url.port().map(|port| format!(":{port}"));
    let path = url.path().trim_end_matches('/');
    Some(format!(
        "{}://{host}{}{path}",
        url.scheme(),
        port.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_an_address_are_one_server() {
        for (expected, spellings) in [
            (
                "https://vault.corp:8200",
                &[
                    "https://vault.corp:8200",
                    "https://vault.corp:8200/",
                    "https://vault.corp:8200//",
                    "HTTPS://Vault.Corp:8200",
                    "https://vault.corp.:8200",
                    "https://vault.corp:08200/",
                    " https://vault.corp:8200\n",
                    "https://user:password@vault.corp:8200",
                    "https://vault.corp:8200?x=y#z",
                    "vault.corp:8200",
                ][..],
            ),
            (
                "https://vault.corp",
                &["https://vault.corp:443/", "vault.corp", "Vault.corp/"],
            ),
            ("http://vault.corp", &["http://vault.corp:80/"]),
            ("http://vault.corp:443", &["http://vault.corp:443"]),
            (
                "https://10.0.0.1",
                &["https://10.0.0.1:443", "https://10.1"],
            ),
            (
                "https://[fd00::1]:8200",
                &["https://[fd00:0::1]:8200/", "https://[FD00::1]:8200"],
            ),
            (
                "https://gateway/a",
                &["https://gateway/a", "https://gateway/a/"],
            ),
            ("https://gateway/b", &["https://gateway/b"]),
            ("", &["", " "]),
        ] {
            for spelling in spellings {
                assert_eq!(normalized(spelling), expected, "{spelling:?}");
            }
        }
    }

    #[test]
    fn normalized_text_contains_no_password() {
        for text in [
            "https://user:hunter2@vault.corp",
            "user:hunter2@vault.corp",
            "https://user:hunter2@",
            "https://user:hunter2@vault corp",
            "https://:hunter2@vault.corp:99999",
        ] {
            assert!(!normalized(text).contains("hunter2"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            normalized(&text);
        }
    }
}
