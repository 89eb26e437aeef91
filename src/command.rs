//! The commands: what was typed becomes a policy, a connection and a flow of calls to the other modules.

mod act;
mod diagnose;
mod look;
mod offline;
mod policy;
mod restart;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::Arc,
};

use cluster::{
    Access, Cluster, Trouble,
    connect::{self, ConnectError, Options},
};
use pace::Clock;
use providers::reader::StandIn;
use sandbox::{self, Sandbox};
use serde::Serialize;

use crate::{
    cli::{Cli, Command, ConnectionArgs, LoggingArgs, Output},
    discover::{DiscoverError, Discovered},
    drift::check::Check,
    exit::Exit,
    lock::LockError,
    policy::Policy,
    progress::Style,
    report::{API_VERSION, Run},
    sandbox_access,
    settings::Invalid,
    stop::{Level, Stop, Stopper},
    telemetry::LogFormat,
};

/// What comes from outside, read once by `main`.
#[derive(Debug)]
pub struct World {
    /// The time.
    pub clock: Clock,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Asks the run to end.
    pub stopper: Stopper,
    /// Learns of it.
    pub stop: Stop,
    /// Unique to this run: a time and something random.
    pub run: String,
}

/// Why a command ended before it changed anything.
#[derive(Debug)]
struct Refusal {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Refusal {
    fn new(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self {
            exit,
            message,
            hint: None,
        }
    }

    fn not_found(message: &str) -> Self {
        Self {
            exit: Exit::Failed,
            message: format!("{message}; nothing was changed"),
            hint: None,
        }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Invalid,
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A signal or the deadline came first.
    fn stopped(level: Level) -> Self {
        let why = match level {
            Level::Drain(reason) | Level::Now(reason) => reason.as_str(),
            Level::Run => String::new(),
        };
        Self {
            exit: Exit::Stopped,
            message: format!("stopped ({why}) before anything was started"),
            hint: None,
        }
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self {
            exit: Exit::Invalid,
            message: format!("the policy is invalid\n{invalid}"),
            hint: None,
        }
    }
}

impl From<ConnectError> for Refusal {
    fn from(error: ConnectError) -> Self {
        let exit = if matches!(error, ConnectError::Address(_)) {
            Exit::Invalid
        } else {
            Exit::NoAccess
        };
        Self::new(exit, &error)
    }
}

impl From<DiscoverError> for Refusal {
    fn from(error: DiscoverError) -> Self {
        let refusal = Self::new(Exit::NoAccess, &error);
        match &error {
            DiscoverError::Call(error) if error.trouble == Trouble::Denied => {
                refusal.hint("`eso-sync rbac` prints the rights that are needed")
            }
            DiscoverError::Call(_)
            | DiscoverError::NotInstalled
            | DiscoverError::UnknownVersion(_) => refusal,
        }
    }
}

impl From<LockError> for Refusal {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Held { .. } => Self::new(Exit::Locked, &error),
            LockError::Call(_) => Self::new(Exit::NoAccess, &error)
                .hint("`eso-sync rbac` prints the rights that are needed; lock.enabled: false does without"),
        }
    }
}

/// Does what was typed.
pub async fn execute(cli: Cli, world: World) -> Exit {
    let session = Session {
        connection: cli.connection,
        logging: cli.logging,
        world,
    };
    let acts = matches!(
        cli.command,
        Command::Run(_) | Command::Sync(_) | Command::Restart(_)
    );
    let outcome = match cli.command {
        Command::Run(args) => Box::pin(act::run(&session, args)).await,
        Command::Sync(args) => Box::pin(act::sync(&session, args)).await,
        Command::Restart(args) => Box::pin(restart::restart(&session, args)).await,
        Command::Plan(args) => look::plan(&session, args).await,
        Command::Drift(args) => look::drift(&session, args).await,
        Command::Diagnose(args) => diagnose::diagnose(&session, args).await,
        Command::Status(args) => look::status(&session, args).await,
        Command::Validate(args) => offline::validate(&session, &args),
        Command::Schema(args) => offline::schema(args.of),
        Command::Rbac(args) => offline::rbac(&session, &args),
        Command::Completion { shell } => offline::completion(shell),
        Command::Man => offline::man(),
    };
    outcome.unwrap_or_else(|refusal| {
        complain(&refusal);
        if acts {
            let summary =
                serde_json::json!({"exitCode": refusal.exit.code(), "error": refusal.message});
            act::leave_summary(
                &session,
                &summary.to_string().chars().take(1000).collect::<String>(),
            );
        }
        refusal.exit
    })
}

fn complain(refusal: &Refusal) {
    let Refusal {
        exit,
        message,
        hint,
    } = refusal;
    // Only a report that could not be printed comes after something was done.
    let nothing = if *exit == Exit::Failed {
        ""
    } else {
        "nothing was changed: "
    };
    // A closed stderr is no reason to fail in another way.
    writeln!(io::stderr(), "error: {nothing}{message}").ok();
    if let Some(hint) = hint {
        writeln!(io::stderr(), "\nhint: {hint}").ok();
    }
}

/// What all commands share.
struct Session {
    connection: ConnectionArgs,
    logging: LoggingArgs,
    world: World,
}

/// A connection, and the embedded cluster that it may lead to.
struct Connected {
    cluster: Cluster,
    /// Served for as long as this lives.
    sandbox: Option<Arc<Sandbox>>,
}

impl Connected {
    /// A drift check over this connection; in an embedded cluster it reads the providers that are embedded too.
    fn check(
        &self,
        session: &Session,
        policy: &Policy,
        discovered: &Discovered,
    ) -> Result<Check, Refusal> {
        let stand_in = self.sandbox.clone().map(|sandbox| -> StandIn {
            Arc::new(move |store| sandbox_access::connect(&sandbox, store))
        });
        let environment = session.world.environment.clone();
        Check::new(&self.cluster, policy, discovered, environment, stand_in)
            .map_err(|error| Refusal::new(Exit::NoAccess, &error))
    }
}

impl Session {
    /// Connects, and says on stderr where to.
    async fn connect(&self, access: Access, policy: &Policy) -> Result<Connected, Refusal> {
        let rate = policy.pace.kubernetes;
        if let Some(content) = &self.connection.sandbox {
            let content = content
                .parse()
                .map_err(|error| Refusal::new(Exit::Invalid, &error))?;
            let sandbox = sandbox::start(&content, self.world.clock.now())
                .await
                .map_err(|error| Refusal::new(Exit::Invalid, &error))?;
            let url = sandbox
                .url()
                .parse()
                .map_err(|error| Refusal::new(Exit::NoAccess, &error))?;
            let mut cluster = connect::connect_plain(url, access, rate)?;
            if let Some(namespace) = &self.connection.namespace {
                cluster.namespace.clone_from(namespace);
            }
            self.say("an embedded cluster: nothing real is touched");
            return Ok(Connected {
                cluster,
                sandbox: Some(Arc::new(sandbox)),
            });
        }
        let cluster = connect::connect(&self.options(), access, rate).await?;
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
            server: args.server,
            token: args.token,
            certificate_authority: args.certificate_authority,
            insecure_skip_tls_verify: args.insecure_skip_tls_verify,
            impersonate: args.impersonate,
            impersonate_groups: args.impersonate_groups,
            namespace: args.namespace,
        }
    }

    /// Waits for something, unless the run has to end first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Refusal> {
        let mut stop = self.world.stop.clone();
        if stop.level() != Level::Run {
            return Err(Refusal::stopped(stop.level()));
        }
        tokio::select! {
            value = work => Ok(value),
            level = stop.changed() => Err(Refusal::stopped(level)),
        }
    }

    /// A line on stderr.
    fn say(&self, line: &str) {
        match self.progress_style() {
            Style::Silent => {}
            Style::Logs => tracing::info!(target: "eso_sync::progress", "{line}"),
            Style::Terminal | Style::Lines => {
                writeln!(io::stderr(), "{line}").ok();
            }
        }
    }

    fn progress_style(&self) -> Style {
        Style::detect(
            self.logging.quiet,
            self.logging.log_format == LogFormat::Json,
        )
    }

    /// The run as it stands in a document.
    fn run(&self, cluster: &Cluster, policy_digest: Option<&str>, started: jiff::Timestamp) -> Run {
        Run {
            id: self.world.run.clone(),
            version: env!("CARGO_PKG_VERSION"),
            context: cluster.context.clone(),
            server: cluster.server.clone(),
            policy_digest: policy_digest.map(str::to_owned),
            started,
            finished: self.world.clock.now(),
            complete: true,
            exit_code: 0,
        }
    }
}

/// Prints data on stdout. A reader that has gone away wants no more of it.
fn print(text: &str) -> Result<(), Refusal> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Refusal {
            exit: Exit::Failed,
            message: format!("stdout cannot be written: {error}"),
            hint: None,
        }),
        _ => Ok(()),
    }
}

/// A document in the form that was asked for; `text` is made only for people.
fn print_as<T: Serialize>(
    output: Output,
    document: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Refusal> {
    let rendered = match output {
        Output::Table => text(document),
        Output::Json => serde_json::to_string_pretty(document)
            .map(|json| json + "\n")
            .map_err(|error| unprintable(&error.to_string()))?,
        Output::Yaml => {
            serde_saphyr::to_string(document).map_err(|error| unprintable(&error.to_string()))?
        }
    };
    print(&rendered)
}

fn unprintable(why: &str) -> Refusal {
    Refusal {
        exit: Exit::Failed,
        message: format!("the {API_VERSION} document cannot be printed: {why}"),
        hint: None,
    }
}
