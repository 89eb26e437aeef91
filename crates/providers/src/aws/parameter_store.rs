//! AWS Systems Manager Parameter Store.

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ssm::{
    Client,
    config::{Builder, retry::RetryConfig},
    types::{Parameter, ResourceTypeForTagging},
};
use eso_model::{
    expected::{Failure, Raw, What},
    version::ReadVersion,
};
use futures::FutureExt as _;
use secret::Value;

use super::{
    batch::{self, Assigned, Batch},
    bounded::Bounded,
    error::AwsError,
    fits,
    login::Login,
    read_version,
    service::{Aws, Names},
};
use crate::{
    Answered, Provider, RateLimiter, Unread,
    distinct::Distinct,
    engine::{self, Engine, Request, in_flight},
};

mod search;
mod write;

pub(super) use self::write::Publisher;

const NAMES: Names = Names {
    permission: "ssm",
    endpoint: "SSM",
};

/// A Parameter Store connection.
pub(super) struct ParameterStore {
    engine: Engine<Aws<Client>>,
    prefix: String,
    /// True if `GetParameters` is denied and each parameter is read with its own call.
    batch_denied: AtomicBool,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    /// A parameter by its name or ARN, with `:VERSION` or `:LABEL`.
    Parameter(String),
    /// Its tags.
    Tags(String),
    Find(What),
}

impl ParameterStore {
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
                let colon = if version.is_empty() { "" } else { ":" };
                let name = format!("{}{key}{colon}{version}", self.prefix);
                if *metadata {
                    Ask::Tags(name)
                } else {
                    Ask::Parameter(name)
                }
            }
        }
    }

    /// The operator's result for a failed call.
    fn answered(&self, failure: engine::Failure<AwsError>, request: &Request<'_>) -> Answered {
        failure.answered(|error| error.answer(&self.engine.service().needed(request)))
    }

    async fn tags(&self, name: &str, limiter: &RateLimiter) -> Answered {
        let request = Request::read("ListTagsForResource", Some(name));
        let answer = self
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .list_tags_for_resource()
                    .resource_type(ResourceTypeForTagging::Parameter)
                    .resource_id(name);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        match answer {
            Ok(answer) => {
                let tags = answer.tag_list.unwrap_or_default().into_iter();
                let tags = tags.map(|tag| (tag.key, Value::new(tag.value.into_bytes())));
                Answered::One(Raw::Tags(tags.collect()), None)
            }
            Err(failure) => self.answered(failure, &request),
        }
    }

    async fn other(&self, ask: Ask, limiter: &RateLimiter) -> (Ask, Answered) {
        let answer = match &ask {
            Ask::Parameter(name) => self.single(name, limiter).await,
            Ask::Tags(name) => self.tags(name, limiter).await,
            Ask::Find(what) => self.find(what, limiter).await,
        };
        (ask, answer)
    }
}

#[async_trait]
impl Provider for ParameterStore {
    async fn read(&self, wanted: &[What], limiter: &RateLimiter) -> Vec<Answered> {
        let distinct = Distinct::of(wanted.iter().map(|what| self.ask(what)));
        let mut names = Vec::new();
        let mut others = Vec::new();
        let mut answers = Vec::new();
        for ask in distinct.asks() {
            match ask {
                Ask::Parameter(name) | Ask::Tags(name) if !fits(name) => {
                    answers.push((ask.clone(), Answered::Fails(Failure::Refused)));
                }
                Ask::Parameter(name) => names.push(name.clone()),
                Ask::Tags(_) | Ask::Find(_) => others.push(ask.clone()),
            }
        }
        let parameters = batch::all(self, names, limiter).await.into_iter();
        answers.extend(parameters.map(|(name, answer)| (Ask::Parameter(name), answer)));
        let others = others
            .into_iter()
            .map(|ask| self.other(ask, limiter).boxed());
        answers.extend(in_flight(others.collect()).await);
        distinct.fan_out(answers)
    }

    fn batch(&self) -> usize {
        <Self as Batch>::SIZE
    }
}

#[async_trait]
impl Batch for ParameterStore {
    const SIZE: usize = 10;

    const DENIED: &'static str = "AWS denies ssm:GetParameters but allows ssm:GetParameter: each parameter needs a separate call, instead of one call for ten";

    fn batch_denied(&self) -> &AtomicBool {
        &self.batch_denied
    }

    async fn several(
        &self,
        names: &[String],
        limiter: &RateLimiter,
    ) -> Result<Assigned, engine::Failure<AwsError>> {
        // Failures are counted by the batch's first name, which differs between batches.
        let request = Request::read("GetParameters", names.first().map(String::as_str));
        let answer = self
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .get_parameters()
                    .set_names(Some(names.to_vec()))
                    .with_decryption(true);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await?;
        let absent = answer.invalid_parameters.unwrap_or_default();
        let parameters = answer.parameters.unwrap_or_default();
        Ok(assign(names.to_vec(), parameters, &absent))
    }

    async fn single(&self, name: &str, limiter: &RateLimiter) -> Answered {
        let request = Request::read("GetParameter", Some(name));
        let answer = self
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client.get_parameter().name(name).with_decryption(true);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        match answer {
            Ok(answer) => match answer.parameter {
                Some(parameter) => value(parameter),
                None => Answered::Fails(Failure::NoValue),
            },
            Err(failure) => self.answered(failure, &request),
        }
    }

    fn unread(&self, failure: engine::Failure<AwsError>) -> Unread {
        self.engine
            .unread(failure, &Request::read("GetParameters", None))
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

fn value(parameter: Parameter) -> Answered {
    let version = version_of(&parameter);
    match parameter.value {
        Some(text) => Answered::One(Raw::Bytes(Value::new(text.into_bytes())), version),
        None => Answered::Fails(Failure::NoValue),
    }
}

fn version_of(parameter: &Parameter) -> Option<Box<ReadVersion>> {
    // Numbers begin at 1.
    let number = Some(parameter.version).filter(|number| *number > 0);
    read_version(
        parameter.arn.clone(),
        number.map(|number| number.to_string()),
        parameter.last_modified_date.as_ref(),
    )
}

/// Matches the answers of a batch to the requested names. Returns the names without a clear match as the second part.
fn assign(
    names: Vec<String>,
    parameters: Vec<Parameter>,
    absent: &[String],
) -> (Vec<(String, Answered)>, Vec<String>) {
    let absent: BTreeSet<&str> = absent.iter().map(String::as_str).collect();
    let entries: Vec<(Parameter, Option<Value>)> = parameters
        .into_iter()
        .map(|mut parameter| {
            let value = parameter.value.take();
            (parameter, value.map(|text| Value::new(text.into_bytes())))
        })
        .collect();
    let mut answered = Vec::new();
    let mut left = Vec::new();
    for name in names {
        let mut fitting = entries
            .iter()
            .filter(|(parameter, _)| matches_key(&name, parameter));
        match (fitting.next(), fitting.next()) {
            (Some((parameter, Some(value))), None) => {
                let value = Raw::Bytes(value.duplicate());
                answered.push((name, Answered::One(value, version_of(parameter))));
            }
            (Some((_, None)), None) => answered.push((name, Answered::Fails(Failure::NoValue))),
            // With a version, only this version may be missing: the operator treats that as an error.
            (None, _) if absent.contains(name.as_str()) && !name.contains(':') => {
                answered.push((name, Answered::NotFound));
            }
            // No match, or several versions that the answer does not distinguish.
            (None, _) | (Some(_), Some(_)) => left.push(name),
        }
    }
    (answered, left)
}

/// True if this name or ARN, with an optional `:VERSION` or `:LABEL`, refers to this parameter.
fn matches_key(asked: &str, parameter: &Parameter) -> bool {
    let selector = parameter
        .selector
        .as_deref()
        .map(|selector| selector.trim_start_matches(':'))
        .unwrap_or_default();
    [parameter.name.as_deref(), parameter.arn.as_deref()]
        .into_iter()
        .flatten()
        .any(|known| match asked.strip_prefix(known) {
            Some("") => selector.is_empty(),
            Some(rest) => rest
                .strip_prefix(':')
                .is_some_and(|rest| !rest.is_empty() && rest == selector),
            None => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, selector: Option<&str>, value: &str) -> Parameter {
        Parameter::builder()
            .name(name)
            .arn(format!(
                "arn:aws:ssm:eu-west-1:123456789012:parameter/{}",
                name.trim_start_matches('/')
            ))
            .set_selector(selector.map(str::to_owned))
            .value(value)
            .build()
    }

    fn assigned(names: &[&str], parameters: Vec<Parameter>, absent: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let absent: Vec<String> = absent.iter().map(|name| (*name).to_owned()).collect();
        let (answered, left) = assign(names, parameters, &absent);
        answered
            .into_iter()
            .map(|(name, answer)| match answer {
                Answered::One(Raw::Bytes(value), _) => {
                    format!("{name}={}", String::from_utf8_lossy(value.expose()))
                }
                Answered::One(..)
                | Answered::Many(_)
                | Answered::NotFound
                | Answered::Fails(_)
                | Answered::Unread(_) => format!("{name}-"),
            })
            .chain(left.into_iter().map(|name| format!("{name}?")))
            .collect()
    }

    #[test]
    fn parameters_are_matched_to_the_requested_names() {
        let parameters = vec![
            parameter("/db", None, "one"),
            parameter("/db/user", None, "two"),
            parameter("/db", Some(":3"), "three"),
            parameter("/api", Some("live"), "four"),
            parameter("/web", None, "five"),
        ];
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/web";
        let names = ["/db:3", "/db/user", "/db", "/api:live", arn, "/d", "/db:4"];
        assert_eq!(
            assigned(&names, parameters, &["/d", "/db:4"]),
            [
                "/db:3=three",
                "/db/user=two",
                "/db=one",
                "/api:live=four",
                &format!("{arn}=five"),
                "/d-",
                "/db:4?",
            ],
            "a missing version is read with its own call"
        );
    }

    /// Some servers do not return the version.
    #[test]
    fn ambiguous_versions_are_read_one_by_one() {
        let parameters = vec![
            parameter("/db", None, "one"),
            parameter("/db", None, "two"),
            parameter("/api", None, "three"),
        ];
        assert_eq!(
            assigned(&["/db", "/db:1", "/api"], parameters, &[]),
            ["/api=three", "/db?", "/db:1?"]
        );
    }

    #[test]
    fn other_version_does_not_match_the_newest() {
        let parameters = || vec![parameter("/db", Some(":3"), "three")];
        assert_eq!(assigned(&["/db"], parameters(), &[]), ["/db?"]);
        assert_eq!(assigned(&["/db:30"], parameters(), &[]), ["/db:30?"]);
    }
}
