//! The pipeline of a run: reads the cluster and the providers, makes a plan, and executes it.
//!
//! ```text
//!   discover → select → check → (workloads) → plan → confirm, lock → adopt → sync → verify → remedy → restart → report
//! ```
//!
//! Read-only commands use only the first part, [`read_and_plan`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use eso_model::Id;
use pace::{Silence, Wait};

use crate::{
    announce::{EventData, announce, announce_on_pod},
    asked::Named,
    cli::TableArgs,
    discover::{Discovered, discover},
    drift::{awaited::Awaited, check::Check},
    exit::Exit,
    exit::decide::{Tells, exit_of},
    failure::Failure,
    finding::Findings,
    inventory::Inventory,
    lock::{Lock, LockError},
    lock_namespace::LockNamespace,
    noun::counted,
    output::print_as,
    plan::{self, Facts, ItemAt, Plan, RestartFacts, hold::Holds},
    policy::Policy,
    progress::Progress,
    reason::Reason,
    record::{Form, Scope},
    remedy::Remedy,
    report::{self, Document, Heading, Kind, format::Output, text, took},
    restart::{
        Restarts, Synced,
        results::{RestartOutcome, RestartResult, RestartResults},
        targets::Targets,
        workloads::{Options, Workloads},
    },
    results::Results,
    select::{Part, select},
    session::{Connected, Session, World},
    stop::{Level, Stop},
    sync,
    trace::Phase,
    verify::{Stale, Verifier},
    workload::WorkloadId,
};

/// The options for commands that ignore workloads.
static NO_OPTIONS: Options = Options {
    lock_namespace: None,
    adopt_anew: false,
    retry: false,
};

/// The session, connection and policy of a command.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub session: &'a Session,
    pub connected: &'a Connected,
    pub policy: &'a Policy,
    /// The flags for restarts. None if the command ignores workloads.
    pub options: Option<&'a Options>,
    /// True if a Secret is held back when a workload that uses it cannot be stamped, as in a run.
    pub holds: bool,
    /// Narrows the selection to some ExternalSecrets of the inventory.
    pub only: Option<&'a Narrow<'a>>,
    /// Values that the drift check must read.
    pub awaited: Option<Awaited<'a>>,
}

/// Returns the part of an inventory that a run is about.
pub type Narrow<'a> = dyn Fn(&Inventory) -> Part + Sync + 'a;

/// The data read from the cluster and the providers.
pub struct Snapshot {
    /// The ExternalSecrets, and the starting points for watches.
    pub discovered: Discovered,
    /// The drift check, if it is enabled.
    pub check: Option<Check>,
    pub workloads: Workloads,
    /// The number of Kubernetes API requests before workloads were read.
    pub requests: u64,
}

/// A run with its arguments.
#[derive(Clone)]
pub struct Pipeline<'a> {
    pub context: Context<'a>,
    /// The namespace of the lock and the stamp key, and the job's Pod.
    pub lock_namespace: LockNamespace,
    /// The names that must exist.
    pub named: Named<'a>,
    /// True if the user must confirm the plan.
    pub asks: bool,
    pub scope: Scope,
    /// The digest of the policy, if the selection comes from a policy.
    pub digest: Option<&'a str>,
    /// The output format of the report.
    pub output: Option<Output>,
    /// How the table is shown.
    pub table: TableArgs,
    /// The start time of the run.
    pub started: jiff::Timestamp,
}

/// Reads everything once and makes the plan. Writes nothing.
pub async fn read_and_plan(
    context: Context<'_>,
    named: Named<'_>,
) -> Result<(Snapshot, Plan), Failure> {
    let Context {
        session,
        connected,
        policy,
        options,
        holds,
        only,
        ..
    } = context;
    let (cluster, clock) = (&connected.cluster, session.world.clock);
    let options = options.filter(|_| !policy.restart.is_empty());
    if options.is_some_and(|options| options.lock_namespace.is_none()) {
        return Err(Failure::no_lock_namespace());
    }
    let discovering = session.in_phase(Phase::Discover, discover(cluster, policy));
    let mut discovered = session.unless_stopped(discovering).await??;
    let inventory = std::mem::take(&mut discovered.inventory);
    let mut selected = select(policy, &inventory, clock.now());
    if let Some(only) = only {
        selected = selected.only(&only(&inventory));
    }
    named.check_found(&selected, cluster).await?;
    let (mut check, mut findings) = (None, Findings::default());
    if policy.drift.enabled {
        let wanted = selected.checked();
        let (new, found) = Box::pin(checked(context, &mut discovered, &inventory, &wanted)).await?;
        (check, findings) = (Some(new), found);
    }
    let requests = cluster.requests();
    let mut workloads = Workloads::default();
    if let Some(options) = options {
        let targets = Targets::selected(&selected, &findings, &inventory, policy.safety.key_names);
        let reading = context.restarts(options).read(targets);
        let reading = session.in_phase(Phase::ReadWorkloads, reading);
        workloads = session.unless_stopped(reading).await?;
    }
    let held = || Holds::of(policy, &workloads);
    let facts = Facts {
        inventory: &inventory,
        selected: &selected,
        findings: &findings,
        restarts: RestartFacts {
            workloads: &workloads,
            holds: &holds.then(held).unwrap_or_default(),
            options: options.unwrap_or(&NO_OPTIONS),
        },
        now: clock.now(),
    };
    let plan = plan::plan(policy, facts);
    discovered.inventory = inventory;
    let snapshot = Snapshot {
        discovered,
        check,
        workloads,
        requests,
    };
    Ok((snapshot, plan))
}

/// Checks these ExternalSecrets for drift.
async fn checked(
    context: Context<'_>,
    discovered: &mut Discovered,
    inventory: &Inventory,
    wanted: &BTreeSet<Id>,
) -> Result<(Check, Findings), Failure> {
    let session = context.session;
    let mut check = context
        .connected
        .check(session, context.policy, discovered)?;
    if context.awaited.is_some() {
        check = check.keeping_versions();
    }
    let end = session.world.check_ends();
    let checking = async {
        match context.awaited {
            Some(awaited) => awaited.check(&mut check, inventory, wanted, end).await,
            None => check.first(inventory, wanted, end).await,
        }
    };
    let checking = session.in_phase(Phase::Check, checking);
    let findings = session.unless_stopped(checking).await?;
    Ok((check, findings))
}

/// What a pipeline did.
pub struct Done {
    pub snapshot: Snapshot,
    pub plan: Arc<Plan>,
    /// None if a limit refused the plan.
    pub results: Option<Results>,
}

/// Runs the whole pipeline.
pub async fn run(pipeline: &Pipeline<'_>) -> Result<Exit, Failure> {
    let done = carry_out(pipeline).await?;
    let session = pipeline.context.session;
    let (document, exit) = pipeline.document(&done);
    if done.results.is_some() && !session.world.record.reports(exit) {
        // The watchdog reports, and ends the process.
        std::future::pending::<()>().await;
    }
    session.write_termination_message(&report::termination_summary(&document));
    // An error on stdout does not prevent the Events.
    let printed = pipeline.print(&document);
    pipeline.announce(&done, &document).await;
    printed.map(|()| exit)
}

/// Runs the pipeline up to its report.
pub async fn carry_out(pipeline: &Pipeline<'_>) -> Result<Done, Failure> {
    let world = &pipeline.context.session.world;
    let lease = pipeline.lease_version().await?;
    let (mut snapshot, mut plan) = read_and_plan(pipeline.context, pipeline.named).await?;
    let refused = |snapshot, plan| Done {
        snapshot,
        plan: Arc::new(plan),
        results: None,
    };
    if !plan.exceeded.is_empty() {
        return Ok(refused(snapshot, plan));
    }
    pipeline.confirm(&plan).await?;
    let lock = pipeline.lock(&plan).await?;
    let lease = lease.as_deref();
    let again = lock
        .as_ref()
        .is_some_and(|lock| lock.follows_another_run(lease));
    let work = async {
        if again {
            // The other run may have done the same work.
            (snapshot, plan) = pipeline.plan_again(&plan).await?;
        }
        if !plan.exceeded.is_empty() {
            return Ok(refused(snapshot, plan));
        }
        let (plan, adopted) = pipeline.adopt(&mut snapshot, plan).await;
        let mut results = pipeline.sync(&snapshot, &plan).await;
        let stale = pipeline.verify(&mut snapshot, &plan, &mut results).await;
        pipeline
            .remedy(&mut snapshot, &plan, stale, &mut results)
            .await;
        results.restarts = pipeline.restart(&snapshot, &plan, &results, adopted).await;
        Ok::<_, Failure>(Done {
            snapshot,
            plan,
            results: Some(results),
        })
    };
    Box::pin(with_lock(lock, world, work)).await
}

/// Prints the plan and changes nothing.
pub async fn preview(pipeline: &Pipeline<'_>) -> Result<Exit, Failure> {
    let session = pipeline.context.session;
    session.world.end_in(pipeline.context.policy.deadline);
    let done = foresee(pipeline).await?;
    let (document, exit) = pipeline.document(&done);
    pipeline.print(&document)?;
    if !done.plan.exceeded.is_empty() {
        session.write_termination_message(&report::termination_summary(&document));
        pipeline.announce(&done, &document).await;
    }
    Ok(exit)
}

/// Makes the plan and changes nothing.
pub async fn foresee(pipeline: &Pipeline<'_>) -> Result<Done, Failure> {
    let (snapshot, plan) = read_and_plan(pipeline.context, pipeline.named).await?;
    Ok(Done {
        snapshot,
        plan: Arc::new(plan),
        results: None,
    })
}

/// Renews the lock during the work, and releases it at the end unless it was lost.
async fn with_lock<T>(lock: Option<Lock>, world: &World, work: impl Future<Output = T>) -> T {
    let Some(mut lock) = lock else {
        return work.await;
    };
    let mut work = Box::pin(work);
    let done = tokio::select! {
        done = &mut work => done,
        () = lock.keep(world.clock) => {
            world.stopper.now(Reason::LockLost);
            return work.await;
        }
    };
    lock.release(world.clock).await;
    done
}

/// Does this work unless the run must end, and records the reason if it must.
async fn unless_ended<T>(
    stop: &Stop,
    results: &mut Results,
    work: impl AsyncFnOnce(&mut Results) -> T,
) -> Option<T> {
    let mut stop = stop.clone();
    let mut level = stop.level();
    if results.stopped.is_none() && level == Level::Run {
        tokio::select! {
            done = work(results) => return Some(done),
            changed = stop.changed() => level = changed,
        }
    }
    if let Level::Drain(reason) | Level::Now(reason) = level {
        results.stopped.get_or_insert(reason);
    }
    None
}

impl<'a> Context<'a> {
    fn restarts(self, options: &'a Options) -> Restarts<'a> {
        Restarts {
            cluster: &self.connected.cluster,
            policy: self.policy,
            options,
            clock: self.session.world.clock,
        }
    }
}

impl Pipeline<'_> {
    /// Shows the plan on stderr and asks for confirmation.
    async fn confirm(&self, plan: &Plan) -> Result<(), Failure> {
        let (syncs, restarts) = (plan.syncs(), plan.restarts.restarts());
        if !self.asks || (syncs == 0 && restarts == 0) {
            return Ok(());
        }
        let question = match (syncs, restarts) {
            (_, 0) => format!("Sync {}?", counted(syncs, "ExternalSecret")),
            (0, _) => format!("Restart up to {}?", counted(restarts, "workload")),
            _ => format!(
                "Sync {}, and restart up to {}?",
                counted(syncs, "ExternalSecret"),
                counted(restarts, "workload")
            ),
        };
        let (document, _) = self.planned(plan);
        let shown = text::render(&document, &self.context.session.asking());
        self.context.session.confirm(&shown, &question).await
    }

    /// The version of the Lease before the cluster is read, if the run uses a lock and can read it.
    async fn lease_version(&self) -> Result<Option<String>, Failure> {
        let Context {
            session,
            connected,
            policy,
            ..
        } = self.context;
        if !policy.lock.enabled {
            return Ok(None);
        }
        let reading = self.lock_namespace.lease_version(&connected.cluster);
        session.unless_stopped(reading).await
    }

    /// Reads and plans again while the run holds the lock. If the user confirmed a plan, the new one contains nothing else.
    async fn plan_again(&self, shown: &Plan) -> Result<(Snapshot, Plan), Failure> {
        self.context
            .session
            .say("another run finished in the meantime; planning again");
        let (snapshot, plan) = read_and_plan(self.context, Named::default()).await?;
        let plan = if self.asks {
            plan.confined_to(shown, self.context.policy)
        } else {
            plan
        };
        Ok((snapshot, plan))
    }

    /// Acquires the lock if the plan writes anything and the policy uses the lock.
    async fn lock(&self, plan: &Plan) -> Result<Option<Lock>, Failure> {
        if !plan.writes_anything() || !self.context.policy.lock.enabled {
            return Ok(None);
        }
        let session = self.context.session;
        let taking = self
            .lock_namespace
            .lock(&self.context.connected.cluster, &session.world);
        let wait = Wait::at_most(self.lock_namespace.longest_wait());
        let taking = wait.on(|| "the lock".to_owned(), Box::pin(taking));
        let taking = session.in_phase(Phase::Lock, taking);
        match session.unless_stopped(taking).await? {
            Ok(lock) => Ok(Some(lock)),
            // Runs by hand without an installation have nothing to exclude but each other.
            Err(LockError::NoNamespace(namespace)) if self.digest.is_none() => {
                session.say(&format!(
                    "running without a lock, because the namespace {namespace} does not exist. Use --lock-namespace to choose another one"
                ));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the stamps that are due, and removes from the plan the steps whose stamps could not be written. If the workloads
    /// were read with a temporary key, reads and plans them again with a stored key first.
    async fn adopt(&self, snapshot: &mut Snapshot, plan: Plan) -> (Arc<Plan>, RestartResults) {
        let record = &self.context.session.world.record;
        if plan.restarts.writes_anything() {
            // This plan may change while stamps are written.
            record.carries_out(Arc::new(plan.clone()), self.form());
        }
        let writes = plan.restarts.writes_anything();
        let timed = writes.then(|| self.context.session.phase(Phase::Adopt));
        let (plan, adopted) = self.adopted(snapshot, plan).await;
        drop(timed);
        let plan = Arc::new(plan);
        record.carries_out(Arc::clone(&plan), self.form());
        for (id, result) in &adopted.of {
            record.restarted(id, result);
        }
        (plan, adopted)
    }

    async fn adopted(&self, snapshot: &mut Snapshot, mut plan: Plan) -> (Plan, RestartResults) {
        let Some(options) = self.context.options else {
            return (plan, RestartResults::default());
        };
        let (policy, world) = (self.context.policy, &self.context.session.world);
        let restarts = self.context.restarts(options);
        let workloads = &mut snapshot.workloads;
        if workloads.lack_a_key() && plan.restarts.writes_anything() {
            let targets = std::mem::take(&mut workloads.targets);
            *workloads = restarts.read_to_write(targets).await;
            let facts = RestartFacts {
                workloads,
                holds: &Holds::of(policy, workloads),
                options,
            };
            plan = plan.again(policy, facts, world.clock.now());
        }
        let adopted = restarts.adopt(workloads, &plan.restarts, &world.stop).await;
        let plan = plan.once_stamped(policy, &adopted.missing_stamps());
        (plan, adopted)
    }

    /// Executes the syncs and shows the progress.
    async fn sync(&self, snapshot: &Snapshot, plan: &Plan) -> Results {
        let Context {
            session,
            connected,
            policy,
            ..
        } = self.context;
        let job = sync::Job {
            plan,
            policy,
            cluster: &connected.cluster,
            api: &snapshot.discovered.api,
            watch_from: &snapshot.discovered.watch_from,
            run: &session.world.part(),
            clock: session.world.clock,
            stop: session.world.stop.clone(),
            record: &session.world.record,
        };
        let mut progress = Progress::new(&session.world.stderr, "syncing", plan.syncs());
        let phase = progress.phase();
        let silence = Silence::new(policy.sync.timeout);
        let syncing = sync::carry_out(&job, |item, result| {
            silence.broken();
            progress.done(item, result);
        });
        let what = || {
            if session.world.record.is_syncing() {
                let what = "the operator to prove the syncs";
                (what.to_owned(), silence.end())
            } else {
                let what = "the pace of the policy to allow the next sync";
                (what.to_owned(), session.world.stop.deadline())
            }
        };
        let syncing = phase.during(Box::pin(syncing));
        let _timed = session.phase(Phase::Sync);
        silence.on(what, Box::pin(syncing)).await
    }

    /// Checks the synced items and returns those that are still stale.
    async fn verify(&self, snapshot: &mut Snapshot, plan: &Plan, results: &mut Results) -> Stale {
        let Some(mut verifier) = snapshot
            .verifier(plan)
            .filter(|_| !results.items.is_empty())
        else {
            return Stale::new();
        };
        let _timed = self.context.session.phase(Phase::Verify);
        let verify = async |results: &mut Results| verifier.verify(results).await;
        let stop = &self.context.session.world.stop;
        let stale = unless_ended(stop, results, verify).await;
        self.context.session.world.record.checked(&results.checked);
        stale.unwrap_or_default()
    }

    /// Applies the policy's remedies to the items that are still stale.
    async fn remedy(
        &self,
        snapshot: &mut Snapshot,
        plan: &Plan,
        stale: Stale,
        results: &mut Results,
    ) {
        let Some(mut verifier) = snapshot.verifier(plan).filter(|_| !stale.is_empty()) else {
            return;
        };
        let remedy = Remedy {
            cluster: &self.context.connected.cluster,
            plan,
            policy: self.context.policy,
            record: &self.context.session.world.record,
        };
        let _timed = self.context.session.phase(Phase::Remedy);
        let apply = async |results: &mut Results| {
            remedy.apply(&mut verifier, stale, results).await;
        };
        unless_ended(&self.context.session.world.stop, results, apply).await;
    }

    /// Executes the restarts that are due after the syncs, and shows the progress. The results include the stamps that were
    /// written before the syncs.
    async fn restart(
        &self,
        snapshot: &Snapshot,
        plan: &Plan,
        results: &Results,
        adopted: RestartResults,
    ) -> RestartResults {
        let has_stamps = snapshot.workloads.stamps.is_some();
        let Some(options) = self.context.options.filter(|_| has_stamps) else {
            return adopted;
        };
        let session = self.context.session;
        let by_id: BTreeMap<&Id, ItemAt> = plan
            .items
            .entries()
            .map(|(at, item)| (&item.id, at))
            .collect();
        let targets = snapshot.workloads.targets.clone().synced(|id| {
            let at = by_id.get(id);
            (
                at.and_then(|at| results.items.get(at)),
                at.and_then(|at| results.checked.get(at)),
            )
        });
        let synced = Synced {
            targets: &targets,
            wrote: results.wrote,
            stopped: results.stopped,
            stopped_namespaces: &results.stopped_namespaces,
        };
        let rules = &self.context.policy.restart;
        let longest = rules.iter().map(|rule| rule.wait).max();
        let silence = Silence::new(longest.unwrap_or_default());
        let total = plan.restarts.restarts();
        let mut progress = Progress::new(&session.world.stderr, "restarting", total);
        let phase = progress.phase();
        let done = |id: &WorkloadId, result: &RestartResult| {
            silence.broken();
            let how = if result.outcome == RestartOutcome::Restarted {
                format!("restarted in {}", took(result))
            } else {
                format!("{} ({})", result.outcome.into_str(), result.reason.as_str())
            };
            progress.said(result.outcome.is_good(), &format!("{id}: {how}"));
            session.world.record.restarted(id, result);
        };
        session.world.record.restarting();
        let _timed = session.phase(Phase::Restart);
        let restarts = self.context.restarts(options);
        let restarting = restarts.carry_out(
            (&plan.restarts, &snapshot.workloads),
            synced,
            session.world.stop.clone(),
            done,
        );
        let what = || {
            let what = "restarted workloads to become healthy";
            (what.to_owned(), silence.end())
        };
        let restarting = phase.during(Box::pin(restarting));
        let mut restarted = silence.on(what, Box::pin(restarting)).await;
        restarted.add_earlier(adopted);
        restarted
    }

    /// How the watchdog reports, if the run cannot.
    fn form(&self) -> Form {
        Form {
            scope: self.scope,
            output: self.output,
            heading: self.heading(),
            clock: self.context.session.world.clock,
        }
    }

    pub fn heading(&self) -> Heading {
        let cluster = &self.context.connected.cluster;
        Heading {
            run: self
                .context
                .session
                .run(Some(cluster), self.digest, self.started),
            requests: cluster.requests(),
        }
    }

    /// The plan as a document, and its exit code.
    fn planned(&self, plan: &Plan) -> (Document, Exit) {
        let exit = exit_of(
            Tells::Plan { differences: false },
            plan,
            &Results::default(),
        );
        let document = Document::of_plan(Kind::Plan, plan, self.heading(), exit);
        (self.scope.of(document), exit)
    }

    fn print(&self, document: &Document) -> Result<(), Failure> {
        let files = self.context.session.world.record.files();
        let document = self.table.sorted(document);
        print_as(self.output, &files, &*document, |document, view| {
            text::render(document, &self.table.view(view))
        })
    }

    /// The report, and the exit code. If a limit refused the plan, the plan.
    pub fn document(&self, done: &Done) -> (Document, Exit) {
        match &done.results {
            Some(results) => self.scope.report(&done.plan, results, self.heading()),
            None => self.planned(&done.plan),
        }
    }

    /// Reports the results as Events.
    pub async fn announce(&self, done: &Done, document: &Document) {
        let Context {
            session, connected, ..
        } = self.context;
        let cluster = &connected.cluster;
        let now = session.world.clock.now();
        let pod = self.lock_namespace.pod();
        match (&done.results, &pod) {
            (Some(results), _) => {
                let events = EventData {
                    plan: &done.plan,
                    results,
                    document,
                };
                let api = &done.snapshot.discovered.api;
                announce(cluster, api, pod.as_ref(), events, now).await;
            }
            (None, Some(pod)) => announce_on_pod(cluster, pod, document, now).await,
            (None, None) => {}
        }
    }
}

impl Snapshot {
    /// The heading of the document of a read-only command.
    pub fn heading(
        &self,
        context: Context<'_>,
        digest: Option<&str>,
        started: jiff::Timestamp,
    ) -> Heading {
        Heading {
            run: context
                .session
                .run(Some(&context.connected.cluster), digest, started),
            requests: self.requests,
        }
    }

    /// Returns a verifier for this snapshot, if drift is checked.
    fn verifier<'b>(&'b mut self, plan: &'b Plan) -> Option<Verifier<'b>> {
        Some(Verifier {
            plan,
            inventory: &self.discovered.inventory,
            check: self.check.as_mut()?,
        })
    }
}
