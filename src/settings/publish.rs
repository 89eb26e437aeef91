//! Rules of the section `publish` that concern several keys.

use std::collections::BTreeSet;

use eso_model::{ProviderKind, StoreKind};
use publish::{Creation, Layout, Unfit};

use super::{
    problem::{Problem, Source},
    tree,
};
use crate::policy::Policy;

/// Adds the errors of items that share a name, of stores without a namespace, and of creations that the provider does not support.
/// The provider of a store is known later.
pub(super) fn check(
    policy: &Policy,
    place: &dyn Fn(&[String]) -> Option<Source>,
    problems: &mut Vec<Problem>,
) {
    let mut names = BTreeSet::new();
    let items = policy.publish.iter().flat_map(|publish| &publish.items);
    for (index, item) in items.enumerate() {
        let mut report = |keys: &[&str], what: String, hint: &str| {
            let start = [
                "publish".to_owned(),
                "items".to_owned(),
                format!("[{index}]"),
            ];
            let keys: Vec<String> = start
                .into_iter()
                .chain(keys.iter().map(|key| (*key).to_owned()))
                .collect();
            problems.push(Problem {
                source: place(&keys).unwrap_or(Source::Defaults),
                key: tree::path_of(&keys),
                what,
                hint: hint.to_owned(),
            });
        };
        if !names.insert(&item.name) {
            let what = format!("`{}` is the name of another item", item.name);
            report(&["name"], what, "choose another name");
        }
        if item.then.sync && policy.select.is_empty() {
            let what = "nothing is selected that could be synced".to_owned();
            let hint = "add `select`, which says what this policy may sync; `select: [{}]` selects everything";
            report(&["then", "sync"], what, hint);
        }
        if let Some((provider, settings)) = item.to.direct() {
            let provider = ProviderKind::of(provider, &settings);
            if !item.layout.fits(&provider) {
                report(&["layout"], Layout::UNFIT.to_owned(), "use `per-key`");
            }
            for Unfit { part, why } in Creation::from(&item.create).unfit(&provider, &settings) {
                report(
                    &["create", part],
                    why,
                    "remove it, or write what the provider accepts",
                );
            }
        }
        if let Some(store) = &item.to.store {
            let is_namespaced = store.kind == StoreKind::SecretStore;
            if is_namespaced && store.namespace.is_none() {
                let what = "a SecretStore has a namespace".to_owned();
                report(&["to", "store"], what, "add `namespace`");
            }
            if !is_namespaced && store.namespace.is_some() {
                let what = "a ClusterSecretStore has no namespace".to_owned();
                report(&["to", "store", "namespace"], what, "remove it");
            }
        }
    }
}
