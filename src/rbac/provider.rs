//! The rights to read at each provider, for the job's identity, or with `credentials: store` for the identity of each store.
//!
//! A policy does not list the secrets that its ExternalSecrets reference, so these rights cover all secrets. Narrow them before
//! you apply them.

mod publish;
mod queues;

use eso_model::{ProviderKind, provider::NameRules};
use providers::queue::address::Address;
use serde_json::{Value, json};

pub use self::{publish::rights_to_publish, queues::hints};

/// The provider that the rights are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// An IAM policy for Secrets Manager and Parameter Store
    Aws,
    /// Role assignments for Key Vault
    Azure,
    /// Role bindings for Secret Manager
    Gcp,
    /// A policy for the KV engines of Vault and OpenBao
    Vault,
}

impl Side {
    /// The side of a provider. None if it is not outside of the cluster.
    pub fn of(provider: &ProviderKind) -> Option<Self> {
        Some(match provider.facts().publishing?.names {
            NameRules::SecretsManager | NameRules::ParameterStore => Self::Aws,
            NameRules::KeyVault => Self::Azure,
            NameRules::GcpSecretManager => Self::Gcp,
            NameRules::VaultKv => Self::Vault,
        })
    }

    /// The word of `rbac --for`.
    pub fn word(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The policy or commands to apply at this provider, with the rights on these queues of a policy. Without a policy, with those on queues
/// that have a name as in the documentation.
pub fn rights(side: Side, queues: Option<&[Address]>) -> String {
    match side {
        Side::Aws => aws(queues),
        Side::Azure => AZURE.to_owned() + &queues::azure(queues),
        Side::Gcp => GCP.to_owned() + &queues::gcp(queues),
        Side::Vault => VAULT.to_owned(),
    }
}

/// JSON has no comments, so the name of a statement says when it is needed.
fn aws(queues: Option<&[Address]>) -> String {
    let secrets = json!("arn:aws:secretsmanager:*:*:secret:*");
    let parameters = json!("arn:aws:ssm:*:*:parameter/*");
    let mut statements = aws_statements(&secrets, &parameters);
    statements.extend(queues::statements(queues));
    let policy = aws_policy(&statements);
    format!("{policy:#}\n")
}

/// An IAM policy of these statements.
pub fn aws_policy(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// The statements for reading these secrets and parameters. The name of each says when it is needed.
pub fn aws_statements(secrets: &Value, parameters: &Value) -> Vec<Value> {
    vec![
        statement(
            "ReadSecrets",
            &["secretsmanager:GetSecretValue"],
            secrets.clone(),
        ),
        // AWS supports no narrower resource for this action. It also requires GetSecretValue on each secret.
        statement(
            "ReadSecretsInBatches",
            &["secretsmanager:BatchGetSecretValue"],
            "*",
        ),
        statement(
            "OnlyForFindInSecretsManager",
            &["secretsmanager:ListSecrets"],
            "*",
        ),
        statement(
            "OnlyForMetadataAndRotationsOfSecrets",
            &["secretsmanager:DescribeSecret"],
            secrets.clone(),
        ),
        statement(
            "OnlyForParameterStore",
            &["ssm:GetParameter", "ssm:GetParameters"],
            parameters.clone(),
        ),
        statement(
            "OnlyForFindInParameterStore",
            &["ssm:GetParametersByPath"],
            parameters.clone(),
        ),
        statement(
            "OnlyForFindByTagsInParameterStore",
            &["ssm:DescribeParameters"],
            "*",
        ),
        statement(
            "OnlyForMetadataOfParameters",
            &["ssm:ListTagsForResource"],
            parameters.clone(),
        ),
        for_customer_keys(&["kms:Decrypt"]),
    ]
}

/// A statement that allows these actions.
pub fn statement(sid: &str, actions: &[&str], resource: impl Into<Value>) -> Value {
    json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource.into()})
}

/// The rights on keys of the customer, which are used through Secrets Manager and Parameter Store only.
fn for_customer_keys(actions: &[&str]) -> Value {
    let via = ["secretsmanager.*.amazonaws.com", "ssm.*.amazonaws.com"];
    let mut statement = statement("OnlyForCustomerManagedKeys", actions, "*");
    if let Some(statement) = statement.as_object_mut() {
        let condition = json!({"StringLike": {"kms:ViaService": via}});
        statement.insert("Condition".to_owned(), condition);
    }
    statement
}

const AZURE: &str = r#"# For each vault that uses Azure RBAC:
az role assignment create --role "Key Vault Secrets User" --assignee "$PRINCIPAL_ID" --scope "$VAULT_ID"

# For each vault that uses access policies (`list` is only needed for `find` and `advise --rotation`, which needs no `get`):
az keyvault set-policy --name "$VAULT" --object-id "$PRINCIPAL_ID" --secret-permissions get list

# If the identity only runs `advise --rotation`, this is enough in place of "Key Vault Secrets User". It permits no values:
# az role assignment create --role "Key Vault Reader" --assignee "$PRINCIPAL_ID" --scope "$VAULT_ID"
"#;

const GCP: &str = r#"# For each project, or for single secrets with `gcloud secrets add-iam-policy-binding "$SECRET"`:
gcloud projects add-iam-policy-binding "$PROJECT" --member "$MEMBER" --role roles/secretmanager.secretAccessor

# Only needed for `find`, `metadataPolicy: Fetch`, `secretVersionSelectionPolicy: LatestOrFetch` or `advise --rotation`, which needs no
# other role:
gcloud projects add-iam-policy-binding "$PROJECT" --member "$MEMBER" --role roles/secretmanager.viewer
"#;

const VAULT: &str = r#"# For each KV version 2 mount. Replace `kv` with its path.
path "kv/data/*" {
  capabilities = ["read"]
}

# Only needed for `find` or `metadataPolicy: Fetch`.
path "kv/metadata/*" {
  capabilities = ["list", "read"]
}

# For each KV version 1 mount. Replace `kv1` with its path. `list` is only needed for `find`.
path "kv1/*" {
  capabilities = ["list", "read"]
}

# eso-sync checks that a mount is a KV engine before it reads from it. Every token that can read from a mount can do this, so
# this rule is only needed if a broader rule denies it.
path "sys/internal/ui/mounts/*" {
  capabilities = ["read"]
}

# To check the token. The policy `default` includes this.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn the_aws_policy_only_allows_reading() {
        let policy: Value = serde_json::from_str(&rights(Side::Aws, None)).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let lines: Vec<String> = statements
            .iter()
            .map(|statement| {
                assert_eq!(statement["Effect"], "Allow");
                let actions = statement["Action"].as_array().unwrap();
                let actions: Vec<&str> = actions.iter().filter_map(Value::as_str).collect();
                let (sid, on) = (&statement["Sid"], &statement["Resource"]);
                format!(
                    "{}: {} on {}",
                    sid.as_str().unwrap(),
                    actions.join(" "),
                    on.as_str().unwrap()
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        ReadSecrets: secretsmanager:GetSecretValue on arn:aws:secretsmanager:*:*:secret:*
        ReadSecretsInBatches: secretsmanager:BatchGetSecretValue on *
        OnlyForFindInSecretsManager: secretsmanager:ListSecrets on *
        OnlyForMetadataAndRotationsOfSecrets: secretsmanager:DescribeSecret on arn:aws:secretsmanager:*:*:secret:*
        OnlyForParameterStore: ssm:GetParameter ssm:GetParameters on arn:aws:ssm:*:*:parameter/*
        OnlyForFindInParameterStore: ssm:GetParametersByPath on arn:aws:ssm:*:*:parameter/*
        OnlyForFindByTagsInParameterStore: ssm:DescribeParameters on *
        OnlyForMetadataOfParameters: ssm:ListTagsForResource on arn:aws:ssm:*:*:parameter/*
        OnlyForCustomerManagedKeys: kms:Decrypt on *
        OnlyForEvents: sqs:ReceiveMessage sqs:DeleteMessage sqs:ChangeMessageVisibility sqs:GetQueueAttributes sqs:ListQueueTags on arn:aws:sqs:*:*:eso-sync-*
        OnlyForDeadLettersOfEvents: sqs:GetQueueAttributes on arn:aws:sqs:*:*:eso-sync-*-dead
        ");
        let decrypt = &statements[8];
        let via = &decrypt["Condition"]["StringLike"]["kms:ViaService"];
        assert_eq!(via[0], "secretsmanager.*.amazonaws.com");
    }

    #[test]
    fn every_provider_has_rights_to_read() {
        for (side, right) in [
            (Side::Aws, "secretsmanager:BatchGetSecretValue"),
            (Side::Azure, "\"Key Vault Secrets User\""),
            (Side::Gcp, "roles/secretmanager.secretAccessor"),
            (Side::Vault, "path \"kv/data/*\""),
        ] {
            assert!(rights(side, None).contains(right), "{side:?}");
        }
    }

    #[test]
    fn no_provider_rights_allow_changes() {
        let changes = [
            "Put",
            "Create",
            "Update",
            "Delete",
            "Officer",
            "Administrator",
            "admin\"",
            "\"create\"",
            "\"update\"",
            "\"delete\"",
            "\"sudo\"",
            "secretmanager.admin",
        ];
        for side in Side::value_variants() {
            // The only change is the acknowledgement of a message.
            let rights = rights(*side, None).replace("sqs:DeleteMessage", "");
            for change in changes {
                assert!(!rights.contains(change), "{side:?}: {change}");
            }
        }
    }
}
