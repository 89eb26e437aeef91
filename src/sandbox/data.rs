//! The encoding of a Secret's data on the wire.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Base64, as `data` holds it.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes behind; None where the text is no base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
