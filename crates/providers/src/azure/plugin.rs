//! Tokens for AKS, as `kubelogin get-token` makes them: an access token for the server's application. Only the logins that need
//! neither a person nor another program are possible.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use azure_core::http::ClientOptions;
use cluster::native::{Call, Source, Token};
use jiff::Timestamp;
use secret::Value;

use super::{
    client,
    fault::Fault,
    login::{Assertion, FEDERATED, Login},
    settings::Cloud,
};
use crate::{
    Ambient, Unread,
    arguments::{Arguments, Flag, switch, value},
    credentials::TokenFile,
    unread,
};

/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_mins(1);

const LOGINS: &str = "--login workloadidentity, spn (with a client secret) and msi";

/// The clouds, as kubelogin names them, and their login endpoints.
const CLOUDS: [(&str, &str); 4] = [
    ("AzurePublicCloud", "https://login.microsoftonline.com"),
    ("AzureUSGovernmentCloud", "https://login.microsoftonline.us"),
    ("AzureUSGovernment", "https://login.microsoftonline.us"),
    ("AzureChinaCloud", "https://login.chinacloudapi.cn"),
];

/// What the arguments and the environment ask for. No `Debug`, because it may have a client secret.
pub(super) struct Wanted {
    scope: String,
    authority: String,
    login: LoginBy,
}

enum LoginBy {
    Secret {
        tenant: String,
        client: String,
        secret: String,
    },
    Token {
        tenant: String,
        client: String,
        file: String,
    },
    Machine {
        client: Option<String>,
        resource: Option<String>,
    },
}

/// `kubelogin get-token`.
pub(crate) fn source(call: &Call) -> Result<Source, String> {
    let wanted = Arc::new(parse(&call.arguments, &call.environment)?);
    Ok(Source {
        command: "kubelogin get-token",
        issue: Arc::new(move |_| {
            let wanted = Arc::clone(&wanted);
            Box::pin(async move {
                let token = match super::http() {
                    Ok(http) => wanted.token(http).await,
                    Err(unread) => Err(unread),
                };
                token.map_err(|unread| unread.why.detail)
            })
        }),
    })
}

/// The flags, with the environment, which takes precedence in kubelogin.
struct Chosen<'a> {
    flags: Arguments,
    environment: &'a BTreeMap<String, String>,
}

impl Chosen<'_> {
    /// The value of the last of these variables that is set, or else of the flag.
    fn get(&self, flag: &str, variables: &[&str]) -> Option<String> {
        let set = variables.iter().rev().find_map(|name| {
            let value = self.environment.get(*name)?;
            (!value.is_empty()).then_some(value.as_str())
        });
        set.or_else(|| self.flags.get(flag)).map(str::to_owned)
    }

    /// The same, for what Terraform has other variables for.
    fn get_or(&self, flag: &str, variables: &[&str], terraform: &str) -> Option<String> {
        if self.flags.is_set("--use-azurerm-env-vars") {
            self.get(flag, &[terraform])
        } else {
            self.get(flag, variables)
        }
    }

    fn tenant(&self) -> Result<String, String> {
        let tenant = self.get_or("--tenant-id", &["AZURE_TENANT_ID"], "ARM_TENANT_ID");
        tenant.ok_or_else(|| "the flag --tenant-id is missing".to_owned())
    }

    fn client(&self) -> Option<String> {
        let variables = ["AAD_SERVICE_PRINCIPAL_CLIENT_ID", "AZURE_CLIENT_ID"];
        self.get_or("--client-id", &variables, "ARM_CLIENT_ID")
    }

    fn secret(&self) -> Option<String> {
        let variables = ["AAD_SERVICE_PRINCIPAL_CLIENT_SECRET", "AZURE_CLIENT_SECRET"];
        self.get_or("--client-secret", &variables, "ARM_CLIENT_SECRET")
    }

    fn login(&self) -> Result<LoginBy, String> {
        let named = self.get("--login", &["AAD_LOGIN_METHOD"]);
        let named = named.unwrap_or_else(|| "devicecode".to_owned());
        let client = || self.client().ok_or("the flag --client-id is missing");
        match named.as_str() {
            "spn" => Ok(LoginBy::Secret {
                tenant: self.tenant()?,
                client: client()?,
                secret: self.secret().ok_or(
                    "the client secret is missing (--client-secret or AZURE_CLIENT_SECRET); certificates are not supported",
                )?,
            }),
            "workloadidentity" => Ok(LoginBy::Token {
                tenant: self.tenant()?,
                client: client()?,
                file: self.get("--federated-token-file", &[FEDERATED]).ok_or_else(|| {
                    format!("the flag --federated-token-file or {FEDERATED} is missing")
                })?,
            }),
            "msi" => Ok(LoginBy::Machine {
                client: self.client(),
                resource: self.get("--identity-resource-id", &[]),
            }),
            "azurecli" | "azd" | "devicecode" | "interactive" | "ropc" => Err(format!(
                "--login {named} needs a person or another program. Possible are {LOGINS}"
            )),
            _ => Err(format!("--login has an unknown value. Possible are {LOGINS}")),
        }
    }

    fn authority(&self, login: &LoginBy) -> Result<String, String> {
        match login {
            LoginBy::Token { .. } => {
                if let Some(url) = self.get("--authority-host", &["AZURE_AUTHORITY_HOST"]) {
                    Ambient::over_tls("--authority-host or AZURE_AUTHORITY_HOST", &url)
                        .map_err(|unread| unread.why.detail)?;
                    return Ok(url);
                }
            }
            LoginBy::Secret { .. } | LoginBy::Machine { .. } => {
                if self.flags.get("--authority-host").is_some() {
                    return Err("--authority-host belongs to --login workloadidentity".to_owned());
                }
            }
        }
        let named = self.flags.get("--environment").unwrap_or(CLOUDS[0].0);
        let cloud = CLOUDS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(named));
        let cloud = cloud.map(|(_, authority)| (*authority).to_owned());
        cloud.ok_or_else(|| {
            "--environment must be AzurePublicCloud, AzureUSGovernmentCloud or AzureChinaCloud"
                .to_owned()
        })
    }
}

pub(super) fn parse(
    arguments: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<Wanted, String> {
    const FLAGS: [Flag; 11] = [
        value("--login").or("-l"),
        value("--server-id"),
        value("--client-id"),
        value("--client-secret"),
        value("--tenant-id").or("-t"),
        value("--environment").or("-e"),
        value("--identity-resource-id"),
        value("--federated-token-file"),
        value("--authority-host"),
        // No token is kept in a file.
        value("--token-cache-dir"),
        switch("--use-azurerm-env-vars"),
    ];
    let flags = Arguments::parse(&["get-token"], &FLAGS, arguments)?;
    let chosen = Chosen { flags, environment };
    let login = chosen.login()?;
    let server = chosen.flags.get("--server-id");
    let server = server.ok_or("the flag --server-id is missing")?;
    Ok(Wanted {
        scope: format!("{server}/.default"),
        authority: chosen.authority(&login)?,
        login,
    })
}

impl Wanted {
    pub(super) async fn token(&self, http: reqwest::Client) -> Result<Token, Unread> {
        let cloud = Cloud {
            authority: self.authority.clone(),
            vaults: None,
        };
        let options = ClientOptions {
            transport: Some(client::transport(http)),
            cloud: Some(Arc::new(cloud.configuration())),
            ..ClientOptions::default()
        };
        let invalid = "the tenant id, the client id or the client secret is invalid";
        let credential = self.login().credential(options);
        let credential = credential.map_err(|_| Unread::store(unread::LOGIN, invalid))?;
        let token = credential.get_token(&[&self.scope], None).await;
        let token = token.map_err(|error| Fault::of(&error).unread())?;
        let expires = Timestamp::from_second(token.expires_on.unix_timestamp());
        Ok(Token {
            token: Value::new(token.token.secret().as_bytes().to_vec()),
            renewed: expires.unwrap_or_default() - EARLY,
        })
    }

    fn login(&self) -> Login {
        match &self.login {
            LoginBy::Secret {
                tenant,
                client,
                secret,
            } => Login::Secret {
                tenant: tenant.clone(),
                client: client.clone(),
                secret: Value::new(secret.clone().into_bytes()),
            },
            LoginBy::Token {
                tenant,
                client,
                file,
            } => Login::Assertion {
                tenant: tenant.clone(),
                client: client.clone(),
                assertion: Assertion::File(TokenFile::at(file, FEDERATED, &Ambient::default())),
            },
            LoginBy::Machine { client, resource } => Login::Managed {
                client: client.clone(),
                resource: resource.clone(),
            },
        }
    }
}
