//! Fan-out: makes each distinct request once and returns its answer to all requesters.

use std::{collections::BTreeMap, sync::Arc};

use eso_model::expected::Raw;
use secret::Value;

use super::{Answered, Unread, unread};

/// The distinct requests, each with the positions of the requesters.
#[derive(Debug)]
pub(super) struct Distinct<A>(BTreeMap<A, Vec<usize>>);

impl<A: Ord> Distinct<A> {
    /// Groups these requests.
    pub(super) fn of(asked: impl IntoIterator<Item = A>) -> Self {
        let mut places: BTreeMap<A, Vec<usize>> = BTreeMap::new();
        for (place, ask) in asked.into_iter().enumerate() {
            places.entry(ask).or_default().push(place);
        }
        Self(places)
    }

    /// The distinct requests.
    pub(super) fn asks(&self) -> impl Iterator<Item = &A> {
        self.0.keys()
    }

    /// Returns the answers in the order of the original requests.
    pub(super) fn fan_out(
        mut self,
        answers: impl IntoIterator<Item = (A, Answered)>,
    ) -> Vec<Answered> {
        let count = self.0.values().map(Vec::len).sum();
        let mut answers_out: Vec<Option<Answered>> = (0..count).map(|_| None).collect();
        for (ask, answer) in answers {
            let Some(mut places) = self.0.remove(&ask) else {
                continue;
            };
            let last = places.pop();
            for place in places {
                put(&mut answers_out, place, duplicate(&answer));
            }
            if let Some(place) = last {
                put(&mut answers_out, place, answer);
            }
        }
        answers_out
            .into_iter()
            .map(|answer| answer.unwrap_or_else(missing_answer))
            .collect()
    }
}

fn put(answers_out: &mut [Option<Answered>], place: usize, answer: Answered) {
    if let Some(slot) = answers_out.get_mut(place) {
        *slot = Some(answer);
    }
}

fn missing_answer() -> Answered {
    Answered::Unread(Unread::secret(
        unread::UNREADABLE,
        "the provider returned no answer for this key",
    ))
}

/// Copies an answer for another requester.
fn duplicate(answer: &Answered) -> Answered {
    match answer {
        Answered::One(raw, version) => Answered::One(duplicate_raw(raw), version.clone()),
        Answered::Many(found) => Answered::Many(Arc::clone(found)),
        Answered::NotFound => Answered::NotFound,
        Answered::Fails(failure) => Answered::Fails(*failure),
        Answered::Unread(unread) => Answered::Unread(unread.clone()),
    }
}

fn duplicate_raw(raw: &Raw) -> Raw {
    let map = |values: &BTreeMap<String, Value>| {
        values
            .iter()
            .map(|(key, value)| (key.clone(), value.duplicate()))
            .collect()
    };
    match raw {
        Raw::Bytes(value) => Raw::Bytes(value.duplicate()),
        Raw::Json(value) => Raw::Json(value.duplicate()),
        Raw::Keys(values) => Raw::Keys(map(values)),
        Raw::Tags(values) => Raw::Tags(map(values)),
        Raw::Metadata {
            labels,
            annotations,
        } => Raw::Metadata {
            labels: map(labels),
            annotations: map(annotations),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answer: &Answered) -> String {
        match answer {
            Answered::One(Raw::Bytes(value), _) => {
                String::from_utf8_lossy(value.expose()).into_owned()
            }
            Answered::Unread(unread) => unread.why.reason.to_owned(),
            Answered::One(..) | Answered::Many(_) | Answered::NotFound | Answered::Fails(_) => {
                panic!("neither a value nor an error")
            }
        }
    }

    #[test]
    fn answers_follow_the_order_of_requests() {
        let distinct = Distinct::of(["b", "a", "b", "c"]);
        assert_eq!(distinct.asks().collect::<Vec<_>>(), [&"a", &"b", &"c"]);
        let answers =
            ["a", "b"].map(|ask| (ask, Answered::One(Raw::Bytes(Value::from(ask)), None)));
        let answers_out = distinct.fan_out(answers);
        assert_eq!(
            answers_out.iter().map(text).collect::<Vec<_>>(),
            ["b", "a", "b", unread::UNREADABLE],
            "a request without an answer is an error"
        );
    }
}
