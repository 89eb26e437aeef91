//! Carries out the plan of a publication.

use futures::{StreamExt as _, stream};
use providers::holder::{Ask, Change, WriteFailure};
use publish::{
    Action, Compared, Held, Presence, Wanted, Wrote,
    plan::{Entry, Plan},
    provenance,
};
use secret::RunKey;

use super::{
    Prepare,
    hold::{AllKnown, Facts},
    places::Place,
};
use crate::stop::{Level, Stop};

/// Secrets that are written at the same time. Their order is that of the plan.
const AT_ONCE: usize = 8;

/// How long a deleted secret can be restored, where the provider lets us choose.
const RECOVERY_DAYS: u16 = 30;

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The step changes nothing.
    Left,
    Wrote(Wrote),
    /// The deletion, its announcement, or the destruction of versions.
    Removed,
    Failed(WriteFailure),
    /// The run ended before.
    NotReached,
}

/// What applying needs.
pub(super) struct Applier<'a> {
    pub(super) places: &'a [Place],
    pub(super) facts: &'a Facts,
    pub(super) known: &'a AllKnown,
    /// The items of the plan, in its order.
    pub(super) items: &'a [&'a Prepare],
    pub(super) stop: &'a Stop,
}

impl Applier<'_> {
    /// Carries out the steps, and proves them. The results are in the order of the plan's entries.
    pub(super) async fn apply(&self, plan: &Plan, key: &RunKey) -> Vec<Done> {
        let mut done: Vec<Done> = stream::iter(&plan.entries)
            .map(|entry| self.entry(entry))
            .buffered(AT_ONCE)
            .collect()
            .await;
        for place in self.places {
            self.prove(plan, place, key, &mut done).await;
        }
        done
    }

    /// Reads back what was written to a place.
    async fn prove(&self, plan: &Plan, place: &Place, key: &RunKey, done: &mut [Done]) {
        let mut unproven: Vec<(&mut Done, &Entry, Vec<&Wanted>)> = done
            .iter_mut()
            .zip(&plan.entries)
            .filter(|(done, entry)| {
                let is_unproven = matches!(done, Done::Wrote(Wrote { proven: false, .. }));
                is_unproven && place.holds(&entry.key)
            })
            .map(|(done, entry)| (done, entry, self.wanted(entry)))
            .collect();
        let asked: Vec<Ask<'_>> = unproven
            .iter()
            .map(|(_, entry, wanted)| Ask {
                name: &entry.name,
                wanted,
            })
            .collect();
        let compared = place.writer.compare(&asked, key, &place.reads).await;
        for ((done, ..), compared) in unproven.iter_mut().zip(compared) {
            if let (Done::Wrote(wrote), Compared::Equal) = (&mut **done, compared) {
                wrote.proven = true;
            }
        }
    }

    /// The values of a secret.
    fn wanted(&self, entry: &Entry) -> Vec<&Wanted> {
        let item = self.facts.items.get(entry.item);
        let of = |index: &usize| item?.wanted.get(*index);
        entry.wanted.iter().filter_map(of).collect()
    }

    async fn entry(&self, entry: &Entry) -> Done {
        if !entry.step.action.is_write() && entry.destroy.is_empty() {
            return Done::Left;
        }
        if self.stop.level() != Level::Run {
            return Done::NotReached;
        }
        let place = self.places.iter().find(|place| place.holds(&entry.key));
        let Some(place) = place else {
            return Done::NotReached;
        };
        let none = Held::new(Presence::Absent);
        let held = self
            .known
            .get(&entry.key)
            .map_or(&none, |known| &known.held);
        let wanted = self.wanted(entry);
        let written = self.write(entry, place, held, &wanted).await;
        match written {
            Done::Wrote(_) | Done::Removed | Done::Left => {
                self.destroy(entry, place, written).await
            }
            Done::Failed(_) | Done::NotReached => written,
        }
    }

    async fn write(&self, entry: &Entry, place: &Place, held: &Held, wanted: &[&Wanted]) -> Done {
        let Place { writer, writes, .. } = place;
        let name = &*entry.name;
        let removed = |result: Result<(), WriteFailure>| match result {
            Ok(()) => Done::Removed,
            Err(failure) => Done::Failed(failure),
        };
        match &entry.step.action {
            Action::Leave => return Done::Left,
            Action::Announce => {
                return removed(writer.announce(name, held, self.facts.now, writes).await);
            }
            Action::Retire => {
                return removed(writer.retire(name, held, RECOVERY_DAYS, writes).await);
            }
            Action::DestroyVersion { version } => {
                return removed(writer.destroy_version(name, version, writes).await);
            }
            Action::Create | Action::Update { .. } | Action::Restore | Action::Adopt => {}
        }
        let (Some(mark), Some(first)) = (entry.mark, wanted.first()) else {
            return Done::NotReached;
        };
        let Some(item) = self.items.get(entry.item) else {
            return Done::NotReached;
        };
        let revision = Some(&*item.revision).filter(|revision| !revision.is_empty());
        let provenance = provenance(&item.repository, revision, &first.origin.file);
        let change = Change {
            name,
            wanted,
            held,
            dropped: &entry.dropped,
            mark,
            marks: &self.facts.marks,
            item: &first.origin.item,
            provenance: &provenance,
            creation: &item.creation,
        };
        let wrote = match &entry.step.action {
            Action::Create => writer.create(&change, writes).await,
            Action::Restore => writer.restore(&change, writes).await,
            Action::Adopt => writer.adopt(&change, writes).await,
            Action::Update { .. }
            | Action::Announce
            | Action::Retire
            | Action::DestroyVersion { .. }
            | Action::Leave => writer.update(&change, writes).await,
        };
        match wrote {
            Ok(wrote) => Done::Wrote(wrote),
            Err(failure) => Done::Failed(failure),
        }
    }

    /// Destroys old versions after the step.
    async fn destroy(&self, entry: &Entry, place: &Place, done: Done) -> Done {
        for step in &entry.destroy {
            let Action::DestroyVersion { version } = &step.action else {
                continue;
            };
            let destroyed = place
                .writer
                .destroy_version(&entry.name, version, &place.writes)
                .await;
            if let Err(failure) = destroyed {
                return Done::Failed(failure);
            }
        }
        if done == Done::Left && !entry.destroy.is_empty() {
            return Done::Removed;
        }
        done
    }
}
