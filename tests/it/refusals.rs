//! What the operator, or the API server, refuses is not planned. A difference between the sandbox and the real operator is a bug in
//! the sandbox.

use serde_json::{Value, json};

use crate::support::{World, eventually, scenarios};

scenarios! {
    what_the_operator_refuses_is_not_planned
    keys_that_a_sync_removes_are_shown_before
}

const POLICY: &str = "select: [{namespaces: [NS]}]\nsync: {when: drifted, retries: 0}\n";

/// The provider's values.
const STORE: &str = r"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: v, value: new}, {key: bad, value: '% not json'}, {key: empty, value: ''}]}}}
";

/// An ExternalSecret that reads `KEY` as `v`, with these lines of its target.
fn external_secret(name: &str, key: &str, target: &str) -> String {
    format!(
        "\n---\napiVersion: external-secrets.io/VERSION\nkind: ExternalSecret\nmetadata: {{name: {name}, namespace: NS}}\nspec:\n  \
         refreshInterval: 1h\n  secretStoreRef: {{name: NS-store, kind: SecretStore}}\n  \
         data: [{{secretKey: v, remoteRef: {{key: {key}}}}}]\n  target: {target}\n"
    )
}

/// A case: the name, the provider's key, the target, the operator's condition, and what our message names.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const CASES: [Case; 11] = [
    (
        "merge",
        "v",
        "{name: owned, creationPolicy: Merge}",
        "target is owned by another ExternalSecret",
        "ExternalSecret owner owns the Secret",
    ),
    (
        "orphan",
        "v",
        "{name: owned, creationPolicy: Orphan}",
        "target is owned by another ExternalSecret",
        "ExternalSecret owner owns the Secret",
    ),
    (
        "second",
        "v",
        "{name: owned}",
        "target is owned by another ExternalSecret",
        "ExternalSecret owner owns the Secret",
    ),
    (
        "foreign",
        "v",
        "{name: foreign}",
        "failed to take ownership of target secret",
        "ConfigMap owner controls the Secret",
    ),
    (
        "retyped",
        "v",
        "{name: plain, creationPolicy: Orphan, template: {type: kubernetes.io/basic-auth, data: {password: '{{ .v }}'}}}",
        "could not update secret",
        "type is Opaque and cannot be changed to kubernetes.io/basic-auth",
    ),
    (
        "no-json",
        "bad",
        "{template: {type: kubernetes.io/dockerconfigjson, data: {.dockerconfigjson: '{{ .v }}'}}}",
        "could not update secret",
        "kubernetes.io/dockerconfigjson requires a JSON object as .dockerconfigjson",
    ),
    (
        "no-key",
        "v",
        "{template: {type: kubernetes.io/tls, data: {tls.crt: '{{ .v }}'}}}",
        "could not update secret",
        "kubernetes.io/tls requires tls.key",
    ),
    (
        "no-user",
        "v",
        "{template: {type: kubernetes.io/basic-auth, data: {user: '{{ .v }}'}}}",
        "could not update secret",
        "kubernetes.io/basic-auth requires username or password",
    ),
    (
        "no-ssh",
        "empty",
        "{template: {type: kubernetes.io/ssh-auth, data: {ssh-privatekey: '{{ .v }}'}}}",
        "could not update secret",
        "kubernetes.io/ssh-auth requires ssh-privatekey",
    ),
    (
        "no-account",
        "v",
        "{template: {type: kubernetes.io/service-account-token}}",
        "could not update secret",
        "requires the annotation kubernetes.io/service-account.name",
    ),
    (
        "not-owned",
        "gone",
        "{creationPolicy: Orphan, deletionPolicy: Delete}",
        "could not delete secret",
        "delete-not-owned",
    ),
];

/// Creates the Secrets that others own, and waits for the operator's refusals.
async fn refused(world: &World) {
    world.apply_yaml(STORE).await;
    let secret = |name: &str, owners: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"v": "b2xk"},
            "metadata": {"name": name, "namespace": world.namespace, "ownerReferences": owners},
        })
    };
    let owner = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "owner", "namespace": world.namespace},
    });
    let owner = world.apply(owner).await;
    let controller = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }]);
    world.apply(secret("foreign", controller)).await;
    world.apply(secret("plain", json!([]))).await;
    world
        .apply_yaml(&external_secret("owner", "v", "{name: owned}"))
        .await;
    world.ready("owner", "SecretSynced").await;
    for (name, key, target, ..) in CASES {
        world.apply_yaml(&external_secret(name, key, target)).await;
    }
    for (name, _, _, said, _) in CASES {
        eventually(
            &format!("the operator refuses {name}: {said}"),
            async || {
                let object = world.get("ExternalSecret", name).await?;
                let conditions = object["status"]["conditions"].as_array()?.clone();
                conditions
                    .iter()
                    .any(|condition| condition["status"] == "False" && condition["message"] == said)
                    .then_some(())
            },
        )
        .await;
    }
}

async fn what_the_operator_refuses_is_not_planned(world: World) {
    refused(&world).await;
    for policy in [POLICY, &POLICY.replace("drifted", "failed")] {
        let outcome = world.bin.policy(&world.named(policy), &[]).await;
        outcome.exits(3);
        let document = outcome.document();
        let items = document["items"].as_array().expect("items");
        for (name, _, _, _, told) in CASES {
            assert_eq!(outcome.of(name), "skipped(would-fail)", "{name}");
            let item = items.iter().find(|item| item["name"] == name).expect("it");
            let message = item["message"].as_str().unwrap_or_default();
            assert!(message.contains(told), "{name}: {message}");
            assert!(item["nextStep"].is_string(), "{name}");
        }
        assert_eq!(document["summary"]["toSync"], json!(0));
    }
    let diagnosis = world
        .bin
        .run(&["diagnose", "merge", "-n", &world.namespace, "-o", "json"])
        .await
        .document();
    let next = diagnosis["next"].to_string();
    assert!(next.contains("only one object own the Secret"), "{next}");
    world.end().await;
}

/// The operator replaces the whole data of an Orphan's Secret, also the keys that others added.
async fn keys_that_a_sync_removes_are_shown_before(world: World) {
    world.apply_yaml(STORE).await;
    world
        .apply_yaml(&external_secret("pg", "v", "{creationPolicy: Orphan}"))
        .await;
    world.ready("pg", "SecretSynced").await;
    let added = json!({"data": {"host": "aA==", "port": "MQ=="}});
    world.patch("Secret", "pg", &added).await;
    let told = format!(
        "a sync of {}/pg removes keys from its Secret: host, port",
        world.namespace
    );
    let policy = world.bin.file("removes.yaml", &world.named(POLICY));
    let policy = policy.to_str().expect("UTF-8");
    for command in ["plan", "drift"] {
        let outcome = world.bin.run(&[command, "--config", policy]).await;
        assert!(
            outcome.stdout.contains(&told),
            "{command}: {}",
            outcome.stdout
        );
    }
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    assert_eq!(outcome.exits(0).of("pg"), "synced");
    assert_eq!(world.secret("pg", "host").await, None);
    world.end().await;
}
