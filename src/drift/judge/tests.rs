use eso_model::expected::{Failure, HeldValues, SecretFingerprints, SecretType, SpecNames};
use secret::Value;

use super::*;
use crate::{drift::target::Controller, policy::KeyNames};

fn key() -> RunKey {
    RunKey::from_bytes([9; 32])
}

fn safe() -> Names {
    Names::new(KeyNames::Safe, SpecNames::default())
}

fn by(name: &str, creation: CreationPolicy) -> Author {
    Author {
        name: name.to_owned(),
        creation,
        deletion: DeletionPolicy::Retain,
        refreshed: Some("2026-03-01T11:00:00Z".parse().unwrap()),
    }
}

fn writes(keys: &[(&str, &str)]) -> Expected {
    let data = keys
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
    Expected {
        data: data.collect(),
        exact: true,
        effect: Effect::Write,
        immutable: false,
        secret_type: SecretType::default(),
    }
}

fn owner(keys: &[(&str, &str)]) -> Member {
    Member {
        by: by("es", CreationPolicy::Owner),
        computed: Ok(writes(keys)),
    }
}

fn merges(name: &str, keys: &[(&str, &str)]) -> Member {
    Member {
        by: by(name, CreationPolicy::Merge),
        computed: Ok(Expected {
            exact: false,
            effect: Effect::WriteIfExists,
            ..writes(keys)
        }),
    }
}

fn fails(failure: Failure) -> NotComputable {
    NotComputable::WouldFail(WouldFail {
        failure,
        detail: "spec.data[0]".to_owned(),
    })
}

fn controlled_by(group: &str, kind: &str, name: &str) -> Controller {
    Controller {
        group: group.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

fn holds(keys: &[(&str, &str)]) -> Actual {
    let data = writes(keys).data;
    Actual {
        data: SecretFingerprints::of(&data, &key()),
        version: key().fingerprint(b"1"),
        values: HeldValues::of(&data, &key()),
        edited: Some(false),
        controller: Some(controlled_by("external-secrets.io", "ExternalSecret", "es")),
        r#type: "Opaque".to_owned(),
        immutable: false,
        writers: Vec::new(),
        operators: Vec::new(),
    }
}

fn edited(keys: &[(&str, &str)]) -> Actual {
    Actual {
        edited: Some(true),
        ..holds(keys)
    }
}

fn by_hand(keys: &[&str]) -> Vec<Writer> {
    vec![Writer {
        manager: "kubectl-edit".to_owned(),
        time: Some("2026-03-01T11:30:00Z".parse().unwrap()),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    }]
}

/// `verdict [keys] message`, and the reason if a sync does not fix it.
fn shown(finding: &Finding) -> String {
    let keys: Vec<String> = finding
        .keys
        .iter()
        .map(|key| format!("{} {:?}", key.name.label(), key.difference))
        .collect();
    let beyond = finding
        .beyond_sync
        .map(|reason| format!(" <{}>", reason.as_str()))
        .unwrap_or_default();
    format!(
        "{} [{}] {}{beyond}",
        finding.verdict.into_str(),
        keys.join(", "),
        finding.message
    )
}

fn one(member: Member, target: &Target) -> String {
    shown(&judge(vec![member], &[], target, (&key(), &safe()))[0])
}

const AB: &[(&str, &str)] = &[("a", "1"), ("b", "2")];

#[test]
fn equal_data_is_in_sync_whatever_the_hash_says() {
    assert_eq!(one(owner(AB), &Target::there(holds(AB))), "in-sync [] ");
    assert_eq!(one(owner(AB), &Target::there(edited(AB))), "in-sync [] ");
}

#[test]
fn old_value_written_by_the_operator_is_stale() {
    let old = holds(&[("a", "0"), ("b", "2")]);
    assert_eq!(
        one(owner(AB), &Target::there(old)),
        "stale [a Changed] the provider (or the ExternalSecret) changed since the last sync"
    );
}

#[test]
fn edited_secret_is_tampered_and_names_the_writer() {
    let target = Target::there(Actual {
        writers: by_hand(&["a"]),
        ..edited(&[("a", "0"), ("b", "2"), ("c", "3")])
    });
    assert_eq!(
        one(owner(AB), &target),
        "tampered [a Changed, c Extra] edited in the cluster by kubectl-edit at 2026-03-01T11:30:00Z"
    );
}

#[test]
fn missing_keys_are_partial_unless_edited() {
    let lacking = &[("a", "1")];
    assert_eq!(
        one(owner(AB), &Target::there(holds(lacking))),
        "partial [b Missing] keys are missing: the provider (or the ExternalSecret) changed since the last sync"
    );
    assert_eq!(
        one(owner(AB), &Target::there(edited(lacking))),
        "tampered [b Missing] edited in the cluster"
    );
}

#[test]
fn with_other_writers_only_edits_of_own_keys_count() {
    let stale = || edited(&[("a", "0"), ("x", "theirs")]);
    let ours = || merges("es", &[("a", "1")]);
    let theirs = Actual {
        writers: by_hand(&["x"]),
        ..stale()
    };
    assert!(one(ours(), &Target::there(theirs)).starts_with("stale [a Changed]"));
    let both = Actual {
        writers: by_hand(&["a", "x"]),
        ..stale()
    };
    assert!(one(ours(), &Target::there(both)).starts_with("tampered [a Changed]"));
}

#[test]
fn generic_target_without_a_secret_is_unverifiable() {
    let generic = || Member {
        computed: Err(Unverifiable::new(why::MANIFEST, "spec.target.manifest").into()),
        ..owner(&[])
    };
    for target in [Target::Absent, Target::there(edited(AB))] {
        assert_eq!(
            one(generic(), &target),
            "unverifiable [] manifest (spec.target.manifest)"
        );
    }
}

#[test]
fn absent_secret_is_missing_unless_none_is_expected() {
    assert_eq!(
        one(owner(AB), &Target::Absent),
        "missing [] the Secret does not exist"
    );
    assert_eq!(
        one(merges("es", AB), &Target::Absent),
        "missing [] the Secret does not exist, and `creationPolicy: Merge` does not create it <secret-missing>"
    );
    let effect = |effect| Member {
        computed: Ok(Expected {
            effect,
            ..writes(&[])
        }),
        ..owner(&[])
    };
    assert_eq!(one(effect(Effect::Delete), &Target::Absent), "in-sync [] ");
    assert_eq!(
        one(effect(Effect::Delete), &Target::there(holds(&[("a", "1")]))),
        "stale [a Extra] the provider has no data for it any more, so the operator will delete the Secret"
    );
    assert!(one(effect(Effect::Keep), &Target::there(holds(AB))).ends_with("<retained>"));
    assert_eq!(
        one(effect(Effect::Keep), &Target::there(holds(&[]))),
        "in-sync [] "
    );
    assert_eq!(
        one(effect(Effect::Nothing), &Target::Absent),
        "unverifiable [] not-written (creationPolicy: None)"
    );
}

#[test]
fn drift_not_fixable_by_a_sync_has_a_reason() {
    let immutable = Member {
        computed: Ok(Expected {
            immutable: true,
            ..writes(AB)
        }),
        ..owner(AB)
    };
    let old = || holds(&[("a", "0"), ("b", "2")]);
    let shown = one(immutable, &Target::there(old()));
    assert!(
        shown.starts_with("stale [a Changed]") && shown.ends_with("<immutable>"),
        "{shown}"
    );
}

#[test]
fn failing_sync_makes_an_existing_secret_stale() {
    let gone = || Member {
        computed: Err(fails(Failure::NotFound)),
        ..owner(AB)
    };
    let told = "the operator's next sync would fail: not-found (spec.data[0]) <would-fail>";
    assert_eq!(
        one(gone(), &Target::there(holds(AB))),
        format!("stale [] the Secret cannot be computed from the provider's current data; {told}")
    );
    assert_eq!(
        one(gone(), &Target::there(edited(AB))),
        format!("tampered [] edited in the cluster; {told}")
    );
    assert_eq!(
        one(gone(), &Target::Absent),
        format!("missing [] the Secret does not exist; {told}")
    );
}

#[test]
fn unknown_expected_data_is_never_in_sync() {
    let unknown = || Member {
        computed: Err(NotComputable::unverifiable(why::GENERATOR)),
        ..owner(AB)
    };
    assert_eq!(
        one(unknown(), &Target::there(holds(AB))),
        "unverifiable [] generator"
    );
    assert_eq!(
        one(owner(AB), &Target::Unread("forbidden".to_owned())),
        "unverifiable [] secret-unreadable (forbidden)"
    );
    // A missing or edited Secret is detected without the expected data.
    assert!(
        one(unknown(), &Target::Absent)
            .starts_with("missing [] the Secret does not exist; the expected data")
    );
    assert!(
        one(unknown(), &Target::there(edited(AB)))
            .starts_with("tampered [] edited in the cluster; the expected")
    );
    let deletes = Member {
        by: Author {
            deletion: DeletionPolicy::Delete,
            ..by("es", CreationPolicy::Owner)
        },
        ..unknown()
    };
    assert_eq!(one(deletes, &Target::Absent), "unverifiable [] generator");
}

fn all(members: Vec<Member>, other_writers: &[&str], target: &Target) -> Vec<String> {
    let other_writers: Vec<String> = other_writers
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    judge(members, &other_writers, target, (&key(), &safe()))
        .iter()
        .map(|finding| shown(finding).chars().take(60).collect())
        .collect()
}

/// A Secret that nothing owns.
fn shared(keys: &[(&str, &str)]) -> Actual {
    Actual {
        controller: None,
        ..holds(keys)
    }
}

fn shared_edited(keys: &[(&str, &str)]) -> Actual {
    Actual {
        controller: None,
        ..edited(keys)
    }
}

#[test]
fn several_writers_are_judged_together_each_by_its_keys() {
    let members = || vec![owner(&[("a", "1")]), merges("more", &[("b", "2")])];
    let both = Target::there(shared(AB));
    assert_eq!(all(members(), &[], &both), ["in-sync [] ", "in-sync [] "]);
    let old = Target::there(shared(&[("a", "1"), ("b", "0")]));
    assert_eq!(
        all(members(), &[], &old),
        [
            "in-sync [] ",
            "stale [b Changed] the provider (or the ExternalSecret) chang"
        ]
    );
    let more = Target::there(shared_edited(&[("a", "1"), ("b", "2"), ("c", "3")]));
    assert_eq!(
        all(members(), &[], &more),
        ["tampered [c Extra] edited in the cluster", "in-sync [] "]
    );
}

#[test]
fn keys_of_unknown_writers_are_not_drift() {
    let old = Target::there(shared(&[("a", "0"), ("x", "?")]));
    assert_eq!(
        all(vec![owner(&[("a", "1")])], &["stranger"], &old),
        ["unverifiable [] shared (stranger may have written the keys t"]
    );
    let same = Target::there(shared(&[("a", "1"), ("x", "?")]));
    assert_eq!(
        all(vec![owner(&[("a", "1")])], &["stranger"], &same),
        ["in-sync [] "]
    );
    let unknown = Member {
        computed: Err(NotComputable::unverifiable(why::TEMPLATE)),
        ..merges("unknown", &[])
    };
    assert_eq!(
        all(vec![owner(&[("a", "1")]), unknown], &[], &old),
        [
            "unverifiable [] shared (unknown may have written the keys th",
            "unverifiable [] template"
        ]
    );
}

#[test]
fn conflicting_writers_are_unverifiable() {
    let fighting = vec![owner(&[("a", "1")]), owner(&[("a", "1")])];
    assert_eq!(
        all(fighting, &[], &Target::there(shared(&[("a", "1")]))),
        ["unverifiable [] shared (two ExternalSecrets write the whole "; 2]
    );
}

/// The finding, and the cause if the operator would fail.
fn told(member: Member, target: Actual) -> String {
    let finding = &judge(vec![member], &[], &Target::there(target), (&key(), &safe()))[0];
    let cause = finding.cause.map(Reason::as_str).unwrap_or_default();
    format!("{} {cause}", shown(finding))
}

#[test]
fn secret_of_another_external_secret_is_refused_for_every_policy() {
    for creation in [
        CreationPolicy::Owner,
        CreationPolicy::Orphan,
        CreationPolicy::Merge,
        CreationPolicy::CreateOrMerge,
    ] {
        let member = || Member {
            by: by("es", creation),
            ..owner(AB)
        };
        let theirs = |keys| Actual {
            controller: Some(controlled_by(
                "external-secrets.io",
                "ExternalSecret",
                "other",
            )),
            ..holds(keys)
        };
        let refused = "ExternalSecret other owns the Secret <would-fail> owned-by-other";
        assert_eq!(told(member(), theirs(AB)), format!("in-sync [] {refused}"));
        let stale = told(member(), theirs(&[("a", "0"), ("b", "2")]));
        assert!(stale.starts_with("stale [a Changed]") && stale.ends_with(refused));
        // Whatever the data is, the operator checks the owner.
        let unknown = Member {
            computed: Err(NotComputable::unverifiable(why::GENERATOR)),
            ..member()
        };
        assert_eq!(
            told(unknown, theirs(AB)),
            format!("unverifiable [] generator; {refused}")
        );
    }
}

#[test]
fn only_an_owner_is_refused_by_another_kind_of_controller() {
    for (group, kind, named) in [
        ("bitnami.com", "SealedSecret", "SealedSecret.bitnami.com es"),
        (
            "kubernetes-client.io",
            "ExternalSecret",
            "ExternalSecret.kubernetes-client.io es",
        ),
        ("", "ConfigMap", "ConfigMap es"),
    ] {
        let theirs = || Actual {
            controller: Some(controlled_by(group, kind, "es")),
            ..holds(AB)
        };
        assert_eq!(
            told(owner(AB), theirs()),
            format!(
                "in-sync [] {named} controls the Secret, so the ExternalSecret cannot own it <would-fail> owned-by-other"
            )
        );
        for creation in [CreationPolicy::Orphan, CreationPolicy::Merge] {
            let member = Member {
                by: by("es", creation),
                ..owner(AB)
            };
            assert_eq!(told(member, theirs()), "in-sync []  ");
        }
    }
}

fn of_type(r#type: &str, member: Member) -> Member {
    let mut secret_type = SecretType::default();
    r#type.clone_into(&mut secret_type.name);
    Member {
        computed: member.computed.map(|expected| Expected {
            secret_type,
            ..expected
        }),
        ..member
    }
}

#[test]
fn secret_that_the_api_server_rejects_is_not_synced() {
    let tls = "kubernetes.io/tls";
    let changed = "the Secret's type is Opaque and cannot be changed to kubernetes.io/tls";
    assert_eq!(
        told(of_type(tls, owner(AB)), holds(AB)),
        format!("in-sync [] {changed} <would-fail> invalid-secret")
    );
    assert_eq!(
        shown(
            &judge(
                vec![of_type(tls, owner(AB))],
                &[],
                &Target::Absent,
                (&key(), &safe())
            )[0]
        ),
        "missing [] the Secret does not exist; a Secret of type kubernetes.io/tls requires tls.crt <would-fail>"
    );
    // The operator refuses to change an immutable Secret, and leaves it alone if the ExternalSecret says `immutable`.
    let immutable = || Actual {
        immutable: true,
        ..holds(AB)
    };
    assert_eq!(
        told(of_type(tls, owner(AB)), immutable()),
        format!("in-sync [] {changed} <would-fail> immutable")
    );
    let frozen = Member {
        computed: Ok(Expected {
            immutable: true,
            ..of_type(tls, owner(AB)).computed.unwrap()
        }),
        ..owner(AB)
    };
    assert_eq!(told(frozen, immutable()), "in-sync []  ");
}

fn wrote(name: &str, keys: &[&str]) -> Vec<Writer> {
    vec![Writer {
        manager: format!("externalsecrets.external-secrets.io/{name}"),
        ..by_hand(keys).remove(0)
    }]
}

/// A Merge writes again only what it needs of its own keys, and keeps the keys of others.
#[test]
fn keys_that_a_merge_removes_are_shown() {
    let data = &[("a", "1"), ("mine", "old"), ("theirs", "x")];
    let target = Actual {
        controller: None,
        operators: wrote("es", &["a", "mine"]),
        ..holds(data)
    };
    assert_eq!(
        one(merges("es", &[("a", "1")]), &Target::there(target.clone())),
        "stale [mine Extra] the provider (or the ExternalSecret) changed since the last sync"
    );
    let tls = || of_type("kubernetes.io/tls", merges("es", &[("tls.crt", "1")]));
    let held = |by: &str| Actual {
        r#type: "kubernetes.io/tls".to_owned(),
        operators: wrote(by, &["tls.crt", "tls.key"]),
        ..Actual {
            controller: None,
            ..holds(&[("tls.crt", "1"), ("tls.key", "2")])
        }
    };
    assert!(told(tls(), held("es")).ends_with("requires tls.key <would-fail> invalid-secret"));
    assert_eq!(told(tls(), held("other")), "in-sync []  ");
}

#[test]
fn refused_writer_does_not_count_for_the_others() {
    let members = || vec![owner(AB), merges("more", &[("c", "3")])];
    assert_eq!(
        all(members(), &[], &Target::there(holds(AB))),
        [
            "in-sync [] ",
            "partial [c Missing] keys are missing: the provider (or the E"
        ]
    );
    let findings = judge(members(), &[], &Target::there(holds(AB)), (&key(), &safe()));
    assert_eq!(findings[0].beyond_sync, None);
    assert_eq!(findings[1].cause, Some(Reason::OwnedByOther));
    // Of two owners, the one that owns the Secret is judged.
    let two = vec![
        owner(AB),
        Member {
            by: by("late", CreationPolicy::Owner),
            ..owner(&[("a", "9")])
        },
    ];
    assert_eq!(
        all(two, &[], &Target::there(holds(AB))),
        [
            "in-sync [] ",
            "stale [a Changed] the provider (or the ExternalSecret) chang"
        ]
    );
}
