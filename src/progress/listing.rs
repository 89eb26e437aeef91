//! The progress of long lists of the API server.

use std::sync::Arc;

use cluster::{ListObserver, ShowList};

use super::{Phase, Stderr};

/// Shows each list of more than one page as a phase.
pub fn lists(stderr: Stderr) -> ListObserver {
    Arc::new(move |collection| show(&stderr, collection))
}

fn show(stderr: &Stderr, collection: &str) -> ShowList {
    let (stderr, what) = (stderr.clone(), format!("listing {collection}"));
    let mut phase: Option<Phase> = None;
    Box::new(move |read, left| {
        let total = left.map(|left| read + left);
        let phase = phase.get_or_insert_with(|| Phase::start(&stderr, &what, total));
        if let Some(total) = total {
            phase.set_total(total);
        }
        phase.update(read, String::new());
        phase.say_if_due();
    })
}
