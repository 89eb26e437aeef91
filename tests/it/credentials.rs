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

/// The errors of the operator for expired credentials of each provider.
const EXPIRED: [&str; 2] = [
    "operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, api error ExpiredTokenException: The security token included in the request is expired",
    "operation error STS: AssumeRoleWithWebIdentity, https response error StatusCode: 400, ExpiredTokenException: Token expired",
];

const DENIED: &str = "operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, api error AccessDeniedException: not authorized";

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
    for text in EXPIRED {
        let (outcome, reason, _) = synced(2, text).await;
        assert_eq!(outcome, "synced", "{reason}: {text}");
    }
}

/// A missing right is not retried.
#[tokio::test]
async fn a_credential_that_stays_expired_is_retried_and_no_missing_right() {
    let (outcome, reason, attempts) = synced(99, EXPIRED[0]).await;
    assert_eq!(
        (&*outcome, &*reason, attempts),
        ("failed", "credentials-expired", 3)
    );
    let (outcome, reason, attempts) = synced(99, DENIED).await;
    assert_eq!((&*outcome, &*reason, attempts), ("failed", "denied", 1));
}
