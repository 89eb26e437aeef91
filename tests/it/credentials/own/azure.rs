//! The same with Azure Key Vault. Its host names are fixed, so the job reaches it through a tunnel to the proxy.

use std::sync::Mutex;

use serde_json::json;

use super::{is_told, rotated_in};
use crate::{
    providers::{
        azure::service::{CLIENT, TENANT},
        proxy::{Asked, Fault},
    },
    publish::targets::{KeyVault, Route, Target as _},
    support::{Outcome, World},
};

/// A read with a token. Azure's clients also ask without one, to learn where to log in.
fn is_read(asked: &Asked) -> bool {
    asked.operation.trim_end_matches('/') == "GET /secrets/db"
        && !asked.header("authorization").is_empty()
}

/// Which tokens Key Vault rejects, at last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rejects {
    First,
    All,
}

/// A run over a store of Key Vault. The vault and the login are behind a proxy, which accepts this number of reads. Then the tokens so
/// far, or all, are rejected.
async fn run_in_azure(world: &mut World, accepted: usize, rejects: Rejects) -> (Outcome, Route) {
    let provider = json!({"azurekv": {
        "tenantId": TENANT, "vaultUrl": "https://kv.vault.azure.net", "authType": "ServicePrincipal",
        "authSecretRef": {
            "clientId": {"name": "login", "key": "id"}, "clientSecret": {"name": "login", "key": "key"},
        },
    }});
    rotated_in(world, provider, [CLIENT, "s3cret"]).await;
    let vault = KeyVault::start("").await;
    vault.service.change(|vault| vault.set("db", "v"));
    let first = Mutex::new((0, String::new()));
    let challenge = format!(
        "Bearer authorization=\"https://login.microsoftonline.com/{TENANT}\", resource=\"https://vault.azure.net\""
    );
    let script = move |asked: &Asked| {
        if !is_read(asked) {
            return Fault::None;
        }
        let (reads, token) = &mut *first.lock().expect("no panic");
        *reads += 1;
        let now = asked.header("authorization");
        if *reads <= accepted {
            now.clone_into(token);
        } else if rejects == Rejects::All || token == now {
            let body = json!({"error": {"code": "Unauthorized", "message": "hunter2-planted"}});
            let headers = vec![("www-authenticate", challenge.clone())];
            return Fault::Instead(401, headers, body.to_string());
        }
        Fault::None
    };
    let route = vault.proxy(Box::new(script)).await;
    world.bin.set("HTTPS_PROXY", &route.url);
    world.bin.set("NO_PROXY", "127.0.0.1");
    world.bin.set("SSL_CERT_FILE", &vault.certificate);
    let policy = "select: [{namespaces: [NS]}]\ndrift: {credentials: store}\n";
    let outcome = world.bin.policy(&world.named(policy), &[]).await;
    (outcome, route)
}

/// The numbers of reads and of logins.
fn reads_and_logins(route: &Route) -> (usize, usize) {
    let asked = route.asked();
    let reads = asked.iter().filter(|asked| is_read(asked)).count();
    (reads, asked.iter().filter(|asked| asked.is_login()).count())
}

#[tokio::test]
async fn token_for_key_vault_that_ends_in_the_middle_of_a_run_is_renewed() {
    let mut world = World::sandbox().await;
    let (outcome, route) = run_in_azure(&mut world, 1, Rejects::First).await;
    outcome.exits(0);
    assert_eq!(outcome.of("db"), "synced");
    assert_eq!(world.secret("db", "k").await.as_deref(), Some("dg=="));
    // Compared for the plan, again before the sync, and after it. Azure's client repeats the rejected read with the same token, and
    // eso-sync once with a new one.
    assert_eq!(reads_and_logins(&route), (3 + 2, 2));
    world.end().await;
}

#[tokio::test]
async fn token_for_key_vault_that_stays_rejected_is_reported_with_what_to_look_at() {
    let mut world = World::sandbox().await;
    let (outcome, route) = run_in_azure(&mut world, 0, Rejects::All).await;
    outcome.exits(3);
    assert_eq!(reads_and_logins(&route), (2, 2));
    is_told(&outcome, "check that the identity still exists");
    world.end().await;
}
