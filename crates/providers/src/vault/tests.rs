//! Tests against a double: errors, and servers that misbehave. (Reads are tested against a real Vault.)

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eso_model::{
    StoreKey,
    expected::{Raw, What},
};
use pace::{bytes::Budget, rate::Rate};
use serde_json::{Value as Json, json};

use super::connect;
use crate::{
    Ambient, Answered, Backoff, Identity, Provider, RateLimiter, StoreSettings, Unread,
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

fn secret(key: &str) -> What {
    What::Secret {
        key: key.to_owned(),
        version: String::new(),
        metadata: false,
    }
}

/// A Vault with a token, unless other variables are given.
async fn vault(
    server: &str,
    more: Json,
    variables: &[(&str, &str)],
) -> Result<Box<dyn Provider>, Unread> {
    let mut settings = json!({"server": server, "path": "secret"});
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    let mut environment: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    if environment.is_empty() {
        environment.insert("VAULT_TOKEN".to_owned(), "t0ken".to_owned());
    }
    let ambient = Ambient {
        environment,
        endpoints: vec![server.to_owned()],
        ..Ambient::default()
    };
    let store = StoreSettings::new(
        StoreKey::Cluster {
            name: "vault".to_owned(),
        },
        "vault",
        settings,
    );
    connect(&store, Identity::Ambient(&ambient)).await
}

async fn at(double: &Double) -> Box<dyn Provider> {
    vault(&format!("http://{}", double.address), json!({}), &[])
        .await
        .unwrap_or_else(|unread| panic!("{unread:?}"))
}

/// The answer as text, for assertions.
fn answer_text(answered: &Answered) -> String {
    match answered {
        Answered::One(Raw::Json(text), _) => String::from_utf8(text.expose().to_vec()).unwrap(),
        Answered::One(..) => "something else".to_owned(),
        Answered::Many(found) => format!("{:?}", found.keys().collect::<Vec<_>>()),
        Answered::NotFound => "not found".to_owned(),
        Answered::Fails(failure) => format!("fails {}", failure.into_str()),
        Answered::Unread(unread) => unread.why.to_string(),
    }
}

async fn read(vault: &dyn Provider, limiter: &RateLimiter, keys: &[&str]) -> Vec<String> {
    let wanted: Vec<What> = keys.iter().map(|key| secret(key)).collect();
    vault
        .read(&wanted, limiter)
        .await
        .iter()
        .map(answer_text)
        .collect()
}

const MOUNT: &str = "/v1/sys/internal/ui/mounts/";

/// The mount of `secret/`: an engine of this type.
fn mounted(call: &Call, kind: &str) -> Option<Reply> {
    let mount = json!({"data": {"path": "secret/", "type": kind, "options": {"version": "2"}}});
    call.path()
        .starts_with(MOUNT)
        .then(|| Reply::new(200, mount))
}

fn data(value: &str) -> Reply {
    Reply::new(200, json!({"data": {"data": {"k": value}, "metadata": {}}}))
}

/// Reading from a database engine would create a user.
#[tokio::test]
async fn mount_that_is_not_kv_is_not_read() {
    let double =
        Double::plain(|call| mounted(call, "database").unwrap_or_else(|| data("made"))).await;
    let vault = at(&double).await;
    let limiter = limiter();
    let metadata = What::Secret {
        key: "creds/admin".to_owned(),
        version: String::new(),
        metadata: true,
    };
    let find = What::Find {
        path: None,
        name: Some("a".to_owned()),
        tags: None,
    };
    for answered in vault
        .read(&[secret("creds/admin"), metadata, find], &limiter)
        .await
    {
        insta::allow_duplicates!(insta::assert_snapshot!(
            answer_text(&answered),
            @"unsupported-store (not read because the mount may not be KV: secret/ is an engine of type database, not KV)"
        ));
    }
    let asked = double.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.starts_with("GET /v1/sys/internal/ui/mounts/secret/")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn unknown_mount_is_not_read() {
    let answers = [
        (
            Reply::new(
                403,
                r#"{"errors":["preflight capability check returned 403"]}"#,
            ),
            "denied",
        ),
        (Reply::new(404, r#"{"errors":[]}"#), "unsupported-store"),
        (Reply::new(200, "{}"), "unreadable"),
        (
            Reply::new(200, json!({"data": {"path": "other/", "type": "kv"}})),
            "unsupported-store",
        ),
        (
            Reply::new(200, json!({"data": {"path": "", "type": "kv"}})),
            "unsupported-store",
        ),
    ];
    for (answer, reason) in answers {
        let double = Double::plain(move |call| match call.path() {
            "/v1/auth/token/lookup-self" => Reply::new(200, "{}"),
            _ => answer.clone(),
        })
        .await;
        let answered = read(&*at(&double).await, &limiter(), &["db"]).await;
        assert!(answered[0].starts_with(reason), "{answered:?}");
        assert!(
            !double
                .asked()
                .contains(&"GET /v1/secret/data/db".to_owned())
        );
    }
}

#[tokio::test]
async fn mount_is_requested_once() {
    let double = Double::plain(|call| mounted(call, "kv").unwrap_or_else(|| data("v"))).await;
    let limiter = limiter();
    let answered = read(&*at(&double).await, &limiter, &["a", "b", "c"]).await;
    assert_eq!(answered, [r#"{"k":"v"}"#; 3]);
    let asked = double.asked();
    assert_eq!(
        asked.iter().filter(|asked| asked.contains(MOUNT)).count(),
        1,
        "{asked:?}"
    );
    assert_eq!(limiter.calls(), 4, "each request takes a rate permit");
    assert!(
        double
            .calls()
            .iter()
            .all(|call| call.header("x-vault-token") == "t0ken")
    );
}

/// A mount whose name has the same prefix is another mount.
#[tokio::test]
async fn mount_matches_whole_folders_only() {
    let double = Double::plain(|call| match call.path() {
        path if path.starts_with("/v1/sys/internal/ui/mounts/secret/") => {
            Reply::new(200, json!({"data": {"path": "secret/", "type": "kv"}}))
        }
        path if path.starts_with(MOUNT) => {
            Reply::new(200, json!({"data": {"path": "secretive/", "type": "pki"}}))
        }
        _ => data("v"),
    })
    .await;
    let server = format!("http://{}", double.address);
    let vault = vault(&server, json!({"path": null}), &[])
        .await
        .ok()
        .unwrap();
    let answered = read(&*vault, &limiter(), &["secret/a", "secretive/a"]).await;
    assert_eq!(answered[0], r#"{"k":"v"}"#);
    assert!(answered[1].contains("engine of type pki"), "{answered:?}");
}

#[tokio::test]
async fn retry_after_is_honoured() {
    for status in [429, 503] {
        let times = AtomicU32::new(0);
        let double = Double::plain(move |call| {
            mounted(call, "kv").unwrap_or_else(|| match times.fetch_add(1, Ordering::Relaxed) {
                0 => Reply::new(status, r#"{"errors":["rate limit quota exceeded"]}"#)
                    .with("retry-after", "1"),
                _ => data("v"),
            })
        })
        .await;
        let start = Instant::now();
        let answered = read(&*at(&double).await, &limiter(), &["db"]).await;
        assert_eq!(answered, [r#"{"k":"v"}"#]);
        assert!(start.elapsed() >= Duration::from_secs(1), "{status}");
    }
}

#[tokio::test]
async fn endless_throttling_is_reported() {
    let double =
        Double::plain(|call| mounted(call, "kv").unwrap_or_else(|| Reply::new(429, ""))).await;
    let limiter = limiter();
    let answered = read(&*at(&double).await, &limiter, &["db"]).await;
    assert!(answered[0].starts_with("throttled ("), "{answered:?}");
    assert_eq!(limiter.calls(), 9, "the mount, and eight attempts");
}

/// The token must be sent only to the store's server.
#[tokio::test]
async fn redirect_is_not_followed() {
    let other = Double::plain(|_| data("v")).await;
    let location = format!("http://{}/v1/secret/data/db", other.address);
    let double = Double::plain(move |call| {
        mounted(call, "kv")
            .unwrap_or_else(|| Reply::new(307, "").with("location", location.clone()))
    })
    .await;
    let answered = read(&*at(&double).await, &limiter(), &["db"]).await;
    assert!(
        answered[0].starts_with("unavailable (Vault answered 307 (a redirect"),
        "{answered:?}"
    );
    assert!(other.calls().is_empty());
}

#[tokio::test]
async fn sealed_vault_gets_no_more_requests() {
    let double = Double::plain(|_| Reply::new(503, r#"{"errors":["Vault is sealed"]}"#)).await;
    let answered = read(&*at(&double).await, &limiter(), &["a", "b"]).await;
    assert_eq!(
        answered,
        ["sealed (Vault answered 503 (Vault is sealed))"; 2]
    );
    assert_eq!(double.calls().len(), 1);
}

/// A proxy may fail on a path that a tenant chose, and a request with an endless path cannot even be built.
#[tokio::test]
async fn failures_of_one_key_do_not_lose_the_store() {
    for status in [502, 302, 401] {
        let double = Double::plain(move |call| {
            mounted(call, "kv").unwrap_or_else(|| match call.path() {
                path if path.ends_with("/evil") => Reply::new(status, "wonderwall"),
                _ => data("v"),
            })
        })
        .await;
        let vault = at(&double).await;
        let limiter = limiter();
        let long = "a".repeat(70_000);
        for _ in 0..2 {
            let wanted = [secret("evil"), secret(&long)];
            for answered in vault.read(&wanted, &limiter).await {
                let Answered::Unread(unread) = answered else {
                    panic!("{}", answer_text(&answered));
                };
                assert!(!unread.whole_store, "{unread:?}");
            }
        }
        assert_eq!(read(&*vault, &limiter, &["db"]).await, [r#"{"k":"v"}"#]);
    }
}

#[tokio::test]
async fn transient_errors_are_retried_and_an_outage_is_reported_once() {
    let times = AtomicU32::new(0);
    let double = Double::plain(move |call| {
        mounted(call, "kv").unwrap_or_else(|| match times.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::new(500, "wonderwall"),
            _ => data("v"),
        })
    })
    .await;
    assert_eq!(
        read(&*at(&double).await, &limiter(), &["db"]).await,
        [r#"{"k":"v"}"#]
    );

    let server = format!("http://{}", double.address);
    let lost = vault(&server, json!({}), &[]).await.ok().unwrap();
    drop(double);
    let limiter = limiter();
    let answered = lost.read(&[secret("a"), secret("b")], &limiter).await;
    for answered in &answered {
        let Answered::Unread(unread) = answered else {
            panic!("{}", answer_text(answered));
        };
        assert_eq!(unread.why.reason, unread::UNAVAILABLE);
        assert!(unread.whole_store);
    }
    assert!(limiter.calls() <= 4, "the other reads make no attempt");
}

/// A login endpoint whose tokens are each valid for one read: `t1`, `t2`, …
fn logins(lease: u64) -> impl Fn(&Call) -> Reply + Send + Sync {
    let issued = AtomicU32::new(0);
    let used = Arc::new(Mutex::new(Vec::new()));
    move |call| {
        let token = call.header("x-vault-token").to_owned();
        if call.path() == "/v1/auth/approle/login" {
            let number = issued.fetch_add(1, Ordering::Relaxed) + 1;
            return Reply::new(
                200,
                json!({"auth": {"client_token": format!("t{number}"), "lease_duration": lease}}),
            );
        }
        if used.lock().unwrap().contains(&token) {
            return Reply::new(403, r#"{"errors":["permission denied"]}"#);
        }
        if let Some(mount) = mounted(call, "kv") {
            return mount;
        }
        if call.path() == "/v1/secret/data/denied" {
            return Reply::new(
                403,
                r#"{"errors":["1 error occurred: * permission denied"]}"#,
            );
        }
        if call.path() == "/v1/auth/token/lookup-self" {
            return Reply::new(200, "{}");
        }
        used.lock().unwrap().push(token.clone());
        data(&token)
    }
}

const ROLE: [(&str, &str); 2] = [("VAULT_ROLE_ID", "role"), ("VAULT_SECRET_ID", "s3cret")];

#[tokio::test]
async fn rejected_token_is_replaced_once() {
    let double = Double::plain(logins(3600)).await;
    let server = format!("http://{}", double.address);
    let vault = vault(&server, json!({"namespace": "team/a"}), &ROLE)
        .await
        .ok()
        .unwrap();
    let limiter = limiter();
    assert_eq!(read(&*vault, &limiter, &["a"]).await, [r#"{"k":"t1"}"#]);
    assert_eq!(read(&*vault, &limiter, &["b"]).await, [r#"{"k":"t2"}"#]);
    let logins = double
        .calls()
        .into_iter()
        .filter(|call| call.method == "POST");
    for login in logins {
        assert_eq!(login.body, r#"{"role_id":"role","secret_id":"s3cret"}"#);
        assert_eq!(login.header("x-vault-namespace"), "team/a");
    }
}

#[tokio::test]
async fn denied_read_causes_no_new_login() {
    let double = Double::plain(logins(0)).await;
    let server = format!("http://{}", double.address);
    let vault = vault(&server, json!({}), &ROLE).await.ok().unwrap();
    let answered = vault
        .read(
            &[secret("denied"), secret("denied"), secret("denied")],
            &limiter(),
        )
        .await;
    for answered in &answered {
        let Answered::Unread(unread) = answered else {
            panic!("{}", answer_text(answered));
        };
        assert_eq!(
            unread.why.to_string(),
            "denied (Vault answered 403 (permission denied))"
        );
        assert_eq!(
            unread.permission.as_deref(),
            Some("`read` on secret/data/denied")
        );
        assert!(!unread.whole_store);
    }
    let logins = double
        .asked()
        .iter()
        .filter(|asked| asked.starts_with("POST"))
        .count();
    assert_eq!(logins, 1);
}

/// Without the policy `default` a token may not look itself up.
#[tokio::test]
async fn token_that_read_something_counts_as_valid() {
    let double = Double::plain(|call| {
        mounted(call, "kv").unwrap_or_else(|| match call.path() {
            "/v1/secret/data/db" => data("v"),
            _ => Reply::new(403, r#"{"errors":["permission denied"]}"#),
        })
    })
    .await;
    let answered = read(&*at(&double).await, &limiter(), &["denied", "db"]).await;
    assert_eq!(
        answered,
        [
            "denied (Vault answered 403 (permission denied))",
            r#"{"k":"v"}"#
        ]
    );
}

/// It is replaced once. That the new one can read the mount shows that only a capability is missing.
#[tokio::test]
async fn missing_capability_of_a_token_that_may_not_look_itself_up_stays_denied() {
    let double = Double::plain(|call| {
        if call.path() == "/v1/auth/approle/login" {
            let auth = json!({"auth": {"client_token": "t", "lease_duration": 3600}});
            return Reply::new(200, auth);
        }
        mounted(call, "kv").unwrap_or_else(|| match call.path() {
            "/v1/secret/data/db" => data("v"),
            _ => Reply::new(403, r#"{"errors":["permission denied"]}"#),
        })
    })
    .await;
    let server = format!("http://{}", double.address);
    let vault = vault(&server, json!({}), &ROLE).await.ok().unwrap();
    let denied = "denied (Vault answered 403 (permission denied))";
    let value = r#"{"k":"v"}"#;
    for keys in [["db", "denied"], ["other", "db"]] {
        let answered = read(&*vault, &limiter(), &keys).await;
        let told = keys.map(|key| if key == "db" { value } else { denied });
        assert_eq!(answered, told);
    }
    let asked = double.asked().into_iter();
    let logins = asked.filter(|asked| asked.starts_with("POST"));
    assert_eq!(logins.count(), 2);
}

#[tokio::test]
async fn failed_login_is_tried_once_and_reported_for_the_store() {
    let double =
        Double::plain(|_| Reply::new(400, r#"{"errors":["invalid role or secret ID"]}"#)).await;
    let server = format!("http://{}", double.address);
    let vault = vault(&server, json!({}), &ROLE).await.ok().unwrap();
    let answered = read(&*vault, &limiter(), &["a", "b", "c"]).await;
    assert_eq!(
        answered,
        ["login-failed (auth/approle/login: Vault answered 400 (invalid role or secret ID))"; 3]
    );
    assert_eq!(double.calls().len(), 1);
}

#[tokio::test]
async fn ca_bundle_of_the_store_is_used() {
    let certificate = Certificate::self_signed(&["localhost"]);
    let pem = certificate.authority.clone();
    let double = Double::tls(certificate, |call| {
        mounted(call, "kv").unwrap_or_else(|| data("v"))
    })
    .await;
    let server = format!("https://localhost:{}", double.address.port());
    let bundle = json!({"caBundle": STANDARD.encode(&pem)});
    let vault_ = vault(&server, bundle, &[]).await.ok().unwrap();
    assert_eq!(read(&*vault_, &limiter(), &["db"]).await, [r#"{"k":"v"}"#]);

    let stranger = vault(&server, json!({}), &[]).await.ok().unwrap();
    let answered = read(&*stranger, &limiter(), &["db"]).await;
    let told = "unknown-authority (the server's certificate is signed by an unknown authority)";
    assert_eq!(answered, [told]);

    for (bundle, reason) in [("bm9uZQ==", unread::STORE), ("%", unread::STORE)] {
        let refused = vault(&server, json!({"caBundle": bundle}), &[])
            .await
            .err()
            .unwrap();
        assert_eq!(refused.why.reason, reason);
    }
}

/// A tenant who can choose the server must not receive the job's token.
#[tokio::test]
async fn job_token_is_sent_only_to_servers_in_the_policy() {
    let double = Double::plain(|_| data("v")).await;
    let store = StoreSettings::new(
        StoreKey::Cluster {
            name: "vault".to_owned(),
        },
        "vault",
        json!({"server": format!("http://{}", double.address), "path": "secret"}),
    );
    let ambient = Ambient {
        environment: BTreeMap::from([("VAULT_TOKEN".to_owned(), "t0ken".to_owned())]),
        endpoints: vec!["https://vault.corp:8200".to_owned()],
        ..Ambient::default()
    };
    let refused = connect(&store, Identity::Ambient(&ambient))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.why.reason, unread::NOT_TRUSTED);
    assert!(double.calls().is_empty());
}

#[tokio::test]
async fn libraries_log_no_values_or_credentials() {
    let double = Double::plain(logins(3600)).await;
    let server = format!("http://{}", double.address);
    let vault = vault(&server, json!({}), &ROLE).await.ok().unwrap();
    let (guard, log) = capture_log();
    let answered = read(&*vault, &limiter(), &["a", "denied"]).await;
    drop(guard);
    assert_eq!(answered[0], r#"{"k":"t1"}"#);
    let log = log.text();
    assert!(
        log.contains(&double.address.to_string()),
        "the log was not captured: {log}"
    );
    for planted in ["t1", "s3cret"] {
        let answer_text = log.lines().find(|line| {
            line.split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == planted)
        });
        assert_eq!(answer_text, None);
    }
}

/// A tenant's Vault may answer with any number of bytes.
#[tokio::test]
async fn large_value_is_not_read_into_memory() {
    let large = json!({"data": {"data": {"large": "x".repeat(16 << 20), "user": "alice"}}});
    let large = large.to_string();
    let double =
        Double::plain(move |call| mounted(call, "kv").unwrap_or_else(|| Reply::new(200, &large)))
            .await;
    let vault = at(&double).await;
    let limiter = limiter();
    assert_eq!(
        read(&*vault, &limiter, &["db"]).await,
        ["value-too-large (the value is larger than 1 MiB)"]
    );
    for (member, expected) in [
        ("user", r#"{"user":"alice"}"#),
        ("absent", "{}"),
        ("large", "value-too-large (the value is larger than 1 MiB)"),
    ] {
        let members = BTreeSet::from([member.to_owned()]);
        let answered = vault.read_members(&secret("db"), &members, &limiter).await;
        assert_eq!(answer_text(&answered), expected);
    }
}

#[tokio::test]
async fn bytes_of_an_answer_are_held_before_they_are_read() {
    let double =
        Double::plain(|call| mounted(call, "kv").unwrap_or_else(|| data(&"x".repeat(600_000))))
            .await;
    let vault = at(&double).await;
    let budget = Budget::of(500_000);
    let bounded = limiter().within(
        &budget.share("team-a"),
        eso_model::budget::Limits::default(),
    );
    let answered = read(&*vault, &bounded, &["db"]).await;
    assert!(answered[0].starts_with("too-much-data ("), "{answered:?}");
    assert_eq!(budget.held(), 0);
}

/// Errors of every status and form, and addresses that cannot be reached.
#[tokio::test]
async fn hostile_error_reaches_no_output() {
    const STATUSES: [u16; 13] = [
        301, 400, 401, 403, 404, 405, 407, 412, 429, 472, 500, 502, 503,
    ];
    let bodies = [
        "<html><body>hunter2</body></html>",
        r#"{"errors":["permission denied for the token hunter2"]}"#,
        r#"{"errors":["Vault is sealed: hunter2"]}"#,
        r#"{"data":"hunter2","warnings":["hunter2"]}"#,
        "hunter2",
    ];
    let mut told = Vec::new();
    for status in STATUSES {
        for body in bodies {
            let double = Double::plain(move |_| {
                Reply::new(status, body).with("location", "http://hunter2@localhost/")
            })
            .await;
            let answers = at(&double).await.read(&[secret("db")], &limiter()).await;
            told.extend(answers.iter().map(shown));
        }
    }
    let closed = {
        let double = Double::plain(|_| Reply::new(200, "")).await;
        double.address
    };
    for server in [
        format!("http://job:hunter2@{closed}"),
        format!("https://job:hunter2@{closed}"),
        format!("http://{closed}"),
        format!("https://{closed}"),
    ] {
        match vault(&server, json!({}), &[]).await {
            Ok(vault) => {
                let answers = vault.read(&[secret("db")], &limiter()).await;
                told.extend(answers.iter().map(shown));
            }
            Err(unread) => told.push(format!("{unread:?}")),
        }
    }
    assert!(told.len() > STATUSES.len() * bodies.len());
    for told in told {
        assert!(!told.contains("hunter2"), "{told}");
    }
}

/// Everything that an answer can show.
fn shown(answer: &Answered) -> String {
    match answer {
        Answered::Unread(unread) => format!("{unread:?}"),
        Answered::One(..) | Answered::Many(_) | Answered::NotFound | Answered::Fails(_) => {
            answer_text(answer)
        }
    }
}
