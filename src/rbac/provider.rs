//! The rights that reading needs at a provider, for whoever reads: the job, or with `credentials: store` each store's own identity.
//!
//! A policy does not say which secrets its ExternalSecrets name, so that these cover all of a kind: who applies them narrows
//! them to what there is.

use serde_json::json;

/// Whose rights.
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

/// What is to be applied there.
pub fn rights(side: Side) -> String {
    match side {
        Side::Aws => aws(),
        Side::Azure => AZURE.to_owned(),
        Side::Gcp => GCP.to_owned(),
        Side::Vault => VAULT.to_owned(),
    }
}

/// JSON takes no comments: the name of a statement says when it is needed.
fn aws() -> String {
    let secrets = "arn:aws:secretsmanager:*:*:secret:*";
    let parameters = "arn:aws:ssm:*:*:parameter/*";
    let via = ["secretsmanager.*.amazonaws.com", "ssm.*.amazonaws.com"];
    let statement = |sid: &str, actions: &[&str], resource: &str| json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource});
    let mut decrypt = statement("OnlyForKeysOfYourOwn", &["kms:Decrypt"], "*");
    if let Some(statement) = decrypt.as_object_mut() {
        let condition = json!({"StringLike": {"kms:ViaService": via}});
        statement.insert("Condition".to_owned(), condition);
    }
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            statement("ReadSecrets", &["secretsmanager:GetSecretValue"], secrets),
            // AWS knows no narrower resource for it, and asks for GetSecretValue on each secret all the same.
            statement("ReadSecretsInBatches", &["secretsmanager:BatchGetSecretValue"], "*"),
            statement("OnlyForFindInSecretsManager", &["secretsmanager:ListSecrets"], "*"),
            statement("OnlyForMetadataOfSecrets", &["secretsmanager:DescribeSecret"], secrets),
            statement("OnlyForParameterStore", &["ssm:GetParameter", "ssm:GetParameters"], parameters),
            statement("OnlyForFindInParameterStore", &["ssm:GetParametersByPath"], parameters),
            statement("OnlyForFindByTagsInParameterStore", &["ssm:DescribeParameters"], "*"),
            statement("OnlyForMetadataOfParameters", &["ssm:ListTagsForResource"], parameters),
            decrypt,
        ],
    });
    format!("{policy:#}\n")
}

const AZURE: &str = r#"# For each vault that uses Azure's roles:
az role assignment create --role "Key Vault Secrets User" --assignee "$PRINCIPAL_ID" --scope "$VAULT_ID"

# For each vault that uses access policies (`list` only where `find` is used):
az keyvault set-policy --name "$VAULT" --object-id "$PRINCIPAL_ID" --secret-permissions get list
"#;

const GCP: &str = r#"# For each project; or for single secrets, with `gcloud secrets add-iam-policy-binding "$SECRET"`:
gcloud projects add-iam-policy-binding "$PROJECT" --member "$MEMBER" --role roles/secretmanager.secretAccessor

# Only where `find`, `metadataPolicy: Fetch` or `secretVersionSelectionPolicy: LatestOrFetch` is used:
gcloud projects add-iam-policy-binding "$PROJECT" --member "$MEMBER" --role roles/secretmanager.viewer
"#;

const VAULT: &str = r#"# For each mount of KV version 2; `kv` stands for its path.
path "kv/data/*" {
  capabilities = ["read"]
}

# Only where `find` or `metadataPolicy: Fetch` is used.
path "kv/metadata/*" {
  capabilities = ["list", "read"]
}

# For each mount of KV version 1 (`list` only where `find` is used); `kv1` stands for its path.
path "kv1/*" {
  capabilities = ["list", "read"]
}

# Before anything is read its mount is asked for, to be sure that it is KV. Who may read under a mount may ask this, so that
# the rule matters only where a wider one denies it.
path "sys/internal/ui/mounts/*" {
  capabilities = ["read"]
}

# Whether a token is any good; the policy `default` has this too.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
"#;

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use serde_json::Value;

    use super::*;

    #[test]
    fn aws_is_told_to_allow_reading_and_nothing_else() {
        let policy: Value = serde_json::from_str(&rights(Side::Aws)).unwrap();
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
        OnlyForMetadataOfSecrets: secretsmanager:DescribeSecret on arn:aws:secretsmanager:*:*:secret:*
        OnlyForParameterStore: ssm:GetParameter ssm:GetParameters on arn:aws:ssm:*:*:parameter/*
        OnlyForFindInParameterStore: ssm:GetParametersByPath on arn:aws:ssm:*:*:parameter/*
        OnlyForFindByTagsInParameterStore: ssm:DescribeParameters on *
        OnlyForMetadataOfParameters: ssm:ListTagsForResource on arn:aws:ssm:*:*:parameter/*
        OnlyForKeysOfYourOwn: kms:Decrypt on *
        ");
        let decrypt = statements.last().unwrap();
        let via = &decrypt["Condition"]["StringLike"]["kms:ViaService"];
        assert_eq!(via[0], "secretsmanager.*.amazonaws.com");
    }

    #[test]
    fn every_side_names_its_rights_to_read() {
        for (side, right) in [
            (Side::Aws, "secretsmanager:BatchGetSecretValue"),
            (Side::Azure, "\"Key Vault Secrets User\""),
            (Side::Gcp, "roles/secretmanager.secretAccessor"),
            (Side::Vault, "path \"kv/data/*\""),
        ] {
            assert!(rights(side).contains(right), "{side:?}");
        }
    }

    #[test]
    fn no_side_is_told_to_allow_a_change() {
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
            for change in changes {
                assert!(!rights(*side).contains(change), "{side:?}: {change}");
            }
        }
    }
}
