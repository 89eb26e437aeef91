//! Rules of the section `events` that its types do not express.

use super::{
    problem::{Problem, Source},
    tree,
};
use crate::policy::Events;

/// Adds the errors of poison queues that events are received from: a message moved there would come back.
pub(super) fn check(
    events: Option<&Events>,
    place: &dyn Fn(&[String]) -> Option<Source>,
    problems: &mut Vec<Problem>,
) {
    let queues = events.map_or(&[][..], |events| &events.queues);
    for (index, from) in queues.iter().enumerate() {
        let Some(queue) = &from.azure_queue else {
            continue;
        };
        let Some(poison) = queue.poison_url() else {
            continue;
        };
        let Some(other) = queues.iter().position(|it| it.to_string() == poison) else {
            continue;
        };
        let at = format!("[{index}]");
        let keys = ["events", "queues", &at, "azureQueue", "poison"].map(str::to_owned);
        let name = if other == index {
            "the queue itself".to_owned()
        } else {
            format!("`queues[{other}]`")
        };
        problems.push(Problem {
            source: place(&keys).unwrap_or(Source::Defaults),
            key: tree::path_of(&keys),
            what: format!("is {name}, so messages that are not understood would come back"),
            hint: "name another queue of the same storage account".to_owned(),
        });
    }
}
