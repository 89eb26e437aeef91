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

/// With the trust rules and the credentials of a drift check, and without reading a value.
#[cfg(all(feature = "aws-parameter-store", feature = "gcp", feature = "vault"))]
#[tokio::test]
async fn rotation_is_looked_up_with_the_credentials_of_the_store() {
    use crate::{credentials::own::rotated, providers::expiry};

    let mut world = World::sandbox().await;
    rotated(&world).await;
    let double = expiry::secrets_manager().await;
    world.bin.set("AWS_ENDPOINT_URL", &double.url);
    let ns = world.namespace.clone();
    let advise = ["advise", "-n", &ns, "--rotation=two-users"];
    let store = ["--credentials", "store", "--endpoint", &double.url];
    let asked = async |world: &World, more: &[&str]| {
        let arguments = [&advise[..], &store, more].concat();
        let outcome = world.bin.run(&arguments).await;
        outcome.exits(0);
        outcome
    };
    let item = asked(&world, &["-o", "json"]).await.document()["items"][0].clone();
    let rotation = json!({"store": format!("SecretStore/{ns}/store"), "key": "db", "state": "scheduled",
        "next": "2027-01-15T08:00:00Z", "periodSeconds": 2_592_000, "overlapSeconds": 2_592_000});
    assert_eq!(item["rotations"], json!([rotation]));
    // An hour, where six are early enough.
    assert_eq!(
        (&item["verdict"], &item["reason"]),
        (&json!("aggressive"), &json!("rotation"))
    );
    let patch = asked(&world, &["--patch"]).await.stdout;
    let object: Value = serde_saphyr::from_str(&patch).expect("YAML");
    assert_eq!(object["spec"]["refreshInterval"], "6h");
    let change = json!({"spec": object["spec"]});
    world.patch("ExternalSecret", "db", &change).await;
    let again = asked(&world, &["-o", "json"]).await.document();
    assert_eq!(again["summary"]["verdicts"], json!({"good": 1}));
    let read = double.asked().into_iter();
    let mut read = read.map(|asked| asked.header("x-amz-target").to_owned());
    assert!(read.all(|of| of.is_empty() || of == "secretsmanager.DescribeSecret"));

    let untrusted = world.bin.run(&advise).await;
    untrusted.exits(3);
    let line = "could not look up the rotation of db";
    assert!(untrusted.stdout.contains(line), "{}", untrusted.stdout);
    assert!(
        untrusted.stdout.contains("store-not-trusted"),
        "{}",
        untrusted.stdout
    );
    world.end().await;
}

/// A variable may be set for other commands.
#[tokio::test]
async fn provider_flags_need_rotation_and_variables_do_not() {
    let mut world = World::sandbox().await;
    world.apply_yaml(BASE).await;
    for flag in [
        &["--credentials", "store"][..],
        &["--endpoint", "https://vault.corp:8200"],
        &["--namespaced-stores"],
    ] {
        let outcome = world.bin.run(&[&["advise", "-A"], flag].concat()).await;
        outcome.exits(2);
        let why = format!("{} has an effect with --rotation only", flag[0]);
        assert!(outcome.stderr.contains(&why), "{}", outcome.stderr);
        world
            .bin
            .run(&[&["advise", "-A", "--rotation"], flag].concat())
            .await
            .exits(0);
    }
    world.bin.set("ESO_SYNC_CREDENTIALS", "store");
    world.bin.run(&["advise", "-A"]).await.exits(0);
    world.end().await;
}
