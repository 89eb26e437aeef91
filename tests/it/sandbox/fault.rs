//! Faults that tests inject.

use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use sandbox::Fault;
use serde_json::{Value, json};

use super::support::{
    ALL, TEAM_A, call, client, external_secret, get, is_answered, without_operator,
};

fn annotated(value: &str) -> Value {
    json!({"metadata": {"annotations": {"a": value}}})
}

#[tokio::test]
async fn throttled_responses_have_retry_after() {
    let sandbox = without_operator().await;
    sandbox.inject(Fault::throttled(3).verb("list").times(1));
    let request = Request::get(ALL).body(Vec::new().into()).unwrap();
    let response = client(&sandbox).send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "3");
    assert_eq!(
        get(&sandbox, ALL).await["kind"],
        "ExternalSecretList",
        "the fault occurs only once"
    );
}

#[tokio::test]
async fn faults_affect_only_matching_requests() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    sandbox.inject(
        Fault::status(500)
            .verb("patch")
            .path("*/team-a/externalsecrets/d*")
            .after(1)
            .times(2),
    );
    let path = format!("{TEAM_A}/db");
    let mut codes = Vec::new();
    for value in ["1", "2", "3", "4"] {
        codes.push(
            call(&sandbox, Method::PATCH, &path, annotated(value))
                .await
                .0,
        );
        assert_eq!(call(&sandbox, Method::GET, &path, Value::Null).await.0, 200);
    }
    assert_eq!(codes, [200, 500, 500, 200]);
    for (fault, code, reason) in [
        (Fault::status(409), 409, "Conflict"),
        (Fault::status(503), 503, "ServiceUnavailable"),
        (Fault::status(401), 401, "Unauthorized"),
    ] {
        sandbox.inject(fault.times(1));
        let (found, status) = call(&sandbox, Method::PATCH, &path, annotated("5")).await;
        assert_eq!((found, &status["reason"]), (code, &json!(reason)));
    }
}

#[tokio::test]
async fn drop_after_executes_the_request() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let path = format!("{TEAM_A}/db");
    let value = || {
        sandbox.get("externalsecrets", "team-a", "db").unwrap()["metadata"]["annotations"]["a"]
            .clone()
    };
    sandbox.inject(Fault::drop_before().verb("patch").times(1));
    assert!(!is_answered(&sandbox, Method::PATCH, &path, annotated("1")).await);
    assert_eq!(value(), Value::Null);
    sandbox.inject(Fault::drop_after().verb("patch").times(1));
    assert!(!is_answered(&sandbox, Method::PATCH, &path, annotated("2")).await);
    assert_eq!(value(), "2");
}

#[tokio::test]
async fn delays_combine_with_faults_until_cleared() {
    let sandbox = without_operator().await;
    let delay = Duration::from_millis(80);
    sandbox.inject(Fault::latency(delay).resource("externalsecrets"));
    sandbox.inject(Fault::status(503).resource("externalsecrets"));
    let start = Instant::now();
    assert_eq!(call(&sandbox, Method::GET, ALL, Value::Null).await.0, 503);
    assert!(start.elapsed() >= delay);
    sandbox.clear_faults();
    assert_eq!(call(&sandbox, Method::GET, ALL, Value::Null).await.0, 200);
}
