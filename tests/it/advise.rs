//! `advise` with a whole cluster: its patch is accepted by the API server, and makes everything good.

use serde_json::{Value, json};

use crate::support::{World, scenarios};

scenarios! {
    an_applied_patch_makes_every_interval_good
}

const BASE: &str = r"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: a, value: one}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: long, namespace: NS}
spec: {refreshInterval: 24h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: a}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: zero, namespace: NS}
spec: {refreshInterval: 0s, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: a}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: once, namespace: NS}
spec: {refreshPolicy: CreatedOnce, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: a}}]}
";

async fn an_applied_patch_makes_every_interval_good(world: World) {
    world.apply_yaml(BASE).await;
    let verdicts = async || -> Value {
        let arguments = ["advise", "-n", &world.namespace, "-o", "json"];
        let document = world.bin.run(&arguments).await.exits(0).document();
        document["summary"]["verdicts"].clone()
    };
    assert_eq!(verdicts().await, json!({"good": 1, "too-long": 2}));
    let arguments = ["advise", "-n", &world.namespace, "--patch"];
    let patch = world.bin.run(&arguments).await.exits(0).stdout.clone();
    let documents = patch.split("---\n").filter(|text| !text.is_empty());
    for document in documents {
        let object: Value = serde_saphyr::from_str(document).expect("YAML");
        let name = object["metadata"]["name"].as_str().expect("a name");
        let change = json!({"spec": object["spec"]});
        world.patch("ExternalSecret", name, &change).await;
    }
    assert_eq!(verdicts().await, json!({"good": 3}));
    world.end().await;
}

#[tokio::test]
async fn advise_reads_no_secret_and_no_provider() {
    let world = World::sandbox().await;
    world.apply_yaml(BASE).await;
    let before = world.embedded().requests().len();
    world.bin.run(&["advise", "-A"]).await.exits(0);
    for request in world.embedded().requests().split_off(before) {
        assert_eq!(request.method, "GET", "{}", request.path);
        let path = request.path.split('?').next().unwrap_or_default();
        let mut parts = path.split('/');
        assert!(parts.all(|part| part != "secrets"), "{}", request.path);
    }
}
