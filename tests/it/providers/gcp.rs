//! Tests of Google Cloud against a double that Google's own Python client also accepts.

mod client;
pub(crate) mod google;
mod plugin;

use std::{
    collections::BTreeMap,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use eso_model::{
    StoreKey,
    expected::{Raw, What},
};
use providers::{
    Ambient, Answered, Identity, Provider, RateLimiter, Resolver, StoreSettings, connect, unread,
};
use serde_json::{Value as Json, json};

use self::google::{Google, Secret, error};
use super::{
    double::{Asked, Double, Reply, logged},
    support::{find, limiter, metadata, nowhere, rotation, secret, version},
};

/// A secret value that must not appear anywhere.
const PLANTED: &str = "hunter2-planted";

const EMAIL: &str = "job@project.iam.gserviceaccount.com";

/// The key of a service account, generated for the test run.
static KEY: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).expect("a key"));

/// The environment of the job, with its key file and the address of the double.
pub(crate) struct Job {
    pub(crate) ambient: Ambient,
    folder: tempfile::TempDir,
}

pub(crate) fn job(url: &str) -> Job {
    let der = KEY.as_der().expect("DER");
    let key = json!({
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref())),
        "client_email": EMAIL,
        // No request is sent to it.
        "token_uri": format!("{url}/token"),
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.json");
    std::fs::write(&path, key.to_string()).expect("a file");
    let environment = [
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            path.to_str().expect("UTF-8"),
        ),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", url),
    ];
    Job {
        ambient: Ambient {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Ambient::default()
        },
        folder,
    }
}

fn store(more: &Json) -> StoreSettings {
    let mut settings = json!({"projectID": "project"});
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    StoreSettings::new(
        StoreKey::Cluster {
            name: "gcp".to_owned(),
        },
        "gcpsm",
        settings,
    )
}

/// A connection, and the key file that it needs for later logins.
struct Connected {
    provider: Box<dyn Provider>,
    _job: Job,
}

impl std::ops::Deref for Connected {
    type Target = dyn Provider;

    fn deref(&self) -> &Self::Target {
        &*self.provider
    }
}

async fn connected(url: &str, more: &Json) -> Connected {
    let job = job(url);
    match connect(&store(more), Identity::Ambient(&job.ambient), &nowhere()).await {
        Ok(provider) => Connected {
            provider,
            _job: job,
        },
        Err(unread) => panic!("{unread:?}"),
    }
}

fn raw(raw: &Raw) -> String {
    let text = |value: &secret::Value| String::from_utf8_lossy(value.expose()).into_owned();
    let map = |values: &BTreeMap<String, secret::Value>| -> BTreeMap<String, String> {
        values
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    };
    match raw {
        Raw::Bytes(value) => text(value),
        Raw::Metadata {
            labels,
            annotations,
        } => json!({"labels": map(labels), "annotations": map(annotations)}).to_string(),
        Raw::Json(_) | Raw::Keys(_) | Raw::Tags(_) => panic!("Google returns no such value"),
    }
}

/// An answer as one line.
fn line(answer: &Answered) -> String {
    match answer {
        Answered::One(one, _) => raw(one),
        Answered::Many(found) => found
            .iter()
            .map(|(name, one)| format!("{name}={}", raw(one)))
            .collect::<Vec<_>>()
            .join(" "),
        Answered::NotFound => "not found".to_owned(),
        Answered::Fails(failure) => format!("fails: {}", failure.into_str()),
        Answered::Unread(unread) => {
            assert!(!format!("{unread:?}").contains(PLANTED), "{unread:?}");
            let store = if unread.whole_store { " (store)" } else { "" };
            format!("{}{store}", unread.why)
        }
    }
}

async fn read(provider: &dyn Provider, wanted: &[What], limiter: &RateLimiter) -> Vec<String> {
    let answers = provider.read(wanted, limiter).await;
    assert_eq!(answers.len(), wanted.len());
    answers.iter().map(line).collect()
}

/// The requested paths, sorted.
fn paths(double: &Double) -> Vec<String> {
    let mut paths: Vec<String> = double
        .asked()
        .iter()
        .map(|asked| asked.path.split('?').next().unwrap_or_default().to_owned())
        .collect();
    paths.sort();
    paths
}

async fn double(secrets: impl IntoIterator<Item = (&'static str, Secret)>) -> Double {
    let google = Google::of(secrets);
    Double::start(move |asked| google.answer(asked)).await
}

/// A double whose first answers are replaced.
async fn at_first(times: usize, other: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Double {
    let google = Google::of([("db", Secret::of(b"value"))]);
    let count = AtomicUsize::new(0);
    Double::start(move |asked| {
        if count.fetch_add(1, Ordering::Relaxed) < times {
            other(asked)
        } else {
            google.answer(asked)
        }
    })
    .await
}

async fn read_db(double: &Double) -> (String, u64) {
    let provider = connected(&double.url, &json!({})).await;
    let limiter = limiter();
    let answers = read(&*provider, &[secret("db")], &limiter).await;
    (answers[0].clone(), limiter.calls())
}

#[tokio::test]
async fn each_version_is_one_call() {
    let twice = Secret::of(b"one").then("ENABLED", b"two", "2026-02-01T00:00:00Z");
    let double = double([("db", twice), ("binary", Secret::of(&[0, 255]))]).await;
    let provider = connected(&double.url, &json!({})).await;
    let limiter = limiter();
    let wanted = [
        secret("db"),
        version("db", "1"),
        version("db", "3"),
        secret("gone"),
        secret("binary"),
        version("db", "latest"),
    ];
    let answers = provider.read(&wanted, &limiter).await;
    let Answered::One(Raw::Bytes(binary), _) = &answers[4] else {
        panic!("{}", line(&answers[4]));
    };
    assert_eq!(binary.expose(), [0, 255]);
    assert_eq!(
        [0, 1, 2, 3, 5].map(|place: usize| line(&answers[place])),
        ["two", "one", "not found", "not found", "two"]
    );
    assert_eq!(limiter.calls(), 5);
    assert_eq!(
        paths(&double),
        [
            "/v1/projects/project/secrets/binary/versions/latest:access",
            "/v1/projects/project/secrets/db/versions/1:access",
            "/v1/projects/project/secrets/db/versions/3:access",
            "/v1/projects/project/secrets/db/versions/latest:access",
            "/v1/projects/project/secrets/gone/versions/latest:access",
        ]
    );
}

#[tokio::test]
async fn location_has_its_own_secrets() {
    let double = double([
        ("db", Secret::of(b"global")),
        ("@db", Secret::of(b"regional").labelled("a", "b")),
    ])
    .await;
    let provider = connected(&double.url, &json!({"location": "europe-west1"})).await;
    let wanted = [secret("db"), metadata("db"), find(None, Some("d"), &[])];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        [
            "regional",
            r#"{"annotations":{},"labels":{"a":"b"}}"#,
            "db=regional"
        ]
    );
    let wanted = [find(None, None, &[("a", "b")])];
    let answers = read(&*provider, &wanted, &limiter()).await;
    assert!(answers[0].starts_with("spec ("), "{}", answers[0]);
}

/// A damaged payload is an error, not a value.
#[tokio::test]
async fn payload_checksum_is_verified() {
    let double = Double::start(|_| {
        Reply::json(
            200,
            &json!({"payload": {"data": STANDARD.encode(PLANTED), "dataCrc32c": "1"}}),
        )
    })
    .await;
    assert_eq!(
        read_db(&double).await.0,
        "unreadable (AccessSecretVersion: the checksum does not match)"
    );
}

#[tokio::test]
async fn disabled_newest_version_follows_the_selection_policy() {
    let secret_of = || {
        Secret::of(b"old")
            .then("ENABLED", b"newest by date", "2026-03-01T00:00:00.5Z")
            .then("ENABLED", b"made before it", "2026-03-01T00:00:00.25Z")
            .then("DISABLED", b"no", "2026-04-01T00:00:00Z")
    };
    let never = Secret::default().then("DESTROYED", b"no", "2026-04-01T00:00:00Z");
    let double = double([("db", secret_of()), ("never", never)]).await;
    let wanted = [secret("db"), version("db", "4"), secret("never")];
    let provider = connected(&double.url, &json!({})).await;
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        [
            "fails: version-disabled",
            "fails: version-disabled",
            "fails: version-destroyed"
        ]
    );
    let settings = json!({"secretVersionSelectionPolicy": "LatestOrFetch"});
    let provider = connected(&double.url, &settings).await;
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        [
            "newest by date",
            "fails: version-disabled",
            "fails: version-destroyed"
        ],
        "only without a version in the request, and if a version is enabled"
    );
}

#[tokio::test]
async fn metadata_are_labels_and_annotations() {
    let tagged = Secret::of(b"")
        .labelled("team", "a")
        .annotated("note", "x y");
    let double = double([("db", tagged)]).await;
    let provider = connected(&double.url, &json!({})).await;
    assert_eq!(
        read(&*provider, &[metadata("db"), metadata("gone")], &limiter()).await,
        [
            r#"{"annotations":{"note":"x y"},"labels":{"team":"a"}}"#,
            "not found"
        ]
    );
}

#[tokio::test]
async fn rotations_are_read_from_metadata() {
    let rotated = |rotation: Json| Secret::of(PLANTED.as_bytes()).rotated(rotation);
    let next = "2027-01-15T08:00:00Z";
    let double = double([
        (
            "both",
            rotated(json!({"nextRotationTime": next, "rotationPeriod": "3600s"})),
        ),
        ("next", rotated(json!({"nextRotationTime": next}))),
        ("none", Secret::of(b"")),
        ("empty", rotated(json!({}))),
    ])
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let keys = ["both", "next", "none", "empty", "gone", "../x"].map(str::to_owned);
    let said = provider.rotations(&keys, &limiter()).await;
    let said: Vec<String> = said.into_iter().map(rotation).collect();
    assert_eq!(
        said,
        [
            "every 3600 s, next 2027-01-15T08:00:00Z",
            "every 0 s, next 2027-01-15T08:00:00Z",
            "unscheduled",
            "unscheduled",
            "unreadable (GetSecret: NOT_FOUND)",
            "unreadable (Google allows no secret with this name)",
        ]
    );
    let secret = |id: &str| format!("/v1/projects/project/secrets/{id}");
    assert_eq!(
        paths(&double),
        ["both", "empty", "gone", "next", "none"].map(secret)
    );
    let other = connected(&double.url, &json!({"projectID": "other"})).await;
    let said = other.rotations(&keys[..1], &limiter()).await;
    let said: Vec<String> = said.into_iter().map(rotation).collect();
    let denied = "denied (GetSecret: PERMISSION_DENIED) [secretmanager.secrets.get on projects/other/secrets/both]";
    assert_eq!(said, [denied]);
}

#[tokio::test]
async fn searches_list_pages_and_read_what_matches() {
    let names = ["prod-api", "prod-db", "test-prod-db", "prod-web", "other"];
    let all = names.map(|name| {
        let team = if name.ends_with("db") { "data" } else { "web" };
        (
            name,
            Secret::of(name.as_bytes())
                .labelled("team", team)
                .labelled("env", "x"),
        )
    });
    let double = double(all).await;
    let provider = connected(&double.url, &json!({})).await;
    let limiter = limiter();
    let wanted = [
        find(Some("prod-"), Some("b$"), &[]),
        find(None, Some("(api|db)$"), &[]),
        find(None, None, &[("team", "data"), ("env", "x")]),
        find(Some("prod"), None, &[("team", "web")]),
        find(None, None, &[]),
    ];
    assert_eq!(
        read(&*provider, &wanted, &limiter).await,
        [
            // The filter also finds `test-prod-db`, but a path matches the start of a name.
            "prod-db=prod-db prod-web=prod-web",
            "prod-api=prod-api prod-db=prod-db test-prod-db=test-prod-db",
            "prod-db=prod-db test-prod-db=test-prod-db",
            "prod-api=prod-api prod-web=prod-web",
            "fails: refused",
        ]
    );
    let mut filters: Vec<String> = double
        .asked()
        .iter()
        .filter(|asked| asked.path.starts_with("/v1/projects/project/secrets?"))
        .map(|asked| asked.field("filter"))
        .collect();
    filters.sort();
    filters.dedup();
    assert_eq!(
        filters,
        [
            "",
            "labels.env=x labels.team=data",
            "labels.team=web name:prod",
            "name:prod-"
        ]
    );
    assert_eq!(
        limiter.calls(),
        double.asked().len() as u64,
        "each call takes a rate permit"
    );
}

#[tokio::test]
async fn a_value_that_may_not_be_read_makes_a_search_unknown() {
    let google = Google::of([("a", Secret::of(b"1")), ("b", Secret::of(b"2"))]);
    let double = Double::start(move |asked| {
        if asked.path.contains("/secrets/b/") {
            return error(403, "PERMISSION_DENIED", PLANTED);
        }
        google.answer(asked)
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let answers = read(&*provider, &[find(None, Some("."), &[])], &limiter()).await;
    assert_eq!(answers, ["denied (AccessSecretVersion: PERMISSION_DENIED)"]);
}

#[tokio::test]
async fn missing_permission_is_named() {
    let double = Double::start(|_| error(403, "PERMISSION_DENIED", PLANTED)).await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = [secret("db"), metadata("db"), find(None, Some("."), &[])];
    let answers = provider.read(&wanted, &limiter()).await;
    let permissions: Vec<_> = answers
        .iter()
        .map(|answer| {
            let Answered::Unread(unread) = answer else {
                panic!("{}", line(answer));
            };
            unread.permission.clone().unwrap_or_default()
        })
        .collect();
    assert_eq!(
        permissions,
        [
            "secretmanager.versions.access on projects/project/secrets/db",
            "secretmanager.secrets.get on projects/project/secrets/db",
            "secretmanager.secrets.list on projects/project",
        ]
    );
}

#[tokio::test]
async fn throttling_honours_retry_after() {
    let double = at_first(1, |_| {
        error(429, "RESOURCE_EXHAUSTED", "Quota exceeded").with("retry-after", "1")
    })
    .await;
    let start = Instant::now();
    assert_eq!(read_db(&double).await, ("value".to_owned(), 2));
    assert!(start.elapsed().as_millis() >= 1000, "{:?}", start.elapsed());
}

#[tokio::test]
async fn endless_throttling_is_reported() {
    let double = at_first(usize::MAX, |_| {
        error(429, "RESOURCE_EXHAUSTED", PLANTED).with("retry-after", "0")
    })
    .await;
    let said = "throttled (AccessSecretVersion: RESOURCE_EXHAUSTED)".to_owned();
    assert_eq!(read_db(&double).await, (said, 8));
    assert_eq!(
        double.asked().len(),
        8,
        "each attempt is counted, and there are no others"
    );
}

#[tokio::test]
async fn transient_failures_are_retried_and_others_reported() {
    let double = at_first(2, |_| error(503, "UNAVAILABLE", PLANTED)).await;
    assert_eq!(read_db(&double).await, ("value".to_owned(), 3));
    let double = at_first(1, |_| Reply::CloseConnection).await;
    assert_eq!(read_db(&double).await, ("value".to_owned(), 2));
    let double = at_first(usize::MAX, |_| {
        Reply::Say(502, Vec::new(), PLANTED.to_owned())
    })
    .await;
    let (answer, calls) = read_db(&double).await;
    assert!(
        answer.starts_with("unavailable (AccessSecretVersion: "),
        "{answer}"
    );
    assert_eq!(calls, 4);
    let double = at_first(usize::MAX, |_| {
        Reply::Say(200, Vec::new(), PLANTED.to_owned())
    })
    .await;
    let (answer, calls) = read_db(&double).await;
    assert!(
        answer.starts_with("unreadable (AccessSecretVersion: "),
        "{answer}"
    );
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn refused_token_is_renewed_once() {
    let refused = |_: &Asked| error(401, "UNAUTHENTICATED", PLANTED);
    let double = at_first(1, refused).await;
    assert_eq!(read_db(&double).await, ("value".to_owned(), 2));
    let double = at_first(usize::MAX, refused).await;
    let said = "credentials-expired (AccessSecretVersion: UNAUTHENTICATED, also with a new token: check that the service account and its key still exist, and the time of this machine) (store)".to_owned();
    assert_eq!(read_db(&double).await, (said, 2));
}

/// The key signs a token locally: the key is not sent, and its token URL is not requested.
#[tokio::test]
async fn service_account_key_signs_tokens_locally() {
    let double = double([("db", Secret::of(b"value"))]).await;
    assert_eq!(read_db(&double).await, ("value".to_owned(), 1));
    let asked = double.asked();
    assert_eq!(asked.len(), 1);
    let token = asked[0]
        .header("authorization")
        .trim_start_matches("Bearer ")
        .to_owned();
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let claims = signed.split_once('.').expect("claims").1;
    let claims: Json =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    assert_eq!([&claims["iss"], &claims["sub"]], [EMAIL, EMAIL]);
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, KEY.public_key().as_ref())
        .verify(
            signed.as_bytes(),
            &URL_SAFE_NO_PAD.decode(signature).expect("base64"),
        )
        .expect("signed with the key");
}

#[tokio::test]
async fn invalid_names_send_no_request() {
    let double = double([]).await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = [
        secret("a/../b"),
        version("a", "../latest"),
        metadata("a?b"),
        secret(""),
    ];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        ["fails: refused"; 4]
    );
    assert_eq!(paths(&double), [""; 0]);
}

#[tokio::test]
async fn failed_login_is_reported_before_the_first_read() {
    for (file, why) in [
        (None, "cannot be read"),
        (Some("{broken: hunter2-planted"), "not JSON"),
        (Some(r#"{"type": "unheard-of"}"#), "unknown type"),
        (Some(r#"{"type": "service_account"}"#), "incomplete"),
    ] {
        let mut job = job("http://127.0.0.1:1");
        let path = job.folder.path().join("other.json");
        if let Some(text) = file {
            std::fs::write(&path, text).expect("a file");
        }
        let path = path.to_str().expect("UTF-8").to_owned();
        job.ambient
            .environment
            .insert("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), path);
        let unread = connect(
            &store(&json!({})),
            Identity::Ambient(&job.ambient),
            &nowhere(),
        )
        .await
        .err()
        .expect("expected a failed login");
        assert_eq!(unread.why.reason, unread::LOGIN);
        assert!(unread.why.detail.contains(why), "{}", unread.why);
        assert!(unread.whole_store && !unread.why.detail.contains(PLANTED));
    }
}

/// Settings that need the operator's own Pod identity, or that contain their own URLs, are refused. No request is sent.
#[tokio::test]
async fn unsupported_store_settings_are_reported() {
    let key = StoreKey::Cluster {
        name: "gcp".to_owned(),
    };
    let resolver = Resolver::new(nowhere(), key, "default");
    let account = json!({"name": "reader"});
    for (auth, reason, named) in [
        (json!({}), unread::CONTROLLER_IDENTITY, "`auth`"),
        (
            json!({"workloadIdentity": {"serviceAccountRef": account, "clusterProjectID": "p"}}),
            unread::UNSUPPORTED,
            "`clusterLocation`",
        ),
        (
            json!({"workloadIdentityFederation": {"credConfig": {"name": "c", "key": "k"}}}),
            unread::UNSUPPORTED,
            "`auth.workloadIdentityFederation.credConfig`",
        ),
        (
            json!({"workloadIdentityFederation": {"audience": "a",
                "awsSecurityCredentials": {"region": "r", "awsCredentialsSecretRef": {"name": "s"}}}}),
            unread::UNSUPPORTED,
            "awsSecurityCredentials",
        ),
        (
            json!({"workloadIdentityFederation": {"serviceAccountRef": account}}),
            unread::UNSUPPORTED,
            "`audience`",
        ),
    ] {
        let unread = connect(
            &store(&json!({"auth": auth})),
            Identity::Store(&resolver),
            &nowhere(),
        )
        .await
        .err()
        .expect("expected a failed login");
        assert_eq!(unread.why.reason, reason);
        assert!(unread.why.detail.contains(named), "{}", unread.why);
        assert!(unread.whole_store);
    }
}

/// Values and keys from successful and failed answers, with all libraries at the finest log level.
#[tokio::test]
async fn values_and_keys_are_not_logged() {
    let google = Google::of([("db", Secret::of(PLANTED.as_bytes()))]);
    let double = Double::start(move |asked| {
        if asked.path.contains("/bad/") {
            return error(500, "UNKNOWN", PLANTED);
        }
        google.answer(asked)
    })
    .await;
    let log = logged(async {
        let provider = connected(&double.url, &json!({})).await;
        let wanted = [secret("db"), secret("bad"), find(None, Some("."), &[])];
        read(&*provider, &wanted, &limiter()).await;
    })
    .await;
    assert!(log.contains("TRACE"), "the log was not captured");
    let key = STANDARD.encode(KEY.as_der().expect("DER").as_ref());
    for planted in [PLANTED, &STANDARD.encode(PLANTED), &key[100..150]] {
        if let Some(line) = log.lines().find(|line| line.contains(planted)) {
            panic!("{line}");
        }
    }
}

#[tokio::test]
async fn hostile_error_reaches_no_output() {
    for status in [302, 400, 401, 403, 404, 429, 500, 503] {
        for body in [
            format!("<html><body>{PLANTED}</body></html>"),
            json!({"error": {"code": status, "message": PLANTED, "status": PLANTED}}).to_string(),
            json!({"error": {"code": status, "message": PLANTED, "status": "FAILED_PRECONDITION"}})
                .to_string(),
            PLANTED.to_owned(),
        ] {
            let double = at_first(usize::MAX, move |_| {
                Reply::Say(status, Vec::new(), body.clone())
                    .with("location", &format!("https://{PLANTED}@localhost/"))
                    .with("retry-after", "0")
            })
            .await;
            let (answer, _) = read_db(&double).await;
            assert!(!answer.contains(PLANTED), "{answer}");
        }
    }
}
