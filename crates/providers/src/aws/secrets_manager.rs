//! AWS Secrets Manager.

use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    config::{Builder, retry::RetryConfig},
    primitives::Blob,
    types::{ApiErrorType, SecretValueEntry},
};
use eso_model::{
    expected::{Failure, Raw, What},
    rotation::Rotation,
    version::ReadVersion,
};
use futures::FutureExt as _;
use secret::Value;

use super::{
    batch::{self, Assigned, Batch},
    bounded::Bounded,
    error::{AwsError, Kind},
    fits,
    login::Login,
    read_version,
    service::{Aws, Names},
};
use crate::{
    Answered, Provider, RateLimiter, Unread,
    distinct::Distinct,
    engine::{self, Engine, ErrorClass, Request, in_flight, in_order},
};

mod rotation;
mod search;
mod write;

pub(super) use self::write::Publisher;

const NAMES: Names = Names {
    permission: "secretsmanager",
    endpoint: "SECRETS_MANAGER",
};

/// The version stage that is read by default.
const CURRENT: &str = "AWSCURRENT";

/// A Secrets Manager connection.
pub(super) struct SecretsManager {
    engine: Engine<Aws<Client>>,
    prefix: String,
    /// True if `BatchGetSecretValue` is denied and each secret is read with its own call.
    batch_denied: AtomicBool,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    /// The newest version of a secret, by its name or ARN.
    Newest(String),
    /// A specific version of a secret.
    Version(String, String),
    /// The tags of a secret.
    Tags(String),
    Find(What),
}

impl SecretsManager {
    pub(super) async fn connect(login: Login, prefix: String) -> Result<Self, Unread> {
        Ok(Self {
            engine: Engine::connected(Aws::new(login, &NAMES, client)).await?,
            prefix,
            batch_denied: AtomicBool::new(false),
        })
    }

    fn ask(&self, what: &What) -> Ask {
        match what {
            What::Find { .. } => Ask::Find(what.clone()),
            What::Secret {
                key,
                version,
                metadata,
            } => {
                let key = format!("{}{key}", self.prefix);
                match version.as_str() {
                    _ if *metadata => Ask::Tags(key),
                    "" | CURRENT => Ask::Newest(key),
                    version => Ask::Version(key, version.to_owned()),
                }
            }
        }
    }

    /// Reads one version of one secret: `uuid/…` is a version id, anything else a stage.
    async fn version(&self, key: &str, version: &str, limiter: &RateLimiter) -> Answered {
        let request = Request::read("GetSecretValue", Some(key));
        let answer = self
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client.get_secret_value().secret_id(key);
                let call = match version.strip_prefix("uuid/") {
                    Some(id) => call.version_id(id),
                    None => call.version_stage(version),
                };
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        match answer {
            Ok(answer) => {
                let version =
                    read_version(answer.arn, answer.version_id, answer.created_date.as_ref());
                value(answer.secret_string, answer.secret_binary, version)
            }
            Err(failure) => self.answered(failure, &request),
        }
    }

    /// The operator's result for a failed call.
    fn answered(&self, failure: engine::Failure<AwsError>, request: &Request<'_>) -> Answered {
        failure.answered(|error| error.answer(&self.engine.service().needed(request)))
    }

    async fn tags(&self, key: &str, limiter: &RateLimiter) -> Answered {
        let request = Request::read("DescribeSecret", Some(key));
        match self.described(key, &request, limiter).await {
            Ok(answer) => {
                let tags = answer.tags.unwrap_or_default().into_iter();
                let tags =
                    tags.filter_map(|tag| Some((tag.key?, Value::new(tag.value?.into_bytes()))));
                Answered::One(Raw::Tags(tags.collect()), None)
            }
            Err(failure) => self.answered(failure, &request),
        }
    }

    async fn other(&self, ask: Ask, limiter: &RateLimiter) -> (Ask, Answered) {
        let answer = match &ask {
            Ask::Newest(key) => self.version(key, CURRENT, limiter).await,
            Ask::Version(key, version) => self.version(key, version, limiter).await,
            Ask::Tags(key) => self.tags(key, limiter).await,
            Ask::Find(what) => self.find(what, limiter).await,
        };
        (ask, answer)
    }
}

#[async_trait]
impl Provider for SecretsManager {
    async fn read(&self, wanted: &[What], limiter: &RateLimiter) -> Vec<Answered> {
        let distinct = Distinct::of(wanted.iter().map(|what| self.ask(what)));
        let mut newest = Vec::new();
        let mut others = Vec::new();
        let mut answers = Vec::new();
        for ask in distinct.asks() {
            match ask {
                Ask::Newest(key) | Ask::Version(key, _) | Ask::Tags(key) if !fits(key) => {
                    answers.push((ask.clone(), Answered::Fails(Failure::Refused)));
                }
                Ask::Newest(key) => newest.push(key.clone()),
                Ask::Version(..) | Ask::Tags(_) | Ask::Find(_) => others.push(ask.clone()),
            }
        }
        let newest = batch::all(self, newest, limiter).await.into_iter();
        answers.extend(newest.map(|(key, answer)| (Ask::Newest(key), answer)));
        let others = others
            .into_iter()
            .map(|ask| self.other(ask, limiter).boxed());
        answers.extend(in_flight(others.collect()).await);
        distinct.fan_out(answers)
    }

    fn batch(&self) -> usize {
        <Self as Batch>::SIZE
    }

    async fn rotations(
        &self,
        keys: &[String],
        limiter: &RateLimiter,
    ) -> Vec<Result<Rotation, Unread>> {
        let asked = keys.iter().map(|key| {
            let key = format!("{}{key}", self.prefix);
            self.rotation(key, limiter).boxed()
        });
        in_order(asked.collect()).await
    }
}

#[async_trait]
impl Batch for SecretsManager {
    const SIZE: usize = 20;

    const DENIED: &'static str = "AWS denies secretsmanager:BatchGetSecretValue on *: each secret needs a separate call, instead of one call for twenty";

    fn batch_denied(&self) -> &AtomicBool {
        &self.batch_denied
    }

    async fn several(
        &self,
        keys: &[String],
        limiter: &RateLimiter,
    ) -> Result<Assigned, engine::Failure<AwsError>> {
        // Failures are counted by the batch's first key, which differs between batches.
        let request = Request::read("BatchGetSecretValue", keys.first().map(String::as_str));
        let answer = self
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .batch_get_secret_value()
                    .set_secret_id_list(Some(keys.to_vec()));
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await?;
        if answer.errors.iter().flatten().any(is_throttled) {
            limiter.throttled(None);
        }
        Ok(assign(
            keys.to_vec(),
            answer.secret_values.unwrap_or_default(),
        ))
    }

    async fn single(&self, key: &str, limiter: &RateLimiter) -> Answered {
        self.version(key, CURRENT, limiter).await
    }

    fn unread(&self, failure: engine::Failure<AwsError>) -> Unread {
        self.engine
            .unread(failure, &Request::read("BatchGetSecretValue", None))
    }
}

fn client(config: &SdkConfig, endpoint: Option<&str>) -> Client {
    let mut builder = Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .interceptor(Bounded);
    if let Some(url) = endpoint {
        builder = builder.endpoint_url(url);
    }
    Client::from_conf(builder.build())
}

/// The value of a secret, as text or bytes.
fn value(text: Option<String>, bytes: Option<Blob>, version: Option<Box<ReadVersion>>) -> Answered {
    let bytes = text
        .map(String::into_bytes)
        .or_else(|| bytes.map(Blob::into_inner));
    match bytes {
        Some(bytes) => Answered::One(Raw::Bytes(Value::new(bytes)), version),
        None => Answered::Fails(Failure::NoValue),
    }
}

/// True if the key refers to this secret. The key may be a name, an ARN, or an ARN without its random suffix.
fn matches_key(key: &str, arn: Option<&str>, name: Option<&str>) -> bool {
    if name == Some(key) || arn == Some(key) {
        return true;
    }
    let (Some(arn), Some(name)) = (arn, name) else {
        return false;
    };
    // The suffix is a dash and six characters. The name decides, because a name may end like such a suffix.
    arn.len()
        .checked_sub(7)
        .and_then(|end| arn.get(..end))
        .is_some_and(|short| short == key && short.ends_with(&format!(":secret:{name}")))
}

fn is_throttled(error: &ApiErrorType) -> bool {
    let error = AwsError::said(error.error_code.as_deref(), None, None);
    matches!(error.kind, Kind::Call(ErrorClass::Throttled(_)))
}

/// True unless the answer says that it is another version. A batch names no version, and shortly after a change it may answer with
/// the one before.
fn is_current(entry: &SecretValueEntry) -> bool {
    let stages = entry.version_stages();
    stages.is_empty() || stages.iter().any(|stage| stage == CURRENT)
}

/// Matches the values of a batch to the requested keys. Returns the keys without a current value as the second part.
fn assign(
    keys: Vec<String>,
    values: Vec<SecretValueEntry>,
) -> (Vec<(String, Answered)>, Vec<String>) {
    let entries: Vec<(Option<String>, Option<String>, Answered)> = values
        .into_iter()
        .filter(is_current)
        .map(|entry| {
            let created = entry.created_date.as_ref();
            let version = read_version(entry.arn.clone(), entry.version_id, created);
            let value = value(entry.secret_string, entry.secret_binary, version);
            (entry.arn, entry.name, value)
        })
        .collect();
    let mut answered = Vec::new();
    let mut left = Vec::new();
    for key in keys {
        // An exact ARN wins. A shortened one matches only if no ARN is exact.
        let exact = entries
            .iter()
            .find(|(arn, _, _)| arn.as_deref() == Some(&key));
        let entry = exact.or_else(|| {
            entries
                .iter()
                .find(|(arn, name, _)| matches_key(&key, arn.as_deref(), name.as_deref()))
        });
        match entry {
            Some((_, _, Answered::One(Raw::Bytes(value), version))) => {
                let value = Raw::Bytes(value.duplicate());
                answered.push((key, Answered::One(value, version.clone())));
            }
            Some(_) => answered.push((key, Answered::Fails(Failure::NoValue))),
            None => left.push(key),
        }
    }
    (answered, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, end: &str, value: &str) -> SecretValueEntry {
        SecretValueEntry::builder()
            .name(name)
            .arn(arn(name, end))
            .secret_string(value)
            .build()
    }

    fn arn(name: &str, end: &str) -> String {
        format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}{end}")
    }

    fn assigned(keys: &[&str], values: Vec<SecretValueEntry>) -> Vec<String> {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let (answered, left) = assign(keys, values);
        answered
            .into_iter()
            .map(|(key, answer)| match answer {
                Answered::One(Raw::Bytes(value), _) => {
                    format!("{key}={}", String::from_utf8_lossy(value.expose()))
                }
                Answered::One(..)
                | Answered::Many(_)
                | Answered::NotFound
                | Answered::Fails(_)
                | Answered::Unread(_) => format!("{key}: no value"),
            })
            .chain(left.into_iter().map(|key| format!("{key}?")))
            .collect()
    }

    /// Names with a common prefix, and names that end like an ARN's suffix.
    #[test]
    fn value_that_is_not_current_is_read_again() {
        let of = |stages: &[&str]| {
            let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
            let mut entry = entry("db", "-AbCdEf", "old");
            entry.version_stages = Some(stages);
            assign(vec!["db".to_owned()], vec![entry]).1
        };
        assert_eq!(of(&["AWSPREVIOUS"]), ["db"]);
        assert!(of(&["eso-sync", "AWSCURRENT"]).is_empty());
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn values_are_matched_to_the_requested_keys() {
        let values = || {
            vec![
                entry("db", "-AbCdEf", "one"),
                entry("db-AbCdEf", "-123456", "two"),
                entry("db-replica", "-GhIjKl", "three"),
            ]
        };
        let full = arn("db", "-AbCdEf");
        let short = arn("db", "");
        let other = arn("db-AbCdEf", "-123456");
        let keys = [
            "db-replica",
            "db",
            &full,
            &short,
            "db-AbCdEf",
            &other,
            "d",
            "b-replica",
        ];
        assert_eq!(
            assigned(&keys, values()),
            [
                "db-replica=three".to_owned(),
                "db=one".to_owned(),
                format!("{full}=one"),
                format!("{short}=one"),
                "db-AbCdEf=two".to_owned(),
                format!("{other}=two"),
                "d?".to_owned(),
                "b-replica?".to_owned(),
            ]
        );
    }

    /// The full ARN of one secret can equal the shortened ARN of another.
    #[test]
    fn exact_arn_wins_over_a_shortened_one() {
        let values = vec![
            entry("db-AbCdEf", "-123456", "two"),
            entry("db", "-AbCdEf", "one"),
        ];
        let full = arn("db", "-AbCdEf");
        assert_eq!(assigned(&[&full], values), [format!("{full}=one")]);
        let alone = vec![entry("db-AbCdEf", "-123456", "two")];
        assert_eq!(assigned(&[&full], alone), [format!("{full}=two")]);
    }

    #[test]
    fn entry_without_text_or_bytes_has_no_value() {
        let empty = SecretValueEntry::builder().name("db").build();
        assert_eq!(assigned(&["db"], vec![empty]), ["db: no value"]);
        assert!(matches!(
            value(Some(String::new()), None, None),
            Answered::One(Raw::Bytes(_), _)
        ));
    }
}
