use std::collections::BTreeMap;

use eso_model::{
    Id, QuotaKey, StoreKey,
    expected::{CreationPolicy, KeyDifference, Unverifiable},
};

use super::*;
use crate::inventory::{Ready, Store, Target};

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
        permission: None,
        keys: Vec::new(),
        message: message.to_owned(),
        judged: None,
    }
}

fn stores(ready: bool) -> Inventory {
    let key: StoreKey = "ClusterSecretStore/aws".parse().unwrap();
    let store = Store {
        key: key.clone(),
        provider: "aws".to_owned(),
        quota: QuotaKey {
            provider: "aws".to_owned(),
            account: String::new(),
        },
        reads_keys_once: true,
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

fn told(item: &Item, inventory: &Inventory, reads: &[ReadFact], warnings: &[String]) -> Diagnosis {
    let consumers = ["Deployment/shop".to_owned()];
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
fn all_is_well() {
    let item = item(State::Ready, finding(Verdict::InSync, ""));
    let diagnosis = told(&item, &stores(true), &[read(ReadState::Found)], &[]);
    assert_eq!(diagnosis.exit(), Exit::Done);
    insta::assert_snapshot!(diagnosis.text(), @"
    shop/db

       ok  ClusterSecretStore/aws: ready; its provider is aws
       ok  prod/db at ClusterSecretStore/aws: it is there, and can be read
       ok  ExternalSecret: ready; it last synced at 2026-03-01T11:00:00Z
       ok  Secret db: it holds what it should
       ok  Consumers: Deployment/shop

    Nothing is wrong.
    ");
}

#[test]
fn a_stale_secret_says_what_differs_and_how_to_mend_it() {
    let stale = Finding {
        keys: vec![KeyDifference {
            name: "password".to_owned(),
            difference: Difference::Changed,
        }],
        ..finding(Verdict::Stale, "the provider changed")
    };
    let item = item(State::Ready, stale);
    let diagnosis = told(&item, &stores(true), &[read(ReadState::Found)], &[]);
    assert_eq!(diagnosis.exit(), Exit::Differences);
    insta::assert_snapshot!(diagnosis.text(), @"
    shop/db

       ok  ClusterSecretStore/aws: ready; its provider is aws
       ok  prod/db at ClusterSecretStore/aws: it is there, and can be read
       ok  ExternalSecret: ready; it last synced at 2026-03-01T11:00:00Z
    WRONG  Secret db: stale: the provider changed (password differs)
       ok  Consumers: Deployment/shop

    1. eso-sync sync db -n shop --restart
    ");
}

#[test]
fn a_denied_read_names_the_right_and_a_failing_operator_its_reason_without_values() {
    let unknown = Finding::unverifiable(Unverifiable::new("denied", "prod/db"));
    let item = item(State::Failed, unknown);
    let denied = read(ReadState::Unread {
        why: "denied (prod/db)".to_owned(),
        permission: Some("secretsmanager:GetSecretValue on prod/db".to_owned()),
    });
    let warnings = [
        "old".to_owned(),
        "could not parse: hunter2: AccessDeniedException".to_owned(),
    ];
    let diagnosis = told(&item, &stores(false), &[denied], &warnings);
    assert_eq!(diagnosis.exit(), Exit::Failed);
    let text = diagnosis.text();
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!(text, @"
    shop/db

    WRONG  ClusterSecretStore/aws: not ready: InvalidProviderConfig
        ?  prod/db at ClusterSecretStore/aws: it cannot be read: denied (prod/db); lacking: secretsmanager:GetSecretValue on prod/db
    WRONG  ExternalSecret: the operator fails to sync it; it last synced at 2026-03-01T11:00:00Z; it says (denied): could not parse … AccessDeniedException
        ?  Secret db: unverifiable: denied (prod/db)
       ok  Consumers: Deployment/shop

    1. mend ClusterSecretStore/aws: its credentials or its address; `kubectl describe` shows the operator's text
    2. grant secretsmanager:GetSecretValue on prod/db to whom the provider is read with
    3. grant the store's identity the read that the provider refused, then run again
    ");
}

#[test]
fn what_is_gone_at_the_provider_is_the_first_thing_to_mend() {
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
    let diagnosis = told(&item, &stores(true), &[read(ReadState::NotFound)], &[]);
    assert_eq!(
        diagnosis.next,
        [
            "create prod/db in the provider, or mend the key in the spec",
            "mend what the operator would fail on, in the provider or in the spec"
        ]
    );
}
