//! The runs over the ExternalSecrets of some groups of messages.

use std::time::Duration;

use ::events::{End, Group, Says, Sight};
use eso_model::duration::GoDuration;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{
    Job,
    concern::concerned,
    ends::{self, Ended},
    sight::seen,
};
use crate::{
    drift::{
        awaited::Awaited,
        check::{Check, Versions},
    },
    failure::Failure,
    inventory::Inventory,
    policy::OnUnverifiable,
    run::{self, Context, Pipeline},
    select::Part,
    stop::Level,
};

/// The ExternalSecrets that the changed keys concern, and those that can only be synced together with them.
pub(super) fn part(groups: &[Group], inventory: &Inventory) -> Part {
    let all = groups.iter().zip(concerned(groups, inventory).of);
    let changed = all.filter(|(group, _)| group.says == Says::Changed);
    let ids = changed.flat_map(|(_, ids)| ids).collect();
    inventory.synced_with(&ids).into()
}

/// How long a provider may return the old value, if no version shows whether it does.
const LAG: Duration = Duration::from_secs(10);

impl Job<'_> {
    /// Runs over the ExternalSecrets of the groups. Runs once more over those that have not read the version that their event names
    /// until they have, and over those of young events whose version cannot be compared.
    pub(super) async fn rounds(&self, groups: &[Group]) -> Result<Vec<Ended>, Failure> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let Context {
            session, policy, ..
        } = self.pipeline.context;
        if !policy.drift.enabled {
            // Only a comparison could tell that the operator read too early.
            session.unless_stopped(self.lag(groups.iter())).await?;
        }
        let mut ended = self.round(groups, Duration::ZERO).await?;
        let invisible = selected(&ended, |_, ended| ended.end == End::NotYetVisible);
        if invisible.contains(&true) {
            let settle = self.events.settle;
            session.say(&format!(
                "waiting up to {} until the versions that events name can be read",
                GoDuration(settle)
            ));
            let waiting = async |again: &[Group]| self.round(again, settle).await;
            self.again(groups, &mut ended, &invisible, waiting).await?;
        }
        let lag = self.longest_lag();
        let is_young = |at: usize, ended: &Ended| {
            let read = ended.read_from;
            let settled = groups.get(at).and_then(|it| settled_at(it, lag, read));
            let good = matches!(ended.end, End::InSync | End::Synced);
            good && ended.sight == Sight::Unknown && settled.is_some_and(|at| read < at)
        };
        let young = selected(&ended, is_young);
        if young.contains(&true) {
            let waiting = async |again: &[Group]| {
                session.unless_stopped(self.lag(again.iter())).await?;
                self.round(again, Duration::ZERO).await
            };
            self.again(groups, &mut ended, &young, waiting).await?;
        }
        Ok(ended)
    }

    /// Runs once more over some groups. If the process is asked to stop meanwhile, only their messages are released.
    async fn again(
        &self,
        groups: &[Group],
        ended: &mut [Ended],
        selected: &[bool],
        work: impl AsyncFnOnce(&[Group]) -> Result<Vec<Ended>, Failure>,
    ) -> Result<(), Failure> {
        let of = groups.iter().zip(selected).filter(|(_, is)| **is);
        let again: Vec<Group> = of.map(|(group, _)| group.clone()).collect();
        let done = Box::pin(work(&again)).await;
        let of = ended.iter_mut().zip(selected).filter(|(_, is)| **is);
        let first = of.map(|(ended, _)| ended);
        match done {
            Ok(second) => first
                .zip(second)
                .for_each(|(first, second)| first.confirm(second)),
            Err(failure) if self.pipeline.context.session.world.stop.level() != Level::Run => {
                first.for_each(|ended| ended.end = End::Stopped);
                self.tally.stopped(failure.exit);
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn longest_lag(&self) -> Duration {
        self.events.settle.min(LAG)
    }

    /// Waits until the provider returns the values of these events.
    async fn lag<'g>(&self, groups: impl Iterator<Item = &'g Group>) {
        let lag = self.longest_lag();
        let now = self.pipeline.context.session.world.clock.now();
        let at = groups.filter_map(|group| settled_at(group, lag, now)).max();
        let left = at.map(|at| at.duration_since(now));
        let left = left.and_then(|left| Duration::try_from(left).ok());
        // The time of an event may be anything.
        sleep(left.unwrap_or_default().min(lag)).await;
    }

    /// Runs over the ExternalSecrets of the groups. Waits up to this time until they have read the versions of their events.
    async fn round(&self, groups: &[Group], at_most: Duration) -> Result<Vec<Ended>, Failure> {
        let Context {
            session, policy, ..
        } = self.pipeline.context;
        let only = |inventory: &Inventory| part(groups, inventory);
        let clock = session.world.clock;
        let missing = |inventory: &Inventory, versions: &Versions| {
            let concerned = concerned(groups, inventory);
            let seen = seen(groups, &concerned, Some(versions), clock.now());
            seen.into_iter().flat_map(|seen| seen.missing).collect()
        };
        let awaited = Awaited {
            missing: &missing,
            at_most,
        };
        let pipeline = Pipeline {
            context: Context {
                only: Some(&only),
                awaited: Some(awaited),
                ..self.pipeline.context
            },
            ..self.pipeline.clone()
        };
        let started = clock.now();
        let done = Box::pin(run::carry_out(&pipeline)).await?;
        let inventory = &done.snapshot.discovered.inventory;
        let facts = ends::Facts {
            inventory,
            plan: &done.plan,
            results: done.results.as_ref(),
            trusts_operator: policy.drift.on_unverifiable == OnUnverifiable::Sync,
            started,
            now: clock.now(),
        };
        let concerned = concerned(groups, inventory);
        let versions = done.snapshot.check.as_ref().and_then(Check::versions);
        let seen = seen(groups, &concerned, versions, facts.now);
        let ended = ends::ended(groups, concerned, seen, facts);
        let (document, exit) = pipeline.document(&done);
        pipeline.announce(&done, &document).await;
        self.tally.ran(document, exit);
        session.world.record.is_part();
        Ok(ended)
    }
}

/// The time from which a read returns the event's value or a newer one. An event that names no time may be as young as its receipt.
fn settled_at(group: &Group, lag: Duration, received: Timestamp) -> Option<Timestamp> {
    let at = group.at.unwrap_or(received);
    at.checked_add(lag).ok()
}

/// Which groups this is true for.
fn selected(ended: &[Ended], is: impl Fn(usize, &Ended) -> bool) -> Vec<bool> {
    let each = ended.iter().enumerate();
    each.map(|(at, ended)| is(at, ended)).collect()
}
