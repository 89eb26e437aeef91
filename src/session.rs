//! What all commands share: what comes from outside, and the connection.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::Arc,
};

use cluster::{
    Access, Cluster,
    connect::{self, Options},
};
use pace::Clock;
use providers::reader::{Rates, ReaderInput, StandIn};
use sandbox::{self, Sandbox};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    cli::{ConnectionArgs, LoggingArgs},
    discover::Discovered,
    drift::check::Check,
    exit::Exit,
    failure::Failure,
    policy::{Pace, Policy},
    progress::Style,
    report::Run,
    sandbox_access,
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

impl World {
    /// From this long on the run starts nothing new.
    pub fn end_in(&self, deadline: std::time::Duration) -> JoinHandle<()> {
        let at = Instant::now() + deadline;
        tokio::spawn(self.stopper.clone().at(at))
    }
}

/// What all commands share.
pub struct Session {
    /// Where to connect.
    pub connection: ConnectionArgs,
    /// How to tell of progress.
    pub logging: LoggingArgs,
    /// What comes from outside.
    pub world: World,
}

/// A connection, and the embedded cluster that it may lead to.
pub struct Connected {
    /// The connection.
    pub cluster: Cluster,
    /// Served for as long as this lives.
    sandbox: Option<Arc<Sandbox>>,
}

impl Connected {
    /// A drift check of these stores, over this connection but unable to change anything; in an embedded cluster it reads the
    /// providers that are embedded too.
    pub fn check(
        &self,
        session: &Session,
        policy: &Policy,
        discovered: &mut Discovered,
    ) -> Result<Check, Failure> {
        let stand_in = self.sandbox.clone().map(|sandbox| -> StandIn {
            Arc::new(move |store| sandbox_access::connect(&sandbox, store))
        });
        let known = ReaderInput {
            cluster: self.cluster.clone(),
            stores: std::mem::take(&mut discovered.sources),
            labels: discovered.labels.take(),
            rules: policy.drift.rules(),
            environment: session.world.environment.clone(),
            rates: rates(&policy.pace),
        };
        Check::new(known, policy.literal_namespaces(), stand_in)
            .map_err(|error| Failure::new(Exit::NoAccess, &error))
    }
}

impl Session {
    /// Connects, and says on stderr where to.
    pub async fn connect(&self, access: Access, policy: &Policy) -> Result<Connected, Failure> {
        let rate = policy.pace.kubernetes;
        if let Some(content) = &self.connection.sandbox {
            let content = content
                .parse()
                .map_err(|error| Failure::new(Exit::Invalid, &error))?;
            let sandbox = sandbox::start(&content, self.world.clock.now())
                .await
                .map_err(|error| Failure::new(Exit::Invalid, &error))?;
            let url = sandbox
                .url()
                .parse()
                .map_err(|error| Failure::new(Exit::NoAccess, &error))?;
            let mut cluster = connect::connect_plain(url, access, rate)?;
            if let Some(namespace) = &self.connection.namespace {
                cluster.namespace.clone_from(namespace);
            }
            self.say("using an embedded cluster; no real cluster is changed");
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

    /// A line on stderr.
    pub fn say(&self, line: &str) {
        match self.progress_style() {
            Style::Silent => {}
            Style::Logs => tracing::info!(target: "eso_sync::progress", "{line}"),
            Style::Terminal | Style::Lines => {
                writeln!(io::stderr(), "{line}").ok();
            }
        }
    }

    /// How progress is shown.
    pub fn progress_style(&self) -> Style {
        Style::detect(
            self.logging.quiet,
            self.logging.log_format == LogFormat::Json,
        )
    }

    /// The run as it stands in a document.
    pub fn run(
        &self,
        cluster: &Cluster,
        policy_digest: Option<&str>,
        started: jiff::Timestamp,
    ) -> Run {
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

/// The rates at which providers are read.
pub fn rates(pace: &Pace) -> Rates {
    Rates {
        default: pace.default,
        providers: pace.providers.clone(),
        stores: pace.stores.clone(),
    }
}
