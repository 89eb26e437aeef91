//! Tests against a double of the cloud. It has the real host names; only the addresses and the CA differ.

mod login;
mod plugin;
mod service;
mod write;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use eso_model::{
    expected::{Raw, What},
    rotation::{Rotation, Schedule},
};
use pace::rate::Rate;
use reqwest::Proxy;
use serde_json::{Value as Json, json};

use self::service::{CLIENT, NOW, Service, TENANT};
use super::{KeyVault, Settings, open};
use crate::{
    Ambient, Answered, Backoff, Identity, Provider as _, RateLimiter, Unread,
    double::{Call, Certificate, Double, Reply, capture_log},
    unread,
};

/// Retries come soon, so that tests do not wait for them.
fn limiter() -> RateLimiter {
    RateLimiter::new(Rate::per_second(1000.0).unwrap()).with_backoff(Backoff {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(20),
    })
}

/// An HTTP client that resolves the cloud's host names to the double.
fn http(service: &Service) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(service.pem.as_bytes()).unwrap();
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
        ..Ambient::default()
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
    let answers = vault.read(wanted, &limiter()).await;
    let said = answers.iter().map(|answer| match answer {
        Answered::One(raw, _) => text(raw),
        Answered::Many(found) => found
            .iter()
            .map(|(name, raw)| format!("{name}={} ", text(raw)))
            .collect::<Vec<_>>()
            .concat(),
        Answered::NotFound => "not found".to_owned(),
        Answered::Fails(failure) => format!("fails {}", failure.into_str()),
        Answered::Unread(unread) => unread.why.to_string(),
    });
    said.collect()
}

async fn unread(vault: &KeyVault) -> Unread {
    let answered = vault.read(&[secret("db")], &limiter()).await.remove(0);
    let Answered::Unread(unread) = answered else {
        panic!("expected a failed read");
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
            "fails version-disabled",
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
        "one request was challenged, and one fetched the token"
    );
}

#[tokio::test]
async fn invalid_names_are_not_requested() {
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
async fn metadata_reads_the_tags() {
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

async fn rotations(vault: &KeyVault, keys: &[&str]) -> Vec<String> {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let answers = vault.rotations(&keys, &limiter()).await.into_iter();
    let said = answers.map(|answer| match answer {
        Ok(Rotation::Scheduled(Schedule { next, period })) => {
            format!(
                "{} {}",
                next.unwrap().as_second(),
                period.unwrap().as_secs()
            )
        }
        Ok(other) => format!("{other:?}"),
        Err(unread) => {
            let lacking = unread.permission.map(|it| format!(" [{it}]"));
            format!("{}{}", unread.why, lacking.unwrap_or_default())
        }
    });
    said.collect()
}

/// A read of a single secret would return its value, so the list is read, up to the last secret that is needed.
#[tokio::test]
async fn rotations_are_read_from_the_list() {
    let service = Service::start().await;
    service.change(|state| {
        state.page = 2;
        for name in ["api", "db", "ends", "late", "other", "rest"] {
            state.set(name, "hunter2-planted");
        }
        state.set("Ends", "second");
        state.expire("ends", 3601);
    });
    let vault = vault(&service).await;
    let keys = ["Ends", "secret/ends", "api", "cert/tls"];
    let unread = "kind (only secrets are read)";
    let ends = format!("{} 3600", NOW + 3601);
    assert_eq!(
        rotations(&vault, &keys).await,
        [&ends, &ends, "Unscheduled", unread]
    );
    let asked = || {
        let calls = service.secure.calls().into_iter();
        calls.filter(|call| call.path().starts_with("/secrets"))
    };
    assert!(asked().all(|call| call.path().trim_end_matches('/') == "/secrets"));
    // The first one is the challenge.
    assert_eq!(asked().count(), 1 + 2);
    let gone = "unreadable (the vault lists no such secret)";
    assert_eq!(
        rotations(&vault, &["gone", "db"]).await,
        [gone, "Unscheduled"]
    );
    assert_eq!(rotations(&vault, &["a/b/c"]).await, [gone]);
    assert_eq!(asked().count(), 1 + 2 + 3, "no list without a name");
}

#[tokio::test]
async fn rotations_need_the_right_to_list() {
    let service = Service::start().await;
    let vault = vault(&service).await;
    let denied = json!({"error": {"code": "Forbidden", "message": "no", "innererror": {"code": "ForbiddenByRbac"}}});
    service.change(|state| state.faults.push_back(Reply::new(403, denied)));
    let said = rotations(&vault, &["db"]).await.remove(0);
    assert!(said.starts_with("denied ("), "{said}");
    assert!(
        said.ends_with("[\"Key Vault Reader\" on kv.vault.azure.net]"),
        "{said}"
    );
}

#[tokio::test]
async fn search_reads_all_pages_and_the_matches() {
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
            "regexp (Go and Rust may understand `find.name.regexp` differently)"
        ]
    );
    let before = service.secure.calls().len();
    let limiter = limiter();
    vault.read(&[find(Some("^db-"), &[])], &limiter).await;
    assert_eq!(
        service.secure.calls().len() - before,
        5,
        "three pages, two secrets"
    );
    assert_eq!(limiter.calls(), 5);
}

/// The token would be sent with the request.
#[tokio::test]
async fn next_page_on_another_host_is_not_fetched() {
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
        ["unreadable (the next page of the list is on another host)"]
    );
    assert_eq!(
        service.secure.calls().len(),
        3,
        "the challenge, the login, one page"
    );
}

#[tokio::test]
async fn denied_read_names_the_missing_role() {
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
async fn throttling_honours_retry_after() {
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
        let error = Reply::new(503, "").with("retry-after", "1");
        state.faults.push_back(error);
    });
    let start = Instant::now();
    assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    service.change(|state| {
        state.faults.extend((0..11).map(|_| throttled()));
    });
    let answers = read(&vault, &[secret("db")]).await;
    assert!(answers[0].starts_with("throttled ("), "{answers:?}");
    assert_eq!(
        service.change(|state| state.faults.len()),
        3,
        "eight attempts, all of them ours"
    );
}

#[tokio::test]
async fn transient_errors_are_retried_and_an_outage_is_reported_once() {
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
            .extend((0..99).map(|_| Reply::new(502, "wonderwall")));
    });
    for name in ["a", "b", "c", "d", "db"] {
        assert_eq!(
            read(&vault, &[secret(name)]).await,
            ["unavailable (Key Vault answered 502)"]
        );
    }
    let before = service.secure.calls().len();
    assert_eq!(
        read(&vault, &[secret("e"), secret("db")]).await,
        ["unavailable (Key Vault answered 502)"; 2]
    );
    assert_eq!(service.secure.calls().len(), before);
}

/// The cause may be this one secret.
#[tokio::test]
async fn failures_of_one_key_do_not_lose_the_vault() {
    let service = Service::start().await;
    let vault = vault(&service).await;
    service.change(|state| state.set("db", "v"));
    for status in [500, 502, 504] {
        service.change(|state| {
            state
                .faults
                .extend((0..4).map(|_| Reply::new(status, "wonderwall")));
        });
        let long = "a".repeat(70_000);
        assert_eq!(
            read(&vault, &[secret(&long), secret("evil")]).await,
            [
                "fails refused".to_owned(),
                format!("unavailable (Key Vault answered {status})")
            ]
        );
        assert_eq!(read(&vault, &[secret("db")]).await, ["v"]);
    }
}

#[tokio::test]
async fn oversized_answer_is_rejected() {
    let service = Service::start().await;
    service.change(|state| {
        let long = "a".repeat(5 << 20);
        state
            .faults
            .push_back(Reply::new(200, json!({"value": long})));
    });
    let answered = read(&vault(&service).await, &[secret("db")]).await;
    assert!(
        answered[0].starts_with("unreadable"),
        "{}",
        answered[0].len()
    );
}

#[tokio::test]
async fn redirect_is_not_followed() {
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

#[tokio::test]
async fn libraries_log_no_values_or_credentials() {
    let service = Service::start().await;
    service.change(|state| {
        state.set("db", "wonderwall");
        state.tag("db", "owner", "wonderwall");
    });
    let vault = vault(&service).await;
    let (guard, log) = capture_log();
    let wanted = [secret("db"), secret("none"), find(None, &[])];
    let answered = read(&vault, &wanted).await;
    drop(guard);
    assert_eq!(answered[0], "wonderwall");
    let log = log.text();
    assert!(
        log.contains("kv.vault.azure.net"),
        "the log was not captured: {log}"
    );
    for planted in ["wonderwall", "s3cret", "token-1"] {
        assert_eq!(log.lines().find(|line| line.contains(planted)), None);
    }
}

#[tokio::test]
async fn long_answer_is_cut_off_at_the_share_of_the_namespace() {
    let service = Service::start().await;
    service.change(|state| state.set("big", &"x".repeat(64 << 20)));
    let vault = vault(&service).await;
    let budget = pace::bytes::Budget::of(1 << 20);
    let share = budget.share("team-a");
    let bounded = limiter().within(&share, eso_model::budget::Limits::default());
    let answers = vault.read(&[secret("big")], &bounded).await;
    let Answered::Unread(unread) = &answers[0] else {
        panic!("it must not be read");
    };
    assert_eq!(unread.why.reason, unread::TOO_MUCH_DATA);
    assert_eq!((bounded.calls(), budget.held()), (1, 0));
}

#[tokio::test]
async fn hostile_error_reaches_no_output() {
    let bodies = [
        "<html><body>hunter2</body></html>",
        r#"{"error":{"code":"hunter2","message":"hunter2"}}"#,
        r#"{"error":{"code":"Forbidden","message":"hunter2","innererror":{"code":"eyJhunter2.a.b"}}}"#,
        "hunter2",
    ];
    let statuses = [302, 400, 401, 403, 404, 409, 429, 500, 502];
    let mut told = Vec::new();
    for status in statuses {
        for body in bodies {
            let reply =
                Reply::new(status, body).with("location", "https://hunter2@kv.vault.azure.net/");
            let service = Service::start().await;
            service.change(|state| state.faults.extend((0..50).map(|_| reply.clone())));
            let vault = vault(&service).await;
            let answers = vault
                .read(&[secret("db"), find(None, &[])], &limiter())
                .await;
            told.extend(answers.iter().map(|answer| match answer {
                Answered::Unread(unread) => format!("{unread:?}"),
                Answered::Fails(failure) => failure.into_str().to_owned(),
                Answered::One(..) | Answered::Many(_) => "something else".to_owned(),
                Answered::NotFound => "not found".to_owned(),
            }));
        }
    }
    assert_eq!(told.len(), 2 * statuses.len() * bodies.len());
    for told in told {
        assert!(!told.contains("hunter2"), "{told}");
    }
}
