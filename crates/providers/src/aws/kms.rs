//! AWS KMS: `kms:Decrypt`, signed by hand, because an SDK only for this call is large.

use std::{collections::BTreeMap, time::SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use eso_model::StoreKey;
use pace::Clock;
use secret::Value;
use serde_json::json;

use super::{Settings, is_region, login::Login};
use crate::{Ambient, Identity, StoreSettings, Unread, key_service, unread};

pub(crate) async fn decrypt(
    arn: &str,
    context: &BTreeMap<String, String>,
    encrypted: &[u8],
    ambient: &Ambient,
    clock: Clock,
) -> Result<Value, Unread> {
    let (region, suffix) = region_of(arn).ok_or_else(|| {
        Unread::secret(
            unread::UNSUPPORTED,
            "the key of AWS KMS is not an ARN with a region",
        )
    })?;
    let settings = json!({"service": "SecretsManager", "region": region});
    let name = arn.to_owned();
    let store = StoreSettings::new(StoreKey::Cluster { name }, "aws", settings);
    let login = Login::new(Settings::of(&store)?, Identity::Ambient(ambient));
    let config = login.config().await?;
    let endpoint = login.endpoint("KMS").map(str::to_owned);
    let endpoint = endpoint.unwrap_or_else(|| format!("https://kms.{region}.{suffix}"));
    let body = json!({
        "KeyId": arn,
        "EncryptionContext": context,
        "CiphertextBlob": STANDARD.encode(encrypted),
    });
    let failed = || Unread::store(unread::LOGIN, "the request to AWS KMS cannot be signed");
    let provider = config.credentials_provider().ok_or_else(failed)?;
    let credentials = provider.provide_credentials().await.map_err(|_| failed())?;
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kms")
        .time(SystemTime::from(clock.now()))
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| failed())?;
    let address = format!("{}/", endpoint.trim_end_matches('/'));
    let mut request = http::Request::post(&address)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "TrentService.Decrypt")
        .body(body.to_string().into_bytes())
        .map_err(|_| failed())?;
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable = SignableRequest::new(
        "POST",
        &address,
        headers,
        SignableBody::Bytes(request.body()),
    )
    .map_err(|_| failed())?;
    let signed = sign(signable, &parameters.into()).map_err(|_| failed())?;
    let (instructions, _) = signed.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    let plaintext = key_service::post(key_service::http()?, request, "Plaintext").await?;
    key_service::decoded(&plaintext)
}

/// The region of a key, and the domain of its partition. Only AWS's own hosts get credentials.
fn region_of(arn: &str) -> Option<(&str, &'static str)> {
    let mut parts = arn.split(':');
    let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let region = parts.next().filter(|region| is_region(region))?;
    let suffix = match partition {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        _ => return None,
    };
    (arn == "arn" && service == "kms" && !region.is_empty()).then_some((region, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_chooses_only_the_region() {
        let aws = region_of("arn:aws:kms:eu-west-1:123456789012:key/a");
        assert_eq!(aws, Some(("eu-west-1", "amazonaws.com")));
        let china = region_of("arn:aws-cn:kms:cn-north-1:123456789012:alias/a");
        assert_eq!(china, Some(("cn-north-1", "amazonaws.com.cn")));
        for bad in [
            "alias/a",
            "arn:aws:kms::123456789012:key/a",
            "arn:aws:kms:evil.example/:1:key/a",
            "arn:aws:kms:a.b:1:key/a",
            "arn:evil:kms:eu-west-1:1:key/a",
            "arn:aws:s3:eu-west-1:1:key/a",
        ] {
            assert_eq!(region_of(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn the_request_is_signed_for_the_region_of_the_key() {
        use crate::double::{Double, Reply};
        let double = Double::plain(|call| {
            if call.body.contains("denied") {
                let error = json!({"__type": "AccessDeniedException", "message": "hunter2"});
                return Reply::new(400, error);
            }
            Reply::new(200, json!({"KeyId": "x", "Plaintext": "cGxhaW4="}))
        })
        .await;
        let url = format!("http://{}", double.address);
        let variables = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
            ("AWS_ENDPOINT_URL_KMS", &*url),
        ];
        let ambient = Ambient {
            environment: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Ambient::default()
        };
        let clock = Clock::starting_at("2026-01-02T03:04:05Z".parse().unwrap());
        let context = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
        let arn = "arn:aws:kms:eu-west-1:123456789012:key/a";
        let decrypted = decrypt(arn, &context, b"x", &ambient, clock).await;
        assert!(decrypted.is_ok_and(|value| value.expose() == b"plain"));
        let call = double.calls().pop().unwrap();
        assert_eq!(call.header("x-amz-target"), "TrentService.Decrypt");
        let signed = call.header("authorization");
        let scope = "AWS4-HMAC-SHA256 Credential=id/20260102/eu-west-1/kms/aws4_request";
        assert!(
            signed.starts_with(scope) && signed.contains("x-amz-target"),
            "{signed}"
        );
        let body: serde_json::Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!(
            body,
            json!({"KeyId": arn, "EncryptionContext": {"app": "shop"}, "CiphertextBlob": "eA=="})
        );
        let denied = decrypt(&format!("{arn}-denied"), &context, b"x", &ambient, clock).await;
        let denied = denied.err().unwrap().why;
        assert_eq!(denied.reason, unread::DENIED);
        assert!(!denied.detail.contains("hunter2"));
    }
}
