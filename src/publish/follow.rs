//! The ExternalSecrets that read what was published. Pure.

use std::collections::BTreeSet;

use eso_model::{Id, remote::RemoteKey};
use providers::holder::WriteFailure;
use publish::{Action, Verdict};

use super::{Prepared, apply::Done};
use crate::{
    inventory::Inventory, plan::Plan, policy::publish::Publish, readers::Readers, select::Part,
};

/// The ExternalSecrets that a warning names.
const SHOWN: usize = 5;

/// The secrets of items whose readers are synced, as ExternalSecrets name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    pub published: Vec<RemoteKey>,
    /// Those that the provider held already.
    pub unchanged: Vec<RemoteKey>,
}

impl Prepared {
    /// What the sync follows. Without `done`, what the plan would publish.
    pub fn followed(&self, publish: &Publish, done: Option<&[Done]>) -> Followed {
        let mut followed = Followed::default();
        for (at, entry) in self.plan.entries.iter().enumerate() {
            let item = self
                .items
                .iter()
                .find(|item| item.planned == Some(entry.item))
                .and_then(|item| publish.items.get(item.at));
            let place = self.places.iter().find(|place| place.holds(&entry.key));
            let (Some(item), Some(place)) = (item, place) else {
                continue;
            };
            if !item.then.sync {
                continue;
            }
            let key = place.remote.key(&entry.name);
            let ended = done.map(|done| done.get(at).unwrap_or(&Done::NotReached));
            if is_published(&entry.step.action, ended) {
                followed.published.push(key);
            } else if entry.verdict == Verdict::InSync {
                followed.unchanged.push(key);
            }
        }
        followed
    }
}

/// True if the provider holds another value than before, or may hold one.
fn is_published(action: &Action, done: Option<&Done>) -> bool {
    let writes_a_value = matches!(
        action,
        Action::Create | Action::Update { .. } | Action::Restore
    );
    let is_written = match done {
        None
        | Some(
            Done::Wrote(_) | Done::Failed(WriteFailure::Unrecorded(..) | WriteFailure::Unknown(_)),
        ) => true,
        Some(Done::Left | Done::Removed | Done::NotReached | Done::Failed(_)) => false,
    };
    writes_a_value && is_written
}

impl Followed {
    /// The readers among these ExternalSecrets. `checks` is true if a drift check follows, which shows what is left of an earlier
    /// publication.
    pub fn part(&self, inventory: &Inventory, checks: bool) -> Part {
        let readers = Readers::of(inventory);
        let published = inventory.synced_with(&readers.of_keys(&self.published));
        let mut of = published.clone();
        if checks {
            of.extend(inventory.synced_with(&readers.of_keys(&self.unchanged)));
        }
        Part { of, published }
    }

    /// What the user should know about the readers.
    pub fn warnings(&self, inventory: &Inventory, plan: &Plan) -> Vec<String> {
        let mut warnings = Vec::new();
        let readers = Readers::of(inventory);
        let of_published = readers.of_keys(&self.published);
        let planned: BTreeSet<&Id> = plan.items.iter().map(|item| &item.id).collect();
        if !self.published.is_empty() && !of_published.iter().any(|id| planned.contains(id)) {
            warnings.push(
                "no ExternalSecret that the policy selects reads what was published".to_owned(),
            );
        }
        let unknown = readers.unknown.iter();
        let shown: Vec<String> = unknown
            .take(SHOWN)
            .map(|(id, why)| format!("{id} ({why})"))
            .collect();
        if !shown.is_empty() {
            let more = match readers.unknown.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            warnings.push(format!(
                "it is not known what these ExternalSecrets read, so they were not synced: {}{more}",
                shown.join(", ")
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use providers::Unread;
    use publish::Wrote;

    use super::*;

    #[test]
    fn only_a_value_that_was_or_may_be_written_is_published() {
        let wrote = Wrote {
            version: None,
            proven: false,
        };
        let unread = || Unread::store("unavailable", "");
        let update = Action::Update { base: None };
        let none = None::<Done>;
        for (action, done, expected) in [
            (&update, none.clone(), true),
            (&Action::Create, none.clone(), true),
            (&Action::Restore, none.clone(), true),
            (&Action::Adopt, none.clone(), false),
            (&Action::Retire, none.clone(), false),
            (&Action::Leave, none, false),
            (&update, Some(Done::Wrote(wrote.clone())), true),
            (&Action::Adopt, Some(Done::Wrote(wrote.clone())), false),
            (
                &update,
                Some(Done::Failed(WriteFailure::Unknown(unread()))),
                true,
            ),
            (
                &update,
                Some(Done::Failed(WriteFailure::Unrecorded(wrote, unread()))),
                true,
            ),
            (
                &update,
                Some(Done::Failed(WriteFailure::Failed(unread()))),
                false,
            ),
            (
                &update,
                Some(Done::Failed(WriteFailure::Raced(String::new()))),
                false,
            ),
            (&update, Some(Done::NotReached), false),
            (&Action::Retire, Some(Done::Removed), false),
        ] {
            assert_eq!(
                is_published(action, done.as_ref()),
                expected,
                "{action:?} {done:?}"
            );
        }
    }
}
