//! The tour: from the cluster and the providers to a plan, and from the plan to running pods.
//!
//! ```text
//!   discover → select → check → (workloads) → plan → confirm, lock → adopt → sync → verify → remedy → restart → report
//! ```
//!
//! Commands that only look take the first part of it, [`look`].

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use eso_model::Id;

use crate::{
    announce::{EventData, announce, announce_on_pod},
    asked::Named,
    cli::Output,
    discover::{Discovered, discover},
    drift::check::Check,
    exit::Exit,
    failure::Failure,
    finding::Findings,
    lock::Lock,
    lock_namespace::LockNamespace,
    output::{leave_summary, print_as},
    plan::{self, Facts, ItemAt, Plan, RestartFacts, hold::Holds},
    policy::Policy,
    progress::Progress,
    reason::Reason,
    remedy::Remedy,
    report::{self, Document, Heading, Kind, text, took},
    restart::{
        Restarts, Synced,
        results::{RestartOutcome, RestartResult, RestartResults},
        targets::Targets,
        workloads::{Options, Workloads},
    },
    results::{Results, Tells, exit_of},
    select::select,
    session::{Connected, Session, World},
    stop::{Level, Stop},
    sync,
    verify::{Stale, Verifier},
    workload::WorkloadId,
};

/// Where workloads are of no interest, nothing is said of them.
static NO_OPTIONS: Options = Options {
    namespaces: Vec::new(),
    adopt_anew: false,
    retry: false,
};

/// What a run is about, and what its report tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// ExternalSecrets and workloads.
    All,
    /// Workloads alone.
    Restarts,
    /// Every link from the provider to the pods, of what was typed for once.
    Chain,
}

/// By which policy something is looked at or done, and where.
#[derive(Clone, Copy)]
pub struct By<'a> {
    /// What all commands share.
    pub session: &'a Session,
    /// Where.
    pub connected: &'a Connected,
    pub policy: &'a Policy,
    /// What restarts are told beside the policy; None: workloads are of no interest.
    pub options: Option<&'a Options>,
    /// Whether what cannot be noted of workloads keeps their Secrets from being changed, as it does in a run.
    pub holds: bool,
}

/// What was read of the cluster and the providers at one time.
pub struct Snapshot {
    /// The ExternalSecrets, and from where on they can be watched.
    pub discovered: Discovered,
    /// The eyes that read the providers, where drift is checked.
    pub check: Option<Check>,
    /// The workloads.
    pub workloads: Workloads,
    /// Requests to the Kubernetes API before workloads were read.
    pub requests: u64,
}

/// A run as it was asked for.
pub struct Tour<'a> {
    /// By which policy, and where.
    pub by: By<'a>,
    /// The lock, the key of stamps, the own Pod.
    pub home: LockNamespace,
    /// What was named, and has to be there.
    pub named: Named<'a>,
    /// Whether somebody is asked before anything is done.
    pub asks: bool,
    /// What it is about.
    pub scope: Scope,
    /// The digest of the policy, where a policy says what is selected.
    pub digest: Option<&'a str>,
    /// In which form the report is printed.
    pub output: Output,
    /// When it began.
    pub started: jiff::Timestamp,
}

/// Reads everything once, and plans once. Nothing is written.
pub async fn look(by: By<'_>, named: Named<'_>) -> Result<(Snapshot, Plan), Failure> {
    let By {
        session,
        connected,
        policy,
        options,
        holds,
    } = by;
    let (cluster, clock) = (&connected.cluster, session.world.clock);
    let discovering = discover(cluster, policy);
    let mut discovered = session.unless_stopped(discovering).await??;
    let inventory = std::mem::take(&mut discovered.inventory);
    let selected = select(policy, &inventory, clock.now());
    named.are_found(&selected, &cluster.namespace)?;
    let (mut check, mut findings) = (None, Findings::default());
    if policy.drift.enabled {
        let check = check.insert(connected.check(session, policy, &mut discovered)?);
        let wanted = selected.checked();
        let checking = check.first(&inventory, &wanted);
        findings = session.unless_stopped(checking).await?;
    }
    let requests = cluster.requests();
    let mut workloads = Workloads::default();
    if let Some(options) = options.filter(|_| !policy.restart.is_empty()) {
        let targets = Targets::selected(&selected, &findings);
        let reading = by.restarts(options).read(targets);
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

/// The whole tour.
pub async fn run(tour: &Tour<'_>) -> Result<Exit, Failure> {
    let world = &tour.by.session.world;
    let _deadline = world.end_in(tour.by.policy.deadline);
    let (mut snapshot, mut plan) = look(tour.by, tour.named).await?;
    if !plan.exceeded.is_empty() {
        return tour.refuse(&plan).await;
    }
    tour.confirm(&plan).await?;
    let lock = tour.lock(&plan).await?;
    if lock.as_ref().is_some_and(|lock| lock.waited) {
        // The other run may have done it all meanwhile.
        match look(tour.by, Named::default()).await {
            Ok((again, planned)) if planned.exceeded.is_empty() => {
                (snapshot, plan) = (again, planned);
            }
            Ok((_, refused)) => {
                release(lock, world).await;
                return tour.refuse(&refused).await;
            }
            Err(failure) => {
                release(lock, world).await;
                return Err(failure);
            }
        }
    }
    let work = async {
        let (plan, adopted) = tour.adopt(&mut snapshot, plan).await;
        let mut results = tour.sync(&snapshot, &plan).await;
        let stale = tour.verify(&mut snapshot, &plan, &mut results).await;
        tour.remedy(&mut snapshot, &plan, stale, &mut results).await;
        results.restarts = tour.restart(&snapshot, &plan, &results, adopted).await;
        (plan, results)
    };
    let (plan, results) = Box::pin(locked(lock, world, work)).await;
    tour.report(&snapshot, &plan, &results).await
}

/// What would be done; nothing is.
pub async fn preview(tour: &Tour<'_>) -> Result<Exit, Failure> {
    let _deadline = tour.by.session.world.end_in(tour.by.policy.deadline);
    let (_, plan) = look(tour.by, tour.named).await?;
    if !plan.exceeded.is_empty() {
        return tour.refuse(&plan).await;
    }
    let (document, exit) = tour.planned(&plan);
    tour.print(&document)?;
    Ok(exit)
}

/// Keeps the lock while something is done, and gives it back unless it was lost.
async fn locked(
    lock: Option<Lock>,
    world: &World,
    work: impl Future<Output = (Plan, Results)>,
) -> (Plan, Results) {
    let Some(mut lock) = lock else {
        return work.await;
    };
    let mut work = Box::pin(work);
    let done = {
        let keep = async {
            lock.keep(world.clock).await;
            world.stopper.now(Reason::LockLost);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            done = &mut work => done,
            () = keep => work.await,
        }
    };
    let stopped = [done.1.stopped, done.1.restarts.stopped];
    if !stopped.contains(&Some(Reason::LockLost)) {
        lock.release(world.clock).await;
    }
    done
}

async fn release(lock: Option<Lock>, world: &World) {
    if let Some(lock) = lock {
        lock.release(world.clock).await;
    }
}

/// Does this unless the run has to end, and notes if it has.
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

impl<'a> By<'a> {
    fn restarts(self, options: &'a Options) -> Restarts<'a> {
        Restarts {
            cluster: &self.connected.cluster,
            policy: self.policy,
            options,
            clock: self.session.world.clock,
        }
    }
}

impl Tour<'_> {
    /// Shows the plan on stderr and asks, where somebody can answer.
    async fn confirm(&self, plan: &Plan) -> Result<(), Failure> {
        let (syncs, restarts) = (plan.syncs(), plan.restarts.restarts());
        if !self.asks || (syncs == 0 && restarts == 0) {
            return Ok(());
        }
        let question = match (syncs, restarts) {
            (_, 0) => format!("Sync {syncs} ExternalSecrets?"),
            (0, _) => format!("Restart up to {restarts} workloads?"),
            _ => format!("Sync {syncs} ExternalSecrets, and restart up to {restarts} workloads?"),
        };
        let (document, _) = self.planned(plan);
        let shown = text::render(&document, false);
        write!(io::stderr(), "{shown}\n{question} [y/N] ").ok();
        // A thread of its own, which nobody waits for: a signal ends the command, whether or not somebody answers.
        let (answered, answer) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut answer = String::new();
            let read = io::stdin().read_line(&mut answer);
            answered.send(read.map(|_| answer)).ok();
        });
        let session = self.by.session;
        let answer = session.unless_stopped(answer).await.inspect_err(|_| {
            writeln!(io::stderr()).ok();
        })?;
        let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::usage("you did not say yes"))
    }

    /// The lock, where anything is to be written and the policy wants one.
    async fn lock(&self, plan: &Plan) -> Result<Option<Lock>, Failure> {
        if !plan.writes_anything() || !self.by.policy.lock.enabled {
            return Ok(None);
        }
        let session = self.by.session;
        let taking = self.home.lock(&self.by.connected.cluster, &session.world);
        Ok(Some(session.unless_stopped(taking).await??))
    }

    /// Writes the stamps that are due, and leaves out of the plan what would need those that could not be written. What was read with
    /// a key that nobody kept is read, and planned, again with one that is.
    async fn adopt(&self, snapshot: &mut Snapshot, mut plan: Plan) -> (Plan, RestartResults) {
        let Some(options) = self.by.options else {
            return (plan, RestartResults::default());
        };
        let (policy, world) = (self.by.policy, &self.by.session.world);
        let restarts = self.by.restarts(options);
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

    /// Syncs, and shows how it goes.
    async fn sync(&self, snapshot: &Snapshot, plan: &Plan) -> Results {
        let By {
            session,
            connected,
            policy,
            ..
        } = self.by;
        let job = sync::Job {
            plan,
            policy,
            cluster: &connected.cluster,
            api: &snapshot.discovered.api,
            watch_from: &snapshot.discovered.watch_from,
            run: &session.world.run,
            clock: session.world.clock,
            stop: session.world.stop.clone(),
        };
        let mut progress = Progress::new(session.progress_style(), plan.syncs());
        sync::carry_out(&job, |item, result| progress.done(item, result)).await
    }

    /// Checks what was synced; the answer is what is still stale.
    async fn verify(&self, snapshot: &mut Snapshot, plan: &Plan, results: &mut Results) -> Stale {
        let Some(mut verifier) = snapshot
            .verifier(plan)
            .filter(|_| !results.items.is_empty())
        else {
            return Stale::new();
        };
        let verify = async |results: &mut Results| verifier.verify(results).await;
        let stop = &self.by.session.world.stop;
        unless_ended(stop, results, verify)
            .await
            .unwrap_or_default()
    }

    /// Does what the policy says about what is still stale.
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
            cluster: &self.by.connected.cluster,
            plan,
            policy: self.by.policy,
        };
        let apply = async |results: &mut Results| {
            remedy.apply(&mut verifier, stale, results).await;
        };
        unless_ended(&self.by.session.world.stop, results, apply).await;
    }

    /// Restarts what is due now that everything is synced, and says so as it goes. The answer tells of stamps that were written
    /// before, too.
    async fn restart(
        &self,
        snapshot: &Snapshot,
        plan: &Plan,
        results: &Results,
        adopted: RestartResults,
    ) -> RestartResults {
        let Some(options) = self
            .by
            .options
            .filter(|_| snapshot.workloads.stamps.is_some())
        else {
            return adopted;
        };
        let session = self.by.session;
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
        };
        let done = |id: &WorkloadId, result: &RestartResult| {
            let how = if result.outcome == RestartOutcome::Restarted {
                format!("restarted in {}", took(result))
            } else {
                format!("{} ({})", result.outcome.as_str(), result.reason.as_str())
            };
            session.say(&format!("{id}: {how}"));
        };
        let mut restarted = self
            .by
            .restarts(options)
            .carry_out(
                (&plan.restarts, &snapshot.workloads),
                synced,
                session.world.stop.clone(),
                done,
            )
            .await;
        restarted.add_earlier(adopted);
        restarted
    }

    fn heading(&self) -> Heading {
        let cluster = &self.by.connected.cluster;
        Heading {
            run: self.by.session.run(cluster, self.digest, self.started),
            requests: cluster.requests(),
        }
    }

    /// What would be done, as a document.
    fn planned(&self, plan: &Plan) -> (Document, Exit) {
        let exit = exit_of(
            Tells::Plan { differences: false },
            plan,
            &Results::default(),
        );
        let document = Document::of_plan(Kind::Plan, plan, self.heading(), exit);
        (self.scoped(document), exit)
    }

    /// Without what was not asked for.
    fn scoped(&self, document: Document) -> Document {
        match self.scope {
            Scope::All | Scope::Chain => document,
            Scope::Restarts => document.without_items(),
        }
    }

    fn print(&self, document: &Document) -> Result<(), Failure> {
        print_as(self.output, document, |document| {
            text::render(document, false)
        })
    }

    /// A limit is exceeded: the plan is all that there is to tell.
    async fn refuse(&self, plan: &Plan) -> Result<Exit, Failure> {
        let By {
            session, connected, ..
        } = self.by;
        let (document, exit) = self.planned(plan);
        self.print(&document)?;
        leave_summary(session, &report::termination_summary(&document));
        if let Some(pod) = self.home.pod() {
            let now = session.world.clock.now();
            announce_on_pod(&connected.cluster, &pod, &document, now).await;
        }
        Ok(exit)
    }

    /// Tells what was done: the kubelet, whoever reads the output, and the cluster. Where nobody reads it, the others are told all the
    /// same.
    async fn report(
        &self,
        snapshot: &Snapshot,
        plan: &Plan,
        results: &Results,
    ) -> Result<Exit, Failure> {
        let By {
            session, connected, ..
        } = self.by;
        let once = self.scope == Scope::Chain;
        let exit = exit_of(Tells::Run { once }, plan, results);
        let mut document = Document::of_results(plan, results, self.heading(), exit);
        if once {
            document = document.with_chain(plan, results);
        }
        let document = self.scoped(document);
        leave_summary(session, &report::termination_summary(&document));
        let now = session.world.clock.now();
        let printed = self.print(&document);
        let told = EventData {
            plan,
            results,
            document: &document,
        };
        let pod = self.home.pod();
        let api = &snapshot.discovered.api;
        announce(&connected.cluster, api, pod.as_ref(), told, now).await;
        printed.map(|()| exit)
    }
}

impl Snapshot {
    /// What heads the document of a command that only looks.
    pub fn heading(&self, by: By<'_>, digest: Option<&str>, started: jiff::Timestamp) -> Heading {
        Heading {
            run: by.session.run(&by.connected.cluster, digest, started),
            requests: self.requests,
        }
    }

    /// Checks again by what was read, where drift is checked.
    fn verifier<'b>(&'b mut self, plan: &'b Plan) -> Option<Verifier<'b>> {
        Some(Verifier {
            plan,
            inventory: &self.discovered.inventory,
            check: self.check.as_mut()?,
        })
    }
}
