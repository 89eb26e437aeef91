//! From what was typed to a policy, and to a connection where that says which namespace is meant.

use std::{collections::BTreeMap, path::PathBuf};

use cluster::Access;
use eso_model::StoreKey;
use serde_json::{Value, json};

use crate::{
    cli::{self, ActArgs, CeilingArgs, DEFAULT_CONFIG, ProviderArgs, SelectArgs},
    failure::Failure,
    pattern::Pattern,
    policy::{Ceilings, Policy, When},
    select::Selected,
    session::{Connected, Session},
    settings::{self, Loaded, Sources},
};

/// What a command that only looks is asked for.
pub struct Asked<'a> {
    /// `--config`
    pub config: &'a [PathBuf],
    /// Names, `-n`, `-A`, `-l`.
    pub select: &'a SelectArgs,
    /// What a policy may ask for at the most.
    pub ceilings: Ceilings,
    /// What flags say of a policy's keys.
    pub flags: Flags,
}

/// Whether a policy says what is selected, or the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByPolicy(pub bool);

impl ByPolicy {
    /// The digest of the policy, where there is one to tell.
    pub fn digest(self, loaded: &Loaded) -> Option<&str> {
        self.0.then_some(&*loaded.digest)
    }
}

/// What was named, and has to be there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// ExternalSecrets, or globs.
    pub names: &'a [String],
    /// A store.
    pub store: Option<&'a str>,
}

impl<'a> Named<'a> {
    /// The names of a selection.
    pub fn of(select: &'a SelectArgs) -> Self {
        Self {
            names: &select.names,
            store: None,
        }
    }

    /// What was named and is not there is a mistake, and no finished rotation.
    pub fn are_found(self, selected: &Selected<'_>, namespace: &str) -> Result<(), Failure> {
        let is_literal =
            |name: &&String| Pattern::new(name).is_ok_and(|pattern| pattern.literal().is_some());
        let missing = |name: &&String| !selected.has(name);
        if let Some(name) = self.names.iter().filter(is_literal).find(missing) {
            return Err(Failure::not_found(&format!(
                "externalsecrets \"{name}\" not found in namespace {namespace}"
            )));
        }
        if let Some(store) = self.store.filter(|_| selected.is_empty()) {
            return Err(Failure::not_found(&format!(
                "none of the selected ExternalSecrets reads from the store {store}"
            )));
        }
        Ok(())
    }
}

impl From<&CeilingArgs> for Ceilings {
    fn from(args: &CeilingArgs) -> Self {
        Self {
            allow: args.allow.clone(),
            max_syncs: args.max_syncs,
            max_restarts: args.max_restarts,
        }
    }
}

/// An entry of `select`, as a policy file has it.
pub type Entry = serde_json::Map<String, Value>;

/// What flags say of a policy's keys.
pub type Flags = BTreeMap<String, Value>;

impl Session {
    /// The policy of `run`: from files, or all of an embedded cluster.
    pub fn policy_from_files(
        &self,
        config: &[PathBuf],
        mut flags: Flags,
        ceilings: Ceilings,
    ) -> Result<Loaded, Failure> {
        let namespace = self.connection.namespace.as_ref();
        let files = if config.is_empty() && self.connection.sandbox.is_some() {
            // All there is; what has not synced for half a day is shown to be overdue.
            let mut all = Entry::new();
            all.insert("overdueAfter".to_owned(), json!("12h"));
            if let Some(namespace) = namespace {
                all.insert("namespaces".to_owned(), json!([namespace]));
            }
            flags.insert("select".to_owned(), json!([all]));
            // In the embedded cluster there are no tenants to mistrust.
            flags.insert("drift.namespacedStores".to_owned(), json!(true));
            Vec::new()
        } else if config.is_empty() {
            vec![PathBuf::from(DEFAULT_CONFIG)]
        } else {
            config.to_vec()
        };
        self.load(&files, flags, ceilings, true)
    }

    /// A policy says itself which namespaces it means: `-n` beside it would be believed to narrow it.
    pub fn no_namespace_beside_a_policy(&self, config: &[PathBuf]) -> Result<(), Failure> {
        let by_files = !config.is_empty() || self.connection.sandbox.is_none();
        match &self.connection.namespace {
            Some(namespace) if by_files => Err(Failure::usage(format!(
                "-n {namespace} cannot be used together with a policy. Select the namespace in the policy"
            ))),
            _ => Ok(()),
        }
    }

    /// A policy that selects what was typed.
    pub fn policy_from_selection(
        &self,
        selection: &Entry,
        mut flags: Flags,
        warn: bool,
    ) -> Result<Loaded, Failure> {
        flags.insert("select".to_owned(), json!([selection]));
        if self.connection.sandbox.is_some() {
            flags.insert("drift.namespacedStores".to_owned(), json!(true));
        }
        self.load(&[], flags, Ceilings::default(), warn)
            .map_err(|mut failure| {
                failure.message = failure.message.replacen(
                    "the policy is invalid",
                    "the arguments are invalid",
                    1,
                );
                failure
            })
    }

    /// A connection and a policy for what was typed: only the connection tells the namespace that is meant.
    pub async fn ad_hoc(
        &self,
        access: Access,
        selection: impl Fn(&str) -> Entry,
        flags: Flags,
    ) -> Result<(Loaded, Connected), Failure> {
        // Everything but the namespace is checked first, so that a typing error is told before anything is asked for.
        if let Some(namespace) = &self.connection.namespace
            && !is_namespace(namespace)
        {
            return Err(Failure::usage(format!(
                "-n: `{namespace}` is not a valid namespace name"
            )));
        }
        let checked = self.policy_from_selection(&selection("default"), flags.clone(), false)?;
        let connected = self.connect(access, &checked.policy).await?;
        let loaded =
            self.policy_from_selection(&selection(&connected.cluster.namespace), flags, true)?;
        Ok((loaded, connected))
    }

    /// A policy, or what names, `-n`, `-A` and `-l` select, for a command that only looks; and the connection.
    pub async fn look_at(
        &self,
        asked: Asked<'_>,
    ) -> Result<(ByPolicy, Loaded, Connected), Failure> {
        let Asked {
            config,
            select,
            ceilings,
            flags,
        } = asked;
        let selects =
            !select.names.is_empty() || select.all_namespaces || select.selector.is_some();
        if selects && !config.is_empty() {
            return Err(Failure::usage(
                "--config cannot be used together with NAME, -A or -l",
            ));
        }
        // Without a policy -n says where to look.
        if !config.is_empty() {
            self.no_namespace_beside_a_policy(config)?;
        }
        let by_policy = !config.is_empty()
            || (self.connection.sandbox.is_some()
                && self.connection.namespace.is_none()
                && !selects);
        let (loaded, connected) = if by_policy {
            let loaded = self.policy_from_files(config, flags, ceilings)?;
            let connected = self.connect(Access::ReadOnly, &loaded.policy).await?;
            (loaded, connected)
        } else {
            self.ad_hoc(
                Access::ReadOnly,
                |namespace| selection(select, namespace),
                limits(&ceilings, flags),
            )
            .await?
        };
        Ok((ByPolicy(by_policy), loaded, connected))
    }

    fn load(
        &self,
        files: &[PathBuf],
        flags: Flags,
        ceilings: Ceilings,
        warn: bool,
    ) -> Result<Loaded, Failure> {
        let files = settings::read_files(files)?;
        let sources = Sources {
            files,
            environment: self.world.environment.clone(),
            flags,
            ceilings,
        };
        let known = cli::flag_variables();
        let known: Vec<&str> = known.iter().map(|name| &**name).collect();
        let loaded = settings::load(&sources, &known)?;
        for warning in loaded.warnings.iter().filter(|_| warn) {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }
}

/// An entry of `select` in the form of a policy file. `namespace` is where to look unless in all of them.
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

/// What the flags say of how providers are read.
pub fn reading(args: &ProviderArgs) -> Flags {
    let mut flags = Flags::new();
    flags.insert("drift.enabled".to_owned(), json!(true));
    if let Some(whose) = &args.credentials {
        flags.insert("drift.credentials".to_owned(), json!(whose));
    }
    if !args.endpoints.is_empty() {
        flags.insert("drift.endpoints".to_owned(), json!(args.endpoints));
    }
    if args.namespaced_stores {
        flags.insert("drift.namespacedStores".to_owned(), json!(true));
    }
    flags
}

/// What the flags of a run say of a policy.
pub fn act_flags(act: &ActArgs) -> Flags {
    let mut flags = Flags::new();
    if let Some(timeout) = act.timeout {
        flags.insert("sync.timeout".to_owned(), json!(timeout.to_string()));
    }
    flags
}

/// What flags say where no policy does: how many may be synced, and whether drift is checked, which what is typed does not ask for
/// by itself.
fn limits(ceilings: &Ceilings, mut flags: Flags) -> Flags {
    if let Some(limit) = ceilings.max_syncs {
        flags.insert("safety.maxSyncs".to_owned(), json!(limit));
    }
    flags
        .entry("drift.enabled".to_owned())
        .or_insert_with(|| json!(false));
    flags
}

/// What is only shown needs no check.
pub fn without_drift(policy: &mut Policy) {
    policy.drift.enabled = false;
    if policy.sync.when == When::Drifted {
        policy.sync.when = When::Always;
    }
}

/// A DNS label, as Kubernetes wants it.
pub fn is_namespace(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
