//! From Git to the pods: an object of Flux, `publish`, moto, the real operator, the Secret and a Deployment.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::Command,
    task::JoinHandle,
};

use super::aws_store;
use crate::{
    publish::KEY,
    restart::{is_up, rolled, workload},
    support::{Outcome, World, eventually, optional_variable},
};

/// A region that no other test uses.
const REGION: &str = "ap-south-1";

/// A part of each value. It must not appear in any output.
const PLANTED: &str = "wonderwall-planted";

/// A source-controller: an archive with one file, and an object that names it.
struct Source {
    serving: JoinHandle<()>,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Source {
    /// Serves a commit whose file `app.env` has this content.
    async fn commit(world: &World, content: &str) -> Self {
        let folder = world.bin.path().join("repository");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("app.env"), content).expect("a file");
        let tar = Command::new("tar")
            .args(["-cz", "-C"])
            .arg(&folder)
            .arg("app.env")
            .output()
            .await
            .expect("tar");
        assert!(tar.status.success());
        let mut hex = String::new();
        for byte in Sha256::digest(&tar.stdout) {
            write!(hex, "{byte:02x}").expect("a String");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let source = Self {
            serving: tokio::spawn(serve(listener, tar.stdout)),
        };
        let artifact = json!({"url": format!("http://{address}/{hex}.tar.gz"), "digest": format!("sha256:{hex}"),
            "revision": format!("main@sha1:{}", &hex[..40])});
        let mut object = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": "platform", "namespace": world.namespace},
            "spec": {"interval": "1m", "url": "https://git.example/platform"}});
        let applied = world.apply(object.clone()).await;
        let generation = applied["metadata"]["generation"]
            .as_i64()
            .expect("a number");
        // The definition has no subresource, so the status is a part of the generation.
        object["status"] = json!({"observedGeneration": generation + 1, "artifact": artifact,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded"}]});
        world.apply(object).await;
        source
    }
}

/// Answers each connection with the archive.
async fn serve(listener: TcpListener, archive: Vec<u8>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 4096];
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            archive.len()
        );
        // A client that went away needs no answer.
        if stream.read(&mut request).await.is_ok()
            && stream.write_all(head.as_bytes()).await.is_ok()
        {
            stream.write_all(&archive).await.ok();
        }
    }
}

/// The definition of GitRepositories, as far as it is needed.
async fn definition(world: &World) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gitrepositories.source.toolkit.fluxcd.io"},
        "spec": {"group": "source.toolkit.fluxcd.io", "scope": "Namespaced",
            "names": {"kind": "GitRepository", "plural": "gitrepositories", "singular": "gitrepository", "listKind": "GitRepositoryList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    world.apply(definition).await;
    eventually("the API server serves GitRepositories", async || {
        let name = "gitrepositories.source.toolkit.fluxcd.io";
        let object = world.get("CustomResourceDefinition", name).await?;
        let conditions = object["status"]["conditions"].as_array()?.clone();
        let is_established = |one: &Value| one["type"] == "Established" && one["status"] == "True";
        conditions.iter().any(is_established).then_some(())
    })
    .await;
}

/// A namespace with a store in moto, an ExternalSecret that reads what is published, and a Deployment that uses its Secret.
async fn prepared() -> World {
    let mut world = World::cluster().await;
    let moto = optional_variable("ESO_SYNC_TEST_MOTO").expect("moto");
    for (name, value) in [
        ("AWS_ENDPOINT_URL", moto.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("PUBLISH_KEY", KEY),
    ] {
        world.bin.set(name, value);
    }
    definition(&world).await;
    let ns = world.namespace.clone();
    aws_store(&world, REGION).await;
    let version = format!("external-secrets.io/{}", world.version);
    for object in [
        json!({"apiVersion": version, "kind": "ExternalSecret", "metadata": {"name": "app", "namespace": ns},
            "spec": {"refreshInterval": "24h", "secretStoreRef": {"name": "aws", "kind": "SecretStore"},
                "data": [{"secretKey": "A", "remoteRef": {"key": format!("{ns}-A")}}]}}),
        workload("Deployment", "web", "app"),
    ] {
        world.apply(object).await;
    }
    let policy = format!(
        "select: [{{namespaces: [{ns}]}}]
drift: {{credentials: store, endpoints: ['{moto}']}}
sync: {{timeout: 20s}}
pace: {{restarts: 100/s}}
restart: [{{match: references, wait: 1m, cooldown: 0s}}]
publish:
  owner: {ns}
  key: env:PUBLISH_KEY
  items:
    - name: app
      source: {{flux: {{namespace: {ns}, name: platform}}}}
      read: {{files: [{{path: app.env}}]}}
      to: {{aws: {{region: {REGION}}}}}
      names: {{prefix: {ns}}}
      then: {{sync: true}}
"
    );
    world.bin.file("publish.yaml", &policy);
    world
}

async fn publish(world: &World) -> Outcome {
    let path = world.bin.path().join("publish.yaml");
    let path = path.to_str().expect("UTF-8");
    let ns = &world.namespace;
    let command = [
        "publish",
        "--yes",
        "--config",
        path,
        "--lock-namespace",
        ns,
        "-o",
        "json",
    ];
    let outcome = world.bin.run(&command).await;
    assert!(!outcome.stdout.contains(PLANTED) && !outcome.stderr.contains(PLANTED));
    outcome
}

/// The outcomes of the secret, the ExternalSecret and the Deployment.
fn ended(outcome: &Outcome) -> [Value; 3] {
    let document = outcome.document();
    let run = &document["sync"];
    [
        document["items"][0]["secrets"][0]["outcome"].clone(),
        run["items"][0]["outcome"].clone(),
        run["restarts"][0]["outcome"].clone(),
    ]
}

async fn data(world: &World) -> String {
    let data = world.secret("app", "A").await.unwrap_or_default();
    let bytes = BASE64_STANDARD.decode(data).expect("base64");
    String::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn commit_reaches_the_pods_in_one_report() {
    let world = prepared().await;
    let first = format!("{PLANTED}-1");
    let _source = Source::commit(&world, &format!("A={first}\n")).await;
    let outcome = publish(&world).await;
    outcome.exits(0);
    assert_eq!(ended(&outcome)[..2], [json!("published"), json!("synced")]);
    assert_eq!(data(&world).await, first);
    is_up(&world, "Deployment", "web").await;
    let before = rolled(&world, "Deployment", "web").await;

    let second = format!("{PLANTED}-2");
    let _source = Source::commit(&world, &format!("A={second}\n")).await;
    let outcome = publish(&world).await;
    outcome.exits(0);
    assert_eq!(
        ended(&outcome),
        ["published", "synced", "restarted"].map(|word| json!(word))
    );
    let chain = outcome.document()["sync"]["chain"]
        .as_array()
        .expect("a chain")
        .clone();
    assert!(
        chain.len() == 5 && chain.iter().all(|link| link["proven"] == true),
        "{chain:#?}"
    );
    assert_eq!(data(&world).await, second);
    assert_eq!(rolled(&world, "Deployment", "web").await, before + 1);

    // Nothing changed, so nothing is written, synced or restarted.
    let outcome = publish(&world).await;
    outcome.exits(0);
    let again = outcome.document();
    assert_eq!(again["summary"]["outcomes"], json!({"in-sync": 1}));
    assert_eq!(again["sync"]["items"][0]["reason"], "in-sync");
    assert_eq!(rolled(&world, "Deployment", "web").await, before + 1);
    world.end().await;
}

/// The operator does not answer, so the first publication ends before its sync is proven. The next one writes nothing, and
/// completes the chain.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn next_publication_completes_an_interrupted_one() {
    let world = prepared().await;
    let _source = Source::commit(&world, &format!("A={PLANTED}-1\n")).await;
    publish(&world).await.exits(0);
    is_up(&world, "Deployment", "web").await;
    let before = rolled(&world, "Deployment", "web").await;

    let second = format!("{PLANTED}-2");
    let _source = Source::commit(&world, &format!("A={second}\n")).await;
    world.rest().await;
    let interrupted = publish(&world).await;
    world.resume().await;
    interrupted.exits(3);
    assert_eq!(
        ended(&interrupted)[..2],
        [json!("published"), json!("failed")]
    );

    let completed = publish(&world).await;
    completed.exits(0);
    let document = completed.document();
    assert_eq!(
        document["summary"]["outcomes"],
        json!({"in-sync": 1}),
        "{document:#}"
    );
    eventually("the Secret has the published data", async || {
        (data(&world).await == second).then_some(())
    })
    .await;
    assert_eq!(rolled(&world, "Deployment", "web").await, before + 1);
    world.end().await;
}

/// A secret that the repository no longer has is deleted only if no ExternalSecret reads it, in any namespace.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn secret_that_an_external_secret_reads_is_not_deleted() {
    let world = prepared().await;
    let path = world.bin.path().join("publish.yaml");
    let policy = std::fs::read_to_string(path).expect("it was written");
    // The ExternalSecret is not selected, and counts nevertheless.
    let policy = policy.replace("then: {sync: true}", "prune: {mode: prune, after: 1s}");
    let policy = policy.replace(
        &format!("namespaces: [{}]", world.namespace),
        "namespaces: [elsewhere]",
    );
    world.bin.file("publish.yaml", &policy);
    let _source = Source::commit(&world, &format!("A={PLANTED}-1\nB={PLANTED}-2\n")).await;
    publish(&world).await.exits(0);
    world.ready("app", "SecretSynced").await;

    let _source = Source::commit(&world, &format!("B={PLANTED}-2\n")).await;
    let of_a = |outcome: &Outcome| {
        let secret = outcome.document()["items"][0]["secrets"][0].clone();
        assert!(
            secret["name"]
                .as_str()
                .is_some_and(|name| name.ends_with("-A")),
            "{secret}"
        );
        (secret["outcome"].clone(), secret["reason"].clone())
    };
    let kept = publish(&world).await;
    assert_eq!(of_a(&kept), (json!("left"), json!("still-read")));
    world.delete("ExternalSecret", "app").await;
    let deleted = publish(&world).await;
    assert_eq!(of_a(&deleted), (json!("removed"), json!("orphaned")));
    world.end().await;
}
