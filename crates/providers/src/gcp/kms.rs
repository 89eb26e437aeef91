//! GCP KMS: `cloudkms.cryptoKeyVersions.useToDecrypt`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use google_cloud_auth::credentials::CacheableResource;
use secret::Value;
use serde_json::json;

use super::login;
use crate::{Ambient, Unread, kms, unread};

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
    let plaintext = kms::post(kms::http()?, request, "plaintext").await?;
    kms::decoded(&plaintext)
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
}
