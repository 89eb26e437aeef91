//! `publish --only`: what other items need is not asked for.

use serde_json::json;

use super::{
    publish,
    targets::{SecretManager, Target},
};
use crate::{
    providers::proxy::Fault,
    support::{Workspace, World},
};

/// The run that follows needs a namespace for its stamp key.
#[tokio::test]
async fn only_an_item_that_syncs_needs_the_lock_namespace() {
    let world = World::sandbox().await;
    // Without the variable that names the namespace in other tests.
    let server = world.api_server().0.to_owned();
    let mut job = Workspace::new(vec!["--server".to_owned(), server]);
    let target = SecretManager::start("only").await;
    let route = target.proxy(Box::new(|_| Fault::None)).await;
    target.prepare(&route, &mut job);
    let ns = &world.namespace;
    let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": format!("{ns}-store")},
        "spec": {"provider": target.provider(&route.url)}});
    world.apply(store).await;
    job.file("app.env", "A=one\n");
    let item = |name: &str| {
        format!(
            "    - name: {name}\n      source: {{path: {{dir: ., revision: v1}}}}\n      read: {{files: [{{path: app.env}}]}}\n      \
             to: {{store: {{kind: ClusterSecretStore, name: {ns}-store}}}}\n      names: {{prefix: {name}}}\n"
        )
    };
    let policy = format!(
        "select: [{{namespaces: [{ns}]}}]\nrestart: [{{match: references}}]\ndrift: {{endpoints: ['{}']}}\n\
         publish:\n  owner: only\n  key: env:PUBLISH_KEY\n  items:\n{}{}      then: {{sync: true}}\n",
        route.url,
        item("plain"),
        item("synced")
    );
    job.file("policy.yaml", &policy);
    publish(&job, &["--only", "plain", "--yes"]).await.exits(0);
    assert_eq!(target.held("plain-A").await, ("one".to_owned(), 1));
    for flags in [&["--only", "synced", "--yes"][..], &["--yes"]] {
        let refused = publish(&job, flags).await;
        let told = &refused.exits(4).stderr;
        assert!(told.contains("--lock-namespace"), "{flags:?}: {told}");
    }
}
