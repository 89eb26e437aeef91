//! Commands that change something: plan, ask, lock, sync, report.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::json;
use tokio::time::Instant;

use super::{
    Connected, Refusal, Session,
    policy::{Flags, selection, store},
    print_as,
};
use crate::{
    announce::{OwnPod, announce, announce_on_pod},
    cli::{ActArgs, Output, RunArgs, SyncArgs},
    cluster::{Access, Cluster, Trouble},
    discover::{Discovered, discover},
    drift::{afterwards::Afterwards, check::Check},
    exit::Exit,
    lock::{self, Lock, LockError},
    outcome::Results,
    pattern::Pattern,
    plan::Plan,
    policy::Policy,
    progress::Progress,
    rbac,
    reason::Reason,
    report::{self, Document, Heading, Kind, exit_of, exit_of_plan, text},
    stop::Level,
    sync::{Job, carry_out},
};

/// Where the kubelet reads a summary from.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What to do, over which connection.
struct Task<'a> {
    session: &'a Session,
    connected: &'a Connected,
    cluster: &'a Cluster,
    policy: &'a Policy,
    digest: Option<&'a str>,
    act: &'a ActArgs,
    output: Output,
    started: jiff::Timestamp,
    /// Whether to ask on a terminal.
    ask: bool,
    /// The names that were typed.
    named: &'a [String],
    /// The store that was typed.
    store: Option<&'a str>,
}

/// What was seen, and what follows from it.
struct Looked {
    discovered: Discovered,
    plan: Plan,
    check: Option<Check>,
}

pub(super) async fn run(session: &Session, args: RunArgs) -> Result<Exit, Refusal> {
    session.no_namespace_beside_a_policy(&args.policy.config)?;
    let started = session.world.clock.now();
    let loaded = session.policy_from_files(
        &args.policy.config,
        act_flags(&args.act),
        (&args.ceilings).into(),
    )?;
    let access = if args.act.dry_run {
        Access::ReadOnly
    } else {
        Access::Write
    };
    let connected = session.connect(access, &loaded.policy).await?;
    let task = Task {
        session,
        connected: &connected,
        cluster: &connected.cluster,
        policy: &loaded.policy,
        digest: Some(&loaded.digest),
        act: &args.act,
        output: args.output,
        started,
        ask: !args.act.yes && session.connection.sandbox.is_none() && is_terminal(),
        named: &[],
        store: None,
    };
    task.carry_out().await
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
    let access = if args.act.dry_run {
        Access::ReadOnly
    } else {
        Access::Write
    };
    let (loaded, connected) = session.ad_hoc(access, entry, flags).await?;
    let task = Task {
        session,
        connected: &connected,
        cluster: &connected.cluster,
        policy: &loaded.policy,
        digest: None,
        act: &args.act,
        output: args.output,
        started,
        ask,
        named: &args.select.names,
        store: args.store.as_deref(),
    };
    task.carry_out().await
}

fn sync_flags(args: &SyncArgs) -> Flags {
    let mut flags = act_flags(&args.act);
    flags.insert("sync.generators".to_owned(), json!(args.generators));
    // What is typed is meant, whatever its Secret holds.
    flags.insert("drift.enabled".to_owned(), json!(false));
    if let Some(limit) = args.max_syncs {
        flags.insert("safety.maxSyncs".to_owned(), json!(limit));
    }
    flags
}

fn act_flags(act: &ActArgs) -> Flags {
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
    async fn carry_out(&self) -> Result<Exit, Refusal> {
        let world = &self.session.world;
        let deadline = Instant::now() + self.policy.deadline;
        let _timer = tokio::spawn(world.stopper.clone().at(deadline));
        let Looked {
            discovered,
            plan,
            check,
        } = self.look().await?;
        self.names_are_found(&plan)?;
        if self.act.dry_run || plan.refusal.is_some() {
            return self.print_plan(&plan).await;
        }
        self.confirm(&plan).await?;
        if plan.steps.is_empty() || !self.policy.lock.enabled {
            return self.act(&discovered, &plan, check, None).await;
        }
        let lock = self.session.unless_stopped(self.lock()).await??;
        if !lock.waited {
            return self.act(&discovered, &plan, check, Some(lock)).await;
        }
        // The other run may have done it all meanwhile.
        let looked = match self.look().await {
            Ok(looked) if looked.plan.refusal.is_none() => looked,
            Ok(looked) => {
                lock.release(world.clock).await;
                return self.print_plan(&looked.plan).await;
            }
            Err(refusal) => {
                lock.release(world.clock).await;
                return Err(refusal);
            }
        };
        self.act(&looked.discovered, &looked.plan, looked.check, Some(lock))
            .await
    }

    async fn look(&self) -> Result<Looked, Refusal> {
        let discovered = self
            .session
            .unless_stopped(discover(self.cluster, self.policy))
            .await??;
        let (plan, check) = self
            .session
            .planned(self.connected, self.policy, &discovered)
            .await?;
        Ok(Looked {
            discovered,
            plan,
            check,
        })
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

    async fn print_plan(&self, plan: &Plan) -> Result<Exit, Refusal> {
        let exit = exit_of_plan(plan);
        let document = Document::of_plan(Kind::Plan, plan, self.heading(), exit);
        print_as(self.output, &document, |document| {
            text::render(document, false)
        })?;
        if plan.refusal.is_some() {
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
    async fn confirm(&self, plan: &Plan) -> Result<(), Refusal> {
        if !self.ask || plan.steps.is_empty() {
            return Ok(());
        }
        let document = Document::of_plan(Kind::Plan, plan, self.heading(), exit_of_plan(plan));
        let shown = text::render(&document, false);
        write!(
            io::stderr(),
            "{shown}\nSync {} ExternalSecrets? [y/N] ",
            plan.syncs()
        )
        .ok();
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

    async fn act(
        &self,
        discovered: &Discovered,
        plan: &Plan,
        check: Option<Check>,
        lock: Option<Lock>,
    ) -> Result<Exit, Refusal> {
        let world = &self.session.world;
        let results = match lock {
            _ if plan.steps.is_empty() => Results {
                items: vec![None; plan.items.len()],
                ..Results::default()
            },
            None => self.sync(discovered, plan, check).await,
            Some(mut lock) => {
                let results = {
                    let keep = async {
                        lock.keep(world.clock).await;
                        world.stopper.now(Reason::LockLost);
                        std::future::pending::<()>().await;
                    };
                    tokio::select! {
                        results = self.sync(discovered, plan, check) => results,
                        () = keep => Results::default(),
                    }
                };
                if results.stopped != Some(Reason::LockLost) {
                    lock.release(world.clock).await;
                }
                results
            }
        };
        self.report(discovered, plan, &results).await
    }

    /// Carries the plan out, and checks what came of it.
    async fn sync(&self, discovered: &Discovered, plan: &Plan, check: Option<Check>) -> Results {
        let world = &self.session.world;
        let job = Job {
            plan,
            policy: self.policy,
            cluster: self.cluster,
            api: &discovered.api,
            watch_from: &discovered.watch_from,
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
        let Some(mut check) = check else {
            return results;
        };
        let afterwards = Afterwards {
            plan,
            inventory: &discovered.inventory,
            policy: self.policy,
            cluster: self.cluster,
        };
        let mut stop = world.stop.clone();
        let level = if results.stopped.is_none() && stop.level() == Level::Run {
            tokio::select! {
                () = afterwards.verify(&mut check, &mut results) => Level::Run,
                level = stop.changed() => level,
            }
        } else {
            stop.level()
        };
        if let Level::Drain(reason) | Level::Now(reason) = level {
            results.stopped.get_or_insert(reason);
        }
        results
    }

    async fn report(
        &self,
        discovered: &Discovered,
        plan: &Plan,
        results: &Results,
    ) -> Result<Exit, Refusal> {
        let exit = exit_of(plan, results);
        let document = Document::of_results(plan, results, self.heading(), exit);
        // The report last: where nobody reads it, the cluster has been told all the same.
        leave_summary(self.session, &report::termination_summary(&document));
        let now = self.session.world.clock.now();
        let printed = print_as(self.output, &document, |document| {
            text::render(document, false)
        });
        announce(
            self.cluster,
            &discovered.api,
            self.pod().as_ref(),
            plan,
            results,
            &document,
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
