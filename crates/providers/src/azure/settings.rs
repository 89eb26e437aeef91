//! The settings of an Azure Key Vault store.

use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    http::Url,
};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::{Receiver, Unread, unread};

/// `spec.provider.azurekv`. Unknown fields are rejected because they may change what is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    vault_url: String,
    #[serde(default)]
    pub(super) auth_type: AuthType,
    #[serde(default)]
    pub(super) tenant_id: Option<String>,
    #[serde(default)]
    environment_type: Environment,
    #[serde(default)]
    pub(super) auth_secret_ref: Option<AuthSecretRef>,
    #[serde(default)]
    pub(super) service_account_ref: Option<Json>,
    /// Selects one of the identities of the operator's Pod.
    #[serde(default, rename = "identityId")]
    _identity_id: Option<String>,
    #[serde(default, rename = "useAzureSDK")]
    use_azure_sdk: Option<bool>,
    #[serde(default)]
    custom_cloud_config: Option<CustomCloud>,
}

/// `authType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum AuthType {
    #[default]
    ServicePrincipal,
    ManagedIdentity,
    WorkloadIdentity,
}

/// `authSecretRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AuthSecretRef {
    pub(super) client_id: Option<Json>,
    pub(super) tenant_id: Option<Json>,
    pub(super) client_secret: Option<Json>,
    pub(super) client_certificate: Option<Json>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Environment {
    #[default]
    #[serde(rename = "PublicCloud")]
    Public,
    #[serde(rename = "USGovernmentCloud")]
    UsGovernment,
    #[serde(rename = "ChinaCloud")]
    China,
    #[serde(rename = "GermanCloud")]
    German,
    #[serde(rename = "AzureStackCloud")]
    AzureStack,
}

/// `customCloudConfig`. Only its first endpoint is used, as in the operator: secrets are at `vaultUrl`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CustomCloud {
    active_directory_endpoint: String,
    #[serde(default, rename = "keyVaultEndpoint")]
    _key_vault_endpoint: Option<String>,
    #[serde(default, rename = "keyVaultDNSSuffix")]
    _key_vault_dns_suffix: Option<String>,
    #[serde(default, rename = "resourceManagerEndpoint")]
    _resource_manager_endpoint: Option<String>,
}

/// An Azure cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cloud {
    /// The login endpoint.
    pub(super) authority: String,
    /// The host suffix of its vaults, or None for a custom cloud.
    pub(super) vaults: Option<&'static str>,
}

impl Cloud {
    fn of(authority: &str, vaults: &'static str) -> Self {
        Self {
            authority: authority.to_owned(),
            vaults: Some(vaults),
        }
    }

    pub(super) fn public() -> Self {
        Self::of("https://login.microsoftonline.com", ".vault.azure.net")
    }

    pub(super) fn us_government() -> Self {
        Self::of(
            "https://login.microsoftonline.us",
            ".vault.usgovcloudapi.net",
        )
    }

    pub(super) fn china() -> Self {
        Self::of("https://login.chinacloudapi.cn", ".vault.azure.cn")
    }

    /// Creates the configuration type of the SDK.
    pub(super) fn configuration(&self) -> CloudConfiguration {
        let mut custom = CustomConfiguration::default();
        custom.authority_host.clone_from(&self.authority);
        custom.into()
    }
}

impl Settings {
    /// Parses the settings.
    pub(super) fn of(settings: &Json) -> Result<Self, Unread> {
        Self::deserialize(settings).map_err(|error| unsupported(crate::not_understood(&error)))
    }

    /// The URL of the vault. Azure's client sends no token over HTTP.
    pub(super) fn vault(&self) -> Result<Url, Unread> {
        Url::parse(&self.vault_url)
            .ok()
            .filter(|url| url.scheme() == "https" && url.host().is_some())
            .ok_or_else(|| unsupported("vaultUrl is not an https URL"))
    }

    /// Where the store sends credentials: its vault, and in a custom cloud also the login endpoint, unless that is set elsewhere.
    pub(super) fn receivers(&self, chooses_login: bool) -> Result<Vec<Receiver>, Unread> {
        let Cloud { authority, vaults } = self.cloud()?;
        let mut all = vec![(self.vault()?.into(), vaults.into_iter().collect())];
        if vaults.is_none() && chooses_login {
            all.push((authority, Vec::new()));
        }
        Ok(all)
    }

    pub(super) fn cloud(&self) -> Result<Cloud, Unread> {
        Ok(match self.environment_type {
            Environment::Public => Cloud::public(),
            Environment::UsGovernment => Cloud::us_government(),
            Environment::China => Cloud::china(),
            Environment::German => {
                return Err(unsupported(
                    "environmentType GermanCloud was closed in 2021",
                ));
            }
            Environment::AzureStack => self.custom_cloud()?,
        })
    }

    fn custom_cloud(&self) -> Result<Cloud, Unread> {
        if self.use_azure_sdk != Some(true) {
            return Err(unsupported(
                "the operator refuses AzureStackCloud without `useAzureSDK: true`",
            ));
        }
        let custom = self.custom_cloud_config.as_ref().ok_or_else(|| {
            unsupported("AzureStackCloud needs customCloudConfig.activeDirectoryEndpoint")
        })?;
        // The client keeps only the origin, so an authority below a path (AD FS) would not work.
        Url::parse(&custom.active_directory_endpoint)
            .ok()
            .filter(|url| url.scheme() == "https" && url.path() == "/")
            .ok_or_else(|| {
                unsupported(
                    "customCloudConfig.activeDirectoryEndpoint must be an https URL without a path",
                )
            })?;
        Ok(Cloud {
            authority: custom.active_directory_endpoint.clone(),
            vaults: None,
        })
    }
}

/// An error for a store with unsupported settings.
pub(super) fn unsupported(detail: impl std::fmt::Display) -> Unread {
    Unread::store(
        unread::UNSUPPORTED,
        format!("spec.provider.azurekv: {detail}"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cloud(settings: Json) -> Result<Cloud, String> {
        let mut settings = settings;
        settings["vaultUrl"] = json!("https://kv.vault.azure.net");
        Settings::of(&settings)
            .and_then(|settings| settings.cloud())
            .map_err(|unread| unread.why.detail)
    }

    #[test]
    fn each_cloud_has_its_own_hosts() {
        let of = |environment: &str| cloud(json!({"environmentType": environment}));
        assert_eq!(cloud(json!({})), of("PublicCloud"));
        assert_eq!(
            of("USGovernmentCloud").unwrap().vaults,
            Some(".vault.usgovcloudapi.net")
        );
        assert_eq!(
            of("ChinaCloud").unwrap().authority,
            "https://login.chinacloudapi.cn"
        );
        assert!(of("GermanCloud").unwrap_err().contains("GermanCloud"));
        assert!(of("Moon").unwrap_err().contains("unknown variant `Moon`"));
    }

    #[test]
    fn custom_cloud_has_no_trusted_hosts() {
        let custom = |endpoint: &str, sdk: bool| {
            cloud(
                json!({"environmentType": "AzureStackCloud", "useAzureSDK": sdk,
                "customCloudConfig": {"activeDirectoryEndpoint": endpoint, "keyVaultDNSSuffix": "vault.corp"}}),
            )
        };
        let cloud = custom("https://login.corp/", true).unwrap();
        assert_eq!(cloud.vaults, None);
        assert_eq!(cloud.authority, "https://login.corp/");
        assert!(
            custom("https://login.corp/", false)
                .unwrap_err()
                .contains("useAzureSDK")
        );
        assert!(
            custom("https://adfs.corp/adfs", true)
                .unwrap_err()
                .contains("without a path")
        );
        assert!(custom("http://login.corp/", true).is_err());
    }

    #[test]
    fn vault_url_requires_https() {
        let settings = Settings::of(&json!({"vaultUrl": "http://kv.vault.azure.net"})).unwrap();
        assert_eq!(
            settings.vault().unwrap_err().why.reason,
            unread::UNSUPPORTED
        );
        let unknown =
            Settings::of(&json!({"vaultUrl": "https://kv.vault.azure.net", "vaultUri": ""}));
        assert!(unknown.unwrap_err().why.detail.contains("vaultUri"));
    }
}
