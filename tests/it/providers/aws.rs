//! Tests of AWS: errors against a double of its protocol, and normal behaviour against moto.

mod credentials;
mod eks;
mod faults;
pub(crate) mod moto;
mod parameters;
mod search;
mod secrets;

use std::collections::BTreeMap;

use eso_model::{
    StoreKey,
    expected::{Failure, Raw, What},
};
use providers::{
    Ambient, Answered, Identity, Provider, RateLimiter, StoreSettings, Unread, connect,
};
use serde_json::{Value as Json, json};

use super::{
    double::{Asked, Reply},
    support::{find, limiter, metadata, nowhere, rotation, secret, version},
};

/// A secret value that must not appear anywhere.
const PLANTED: &str = "hunter2-planted";

fn store(more: &Json) -> StoreSettings {
    let mut settings = json!({"service": "SecretsManager", "region": "eu-west-1"});
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    StoreSettings::new(
        StoreKey::Cluster {
            name: "aws".to_owned(),
        },
        "aws",
        settings,
    )
}

fn ambient(url: &str) -> Ambient {
    Ambient {
        environment: BTreeMap::from(
            [
                ("AWS_ENDPOINT_URL", url),
                ("AWS_ACCESS_KEY_ID", "job"),
                ("AWS_SECRET_ACCESS_KEY", PLANTED),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
        ..Ambient::default()
    }
}

async fn try_connect(url: &str, more: &Json) -> Result<Box<dyn Provider>, Unread> {
    connect(&store(more), Identity::Ambient(&ambient(url)), &nowhere()).await
}

async fn connected(url: &str, more: &Json) -> Box<dyn Provider> {
    match try_connect(url, more).await {
        Ok(provider) => provider,
        Err(unread) => panic!("{unread:?}"),
    }
}

fn bytes(raw: &Raw) -> String {
    let text = |value: &secret::Value| String::from_utf8_lossy(value.expose()).into_owned();
    match raw {
        Raw::Bytes(value) => text(value),
        Raw::Tags(tags) => {
            let tags: BTreeMap<&String, String> =
                tags.iter().map(|(key, value)| (key, text(value))).collect();
            json!(tags).to_string()
        }
        Raw::Json(_) | Raw::Keys(_) | Raw::Metadata { .. } => panic!("AWS returns no such value"),
    }
}

/// An answer as one line.
fn line(answer: &Answered) -> String {
    match answer {
        Answered::One(raw, _) => bytes(raw),
        Answered::Many(found) => found
            .iter()
            .map(|(name, raw)| format!("{name}={}", bytes(raw)))
            .collect::<Vec<_>>()
            .join(" "),
        Answered::NotFound => "not found".to_owned(),
        Answered::Fails(failure) => format!("fails: {}", Failure::into_str(failure)),
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

/// The operation name, for example `BatchGetSecretValue` of `secretsmanager.BatchGetSecretValue`.
fn operation(asked: &Asked) -> String {
    let target = asked.header("x-amz-target");
    match target.split_once('.') {
        Some((_, operation)) => operation.to_owned(),
        None => asked.field("Action"),
    }
}

fn operations(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(operation).collect()
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"__type": code, "message": message}))
}

fn entry(name: &str, value: &str) -> Json {
    json!({"Name": name, "ARN": arn(name), "SecretString": value, "VersionId": "v", "CreatedDate": 1.5e9})
}

fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}-AbCdEf")
}

fn ids(asked: &Asked) -> Vec<String> {
    asked.json()["SecretIdList"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect()
}

/// Answers every read with `value of NAME`.
fn everything(asked: &Asked) -> Reply {
    let id = asked.json()["SecretId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    match operation(asked).as_str() {
        "BatchGetSecretValue" => {
            let values: Vec<Json> = ids(asked)
                .iter()
                .map(|id| entry(id, &format!("value of {id}")))
                .collect();
            Reply::json(200, &json!({"SecretValues": values, "Errors": []}))
        }
        "GetSecretValue" => Reply::json(200, &entry(&id, &format!("value of {id}"))),
        "AssumeRole" => assumed(asked, "AKIAROLE"),
        other => panic!("{other}"),
    }
}

/// The answer of STS. The access key shows which role was assumed.
fn assumed(asked: &Asked, key: &str) -> Reply {
    let action = operation(asked);
    Reply::Say(
        200,
        vec![("content-type", "text/xml".to_owned())],
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
             <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{PLANTED}</SecretAccessKey><SessionToken>{PLANTED}</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></{action}Result></{action}Response>"
        ),
    )
}

/// An error answer of STS.
fn sts_error(code: &str) -> Reply {
    Reply::Say(
        403,
        vec![("content-type", "text/xml".to_owned())],
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>{PLANTED}</Message></Error></ErrorResponse>"
        ),
    )
}

/// The access key that signed the request.
fn signed_by(asked: &Asked) -> String {
    let header = asked.header("authorization");
    let credential = header.split("Credential=").nth(1).unwrap_or_default();
    credential.split('/').next().unwrap_or_default().to_owned()
}
