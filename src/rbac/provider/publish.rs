//! The rights to publish at each provider.
//!
//! A policy names what it publishes, but not all names at the provider, so these rights cover all secrets. Narrow them before you
//! apply them. The lists are those in the documentation of each writer.

use serde_json::json;

use super::{Side, for_customer_keys, statement};

/// The policy or commands to apply at this provider.
pub fn rights_to_publish(side: Side) -> String {
    match side {
        Side::Aws => aws(),
        Side::Azure => AZURE.to_owned(),
        Side::Gcp => GCP.to_owned(),
        Side::Vault => VAULT.to_owned(),
    }
}

fn aws() -> String {
    let secrets = "arn:aws:secretsmanager:*:*:secret:*";
    let parameters = "arn:aws:ssm:*:*:parameter/*";
    let of_secrets = [
        "secretsmanager:CreateSecret",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:ListSecretVersionIds",
        "secretsmanager:PutSecretValue",
        "secretsmanager:TagResource",
        "secretsmanager:UntagResource",
        "secretsmanager:UpdateSecretVersionStage",
    ];
    let of_parameters = [
        "ssm:AddTagsToResource",
        "ssm:GetParameterHistory",
        "ssm:GetParameters",
        "ssm:ListTagsForResource",
        "ssm:PutParameter",
        "ssm:RemoveTagsFromResource",
    ];
    let removal = [
        "secretsmanager:DeleteSecret",
        "secretsmanager:RestoreSecret",
    ];
    let lists = [
        "secretsmanager:BatchGetSecretValue",
        "secretsmanager:ListSecrets",
    ];
    // A wildcard would open the files of others, too: name the keys that `sops.kms` lists.
    let sops_key = "arn:aws:kms:REGION:ACCOUNT:key/ID-OF-THE-SOPS-KEY";
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            statement("PublishSecrets", &of_secrets, secrets),
            // AWS supports no narrower resource for these actions.
            statement("ListSecrets", &lists, "*"),
            statement("OnlyToPruneAndRestoreSecrets", &removal, secrets),
            statement("OnlyForParameterStore", &of_parameters, parameters),
            statement("OnlyToListParameters", &["ssm:DescribeParameters"], "*"),
            statement("OnlyToPruneParameters", &["ssm:DeleteParameter"], parameters),
            for_customer_keys(&["kms:Decrypt", "kms:GenerateDataKey"]),
            statement("OnlyForSopsFilesWithKeysOfKms", &["kms:Decrypt"], sops_key),
        ],
    });
    format!("{policy:#}\n")
}

const AZURE: &str = r#"# For each vault that uses Azure RBAC. The role "Key Vault Secrets Officer" also permits to purge secrets, so this one is narrower:
az role definition create --role-definition '{
  "Name": "eso-sync publish", "AssignableScopes": ["'"$SUBSCRIPTION_ID"'"],
  "DataActions": [
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action", "Microsoft.KeyVault/vaults/secrets/getSecret/action",
    "Microsoft.KeyVault/vaults/secrets/setSecret/action", "Microsoft.KeyVault/vaults/secrets/update/action",
    "Microsoft.KeyVault/vaults/secrets/delete", "Microsoft.KeyVault/vaults/secrets/recover/action"
  ]
}'
az role assignment create --role "eso-sync publish" --assignee "$PRINCIPAL_ID" --scope "$VAULT_ID"

# For each vault that uses access policies (`delete` and `recover` are only needed to prune and to restore):
az keyvault set-policy --name "$VAULT" --object-id "$PRINCIPAL_ID" --secret-permissions get list set delete recover

# For each key in Key Vault that opens SOPS files, in a vault with Azure RBAC:
az role definition create --role-definition '{
  "Name": "eso-sync sops", "AssignableScopes": ["'"$SUBSCRIPTION_ID"'"],
  "DataActions": ["Microsoft.KeyVault/vaults/keys/decrypt/action"]
}'
az role assignment create --role "eso-sync sops" --assignee "$PRINCIPAL_ID" --scope "$VAULT_ID/keys/$KEY"

# In a vault with access policies:
az keyvault set-policy --name "$VAULT" --object-id "$PRINCIPAL_ID" --key-permissions decrypt
"#;

const GCP: &str = r#"# The role "Secret Manager Admin" also permits to change who has access, so this one is narrower. The last two lines of permissions
# are only needed to prune.
gcloud iam roles create esoSyncPublish --project "$PROJECT" --permissions \
secretmanager.secrets.list,secretmanager.secrets.get,secretmanager.secrets.create,secretmanager.secrets.update,\
secretmanager.versions.list,secretmanager.versions.get,secretmanager.versions.access,secretmanager.versions.add,\
secretmanager.versions.disable,secretmanager.versions.enable,secretmanager.versions.destroy,\
secretmanager.secrets.delete
gcloud projects add-iam-policy-binding "$PROJECT" --member "$MEMBER" --role "projects/$PROJECT/roles/esoSyncPublish"

# For each key of KMS that opens SOPS files:
gcloud kms keys add-iam-policy-binding "$KEY" --keyring "$KEYRING" --location "$LOCATION" --project "$PROJECT" \
--member "$MEMBER" --role roles/cloudkms.cryptoKeyDecrypter
"#;

const VAULT: &str = r#"# For each KV version 2 mount. Replace `kv` with its path, and `*` with the folders that are published.
path "kv/data/*" {
  capabilities = ["create", "read", "update"]
}

# `patch` writes the owner and the mark. Vault knows no `scan`: remove it there. OpenBao lists a folder with one call with it.
path "kv/metadata/*" {
  capabilities = ["create", "list", "patch", "read"]
}
path "kv/detailed-metadata/*" {
  capabilities = ["scan"]
}

# Only needed to prune, to restore, and to destroy old versions.
path "kv/delete/*" {
  capabilities = ["update"]
}
path "kv/undelete/*" {
  capabilities = ["update"]
}
path "kv/destroy/*" {
  capabilities = ["update"]
}

# Only needed for SOPS files with a key of the transit engine. Replace `transit` with its path, and `NAME` with the key.
path "transit/decrypt/NAME" {
  capabilities = ["update"]
}

# eso-sync checks that a mount is a KV engine before it uses it. Every token that can use a mount can do this, so this rule is only
# needed if a broader rule denies it.
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
    use serde_json::Value;

    use super::*;

    /// Who may publish must not be able to change who has access, or to remove secrets for good.
    /// A key that is not named would open the files of others.
    #[test]
    fn keys_of_sops_files_are_rights_of_their_own_and_named() {
        for (side, right) in [
            (
                Side::Aws,
                "\"arn:aws:kms:REGION:ACCOUNT:key/ID-OF-THE-SOPS-KEY\"",
            ),
            (Side::Azure, "--scope \"$VAULT_ID/keys/$KEY\""),
            (Side::Gcp, "gcloud kms keys add-iam-policy-binding \"$KEY\""),
            (Side::Vault, "path \"transit/decrypt/NAME\""),
        ] {
            let rights = rights_to_publish(side);
            assert_eq!(rights.matches(right).count(), 1, "{rights}");
        }
    }

    #[test]
    fn no_right_gives_access_to_others_or_deletes_for_good() {
        for side in [Side::Aws, Side::Azure, Side::Gcp, Side::Vault] {
            let rights = rights_to_publish(side);
            for wide in [
                "Policy\"",
                "setIamPolicy",
                "secrets/purge",
                "sudo",
                "secretmanager.admin",
            ] {
                assert!(!rights.contains(wide), "{side:?}: {wide}");
            }
        }
        let policy: Value = serde_json::from_str(&rights_to_publish(Side::Aws)).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            for action in statement["Action"].as_array().unwrap() {
                assert!(!action.as_str().unwrap().contains('*'), "{action}");
            }
        }
    }
}
