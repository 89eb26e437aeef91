use eso_model::{ProviderKind, expected::CreationPolicy, refresh::Refresh, remote::Place};
use pace::rate::Rate;
use proptest::prelude::*;

use super::*;
use crate::{
    exit::{
        Exit,
        decide::{Tells, exit_of},
    },
    inventory::{Calls, Operator, Parent, ParentReference, Store, StoreUse, StoreView},
    pattern::Pattern,
    policy::{
        Advise, Drift, FailureLimit, InFlight, KeyNames, Lock, Pace, RestartRule, Safety,
        Selection, StorePattern, Sync, When,
    },
    restart::{fixtures, subject::View, targets::Targets},
    results::Results,
    select::{Part, select},
};

const NOW: &str = "2026-03-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// The plan without a drift check and without restarts.
fn plan(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Plan {
    planned(policy, inventory, &Findings::default(), now)
}

fn planned(policy: &Policy, inventory: &Inventory, findings: &Findings, now: Timestamp) -> Plan {
    with_workloads(policy, inventory, findings, &Workloads::default(), now)
}

fn with_workloads(
    policy: &Policy,
    inventory: &Inventory,
    findings: &Findings,
    workloads: &Workloads,
    now: Timestamp,
) -> Plan {
    let facts = Facts {
        inventory,
        selected: &select(policy, inventory, now),
        findings,
        restarts: RestartFacts {
            workloads,
            holds: &Holds::of(policy, workloads),
            options: &Options::default(),
        },
        now,
    };
    super::plan(policy, facts)
}

fn policy() -> Policy {
    let rate = |per_second| Rate::per_second(per_second).unwrap();
    Policy {
        select: vec![Selection::default()],
        exclude: Vec::new(),
        sync: Sync {
            when: When::Always,
            annotation: "force-sync".to_owned(),
            generators: false,
            timeout: Duration::from_mins(1),
            retries: 2,
            on_still_stale: OnStillStale::Report,
        },
        drift: Drift {
            enabled: false,
            ..Drift::default()
        },
        restart: Vec::new(),
        advise: Advise::default(),
        publish: None,
        events: None,
        notify: None,
        report: crate::policy::Report::default(),
        pace: Pace {
            in_flight: InFlight::Auto,
            default: rate(20.0),
            providers: BTreeMap::new(),
            stores: BTreeMap::new(),
            writes: BTreeMap::new(),
            kubernetes: rate(50.0),
            restarts: rate(1.0),
        },
        safety: Safety {
            max_syncs: 500,
            max_restarts: 50,
            stop_after_failures: FailureLimit::Share(0.2),
            require_match: false,
            key_names: KeyNames::Safe,
        },
        lock: Lock { enabled: true },
        deadline: Duration::from_mins(10),
    }
}

fn store(name: &str) -> Store {
    Store {
        key: StoreKey::Cluster {
            name: name.to_owned(),
        },
        provider: ProviderKind::SecretsManager,
        quota: QuotaKey {
            provider: ProviderKind::SecretsManager,
            account: name.to_owned(),
        },
        place: Box::new(Place::of(
            &ProviderKind::SecretsManager,
            &serde_json::Value::Null,
        )),
        foreign_class: None,
        ready: Some(Ready {
            ready: true,
            reason: "Valid".to_owned(),
            message: String::new(),
        }),
    }
}

/// Two entries with the same key.
fn store_use(name: &str) -> StoreUse {
    StoreUse {
        key: StoreKey::Cluster {
            name: name.to_owned(),
        },
        calls: Calls {
            entries: 2,
            distinct: 1,
            searches: 0,
        },
    }
}

/// Ready, synced ten minutes ago from the store `s`, every hour.
fn es(namespace: &str, name: &str) -> ExternalSecret {
    ExternalSecret {
        refreshed: Some("2026-03-01T11:50:00Z".parse().unwrap()),
        ready: Some(Ready {
            ready: true,
            reason: "SecretSynced".to_owned(),
            message: String::new(),
        }),
        ..ExternalSecret::sample(namespace, name, vec![store_use("s")])
    }
}

fn inventory(external_secrets: Vec<ExternalSecret>) -> Inventory {
    let store = store("s");
    Inventory {
        external_secrets,
        stores: BTreeMap::from([(store.key.clone(), StoreView::Seen(store))]),
        operator: Operator {
            mirrors_force_sync: Some(true),
            ignores_interval_zero: Some(true),
        },
        ..Inventory::default()
    }
}

fn first(plan: &Plan) -> &Item {
    &plan.items[ItemAt::at(0)]
}

/// For the only item: if it is synced, the reason and the message.
fn only(policy: &Policy, inventory: &Inventory) -> (bool, Reason, String) {
    let plan = plan(policy, inventory, now());
    assert_eq!(plan.items.len(), 1);
    match &first(&plan).action {
        Action::Sync { reason, .. } => (true, *reason, String::new()),
        Action::Skip { reason, message } => (false, *reason, message.clone()),
    }
}

fn skipped(external_secret: ExternalSecret) -> Reason {
    let (synced, reason, _) = only(&policy(), &inventory(vec![external_secret]));
    assert!(!synced, "{reason:?}");
    reason
}

#[test]
fn ready_external_secret_is_synced_when_selected() {
    assert_eq!(
        only(&policy(), &inventory(vec![es("a", "x")])),
        (true, Reason::Selected, String::new())
    );
}

#[test]
fn ignore_exclude_and_deletion_skip() {
    assert_eq!(
        skipped(ExternalSecret {
            ignored: true,
            ..es("a", "x")
        }),
        Reason::Ignored
    );
    assert_eq!(
        skipped(ExternalSecret {
            deleting: true,
            ..es("a", "x")
        }),
        Reason::BeingDeleted
    );
    let mut policy = policy();
    policy.exclude = vec![Selection::default()];
    let excluded = ExternalSecret {
        excluded_by: vec![0],
        ..es("a", "x")
    };
    assert_eq!(
        only(&policy, &inventory(vec![excluded])).1,
        Reason::Excluded
    );
}

#[test]
fn exclude_by_store_skips_only_its_external_secrets() {
    let mut policy = policy();
    policy.exclude = vec![Selection {
        stores: vec![StorePattern {
            kind: None,
            namespace: None,
            name: Pattern::new("other-*").unwrap(),
        }],
        ..Selection::default()
    }];
    let candidate = ExternalSecret {
        excluded_by: vec![0],
        ..es("a", "x")
    };
    assert!(only(&policy, &inventory(vec![candidate])).0);
}

#[test]
fn exclude_by_provider_applies_if_store_is_unreadable() {
    let mut policy = policy();
    policy.exclude = vec![Selection {
        providers: vec!["aws".parse().unwrap()],
        ..Selection::default()
    }];
    let mut inventory = inventory(vec![ExternalSecret {
        excluded_by: vec![0],
        ..es("a", "x")
    }]);
    let key = StoreKey::Cluster {
        name: "s".to_owned(),
    };
    inventory
        .stores
        .insert(key, StoreView::Unknown("forbidden".to_owned()));
    assert_eq!(only(&policy, &inventory).1, Reason::Excluded);
}

#[test]
fn external_secrets_that_ignore_force_sync_are_skipped() {
    let once = ExternalSecret {
        refresh: Refresh::CreatedOnce,
        ..es("a", "x")
    };
    let zero = ExternalSecret {
        refresh: Refresh::Periodic(Duration::ZERO),
        ..es("a", "x")
    };
    assert_eq!(skipped(once.clone()), Reason::RefreshCreatedOnce);
    assert_eq!(skipped(zero.clone()), Reason::RefreshIntervalZero);
    for never_synced in [once, zero] {
        let never_synced = ExternalSecret {
            refreshed: None,
            ready: None,
            ..never_synced
        };
        assert_eq!(
            only(&policy(), &inventory(vec![never_synced])).1,
            Reason::NeverSynced
        );
    }
}

#[test]
fn interval_zero_mentions_unknown_operator_version() {
    let mut inventory = inventory(vec![ExternalSecret {
        refresh: Refresh::Periodic(Duration::ZERO),
        ..es("a", "x")
    }]);
    inventory.operator.ignores_interval_zero = None;
    let (synced, _, message) = only(&policy(), &inventory);
    assert!(!synced && message.contains("is unknown"), "{message}");
    inventory.operator.ignores_interval_zero = Some(false);
    assert!(only(&policy(), &inventory).0);
}

#[test]
fn generators_are_synced_only_if_allowed() {
    let generator = ExternalSecret {
        generators: vec!["Password".to_owned()],
        ..es("a", "x")
    };
    assert_eq!(skipped(generator.clone()), Reason::Generator);
    let allowed = ExternalSecret {
        rotation_allowed: true,
        ..generator.clone()
    };
    assert!(only(&policy(), &inventory(vec![allowed])).0);
    let mut policy = policy();
    policy.sync.generators = true;
    assert!(only(&policy, &inventory(vec![generator])).0);
}

#[test]
fn unusable_store_skips_its_external_secrets() {
    let with = |view: StoreView| {
        let mut inventory = inventory(vec![es("a", "x")]);
        inventory.stores.insert(
            StoreKey::Cluster {
                name: "s".to_owned(),
            },
            view,
        );
        only(&policy(), &inventory)
    };
    assert_eq!(with(StoreView::Missing).1, Reason::StoreMissing);
    assert_eq!(
        with(StoreView::Seen(Store {
            ready: None,
            ..store("s")
        }))
        .1,
        Reason::StoreNotReady
    );
    let not_ready = Ready {
        ready: false,
        reason: "InvalidProviderConfig".to_owned(),
        message: String::new(),
    };
    let (_, reason, message) = with(StoreView::Seen(Store {
        ready: Some(not_ready),
        ..store("s")
    }));
    assert_eq!(
        (reason, &*message),
        (
            Reason::StoreNotReady,
            "ClusterSecretStore/s is not ready: InvalidProviderConfig"
        )
    );
    let foreign = Store {
        foreign_class: Some("other".to_owned()),
        ..store("s")
    };
    assert_eq!(with(StoreView::Seen(foreign)).1, Reason::ForeignClass);
    assert!(
        with(StoreView::Unknown("forbidden".to_owned())).0,
        "an unreadable store does not skip"
    );
}

#[test]
fn when_decides_by_state() {
    let failed = ExternalSecret {
        ready: Some(Ready {
            ready: false,
            reason: "SecretSyncedError".to_owned(),
            message: String::new(),
        }),
        ..es("a", "failed")
    };
    let never = ExternalSecret {
        refreshed: None,
        ready: None,
        ..es("a", "never")
    };
    let overdue = ExternalSecret {
        refreshed: Some("2026-03-01T09:00:00Z".parse().unwrap()),
        ..es("a", "overdue")
    };
    let inventory = inventory(vec![failed, never, overdue, es("a", "ready")]);
    let synced = |when: When| {
        let mut policy = policy();
        policy.sync.when = when;
        let plan = plan(&policy, &inventory, now());
        plan.steps
            .iter()
            .map(|step| plan.items[step.members[0]].id.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        synced(When::Always),
        ["failed", "never", "overdue", "ready"]
    );
    assert_eq!(synced(When::Overdue), ["failed", "never", "overdue"]);
    assert_eq!(synced(When::Failed), ["failed", "never"]);
    assert_eq!(synced(When::Never), [""; 0]);
}

#[test]
fn selection_by_state_and_overdue_after() {
    let mut policy = policy();
    policy.select[0].states = vec![State::Overdue];
    let nothing = plan(&policy, &inventory(vec![es("a", "x")]), now());
    assert!(nothing.items.is_empty());
    policy.select[0].overdue_after = Some(Duration::from_mins(5));
    assert_eq!(
        only(&policy, &inventory(vec![es("a", "x")])).1,
        Reason::Overdue
    );
}

fn parent_reference() -> ParentReference {
    ParentReference {
        name: "p".to_owned(),
        uid: "uid-p".to_owned(),
    }
}

fn child_of(namespace: &str) -> ExternalSecret {
    ExternalSecret {
        parent: Some(parent_reference()),
        ..es(namespace, "p")
    }
}

fn with_parent(external_secrets: Vec<ExternalSecret>, namespaces: &[&str]) -> Inventory {
    let parent = Parent {
        uid: "uid-p".to_owned(),
        namespaces: namespaces
            .iter()
            .map(|namespace| (*namespace).to_owned())
            .collect(),
    };
    Inventory {
        parents: BTreeMap::from([("p".to_owned(), Some(parent))]),
        ..inventory(external_secrets)
    }
}

#[test]
fn search_is_charged_for_its_list_and_its_reads() {
    for (provider, calls) in [
        (ProviderKind::SecretsManager, 1 + 2 * 10),
        (ProviderKind::GcpSecretManager, 2 + 2 * 49),
    ] {
        let mut external_secret = es("a", "x");
        external_secret.stores[0].calls.searches = 2;
        let mut inventory = inventory(vec![external_secret]);
        let store = Store {
            provider: provider.clone(),
            ..store("s")
        };
        let seen = StoreView::Seen(store.clone());
        inventory.stores.insert(store.key, seen);
        let plan = plan(&policy(), &inventory, now());
        let charged = plan.steps[StepAt::at(0)].charges.total();
        assert_eq!(charged, calls, "{provider:?}");
    }
}

#[test]
fn children_are_synced_by_one_write_to_the_parent() {
    let plan = plan(
        &policy(),
        &with_parent(vec![child_of("a"), child_of("b")], &["a", "b"]),
        now(),
    );
    let target = StepTarget::Parent {
        name: "p".to_owned(),
        uid: "uid-p".to_owned(),
    };
    assert_eq!(plan.steps.len(), 1);
    let step = &plan.steps[StepAt::at(0)];
    assert_eq!(
        (&step.target, &*step.members, step.charges.total()),
        (&target, &[0, 1].map(ItemAt::at)[..], 2)
    );
    assert_eq!(plan.syncs(), 2);
}

#[test]
fn parent_is_synced_only_if_all_children_are() {
    let ignored = ExternalSecret {
        ignored: true,
        ..child_of("b")
    };
    let plan = plan(
        &policy(),
        &with_parent(vec![child_of("a"), ignored], &["a", "b"]),
        now(),
    );
    assert!(plan.steps.is_empty());
    let reasons: Vec<Reason> = plan.skips().into_keys().collect();
    assert_eq!(
        reasons,
        [Reason::Ignored, Reason::ChildOfClusterExternalSecret]
    );
}

#[test]
fn old_operator_skips_children_with_parent_unavailable() {
    let mut inventory = with_parent(vec![child_of("a")], &["a"]);
    for mirrors in [Some(false), None] {
        inventory.operator.mirrors_force_sync = mirrors;
        assert_eq!(only(&policy(), &inventory).1, Reason::ParentUnavailable);
    }
    inventory.operator.mirrors_force_sync = Some(true);
    inventory.parents.insert("p".to_owned(), None);
    assert_eq!(only(&policy(), &inventory).1, Reason::ParentUnavailable);
}

#[test]
fn exceeded_limit_refuses_the_whole_run() {
    let mut policy = policy();
    policy.safety.max_syncs = 1;
    let inventory = inventory(vec![es("a", "x"), es("a", "y")]);
    let plan = plan(&policy, &inventory, now());
    let exceeded = LimitExceeded::Syncs {
        allowed: 1,
        wanted: 2,
    };
    assert_eq!(plan.exceeded, [exceeded]);
    assert_eq!(
        plan.steps.len(),
        2,
        "the plan still shows the refused steps"
    );
}

#[test]
fn estimate_follows_the_slowest_rate() {
    let mut policy = policy();
    let inventory = inventory(
        (0..100)
            .map(|index| es("a", &format!("x{index:03}")))
            .collect(),
    );
    let seconds = |policy: &Policy| plan(policy, &inventory, now()).estimate.as_secs_f64();
    assert!(
        (seconds(&policy) - 5.0).abs() < 0.1,
        "the provider's rate: {}",
        seconds(&policy)
    );
    let slow = Rate::per_second(0.1).unwrap();
    policy.pace.stores.insert(
        StoreKey::Cluster {
            name: "s".to_owned(),
        },
        slow,
    );
    assert!(
        (seconds(&policy) - 1000.0).abs() < 0.1,
        "the store: {}",
        seconds(&policy)
    );
    assert_eq!(
        plan(&policy, &inventory, now()).warnings.len(),
        1,
        "longer than the deadline"
    );
}

/// Returns the estimate in seconds for ExternalSecrets that were refreshed at these times, in seconds, with this interval.
fn estimate_after(refreshes: impl IntoIterator<Item = f64>, interval: Duration) -> f64 {
    let mut policy = policy();
    policy.pace.default = Rate::per_second(10_000.0).unwrap();
    policy.pace.kubernetes = policy.pace.default;
    let start = now() - jiff::SignedDuration::from_hours(20);
    let one = |(index, at): (usize, f64)| ExternalSecret {
        refreshed: Some(start + jiff::SignedDuration::from_secs_f64(at.floor())),
        refresh: Refresh::Periodic(interval),
        ..es("a", &format!("x{index:04}"))
    };
    let all = refreshes.into_iter().enumerate().map(one).collect();
    let plan = plan(&policy, &inventory(all), now());
    plan.estimate.as_secs_f64()
}

#[test]
fn estimate_follows_the_spread_of_the_last_refreshes() {
    let day = Duration::from_hours(24);
    let at_speed = |count: u32, per_second: f64| {
        estimate_after((0..count).map(|index| f64::from(index) / per_second), day)
    };
    for (count, per_second) in [
        (300, 25.0),
        (1000, 24.0),
        (3000, 24.0),
        (300, 8.0),
        (100, 0.2),
    ] {
        let real = f64::from(count) / per_second;
        let ratio = at_speed(count, per_second) / real;
        assert!(
            (0.7..=1.5).contains(&ratio),
            "{count} at {per_second}: {ratio}"
        );
    }
}

#[test]
fn refreshes_at_their_intervals_do_not_show_a_speed() {
    let hour = Duration::from_hours(1);
    let spread = (0..720).map(|index| f64::from(index) * 5.0);
    let idle = estimate_after(spread.clone(), hour);
    assert!((idle - 90.0).abs() < 0.1, "eight per second: {idle}");
    let burst = (0..200).map(|index| 1000.0 + f64::from(index) / 20.0);
    let busy = estimate_after(spread.chain(burst), hour);
    let real = 920.0 / 20.0;
    assert!(
        (0.7..=1.5).contains(&(busy / real)),
        "twenty per second: {busy}"
    );
    let few = estimate_after((0..9).map(f64::from), hour);
    assert!((few - 9.0 / 8.0).abs() < 0.1, "too few: {few}");
}

prop_compose! {
    fn any_es()(
        namespace in "[ab]", name in "[a-e]", ignored: bool, deleting: bool, has_parent in prop::bool::weighted(0.3),
        refresh in prop_oneof![
            Just(Refresh::CreatedOnce), Just(Refresh::OnChange), Just(Refresh::Periodic(Duration::ZERO)),
            Just(Refresh::Periodic(Duration::from_mins(10))),
        ],
        generator: bool, refreshed in prop::option::of(0_i64..7200), store in prop_oneof![Just("s"), Just("gone")],
        ready in prop::option::of(any::<bool>()),
    ) -> ExternalSecret {
        ExternalSecret {
            ignored, deleting, refresh,
            parent: has_parent.then(parent_reference),
            generators: if generator { vec!["Password".to_owned()] } else { Vec::new() },
            stores: vec![store_use(store)],
            refreshed: refreshed.map(|ago| now() - jiff::SignedDuration::from_secs(ago)),
            ready: ready.map(|ready| Ready { ready, reason: String::new(), message: String::new() }),
            ..es(&namespace, &name)
        }
    }
}

proptest! {
    #[test]
    fn plan_holds_for_any_snapshot(mut seen in prop::collection::vec(any_es(), 0..12), max in 0_u32..12) {
        seen.sort_by(|a, b| a.id.cmp(&b.id));
        seen.dedup_by(|a, b| a.id == b.id);
        let inventory = with_parent(seen, &["a", "b"]);
        let mut policy = policy();
        policy.safety.max_syncs = max;
        let plan = plan(&policy, &inventory, now());
        prop_assert_eq!(plan.items.len(), inventory.external_secrets.len(), "each appears once");
        prop_assert_eq!(&plan, &planned(&policy, &inventory, &Findings::default(), now()), "same inputs, same plan");
        let mut members: Vec<ItemAt> = plan.steps.iter().flat_map(|step| step.members.clone()).collect();
        members.sort_unstable();
        let synced: Vec<ItemAt> = plan.items.entries()
            .filter(|(_, item)| matches!(item.action, Action::Sync { .. })).map(|(at, _)| at).collect();
        prop_assert_eq!(members, synced, "each synced item belongs to one step");
        prop_assert_eq!(!plan.exceeded.is_empty(), plan.syncs() > max as usize);
        for (item, external_secret) in plan.items.iter().zip(&inventory.external_secrets) {
            if matches!(item.action, Action::Sync { .. }) {
                prop_assert!(!external_secret.ignored && !external_secret.deleting);
                prop_assert!(external_secret.generators.is_empty());
            }
        }
    }
}

mod limits;

mod drifted {
    use eso_model::expected::Unverifiable;

    use super::*;
    use crate::{
        finding::{Finding, Verdict},
        policy::{OnStillStale, OnUnverifiable},
    };

    fn found(verdict: Verdict, beyond_sync: Option<Reason>) -> Finding {
        Finding {
            verdict,
            unverifiable: (verdict == Verdict::Unverifiable)
                .then(|| Unverifiable::new("template", "")),
            beyond_sync,
            cause: None,
            permission: None,
            keys: Vec::new(),
            names: None,
            message: "why".to_owned(),
            judged: None,
        }
    }

    fn when_drifted() -> Policy {
        let mut policy = policy();
        policy.drift.enabled = true;
        policy.sync.when = When::Drifted;
        policy
    }

    fn planned_for(policy: &Policy, external_secret: ExternalSecret, finding: Finding) -> Plan {
        let findings = Findings {
            of: BTreeMap::from([(external_secret.id.clone(), finding)]),
            ..Findings::default()
        };
        planned(policy, &inventory(vec![external_secret]), &findings, now())
    }

    /// Skips the item for a reason that needs no attention, so that only its verdict decides the exit code.
    fn skipped_as_in_sync(item: Item) -> Item {
        Item {
            action: Action::Skip {
                reason: Reason::InSync,
                message: String::new(),
            },
            ..item
        }
    }

    /// The action, the reason, and `unknown` if an unverifiable item counts as failed.
    fn shown(policy: &Policy, external_secret: ExternalSecret, finding: Finding) -> String {
        let plan = planned_for(policy, external_secret, finding);
        let without_its_reason = Plan {
            items: plan.items.iter().cloned().map(skipped_as_in_sync).collect(),
            ..plan.clone()
        };
        let tells = Tells::Plan { differences: false };
        let exit = exit_of(tells, &without_its_reason, &Results::default());
        let unknown = if exit == Exit::Failed { " unknown" } else { "" };
        match &first(&plan).action {
            Action::Sync { reason, .. } => format!("sync {}{unknown}", reason.as_str()),
            Action::Skip { reason, .. } => format!("skip {}{unknown}", reason.as_str()),
        }
    }

    #[test]
    fn published_is_synced_unless_a_comparison_shows_that_a_sync_changes_nothing() {
        let pinned = found(Verdict::Unverifiable, Some(Reason::WouldFail));
        for (finding, expected) in [
            (None, (true, Reason::Published)),
            (
                Some(found(Verdict::Unverifiable, None)),
                (true, Reason::Published),
            ),
            (Some(found(Verdict::Stale, None)), (true, Reason::Stale)),
            (Some(found(Verdict::InSync, None)), (false, Reason::InSync)),
            (Some(pinned), (false, Reason::WouldFail)),
        ] {
            let (policy, all) = (when_drifted(), inventory(vec![es("a", "x"), es("b", "x")]));
            let ids: Vec<Id> = all
                .external_secrets
                .iter()
                .map(|one| one.id.clone())
                .collect();
            let part = Part {
                of: ids.iter().cloned().collect(),
                published: BTreeSet::from([ids[0].clone()]),
            };
            let checked = finding.map(|finding| (ids[0].clone(), finding));
            let findings = Findings {
                of: checked.into_iter().collect(),
                ..Findings::default()
            };
            let facts = Facts {
                inventory: &all,
                selected: &select(&policy, &all, now()).only(&part),
                findings: &findings,
                restarts: RestartFacts {
                    workloads: &Workloads::default(),
                    holds: &Holds::default(),
                    options: &Options::default(),
                },
                now: now(),
            };
            let plan = super::super::plan(&policy, facts);
            let of = |item: &Item| match item.action {
                Action::Sync { reason, .. } => (true, reason),
                Action::Skip { reason, .. } => (false, reason),
            };
            let both: Vec<_> = plan.items.iter().map(of).collect();
            assert_eq!(both, [expected, (false, Reason::Unverifiable)]);
        }
    }

    #[test]
    fn drifted_is_synced_and_in_sync_is_skipped() {
        for (verdict, expected) in [
            (Verdict::InSync, "skip in-sync"),
            (Verdict::Stale, "sync stale"),
            (Verdict::Tampered, "sync tampered"),
            (Verdict::Partial, "sync partial"),
            (Verdict::Missing, "sync missing"),
            (Verdict::Unverifiable, "skip unverifiable unknown"),
        ] {
            assert_eq!(
                shown(&when_drifted(), es("a", "x"), found(verdict, None)),
                expected
            );
        }
    }

    #[test]
    fn drift_not_fixable_by_a_sync_is_skipped() {
        for reason in [
            Reason::WouldFail,
            Reason::Retained,
            Reason::Immutable,
            Reason::SecretMissing,
        ] {
            let finding = found(Verdict::Stale, Some(reason));
            let expected = format!("skip {}", reason.as_str());
            assert_eq!(shown(&when_drifted(), es("a", "x"), finding), expected);
            assert!(reason.needs_attention());
        }
    }

    #[test]
    fn what_the_operator_would_refuse_is_never_planned() {
        for when in [When::Always, When::Failed, When::Overdue, When::Drifted] {
            for verdict in [Verdict::InSync, Verdict::Stale, Verdict::Unverifiable] {
                let mut policy = when_drifted();
                policy.sync.when = when;
                policy.drift.on_unverifiable = OnUnverifiable::Sync;
                let mut failed = es("a", "x");
                failed.ready = Some(Ready {
                    ready: false,
                    reason: "SecretSyncedError".to_owned(),
                    message: String::new(),
                });
                let finding = Finding {
                    cause: Some(Reason::OwnedByOther),
                    ..found(verdict, Some(Reason::WouldFail))
                };
                let plan = planned_for(&policy, failed, finding.clone());
                let Action::Skip { reason, .. } = first(&plan).action else {
                    panic!("{when:?} {verdict:?} is planned");
                };
                assert_eq!(reason, Reason::WouldFail, "{when:?} {verdict:?}");
                assert_eq!(
                    finding.next_step(reason),
                    Reason::OwnedByOther.next_step(),
                    "the cause decides the next step"
                );
            }
        }
    }

    #[test]
    fn unverifiable_follows_on_unverifiable() {
        let with = |on_unverifiable| {
            let mut policy = when_drifted();
            policy.drift.on_unverifiable = on_unverifiable;
            shown(&policy, es("a", "x"), found(Verdict::Unverifiable, None))
        };
        assert_eq!(with(OnUnverifiable::Fail), "skip unverifiable unknown");
        assert_eq!(with(OnUnverifiable::Report), "skip unverifiable");
        assert_eq!(with(OnUnverifiable::Sync), "sync unverifiable");
        // Unknown is never clean, even if the item is synced.
        let mut always = when_drifted();
        always.sync.when = When::Always;
        let finding = found(Verdict::Unverifiable, None);
        assert_eq!(
            shown(&always, es("a", "x"), finding),
            "sync selected unknown"
        );
    }

    #[test]
    fn other_skip_reasons_come_before_unverifiable() {
        let generator = ExternalSecret {
            generators: vec!["Password".to_owned()],
            ..es("a", "x")
        };
        let finding = found(Verdict::Unverifiable, None);
        assert_eq!(
            shown(&when_drifted(), generator, finding),
            "skip generator unknown"
        );
    }

    #[test]
    fn remedy_is_limited_to_what_is_safe() {
        let remedy = |allowed, creation, immutable| {
            let mut policy = when_drifted();
            policy.sync.on_still_stale = allowed;
            let mut external_secret = es("a", "x");
            external_secret.target.creation = creation;
            external_secret.target.immutable = immutable;
            let plan = planned_for(&policy, external_secret, found(Verdict::Stale, None));
            first(&plan).if_still_stale
        };
        let recreate = OnStillStale::Recreate;
        for (creation, most) in [
            (CreationPolicy::Owner, OnStillStale::Recreate),
            (CreationPolicy::CreateOrMerge, OnStillStale::Refetch),
            (CreationPolicy::Merge, OnStillStale::Refetch),
            (CreationPolicy::Orphan, OnStillStale::Report),
        ] {
            assert_eq!(
                remedy(recreate, creation, false),
                Some(most),
                "{creation:?}"
            );
        }
        assert_eq!(
            remedy(recreate, CreationPolicy::Owner, true),
            Some(OnStillStale::Report)
        );
        let refetch = remedy(OnStillStale::Refetch, CreationPolicy::Owner, false);
        assert_eq!(
            refetch,
            Some(OnStillStale::Refetch),
            "not more than the policy allows"
        );
        let in_sync = planned_for(&when_drifted(), es("a", "x"), found(Verdict::InSync, None));
        assert_eq!(first(&in_sync).if_still_stale, None);
    }

    /// The remedy for the first ExternalSecret if its Secret is stale, and why its Secret is not deleted.
    fn remedy_for(allowed: OnStillStale, inventory: &Inventory) -> (OnStillStale, Option<Kept>) {
        let mut policy = when_drifted();
        policy.sync.on_still_stale = allowed;
        let stale = |external_secret: &ExternalSecret| {
            (external_secret.id.clone(), found(Verdict::Stale, None))
        };
        let findings = Findings {
            of: inventory.external_secrets.iter().map(stale).collect(),
            ..Findings::default()
        };
        let plan = planned(&policy, inventory, &findings, now());
        (first(&plan).if_still_stale.unwrap(), first(&plan).kept)
    }

    #[test]
    fn secret_that_must_not_be_deleted_has_a_reason() {
        let with = |change: &dyn Fn(&mut ExternalSecret)| {
            let mut external_secret = es("a", "x");
            change(&mut external_secret);
            inventory(vec![external_secret])
        };
        let creation = |creation| with(&|it| it.target.creation = creation);
        let beside = |namespace| {
            let other = ExternalSecret {
                secret: "x".to_owned(),
                ..es(namespace, "y")
            };
            inventory(vec![es("a", "x"), other])
        };
        let mut unselected = inventory(vec![es("a", "x")]);
        let others = vec!["y".to_owned()];
        unselected.others.insert(es("a", "x").secret_id(), others);
        let (recreate, refetch) = (OnStillStale::Recreate, OnStillStale::Refetch);
        let report = OnStillStale::Report;
        for (inventory, expected) in [
            (inventory(vec![es("a", "x")]), (recreate, None)),
            (beside("b"), (recreate, None)),
            (beside("a"), (refetch, Some(Kept::SharedTarget))),
            (unselected, (refetch, Some(Kept::SharedTarget))),
            (
                creation(CreationPolicy::CreateOrMerge),
                (refetch, Some(Kept::Merged)),
            ),
            (
                creation(CreationPolicy::Merge),
                (refetch, Some(Kept::Merged)),
            ),
            (
                creation(CreationPolicy::Orphan),
                (report, Some(Kept::Orphan)),
            ),
            (
                with(&|it| it.target.immutable = true),
                (report, Some(Kept::Immutable)),
            ),
        ] {
            assert_eq!(remedy_for(recreate, &inventory), expected);
            let kept = remedy_for(refetch, &inventory).1;
            assert_eq!(kept, None, "the policy deletes nothing");
        }
    }
}

/// The messages of the skipped items.
fn messages(plan: &Plan) -> Vec<Option<&str>> {
    let items = plan.items.iter();
    let messages = items.map(|item| match &item.action {
        Action::Skip { message, .. } => Some(&**message),
        Action::Sync { .. } => None,
    });
    messages.collect()
}

#[test]
fn holding_back_one_member_holds_back_its_step() {
    let inventory = Inventory {
        external_secrets: vec![child_of("a"), child_of("b"), es("c", "z")],
        ..with_parent(Vec::new(), &["a", "b"])
    };
    let mut plan = plan(&policy(), &inventory, now());
    assert_eq!(plan.steps.len(), 2);
    let held = BTreeMap::from([(ItemAt::at(1), "why".to_owned())]);
    plan.hold(Reason::StampNotWritten, held);
    let left: Vec<&[ItemAt]> = plan.steps.iter().map(|step| &*step.members).collect();
    assert_eq!(left, [[ItemAt::at(2)]]);
    let together = "it can only be synced together with others: why";
    assert_eq!(messages(&plan), [Some(together), Some("why"), None]);
    assert!(Reason::StampNotWritten.needs_attention());
}

/// A workload without a stamp that uses the Secret `shop/db`, and another ExternalSecret that nothing uses.
fn unstamped() -> (Policy, Inventory, Workloads) {
    let mut policy = policy();
    policy.restart = vec![RestartRule::default()];
    let inventory = inventory(vec![es("shop", "api"), es("shop", "db")]);
    let selected = select(&policy, &inventory, now());
    let workloads = Workloads {
        subjects: vec![fixtures::subject("web", &[("password", "old")])],
        stamps: Some(fixtures::stamps(fixtures::key())),
        targets: Targets::selected(&selected, &Findings::default(), &inventory, KeyNames::Safe),
        ..Workloads::default()
    };
    (policy, inventory, workloads)
}

#[test]
fn due_stamp_is_a_condition_of_its_step() {
    let (policy, inventory, workloads) = unstamped();
    let plan = with_workloads(&policy, &inventory, &Findings::default(), &workloads, now());
    let web = workloads.subjects[0].workload.id.clone();
    let requires: Vec<&[StampWritten]> = plan.steps.iter().map(|step| &*step.requires).collect();
    let stamp = StampWritten {
        member: ItemAt::at(1),
        workload: web.clone(),
    };
    assert_eq!(requires, [&[][..], &[stamp][..]]);
    assert_eq!(plan.clone().once_stamped(&policy, &BTreeMap::new()), plan);
    let missing = BTreeMap::from([(web, "refused".to_owned())]);
    let held = plan.once_stamped(&policy, &missing);
    let why = "shop/Deployment/web: refused";
    assert_eq!(messages(&held), [None, Some(why)]);
    assert_eq!(held.syncs(), 1);
}

#[test]
fn held_back_items_count_for_neither_limits_nor_estimate() {
    let (mut policy, inventory, mut workloads) = unstamped();
    policy.safety.max_syncs = 1;
    let of = |workloads: &Workloads| {
        with_workloads(&policy, &inventory, &Findings::default(), workloads, now())
    };
    let both = of(&workloads);
    assert_eq!((both.syncs(), both.exceeded.len()), (2, 1));
    let concern = workloads.subjects[0].secrets.get_mut("db").unwrap();
    concern.view = View::Unreadable("forbidden".to_owned());
    let one = of(&workloads);
    assert_eq!((one.syncs(), one.exceeded.len()), (1, 0));
    assert!(one.estimate < both.estimate);
}

#[test]
fn too_many_restarts_refuse_the_whole_run() {
    let (mut policy, inventory, mut workloads) = unstamped();
    let data = |name: &str| fixtures::subject(name, &[("password", "new")]);
    workloads.subjects = ["a", "b"]
        .map(|name| data(name).stamped(&[("password", "old")]))
        .to_vec();
    let mut exceeded = |limit: u32| {
        policy.safety.max_restarts = limit;
        let plan = with_workloads(&policy, &inventory, &Findings::default(), &workloads, now());
        let exceeded = plan.exceeded.iter();
        exceeded.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(exceeded(2), [""; 0]);
    assert_eq!(
        exceeded(1),
        ["2 workloads would be restarted if their data changes, and safety.maxRestarts allows 1"]
    );
}

/// A selection of namespaces, and a pattern for stores if one is given.
fn of_namespaces(names: &[&str], store: Option<&str>) -> Selection {
    let pattern = |text: &str| Pattern::new(text).unwrap();
    let of_store = |name| StorePattern {
        kind: None,
        namespace: None,
        name: pattern(name),
    };
    Selection {
        namespaces: names.iter().map(|name| pattern(name)).collect(),
        stores: store.map(of_store).into_iter().collect(),
        ..Selection::default()
    }
}

#[test]
fn selection_that_matches_nothing_is_a_warning_and_fails_if_required() {
    let failed = Selection {
        states: vec![State::Failed],
        ..of_namespaces(&["a"], None)
    };
    let named = Selection {
        names: vec![Pattern::new("x").unwrap()],
        ..of_namespaces(&["a", "gone"], None)
    };
    let gone = "no ExternalSecret is in a namespace that matches `gone`";
    let neither = "no ExternalSecret matches `namespaces: gone, lost-*`";
    let nothing = "no ExternalSecret matches `select: [{}]`, which selects all";
    let other_store = "no ExternalSecret matches `namespaces: a` and `stores: t`";
    let (all, some) = (Selection::default, of_namespaces);
    for (selection, names, warning) in [
        (all(), &["x"][..], ""),
        (some(&["a"], None), &["x"], ""),
        (some(&["a", "gone", "a*"], None), &["x"], gone),
        (some(&["gone", "lost-*"], None), &[], neither),
        (all(), &[], nothing),
        (some(&["a"], Some("s")), &["x"], ""),
        (some(&["a"], Some("t")), &["x"], other_store),
        (failed, &["x"], ""),
        (named, &["x"], ""),
    ] {
        let mut policy = policy();
        policy.select = vec![selection];
        let inventory = inventory(names.iter().map(|name| es("a", name)).collect());
        for required in [false, true] {
            policy.safety.require_match = required;
            let plan = plan(&policy, &inventory, now());
            assert_eq!(plan.warnings.concat(), warning, "{:?}", policy.select);
            for tells in [
                Tells::Status,
                Tells::Drift,
                Tells::Plan { differences: false },
                Tells::Run { once: false },
            ] {
                let fails = exit_of(tells, &plan, &Results::default()) == Exit::Failed;
                let expected = required && !warning.is_empty();
                assert_eq!(fails, expected, "{:?} {tells:?}", policy.select);
            }
        }
    }
}

#[test]
fn unlisted_namespace_is_not_called_empty() {
    let mut policy = policy();
    policy.select = vec![Selection {
        namespaces: ["a", "denied", "gone"]
            .map(|name| Pattern::new(name).unwrap())
            .to_vec(),
        ..Selection::default()
    }];
    let mut inventory = inventory(vec![es("a", "x")]);
    inventory.gaps = vec![Gap {
        what: "externalsecrets.external-secrets.io".to_owned(),
        namespace: Some("denied".to_owned()),
        why: "forbidden".to_owned(),
    }];
    let plan = plan(&policy, &inventory, now());
    assert_eq!(
        plan.unmatched,
        ["no ExternalSecret is in a namespace that matches `gone`"]
    );
}
