//! Decides which Secrets must not change yet, because a stamp is missing. A sync would hide that the workload's pods run with
//! old data, so no later run could detect the pending restart.
//!
//! If a stamp cannot be written, its Secrets are held back when the plan is made ([`Holds`]). Stamps that the run writes first
//! are conditions of the steps (`due`).

use std::collections::{BTreeMap, BTreeSet};

use eso_model::Id;

use crate::{
    policy::{Policy, RestartRule},
    restart::{
        decide::cannot_be_noted,
        plan::RestartPlan,
        stamp::{Stamp, StampKey},
        subject::Subject,
        workloads::{Unseen, Workloads},
    },
    workload::WorkloadId,
};

/// The Secrets that must not change, each with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds(BTreeMap<Id, String>);

impl Holds {
    /// Finds the Secrets of workloads that cannot be stamped or could not be listed.
    pub fn of(policy: &Policy, workloads: &Workloads) -> Self {
        let mut held = BTreeMap::new();
        for subject in &workloads.subjects {
            let rule = policy.restart.get(subject.rule);
            let Some(why) = rule.and_then(|rule| cannot_be_noted(subject, rule)) else {
                continue;
            };
            // An existing stamp already records the data that the pods started with.
            let stamped = stamped(subject, workloads.key());
            for secret in unstamped(subject, &stamped) {
                let why = || format!("{}: {why}", subject.workload.id);
                held.entry(secret).or_insert_with(why);
            }
        }
        for secret in workloads.targets.ids() {
            let mut unseen = workloads.unseen.iter();
            if let Some(unseen) = unseen.find(|unseen| reaches(unseen, policy, secret)) {
                let why = || {
                    format!(
                        "the workloads that use its Secret are unknown: {}",
                        unseen.why
                    )
                };
                held.entry(secret.clone()).or_insert_with(why);
            }
        }
        Self(held)
    }

    /// The reason why this Secret must not change, if any.
    pub(super) fn why(&self, secret: &Id) -> Option<&String> {
        self.0.get(secret)
    }
}

/// The stamps that must be written before each of these Secrets may change.
pub(super) fn due<'a>(
    restarts: &'a RestartPlan,
    workloads: &Workloads,
) -> BTreeMap<Id, Vec<&'a WorkloadId>> {
    let subjects = workloads.by_id();
    let mut due: BTreeMap<Id, Vec<&WorkloadId>> = BTreeMap::new();
    for (step, write) in restarts.writes() {
        let Some(subject) = subjects.get(&step.id) else {
            continue;
        };
        // A stamp that is kept already records the data that the pods started with.
        let stamped = if write.adopts() {
            BTreeSet::new()
        } else {
            stamped(subject, workloads.key())
        };
        for secret in unstamped(subject, &stamped) {
            due.entry(secret).or_default().push(&step.id);
        }
    }
    due
}

/// The relevant Secrets of a workload that are not in its stamp.
fn unstamped<'a>(
    subject: &'a Subject,
    stamped: &'a BTreeSet<String>,
) -> impl Iterator<Item = Id> + 'a {
    let missing = subject
        .counting()
        .filter(|(name, _)| !stamped.contains(*name));
    missing.map(|(name, _)| Id {
        namespace: subject.workload.id.namespace.clone(),
        name: name.clone(),
    })
}

/// True if a rule may cover any of these unlisted workloads because of this Secret.
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

/// The Secrets in the workload's stamp, if the stamp is valid.
fn stamped(subject: &Subject, key: Option<&StampKey>) -> BTreeSet<String> {
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
        reason::Reason,
        restart::{
            fixtures::{Data, context, key, stamps, subject},
            known::Known,
            plan,
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
    fn a_failed_list_holds_back_secrets_of_matching_rules() {
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
        assert!(reaches(&of(None, None), &narrow, &db), "without the key");
        assert!(reaches(&of(None, Some("shop-1")), &narrow, &db));
        assert!(!reaches(&of(None, Some("shop-2")), &narrow, &db));
        assert!(!reaches(&of(Some(Kind::StatefulSet), None), &narrow, &db));
        for other in [secret("bank", "db"), secret("shop-1", "api")] {
            assert!(!reaches(&deployments, &narrow, &other), "{other}");
            let wide = policy(RestartRule::default());
            assert!(reaches(&deployments, &wide, &other), "{other}");
        }
    }

    fn workloads(subject: Subject) -> Workloads {
        Workloads {
            subjects: vec![subject],
            stamps: Some(stamps(key())),
            ..Workloads::default()
        }
    }

    #[test]
    fn due_stamp_is_required_before_its_secrets_change() {
        let workloads = workloads(subject("web", DATA));
        let (key, known) = (key(), Known::default());
        let policy = policy(RestartRule::default());
        let context = context(&key, &known);
        let restarts = plan::plan(&policy, &workloads.subjects, context, None);
        let due = due(&restarts, &workloads);
        let shown: Vec<String> = due
            .iter()
            .map(|(secret, by)| format!("{secret}: {}", by[0]))
            .collect();
        assert_eq!(shown, ["shop/db: shop/Deployment/web"]);
        assert_eq!(Holds::of(&policy, &workloads), Holds::default());
    }

    #[test]
    fn an_unreadable_secret_is_held_back_unless_it_is_stamped() {
        let held = |subject: Subject| -> Vec<String> {
            let policy = policy(RestartRule::default());
            let Holds(held) = Holds::of(&policy, &workloads(subject));
            held.into_iter()
                .map(|(secret, why)| format!("{secret}: {why}"))
                .collect()
        };
        let unreadable = |mut subject: Subject| {
            subject.db().view = View::Unreadable("forbidden".to_owned());
            subject
        };
        assert_eq!(
            held(unreadable(subject("web", DATA))),
            ["shop/db: shop/Deployment/web: Secret db: forbidden"]
        );
        let stamped = subject("web", DATA).stamped(DATA);
        assert_eq!(held(unreadable(stamped)), [""; 0]);
        let by_another_key = subject("web", DATA)
            .stamped(DATA)
            .with_stamp(|stamp| stamp.key = "another".to_owned());
        assert_eq!(held(unreadable(by_another_key)).len(), 1);
    }
}
