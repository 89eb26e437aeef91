use std::{collections::BTreeMap, time::Duration};

use eso_model::{
    ProviderKind, StoreKey,
    refresh::Refresh,
    remote::Place,
    rotation::{RemoteSecret, Rotation, Schedule},
};
use jiff::Timestamp;
use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::*;
use crate::{
    exit::Exit,
    foreign::Foreign,
    inventory::{Calls, ExternalSecret, Inventory, ParentReference, Store, StoreUse, StoreView},
    policy::{Advise, Dollars},
    report::{Run, view::View},
};

/// The stores of all tests: AWS, Parameter Store, Azure, GCP, Vault, a provider without a known price, and one that is missing.
const STORES: [&str; 7] = ["aws", "ssm", "azurekv", "gcpsm", "vault", "webhook", "gone"];

fn key(name: &str) -> StoreKey {
    StoreKey::Cluster {
        name: name.to_owned(),
    }
}

fn inventory() -> Inventory {
    let store = |name: &&str| {
        let settings = match *name {
            "ssm" => json!({"service": "ParameterStore"}),
            _ => json!({}),
        };
        let spec = if *name == "ssm" { "aws" } else { name };
        let provider = ProviderKind::of(spec, &settings);
        let store = Store {
            key: key(name),
            quota: provider.quota(&settings),
            place: Box::new(Place::of(&provider, &settings)),
            provider,
            foreign_class: None,
            ready: None,
        };
        let seen = *name != "gone";
        let view = if seen {
            StoreView::Seen(store)
        } else {
            StoreView::Missing
        };
        (key(name), view)
    };
    Inventory {
        stores: STORES.iter().map(store).collect(),
        ..Inventory::default()
    }
}

fn es(name: &str, store: &str, refresh: Refresh) -> ExternalSecret {
    let stores = vec![StoreUse {
        key: key(store),
        calls: Calls {
            entries: 1,
            distinct: 1,
            searches: 0,
        },
    }];
    ExternalSecret {
        refresh,
        ..ExternalSecret::sample("shop", name, stores)
    }
}

fn every(seconds: u64) -> Refresh {
    Refresh::Periodic(Duration::from_secs(seconds))
}

fn run() -> Run {
    Run {
        id: String::new(),
        version: "",
        context: None,
        server: String::new(),
        policy_digest: None,
        started: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
        complete: true,
        exit_code: 0,
        report_url: None,
    }
}

fn advise(all: &[ExternalSecret], policy: &Advise) -> Advice {
    with_queues(all, policy, &[])
}

fn with_queues(all: &[ExternalSecret], advise: &Advise, queues: &[&str]) -> Advice {
    with_rotations(all, advise, queues, None)
}

fn with_rotations(
    all: &[ExternalSecret],
    advise: &Advise,
    queues: &[&str],
    rotations: Option<&Rotations>,
) -> Advice {
    let queues: Vec<_> = queues.iter().map(|url| url.parse().unwrap()).collect();
    let selected: Vec<&ExternalSecret> = all.iter().collect();
    let inventory = inventory();
    let facts = Facts {
        inventory: &inventory,
        selected: &selected,
        advise,
        queues: &queues,
        rotations,
    };
    advice(facts, run())
}

/// The verdict and the suggestion for one ExternalSecret.
fn one(store: &str, refresh: Refresh, policy: &Advise) -> String {
    let advice = advise(&[es("a", store, refresh)], policy);
    let item = &advice.items[0];
    let reason = item.reason.map_or("", |reason| reason.into_str());
    let suggested = item.suggested_interval.clone().unwrap_or_default();
    format!("{} {reason} {suggested}", item.verdict.into_str())
}

#[test]
fn reads_cost_what_the_price_list_says() {
    for (store, seconds, usd) in [
        ("aws", 60, 0.219),
        ("azurekv", 60, 0.1314),
        ("gcpsm", 300, 0.02628),
        ("aws", 900, 0.0146),
        ("aws", 3600, 0.00365),
        ("vault", 60, 0.0),
        ("ssm", 60, 0.0),
    ] {
        let advice = advise(&[es("a", store, every(seconds))], &Advise::default());
        let item = &advice.items[0];
        assert_eq!(item.usd_per_month, Some(usd), "{store} {seconds}");
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let seconds = seconds as f64;
        assert!((item.reads_per_month - 2_628_000.0 / seconds).abs() < 1.0);
        assert_eq!(item.mean_staleness_seconds, Some(seconds / 2.0));
    }
}

#[test]
fn store_has_the_staleness_and_load_of_its_external_secrets() {
    let all = [
        es("a", "aws", every(60)),
        es("b", "aws", every(3600)),
        es("c", "aws", Refresh::CreatedOnce),
        es("d", "vault", Refresh::OnChange),
    ];
    let advice = advise(&all, &Advise::default());
    let [aws, vault] = &*advice.stores else {
        panic!("{:?}", advice.stores)
    };
    assert_eq!(aws.mean_staleness_seconds, Some(915.0));
    let worst = advice.items[1].worst_staleness_seconds;
    assert_eq!(aws.worst_staleness_seconds, worst);
    let loads: f64 = advice.items.iter().map(|item| item.operator_load).sum();
    assert!((aws.operator_load - loads).abs() < 1e-5, "{aws:?}");
    // Both are suggested five minutes.
    assert_eq!(aws.suggested_mean_staleness_seconds, Some(150.0));
    assert_eq!(aws.suggested_worst_staleness_seconds, Some(301.0));
    assert!(aws.suggested_operator_load < aws.operator_load);
    assert_eq!(
        (vault.mean_staleness_seconds, vault.worst_staleness_seconds),
        (None, None)
    );
    assert!(vault.operator_load < 1e-9, "{vault:?}");
}

/// One key, one change a month. The best interval is 307 s at a dollar an hour, 27 min at 3.6 cents, 40 s at 60 dollars.
#[test]
fn the_best_interval_balances_reads_and_old_values() {
    for (cost, suggested) in [(1.0, "5m"), (0.036, "30m"), (60.0, "1m")] {
        let policy = Advise {
            stale_cost_per_hour: Dollars(cost),
            stale_after: Duration::from_hours(1),
            ..Advise::default()
        };
        let long = one("aws", every(36_000), &policy);
        assert_eq!(long, format!("too-long stale-after {suggested}"));
    }
}

#[test]
fn intervals_get_verdicts_by_the_distance_to_the_best() {
    let policy = Advise::default();
    for (seconds, verdict) in [
        (60, "aggressive below-best 5m"),
        (75, "good  "),
        (300, "good  "),
        (600, "good  "),
        (601, "too-long above-best 5m"),
        (3600, "too-long stale-after 5m"),
        (0, "too-long interval-zero 5m"),
    ] {
        assert_eq!(one("aws", every(seconds), &policy), verdict, "{seconds}");
    }
    assert_eq!(one("aws", Refresh::CreatedOnce, &policy), "good  ");
    assert_eq!(one("aws", Refresh::OnChange, &policy), "good  ");
    assert_eq!(one("webhook", every(60), &policy), "unknown price-unknown ");
    assert_eq!(one("gone", every(60), &policy), "unknown store-unknown ");
}

const SQS: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/eso-sync";
const AZURE: &str = "https://shop.queue.core.windows.net/eso-sync";
const PUBSUB: &str = "projects/shop/subscriptions/eso-sync";

/// Events say what changed, so refreshes are only the safety net.
#[test]
fn stores_that_events_cover_need_no_short_interval() {
    let policy = Advise::default();
    let of = |store: &str, refresh, queues: &[&str]| {
        let advice = with_queues(&[es("a", store, refresh)], &policy, queues);
        let item = &advice.items[0];
        let reason = item.reason.map_or("", |reason| reason.into_str());
        let suggested = item.suggested_interval.clone().unwrap_or_default();
        let covered = advice.stores[0].covered_by_events;
        format!("{} {reason} {suggested} {covered}", item.verdict.into_str())
    };
    for store in ["aws", "ssm"] {
        let short = of(store, every(300), &[SQS]);
        assert_eq!(short, "aggressive events-cover 6h true", "{store}");
    }
    for (store, queue) in [("azurekv", AZURE), ("gcpsm", PUBSUB)] {
        let long = of(store, every(48 * 3600), &[SQS, queue]);
        assert_eq!(long, "too-long events-cover 6h true");
        // Longer than `staleAfter`, and less than a quarter of six hours.
        assert_eq!(of(store, every(5400), &[queue]), "good   true");
        assert_eq!(of(store, every(12 * 3600), &[queue]), "good   true");
        assert_eq!(
            of(store, every(0), &[queue]),
            "too-long interval-zero 6h true"
        );
    }
    // A queue of another cloud does not help.
    assert_eq!(of("aws", every(300), &[AZURE, PUBSUB]), "good   false");
    let vault = of("vault", every(60), &[SQS, AZURE, PUBSUB]);
    assert_eq!(vault, "good   false");
}

/// 300 parameters in five minutes use a fortieth of the default quota, and more than a tenth of one that is ten times smaller.
#[test]
fn quota_of_the_policy_limits_the_intervals() {
    let names = (0..300).map(|number| format!("es-{number}"));
    let all: Vec<ExternalSecret> = names.map(|name| es(&name, "ssm", every(300))).collect();
    let mut policy = Advise {
        operator_workers: 10,
        ..Advise::default()
    };
    let share = |policy: &Advise| {
        let advice = advise(&all, policy);
        (advice.stores[0].quota_share, advice.items[0].reason)
    };
    assert_eq!(share(&policy), (Some(0.025), Some(Reason::AboveBest)));
    let quota = ("parameterStore".parse().unwrap(), "4/s".parse().unwrap());
    policy.quotas.0.extend([quota]);
    assert_eq!(share(&policy), (Some(0.25), Some(Reason::QuotaShare)));
}

/// As the prices, each quota has a source and a month, unless it is the policy's own.
#[test]
fn quotas_have_a_source_and_a_month() {
    let all: Vec<_> = STORES[..6]
        .iter()
        .map(|store| es(store, store, every(300)))
        .collect();
    let mut policy = Advise::default();
    let quota = ("vault".parse().unwrap(), "20/s".parse().unwrap());
    policy.quotas.0.extend([quota]);
    let advice = advise(&all, &policy);
    let told = |quota: &AdviceQuota| {
        let is_dated = quota.source.starts_with("https://") && quota.as_of.is_some();
        let source = if is_dated { "dated" } else { &quota.source };
        (
            quota.provider.clone(),
            quota.calls_per_second,
            source.to_owned(),
        )
    };
    let told: Vec<_> = advice.quotas.iter().map(told).collect();
    let none = "none is known: advise.quotas can set one";
    let expected = [
        ("parameterStore", Some(40.0), "dated"),
        ("aws", Some(10_000.0), "dated"),
        ("azurekv", Some(400.0), "dated"),
        ("gcpsm", Some(1500.0), "dated"),
        ("vault", Some(20.0), "advise.quotas"),
        ("webhook", None, none),
    ];
    let expected =
        expected.map(|(name, quota, source)| (name.to_owned(), quota, source.to_owned()));
    assert_eq!(told, expected);
    let line = "Quotas of reads per second: parameterStore 40 (https://docs.aws.amazon.com/general/latest/gr/ssm.html, 2026-11); aws 10000";
    let text = text(&advice, &View::default());
    assert!(text.contains(line), "{text}");
    assert!(text.contains("; vault 20 (advise.quotas)\n"), "{text}");
}

/// A rule of `EventBridge` is for one region.
#[test]
fn queue_covers_only_its_own_region_and_account() {
    let covers = |settings: serde_json::Value, queue: &str| {
        let provider = ProviderKind::of("aws", &settings);
        let store = Store {
            key: key("aws"),
            quota: provider.quota(&settings),
            place: Box::new(Place::of(&provider, &settings)),
            provider,
            foreign_class: None,
            ready: None,
        };
        coverage::covers(&[queue.parse().unwrap()], &store)
    };
    assert!(covers(json!({"region": "eu-west-1"}), SQS));
    assert!(!covers(json!({"region": "us-east-1"}), SQS));
    let role = |account: &str| json!({"region": "eu-west-1", "role": format!("arn:aws:iam::{account}:role/r")});
    assert!(covers(role("123456789012"), SQS));
    assert!(!covers(role("210987654321"), SQS));
}

/// A key in a store without events keeps the interval short.
#[test]
fn an_external_secret_is_covered_if_all_its_stores_are() {
    let mut both = es("a", "aws", every(300));
    both.stores.extend(es("a", "vault", every(300)).stores);
    let advice = with_queues(&[both], &Advise::default(), &[SQS]);
    assert_eq!(advice.items[0].reason, None);
    let covered: Vec<bool> = advice
        .stores
        .iter()
        .map(|it| it.covered_by_events)
        .collect();
    assert_eq!(covered, [true, false]);
}

/// An ExternalSecret that reads these keys.
fn reading(name: &str, keys: &[(&str, &str)], refresh: Refresh) -> ExternalSecret {
    let entry = |(store, key): &(&str, &str)| {
        json!({"secretKey": "k", "remoteRef": {"key": key},
            "sourceRef": {"storeRef": {"kind": "ClusterSecretStore", "name": store}}})
    };
    let data: Vec<_> = keys.iter().map(entry).collect();
    let stores = keys
        .iter()
        .flat_map(|(store, _)| es(name, store, refresh).stores);
    ExternalSecret {
        spec: Some(json!({"data": data}).to_string().into()),
        stores: stores.collect(),
        ..es(name, "aws", refresh)
    }
}

type Known = Result<Rotation, String>;

fn rotations<'k>(
    users: Users,
    known: impl IntoIterator<Item = ((&'k str, &'k str), Known)>,
) -> Rotations {
    let secret = |((store, of), rotation): ((&str, &str), Known)| {
        let secret = RemoteSecret {
            namespace: "shop".to_owned(),
            store: key(store),
            key: of.to_owned(),
        };
        (secret, rotation)
    };
    Rotations {
        users,
        of: known.into_iter().map(secret).collect(),
    }
}

fn rotated_every(seconds: u64) -> Rotation {
    Rotation::Scheduled(Schedule {
        next: None,
        period: Some(Duration::from_secs(seconds)),
    })
}

fn summary(advice: &Advice) -> String {
    let item = &advice.items[0];
    let reason = item.reason.map_or("", |reason| reason.into_str());
    let suggested = item.suggested_interval.clone().unwrap_or_default();
    let warned = advice.warnings.iter();
    let warned: Vec<&str> = warned.map(|it| it.warning.into_str()).collect();
    let words = [item.verdict.into_str(), reason, &suggested].into_iter();
    let words = words.chain(warned).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// With two users, the old value stays valid for a period, so half of it is early enough.
#[test]
fn rotation_of_two_users_needs_a_refresh_in_each_half_period() {
    let policy = Advise::default();
    for (period, interval, told) in [
        (30 * DAY, 5 * 60, "aggressive rotation 6h"),
        (30 * DAY, HOUR, "aggressive rotation 6h"),
        (30 * DAY, 90 * 60, "good"),
        (30 * DAY, 24 * HOUR, "good"),
        (30 * DAY, 15 * DAY, "good"),
        (30 * DAY, 15 * DAY + 1, "too-long rotation 6h"),
        (30 * DAY, 0, "too-long interval-zero 6h interval-zero"),
        (10 * HOUR, 4 * HOUR, "good"),
        (10 * HOUR, 6 * HOUR, "too-long rotation 1h"),
        (120, 60, "good"),
        (120, 61, "too-long rotation 1m"),
        // No interval that is suggested is short enough, so the costs decide.
        (119, 300, "good rotation-outruns-refreshes"),
        (
            119,
            HOUR,
            "too-long stale-after 5m rotation-outruns-refreshes",
        ),
    ] {
        let known = [(("aws", "a"), Ok(rotated_every(period)))];
        let rotations = rotations(Users::TwoUsers, known);
        let all = [reading("a", &[("aws", "a")], every(interval))];
        let advice = with_rotations(&all, &policy, &[], Some(&rotations));
        assert_eq!(summary(&advice), told, "{period} {interval}");
        let rotation = &advice.items[0].rotations[0];
        assert_eq!(rotation.period_seconds, Some(period));
        assert_eq!(rotation.overlap_seconds, Some(period));
    }
}

/// The old value ends with the rotation, so no interval prevents that a Secret has it. Costs decide as without a rotation.
#[test]
fn rotation_of_one_user_leaves_the_interval_and_warns() {
    let policy = Advise::default();
    let known = [(("aws", "a"), Ok(rotated_every(30 * DAY)))];
    let rotations = rotations(Users::OneUser, known);
    let told = |refresh, queues: &[&str]| {
        let all = [reading("a", &[("aws", "a")], refresh)];
        summary(&with_rotations(&all, &policy, queues, Some(&rotations)))
    };
    assert_eq!(told(every(300), &[]), "good rotation-outruns-refreshes");
    let long = "too-long stale-after 5m rotation-outruns-refreshes";
    assert_eq!(told(every(HOUR), &[]), long);
    // Events say at once what changed.
    assert_eq!(told(every(6 * HOUR), &[SQS]), "good");
    assert_eq!(told(Refresh::CreatedOnce, &[]), "good created-once");
}

#[test]
fn events_come_before_rotations() {
    let known = [(("aws", "a"), Ok(rotated_every(HOUR)))];
    let rotations = rotations(Users::TwoUsers, known);
    let all = [reading("a", &[("aws", "a")], every(300))];
    let advice = with_rotations(&all, &Advise::default(), &[SQS], Some(&rotations));
    assert_eq!(summary(&advice), "aggressive events-cover 6h");
}

/// A key without a known schedule may change at any time.
#[test]
fn costs_decide_unless_all_keys_are_rotated() {
    let policy = Advise {
        stale_cost_per_hour: Dollars(0.001),
        stale_after: Duration::from_hours(2),
        ..Advise::default()
    };
    let keys = [("aws", "a"), ("aws", "b")];
    let told = |second: Known, interval: u64| {
        let known = [(keys[0], Ok(rotated_every(HOUR))), (keys[1], second)];
        let rotations = rotations(Users::TwoUsers, known);
        let all = [reading("a", &keys, every(interval))];
        summary(&with_rotations(&all, &policy, &[], Some(&rotations)))
    };
    assert_eq!(told(Ok(rotated_every(DAY)), 300), "aggressive rotation 30m");
    for second in [
        Ok(Rotation::Unscheduled),
        Ok(Rotation::NotKept),
        Err("denied".to_owned()),
        Ok(Rotation::Scheduled(Schedule::default())),
    ] {
        let warned = matches!(second, Ok(Rotation::Scheduled(_)));
        let warned = if warned {
            " rotation-outruns-refreshes"
        } else {
            ""
        };
        // The first key still needs half of its period, which is shorter than what the costs lead to.
        assert_eq!(
            told(second.clone(), 1801),
            format!("too-long rotation 30m{warned}")
        );
        let short = format!("aggressive below-best 30m{warned}");
        assert_eq!(told(second.clone(), 300), short);
        assert_eq!(told(second, 1800), format!("good{warned}"));
    }
}

/// A limit makes intervals longer, but not longer than a rotation permits.
#[test]
fn limits_do_not_exceed_what_a_rotation_permits() {
    let names = (0..480).map(|number| format!("es-{number}"));
    let keys = [("aws", "a"), ("vault", "b")];
    let all: Vec<_> = names.map(|name| reading(&name, &keys, every(60))).collect();
    let known = [
        (keys[0], Ok(rotated_every(240))),
        (keys[1], Ok(Rotation::NotKept)),
    ];
    let rotations = rotations(Users::TwoUsers, known);
    let policy = Advise {
        budget: Dollars(0.0),
        ..Advise::default()
    };
    let advice = with_rotations(&all, &policy, &[], Some(&rotations));
    assert_eq!(advice.items[0].suggested_interval.as_deref(), Some("2m"));
    let warned = advice.warnings.iter();
    let unmet: Vec<&str> = warned
        .filter(|it| it.warning == Warning::LimitNotMet)
        .map(|it| it.message.exact())
        .collect();
    assert_eq!(unmet, ["the refreshes cost more than `advise.budget`"]);
}

#[test]
fn what_is_not_known_about_a_rotation_is_not_shown_as_none() {
    let keys = [("aws", "a"), ("aws", "b"), ("vault", "c"), ("gcpsm", "d")];
    let why = "denied (DescribeSecret: AccessDeniedException)";
    let known = [
        (keys[0], Err(why.to_owned())),
        (keys[1], Ok(Rotation::Unscheduled)),
        (keys[2], Ok(Rotation::NotKept)),
    ];
    let rotations = rotations(Users::OneUser, known);
    let mut searching = reading("search", &[], every(300));
    searching.spec = Some(
        json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
            "dataFrom": [{"find": {"name": {"regexp": "."}}}]})
        .to_string()
        .into(),
    );
    let lost = es("lost", "aws", every(300));
    let all = [reading("a", &keys, every(300)), searching, lost];
    let advice = with_rotations(&all, &Advise::default(), &[], Some(&rotations));
    let told: Vec<String> = advice
        .items
        .iter()
        .flat_map(|item| &item.rotations)
        .map(|it| {
            let text =
                |text: &Option<Foreign>| text.as_ref().map_or("-", Foreign::exact).to_owned();
            format!(
                "{} {}: {}",
                text(&it.key),
                it.state.into_str(),
                text(&it.why)
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            &format!("a unknown: {why}"),
            "b unscheduled: -",
            "d unknown: it was not looked up",
            "c not-kept: -",
            "- unknown: the specs of its namespace are too large to be kept in memory",
            "- search: -",
        ]
    );
    assert_eq!(advice.exit(), Exit::Failed);
    let text = text(&advice, &View::default());
    let line = format!("could not look up the rotation of a (ClusterSecretStore/aws): {why}");
    assert!(text.contains(&line), "{text}");
    let wanted = rotated(&all);
    let wanted: Vec<&str> = wanted.iter().map(|secret| &*secret.key).collect();
    assert_eq!(wanted, ["a", "b", "d", "c"]);
}

#[test]
fn a_generator_is_left_alone() {
    let mut generated = es("a", "aws", every(60));
    generated.generators = vec!["Password".to_owned()];
    let advice = advise(&[generated], &Advise::default());
    assert_eq!(advice.items[0].verdict, Verdict::Good);
}

/// Reads of a Vault are free, so the interval is as short as the operator can follow.
#[test]
fn free_reads_are_limited_by_the_operator() {
    let all = |seconds| -> Vec<ExternalSecret> {
        let names = (0..480).map(|number| format!("es-{number}"));
        names
            .map(|name| es(&name, "vault", every(seconds)))
            .collect()
    };
    let policy = Advise::default();
    let advice = advise(&all(60), &policy);
    // 480 in a minute are all that one worker can do.
    assert!((advice.summary.operator_load - 1.0).abs() < 1e-6);
    assert!(advice.summary.suggested_operator_load <= 0.5);
    let item = &advice.items[0];
    assert_eq!(item.reason, Some(Reason::OperatorLoad));
    assert_eq!(item.suggested_interval.as_deref(), Some("2m"));
    let more = Advise {
        operator_workers: 4,
        ..policy
    };
    assert_eq!(advise(&all(60), &more).items[0].verdict, Verdict::Good);
}

/// 300 keys of Parameter Store a minute are an eighth of its quota.
#[test]
fn free_reads_are_limited_by_the_quota() {
    let names = (0..300).map(|number| format!("es-{number}"));
    let all: Vec<_> = names.map(|name| es(&name, "ssm", every(60))).collect();
    let policy = Advise {
        operator_workers: 100,
        ..Advise::default()
    };
    let advice = advise(&all, &policy);
    assert_eq!(advice.stores[0].quota_share, Some(0.125));
    assert_eq!(advice.items[0].reason, Some(Reason::QuotaShare));
    assert!(
        advice.stores[0]
            .suggested_quota_share
            .is_some_and(|share| share <= 0.1)
    );
}

#[test]
fn the_budget_limits_all_together() {
    let names = (0..100).map(|number| format!("es-{number}"));
    let all: Vec<_> = names.map(|name| es(&name, "aws", every(150))).collect();
    let policy = Advise {
        budget: Dollars(5.0),
        ..Advise::default()
    };
    let advice = advise(&all, &policy);
    assert_eq!(advice.items[0].reason, Some(Reason::Budget));
    assert!(advice.summary.suggested_usd_per_month <= 5.0);
    assert!(advice.summary.saved_usd_per_month > 0.0);
}

#[test]
fn a_child_is_patched_at_its_parent() {
    let mut all = vec![es("a", "aws", every(3600)), es("b", "aws", every(3600))];
    for child in &mut all {
        child.parent = Some(ParentReference {
            name: "both".to_owned(),
            uid: String::new(),
        });
    }
    all.push(es("own", "vault", every(0)));
    let patch = advise(&all, &Advise::default()).patch("external-secrets.io/v1");
    let patch = patch.unwrap();
    let documents = patch.split("---\n").filter(|text| !text.is_empty());
    let documents: Vec<serde_json::Value> = documents
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect();
    let expected = [
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret",
            "metadata": {"name": "both"}, "spec": {"externalSecretSpec": {"refreshInterval": "5m"}},
        }),
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"namespace": "shop", "name": "own"}, "spec": {"refreshInterval": "1m"},
        }),
    ];
    assert_eq!(documents, expected);
}

#[test]
fn each_kind_of_warning_is_given() {
    let mut all = vec![
        es("zero", "aws", every(0)),
        es("once", "aws", Refresh::CreatedOnce),
        es("search", "aws", every(60)),
    ];
    all[2].stores[0].calls.searches = 1;
    for number in 0..20 {
        let mut one = es(&format!("herd-{number}"), "aws", every(300));
        one.refreshed = Some(Timestamp::from_second(1000 + number % 5).unwrap());
        one.spec = Some(
            r#"{"secretStoreRef": {"name": "s"}, "dataFrom": [{"extract": {"key": "shared"}}]}"#
                .into(),
        );
        all.push(one);
    }
    let policy = Advise {
        budget: Dollars(0.0),
        ..Advise::default()
    };
    let given = advise(&all, &policy).warnings;
    let given: Vec<(&str, usize)> = given
        .iter()
        .map(|warning| (warning.warning.into_str(), warning.items.len()))
        .collect();
    assert_eq!(
        given,
        [
            ("interval-zero", 1),
            ("created-once", 1),
            ("search-at-short-interval", 1),
            ("herd", 20),
            ("key-read-by-many", 20),
            ("limit-not-met", 0),
        ]
    );
}

const KEYS: [&str; 3] = ["a", "b", "c"];

/// What providers say about all keys of all stores.
fn any_rotations() -> impl Strategy<Value = Rotations> {
    let period = prop_oneof![0..400_u64, 400..100_000_u64, Just(30 * DAY)];
    let known = prop_oneof![
        4 => period.prop_map(|seconds| Ok(rotated_every(seconds))),
        1 => Just(Ok(Rotation::Scheduled(Schedule::default()))),
        1 => Just(Ok(Rotation::Unscheduled)),
        1 => Just(Ok(Rotation::NotKept)),
        1 => Just(Err("denied".to_owned())),
    ];
    let count = STORES.len() * KEYS.len();
    let all = prop::collection::vec(known, count);
    (select(vec![Users::OneUser, Users::TwoUsers]), all).prop_map(|(users, all)| {
        let keys = STORES
            .iter()
            .flat_map(|store| KEYS.map(|key| (*store, key)));
        rotations(users, keys.zip(all))
    })
}

/// An ExternalSecret with random reads, and sometimes a parent or a generator.
fn any_es() -> impl Strategy<Value = ExternalSecret> {
    let interval = prop_oneof![Just(0), 1..200_u64, 200..100_000_u64];
    let refresh = prop_oneof![
        8 => interval.prop_map(every),
        1 => Just(Refresh::OnChange),
        1 => Just(Refresh::CreatedOnce),
    ];
    let uses = prop::collection::vec((select(STORES.to_vec()), 0..30_u32, 0..2_u32), 1..3);
    let parent = prop::option::weighted(0.2, select(vec!["x", "y"]));
    (
        refresh,
        uses,
        parent,
        any::<u16>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(refresh, uses, parent, number, generates)| {
            let key_of = |reads: u32| KEYS[usize::try_from(reads).unwrap() % KEYS.len()];
            let keys: Vec<_> = uses
                .iter()
                .map(|(store, reads, _)| (*store, key_of(*reads)))
                .collect();
            let mut one = reading(&format!("es-{number}"), &keys, refresh);
            one.stores = uses
                .into_iter()
                .map(|(store, reads, searches)| StoreUse {
                    key: key(store),
                    calls: Calls {
                        entries: reads,
                        distinct: reads.div_ceil(2),
                        searches,
                    },
                })
                .collect();
            one.parent = parent.map(|name| ParentReference {
                name: name.to_owned(),
                uid: String::new(),
            });
            if generates {
                one.generators = vec!["Password".to_owned()];
            }
            one
        })
}

/// The ExternalSecrets with the patches applied, read from the text that the command prints.
fn patched(mut all: Vec<ExternalSecret>, patch: &str) -> Vec<ExternalSecret> {
    let mut own: BTreeMap<String, Duration> = BTreeMap::new();
    let mut parents: BTreeMap<String, Duration> = BTreeMap::new();
    for document in patch.split("---\n").filter(|text| text.contains("kind:")) {
        let object: serde_json::Value = serde_saphyr::from_str(document).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let (list, spec) = if object["kind"] == "ExternalSecret" {
            (&mut own, &object["spec"])
        } else {
            (&mut parents, &object["spec"]["externalSecretSpec"])
        };
        let interval = spec["refreshInterval"].as_str().unwrap();
        let interval: eso_model::duration::GoDuration = interval.parse().unwrap();
        list.insert(name, interval.0);
    }
    for one in &mut all {
        let interval = match &one.parent {
            Some(parent) => parents.get(&parent.name),
            None => own.get(&one.id.name),
        };
        if let Some(interval) = interval {
            one.refresh = Refresh::Periodic(*interval);
        }
    }
    all
}

proptest! {
    #[test]
    fn applying_all_suggestions_makes_everything_good(
        all in prop::collection::vec(any_es(), 1..60),
        repeated in 1..40_usize,
        budget in select(vec![0.0, 0.01, 1.0, 50.0]),
        harm in select(vec![0.0, 0.01, 1.0, 100.0]),
        stale_after in select(vec![30_u64, 900, 7200]),
        workers in 1..5_u32,
        queues in prop::sample::subsequence(vec![SQS, AZURE, PUBSUB], 0..=3),
        rotations in prop::option::of(any_rotations()),
    ) {
        let policy = Advise {
            stale_after: Duration::from_secs(stale_after),
            budget: Dollars(budget),
            stale_cost_per_hour: Dollars(harm),
            operator_workers: workers,
            ..Advise::default()
        };
        let mut many = Vec::new();
        for (number, one) in all.iter().cycle().take(all.len() * repeated).enumerate() {
            let mut one = one.clone();
            one.id.name = format!("{}-{number}", one.id.name);
            // All children of a parent have its refresh.
            if let Some(parent) = &one.parent {
                let first = all.iter().find(|it| it.parent.as_ref() == Some(parent));
                one.refresh = first.map_or(one.refresh, |first| first.refresh);
            }
            many.push(one);
        }
        let rotations = rotations.as_ref();
        let first = with_rotations(&many, &policy, &queues, rotations);
        let patch = first.patch("external-secrets.io/v1").unwrap();
        let again = with_rotations(&patched(many, &patch), &policy, &queues, rotations);
        for item in &again.items {
            let unweighed = item.verdict == Verdict::Unknown;
            prop_assert!(item.verdict == Verdict::Good || unweighed, "{item:?}");
        }
        let nothing = again.patch("external-secrets.io/v1").unwrap();
        prop_assert_eq!(nothing, "# no interval needs a change\n");
    }

    #[test]
    fn numbers_stay_finite(all in prop::collection::vec(any_es(), 0..20)) {
        let advice = advise(&all, &Advise::default());
        let text = serde_json::to_string(&advice).unwrap();
        prop_assert!(!text.contains(":null"), "{text}");
        prop_assert!(!super::text(&advice, &View::default()).contains("NaN"));
    }
}
