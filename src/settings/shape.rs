//! The one table of what a policy may say: every key, what it takes, and what it means.
//!
//! The checks, the JSON Schema and the names of environment variables all come from it. That it covers
//! [`Policy`](crate::policy::Policy) exactly is held by a test.

mod drift;
mod restart;

use eso_model::StoreKind;

use super::{
    format::{self, Format},
    problem::{Fault, listed},
    tree::{Node, Value},
};
use crate::{inventory::State, policy::When};

/// What a value has to look like.
#[derive(Debug)]
pub(super) enum Shape {
    /// `true` or `false`.
    Switch,
    /// A whole number, at least this.
    Count(u32),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text in a form.
    Text(&'static Format),
    /// A whole number, at least the first; or text in a form.
    CountOr(u32, &'static Format),
    /// A list.
    List {
        /// Of these.
        of: &'static Self,
        /// At least this many.
        least: usize,
    },
    /// Keys that are known.
    Section {
        fields: &'static [Field],
        /// What the keys must fulfil together.
        rule: Option<Rule>,
    },
    /// Keys that the operator chooses.
    Entries {
        key: &'static Format,
        value: &'static Self,
    },
}

/// Checks a section as a whole, once its keys are known to be right. Gets the entries' tree.
pub(super) type Rule = fn(&Node) -> Result<(), Fault>;

/// One key of a section.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
}

const fn field(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field {
        name,
        about,
        shape,
        required: false,
    }
}

const fn section(fields: &'static [Field]) -> Shape {
    Shape::Section { fields, rule: None }
}

const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, least: 0 }
}

/// A whole policy.
pub(super) static POLICY: Shape = section(&[
    Field {
        required: true,
        ..field(
            "select",
            Shape::List {
                of: &Shape::Section {
                    fields: SELECTION,
                    rule: Some(selects),
                },
                least: 1,
            },
            "Which ExternalSecrets: any entry that covers one selects it, and each entry is an AND of its fields. `{}` \
             covers all of them.",
        )
    },
    field(
        "exclude",
        list(&Shape::Section {
            fields: SELECTION,
            rule: Some(excludes),
        }),
        "Any entry that covers an ExternalSecret takes it out again, as does the annotation `eso-sync/ignore: \"true\"` on \
         the ExternalSecret.",
    ),
    field("sync", section(SYNC), "What is synced, and how."),
    field(
        "restart",
        list(&Shape::Section {
            fields: restart::RULE,
            rule: Some(restart::covers_something),
        }),
        "Which workloads are restarted once they run on old data, and how; the first entry that covers one decides about it.",
    ),
    field(
        "pace",
        section(PACE),
        "Rates: of stores and providers in provider calls, of the API server in requests.",
    ),
    field("safety", section(SAFETY), "Limits."),
    field(
        "drift",
        section(drift::FIELDS),
        "Whether, and how, what the providers hold is compared with what the Secrets hold.",
    ),
    field(
        "lock",
        section(LOCK),
        "How runs keep out of each other's way.",
    ),
    field(
        "deadline",
        Shape::Text(&format::DURATION),
        "After this long a run starts nothing new and reports what it left.",
    ),
]);

static NAME: Shape = Shape::Text(&format::NAME);
static PROVIDER: Shape = Shape::Text(&format::PROVIDER);
static RATE: Shape = Shape::Text(&format::RATE);

const SELECTION: &[Field] = &[
    field(
        "namespaces",
        list(&NAME),
        "Globs on the name of the namespace.",
    ),
    field(
        "namespaceSelector",
        Shape::Text(&format::SELECTOR),
        "On the labels of the Namespace, as `kubectl get namespaces -l` takes it.",
    ),
    field(
        "labelSelector",
        Shape::Text(&format::SELECTOR),
        "On the labels of the ExternalSecret, as `kubectl get externalsecrets -l` takes it.",
    ),
    field(
        "names",
        list(&NAME),
        "Globs on the name of the ExternalSecret.",
    ),
    field(
        "stores",
        list(&Shape::Section {
            fields: STORE,
            rule: Some(names_a_store),
        }),
        "Any store that the ExternalSecret reads from.",
    ),
    field(
        "providers",
        list(&PROVIDER),
        "Types of provider, as the spec of a store names them: `aws`, `azurekv` (or `azure`), `gcpsm` (or `gcp`), `vault`, …",
    ),
    field(
        "states",
        list(&Shape::Word(STATES)),
        "What the ExternalSecret's own status says.",
    ),
    field(
        "overdueAfter",
        Shape::Text(&format::DURATION),
        "From which age of the last sync on an ExternalSecret is overdue; without it, twice its own refreshInterval.",
    ),
];

const STATES: &[&str] = &[
    State::Ready.as_str(),
    State::Failed.as_str(),
    State::NeverSynced.as_str(),
    State::Overdue.as_str(),
];

const WHEN: &[&str] = &[
    When::Always.as_str(),
    When::Drifted.as_str(),
    When::Failed.as_str(),
    When::Overdue.as_str(),
    When::Never.as_str(),
];

const KINDS: &[&str] = &[
    StoreKind::SecretStore.as_str(),
    StoreKind::ClusterSecretStore.as_str(),
];

const STORE: &[Field] = &[
    field("kind", Shape::Word(KINDS), "Without it, both kinds."),
    field(
        "namespace",
        Shape::Text(&format::NAME),
        "Glob on the namespace of a SecretStore.",
    ),
    Field {
        required: true,
        ..field(
            "name",
            Shape::Text(&format::NAME),
            "Glob on the name of the store.",
        )
    },
];

const SYNC: &[Field] = &[
    field(
        "when",
        Shape::Word(WHEN),
        "Which of the selected ones: all; those whose Secret holds something else than the provider (the default where \
         `drift.enabled`); those that failed or never synced; those, and the overdue ones; or none.",
    ),
    field(
        "annotation",
        Shape::Text(&format::ANNOTATION),
        "The annotation that makes the operator sync; any key does.",
    ),
    field(
        "generators",
        Shape::Switch,
        "Whether to sync ExternalSecrets with generators too, which makes new credentials.",
    ),
    field(
        "timeout",
        Shape::Text(&format::DURATION),
        "How long one sync may take, counted from the last proof that the run saw, so that waiting in the operator's queue \
         does not count.",
    ),
    field(
        "retries",
        Shape::Count(0),
        "How often a failed sync is tried again.",
    ),
    field(
        "onStillStale",
        Shape::Word(drift::STILL_STALE),
        "What is done about a Secret that is still stale after a proven sync: tell it; take the operator's hash off it, so that \
         the operator writes it anew; or, where that does not help, delete it too, if the ExternalSecret owns it or may create \
         it.",
    ),
];

const PACE: &[Field] = &[
    field(
        "inFlight",
        Shape::CountOr(1, &format::AUTO),
        "How many may be annotated and not yet proven; `auto` follows the rate at which the operator proves.",
    ),
    field(
        "default",
        Shape::Text(&format::RATE),
        "For each account of a provider that has no rate of its own.",
    ),
    field(
        "providers",
        Shape::Entries {
            key: &format::PROVIDER,
            value: &RATE,
        },
        "By type of provider, for each account of it.",
    ),
    field(
        "stores",
        Shape::Entries {
            key: &format::STORE,
            value: &RATE,
        },
        "By store, on top of the provider's rate: `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`.",
    ),
    field(
        "kubernetes",
        Shape::Text(&format::RATE),
        "Requests to the Kubernetes API.",
    ),
    field(
        "restarts",
        Shape::Text(&format::RATE),
        "Restarts of workloads.",
    ),
];

const SAFETY: &[Field] = &[
    field(
        "maxSyncs",
        Shape::Count(1),
        "More to sync than this, and the run is refused as a whole.",
    ),
    field(
        "maxRestarts",
        Shape::Count(0),
        "More workloads than this that would be restarted if their data changes, and the run is refused as a whole.",
    ),
    field(
        "stopAfterFailures",
        Shape::CountOr(0, &format::PERCENTAGE),
        "More failures than this stop the run: a number, or a percentage of those attempted once ten were.",
    ),
];

const LOCK: &[Field] = &[field(
    "enabled",
    Shape::Switch,
    "Whether runs in one cluster exclude each other by a Lease; off only where something else keeps them apart.",
)];

const SELECT_ALL: &str = "write `{}` if every ExternalSecret is meant";

fn selects(entry: &Node) -> Result<(), Fault> {
    let entries = entry.entries();
    if !entries.is_empty() && entries.iter().all(|entry| is_empty_list(&entry.value)) {
        return Err(Fault::new(
            "names nothing, which would select every ExternalSecret",
            SELECT_ALL,
        ));
    }
    Ok(())
}

fn excludes(entry: &Node) -> Result<(), Fault> {
    if entry
        .entries()
        .iter()
        .all(|entry| is_empty_list(&entry.value))
    {
        return Err(Fault::new(
            "names nothing, which would exclude every ExternalSecret",
            "name something, or remove the entry",
        ));
    }
    Ok(())
}

fn is_empty_list(node: &Node) -> bool {
    matches!(&node.value, Value::List(items) if items.is_empty())
}

fn names_a_store(store: &Node) -> Result<(), Fault> {
    let kind = store.get("kind").map(|node| &node.value);
    if store.get("namespace").is_some()
        && matches!(kind, Some(Value::Scalar { text, .. }) if text == StoreKind::ClusterSecretStore.as_str())
    {
        return Err(Fault::new(
            "a ClusterSecretStore has no namespace",
            "remove `namespace`, or write `kind: SecretStore`",
        ));
    }
    Ok(())
}

impl Shape {
    /// What would be right, as the end of a sentence that starts with "write".
    pub(super) fn asks_for(&self) -> String {
        match self {
            Self::Switch => "write `true` or `false`".to_owned(),
            Self::Count(least) => format!("write a whole number from {least} on, without quotes"),
            Self::Word(words) => format!("write one of {}", listed(words.iter().copied())),
            Self::Text(format) | Self::CountOr(_, format) => format.hint.to_owned(),
            Self::List { .. } => "write a list: `[…]`, or one `- …` per line".to_owned(),
            Self::Section { fields, .. } => {
                format!(
                    "write keys below it: {}",
                    listed(fields.iter().map(|field| field.name))
                )
            }
            Self::Entries { key, value } => format!(
                "write `key: value` pairs below it, such as `{}: {}`",
                key.example,
                value.example()
            ),
        }
    }

    /// A value that would be right, of those that stand in one word.
    fn example(&self) -> &'static str {
        match self {
            Self::Text(format) => format.example,
            Self::Word(words) => words.first().copied().unwrap_or_default(),
            Self::Switch
            | Self::Count(_)
            | Self::CountOr(..)
            | Self::List { .. }
            | Self::Section { .. }
            | Self::Entries { .. } => "…",
        }
    }

    /// The fields, of a section.
    pub(super) fn fields(&self) -> &'static [Field] {
        if let Self::Section { fields, .. } = self {
            fields
        } else {
            &[]
        }
    }
}
