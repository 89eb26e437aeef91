//! What becomes of a message.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use strum::{EnumIter, IntoStaticStr};

/// The shortest and the longest time until a kept message is visible again.
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(15);

/// How the work for one key ended.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    IntoStaticStr,
    EnumIter,
    Serialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum End {
    /// All ExternalSecrets that use the key hold its current value.
    InSync,
    /// They were synced, and that is proven.
    Synced,
    /// No ExternalSecret uses the key.
    Unused,
    /// Only ExternalSecrets outside of the policy's selection use the key.
    OutsideSelection,
    /// Nothing is to be done about this kind of event.
    Irrelevant,
    /// The policy or the operator never syncs the ExternalSecrets that use the key.
    Skipped,
    /// The key or a version of it is gone. Reported, and never forced.
    Gone,
    /// A warning of the provider. Reported.
    Warning,
    /// A sync failed.
    Failed,
    /// A sync is not proven.
    Unproven,
    /// An ExternalSecret cannot be checked.
    Unverifiable,
    /// The run ended before the sync.
    NotReached,
    /// The version that the event names cannot be read yet.
    NotYetVisible,
    /// A safety limit holds the sync back.
    LimitExceeded,
    /// Not all ExternalSecrets could be listed, so that another one may use the key.
    ScopeIncomplete,
    /// An ExternalSecret has an error that only a change of its configuration fixes, which must not hold the key's message
    /// forever. Later runs report it.
    LeftToRun,
    /// The message is not understood.
    Unreadable,
    /// The process was asked to stop, or its time is over.
    Stopped,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disposal {
    /// Remove it from the queue.
    Acknowledge,
    /// Move it to the queue for messages that are not understood.
    Poison,
    /// Make it visible again after this time.
    Keep(Duration),
    /// Make it visible again at once.
    Release,
}

/// How often a message was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// The deliveries so far, this one included.
    pub received: u32,
    /// Not more are made of a message that no delivery can help.
    pub most: u32,
    /// True if the queue has a place for messages that are not understood, and does not move them there itself.
    pub poisons: bool,
}

/// Decides about a message for one of its keys. A message with several keys gets the largest of their disposals.
pub fn dispose(end: End, attempts: Attempts) -> Disposal {
    let Attempts {
        received,
        most,
        poisons,
    } = attempts;
    let spent = received >= most;
    match end {
        End::InSync
        | End::Synced
        | End::Unused
        | End::OutsideSelection
        | End::Irrelevant
        | End::Skipped
        | End::Gone
        | End::Warning => Disposal::Acknowledge,
        End::LeftToRun if spent => Disposal::Acknowledge,
        End::Unreadable if spent && poisons => Disposal::Poison,
        End::Failed
        | End::Unproven
        | End::Unverifiable
        | End::NotReached
        | End::NotYetVisible
        | End::LimitExceeded
        | End::ScopeIncomplete
        | End::LeftToRun
        | End::Unreadable => Disposal::Keep(delay(received)),
        End::Stopped => Disposal::Release,
    }
}

impl End {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        self.into_str()
    }
}

/// The deliveries that a message of this age has had, if each one kept it as [`dispose`] says. Pub/Sub does not count them without
/// dead letters.
pub fn deliveries_within(age: Duration) -> u32 {
    let (mut left, mut received) = (age, 1);
    while delay(received) < LONGEST {
        let Some(less) = left.checked_sub(delay(received)) else {
            return received;
        };
        left = less;
        received += 1;
    }
    let more = left.as_secs() / LONGEST.as_secs();
    u32::try_from(more).map_or(u32::MAX, |more| received.saturating_add(more))
}

/// 30 seconds, doubled with each further delivery, at most 15 minutes.
fn delay(received: u32) -> Duration {
    let doublings = received.saturating_sub(1).min(8);
    (SHORTEST * 2_u32.pow(doublings)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn every_end_has_its_disposal() {
        let table: Vec<String> = End::iter()
            .map(|end| {
                let of = |received, poisons| {
                    let attempts = Attempts {
                        received,
                        most: 5,
                        poisons,
                    };
                    match dispose(end, attempts) {
                        Disposal::Acknowledge => "acknowledge".to_owned(),
                        Disposal::Poison => "poison".to_owned(),
                        Disposal::Keep(delay) => format!("keep {}", delay.as_secs()),
                        Disposal::Release => "release".to_owned(),
                    }
                };
                let row = [of(1, false), of(5, false), of(5, true)];
                format!("{}: {}", end.word(), row.join(", "))
            })
            .collect();
        let kept = "keep 30, keep 480, keep 480";
        let acknowledged = "acknowledge, acknowledge, acknowledge";
        let expected = [
            ("in-sync", acknowledged),
            ("synced", acknowledged),
            ("unused", acknowledged),
            ("outside-selection", acknowledged),
            ("irrelevant", acknowledged),
            ("skipped", acknowledged),
            ("gone", acknowledged),
            ("warning", acknowledged),
            ("failed", kept),
            ("unproven", kept),
            ("unverifiable", kept),
            ("not-reached", kept),
            ("not-yet-visible", kept),
            ("limit-exceeded", kept),
            ("scope-incomplete", kept),
            ("left-to-run", "keep 30, acknowledge, acknowledge"),
            ("unreadable", "keep 30, keep 480, poison"),
            ("stopped", "release, release, release"),
        ];
        let expected: Vec<String> = expected
            .iter()
            .map(|(end, row)| format!("{end}: {row}"))
            .collect();
        assert_eq!(table, expected);
    }

    #[test]
    fn kept_message_comes_back_within_fifteen_minutes() {
        let seconds = |received| delay(received).as_secs();
        let all = [0, 1, 2, 3, 5, 6, u32::MAX].map(seconds);
        assert_eq!(all, [30, 30, 60, 120, 480, 900, 900]);
    }

    /// Without this, a message that no delivery can help is never acknowledged.
    #[test]
    fn age_of_a_message_bounds_its_uncounted_deliveries() {
        let table = [
            (0, 1),
            (29, 1),
            (30, 2),
            (89, 2),
            (90, 3),
            (210, 4),
            (450, 5),
            (929, 5),
            (930, 6),
            (1829, 6),
            (1830, 7),
            (2730, 8),
            (u64::MAX, u32::MAX),
        ];
        for (seconds, received) in table {
            let age = Duration::from_secs(seconds);
            assert_eq!(deliveries_within(age), received, "{seconds}");
            let attempts = Attempts {
                received,
                most: 5,
                poisons: false,
            };
            let is_done = dispose(End::LeftToRun, attempts) == Disposal::Acknowledge;
            assert_eq!(is_done, seconds >= 450, "{seconds}");
        }
    }

    /// One key that failed keeps the message, whatever the others say; a stop releases all.
    #[test]
    fn largest_disposal_decides_about_a_message() {
        let keep = Disposal::Keep(SHORTEST);
        assert!(Disposal::Acknowledge < Disposal::Poison);
        assert!(Disposal::Poison < keep && keep < Disposal::Keep(LONGEST));
        assert!(Disposal::Keep(LONGEST) < Disposal::Release);
    }
}
