//! The credentials of requests: which of a kubeconfig user's apply, and how they are renewed.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::{
    failure::{ConnectError, PluginError},
    header::{self, INVALID_TOKEN, bearer},
    kubeconfig::{AuthProvider, User},
    plugin::{Issued, Plugin},
};

/// How often a token file is read again.
const TOKEN_FILE: Duration = Duration::from_mins(1);

/// The credentials of a client.
#[derive(Clone, Default)]
pub(super) enum Credentials {
    #[default]
    None,
    /// The `Authorization` header.
    Header(HeaderValue),
    File(Arc<TokenFile>),
    Plugin(Arc<Plugin>),
}

/// The credentials for one request.
#[derive(Clone, Default)]
pub(super) struct Current {
    pub(super) header: Option<HeaderValue>,
    pub(super) identity: Option<Arc<CertifiedKey>>,
    issued: Option<Arc<Issued>>,
}

impl Credentials {
    pub(super) async fn current(&self) -> Result<Current, PluginError> {
        Ok(match self {
            Self::None => Current::default(),
            Self::Header(header) => Current {
                header: Some(header.clone()),
                ..Current::default()
            },
            Self::File(file) => Current {
                header: Some(file.header(TOKEN_FILE)),
                ..Current::default()
            },
            Self::Plugin(plugin) => Current::of(plugin.credentials().await?),
        })
    }

    /// Other credentials than these, which the server rejected. None if there are none.
    pub(super) async fn other_than(&self, rejected: &Current) -> Option<Current> {
        match self {
            Self::None | Self::Header(_) => None,
            Self::File(file) => {
                let header = Some(file.header(Duration::ZERO));
                (header != rejected.header).then(|| Current {
                    header,
                    ..Current::default()
                })
            }
            Self::Plugin(plugin) => {
                let issued = plugin.other_than(rejected.issued.as_ref()?).await.ok()?;
                Some(Current::of(issued))
            }
        }
    }
}

impl Current {
    fn of(issued: Arc<Issued>) -> Self {
        Self {
            header: issued.header.clone(),
            identity: issued.identity.clone(),
            issued: Some(issued),
        }
    }
}

/// A file with a token, which somebody else renews.
pub(super) struct TokenFile {
    path: PathBuf,
    /// The last token, and when it was read. If the file cannot be read, the last token is used.
    last: Mutex<(HeaderValue, Instant)>,
}

impl TokenFile {
    /// Reads the token. `fallback` is used as long as the file cannot be read.
    pub(super) fn new(
        path: PathBuf,
        fallback: Option<HeaderValue>,
    ) -> Result<Arc<Self>, ConnectError> {
        let read = read_token(&path);
        let header = match (read, fallback) {
            (Ok(header), _) | (Err(_), Some(header)) => header,
            (Err(why), None) => {
                let path = path.display();
                return Err(ConnectError::Kubeconfig(format!(
                    "the token file {path} cannot be used: {why}"
                )));
            }
        };
        let last = Mutex::new((header, Instant::now()));
        Ok(Arc::new(Self { path, last }))
    }

    fn header(&self, longest: Duration) -> HeaderValue {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.1.elapsed() >= longest {
            if let Ok(header) = read_token(&self.path) {
                last.0 = header;
            }
            last.1 = Instant::now();
        }
        last.0.clone()
    }
}

fn read_token(path: &PathBuf) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.kind().to_string())?;
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        token => bearer(token).ok_or_else(|| INVALID_TOKEN.to_owned()),
    }
}

/// The credentials of a user other than a client certificate and a plugin.
pub(super) fn of_user(user: &User, now: Timestamp) -> Result<Credentials, ConnectError> {
    let token = match user.token.expose_secret() {
        "" => None,
        token => Some(bearer(token).ok_or(ConnectError::Token(INVALID_TOKEN))?),
    };
    if !user.token_file.is_empty() {
        // As in kubectl, a file that can be read takes precedence over a token.
        let file = TokenFile::new(PathBuf::from(&user.token_file), token)?;
        return Ok(Credentials::File(file));
    }
    if let Some(header) = token {
        return Ok(Credentials::Header(header));
    }
    if !user.username.is_empty() {
        let header = header::basic_auth(&user.username, user.password.expose_secret());
        return Ok(header.map_or(Credentials::None, Credentials::Header));
    }
    match &user.auth_provider {
        Some(provider) => of_provider(provider, now).map(Credentials::Header),
        None => Ok(Credentials::None),
    }
}

/// kubectl has removed all auth providers but `oidc`.
fn of_provider(provider: &AuthProvider, now: Timestamp) -> Result<HeaderValue, ConnectError> {
    let name = provider.name.escape_default();
    if provider.name != "oidc" {
        return Err(ConnectError::Kubeconfig(format!(
            "its auth-provider `{name}` is not supported. Use a credential plugin (`exec`), as kubectl requires since v1.26"
        )));
    }
    let token = provider.config.get("id-token").map(String::as_str);
    let valid = token.filter(|token| expiry_of(token).is_some_and(|expires| expires > now));
    valid.and_then(bearer).ok_or_else(|| {
        ConnectError::Kubeconfig(
            "the id-token of its auth-provider `oidc` is missing or has expired. Run kubectl once to renew it, or use a credential plugin (`exec`)"
                .to_owned(),
        )
    })
}

/// The `exp` of a JSON web token.
fn expiry_of(token: &str) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: i64,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Timestamp::from_second(claims.exp).ok()
}

/// The headers that impersonate another user.
pub(super) fn impersonation(user: &User) -> Result<HeaderMap, ConnectError> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| {
            ConnectError::Kubeconfig(
                "a user or group to impersonate contains a control character".to_owned(),
            )
        })
    };
    if user.impersonate.is_empty() {
        return Ok(headers);
    }
    headers.insert("impersonate-user", value(&user.impersonate)?);
    if !user.impersonate_uid.is_empty() {
        headers.insert("impersonate-uid", value(&user.impersonate_uid)?);
    }
    for group in &user.impersonate_groups {
        headers.append("impersonate-group", value(group)?);
    }
    for (key, values) in &user.impersonate_extra {
        let name = format!("impersonate-extra-{}", escaped_key(key));
        let name = HeaderName::try_from(name).map_err(|_| {
            ConnectError::Kubeconfig("a key of `as-user-extra` is not valid".to_owned())
        })?;
        for text in values.iter().flatten() {
            headers.append(name.clone(), value(text)?);
        }
    }
    Ok(headers)
}

/// Escapes what a header name cannot contain, and `%`, as client-go does.
fn escaped_key(key: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").ok();
        }
    }
    escaped
}
