//! Decides the exit code of a command. Pure.

use super::Exit;
use crate::{
    finding::Verdict,
    outcome::{ItemResult, Outcome},
    plan::Plan,
    reason::Reason,
    restart::{
        decide::Action,
        plan::Step,
        results::{RestartOutcome, RestartResult, ended},
    },
    results::Results,
};

/// The conditions that decide the exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Fails if anything could not be read (`status`).
    Status,
    /// Reports drift as differences (`drift`).
    Drift,
    /// Fails if the plan cannot be executed completely (`plan`, `--dry-run`).
    Plan {
        /// True if work to do counts as differences (`--exit-code`).
        differences: bool,
    },
    /// Fails if the run failed.
    Run {
        /// True if no later run restarts the workloads that this run leaves on old data.
        once: bool,
    },
}

/// The exit code of a plan and its results. A skip that needs attention, a failed read or an unknown verdict is never success.
pub fn exit_of(tells: Tells, plan: &Plan, results: &Results) -> Exit {
    let unmatched = plan.match_required && !plan.unmatched.is_empty();
    let unseen = unmatched || !plan.gaps.is_empty() || !plan.restarts.gaps.is_empty();
    let unknown = unknown(plan, results);
    let exit = |is_so: bool, exit: Exit| if is_so { exit } else { Exit::Done };
    let planned = || {
        exit(unseen || unknown || needs_attention(plan), Exit::Failed)
            .or(exit(is_limited(plan), Exit::Limit))
    };
    match tells {
        Tells::Status => exit(unseen, Exit::Failed),
        Tells::Drift => {
            exit(unseen || unknown, Exit::Failed).or(exit(has_drift(plan), Exit::Differences))
        }
        Tells::Plan { differences } => planned().or(exit(
            differences && plan.writes_anything(),
            Exit::Differences,
        )),
        Tells::Run { once } => {
            let failed = has_failed(plan, results) || (once && runs_with_old_data(plan, results));
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
                .or(exit(!results.stopped_namespaces.is_empty(), Exit::Limit))
                .or(exit(failed, Exit::Failed))
                .or(exit(results.denied && !results.wrote, Exit::NoAccess))
        }
    }
}

/// True if a safety limit refuses the plan or a part of it.
fn is_limited(plan: &Plan) -> bool {
    !plan.exceeded.is_empty() || !plan.left_alone.is_empty()
}

/// True if anything is skipped for a reason that needs attention.
fn needs_attention(plan: &Plan) -> bool {
    let left = |step: &Step| {
        step.decision.action == Action::Leave && step.decision.reason.needs_attention()
    };
    plan.skips().keys().any(|reason| reason.needs_attention())
        || plan.restarts.steps.iter().any(left)
}

fn has_drift(plan: &Plan) -> bool {
    let findings = plan.items.iter().filter_map(|item| item.finding.as_ref());
    findings
        .map(|finding| finding.verdict)
        .any(Verdict::is_drift)
}

/// True if an item is still unverifiable and the policy counts that as a failure.
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
    let has_no_result =
        |step: &Step| step.decision.action != Action::Leave && !restarts.of.contains_key(&step.id);
    results.items.values().any(sync)
        || restarts.of.values().any(restart)
        || !restarts.gaps.is_empty()
        || plan.restarts.steps.iter().any(has_no_result)
}

/// True if a workload runs with old data, or may. Ignores workloads that another tool restarts and those without pods.
fn runs_with_old_data(plan: &Plan, results: &Results) -> bool {
    plan.restarts.steps.iter().any(|step| {
        let ended = ended(step, results.restarts.of.get(&step.id));
        let unknown = ended.is_assumed
            && matches!(
                ended.reason,
                Reason::CoolingDown | Reason::OnDelete | Reason::Paused
            );
        (ended.behind || unknown) && !ended.reason.is_left_to_another_tool()
    })
}
