//! What was received and done so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::events::{Disposal, End, Group, Notice};
use eso_model::Id;
use providers::queue::{DeadLetters, QueueState, QueueWarning};

use super::{
    document::{DocumentEventKey, DocumentQueue, EventsDocument, EventsSummary, Lag, Refused},
    ends::Ended,
};
use crate::{
    exit::Exit,
    failure::Failure,
    foreign::Foreign,
    output::{print_as, write_termination_message},
    record::CutOff,
    report::{API_VERSION, Document, Run, format::Output},
};

/// The kinds that are counted by name. The others are counted together.
const KINDS: usize = 20;
const OTHERS: &str = "others";

/// The lines that are not understood and that the report names.
const LINES: usize = 100;

/// What was received and done so far. Clones share it, so that the watchdog can report it.
#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    summary: EventsSummary,
    queues: Vec<DocumentQueue>,
    keys: Vec<DocumentEventKey>,
    runs: Vec<Document>,
    lags: Vec<f64>,
    warnings: Vec<String>,
    /// The messages that were received and not yet disposed of.
    in_hand: usize,
    exit: Option<Exit>,
}

impl Tally {
    /// The lock is held only for moments.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn warn(&self, text: String) {
        tracing::warn!("{text}");
        self.known().warnings.push(text);
    }

    pub(super) fn looked_at(&self, name: &str, state: &QueueState, refused: Option<Refused>) {
        self.known().queues.push(DocumentQueue {
            queue: name.into(),
            backlog: state.backlog,
            dead_letters: match state.dead_letters {
                DeadLetters::Queue { count } => count,
                DeadLetters::Nowhere => None,
            },
            warnings: state.warnings.iter().map(QueueWarning::into_str).collect(),
            refused,
        });
    }

    /// Nothing is received from this queue.
    pub(super) fn refuse(&self, queue: &str, why: Refused, [tag, owner]: [&str; 2]) {
        let why = match why {
            Refused::OtherOwner => format!("its tag `{tag}` names another cluster"),
            Refused::NoOwner => format!("it has no tag `{tag}`"),
        };
        self.warn(format!(
            "nothing is received from {queue}: {why}. If the queue belongs to this cluster alone, set the tag to `{owner}`"
        ));
        self.known().then(Exit::Limit);
    }

    pub(super) fn received(&self, messages: usize) {
        self.known().in_hand += messages;
    }

    pub(super) fn count(&self, notice: &Notice) {
        let mut known = self.known();
        let summary = &mut known.summary;
        *summary.received.entry(notice.says.word()).or_default() += 1;
        if let Some(reason) = notice.says.reason() {
            *summary.reasons.entry(reason).or_default() += 1;
        }
        if let Some(kind) = &notice.kind {
            let kinds = &mut summary.unknown_kinds;
            let named = Foreign::from(kind.as_str());
            let is_full = kinds.len() >= KINDS && !kinds.contains_key(&named);
            let named = if is_full {
                Foreign::from(OTHERS)
            } else {
                named
            };
            *kinds.entry(named).or_default() += 1;
        }
    }

    pub(super) fn ran(&self, document: Document, exit: Exit) {
        let mut known = self.known();
        known.then(exit);
        known.runs.push(document);
    }

    pub(super) fn ended(&self, group: &Group, ended: Ended) {
        let mut known = self.known();
        let Ended {
            end, of, proven, ..
        } = ended;
        *known.summary.keys.entry(end.word()).or_default() += 1;
        if matches!(end, End::InSync | End::Synced)
            && let Some(since) = group.since
        {
            let lag = proven.duration_since(since).as_secs_f64();
            known.lags.push(lag.max(0.0));
        }
        // Acknowledged after all its deliveries, although it is not solved.
        if end == End::LeftToRun {
            known.then(Exit::Failed);
        }
        if matches!(end, End::InSync | End::Unused | End::OutsideSelection) {
            return;
        }
        let named =
            |(id, end): (Id, End)| (format!("{}/{}", id.namespace, id.name).into(), end.word());
        known.keys.push(DocumentEventKey {
            event: group.says.word(),
            end: end.word(),
            messages: group.messages.len(),
            external_secrets: of.into_iter().map(named).collect(),
        });
    }

    /// This was done with messages. `lost` more could not be changed.
    pub(super) fn disposed(&self, disposal: Disposal, count: usize, lost: usize) {
        let mut known = self.known();
        known.in_hand = known.in_hand.saturating_sub(count + lost);
        known.summary.not_disposed += lost;
        if count == 0 {
            return;
        }
        match disposal {
            Disposal::Acknowledge => known.summary.acknowledged += count,
            Disposal::Poison => {
                known.summary.poisoned += count;
                known.then(Exit::Failed);
            }
            Disposal::Keep(_) | Disposal::Release => {
                known.summary.kept += count;
                known.then(Exit::Failed);
            }
        }
    }

    /// The event in this line of a file is not done.
    pub(super) fn left(&self, line: usize, is_unreadable: bool) {
        let mut known = self.known();
        known.then(Exit::Failed);
        if is_unreadable {
            let lines = &mut known.summary.unreadable_lines;
            if lines.len() < LINES {
                lines.push(line);
            }
        }
    }

    /// A message could not be disposed of although its receipt is valid. In the next run, that would fail again.
    pub(super) fn failed(&self) {
        self.known().then(Exit::Failed);
    }

    /// The process was asked to stop during the work.
    pub(super) fn stopped(&self, exit: Exit) {
        self.known().then(exit);
    }

    /// True if nothing was received.
    pub fn is_empty(&self) -> bool {
        self.known().summary.received.is_empty()
    }

    /// True if there was a run over ExternalSecrets.
    pub fn has_run(&self) -> bool {
        !self.known().runs.is_empty()
    }

    /// The document and the exit code. `failure` is why the command ended early.
    pub fn document(&self, run: Run, failure: Option<&Failure>) -> (EventsDocument, Exit) {
        let mut known = self.known();
        if let Some(failure) = failure {
            known.then(failure.exit);
        }
        known.document(run)
    }

    /// Reports for a process that is cut off. What it has in hand is received again by another run.
    pub(super) fn cut_off(&self, run: Run, output: Option<Output>, cut: CutOff) {
        let CutOff {
            reason,
            document,
            in_container,
            files,
        } = cut;
        let document = {
            let mut known = self.known();
            known.runs.extend(document);
            known.summary.kept += known.in_hand;
            known.in_hand = 0;
            let text = format!("the command was cut off: {}", reason.as_str());
            known.warnings.push(text);
            known.then(Exit::Stopped);
            known.document(run).0
        };
        if in_container {
            write_termination_message(&document.termination_summary());
        }
        // An error on stdout can be reported nowhere.
        print_as(output, &files, &document, EventsDocument::text).ok();
    }
}

impl Known {
    fn then(&mut self, exit: Exit) {
        self.exit = Some(self.exit.unwrap_or(Exit::Done).or(exit));
    }

    fn document(&mut self, mut run: Run) -> (EventsDocument, Exit) {
        let exit = self.exit.unwrap_or(Exit::Done);
        run.exit_code = exit.code();
        run.complete = exit != Exit::Stopped;
        self.lags.sort_by(f64::total_cmp);
        let median = self.lags.get(self.lags.len() / 2);
        let lag = median.zip(self.lags.last()).map(|(median, max)| Lag {
            median_seconds: *median,
            max_seconds: *max,
        });
        let warnings = self.warnings.iter();
        let document = EventsDocument {
            api_version: API_VERSION,
            kind: "Events",
            run,
            summary: EventsSummary {
                lag,
                ..self.summary.clone()
            },
            queues: self.queues.clone(),
            keys: self.keys.clone(),
            runs: self.runs.clone(),
            warnings: warnings.map(|text| text.as_str().into()).collect(),
        };
        (document, exit)
    }
}
