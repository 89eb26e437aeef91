//! The command line: flags, arguments and their help texts. Parsed by clap, interpreted in `command`.

mod called;

use std::{borrow::Cow, ffi::OsStr, path::PathBuf};

use clap::{
    ArgAction, Args, Parser, Subcommand, ValueEnum,
    builder::{Resettable, TypedValueParser},
    error::ErrorKind,
    parser::ValueSource,
};
use cluster::Address;
use eso_model::duration::GoDuration;
use providers::trust::{InvalidOrigin, Origin};
use secrecy::SecretString;

use crate::{
    advise::Users,
    failure::Failure,
    guide::Subject,
    pattern::Wildcard,
    policy::{Capability, KeyNames, OnStillStale, ceilings::MaxRate},
    publish::from_smc,
    rbac::{ServiceAccountName, provider::Side},
    report::{
        Column, Document, Kind, file::Target, format::Output, metrics::Label, past::Word,
        view::View,
    },
    screen::Color,
    telemetry::LogFormat,
};

/// The policy file if `--config` is not given: the path where the CronJob mounts it.
pub const DEFAULT_CONFIG: &str = "/etc/eso-sync/config.yaml";

/// Force-sync ExternalSecrets after a rotation, and prove that each sync happened.
///
/// Annotates the ExternalSecrets that the policy or the command line selects, at a rate that the providers can handle, and
/// waits until the operator has proven each sync. Data goes to stdout, everything else to stderr.
///
/// Exit codes: 0 done or nothing to do, 1 differences found, 2 invalid usage or policy, 3 some items failed or are unknown,
/// 4 no cluster, credentials or rights, 5 a safety limit, 6 another run holds the lock, 7 deadline or signal.
#[derive(Debug, Parser)]
#[command(
    name = "eso-sync",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    pub logging: LoggingArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// The connection flags of kubectl.
#[derive(Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Path of the kubeconfig file
    #[arg(long, global = true, value_name = "FILE", value_parser = path())]
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Cluster in the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// User in the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Address of the API server
    #[arg(long, short = 's', global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token for the API server
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<SecretString>,
    /// Path of the certificate authority file for the API server
    #[arg(long, global = true, value_name = "FILE", value_parser = path())]
    pub certificate_authority: Option<PathBuf>,
    /// Do not verify the API server's certificate
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// Make the tokens of `aws`, `aws-iam-authenticator`, `gke-gcloud-auth-plugin` and `kubelogin` without these programs, even if
    /// they are installed
    #[arg(long, global = true)]
    pub native_auth: bool,
    /// User to impersonate
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to impersonate (repeatable)
    #[arg(
        long = "as-group",
        global = true,
        value_name = "GROUP",
        value_delimiter = ','
    )]
    pub impersonate_groups: Vec<String>,
    /// Namespace [default: the namespace of the context]
    #[arg(long, short = 'n', global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Use an embedded cluster with the default content, `bad-day`, or the manifests in a directory
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub sandbox: Option<String>,
}

/// Parses a path. As in kubectl, it may be empty, which counts as unset.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    clap::builder::OsStringValueParser::new().map(PathBuf::from)
}

impl std::fmt::Debug for ConnectionArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionArgs").finish_non_exhaustive()
    }
}

/// The logging flags.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct LoggingArgs {
    /// Log more to stderr (repeatable)
    #[arg(long, short = 'v', global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log only errors to stderr
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
    /// Format of the logs on stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub color: Color,
    /// Names of a Secret's keys to show. A policy can show fewer, but not more
    #[arg(long, global = true, value_enum, default_value = "safe")]
    pub key_names: KeyNames,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry out a policy: check for drift, sync, and restart workloads
    Run(RunArgs),
    /// Print what `run` would do, without changing anything
    Plan(PlanArgs),
    /// Compare the target Secrets with the providers, without changing anything
    Drift(DriftArgs),
    /// Force-sync selected ExternalSecrets, without a policy
    Sync(SyncArgs),
    /// Restart workloads that run with old data, by the policy's `restart` rules, without syncing
    #[command(
        mut_arg("columns", |arg| arg.hide(true)),
        mut_arg("sort_by", |arg| arg.hide(true)),
    )]
    Restart(RunArgs),
    /// Receive rotation events from queues, sync what they concern, and acknowledge what is proven
    Events(Box<EventsArgs>),
    /// Publish secrets from repositories to providers, by the policy's section `publish`
    Publish(Box<PublishArgs>),
    /// Show ExternalSecrets and when they last synced
    #[command(visible_alias = "list")]
    Status(StatusArgs),
    /// Show the last runs: which failed, since when an ExternalSecret needs attention, and the trend
    History(HistoryArgs),
    /// Explain why an ExternalSecret is stale or failing, and how to fix it
    Diagnose(DiagnoseArgs),
    /// Explain a word of a report, an exit code, a policy key, a command, a metric or an alert, without a cluster
    Explain {
        /// The word, for example `timed-out`, `exit 3` or `sync.when`
        #[arg(value_name = "WORD", required = true)]
        words: Vec<String>,
    },
    /// Show what a change of a remote key would reach: ExternalSecrets, Secrets and workloads, and what a run would do
    Impact(ImpactArgs),
    /// Say which refresh intervals are too long or too short: cost, age of values, quotas, and the interval that balances them
    Advise(AdviseArgs),
    /// Write a policy for what the cluster has, with comments
    Init(InitArgs),
    /// Explain how to give the job the least access at a provider, with the names of this cluster
    Guide(GuideArgs),
    /// Validate a policy
    Validate(ValidateArgs),
    /// Print the JSON Schema of policies or of reports
    Schema(SchemaArgs),
    /// Print the Roles and ClusterRoles that a policy needs, or the permissions needed at a provider
    Rbac(RbacArgs),
    /// Print a shell completion script
    Completion {
        /// Shell to print the script for
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

impl Command {
    /// The name of the command.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Plan(_) => "plan",
            Self::Drift(_) => "drift",
            Self::Sync(_) => "sync",
            Self::Restart(_) => "restart",
            Self::Events(_) => "events",
            Self::Publish(args) => match args.command {
                None => "publish",
                Some(PublishCommand::List(_)) => "publish-list",
                Some(PublishCommand::Status(_)) => "publish-status",
            },
            Self::Status(_) => "status",
            Self::History(_) => "history",
            Self::Diagnose(_) => "diagnose",
            Self::Explain { .. } => "explain",
            Self::Impact(_) => "impact",
            Self::Advise(_) => "advise",
            Self::Init(_) => "init",
            Self::Guide(_) => "guide",
            Self::Validate(_) => "validate",
            Self::Schema(_) => "schema",
            Self::Rbac(_) => "rbac",
            Self::Completion { .. } => "completion",
            Self::Man => "man",
        }
    }

    /// True if the command carries out a policy. A job that only looks needs no folder for the files of a policy.
    pub const fn carries_out(&self) -> bool {
        match self {
            Self::Run(_) | Self::Restart(_) | Self::Events(_) => true,
            Self::Publish(args) => args.command.is_none(),
            Self::Plan(_)
            | Self::Drift(_)
            | Self::Sync(_)
            | Self::Status(_)
            | Self::History(_)
            | Self::Diagnose(_)
            | Self::Explain { .. }
            | Self::Impact(_)
            | Self::Advise(_)
            | Self::Init(_)
            | Self::Guide(_)
            | Self::Validate(_)
            | Self::Schema(_)
            | Self::Rbac(_)
            | Self::Completion { .. }
            | Self::Man => false,
        }
    }

    /// True if people want to hear about its end: it changes something, or looks for drift. Who asks for a plan reads it.
    pub fn notifies(&self) -> bool {
        let is_dry_run = if let Self::Run(args) | Self::Restart(args) = self {
            args.act.dry_run
        } else if let Self::Events(args) = self {
            args.act.dry_run
        } else if let Self::Sync(args) = self {
            args.act.dry_run
        } else {
            matches!(self, Self::Publish(args) if args.dry_run)
        };
        let is_meant = self.carries_out() || matches!(self, Self::Sync(_) | Self::Drift(_));
        is_meant && !is_dry_run
    }

    /// The report files, and the format of `-o` if one was chosen. None for a command that does not report.
    pub fn reports(&self) -> Option<(&FileArgs, Option<Output>)> {
        Some(match self {
            Self::Run(args) | Self::Restart(args) => args.form.parts(),
            Self::Plan(args) => args.form.parts(),
            Self::Drift(args) => args.form.parts(),
            Self::Sync(args) => args.form.parts(),
            Self::Publish(args) => match &args.command {
                None => args.what.form.parts(),
                Some(PublishCommand::List(what)) => what.form.parts(),
                Some(PublishCommand::Status(args)) => args.what.form.parts(),
            },
            // Only the presence of a format matters here.
            // The table of --watch needs stdout, too.
            Self::Status(args) => {
                let uses_stdout = args.output.is_some() || args.watch;
                (&args.files, uses_stdout.then_some(Output::Table))
            }
            Self::History(args) => args.form.parts(),
            Self::Diagnose(args) => args.form.parts(),
            Self::Events(args) => args.form.parts(),
            Self::Impact(args) => (&args.files, args.output.map(|_| Output::Table)),
            Self::Advise(args) => (&args.files, args.output),
            Self::Init(_)
            | Self::Guide(_)
            | Self::Validate(_)
            | Self::Schema(_)
            | Self::Rbac(_)
            | Self::Explain { .. }
            | Self::Completion { .. }
            | Self::Man => return None,
        })
    }
}

/// The flags of every command that reads a policy.
#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    /// Policy file (repeatable; later files override earlier ones) [default: /etc/eso-sync/config.yaml]
    #[arg(long, short = 'c', value_name = "FILE", value_delimiter = ',')]
    pub config: Vec<PathBuf>,
    #[command(flatten)]
    pub ceilings: CeilingArgs,
}

/// Upper limits for what a policy may do. They are set by flags and environment variables only, never by a policy. Each flag
/// names its heading, because the heading of a flattened struct also applies to the flags after it.
#[derive(Clone, Debug, Args)]
pub struct CeilingArgs {
    /// Allow only these actions and values, and refuse a policy that uses others [default: all]
    #[arg(long, value_enum, value_delimiter = ',', help_heading = CEILINGS)]
    pub allow: Option<Vec<Capability>>,
    /// Endpoint that a policy may list in `drift.endpoints` (repeatable) [default: all, with --allow none]
    #[arg(long = "allow-endpoint", value_name = "URL", value_delimiter = ',', value_parser = EndpointParser, help_heading = CEILINGS)]
    pub allow_endpoints: Vec<Origin>,
    /// Highest `safety.maxSyncs` that a policy may set [default: any, with --allow the key's default]
    #[arg(long, value_name = "N", help_heading = CEILINGS)]
    pub max_syncs: Option<u32>,
    /// Highest `safety.maxRestarts` that a policy may set [default: any, with --allow the key's default]
    #[arg(long, value_name = "N", help_heading = CEILINGS)]
    pub max_restarts: Option<u32>,
    /// Highest rate that a policy may set in `pace`, for a provider, `default`, `api-server` or `restarts` (repeatable)
    /// [default: any, with --allow the key's default]
    #[arg(long = "max-rate", value_name = "NAME=RATE", value_delimiter = ',', help_heading = CEILINGS)]
    pub max_rates: Vec<MaxRate>,
    /// Place that a policy may publish to, as `publish list` shows it; `*` matches any text (repeatable) [default: all, with
    /// --allow none]
    #[arg(long = "allow-target", value_name = "GLOB", value_delimiter = ',', help_heading = CEILINGS)]
    pub allow_targets: Vec<Wildcard>,
    /// Repository that a policy may publish from, as `publish list` shows it; `*` matches any text (repeatable) [default: all,
    /// with --allow none]
    #[arg(long = "allow-source", value_name = "GLOB", value_delimiter = ',', help_heading = CEILINGS)]
    pub allow_sources: Vec<Wildcard>,
    /// Queue that a policy may receive events from, by its URL or the name of the subscription; `*` matches any text (repeatable)
    /// [default: all, with --allow none]
    #[arg(long = "allow-queue", value_name = "GLOB", value_delimiter = ',', help_heading = CEILINGS)]
    pub allow_queues: Vec<Wildcard>,
    /// Address that a policy may send messages to, by scheme, host and port; `*` matches any text (repeatable) [default: all, with
    /// --allow none]
    #[arg(long = "allow-notify", value_name = "GLOB", value_delimiter = ',', help_heading = CEILINGS)]
    pub allow_notify: Vec<Wildcard>,
}

const CEILINGS: &str = "Ceilings";

/// Parses an endpoint. clap's own error would quote a password in it.
#[derive(Clone)]
struct EndpointParser;

impl TypedValueParser for EndpointParser {
    type Value = Origin;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Origin, clap::Error> {
        let text = value.to_string_lossy();
        text.parse().map_err(|error: InvalidOrigin| {
            let (shown, hint) = (Address::new(&*text), InvalidOrigin::HINT);
            let message = format!("--allow-endpoint: `{shown}` {error}; {hint}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// The flags for restarts.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Restarts")]
pub struct RestartFlags {
    /// Also restart workloads that are unhealthy, cooling down or restarted too often, and continue after a restarted workload
    /// stays unhealthy
    #[arg(long)]
    pub retry: bool,
    /// Create missing or unreadable stamps again
    #[arg(long)]
    pub adopt_anew: bool,
}

/// The flags of commands that change something.
#[derive(Clone, Debug, Args)]
pub struct ActArgs {
    /// Print the plan without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Timeout for one ExternalSecret, not counting the time in the operator's queue
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<GoDuration>,
    /// How long to wait if another run holds the lock
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub wait_lock: GoDuration,
    /// Namespace of the lock, the stamp key and the history, in which only administrators can write [default: the Pod's namespace]
    #[arg(long, value_name = "NAME")]
    pub lock_namespace: Option<String>,
    /// Name of the job's own Pod, which gets an Event at the end of the run
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod_name: Option<String>,
    /// Namespace of the job's own Pod
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod_namespace: Option<String>,
}

/// The flags that find the lock and the stamp key.
#[derive(Clone, Debug, Args)]
pub struct LockNamespaceArgs {
    /// Namespace of the lock, the stamp key and the history, in which only administrators can write [default: the Pod's namespace]
    #[arg(long, value_name = "NAME")]
    pub lock_namespace: Option<String>,
    /// Namespace of the job's own Pod
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod_namespace: Option<String>,
}

/// `run`, and `restart`, which only restarts workloads.
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Output format of the report [default: table]")))]
pub struct RunArgs {
    /// Only these ExternalSecrets of the policy's selection; globs are allowed. -n narrows it to a namespace
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub act: ActArgs,
    #[command(flatten)]
    pub restart: RestartFlags,
    #[command(flatten)]
    pub providers: ProviderArgs,
    #[command(flatten)]
    pub table: TableArgs,
}

/// `events`
#[derive(Debug, Args)]
#[command(
    mut_arg("output", |arg| arg.help("Output format of the report")),
    mut_arg("dry_run", |arg| arg.help("Receive and change nothing. Show the state of the queues, or with --from the plan")),
)]
pub struct EventsArgs {
    #[command(flatten)]
    pub form: FormArgs,
    /// Read events from a file with one JSON document on each line, instead of from the queues; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Keep listening for this time. The lock is held only while events are handled [default: `events.listen`]
    #[arg(long, value_name = "DURATION", conflicts_with = "from")]
    pub listen: Option<GoDuration>,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub act: ActArgs,
    #[command(flatten)]
    pub restart: RestartFlags,
}

/// The flags that select ExternalSecrets without a policy.
#[derive(Clone, Debug, Args)]
pub struct SelectArgs {
    /// Names of ExternalSecrets; globs are allowed
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Select in all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// Label selector, as in `kubectl get -l`
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,
}

/// The flags for a table of ExternalSecrets.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Table")]
pub struct TableArgs {
    /// Columns of the table, for example `namespace,name,age` (repeatable). An unknown name lists all columns
    #[arg(
        long,
        value_name = "COLUMN",
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub columns: Vec<Column>,
    /// Column to sort by. Within equal values, the order is by namespace and name
    #[arg(
        long,
        value_name = "COLUMN",
        value_enum,
        ignore_case = true,
        hide_possible_values = true
    )]
    pub sort_by: Option<Column>,
}

/// `plan`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Output format of the plan [default: table]")))]
pub struct PlanArgs {
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub home: LockNamespaceArgs,
    #[command(flatten)]
    pub providers: ProviderArgs,
    /// Exit with code 1 if the plan contains changes, like `kubectl diff` (terraform uses 2)
    #[arg(long)]
    pub exit_code: bool,
    #[command(flatten)]
    pub table: TableArgs,
}

/// `drift`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Output format of the findings [default: table]")))]
pub struct DriftArgs {
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub providers: ProviderArgs,
    #[command(flatten)]
    pub table: TableArgs,
}

/// `diagnose`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Output format of the diagnosis [default: table]")))]
pub struct DiagnoseArgs {
    /// Name of the ExternalSecret
    #[arg(value_name = "NAME", required_unless_present = "sandbox")]
    pub name: Option<String>,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub home: LockNamespaceArgs,
    #[command(flatten)]
    pub providers: ProviderArgs,
}

/// `history`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Output format of the history [default: table]")))]
pub struct HistoryArgs {
    /// ExternalSecret or workload: NAME or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub home: LockNamespaceArgs,
}

/// The flags for reading providers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Providers")]
pub struct ProviderArgs {
    /// Read providers with your own credentials (ambient) or with the credentials of each store (store)
    #[arg(
        long,
        value_name = "SOURCE",
        value_parser = ["ambient", "store"]
    )]
    pub credentials: Option<String>,
    /// Additional endpoint that may receive your own credentials, for example `https://vault.corp:8200` (repeatable)
    #[arg(long = "endpoint", value_name = "URL", value_delimiter = ',')]
    pub endpoints: Vec<String>,
    /// Also use your own credentials for namespaced SecretStores
    #[arg(long)]
    pub namespaced_stores: bool,
}

/// `sync`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Output format of the report [default: table]")))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct SyncArgs {
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Select all ExternalSecrets in the namespace
    #[arg(long)]
    pub all: bool,
    /// Select by store: NAME, ClusterSecretStore/NAME or SecretStore/NAMESPACE/NAME
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Select ExternalSecrets whose last sync failed, or that never synced
    #[arg(long)]
    pub failed: bool,
    /// Also sync ExternalSecrets with generators, which creates new credentials
    #[arg(long)]
    pub generators: bool,
    /// Also restart the workloads that use the Secrets, unless they are known to run with the current data, and report each link
    /// up to the pods
    #[arg(long = "restart")]
    pub restart: bool,
    /// Compare each Secret with its provider after the sync. If it is still stale: only report it, remove the operator's hash from
    /// it, or delete it if that does not help
    #[arg(long, value_enum, value_name = "REMEDY")]
    pub on_still_stale: Option<OnStillStale>,
    #[command(flatten)]
    pub act: ActArgs,
    #[command(flatten)]
    pub restart_flags: RestartFlags,
    #[command(flatten)]
    pub providers: ProviderArgs,
    /// Allow only these actions and values, and refuse a command that uses others [default: all]
    #[arg(long, value_enum, value_delimiter = ',', help_heading = CEILINGS)]
    pub allow: Option<Vec<Capability>>,
    /// Refuse to sync more than this number of ExternalSecrets
    #[arg(long, value_name = "N", help_heading = "Ceilings")]
    pub max_syncs: Option<u32>,
    /// Refuse to restart more than this number of workloads
    #[arg(long, value_name = "N", help_heading = "Ceilings")]
    pub max_restarts: Option<u32>,
    #[command(flatten)]
    pub table: TableArgs,
}

impl SyncArgs {
    /// True if the arguments say what to sync.
    pub const fn selects(&self) -> bool {
        let select = &self.select;
        !select.names.is_empty()
            || select.all_namespaces
            || select.selector.is_some()
            || self.all
            || self.failed
            || self.store.is_some()
    }
}

/// `publish`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PublishArgs {
    #[command(flatten)]
    pub what: PublishWhat,
    /// Print the plan without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: exit with code 1 if something would be written
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Do not ask for confirmation
    #[arg(long, short = 'y')]
    pub yes: bool,
    #[command(subcommand)]
    pub command: Option<PublishCommand>,
}

/// The commands of `publish` that change nothing.
#[derive(Debug, Subcommand)]
pub enum PublishCommand {
    /// Show the items of the policy, without reading anything
    List(PublishWhat),
    /// Compare the repositories with the providers, without changing anything
    Status(PublishStatusArgs),
}

/// `publish status`
#[derive(Debug, Args)]
pub struct PublishStatusArgs {
    #[command(flatten)]
    pub what: PublishWhat,
    /// Read and compare all values, even if their marks say that they are unchanged
    #[arg(long)]
    pub verify: bool,
}

/// The flags of all `publish` commands.
#[derive(Debug, Args)]
pub struct PublishWhat {
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub ceilings: PublishCeilingArgs,
    /// Publish what SecretManagerConfig manifests of the Secret Manager Controller say; `-` is stdin (repeatable). The equivalent
    /// policy is shown on stderr
    #[arg(long, value_name = "FILE", value_parser = path(), help_heading = SMC)]
    pub from_smc: Vec<PathBuf>,
    /// With --from-smc: print the equivalent policy on stdout instead of publishing
    #[arg(long, requires = "from_smc", help_heading = SMC)]
    pub print_policy: bool,
    /// With --from-smc: the name of this publisher, which is written to each secret
    #[arg(long, value_name = "NAME", requires = "from_smc", default_value = from_smc::OWNER, help_heading = SMC)]
    pub owner: String,
    /// With --from-smc: age identities and armoured PGP private keys: `secret:NAME`, `file:PATH` or `env:NAME` (repeatable)
    #[arg(long, value_name = "KEY", requires = "from_smc", default_value = from_smc::SOPS_KEY, help_heading = SMC)]
    pub sops_key: Vec<String>,
    /// Build kustomizations with this program, `kustomize` or `kubectl`, instead of the built-in subset. It gets no network and no plugins
    #[arg(long, value_name = "PATH", value_parser = path(), help_heading = CEILINGS)]
    pub kustomize_program: Option<PathBuf>,
    /// Decrypt SOPS files with this program, `sops`, instead of the built-in reader. It gets the private keys of the item, and no network
    #[arg(long, value_name = "PATH", value_parser = path(), help_heading = CEILINGS)]
    pub sops_program: Option<PathBuf>,
    /// Only this item (repeatable)
    #[arg(long, value_name = "ITEM", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Namespace of the Secrets that contain keys, and of the Lease and the stamp key of a run that follows [default: the Pod's
    /// namespace]
    #[arg(long, value_name = "NAME")]
    pub lock_namespace: Option<String>,
    /// Name of the job's own Pod, which gets a summary Event
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod_name: Option<String>,
    /// Namespace of the job's own Pod
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod_namespace: Option<String>,
}

const SMC: &str = "Manifests of the Secret Manager Controller";

/// Upper limits for what a policy may publish.
#[derive(Clone, Debug, Args)]
pub struct PublishCeilingArgs {
    /// Refuse to write more than this number of secrets
    #[arg(long, value_name = "N", help_heading = CEILINGS, default_value = "500")]
    pub max_writes: u32,
    /// Refuse to delete more than this number of secrets
    #[arg(long, value_name = "N", help_heading = CEILINGS, default_value = "5")]
    pub max_prunes: u32,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub home: LockNamespaceArgs,
    /// Output format [default: table]
    #[arg(
        long,
        short = 'o',
        value_enum,
        env = "ESO_SYNC_STATUS_OUTPUT",
        hide_env_values = true
    )]
    pub output: Option<StatusOutput>,
    /// Keep watching until Ctrl-C: on a terminal the table is updated, otherwise what changed is printed
    #[arg(long, short = 'w')]
    pub watch: bool,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub table: TableArgs,
}

/// `impact`
#[derive(Debug, Args)]
pub struct ImpactArgs {
    /// Remote keys: names, ARNs, `https://VAULT.vault.azure.net/secrets/NAME`, `projects/PROJECT/secrets/NAME`, or paths in a Vault
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// Only ExternalSecrets that write this Secret
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub secret: Option<String>,
    /// Only what is read from this store: NAME, KIND/NAME or SecretStore/NAMESPACE/NAME
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub home: LockNamespaceArgs,
    /// Output format [default: table]
    #[arg(
        long,
        short = 'o',
        value_enum,
        env = "ESO_SYNC_IMPACT_OUTPUT",
        hide_env_values = true
    )]
    pub output: Option<ImpactOutput>,
    #[command(flatten)]
    pub files: FileArgs,
}

/// `advise`
#[derive(Debug, Args)]
pub struct AdviseArgs {
    /// Output format of the advice [default: table]
    #[arg(long, short = 'o', value_enum)]
    pub output: Option<Output>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Print the suggested intervals as patches for kustomize instead
    #[arg(long)]
    pub patch: bool,
    /// Also ask the providers when they rotate the secrets. Reads metadata, never a value. `two-users` says that the old value stays
    /// valid until the next rotation
    #[arg(
        long,
        value_name = "USERS",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "one-user"
    )]
    pub rotation: Option<Users>,
    #[command(flatten)]
    pub providers: ProviderArgs,
}

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Write the policy to this new folder, with its rights and a CronJob to install with `kubectl apply -k`
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `guide`
#[derive(Debug, Args)]
pub struct GuideArgs {
    /// Where the job needs access
    #[arg(value_name = "PROVIDER", value_enum)]
    pub subject: Subject,
    /// ServiceAccount of the job, in --namespace [default: eso-sync]
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// Do not ask the cluster; print placeholders
    #[arg(long)]
    pub offline: bool,
}

/// The output formats of `impact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImpactOutput {
    /// Tables
    Table,
    /// Tables with all columns, in full
    Wide,
    /// Tree from the keys to the workloads
    Tree,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Graph for Graphviz
    Dot,
    /// Graph for Mermaid
    Mermaid,
}

/// `validate`
#[derive(Debug, Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// `schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// What the schema describes
    #[arg(long = "for", value_enum, default_value = "policy")]
    pub of: SchemaOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// Policy files
    Policy,
    /// Documents of `run`, `restart`, `sync`, `plan`, `drift` and `status`
    Report,
    /// Documents of `publish`
    Publish,
    /// Documents of `impact`
    Impact,
    /// Documents of `advise`
    Advice,
    /// Documents of `events`
    Events,
    /// Documents of `history`
    History,
    /// Documents of `diagnose`
    Diagnosis,
    /// What `--report` writes if the command fails before it has anything else to report
    Failure,
}

/// `rbac`
#[derive(Debug, Args)]
pub struct RbacArgs {
    /// Without a policy, the rights of the ad hoc commands are printed.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Print the rights of `publish` instead, for an identity of its own. With --for: the permissions for writing this provider
    #[arg(long)]
    pub publish: bool,
    /// ServiceAccount that gets the rights, in --namespace [default: eso-sync, with --publish eso-sync-publish]
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// Namespace with the credentials of a ClusterSecretStore (repeatable)
    #[arg(long = "credentials-in", value_name = "NAMESPACE")]
    pub credentials_in: Vec<String>,
    /// ServiceAccount that a store uses; limits the right to create tokens to these (repeatable)
    #[arg(long = "token-for", value_name = "NAMESPACE/NAME")]
    pub token_for: Vec<ServiceAccountName>,
    /// Print the permissions for reading this provider instead; with --config, those on queues are for the policy's own
    #[arg(long = "for", value_name = "PROVIDER", value_enum)]
    pub side: Option<Side>,
    /// Output format [default: yaml]
    #[arg(long = "output", short = 'o', value_enum, conflicts_with = "side")]
    pub rights_form: Option<RightsForm>,
}

/// The form of rights in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RightsForm {
    /// Roles and their bindings, for `kubectl apply`
    Yaml,
    /// Values of the Helm chart, for its job `sync`, `events` or `publish`
    HelmValues,
}

/// The output format. Each command sets its own help text for the flag.
#[derive(Clone, Debug, Args)]
pub struct FormArgs {
    /// Output format [default: table]
    #[arg(long, short = 'o', value_enum)]
    pub output: Option<Output>,
    #[command(flatten)]
    pub files: FileArgs,
}

impl TableArgs {
    /// Fails if a column is asked for that this kind of document has no values for.
    pub fn check(&self, kind: Kind) -> Result<(), Failure> {
        let (columns, sort_by) = (self.columns.iter(), self.sort_by.iter());
        let asked = columns.map(|column| ("--columns", column));
        let mut asked = asked.chain(sort_by.map(|column| ("--sort-by", column)));
        let Some((flag, column)) = asked.find(|(_, column)| !column.is_in(kind)) else {
            return Ok(());
        };
        let name = |column: &Column| {
            let value = column.to_possible_value();
            value.map(|value| value.get_name().to_owned())
        };
        let columns = Column::value_variants().iter();
        let known = columns.filter(|column| column.is_in(kind));
        let known: Vec<String> = known.filter_map(name).collect();
        let failure = Failure::usage(format!(
            "{flag}: this command has no values for the column `{}`",
            name(column).unwrap_or_default()
        ));
        Err(failure.hint(format!("its columns are {}", known.join(", "))))
    }

    /// Sorts the document, if that was asked for.
    pub fn sort(&self, document: &mut Document) {
        if let Some(column) = self.sort_by {
            document.sort_by(column);
        }
    }

    /// The document in the order that was asked for. It is copied only to be sorted.
    pub fn sorted<'d>(&self, document: &'d Document) -> Cow<'d, Document> {
        let mut sorted = Cow::Borrowed(document);
        if self.sort_by.is_some() {
            self.sort(sorted.to_mut());
        }
        sorted
    }

    /// [`TableArgs::check`] for a command that changes something, or only plans it.
    pub fn check_run(&self, is_dry_run: bool) -> Result<(), Failure> {
        self.check(if is_dry_run { Kind::Plan } else { Kind::Report })
    }

    /// The view with the columns that were asked for.
    pub fn view(&self, view: &View) -> View {
        View {
            columns: self.columns.clone(),
            ..view.clone()
        }
    }
}

impl FormArgs {
    const fn parts(&self) -> (&FileArgs, Option<Output>) {
        (&self.files, self.output)
    }
}

/// The report files of every command that reports.
#[derive(Clone, Debug, Args)]
pub struct FileArgs {
    /// Also write the report to this file, at every exit; `-` is stdout (repeatable). The formats are json, yaml, csv, junit,
    /// markdown, sarif and html
    #[arg(long = "report", value_name = "FORMAT=FILE", value_delimiter = ',')]
    pub reports: Vec<Target>,
    /// Folder for the report files that the policy names in `report.files`
    #[arg(long, value_name = "DIR")]
    pub report_dir: Option<PathBuf>,
    /// Name of this job in the history that `report.history` keeps. `history` shows only its runs
    #[arg(long, value_name = "NAME")]
    pub job: Option<Word>,
    #[command(flatten)]
    pub monitoring: MonitoringArgs,
}

const MONITORING: &str = "Monitoring";

/// Who is told about the run. Set by flags and environment variables only: whoever may edit a policy must not choose addresses.
#[derive(Clone, Debug, Args)]
pub struct MonitoringArgs {
    /// Write metrics to this file at every exit, in the text format of Prometheus
    #[arg(long, value_name = "FILE", help_heading = MONITORING)]
    pub metrics_file: Option<PathBuf>,
    /// Add this label to all metrics, besides command=COMMAND (repeatable)
    #[arg(long = "metrics-label", value_name = "NAME=VALUE", value_delimiter = ',', help_heading = MONITORING)]
    pub metrics_labels: Vec<Label>,
    /// Push metrics to the Pushgateway at this address
    #[arg(long, value_name = "URL", help_heading = MONITORING)]
    pub pushgateway: Option<SecretString>,
    /// Tell this address that the command starts (URL/start) and its exit code (URL/CODE), as healthchecks.io expects it
    #[arg(long, value_name = "URL", help_heading = MONITORING)]
    pub ping_url: Option<SecretString>,
    /// File that holds the address for --ping-url
    #[arg(long, value_name = "FILE", conflicts_with = "ping_url", help_heading = MONITORING)]
    pub ping_url_file: Option<PathBuf>,
}

/// The output formats of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusOutput {
    /// Table
    Table,
    /// Table with more columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Names only
    Name,
}

/// Flags without an environment variable, because they select what a single call does.
const SELECTING: [&str; 29] = [
    "all",
    "all_namespaces",
    "columns",
    "credentials_in",
    "dir",
    "failed",
    "from",
    "from_smc",
    "generators",
    "listen",
    "of",
    "offline",
    "on_still_stale",
    "only",
    "owner",
    "patch",
    "print_policy",
    "publish",
    "restart",
    "rights_form",
    "rotation",
    "secret",
    "selector",
    "side",
    "sops_key",
    "sort_by",
    "store",
    "token_for",
    "watch",
];

/// Returns the command line definition, with an environment variable for each flag: `ESO_SYNC_MAX_SYNCS` sets `--max-syncs`.
pub fn command() -> clap::Command {
    use clap::CommandFactory as _;
    with_variables(Cli::command())
}

/// Parses the command line. Exits the process if the command line is invalid or asks for help.
pub fn parse() -> Cli {
    use clap::FromArgMatches as _;
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let mut command = without_variables(command(), is_empty);
    if by_kubectl() {
        command = command.bin_name("kubectl eso-sync");
    }
    let matches = command.get_matches_mut();
    if let Err(message) = without_effect(&matches) {
        command
            .error(ErrorKind::MissingRequiredArgument, message)
            .exit();
    }
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Fails if `advise` has a provider flag without `--rotation`, which alone reads providers. Their variables may be set for other
/// commands.
fn without_effect(matches: &clap::ArgMatches) -> Result<(), String> {
    let Some(("advise", advise)) = matches.subcommand() else {
        return Ok(());
    };
    let given = |id: &str| advise.value_source(id) == Some(ValueSource::CommandLine);
    let flags = [
        ("credentials", "--credentials"),
        ("endpoints", "--endpoint"),
        ("namespaced_stores", "--namespaced-stores"),
    ];
    match flags.into_iter().find(|(id, _)| given(id)) {
        Some((_, flag)) if !given("rotation") => {
            Err(format!("{flag} has an effect with --rotation only"))
        }
        Some(_) | None => Ok(()),
    }
}

/// True if `kubectl` called the program.
pub fn by_kubectl() -> bool {
    std::env::args_os()
        .next()
        .is_some_and(|name| is_plugin(&name))
}

/// True if `kubectl` calls a program of this name: a plugin is a program whose name starts with `kubectl-`, with `_` for `-` in the command.
fn is_plugin(name: &OsStr) -> bool {
    let file = std::path::Path::new(name).file_stem();
    file.is_some_and(|file| file == "kubectl-eso_sync")
}

/// Removes the environment variables that are empty from all flags. A variable that is set but empty counts as unset.
fn without_variables(command: clap::Command, is_empty: fn(&OsStr) -> bool) -> clap::Command {
    command
        .mut_args(|flag| match flag.get_env() {
            Some(name) if is_empty(name) => flag.env(Resettable::Reset),
            _ => flag,
        })
        .mut_subcommands(|command| without_variables(command, is_empty))
}

fn with_variables(command: clap::Command) -> clap::Command {
    command.mut_args(variable).mut_subcommands(with_variables)
}

fn variable(flag: clap::Arg) -> clap::Arg {
    let name = flag
        .get_long()
        .filter(|_| !SELECTING.contains(&flag.get_id().as_str()))
        .map(|long| format!("ESO_SYNC_{}", long.replace('-', "_").to_uppercase()));
    match name {
        Some(name) if flag.get_env().is_none() => flag.env(name).hide_env_values(true),
        _ => flag,
    }
}

/// Returns the environment variables that set flags. They are not keys of a policy.
pub fn flag_variables() -> Vec<String> {
    let command = command();
    let mut commands = vec![&command];
    let mut names = Vec::new();
    while let Some(command) = commands.pop() {
        names.extend(
            command
                .get_arguments()
                .filter_map(clap::Arg::get_env)
                .map(|name| name.to_string_lossy().into_owned()),
        );
        commands.extend(command.get_subcommands());
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
    }

    /// Users' manifests contain these variables. A renamed flag must keep its variable, or the CHANGELOG must mention it.
    #[test]
    fn flag_variables_do_not_change() {
        insta::assert_snapshot!(flag_variables().join("\n"));
    }

    fn variables(command: &clap::Command) -> usize {
        let own = command
            .get_arguments()
            .filter_map(clap::Arg::get_env)
            .count();
        own + command.get_subcommands().map(variables).sum::<usize>()
    }

    #[test]
    fn empty_variable_of_any_flag_counts_as_unset() {
        assert!(variables(&command()) > 50);
        assert_eq!(variables(&without_variables(command(), |_| true)), 0);
        let unchanged = without_variables(command(), |_| false);
        assert_eq!(variables(&unchanged), variables(&command()));
    }

    #[test]
    fn selecting_flags_have_no_variable() {
        let command = command();
        let all = || {
            command
                .get_subcommands()
                .chain([&command])
                .flat_map(clap::Command::get_arguments)
        };
        for id in SELECTING {
            let mut flags = all().filter(|flag| flag.get_id() == id).peekable();
            assert!(flags.peek().is_some(), "{id} is not a flag");
            assert!(flags.all(|flag| flag.get_env().is_none()), "{id}");
        }
    }
}
