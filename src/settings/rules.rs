//! Rules that check several keys of one list entry together. A list names its rule (`extend("x-rule" = "selects")`).

use eso_model::StoreKind;

use super::{
    problem::Fault,
    tree::{Node, Value},
};

/// Checks a whole entry after its keys were validated one by one.
pub(super) type Rule = fn(&Node) -> Result<(), Fault>;

/// Returns the rule with this name.
pub(super) fn named(name: &str) -> Option<Rule> {
    Some(match name {
        "selects" => selects,
        "excludes" => excludes,
        "names-a-store" => names_a_store,
        "covers-workloads" => covers_workloads,
        "excludes-workloads" => excludes_workloads,
        _ => return None,
    })
}

fn selects(entry: &Node) -> Result<(), Fault> {
    if entry.entries().is_empty() || !names_nothing(entry) {
        return Ok(());
    }
    Err(Fault::new(
        "is empty, which would select every ExternalSecret",
        "write `{}` to select every ExternalSecret",
    ))
}

fn excludes(entry: &Node) -> Result<(), Fault> {
    excludes_all_of(entry, "ExternalSecret")
}

fn excludes_workloads(entry: &Node) -> Result<(), Fault> {
    excludes_all_of(entry, "workload")
}

fn excludes_all_of(entry: &Node, what: &str) -> Result<(), Fault> {
    if !names_nothing(entry) {
        return Ok(());
    }
    Err(Fault::new(
        format!("is empty, which would exclude every {what}"),
        "add a field, or remove the entry",
    ))
}

fn names_a_store(store: &Node) -> Result<(), Fault> {
    let kind = store.get("kind").map(|node| &node.value);
    if store.get("namespace").is_some()
        && matches!(kind, Some(Value::Scalar { text, .. }) if text == StoreKind::ClusterSecretStore.into_str())
    {
        return Err(Fault::new(
            "a ClusterSecretStore has no namespace",
            "remove `namespace`, or write `kind: SecretStore`",
        ));
    }
    Ok(())
}

/// Rejects a rule that would match every workload.
fn covers_workloads(rule: &Node) -> Result<(), Fault> {
    let says = |key: &str| rule.get(key).is_some_and(|value| !is_empty_list(value));
    if !["namespaces", "labelSelector", "names", "match"]
        .into_iter()
        .any(says)
    {
        return Err(Fault::new(
            "selects no workloads",
            "write `labelSelector`, `names` or `namespaces`, or `match: references` for all workloads that use a selected Secret",
        ));
    }
    if rule.get("kinds").is_some_and(is_empty_list) {
        return Err(Fault::new(
            "covers no workload, because `kinds` is empty",
            "add kinds, or remove `kinds`",
        ));
    }
    Ok(())
}

/// True if an entry contains only empty lists.
fn names_nothing(entry: &Node) -> bool {
    entry
        .entries()
        .iter()
        .all(|entry| is_empty_list(&entry.value))
}

fn is_empty_list(node: &Node) -> bool {
    matches!(&node.value, Value::List(items) if items.is_empty())
}
