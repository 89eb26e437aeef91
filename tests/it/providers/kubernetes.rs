//! The operator's Kubernetes provider, against an API server.

use std::collections::BTreeMap;

use eso_model::expected::What;
use providers::{Ambient, Answered, Identity, Provider, Unread, connect, unread};
use sandbox::{Fault, Sandbox};
use serde_json::{Value as Json, json};

use super::{
    double::{Double, Reply},
    support::{
        asked, kubernetes, looking, put, put_account, resolver, sandbox, secret, shown, turns,
    },
};

const STORE: &str = "SecretStore/team-a/other";

/// A sandbox with Secrets in `remote`, and a tenant's token for it.
async fn filled() -> Sandbox {
    let sandbox = sandbox().await;
    put(
        &sandbox,
        "remote",
        "db",
        &[("user", "u"), ("password", "p")],
    );
    put(&sandbox, "remote", "web", &[("k", "v")]);
    put(&sandbox, "team-a", "login", &[("token", "tenant-token")]);
    put_account(&sandbox, "team-a", "reader");
    sandbox
}

/// A connection with the store's own credentials.
async fn open(sandbox: &Sandbox, settings: Json) -> Result<Box<dyn Provider>, Unread> {
    let resolver = resolver(sandbox, STORE, "team-a");
    let own = looking(&sandbox.url());
    connect(
        &kubernetes(STORE, settings),
        Identity::Store(&resolver),
        &own,
    )
    .await
}

/// One that is a store of this sandbox's own cluster, with a token.
async fn open_own(sandbox: &Sandbox) -> Box<dyn Provider> {
    let settings = json!({
        "remoteNamespace": "remote",
        "auth": {"token": {"bearerToken": {"name": "login", "key": "token"}}},
    });
    open(sandbox, settings).await.ok().unwrap()
}

async fn answers(provider: &dyn Provider, wanted: &[What]) -> Vec<String> {
    let answers = provider.read(wanted, &turns()).await;
    answers.iter().map(shown).collect()
}

fn find(name: Option<&str>, tags: Option<&[(&str, &str)]>) -> What {
    let owned = |tags: &[(&str, &str)]| -> BTreeMap<String, String> {
        tags.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    What::Find {
        path: None,
        name: name.map(str::to_owned),
        tags: tags.map(owned),
    }
}

#[tokio::test]
async fn a_secret_is_read_once_whatever_is_wanted_of_it() {
    let sandbox = filled().await;
    let provider = open_own(&sandbox).await;
    let metadata = What::Secret {
        key: "db".to_owned(),
        version: String::new(),
        metadata: true,
    };
    let old = What::Secret {
        key: "db".to_owned(),
        version: "7".to_owned(),
        metadata: false,
    };
    let turns = turns();
    let read = provider
        .read(
            &[secret("web"), metadata, secret("absent"), old, secret("db")],
            &turns,
        )
        .await;
    let shown: Vec<String> = read.iter().map(shown).collect();
    let db = "password=p,user=u";
    assert_eq!(shown, ["k=v", "app=db;", "not found", db, db]);
    assert_eq!(turns.calls(), 3);
    let mut remote = asked(&sandbox);
    remote.retain(|request| request.contains("/remote/"));
    remote.sort();
    assert_eq!(
        remote,
        [
            "GET /api/v1/namespaces/remote/secrets/absent",
            "GET /api/v1/namespaces/remote/secrets/db",
            "GET /api/v1/namespaces/remote/secrets/web",
        ]
    );
}

#[tokio::test]
async fn a_key_that_is_a_path_is_refused_as_the_operator_does() {
    let sandbox = filled().await;
    let provider = open_own(&sandbox).await;
    let before = asked(&sandbox).len();
    let wanted = ["../team-a/secrets/login", "a%2Fb", "..", "", "No_Name"].map(secret);
    let read = answers(&*provider, &wanted).await;
    assert_eq!(
        read,
        ["refused", "refused", "refused", "refused", "not found"]
    );
    assert_eq!(asked(&sandbox).len(), before);
}

#[tokio::test]
async fn a_search_goes_by_labels_or_else_by_name() {
    let sandbox = filled().await;
    let provider = open_own(&sandbox).await;
    let wanted = [
        find(None, Some(&[("app", "db")])),
        // Tags count more than a name.
        find(Some("web"), Some(&[("app", "db")])),
        find(Some("we"), None),
        find(Some("nothing"), Some(&[])),
        find(None, Some(&[("app", "a,b")])),
        find(None, None),
        find(Some("("), None),
    ];
    let db = "db(password=p,user=u)";
    assert_eq!(
        answers(&*provider, &wanted).await,
        [
            db,
            db,
            "web(k=v)",
            &format!("{db}web(k=v)"),
            "refused",
            "refused",
            "regexp"
        ]
    );
}

#[tokio::test]
async fn a_right_that_lacks_is_named() {
    let sandbox = filled().await;
    let provider = open_own(&sandbox).await;
    sandbox.inject(Fault::forbidden().namespace("remote"));
    let wanted = [secret("db"), find(Some("d"), None)];
    let read = provider.read(&wanted, &turns()).await;
    let rights: Vec<Option<String>> = read
        .into_iter()
        .map(|answered| {
            let Answered::Unread(refused) = answered else {
                panic!("{}", shown(&answered));
            };
            assert_eq!(refused.why.reason, unread::DENIED);
            assert!(!refused.whole_store);
            refused.permission
        })
        .collect();
    let right = |what: &str| Some(format!("{what} in remote"));
    assert_eq!(rights, [right("get secrets/db"), right("list secrets")]);
}

/// Settings of a store in another cluster, with a token.
fn elsewhere(url: &str) -> Json {
    json!({
        "server": {"url": url}, "remoteNamespace": "remote",
        "auth": {"token": {"bearerToken": {"name": "login", "key": "token", "namespace": "team-b"}}},
    })
}

fn secret_reply() -> Reply {
    let secret = json!({"metadata": {"name": "db"}, "data": {"k": "dg=="}});
    Reply::json(200, &secret)
}

#[tokio::test]
async fn another_cluster_is_asked_with_the_stores_own_token() {
    let sandbox = filled().await;
    let other = Double::start(|_| secret_reply()).await;
    let provider = open(&sandbox, elsewhere(&other.url)).await.ok().unwrap();
    assert_eq!(answers(&*provider, &[secret("db")]).await, ["k=v"]);
    let seen = other.asked();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/api/v1/namespaces/remote/secrets/db");
    assert_eq!(seen[0].header("authorization"), "Bearer tenant-token");
}

#[tokio::test]
async fn a_store_without_auth_is_read_by_nobody_in_particular() {
    let sandbox = filled().await;
    let other = Double::start(|_| secret_reply()).await;
    let settings = json!({"server": {"url": other.url}});
    let provider = open(&sandbox, settings).await.ok().unwrap();
    assert_eq!(answers(&*provider, &[secret("db")]).await, ["k=v"]);
    let seen = other.asked();
    assert_eq!(seen[0].path, "/api/v1/namespaces/default/secrets/db");
    assert_eq!(seen[0].header("authorization"), "");
}

#[tokio::test]
async fn an_expired_token_is_renewed_once() {
    let sandbox = filled().await;
    let other = Double::start(|asked| {
        // The first token that is given is no longer taken.
        static FIRST: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let token = asked.header("authorization").to_owned();
        if *FIRST.get_or_init(|| token.clone()) == token {
            Reply::json(
                401,
                &json!({"kind": "Status", "status": "Failure", "code": 401}),
            )
        } else {
            secret_reply()
        }
    })
    .await;
    let settings =
        json!({"server": {"url": other.url}, "auth": {"serviceAccount": {"name": "reader"}}});
    let provider = open(&sandbox, settings).await.ok().unwrap();
    let wanted = ["a", "b", "c"].map(secret);
    assert_eq!(answers(&*provider, &wanted).await, ["k=v"; 3]);
    let tokens = asked(&sandbox)
        .iter()
        .filter(|request| request.ends_with("/reader/token"))
        .count();
    assert_eq!(tokens, 2);
}

#[tokio::test]
async fn a_token_that_is_not_taken_loses_the_store() {
    let sandbox = filled().await;
    let other = Double::start(|_| {
        Reply::json(
            401,
            &json!({"kind": "Status", "message": "planted", "code": 401}),
        )
    })
    .await;
    let provider = open(&sandbox, elsewhere(&other.url)).await.ok().unwrap();
    let names: Vec<String> = (0..100).map(|index| format!("s{index}")).collect();
    let wanted: Vec<What> = names.iter().map(|name| secret(name)).collect();
    let read = provider.read(&wanted, &turns()).await;
    for answered in &read {
        let Answered::Unread(lost) = answered else {
            panic!("{}", shown(answered));
        };
        assert_eq!(lost.why.reason, unread::LOGIN);
        assert!(lost.whole_store && !lost.why.detail.contains("planted"));
    }
    assert_eq!(read.len(), 100);
    let calls = other.asked().len();
    assert!(calls <= 16, "what was under way, and once more: {calls}");
}

#[tokio::test]
async fn what_another_server_says_is_not_repeated() {
    let sandbox = filled().await;
    let other = Double::start(|asked| {
        let body =
            json!({"kind": "Status", "message": "planted", "reason": "planted", "code": 403});
        match asked.path.rsplit('/').next() {
            Some("denied") => Reply::json(403, &body),
            Some("teapot") => Reply::json(418, &body),
            Some("text") => Reply::Say(200, Vec::new(), "planted".to_owned()),
            _ => Reply::json(200, &json!({"data": {"k": "planted!"}})),
        }
    })
    .await;
    let provider = open(&sandbox, elsewhere(&other.url)).await.ok().unwrap();
    let wanted = ["denied", "text", "no-base64", "teapot"].map(secret);
    for answered in provider.read(&wanted, &turns()).await {
        let Answered::Unread(unread) = answered else {
            panic!("{}", shown(&answered));
        };
        assert!(!format!("{unread:?}").contains("planted"), "{unread:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let sandbox = filled().await;
    let evil = Double::start(|_| secret_reply()).await;
    let to = format!("{}/api/v1/namespaces/remote/secrets/db", evil.url);
    let other =
        Double::start(move |_| Reply::Say(302, Vec::new(), String::new()).with("location", &to))
            .await;
    let provider = open(&sandbox, elsewhere(&other.url)).await.ok().unwrap();
    assert_eq!(answers(&*provider, &[secret("db")]).await, ["unreadable"]);
    assert!(evil.asked().is_empty());
}

#[tokio::test]
async fn a_list_that_has_no_end_is_not_read_to_its_end() {
    let sandbox = filled().await;
    let other = Double::start(|_| {
        let page =
            json!({"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "a"}}]});
        Reply::json(200, &page)
    })
    .await;
    let provider = open(&sandbox, elsewhere(&other.url)).await.ok().unwrap();
    let found = answers(&*provider, &[find(Some("a"), None)]).await;
    assert_eq!(found, ["unreadable"]);
    assert_eq!(other.asked().len(), 200);
}

#[tokio::test]
async fn an_answer_that_no_job_could_hold_is_not_held() {
    let sandbox = filled().await;
    let other = Double::start(|_| {
        let value = "AAAA".repeat(17 << 20);
        Reply::json(200, &json!({"data": {"k": value}}))
    })
    .await;
    let provider = open(&sandbox, elsewhere(&other.url)).await.ok().unwrap();
    assert_eq!(answers(&*provider, &[secret("db")]).await, ["unreadable"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_words_of_ones_own() {
    let sandbox = filled().await;
    let gone = Double::start(|_| secret_reply()).await.url.clone();
    let provider = open(&sandbox, elsewhere(&gone)).await.ok().unwrap();
    let read = provider.read(&[secret("db")], &turns()).await;
    let Answered::Unread(unread) = &read[0] else {
        panic!("nobody is there");
    };
    assert_eq!(unread.why.reason, unread::UNAVAILABLE);
    assert!(unread.whole_store);
    assert!(
        unread.why.detail.contains("onnection refused"),
        "{unread:?}"
    );
}

#[tokio::test]
async fn what_is_not_supported_is_named() {
    let sandbox = filled().await;
    let reason = async |settings: Json| match open(&sandbox, settings).await {
        Ok(_) => "open".to_owned(),
        Err(unread) => format!("{}: {}", unread.why.reason, unread.why.detail),
    };
    for (settings, expected) in [
        (
            json!({"authRef": {"name": "login", "key": "token"}}),
            "unsupported-store: the store's kubeconfig (`authRef`) is not read",
        ),
        (
            json!({"remoteNamespace": "a/b"}),
            "store-unreadable: `remoteNamespace` is no name that Kubernetes allows",
        ),
        (
            json!({"auth": {}}),
            "store-unreadable: `auth` names no method",
        ),
        (
            json!({"auth": {
                "token": {"bearerToken": {"name": "login", "key": "token"}},
                "serviceAccount": {"name": "reader"},
            }}),
            "store-unreadable: `auth` names several methods, which the operator refuses",
        ),
        (
            json!({
                "authRef": {"name": "login", "key": "token"},
                "auth": {"serviceAccount": {"name": "reader"}},
            }),
            "unsupported-store: the store's kubeconfig (`authRef`) is not read",
        ),
        (
            json!({"server": {"url": "https://"}}),
            "store-unreadable: `server.url` is no address",
        ),
        (
            json!({"server": {"url": "ftp://corp"}}),
            "store-unreadable: `server.url` is no address",
        ),
    ] {
        assert_eq!(reason(settings).await, expected);
    }
}

#[tokio::test]
async fn the_jobs_own_credentials_are_for_its_own_cluster() {
    let sandbox = filled().await;
    let evil = Double::start(|_| secret_reply()).await;
    let ambient = Ambient {
        endpoints: vec![evil.url.clone()],
        ..Ambient::default()
    };
    let own = looking(&sandbox.url());
    let open = async |url: &str| {
        let settings = json!({"server": {"url": url}, "remoteNamespace": "remote"});
        let store = kubernetes("ClusterSecretStore/other", settings);
        connect(&store, Identity::Ambient(&ambient), &own).await
    };
    let sandbox_url = sandbox.url();
    for url in [
        "",
        "kubernetes.default",
        "https://kubernetes.default.svc:443",
        &sandbox_url,
    ] {
        let provider = open(url).await.ok().unwrap();
        assert_eq!(
            answers(&*provider, &[secret("web")]).await,
            ["k=v"],
            "{url}"
        );
    }
    for url in [
        &evil.url,
        "https://kubernetes.default.svc.evil.example",
        "https://kubernetes.default@evil.example",
        "http://kubernetes.default",
        "https://kubernetes.default/proxy/evil",
    ] {
        let Err(refused) = open(url).await else {
            panic!("{url} is trusted");
        };
        assert_eq!(refused.why.reason, unread::NOT_TRUSTED, "{url}");
    }
    assert!(evil.asked().is_empty());
}
