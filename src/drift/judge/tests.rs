use eso_model::expected::{Failure, SecretFingerprints};
use secret::Value;

use super::*;

fn key() -> RunKey {
    RunKey::from_bytes([9; 32])
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

fn holds(keys: &[(&str, &str)]) -> Actual {
    let data = writes(keys).data;
    Actual {
        data: SecretFingerprints::of(&data, &key()),
        version: key().fingerprint(b"1"),
        edited: Some(false),
        owner: Some("es".to_owned()),
        immutable: false,
        writers: Vec::new(),
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
        .map(|key| format!("{} {:?}", key.name, key.difference))
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
    shown(&judge(vec![member], &[], target, &key())[0])
}

const AB: &[(&str, &str)] = &[("a", "1"), ("b", "2")];

#[test]
fn equal_data_is_in_sync_whatever_the_hash_says() {
    assert_eq!(one(owner(AB), &Target::There(holds(AB))), "in-sync [] ");
    assert_eq!(one(owner(AB), &Target::There(edited(AB))), "in-sync [] ");
}

#[test]
fn old_value_written_by_the_operator_is_stale() {
    let old = holds(&[("a", "0"), ("b", "2")]);
    assert_eq!(
        one(owner(AB), &Target::There(old)),
        "stale [a Changed] the provider (or the ExternalSecret) changed since the last sync"
    );
}

#[test]
fn edited_secret_is_tampered_and_names_the_writer() {
    let target = Target::There(Actual {
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
        one(owner(AB), &Target::There(holds(lacking))),
        "partial [b Missing] keys are missing: the provider (or the ExternalSecret) changed since the last sync"
    );
    assert_eq!(
        one(owner(AB), &Target::There(edited(lacking))),
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
    assert!(one(ours(), &Target::There(theirs)).starts_with("stale [a Changed]"));
    let both = Actual {
        writers: by_hand(&["a", "x"]),
        ..stale()
    };
    assert!(one(ours(), &Target::There(both)).starts_with("tampered [a Changed]"));
}

#[test]
fn generic_target_without_a_secret_is_unverifiable() {
    let generic = || Member {
        computed: Err(Unverifiable::new(why::MANIFEST, "spec.target.manifest").into()),
        ..owner(&[])
    };
    for target in [Target::Absent, Target::There(edited(AB))] {
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
        one(effect(Effect::Delete), &Target::There(holds(&[("a", "1")]))),
        "stale [a Extra] the provider has no data for it any more, so the operator will delete the Secret"
    );
    assert!(one(effect(Effect::Keep), &Target::There(holds(AB))).ends_with("<retained>"));
    assert_eq!(
        one(effect(Effect::Keep), &Target::There(holds(&[]))),
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
    let shown = one(immutable, &Target::There(old()));
    assert!(
        shown.starts_with("stale [a Changed]") && shown.ends_with("<immutable>"),
        "{shown}"
    );
    let theirs = Actual {
        owner: Some("other".to_owned()),
        ..old()
    };
    assert!(
        one(owner(AB), &Target::There(theirs))
            .ends_with("; ExternalSecret other owns the Secret <would-fail>")
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
        one(gone(), &Target::There(holds(AB))),
        format!("stale [] the Secret cannot be computed from the provider's current data; {told}")
    );
    assert_eq!(
        one(gone(), &Target::There(edited(AB))),
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
        one(unknown(), &Target::There(holds(AB))),
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
        one(unknown(), &Target::There(edited(AB)))
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
    judge(members, &other_writers, target, &key())
        .iter()
        .map(|finding| shown(finding).chars().take(60).collect())
        .collect()
}

#[test]
fn several_writers_are_judged_together_each_by_its_keys() {
    let members = || vec![owner(&[("a", "1")]), merges("more", &[("b", "2")])];
    let both = Target::There(holds(AB));
    assert_eq!(all(members(), &[], &both), ["in-sync [] ", "in-sync [] "]);
    let old = Target::There(holds(&[("a", "1"), ("b", "0")]));
    assert_eq!(
        all(members(), &[], &old),
        [
            "in-sync [] ",
            "stale [b Changed] the provider (or the ExternalSecret) chang"
        ]
    );
    let more = Target::There(edited(&[("a", "1"), ("b", "2"), ("c", "3")]));
    assert_eq!(
        all(members(), &[], &more),
        ["tampered [c Extra] edited in the cluster", "in-sync [] "]
    );
}

#[test]
fn keys_of_unknown_writers_are_not_drift() {
    let old = Target::There(holds(&[("a", "0"), ("x", "?")]));
    assert_eq!(
        all(vec![owner(&[("a", "1")])], &["stranger"], &old),
        ["unverifiable [] shared (stranger may have written the keys t"]
    );
    let same = Target::There(holds(&[("a", "1"), ("x", "?")]));
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
        all(fighting, &[], &Target::There(holds(&[("a", "1")]))),
        ["unverifiable [] shared (two ExternalSecrets write the whole "; 2]
    );
}
