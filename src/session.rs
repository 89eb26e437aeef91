//! The state that all commands share: the process's inputs, and the connection to the cluster.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    sync::Arc,
};

use cluster::{
    Access, Address, Cluster,
    connect::{self, Options},
    native::Native,
};
use pace::Clock;
use providers::reader::{Rates, Reader, ReaderInput, StandIn};
use sandbox::{self, Sandbox};
use tokio::time::Instant;

use crate::{
    cli::{ConnectionArgs, LoggingArgs},
    discover::Discovered,
    drift::check::Check,
    exit::Exit,
    failure::Failure,
    output::write_termination_message,
    policy::{Pace, Policy},
    progress::{Reading, Stderr, lists},
    reason::Reason,
    record::Record,
    report::{Run, view::View},
    sandbox_access,
    screen::Screen,
    stop::{Level, Stop, Stopper},
    trace::{Phase, Timed},
};

/// The inputs of the process, read once by `main`.
#[derive(Debug)]
pub struct World {
    pub clock: Clock,
    /// The environment variables.
    pub environment: BTreeMap<String, String>,
    /// Requests the end of the run.
    pub stopper: Stopper,
    /// Receives that request.
    pub stop: Stop,
    /// What the run has done so far.
    pub record: Record,
    /// The unique ID of this run: a time and a random number.
    pub run: String,
    /// Where progress is shown.
    pub stderr: Stderr,
}

impl World {
    /// The time at which the drift check ends: it gets half of the time until the deadline, so that one slow store cannot take the
    /// time that the syncs of all others need.
    pub fn check_ends(&self) -> Option<Instant> {
        let now = Instant::now();
        let deadline = self.stop.deadline()?;
        Some(now + deadline.saturating_duration_since(now) / 2)
    }

    /// The ID of this part of the run, with which its annotations start: an annotation with the same value would be no change.
    pub fn part(&self) -> String {
        match self.record.parts() {
            0 => self.run.clone(),
            part => format!("{}-{part}", self.run),
        }
    }

    /// Starts the deadline, after which the run starts nothing new.
    pub fn end_in(&self, deadline: std::time::Duration) {
        let at = Instant::now() + deadline;
        self.stopper.set_deadline(at);
        tokio::spawn(self.stopper.clone().at(at));
    }
}

/// The connection and logging flags, and the process's inputs.
pub struct Session {
    pub connection: ConnectionArgs,
    pub logging: LoggingArgs,
    pub world: World,
}

/// A connection to a cluster, which may be the embedded one.
pub struct Connected {
    pub cluster: Cluster,
    /// The embedded cluster, which runs while this value exists.
    sandbox: Option<Arc<Sandbox>>,
}

impl Connected {
    /// Keeps the embedded cluster running, if it is used.
    pub fn running(&self) -> Option<Arc<Sandbox>> {
        self.sandbox.clone()
    }

    /// The embedded cluster, if it is used.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_deref()
    }

    /// Returns a read-only drift check of these stores. In an embedded cluster, it reads the embedded providers.
    pub fn check(
        &self,
        session: &Session,
        policy: &Policy,
        discovered: &mut Discovered,
    ) -> Result<Check, Failure> {
        let input = self.reader_input(session, policy, discovered);
        let check = Check::new(input, policy, self.stand_in())
            .map_err(|error| Failure::new(Exit::NoAccess, &error))?;
        let reading = Reading::new(session.world.stderr.clone());
        let check = check.ending(session.world.stop.deadline());
        Ok(check.reporting(Arc::new(move |progress| reading.show(&progress))))
    }

    /// Returns a reader of these stores. In an embedded cluster, it reads the embedded providers.
    pub fn reader(
        &self,
        session: &Session,
        policy: &Policy,
        discovered: &mut Discovered,
    ) -> Reader {
        let input = self.reader_input(session, policy, discovered);
        let reader = Reader::new(ReaderInput {
            cluster: input.cluster.read_only(),
            ..input
        });
        reader
            .through(self.stand_in())
            .ending(session.world.stop.deadline())
    }

    fn reader_input(
        &self,
        session: &Session,
        policy: &Policy,
        discovered: &mut Discovered,
    ) -> ReaderInput {
        ReaderInput {
            cluster: self.cluster.clone(),
            stores: std::mem::take(&mut discovered.sources),
            labels: discovered.labels.take(),
            rules: policy.drift.rules(),
            environment: session.world.environment.clone(),
            rates: rates(&policy.pace),
        }
    }

    /// The providers of the embedded cluster, if it is used.
    fn stand_in(&self) -> Option<StandIn> {
        let sandbox = self.sandbox.clone()?;
        Some(Arc::new(move |store| {
            sandbox_access::connect(&sandbox, store)
        }))
    }
}

impl Session {
    /// Begins a phase, for a trace. It ends when the result is dropped.
    pub fn phase(&self, phase: Phase) -> Timed {
        let trace = self.world.record.files().trace();
        trace.phase(phase, self.world.clock)
    }

    /// Does this work as a phase.
    pub async fn in_phase<T>(&self, phase: Phase, work: impl Future<Output = T>) -> T {
        let _timed = self.phase(phase);
        work.await
    }

    /// Connects, and shows the server on stderr.
    pub async fn connect(&self, access: Access, policy: &Policy) -> Result<Connected, Failure> {
        if matches!(access, Access::Write) {
            // The deadline of a run includes the time to connect.
            self.world.end_in(policy.deadline);
        }
        let rate = policy.pace.kubernetes;
        if let Some(content) = &self.connection.sandbox {
            let content = content
                .parse()
                .map_err(|error| Failure::new(Exit::Invalid, &error))?;
            let sandbox = sandbox::start(&content, self.world.clock.now())
                .await
                .map_err(|error| Failure::new(Exit::Invalid, &error))?;
            let mut cluster = connect::connect_plain(&sandbox.url(), access, rate)?;
            if let Some(namespace) = &self.connection.namespace {
                cluster.namespace.clone_from(namespace);
            }
            let cluster = cluster.showing_lists(lists(self.world.stderr.clone()));
            self.say("using an embedded cluster; no real cluster is changed");
            return Ok(Connected {
                cluster,
                sandbox: Some(Arc::new(sandbox)),
            });
        }
        let options = self.options();
        let connecting = connect::connect(&options, access, rate);
        // A credential plugin may hang.
        let connecting = tokio::time::timeout(policy.deadline, connecting);
        let connected = self.unless_stopped(connecting).await?;
        let too_late = |_| Failure::stopped(Level::Drain(Reason::Deadline));
        let cluster = connected.map_err(too_late)??;
        let cluster = cluster.showing_lists(lists(self.world.stderr.clone()));
        let context = cluster
            .context
            .as_ref()
            .map(|context| format!("context {context}, "));
        self.say(&format!(
            "{}server {}",
            context.unwrap_or_default(),
            cluster.server
        ));
        Ok(Connected {
            cluster,
            sandbox: None,
        })
    }

    fn options(&self) -> Options {
        let args = self.connection.clone();
        Options {
            kubeconfig: args.kubeconfig,
            context: args.context,
            cluster: args.cluster,
            user: args.user,
            server: args.server.map(Address::new),
            token: args.token,
            certificate_authority: args.certificate_authority,
            insecure_skip_tls_verify: args.insecure_skip_tls_verify,
            impersonate: args.impersonate,
            impersonate_groups: args.impersonate_groups,
            namespace: args.namespace,
            environment: self.world.environment.clone(),
            clock: self.world.clock,
            stdin_is_terminal: io::stdin().is_terminal(),
            native: Some(self.native(args.native_auth)),
        }
    }

    /// Makes the tokens of credential plugins that are not installed, as in the image.
    fn native(&self, always: bool) -> Native {
        let stderr = self.world.stderr.clone();
        Native {
            find: providers::plugin::find,
            known: providers::plugin::KNOWN,
            always,
            say: Arc::new(move |line| stderr.say(line)),
        }
    }

    /// Does this work. Fails if the run must end first.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut stop = self.world.stop.clone();
        if stop.level() != Level::Run {
            return Err(Failure::stopped(stop.level()));
        }
        tokio::select! {
            value = work => Ok(value),
            level = stop.changed() => Err(Failure::stopped(level)),
        }
    }

    /// Shows what would be done on stderr and asks for confirmation. Without a terminal nobody can answer, so it fails.
    pub async fn confirm(&self, shown: &str, question: &str) -> Result<(), Failure> {
        if !can_ask() {
            writeln!(io::stderr(), "{shown}").ok();
            return Err(Failure::usage(format!(
                "there is no terminal to ask on: \u{201c}{question}\u{201d}"
            ))
            .hint(
                "`--yes` does it without a question; `--dry-run` only shows what would be changed",
            ));
        }
        write!(io::stderr(), "{shown}\n{question} [y/N] ").ok();
        // A detached thread reads the answer, so that a signal can end the command before there is one.
        let (answered, answer) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut answer = String::new();
            let read = io::stdin().read_line(&mut answer);
            answered.send(read.map(|_| answer)).ok();
        });
        let answer = self.unless_stopped(answer).await.inspect_err(|_| {
            writeln!(io::stderr()).ok();
        })?;
        let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::usage("aborted"))
    }

    /// How a plan is shown on stderr before a question.
    pub fn asking(&self) -> View {
        let screen = Screen::of_stderr(self.logging.color, &self.world.environment);
        View::of(None, screen)
    }

    /// Writes the container's termination message. The embedded cluster is used by people, and not in a container.
    pub fn write_termination_message(&self, summary: &str) {
        if self.connection.sandbox.is_none() {
            write_termination_message(summary);
        }
    }

    /// Writes a line of progress to stderr.
    pub fn say(&self, line: &str) {
        self.world.stderr.say(line);
    }

    /// The description of the run for a document; without a cluster, it names none.
    pub fn run(
        &self,
        cluster: Option<&Cluster>,
        policy_digest: Option<&str>,
        started: jiff::Timestamp,
    ) -> Run {
        Run {
            id: self.world.run.clone(),
            version: env!("CARGO_PKG_VERSION"),
            context: cluster.and_then(|cluster| cluster.context.clone()),
            server: cluster.map_or_else(String::new, |cluster| cluster.server.to_string()),
            policy_digest: policy_digest.map(str::to_owned),
            started,
            finished: self.world.clock.now(),
            complete: true,
            exit_code: 0,
            report_url: self.world.record.files().url(),
        }
    }
}

/// True if the user can be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The rates at which providers are read.
pub fn rates(pace: &Pace) -> Rates {
    Rates {
        default: pace.default,
        providers: pace.providers.clone(),
        stores: pace.stores.clone(),
    }
}
