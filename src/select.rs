//! Selects ExternalSecrets from the inventory by the policy. Pure.
//!
//! The selection is made once per snapshot, before any provider is read. The drift check, the list of workloads and the plan use
//! it.

use std::{collections::BTreeSet, time::Duration};

use eso_model::{Id, ProviderName, StoreKey, window::Window};
use jiff::Timestamp;

use crate::{
    inventory::{ExternalSecret, Inventory, State, Store, StoreView},
    pattern::Pattern,
    policy::{Policy, Selection, StorePattern},
    reason::Reason,
    selector::Selector,
};

/// The selected ExternalSecrets, in the order of the inventory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected<'a>(Vec<One<'a>>);

/// One selected ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct One<'a> {
    pub external_secret: &'a ExternalSecret,
    pub state: State,
    /// Why it is skipped although it is selected: [`Reason::Excluded`], [`Reason::BeingDeleted`] or [`Reason::Ignored`].
    pub taken_out: Option<Reason>,
    /// The state of its `syncWindows`, if it has any.
    pub window: Option<Window>,
    /// True if what it reads was published just now, so that it is synced whatever `sync.when` says.
    pub published: bool,
}

/// A part of a selection, by ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub of: BTreeSet<Id>,
    /// Those of them that read what was published just now.
    pub published: BTreeSet<Id>,
}

impl From<BTreeSet<Id>> for Part {
    fn from(of: BTreeSet<Id>) -> Self {
        Self {
            of,
            published: BTreeSet::new(),
        }
    }
}

impl<'s, 'a> IntoIterator for &'s Selected<'a> {
    type Item = &'s One<'a>;
    type IntoIter = std::slice::Iter<'s, One<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> Selected<'a> {
    pub fn iter(&self) -> std::slice::Iter<'_, One<'a>> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns only those of this part.
    #[must_use]
    pub fn only(mut self, part: &Part) -> Self {
        self.0
            .retain(|one| part.of.contains(&one.external_secret.id));
        for one in &mut self.0 {
            one.published = part.published.contains(&one.external_secret.id);
        }
        self
    }

    /// Returns the ExternalSecrets to check for drift: all that are not taken out.
    pub fn checked(&self) -> BTreeSet<Id> {
        let checked = self.0.iter().filter(|one| one.taken_out.is_none());
        checked.map(|one| one.external_secret.id.clone()).collect()
    }

    /// True if an ExternalSecret with this name is selected.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|one| one.external_secret.id.name == name)
    }
}

pub fn select<'a>(policy: &Policy, inventory: &'a Inventory, now: Timestamp) -> Selected<'a> {
    let one = |external_secret: &'a ExternalSecret| {
        let snapshot = (inventory, external_secret, now);
        let covered = &external_secret.covered_by;
        let selection = first_covering(&policy.select, covered, snapshot, false)?;
        let excluded_by = &external_secret.excluded_by;
        let taken_out = if first_covering(&policy.exclude, excluded_by, snapshot, true).is_some() {
            Some(Reason::Excluded)
        } else if external_secret.deleting {
            Some(Reason::BeingDeleted)
        } else if external_secret.ignored {
            Some(Reason::Ignored)
        } else {
            None
        };
        Some(One {
            external_secret,
            state: state(external_secret, selection.overdue_after, now),
            taken_out,
            window: external_secret
                .windows
                .as_ref()
                .map(|windows| windows.at(now)),
            published: false,
        })
    };
    Selected(inventory.external_secrets.iter().filter_map(one).collect())
}

/// Returns the first entry that covers the ExternalSecret. `if_unknown` is true for `exclude`: an entry that may cover it must
/// exclude it.
fn first_covering<'a>(
    selections: &'a [Selection],
    candidates: &[u16],
    (inventory, external_secret, now): (&Inventory, &ExternalSecret, Timestamp),
    if_unknown: bool,
) -> Option<&'a Selection> {
    candidates
        .iter()
        .filter_map(|&index| selections.get(usize::from(index)))
        .find(|selection| covers(selection, inventory, external_secret, now).unwrap_or(if_unknown))
}

/// True if the stores, providers and states match, which discovery does not check. None if a store could not be read.
fn covers(
    selection: &Selection,
    inventory: &Inventory,
    external_secret: &ExternalSecret,
    now: Timestamp,
) -> Option<bool> {
    let mut stores = external_secret.store_keys();
    let of_store = |pattern: &StorePattern| {
        let mut stores = external_secret.store_keys();
        stores.any(|key| store_matches(pattern, key))
    };
    let of_provider = |provider: &ProviderName| {
        external_secret
            .store_keys()
            .filter_map(|key| inventory.store(key))
            .any(|store: &Store| provider.covers(&store.provider))
    };
    let is_in =
        |states: &[State]| states.contains(&state(external_secret, selection.overdue_after, now));
    let certain = (selection.stores.is_empty() || selection.stores.iter().any(of_store))
        && (selection.states.is_empty() || is_in(&selection.states));
    if !certain || selection.providers.is_empty() || selection.providers.iter().any(of_provider) {
        return Some(certain);
    }
    let is_unknown =
        |key: &StoreKey| matches!(inventory.stores.get(key), Some(StoreView::Unknown(_)));
    if stores.any(is_unknown) {
        None
    } else {
        Some(false)
    }
}

/// Describes the entries and namespace patterns of `select` that match no ExternalSecret, whatever its state is. Empty if the
/// ExternalSecrets that they may match could not be listed.
pub fn unmatched(policy: &Policy, inventory: &Inventory) -> Vec<String> {
    let entries = (0_u16..).zip(&policy.select);
    entries
        .flat_map(|(index, selection)| unmatched_in(index, selection, inventory))
        .collect()
}

fn unmatched_in(index: u16, selection: &Selection, inventory: &Inventory) -> Vec<String> {
    let any_state = Selection {
        states: Vec::new(),
        ..selection.clone()
    };
    let is_covered = |external_secret: &&ExternalSecret| {
        external_secret.covered_by.contains(&index)
            && covers(
                &any_state,
                inventory,
                external_secret,
                Timestamp::UNIX_EPOCH,
            ) != Some(false)
    };
    let covered = inventory.external_secrets.iter().filter(is_covered);
    let namespaces: BTreeSet<&str> = covered.map(|it| &*it.id.namespace).collect();
    let unlisted = |pattern: Option<&Pattern>| {
        let gaps = inventory.gaps.iter();
        let mut gaps =
            gaps.filter(|gap| gap.what.starts_with("externalsecrets") || gap.what == "namespaces");
        gaps.any(|gap| match (&gap.namespace, pattern) {
            (Some(namespace), Some(pattern)) => pattern.matches(namespace),
            (None, _) | (_, None) => true,
        })
    };
    if namespaces.is_empty() {
        let described = || format!("no ExternalSecret matches {}", described(selection));
        return (!unlisted(None)).then(described).into_iter().collect();
    }
    let only_namespaces = Selection {
        namespaces: selection.namespaces.clone(),
        states: selection.states.clone(),
        overdue_after: selection.overdue_after,
        ..Selection::default()
    };
    if *selection != only_namespaces {
        return Vec::new();
    }
    let missing = |pattern: &&Pattern| {
        !namespaces.iter().any(|name| pattern.matches(name)) && !unlisted(Some(pattern))
    };
    let missing = selection.namespaces.iter().filter(missing);
    missing
        .map(|pattern| format!("no ExternalSecret is in a namespace that matches `{pattern}`"))
        .collect()
}

/// The fields of an entry, in the form of a policy.
fn described(selection: &Selection) -> String {
    let texts = |patterns: &[Pattern]| -> Vec<String> {
        patterns.iter().map(ToString::to_string).collect()
    };
    let stores = selection.stores.iter().map(|store| store.name.to_string());
    let providers = selection
        .providers
        .iter()
        .map(|name| name.as_str().to_owned());
    let selector = |selector: &Option<Selector>| -> Vec<String> {
        selector.iter().map(ToString::to_string).collect()
    };
    let fields = [
        ("namespaces", texts(&selection.namespaces)),
        ("namespaceSelector", selector(&selection.namespace_selector)),
        ("labelSelector", selector(&selection.label_selector)),
        ("names", texts(&selection.names)),
        ("stores", stores.collect()),
        ("providers", providers.collect()),
    ];
    let fields = fields.into_iter().filter(|(_, values)| !values.is_empty());
    let fields: Vec<String> = fields
        .map(|(name, values)| format!("`{name}: {}`", values.join(", ")))
        .collect();
    if fields.is_empty() {
        "`select: [{}]`, which selects all".to_owned()
    } else {
        fields.join(" and ")
    }
}

/// True if the pattern matches this store.
pub fn store_matches(pattern: &StorePattern, key: &StoreKey) -> bool {
    pattern.kind.is_none_or(|kind| kind == key.kind())
        && pattern.name.matches(key.name())
        && pattern.namespace.as_ref().is_none_or(|pattern| {
            key.namespace()
                .is_some_and(|namespace| pattern.matches(namespace))
        })
}

/// The state by the status. A failure takes precedence, because users look for failures first.
fn state(
    external_secret: &ExternalSecret,
    overdue_after: Option<Duration>,
    now: Timestamp,
) -> State {
    let limit = overdue_after.or_else(|| external_secret.refresh.overdue_after());
    if external_secret
        .ready
        .as_ref()
        .is_some_and(|ready| !ready.ready)
    {
        return State::Failed;
    }
    match (external_secret.age(now), limit) {
        (None, _) => State::NeverSynced,
        (Some(age), Some(limit)) if age > limit => State::Overdue,
        (Some(_), _) => State::Ready,
    }
}
