//! Commands that change something: plan, ask, lock, sync, report.

use std::io::{self, IsTerminal as _, Write as _};

use cluster::{Access, Cluster, Trouble};
use serde_json::json;
use tokio::time::Instant;

use super::{
    Connected, Refusal, Session,
    look::reading,
    policy::{Flags, selection, store},
    print_as,
    restart::{ad_hoc_rules, restart_options, verdicts, verdicts_after},
};
use crate::{
    announce::{OwnPod, Told, announce, announce_on_pod},
    cli::{ActArgs, Output, RunArgs, SyncArgs},
    discover::{Discovered, discover},
    drift::{afterwards::Afterwards, check::Check},
    exit::Exit,
    lock::{self, Lock, LockError},
    outcome::Results,
    pattern::Pattern,
    plan::Plan,
    policy::{Policy, When},
    progress::Progress,
    rbac,
    reason::Reason,
    report::{
        self, Document, Heading, Kind, exit_of, exit_of_plan, exit_of_restart_plan,
        exit_of_restarts, exit_of_undone, text,
    },
    restart::{self, Looked, results::RestartResults, targets::Verdicts},
    stop::Level,
    sync::{Job, carry_out},
};

/// Where the kubelet reads a summary from.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What to do, over which connection.
pub(super) struct Task<'a> {
    pub(super) session: &'a Session,
    pub(super) connected: &'a Connected,
    pub(super) cluster: &'a Cluster,
    pub(super) policy: &'a Policy,
    pub(super) digest: Option<&'a str>,
    pub(super) act: &'a ActArgs,
    pub(super) restart: restart::Options,
    /// Whether workloads are all that is asked for.
    pub(super) only_restarts: bool,
    /// Whether to tell every link from the provider to the pods.
    pub(super) tells_chain: bool,
    pub(super) output: Output,
    pub(super) started: jiff::Timestamp,
    /// Whether to ask on a terminal.
    pub(super) ask: bool,
    /// The names that were typed.
    pub(super) named: &'a [String],
    /// The store that was typed.
    pub(super) store: Option<&'a str>,
}

/// What was looked at, and what is planned for it.
pub(super) struct Seen {
    pub(super) discovered: Discovered,
    pub(super) plan: Plan,
    pub(super) verdicts: Verdicts,
    pub(super) restarts: Option<Looked>,
    check: Option<Check>,
}

impl Seen {
    /// Whether a limit refuses the run.
    fn is_refused(&self) -> bool {
        let of_restarts = self.restarts.as_ref();
        self.plan.refusal.is_some()
            || of_restarts.is_some_and(|looked| looked.plan.refusal.is_some())
    }

    fn writes_anything(&self) -> bool {
        let of_restarts = self.restarts.as_ref();
        !self.plan.steps.is_empty()
            || of_restarts.is_some_and(|looked| looked.plan.writes_anything())
    }
}

/// What was done.
struct Done {
    synced: Results,
    restarted: RestartResults,
}

pub(super) async fn run(session: &Session, args: RunArgs) -> Result<Exit, Refusal> {
    let flags = act_flags(&args.act);
    by_policy(session, args, flags, false).await
}

/// Does what a policy says, or only its restarts.
pub(super) async fn by_policy(
    session: &Session,
    args: RunArgs,
    flags: Flags,
    only_restarts: bool,
) -> Result<Exit, Refusal> {
    session.no_namespace_beside_a_policy(&args.policy.config)?;
    let started = session.world.clock.now();
    let loaded = session.policy_from_files(&args.policy.config, flags, (&args.ceilings).into())?;
    if only_restarts && loaded.policy.restart.is_empty() {
        return Err(Refusal::usage("the policy restarts nothing")
            .hint("add an entry to `restart`, or use `eso-sync sync NAME --restart`"));
    }
    let connected = session.connect(access(&args.act), &loaded.policy).await?;
    let task = Task {
        session,
        connected: &connected,
        cluster: &connected.cluster,
        policy: &loaded.policy,
        digest: Some(&loaded.digest),
        act: &args.act,
        restart: restart_options(&args.act, &args.restart),
        only_restarts,
        tells_chain: false,
        output: args.form.output,
        started,
        ask: !args.act.yes && session.connection.sandbox.is_none() && is_terminal(),
        named: &[],
        store: None,
    };
    Box::pin(task.carry_out()).await
}

/// A dry run only looks.
const fn access(act: &ActArgs) -> Access {
    if act.dry_run {
        Access::ReadOnly
    } else {
        Access::Write
    }
}

pub(super) async fn sync(session: &Session, args: SyncArgs) -> Result<Exit, Refusal> {
    let select = &args.select;
    let says_what = !select.names.is_empty()
        || select.all_namespaces
        || select.selector.is_some()
        || args.all
        || args.failed
        || args.store.is_some();
    if !says_what {
        return Err(Refusal::usage(
            "sync what? Give a NAME, --all, -A, --store, --failed or -l",
        ));
    }
    if args.all && !select.names.is_empty() {
        return Err(Refusal::usage("a NAME and --all exclude each other"));
    }
    let sandbox = session.connection.sandbox.is_some();
    let ask = !args.act.yes && !args.act.dry_run && !sandbox;
    if ask && !is_terminal() {
        return Err(Refusal::usage(
            "there is no terminal to ask on; --yes says that you mean it",
        ));
    }
    let started = session.world.clock.now();
    let flags = sync_flags(&args);
    let entry = |namespace: &str| {
        let mut entry = selection(select, namespace);
        if let Some(text) = &args.store {
            entry.insert("stores".to_owned(), json!([store(text)]));
        }
        if args.failed {
            entry.insert("states".to_owned(), json!(["failed", "never-synced"]));
        }
        entry
    };
    let (loaded, connected) = session.ad_hoc(access(&args.act), entry, flags).await?;
    let task = Task {
        session,
        connected: &connected,
        cluster: &connected.cluster,
        policy: &loaded.policy,
        digest: None,
        act: &args.act,
        restart: restart_options(&args.act, &args.restart_flags),
        only_restarts: false,
        tells_chain: args.restart,
        output: args.form.output,
        started,
        ask,
        named: &args.select.names,
        store: args.store.as_deref(),
    };
    Box::pin(task.carry_out()).await
}

/// What the flags of `sync` say of a policy.
fn sync_flags(args: &SyncArgs) -> Flags {
    let mut flags = act_flags(&args.act);
    flags.insert("sync.generators".to_owned(), json!(args.generators));
    // What is typed is meant, whatever its Secret holds.
    flags.insert("sync.when".to_owned(), json!(When::Always.as_str()));
    flags.insert("drift.enabled".to_owned(), json!(false));
    if let Some(limit) = args.max_syncs {
        flags.insert("safety.maxSyncs".to_owned(), json!(limit));
    }
    if args.restart {
        flags.insert("restart".to_owned(), ad_hoc_rules());
        // The chain begins at the provider. Where that cannot be read, the rest of it is told all the same.
        flags.extend(reading(&args.providers));
        flags.insert("drift.onUnverifiable".to_owned(), json!("report"));
    }
    if let Some(limit) = args.max_restarts {
        flags.insert("safety.maxRestarts".to_owned(), json!(limit));
    }
    flags
}

pub(super) fn act_flags(act: &ActArgs) -> Flags {
    let mut flags = Flags::new();
    if let Some(timeout) = act.timeout {
        flags.insert("sync.timeout".to_owned(), json!(timeout.to_string()));
    }
    flags
}

fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

impl Task<'_> {
    pub(super) async fn carry_out(&self) -> Result<Exit, Refusal> {
        let world = &self.session.world;
        let deadline = Instant::now() + self.policy.deadline;
        let _timer = tokio::spawn(world.stopper.clone().at(deadline));
        let seen = self.look().await?;
        self.names_are_found(&seen.plan)?;
        if self.act.dry_run || seen.is_refused() {
            return self.print_plan(&seen).await;
        }
        self.confirm(&seen).await?;
        if !seen.writes_anything() || !self.policy.lock.enabled {
            return Box::pin(self.act(seen, None)).await;
        }
        let lock = self.session.unless_stopped(self.lock()).await??;
        if !lock.waited {
            return Box::pin(self.act(seen, Some(lock))).await;
        }
        // The other run may have done it all meanwhile.
        match self.look().await {
            Ok(seen) if !seen.is_refused() => Box::pin(self.act(seen, Some(lock))).await,
            Ok(seen) => {
                lock.release(world.clock).await;
                self.print_plan(&seen).await
            }
            Err(refusal) => {
                lock.release(world.clock).await;
                Err(refusal)
            }
        }
    }

    async fn look(&self) -> Result<Seen, Refusal> {
        let discovered = self
            .session
            .unless_stopped(discover(self.cluster, self.policy))
            .await??;
        let (plan, check) = self
            .session
            .planned(self.connected, self.policy, &discovered)
            .await?;
        let verdicts = verdicts(&plan);
        let mut seen = Seen {
            check,
            discovered,
            plan,
            verdicts,
            restarts: None,
        };
        if !self.policy.restart.is_empty() {
            let restarts = self.restarts(&seen);
            let looked = self.session.unless_stopped(restarts.look()).await?;
            let held = restarts.held_back(&looked, &RestartResults::default());
            seen.plan.hold_back(Reason::StampNotWritten, held);
            seen.restarts = Some(looked);
        }
        Ok(seen)
    }

    /// What was named and is not there is a mistake, and no finished rotation.
    fn names_are_found(&self, plan: &Plan) -> Result<(), Refusal> {
        names_are_found(self.named, plan, &self.cluster.namespace)?;
        if let Some(store) = self.store.filter(|_| plan.items.is_empty()) {
            return Err(Refusal::not_found(&format!(
                "no ExternalSecret here reads from the store {store}"
            )));
        }
        Ok(())
    }

    fn heading(&self) -> Heading {
        Heading {
            run: self.session.run(self.cluster, self.digest, self.started),
            requests: self.cluster.requests(),
        }
    }

    /// What would be done, as a document.
    fn planned(&self, seen: &Seen) -> (Document, Exit) {
        let mut exit = exit_of_plan(&seen.plan);
        let restarts = seen.restarts.as_ref().map(|looked| &looked.plan);
        if let Some(plan) = restarts {
            exit = exit.or(exit_of_restart_plan(plan));
        }
        let mut document = Document::of_plan(Kind::Plan, &seen.plan, self.heading(), exit);
        if let Some(plan) = restarts {
            document = document.with_restarts(plan);
        }
        (self.narrowed(document), exit)
    }

    /// Without ExternalSecrets where workloads are all that was asked for.
    fn narrowed(&self, mut document: Document) -> Document {
        if self.only_restarts {
            document.items.clear();
        }
        document
    }

    async fn print_plan(&self, seen: &Seen) -> Result<Exit, Refusal> {
        let (document, exit) = self.planned(seen);
        print_as(self.output, &document, |document| {
            text::render(document, false)
        })?;
        if seen.is_refused() {
            leave_summary(self.session, &report::termination_summary(&document));
            if let Some(pod) = self.pod() {
                announce_on_pod(
                    self.cluster,
                    &pod,
                    &document,
                    self.session.world.clock.now(),
                )
                .await;
            }
        }
        Ok(exit)
    }

    /// Shows the plan on stderr and asks, where somebody can answer.
    async fn confirm(&self, seen: &Seen) -> Result<(), Refusal> {
        let restarts = seen
            .restarts
            .as_ref()
            .map_or(0, |looked| looked.plan.restarts());
        let syncs = seen.plan.syncs();
        if !self.ask || (syncs == 0 && restarts == 0) {
            return Ok(());
        }
        let (document, _) = self.planned(seen);
        let shown = text::render(&document, false);
        let question = match (syncs, restarts) {
            (_, 0) => format!("Sync {syncs} ExternalSecrets?"),
            (0, _) => format!("Restart up to {restarts} workloads?"),
            _ => format!("Sync {syncs} ExternalSecrets, and restart up to {restarts} workloads?"),
        };
        write!(io::stderr(), "{shown}\n{question} [y/N] ").ok();
        // A thread of its own, which nobody waits for: a signal ends the command, whether or not somebody answers.
        let (answered, answer) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut answer = String::new();
            let read = io::stdin().read_line(&mut answer);
            answered.send(read.map(|_| answer)).ok();
        });
        let answer = self.session.unless_stopped(answer).await.inspect_err(|_| {
            writeln!(io::stderr()).ok();
        })?;
        let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Refusal::usage("you did not say yes"))
    }

    async fn lock(&self) -> Result<Lock, LockError> {
        let world = &self.session.world;
        let host = self
            .act
            .pod_name
            .clone()
            .or_else(|| world.environment.get("HOSTNAME").cloned());
        let identity = format!(
            "{}_{}",
            host.unwrap_or_else(|| "eso-sync".to_owned()),
            world.run
        );
        let wait = self.act.wait_lock.0;
        let own = self
            .act
            .lock_namespace
            .as_ref()
            .or(self.act.pod_namespace.as_ref());
        if let Some(namespace) = own {
            return lock::acquire(self.cluster, namespace, &identity, wait, world.clock).await;
        }
        match lock::acquire(
            self.cluster,
            rbac::DEFAULT_NAMESPACE,
            &identity,
            wait,
            world.clock,
        )
        .await
        {
            // Nothing is installed there: runs by hand keep apart from each other in a namespace that always is.
            Err(LockError::Call(error)) if error.trouble == Trouble::NotFound => {
                lock::acquire(self.cluster, "default", &identity, wait, world.clock).await
            }
            other => other,
        }
    }

    async fn act(&self, seen: Seen, lock: Option<Lock>) -> Result<Exit, Refusal> {
        let world = &self.session.world;
        let Some(mut lock) = lock else {
            let (seen, done) = self.work(seen).await;
            return self.report(&seen, &done).await;
        };
        let (seen, done) = {
            let keep = async {
                lock.keep(world.clock).await;
                world.stopper.now(Reason::LockLost);
                std::future::pending::<()>().await;
            };
            let mut work = Box::pin(self.work(seen));
            tokio::select! {
                done = &mut work => done,
                () = keep => work.await,
            }
        };
        if done.synced.stopped != Some(Reason::LockLost)
            && done.restarted.stopped != Some(Reason::LockLost)
        {
            lock.release(world.clock).await;
        }
        self.report(&seen, &done).await
    }

    /// Notes what pods started with, syncs, and restarts what is owed.
    async fn work(&self, mut seen: Seen) -> (Seen, Done) {
        let mut adopted = RestartResults::default();
        let stop = &self.session.world.stop;
        if let Some(looked) = seen.restarts.take() {
            let restarts = self.restarts(&seen);
            let (looked, results) = restarts.adopt(looked, stop).await;
            let held = restarts.held_back(&looked, &results);
            seen.plan.hold_back(Reason::StampNotWritten, held);
            seen.restarts = Some(looked);
            adopted = results;
        }
        let check = seen.check.take();
        let synced = self.sync(&seen, check).await;
        seen.verdicts.extend(verdicts_after(&seen.plan, &synced));
        let mut restarted = match &seen.restarts {
            Some(looked) => self.restart(&seen, looked, &synced).await,
            None => RestartResults::default(),
        };
        restarted.add_earlier(adopted);
        (seen, Done { synced, restarted })
    }

    /// Carries the plan out, and checks what came of it.
    async fn sync(&self, seen: &Seen, check: Option<Check>) -> Results {
        let world = &self.session.world;
        let plan = &seen.plan;
        if plan.steps.is_empty() {
            return Results {
                items: vec![None; plan.items.len()],
                ..Results::default()
            };
        }
        let job = Job {
            plan,
            policy: self.policy,
            cluster: self.cluster,
            api: &seen.discovered.api,
            watch_from: &seen.discovered.watch_from,
            run: &world.run,
            clock: world.clock,
            stop: world.stop.clone(),
        };
        let mut progress = Progress::new(self.session.progress_style(), plan.syncs());
        let done = |index: usize, result: &crate::outcome::ItemResult| {
            if let Some(item) = plan.items.get(index) {
                progress.done(item, result);
            }
        };
        let mut results = carry_out(&job, done).await;
        if let Some(check) = check {
            self.verify(seen, check, &mut results).await;
        }
        results
    }

    /// Checks what was synced anew, unless the run has to end.
    async fn verify(&self, seen: &Seen, mut check: Check, results: &mut Results) {
        let afterwards = Afterwards {
            plan: &seen.plan,
            inventory: &seen.discovered.inventory,
            policy: self.policy,
            cluster: self.cluster,
        };
        let mut stop = self.session.world.stop.clone();
        let level = if results.stopped.is_none() && stop.level() == Level::Run {
            tokio::select! {
                () = afterwards.verify(&mut check, results) => Level::Run,
                level = stop.changed() => level,
            }
        } else {
            stop.level()
        };
        if let Level::Drain(reason) | Level::Now(reason) = level {
            results.stopped.get_or_insert(reason);
        }
    }

    async fn report(&self, seen: &Seen, done: &Done) -> Result<Exit, Refusal> {
        let Done { synced, restarted } = done;
        let plan = &seen.plan;
        let mut exit = exit_of(plan, synced);
        let restarts = seen.restarts.as_ref().map(|looked| &looked.plan);
        if let Some(restarts) = restarts {
            exit = exit.or(exit_of_restarts(restarts, restarted));
        }
        let mut document = Document::of_results(plan, synced, self.heading(), exit);
        if let Some(restarts) = restarts {
            document = document.with_restart_results(restarts, restarted);
        }
        if self.tells_chain {
            exit = exit.or(exit_of_undone(&document.restarts));
            document.run.exit_code = exit.code();
            let inventory = &seen.discovered.inventory;
            document = document.with_chain(inventory, plan, restarted, &seen.verdicts);
        }
        let document = self.narrowed(document);
        // The report last: where nobody reads it, the cluster has been told all the same.
        leave_summary(self.session, &report::termination_summary(&document));
        let now = self.session.world.clock.now();
        let printed = print_as(self.output, &document, |document| {
            text::render(document, false)
        });
        let told = Told {
            plan,
            results: synced,
            restarts: restarts.map(|plan| (plan, restarted)),
            document: &document,
        };
        announce(
            self.cluster,
            &seen.discovered.api,
            self.pod().as_ref(),
            told,
            now,
        )
        .await;
        printed.map(|()| exit)
    }

    fn pod(&self) -> Option<OwnPod> {
        let (namespace, name) = (self.act.pod_namespace.clone()?, self.act.pod_name.clone()?);
        Some(OwnPod { namespace, name })
    }
}

/// Fails for the first name that is no glob and that nothing has.
pub(super) fn names_are_found(
    named: &[String],
    plan: &Plan,
    namespace: &str,
) -> Result<(), Refusal> {
    let is_literal =
        |name: &&String| Pattern::new(name).is_ok_and(|pattern| pattern.literal().is_some());
    let missing = |name: &&String| !plan.items.iter().any(|item| item.id.name == **name);
    match named.iter().filter(is_literal).find(missing) {
        Some(name) => Err(Refusal::not_found(&format!(
            "externalsecrets \"{name}\" not found in namespace {namespace}"
        ))),
        None => Ok(()),
    }
}

/// For `kubectl describe pod`, where there is a kubelet to read it.
pub(super) fn leave_summary(session: &Session, summary: &str) {
    if session.connection.sandbox.is_some() {
        return;
    }
    let file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(TERMINATION_LOG);
    let written = file.and_then(|mut file| file.write_all(summary.as_bytes()));
    if let Err(error) = written
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "no summary for the kubelet");
    }
}
