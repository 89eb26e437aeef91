//! The job's own service account tokens, for logins at providers.
//!
//! A provider that receives a token for the API server can use it there, with all the job's rights. So a login needs a token
//! with an audience of its own, which the API server refuses.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secret::Value;
use serde_json::Value as Json;

use super::Ambient;
use crate::{Unread, unread};

/// The file with the Pod's token for the API server.
const OF_API_SERVER: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The start of the usual audience of API servers.
const USUAL: &str = "https://kubernetes.default";

/// A file with a service account token of the job.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    /// The environment variable that names another file.
    variable: &'static str,
    /// True if it may be a token for the API server.
    any_audience: bool,
    /// The file with the token for the API server.
    of_api_server: PathBuf,
}

impl TokenFile {
    /// The file that this variable names, or the Pod's token for the API server.
    pub(crate) fn of(ambient: &Ambient, variable: &'static str) -> Self {
        let named = ambient.environment.get(variable);
        let named = named.filter(|path| !path.is_empty());
        Self::at(named.map_or(OF_API_SERVER, |path| path), variable, ambient)
    }

    /// This file. Errors tell the user to name another file in this variable.
    pub(crate) fn at(path: &str, variable: &'static str, ambient: &Ambient) -> Self {
        Self {
            path: path.into(),
            variable,
            any_audience: ambient.api_server_token,
            of_api_server: OF_API_SERVER.into(),
        }
    }

    /// Returns the token, unless the API server would accept it.
    pub(crate) async fn read(&self) -> Result<Value, Unread> {
        let token = read(&self.path).await.map_err(|error| {
            let detail = format!("cannot read {}: {error}", self.path.display());
            Unread::store(unread::LOGIN, detail)
        })?;
        if self.any_audience {
            return Ok(token);
        }
        let known = read(&self.of_api_server).await.ok();
        if is_for_api_server(token.expose(), known.as_ref().map(Value::expose)) {
            return Err(Unread::store(
                unread::LOGIN,
                format!(
                    "the API server accepts the token in {}, so it is not sent to a provider. Mount a projected token with an \
                     audience of its own and name its file in {}, or use --allow api-server-token",
                    self.path.display(),
                    self.variable
                ),
            ));
        }
        Ok(token)
    }
}

async fn read(path: &Path) -> std::io::Result<Value> {
    let bytes = tokio::fs::read(path).await.map(Value::new)?;
    Ok(Value::from(bytes.expose().trim_ascii()))
}

/// True if the API server may accept this token. `known` is a token that it accepts. An API server accepts its issuer as the
/// audience, unless it is configured otherwise, and tokens from before audiences.
fn is_for_api_server(token: &[u8], known: Option<&[u8]>) -> bool {
    if known == Some(token) {
        return true;
    }
    let Some(claims) = claims(token) else {
        return false;
    };
    let audiences = audiences(&claims);
    let known = known.and_then(claims_of_known).unwrap_or_default();
    let issuer = claims.get("iss").and_then(Json::as_str).unwrap_or_default();
    let of_kubernetes =
        claims.get("kubernetes.io").is_some() || issuer == "kubernetes/serviceaccount";
    (audiences.is_empty() && of_kubernetes)
        || audiences.contains(issuer)
        || audiences.iter().any(|audience| audience.starts_with(USUAL))
        || !audiences.is_disjoint(&known)
}

fn claims_of_known(token: &[u8]) -> Option<BTreeSet<String>> {
    claims(token).map(|claims| audiences(&claims))
}

/// The claims of a JWT, whose signature is not checked.
fn claims(token: &[u8]) -> Option<Json> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let json = URL_SAFE_NO_PAD.decode(payload.trim_ascii_end()).ok()?;
    serde_json::from_slice(&json).ok()
}

/// The audiences: a text or a list.
fn audiences(claims: &Json) -> BTreeSet<String> {
    let audience = claims.get("aud").unwrap_or(&Json::Null);
    let list = audience.as_array().into_iter().flatten();
    list.chain([audience])
        .filter_map(Json::as_str)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://oidc.example/id";

    fn jwt(claims: &Json) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn projected(audience: &Json) -> String {
        jwt(
            &json!({"iss": ISSUER, "aud": audience, "sub": "system:serviceaccount:eso-sync:eso-sync",
            "kubernetes.io": {"namespace": "eso-sync"}}),
        )
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    /// What is sent of a token file, if this is the Pod's token for the API server.
    async fn sent(token: &str, of_api_server: &str, allowed: bool) -> Result<String, String> {
        let (own, other) = (file(token), file(of_api_server));
        let ambient = Ambient {
            api_server_token: allowed,
            ..Ambient::default()
        };
        let mut token = TokenFile::at(own.path().to_str().unwrap(), "TOKEN_FILE", &ambient);
        token.of_api_server = other.path().into();
        let read = token.read().await;
        read.map(|token| String::from_utf8(token.expose().to_vec()).unwrap())
            .map_err(|unread| unread.why.to_string())
    }

    #[tokio::test]
    async fn a_token_for_the_api_server_is_sent_only_with_its_flag() {
        let of_api_server = projected(&json!(["https://api.example", "k3s"]));
        for token in [
            // The very same token, and another one for an audience of it.
            of_api_server.clone(),
            projected(&json!("k3s")),
            projected(&json!(["vault", "https://api.example"])),
            // By convention, also if the Pod has no token for the API server.
            projected(&json!([ISSUER])),
            projected(&json!(["https://kubernetes.default.svc"])),
            projected(&json!(["https://kubernetes.default.svc.cluster.local"])),
            // A token without an audience: from a Secret.
            jwt(&json!({"iss": "kubernetes/serviceaccount"})),
            projected(&json!([])),
            projected(&json!(null)),
        ] {
            let refused = sent(&token, &of_api_server, false).await.unwrap_err();
            assert!(refused.contains("name its file in TOKEN_FILE"), "{refused}");
            assert!(refused.contains("--allow api-server-token"), "{refused}");
            assert!(!refused.contains("e30."), "no token is quoted: {refused}");
            assert_eq!(sent(&token, &of_api_server, true).await, Ok(token));
        }
        let opaque = "not-a-jwt";
        assert!(sent(opaque, opaque, false).await.is_err());
    }

    #[tokio::test]
    async fn a_token_with_its_own_audience_is_sent() {
        let of_api_server = projected(&json!([ISSUER]));
        for token in [
            projected(&json!(["vault"])),
            projected(&json!("sts.amazonaws.com")),
            // Of another issuer, such as a pipeline.
            jwt(&json!({"iss": "https://token.example", "aud": "vault"})),
            "a.b.c".to_owned(),
            "opaque".to_owned(),
        ] {
            let sent = sent(&format!("{token}\n"), &of_api_server, false).await;
            assert_eq!(sent, Ok(token));
        }
    }
}
