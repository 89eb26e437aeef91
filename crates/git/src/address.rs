//! The address of a repository.

use std::{fmt, str::FromStr};

use url::Url;

/// The address of a repository, by HTTPS or SSH. `Display` shows it in one form only, so that a glob can match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Without user, query and fragment.
    Https(Url),
    Ssh(Ssh),
}

/// `ssh://USER@HOST:PORT/PATH`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    pub user: String,
    pub host: String,
    /// 22 if None.
    pub port: Option<u16>,
    /// With `/` at its start.
    pub path: String,
}

/// The text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAddress;

impl InvalidAddress {
    /// How to fix an invalid text.
    pub const HINT: &str =
        "write `https://HOST/PATH` without user and password, or `ssh://USER@HOST/PATH`";
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidAddress);
        }
        let url = match text.split_once("://") {
            Some(("https" | "ssh", _)) => Url::parse(text),
            Some(_) => return Err(InvalidAddress),
            // As `scp` writes it.
            None => match text.split_once(':') {
                Some((at, path)) if at.contains('@') && !at.contains('/') => {
                    Url::parse(&format!("ssh://{at}/{}", path.trim_start_matches('/')))
                }
                _ => return Err(InvalidAddress),
            },
        };
        let mut url = url.map_err(|_| InvalidAddress)?;
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let host = url.host_str().unwrap_or_default();
        let is_bare = url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if host.is_empty() || url.path() == "/" || !is_bare {
            return Err(InvalidAddress);
        }
        if url.scheme() == "https" {
            let is_anonymous = url.username().is_empty();
            return is_anonymous
                .then_some(Self::Https(url))
                .ok_or(InvalidAddress);
        }
        // The words of a command line.
        let is_word = |text: &str| {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
            !text.starts_with('-') && text.bytes().all(is_good)
        };
        let user = match url.username() {
            "" => "git",
            user => user,
        };
        if !is_word(user) || !is_word(host) {
            return Err(InvalidAddress);
        }
        Ok(Self::Ssh(Ssh {
            user: user.to_owned(),
            host: host.to_owned(),
            port: url.port().filter(|port| *port != 22),
            path: url.path().to_owned(),
        }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(url) => f.write_str(url.as_str()),
            Self::Ssh(Ssh {
                user,
                host,
                port,
                path,
            }) => {
                write!(f, "ssh://{user}@{host}")?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                f.write_str(path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_text() {
        for (text, shown) in [
            (
                "https://git.example/team/app.git",
                "https://git.example/team/app.git",
            ),
            (
                "https://GIT.example:443/team/../app/",
                "https://git.example/app",
            ),
            ("https://git.example/a/%2e%2e/b", "https://git.example/b"),
            (
                "ssh://git@git.example:22/app.git",
                "ssh://git@git.example/app.git",
            ),
            (
                "ssh://git.example:2222/app",
                "ssh://git@git.example:2222/app",
            ),
            (
                "git@git.example:team/app.git",
                "ssh://git@git.example/team/app.git",
            ),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn other_schemes_credentials_and_options_are_refused() {
        for text in [
            "",
            "/srv/repository",
            "file:///srv/repository",
            "http://git.example/app",
            "git://git.example/app",
            "ext::sh -c id",
            "https://git.example",
            "https://user@git.example/app",
            "https://user:hunter2@git.example/app",
            "https://git.example/app?x",
            "https://git.example/app#x",
            "https://git.example/a b",
            "ssh://-oProxyCommand=id/app",
            "ssh://git@-oProxyCommand=id/app",
            "ssh://-l@git.example/app",
            "-oProxyCommand=id@x:app",
            "ssh://git:hunter2@git.example/app",
        ] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text}");
        }
    }
}
