//! The record of what a run has done so far, and how to report it. It is filled as results come, so that the watchdog can report
//! them if the runtime does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pace::Clock;

use crate::{
    called::Called,
    exit::{
        Exit,
        decide::{Tells, exit_of},
    },
    failure::Failure,
    finding::Finding,
    outcome::{ItemResult, Outcome},
    output::{ReportFiles, print_as, write_termination_message},
    plan::{ItemAt, Plan},
    reason::Reason,
    report::{self, Document, Heading, format::Output, text},
    restart::{
        decide::Action,
        results::{RestartOutcome, RestartResult},
    },
    results::Results,
    stop::Level,
    workload::WorkloadId,
};

/// The content of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// ExternalSecrets and workloads.
    All,
    /// ExternalSecrets, each with its chain, for `sync`.
    Syncs,
    /// Only workloads, and the chains that lead to them.
    Restarts,
    /// The chain from the provider to the pods, for `sync --restart`.
    Chain,
    /// The chain of what a publication reaches. A later run can restart what this one leaves.
    Published,
}

impl Scope {
    /// The exit code and the document of a run.
    pub fn report(self, plan: &Plan, results: &Results, heading: Heading) -> (Document, Exit) {
        let once = self == Self::Chain;
        let exit = exit_of(Tells::Run { once }, plan, results);
        let mut document = Document::of_results(plan, results, heading, exit);
        document = match self {
            Self::All => document.with_chain_of_changes(plan, results),
            Self::Syncs => document.with_chain_of_syncs(plan, results),
            Self::Chain | Self::Published => document.with_chain(plan, results),
            Self::Restarts => document.with_chain_of_restarts(plan, results),
        };
        (self.of(document), exit)
    }

    /// Removes the parts that are not in the scope.
    pub fn of(self, document: Document) -> Document {
        match self {
            Self::All | Self::Syncs | Self::Chain | Self::Published => document,
            Self::Restarts => document.without_items(),
        }
    }
}

/// How to report a run.
#[derive(Clone, Debug)]
pub struct Form {
    pub scope: Scope,
    pub output: Option<Output>,
    pub heading: Heading,
    pub clock: Clock,
}

/// The report of a command whose runs are only a part of it.
#[derive(Clone)]
pub struct Whole(pub Arc<dyn Fn(CutOff) + Send + Sync>);

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Whole")
    }
}

/// The run of a command that was cut off.
pub struct CutOff {
    pub reason: Reason,
    /// The report of the run, if one was being carried out.
    pub document: Option<Document>,
    pub in_container: bool,
    pub files: ReportFiles,
}

/// The record. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// What is carried out, and how to report it. None before that.
    work: Option<(Arc<Plan>, Form)>,
    results: Results,
    /// The items whose sync was started.
    started: BTreeSet<ItemAt>,
    /// True if restarts may have been started.
    restarting: bool,
    /// True if the command writes the container's termination message.
    in_container: bool,
    files: ReportFiles,
    /// Set if the command reports its runs together with something else.
    whole: Option<Whole>,
    parts: usize,
    /// Set if the run reports by itself.
    reports: Option<Exit>,
}

impl Record {
    /// The lock is held only for moments, and never while something is written.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command writes the container's termination message.
    pub fn in_container(&self) {
        self.known().in_container = true;
    }

    /// The report files of the command.
    pub fn files(&self) -> ReportFiles {
        self.known().files.clone()
    }

    /// The command reports its runs together with something else. If one is cut off, this reports instead of the run.
    pub fn reports_together(&self, whole: Whole) {
        self.known().whole = Some(whole);
    }

    /// The run has ended and is a part of the whole, so that it is not reported as cut off.
    pub fn is_part(&self) {
        let mut known = self.known();
        known.work = None;
        known.results = Results::default();
        known.started.clear();
        known.restarting = false;
        known.parts += 1;
    }

    /// The number of runs that have ended.
    pub fn parts(&self) -> usize {
        self.known().parts
    }

    /// This plan is carried out now.
    pub fn carries_out(&self, plan: Arc<Plan>, form: Form) {
        self.known().work = Some((plan, form));
    }

    /// The sync of these items is started.
    pub fn started(&self, items: &[ItemAt]) {
        self.known().started.extend(items);
    }

    /// The sync of this item has ended.
    pub fn ended(&self, at: ItemAt, result: &ItemResult) {
        let mut known = self.known();
        known.results.items.insert(at, result.clone());
        if let Some((plan, form)) = &known.work {
            let id = &plan.items[at].id;
            let object = || ("ExternalSecret", id.namespace.clone(), id.name.clone());
            known.files.trace().ended(object, form.clock, result.took);
        }
    }

    /// True if a sync was started that has not ended.
    pub fn is_syncing(&self) -> bool {
        let known = self.known();
        let ended = &known.results.items;
        known.started.iter().any(|at| !ended.contains_key(at))
    }

    /// The findings after the syncs.
    pub fn checked(&self, findings: &BTreeMap<ItemAt, Finding>) {
        self.known().results.checked.clone_from(findings);
    }

    /// Restarts are started from now on.
    pub fn restarting(&self) {
        self.known().restarting = true;
    }

    /// The restart of this workload has ended.
    pub fn restarted(&self, id: &WorkloadId, result: &RestartResult) {
        let mut known = self.known();
        known.results.restarts.of.insert(id.clone(), result.clone());
        if let (Some((_, form)), Some(_)) = (&known.work, result.at) {
            let object = || (id.kind.into_str(), id.namespace.clone(), id.name.clone());
            known.files.trace().ended(object, form.clock, result.took);
        }
    }

    /// The run reports its results now, and ends with this code. False if the watchdog reports them already.
    pub fn reports(&self, exit: Exit) -> bool {
        let mut known = self.known();
        let first = known.reports.is_none();
        known.reports.get_or_insert(exit);
        first
    }

    /// The exit code of a process that did not end by itself.
    pub fn exit(&self) -> Exit {
        self.known().reports.unwrap_or(Exit::Stopped)
    }

    /// Reports what is known of a run that did not end in time, unless it reports by itself.
    pub fn report_unfinished(&self, level: Level) {
        let reason = match level {
            Level::Drain(reason) | Level::Now(reason) => reason,
            Level::Run => Reason::Interrupted,
        };
        let (work, in_container, files, whole) = {
            let mut known = self.known();
            if known.reports.is_some() {
                return;
            }
            known.reports = Some(Exit::Stopped);
            let work = known.work.take();
            (
                work.map(|work| (work, known.unfinished())),
                known.in_container,
                known.files.clone(),
                known.whole.clone(),
            )
        };
        let work = work.map(|((plan, mut form), results)| {
            let results = results.of(&plan, reason);
            form.heading.run.finished = form.clock.now();
            let (document, _) = form.scope.report(&plan, &results, form.heading.clone());
            (document, form)
        });
        if let Some(Whole(report)) = whole {
            return report(CutOff {
                reason,
                document: work.map(|(document, _)| document),
                in_container,
                files,
            });
        }
        let Some((document, form)) = work else {
            return not_begun(level, in_container, &files.called());
        };
        if in_container {
            write_termination_message(&report::termination_summary(&document));
        }
        // An error on stdout can be reported nowhere.
        print_as(form.output, &files, &document, text::render).ok();
    }
}

/// Nothing was carried out, so there is nothing to report but the reason.
fn not_begun(level: Level, in_container: bool, called: &Called) {
    let failure = Failure::stopped(level);
    if in_container {
        write_termination_message(&failure.termination_summary());
    }
    failure.print(called);
}

/// The results of a run that was cut off.
struct Unfinished {
    results: Results,
    started: BTreeSet<ItemAt>,
    restarting: bool,
}

impl Known {
    fn unfinished(&mut self) -> Unfinished {
        Unfinished {
            results: std::mem::take(&mut self.results),
            started: std::mem::take(&mut self.started),
            restarting: self.restarting,
        }
    }
}

impl Unfinished {
    /// Adds a result for everything that has none: what was started is unproven, the rest was not reached.
    fn of(self, plan: &Plan, reason: Reason) -> Results {
        let mut results = self.results;
        results.stopped = Some(reason);
        results.wrote |= !self.started.is_empty();
        for at in plan.steps.iter().flat_map(|step| &step.members) {
            results.items.entry(*at).or_insert_with(|| {
                if self.started.contains(at) {
                    ItemResult {
                        outcome: Outcome::Unproven,
                        attempts: 1,
                        ..ItemResult::not_reached(Reason::Interrupted)
                    }
                } else {
                    ItemResult::not_reached(reason)
                }
            });
        }
        let (outcome, reason) = if self.restarting {
            (RestartOutcome::Unproven, Reason::Interrupted)
        } else {
            (RestartOutcome::NotReached, reason)
        };
        let due = plan.restarts.steps.iter();
        for step in due.filter(|step| step.decision.action != Action::Leave) {
            let result = || RestartResult::with_old_data_of(step, outcome, reason, "");
            results
                .restarts
                .of
                .entry(step.id.clone())
                .or_insert_with(result);
        }
        results
    }
}
