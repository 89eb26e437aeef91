//! What is read of Secrets Manager, and with how many calls.

use serde_json::json;

use super::{
    arn, connected, entry, error, everything, ids, metadata, operation, operations, read, secret,
    turns, version,
};
use crate::providers::double::{Double, Reply};

#[tokio::test]
async fn a_thousand_secrets_take_fifty_calls() {
    let double = Double::start(everything).await;
    let provider = connected(&double.url, &json!({})).await;
    let wanted: Vec<_> = (0..1000).map(|n| secret(&format!("prod/{n}"))).collect();
    let turns = turns();
    let answers = read(&*provider, &wanted, &turns).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, format!("value of prod/{n}"));
    }
    assert_eq!(turns.calls(), 50);
    let asked = double.asked();
    assert_eq!(asked.len(), 50);
    assert!(asked.iter().all(|asked| ids(asked).len() == 20));
}

#[tokio::test]
async fn one_key_is_one_read_whatever_it_is_asked_for() {
    let double = Double::start(everything).await;
    let provider = connected(&double.url, &json!({"prefix": "prod/"})).await;
    let wanted = [secret("db"), version("db", "AWSCURRENT"), secret("db")];
    let answers = read(&*provider, &wanted, &turns()).await;
    assert_eq!(answers, ["value of prod/db"; 3]);
    assert_eq!(
        operations(&double.asked()),
        ["GetSecretValue"],
        "one key is no batch"
    );
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
        read(&*provider, &wanted, &turns()).await,
        [
            "\"0e1f\" null",
            "null \"AWSPREVIOUS\"",
            "null \"AWSCURRENT\""
        ]
    );
}

#[tokio::test]
async fn bytes_and_the_lack_of_a_value_are_told_apart() {
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
    let answers = provider.read(&wanted, &turns()).await;
    let eso_sync::provider::Answered::One(eso_sync::eso::expected::Raw::Bytes(value)) = &answers[0]
    else {
        panic!("{}", super::line(&answers[0]));
    };
    assert_eq!(value.expose(), [0, 255, 10]);
    assert_eq!(super::line(&answers[1]), "");
    assert_eq!(super::line(&answers[2]), "fails: no-value");
}

#[tokio::test]
async fn a_failure_of_one_secret_is_its_own() {
    let double = Double::start(|asked| match operation(asked).as_str() {
        "BatchGetSecretValue" => {
            let errors = json!([
                {"SecretId": "gone", "ErrorCode": "ResourceNotFoundException", "Message": "can't find it"},
                {"SecretId": "mine", "ErrorCode": "AccessDeniedException",
                    "Message": "User: arn:aws:iam::123456789012:user/job is not authorized"},
                {"SecretId": "deleted", "ErrorCode": "InvalidRequestException", "Message": "it was marked for deletion"},
                {"SecretId": "sealed", "ErrorCode": "AccessDeniedException", "Message": "Access to KMS is not allowed"},
            ]);
            Reply::json(200, &json!({"SecretValues": [entry("db", "here")], "Errors": errors}))
        }
        "GetSecretValue" => Reply::json(200, &entry("forgotten", "there")),
        other => panic!("{other}"),
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let keys = ["db", "gone", "mine", "deleted", "sealed", "forgotten"];
    let answers = provider.read(&keys.map(secret), &turns()).await;
    assert_eq!(
        answers.iter().map(super::line).collect::<Vec<_>>(),
        [
            "here",
            "not found",
            "denied (GetSecretValue: AccessDeniedException)",
            "fails: not-found",
            "denied (GetSecretValue: AccessDeniedException)",
            "there",
        ]
    );
    let permissions = [2, 4].map(|place: usize| {
        let eso_sync::provider::Answered::Unread(unread) = &answers[place] else {
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
        operations(&double.asked()),
        ["BatchGetSecretValue", "GetSecretValue"],
        "what the batch said nothing about is read by itself"
    );
}

#[tokio::test]
async fn without_the_batch_right_they_are_read_one_by_one() {
    let double = Double::start(|asked| match operation(asked).as_str() {
        "BatchGetSecretValue" => error(400, "AccessDeniedException", "no"),
        _ => everything(asked),
    })
    .await;
    let provider = connected(&double.url, &json!({})).await;
    let turns = turns();
    let wanted = ["a", "b", "c"].map(secret);
    let values = ["value of a", "value of b", "value of c"];
    assert_eq!(read(&*provider, &wanted, &turns).await, values);
    assert_eq!(turns.calls(), 1 + 3);
    assert_eq!(read(&*provider, &wanted, &turns).await, values);
    assert_eq!(turns.calls(), 1 + 3 + 3, "it is not asked for again");
}

#[tokio::test]
async fn a_key_that_is_none_does_not_spoil_the_others() {
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
        read(&*provider, &wanted, &turns()).await,
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
        read(&*provider, &wanted, &turns()).await,
        [r#"{"env":"prod","team":"a"}"#, "fails: not-found"]
    );
    assert_eq!(operations(&double.asked()), ["DescribeSecret"; 2]);
}
