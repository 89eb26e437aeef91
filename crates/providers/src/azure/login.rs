//! Azure credentials: an application with a client secret or a service account token, or a managed identity.

use std::{fmt, sync::Arc};

use azure_core::{
    credentials::{Secret, TokenCredential},
    error::ErrorKind,
    http::{ClientMethodOptions, ClientOptions},
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId,
};
use secret::Value;
use serde_json::Value as Json;

use super::settings::{AuthSecretRef, AuthType, Settings, unsupported};
use crate::{Ambient, Identity, Resolver, Unread, credentials::TokenFile, unread};

/// The audience that Entra requires for a service account token.
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// The variable with the file of the service account token.
pub(super) const FEDERATED: &str = "AZURE_FEDERATED_TOKEN_FILE";

const CLIENT_ID: &str = "azure.workload.identity/client-id";
const TENANT_ID: &str = "azure.workload.identity/tenant-id";

/// A login.
pub(super) enum Login {
    /// An application with a client secret.
    Secret {
        tenant: String,
        client: String,
        secret: Value,
    },
    /// An application that trusts a service account token.
    Assertion {
        tenant: String,
        client: String,
        assertion: Assertion,
    },
    /// A managed identity of the machine: the default one, that of a client, or that with a resource ID.
    Managed {
        client: Option<String>,
        resource: Option<String>,
    },
}

/// The source of a service account token. It is read again for each login because it is short-lived.
#[derive(Clone)]
pub(super) enum Assertion {
    File(TokenFile),
    Account(Box<Resolver>, Json),
}

/// Carries the reason for a missing service account token through the SDK.
#[derive(Debug, thiserror::Error)]
#[error("no token of the service account")]
pub(super) struct NoAssertion(pub(super) Unread);

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assertion")
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let token = match self {
            Self::File(token) => token.read().await,
            Self::Account(resolver, account) => {
                let audiences = [AUDIENCE.to_owned()];
                resolver.service_account_token(account, &audiences).await
            }
        };
        token
            .map(|token| String::from_utf8_lossy(token.expose().trim_ascii()).into_owned())
            .map_err(|unread| azure_core::Error::new(ErrorKind::Credential, NoAssertion(unread)))
    }
}

impl Login {
    /// Creates the credential type of the SDK.
    pub(super) fn credential(
        &self,
        client_options: ClientOptions,
    ) -> azure_core::Result<Arc<dyn TokenCredential>> {
        Ok(match self {
            Self::Secret {
                tenant,
                client,
                secret,
            } => {
                let secret = String::from_utf8_lossy(secret.expose()).into_owned();
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(
                    tenant,
                    client.clone(),
                    Secret::new(secret),
                    Some(options),
                )?
            }
            Self::Assertion {
                tenant,
                client,
                assertion,
            } => ClientAssertionCredential::new(
                tenant.clone(),
                client.clone(),
                assertion.clone(),
                Some(ClientAssertionCredentialOptions { client_options }),
            )?,
            Self::Managed { client, resource } => {
                let resource = resource.clone().map(UserAssignedId::ResourceId);
                let client = client.clone().map(UserAssignedId::ClientId);
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: resource.or(client),
                    client_options,
                }))?
            }
        })
    }

    /// Selects the login for a store.
    pub(super) async fn of(settings: &Settings, identity: Identity<'_>) -> Result<Self, Unread> {
        match (identity, settings.auth_type) {
            (Identity::Ambient(ambient), _) => Ok(of_job(ambient)),
            (Identity::Store(resolver), AuthType::ServicePrincipal) => {
                of_application(settings, resolver).await
            }
            (Identity::Store(resolver), AuthType::WorkloadIdentity) => {
                match &settings.service_account_ref {
                    Some(account) => of_account(settings, account, resolver).await,
                    None => Err(controller_identity(
                        "WorkloadIdentity without serviceAccountRef",
                    )),
                }
            }
            (Identity::Store(_), AuthType::ManagedIdentity) => {
                Err(controller_identity("ManagedIdentity"))
            }
        }
    }
}

fn variable(ambient: &Ambient, name: &str) -> Option<String> {
    ambient
        .environment
        .get(name)
        .filter(|value| !value.is_empty())
        .cloned()
}

/// The login endpoint from the job's environment, if set.
pub(super) fn authority(ambient: &Ambient) -> Option<String> {
    variable(ambient, "AZURE_AUTHORITY_HOST")
}

/// The job's own login, from the environment variables of the Azure SDKs, in their order.
pub(super) fn of_job(ambient: &Ambient) -> Login {
    let client = variable(ambient, "AZURE_CLIENT_ID");
    let tenant = variable(ambient, "AZURE_TENANT_ID");
    if let (Some(client), Some(tenant)) = (&client, tenant) {
        let (client, secret) = (client.clone(), variable(ambient, "AZURE_CLIENT_SECRET"));
        if let Some(secret) = secret {
            let secret = Value::new(secret.into_bytes());
            return Login::Secret {
                tenant,
                client,
                secret,
            };
        }
        if let Some(file) = variable(ambient, FEDERATED) {
            let assertion = Assertion::File(TokenFile::at(&file, FEDERATED, ambient));
            return Login::Assertion {
                tenant,
                client,
                assertion,
            };
        }
    }
    Login::Managed {
        client,
        resource: None,
    }
}

async fn of_application(settings: &Settings, resolver: &Resolver) -> Result<Login, Unread> {
    let Some(AuthSecretRef {
        client_id: Some(client),
        tenant_id: _,
        client_secret,
        client_certificate,
    }) = &settings.auth_secret_ref
    else {
        return Err(unsupported("ServicePrincipal needs authSecretRef.clientId"));
    };
    if client_certificate.is_some() {
        return Err(unsupported(
            "authSecretRef.clientCertificate is not supported",
        ));
    }
    let Some(secret) = client_secret else {
        return Err(unsupported(
            "ServicePrincipal needs authSecretRef.clientSecret",
        ));
    };
    // The operator ignores a reference to the tenant id.
    let Some(tenant) = &settings.tenant_id else {
        return Err(unsupported("ServicePrincipal needs tenantId"));
    };
    Ok(Login::Secret {
        tenant: tenant.clone(),
        client: text(&resolver.secret_key(client).await?),
        secret: resolver.secret_key(secret).await?,
    })
}

async fn of_account(
    settings: &Settings,
    account: &Json,
    resolver: &Resolver,
) -> Result<Login, Unread> {
    let mut annotations = resolver.service_account_annotations(account).await?;
    let (client, tenant) = match &settings.auth_secret_ref {
        None => (None, None),
        Some(AuthSecretRef {
            client_id: Some(client),
            tenant_id,
            ..
        }) => (Some(client), tenant_id.as_ref()),
        Some(_) => return Err(unsupported("authSecretRef needs clientId")),
    };
    let client = match client {
        Some(reference) => Some(text(&resolver.secret_key(reference).await?)),
        None => None,
    };
    let tenant = match tenant {
        Some(reference) => Some(text(&resolver.secret_key(reference).await?)),
        None => settings.tenant_id.clone(),
    };
    let client = exactly_one(client, annotations.remove(CLIENT_ID), "client", CLIENT_ID)?;
    let tenant = exactly_one(tenant, annotations.remove(TENANT_ID), "tenant", TENANT_ID)?;
    let lacking = |annotation: &str| {
        let detail = format!("the service account has no annotation {annotation}");
        Unread::store(unread::STORE, detail)
    };
    Ok(Login::Assertion {
        tenant: tenant.ok_or_else(|| lacking(TENANT_ID))?,
        client: client.ok_or_else(|| lacking(CLIENT_ID))?,
        assertion: Assertion::Account(Box::new(resolver.clone()), account.clone()),
    })
}

/// Takes a value from the store or the annotation. The operator refuses a store if both are set, even if they are equal.
fn exactly_one(
    named: Option<String>,
    annotated: Option<String>,
    what: &str,
    annotation: &str,
) -> Result<Option<String>, Unread> {
    match (named, annotated) {
        (Some(_), Some(_)) => Err(Unread::store(
            unread::STORE,
            format!(
                "the operator refuses the store: the {what} is set both in it and in the annotation {annotation} of the service account"
            ),
        )),
        (named, annotated) => Ok(named.or(annotated)),
    }
}

/// Converts a name to text. It is not secret.
fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.expose().trim_ascii()).into_owned()
}

fn controller_identity(what: &str) -> Unread {
    let detail = format!("{what}: the operator reads with its own Pod's identity");
    Unread::store(unread::CONTROLLER_IDENTITY, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(variables: &[(&str, &str)]) -> String {
        let ambient = Ambient {
            environment: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Ambient::default()
        };
        match of_job(&ambient) {
            Login::Secret { tenant, client, .. } => format!("secret of {client} in {tenant}"),
            Login::Assertion { tenant, client, .. } => format!("token for {client} in {tenant}"),
            Login::Managed { client, .. } => format!("managed {client:?}"),
        }
    }

    #[test]
    fn job_login_depends_on_the_environment() {
        let all = [
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
            ("AZURE_CLIENT_SECRET", "s"),
        ];
        assert_eq!(login(&all), "secret of c in t");
        assert_eq!(login(&all[..3]), "token for c in t");
        assert_eq!(login(&all[..2]), r#"managed Some("c")"#);
        assert_eq!(login(&[]), "managed None");
    }
}
