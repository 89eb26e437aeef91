//! The command line: what was typed, and nothing but that.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use eso_model::duration::GoDuration;
use secrecy::SecretString;

use crate::{
    policy::Capability,
    rbac::provider::Side,
    telemetry::{Color, LogFormat},
};

/// Where a policy is looked for if none is named: where the CronJob mounts it.
pub const DEFAULT_CONFIG: &str = "/etc/eso-sync/config.yaml";

/// Force-sync ExternalSecrets after a rotation, and prove that each sync happened.
///
/// Annotates the ExternalSecrets that a policy (or the command line) selects, at a pace that no provider suffers from, and
/// waits for the operator's proof of each. Data goes to stdout, everything else to stderr.
///
/// Exit codes: 0 done, 1 differences found, 2 usage or policy invalid, 3 some items failed, 4 no cluster or not enough
/// rights, 5 a safety limit, 6 another run holds the lock, 7 stopped by deadline or signal.
#[derive(Debug, Parser)]
#[command(
    name = "eso-sync",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// How to log.
    #[command(flatten)]
    pub logging: LoggingArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// kubectl's connection flags.
#[derive(Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Path of the kubeconfig
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Address of the API server
    #[arg(long, short = 's', global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token for the API server
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<SecretString>,
    /// Path of the API server's certificate authority
    #[arg(long, global = true, value_name = "FILE")]
    pub certificate_authority: Option<PathBuf>,
    /// Do not check the API server's certificate
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// User to impersonate
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to impersonate (repeatable)
    #[arg(
        long = "as-group",
        global = true,
        value_name = "GROUP",
        requires = "impersonate",
        value_delimiter = ','
    )]
    pub impersonate_groups: Vec<String>,
    /// Namespace; default: that of the context
    #[arg(long, short = 'n', global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Use an embedded cluster: the default one, `bad-day`, or the manifests in a folder
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

impl std::fmt::Debug for ConnectionArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionArgs").finish_non_exhaustive()
    }
}

/// How to log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct LoggingArgs {
    /// Say more on stderr (repeatable)
    #[arg(long, short = 'v', global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say only what went wrong on stderr
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
    /// Form of the logs on stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub color: Color,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do the whole job that a policy describes
    Run(RunArgs),
    /// Print what `run` would do, changing nothing
    Plan(PlanArgs),
    /// Compare what the providers hold with what the Secrets hold, changing nothing
    Drift(DriftArgs),
    /// Force-sync single ExternalSecrets, without a policy
    Sync(SyncArgs),
    /// Restart only what runs on old data, as the policy's `restart` says; nothing is synced
    Restart(RunArgs),
    /// Show ExternalSecrets and when they last synced
    Status(StatusArgs),
    /// Say why one ExternalSecret is stale or failing, and what to do
    Diagnose(DiagnoseArgs),
    /// Check a policy
    Validate(ValidateArgs),
    /// Print a JSON Schema
    Schema(SchemaArgs),
    /// Print the Roles and ClusterRoles that a policy needs, or the rights at a provider
    Rbac(RbacArgs),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Which policy.
#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    /// Policy file (repeatable; later ones win) [default: /etc/eso-sync/config.yaml]
    #[arg(long, short = 'c', value_name = "FILE", value_delimiter = ',')]
    pub config: Vec<PathBuf>,
}

/// The most that a policy may ask for. Only flags and variables say so, never a policy.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Ceilings")]
pub struct CeilingArgs {
    /// Refuse a policy that does anything else [default: everything]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub allow: Option<Vec<Capability>>,
    /// Refuse a policy that may sync more than this
    #[arg(long, value_name = "N")]
    pub max_syncs: Option<u32>,
    /// Refuse a policy that may restart more than this
    #[arg(long, value_name = "N")]
    pub max_restarts: Option<u32>,
}

/// How to restart.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Restarts")]
pub struct RestartFlags {
    /// Restart also what is not healthy, cools down or was restarted too often, and go on although something that was restarted is
    /// not healthy
    #[arg(long)]
    pub retry: bool,
    /// Note anew what pods started with where that note vanished or cannot be read
    #[arg(long)]
    pub adopt_anew: bool,
}

/// How to act.
#[derive(Clone, Debug, Args)]
pub struct ActArgs {
    /// Print the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// How long one ExternalSecret may take, not counting the operator's queue
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<GoDuration>,
    /// How long to wait for another run that holds the lock
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub wait_lock: GoDuration,
    /// Namespace of the lock's Lease [default: that of the own Pod, else eso-sync, else default]
    #[arg(long, value_name = "NAME")]
    pub lock_namespace: Option<String>,
    /// Name of the own Pod, which gets an Event at the end
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod_name: Option<String>,
    /// Namespace of the own Pod
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod_namespace: Option<String>,
}

/// Where the job keeps what it owns.
#[derive(Clone, Debug, Args)]
pub struct HomeArgs {
    /// Namespace of what the job owns: the lock, the key of stamps [default: that of the own Pod, else eso-sync, else default]
    #[arg(long, value_name = "NAME")]
    pub lock_namespace: Option<String>,
    /// Namespace of the own Pod
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod_namespace: Option<String>,
}

/// `run`, and `restart`, which leaves out all but the restarts.
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Form of the report")))]
pub struct RunArgs {
    /// In which form.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which policy.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// How to act.
    #[command(flatten)]
    pub act: ActArgs,
    /// How to restart.
    #[command(flatten)]
    pub restart: RestartFlags,
    /// The most that may be asked for.
    #[command(flatten)]
    pub ceilings: CeilingArgs,
}

/// Which ExternalSecrets, without a policy.
#[derive(Clone, Debug, Args)]
pub struct SelectArgs {
    /// Names of ExternalSecrets (globs work)
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// With these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,
}

/// `plan`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Form of the plan")))]
pub struct PlanArgs {
    /// In which form.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which policy.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Or which ExternalSecrets.
    #[command(flatten)]
    pub select: SelectArgs,
    /// The most that may be asked for.
    #[command(flatten)]
    pub ceilings: CeilingArgs,
    /// Where what the job owns is kept.
    #[command(flatten)]
    pub home: HomeArgs,
    /// Exit with 1 if anything would be done, as `kubectl diff` does (terraform uses 2)
    #[arg(long)]
    pub exit_code: bool,
}

/// `drift`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Form of the findings")))]
pub struct DriftArgs {
    /// In which form.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which policy.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Or which ExternalSecrets.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Whose credentials.
    #[command(flatten)]
    pub providers: ProviderArgs,
}

/// `diagnose`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Form of the diagnosis")))]
pub struct DiagnoseArgs {
    /// Name of the ExternalSecret
    #[arg(value_name = "NAME")]
    pub name: String,
    /// In which form.
    #[command(flatten)]
    pub form: FormArgs,
    /// Whose credentials.
    #[command(flatten)]
    pub providers: ProviderArgs,
}

/// How providers are read.
#[derive(Clone, Debug, Args)]
pub struct ProviderArgs {
    /// Read providers with your own credentials (ambient) or with those that the stores name (store)
    #[arg(
        long,
        value_name = "WHOSE",
        value_parser = ["ambient", "store"]
    )]
    pub credentials: Option<String>,
    /// Where your own credentials may go beyond the clouds' own hosts, such as `https://vault.corp:8200` (repeatable)
    #[arg(long = "endpoint", value_name = "URL", value_delimiter = ',')]
    pub endpoints: Vec<String>,
    /// Let your own credentials read for namespaced SecretStores too
    #[arg(long)]
    pub namespaced_stores: bool,
}

/// `sync`
#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| arg.help("Form of the report")))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct SyncArgs {
    /// In which form.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which ExternalSecrets.
    #[command(flatten)]
    pub select: SelectArgs,
    /// All in the namespace
    #[arg(long)]
    pub all: bool,
    /// Those that read from this store: NAME, ClusterSecretStore/NAME or SecretStore/NAMESPACE/NAME
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Those whose last sync failed, or that never synced
    #[arg(long)]
    pub failed: bool,
    /// Generators too, which makes new credentials
    #[arg(long)]
    pub generators: bool,
    /// Restart what uses their Secrets and is not known to run on the present data; tells every link up to the pods
    #[arg(long = "restart")]
    pub restart: bool,
    /// How to act.
    #[command(flatten)]
    pub act: ActArgs,
    /// How to restart.
    #[command(flatten)]
    pub restart_flags: RestartFlags,
    /// How `--restart` reads providers.
    #[command(flatten)]
    pub providers: ProviderArgs,
    /// Refuse to sync more than this
    #[arg(long, value_name = "N")]
    pub max_syncs: Option<u32>,
    /// Refuse to restart more than this
    #[arg(long, value_name = "N")]
    pub max_restarts: Option<u32>,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which policy.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Or which ExternalSecrets.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Where what the job owns is kept.
    #[command(flatten)]
    pub home: HomeArgs,
    /// Form of the table
    #[arg(
        long,
        short = 'o',
        value_enum,
        default_value = "table",
        env = "ESO_SYNC_STATUS_OUTPUT",
        hide_env_values = true
    )]
    pub output: StatusOutput,
}

/// `validate`
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Which policy.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// The most that may be asked for.
    #[command(flatten)]
    pub ceilings: CeilingArgs,
}

/// `schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of what
    #[arg(long = "for", value_enum, default_value = "policy")]
    pub of: SchemaOf,
}

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// A policy file
    Policy,
    /// What `-o json|yaml` prints
    Report,
}

/// `rbac`
#[derive(Debug, Args)]
pub struct RbacArgs {
    /// Which policy; without one, the ad hoc commands.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// The most that may be asked for.
    #[command(flatten)]
    pub ceilings: CeilingArgs,
    /// ServiceAccount that gets the rights, in --namespace
    #[arg(long, value_name = "NAME", default_value = "eso-sync")]
    pub service_account: String,
    /// Namespace that ClusterSecretStores' references name (repeatable)
    #[arg(long = "credentials-in", value_name = "NAMESPACE")]
    pub credentials_in: Vec<String>,
    /// Print what reading needs at this provider instead
    #[arg(long = "for", value_name = "PROVIDER", value_enum)]
    pub side: Option<Side>,
}

/// In which form a document is printed; each command says what it is that it prints.
#[derive(Clone, Copy, Debug, Args)]
pub struct FormArgs {
    /// Form of the document
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Output,
}

/// The form of plans and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table, what needs doing, and totals
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// The form of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusOutput {
    /// A table
    Table,
    /// A table with more columns
    Wide,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// Names only
    Name,
}

/// Flags without a variable: they say what one call is about.
const SELECTING: [&str; 10] = [
    "all",
    "all_namespaces",
    "credentials_in",
    "failed",
    "generators",
    "of",
    "restart",
    "selector",
    "side",
    "store",
];

/// The command line, with a variable for each flag: `--max-syncs` is also `ESO_SYNC_MAX_SYNCS`.
pub fn command() -> clap::Command {
    use clap::CommandFactory as _;
    with_variables(Cli::command())
}

/// Reads the command line. Ends the process where it is wrong, or asks for help.
pub fn parse() -> Cli {
    use clap::FromArgMatches as _;
    let matches = command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
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

/// The environment variables that stand for flags: they are no part of a policy.
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
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    /// They are in people's manifests: a flag that is renamed keeps its variable, or the CHANGELOG says so.
    #[test]
    fn the_variables_are_these() {
        insta::assert_snapshot!(flag_variables().join("\n"));
    }

    #[test]
    fn a_flag_that_selects_has_no_variable() {
        let command = command();
        let all = || {
            command
                .get_subcommands()
                .chain([&command])
                .flat_map(clap::Command::get_arguments)
        };
        for id in SELECTING {
            let mut flags = all().filter(|flag| flag.get_id() == id).peekable();
            assert!(flags.peek().is_some(), "{id} is no flag");
            assert!(flags.all(|flag| flag.get_env().is_none()), "{id}");
        }
    }
}
