//! References of a store's `auth`, and the namespaces that they may reach.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use providers::{Unread, unread};
use sandbox::{Fault, Sandbox};
use serde_json::{Value as Json, json};

use super::support::{asked, put, put_account, resolver, sandbox, text};

const TENANT: &str = "SecretStore/team-a/vault";
const SHARED: &str = "ClusterSecretStore/vault";

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// A sandbox in which each tenant has a Secret `login`.
async fn tenants() -> Sandbox {
    let sandbox = sandbox().await;
    for namespace in ["team-a", "team-b"] {
        put(&sandbox, namespace, "login", &[("token", namespace)]);
        put_account(&sandbox, namespace, "reader");
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": PEM},
            "metadata": {"namespace": namespace, "name": "ca"},
        });
        sandbox.apply(map).unwrap();
    }
    sandbox
}

/// The value of a store's reference, or the reason word and detail of the error.
async fn key(sandbox: &Sandbox, store: &str, reference: Json) -> String {
    match resolver(sandbox, store, "team-a")
        .secret_key(&reference)
        .await
    {
        Ok(value) => text(&value),
        Err(unread) => format!("{}: {}", unread.why.reason, unread.why.detail),
    }
}

async fn ca(sandbox: &Sandbox, store: &str, settings: Json) -> Result<Option<String>, Unread> {
    let pem = resolver(sandbox, store, "team-a")
        .ca_bundle(&settings)
        .await?;
    Ok(pem.map(|bytes| String::from_utf8(bytes).unwrap()))
}

#[tokio::test]
async fn secret_store_references_stay_in_its_namespace() {
    let sandbox = tenants().await;
    let elsewhere = json!({"name": "login", "key": "token", "namespace": "team-b"});
    assert_eq!(key(&sandbox, TENANT, elsewhere).await, "team-a");
    assert_eq!(
        asked(&sandbox),
        ["GET /api/v1/namespaces/team-a/secrets/login"]
    );
}

#[tokio::test]
async fn cluster_store_reference_defaults_to_the_external_secrets_namespace() {
    let sandbox = tenants().await;
    let named = json!({"name": "login", "key": "token", "namespace": "team-b"});
    assert_eq!(key(&sandbox, SHARED, named).await, "team-b");
    let referent = json!({"name": "login", "key": "token"});
    assert_eq!(key(&sandbox, SHARED, referent).await, "team-a");
}

#[tokio::test]
async fn name_with_a_path_is_not_requested() {
    let sandbox = tenants().await;
    for name in [
        "../../team-b/secrets/login",
        "login/../../../team-b/secrets/login",
        "..",
        "login?watch=true",
        "login%2F..",
        "Login",
        "",
    ] {
        let answer = key(&sandbox, TENANT, json!({"name": name, "key": "token"})).await;
        assert!(answer.starts_with(unread::STORE), "{name:?}: {answer}");
        let account = json!({"name": name});
        let resolver = resolver(&sandbox, TENANT, "team-a");
        assert!(resolver.service_account_token(&account, &[]).await.is_err());
    }
    let namespace =
        json!({"name": "login", "key": "token", "namespace": "team-b/secrets/login/.."});
    assert!(
        key(&sandbox, SHARED, namespace)
            .await
            .starts_with(unread::STORE)
    );
    assert_eq!(asked(&sandbox), [""; 0]);
}

#[tokio::test]
async fn missing_object_is_named() {
    let sandbox = tenants().await;
    assert_eq!(
        key(&sandbox, TENANT, json!({"name": "other", "key": "token"})).await,
        "store-unreadable: Secret team-a/other does not exist"
    );
    assert_eq!(
        key(
            &sandbox,
            TENANT,
            json!({"name": "login", "key": "password"})
        )
        .await,
        "store-unreadable: Secret team-a/login has no key `password`"
    );
    assert_eq!(
        key(&sandbox, TENANT, json!({"name": "login"})).await,
        "store-unreadable: the store's reference to Secret team-a/login has no key"
    );
}

#[tokio::test]
async fn missing_permission_is_named() {
    let sandbox = tenants().await;
    sandbox.inject(Fault::forbidden());
    let resolver = resolver(&sandbox, TENANT, "team-a");
    let reference = json!({"name": "login", "key": "token"});
    let Err(refused) = resolver.secret_key(&reference).await else {
        panic!("expected a denied read");
    };
    assert_eq!(
        refused.permission.as_deref(),
        Some("get secrets/login in team-a")
    );
    assert!(refused.whole_store);
    let account = json!({"name": "reader"});
    let Err(refused) = resolver.service_account_token(&account, &[]).await else {
        panic!("expected a denied token request");
    };
    assert_eq!(
        refused.permission.as_deref(),
        Some("create serviceaccounts/token of reader in team-a")
    );
    let Err(refused) = resolver.service_account_annotations(&account).await else {
        panic!("expected a denied read");
    };
    assert_eq!(
        refused.permission.as_deref(),
        Some("get serviceaccounts/reader in team-a")
    );
}

#[tokio::test]
async fn read_only_client_gets_a_short_lived_service_account_token() {
    let sandbox = tenants().await;
    let account = json!({"name": "reader", "namespace": "team-b", "audiences": ["vault", "sts"]});
    let own = resolver(&sandbox, TENANT, "team-a");
    let more = ["sts".to_owned(), "extra".to_owned()];
    let token = own.service_account_token(&account, &more).await;
    let token = text(&token.ok().unwrap());
    assert!(token.starts_with("sandbox.team-a.reader."), "{token}");
    let request = sandbox.requests().pop().unwrap();
    let body: Json = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["spec"]["audiences"], json!(["vault", "sts", "extra"]));
    assert_eq!(body["spec"]["expirationSeconds"], 600);
    let shared = resolver(&sandbox, SHARED, "team-a");
    let token = shared
        .service_account_token(&account, &[])
        .await
        .ok()
        .unwrap();
    assert!(text(&token).starts_with("sandbox.team-b.reader."));
    let annotations = shared.service_account_annotations(&account).await;
    assert_eq!(annotations.unwrap()["role"], "reader");
}

#[tokio::test]
async fn ca_bundle_is_pem_in_single_or_double_base64() {
    let sandbox = sandbox().await;
    let once = STANDARD.encode(PEM);
    let twice = STANDARD.encode(&once);
    for bundle in [&once, &twice] {
        let read = ca(&sandbox, TENANT, json!({"caBundle": bundle})).await;
        assert_eq!(read.unwrap().as_deref(), Some(PEM));
    }
    for bundle in [
        PEM.to_owned(),
        STANDARD.encode("no certificate"),
        "%".to_owned(),
    ] {
        let refused = ca(&sandbox, TENANT, json!({"caBundle": bundle})).await;
        assert_eq!(refused.unwrap_err().why.reason, unread::STORE, "{bundle}");
    }
    for none in [
        json!({}),
        json!({"caBundle": ""}),
        json!({"caProvider": null}),
    ] {
        assert_eq!(ca(&sandbox, TENANT, none).await.unwrap(), None);
    }
}

#[tokio::test]
async fn ca_provider_is_a_secret_or_a_config_map() {
    let sandbox = tenants().await;
    put(&sandbox, "team-a", "ca", &[("ca.crt", PEM)]);
    for kind in ["Secret", "ConfigMap"] {
        let provider = json!({"type": kind, "name": "ca", "key": "ca.crt"});
        let read = ca(&sandbox, TENANT, json!({"caProvider": provider})).await;
        assert_eq!(read.unwrap().as_deref(), Some(PEM), "{kind}");
        let refused = ca(&sandbox, SHARED, json!({"caProvider": provider})).await;
        let refused = refused.unwrap_err();
        assert!(refused.why.detail.contains("has no namespace"), "{kind}");
    }
    let other = json!({"type": "Volume", "name": "ca", "key": "ca.crt"});
    let refused = ca(&sandbox, TENANT, json!({"caProvider": other})).await;
    assert_eq!(refused.unwrap_err().why.reason, unread::UNSUPPORTED);
}

#[tokio::test]
async fn ca_provider_of_a_secret_store_stays_in_its_namespace() {
    let sandbox = tenants().await;
    let provider =
        json!({"type": "ConfigMap", "name": "ca", "key": "ca.crt", "namespace": "team-b"});
    let refused = ca(&sandbox, TENANT, json!({"caProvider": provider})).await;
    assert_eq!(refused.unwrap_err().why.reason, unread::NOT_TRUSTED);
    assert_eq!(asked(&sandbox), [""; 0]);
}
