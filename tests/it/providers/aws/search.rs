//! `find` in Secrets Manager.

use serde_json::{Value as Json, json};

use super::{arn, connected, entry, error, find, ids, limiter, operation, operations, read};
use crate::providers::double::{Asked, Double, Reply};

const NAMES: [&str; 4] = ["prod/api", "prod/db", "test/db", "prod/db/replica"];

fn filtered(asked: &Asked) -> Vec<&'static str> {
    let body = asked.json();
    let path = body["Filters"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|filter| filter["Key"] == "name")
        .and_then(|filter| filter["Values"][0].as_str())
        .unwrap_or_default()
        .to_owned();
    NAMES
        .into_iter()
        .filter(|name| name.starts_with(&path))
        .collect()
}

/// Two entries per page.
fn page(asked: &Asked) -> (Vec<&'static str>, Option<String>) {
    let names = filtered(asked);
    let start = asked.json()["NextToken"]
        .as_str()
        .map_or(0, |token| token.parse().expect("our token"));
    let next = (start + 2 < names.len()).then(|| (start + 2).to_string());
    (names.into_iter().skip(start).take(2).collect(), next)
}

fn pages(asked: &Asked) -> Reply {
    match operation(asked).as_str() {
        "BatchGetSecretValue" if !ids(asked).is_empty() => super::everything(asked),
        "BatchGetSecretValue" => {
            let (names, next) = page(asked);
            let values: Vec<Json> = names
                .iter()
                .map(|name| entry(name, &format!("value of {name}")))
                .collect();
            Reply::json(
                200,
                &json!({"SecretValues": values, "Errors": [], "NextToken": next}),
            )
        }
        "ListSecrets" => {
            let (names, next) = page(asked);
            let list: Vec<Json> = names.iter().map(|name| json!({"Name": name})).collect();
            Reply::json(200, &json!({"SecretList": list, "NextToken": next}))
        }
        _ => super::everything(asked),
    }
}

#[tokio::test]
async fn search_below_a_path_reads_values_page_by_page() {
    let double = Double::start(pages).await;
    let provider = connected(&double.url, &json!({"prefix": "ignored/"})).await;
    let limiter = limiter();
    let wanted = [find(Some("prod/"), Some("db"), &[])];
    let found = read(&*provider, &wanted, &limiter).await;
    // The page may contain names that do not match. A later computation filters them.
    assert_eq!(
        found,
        [
            "prod/api=value of prod/api prod/db=value of prod/db prod/db/replica=value of prod/db/replica"
        ]
    );
    assert_eq!(operations(&double.asked()), ["BatchGetSecretValue"; 2]);
    assert_eq!(limiter.calls(), 2);
}

/// The operator adds the store's prefix to the names that it found.
#[tokio::test]
async fn search_without_a_path_lists_names_and_reads_matches() {
    let double = Double::start(pages).await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = [find(None, Some("/db$"), &[])];
    let limiter = limiter();
    assert_eq!(
        read(&*provider, &wanted, &limiter).await,
        ["prod/db=value of prod/db test/db=value of test/db"]
    );
    let asked = double.asked();
    assert_eq!(
        operations(&asked),
        ["ListSecrets", "ListSecrets", "BatchGetSecretValue"]
    );
    assert_eq!(ids(&asked[2]), ["prod/db", "test/db"]);

    let provider = connected(&double.url, &json!({"prefix": "x/"})).await;
    assert_eq!(
        read(&*provider, &wanted, &limiter).await,
        ["prod/db=value of x/prod/db test/db=value of x/test/db"]
    );
}

#[tokio::test]
async fn missing_secret_ends_a_search_with_a_prefix() {
    let double = Double::start(|asked| match operation(asked).as_str() {
        "ListSecrets" => pages(asked),
        _ => error(400, "ResourceNotFoundException", "none"),
    })
    .await;
    let provider = connected(&double.url, &json!({"prefix": "x/"})).await;
    let wanted = [find(None, Some("^prod/api$"), &[])];
    assert_eq!(read(&*provider, &wanted, &limiter()).await, ["not found"]);
}

#[tokio::test]
async fn tags_are_filters() {
    let double = Double::start(pages).await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = [find(Some("test/"), None, &[("team", "a"), ("env", "prod")])];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        ["test/db=value of test/db"]
    );
    assert_eq!(
        double.asked()[0].json()["Filters"],
        json!([
            {"Key": "tag-key", "Values": ["env"]}, {"Key": "tag-value", "Values": ["prod"]},
            {"Key": "tag-key", "Values": ["team"]}, {"Key": "tag-value", "Values": ["a"]},
            {"Key": "name", "Values": ["test/"]},
        ])
    );
}

#[tokio::test]
async fn denied_batch_search_lists_names() {
    let double = Double::start(|asked| match operation(asked).as_str() {
        "BatchGetSecretValue" => error(400, "AccessDeniedException", "no"),
        _ => pages(asked),
    })
    .await;
    let provider = connected(&double.url, &json!({"prefix": "ignored/"})).await;
    let wanted = [find(Some("prod/"), Some("db$"), &[])];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        ["prod/db=value of prod/db"]
    );
    assert_eq!(
        operations(&double.asked()),
        [
            "BatchGetSecretValue",
            "ListSecrets",
            "ListSecrets",
            "GetSecretValue"
        ]
    );
}

/// The operator would omit it, but it exists.
#[tokio::test]
async fn throttled_secret_of_a_page_is_read_separately() {
    let double = Double::start(|asked| match operation(asked).as_str() {
        "BatchGetSecretValue" => {
            let errors =
                json!([{"SecretId": arn("a/db2"), "ErrorCode": "ThrottlingException", "Message": "no"}]);
            let values = json!([entry("a/db", "x")]);
            Reply::json(200, &json!({"SecretValues": values, "Errors": errors}))
        }
        _ => Reply::json(200, &entry("a/db2", "y")),
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = [find(Some("a/"), Some("db"), &[])];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        ["a/db=x a/db2=y"]
    );
}

/// A page may contain errors of single secrets. The operator omits these secrets silently; here the result is unknown.
#[tokio::test]
async fn unreadable_match_makes_the_search_unknown() {
    let answer = |code: &'static str, id: &'static str| {
        Double::start(move |_| {
            let errors = json!([{"SecretId": id, "ErrorCode": code, "Message": "no"}]);
            Reply::json(
                200,
                &json!({"SecretValues": [entry("a/db", "x")], "Errors": errors}),
            )
        })
    };
    let wanted = [find(Some("a/"), Some("db"), &[])];
    let of = async |code, id| {
        let double = answer(code, id).await;
        let provider = connected(&double.url, &json!({})).await;
        read(&*provider, &wanted, &limiter()).await.remove(0)
    };
    assert_eq!(
        of("AccessDeniedException", "a/db2").await,
        "denied (GetSecretValue: AccessDeniedException)"
    );
    assert_eq!(
        of("AccessDeniedException", "a/other").await,
        "a/db=x",
        "the name does not match"
    );
    assert_eq!(
        of("ResourceNotFoundException", "a/db2").await,
        "a/db=x",
        "it has no value, and the operator omits it too"
    );
}

#[tokio::test]
async fn denied_search_names_the_permission() {
    let double = Double::start(|_| error(400, "AccessDeniedException", "no")).await;
    let provider = connected(&double.url, &json!({})).await;
    let answers = provider
        .read(&[find(None, Some("db"), &[])], &limiter())
        .await;
    let providers::Answered::Unread(unread) = &answers[0] else {
        panic!("{}", super::line(&answers[0]));
    };
    assert_eq!(
        unread.permission.as_deref(),
        Some("secretsmanager:ListSecrets on *")
    );
}

#[tokio::test]
async fn unsupported_searches_are_reported() {
    let double = Double::start(pages).await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = [
        find(None, Some("db"), &[("team", "a")]),
        find(None, None, &[]),
        find(None, Some("("), &[]),
    ];
    let answers = read(&*provider, &wanted, &limiter()).await;
    assert!(answers[0].starts_with("spec ("), "{}", answers[0]);
    assert_eq!(answers[1], "fails: refused");
    assert!(answers[2].starts_with("regexp ("), "{}", answers[2]);
    assert_eq!(operations(&double.asked()), [""; 0]);
}
