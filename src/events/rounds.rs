//! The runs over the ExternalSecrets of some groups of messages.

use std::time::Duration;

use ::events::{End, Group, Says};
use jiff::Timestamp;
use tokio::time::sleep;

use super::{
    Job,
    concern::concerned,
    ends::{self, Ended},
};
use crate::{
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

impl Job<'_> {
    /// Runs over the ExternalSecrets of the groups. If an event is so young that the provider may still have returned the value
    /// before it, runs over its ExternalSecrets once more.
    pub(super) async fn rounds(&self, groups: &[Group]) -> Result<Vec<Ended>, Failure> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let world = &self.pipeline.context.session.world;
        if !self.pipeline.context.policy.drift.enabled {
            // Only a comparison could tell that the operator read too early.
            self.settle(groups.iter()).await?;
        }
        let started = world.clock.now();
        let settled_at = |group: &Group| settled_at(group, self.events.settle, started);
        let mut ended = self.round(groups).await?;
        let is_young = |(group, ended): (&Group, &Ended)| {
            let settled = settled_at(group);
            let good = matches!(ended.end, End::InSync | End::Synced);
            good && settled.is_some_and(|at| started < at)
        };
        let young: Vec<bool> = groups.iter().zip(&ended).map(is_young).collect();
        if !young.contains(&true) {
            return Ok(ended);
        }
        let of = groups.iter().zip(&young).filter(|(_, young)| **young);
        let again: Vec<Group> = of.map(|(group, _)| group.clone()).collect();
        if world.stop.level() != Level::Run || self.settle(again.iter()).await.is_err() {
            not_yet_visible(&mut ended, &young);
            return Ok(ended);
        }
        let mut second = self.round(&again).await?.into_iter();
        for (ended, young) in ended.iter_mut().zip(young) {
            if young && let Some(second) = second.next() {
                ended.confirm(second);
            }
        }
        Ok(ended)
    }

    /// Waits until the provider returns the values of these events.
    async fn settle<'g>(&self, groups: impl Iterator<Item = &'g Group>) -> Result<(), Failure> {
        let session = self.pipeline.context.session;
        let settle = self.events.settle;
        let now = session.world.clock.now();
        let at = groups
            .filter_map(|group| settled_at(group, settle, now))
            .max();
        let left = at.map(|at| at.duration_since(now));
        let left = left.and_then(|left| Duration::try_from(left).ok());
        // The time of an event may be anything.
        let wait = left.unwrap_or_default().min(settle);
        if wait.is_zero() {
            return Ok(());
        }
        session.unless_stopped(sleep(wait)).await
    }

    async fn round(&self, groups: &[Group]) -> Result<Vec<Ended>, Failure> {
        let Context {
            session, policy, ..
        } = self.pipeline.context;
        let only = |inventory: &Inventory| part(groups, inventory);
        let pipeline = Pipeline {
            context: Context {
                only: Some(&only),
                ..self.pipeline.context
            },
            ..self.pipeline.clone()
        };
        let done = Box::pin(run::carry_out(&pipeline)).await?;
        let inventory = &done.snapshot.discovered.inventory;
        let facts = ends::Facts {
            inventory,
            plan: &done.plan,
            results: done.results.as_ref(),
            trusts_operator: policy.drift.on_unverifiable == OnUnverifiable::Sync,
            now: session.world.clock.now(),
        };
        let ended = ends::ended(groups, concerned(groups, inventory), facts);
        let (document, exit) = pipeline.document(&done);
        pipeline.announce(&done, &document).await;
        self.tally.ran(document, exit);
        session.world.record.is_part();
        Ok(ended)
    }
}

/// The time from which a read returns the event's value or a newer one. An event that names no time may be as young as its receipt.
fn settled_at(group: &Group, settle: Duration, received: Timestamp) -> Option<Timestamp> {
    let at = group.at.unwrap_or(received);
    at.checked_add(settle).ok()
}

fn not_yet_visible(ended: &mut [Ended], young: &[bool]) {
    for (ended, _) in ended.iter_mut().zip(young).filter(|(_, young)| **young) {
        ended.end = End::NotYetVisible;
    }
}
