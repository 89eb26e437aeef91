//! Searches (`find`) and their results.

use std::collections::BTreeMap;

use super::{
    answer::Raw,
    go_regex::GoRegex,
    keys::{self, Keys},
    payload,
    spec::Find,
    verdict::{Failure, NotComputable},
    work::Work,
};
use crate::provider::{ProviderKind, Search};

/// The criteria that a provider uses for a search. It may ignore some of the spec's criteria.
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
        provider: &ProviderKind,
        name: Option<&'a str>,
        tags: Option<&BTreeMap<String, String>>,
    ) -> Option<Self> {
        let tagged = tags.is_some_and(|tags| !tags.is_empty());
        match provider.rules().search {
            Search::NameElseTags => name.map(Self::Name).or(tagged.then_some(Self::Tags)),
            Search::NameElseAnyTags => name
                .map(Self::Name)
                .or(tags.is_some().then_some(Self::Tags)),
            Search::NameElseTagsOrAll => Some(name.map_or(Self::Tags, Self::Name)),
            Search::TagsElseName if tags.is_some() => Some(Self::Tags),
            Search::TagsElseName | Search::Name => name.map(Self::Name),
            Search::Unknown => None,
            Search::NameAndTags => Some(match (name.filter(|name| !name.is_empty()), tagged) {
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
    provider: &ProviderKind,
    found: &BTreeMap<String, Raw>,
    find: &Find,
    work: &Work<'_>,
) -> Result<Keys, NotComputable> {
    let name = find.name.as_ref().map(|name| name.regexp.as_str());
    let regexp = match Operator::of(provider, name, find.tags.as_ref()).ok_or(Failure::Refused)? {
        Operator::Name(regexp) | Operator::NameAndTags(regexp) => {
            Some(GoRegex::within(regexp, work.budget)?)
        }
        Operator::Tags | Operator::All => None,
    };
    let rules = provider.rules();
    let mut keys = Keys::new();
    for (name, raw) in found {
        let matches = match &regexp {
            Some(regexp) => regexp.find(name, work.budget)?.is_some(),
            None => true,
        };
        work.budget.step(1)?;
        if matches {
            keys.insert(name.clone(), payload::whole(rules, raw, work)?);
        }
    }
    work.charge_keys(&keys)?;
    if rules.converts_found_keys {
        return Ok(keys::convert(keys, find.conversion_strategy)?);
    }
    Ok(keys)
}
