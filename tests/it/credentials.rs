//! Expired credentials in whole runs. Those of the operator are retried after a pause, and told apart from a missing right. Those of
//! the job are renewed once.

#[cfg(all(feature = "aws-parameter-store", feature = "gcp", feature = "vault"))]
pub(crate) mod own;

use serde_json::Value;

use crate::support::Workspace;

/// An ExternalSecret whose first syncs fail with this text.
fn manifests(name: &str, failures: u32, text: &str) -> String {
    format!(
        "---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  namespace: shop
  name: {name}
  annotations: {{sandbox.eso-sync/fail-first: \"{failures}\", sandbox.eso-sync/fail-text: '{text}'}}
spec:
  refreshInterval: 1h0m0s
  secretStoreRef: {{kind: SecretStore, name: store}}
  data: [{{secretKey: k, remoteRef: {{key: a}}}}]
status:
  refreshTime: ${{now-35m}}
  syncedResourceVersion: ${{synced}}
  binding: {{name: {name}}}
  conditions: [{{type: Ready, status: \"True\", reason: SecretSynced, message: secret synced, lastTransitionTime: ${{now-9h}}}}]
"
    )
}

const STORE: &str = "apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {namespace: shop, name: store}
spec: {provider: {fake: {data: [{key: a, value: one}]}}}
";

/// The errors of the operator for expired credentials and for a missing right, of each provider.
const ERRORS: [[&str; 2]; 5] = [
    [
        "operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, api error ExpiredTokenException: The security token included in the request is expired",
        "operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, api error AccessDeniedException: not authorized",
    ],
    [
        "operation error STS: AssumeRoleWithWebIdentity, https response error StatusCode: 400, ExpiredTokenException: Token expired",
        "operation error SSM: GetParameter, https response error StatusCode: 400, api error AccessDeniedException: not authorized",
    ],
    [
        "AADSTS7000222: The provided client secret keys for app 1 are expired.",
        "keyvault.BaseClient#GetSecret: Failure responding to request: StatusCode=403 -- Original Error: autorest/azure: Service returned an error. Status=403 Code=\"Forbidden\"",
    ],
    [
        "rpc error: code = Unauthenticated desc = transport: per-RPC creds failed due to error: oauth2: \"invalid_grant\" \"Token has been expired or revoked.\"",
        "rpc error: code = PermissionDenied desc = Permission secretmanager.versions.access denied",
    ],
    [
        "cannot read secret data from Vault: Error making API request. Code: 403. Errors: * 2 errors occurred: * permission denied * invalid token",
        "cannot read secret data from Vault: Error making API request. Code: 403. Errors: * 1 error occurred: * permission denied",
    ],
];

/// The outcome, the reason and the attempts.
async fn synced(failures: u32, text: &str) -> (String, String, u64) {
    let workspace = Workspace::new(Vec::new());
    workspace.file(
        "all.yaml",
        &format!("{STORE}{}", manifests("db", failures, text)),
    );
    let arguments = [
        "sync",
        "--all",
        "-n",
        "shop",
        "--yes",
        "-o",
        "json",
        "--sandbox=.",
    ];
    let document = workspace.run(&arguments).await.document();
    let item = &document["items"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attempts = item["attempts"].as_u64().unwrap_or_default();
    (text(&item["outcome"]), text(&item["reason"]), attempts)
}

/// The operator tries again by itself, too, so the number of our attempts depends on which is first.
#[tokio::test]
async fn an_expired_credential_of_the_operator_is_awaited() {
    for [expired, _] in ERRORS {
        let (outcome, reason, _) = synced(2, expired).await;
        assert_eq!(outcome, "synced", "{reason}: {expired}");
    }
}

/// A missing right is not retried.
#[tokio::test]
async fn a_credential_that_stays_expired_is_retried_and_no_missing_right() {
    for [expired, denied] in ERRORS {
        let (outcome, reason, attempts) = synced(99, expired).await;
        let told = (&*outcome, &*reason, attempts);
        assert_eq!(told, ("failed", "credentials-expired", 3), "{expired}");
        let (outcome, reason, attempts) = synced(99, denied).await;
        let told = (&*outcome, &*reason, attempts);
        assert_eq!(told, ("failed", "denied", 1), "{denied}");
    }
}
