//! The summary for `/dev/termination-log`: JSON of at most 4,096 bytes, the kubelet's limit.

use serde_json::{Value, json};

use super::{Document, DocumentItem};
use crate::outcome::Outcome;

/// The maximum number of bytes that the kubelet reads.
const LIMIT: usize = 4096;

/// Returns the counts, and as many of the failed items as fit.
pub fn summary(document: &Document) -> String {
    let failed: Vec<&DocumentItem> = document
        .items
        .iter()
        .filter(|item| item.outcome == Some(Outcome::Failed))
        .collect();
    let mut shown = failed.len().min(50);
    loop {
        let text = text(document, &failed, shown);
        if text.len() <= LIMIT || shown == 0 {
            return text;
        }
        shown -= 1;
    }
}

fn text(document: &Document, failed: &[&DocumentItem], shown: usize) -> String {
    let lines: Vec<Value> = failed
        .iter()
        .take(shown)
        .map(|item| json!({"item": format!("{}/{}", item.namespace.exact(), item.name.exact()), "reason": item.reason}))
        .collect();
    let mut summary = json!({
        "run": document.run.id,
        "exitCode": document.run.exit_code,
        "complete": document.run.complete,
        "selected": document.summary.selected,
        "outcomes": document.summary.outcomes,
        "stopped": document.summary.stopped,
        "refused": document.summary.refused,
        "failed": lines,
        "failedNotShown": failed.len() - shown,
    });
    if let (Some(restarts), Some(summary)) = (&document.summary.restarts, summary.as_object_mut()) {
        summary.insert("restarts".to_owned(), json!(restarts));
    }
    summary.to_string()
}
