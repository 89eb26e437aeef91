//! The exchange of a signed assertion for an access token (RFC 7523), with the key of a service account.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cluster::native::Token;
use jiff::Timestamp;
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey,
};
use secret::Value;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{SCOPES, failed, renewed};
use crate::{Unread, key_service};

/// How long the assertion is valid, in seconds: the longest time that Google accepts.
const VALID: i64 = 3600;

/// The largest answer.
const MAX_ANSWER: usize = 64 << 10;

/// The key of a service account.
pub(super) struct Key {
    email: String,
    id: Option<String>,
    /// The endpoint for tokens.
    address: String,
    signer: Arc<dyn SigningKey>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

impl Key {
    pub(super) fn of(json: &Json) -> Result<Self, Unread> {
        let field = |name: &str| json.get(name).and_then(Json::as_str);
        let incomplete = || failed("the service account key is incomplete");
        let pem = field("private_key").ok_or_else(incomplete)?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| incomplete())?;
        Ok(Self {
            email: field("client_email").ok_or_else(incomplete)?.to_owned(),
            id: field("private_key_id").map(str::to_owned),
            address: field("token_uri").ok_or_else(incomplete)?.to_owned(),
            signer: any_supported_type(&key).map_err(|_| incomplete())?,
        })
    }

    pub(super) async fn token(&self, now: Timestamp) -> Result<Token, Unread> {
        // Base64 for URLs and dots need no escapes in a form.
        let form = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
            self.assertion(now)?
        );
        let sent = key_service::http()?
            .post(&self.address)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await;
        let mut answer = sent.map_err(|error| Unread::no_answer(&error))?;
        let status = answer.status().as_u16();
        let mut body = zeroize::Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| Unread::no_answer(&error))?
        {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(failed("Google's answer to the login is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        if status != 200 {
            return Err(failed(format!("Google answers the login with {status}")));
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| failed("Google's answer to the login is invalid"))?;
        Ok(Token {
            token: Value::new(answer.access_token.into_bytes()),
            renewed: renewed(now, answer.expires_in),
        })
    }

    /// A JSON web token that says who asks for which scopes.
    fn assertion(&self, now: Timestamp) -> Result<String, Unread> {
        let start = now.as_second();
        let head = match &self.id {
            Some(id) => json!({"alg": "RS256", "typ": "JWT", "kid": id}),
            None => json!({"alg": "RS256", "typ": "JWT"}),
        };
        let claims = json!({"iss": self.email, "scope": SCOPES.join(" "), "aud": self.address, "iat": start, "exp": start + VALID});
        let encode = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(&head), encode(&claims));
        let not_rsa = || failed("the key of the service account is not an RSA key");
        let scheme = self
            .signer
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signature = scheme.ok_or_else(not_rsa)?.sign(signed.as_bytes());
        let signature = signature.map_err(|_| not_rsa())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
