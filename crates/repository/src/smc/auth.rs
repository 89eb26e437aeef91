//! `auth`, whose spelling in the documentation differs from the one in the code.

use super::{Node, reader::Reader};

/// How the controller authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// With the identity of its Pod.
    Default,
    /// With workload identity as this service account (GCP) or client (Azure).
    WorkloadIdentity { identity: String },
    /// With this role, through the token of its Pod (IRSA).
    Role { arn: String },
    /// With credentials in a Secret, by the key of each part.
    Credentials {
        secret: SecretRef,
        format: CredentialsFormat,
    },
}

/// The parts of credentials: the keys in the Secret. None if the manifest names no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsFormat {
    /// A key file of a GCP service account.
    Json { key: Option<String> },
    /// An AWS access key.
    AccessKey {
        id_key: Option<String>,
        secret_key: Option<String>,
    },
    /// The client secret of an Azure service principal.
    ServicePrincipal { key: Option<String> },
}

/// A Secret in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    pub name: String,
    /// Empty if the manifest names none.
    pub namespace: String,
}

/// Fields of `auth` by name.
#[derive(Default)]
struct Fields {
    auth_type: Option<String>,
    identity: Option<String>,
    secret_name: Option<String>,
    secret_namespace: Option<String>,
    secret_key: Option<String>,
    access_key_id_key: Option<String>,
    secret_access_key_key: Option<String>,
}

/// Reads `auth` of a provider. Returns None after a fault.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    path: &str,
    provider: &str,
) -> Option<Auth> {
    let identity = match provider {
        "gcp" => "serviceAccountEmail",
        "aws" => "roleArn",
        _ => "clientId",
    };
    let mut fields = Fields::read(reader, node, path, identity);
    let auth_type = reader.required(
        fields.auth_type.take(),
        node.line,
        &format!("{path}.authType"),
    )?;
    match (provider, auth_type.to_ascii_lowercase().as_str()) {
        ("gcp" | "azure", "workloadidentity") => {
            let identity =
                reader.required(fields.identity, node.line, &format!("{path}.{identity}"))?;
            Some(Auth::WorkloadIdentity { identity })
        }
        ("aws", "irsa") => {
            let arn = reader.required(fields.identity, node.line, &format!("{path}.{identity}"))?;
            Some(Auth::Role { arn })
        }
        ("gcp", "jsoncredentials") => {
            let format = CredentialsFormat::Json {
                key: fields.secret_key.take(),
            };
            fields.credentials(reader, node, path, format)
        }
        ("aws", "accesskeys") => {
            let format = CredentialsFormat::AccessKey {
                id_key: fields.access_key_id_key.take(),
                secret_key: fields.secret_access_key_key.take(),
            };
            fields.credentials(reader, node, path, format)
        }
        ("azure", "serviceprincipal") => {
            let format = CredentialsFormat::ServicePrincipal {
                key: fields.secret_key.take(),
            };
            fields.credentials(reader, node, path, format)
        }
        _ => {
            let known = match provider {
                "gcp" => "must be WorkloadIdentity or JsonCredentials",
                "aws" => "must be Irsa or AccessKeys",
                _ => "must be WorkloadIdentity or ServicePrincipal",
            };
            reader.fault(node.line, &format!("{path}.authType"), known);
            None
        }
    }
}

impl Fields {
    /// `identity` is the name of the field for the provider's own kind of identity.
    fn read(reader: &mut Reader<'_>, node: &Node, path: &str, identity: &str) -> Self {
        let mut fields = Self::default();
        for member in reader.members(node, path) {
            let inner = format!("{path}.{}", member.key);
            let slot = match member.key.as_str() {
                "authType" => &mut fields.auth_type,
                "secretName" => &mut fields.secret_name,
                "secretNamespace" => &mut fields.secret_namespace,
                "secretKey" => &mut fields.secret_key,
                "accessKeyIdKey" => &mut fields.access_key_id_key,
                "secretAccessKeyKey" => &mut fields.secret_access_key_key,
                key if key == identity => &mut fields.identity,
                _ => {
                    reader.unknown(member, &inner);
                    continue;
                }
            };
            if !member.value.is_null() {
                *slot = reader.string(&member.value, &inner);
            }
        }
        fields
    }

    fn credentials(
        self,
        reader: &mut Reader<'_>,
        node: &Node,
        path: &str,
        format: CredentialsFormat,
    ) -> Option<Auth> {
        let name = reader.required(self.secret_name, node.line, &format!("{path}.secretName"))?;
        let secret = SecretRef {
            name,
            namespace: self.secret_namespace.unwrap_or_default(),
        };
        Some(Auth::Credentials { secret, format })
    }
}
