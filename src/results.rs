//! What became of a plan, and the exit code that it means. Pure.

use std::collections::BTreeMap;

use eso_model::QuotaKey;

use crate::{
    exit::Exit,
    finding::{Finding, Verdict},
    outcome::{ItemResult, Outcome},
    plan::{Item, ItemAt, Plan},
    reason::Reason,
    restart::{
        decide::Action,
        plan::Step,
        results::{RestartOutcome, RestartResult, RestartResults, ended},
    },
};

/// What became of a plan. Before anything was done it is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// Of each item that the plan syncs.
    pub items: BTreeMap<ItemAt, ItemResult>,
    /// What the drift check says of those that were synced.
    pub checked: BTreeMap<ItemAt, Finding>,
    /// Of workloads.
    pub restarts: RestartResults,
    /// Why the syncs ended early, if they did.
    pub stopped: Option<Reason>,
    /// True if anything was written.
    pub wrote: bool,
    /// True if the API server denied a write.
    pub denied: bool,
    /// The reason if Events could not be watched. Repeated failures then appear as timeouts.
    pub events_unwatched: Option<String>,
    /// Provider calls of all drift checks, by quota.
    pub reads: BTreeMap<QuotaKey, u64>,
}

impl Results {
    /// The reason if the run ended early.
    pub fn stopped(&self) -> Option<Reason> {
        self.stopped.or(self.restarts.stopped)
    }

    /// What the drift check said of an item last.
    pub fn finding<'a>(&'a self, at: ItemAt, item: &'a Item) -> Option<&'a Finding> {
        self.checked.get(&at).or(item.finding.as_ref())
    }
}

/// What the exit code of a command tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Whether everything could be seen (`status`).
    Sight,
    /// Whether anything drifted (`drift`).
    Drift,
    /// Whether a plan can be carried out (`plan`, `--dry-run`).
    Plan {
        /// Whether it also tells that there is anything to do (`--exit-code`).
        differences: bool,
    },
    /// How a run went.
    Run {
        /// Whether no later run makes up for what is left undone.
        once: bool,
    },
}

/// The exit code of a plan and of what became of it. What is skipped for trouble, cannot be seen or cannot be told is never clean.
pub fn exit_of(tells: Tells, plan: &Plan, results: &Results) -> Exit {
    let unseen = !plan.gaps.is_empty() || !plan.restarts.gaps.is_empty();
    let unknown = unknown(plan, results);
    let exit = |is_so: bool, exit: Exit| if is_so { exit } else { Exit::Done };
    let planned = || {
        exit(unseen || unknown || has_trouble(plan), Exit::Failed)
            .or(exit(!plan.exceeded.is_empty(), Exit::Limit))
    };
    match tells {
        Tells::Sight => exit(unseen, Exit::Failed),
        Tells::Drift => {
            exit(unseen || unknown, Exit::Failed).or(exit(has_drift(plan), Exit::Differences))
        }
        Tells::Plan { differences } => planned().or(exit(
            differences && plan.writes_anything(),
            Exit::Differences,
        )),
        Tells::Run { once } => {
            let failed = has_failed(plan, results) || (once && is_undone(plan, results));
            [results.stopped, results.restarts.stopped]
                .into_iter()
                .flatten()
                .map(|reason| {
                    if reason == Reason::TooManyFailures {
                        Exit::Limit
                    } else {
                        Exit::Stopped
                    }
                })
                .fold(planned(), Exit::or)
                .or(exit(failed, Exit::Failed))
                .or(exit(results.denied && !results.wrote, Exit::NoAccess))
        }
    }
}

/// Whether anything is left alone for a reason that somebody has to look into.
fn has_trouble(plan: &Plan) -> bool {
    let left_for_trouble = |step: &Step| {
        step.decision.action == Action::Leave && step.decision.reason.needs_attention()
    };
    plan.skips().keys().any(|reason| reason.needs_attention())
        || plan.restarts.steps.iter().any(left_for_trouble)
}

fn has_drift(plan: &Plan) -> bool {
    let findings = plan.items.iter().filter_map(|item| item.finding.as_ref());
    findings
        .map(|finding| finding.verdict)
        .any(Verdict::is_drift)
}

/// Whether any of those that were checked cannot be told at the end, where that counts as failed.
fn unknown(plan: &Plan, results: &Results) -> bool {
    let counts = plan.check.as_ref().is_some_and(|check| check.unknown_fails);
    counts
        && plan.items.entries().any(|(at, item)| {
            let finding = results.finding(at, item);
            finding.is_some_and(|finding| finding.verdict == Verdict::Unverifiable)
        })
}

fn has_failed(plan: &Plan, results: &Results) -> bool {
    let sync = |result: &ItemResult| matches!(result.outcome, Outcome::Failed | Outcome::Unproven);
    let restart = |result: &RestartResult| match result.outcome {
        RestartOutcome::Failed | RestartOutcome::Unproven | RestartOutcome::NotReached => true,
        RestartOutcome::Left => result.reason.needs_attention(),
        RestartOutcome::Restarted | RestartOutcome::Adopted | RestartOutcome::Renewed => false,
    };
    let restarts = &results.restarts;
    let forgotten =
        |step: &Step| step.decision.action != Action::Leave && !restarts.of.contains_key(&step.id);
    results.items.values().any(sync)
        || restarts.of.values().any(restart)
        || !restarts.gaps.is_empty()
        || plan.restarts.steps.iter().any(forgotten)
}

/// Whether a workload runs on old data, or may. What is left to somebody else, or asks for no pods, is none of that.
fn is_undone(plan: &Plan, results: &Results) -> bool {
    plan.restarts.steps.iter().any(|step| {
        let ended = ended(step, results.restarts.of.get(&step.id));
        let unknown = ended.is_assumed
            && matches!(
                ended.reason,
                Reason::CoolingDown | Reason::OnDelete | Reason::Paused
            );
        (ended.behind || unknown) && ended.reason != Reason::HandledByReloader
    })
}
