//! Tests of the Kubernetes provider against an API server.

use std::collections::BTreeMap;

use eso_model::expected::What;
use providers::{Ambient, Answered, Identity, Provider, Unread, connect, unread};
use sandbox::{Fault, Sandbox};
use serde_json::{Value as Json, json};

use super::{
    double::{Double, Reply},
    support::{
        asked, kubernetes, limiter, put, put_account, read_only_cluster, resolver, sandbox, secret,
        shown,
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
    let own = read_only_cluster(&sandbox.url());
    connect(
        &kubernetes(STORE, settings),
        Identity::Store(&resolver),
        &own,
    )
    .await
}

/// A connection to a store in the sandbox's own cluster, with a token.
async fn open_own(sandbox: &Sandbox) -> Box<dyn Provider> {
    let settings = json!({
        "remoteNamespace": "remote",
        "auth": {"token": {"bearerToken": {"name": "login", "key": "token"}}},
    });
    open(sandbox, settings).await.ok().unwrap()
}

async fn answers(provider: &dyn Provider, wanted: &[What]) -> Vec<String> {
    let answers = provider.read(wanted, &limiter()).await;
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
async fn secret_is_read_once_for_several_requests() {
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
    let limiter = limiter();
    let read = provider
        .read(
            &[secret("web"), metadata, secret("absent"), old, secret("db")],
            &limiter,
        )
        .await;
    let shown: Vec<String> = read.iter().map(shown).collect();
    let db = "password=p,user=u";
    assert_eq!(shown, ["k=v", "app=db;", "not found", db, db]);
    assert_eq!(limiter.calls(), 3);
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
async fn key_with_a_path_is_refused() {
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
async fn search_uses_labels_before_names() {
    let sandbox = filled().await;
    let provider = open_own(&sandbox).await;
    let wanted = [
        find(None, Some(&[("app", "db")])),
        // Tags take precedence over a name.
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
async fn missing_permission_is_named() {
    let sandbox = filled().await;
    let provider = open_own(&sandbox).await;
    sandbox.inject(Fault::forbidden().namespace("remote"));
    let wanted = [secret("db"), find(Some("d"), None)];
    let read = provider.read(&wanted, &limiter()).await;
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

/// The settings of a store in another cluster, with a token.
fn other_cluster_settings(url: &str) -> Json {
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
async fn other_cluster_is_read_with_the_stores_token() {
    let sandbox = filled().await;
    let other = Double::start(|_| secret_reply()).await;
    let provider = open(&sandbox, other_cluster_settings(&other.url))
        .await
        .ok()
        .unwrap();
    assert_eq!(answers(&*provider, &[secret("db")]).await, ["k=v"]);
    let seen = other.asked();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/api/v1/namespaces/remote/secrets/db");
    assert_eq!(seen[0].header("authorization"), "Bearer tenant-token");
}

#[tokio::test]
async fn store_without_auth_is_read_anonymously() {
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
async fn expired_token_is_renewed_once() {
    let sandbox = filled().await;
    let other = Double::start(|asked| {
        // The first token has expired.
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

/// There are no credentials that could expire.
#[tokio::test]
async fn server_that_requires_credentials_of_a_store_without_auth_is_a_failed_login() {
    let sandbox = filled().await;
    let other = Double::start(|_| Reply::json(401, &json!({"kind": "Status", "code": 401}))).await;
    let settings = json!({"server": {"url": other.url}});
    let provider = open(&sandbox, settings).await.ok().unwrap();
    assert_eq!(answers(&*provider, &[secret("db")]).await, [unread::LOGIN]);
}

#[tokio::test]
async fn rejected_token_loses_the_store() {
    let sandbox = filled().await;
    let other = Double::start(|_| {
        Reply::json(
            401,
            &json!({"kind": "Status", "message": "planted", "code": 401}),
        )
    })
    .await;
    let provider = open(&sandbox, other_cluster_settings(&other.url))
        .await
        .ok()
        .unwrap();
    let names: Vec<String> = (0..100).map(|index| format!("s{index}")).collect();
    let wanted: Vec<What> = names.iter().map(|name| secret(name)).collect();
    let read = provider.read(&wanted, &limiter()).await;
    for answered in &read {
        let Answered::Unread(lost) = answered else {
            panic!("{}", shown(answered));
        };
        assert_eq!(lost.why.reason, unread::CREDENTIALS_EXPIRED);
        assert!(lost.whole_store && !lost.why.detail.contains("planted"));
    }
    assert_eq!(read.len(), 100);
    let calls = other.asked().len();
    assert!(
        calls <= 16,
        "the calls in flight, and one retry of each: {calls}"
    );
}

#[tokio::test]
async fn text_of_another_server_is_not_repeated() {
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
    let provider = open(&sandbox, other_cluster_settings(&other.url))
        .await
        .ok()
        .unwrap();
    let wanted = ["denied", "text", "no-base64", "teapot"].map(secret);
    for answered in provider.read(&wanted, &limiter()).await {
        let Answered::Unread(unread) = answered else {
            panic!("{}", shown(&answered));
        };
        assert!(!format!("{unread:?}").contains("planted"), "{unread:?}");
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let sandbox = filled().await;
    let evil = Double::start(|_| secret_reply()).await;
    let to = format!("{}/api/v1/namespaces/remote/secrets/db", evil.url);
    let other =
        Double::start(move |_| Reply::Say(302, Vec::new(), String::new()).with("location", &to))
            .await;
    let provider = open(&sandbox, other_cluster_settings(&other.url))
        .await
        .ok()
        .unwrap();
    assert_eq!(answers(&*provider, &[secret("db")]).await, ["unreadable"]);
    assert!(evil.asked().is_empty());
}

#[tokio::test]
async fn endless_list_is_cut_off() {
    let sandbox = filled().await;
    let other = Double::start(|_| {
        let page =
            json!({"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "a"}}]});
        Reply::json(200, &page)
    })
    .await;
    let provider = open(&sandbox, other_cluster_settings(&other.url))
        .await
        .ok()
        .unwrap();
    let found = answers(&*provider, &[find(Some("a"), None)]).await;
    assert_eq!(found, ["unreadable"]);
    assert_eq!(other.asked().len(), 200);
}

#[tokio::test]
async fn oversized_answer_is_rejected() {
    let sandbox = filled().await;
    let other = Double::start(|_| {
        let value = "AAAA".repeat(1 << 20);
        Reply::json(200, &json!({"data": {"k": value}}))
    })
    .await;
    let provider = open(&sandbox, other_cluster_settings(&other.url))
        .await
        .ok()
        .unwrap();
    assert_eq!(
        answers(&*provider, &[secret("db")]).await,
        ["value-too-large"]
    );
}

#[tokio::test]
async fn unreachable_server_is_reported_with_a_cause() {
    let sandbox = filled().await;
    let gone = Double::start(|_| secret_reply()).await.url.clone();
    let provider = open(&sandbox, other_cluster_settings(&gone))
        .await
        .ok()
        .unwrap();
    let read = provider.read(&[secret("db")], &limiter()).await;
    let Answered::Unread(unread) = &read[0] else {
        panic!("expected a failed read");
    };
    assert_eq!(unread.why.reason, unread::UNAVAILABLE);
    assert!(unread.whole_store);
    assert!(
        unread.why.detail.contains("onnection refused"),
        "{unread:?}"
    );
}

#[tokio::test]
async fn unsupported_setting_is_named() {
    let sandbox = filled().await;
    let reason = async |settings: Json| match open(&sandbox, settings).await {
        Ok(_) => "open".to_owned(),
        Err(unread) => format!("{}: {}", unread.why.reason, unread.why.detail),
    };
    for (settings, expected) in [
        (
            json!({"authRef": {"name": "login", "key": "token"}}),
            "unsupported-store: a kubeconfig (`authRef`) is not supported",
        ),
        (
            json!({"remoteNamespace": "a/b"}),
            "store-unreadable: `remoteNamespace` is not a valid Kubernetes name",
        ),
        (
            json!({"auth": {}}),
            "store-unreadable: `auth` has no method",
        ),
        (
            json!({"auth": {
                "token": {"bearerToken": {"name": "login", "key": "token"}},
                "serviceAccount": {"name": "reader"},
            }}),
            "store-unreadable: `auth` has several methods: the operator refuses it",
        ),
        (
            json!({
                "authRef": {"name": "login", "key": "token"},
                "auth": {"serviceAccount": {"name": "reader"}},
            }),
            "unsupported-store: a kubeconfig (`authRef`) is not supported",
        ),
        (
            json!({"server": {"url": "https://"}}),
            "store-unreadable: `server.url` is not a valid address",
        ),
        (
            json!({"server": {"url": "ftp://corp"}}),
            "store-unreadable: `server.url` is not a valid address",
        ),
    ] {
        assert_eq!(reason(settings).await, expected);
    }
}

#[tokio::test]
async fn job_credentials_are_for_its_own_cluster() {
    let sandbox = filled().await;
    let evil = Double::start(|_| secret_reply()).await;
    let ambient = Ambient {
        endpoints: vec![evil.url.clone()],
        ..Ambient::default()
    };
    let own = read_only_cluster(&sandbox.url());
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
