//! Properties that hold for all inputs.

use proptest::{collection::vec, prelude::*};

use super::*;

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![
        Just(Owner::None),
        Just(Owner::Other),
        "i[0-2]".prop_map(|item| Owner::Ours { item })
    ]
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![
        4 => Just(Presence::Present),
        1 => Just(Presence::Empty),
        1 => Just(Presence::Absent),
        1 => Just(Presence::Retired { until: None }),
        1 => Just(Presence::Unknown(Unverifiable::new("denied", ""))),
    ]
}

/// What is known about a name: if its mark is that of the value, and the result of a comparison.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
struct Fact {
    name: String,
    presence: Presence,
    owner: Owner,
    marked: Option<bool>,
    compared: Option<bool>,
    described: bool,
    went_back: bool,
    reverts: bool,
    orphaned: bool,
}

fn fact() -> impl Strategy<Value = Fact> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        "n[0-4]",
        presence(),
        owner(),
        any::<Option<bool>>(),
        any::<Option<bool>>(),
        flags,
    )
        .prop_map(
            |(
                name,
                presence,
                owner,
                marked,
                compared,
                (described, went_back, reverts, orphaned),
            )| Fact {
                name,
                presence,
                owner,
                marked,
                compared,
                described,
                went_back,
                reverts,
                orphaned,
            },
        )
}

fn rules() -> impl Strategy<Value = Rules> {
    (
        any::<bool>(),
        prop_oneof![Just(Adopt::Never), Just(Adopt::Equal), Just(Adopt::Any)],
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(absent, adopt, overwrite, prune, allow_empty)| Rules {
            when: if absent { When::Absent } else { When::Changed },
            adopt,
            on_foreign_change: if overwrite {
                OnForeignChange::Overwrite
            } else {
                OnForeignChange::Report
            },
            prune: Prune {
                mode: if prune {
                    PruneMode::Prune
                } else {
                    PruneMode::Report
                },
                ..Prune::default()
            },
            keep: Some(1),
            allow_empty,
        })
}

fn provider() -> impl Strategy<Value = ProviderKind> {
    prop_oneof![
        Just(ProviderKind::SecretsManager),
        Just(ProviderKind::GcpSecretManager),
        Just(ProviderKind::AzureKeyVault),
        Just(ProviderKind::ParameterStore),
        Just(ProviderKind::Vault),
    ]
}

/// Values of items: `(item, name, value)`.
type Values = Vec<(usize, String, String)>;

/// What a world is built from.
#[derive(Clone, Debug)]
struct Case {
    provider: ProviderKind,
    values: Values,
    rules: Vec<Rules>,
    facts: Vec<Fact>,
    whole: bool,
    revert: bool,
}

fn case() -> impl Strategy<Value = Case> {
    (
        provider(),
        vec((0_usize..3, "n[0-4]", "[a-c]?"), 0..8),
        vec(rules(), 3),
        vec(fact(), 0..6),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(provider, values, rules, facts, whole, revert)| Case {
            provider,
            values,
            rules,
            facts,
            whole,
            revert,
        })
}

impl Case {
    fn world(&self) -> World {
        let store = store(self.provider.clone());
        let items = self.rules.iter().enumerate().map(|(index, rules)| {
            let own = self.values.iter().filter(|(item, ..)| *item == index);
            let own: Vec<(&str, &str)> = own
                .map(|(_, name, value)| (name.as_str(), value.as_str()))
                .collect();
            Item {
                rules: rules.clone(),
                source_is_whole: self.whole,
                ..item(&format!("i{index}"), &store, &own)
            }
        });
        let mut world = World::new(items.collect());
        world.ceilings.revert = self.revert;
        world.ceilings.destroy = true;
        for fact in &self.facts {
            let key = RemoteKey::new(&store, &fact.name);
            let known = known(&world, &key, fact);
            world.known.insert(key, known);
        }
        world
    }
}

/// The mark of the first value of this secret.
fn mark(world: &World, key: &RemoteKey) -> Option<Mark> {
    let mut all = world.items.iter().flat_map(|item| &item.wanted);
    let first = all.find(|wanted| wanted.target.remote_key() == *key)?;
    Some(world.marks.mark(key, &[first]))
}

fn known(world: &World, key: &RemoteKey, fact: &Fact) -> Known {
    let right = mark(world, key);
    let other = world.marks.version_id(world.mark("other"), None).mark;
    let history = History {
        earlier: right.filter(|_| fact.reverts).into_iter().collect(),
        went_back: fact.went_back,
        ..History::default()
    };
    Known {
        held: Held {
            version: Some("1".to_owned()),
            mark: fact
                .marked
                .and_then(|marked| if marked { right } else { Some(other) }),
            owner: if fact.presence == Presence::Absent {
                Owner::None
            } else {
                fact.owner.clone()
            },
            orphaned_since: fact.orphaned.then(|| hours_ago(1)),
            history: fact.described.then_some(history),
            ..Held::new(fact.presence.clone())
        },
        compared: fact
            .compared
            .map(|equal| if equal { Compared::Equal } else { different() }),
    }
}

/// Does what the plan says, and lists again.
fn apply(world: &mut World, plan: &Plan) {
    for entry in &plan.entries {
        let owner = Owner::Ours {
            item: world.items[entry.item].name.clone(),
        };
        let written = || Known::new(held(owner.clone(), entry.mark));
        let known = world.known.get(&entry.key).cloned();
        let now = match &entry.step.action {
            Action::Create | Action::Update { .. } | Action::Restore | Action::Adopt => {
                Some(written())
            }
            Action::Announce => known.map(|mut known| {
                known.held.orphaned_since = Some(NOW);
                known
            }),
            Action::Retire => Some(Known::new(Held {
                presence: Presence::Retired { until: None },
                ..held(owner.clone(), None)
            })),
            Action::DestroyVersion { .. } | Action::Leave => known,
        };
        if let Some(now) = now {
            world.known.insert(entry.key.clone(), now);
        }
    }
}

/// The value that entry would write, of all that are wanted.
fn is_settled(entry: &Entry) -> bool {
    !entry.step.action.is_write()
}

proptest! {
    #[test]
    fn plan_is_deterministic(case in case()) {
        let mut world = case.world();
        let first = world.plan();
        prop_assert_eq!(&world.plan(), &first);
        for item in &mut world.items {
            item.wanted.reverse();
        }
        // The order of the values in the files does not matter, only their indices.
        let strip = |plan: Plan| -> Vec<Entry> {
            let entries = plan.entries.into_iter();
            entries.map(|entry| Entry { wanted: Vec::new(), mark: None, ..entry }).collect()
        };
        let collides = |plan: &Plan| plan.entries.iter().any(|entry| entry.step.reason == Reason::Collision);
        if !collides(&first) {
            prop_assert_eq!(strip(world.plan()), strip(first));
        }
    }

    #[test]
    fn no_target_is_written_twice(case in case()) {
        let world = case.world();
        let mut written = BTreeSet::new();
        for entry in world.plan().entries {
            if entry.step.action.is_write() {
                prop_assert!(written.insert(entry.key));
            }
        }
    }

    #[test]
    fn unknown_presence_is_never_written(case in case()) {
        let world = case.world();
        for entry in world.plan().entries {
            let known = world.known.get(&entry.key);
            let is_unknown = known.is_none_or(|known| matches!(known.held.presence, Presence::Unknown(_)));
            if is_unknown {
                prop_assert!(!entry.step.action.is_write() && entry.destroy.is_empty());
            }
        }
    }

    #[test]
    fn only_described_secrets_are_written(case in case()) {
        let world = case.world();
        for entry in world.plan().entries {
            if entry.step.action.is_write() {
                prop_assert!(world.known[&entry.key].held.history.is_some());
            }
        }
    }

    #[test]
    fn what_others_own_is_never_written(case in case()) {
        let world = case.world();
        for entry in world.plan().entries {
            if entry.step.action.is_write() {
                prop_assert_ne!(&world.known[&entry.key].held.owner, &Owner::Other);
            }
        }
    }

    #[test]
    fn every_wanted_value_is_in_one_entry(case in case()) {
        let world = case.world();
        let plan = world.plan();
        for (index, item) in world.items.iter().enumerate() {
            let of_item = plan.entries.iter().filter(|entry| entry.item == index);
            let mut wanted: Vec<usize> = of_item.flat_map(|entry| entry.wanted.clone()).collect();
            wanted.sort_unstable();
            prop_assert_eq!(wanted, (0..item.wanted.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn second_plan_writes_nothing(case in case()) {
        let mut world = case.world();
        let first = world.plan();
        apply(&mut world, &first);
        let second = world.plan();
        for entry in &second.entries {
            prop_assert!(is_settled(entry), "{:?} after {:?}", entry, first);
        }
        // What was written is in sync.
        for entry in first.entries.iter().filter(|entry| entry.step.action.writes_value()) {
            let again = second.entries.iter().find(|other| other.key == entry.key && other.item == entry.item);
            prop_assert_eq!(again.map(|entry| entry.verdict.clone()), Some(Verdict::InSync));
        }
    }

    #[test]
    fn writes_are_not_planned_while_something_is_missing_for_them(case in case()) {
        let world = case.world();
        let missing = missing(&world.input());
        for entry in world.plan().entries {
            if entry.step.action.is_write() {
                prop_assert!(!missing.describe.contains(&entry.key) && !missing.compare.contains(&entry.key));
            }
        }
    }
}
