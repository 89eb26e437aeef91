//! Logins, and what the logged-in identities may read.

use cluster::{
    Access, Cluster,
    connect::{Options, connect},
};
use eso_model::StoreKey;
use providers::{self, Answered, Identity, RateLimiter, Resolver, unread};
use serde_json::{Value, json};

use super::{as_job, find, rate, read, said, secret, server::Server, store};
use crate::support::{World, eventually, optional_variable};

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn expired_tokens_in_vault_are_replaced() {
    let Some(server) = Server::start().await else {
        return;
    };
    server
        .write("secret/data/db", r#"{"data":{"k":"v"}}"#)
        .await;
    let (role, id) = server.app_role("5s").await;
    let variables = [
        ("VAULT_ROLE_ID", role.as_str()),
        ("VAULT_SECRET_ID", id.as_str()),
    ];
    let vault = as_job(&server, json!({"path": "secret"}), &variables).await;
    let wanted = [secret("db"), secret("db")];
    assert_eq!(read(&*vault, &wanted).await, [r#"{"k":"v"}"#; 2]);
    let first = server.tokens().await;
    assert_eq!(first.len(), 1, "one login serves all reads");

    eventually("the token expires", async || {
        server.tokens().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(read(&*vault, &wanted).await, [r#"{"k":"v"}"#; 2]);

    // Before it expires.
    for accessor in server.tokens().await {
        let body = json!({"accessor": accessor}).to_string();
        server.write("auth/token/revoke-accessor", &body).await;
    }
    assert_eq!(read(&*vault, &wanted).await, [r#"{"k":"v"}"#; 2]);
    server.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn denied_read_in_vault_names_the_missing_capability() {
    let Some(server) = Server::start().await else {
        return;
    };
    server
        .write("secret/data/team/db", r#"{"data":{"k":"v"}}"#)
        .await;
    server
        .write("secret/data/other", r#"{"data":{"k":"v"}}"#)
        .await;
    let (role, id) = server.app_role("60s").await;
    let variables = [
        ("VAULT_ROLE_ID", role.as_str()),
        ("VAULT_SECRET_ID", id.as_str()),
    ];
    server
        .policy(r#"path "secret/data/team/*" { capabilities = ["read"] }"#)
        .await;
    let vault = as_job(&server, json!({"path": "secret"}), &variables).await;
    let wanted = [
        secret("team/db"),
        secret("other"),
        find(None, Some("db"), &[]),
    ];
    let answers = vault.read(&wanted, &RateLimiter::new(rate())).await;
    let mut permissions = Vec::new();
    for answered in &answers {
        if let Answered::Unread(unread) = answered {
            assert_eq!(
                (unread.why.reason, unread.whole_store),
                (unread::DENIED, false)
            );
            permissions.push(unread.permission.clone().expect("a right"));
        }
    }
    assert_eq!(said(&answers[0]), r#"{"k":"v"}"#);
    assert_eq!(
        permissions,
        ["`read` on secret/data/other", "`list` on secret/metadata/"]
    );
    assert_eq!(
        server.tokens().await.len(),
        1,
        "a denied read causes no new login"
    );
    server.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn failed_login_in_vault_is_reported_for_the_store() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (role, _) = server.app_role("60s").await;
    for (variables, told) in [
        (
            vec![("VAULT_TOKEN", "s.wonderwall")],
            "credentials-expired (the token is invalid or has expired)",
        ),
        (
            vec![
                ("VAULT_ROLE_ID", role.as_str()),
                ("VAULT_SECRET_ID", "wonderwall"),
            ],
            "login-failed (auth/approle/login: Vault answered 400 (invalid role or secret ID))",
        ),
        (
            vec![
                ("VAULT_AUTH_ROLE", "x"),
                ("VAULT_AUTH_PATH", "none"),
                ("VAULT_AUTH_TOKEN_FILE", "Cargo.toml"),
            ],
            "login-failed (auth/none/login: Vault answered 403 (permission denied))",
        ),
    ] {
        let vault = as_job(&server, json!({"path": "secret"}), &variables).await;
        let answers = vault
            .read(&[secret("a"), secret("b")], &RateLimiter::new(rate()))
            .await;
        for answered in &answers {
            let Answered::Unread(unread) = answered else {
                panic!("{}", said(answered));
            };
            assert_eq!(unread.why.to_string(), told);
            assert!(unread.whole_store);
        }
    }
    let token = [("VAULT_TOKEN", server.token.as_str())];
    let stranger = as_job(
        &server,
        json!({"path": "secret", "namespace": "none"}),
        &token,
    )
    .await;
    let answers = read(&*stranger, &[secret("a")]).await;
    assert!(answers[0].contains("namespace not found"), "{answers:?}");
    server.end().await;
}

/// The cluster, and a resolver for a store in the test's namespace.
async fn resolver(world: &World) -> (Cluster, Resolver) {
    let options = Options {
        kubeconfig: optional_variable("ESO_SYNC_TEST_KUBECONFIG").map(Into::into),
        ..Options::new(pace::Clock::starting_at(crate::support::now()))
    };
    let cluster = connect(&options, Access::ReadOnly, rate())
        .await
        .expect("a cluster");
    let key = StoreKey::Namespaced {
        namespace: world.namespace.clone(),
        name: "vault".to_owned(),
    };
    (
        cluster.clone(),
        Resolver::new(cluster, key, &world.namespace),
    )
}

/// Logs in with credentials from the cluster, as the operator does.
async fn as_store(world: &World, server: &Server, auth: Value) -> Vec<String> {
    let (cluster, resolver) = resolver(world).await;
    let store = store(server.settings(&json!({"path": "secret", "auth": auth})));
    match providers::connect(&store, Identity::Store(&resolver), &cluster).await {
        Ok(vault) => read(&*vault, &[secret("db")]).await,
        Err(unread) => vec![unread.why.to_string()],
    }
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn store_login_in_vault_is_resolved() {
    let Some(server) = Server::start().await else {
        return;
    };
    let world = World::cluster().await;
    server
        .write("secret/data/db", r#"{"data":{"k":"v"}}"#)
        .await;
    let (role, id) = server.app_role("60s").await;
    server.user("user", "p@ss \"word\"").await;
    world
        .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vault", "namespace": world.namespace},
            "stringData": {"token": server.token, "role": role, "id": id, "password": "p@ss \"word\""}}))
        .await;
    let key = |key: &str| json!({"name": "vault", "key": key});
    let good = [
        json!({"tokenSecretRef": key("token")}),
        json!({"appRole": {"path": "approle", "roleId": role, "secretRef": key("id")}}),
        json!({"appRole": {"path": "approle", "roleRef": key("role"), "secretRef": key("id")}}),
        json!({"userPass": {"path": "userpass", "username": "user", "secretRef": key("password")}}),
        json!({"namespace": server.namespace, "tokenSecretRef": key("token")}),
    ];
    for auth in good {
        assert_eq!(
            as_store(&world, &server, auth.clone()).await,
            [r#"{"k":"v"}"#],
            "{auth}"
        );
    }
    let wrong =
        json!({"userPass": {"path": "userpass", "username": "user", "secretRef": key("id")}});
    assert_eq!(
        as_store(&world, &server, wrong).await,
        [
            "login-failed (auth/userpass/login/user: Vault answered 400 (invalid username or password))"
        ]
    );
    for (auth, reason) in [
        (json!({"tokenSecretRef": key("none")}), unread::STORE),
        (json!({"cert": {"path": "cert"}}), unread::UNSUPPORTED),
        (json!({"iam": {}}), unread::UNSUPPORTED),
        (json!({}), unread::UNSUPPORTED),
        (
            json!({"kubernetes": {"mountPath": "kubernetes", "role": "x"}}),
            unread::CONTROLLER_IDENTITY,
        ),
        (Value::Null, unread::CONTROLLER_IDENTITY),
    ] {
        let answers = as_store(&world, &server, auth.clone()).await;
        assert!(answers[0].starts_with(reason), "{auth}: {answers:?}");
    }
    world.end().await;
    server.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn service_account_in_vault_logs_in_with_its_token() {
    let Some(server) = Server::start().await else {
        return;
    };
    let world = World::cluster().await;
    server
        .write("secret/data/db", r#"{"data":{"k":"v"}}"#)
        .await;
    for name in ["app", "stranger"] {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": world.namespace}});
        world.apply(account).await;
    }
    server.kubernetes_auth("app", &world.namespace).await;
    let auth = |account: &str| {
        json!({"kubernetes": {"mountPath": "kubernetes", "role": "app",
            "serviceAccountRef": {"name": account, "audiences": ["vault"]}}})
    };
    assert_eq!(
        as_store(&world, &server, auth("app")).await,
        [r#"{"k":"v"}"#]
    );
    let refused = as_store(&world, &server, auth("stranger")).await;
    assert!(
        refused[0].starts_with("login-failed (auth/kubernetes/login: Vault answered 40"),
        "{refused:?}"
    );
    // As the job, with the token of its Pod's service account.
    let (_, resolver) = resolver(&world).await;
    let account = json!({"name": "app"});
    let audiences = ["vault".to_owned()];
    let token = resolver.service_account_token(&account, &audiences);
    let token = token.await.expect("a token");
    let file = world
        .bin
        .file("token", &String::from_utf8_lossy(token.expose()));
    let file = ("VAULT_AUTH_TOKEN_FILE", file.to_str().expect("UTF-8"));
    let job = as_job(
        &server,
        json!({"path": "secret"}),
        &[("VAULT_AUTH_ROLE", "app"), file],
    )
    .await;
    assert_eq!(read(&*job, &[secret("db")]).await, [r#"{"k":"v"}"#]);
    world.end().await;
    server.end().await;
}
