//! What commands do about workloads.

use serde_json::{Value, json};

use super::{
    Refusal, Session,
    act::{Seen, Task, act_flags, by_policy},
};
use crate::{
    cli::{ActArgs, RestartFlags, RunArgs},
    exit::Exit,
    outcome::Results,
    plan::Plan,
    policy::{Match, Require, RestartWhen},
    rbac,
    report::took,
    restart::{
        Looked, Options, Restarts,
        results::{RestartOutcome, RestartResult, RestartResults},
        targets::Verdicts,
    },
    workload::{Kind, WorkloadId},
};

/// Restarts what is owed; syncs nothing.
pub(super) async fn restart(session: &Session, args: RunArgs) -> Result<Exit, Refusal> {
    let mut flags = act_flags(&args.act);
    flags.insert("sync.when".to_owned(), json!("never"));
    by_policy(session, args, flags, true).await
}

/// What is restarted with an ExternalSecret that was named: all that uses its Secret, unless it is known to run on it. What is typed
/// is meant now, and no later run makes it up: it waits for no cool-down.
pub(super) fn ad_hoc_rules() -> Value {
    let kinds = [
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::Rollout,
    ];
    // As little as a policy can say.
    let no_time = "1ns";
    json!([{
        "match": Match::References.as_str(),
        "kinds": kinds.map(Kind::as_str),
        "when": RestartWhen::Unproven.as_str(),
        "require": Require::Proven.as_str(),
        "cooldown": no_time,
    }])
}

/// What the job owns lives beside its lock.
pub(super) fn restart_options(act: &ActArgs, flags: &RestartFlags) -> Options {
    Options {
        namespaces: homes(act.lock_namespace.as_ref().or(act.pod_namespace.as_ref())),
        adopt_anew: flags.adopt_anew,
        retry: flags.retry,
    }
}

/// What the drift check of a plan says.
pub(super) fn verdicts(plan: &Plan) -> Verdicts {
    let checked = plan.items.iter();
    checked
        .filter_map(|item| Some((item.id.clone(), item.finding.as_ref()?.into())))
        .collect()
}

/// What it says of those that were synced since.
pub(super) fn verdicts_after(plan: &Plan, results: &Results) -> Verdicts {
    let checked = results.checked.iter();
    checked
        .filter_map(|(&index, finding)| Some((plan.items.get(index)?.id.clone(), finding.into())))
        .collect()
}

/// Where nothing is installed, `default` always is.
pub(super) fn homes(own: Option<&String>) -> Vec<String> {
    match own {
        Some(namespace) => vec![namespace.clone()],
        None => vec![rbac::DEFAULT_NAMESPACE.to_owned(), "default".to_owned()],
    }
}

impl Task<'_> {
    /// The part of the run that restarts.
    pub(super) fn restarts<'a>(&'a self, seen: &'a Seen) -> Restarts<'a> {
        Restarts {
            cluster: self.cluster,
            policy: self.policy,
            inventory: &seen.discovered.inventory,
            plan: &seen.plan,
            verdicts: &seen.verdicts,
            options: &self.restart,
            clock: self.session.world.clock,
        }
    }

    /// Restarts what is owed now that everything is synced, and says so as it goes.
    pub(super) async fn restart(
        &self,
        seen: &Seen,
        looked: &Looked,
        synced: &Results,
    ) -> RestartResults {
        let stop = self.session.world.stop.clone();
        let done = |id: &WorkloadId, result: &RestartResult| {
            let how = if result.outcome == RestartOutcome::Restarted {
                format!("restarted in {}", took(result))
            } else {
                format!("{} ({})", result.outcome.as_str(), result.reason.as_str())
            };
            self.session.say(&format!("{id}: {how}"));
        };
        self.restarts(seen)
            .carry_out(looked, synced, &seen.verdicts, stop, done)
            .await
    }
}
