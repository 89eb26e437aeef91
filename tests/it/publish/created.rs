//! `create` of an item that publishes to a store, while the provider's answers have faults: the next run completes the publication, with one
//! version and with the tags.

use futures::{StreamExt as _, stream};
use serde_json::json;

use super::{
    faults::{Faults, KINDS, Kind},
    publish,
    targets::{ParameterStore, SecretManager, SecretsManager, Target, Vault},
};
use crate::support::World;

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn created_secret_in_aws_has_its_tags_after_a_fault() {
    tags_survive_faults::<SecretsManager>().await;
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn created_secret_in_aws_parameter_store_has_its_tags_after_a_fault() {
    tags_survive_faults::<ParameterStore>().await;
}

#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn created_secret_in_vault_has_its_tags_after_a_fault() {
    tags_survive_faults::<Vault>().await;
}

#[tokio::test]
async fn created_secret_at_google_has_its_tags_after_a_fault() {
    tags_survive_faults::<SecretManager>().await;
}

async fn tags_survive_faults<T: Target>() {
    // A fault of the call that creates a secret, and of the next one, where a provider needs two.
    let cases = KINDS.into_iter().flat_map(|kind| [(kind, 0), (kind, 1)]);
    let cases = stream::iter(cases).map(|(kind, after)| tags_survive::<T>(kind, after));
    cases.buffer_unordered(KINDS.len()).collect::<()>().await;
}

async fn tags_survive<T: Target>(kind: Kind, after: usize) {
    let mut world = World::sandbox().await;
    let owner = format!("created-{:08x}", fastrand::u32(..));
    let target = T::start(&owner).await;
    let faults = Faults::after(after, kind, "an error");
    let route = target.proxy(faults.script()).await;
    target.prepare(&route, &mut world.bin);
    let (ns, url) = (&world.namespace, &route.url);
    let version = format!("external-secrets.io/{}", world.version);
    let store = json!({"apiVersion": version, "kind": "ClusterSecretStore", "metadata": {"name": format!("{ns}-store")},
        "spec": {"provider": target.provider(url)}});
    world.apply(store).await;
    world.bin.file("app.env", "A=one\n");
    let policy = format!(
        "publish:\n  owner: {owner}\n  key: env:PUBLISH_KEY\n  items:\n    - name: app\n      source: {{path: {{dir: ., revision: v1}}}}\n      \
         read: {{files: [{{path: app.env}}]}}\n      to: {{store: {{kind: ClusterSecretStore, name: {ns}-store}}}}\n      \
         names: {{prefix: {owner}}}\n      create: {{tags: {{team: shop}}}}\ndrift: {{endpoints: ['{url}']}}\n"
    );
    world.bin.file("policy.yaml", &policy);
    faults.start(false);
    let first = publish(&world.bin, &["--yes", "-o", "json"]).await;
    let happened = faults.stop();
    assert!(after > 0 || happened > 0, "{kind:?}: no answer had a fault");
    assert!(
        [0, 3].contains(&first.code),
        "{kind:?} after {after}: {}",
        first.stdout
    );

    let next = publish(&world.bin, &["--yes", "-o", "json"]).await;
    assert_eq!(next.code, 0, "{kind:?} after {after}: {}", next.stdout);
    let name = format!("{owner}-A");
    let held = target.held(&name).await;
    assert_eq!(
        held,
        ("one".to_owned(), 1),
        "{kind:?} after {after}, then {}",
        next.stdout
    );
    let tag = target.tag(&name, "team").await;
    assert_eq!(
        tag.as_deref(),
        Some("shop"),
        "{kind:?} after {after}, then {}",
        next.stdout
    );
    let last = publish(&world.bin, &["--yes", "-o", "json"])
        .await
        .document();
    assert_eq!(
        last["summary"]["outcomes"],
        json!({"in-sync": 1}),
        "{kind:?} after {after}"
    );
}
