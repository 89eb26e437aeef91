use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use super::{super::fixtures::*, *};
use crate::{
    finding::Verdict,
    policy::{DuringDenyWindow, OnBrokenData},
    restart::{
        stamp::{Evicting, Prints, Restarted},
        targets::Targets,
    },
    workload::{Health, Keys, Kind, Manager, Tolerance},
};

const OLD: Data = &[("password", "old"), ("user", "u")];
const NEW: Data = &[("password", "new"), ("user", "u")];

/// `action (reason)`
fn shown(decision: &Decision) -> String {
    let action = match decision.action {
        Action::Restart => "restart",
        Action::IfChanged => "if changed",
        Action::Leave => "leave",
    };
    format!("{action} ({})", decision.reason.as_str())
}

fn owed() -> Subject {
    subject("api", NEW).stamped(OLD)
}

#[test]
fn changed_data_causes_a_restart_and_names_the_key() {
    let decision = decided(&owed());
    assert_eq!(shown(&decision), "restart (data-changed)");
    assert_eq!(
        decision.changes,
        [Change {
            secret: "db".to_owned(),
            keys: vec![("password".into(), Some(Difference::Changed))],
        }]
    );
    assert!(decision.behind && decision.write.is_none());
}

#[test]
fn unchanged_data_neither_restarts_nor_writes() {
    for before_sync in [true, false] {
        let subject = subject("api", OLD).stamped(OLD);
        let decision = decided_by(
            &subject,
            &RestartRule::default(),
            &Known::default(),
            before_sync,
        );
        assert_eq!(shown(&decision), "leave (current)");
        assert_eq!(decision.write, None);
    }
}

#[test]
fn a_write_without_new_data_restarts_nothing() {
    let mut subject = subject("api", OLD).stamped(OLD);
    let View::Seen(now) = &mut subject.db().view else {
        unreachable!()
    };
    now.written = Some(time("11:59:59"));
    assert_eq!(shown(&decided(&subject)), "leave (current)");
}

#[test]
fn an_unstamped_workload_is_adopted_before_the_sync() {
    let decision = decided_before(&subject("api", OLD));
    assert_eq!(shown(&decision), "leave (adopted)");
    assert_eq!(decision.assumed, names(&["db"]));
    let write = decision.write.unwrap();
    assert!(write.adopts());
    // From then on a change counts.
    let next = subject("api", NEW).after(&write.stamp);
    assert_eq!(shown(&decided(&next)), "restart (data-changed)");
}

#[test]
fn pods_newer_than_the_data_are_not_assumed() {
    let mut subject = subject("api", OLD);
    subject.pods = Some(vec![pod("api", "11:01:01")]);
    assert_eq!(decided_before(&subject).assumed, names(&[]));
    subject.pods = Some(vec![pod("api", "11:00:30")]);
    assert_eq!(
        decided_before(&subject).assumed,
        names(&["db"]),
        "a kubelet may have cached the old data"
    );
    subject.pods = Some(vec![pod("api", "11:30:00"), pod("old", "10:00:00")]);
    assert_eq!(decided_before(&subject).assumed, names(&["db"]));
    subject.pods = None;
    assert_eq!(decided_before(&subject).assumed, names(&["db"]));
}

#[test]
fn no_stamp_is_created_after_a_sync() {
    let decision = decided(&subject("api", OLD));
    assert_eq!(shown(&decision), "leave (not-planned)");
    assert_eq!(decision.write, None);
}

#[test]
fn data_that_may_change_makes_the_restart_conditional() {
    let mut subject = subject("api", OLD).stamped(OLD);
    let (key, known, targets) = (key(), Known::default(), Targets::db(true, None));
    let pending = Context {
        targets: &targets,
        ..context(&key, &known)
    };
    let decided = |subject: &Subject| decide(subject, &RestartRule::default(), pending);
    let decision = decided(&subject);
    assert_eq!(shown(&decision), "if changed (data-may-change)");
    let keys: Vec<_> = decision.changes[0]
        .keys
        .iter()
        .map(|(key, _)| key.label())
        .collect();
    assert_eq!(keys, ["password", "user"]);
    subject.workload.holds.paused = true;
    assert_eq!(shown(&decided(&subject)), "leave (paused)");
}

#[test]
fn newer_pods_update_the_stamp_without_a_restart() {
    let mut subject = owed();
    subject.pods = Some(vec![pod("api", "11:30:00")]);
    let decision = decided_before(&subject);
    assert_eq!(shown(&decision), "leave (pods-are-newer)");
    let stamp = decision.write.unwrap().stamp;
    assert_eq!(
        shown(&decided_before(&subject.after(&stamp))),
        "leave (current)"
    );
}

#[test]
fn a_new_secret_is_stamped_without_a_restart() {
    let mut subject = subject("api", OLD).stamped(OLD);
    let mut other = subject.db().clone();
    other.view = View::Seen(now_of("cache", "uid-api", OLD));
    subject.secrets.insert("cache".to_owned(), other);
    let decision = decided_before(&subject);
    assert_eq!(shown(&decision), "leave (secret-added)");
    let stamp = decision.write.unwrap().stamp;
    assert_eq!(stamp.seq, 2);
    assert!(stamp.secrets.contains_key("cache") && stamp.assumed.contains("cache"));
    assert_eq!(
        shown(&decided_before(&subject.after(&stamp))),
        "leave (current)"
    );
}

#[test]
fn only_used_keys_count() {
    let mut subject = owed();
    let used = some("user");
    let bytes = NEW.iter().map(|(name, value)| (*name, value.as_bytes()));
    let prints = prints_of("db", "uid-api", &used, bytes);
    let concern = subject.db();
    concern.keys = used;
    let View::Seen(now) = &mut concern.view else {
        unreachable!()
    };
    now.prints = prints;
    assert_eq!(shown(&decided(&subject)), "leave (current)");
}

#[test]
fn an_additional_key_restarts_users_of_the_whole_secret() {
    let more: Data = &[("password", "old"), ("token", "t"), ("user", "u")];
    let decision = decided(&subject("api", more).stamped(OLD));
    assert_eq!(shown(&decision), "restart (data-changed)");
    assert_eq!(
        decision.changes[0].keys,
        [("token".into(), Some(Difference::Extra))]
    );
}

#[test]
fn data_that_looks_broken_restarts_nothing_by_default() {
    let vanished: Data = &[("user", "u")];
    let empty: Data = &[("password", ""), ("user", "u")];
    for (data, message) in [
        (vanished, "key password of Secret db is missing"),
        (empty, "key password of Secret db is empty now"),
    ] {
        let subject = subject("api", data).stamped(OLD);
        let decision = decided(&subject);
        assert_eq!(shown(&decision), "leave (data-looks-broken)");
        assert_eq!(decision.message, message);
        let rule = RestartRule {
            on_broken_data: OnBrokenData::Restart,
            ..RestartRule::default()
        };
        let decision = decided_by(&subject, &rule, &Known::default(), false);
        assert_eq!(shown(&decision), "restart (data-changed)");
    }
    let mut gone = owed();
    gone.db().view = View::Missing;
    assert_eq!(shown(&decided(&gone)), "leave (data-looks-broken)");
    let always_empty = subject("api", empty).stamped(empty);
    assert_eq!(shown(&decided(&always_empty)), "leave (current)");
}

#[test]
fn unverified_data_restarts_nothing() {
    let (key, known) = (key(), Known::default());
    let of = |subject: &Subject, targets: &Targets| {
        let context = Context {
            targets,
            ..context(&key, &known)
        };
        shown(&evaluate(subject, &RestartRule::default(), context))
    };
    for (pending, verdict, reason) in [
        (false, Some(Verdict::Tampered), "leave (secret-tampered)"),
        (false, Some(Verdict::Stale), "leave (secret-not-verified)"),
        (false, Some(Verdict::InSync), "restart (data-changed)"),
        (true, None, "restart (data-changed)"),
    ] {
        let targets = Targets::db(pending, verdict);
        assert_eq!(of(&owed(), &targets), reason, "{pending} {verdict:?}");
    }
    let mut edited = owed();
    edited.db().found.intact = Some(false);
    let targets = Targets::db(false, Some(Verdict::InSync));
    assert_eq!(of(&edited, &targets), "leave (secret-tampered)");
}

#[test]
fn an_unreadable_secret_is_never_clean() {
    let mut subject = subject("api", OLD).stamped(OLD);
    subject.db().view = View::Unreadable("forbidden".to_owned());
    assert_eq!(shown(&decided(&subject)), "leave (secret-unreadable)");
    assert!(decided(&subject).reason.needs_attention());
}

#[test]
fn workloads_that_cannot_restart_are_left_with_a_reason() {
    type Change = fn(&mut Subject);
    let cases: [(Change, &str); 9] = [
        (|it| it.workload.holds.paused = true, "paused"),
        (|it| it.workload.holds.deleting = true, "being-deleted"),
        (
            |it| it.workload.holds.scaled_to_zero = true,
            "scaled-to-zero",
        ),
        (|it| it.workload.holds.on_delete = true, "on-delete"),
        (|it| it.workload.holds.partitioned = true, "on-delete"),
        (
            |it| it.workload.health = Health::Rolling(String::new()),
            "already-rolling",
        ),
        (
            |it| it.workload.health = Health::Failing(String::new()),
            "unhealthy",
        ),
        (
            |it| it.workload.health = Health::Unavailable(String::new()),
            "unhealthy",
        ),
        (|it| it.workload.ignored = true, "ignored"),
    ];
    for (change, reason) in cases {
        let mut subject = owed();
        change(&mut subject);
        assert_eq!(shown(&decided(&subject)), format!("leave ({reason})"));
    }
}

#[test]
fn a_workload_that_another_tool_restarts_is_left_alone() {
    let mut subject = owed();
    subject.db().counts = false;
    subject.db().left_to_other = true;
    assert_eq!(shown(&decided(&subject)), "leave (handled-by-reloader)");
    let wave = BTreeMap::from([(
        "wave.pusher.com/update-on-config-change".to_owned(),
        "true".to_owned(),
    )]);
    let reloader = std::mem::take(&mut subject.workload.reloader);
    subject.workload.reloader = reloader.with_wave(Kind::Deployment, "shop", &wave);
    assert_eq!(shown(&decided(&subject)), "leave (handled-by-wave)");
    subject.db().left_to_other = false;
    assert_eq!(shown(&decided(&subject)), "leave (no-reference)");
}

#[test]
fn retry_restarts_what_was_restarted_too_often_or_too_recently() {
    let (key, known) = (key(), Known::default());
    let restart = |hour: &str, data: &str| Restarted {
        at: time(hour),
        data: data.to_owned(),
        wrote: None,
        old: None,
    };
    let again = key.digest_of("uid-api", &owed().prints());
    for (restarts, reason) in [
        (vec![restart("11:59:00", "a")], "leave (cooling-down)"),
        (
            ["01", "02", "03", "04"]
                .map(|hour| restart(&format!("{hour}:00:00"), hour))
                .to_vec(),
            "leave (restart-loop)",
        ),
        (
            vec![restart("01:00:00", &again), restart("02:00:00", "a")],
            "leave (flapping)",
        ),
    ] {
        let subject = owed().with_stamp(|stamp| stamp.restarts = restarts);
        let mut context = context(&key, &known);
        let rule = RestartRule::default();
        let decision = evaluate(&subject, &rule, context);
        assert_eq!(shown(&decision), reason);
        assert!(decision.behind);
        let next = decision.reason.next_step().unwrap();
        assert!(next.contains("--retry"), "{next}");
        context.retry = true;
        let decision = evaluate(&subject, &rule, context);
        assert_eq!(shown(&decision), "restart (data-changed)");
    }
}

#[test]
fn a_stamp_of_another_key_or_workload_is_replaced_without_restart() {
    let other_key = owed().with_stamp(|stamp| stamp.key = "another".to_owned());
    let decision = decided_before(&other_key);
    assert_eq!(shown(&decision), "leave (key-replaced)");
    assert!(decision.write.unwrap().adopts());
    let copied = owed().with_stamp(|stamp| stamp.of = "uid-other".to_owned());
    let decision = decided_before(&copied);
    assert_eq!(shown(&decision), "leave (stamp-copied)");
    assert!(decision.write.unwrap().adopts());
}

#[test]
fn a_missing_stamp_is_not_silently_created_again() {
    let mut subject = subject("api", NEW);
    subject.workload.managers = vec![Manager {
        name: "argocd-controller".to_owned(),
        time: Some(time("11:40:00")),
        annotations: true,
        template: false,
    }];
    let mut known = Known::default();
    known.note(&subject.workload.id, &subject.workload.uid, 1);
    let decision = decided_by(&subject, &RestartRule::default(), &known, true);
    assert_eq!(shown(&decision), "leave (stamp-reverted)");
    assert_eq!(decision.write, None);
    assert!(
        decision.message.contains("argocd-controller")
            && decision.message.contains("ignoreDifferences"),
        "{}",
        decision.message
    );
    let key = key();
    let anew = Context {
        adopt_anew: true,
        ..context(&key, &known)
    };
    let decision = decide(&subject, &RestartRule::default(), anew);
    assert_eq!(shown(&decision), "leave (adopted)");
    assert_eq!(
        decision.write.unwrap().stamp.seq,
        2,
        "newer than the last stamp"
    );
}

#[test]
fn a_restored_older_stamp_restarts_nothing() {
    let subject = owed();
    let mut known = Known::default();
    known.note(&subject.workload.id, &subject.workload.uid, 5);
    let decided = |subject: &Subject| decided_by(subject, &RestartRule::default(), &known, true);
    assert_eq!(shown(&decided(&subject)), "leave (stamp-reverted)");
    // As after `kubectl rollout undo`, which also replaces the pods.
    let mut undone = subject;
    undone.pods = Some(vec![pod("api", "11:50:00")]);
    let decision = decided(&undone);
    assert_eq!(shown(&decision), "leave (pods-are-newer)");
    assert_eq!(decision.write.unwrap().stamp.seq, 6);
}

#[test]
fn an_invalid_stamp_is_reported_and_kept() {
    for text in ["", "{}", "{\"v\":9}"] {
        let mut subject = subject("api", NEW);
        subject.workload.stamp = Some(text.to_owned());
        assert_eq!(shown(&decided_before(&subject)), "leave (stamp-unreadable)");
    }
}

fn restarted_at(times: &[(&str, &str)]) -> Subject {
    owed().with_stamp(|stamp| {
        stamp.restarts = times
            .iter()
            .map(|(at, data)| Restarted {
                at: time(at),
                data: (*data).to_owned(),
                wrote: None,
                old: None,
            })
            .collect();
    })
}

#[test]
fn cooldown_and_daily_limit_hold_restarts_back() {
    let decision = decided(&restarted_at(&[("11:55:00", "a")]));
    assert_eq!(shown(&decision), "leave (cooling-down)");
    assert!(decision.behind, "the restart stays pending");
    assert_eq!(
        shown(&decided(&restarted_at(&[("11:49:00", "a")]))),
        "restart (data-changed)"
    );
    let four = [
        ("08:00:00", "a"),
        ("09:00:00", "b"),
        ("10:00:00", "c"),
        ("11:00:00", "d"),
    ];
    assert_eq!(
        shown(&decided(&restarted_at(&four))),
        "leave (restart-loop)"
    );
    let rule = RestartRule {
        max_per_day: NonZeroU32::new(5).unwrap(),
        ..RestartRule::default()
    };
    let decision = decided_by(&restarted_at(&four), &rule, &Known::default(), false);
    assert_eq!(shown(&decision), "restart (data-changed)");
}

#[test]
fn flapping_data_is_detected() {
    let digest = |data: Data| {
        let prints = now_of("db", "uid-api", data).prints;
        key().digest_of("uid-api", &BTreeMap::from([("db".to_owned(), prints)]))
    };
    let (old, new) = (digest(OLD), digest(NEW));
    // old → new → old → new: there are two writers.
    let back_and_forth = restarted_at(&[("10:00:00", &*new), ("11:00:00", &*old)]);
    assert_eq!(shown(&decided(&back_and_forth)), "leave (flapping)");
    // A single change back is a reverted rotation.
    let back = restarted_at(&[("11:00:00", &*old)]);
    assert_eq!(shown(&decided(&back)), "restart (data-changed)");
}

#[test]
fn a_restart_stamps_all_data_of_new_pods() {
    let subject = owed().with_stamp(|stamp| {
        stamp.assumed = names(&["db"]);
        stamp.secrets.insert("dropped".to_owned(), Prints::new());
        stamp.evicting = Some(Evicting {
            old: None,
            secrets: BTreeMap::new(),
        });
    });
    let stamp = Stamp::parse(subject.workload.stamp.as_deref().unwrap()).unwrap();
    let (key, known) = (key(), Known::default());
    let wrote = Some(WROTE.to_owned());
    let next = restarted(&subject, context(&key, &known), &stamp, wrote).unwrap();
    assert_eq!(next.secrets, subject.prints());
    assert!(next.assumed.is_empty() && next.evicting.is_none());
    assert_eq!((next.seq, next.restarts.len()), (2, 1));
    let after = subject.after(&next).replaced_at("12:00:01");
    assert_eq!(shown(&decided(&after)), "leave (current)");
}

#[test]
fn when_unproven_restarts_assumed_workloads_once() {
    let rule = RestartRule {
        when: RestartWhen::Unproven,
        ..RestartRule::default()
    };
    let decided = |subject: &Subject, before| decided_by(subject, &rule, &Known::default(), before);
    let mut unknown = subject("api", OLD);
    let decision = decided(&unknown, true);
    assert_eq!(shown(&decision), "restart (pods-unproven)");
    unknown = unknown.after(&decision.write.unwrap().stamp);
    assert_eq!(shown(&decided(&unknown, false)), "restart (pods-unproven)");
    let restarted = unknown.rolled().replaced_at("12:00:01");
    assert_eq!(shown(&decided(&restarted, true)), "leave (current)");
}

#[test]
fn an_interrupted_eviction_continues() {
    let subject = subject("api", NEW).stamped(OLD).with_stamp(|stamp| {
        stamp.evicting = Some(Evicting {
            old: None,
            secrets: BTreeMap::from([("db".to_owned(), now_of("db", "uid-api", NEW).prints)]),
        });
    });
    let mut rolling = subject;
    rolling.workload.health = Health::Unavailable(String::new());
    assert_eq!(shown(&decided(&rolling)), "restart (data-changed)");
}

/// Restarted by a rollout; its old pods are still there.
fn rolled() -> Subject {
    owed().rolled()
}

#[test]
fn only_replaced_pods_prove_a_restart() {
    let decision = decided(&rolled());
    assert_eq!(shown(&decision), "leave (pods-held-back)");
    assert!(decision.behind, "the stamp alone is no proof");
    let replaced = rolled().replaced_at("12:00:01");
    assert_eq!(shown(&decided(&replaced)), "leave (current)");
    let mut some = rolled();
    some.pods.as_mut().unwrap().push(pod("new", "12:00:01"));
    assert!(decided(&some).behind);
    // A pod of the same second that is not the recorded one is a replacement.
    let same_second = rolled().replaced_at("10:00:00");
    assert_eq!(shown(&decided(&same_second)), "leave (current)");
    let mut ending = rolled().replaced_at("12:00:01");
    ending.ending = vec![pod("api", "10:00:00")];
    ending.ending[0].ending = true;
    let decision = decided(&ending);
    assert_eq!(shown(&decision), "leave (pods-held-back)");
    assert!(decision.message.contains("api-1"), "{}", decision.message);
}

#[test]
fn a_moved_write_time_of_the_secret_proves_nothing() {
    for written in ["09:00:00", "11:59:59", "12:30:00"] {
        for (subject, behind) in [(rolled(), true), (rolled().replaced_at("12:00:01"), false)] {
            let mut subject = subject;
            let View::Seen(now) = &mut subject.db().view else {
                unreachable!()
            };
            now.written = Some(time(written));
            assert_eq!(decided(&subject).behind, behind, "{written}");
        }
    }
}

#[test]
fn a_restart_that_was_taken_back_is_never_current() {
    for (now, taken_back) in [
        (None, true),
        (Some("2026-02-01T08:00:00Z"), true),
        (Some("no time"), true),
        (Some(WROTE), false),
        // Somebody restarted it later.
        (Some("2026-03-01T14:00:00+01:00"), false),
    ] {
        let mut subject = rolled();
        subject.workload.restarted = now.map(str::to_owned);
        let decision = decided(&subject);
        let reason = if taken_back {
            "leave (restart-reverted)"
        } else {
            "leave (pods-held-back)"
        };
        assert_eq!(shown(&decision), reason, "{now:?}");
        assert!(decision.behind && decision.reason.needs_attention());
        // Somebody else's rollout replaced the pods after that.
        let replaced = subject.replaced_at("12:30:00");
        assert_eq!(shown(&decided(&replaced)), "leave (current)");
    }
}

#[test]
fn who_takes_a_restart_back_is_named_with_what_to_do() {
    let owner = |name: &str| crate::workload::Owner {
        api_version: "operators.coreos.com/v1alpha1".to_owned(),
        kind: "ClusterServiceVersion".to_owned(),
        name: name.to_owned(),
        uid: "u".to_owned(),
    };
    let manager = |name: &str, template| Manager {
        name: name.to_owned(),
        time: Some(time("12:00:01")),
        annotations: false,
        template,
    };
    let mut subject = rolled();
    subject.workload.restarted = None;
    let told = |subject: &Subject| decided(subject).message;
    assert!(told(&subject).contains("It is unknown who did it"));
    subject.workload.managers = vec![manager("eso-sync", true), manager("kubectl", false)];
    assert!(told(&subject).contains("It is unknown who did it"));
    subject.workload.managers.push(manager("olm", true));
    assert!(told(&subject).contains("field manager olm wrote its pod template last"));
    subject.workload.owner = Some(owner("quay.v3"));
    let message = told(&subject);
    for part in ["ClusterServiceVersion quay.v3", "olm", "strategy: evict"] {
        assert!(message.contains(part), "{message}");
    }
    for hostile in ["a\u{1b}[2J", "", "x y", &"n".repeat(254)] {
        subject.workload.owner = Some(owner(hostile));
        let message = told(&subject);
        assert!(message.contains("(an invalid name)"), "{message}");
        assert!(message.len() < 700 && !message.contains('\u{1b}'));
    }
}

#[test]
fn an_eviction_replaces_what_a_rollout_did_not() {
    let evict = RestartRule {
        strategy: Strategy::Evict,
        cooldown: std::time::Duration::ZERO,
        ..RestartRule::default()
    };
    let decided = |subject: &Subject| decided_by(subject, &evict, &Known::default(), false);
    assert_eq!(shown(&decided(&rolled())), "restart (pods-held-back)");
    let mut taken_back = rolled();
    taken_back.workload.restarted = None;
    let decision = decided(&taken_back);
    assert_eq!(shown(&decision), "restart (restart-reverted)");
    assert!(decision.behind);
    let replaced = rolled().replaced_at("12:00:01");
    assert_eq!(shown(&decided(&replaced)), "leave (current)");
}

#[test]
fn retry_repeats_only_a_restart_that_was_taken_back() {
    let (key, known) = (key(), Known::default());
    let context = Context {
        retry: true,
        ..context(&key, &known)
    };
    let decided = |subject: &Subject| evaluate(subject, &RestartRule::default(), context);
    assert_eq!(shown(&decided(&rolled())), "leave (pods-held-back)");
    let mut taken_back = rolled();
    taken_back.workload.restarted = None;
    assert_eq!(shown(&decided(&taken_back)), "restart (restart-reverted)");
}

#[test]
fn pods_that_are_held_back_are_told_with_the_reason() {
    type Change = fn(&mut Subject);
    let cases: [(Change, &str, &str); 8] = [
        (|_| (), "pods-held-back", "does not replace them"),
        (
            |it| it.workload.holds.paused = true,
            "pods-held-back",
            "paused",
        ),
        (
            |it| it.workload.holds.on_delete = true,
            "pods-held-back",
            "OnDelete",
        ),
        (
            |it| it.workload.excluded_below = Some(2),
            "pods-held-back",
            "partition",
        ),
        (
            |it| {
                it.workload.holds.paused = true;
                it.workload.health = Health::Rolling(String::new());
            },
            "pods-held-back",
            "paused",
        ),
        (
            |it| it.workload.health = Health::Rolling("1 of 2".to_owned()),
            "already-rolling",
            "1 of 2",
        ),
        (
            |it| it.workload.health = Health::Failing("deadline".to_owned()),
            "unhealthy",
            "deadline",
        ),
        (
            |it| it.workload.health = Health::Unobserved,
            "already-rolling",
            "observed",
        ),
    ];
    for (change, reason, message) in cases {
        let mut subject = rolled();
        change(&mut subject);
        let decision = decided(&subject);
        assert_eq!(shown(&decision), format!("leave ({reason})"), "{message}");
        assert!(decision.message.contains(message), "{}", decision.message);
        assert!(decision.behind);
    }
}

/// A workload that starts without these keys of the Secret `db`.
fn optional(keys: &Keys<KeyName>, view: View) -> Subject {
    let mut subject = subject("api", NEW);
    let concern = subject.db();
    (concern.keys, concern.optional) = (keys.clone(), Some(keys.clone()));
    if let View::Seen(now) = &view {
        let mut now = now.clone();
        let mut prints = concern.without();
        now.prints.retain(|key, _| keys.covers(key));
        prints.append(&mut now.prints);
        now.prints = prints;
        concern.view = View::Seen(now);
    } else {
        concern.view = view;
    }
    subject
}

fn seen(data: Data) -> View {
    View::Seen(now_of("db", "uid-api", data))
}

fn some(key: &str) -> Keys<KeyName> {
    Keys::Some(BTreeSet::from([key.into()]))
}

#[test]
fn pods_that_started_without_a_secret_are_restarted_once_it_exists() {
    for keys in [some("password"), Keys::All] {
        let missing = optional(&keys, View::Missing);
        let decision = decided_before(&missing);
        assert_eq!(shown(&decision), "leave (adopted)", "{keys:?}");
        assert!(decision.assumed.is_empty());
        let stamp = decision.write.expect("a stamp").stamp;
        let still_missing = missing.after(&stamp);
        assert_eq!(shown(&decided(&still_missing)), "leave (current)");
        let exists = optional(&keys, seen(NEW)).after(&stamp);
        let decision = decided(&exists);
        assert_eq!(shown(&decision), "restart (data-changed)");
        assert_eq!(
            decision.changes[0].keys[0],
            ("password".into(), Some(Difference::Extra))
        );
        let restarted = exists.rolled().replaced_at("12:00:01");
        assert_eq!(shown(&decided(&restarted)), "leave (current)");
    }
    // Another key of the Secret is of no use to it.
    let stamp = decided_before(&optional(&some("token"), View::Missing)).write;
    let exists = optional(&some("token"), seen(NEW)).after(&stamp.unwrap().stamp);
    assert_eq!(shown(&decided(&exists)), "leave (current)");
}

#[test]
fn pods_that_need_a_missing_secret_start_with_it() {
    let mut waits = subject("api", NEW);
    waits.db().view = View::Missing;
    let decision = decided_before(&waits);
    assert_eq!(shown(&decision), "leave (secret-not-created)");
    assert!(!decision.reason.needs_attention() && decision.write.is_none());
    let next = decision.reason.next_step().unwrap();
    assert!(!next.contains("creationPolicy"), "{next}");
    let mut partly = optional(&some("password"), View::Missing);
    partly.db().keys = Keys::Some(BTreeSet::from(["password".into(), "user".into()]));
    let decision = decided_before(&partly);
    assert_eq!(shown(&decision), "leave (secret-not-created)");
}

#[test]
fn pods_older_than_an_optional_secret_do_not_have_it() {
    let keys = some("password");
    let created = |at: &str| {
        let View::Seen(mut now) = seen(NEW) else {
            unreachable!()
        };
        now.created = Some(time(at));
        View::Seen(now)
    };
    for (secret, started, reason) in [
        ("10:30:00", None, "restart (data-changed)"),
        ("09:30:00", None, "leave (adopted)"),
        // Its container started later than the pod was created, for example because the image was pulled.
        ("10:30:00", Some("10:31:00"), "leave (adopted)"),
        ("10:30:00", Some("10:29:00"), "restart (data-changed)"),
    ] {
        let mut subject = optional(&keys, created(secret));
        subject.pods.as_mut().unwrap()[0].started = started.map(time);
        assert_eq!(shown(&decided_before(&subject)), reason, "{secret}");
        // The same for a stamp from before the Secret existed.
        let stamped = subject.stamped(NEW).with_stamp(|stamp| {
            stamp.secrets.clear();
        });
        let key = key();
        let known = Known::default();
        let rule = RestartRule::default();
        assert!(needs_pods(&stamped, &rule, context(&key, &known)));
        let decision = decided_before(&stamped);
        let restarts = reason == "restart (data-changed)";
        assert_eq!(decision.action == Action::Restart, restarts, "{secret}");
    }
    // Pods that need the Secret have waited for it.
    let mut required = subject("api", NEW);
    required.db().view = created("10:30:00");
    assert_eq!(shown(&decided_before(&required)), "leave (adopted)");
}

#[test]
fn an_optional_key_that_appears_later_is_a_change() {
    let both: Data = &[("password", "new"), ("token", "t"), ("user", "u")];
    let keys = some("token");
    let before = optional(&keys, seen(NEW));
    let stamp = decided_before(&before).write.unwrap().stamp;
    assert_eq!(shown(&decided(&before.after(&stamp))), "leave (current)");
    let appeared = optional(&keys, seen(both)).after(&stamp);
    assert_eq!(shown(&decided(&appeared)), "restart (data-changed)");
    // A stamp without the key: it comes with a new reference, so the pods are new.
    let with_new_reference = optional(&keys, seen(both))
        .after(&stamp)
        .with_stamp(|stamp| {
            stamp.secrets.get_mut("db").unwrap().clear();
        });
    assert_eq!(
        shown(&decided_before(&with_new_reference)),
        "leave (secret-added)"
    );
}

#[test]
fn a_daemon_set_within_its_limits_is_restarted() {
    let mut set = owed();
    set.workload.id.kind = Kind::DaemonSet;
    set.workload.health = Health::Unavailable("9 of 10".to_owned());
    set.workload.tolerance = Tolerance {
        allowed: 1,
        lacking: 1,
        outdated: 0,
    };
    assert_eq!(shown(&decided(&set)), "restart (data-changed)");
    set.workload.tolerance.lacking = 2;
    assert_eq!(shown(&decided(&set)), "leave (unhealthy)");
}

#[test]
fn a_deny_window_holds_restarts_back() {
    let (key, known) = (key(), Known::default());
    for (targets, subject, held, otherwise) in [
        (
            Targets::db(false, Some(Verdict::InSync)),
            owed(),
            "leave (in-deny-window)",
            "restart (data-changed)",
        ),
        (
            Targets::db(true, None),
            subject("api", OLD).stamped(OLD),
            "leave (in-deny-window)",
            "if changed (data-may-change)",
        ),
    ] {
        let targets = targets.in_deny_window();
        let context = Context {
            targets: &targets,
            ..context(&key, &known)
        };
        let decided = |during_deny_window| {
            let rule = RestartRule {
                during_deny_window,
                ..RestartRule::default()
            };
            decide(&subject, &rule, context)
        };
        let decision = decided(DuringDenyWindow::Leave);
        assert_eq!(shown(&decision), held);
        assert!(decision.message.contains("ExternalSecret db"));
        assert!(!decision.reason.needs_attention(), "the author asks for it");
        assert_eq!(shown(&decided(DuringDenyWindow::Restart)), otherwise);
    }
    let open = Targets::db(false, Some(Verdict::InSync));
    let context = Context {
        targets: &open,
        ..context(&key, &known)
    };
    let decision = evaluate(&owed(), &RestartRule::default(), context);
    assert_eq!(shown(&decision), "restart (data-changed)");
}

/// A workload whose stamp, made by an earlier run, has this name, which is hidden now.
fn with_hidden(data: Data) -> Subject {
    let before: Data = &[("hunter2", "x"), ("user", "u")];
    let mut subject = subject("api", data).stamped(before);
    let label = KeyName::hidden("label");
    let View::Seen(now) = &mut subject.db().view else {
        unreachable!()
    };
    if let Some(print) = now.prints.remove(&"hunter2".into()) {
        now.prints.insert(label.clone(), print);
    }
    let labels = BTreeMap::from([("hunter2".into(), label)]);
    subject.relabelled = BTreeMap::from([("db".to_owned(), labels)]);
    subject
}

#[test]
fn hidden_name_is_in_no_decision() {
    let gone = decided(&with_hidden(&[("user", "u")]));
    assert_eq!(shown(&gone), "leave (data-looks-broken)");
    assert_eq!(
        gone.message,
        "a key of Secret db is missing; its name comes from data"
    );
    let changed = decided(&with_hidden(&[("hunter2", "y"), ("user", "u")]));
    assert_eq!(shown(&changed), "restart (data-changed)");
    for decision in [gone, changed] {
        assert_eq!(decision.changes[0].keys.len(), 1);
        assert!(!format!("{decision:?}").contains("hunter2"), "{decision:?}");
    }
}

#[test]
fn name_that_is_hidden_now_leaves_the_stamp() {
    let same = with_hidden(&[("hunter2", "x"), ("user", "u")]);
    assert_eq!(shown(&decided(&same)), "leave (current)");
    let decision = decided_before(&same);
    assert_eq!(shown(&decision), "leave (secret-added)");
    let text = decision.write.unwrap().stamp.to_text().unwrap();
    assert!(
        text.contains("#label") && !text.contains("hunter2"),
        "{text}"
    );
}
