//! Searches (`find`) and their results.

use std::collections::BTreeMap;

use super::{
    answer::{Provider, Raw},
    go_regex::GoRegex,
    keys::{self, Keys},
    payload,
    spec::Find,
    verdict::{Failure, NotComputable, why},
};

/// What a provider uses for a search. It may ignore some of the criteria.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator<'a> {
    /// Names that match, regardless of their tags.
    Name(&'a str),
    /// Tags, regardless of the names.
    Tags,
    /// Matching names that have the tags.
    NameAndTags(&'a str),
    /// Everything.
    All,
}

impl<'a> Operator<'a> {
    /// Returns what the provider uses for this `find`, or None if it rejects it.
    pub fn of(
        provider: Provider,
        name: Option<&'a str>,
        tags: Option<&BTreeMap<String, String>>,
    ) -> Option<Self> {
        let tagged = tags.is_some_and(|tags| !tags.is_empty());
        match provider {
            Provider::AwsSecretsManager | Provider::GcpSecretManager => {
                name.map(Self::Name).or(tagged.then_some(Self::Tags))
            }
            Provider::AwsParameterStore => name
                .map(Self::Name)
                .or(tags.is_some().then_some(Self::Tags)),
            Provider::Vault => Some(name.map_or(Self::Tags, Self::Name)),
            Provider::Kubernetes if tags.is_some() => Some(Self::Tags),
            Provider::Kubernetes | Provider::Fake => name.map(Self::Name),
            Provider::AzureKeyVault => Some(match (name.filter(|name| !name.is_empty()), tagged) {
                (Some(name), true) => Self::NameAndTags(name),
                (Some(name), false) => Self::Name(name),
                (None, true) => Self::Tags,
                (None, false) => Self::All,
            }),
        }
    }
}

/// Computes the result of the operator's `GetAllSecrets`.
pub(super) fn get_all(
    provider: Provider,
    found: &BTreeMap<String, Raw>,
    find: &Find,
) -> Result<Keys, NotComputable> {
    let name = find.name.as_ref().map(|name| name.regexp.as_str());
    let regexp = match Operator::of(provider, name, find.tags.as_ref()).ok_or(Failure::Refused)? {
        Operator::Name(regexp) | Operator::NameAndTags(regexp) => {
            let regexp = GoRegex::new(regexp);
            Some(regexp.map_err(|_| NotComputable::unverifiable(why::REGEXP))?)
        }
        Operator::Tags | Operator::All => None,
    };
    let mut keys = Keys::new();
    for (name, raw) in found {
        if regexp.as_ref().is_none_or(|regexp| regexp.is_match(name)) {
            keys.insert(name.clone(), payload::whole(provider, raw)?);
        }
    }
    Ok(match provider {
        // These providers convert the keys themselves, before any rewrite.
        Provider::GcpSecretManager | Provider::Kubernetes | Provider::Fake => {
            keys::convert(keys, find.conversion_strategy)?
        }
        Provider::AwsSecretsManager
        | Provider::AwsParameterStore
        | Provider::AzureKeyVault
        | Provider::Vault => keys,
    })
}
