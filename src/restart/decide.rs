//! Decides whether a workload is restarted, from cluster objects only. A killed run therefore changes nothing about the
//! decision.
//!
//! A restart is pending if a Secret that is both in the stamp and in the workload's references holds other data now. A pending
//! restart is held back if it would do harm, or if another tool restarts the workload.
//!
//! The plan calls [`decide`] once for each workload. It decides about the restart, its condition, and the stamp to write.
//! [`evaluate`] only checks the condition after the syncs. It writes no stamp and adds no restart.

mod compare;
pub(super) mod guard;

use std::collections::BTreeSet;

use eso_model::expected::Difference;
use jiff::Timestamp;

use self::compare::{are_newer, changes, has_new_keys, note_absent, unproven};
use super::{
    known::Known,
    others::{Other, Others},
    owner,
    stamp::{OldPods, Stamp, StampKey},
    subject::{Concern, Standing, Subject, View},
    targets::Targets,
};
use crate::{
    key_names::KeyName,
    policy::{RestartRule, RestartWhen},
    reason::Reason,
    workload::{Health, Strategy, Workload},
};

type Against = (Reason, String);

/// Inputs that all decisions of a run share.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The key for new stamps.
    pub key: &'a StampKey,
    /// Keys of other installations that made stamps.
    pub others: &'a Others,
    /// State about workloads that were stamped before.
    pub known: &'a Known,
    /// The target Secrets: which of them the run may change, and which are verified.
    pub targets: &'a Targets,
    pub now: Timestamp,
    /// `--adopt-anew`: create missing or unreadable stamps again.
    pub adopt_anew: bool,
    /// `--retry`: also restarts unhealthy workloads and those that were restarted too often or too recently.
    pub retry: bool,
}

impl<'a> Context<'a> {
    /// The key of the workload's stamp, or the key for its new stamp.
    pub fn key_of(&self, workload: &Workload) -> &'a StampKey {
        self.others.key_of(workload).unwrap_or(self.key)
    }

    /// True if the run may change the data of this Secret.
    pub fn may_change(&self, workload: &Workload, secret: &str) -> bool {
        self.targets.may_change(&workload.id.namespace, secret)
    }

    /// Returns whether this Secret of a workload is verified as the rule requires.
    pub fn standing(
        &self,
        workload: &Workload,
        rule: &RestartRule,
        secret: &str,
        concern: &Concern,
    ) -> Standing {
        self.targets
            .standing(&workload.id.namespace, secret, rule.require, concern.found)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Restart it.
    Restart,
    /// Restart it if the run changes its data.
    IfChanged,
    /// Do not restart it.
    Leave,
}

/// A stamp to write without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub stamp: Stamp,
    pub reason: Reason,
}

impl Write {
    /// True if it creates a stamp instead of updating a readable one.
    pub fn adopts(&self) -> bool {
        matches!(
            self.reason,
            Reason::Adopted | Reason::StampCopied | Reason::KeyReplaced
        )
    }
}

/// A Secret that the decision depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub secret: String,
    /// The keys, with their difference if any.
    pub keys: Vec<(KeyName, Option<Difference>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub action: Action,
    pub reason: Reason,
    /// Human-readable details.
    pub message: String,
    /// True if it is known to run with old data.
    pub behind: bool,
    pub changes: Vec<Change>,
    /// A stamp to write whatever the action is.
    pub write: Option<Write>,
    /// Secrets for which it is unknown whether the pods started with the stamped data.
    pub assumed: BTreeSet<String>,
}

impl Decision {
    fn leave(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            action: Action::Leave,
            reason,
            message: message.into(),
            behind: false,
            changes: Vec::new(),
            write: None,
            assumed: BTreeSet::new(),
        }
    }
}

/// True if the decision depends on the pods.
pub fn needs_pods(subject: &Subject, rule: &RestartRule, context: Context<'_>) -> bool {
    match stamp_of(subject, context) {
        Found::Create(..) | Found::Old(_) => true,
        Found::Blocked(..) => false,
        Found::Good(stamp) => {
            let unproven = rule.when == RestartWhen::Unproven && !stamp.assumed.is_empty();
            // Once no old pod was left, none comes back.
            let restarted = guard::is_pending(subject, context, &stamp);
            let absent = subject.counting().any(|(name, concern)| {
                concern.may_be_absent()
                    && concern.now().is_some()
                    && !stamp.secrets.contains_key(name)
            });
            unproven
                || restarted
                || absent
                || stamp.evicting.is_some()
                || !changes(subject, &stamp).is_empty()
        }
    }
}

/// Says if stamps may be created. After a sync, the current data does not show what data the pods started with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stamps {
    MayBeWritten,
    AreFinal,
}

/// Decides about a workload, before the first sync.
pub fn decide(subject: &Subject, rule: &RestartRule, context: Context<'_>) -> Decision {
    settle(subject, rule, context, Stamps::MayBeWritten)
}

/// Decides after the syncs if a planned restart is pending and not held back.
pub fn evaluate(subject: &Subject, rule: &RestartRule, context: Context<'_>) -> Decision {
    settle(subject, rule, context, Stamps::AreFinal)
}

fn settle(subject: &Subject, rule: &RestartRule, context: Context<'_>, stamps: Stamps) -> Decision {
    if let Some((reason, message)) = guard::outside(subject, rule) {
        return Decision::leave(reason, message);
    }
    if let Some(message) = unreadable(subject) {
        return Decision::leave(Reason::SecretUnreadable, message);
    }
    match stamp_of(subject, context) {
        Found::Blocked(reason, message) => Decision::leave(reason, message),
        Found::Create(..) if stamps == Stamps::AreFinal => Decision::leave(
            Reason::NotPlanned,
            "it has no stamp, and one can only be created before the first sync of a run",
        ),
        Found::Create(reason, message) => create_stamp(subject, rule, context, reason, message),
        Found::Old(stamp) => restored_stamp(subject, context, &stamp, stamps),
        Found::Good(stamp) => compare_with_stamp(subject, rule, context, stamp, stamps),
    }
}

/// Returns why no stamp can be created: a Secret that counts cannot be read.
fn unreadable(subject: &Subject) -> Option<String> {
    subject
        .counting()
        .find_map(|(name, concern)| match &concern.view {
            View::Unreadable(why) => Some(format!("Secret {name}: {why}")),
            View::Seen(_) | View::Missing => None,
        })
}

/// Returns why the data that the pods of a workload started with cannot be recorded: a Secret cannot be read. None for workloads
/// that are excluded from restarts.
pub fn cannot_be_noted(subject: &Subject, rule: &RestartRule) -> Option<String> {
    if guard::outside(subject, rule).is_some() {
        return None;
    }
    unreadable(subject)
}

/// The state of a workload's stamp.
enum Found {
    /// Usable.
    Good(Stamp),
    /// Older than a stamp that was seen before.
    Old(Stamp),
    /// Missing or not usable. A new one may be created.
    Create(Reason, String),
    /// Missing or not usable, and a person has to decide.
    Blocked(Reason, String),
}

fn stamp_of(subject: &Subject, context: Context<'_>) -> Found {
    let workload = &subject.workload;
    let known = context.known.seq(&workload.id, &workload.uid);
    let Some(stamp) = subject.stamp() else {
        if known.is_some() && !context.adopt_anew {
            let message = format!("its stamp is missing. {}", owner::field_owner(workload));
            return Found::Blocked(Reason::StampReverted, message);
        }
        return Found::Create(Reason::Adopted, String::new());
    };
    let stamp = match stamp {
        Ok(stamp) => stamp,
        Err(_) if context.adopt_anew => {
            return Found::Create(Reason::Adopted, "its stamp was unreadable".to_owned());
        }
        Err(error) => {
            let message = format!("cannot read its stamp: {error}");
            return Found::Blocked(Reason::StampUnreadable, message);
        }
    };
    if stamp.of != workload.uid {
        let message = "its stamp was made for another workload".to_owned();
        return Found::Create(Reason::StampCopied, message);
    }
    if stamp.key != context.key.id {
        match context.others.of(&stamp) {
            Some(Other::Kept(_)) => {}
            Some(Other::Unknown(why)) if !context.adopt_anew => {
                let message = format!(
                    "its stamp was made with the key in namespace {}, which cannot be read: {why}",
                    stamp.key_in
                );
                return Found::Blocked(Reason::KeyElsewhere, message);
            }
            Some(Other::Unknown(_) | Other::Gone) | None => {
                let message = format!(
                    "its stamp was made with key {}, but the key is now {}",
                    stamp.key, context.key.id
                );
                return Found::Create(Reason::KeyReplaced, message);
            }
        }
    }
    if known.is_some_and(|seq| stamp.seq < seq) && !context.adopt_anew {
        return Found::Old(stamp);
    }
    Found::Good(stamp)
}

/// Creates a stamp from the current data, and decides with it.
fn create_stamp(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    reason: Reason,
    message: String,
) -> Decision {
    let mut stamp = Stamp::new(&subject.workload, context.key);
    let known = context
        .known
        .seq(&subject.workload.id, &subject.workload.uid);
    stamp.seq = known.map_or(stamp.seq, |seq| seq + 1);
    note_absent(subject, &mut stamp);
    let known = stamp.secrets.clone();
    stamp.secrets = subject.prints();
    stamp.assumed = subject
        .secrets
        .iter()
        .filter(|(name, concern)| {
            concern.now().is_some() && !subject.is_current(concern) && !known.contains_key(*name)
        })
        .map(|(name, _)| name.clone())
        .collect();
    stamp.secrets.extend(known);
    if stamp.secrets.is_empty() {
        return Decision::leave(
            Reason::SecretNotCreated,
            "its pods cannot start before its Secrets exist, so there is nothing to record",
        );
    }
    if stamp.to_text().is_none() {
        return too_large();
    }
    let mut decision =
        compare_with_stamp(subject, rule, context, stamp.clone(), Stamps::MayBeWritten);
    if decision.action == Action::Leave && decision.reason == Reason::Current {
        decision.reason = reason;
    }
    if decision.message.is_empty() {
        decision.message = message;
    }
    decision.write = Some(Write { stamp, reason });
    decision
}

/// The stamp is older than the last one seen, as after `kubectl rollout undo`. Harmless if all pods are newer than the data.
fn restored_stamp(
    subject: &Subject,
    context: Context<'_>,
    stamp: &Stamp,
    stamps: Stamps,
) -> Decision {
    let current = subject
        .counting()
        .all(|(_, concern)| subject.is_current(concern));
    if !current {
        return Decision::leave(
            Reason::StampReverted,
            format!(
                "its stamp was replaced by an older one. {}",
                owner::field_owner(&subject.workload)
            ),
        );
    }
    let known = context
        .known
        .seq(&subject.workload.id, &subject.workload.uid);
    let mut newest = stamp.clone();
    newest.seq = known.unwrap_or(stamp.seq).max(stamp.seq);
    renewed(subject, &newest, Reason::PodsAreNewer, stamps)
}

fn compare_with_stamp(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    mut stamp: Stamp,
    stamps: Stamps,
) -> Decision {
    note_absent(subject, &mut stamp);
    let changes = changes(subject, &stamp);
    let mut decision = match cause(subject, rule, context, &stamp, &changes) {
        None => no_pending_restart(subject, rule, context, &stamp, stamps),
        Some(reason) => {
            let by_data = matches!(reason, Reason::DataChanged | Reason::EvictionUnderWay);
            if by_data && are_newer(subject, &changes) && rule.when != RestartWhen::Always {
                renewed(subject, &stamp, Reason::PodsAreNewer, stamps)
            } else {
                owed(subject, rule, context, &stamp, &changes, reason)
            }
        }
    };
    if decision.changes.is_empty() {
        decision.changes = changes;
    }
    if let Some((reason, message)) = unreplaced(subject, &stamp) {
        decision.behind = true;
        if decision.reason == Reason::Current {
            (decision.reason, decision.message) = (reason, message);
        }
    }
    if decision.write.is_none() {
        decision.assumed = stamp.assumed;
    }
    decision
}

/// Why a restart is pending, if one is.
fn cause(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    stamp: &Stamp,
    changes: &[Change],
) -> Option<Reason> {
    if !changes.is_empty() {
        return Some(Reason::DataChanged);
    }
    if stamp.evicting.is_some() {
        return Some(Reason::EvictionUnderWay);
    }
    if rule.when == RestartWhen::Always {
        return Some(Reason::Always);
    }
    if rule.when == RestartWhen::Unproven && !unproven(subject, stamp).is_empty() {
        return Some(Reason::PodsUnproven);
    }
    let old = subject.unreplaced(stamp);
    if old.is_empty() {
        return None;
    }
    let taken_back = stamp.is_taken_back(&subject.workload);
    // An eviction needs no change of the object that could be taken back, and a partition does not keep evicted pods.
    match rule.strategy {
        Strategy::Evict if taken_back => Some(Reason::RestartReverted),
        // A pod that is being deleted is evicted already.
        Strategy::Evict => {
            let evictable = old.iter().any(|pod| !pod.ending);
            evictable.then_some(Reason::PodsHeldBack)
        }
        Strategy::Rollout => (taken_back && context.retry).then_some(Reason::RestartReverted),
    }
}

/// True if pods from before the last restart are still there, and not because of the new data.
pub(super) fn is_held_back(subject: &Subject, stamp: &Stamp) -> bool {
    unreplaced(subject, stamp).is_some_and(|(reason, _)| reason == Reason::PodsHeldBack)
}

/// Returns why pods from before the last restart are still there, if any are. The stamp alone does not prove that the pods have
/// the data, because the owner of the workload may take the restart back.
fn unreplaced(subject: &Subject, stamp: &Stamp) -> Option<Against> {
    let workload = &subject.workload;
    let old = subject.unreplaced(stamp);
    if old.is_empty() {
        return None;
    }
    Some(match &workload.health {
        Health::Unobserved => (Reason::AlreadyRolling, guard::UNOBSERVED.to_owned()),
        Health::Rolling(message) => match workload.keeps(&old) {
            Some(why) => (Reason::PodsHeldBack, why),
            None => (Reason::AlreadyRolling, message.clone()),
        },
        Health::Healthy | Health::Failing(_) | Health::Unavailable(_)
            if stamp.is_taken_back(workload) =>
        {
            (Reason::RestartReverted, owner::who_took_back(workload))
        }
        Health::Failing(message) | Health::Unavailable(message) => {
            (Reason::Unhealthy, message.clone())
        }
        Health::Healthy => {
            let why = workload.keeps(&old);
            let why = why.unwrap_or_else(|| "its controller does not replace them".to_owned());
            (Reason::PodsHeldBack, why)
        }
    })
}

/// Restarts the workload unless something holds it back.
fn owed(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    stamp: &Stamp,
    changes: &[Change],
    reason: Reason,
) -> Decision {
    let mut decision = match guard::against(subject, rule, context, stamp, changes) {
        Some((reason, message)) => Decision::leave(reason, message),
        None => Decision {
            action: Action::Restart,
            ..Decision::leave(reason, "")
        },
    };
    decision.behind = matches!(
        reason,
        Reason::DataChanged
            | Reason::EvictionUnderWay
            | Reason::RestartReverted
            | Reason::PodsHeldBack
    );
    decision
}

/// No restart is pending. Adds new Secrets to the stamp. If the run may change the data, the restart becomes conditional.
fn no_pending_restart(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    stamp: &Stamp,
    stamps: Stamps,
) -> Decision {
    let may_be_written = stamps == Stamps::MayBeWritten;
    let is_outdated = has_new_keys(subject, stamp) || subject.shows_a_hidden_name();
    let mut decision = if may_be_written && is_outdated {
        renewed(subject, stamp, Reason::SecretAdded, stamps)
    } else {
        Decision::leave(Reason::Current, "")
    };
    let may_change: Vec<Change> = subject
        .counting()
        .filter(|(name, _)| context.may_change(&subject.workload, name))
        .map(|(name, concern)| Change {
            secret: name.clone(),
            keys: concern
                .prints()
                .unwrap_or_default()
                .into_keys()
                .map(|key| (key, None))
                .collect(),
        })
        .collect();
    if may_change.is_empty() {
        return decision;
    }
    decision.changes = may_change;
    let hold = subject.workload.hold(rule.strategy);
    let hold = hold
        .map(|(reason, message)| (reason, message.to_owned()))
        .or_else(|| guard::denied(subject, rule, context, &decision.changes));
    if let Some((reason, message)) = hold {
        (decision.reason, decision.message) = (reason, message);
        return decision;
    }
    decision.action = Action::IfChanged;
    decision.reason = Reason::DataMayChange;
    decision
}

/// Updates the stamp to the current data, without a restart.
fn renewed(subject: &Subject, stamp: &Stamp, reason: Reason, stamps: Stamps) -> Decision {
    let mut decision = Decision::leave(reason, "");
    let all = reason == Reason::PodsAreNewer;
    let mut next = stamp.clone();
    next.seq += 1;
    for (name, concern) in &subject.secrets {
        let Some(now) = concern.prints() else {
            continue;
        };
        let entry = next.secrets.get_mut(name);
        let current = subject.is_current(concern);
        match entry {
            None => {
                next.secrets.insert(name.clone(), now);
                if !current && concern.now().is_some() {
                    next.assumed.insert(name.clone());
                }
            }
            Some(prints) if all => {
                if current {
                    next.assumed.remove(name);
                    *prints = now;
                }
            }
            Some(prints) => {
                for (key, print) in now {
                    prints.entry(key).or_insert(print);
                }
            }
        }
    }
    if all {
        next.evicting = None;
    }
    forget_unused(subject, &mut next);
    decision.assumed.clone_from(&next.assumed);
    if next.to_text().is_none() {
        return too_large();
    }
    if stamps == Stamps::MayBeWritten {
        decision.write = Some(Write {
            stamp: next,
            reason,
        });
    }
    decision
}

/// The stamp that a restart writes: everything that new pods get, including Secrets that another policy selects. `wrote` is the
/// value in the pod template, or None for an eviction.
pub fn restarted(
    subject: &Subject,
    context: Context<'_>,
    stamp: &Stamp,
    wrote: Option<String>,
) -> Option<Stamp> {
    let mut next = stamp.clone();
    next.seq += 1;
    let old = match next.evicting.take() {
        Some(evicting) if wrote.is_none() => evicting.old,
        _ => OldPods::of(subject.all_pods()),
    };
    for (name, prints) in subject.prints() {
        next.assumed.remove(&name);
        next.secrets.insert(name, prints);
    }
    forget_unused(subject, &mut next);
    next.record_restart(context.now, context.key_of(&subject.workload), wrote, old);
    next.to_text().is_some().then_some(next)
}

/// Removes Secrets that the workload no longer uses.
fn forget_unused(subject: &Subject, stamp: &mut Stamp) {
    stamp
        .secrets
        .retain(|name, _| subject.secrets.contains_key(name));
    stamp
        .assumed
        .retain(|name| subject.secrets.contains_key(name));
}

fn too_large() -> Decision {
    Decision::leave(
        Reason::StampTooLarge,
        "its Secrets have too many keys for a stamp",
    )
}

#[cfg(test)]
mod tests;
