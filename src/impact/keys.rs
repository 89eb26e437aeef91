//! The keys of a target Secret that a change reaches. Reads neither the Secret nor the provider, so only the names that stand in the
//! spec are known.

use std::collections::BTreeSet;

use eso_model::{
    expected::{Read, Spec, SpecNames},
    reached::{MoreKeys, Reached, reached},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::affected::Way;
use crate::{foreign::Foreign, inventory::ExternalSecret, key_names::Names, policy::KeyNames};

/// Where keys of a target Secret come from whose names are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MoreSecretKeys {
    /// All keys of a `dataFrom.extract`.
    Extract,
    /// All keys that a `dataFrom.find` finds.
    Find,
    /// The keys whose names a template computes.
    Template,
    /// Keys whose names `safety.keyNames: none` hides.
    Hidden,
    /// The spec of the ExternalSecret is not known.
    Unknown,
}

impl MoreSecretKeys {
    /// What the tables say in place of names.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Extract => "all keys of the extract",
            Self::Find => "all keys of the search",
            Self::Template => "keys that the template computes",
            Self::Hidden => "keys that safety.keyNames hides",
            Self::Unknown => "unknown",
        }
    }
}

/// The keys of one target Secret.
#[derive(Debug, Default)]
pub(super) struct SecretKeys {
    pub(super) names: Vec<Foreign>,
    pub(super) more: Vec<MoreSecretKeys>,
}

/// The first names on one line, the number of the others, and where further ones come from. None if there are no keys.
pub(super) fn listed_keys<'n>(
    names: impl ExactSizeIterator<Item = &'n Foreign>,
    more: &[MoreSecretKeys],
    most: usize,
) -> Option<Foreign> {
    let others = names.len().saturating_sub(most);
    let shown: Vec<&str> = names.take(most).map(Foreign::exact).collect();
    let mut parts: Vec<String> = Vec::new();
    match (&*shown, others) {
        ([], _) => {}
        (_, 0) => parts.push(shown.join(", ")),
        (_, others) => parts.push(format!("{} and {others} more", shown.join(", "))),
    }
    parts.extend(more.iter().map(|more| more.words().to_owned()));
    (!parts.is_empty()).then(|| parts.join(", ").into())
}

/// Returns the keys that a change reaches in these ways. There are none if the ExternalSecret writes no Secret.
pub(super) fn secret_keys(
    one: &ExternalSecret,
    ways: &BTreeSet<Way>,
    policy: KeyNames,
) -> SecretKeys {
    if !one.target.written {
        return SecretKeys::default();
    }
    let spec = one.spec.as_deref().map(Spec::from_json);
    let Some(Ok(spec)) = spec else {
        return SecretKeys {
            names: Vec::new(),
            more: vec![MoreSecretKeys::Unknown],
        };
    };
    let Reached { keys, more } = of_spec(&spec, one, ways);
    let shown = Names::new(policy, SpecNames::of(&spec, |_, _| None));
    let names = keys.iter().map(|key| shown.of(key));
    let names: Vec<Foreign> = names
        .filter_map(|name| Some(name.shown()?.into()))
        .collect();
    let hidden = (names.len() < keys.len()).then_some(MoreSecretKeys::Hidden);
    let more = more.into_iter().map(|more| match more {
        MoreKeys::Extract => MoreSecretKeys::Extract,
        MoreKeys::Find => MoreSecretKeys::Find,
        MoreKeys::Template => MoreSecretKeys::Template,
    });
    SecretKeys {
        names,
        more: more.chain(hidden).collect(),
    }
}

fn of_spec(spec: &Spec, one: &ExternalSecret, ways: &BTreeSet<Way>) -> Reached {
    let is_changed = |read: &Read| {
        let at = read.store.key(&one.id.namespace);
        ways.iter().any(|way| match way {
            Way::Read { store, what, .. } => *store == at && *what == read.what,
            Way::Template(_) | Way::Named => false,
        })
    };
    let templates = ways.iter().filter_map(|way| match way {
        Way::Template(secret) => Some(&**secret),
        Way::Read { .. } | Way::Named => None,
    });
    reached(spec, is_changed, &templates.collect())
}
