//! Parameter Store, a part of Systems Manager.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use aws_sdk_ssm::{
    Client,
    config::{Builder, retry::RetryConfig},
    types::{Parameter, ResourceTypeForTagging},
};
use eso_model::expected::{Failure, Raw, What};
use futures::FutureExt as _;
use secret::Value;

use super::{
    fits,
    login::Login,
    trouble::{Needed, Trouble},
};
use crate::{
    Answered, Provider, Turns, Unread, attempts::in_flight, session::Session, spread::Distinct,
    unread,
};

mod search;

/// What one `GetParameters` takes.
const BATCH: usize = 10;

/// A store.
pub(super) struct ParameterStore {
    session: Session<Client, Trouble>,
    region: String,
    prefix: String,
    /// The right to read several at once is lacking.
    singly: AtomicBool,
}

/// One thing to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    /// A parameter by its name or ARN, with `:VERSION` or `:LABEL`.
    Parameter(String),
    /// Its tags.
    Tags(String),
    Find(What),
}

impl ParameterStore {
    /// Logs in.
    pub(super) async fn connect(login: Login, prefix: String) -> Result<Self, Unread> {
        let region = login.region().to_owned();
        let login = Arc::new(login);
        let session = Session::start(move || client(Arc::clone(&login)).boxed()).await?;
        Ok(Self {
            session,
            region,
            prefix,
            singly: AtomicBool::new(false),
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

    fn needed<'a>(&'a self, call: &'static str, key: Option<&'a str>) -> Needed<'a> {
        Needed {
            service: "ssm",
            call,
            region: &self.region,
            key,
        }
    }

    async fn parameters(&self, names: Vec<String>, turns: &Turns) -> Vec<(String, Answered)> {
        let batches = names.chunks(BATCH);
        let calls = batches.map(|names| self.batch(names.to_vec(), turns).boxed());
        in_flight(calls.collect())
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    async fn batch(&self, names: Vec<String>, turns: &Turns) -> Vec<(String, Answered)> {
        if names.len() < 2 || self.singly.load(Ordering::Relaxed) {
            return self.one_by_one(names, turns).await;
        }
        let answer = self
            .session
            .call(turns, |client: Client| {
                let call = client
                    .get_parameters()
                    .set_names(Some(names.clone()))
                    .with_decryption(true);
                async move { call.send().await.map_err(|error| Trouble::of(&error)) }
            })
            .await;
        match answer {
            Ok(answer) => {
                let absent = answer.invalid_parameters.unwrap_or_default();
                let (mut all, left) = assign(names, answer.parameters.unwrap_or_default(), &absent);
                all.extend(self.one_by_one(left, turns).await);
                all
            }
            Err(trouble) if trouble.is_denied() => {
                // Denied for one is denied for all ten.
                let all = self.one_by_one(names, turns).await;
                if all.iter().all(|(_, answer)| !is_denied(answer)) {
                    self.batches_are_denied();
                }
                all
            }
            // One name that is none spoils it for all.
            Err(trouble) if trouble.is_of_what_was_asked() => self.one_by_one(names, turns).await,
            Err(trouble) => {
                let unread = trouble.unread(&self.needed("GetParameters", None));
                names
                    .into_iter()
                    .map(|name| (name, Answered::Unread(unread.clone())))
                    .collect()
            }
        }
    }

    /// Said once: it costs ten times the calls.
    fn batches_are_denied(&self) {
        if !self.singly.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "AWS denies ssm:GetParameters where it allows ssm:GetParameter: each parameter takes a call of its own, in place of one for ten"
            );
        }
    }

    async fn one_by_one(&self, names: Vec<String>, turns: &Turns) -> Vec<(String, Answered)> {
        let calls = names.into_iter().map(|name| {
            let call = async move {
                let answer = self.single(&name, turns).await;
                (name, answer)
            };
            call.boxed()
        });
        in_flight(calls.collect()).await
    }

    async fn single(&self, name: &str, turns: &Turns) -> Answered {
        let answer = self
            .session
            .call(turns, |client: Client| {
                let call = client.get_parameter().name(name).with_decryption(true);
                async move { call.send().await.map_err(|error| Trouble::of(&error)) }
            })
            .await;
        match answer {
            Ok(answer) => value(answer.parameter.and_then(|parameter| parameter.value)),
            Err(trouble) => trouble.answer(&self.needed("GetParameter", Some(name))),
        }
    }

    async fn tags(&self, name: &str, turns: &Turns) -> Answered {
        let answer = self
            .session
            .call(turns, |client: Client| {
                let call = client
                    .list_tags_for_resource()
                    .resource_type(ResourceTypeForTagging::Parameter)
                    .resource_id(name);
                async move { call.send().await.map_err(|error| Trouble::of(&error)) }
            })
            .await;
        match answer {
            Ok(answer) => Answered::One(Raw::Tags(
                answer
                    .tag_list
                    .unwrap_or_default()
                    .into_iter()
                    .map(|tag| (tag.key, Value::new(tag.value.into_bytes())))
                    .collect(),
            )),
            Err(trouble) => trouble.answer(&self.needed("ListTagsForResource", Some(name))),
        }
    }

    async fn other(&self, ask: Ask, turns: &Turns) -> (Ask, Answered) {
        let answer = match &ask {
            Ask::Parameter(name) => self.single(name, turns).await,
            Ask::Tags(name) => self.tags(name, turns).await,
            Ask::Find(what) => self.find(what, turns).await,
        };
        (ask, answer)
    }
}

#[async_trait]
impl Provider for ParameterStore {
    async fn read(&self, wanted: &[What], turns: &Turns) -> Vec<Answered> {
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
        let parameters = self.parameters(names, turns).await.into_iter();
        answers.extend(parameters.map(|(name, answer)| (Ask::Parameter(name), answer)));
        let others = others.into_iter().map(|ask| self.other(ask, turns).boxed());
        answers.extend(in_flight(others.collect()).await);
        distinct.spread(answers)
    }
}

async fn client(login: Arc<Login>) -> Result<Client, Unread> {
    let mut builder = Builder::from(&login.config().await?).retry_config(RetryConfig::disabled());
    if let Some(url) = login.endpoint("SSM") {
        builder = builder.endpoint_url(url);
    }
    Ok(Client::from_conf(builder.build()))
}

fn value(text: Option<String>) -> Answered {
    match text {
        Some(text) => Answered::One(Raw::Bytes(Value::new(text.into_bytes()))),
        None => Answered::Fails(Failure::NoValue),
    }
}

fn is_denied(answer: &Answered) -> bool {
    matches!(answer, Answered::Unread(unread) if unread.why.reason == unread::DENIED)
}

/// Gives each name what was answered for it. Those that it does not tell enough about are left.
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
            .filter(|(parameter, _)| stands_for(&name, parameter));
        match (fitting.next(), fitting.next()) {
            (Some((_, Some(value))), None) => {
                answered.push((name, Answered::One(Raw::Bytes(value.duplicate()))));
            }
            (Some((_, None)), None) => answered.push((name, Answered::Fails(Failure::NoValue))),
            // With a version it may be that only this one is not there, which is something else to the operator.
            (None, _) if absent.contains(name.as_str()) && !name.contains(':') => {
                answered.push((name, Answered::NotFound));
            }
            // Nothing, or several versions of which the answer does not tell which is which.
            (None, _) | (Some(_), Some(_)) => left.push(name),
        }
    }
    (answered, left)
}

/// Whether it is this parameter that was asked for by such a name, ARN, or either with a version or label.
fn stands_for(asked: &str, parameter: &Parameter) -> bool {
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
                Answered::One(Raw::Bytes(value)) => {
                    format!("{name}={}", String::from_utf8_lossy(value.expose()))
                }
                Answered::One(_)
                | Answered::Many(_)
                | Answered::NotFound
                | Answered::Fails(_)
                | Answered::Unread(_) => format!("{name}-"),
            })
            .chain(left.into_iter().map(|name| format!("{name}?")))
            .collect()
    }

    #[test]
    fn a_parameter_goes_to_the_name_that_it_was_asked_for_by() {
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
            "a version that is not there is asked for by itself"
        );
    }

    /// Some servers do not say which version they give.
    #[test]
    fn versions_that_cannot_be_told_apart_are_asked_for_one_by_one() {
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
    fn another_version_is_not_taken_for_the_newest() {
        let parameters = || vec![parameter("/db", Some(":3"), "three")];
        assert_eq!(assigned(&["/db"], parameters(), &[]), ["/db?"]);
        assert_eq!(assigned(&["/db:30"], parameters(), &[]), ["/db:30?"]);
    }
}
