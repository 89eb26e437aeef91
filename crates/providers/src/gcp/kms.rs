//! GCP KMS: `cloudkms.cryptoKeyVersions.useToDecrypt`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use google_cloud_auth::credentials::CacheableResource;
use secret::Value;
use serde_json::json;

use super::login;
use crate::{Ambient, Unread, key_service, unread};

/// The endpoint override of `gcloud`.
const ELSEWHERE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS";

pub(crate) async fn decrypt(
    resource: &str,
    encrypted: &[u8],
    ambient: &Ambient,
) -> Result<Value, Unread> {
    if !is_resource(resource) {
        return Err(Unread::secret(
            unread::UNSUPPORTED,
            "the key of GCP KMS is not `projects/…/locations/…/keyRings/…/cryptoKeys/…`",
        ));
    }
    let endpoint = ambient
        .environment
        .get(ELSEWHERE)
        .filter(|url| !url.is_empty());
    if let Some(url) = endpoint {
        Ambient::over_tls(ELSEWHERE, url)?;
    }
    let endpoint = endpoint.map_or("https://cloudkms.googleapis.com", |url| {
        url.trim_end_matches('/')
    });
    let failed = || {
        Unread::store(
            unread::LOGIN,
            "the credentials for GCP KMS could not be fetched",
        )
    };
    let credentials = login::of_job(ambient).await?;
    let first = credentials.headers(http::Extensions::new());
    let headers = match tokio::time::timeout(login::ANSWER, first).await {
        Ok(Ok(CacheableResource::New { data, .. })) => data,
        Ok(Ok(CacheableResource::NotModified) | Err(_)) | Err(_) => return Err(failed()),
    };
    let body = json!({"ciphertext": STANDARD.encode(encrypted)});
    let mut request = http::Request::post(format!("{endpoint}/v1/{resource}:decrypt"))
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .map_err(|_| failed())?;
    request.headers_mut().extend(headers);
    let plaintext = key_service::post(key_service::http()?, request, "plaintext").await?;
    key_service::decoded(&plaintext)
}

/// True for the name of a key, which cannot change the rest of the address.
fn is_resource(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let is_word = |part: &str| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        !matches!(part, "" | "." | "..") && part.bytes().all(is_good)
    };
    matches!(
        *parts,
        [
            "projects",
            _,
            "locations",
            _,
            "keyRings",
            _,
            "cryptoKeys",
            _
        ]
    ) && parts.iter().all(|part| is_word(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_whole_resource_and_no_other_part_of_an_address() {
        assert!(is_resource(
            "projects/p/locations/global/keyRings/r/cryptoKeys/k"
        ));
        for bad in [
            "projects/p/locations/global/keyRings/r",
            "projects/p/locations/global/keyRings/r/cryptoKeys/..",
            "projects/p/locations/global/keyRings/r/cryptoKeys/k?x",
            "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "/projects/p/locations/global/keyRings/r/cryptoKeys",
        ] {
            assert!(!is_resource(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_key_of_gcp_decrypts() {
        use crate::double::{Double, Reply};
        let double = Double::plain(|call| match call.path() {
            "/token" => Reply::new(
                200,
                json!({"access_token": "exchanged", "token_type": "Bearer", "expires_in": 3600,
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}),
            )
            .with("content-type", "application/json"),
            "/v1/projects/p/locations/global/keyRings/r/cryptoKeys/k:decrypt" => {
                assert_eq!(call.header("authorization"), "Bearer exchanged");
                assert_eq!(call.body, r#"{"ciphertext":"/+8="}"#);
                Reply::new(
                    200,
                    json!({"plaintext": "cGxhaW4=", "plaintextCrc32c": "1"}),
                )
            }
            _ => Reply::new(403, json!({"error": {"code": 403, "message": "hunter2"}})),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let (token, file) = (folder.path().join("token"), folder.path().join("file"));
        std::fs::write(&token, "jwt").unwrap();
        let url = format!("http://{}", double.address);
        let credentials = json!({"type": "external_account", "audience": "a", "token_url": format!("{url}/token"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": {"file": token}});
        std::fs::write(&file, credentials.to_string()).unwrap();
        let variables = [
            ("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap()),
            (ELSEWHERE, &*url),
        ];
        let ambient = Ambient {
            environment: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Ambient::default()
        };
        let key = "projects/p/locations/global/keyRings/r/cryptoKeys/";
        let decrypted = decrypt(&format!("{key}k"), &[0xff, 0xef], &ambient).await;
        assert!(decrypted.is_ok_and(|value| value.expose() == b"plain"));
        let denied = decrypt(&format!("{key}other"), &[0xff, 0xef], &ambient).await;
        let denied = denied.err().unwrap().why;
        assert_eq!(denied.reason, unread::DENIED);
        assert!(!denied.detail.contains("hunter2"));
    }
}
