//! What an entry of `restart` may say.

use super::{Fault, Field, NAME, Node, Shape, field, format, is_empty_list, list};
use crate::{
    policy::{Match, OnBrokenData, Require, RestartWhen},
    workload::{Kind, Strategy},
};

const KINDS: &[&str] = &[
    Kind::DaemonSet.as_str(),
    Kind::Deployment.as_str(),
    Kind::Pod.as_str(),
    Kind::ReplicaSet.as_str(),
    Kind::Rollout.as_str(),
    Kind::StatefulSet.as_str(),
];

const MATCH: &[&str] = &[Match::References.as_str()];

const WHEN: &[&str] = &[
    RestartWhen::Changed.as_str(),
    RestartWhen::Unproven.as_str(),
    RestartWhen::Always.as_str(),
];

const REQUIRE: &[&str] = &[Require::InSync.as_str(), Require::Proven.as_str()];

const ON_BROKEN_DATA: &[&str] = &[OnBrokenData::Leave.as_str(), OnBrokenData::Restart.as_str()];

const STRATEGY: &[&str] = &[Strategy::Rollout.as_str(), Strategy::Evict.as_str()];

static A_KIND: Shape = Shape::Word(KINDS);

const NAMESPACES: Field = field(
    "namespaces",
    list(&NAME),
    "Globs on the name of the namespace.",
);

const LABELS: Field = field(
    "labelSelector",
    Shape::Text(&format::SELECTOR),
    "On the labels of the workload, as `kubectl get deployments -l` takes it.",
);

const NAMES: Field = field("names", list(&NAME), "Globs on the name of the workload.");

pub(super) const RULE: &[Field] = &[
    NAMESPACES,
    LABELS,
    NAMES,
    field(
        "match",
        Shape::Word(MATCH),
        "`references`: only workloads that use one of the selected Secrets, in whatever form.",
    ),
    field(
        "kinds",
        list(&A_KIND),
        "Kinds of workload. A ReplicaSet has to be one that nothing controls, and a Pod one of a controller that is none of the \
         other kinds, nor a Job: their pods can only be evicted.",
    ),
    field(
        "secrets",
        list(&NAME),
        "Globs on the name of the Secret: with `match`, which of the selected ones count; without it, which ones of the \
         workload's namespace concern it, used or not.",
    ),
    field(
        "exclude",
        list(&Shape::Section {
            fields: EXCLUDE,
            rule: Some(excludes_something),
        }),
        "Workloads that an entry covers are left alone, as are those with the annotation `eso-sync/ignore: \"true\"`.",
    ),
    field(
        "when",
        Shape::Word(WHEN),
        "Restart those whose pods started with other data; also those of which nobody knows; or all of them, each run.",
    ),
    field(
        "require",
        Shape::Word(REQUIRE),
        "What the data has to be first: what the provider holds, by the drift check; or what the operator wrote, by its \
         proof.",
    ),
    field(
        "onBrokenData",
        Shape::Word(ON_BROKEN_DATA),
        "Where keys vanished or values became empty: leave the workload alone, or restart it all the same.",
    ),
    field(
        "strategy",
        Shape::Word(STRATEGY),
        "By a rollout, or by evicting pods, which a PodDisruptionBudget can forbid.",
    ),
    field(
        "maxConcurrent",
        Shape::Count(1),
        "How many at once, after a first one alone.",
    ),
    field(
        "wait",
        Shape::Text(&format::DURATION),
        "How long one may take to be healthy again, with `evict` for all of its pods, one after another; longer, and no other of this \
         entry is started.",
    ),
    field(
        "cooldown",
        Shape::Text(&format::DURATION),
        "How long a workload is left alone after a restart.",
    ),
    field(
        "maxPerDay",
        Shape::Count(1),
        "More restarts of one workload within 24 hours look like a loop, and stop.",
    ),
];

const EXCLUDE: &[Field] = &[
    NAMESPACES,
    LABELS,
    NAMES,
    field("kinds", list(&A_KIND), "Kinds of workload."),
];

/// A rule that names nothing would restart whatever there is.
pub(super) fn covers_something(rule: &Node) -> Result<(), Fault> {
    let says = |key: &str| rule.get(key).is_some_and(|value| !is_empty_list(value));
    if ["namespaces", "labelSelector", "names", "match"]
        .into_iter()
        .any(says)
    {
        if rule.get("kinds").is_some_and(is_empty_list) {
            return Err(Fault::new(
                "covers no kind of workload",
                "name kinds, or remove `kinds`",
            ));
        }
        return Ok(());
    }
    Err(Fault::new(
        "names no workloads",
        "write `labelSelector`, `names` or `namespaces`, or `match: references` for all that use a selected Secret",
    ))
}

fn excludes_something(entry: &Node) -> Result<(), Fault> {
    if entry
        .entries()
        .iter()
        .all(|entry| is_empty_list(&entry.value))
    {
        return Err(Fault::new(
            "names nothing, which would exclude every workload",
            "name something, or remove the entry",
        ));
    }
    Ok(())
}
