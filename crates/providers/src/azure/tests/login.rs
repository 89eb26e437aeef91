//! Logins and their endpoints.

use cluster::{Access, connect::connect_plain};
use eso_model::StoreKey;
use pace::rate::Rate;
use serde_json::{Value as Json, json};

use super::{
    SECRET, http, job, read, secret,
    service::{CLIENT, Service, State, TENANT},
    settings, unread as unread_of, vault, with,
};
use crate::{
    Identity, Resolver, StoreSettings, Unread,
    azure::{KeyVault, Settings, connect, open},
    double::{Double, Reply},
    unread,
};

#[tokio::test]
async fn rejected_token_is_renewed_once() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let vault = vault(&service).await;
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    service.change(State::end_tokens);
    let wanted = [secret("db"), secret("db"), secret("db")];
    assert_eq!(read(&vault, &wanted).await, ["v"; 3]);
    assert_eq!(service.logins().len(), 2);
    service.change(|state| state.takes_no_token = true);
    let refused = unread_of(&vault).await;
    assert_eq!(
        refused.why.to_string(),
        "credentials-expired (Key Vault rejects the tokens of this identity, also a new one: check that the identity still exists, and that its tenant is that of the vault)"
    );
    assert!(refused.whole_store);
    assert_eq!(service.logins().len(), 3);
}

/// The first login worked.
#[tokio::test]
async fn token_that_cannot_be_renewed_is_reported_as_expired_credentials() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let vault = vault(&service).await;
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    service.change(|state| {
        state.end_tokens();
        state.secret_is_valid = false;
    });
    let refused = unread_of(&vault).await;
    assert_eq!(
        refused.why.to_string(),
        "credentials-expired (the credentials cannot be renewed: the login was answered with 401 (AADSTS7000215: the client's secret is wrong))"
    );
    assert!(refused.whole_store);
    assert_eq!(service.logins().len(), 2);
}

#[tokio::test]
async fn token_is_renewed_before_it_expires() {
    let service = Service::start().await;
    service.change(|state| {
        state.set("db", "v");
        // Each of them has less than the five minutes left that a call may take.
        state.lifetime = 299;
    });
    let vault = vault(&service).await;
    for _ in 0..3 {
        assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    }
    assert_eq!(service.logins().len(), 3);
}

#[tokio::test]
async fn failed_login_is_tried_once_and_reported_for_the_store() {
    let service = Service::start().await;
    let wrong = [SECRET[0], SECRET[1], ("AZURE_CLIENT_SECRET", "wonderwall")];
    let vault = with(&service, &wrong).await;
    let wanted = [secret("a"), secret("b"), secret("c")];
    assert_eq!(
        read(&vault, &wanted).await,
        ["login-failed (the login was answered with 401 (AADSTS7000215: the client's secret is wrong))";
            3]
    );
    assert_eq!(service.logins().len(), 1);
    let odd = with(
        &service,
        &[SECRET[0], SECRET[2], ("AZURE_TENANT_ID", "no tenant/..")],
    )
    .await;
    assert_eq!(unread_of(&odd).await.why.reason, unread::LOGIN);
}

#[tokio::test]
async fn managed_identity_is_the_last_resort() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let vault = with(&service, &SECRET[..1]).await;
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    let asked = service.machine.calls();
    assert_eq!(asked[0].uri.host(), Some("169.254.169.254"));
    assert_eq!(asked[0].query("client_id").as_deref(), Some(CLIENT));
    let stranger = with(&service, &[("AZURE_CLIENT_ID", "another")]).await;
    assert_eq!(
        unread_of(&stranger).await.why.to_string(),
        "login-failed (the login was answered with 400)"
    );
}

#[tokio::test]
async fn token_file_is_read_for_each_login() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let token = ("AZURE_FEDERATED_TOKEN_FILE", file.path().to_str().unwrap());
    let vault = with(&service, &[SECRET[0], SECRET[1], token]).await;
    std::fs::write(file.path(), "a.b.c\n").unwrap();
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    let gone = with(&service, &[SECRET[0], SECRET[1], (token.0, "/nowhere")]).await;
    let gone = unread_of(&gone).await;
    assert!(
        gone.why
            .to_string()
            .starts_with("login-failed (cannot read /nowhere"),
        "{gone:?}"
    );
}

/// A server in place of the vault asks for a token for another resource.
#[tokio::test]
async fn token_is_not_sent_to_another_server() {
    let service = Service::start().await;
    service.change(|state| state.resource = "https://management.azure.com".to_owned());
    let refused = unread_of(&vault(&service).await).await;
    assert_eq!(
        (refused.why.reason, refused.whole_store),
        (unread::UNAVAILABLE, true)
    );
    assert!(service.logins().is_empty());
}

/// A cluster with a service account and a Secret with these keys, in one namespace.
async fn cluster(keys: Json) -> Double {
    Double::plain(move |call| match (call.method.as_str(), call.path()) {
        ("GET", "/api/v1/namespaces/team/secrets/azure") => {
            Reply::new(200, json!({"metadata": {"name": "azure"}, "data": keys}))
        }
        ("GET", "/api/v1/namespaces/team/serviceaccounts/app") => Reply::new(
            200,
            json!({"metadata": {"name": "app", "annotations": {
                "azure.workload.identity/client-id": CLIENT, "azure.workload.identity/tenant-id": TENANT}}}),
        ),
        ("POST", "/api/v1/namespaces/team/serviceaccounts/app/token") => {
            Reply::new(201, json!({"status": {"token": "a.b.c", "expirationTimestamp": "2030-01-01T00:00:00Z"}}))
        }
        _ => Reply::new(404, json!({"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404})),
    })
    .await
}

async fn as_store(service: &Service, cluster: &Double, more: Json) -> Result<KeyVault, Unread> {
    let url = format!("http://{}", cluster.address);
    let rate = Rate::per_second(1000.0).unwrap();
    let connected = connect_plain(&url, Access::ReadOnly, rate).unwrap();
    let store = StoreKey::Namespaced {
        namespace: "team".to_owned(),
        name: "azure".to_owned(),
    };
    let resolver = Resolver::new(connected, store, "team");
    let settings = Settings::of(&settings(&more))?;
    open(&settings, Identity::Store(&resolver), http(service)).await
}

#[tokio::test]
async fn store_credentials_come_from_its_secret() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let cluster = cluster(json!({"id": "Y2xpZW50", "secret": "czNjcmV0"})).await;
    let key = |key: &str| json!({"name": "azure", "key": key});
    let auth = json!({"authSecretRef": {"clientId": key("id"), "clientSecret": key("secret")}});
    let vault = as_store(&service, &cluster, auth).await.ok().unwrap();
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);

    let lacking = json!({"authSecretRef": {"clientId": key("id"), "clientSecret": key("none")}});
    let lacking = as_store(&service, &cluster, lacking).await.err().unwrap();
    assert_eq!(lacking.why.reason, unread::STORE);
    let certificate =
        json!({"authSecretRef": {"clientId": key("id"), "clientCertificate": key("pem")}});
    let certificate = as_store(&service, &cluster, certificate)
        .await
        .err()
        .unwrap();
    assert_eq!(
        certificate.why.to_string(),
        "unsupported-store (spec.provider.azurekv: authSecretRef.clientCertificate is not supported)"
    );
}

#[tokio::test]
async fn service_account_token_is_for_entra() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let cluster = cluster(json!({})).await;
    let auth = json!({"authType": "WorkloadIdentity", "tenantId": null,
        "serviceAccountRef": {"name": "app", "audiences": ["extra"]}});
    let vault = as_store(&service, &cluster, auth)
        .await
        .unwrap_or_else(|unread| panic!("{unread:?}"));
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    let asked = cluster
        .calls()
        .into_iter()
        .find(|call| call.method == "POST")
        .unwrap();
    let asked: Json = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(
        asked["spec"]["audiences"],
        json!(["extra", "api://AzureADTokenExchange"])
    );

    let gone = json!({"authType": "WorkloadIdentity", "serviceAccountRef": {"name": "none"}});
    let gone = as_store(&service, &cluster, gone).await.err().unwrap();
    assert_eq!(gone.why.reason, unread::STORE);
}

#[tokio::test]
async fn identity_set_twice_is_refused() {
    let service = Service::start().await;
    let cluster = cluster(json!({"id": "Y2xpZW50"})).await;
    let reference = json!({"name": "azure", "key": "id"});
    let refused = async |more: Json| {
        let mut store = json!({"authType": "WorkloadIdentity", "tenantId": null,
            "serviceAccountRef": {"name": "app"}});
        for (name, value) in more.as_object().unwrap() {
            store[name] = value.clone();
        }
        let refused = as_store(&service, &cluster, store).await.err().unwrap();
        refused.why.to_string()
    };
    assert_eq!(
        refused(json!({"authSecretRef": {"clientId": reference}})).await,
        "store-unreadable (the operator refuses the store: the client is set both in it and in the annotation \
         azure.workload.identity/client-id of the service account)"
    );
    assert_eq!(
        refused(json!({"tenantId": TENANT})).await,
        "store-unreadable (the operator refuses the store: the tenant is set both in it and in the annotation \
         azure.workload.identity/tenant-id of the service account)"
    );
    assert_eq!(
        refused(json!({"authSecretRef": {"tenantId": reference}})).await,
        "unsupported-store (spec.provider.azurekv: authSecretRef needs clientId)"
    );
}

#[tokio::test]
async fn operator_identity_is_refused() {
    let service = Service::start().await;
    let cluster = cluster(json!({})).await;
    for auth in ["ManagedIdentity", "WorkloadIdentity"] {
        let store = as_store(
            &service,
            &cluster,
            json!({"authType": auth, "identityId": "x"}),
        )
        .await;
        assert_eq!(store.err().unwrap().why.reason, unread::CONTROLLER_IDENTITY);
    }
    assert!(service.secure.calls().is_empty());
}

/// A tenant who can choose the vault or the login endpoint must not receive the job's credentials.
#[tokio::test]
async fn job_credentials_are_sent_only_to_azure() {
    let refused = async |more: Json, endpoints: &[&str]| {
        let store = StoreSettings::new(
            StoreKey::Cluster {
                name: "azure".to_owned(),
            },
            "azurekv",
            settings(&more),
        );
        let mut ambient = job(&SECRET);
        ambient.endpoints = endpoints.iter().map(|text| (*text).to_owned()).collect();
        let connected = connect(&store, Identity::Ambient(&ambient)).await;
        connected.err().map(|unread| unread.why.reason)
    };
    let untrusted = Some(unread::NOT_TRUSTED);
    assert_eq!(refused(json!({}), &[]).await, None);
    assert_eq!(
        refused(
            json!({"vaultUrl": "https://kv.vault.azure.net.evil.example"}),
            &[]
        )
        .await,
        untrusted
    );
    assert_eq!(
        refused(json!({"vaultUrl": "https://kv.vault.azure.cn"}), &[]).await,
        untrusted
    );
    let stack = json!({"vaultUrl": "https://kv.corp", "environmentType": "AzureStackCloud", "useAzureSDK": true,
        "customCloudConfig": {"activeDirectoryEndpoint": "https://login.corp/"}});
    assert_eq!(
        refused(stack.clone(), &["https://kv.corp"]).await,
        untrusted
    );
    assert_eq!(
        refused(stack, &["https://kv.corp", "https://login.corp"]).await,
        None
    );
}

#[tokio::test]
async fn job_credentials_never_go_over_plain_http() {
    let store = StoreSettings::new(
        StoreKey::Cluster {
            name: "azure".to_owned(),
        },
        "azurekv",
        settings(&json!({})),
    );
    let mut ambient = job(&SECRET);
    let authority = |url: &str| ("AZURE_AUTHORITY_HOST".to_owned(), url.to_owned());
    ambient.environment.extend([authority("http://login.corp")]);
    let refused = connect(&store, Identity::Ambient(&ambient)).await;
    let why = refused.err().unwrap().why;
    assert_eq!(why.reason, unread::NOT_TRUSTED);
    assert!(
        why.detail
            .contains("AZURE_AUTHORITY_HOST must be an https address"),
        "{why}"
    );
    ambient
        .environment
        .extend([authority("https://login.corp")]);
    assert!(connect(&store, Identity::Ambient(&ambient)).await.is_ok());
}
