//! Limits, and the namespaces that are left alone when a plan exceeds one.

use super::*;
use crate::restart::{decide, subject::Subject};

/// ExternalSecrets by namespace: the first of them write the Secrets `db` that workloads use.
fn snapshot(counts: &[(&str, usize)]) -> Inventory {
    let each = |&(namespace, count): &(&str, usize)| {
        let rest = (1..count).map(move |index| es(namespace, &format!("x{index:03}")));
        let first = (count > 0).then(|| es(namespace, "db"));
        first.into_iter().chain(rest).collect::<Vec<_>>()
    };
    inventory(counts.iter().flat_map(each).collect())
}

/// The policy with these limits.
fn limited(syncs: u32, restarts: u32) -> Policy {
    let mut policy = policy();
    policy.safety.max_syncs = syncs;
    policy.safety.max_restarts = restarts;
    policy.restart = vec![RestartRule::default()];
    policy
}

/// Workloads by namespace that run with old data, or that run with the current data of a Secret that may change.
fn workloads(inventory: &Inventory, counts: &[(&str, usize)], behind: bool) -> Workloads {
    let subject = |namespace: &str, index: usize| -> Subject {
        let stamped = [("password", if behind { "old" } else { "new" })];
        let data = fixtures::subject(&format!("w{index:03}"), &[("password", "new")]);
        let mut subject = data.stamped(&stamped);
        namespace.clone_into(&mut subject.workload.id.namespace);
        subject
    };
    let each = counts
        .iter()
        .flat_map(|&(namespace, count)| (0..count).map(move |index| subject(namespace, index)));
    let selected = select(&policy(), inventory, now());
    Workloads {
        subjects: each.collect(),
        stamps: Some(fixtures::stamps(fixtures::key())),
        targets: Targets::selected(&selected, &Findings::default(), inventory, KeyNames::Safe),
        ..Workloads::default()
    }
}

fn left_alone(plan: &Plan) -> Vec<&str> {
    plan.left_alone.keys().map(|name| &**name).collect()
}

fn exit(plan: &Plan) -> Exit {
    exit_of(Tells::Run { once: false }, plan, &Results::default())
}

/// How many ExternalSecrets each namespace syncs.
fn synced(plan: &Plan) -> BTreeMap<&str, usize> {
    let mut synced = BTreeMap::new();
    for step in &plan.steps {
        for member in &step.members {
            *synced
                .entry(&*plan.items[*member].id.namespace)
                .or_default() += 1;
        }
    }
    synced
}

#[test]
fn namespace_over_half_of_an_exceeded_limit_is_left_alone() {
    let policy = limited(10, 0);
    // The namespaces with their syncs; who is left alone; and if the run is refused.
    for (counts, alone, refused) in [
        (&[("a", 10)][..], &[][..], false),
        (&[("a", 9), ("b", 1)], &[], false),
        (&[("a", 6), ("b", 5)], &["a"], false),
        (&[("a", 500), ("b", 3), ("c", 3)], &["a"], false),
        (&[("a", 6), ("b", 6), ("c", 1)], &["a", "b"], false),
        (&[("a", 5), ("b", 5), ("c", 1)], &[], true),
        (&[("a", 11), ("b", 5), ("c", 5), ("d", 5)], &[], true),
        (&[("a", 11)], &[], true),
        (&[("a", 6), ("b", 6)], &[], true),
    ] {
        let plan = plan(&policy, &snapshot(counts), now());
        assert_eq!(left_alone(&plan), alone, "{counts:?}");
        assert_eq!(!plan.exceeded.is_empty(), refused, "{counts:?}");
        let expected = if refused || !alone.is_empty() {
            Exit::Limit
        } else {
            Exit::Done
        };
        assert_eq!(exit(&plan), expected, "{counts:?}");
        let rest = counts.iter().filter(|(name, _)| !alone.contains(name));
        assert_eq!(synced(&plan), rest.copied().collect(), "{counts:?}");
    }
}

#[test]
fn items_of_a_namespace_left_alone_say_why() {
    let plan = plan(&limited(10, 0), &snapshot(&[("a", 12), ("b", 2)]), now());
    let Action::Skip { reason, message } = &first(&plan).action else {
        panic!("it is synced");
    };
    assert_eq!(*reason, Reason::NamespaceLimit);
    assert_eq!(
        message,
        "12 ExternalSecrets of this namespace would be synced, more than half of safety.maxSyncs (10), which the run would exceed"
    );
    assert_eq!(plan.skips(), BTreeMap::from([(Reason::NamespaceLimit, 12)]));
}

#[test]
fn namespace_over_half_of_max_restarts_is_left_alone() {
    let inventory = snapshot(&[("a", 2), ("b", 2)]);
    let policy = limited(100, 4);
    for behind in [true, false] {
        let workloads = workloads(&inventory, &[("a", 9), ("b", 2)], behind);
        let plan = with_workloads(&policy, &inventory, &Findings::default(), &workloads, now());
        assert_eq!(left_alone(&plan), ["a"], "{behind}");
        assert_eq!((plan.exceeded.len(), exit(&plan)), (0, Exit::Limit));
        assert_eq!(plan.restarts.restarts(), 2);
        assert_eq!(
            synced(&plan),
            BTreeMap::from([("b", 2)]),
            "its Secrets stay as they are too"
        );
        for step in &plan.restarts.steps {
            let is_left = step.decision.action == decide::Action::Leave;
            assert_eq!(is_left, step.id.namespace == "a", "{}", step.id);
            if behind {
                let reason = Reason::NamespaceLimit;
                assert_eq!(is_left, step.decision.reason == reason, "{}", step.id);
            }
            assert_eq!(is_left, step.wave.is_none());
        }
    }
}

#[test]
fn restarts_of_a_namespace_without_syncs_count_for_no_limit() {
    let inventory = snapshot(&[("a", 11), ("b", 2)]);
    let workloads = workloads(&inventory, &[("a", 9), ("b", 2)], false);
    let policy = limited(10, 4);
    let plan = with_workloads(&policy, &inventory, &Findings::default(), &workloads, now());
    assert_eq!(left_alone(&plan), ["a"]);
    assert_eq!(plan.left_alone["a"].limit, Limit::Syncs);
    assert_eq!((plan.exceeded.len(), plan.restarts.restarts()), (0, 2));
}

#[test]
fn refused_plan_shows_everything_that_it_refuses() {
    let inventory = snapshot(&[("a", 8), ("b", 3), ("c", 3)]);
    let workloads = workloads(&inventory, &[("a", 1), ("b", 5), ("c", 5)], true);
    let policy = limited(10, 9);
    let plan = with_workloads(&policy, &inventory, &Findings::default(), &workloads, now());
    // Without `a` the syncs fit, but the restarts of `b` and `c` are half of their limit together, and more without `a` too.
    assert_eq!((left_alone(&plan).len(), plan.syncs()), (0, 14));
    assert_eq!(plan.restarts.restarts(), 11);
    assert_eq!(plan.exceeded.len(), 2);
}

#[test]
fn parent_is_synced_although_a_childs_namespace_is_left_alone() {
    let mut inventory = with_parent(vec![child_of("a"), child_of("b")], &["a", "b"]);
    inventory
        .external_secrets
        .extend(snapshot(&[("a", 20)]).external_secrets);
    inventory.external_secrets.sort_by(|a, b| a.id.cmp(&b.id));
    let plan = plan(&limited(10, 0), &inventory, now());
    assert_eq!(left_alone(&plan), ["a"]);
    assert_eq!(synced(&plan), BTreeMap::from([("a", 1), ("b", 1)]));
}

#[test]
fn syncs_take_turns_between_namespaces() {
    let order = |inventory: &Inventory| {
        let plan = plan(&limited(100, 0), inventory, now());
        let of = plan.steps.iter();
        of.map(|step| step.namespace(&plan).unwrap().to_owned())
            .collect::<String>()
    };
    let mut inventory = snapshot(&[("a", 4), ("b", 1), ("c", 2)]);
    assert_eq!(order(&inventory), "abcacaa");
    // The syncs of `c` at another account do not count as its turns at the first one.
    let other = StoreUse {
        key: StoreKey::Cluster {
            name: "unknown".to_owned(),
        },
        ..store_use("s")
    };
    for name in ["a0", "a1"] {
        inventory.external_secrets.push(ExternalSecret {
            stores: vec![other.clone()],
            ..es("c", name)
        });
    }
    inventory.external_secrets.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(order(&inventory), "abccaccaa");
}

proptest! {
    #[test]
    fn a_plan_is_within_its_limits_or_refused(
        syncs in prop::collection::vec(0_usize..12, 1..6), restarts in prop::collection::vec(0_usize..8, 5),
        max_syncs in 1_u32..20, max_restarts in 0_u32..12, behind: bool,
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let counts: Vec<(&str, usize)> = names.into_iter().zip(syncs).collect();
        let inventory = snapshot(&counts);
        let restarts: Vec<(&str, usize)> = counts.iter().zip(restarts)
            .filter(|((_, syncs), _)| *syncs > 0).map(|((name, _), restarts)| (*name, restarts)).collect();
        let workloads = workloads(&inventory, &restarts, behind);
        let of = |syncs: u32, restarts: u32| {
            with_workloads(&limited(syncs, restarts), &inventory, &Findings::default(), &workloads, now())
        };
        let (whole, plan) = (of(1000, 1000), of(max_syncs, max_restarts));
        let fits = |plan: &Plan| {
            plan.syncs() <= max_syncs as usize && plan.restarts.restarts() <= max_restarts as usize
        };
        prop_assert_eq!(plan.exceeded.is_empty(), fits(&plan), "exceeded plans are refused, and only these");
        if fits(&whole) || !plan.exceeded.is_empty() {
            prop_assert_eq!(left_alone(&plan).len(), 0);
            prop_assert_eq!(synced(&plan), synced(&whole));
            prop_assert_eq!(plan.restarts.restarts(), whole.restarts.restarts());
        } else {
            prop_assert!(!plan.left_alone.is_empty());
            prop_assert!(plan.syncs() + plan.restarts.restarts() > 0, "an empty rest is refused");
        }
        for (namespace, share) in &plan.left_alone {
            prop_assert!(share.wanted * 2 > share.allowed as usize);
            prop_assert!(!synced(&plan).contains_key(&**namespace));
            let restarted = plan.restarts.foreseen().into_iter().any(|id| id.namespace == *namespace);
            prop_assert!(!restarted);
        }
        let rest = synced(&plan);
        for (namespace, count) in synced(&whole) {
            if !plan.left_alone.contains_key(namespace) {
                prop_assert_eq!(rest.get(namespace), Some(&count), "others are not touched");
            }
        }
    }

    #[test]
    fn no_namespace_waits_for_another(counts in prop::collection::vec(0_usize..9, 1..5)) {
        let counts: Vec<(&str, usize)> = ["a", "b", "c", "d"].into_iter().zip(counts).collect();
        let plan = plan(&limited(1000, 0), &snapshot(&counts), now());
        let order: Vec<&str> = plan.steps.iter().filter_map(|step| step.namespace(&plan)).collect();
        let mut done: BTreeMap<&str, usize> = BTreeMap::new();
        for namespace in order {
            *done.entry(namespace).or_default() += 1;
            let mine = done[namespace];
            for (other, count) in &counts {
                let theirs = done.get(other).copied().unwrap_or_default();
                prop_assert!(theirs + 1 >= mine || theirs == *count, "{} waits for {}", other, namespace);
            }
        }
    }
}
