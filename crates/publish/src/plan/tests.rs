//! The rules of the plan, with one item on AWS unless stated otherwise.

mod properties;

use eso_model::{ProviderKind, expected::Unverifiable};
use secret::Value;
use serde_json::json;

use super::*;
use crate::{
    Cost, Format, History, Origin, Owner, Precondition, Presence, Refusal, Target, Version,
    VersionState,
};

pub(super) const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

pub(super) fn hours_ago(hours: i64) -> Timestamp {
    NOW - SignedDuration::from_hours(hours)
}

pub(super) fn store(provider: ProviderKind) -> Arc<Store> {
    let settings =
        json!({"region": "eu-west-1", "server": "https://v:8200", "path": "kv", "projectID": "p"});
    Arc::new(Store::new("store", provider, &settings).unwrap())
}

pub(super) fn wanted(
    store: &Arc<Store>,
    name: &str,
    property: Option<&str>,
    value: &str,
) -> Wanted {
    Wanted {
        target: Target {
            store: Arc::clone(store),
            name: name.to_owned(),
            property: property.map(str::to_owned),
        },
        value: Value::from(value),
        format: Format::Secret,
        origin: Origin {
            item: "item".to_owned(),
            file: "a.env".to_owned(),
            key: name.to_owned(),
            revision: None,
        },
    }
}

pub(super) fn item(name: &str, store: &Arc<Store>, values: &[(&str, &str)]) -> Item {
    Item {
        name: name.to_owned(),
        store: Arc::clone(store),
        rules: Rules::default(),
        wanted: values
            .iter()
            .map(|(name, value)| wanted(store, name, None, value))
            .collect(),
        source_is_whole: true,
    }
}

/// All inputs of a plan, which the tests change.
pub(super) struct World {
    pub(super) items: Vec<Item>,
    /// The names of all items of the policy.
    pub(super) names: BTreeSet<String>,
    pub(super) known: BTreeMap<RemoteKey, Known>,
    pub(super) newer: BTreeSet<String>,
    pub(super) reads: Option<Reads>,
    pub(super) binds_marks: bool,
    pub(super) ceilings: Ceilings,
    pub(super) marks: MarkKey,
}

impl World {
    pub(super) fn new(items: Vec<Item>) -> Self {
        Self {
            names: items.iter().map(|item| item.name.clone()).collect(),
            items,
            known: BTreeMap::new(),
            newer: BTreeSet::new(),
            reads: Some(Reads::default()),
            binds_marks: true,
            ceilings: Ceilings {
                publish: true,
                prune: true,
                ..Ceilings::default()
            },
            marks: MarkKey::from_bytes([1; 32]),
        }
    }

    /// One item with the value `new` under the name `db`.
    fn one() -> Self {
        Self::of(ProviderKind::SecretsManager)
    }

    fn of(provider: ProviderKind) -> Self {
        Self::new(vec![item("item", &store(provider), &[("db", "new")])])
    }

    pub(super) fn input(&self) -> Input<'_> {
        Input {
            items: &self.items,
            names: &self.names,
            known: &self.known,
            marks: &self.marks,
            binds_marks: self.binds_marks,
            newer_revisions: &self.newer,
            reads: self.reads.as_ref(),
            now: NOW,
            ceilings: self.ceilings,
        }
    }

    fn key(&self, name: &str) -> RemoteKey {
        RemoteKey::new(&self.items[0].store, name)
    }

    /// The mark of a value under the name `db`.
    fn mark(&self, value: &str) -> Mark {
        let one = wanted(&self.items[0].store, "db", None, value);
        self.marks.mark(&self.key("db"), &[&one])
    }

    fn knows(mut self, name: &str, held: Held) -> Self {
        self.known.insert(self.key(name), Known::new(held));
        self
    }

    fn compared(mut self, compared: Compared) -> Self {
        let key = self.key("db");
        self.known.get_mut(&key).unwrap().compared = Some(compared);
        self
    }

    fn rules(mut self, change: impl Fn(&mut Rules)) -> Self {
        for item in &mut self.items {
            change(&mut item.rules);
        }
        self
    }

    fn plan(&self) -> Plan {
        plan(&self.input())
    }

    /// Verdict, action and reason of `db`.
    fn decided(&self) -> (&'static str, &'static str, &'static str) {
        self.decided_of("db")
    }

    fn decided_of(&self, name: &str) -> (&'static str, &'static str, &'static str) {
        let key = self.key(name);
        let plan = self.plan();
        let entry = plan.entries.iter().find(|entry| entry.key == key).unwrap();
        (
            entry.verdict.word(),
            entry.step.action.word(),
            entry.step.reason.into_str(),
        )
    }
}

fn ours() -> Owner {
    Owner::Ours {
        item: "item".to_owned(),
    }
}

/// A described secret with version `1`.
fn held(owner: Owner, mark: Option<Mark>) -> Held {
    Held {
        version: Some("1".to_owned()),
        mark,
        owner,
        history: Some(History::default()),
        ..Held::new(Presence::Present)
    }
}

fn different() -> Compared {
    Compared::Different {
        properties: Vec::new(),
    }
}

/// `db` holds another value that eso-sync wrote.
fn changed() -> World {
    let world = World::one();
    let mark = world.mark("old");
    world
        .knows("db", held(ours(), Some(mark)))
        .compared(different())
}

/// `db` holds another value that somebody else wrote.
fn foreign() -> World {
    World::one()
        .knows("db", held(ours(), None))
        .compared(different())
}

#[test]
fn mark_of_the_current_version_proves_the_value() {
    let world = World::one();
    let mark = world.mark("new");
    let world = world.knows("db", held(ours(), Some(mark)));
    assert_eq!(world.decided(), ("in-sync", "leave", "in-sync"));
    assert!(missing(&world.input()).is_empty());
}

#[test]
fn listed_secret_with_the_right_mark_needs_no_further_call() {
    let world = World::one();
    let listed = Held {
        history: None,
        ..held(ours(), Some(world.mark("new")))
    };
    let world = world.knows("db", listed);
    assert_eq!(missing(&world.input()), Missing::default());
}

/// GCP: a list tells the recorded mark, but not of which version.
#[test]
fn listed_secret_without_a_version_is_compared() {
    let listed = |world: &World, value: &str| Held {
        version: None,
        recorded: Some(world.mark(value)),
        history: None,
        ..held(ours(), None)
    };
    let world = World::of(ProviderKind::GcpSecretManager);
    let held = listed(&world, "new");
    let world = world.knows("db", held);
    assert_eq!(missing(&world.input()).compare.len(), 1);
    let world = world.compared(Compared::Equal);
    assert!(missing(&world.input()).is_empty());
    assert_eq!(world.decided(), ("in-sync", "leave", "in-sync"));

    // A mark of another value is renewed, after a description.
    let held = listed(&world, "old");
    let world = world.knows("db", held).compared(Compared::Equal);
    assert_eq!(missing(&world.input()).describe.len(), 1);

    // Only a description tells who wrote another value.
    let held = listed(&world, "old");
    let world = world.knows("db", held).compared(different());
    assert_eq!(missing(&world.input()).describe.len(), 1);
}

#[test]
fn absent_value_is_created() {
    let world = World::one().knows("db", Held::absent());
    assert_eq!(world.decided(), ("absent", "create", "absent"));
    let step = &world.plan().entries[0].step;
    assert_eq!(step.precondition, Precondition::Absent);
    assert_eq!(
        step.cost,
        Cost {
            reads: 0,
            writes: 1
        }
    );
}

#[test]
fn own_value_that_changed_is_updated() {
    let world = changed();
    assert_eq!(world.decided(), ("changed", "update", "changed"));
    let step = &world.plan().entries[0].step;
    assert_eq!(step.precondition, Precondition::Current("1".to_owned()));
}

#[test]
fn foreign_change_is_reported_or_overwritten() {
    let world = foreign();
    assert_eq!(
        world.decided(),
        ("foreign-change", "leave", "foreign-change")
    );
    let world = world.rules(|rules| rules.on_foreign_change = OnForeignChange::Overwrite);
    assert_eq!(
        world.decided(),
        ("foreign-change", "update", "foreign-overwritten")
    );
}

#[test]
fn without_records_the_policy_says_what_may_be_overwritten() {
    let version_1 = json!({"server": "https://v:8200", "path": "kv", "version": "v1"});
    let store = Arc::new(Store::new("store", ProviderKind::Vault, &version_1).unwrap());
    let world = |adopt| {
        let world = World::new(vec![item("item", &store, &[("db", "new")])]);
        world.rules(|rules| rules.adopt = adopt)
    };
    let there = || Held {
        history: Some(History::default()),
        ..Held::new(Presence::Present)
    };
    for (adopt, expected) in [
        (Adopt::Never, ("foreign-change", "leave", "not-owned")),
        (Adopt::Equal, ("foreign-change", "leave", "not-owned")),
        (Adopt::Any, ("changed", "update", "changed")),
    ] {
        let differs = world(adopt).knows("db", there()).compared(different());
        assert_eq!(differs.decided(), expected);
        // Nothing can be recorded, so an equal value costs no write.
        let equals = world(adopt).knows("db", there()).compared(Compared::Equal);
        assert_eq!(equals.decided(), ("in-sync", "leave", "in-sync"));
        let absent = world(adopt).knows("db", Held::absent());
        assert_eq!(absent.decided(), ("absent", "create", "absent"));
    }
}

#[test]
fn going_back_by_hand_is_a_foreign_change() {
    let world = World::one();
    let back = Held {
        history: Some(History {
            went_back: true,
            ..History::default()
        }),
        ..held(ours(), Some(world.mark("old")))
    };
    let world = world.knows("db", back).compared(different());
    assert_eq!(
        world.decided(),
        ("foreign-change", "leave", "foreign-change")
    );
}

#[test]
fn earlier_value_is_not_published_again_by_accident() {
    for (mut world, verdict) in [(changed(), "changed"), (foreign(), "foreign-change")] {
        assert_eq!(world.decided().0, verdict);
        world = world.rules(|rules| rules.on_foreign_change = OnForeignChange::Overwrite);
        let earlier = vec![world.mark("new")];
        let key = world.key("db");
        let known = world.known.get_mut(&key).unwrap();
        known.held.history.as_mut().unwrap().earlier = earlier;
        assert_eq!(world.decided(), ("would-revert", "leave", "would-revert"));
        world.ceilings.revert = true;
        assert_eq!(world.decided().0, "would-revert");
        assert_eq!(world.decided().1, "update");
    }
}

#[test]
fn older_revision_does_not_overwrite_a_newer_one() {
    let mut world = changed();
    let key = world.key("db");
    let known = world.known.get_mut(&key).unwrap();
    known.held.provenance = Some("repo@0a1b:a.env".to_owned());
    assert_eq!(world.decided().0, "changed");
    world.newer.insert("0a1b".to_owned());
    assert_eq!(world.decided(), ("would-revert", "leave", "would-revert"));
}

#[test]
fn in_sync_value_is_no_revert() {
    let mut world = World::one();
    let mark = world.mark("new");
    let mut current = held(ours(), Some(mark));
    current.provenance = Some("repo@0a1b:a.env".to_owned());
    world.newer.insert("0a1b".to_owned());
    assert_eq!(world.knows("db", current).decided().0, "in-sync");
}

#[test]
fn unknown_is_neither_absent_nor_written() {
    let why = Unverifiable::new("denied", "");
    let world = World::one()
        .knows("db", Held::new(Presence::Unknown(why.clone())))
        .rules(|rules| rules.adopt = Adopt::Any);
    assert_eq!(world.decided(), ("unverifiable", "leave", "unverifiable"));
    let world = foreign().compared(Compared::Unknown(why));
    assert_eq!(world.decided(), ("unverifiable", "leave", "unverifiable"));
    assert_eq!(
        World::one().decided(),
        ("unverifiable", "leave", "unverifiable")
    );
}

/// A list may be some minutes old.
#[test]
fn every_write_needs_a_description() {
    let mut world = changed();
    let key = world.key("db");
    world.known.get_mut(&key).unwrap().held.history = None;
    let describe = BTreeSet::from([key]);
    assert_eq!(missing(&world.input()).describe, describe);
    assert_eq!(missing(&World::one().input()).describe, describe);
    assert_eq!(world.decided(), ("unverifiable", "leave", "unverifiable"));
}

#[test]
fn value_with_another_mark_is_compared() {
    let world = World::one();
    let mark = world.mark("old");
    let world = world.knows("db", held(ours(), Some(mark)));
    assert_eq!(
        missing(&world.input()).compare,
        BTreeSet::from([world.key("db")])
    );
    assert_eq!(world.decided().0, "unverifiable");
}

#[test]
fn description_of_another_version_forgets_the_comparison() {
    let known = Known {
        held: held(ours(), None),
        compared: Some(Compared::Equal),
    };
    let version = |version: Option<&str>| Held {
        version: version.map(str::to_owned),
        ..held(ours(), None)
    };
    assert_eq!(
        known.clone().described(version(Some("1"))).compared,
        Some(Compared::Equal)
    );
    assert_eq!(known.described(version(Some("2"))).compared, None);
}

/// A lost key costs reads, never a new version.
#[test]
fn mark_of_another_key_is_renewed_without_a_version() {
    let mut world = World::one();
    let mark = MarkKey::from_bytes([2; 32])
        .version_id(world.mark("x"), None)
        .mark;
    world = world
        .knows("db", held(ours(), Some(mark)))
        .compared(Compared::Equal);
    assert_eq!(world.decided(), ("in-sync", "adopt", "mark-renewed"));
    world.binds_marks = false;
    assert_eq!(world.decided(), ("in-sync", "leave", "in-sync"));
}

#[test]
fn secret_without_owner_is_adopted_as_the_rule_says() {
    let all = |adopt| {
        [Compared::Equal, different()].map(|compared| {
            let world = World::one().knows("db", held(Owner::None, None));
            let (verdict, action, reason) = world
                .compared(compared)
                .rules(|rules| rules.adopt = adopt)
                .decided();
            assert!(matches!(verdict, "in-sync" | "foreign-change"));
            (action, reason)
        })
    };
    assert_eq!(all(Adopt::Never), [("leave", "not-owned"); 2]);
    assert_eq!(
        all(Adopt::Equal),
        [("adopt", "adopted"), ("leave", "not-owned")]
    );
    assert_eq!(
        all(Adopt::Any),
        [("adopt", "adopted"), ("update", "adopted")]
    );
}

#[test]
fn secret_of_another_owner_is_never_written() {
    for owner in [
        Owner::Other,
        Owner::Ours {
            item: "second".to_owned(),
        },
    ] {
        for presence in [
            Presence::Present,
            Presence::Empty,
            Presence::Retired { until: None },
        ] {
            let mut world = World::one();
            let second = item("second", &world.items[0].store, &[("x", "y")]);
            world.items.push(second);
            world.names.insert("second".to_owned());
            let held = Held {
                presence,
                ..held(owner.clone(), None)
            };
            let world = world.knows("db", held).compared(different());
            let world = world.rules(|rules| rules.adopt = Adopt::Any);
            assert_eq!(world.decided().1, "leave");
            assert_eq!(world.decided().2, "owned-by-other");
        }
    }
}

/// `--only`, `suspend`, or a store that cannot be reached.
#[test]
fn secret_of_an_item_that_is_not_published_now_is_never_written() {
    let owner = || Owner::Ours {
        item: "resting".to_owned(),
    };
    let held = |presence| Held {
        presence,
        ..held(owner(), None)
    };
    for adopt in [Adopt::Never, Adopt::Equal, Adopt::Any] {
        for (presence, compared) in [
            (Presence::Present, Some(different())),
            (Presence::Present, Some(Compared::Equal)),
            (Presence::Empty, None),
            (Presence::Retired { until: None }, None),
        ] {
            let mut world = World::one().knows("db", held(presence.clone()));
            world.names.insert("resting".to_owned());
            let world = match compared {
                Some(compared) => world.compared(compared),
                None => world,
            };
            let (_, action, reason) = world.rules(|rules| rules.adopt = adopt).decided();
            assert_eq!(
                (action, reason),
                ("leave", "owned-by-other"),
                "{presence:?}"
            );
        }
    }
}

#[test]
fn secret_of_an_item_that_was_renamed_can_be_adopted() {
    let owner = Owner::Ours {
        item: "former".to_owned(),
    };
    let world = World::one().knows("db", held(owner, None));
    let world = world.compared(Compared::Equal);
    assert_eq!(world.decided(), ("in-sync", "leave", "not-owned"));
    let world = world.rules(|rules| rules.adopt = Adopt::Equal);
    assert_eq!(world.decided(), ("in-sync", "adopt", "adopted"));
}

#[test]
fn deleted_secret_is_restored_only_if_it_is_ours() {
    let of = |owner| {
        let retired = Held {
            presence: Presence::Retired { until: None },
            ..held(owner, None)
        };
        World::one().knows("db", retired).decided()
    };
    assert_eq!(of(ours()), ("absent", "restore", "deleted"));
    assert_eq!(of(Owner::None), ("absent", "leave", "soft-deleted"));
}

#[test]
fn secret_without_version_is_completed_if_it_is_ours() {
    let of = |owner| {
        let empty = Held {
            presence: Presence::Empty,
            version: None,
            ..held(owner, None)
        };
        World::one().knows("db", empty).decided()
    };
    assert_eq!(of(ours()), ("absent", "update", "no-version"));
    assert_eq!(of(Owner::None), ("absent", "leave", "not-owned"));
}

#[test]
fn provider_conventions_forbid_writes() {
    for refusal in [
        Refusal::Rotated,
        Refusal::Managed,
        Refusal::Replica,
        Refusal::Disabled,
        Refusal::OtherType,
    ] {
        let mut world = changed();
        let key = world.key("db");
        world.known.get_mut(&key).unwrap().held.refusal = Some(refusal);
        assert_eq!(world.decided(), ("changed", "leave", refusal.into_str()));
    }
}

#[test]
fn when_absent_writes_only_what_is_absent() {
    let rule = |rules: &mut Rules| rules.when = When::Absent;
    assert_eq!(changed().rules(rule).decided().2, "write-when-absent");
    let world = World::one().knows("db", Held::absent()).rules(rule);
    assert_eq!(world.decided().1, "create");
}

#[test]
fn sixth_write_within_an_hour_is_refused() {
    let with = |writes: Vec<Timestamp>| {
        let mut world = changed();
        let key = world.key("db");
        let known = world.known.get_mut(&key).unwrap();
        known.held.history.as_mut().unwrap().writes = writes;
        world.decided()
    };
    let recent = NOW - SignedDuration::from_mins(59);
    assert_eq!(with(vec![recent; 4]).1, "update");
    assert_eq!(
        with(vec![recent; 5]),
        ("changed", "leave", "too-many-writes")
    );
    assert_eq!(with(vec![hours_ago(1); 9]).1, "update");
}

#[test]
fn other_format_is_a_change() {
    let mut world = World::one();
    let mark = world.mark("new");
    let mut current = held(ours(), Some(mark));
    current.format = Some(Format::Plain);
    world = world.knows("db", current).compared(Compared::Equal);
    assert_eq!(world.decided(), ("changed", "update", "changed"));
}

#[test]
fn nothing_is_written_without_the_flag() {
    let mut world = changed();
    world.ceilings.publish = false;
    assert_eq!(world.decided(), ("changed", "leave", "not-allowed"));
}

#[test]
fn too_many_writes_of_a_run_hold_all_back() {
    let mut world = World::new(vec![item(
        "item",
        &store(ProviderKind::SecretsManager),
        &[("a", "1"), ("b", "2")],
    )])
    .knows("a", Held::absent())
    .knows("b", Held::absent());
    world.ceilings.max_writes = Some(2);
    assert_eq!(world.decided_of("a").1, "create");
    world.ceilings.max_writes = Some(1);
    for name in ["a", "b"] {
        assert_eq!(world.decided_of(name), ("absent", "leave", "max-writes"));
    }
}

#[test]
fn collision_stops_the_items_concerned_and_no_other() {
    let aws = store(ProviderKind::SecretsManager);
    let world = World::new(vec![
        item("item", &aws, &[("db", "1"), ("x", "1")]),
        item("second", &aws, &[("db", "1")]),
        item("third", &aws, &[("y", "1")]),
    ]);
    let world = world
        .knows("db", Held::absent())
        .knows("x", Held::absent())
        .knows("y", Held::absent());
    let reasons: Vec<(usize, &str)> = world
        .plan()
        .entries
        .iter()
        .map(|entry| (entry.item, entry.step.reason.into_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            (0, "collision"),
            (0, "item-stopped"),
            (1, "collision"),
            (2, "absent")
        ]
    );
}

/// Key Vault takes `Db` and `db` for the same secret.
#[test]
fn names_that_differ_in_case_collide_where_the_provider_ignores_it() {
    let reason = |provider| {
        let store = store(provider);
        let world = World::new(vec![item("item", &store, &[("Db", "1"), ("db", "2")])]);
        world.plan().entries[0].step.reason
    };
    assert_eq!(reason(ProviderKind::AzureKeyVault), Reason::Collision);
    assert_ne!(reason(ProviderKind::SecretsManager), Reason::Collision);
}

#[test]
fn one_target_twice_and_a_value_beside_its_document_collide() {
    let vault = store(ProviderKind::Vault);
    for properties in [[Some("a"), Some("a")], [None, Some("a")], [None, None]] {
        let mut world = World::new(vec![item("item", &vault, &[])]);
        world.items[0].wanted = properties
            .map(|property| wanted(&vault, "db", property, "1"))
            .into();
        assert_eq!(world.decided().2, "collision");
    }
}

#[test]
fn encrypted_or_empty_value_stops_its_item() {
    let reasons = |values: &[(&str, &str)]| {
        let aws = store(ProviderKind::SecretsManager);
        let mut world = World::new(vec![item("item", &aws, values)]);
        for (name, _) in values {
            world = world.knows(name, Held::absent());
        }
        let plan = world.plan();
        let reasons = plan.entries.iter();
        reasons
            .map(|entry| entry.step.reason.into_str())
            .collect::<Vec<_>>()
    };
    for value in [
        "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]",
        "url=ENC[AES256_GCM,data:x]",
        "-----BEGIN AGE ENCRYPTED FILE-----\n",
        "-----BEGIN PGP MESSAGE-----\n",
    ] {
        assert_eq!(
            reasons(&[("a", "1"), ("b", value)]),
            ["item-stopped", "encrypted"]
        );
    }
    assert_eq!(reasons(&[("sops_mac", "1")]), ["encrypted"]);
    assert_eq!(reasons(&[("a", "")]), ["empty-value"]);
}

#[test]
fn empty_value_is_published_if_the_item_allows_it() {
    let aws = store(ProviderKind::SecretsManager);
    let world = World::new(vec![item("item", &aws, &[("db", "")])]);
    let world = world
        .knows("db", Held::absent())
        .rules(|rules| rules.allow_empty = true);
    assert_eq!(world.decided().1, "create");
}

/// `db` is wanted and in sync, `old` is orphaned.
fn orphaned(provider: ProviderKind) -> World {
    let world = World::of(provider);
    let mark = world.mark("new");
    world
        .knows("db", held(ours(), Some(mark)))
        .knows("old", held(ours(), None))
        .rules(|rules| rules.prune.mode = PruneMode::Prune)
}

#[test]
fn orphan_is_reported_or_deleted() {
    let world = orphaned(ProviderKind::SecretsManager);
    assert_eq!(world.decided_of("old"), ("orphaned", "retire", "orphaned"));
    let world = world.rules(|rules| rules.prune.mode = PruneMode::Report);
    assert_eq!(
        world.decided_of("old"),
        ("orphaned", "leave", "prune-reports")
    );
    let mut world = orphaned(ProviderKind::SecretsManager);
    world.ceilings.prune = false;
    assert_eq!(world.decided_of("old").2, "prune-not-allowed");
}

#[test]
fn orphan_is_described_before_it_is_deleted() {
    let mut world = orphaned(ProviderKind::SecretsManager);
    let key = world.key("old");
    world.known.get_mut(&key).unwrap().held.history = None;
    assert_eq!(missing(&world.input()).describe, BTreeSet::from([key]));
    assert_eq!(world.decided_of("old").1, "leave");
}

#[test]
fn final_deletion_waits_until_the_secret_was_orphaned_long_enough() {
    let since = |since: Option<Timestamp>| {
        let mut world = orphaned(ProviderKind::GcpSecretManager);
        let key = world.key("old");
        world.known.get_mut(&key).unwrap().held.orphaned_since = since;
        let (_, action, reason) = world.decided_of("old");
        (action, reason)
    };
    assert_eq!(since(None), ("announce", "orphaned"));
    assert_eq!(since(Some(hours_ago(29 * 24))), ("leave", "prune-later"));
    assert_eq!(since(Some(hours_ago(31 * 24))), ("retire", "orphaned"));
}

#[test]
fn orphan_that_is_wanted_again_is_no_longer_recorded_as_one() {
    let world = World::one();
    let mut current = held(ours(), Some(world.mark("new")));
    current.orphaned_since = Some(hours_ago(1));
    let world = world.knows("db", current);
    assert_eq!(world.decided(), ("in-sync", "adopt", "wanted-again"));
}

#[test]
fn nothing_is_deleted_unless_the_item_is_known_completely() {
    let reason = |change: &dyn Fn(&mut World)| {
        let mut world = orphaned(ProviderKind::SecretsManager);
        change(&mut world);
        let (_, action, reason) = world.decided_of("old");
        assert_eq!(action, "leave");
        reason
    };
    assert_eq!(
        reason(&|world| world.items[0].source_is_whole = false),
        "source-incomplete"
    );
    assert_eq!(
        reason(&|world| world.items[0].wanted.clear()),
        "source-incomplete"
    );
    let why = || Unverifiable::new("denied", "");
    assert_eq!(
        reason(&|world| {
            let unknown = Known::new(Held::new(Presence::Unknown(why())));
            world.known.insert(world.key("db"), unknown);
        }),
        "source-incomplete"
    );
    assert_eq!(
        reason(&|world| {
            let empty = wanted(&world.items[0].store, "empty", None, "");
            world.items[0].wanted.push(empty);
            let known = Known::new(Held::absent());
            world.known.insert(world.key("empty"), known);
        }),
        "source-incomplete"
    );
    assert_eq!(
        reason(&|world| {
            let of = BTreeSet::from([world.key("old")]);
            world.reads = Some(Reads {
                of,
                ..Reads::default()
            });
        }),
        "still-read"
    );
    assert_eq!(reason(&|world| world.reads = None), "readers-unknown");
    assert_eq!(
        reason(&|world| {
            let key = world.key("old");
            let known = world.known.get_mut(&key).unwrap();
            known.held.history.as_mut().unwrap().last_read = Some(hours_ago(29 * 24));
        }),
        "read-recently"
    );
    assert_eq!(
        reason(&|world| {
            let key = world.key("old");
            world.known.get_mut(&key).unwrap().held.refusal = Some(Refusal::Managed);
        }),
        "managed"
    );
}

#[test]
fn more_orphans_than_permitted_are_all_kept() {
    let mut world = orphaned(ProviderKind::SecretsManager).knows("old-2", held(ours(), None));
    world = world.rules(|rules| rules.prune.max = 1);
    for name in ["old", "old-2"] {
        assert_eq!(world.decided_of(name).2, "prune-limit");
    }
    world = world.rules(|rules| rules.prune.max = 2);
    assert_eq!(world.decided_of("old").1, "retire");
    world.ceilings.max_prunes = Some(1);
    assert_eq!(world.decided_of("old").2, "prune-limit");
}

#[test]
fn only_own_secrets_in_the_present_store_are_orphans() {
    let mut world = orphaned(ProviderKind::SecretsManager)
        .knows("foreign", held(Owner::Other, None))
        .knows("unowned", held(Owner::None, None));
    let former = Owner::Ours {
        item: "former".to_owned(),
    };
    world = world.knows("former", held(former, None));
    let moved = RemoteKey {
        space: "elsewhere".to_owned(),
        ..world.key("moved")
    };
    world.known.insert(moved, Known::new(held(ours(), None)));
    let gone = Held {
        presence: Presence::Retired { until: None },
        ..held(ours(), None)
    };
    world = world.knows("gone", gone);
    let orphans: Vec<String> = world
        .plan()
        .entries
        .into_iter()
        .filter(|entry| entry.verdict == Verdict::Orphaned)
        .map(|entry| entry.name)
        .collect();
    assert_eq!(orphans, ["old"]);
}

/// A document in Vault with the keys `a` (wanted) and `b` (no longer wanted).
fn document() -> World {
    let vault = store(ProviderKind::Vault);
    let mut world = World::new(vec![item("item", &vault, &[])]);
    world.items[0].wanted = vec![wanted(&vault, "db", Some("a"), "1")];
    let key = world.key("db");
    let current = Held {
        properties: ["a", "b"]
            .map(|name| world.marks.property(&key, name))
            .into(),
        ..held(ours(), None)
    };
    world.knows("db", current).compared(Compared::Equal)
}

#[test]
fn orphaned_key_of_a_document_is_reported_or_removed() {
    let world = document();
    let b = world.marks.property(&world.key("db"), "b");
    let entry = &world.plan().entries[0];
    assert_eq!(entry.orphaned_properties, [b]);
    assert_eq!(entry.step.action, Action::Adopt, "its mark is renewed");
    assert!(entry.dropped.is_empty());

    let world = world.rules(|rules| rules.prune.mode = PruneMode::Prune);
    let entry = &world.plan().entries[0];
    assert_eq!(entry.step.reason, Reason::Orphaned);
    assert_eq!(entry.dropped, [b]);
}

/// With another mark key, all keys of the document look orphaned.
#[test]
fn lost_mark_key_removes_no_key_of_a_document() {
    let mut world = document().rules(|rules| rules.prune.mode = PruneMode::Prune);
    world.marks = MarkKey::from_bytes([9; 32]);
    assert!(world.plan().entries[0].dropped.is_empty());
    let mut world = document().rules(|rules| rules.prune.mode = PruneMode::Prune);
    world.binds_marks = false;
    assert!(world.plan().entries[0].dropped.is_empty());
}

#[test]
fn old_own_versions_are_destroyed_if_nothing_names_them() {
    let version = |id: &str, days: i64| Version {
        id: id.to_owned(),
        created: Some(hours_ago(days * 24)),
        is_ours: true,
        state: VersionState::Enabled,
        is_named: false,
    };
    let mut world = World::of(ProviderKind::GcpSecretManager).rules(|rules| rules.keep = Some(3));
    let history = History {
        versions: vec![
            version("9", 31),
            version("8", 32),
            version("7", 33),
            version("6", 40),
            Version {
                is_ours: false,
                ..version("5", 41)
            },
            Version {
                is_named: true,
                ..version("4", 42)
            },
            Version {
                state: VersionState::Destroyed,
                ..version("3", 43)
            },
            version("2", 44),
        ],
        ..History::default()
    };
    let current = Held {
        history: Some(history),
        ..held(ours(), Some(world.mark("new")))
    };
    world = world.knows("db", current);
    let pin = (world.key("db"), "2".to_owned());
    world.reads.as_mut().unwrap().pinned.insert(pin);
    let destroyed = |world: &World| -> Vec<Action> {
        let plan = world.plan();
        let steps = plan.entries[0].destroy.iter();
        steps.map(|step| step.action.clone()).collect()
    };
    assert!(destroyed(&world).is_empty(), "without the flag");
    world.ceilings.destroy = true;
    let of = |id: &str| Action::DestroyVersion {
        version: id.to_owned(),
    };
    assert_eq!(destroyed(&world), [of("7"), of("6")]);
    let reads = world.reads.take();
    assert!(destroyed(&world).is_empty(), "the readers are not known");
    world.reads = reads;
    world = world.rules(|rules| rules.keep = None);
    assert!(destroyed(&world).is_empty());
}

#[test]
fn young_versions_are_never_destroyed() {
    let mut world = World::of(ProviderKind::GcpSecretManager).rules(|rules| rules.keep = Some(1));
    world.ceilings.destroy = true;
    let young = Version {
        id: "1".to_owned(),
        created: Some(hours_ago(29 * 24)),
        is_ours: true,
        state: VersionState::Enabled,
        is_named: false,
    };
    let undated = Version {
        created: None,
        ..young.clone()
    };
    let current = Held {
        history: Some(History {
            versions: vec![young, undated],
            ..History::default()
        }),
        ..held(ours(), Some(world.mark("new")))
    };
    assert!(
        world.knows("db", current).plan().entries[0]
            .destroy
            .is_empty()
    );
}
