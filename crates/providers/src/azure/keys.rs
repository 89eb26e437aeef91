//! Keys of Azure Key Vault: the permission `keys/decrypt`.

use azure_core::http::{ClientOptions, RetryOptions};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use eso_model::StoreKey;
use secret::Value;
use serde_json::json;

use super::{
    login::{self, Login},
    settings::Settings,
};
use crate::{Ambient, Identity, StoreSettings, Unread, kms, unread};

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
        cloud: Some(std::sync::Arc::new(cloud.configuration())),
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
    let plaintext = kms::post(kms::http()?, request, "value").await?;
    kms::decoded(&plaintext)
}
