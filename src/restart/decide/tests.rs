use std::num::NonZeroU32;

use super::{super::fixtures::*, *};
use crate::{
    finding::Verdict,
    policy::OnBrokenData,
    restart::{
        stamp::{Evicting, Prints, Restarted},
        targets::Targets,
    },
    workload::{Health, Keys, Manager},
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
            keys: vec![("password".to_owned(), Some(Difference::Changed))],
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
        .map(|(key, _)| &**key)
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
    let used = Keys::Some(names(&["user"]));
    let bytes = NEW.iter().map(|(name, value)| (*name, value.as_bytes()));
    let prints = key().prints("uid-api", "db", &used, bytes);
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
        [("token".to_owned(), Some(Difference::Extra))]
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
fn a_workload_that_reloader_restarts_is_left_alone() {
    let mut subject = owed();
    subject.db().counts = false;
    subject.db().left_to_reloader = true;
    assert_eq!(shown(&decided(&subject)), "leave (handled-by-reloader)");
    subject.db().left_to_reloader = false;
    assert_eq!(shown(&decided(&subject)), "leave (no-reference)");
}

#[test]
fn retry_restarts_what_was_restarted_too_often_or_too_recently() {
    let (key, known) = (key(), Known::default());
    let restart = |hour: &str, data: &str| Restarted {
        at: time(hour),
        data: data.to_owned(),
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
        key().digest_of(
            "uid-api",
            &std::collections::BTreeMap::from([("db".to_owned(), prints)]),
        )
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
            since: time("10:00:00"),
            last: names(&[]),
            secrets: std::collections::BTreeMap::new(),
        });
    });
    let stamp = Stamp::parse(subject.workload.stamp.as_deref().unwrap()).unwrap();
    let (key, known) = (key(), Known::default());
    let next = restarted(&subject, context(&key, &known), &stamp).unwrap();
    assert_eq!(next.secrets, subject.prints());
    assert!(next.assumed.is_empty() && next.evicting.is_none());
    assert_eq!((next.seq, next.restarts.len()), (2, 1));
    assert_eq!(shown(&decided(&subject.after(&next))), "leave (current)");
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
    let stamp = Stamp::parse(unknown.workload.stamp.as_deref().unwrap()).unwrap();
    let (key, known) = (key(), Known::default());
    let next = restarted(&unknown, context(&key, &known), &stamp).unwrap();
    assert_eq!(
        shown(&decided(&unknown.after(&next), true)),
        "leave (current)"
    );
}

#[test]
fn an_interrupted_eviction_continues() {
    let subject = subject("api", NEW).stamped(OLD).with_stamp(|stamp| {
        stamp.evicting = Some(Evicting {
            since: time("10:00:00"),
            last: names(&[]),
            secrets: std::collections::BTreeMap::from([(
                "db".to_owned(),
                now_of("db", "uid-api", NEW).prints,
            )]),
        });
    });
    let mut rolling = subject;
    rolling.workload.health = Health::Unavailable(String::new());
    assert_eq!(shown(&decided(&rolling)), "restart (data-changed)");
}

#[test]
fn pods_excluded_by_a_partition_keep_old_data() {
    let mut set = subject("api", NEW).stamped(NEW);
    set.workload.partly = Some("new".to_owned());
    let mut pods = vec![pod("api", "10:00:00"), pod("api", "11:30:00")];
    for (pod, (name, revision)) in pods.iter_mut().zip([("api-0", "old"), ("api-1", "new")]) {
        pod.name = name.to_owned();
        let label = "controller-revision-hash".to_owned();
        pod.labels.insert(label, revision.to_owned());
    }
    set.pods = Some(pods);
    // A partition that excludes pods from another tool's rollout is not reported.
    assert_eq!(shown(&decided(&set)), "leave (current)");
    let set = set.with_stamp(|stamp| {
        let at = time("11:29:00");
        stamp.record_restart(at, &key());
    });
    let decision = decided(&set);
    assert_eq!(shown(&decision), "leave (on-delete)");
    assert!(decision.behind && decision.message.contains("api-0"));
    assert!(!decision.message.contains("api-1"));
    // Pods created since that restart have the data, even if the partition excludes them now.
    let mut later = set;
    for pod in later.pods.as_mut().unwrap() {
        pod.created = time("11:30:00");
    }
    assert_eq!(shown(&decided(&later)), "leave (current)");
}
