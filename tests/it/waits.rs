//! No wait is silent for longer than five seconds: a line on stderr says what the run waits for, and until when. Each kind of wait
//! has a test. Those for a credential plugin and for an API server that answers 503 are in `connection`.

use std::net::SocketAddr;

use sandbox::Fault;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use crate::{
    pods::up,
    restart::{self, workload},
    scenarios::{POLICY, base, rotate},
    support::{Running, World},
};

/// Waits for the announcement, and ends the run.
async fn announces(mut running: Running, what: &str) {
    let line = running.says(what).await;
    assert!(line.contains(" s, at most "), "until when? {line}");
    running.signal("KILL").await;
    running.end().await;
}

#[tokio::test]
async fn wait_for_an_api_server_that_throttles_is_announced() {
    let world = World::sandbox().await;
    base(&world).await;
    let throttles = Fault::throttled(30).resource("externalsecrets");
    world.embedded().inject(throttles);
    announces(world.start(POLICY), "waiting for the API server").await;
}

#[tokio::test]
async fn wait_for_proofs_is_announced() {
    let world = World::sandbox().await;
    base(&world).await;
    world.rest().await;
    let running = world.start(POLICY);
    announces(running, "waiting for the operator to prove the syncs").await;
}

#[tokio::test]
async fn wait_for_the_pace_is_announced() {
    let world = World::sandbox().await;
    base(&world).await;
    let slow = format!("{POLICY}pace: {{providers: {{fake: 1/min}}}}\n");
    let running = world.start(&slow);
    announces(running, "waiting for the pace of the policy").await;
}

#[tokio::test]
async fn wait_for_a_restarted_workload_is_announced() {
    let world = World::sandbox().await;
    base(&world).await;
    up(&world, workload("Deployment", "web", "db"), "never").await;
    rotate(&world).await;
    let running = world.start(restart::POLICY);
    announces(running, "waiting for restarted workloads to become healthy").await;
}

#[tokio::test]
async fn wait_for_the_lock_is_announced() {
    let world = World::sandbox().await;
    base(&world).await;
    world.rest().await;
    let mut first = world.start(POLICY);
    first
        .says("waiting for the operator to prove the syncs")
        .await;
    let path = world.bin.file("second.yaml", &world.named(POLICY));
    let path = path.to_str().expect("UTF-8");
    let second = ["run", "--config", path, "--wait-lock", "60s"];
    announces(world.bin.start(&second), "waiting for the lock").await;
    first.signal("KILL").await;
    first.end().await;
}

/// A server that gives this answer to all requests, or none.
struct Vault {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Vault {
    async fn start(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer {
                    let mut request = [0; 4096];
                    // The client may be gone.
                    if stream.read(&mut request).await.is_ok() {
                        stream.write_all(answer.as_bytes()).await.ok();
                    }
                } else {
                    open.push(stream);
                }
            }
        });
        Self { address, serving }
    }

    /// Starts a run that reads from it.
    async fn is_read(&self, world: &World) -> Running {
        base(world).await;
        world.rest().await;
        let url = format!("http://{}", self.address);
        let auth = json!({"tokenSecretRef": {"name": "token", "key": "token"}});
        let vault = json!({"server": url, "path": "secret", "version": "v2", "auth": auth});
        let provider = json!({"spec": {"provider": {"fake": null, "vault": vault}}});
        let store = format!("{}-store", world.namespace);
        world.patch("SecretStore", &store, &provider).await;
        let token = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"token": "t"},
        });
        world.apply(token).await;
        let drift =
            format!("drift: {{credentials: store, namespacedStores: true, endpoints: ['{url}']}}");
        world.start(&format!("select: [{{namespaces: [NS]}}]\n{drift}\n"))
    }
}

#[tokio::test]
async fn wait_for_a_provider_that_does_not_answer_names_the_store() {
    let world = World::sandbox().await;
    let vault = Vault::start(None).await;
    let running = vault.is_read(&world).await;
    let what = format!(
        "waiting for the provider of SecretStore/{0}/{0}-store to answer",
        world.namespace
    );
    announces(running, &what).await;
}

#[tokio::test]
async fn wait_for_a_provider_that_throttles_names_the_store() {
    let world = World::sandbox().await;
    let throttles = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 30\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let vault = Vault::start(Some(throttles)).await;
    let running = vault.is_read(&world).await;
    let store = format!("SecretStore/{0}/{0}-store", world.namespace);
    announces(running, &format!("the provider of {store}")).await;
}
