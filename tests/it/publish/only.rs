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

/// Otherwise two items would take a secret from each other, run by run.
#[tokio::test]
async fn secret_of_an_item_that_is_not_chosen_stays_with_it() {
    let target = SecretManager::start("owned").await;
    let route = target.proxy(Box::new(|_| Fault::None)).await;
    let mut job = Workspace::new(Vec::new());
    target.prepare(&route, &mut job);
    job.file("first.env", "A=one\n");
    job.file("second.env", "A=two\n");
    let policy = |suspended: &str| {
        let item = |name: &str| {
            format!(
                "    - name: {name}\n      suspend: {}\n      source: {{path: {{dir: ., revision: v1}}}}\n      \
                 read: {{files: [{{path: {name}.env}}]}}\n      to: {}\n      names: {{prefix: owned}}\n      write: {{adopt: any}}\n",
                name == suspended,
                target.to(&route.url)
            )
        };
        let (first, second) = (item("first"), item("second"));
        let endpoints = format!("drift: {{endpoints: ['{}']}}", route.url);
        job.file(
            "policy.yaml",
            &format!("publish:\n  owner: owned\n  key: env:PUBLISH_KEY\n  items:\n{first}{second}{endpoints}\n"),
        );
    };
    policy("");
    publish(&job, &["--only", "first", "--yes"]).await.exits(0);
    let refused = |document: &serde_json::Value| {
        let items = document["items"].as_array().expect("items");
        let item = items.iter().find(|item| item["name"] == "second");
        item.expect("an item")["secrets"][0]["reason"] == "owned-by-other"
    };
    let only = publish(&job, &["--only", "second", "--yes", "-o", "json"]).await;
    assert!(refused(&only.document()), "{}", only.stdout);
    policy("first");
    let rest = publish(&job, &["--yes", "-o", "json"]).await;
    assert!(refused(&rest.document()), "{}", rest.stdout);
    assert_eq!(target.held("owned-A").await, ("one".to_owned(), 1));
}
