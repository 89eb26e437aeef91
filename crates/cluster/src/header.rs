//! The values of `Authorization` headers.

use http::HeaderValue;

/// Why [`bearer`] returned None.
pub(super) const INVALID_TOKEN: &str = "the token contains a line break or a control character";

/// The `Authorization` header for a token. None if the token cannot be sent.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The `Authorization` header for a user name and a password.
pub(super) fn basic_auth(user: &str, password: &str) -> Option<HeaderValue> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
