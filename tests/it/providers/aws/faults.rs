//! Throttling, server errors, broken connections, and errors that contain values.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use serde_json::json;

use super::{
    PLANTED, assumed, connected, entry, error, everything, find, limiter, operation, operations,
    read, secret,
};
use crate::providers::double::{Asked, Double, Reply, logged};

/// A double whose first answers are replaced.
async fn at_first(times: usize, other: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Double {
    let count = AtomicUsize::new(0);
    Double::start(move |asked| {
        if count.fetch_add(1, Ordering::Relaxed) < times {
            other(asked)
        } else {
            everything(asked)
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
async fn throttling_honours_retry_after() {
    let double = at_first(1, |_| {
        error(400, "ThrottlingException", "Rate exceeded").with("retry-after", "1")
    })
    .await;
    let start = Instant::now();
    assert_eq!(read_db(&double).await, ("value of db".to_owned(), 2));
    assert!(start.elapsed().as_millis() >= 1000, "{:?}", start.elapsed());
}

#[tokio::test]
async fn endless_throttling_is_reported() {
    let double = at_first(usize::MAX, |_| {
        error(429, "TooManyRequestsException", PLANTED).with("retry-after", "0")
    })
    .await;
    let (answer, calls) = read_db(&double).await;
    assert_eq!(
        answer,
        "throttled (GetSecretValue: TooManyRequestsException)"
    );
    assert_eq!(calls, 8);
    assert_eq!(
        double.asked().len(),
        8,
        "each attempt is counted, and there are no others"
    );
}

#[tokio::test]
async fn transient_failure_is_retried() {
    let double = at_first(2, |_| error(500, "InternalServiceError", PLANTED)).await;
    assert_eq!(read_db(&double).await, ("value of db".to_owned(), 3));
}

#[tokio::test]
async fn closed_connection_is_retried() {
    let double = at_first(1, |_| Reply::CloseConnection).await;
    assert_eq!(read_db(&double).await, ("value of db".to_owned(), 2));
}

/// The status is 200, but the body is incomplete.
#[tokio::test]
async fn incomplete_answer_is_retried() {
    let double = at_first(1, |_| Reply::CutAnswer).await;
    assert_eq!(read_db(&double).await, ("value of db".to_owned(), 2));
    let double = at_first(usize::MAX, |_| Reply::CutAnswer).await;
    assert_eq!(
        read_db(&double).await,
        (
            "unavailable (GetSecretValue: the answer broke off)".to_owned(),
            4
        )
    );
}

/// The call is not retried before the time in `retry-after`.
#[tokio::test]
async fn server_error_honours_retry_after() {
    let double = at_first(1, |_| {
        error(503, "ServiceUnavailable", PLANTED).with("retry-after", "1")
    })
    .await;
    let start = Instant::now();
    assert_eq!(read_db(&double).await, ("value of db".to_owned(), 2));
    assert!(start.elapsed().as_millis() >= 1000, "{:?}", start.elapsed());
}

/// The answer comes from a proxy: its page is not JSON and has no error code.
#[tokio::test]
async fn gateway_error_honours_retry_after() {
    for service in ["SecretsManager", "ParameterStore"] {
        let times = AtomicUsize::new(0);
        let double = Double::start(move |asked| {
            if times.fetch_add(1, Ordering::Relaxed) == 0 {
                return Reply::Say(503, Vec::new(), "<html>".to_owned()).with("retry-after", "1");
            }
            match operation(asked).as_str() {
                "GetParameter" => {
                    Reply::json(200, &json!({"Parameter": {"Name": "db", "Value": "there"}}))
                }
                _ => Reply::json(200, &entry("db", "there")),
            }
        })
        .await;
        let provider = connected(&double.url, &json!({"service": service})).await;
        let start = Instant::now();
        let answers = read(&*provider, &[secret("db")], &limiter()).await;
        assert_eq!(answers, ["there"], "{service}");
        assert!(start.elapsed().as_millis() >= 1000, "{service}");
    }
}

#[tokio::test]
async fn lasting_failure_is_reported() {
    let double = at_first(usize::MAX, |_| error(503, "ServiceUnavailable", PLANTED)).await;
    assert_eq!(
        read_db(&double).await,
        (
            "unavailable (GetSecretValue: ServiceUnavailable)".to_owned(),
            4
        )
    );
}

#[tokio::test]
async fn unreachable_server_is_reported() {
    let url = Double::start(everything).await.url.clone();
    let provider = connected(&url, &json!({})).await;
    assert_eq!(
        read(&*provider, &[secret("db")], &limiter()).await,
        ["unavailable (GetSecretValue: connection refused) (store)"]
    );
}

/// A proxy's page in place of an answer.
#[tokio::test]
async fn invalid_answer_is_unreadable() {
    let double = at_first(usize::MAX, |_| {
        Reply::Say(200, Vec::new(), format!("<html>{PLANTED}"))
    })
    .await;
    assert_eq!(
        read_db(&double).await,
        ("unreadable (GetSecretValue: HTTP 200)".to_owned(), 1)
    );
}

#[tokio::test]
async fn batch_with_unknown_error_is_read_one_by_one() {
    let double = Double::start(|_| error(400, "SomethingNew", PLANTED)).await;
    let provider = connected(&double.url, &json!({})).await;
    assert_eq!(
        read(&*provider, &["a", "b"].map(secret), &limiter()).await,
        ["unreadable (GetSecretValue: SomethingNew)"; 2]
    );
    assert_eq!(
        operations(&double.asked()),
        ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"]
    );
}

/// Values, keys and tokens from successful and failed answers, with all libraries at the finest log level.
#[tokio::test]
async fn values_and_keys_are_not_logged() {
    let double = Double::start(|asked| {
        let parameter = json!({"Name": "/db", "Value": PLANTED, "Type": "SecureString"});
        match operation(asked).as_str() {
            "AssumeRole" => assumed(asked, "KEY"),
            "BatchGetSecretValue" => {
                let errors = json!([{"SecretId": "api", "ErrorCode": "DecryptionFailure", "Message": PLANTED}]);
                Reply::json(200, &json!({"SecretValues": [entry("db", PLANTED)], "Errors": errors}))
            }
            "GetParameters" | "GetParametersByPath" => {
                Reply::json(200, &json!({"Parameters": [parameter]}))
            }
            "GetParameter" => Reply::json(200, &json!({"Parameter": parameter})),
            _ if asked.json()["SecretId"] == "good" => Reply::json(200, &entry("good", PLANTED)),
            _ => error(400, "SomethingNew", PLANTED),
        }
    })
    .await;
    let log = logged(async {
        let role = "arn:aws:iam::123456789012:role/reader";
        for service in ["SecretsManager", "ParameterStore"] {
            let provider = connected(&double.url, &json!({"service": service, "role": role})).await;
            let wanted = [secret("db"), secret("api"), find(Some("/"), Some("."), &[])];
            read(&*provider, &wanted, &limiter()).await;
            for one in ["good", "bad"] {
                read(&*provider, &[secret(one)], &limiter()).await;
            }
        }
    })
    .await;
    assert!(log.contains("TRACE"), "the log was not captured");
    if let Some(line) = log.lines().find(|line| line.contains(PLANTED)) {
        panic!("{line}");
    }
}

#[tokio::test]
async fn hostile_error_reaches_no_output() {
    let code = format!("Token{PLANTED}");
    let bodies = [
        format!("<html><body>{PLANTED}</body></html>"),
        json!({"__type": code, "message": PLANTED}).to_string(),
        json!({"__type": "AccessDeniedException", "message": format!("User: arn:aws:sts::123456789012:{PLANTED} is not authorized")}).to_string(),
        json!({"__type": "InvalidRequestException", "message": PLANTED}).to_string(),
        PLANTED.to_owned(),
    ];
    // In the log too, with all libraries.
    let log = logged(async {
        for status in [302, 400, 401, 403, 404, 429, 500, 503] {
            for body in &bodies {
                let body = body.clone();
                let double = Double::start(move |_| {
                    Reply::Say(status, Vec::new(), body.clone())
                        .with("location", &format!("https://{PLANTED}@localhost/"))
                        .with("retry-after", "0")
                })
                .await;
                let provider = connected(&double.url, &json!({})).await;
                let answers = read(
                    &*provider,
                    &[secret("db"), find(None, Some("db"), &[])],
                    &limiter(),
                )
                .await;
                assert!(!format!("{answers:?}").contains(PLANTED), "{answers:?}");
            }
        }
    })
    .await;
    assert_eq!(log.lines().find(|line| line.contains(PLANTED)), None);
}
