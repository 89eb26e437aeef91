//! Converts arguments and policy files to a validated policy, and connects to the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use cluster::{Access, Cluster, names::is_name};
use eso_model::{Id, StoreKey};
use serde_json::{Value, json};

use crate::{
    cli::{self, ActArgs, CeilingArgs, DEFAULT_CONFIG, ProviderArgs, SelectArgs},
    failure::Failure,
    foreign::line,
    inventory::Inventory,
    monitor::Receivers,
    pattern::Pattern,
    policy::{Capability, Ceilings, Match, Policy, Require, RestartWhen, When, ceilings::MaxRate},
    select::{Part, Selected},
    session::{Connected, Session},
    settings::{self, Loaded, Sections, SourceFile, Sources},
    suggest,
    workload::Kind,
};

/// The arguments of a read-only command.
pub struct Asked<'a> {
    /// `--config`
    pub config: &'a [PathBuf],
    /// Names, `-n`, `-A`, `-l`.
    pub select: &'a SelectArgs,
    /// The limits on what a policy may request.
    pub ceilings: Ceilings,
    /// The policy keys that flags set.
    pub flags: Flags,
    /// The sections of single commands that this command reads, too.
    pub sections: Sections,
}

/// What decides the selection of a read-only command.
#[derive(Clone, Debug, PartialEq)]
pub enum Chosen {
    /// The names, `-n`, `-A` and `-l`.
    ByFlags,
    /// The policy, narrowed by these names and this namespace.
    ByPolicy {
        names: Vec<Pattern>,
        namespace: Option<String>,
    },
}

impl Chosen {
    /// The policy's selection, narrowed by these names and by `-n`.
    pub fn by_policy(names: &[String], session: &Session) -> Result<Self, Failure> {
        Ok(Self::ByPolicy {
            names: patterns(names)?,
            namespace: session.connection.namespace.clone(),
        })
    }

    /// The names that must exist.
    pub fn named<'a>(&'a self, select: &'a SelectArgs) -> Named<'a> {
        match self {
            Self::ByFlags => Named::of(select),
            Self::ByPolicy { .. } => self.policy_has(&select.names),
        }
    }

    /// The names that the policy must select.
    pub fn policy_has<'a>(&'a self, names: &'a [String]) -> Named<'a> {
        let namespace = match self {
            Self::ByPolicy { namespace, .. } => namespace.as_deref(),
            Self::ByFlags => None,
        };
        Named {
            names,
            store: None,
            among: Among::Policy { namespace },
        }
    }

    /// The digest of the policy, if it decides the selection.
    pub fn digest<'l>(&self, loaded: &'l Loaded) -> Option<&'l str> {
        match self {
            Self::ByPolicy { .. } => Some(&*loaded.digest),
            Self::ByFlags => None,
        }
    }

    /// The part of the policy's selection that the names and the namespace choose. None: all of it.
    pub fn narrowing(&self) -> Option<impl Fn(&Inventory) -> Part + Sync + '_> {
        let Self::ByPolicy { names, namespace } = self else {
            return None;
        };
        let narrows = !names.is_empty() || namespace.is_some();
        narrows.then_some(move |inventory: &Inventory| {
            let is_chosen = |id: &Id| {
                let is_named = names.is_empty() || names.iter().any(|name| name.matches(&id.name));
                is_named && namespace.as_ref().is_none_or(|it| *it == id.namespace)
            };
            let ids = inventory.external_secrets.iter().map(|one| &one.id);
            let chosen: BTreeSet<Id> = ids.filter(|id| is_chosen(id)).cloned().collect();
            chosen.into()
        })
    }
}

/// The names on the command line that must exist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// Names of ExternalSecrets, or globs.
    pub names: &'a [String],
    pub store: Option<&'a str>,
    pub among: Among<'a>,
}

/// The ExternalSecrets among which names are looked for.
#[derive(Clone, Copy, Debug, Default)]
pub enum Among<'a> {
    /// Those of the namespace of the connection.
    #[default]
    Namespace,
    /// All.
    All,
    /// Those that the policy selects, in this namespace if `-n` is given.
    Policy { namespace: Option<&'a str> },
}

impl<'a> Named<'a> {
    /// The names of a selection by flags.
    pub const fn of(select: &'a SelectArgs) -> Self {
        Self {
            names: select.names.as_slice(),
            store: None,
            among: if select.all_namespaces {
                Among::All
            } else {
                Among::Namespace
            },
        }
    }

    /// Fails if a name or store is not found, or if nothing is left of a policy: a typing error must not look like success.
    pub async fn check_found(
        self,
        selected: &Selected<'_>,
        cluster: &Cluster,
    ) -> Result<(), Failure> {
        let is_literal =
            |name: &&String| Pattern::new(name).is_ok_and(|pattern| pattern.literal().is_some());
        let missing = |name: &&String| !selected.has(name);
        if let Some(name) = self.names.iter().filter(is_literal).find(missing) {
            return Err(self.among.not_found(name, cluster).await);
        }
        if let Some(store) = self.store.filter(|_| selected.is_empty()) {
            return Err(Failure::not_found(&format!(
                "none of the selected ExternalSecrets reads from the store {store}"
            )));
        }
        if let Among::Policy { namespace } = self.among
            && selected.is_empty()
            && (namespace.is_some() || !self.names.is_empty())
        {
            let names: Vec<String> = self.names.iter().map(|name| line(name)).collect();
            let of_name = match names.as_slice() {
                [] => String::new(),
                names => format!(" that matches `{}`", names.join("`, `")),
            };
            let there = namespace.map(|it| format!(" in namespace {}", line(it)));
            return Err(Failure::not_found(&format!(
                "the policy selects no ExternalSecret{of_name}{}",
                there.unwrap_or_default()
            )));
        }
        Ok(())
    }
}

impl Among<'_> {
    /// The error for a name that is not among them, with what may be meant.
    async fn not_found(self, name: &str, cluster: &Cluster) -> Failure {
        let unknown = |place: &str| {
            Failure::not_found(&format!("externalsecrets \"{name}\" not found{place}"))
        };
        let known = suggest::all(cluster).await;
        let hint = |failure: Failure, namespace: Option<&str>| Failure {
            hint: known
                .as_ref()
                .and_then(|all| suggest::hint(name, namespace, all)),
            ..failure
        };
        match self {
            Self::Namespace => {
                let namespace = &*cluster.namespace;
                hint(
                    unknown(&format!(" in namespace {namespace}")),
                    Some(namespace),
                )
            }
            Self::All => hint(unknown(" in any namespace"), None),
            Self::Policy { namespace } => {
                let is_it =
                    |id: &&Id| id.name == name && namespace.is_none_or(|it| it == id.namespace);
                if let Some(id) = known.iter().flatten().find(is_it) {
                    let message = format!("the policy does not select the ExternalSecret {id}");
                    return Failure::not_found(&message).hint(format!(
                        "`eso-sync sync {name} -n {}` syncs it without the policy",
                        id.namespace
                    ));
                }
                let place = namespace.map(|it| format!(" in namespace {}", line(it)));
                hint(unknown(&place.unwrap_or_default()), namespace)
            }
        }
    }
}

impl From<&CeilingArgs> for Ceilings {
    fn from(args: &CeilingArgs) -> Self {
        Self {
            allow: args.allow.clone(),
            endpoints: args.allow_endpoints.clone(),
            max_syncs: args.max_syncs,
            max_restarts: args.max_restarts,
            max_rates: args
                .max_rates
                .iter()
                .map(|MaxRate { of, rate }| (of.clone(), *rate))
                .collect(),
            targets: args.allow_targets.clone(),
            sources: args.allow_sources.clone(),
            queues: args.allow_queues.clone(),
            notify: args.allow_notify.clone(),
        }
    }
}

/// An entry of `select` in the form of a policy file.
pub type Entry = serde_json::Map<String, Value>;

/// The policy keys that flags set, with their values.
pub type Flags = BTreeMap<String, Value>;

/// The restart rules of a command without a policy: all workloads that use a Secret. There is no cooldown, because no later run restarts
/// them.
pub fn restart_by_reference(when: RestartWhen) -> Value {
    let kinds = [
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::Rollout,
    ];
    json!([{
        "match": Match::References.into_str(),
        "kinds": kinds.map(|kind| kind.into_str()),
        "when": when.into_str(),
        "require": Require::Proven.into_str(),
        "cooldown": "0s",
    }])
}

impl Session {
    /// The policy of `run`: from files, or for an embedded cluster a policy that selects everything.
    pub fn policy_from_files(
        &self,
        config: &[PathBuf],
        flags: Flags,
        ceilings: Ceilings,
    ) -> Result<Loaded, Failure> {
        self.policy_of_run(Sections::default(), config, flags, ceilings)
    }

    /// The same, with these sections.
    pub fn policy_of_run(
        &self,
        sections: Sections,
        config: &[PathBuf],
        mut flags: Flags,
        ceilings: Ceilings,
    ) -> Result<Loaded, Failure> {
        let namespace = self.connection.namespace.as_ref();
        let files = if config.is_empty() && self.connection.sandbox.is_some() {
            // Select everything. ExternalSecrets that have not synced for half a day count as overdue.
            let mut all = Entry::new();
            all.insert("overdueAfter".to_owned(), json!("12h"));
            if let Some(namespace) = namespace {
                all.insert("namespaces".to_owned(), json!([namespace]));
            }
            flags.insert("select".to_owned(), json!([all]));
            self.trust_stores_of_the_sandbox(&mut flags, &ceilings);
            if ceilings.allows(Capability::Restart) {
                let rule = json!({"match": "references"});
                flags.insert("restart".to_owned(), json!([rule]));
            }
            if ceilings.allow.is_none() {
                // Nothing is lost if a restart goes wrong here, and nobody wants to wait.
                flags.insert("pace.restarts".to_owned(), json!("3/s"));
            }
            Vec::new()
        } else {
            files_of(config)
        };
        self.load(&files, flags, ceilings, (true, sections))
    }

    /// The policy from files, or that of the embedded cluster, with these sections. `warn` logs its warnings.
    pub fn policy_with(
        &self,
        sections: Sections,
        config: &[PathBuf],
        ceilings: Ceilings,
        warn: bool,
    ) -> Result<Loaded, Failure> {
        match &self.connection.sandbox {
            Some(content) if config.is_empty() => {
                let Ok(content) = content.parse::<sandbox::Content>();
                let text = content.policy().to_owned();
                self.policy_from_text(sections, "the sandbox's policy", text, ceilings)
            }
            _ => self.load(&files_of(config), Flags::new(), ceilings, (warn, sections)),
        }
    }

    /// A policy with these sections, from a text.
    pub fn policy_from_text(
        &self,
        sections: Sections,
        from: &str,
        text: String,
        ceilings: Ceilings,
    ) -> Result<Loaded, Failure> {
        let path = PathBuf::from(from);
        let files = vec![SourceFile { path, text }];
        self.load_texts(files, Flags::new(), ceilings, (true, sections))
    }

    /// Rejects `-n` together with a policy. The policy selects its namespaces, and users would expect `-n` to narrow them.
    pub fn no_namespace_beside_a_policy(&self, config: &[PathBuf]) -> Result<(), Failure> {
        let by_files = !config.is_empty() || self.connection.sandbox.is_none();
        match &self.connection.namespace {
            Some(namespace) if by_files => Err(Failure::usage(format!(
                "-n {namespace} cannot be used together with a policy. Select the namespace in the policy"
            ))),
            _ => Ok(()),
        }
    }

    /// The embedded cluster has no untrusted tenants.
    fn trust_stores_of_the_sandbox(&self, flags: &mut Flags, ceilings: &Ceilings) {
        if self.connection.sandbox.is_some() && ceilings.allows(Capability::NamespacedStores) {
            flags.insert("drift.namespacedStores".to_owned(), json!(true));
        }
    }

    /// A policy with the selection of the command line.
    pub fn policy_from_selection(
        &self,
        selection: &Entry,
        mut flags: Flags,
        ceilings: &Ceilings,
        warn: bool,
    ) -> Result<Loaded, Failure> {
        flags.insert("select".to_owned(), json!([selection]));
        self.trust_stores_of_the_sandbox(&mut flags, ceilings);
        self.load(&[], flags, ceilings.clone(), (warn, Sections::default()))
            .map_err(|mut failure| {
                failure.message = failure.message.replacen(
                    "the policy is invalid",
                    "the arguments are invalid",
                    1,
                );
                let names = selection.get("names").and_then(Value::as_array);
                let mut names = names.into_iter().flatten().filter_map(Value::as_str);
                failure.hint = names.find_map(with_namespace);
                failure
            })
    }

    /// Rejects a `-n` that cannot name a namespace.
    pub fn check_namespace(&self) -> Result<(), Failure> {
        let invalid = |namespace: &&String| !is_namespace(namespace);
        match self.connection.namespace.as_ref().filter(invalid) {
            None => Ok(()),
            Some(namespace) => Err(Failure::usage(format!(
                "-n: `{}` is not a valid namespace name",
                line(namespace)
            ))),
        }
    }

    /// The connection, and a policy with the selection of the command line. The default namespace is known only after connecting.
    pub async fn ad_hoc(
        &self,
        access: Access,
        selection: impl Fn(&str) -> Entry,
        flags: Flags,
        ceilings: &Ceilings,
    ) -> Result<(Loaded, Connected), Failure> {
        // Check everything except the namespace before connecting, so that typing errors are reported first.
        self.check_namespace()?;
        let checked =
            self.policy_from_selection(&selection("default"), flags.clone(), ceilings, false)?;
        let connected = self.connect(access, &checked.policy).await?;
        let entry = selection(&connected.cluster.namespace);
        let loaded = self.policy_from_selection(&entry, flags, ceilings, true)?;
        Ok((loaded, connected))
    }

    /// The policy from files or from names, `-n`, `-A` and `-l`, and the connection of a read-only command.
    pub async fn connect_read_only(
        &self,
        asked: Asked<'_>,
    ) -> Result<(Chosen, Loaded, Connected), Failure> {
        let Asked {
            config,
            select,
            ceilings,
            flags,
            sections,
        } = asked;
        let by_flags = select.all_namespaces || select.selector.is_some();
        let selects = by_flags || !select.names.is_empty();
        if by_flags && !config.is_empty() {
            return Err(Failure::usage(
                "--config cannot be used together with -A or -l. NAME and -n narrow the policy's selection",
            ));
        }
        self.check_namespace()?;
        let by_policy = !config.is_empty()
            || (self.connection.sandbox.is_some()
                && self.connection.namespace.is_none()
                && !selects);
        let (loaded, connected) = if by_policy {
            let loaded = self.policy_of_run(sections, config, flags, ceilings)?;
            let connected = self.connect(Access::ReadOnly, &loaded.policy).await?;
            (loaded, connected)
        } else {
            self.ad_hoc(
                Access::ReadOnly,
                |namespace| selection(select, namespace),
                limits(&ceilings, flags),
                &ceilings,
            )
            .await?
        };
        let chosen = if by_policy {
            Chosen::by_policy(&select.names, self)?
        } else {
            Chosen::ByFlags
        };
        Ok((chosen, loaded, connected))
    }

    fn load(
        &self,
        files: &[PathBuf],
        flags: Flags,
        ceilings: Ceilings,
        options: (bool, Sections),
    ) -> Result<Loaded, Failure> {
        let files = settings::read_files(files)?;
        self.load_texts(files, flags, ceilings, options)
    }

    fn load_texts(
        &self,
        files: Vec<SourceFile>,
        flags: Flags,
        ceilings: Ceilings,
        (warn, sections): (bool, Sections),
    ) -> Result<Loaded, Failure> {
        let sources = Sources {
            files,
            environment: self.world.environment.clone(),
            flags,
            ceilings,
            sections,
        };
        let known = cli::flag_variables();
        let known: Vec<&str> = known.iter().map(|name| &**name).collect();
        let mut loaded = settings::load(&sources, &known)?;
        let shown = &mut loaded.policy.safety.key_names;
        *shown = self.logging.key_names.max(*shown);
        self.world
            .record
            .files()
            .create_by_policy(&loaded.policy.report)?;
        for warning in loaded.warnings.iter().filter(|_| warn) {
            tracing::warn!("{warning}");
        }
        let reports = self.world.record.files();
        if let Some(notify) = &loaded.policy.notify
            && warn
            && reports.notifies()
        {
            let permitted = sources.ceilings.permitted_receivers();
            let has_history = loaded.policy.report.history > 0
                && reports.reporting().is_some_and(|it| it.carries_out);
            let (receivers, warnings) =
                Receivers::of(notify, &sources.environment, permitted, has_history);
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            reports.notify(receivers);
        }
        Ok(loaded)
    }
}

/// How to write `NAMESPACE/NAME`, the form of reports. None for other texts.
pub fn with_namespace(text: &str) -> Option<String> {
    let (namespace, name) = text.split_once('/')?;
    let is_id = is_name(name) && is_namespace(namespace);
    is_id.then(|| format!("write `{name} -n {namespace}`"))
}

fn patterns(names: &[String]) -> Result<Vec<Pattern>, Failure> {
    let pattern = |name: &String| {
        Pattern::new(name).map_err(|error| {
            let hint = with_namespace(name);
            Failure {
                hint,
                ..Failure::usage(format!("`{}` {error}", line(name)))
            }
        })
    };
    names.iter().map(pattern).collect()
}

/// The policy files: those that are given, or the one that the CronJob mounts.
fn files_of(config: &[PathBuf]) -> Vec<PathBuf> {
    if config.is_empty() {
        vec![PathBuf::from(DEFAULT_CONFIG)]
    } else {
        config.to_vec()
    }
}

/// The selection of the command line as an entry of `select`. `namespace` applies unless all namespaces are selected.
pub fn selection(select: &SelectArgs, namespace: &str) -> Entry {
    let mut entry = Entry::new();
    if !select.names.is_empty() {
        entry.insert("names".to_owned(), json!(select.names));
    }
    if !select.all_namespaces {
        entry.insert("namespaces".to_owned(), json!([namespace]));
    }
    if let Some(selector) = &select.selector {
        entry.insert("labelSelector".to_owned(), json!(selector));
    }
    entry
}

/// `--store` in the form of a policy file.
pub fn store(text: &str) -> Value {
    match text.parse() {
        Ok(StoreKey::Cluster { name }) => json!({"kind": "ClusterSecretStore", "name": name}),
        Ok(StoreKey::Namespaced { namespace, name }) => {
            json!({"kind": "SecretStore", "namespace": namespace, "name": name})
        }
        Err(_) => json!({"name": text}),
    }
}

/// The policy keys that the provider flags set. Enables the drift check if there are any.
pub fn reading_if_asked(args: &ProviderArgs) -> Flags {
    let is_asked =
        args.credentials.is_some() || !args.endpoints.is_empty() || args.namespaced_stores;
    if is_asked {
        reading(args)
    } else {
        Flags::new()
    }
}

/// The policy keys that the provider flags set. Enables the drift check.
pub fn reading(args: &ProviderArgs) -> Flags {
    let mut flags = Flags::new();
    flags.insert("drift.enabled".to_owned(), json!(true));
    if let Some(credentials) = &args.credentials {
        flags.insert("drift.credentials".to_owned(), json!(credentials));
    }
    if !args.endpoints.is_empty() {
        flags.insert("drift.endpoints".to_owned(), json!(args.endpoints));
    }
    if args.namespaced_stores {
        flags.insert("drift.namespacedStores".to_owned(), json!(true));
    }
    flags
}

/// The policy keys that the flags of a run set.
pub fn act_flags(act: &ActArgs) -> Flags {
    let mut flags = Flags::new();
    if let Some(timeout) = act.timeout {
        flags.insert("sync.timeout".to_owned(), json!(timeout.to_string()));
    }
    flags
}

/// Adds the keys for a selection without a policy: the limit of syncs. Disables the drift check unless a flag enables it.
fn limits(ceilings: &Ceilings, mut flags: Flags) -> Flags {
    if let Some(limit) = ceilings.max_syncs {
        flags.insert("safety.maxSyncs".to_owned(), json!(limit));
    }
    flags
        .entry("drift.enabled".to_owned())
        .or_insert_with(|| json!(false));
    flags
}

/// Disables the drift check for `status`.
pub fn without_drift(policy: &mut Policy) {
    policy.drift.enabled = false;
    if policy.sync.when == When::Drifted {
        policy.sync.when = When::Always;
    }
}

/// True if the name is a valid DNS label.
pub fn is_namespace(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
