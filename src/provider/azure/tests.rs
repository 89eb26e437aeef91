//! Against a double of the cloud, by the names of the true one: nothing but addresses and the authority is made up.

mod service;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use reqwest::{Certificate, Proxy};
use serde_json::{Value as Json, json};

use self::service::{CLIENT, Service, TENANT};
use super::{KeyVault, Settings, connect, open};
use crate::{
    cluster::{Access, connect::connect_plain},
    eso::expected::{Raw, What},
    inventory::StoreKey,
    policy::Rate,
    provider::{
        Ambient, Answered, Identity, Provider as _, Resolver, StoreSettings, Turns, Unread,
        double::{Double, Reply},
        unread,
    },
};

fn turns() -> Turns {
    Turns::new(Rate::per_second(1000.0).unwrap())
}

/// A client that finds the double under the names of the cloud.
fn http(service: &Service) -> reqwest::Client {
    let authority = Certificate::from_pem(service.pem.as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only([authority])
        .proxy(Proxy::http(format!("http://{}", service.machine.address)).unwrap());
    for name in ["kv.vault.azure.net", "login.microsoftonline.com"] {
        builder = builder.resolve(name, service.secure.address);
    }
    builder.build().unwrap()
}

fn settings(more: &Json) -> Json {
    let mut settings = json!({"vaultUrl": "https://kv.vault.azure.net", "tenantId": TENANT});
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

fn job(variables: &[(&str, &str)]) -> Ambient {
    Ambient {
        environment: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        endpoints: Vec::new(),
    }
}

const SECRET: [(&str, &str); 3] = [
    ("AZURE_CLIENT_ID", CLIENT),
    ("AZURE_TENANT_ID", TENANT),
    ("AZURE_CLIENT_SECRET", "s3cret"),
];

async fn with(service: &Service, variables: &[(&str, &str)]) -> KeyVault {
    let settings = Settings::of(&settings(&json!({}))).unwrap();
    let ambient = job(variables);
    open(&settings, Identity::Ambient(&ambient), http(service))
        .await
        .unwrap_or_else(|unread| panic!("{unread:?}"))
}

async fn vault(service: &Service) -> KeyVault {
    with(service, &SECRET).await
}

fn secret(key: &str) -> What {
    version(key, "")
}

fn version(key: &str, version: &str) -> What {
    What::Secret {
        key: key.to_owned(),
        version: version.to_owned(),
        metadata: false,
    }
}

fn find(name: Option<&str>, tags: &[(&str, &str)]) -> What {
    let tags: BTreeMap<String, String> = tags
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    What::Find {
        path: None,
        name: name.map(str::to_owned),
        tags: (!tags.is_empty()).then_some(tags),
    }
}

fn text(raw: &Raw) -> String {
    match raw {
        Raw::Bytes(value) => String::from_utf8(value.expose().to_vec()).unwrap(),
        Raw::Tags(tags) => tags
            .iter()
            .map(|(name, tag)| format!("{name}={}", std::str::from_utf8(tag.expose()).unwrap()))
            .collect::<Vec<_>>()
            .concat(),
        Raw::Json(_) | Raw::Keys(_) | Raw::Metadata { .. } => "something else".to_owned(),
    }
}

async fn read(vault: &KeyVault, wanted: &[What]) -> Vec<String> {
    let answers = vault.read(wanted, &turns()).await;
    let said = answers.iter().map(|answer| match answer {
        Answered::One(raw) => text(raw),
        Answered::Many(found) => found
            .iter()
            .map(|(name, raw)| format!("{name}={} ", text(raw)))
            .collect::<Vec<_>>()
            .concat(),
        Answered::NotFound => "not found".to_owned(),
        Answered::Fails(failure) => format!("fails {}", failure.as_str()),
        Answered::Unread(unread) => unread.why.to_string(),
    });
    said.collect()
}

async fn unread(vault: &KeyVault) -> Unread {
    let answered = vault.read(&[secret("db")], &turns()).await.remove(0);
    let Answered::Unread(unread) = answered else {
        panic!("it was read");
    };
    unread
}

#[tokio::test]
async fn secrets_are_read_by_name_and_version() {
    let service = Service::start().await;
    let awkward = "{\"n\": 1.50}\n\u{1f511} \"quoted\" \u{2028}";
    let first = service.change(|state| {
        let first = state.set("db", "before");
        state.set("db", awkward);
        state.set("empty", "");
        state.set("off", "x");
        state.disable("off");
        state.set("gone", "x");
        state.delete("gone");
        first
    });
    let wanted = [
        secret("db"),
        secret("secret/db/whatever"),
        version("db", &first),
        version("db", "0000"),
        secret("empty"),
        secret("off"),
        secret("gone"),
        secret("nothing"),
    ];
    let vault = vault(&service).await;
    assert_eq!(
        read(&vault, &wanted).await,
        [
            awkward,
            awkward,
            "before",
            "not found",
            "",
            "fails no-value",
            "not found",
            "not found"
        ]
    );
    let logins = service.logins();
    assert_eq!(logins.len(), 1);
    assert_eq!(logins[0].header("host"), "login.microsoftonline.com");
    let challenged = service
        .secure
        .calls()
        .iter()
        .filter(|call| call.header("authorization").is_empty())
        .count();
    assert_eq!(
        challenged, 2,
        "one request was challenged, and one was for the token"
    );
}

#[tokio::test]
async fn what_azure_has_no_name_for_is_not_asked_for() {
    let service = Service::start().await;
    let wanted = [
        "key/a",
        "cert/a",
        "certificate/a",
        "a_b",
        "secret/",
        "",
        "../a",
        "a?x",
    ]
    .map(secret);
    let answers = read(&vault(&service).await, &wanted).await;
    assert_eq!(answers[..2], ["kind (only secrets are read)"; 2]);
    assert_eq!(answers[2..], ["fails refused"; 6]);
    assert!(service.secure.calls().is_empty());
}

#[tokio::test]
async fn tags_are_read_in_place_of_the_value() {
    let service = Service::start().await;
    service.change(|state| {
        state.set("db", "v");
        state.tag("db", "owner", "<team>");
    });
    let wanted = What::Secret {
        key: "db".to_owned(),
        version: String::new(),
        metadata: true,
    };
    assert_eq!(
        read(&vault(&service).await, &[wanted]).await,
        ["owner=<team>"]
    );
}

#[tokio::test]
async fn a_search_reads_all_pages_and_what_fits() {
    let service = Service::start().await;
    service.change(|state| {
        state.page = 2;
        for name in ["api", "db-a", "db-b", "off", "web"] {
            state.set(name, name);
        }
        state.disable("off");
        state.tag("api", "tier", "1");
        state.tag("db-b", "tier", "1");
        state.tag("web", "tier", "2");
    });
    let vault = vault(&service).await;
    let wanted = [
        find(None, &[]),
        find(Some("^db-"), &[]),
        find(Some(""), &[("tier", "1")]),
        find(Some("b$"), &[("tier", "1")]),
        find(Some("nothing"), &[]),
        find(Some("(?=b)"), &[]),
    ];
    assert_eq!(
        read(&vault, &wanted).await,
        [
            "api=api db-a=db-a db-b=db-b web=web ",
            "db-a=db-a db-b=db-b ",
            "api=api db-b=db-b ",
            "db-b=db-b ",
            "",
            "regexp (find.name.regexp)"
        ]
    );
    let before = service.secure.calls().len();
    let turns = turns();
    vault.read(&[find(Some("^db-"), &[])], &turns).await;
    assert_eq!(
        service.secure.calls().len() - before,
        5,
        "three pages, two secrets"
    );
    assert_eq!(turns.calls(), 5);
}

/// The token would go along.
#[tokio::test]
async fn a_next_page_somewhere_else_is_not_fetched() {
    let service = Service::start().await;
    service.change(|state| {
        state.page = 1;
        state.set("a", "1");
        state.set("b", "2");
        state.elsewhere = Some("https://login.microsoftonline.com".to_owned());
    });
    let answers = read(&vault(&service).await, &[find(None, &[])]).await;
    assert_eq!(
        answers,
        ["unreadable (the next page of the list is said to be somewhere else)"]
    );
    assert_eq!(
        service.secure.calls().len(),
        3,
        "the challenge, the login, one page"
    );
}

#[tokio::test]
async fn a_denial_names_the_role_that_is_missing() {
    let service = Service::start().await;
    let denied = |inner: &str| json!({"error": {"code": "Forbidden", "message": "Caller: appid=…", "innererror": {"code": inner}}});
    service.change(|state| {
        state
            .faults
            .push_back(Reply::new(403, denied("ForbiddenByRbac")));
        state
            .faults
            .push_back(Reply::new(403, denied("ForbiddenByFirewall")));
    });
    let vault = vault(&service).await;
    let missing = unread(&vault).await;
    assert_eq!(
        missing.why.to_string(),
        "denied (Key Vault answered 403 (ForbiddenByRbac))"
    );
    assert_eq!(
        missing.permission.as_deref(),
        Some("\"Key Vault Secrets User\" on kv.vault.azure.net")
    );
    assert!(!missing.whole_store);
    let shut_out = unread(&vault).await;
    assert!(
        shut_out.why.detail.contains("network rules"),
        "{shut_out:?}"
    );
    assert_eq!((shut_out.permission, shut_out.whole_store), (None, true));
}

#[tokio::test]
async fn throttling_is_waited_for_as_long_as_the_vault_says() {
    let service = Service::start().await;
    let throttled = || Reply::new(429, json!({"error": {"code": "Throttled", "message": "…"}}));
    service.change(|state| {
        state.set("db", "v");
        state.faults.push_back(throttled().with("retry-after", "1"));
    });
    let vault = vault(&service).await;
    let start = Instant::now();
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    service.change(|state| {
        state.faults.extend((0..9).map(|_| throttled()));
    });
    let answers = read(&vault, &[secret("db")]).await;
    assert!(answers[0].starts_with("throttled ("), "{answers:?}");
    assert_eq!(
        service.change(|state| state.faults.len()),
        3,
        "six attempts, all of them ours"
    );
}

#[tokio::test]
async fn a_token_that_ended_before_its_time_is_renewed_once() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let vault = vault(&service).await;
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    service.change(service::State::end_tokens);
    let wanted = [secret("db"), secret("db"), secret("db")];
    assert_eq!(read(&vault, &wanted).await, ["v"; 3]);
    assert_eq!(service.logins().len(), 2);
    service.change(|state| state.takes_no_token = true);
    let refused = unread(&vault).await;
    assert_eq!(
        refused.why.to_string(),
        "login-failed (Key Vault takes no token of this identity)"
    );
    assert!(refused.whole_store);
    assert_eq!(service.logins().len(), 3);
}

#[tokio::test]
async fn a_login_that_is_refused_is_tried_once_and_told_of_the_store() {
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
    assert_eq!(unread(&odd).await.why.reason, unread::LOGIN);
}

#[tokio::test]
async fn a_machines_identity_is_asked_for_where_there_is_nothing_else() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let vault = with(&service, &SECRET[..1]).await;
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    let asked = service.machine.calls();
    assert_eq!(asked[0].uri.host(), Some("169.254.169.254"));
    assert_eq!(asked[0].query("client_id").as_deref(), Some(CLIENT));
    let stranger = with(&service, &[("AZURE_CLIENT_ID", "another")]).await;
    assert_eq!(
        unread(&stranger).await.why.to_string(),
        "login-failed (the login was answered with 400)"
    );
}

#[tokio::test]
async fn the_jobs_token_file_is_read_for_each_login() {
    let service = Service::start().await;
    service.change(|state| state.set("db", "v"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let token = ("AZURE_FEDERATED_TOKEN_FILE", file.path().to_str().unwrap());
    let vault = with(&service, &[SECRET[0], SECRET[1], token]).await;
    std::fs::write(file.path(), "a.b.c\n").unwrap();
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    let gone = with(&service, &[SECRET[0], SECRET[1], (token.0, "/nowhere")]).await;
    let gone = unread(&gone).await;
    assert!(
        gone.why
            .to_string()
            .starts_with("login-failed (cannot read /nowhere"),
        "{gone:?}"
    );
}

/// Whoever answers in the vault's place wants a token for something else.
#[tokio::test]
async fn a_token_is_not_sent_to_what_is_no_vault() {
    let service = Service::start().await;
    service.change(|state| state.resource = "https://management.azure.com".to_owned());
    let refused = unread(&vault(&service).await).await;
    assert_eq!(
        (refused.why.reason, refused.whole_store),
        (unread::UNAVAILABLE, true)
    );
    assert!(service.logins().is_empty());
}

#[tokio::test]
async fn trouble_that_passes_is_waited_for_and_an_outage_is_told_once() {
    let service = Service::start().await;
    service.change(|state| {
        state.set("db", "v");
        state.faults.push_back(Reply::new(503, "wonderwall"));
    });
    let vault = vault(&service).await;
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    service.change(|state| {
        state
            .faults
            .extend((0..4).map(|_| Reply::new(502, "wonderwall")));
    });
    let wanted = [secret("db")];
    assert_eq!(
        read(&vault, &wanted).await,
        ["unavailable (Key Vault answered 502)"]
    );
    let before = service.secure.calls().len();
    assert_eq!(
        read(&vault, &wanted).await,
        ["unavailable (Key Vault answered 502)"]
    );
    assert_eq!(service.secure.calls().len(), before);
}

/// It may be this one secret.
#[tokio::test]
async fn what_the_vault_fails_at_is_told_of_the_secret() {
    let service = Service::start().await;
    service.change(|state| {
        state.set("db", "v");
        state
            .faults
            .extend((0..4).map(|_| Reply::new(500, "wonderwall")));
    });
    let vault = vault(&service).await;
    let wanted = [secret("db")];
    assert_eq!(
        read(&vault, &wanted).await,
        ["unavailable (Key Vault answered 500)"]
    );
    assert_eq!(read(&vault, &wanted).await, ["v"]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let service = Service::start().await;
    let elsewhere = "https://login.microsoftonline.com/secrets/db?api-version=7.4";
    service.change(|state| {
        state
            .faults
            .push_back(Reply::new(307, "").with("location", elsewhere));
    });
    let refused = unread(&vault(&service).await).await;
    assert_eq!(
        refused.why.to_string(),
        "unavailable (Key Vault answered 307: a redirect is not followed)"
    );
    assert_eq!(service.secure.calls().len(), 3);
}

/// A cluster with an account, and with a Secret of these keys, in one namespace.
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
    let url = format!("http://{}", cluster.address).parse().unwrap();
    let rate = Rate::per_second(1000.0).unwrap();
    let connected = connect_plain(url, Access::ReadOnly, rate).unwrap();
    let store = StoreKey::Namespaced {
        namespace: "team".to_owned(),
        name: "azure".to_owned(),
    };
    let resolver = Resolver::new(connected, store, "team");
    let settings = Settings::of(&settings(&more))?;
    open(&settings, Identity::Store(&resolver), http(service)).await
}

#[tokio::test]
async fn a_stores_own_application_is_read_from_its_secret() {
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
async fn a_stores_service_account_is_asked_for_a_token_for_entra() {
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
async fn the_operators_own_identity_is_not_ours() {
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

/// A tenant who could name the vault, or where one logs in, would be sent the job's credentials.
#[tokio::test]
async fn the_jobs_own_credentials_go_to_azure_alone() {
    let refused = async |more: Json, endpoints: &[&str]| {
        let store = StoreSettings {
            key: StoreKey::Cluster {
                name: "azure".to_owned(),
            },
            provider: "azurekv".to_owned(),
            settings: settings(&more),
        };
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
