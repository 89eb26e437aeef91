//! Somebody who can edit the policy, and a SecretStore in a namespace, wants the job's token.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use crate::{
    providers::double::{Double, Reply},
    support::World,
};

/// A policy that sends the job's own credentials to a server of its author.
fn evil_policy(server: &Double) -> String {
    format!(
        "select: [{{}}]\ndrift: {{namespacedStores: true, endpoints: ['{}']}}\nsync: {{retries: 0, timeout: 1s}}\n",
        server.url
    )
}

/// A sandbox with a SecretStore at this server, and a job that logs in to Vault with a token for this audience. The issuer is
/// `https://issuer`, which is the audience of the API server too.
async fn world(server: &Double, audience: &str) -> World {
    let mut world = World::sandbox().await;
    let store = json!({"vault": {"server": server.url, "path": "kv", "auth": {"tokenSecretRef": {"name": "t", "key": "t"}}}});
    world
        .apply(json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "evil"},
            "spec": {"provider": store}}))
        .await;
    world
        .apply(json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "evil"},
            "spec": {"secretStoreRef": {"name": "evil", "kind": "SecretStore"},
                "data": [{"secretKey": "k", "remoteRef": {"key": "k", "property": "k"}}]}}))
        .await;
    let claims = json!({"iss": "https://issuer", "aud": [audience]}).to_string();
    let token = format!(
        "e30.{}.planted-signature",
        BASE64_URL_SAFE_NO_PAD.encode(claims)
    );
    let file = world.bin.file("token", &token);
    world
        .bin
        .set("VAULT_AUTH_TOKEN_FILE", file.to_str().expect("UTF-8"));
    world.bin.set("VAULT_AUTH_ROLE", "job");
    world
}

async fn server() -> Double {
    Double::start(|_| Reply::json(404, &json!({"errors": []}))).await
}

fn received_the_token(server: &Double) -> bool {
    server
        .asked()
        .iter()
        .any(|asked| asked.body.contains("planted-signature"))
}

#[tokio::test]
async fn a_policy_alone_cannot_send_the_jobs_token_anywhere() {
    let server = server().await;
    let world = world(&server, "vault").await;
    let policy = evil_policy(&server);
    let refused = world.bin.policy(&policy, &["--allow", "drift,sync"]).await;
    refused.exits(2);
    for flag in [
        "--allow namespaced-stores".to_owned(),
        format!("--allow-endpoint {}", server.url),
    ] {
        assert!(refused.stderr.contains(&flag), "{}", refused.stderr);
    }
    assert!(server.asked().is_empty());
    // Who sets the flags decides.
    let allow = [
        "--allow",
        "drift,sync,namespaced-stores",
        "--allow-endpoint",
        &server.url,
    ];
    world.bin.policy(&policy, &allow).await;
    assert!(received_the_token(&server));
}

#[tokio::test]
async fn every_command_that_reads_a_policy_has_the_ceilings() {
    let server = server().await;
    let world = world(&server, "vault").await;
    let path = world.bin.file("evil.yaml", &evil_policy(&server));
    let path = path.to_str().expect("UTF-8");
    for command in [
        "run", "plan", "drift", "status", "validate", "rbac", "restart", "events",
    ] {
        let refused = world
            .bin
            .run(&[command, "--config", path, "--allow", "drift,sync"])
            .await;
        refused.exits(2);
        assert!(
            refused.stderr.contains("drift.endpoints[0]"),
            "{command}: {}",
            refused.stderr
        );
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_sync_by_name_stays_within_its_ceilings() {
    let server = server().await;
    let mut world = world(&server, "vault").await;
    world.bin.set("ESO_SYNC_ALLOW", "sync");
    let sync = ["sync", "x", "-n", &world.namespace, "--yes"];
    for (flags, needs) in [
        (&["--on-still-stale", "recreate"][..], "refetch,recreate"),
        (&["--restart"], "restart"),
    ] {
        let refused = world.bin.run(&[&sync[..], flags].concat()).await;
        refused.exits(2);
        let add = format!("or add --allow {needs}");
        assert!(refused.stderr.contains(&add), "{}", refused.stderr);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn the_token_of_the_api_server_needs_its_own_flag() {
    let server = server().await;
    let world = world(&server, "https://issuer").await;
    let policy = evil_policy(&server);
    // Without ceilings too: a missing flag never sends it.
    let words = "drift,sync,namespaced-stores";
    let allow = ["--allow", words, "--allow-endpoint", &server.url];
    for flags in [&[][..], &allow[..]] {
        let outcome = world.bin.policy(&policy, flags).await;
        assert!(
            outcome.stdout.contains("--allow api-server-token"),
            "{}",
            outcome.stdout
        );
        assert!(!received_the_token(&server));
    }
    let mut with = allow.to_vec();
    with.extend(["--allow", "api-server-token"]);
    world.bin.policy(&policy, &with).await;
    assert!(received_the_token(&server));
}

#[tokio::test]
async fn credentials_never_go_over_plain_http() {
    let world = World::sandbox().await;
    let policy = "select: [{}]\ndrift: {endpoints: ['http://vault.corp:8200']}\n";
    let refused = world.bin.policy(policy, &[]).await;
    refused.exits(2);
    assert!(
        refused.stderr.contains("must use https"),
        "{}",
        refused.stderr
    );
    let policy = "select: [{}]\n";
    let flags = [
        "--allow",
        "drift,sync",
        "--allow-endpoint",
        "http://vault.corp:8200",
    ];
    let refused = world.bin.policy(policy, &flags).await;
    refused.exits(2);
    assert!(
        refused.stderr.contains("must use https"),
        "{}",
        refused.stderr
    );
}
