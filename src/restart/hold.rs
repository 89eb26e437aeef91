//! What must not be synced yet: where it could not be noted what pods started with, a rotation that is synced now would never be
//! known to owe a restart.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::Id;

use super::{
    decide::Write,
    discover::{Seen, Unseen},
    plan::RestartPlan,
    results::{RestartOutcome, RestartResults},
    stamp::{Stamp, StampKey},
    subject::Subject,
};
use crate::{
    plan::{Action, Item, Plan},
    policy::{Policy, RestartRule},
    reason::Reason,
};

/// The items of a plan that have to wait, by index, each with what is in the way. `key` is that of the cluster, where it is known.
pub(super) fn held_back(
    policy: &Policy,
    plan: &Plan,
    (restarts, seen, key): (&RestartPlan, &Seen, Option<&StampKey>),
    adopted: &RestartResults,
) -> BTreeMap<usize, String> {
    let unnoted = unnoted(restarts, seen, key, adopted);
    let in_the_way = |item: &Item| {
        let secret = Id {
            namespace: item.id.namespace.clone(),
            name: item.secret.clone(),
        };
        let reaching = || seen.unseen.iter().find(|it| reaches(it, policy, &secret));
        unnoted.get(&secret).cloned().or_else(|| {
            reaching().map(|unseen| format!("what uses its Secret is not known: {}", unseen.why))
        })
    };
    let synced = |item: &Item| matches!(item.action, Action::Sync { .. }) && item.target.written;
    (0..)
        .zip(&plan.items)
        .filter(|(_, item)| synced(item))
        .filter_map(|(index, item)| Some((index, in_the_way(item)?)))
        .collect()
}

/// Whether a rule may cover any of these workloads for this Secret.
fn reaches(unseen: &Unseen, policy: &Policy, secret: &Id) -> bool {
    let may_cover = |rule: &RestartRule| {
        let namespaces = &rule.namespaces;
        unseen.kind.is_none_or(|kind| rule.kinds.contains(&kind))
            && (namespaces.is_empty()
                || namespaces
                    .iter()
                    .any(|glob| glob.matches(&secret.namespace)))
            && (rule.secrets.is_empty()
                || rule.secrets.iter().any(|glob| glob.matches(&secret.name)))
    };
    unseen.is_in(&secret.namespace) && policy.restart.iter().any(may_cover)
}

/// The Secrets that concern a workload whose stamp was due and was not written.
fn unnoted(
    restarts: &RestartPlan,
    seen: &Seen,
    key: Option<&StampKey>,
    adopted: &RestartResults,
) -> BTreeMap<Id, String> {
    let subjects = seen.by_id();
    let mut unnoted = BTreeMap::new();
    for step in &restarts.steps {
        let Some(subject) = subjects.get(&step.id) else {
            continue;
        };
        let failed = adopted
            .of
            .get(&step.id)
            .filter(|result| result.outcome == RestartOutcome::Failed);
        let why = match failed {
            Some(result) => &result.message,
            // No stamp can be made then.
            None if step.decision.reason == Reason::SecretUnreadable => &step.decision.message,
            None => continue,
        };
        // A stamp that is there already, and was not to be made anew, tells later what its pods started with.
        let anew = step.decision.write.as_ref().is_some_and(Write::adopts);
        let noted = if anew {
            BTreeSet::new()
        } else {
            noted(subject, key)
        };
        for (name, _) in subject.counting() {
            if !noted.contains(name) {
                let secret = Id {
                    namespace: step.id.namespace.clone(),
                    name: name.clone(),
                };
                let why = format!("{}: {why}", step.id);
                unnoted.entry(secret).or_insert(why);
            }
        }
    }
    unnoted
}

/// The Secrets in a workload's stamp, if that counts.
fn noted(subject: &Subject, key: Option<&StampKey>) -> BTreeSet<String> {
    let workload = &subject.workload;
    let stamp = workload.stamp.as_deref().map(Stamp::parse);
    let counts =
        |stamp: &Stamp| stamp.of == workload.uid && key.is_some_and(|key| key.id == stamp.key);
    match stamp {
        Some(Ok(stamp)) if counts(&stamp) => stamp.secrets.into_keys().collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pattern::Pattern,
        policy::Selection,
        restart::{
            fixtures::{Data, context, key, subject},
            known::Known,
            plan::plan,
            results::RestartResult,
            subject::View,
        },
        workload::Kind,
    };

    const DATA: Data = &[("password", "old")];

    fn policy(rule: RestartRule) -> Policy {
        let mut policy = Policy::selecting(vec![Selection::default()]);
        policy.restart = vec![rule];
        policy
    }

    fn secret(namespace: &str, name: &str) -> Id {
        Id {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_list_that_could_not_be_had_holds_back_what_its_rules_reach() {
        let of = |kind: Option<Kind>, namespace: Option<&str>| Unseen {
            kind,
            namespace: namespace.map(str::to_owned),
            reason: Reason::Refused,
            why: String::new(),
        };
        let narrow = policy(RestartRule {
            namespaces: vec![Pattern::new("shop*").unwrap()],
            secrets: vec![Pattern::new("db").unwrap()],
            kinds: vec![Kind::Deployment],
            ..RestartRule::default()
        });
        let db = secret("shop-1", "db");
        let deployments = of(Some(Kind::Deployment), None);
        assert!(reaches(&deployments, &narrow, &db));
        assert!(reaches(&of(None, None), &narrow, &db), "the key");
        assert!(reaches(&of(None, Some("shop-1")), &narrow, &db));
        assert!(!reaches(&of(None, Some("shop-2")), &narrow, &db));
        assert!(!reaches(&of(Some(Kind::StatefulSet), None), &narrow, &db));
        for other in [secret("bank", "db"), secret("shop-1", "api")] {
            assert!(!reaches(&deployments, &narrow, &other), "{other}");
            let wide = policy(RestartRule::default());
            assert!(reaches(&deployments, &wide, &other), "{other}");
        }
    }

    fn unnoted_of(subject: Subject, adopted: &RestartResults) -> Vec<String> {
        let (key, known) = (key(), Known::default());
        let policy = policy(RestartRule::default());
        let restarts = plan(
            &policy,
            std::slice::from_ref(&subject),
            context(&key, &known, true),
        );
        let seen = Seen {
            subjects: vec![subject],
            ..Seen::default()
        };
        unnoted(&restarts, &seen, Some(&key), adopted)
            .into_iter()
            .map(|(secret, why)| format!("{secret}: {why}"))
            .collect()
    }

    #[test]
    fn a_stamp_that_was_not_written_holds_its_secrets_back() {
        let web = || subject("web", DATA);
        assert_eq!(unnoted_of(web(), &RestartResults::default()), [""; 0]);
        let of = |outcome| {
            let result = RestartResult::without(outcome, Reason::Refused, "refused");
            RestartResults {
                of: BTreeMap::from([(web().workload.id, result)]),
                ..RestartResults::default()
            }
        };
        assert_eq!(
            unnoted_of(web(), &of(RestartOutcome::Failed)),
            ["shop/db: shop/Deployment/web: refused"]
        );
        assert_eq!(
            unnoted_of(web(), &of(RestartOutcome::Adopted)),
            [""; 0],
            "it was written"
        );
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_held_back_unless_a_stamp_tells_what_it_held() {
        let unreadable = |mut subject: Subject| {
            subject.db().view = View::Unreadable("forbidden".to_owned());
            subject
        };
        let nothing_done = RestartResults::default();
        assert_eq!(
            unnoted_of(unreadable(subject("web", DATA)), &nothing_done),
            ["shop/db: shop/Deployment/web: Secret db: forbidden"]
        );
        let stamped = subject("web", DATA).stamped(DATA);
        assert_eq!(unnoted_of(unreadable(stamped), &nothing_done), [""; 0]);
        let by_another_key = subject("web", DATA)
            .stamped(DATA)
            .with_stamp(|stamp| stamp.key = "another".to_owned());
        assert_eq!(
            unnoted_of(unreadable(by_another_key), &nothing_done).len(),
            1
        );
    }
}
