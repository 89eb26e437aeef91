//! Reads of Secrets Manager, and the number of calls.

use eso_model::budget::Limits;
use serde_json::{Value as Json, json};

use super::{
    arn, connected, entry, error, everything, ids, limiter, metadata, operation, operations, read,
    rotation, secret, version,
};
use crate::providers::double::{Asked, Double, Reply};

#[tokio::test]
async fn a_thousand_secrets_take_fifty_calls() {
    let double = Double::start(everything).await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted: Vec<_> = (0..1000).map(|n| secret(&format!("prod/{n}"))).collect();
    let limiter = limiter();
    let answers = read(&*provider, &wanted, &limiter).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, format!("value of prod/{n}"));
    }
    assert_eq!(limiter.calls(), 50);
    let asked = double.asked();
    assert_eq!(asked.len(), 50);
    assert!(asked.iter().all(|asked| ids(asked).len() == 20));
}

#[tokio::test]
async fn one_key_is_read_once_for_several_requests() {
    let double = Double::start(everything).await;
    let provider = connected(&double.url, &json!({"prefix": "prod/"})).await;
    let wanted = [secret("db"), version("db", "AWSCURRENT"), secret("db")];
    let answers = read(&*provider, &wanted, &limiter()).await;
    assert_eq!(answers, ["value of prod/db"; 3]);
    assert_eq!(
        operations(&double.asked()),
        ["GetSecretValue"],
        "a single key is not read with a batch"
    );
}

fn keys(of: &[&str]) -> Vec<String> {
    of.iter().map(|key| (*key).to_owned()).collect()
}

/// Only metadata is read, and what is denied is unknown.
#[tokio::test]
async fn rotations_are_read_from_metadata() {
    let double = Double::start(|asked| {
        let id = asked.json()["SecretId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let mut secret = json!({"Name": id, "ARN": arn(&id)});
        match &*id {
            "prod/denied" => return error(400, "AccessDeniedException", "no"),
            "prod/gone" => return error(400, "ResourceNotFoundException", "no"),
            "prod/daily" => {
                secret["RotationEnabled"] = json!(true);
                secret["RotationRules"] =
                    json!({"ScheduleExpression": "rate(1 day)", "AutomaticallyAfterDays": 1});
                secret["NextRotationDate"] = json!(1_800_000_000.5);
            }
            _ => {}
        }
        Reply::json(200, &secret)
    })
    .await;
    let provider = connected(&double.url, &json!({"prefix": "prod/"})).await;
    let limiter = limiter();
    let asked = keys(&["daily", "never", "denied", "gone", &"x".repeat(3000)]);
    let said = provider.rotations(&asked, &limiter).await.into_iter();
    let said: Vec<String> = said.map(rotation).collect();
    assert_eq!(
        said,
        [
            "every 86400 s, next 2027-01-15T08:00:00Z",
            "unscheduled",
            "denied (DescribeSecret: AccessDeniedException) [secretsmanager:DescribeSecret on arn:aws:secretsmanager:eu-west-1:*:secret:prod/denied-*]",
            "unreadable (DescribeSecret: ResourceNotFoundException)",
            "unreadable (the key is too long for AWS)",
        ]
    );
    assert_eq!(operations(&double.asked()), ["DescribeSecret"; 4]);
    assert_eq!(limiter.calls(), 4);
}

#[tokio::test]
async fn versions_are_ids_or_stages() {
    let double = Double::start(|asked| {
        let body = asked.json();
        Reply::json(
            200,
            &entry(
                "db",
                &format!("{} {}", body["VersionId"], body["VersionStage"]),
            ),
        )
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = [
        version("db", "uuid/0e1f"),
        version("db", "AWSPREVIOUS"),
        secret("db"),
    ];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        [
            "\"0e1f\" null",
            "null \"AWSPREVIOUS\"",
            "null \"AWSCURRENT\""
        ]
    );
}

#[tokio::test]
async fn bytes_empty_and_missing_values_are_distinguished() {
    let double = Double::start(|_| {
        let entries = json!([
            {"Name": "binary", "ARN": arn("binary"), "SecretBinary": "AP8K"},
            {"Name": "empty", "ARN": arn("empty"), "SecretString": ""},
            {"Name": "none", "ARN": arn("none")},
        ]);
        Reply::json(200, &json!({"SecretValues": entries, "Errors": []}))
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = ["binary", "empty", "none"].map(secret);
    let answers = provider.read(&wanted, &limiter()).await;
    let providers::Answered::One(eso_model::expected::Raw::Bytes(value), _) = &answers[0] else {
        panic!("{}", super::line(&answers[0]));
    };
    assert_eq!(value.expose(), [0, 255, 10]);
    assert_eq!(super::line(&answers[1]), "");
    assert_eq!(super::line(&answers[2]), "fails: no-value");
}

const OF_ANOTHER_ACCOUNT: &str =
    "arn:aws:secretsmanager:eu-west-1:210987654321:secret:theirs-AbCdEf";

/// A batch with several kinds of errors.
fn failing(asked: &Asked) -> Reply {
    if operation(asked) == "BatchGetSecretValue" {
        let errors: Vec<Json> = [
            ("gone", "ResourceNotFoundException"),
            ("mine", "AccessDeniedException"),
            ("sealed", "AccessDeniedException"),
            ("busy", "ThrottlingException"),
            (OF_ANOTHER_ACCOUNT, "ResourceNotFoundException"),
        ]
        .map(|(id, code)| json!({"SecretId": id, "ErrorCode": code, "Message": "no"}))
        .to_vec();
        let values = [entry("db", "here")];
        return Reply::json(200, &json!({"SecretValues": values, "Errors": errors}));
    }
    match asked.json()["SecretId"].as_str().unwrap_or_default() {
        "gone" => error(400, "ResourceNotFoundException", "can't find it"),
        "mine" => error(
            400,
            "AccessDeniedException",
            "User: arn:aws:iam::123456789012:user/job is not authorized",
        ),
        "sealed" => error(400, "AccessDeniedException", "Access to KMS is not allowed"),
        name => Reply::json(200, &entry(name, "there")),
    }
}

/// A secret without a value in the batch is read with the operator's own call: it may be in another account, or throttled.
#[tokio::test]
async fn secret_that_fails_in_a_batch_is_read_separately() {
    let double = Double::start(failing).await;
    let provider = connected(&double.url, &json!({})).await;
    let keys = [
        "db",
        "gone",
        "mine",
        "sealed",
        "busy",
        "forgotten",
        OF_ANOTHER_ACCOUNT,
    ];
    let answers = provider.read(&keys.map(secret), &limiter()).await;
    let denied = "denied (GetSecretValue: AccessDeniedException)";
    assert_eq!(
        answers.iter().map(super::line).collect::<Vec<_>>(),
        [
            "here",
            "not found",
            denied,
            denied,
            "there",
            "there",
            "there"
        ]
    );
    let permissions = [2, 3].map(|place: usize| {
        let providers::Answered::Unread(unread) = &answers[place] else {
            panic!("{}", super::line(&answers[place]));
        };
        unread.permission.clone().unwrap_or_default()
    });
    assert_eq!(
        permissions,
        [
            "secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:123456789012:secret:mine-*",
            "kms:Decrypt on the key of sealed"
        ]
    );
    assert_eq!(
        operations(&double.asked()).len(),
        1 + 6,
        "secrets that fail in the batch are read separately"
    );
}

/// Otherwise one denied secret of a tenant would cost everyone twenty times the calls.
#[tokio::test]
async fn denied_secrets_do_not_end_batch_reads() {
    let double = Double::start(|asked| {
        let is_denied = |id: &str| id.starts_with("denied");
        let one = asked.json()["SecretId"].as_str().is_some_and(is_denied);
        if one || ids(asked).iter().any(|id| is_denied(id)) {
            return error(400, "AccessDeniedException", "no");
        }
        everything(asked)
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let limiter = limiter();
    let denied = ["denied", "denied2"].map(secret);
    let answers = read(&*provider, &denied, &limiter).await;
    assert_eq!(
        answers,
        ["denied (GetSecretValue: AccessDeniedException)"; 2]
    );
    let before = limiter.calls();
    read(&*provider, &["a", "b", "c"].map(secret), &limiter).await;
    assert_eq!(limiter.calls() - before, 1);
}

#[tokio::test]
async fn overlong_key_is_refused_without_failing_the_batch() {
    let double = Double::start(everything).await;
    let provider = connected(&double.url, &json!({})).await;
    let long = "a".repeat(70_000);
    let wanted = [secret(&long), metadata(&long), secret("db")];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        ["fails: refused", "fails: refused", "value of db"]
    );
    assert_eq!(double.asked().len(), 1);
}

#[tokio::test]
async fn denied_batch_is_read_one_by_one() {
    let double = Double::start(|asked| match operation(asked).as_str() {
        "BatchGetSecretValue" => error(400, "AccessDeniedException", "no"),
        _ => everything(asked),
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let limiter = limiter();
    let wanted = ["a", "b", "c"].map(secret);
    let values = ["value of a", "value of b", "value of c"];
    assert_eq!(read(&*provider, &wanted, &limiter).await, values);
    assert_eq!(limiter.calls(), 1 + 3);
    assert_eq!(read(&*provider, &wanted, &limiter).await, values);
    assert_eq!(
        limiter.calls(),
        1 + 3 + 3,
        "the batch call is not tried again"
    );
}

#[tokio::test]
async fn invalid_key_does_not_fail_the_others() {
    let double = Double::start(|asked| {
        if ids(asked).iter().any(|id| id == "b d") || asked.json()["SecretId"] == "b d" {
            return error(400, "ValidationException", "Invalid name");
        }
        everything(asked)
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted = ["a", "b d", "c"].map(secret);
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        ["value of a", "fails: refused", "value of c"]
    );
}

#[tokio::test]
async fn metadata_are_tags() {
    let double = Double::start(|asked| match asked.json()["SecretId"].as_str() {
        Some("p/db") => Reply::json(
            200,
            &json!({"Name": "p/db", "Tags": [{"Key": "team", "Value": "a"}, {"Key": "env", "Value": "prod"}]}),
        ),
        _ => error(400, "ResourceNotFoundException", "none"),
    })
    .await;
    let provider = connected(&double.url, &json!({"prefix": "p/"})).await;
    let wanted = [metadata("db"), metadata("gone")];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        [r#"{"env":"prod","team":"a"}"#, "fails: not-found"]
    );
    assert_eq!(operations(&double.asked()), ["DescribeSecret"; 2]);
}

/// The bytes are counted while the answer arrives. It is not read again, because it would be too long again.
#[tokio::test]
async fn long_answer_is_cut_off_at_the_share_of_the_namespace() {
    let long = entry("db", &"x".repeat(64 << 20)).to_string();
    let double = Double::start(move |_| Reply::Say(200, Vec::new(), long.clone())).await;
    for service in ["SecretsManager", "ParameterStore"] {
        let provider = connected(&double.url, &json!({"service": service})).await;
        let budget = pace::bytes::Budget::of(1 << 20);
        let bounded = limiter().within(&budget.share("team-a"), Limits::default());
        let answers = read(&*provider, &[secret("db")], &bounded).await;
        assert!(answers[0].contains("too-much-data"), "{answers:?}");
        assert_eq!((bounded.calls(), budget.held()), (1, 0), "{service}");
    }
}
