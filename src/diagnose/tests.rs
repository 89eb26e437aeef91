use std::collections::BTreeMap;

use eso_model::{
    Id, ProviderKind, QuotaKey, StoreKey,
    expected::{CreationPolicy, Unverifiable},
    remote::Place,
};

use super::*;
use crate::{
    finding::DifferingKey,
    inventory::{Ready, Store, Target},
};

fn run() -> Run {
    let time: jiff::Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    Run {
        id: "run".to_owned(),
        version: "0",
        context: None,
        server: "https://k".to_owned(),
        policy_digest: None,
        started: time,
        finished: time,
        complete: true,
        exit_code: 0,
        report_url: None,
    }
}

fn item(state: State, finding: Finding) -> Item {
    Item {
        id: Id {
            namespace: "shop".to_owned(),
            name: "db".to_owned(),
        },
        uid: "u".to_owned(),
        store: None,
        provider: "aws".to_owned(),
        state,
        refreshed: Some("2026-03-01T11:00:00Z".parse().unwrap()),
        age: None,
        ready: None,
        target: Target {
            written: true,
            immutable: false,
            creation: CreationPolicy::Owner,
            templated: false,
        },
        secret: "db".to_owned(),
        finding: Some(finding),
        if_still_stale: None,
        kept: None,
        window: None,
        action: Action::Sync {
            reason: Reason::Stale,
            cost: 1,
        },
    }
}

fn finding(verdict: Verdict, message: &str) -> Finding {
    Finding {
        verdict,
        unverifiable: None,
        beyond_sync: None,
        cause: None,
        permission: None,
        keys: Vec::new(),
        names: None,
        message: message.to_owned(),
        judged: None,
    }
}

fn stores(ready: bool) -> Inventory {
    let key: StoreKey = "ClusterSecretStore/aws".parse().unwrap();
    let store = Store {
        key: key.clone(),
        provider: ProviderKind::SecretsManager,
        quota: QuotaKey {
            provider: ProviderKind::SecretsManager,
            account: String::new(),
        },
        place: Box::new(Place::of(
            &ProviderKind::SecretsManager,
            &serde_json::Value::Null,
        )),
        foreign_class: None,
        ready: Some(Ready {
            ready,
            reason: "InvalidProviderConfig".to_owned(),
            message: String::new(),
        }),
    };
    Inventory {
        stores: BTreeMap::from([(key, StoreView::Seen(store))]),
        ..Inventory::default()
    }
}

fn read(state: ReadState) -> ReadFact {
    ReadFact {
        store: "ClusterSecretStore/aws".to_owned(),
        what: "prod/db".to_owned(),
        state,
    }
}

fn diagnosed(
    item: &Item,
    inventory: &Inventory,
    reads: &[ReadFact],
    warnings: &[String],
) -> Diagnosis {
    diagnosed_with(PodData::Current, item, inventory, reads, warnings)
}

fn diagnosed_with(
    data: PodData,
    item: &Item,
    inventory: &Inventory,
    reads: &[ReadFact],
    warnings: &[String],
) -> Diagnosis {
    let workload = "Deployment/shop".to_owned();
    let consumers = [Consumer { workload, data }];
    let facts = Facts {
        item,
        inventory,
        warnings: Ok(warnings),
        reads,
        consumers: Ok(&consumers),
    };
    diagnose(facts, run())
}

#[test]
fn healthy_chain_has_no_problems() {
    let item = item(State::Ready, finding(Verdict::InSync, ""));
    let diagnosis = diagnosed(&item, &stores(true), &[read(ReadState::Found)], &[]);
    assert_eq!(diagnosis.exit(), Exit::Done);
    insta::assert_snapshot!(diagnosis.text(), @"
    shop/db

       ok  ClusterSecretStore/aws: ready; provider aws
       ok  prod/db at ClusterSecretStore/aws: exists, and can be read
       ok  ExternalSecret: ready; last synced at 2026-03-01T11:00:00Z
       ok  Secret db: has the expected data
       ok  Deployment/shop: its pods run with the Secret's data

    No problems found.
    ");
}

#[test]
fn pods_with_old_data_are_wrong_and_have_a_step() {
    let old = |pods: &[&str]| PodData::Old {
        pods: pods.iter().map(|&pod| pod.to_owned()).collect(),
    };
    let restart = "1. eso-sync sync db -n shop --restart";
    for (data, exit, line, step) in [
        (
            old(&["shop-1", "shop-2"]),
            Exit::Differences,
            "WRONG  Deployment/shop: these pods run with old data: shop-1, shop-2",
            restart,
        ),
        (
            old(&[]),
            Exit::Differences,
            "WRONG  Deployment/shop: it runs with old data",
            restart,
        ),
        (
            PodData::Unstamped,
            Exit::Done,
            "    -  Deployment/shop: uses the Secret; nothing records the data that its pods started with",
            "No problems found.",
        ),
        (
            PodData::NotRead,
            Exit::Done,
            "    -  Deployment/shop: uses the Secret; the data of its pods was not checked",
            "No problems found.",
        ),
        (
            PodData::Unknown("secret-unreadable: forbidden".to_owned()),
            Exit::Failed,
            "    ?  Deployment/shop: the data of its pods is not known: secret-unreadable: forbidden",
            "No further information.",
        ),
    ] {
        let item = item(State::Ready, finding(Verdict::InSync, ""));
        let read = [read(ReadState::Found)];
        let diagnosis = diagnosed_with(data, &item, &stores(true), &read, &[]);
        let text = diagnosis.text();
        assert_eq!(diagnosis.exit(), exit, "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[6], line);
        assert_eq!(lines[8], step, "{text}");
    }
}

#[test]
fn stale_secret_shows_keys_and_fix() {
    let stale = Finding {
        keys: vec![DifferingKey {
            name: "password".into(),
            difference: Difference::Changed,
        }],
        ..finding(Verdict::Stale, "the provider changed")
    };
    let item = item(State::Ready, stale);
    let diagnosis = diagnosed(&item, &stores(true), &[read(ReadState::Found)], &[]);
    assert_eq!(diagnosis.exit(), Exit::Differences);
    insta::assert_snapshot!(diagnosis.text(), @"
    shop/db

       ok  ClusterSecretStore/aws: ready; provider aws
       ok  prod/db at ClusterSecretStore/aws: exists, and can be read
       ok  ExternalSecret: ready; last synced at 2026-03-01T11:00:00Z
    WRONG  Secret db: stale: the provider changed (password differs)
       ok  Deployment/shop: its pods run with the Secret's data

    1. eso-sync sync db -n shop --restart
    ");
}

#[test]
fn denied_read_shows_permission_and_operator_error_without_values() {
    let unknown = Finding::unverifiable(Unverifiable::new("denied", "prod/db"));
    let item = item(State::Failed, unknown);
    let denied = read(ReadState::Unread {
        word: "denied",
        why: "denied (prod/db)".to_owned(),
        permission: Some("secretsmanager:GetSecretValue on prod/db".to_owned()),
    });
    let warnings = [
        "old".to_owned(),
        "could not parse: hunter2: AccessDeniedException".to_owned(),
    ];
    let diagnosis = diagnosed(&item, &stores(false), &[denied], &warnings);
    assert_eq!(diagnosis.exit(), Exit::Failed);
    let text = diagnosis.text();
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!(text, @"
    shop/db

    WRONG  ClusterSecretStore/aws: not ready: InvalidProviderConfig
        ?  prod/db at ClusterSecretStore/aws: cannot be read: denied (prod/db); missing permission: secretsmanager:GetSecretValue on prod/db
    WRONG  ExternalSecret: the operator cannot sync it; last synced at 2026-03-01T11:00:00Z; its error (denied): could not parse … AccessDeniedException
        ?  Secret db: unverifiable: denied (prod/db)
       ok  Deployment/shop: its pods run with the Secret's data

    1. fix the credentials or the address in ClusterSecretStore/aws. `kubectl describe` shows the operator's error
    2. grant secretsmanager:GetSecretValue on prod/db to the identity that reads the provider
    3. grant read access at the provider to the identity that was denied: in a sync the store's, in a check with `ambient` credentials this job's. Then run again
    ");
}

#[test]
fn missing_remote_key_is_the_first_fix() {
    let fails = Finding {
        beyond_sync: Some(Reason::WouldFail),
        ..finding(
            Verdict::Stale,
            "the operator's next sync would fail: not-found",
        )
    };
    let mut item = item(State::Ready, fails);
    item.action = Action::Skip {
        reason: Reason::WouldFail,
        message: String::new(),
    };
    let diagnosis = diagnosed(&item, &stores(true), &[read(ReadState::NotFound)], &[]);
    assert_eq!(
        diagnosis.next,
        [
            "create prod/db in the provider, or fix the remote key in the ExternalSecret's spec",
            "fix the cause, in the provider or the ExternalSecret's spec: the operator would fail on it"
        ]
    );
}

/// `diagnose` is the next step of `unverifiable`, so it must not end without one.
#[test]
fn what_cannot_be_compared_has_a_next_step() {
    for word in [
        "store-not-trusted",
        "store-unreadable",
        "login-failed",
        "too-costly",
    ] {
        let unknown = Finding::unverifiable(Unverifiable::new(word, ""));
        let item = item(State::Ready, unknown);
        let diagnosis = diagnosed(&item, &stores(true), &[], &[]);
        assert_eq!(diagnosis.exit(), Exit::Failed, "{word}");
        let [next] = &*diagnosis.next else {
            panic!("{word}: {:?}", diagnosis.next)
        };
        assert!(
            !next.exact().contains("eso-sync diagnose"),
            "{word}: {next:?}"
        );
    }
}

/// A step that is skipped, too, teaches a wrong fix.
#[test]
fn sync_is_not_suggested_if_it_would_be_skipped() {
    let stale = finding(Verdict::Stale, "the provider changed");
    for (reason, step) in [
        (
            Reason::RefreshCreatedOnce,
            "eso-sync explain refresh-created-once",
        ),
        (Reason::ForeignClass, "eso-sync explain foreign-class"),
        (
            Reason::ChildOfClusterExternalSecret,
            "select all ExternalSecrets of the ClusterExternalSecret, so that they are synced through it",
        ),
    ] {
        let mut item = item(State::Ready, stale.clone());
        item.action = Action::Skip {
            reason,
            message: String::new(),
        };
        let diagnosis = diagnosed(&item, &stores(true), &[], &[]);
        assert_eq!(diagnosis.next, [step]);
    }
}
