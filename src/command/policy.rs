//! From files, variables and flags to a policy.

use std::{collections::BTreeMap, path::PathBuf};

use eso_model::StoreKey;
use serde_json::{Value, json};

use super::{Refusal, Session};
use crate::{
    cli::{self, CeilingArgs, DEFAULT_CONFIG, SelectArgs},
    policy::Ceilings,
    settings::{self, Loaded, Sources},
};

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
pub(super) type Entry = serde_json::Map<String, Value>;

/// What flags say of a policy's keys.
pub(super) type Flags = BTreeMap<String, Value>;

impl Session {
    /// The policy of `run`: from files, or all of an embedded cluster.
    pub(super) fn policy_from_files(
        &self,
        config: &[PathBuf],
        mut flags: Flags,
        ceilings: Ceilings,
    ) -> Result<Loaded, Refusal> {
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
    pub(super) fn no_namespace_beside_a_policy(&self, config: &[PathBuf]) -> Result<(), Refusal> {
        let by_files = !config.is_empty() || self.connection.sandbox.is_none();
        match &self.connection.namespace {
            Some(namespace) if by_files => Err(Refusal::usage(format!(
                "-n {namespace} and a policy exclude each other; select the namespace in the policy"
            ))),
            _ => Ok(()),
        }
    }

    /// A policy that selects what was typed.
    pub(super) fn policy_from_selection(
        &self,
        selection: &Entry,
        mut flags: Flags,
        warn: bool,
    ) -> Result<Loaded, Refusal> {
        flags.insert("select".to_owned(), json!([selection]));
        if self.connection.sandbox.is_some() {
            flags.insert("drift.namespacedStores".to_owned(), json!(true));
        }
        self.load(&[], flags, Ceilings::default(), warn)
            .map_err(|mut refusal| {
                refusal.message = refusal.message.replacen(
                    "the policy is invalid",
                    "what was asked for is invalid",
                    1,
                );
                refusal
            })
    }

    fn load(
        &self,
        files: &[PathBuf],
        flags: Flags,
        ceilings: Ceilings,
        warn: bool,
    ) -> Result<Loaded, Refusal> {
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
pub(super) fn selection(select: &SelectArgs, namespace: &str) -> Entry {
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
pub(super) fn store(text: &str) -> Value {
    match text.parse() {
        Ok(StoreKey::Cluster { name }) => json!({"kind": "ClusterSecretStore", "name": name}),
        Ok(StoreKey::Namespaced { namespace, name }) => {
            json!({"kind": "SecretStore", "namespace": namespace, "name": name})
        }
        Err(_) => json!({"name": text}),
    }
}
