//! The summary for `/dev/termination-log`: JSON of at most 4,096 bytes, the kubelet's limit.

use serde_json::{Value, json};

use super::Document;
use crate::outcome::Outcome;

/// The maximum number of bytes that the kubelet reads.
const LIMIT: usize = 4096;

/// The maximum number of failures.
const MOST: usize = 50;

/// Returns the counts, and as many of the failed items as fit.
pub fn summary(document: &Document) -> String {
    let failed = document
        .items
        .iter()
        .filter(|item| item.outcome == Some(Outcome::Failed))
        .map(|item| json!({"item": format!("{}/{}", item.namespace.exact(), item.name.exact()), "reason": item.reason}));
    let mut counts = json!({
        "run": document.run.id,
        "exitCode": document.run.exit_code,
        "complete": document.run.complete,
        "selected": document.summary.selected,
        "outcomes": document.summary.outcomes,
        "stopped": document.summary.stopped,
        "refused": document.summary.refused,
    });
    if let (Some(restarts), Some(counts)) = (&document.summary.restarts, counts.as_object_mut()) {
        counts.insert("restarts".to_owned(), json!(restarts));
    }
    fitting(counts, failed.collect())
}

/// The counts, and as many failures as fit.
pub fn fitting(mut counts: Value, failed: Vec<Value>) -> String {
    let count = failed.len();
    let mut shown = failed;
    shown.truncate(MOST);
    loop {
        if let Some(counts) = counts.as_object_mut() {
            counts.insert("failed".to_owned(), json!(shown));
            counts.insert("failedNotShown".to_owned(), json!(count - shown.len()));
        }
        let text = counts.to_string();
        if text.len() <= LIMIT || shown.pop().is_none() {
            return text;
        }
    }
}
