//! What a user may have meant by the name of an ExternalSecret that does not exist.

use std::collections::BTreeSet;

use cluster::Cluster;
use eso_model::Id;

use crate::{
    discover::discover,
    failure::Failure,
    foreign::line,
    policy::{Policy, Selection},
    similar::{self, SHOWN},
};

/// Adds what the user may have meant to the error about this name, if the cluster tells.
pub async fn suggesting(
    failure: Failure,
    cluster: &Cluster,
    name: &str,
    namespace: &str,
) -> Failure {
    match all(cluster).await {
        Some(ids) => Failure {
            hint: hint(name, Some(namespace), &ids),
            ..failure
        },
        None => failure,
    }
}

/// All ExternalSecrets, if the cluster tells.
pub async fn all(cluster: &Cluster) -> Option<Vec<Id>> {
    let mut all = Policy::selecting(vec![Selection::default()]);
    all.drift.enabled = false;
    let found = discover(cluster, &all)
        .await
        .ok()?
        .inventory
        .external_secrets;
    Some(found.into_iter().map(|one| one.id).collect())
}

/// The other namespaces that have the name, or the nearest names in this namespace, or in all.
pub fn hint(name: &str, namespace: Option<&str>, ids: &[Id]) -> Option<String> {
    let has_it = ids.iter().filter(|id| id.name == name);
    let namespaces: BTreeSet<&str> = has_it.map(|id| &*id.namespace).collect();
    if !namespaces.is_empty() {
        let shown: Vec<String> = namespaces
            .iter()
            .take(SHOWN)
            .map(|it| format!("`-n {}`", line(it)))
            .collect();
        let more = match namespaces.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" or one of {more} more"),
        };
        return Some(format!(
            "it exists in another namespace: use {}{more}",
            shown.join(", ")
        ));
    }
    let here = ids
        .iter()
        .filter(|id| namespace.is_none_or(|it| it == id.namespace));
    let near = similar::nearest(name, here.map(|id| &*id.name));
    similar::question(&near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_names_other_namespaces_first_and_then_near_names() {
        let id = |namespace: &str, name: &str| Id {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let ids = [
            id("payments", "db"),
            id("payments", "stripe"),
            id("web", "db"),
            id("web", "stripes"),
        ];
        let everywhere = |name: &str| hint(name, None, &ids).unwrap_or_default();
        assert_eq!(everywhere("stirpe"), "did you mean `stripe` or `stripes`?");
        let hint =
            |name: &str, namespace: &str| hint(name, Some(namespace), &ids).unwrap_or_default();
        assert_eq!(
            hint("db", "default"),
            "it exists in another namespace: use `-n payments`, `-n web`"
        );
        assert_eq!(hint("stirpe", "payments"), "did you mean `stripe`?");
        assert_eq!(hint("stripee", "web"), "did you mean `stripes`?");
        assert_eq!(hint("other", "payments"), "");
        assert_eq!(hint("dx", "payments"), "did you mean `db`?");
    }
}
