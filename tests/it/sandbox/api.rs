//! The API server's side.

use http::Method;
use serde_json::json;

use super::support::{call, empty, external_secret, get, namespace};

const TEAM_A: &str = "/apis/external-secrets.io/v1/namespaces/team-a/externalsecrets";
const ALL: &str = "/apis/external-secrets.io/v1/externalsecrets";

#[tokio::test]
async fn a_patch_that_changes_nothing_keeps_the_resource_version() {
    let sandbox = empty().await;
    sandbox.apply(namespace("team-a")).unwrap();
    sandbox.apply(external_secret("team-a", "db")).unwrap();
    let patch = json!({"metadata": {"annotations": {"force-sync": "r1"}}});
    let path = format!("{TEAM_A}/db?fieldManager=eso-sync");
    let (code, first) = call(&sandbox, Method::PATCH, &path, Some(patch.clone())).await;
    assert_eq!(code, 200);
    let (_, second) = call(&sandbox, Method::PATCH, &path, Some(patch)).await;
    assert_eq!(
        first["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
    assert_eq!(second["metadata"]["generation"], 1);
    let list = get(&sandbox, ALL).await;
    assert_eq!(list["kind"], "ExternalSecretList", "{list:#}");
}
