//! Keys of Azure Key Vault: the permission `keys/decrypt`.

use std::sync::Arc;

use azure_core::http::{ClientOptions, RetryOptions, Transport};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use eso_model::StoreKey;
use secret::Value;
use serde_json::json;

use super::{
    login::{self, Login},
    settings::Settings,
};
use crate::{Ambient, Identity, StoreSettings, Unread, key_service, unread};

const API: &str = "7.4";

/// The clouds: the suffix of vaults' hosts, the environment as a store names it, and the scope of tokens.
const CLOUDS: [(&str, &str, &str); 3] = [
    (
        ".vault.azure.net",
        "PublicCloud",
        "https://vault.azure.net/.default",
    ),
    (
        ".vault.usgovcloudapi.net",
        "USGovernmentCloud",
        "https://vault.usgovcloudapi.net/.default",
    ),
    (
        ".vault.azure.cn",
        "ChinaCloud",
        "https://vault.azure.cn/.default",
    ),
];

pub(crate) async fn decrypt(
    key: [&str; 3],
    encrypted: &[u8],
    ambient: &Ambient,
) -> Result<Value, Unread> {
    decrypt_by(key_service::http()?, key, encrypted, ambient).await
}

/// Decrypts with this HTTP client.
async fn decrypt_by(
    http: reqwest::Client,
    [vault, name, version]: [&str; 3],
    encrypted: &[u8],
    ambient: &Ambient,
) -> Result<Value, Unread> {
    let is_word = |text: &str| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=127).contains(&text.len()) && text.bytes().all(is_good)
    };
    if !is_word(name) || !is_word(version) {
        return Err(Unread::secret(
            unread::UNSUPPORTED,
            "the name or the version of the key of Key Vault is invalid",
        ));
    }
    let vault = vault.trim_end_matches('/');
    let known = CLOUDS.iter().find(|(suffix, _, _)| vault.ends_with(suffix));
    // Other addresses must be named by the policy.
    let (suffix, environment, scope) = known.unwrap_or(&CLOUDS[0]);
    ambient.may_go_to(vault, &[suffix])?;
    if let Some(authority) = login::authority(ambient) {
        Ambient::over_tls("AZURE_AUTHORITY_HOST", &authority)?;
    }
    let settings = json!({"vaultUrl": vault, "environmentType": environment});
    let key = StoreKey::Cluster {
        name: name.to_owned(),
    };
    let store = StoreSettings::new(key, "azurekv", settings);
    let settings = Settings::of(&store.settings)?;
    let mut cloud = settings.cloud()?;
    cloud.authority = login::authority(ambient).unwrap_or(cloud.authority);
    let options = ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(http.clone()))),
        cloud: Some(Arc::new(cloud.configuration())),
        ..ClientOptions::default()
    };
    let failed = || Unread::store(unread::LOGIN, "the login for Key Vault failed");
    let login = Login::of(&settings, Identity::Ambient(ambient)).await?;
    let credential = login.credential(options).map_err(|_| failed())?;
    let token = credential
        .get_token(&[scope], None)
        .await
        .map_err(|_| failed())?;
    let body = json!({"alg": "RSA-OAEP-256", "value": URL_SAFE_NO_PAD.encode(encrypted)});
    let mut authorization = http::HeaderValue::try_from(format!("Bearer {}", token.token.secret()))
        .map_err(|_| failed())?;
    authorization.set_sensitive(true);
    let request = http::Request::post(format!(
        "{vault}/keys/{name}/{version}/decrypt?api-version={API}"
    ))
    .header("content-type", "application/json")
    .header("authorization", authorization)
    .body(body.to_string().into_bytes())
    .map_err(|_| failed())?;
    let plaintext = key_service::post(http, request, "value").await?;
    key_service::decoded(&plaintext)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::double::{Certificate, Double, Reply};

    const HOSTS: [&str; 2] = ["kv.vault.azure.net", "login.microsoftonline.com"];

    fn ambient() -> Ambient {
        let variables = [
            ("AZURE_CLIENT_ID", "client"),
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_SECRET", "hunter2"),
        ];
        Ambient {
            environment: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Ambient::default()
        }
    }

    async fn decrypted(key: [&str; 3], status: u16) -> (Result<Value, Unread>, Vec<String>) {
        let certificate = Certificate::self_signed(&HOSTS);
        let authority = reqwest::Certificate::from_pem(certificate.authority.as_bytes());
        let double = Double::tls(certificate, move |call| {
            if call.path().ends_with("/token") {
                return Reply::new(
                    200,
                    r#"{"token_type": "Bearer", "expires_in": 3600, "access_token": "token"}"#,
                )
                .with("content-type", "application/json");
            }
            assert_eq!(call.header("authorization"), "Bearer token");
            let asked: serde_json::Value = serde_json::from_str(&call.body).unwrap();
            assert_eq!(asked, json!({"alg": "RSA-OAEP-256", "value": "_-8"}));
            Reply::new(status, json!({"kid": "x", "value": "cGxhaW4"}))
        })
        .await;
        let mut builder = reqwest::Client::builder().tls_certs_only([authority.unwrap()]);
        for host in HOSTS {
            builder = builder.resolve(host, double.address);
        }
        let http = builder.build().unwrap();
        let result = decrypt_by(http, key, &[0xff, 0xef], &ambient()).await;
        (result, double.asked())
    }

    const KEY: [&str; 3] = ["https://kv.vault.azure.net", "sops", "1"];

    #[tokio::test]
    async fn a_key_of_key_vault_decrypts() {
        let (result, asked) = decrypted(KEY, 200).await;
        assert!(result.is_ok_and(|value| value.expose() == b"plain"));
        assert_eq!(asked.last().unwrap(), "POST /keys/sops/1/decrypt");
        let (result, _) = decrypted(KEY, 403).await;
        assert_eq!(result.err().unwrap().why.reason, unread::DENIED);
    }

    #[tokio::test]
    async fn a_file_cannot_send_credentials_to_another_host() {
        for key in [
            ["https://evil.example", "sops", "1"],
            ["https://evil.example/.vault.azure.net", "sops", "1"],
            ["https://kv.vault.azure.net:8443", "sops", "1"],
            ["http://kv.vault.azure.net", "sops", "1"],
            ["https://user@kv.vault.azure.net", "sops", "1"],
            ["https://kv.vault.azure.net", "../secrets", "1"],
            ["https://kv.vault.azure.net", "sops", "1/x?"],
        ] {
            let (result, asked) = decrypted(key, 200).await;
            assert!(result.is_err(), "{key:?}");
            assert_eq!(asked, Vec::<String>::new(), "{key:?}");
        }
    }
}
