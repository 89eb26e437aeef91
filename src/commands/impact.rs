//! `impact`: shows what a change of remote keys would reach, and what a run would do. Reads no provider and no Secret.

use std::collections::BTreeSet;

use cluster::{Access, names::is_name};
use eso_model::{
    Id,
    remote::{InvalidKey, RemoteKey},
};
use serde_json::json;

use crate::{
    asked::{Entry, Flags, without_drift},
    cli::{ImpactArgs, ImpactOutput},
    consumers::list::consumers,
    discover::discover,
    exit::{
        Exit,
        decide::{Tells, exit_of},
    },
    failure::Failure,
    finding::Findings,
    foreign::line,
    impact::{self, Affected, Asked, Facts, Impact, Question},
    inventory::{ExternalSecret, Inventory},
    lock_namespace::LockNamespace,
    output::{ReportFiles, print, print_as},
    plan::{self, Plan, RestartFacts, hold::Holds},
    policy::{Ceilings, Policy, Selection, StorePattern},
    report::format::Output,
    restart::{
        Restarts,
        targets::Targets,
        workloads::{Options, Workloads},
    },
    results::Results,
    select::select,
    session::{Connected, Session},
    settings::Loaded,
};

pub(super) async fn impact(session: &Session, args: ImpactArgs) -> Result<Exit, Failure> {
    let started = session.world.clock.now();
    let question = question(session, &args)?;
    let (by_policy, loaded) = load(session, &args)?;
    let mut policy = loaded.policy;
    without_drift(&mut policy);
    let connected = session.connect(Access::ReadOnly, &policy).await?;
    let cluster = &connected.cluster;
    let everywhere = everywhere(&policy, session, by_policy);
    let discovering = discover(cluster, &everywhere);
    let inventory = session.unless_stopped(discovering).await??.inventory;
    let affected = impact::affected(&question, &inventory);
    let options = Options {
        lock_namespace: LockNamespace::of_reader(&args.home, session).of_stamps(),
        ..Options::default()
    };
    let look = Look {
        session,
        connected: &connected,
        policy: &policy,
        options: &options,
        inventory: &inventory,
        affected: &affected,
    };
    let (workloads, plan) = look.plan().await?;
    let secrets = look.secrets();
    let consumers = session.unless_stopped(consumers(cluster, &secrets)).await?;
    let facts = Facts {
        asked: &asked(&args, session),
        inventory: &inventory,
        affected: &affected,
        key_names: policy.safety.key_names,
        plan: &plan,
        workloads: &workloads,
        consumers: &consumers,
    };
    let digest = by_policy.then_some(&*loaded.digest);
    let document = impact::document(facts, session.run(Some(cluster), digest, started));
    let unseen = if document.gaps.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    };
    let exit = exit_of(Tells::Status, &plan, &Results::default()).or(unseen);
    let document = document.ending(exit);
    show(args.output, &session.world.record.files(), &document)?;
    Ok(exit)
}

/// What the plan for the affected ExternalSecrets is made from.
struct Look<'a> {
    session: &'a Session,
    connected: &'a Connected,
    policy: &'a Policy,
    options: &'a Options,
    inventory: &'a Inventory,
    affected: &'a Affected,
}

impl Look<'_> {
    /// Makes the plan of a run in which exactly the affected ExternalSecrets have new data.
    async fn plan(&self) -> Result<(Workloads, Plan), Failure> {
        let now = self.session.world.clock.now();
        let affected = self.affected.of.keys().cloned().collect();
        let planned = self.inventory.synced_with(&affected);
        let selected = select(self.policy, self.inventory, now).only(&planned.into());
        let findings = Findings::default();
        let mut workloads = Workloads::default();
        if !self.policy.restart.is_empty() {
            let mode = self.policy.safety.key_names;
            let targets = Targets::selected(&selected, &findings, self.inventory, mode);
            let restarts = Restarts {
                cluster: &self.connected.cluster,
                policy: self.policy,
                options: self.options,
                clock: self.session.world.clock,
            };
            let reading = restarts.read_assuming_no_change(targets);
            workloads = self.session.unless_stopped(Box::pin(reading)).await?;
        }
        let facts = plan::Facts {
            inventory: self.inventory,
            selected: &selected,
            findings: &findings,
            restarts: RestartFacts {
                workloads: &workloads,
                holds: &Holds::of(self.policy, &workloads),
                options: self.options,
            },
            now,
        };
        let plan = plan::plan(self.policy, facts);
        Ok((workloads, plan))
    }

    /// The Secrets that the affected ExternalSecrets write.
    fn secrets(&self) -> BTreeSet<Id> {
        let all = self.inventory.external_secrets.iter();
        let affected = all.filter(|one| self.affected.of.contains_key(&one.id));
        let written = affected.filter(|one| one.target.written);
        written.map(ExternalSecret::secret_id).collect()
    }
}

/// The policy that a run would use, if one is given, else one that selects everything. True if it comes from files or from the
/// embedded cluster.
fn load(session: &Session, args: &ImpactArgs) -> Result<(bool, Loaded), Failure> {
    let config = &args.policy.config;
    let ceilings = Ceilings::from(&args.policy.ceilings);
    let by_policy = !config.is_empty() || session.connection.sandbox.is_some();
    let loaded = if by_policy {
        session.policy_from_files(config, Flags::new(), ceilings)?
    } else {
        let mut flags = Flags::new();
        flags.insert("drift.enabled".to_owned(), json!(false));
        session.policy_from_selection(&only(session), flags, &ceilings, true)?
    };
    Ok((by_policy, loaded))
}

/// The selection of the namespace that `-n` names, or of all.
fn only(session: &Session) -> Entry {
    let mut entry = Entry::new();
    if let Some(namespace) = &session.connection.namespace {
        entry.insert("namespaces".to_owned(), json!([namespace]));
    }
    entry
}

/// The policy for discovery: a change also reaches ExternalSecrets that the policy does not select. Keeps the specs.
fn everywhere(policy: &Policy, session: &Session, by_policy: bool) -> Policy {
    let mut everywhere = policy.clone();
    everywhere.drift.enabled = true;
    if by_policy && session.connection.namespace.is_none() {
        everywhere.select.push(Selection::default());
    } else if let Some(namespace) = &session.connection.namespace
        && let Ok(pattern) = crate::pattern::Pattern::new(namespace)
    {
        everywhere.select.push(Selection {
            namespaces: vec![pattern],
            ..Selection::default()
        });
    }
    everywhere
}

fn question(session: &Session, args: &ImpactArgs) -> Result<Question, Failure> {
    if args.keys.is_empty() && args.secret.is_none() && args.store.is_none() {
        return Err(
            Failure::usage("specify what changes: KEY, --secret or --store")
                .hint("for example: eso-sync impact prod/db --store ClusterSecretStore/aws"),
        );
    }
    let mut keys = Vec::new();
    for text in &args.keys {
        let invalid = |error: InvalidKey| {
            let message = format!("KEY: `{}` {error}", line(text));
            Failure::usage(message).hint(InvalidKey::HINT)
        };
        keys.extend(RemoteKey::read(text).map_err(invalid)?);
    }
    session.check_namespace()?;
    Ok(Question {
        keys,
        secret: args.secret.as_deref().map(secret).transpose()?,
        store: args.store.as_deref().map(store).transpose()?,
        namespace: session.connection.namespace.clone(),
    })
}

fn secret(text: &str) -> Result<Id, Failure> {
    let parts = text.split_once('/');
    let valid = parts.filter(|(namespace, name)| is_name(namespace) && is_name(name));
    let (namespace, name) = valid.ok_or_else(|| {
        let shown = line(text);
        Failure::usage(format!(
            "--secret: `{shown}` is not a Secret. Write NAMESPACE/NAME"
        ))
    })?;
    Ok(Id {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn store(text: &str) -> Result<StorePattern, Failure> {
    let pattern = match text.split('/').collect::<Vec<_>>().as_slice() {
        [kind @ "SecretStore", name] => json!({"kind": kind, "name": name}),
        _ => crate::asked::store(text),
    };
    serde_json::from_value(pattern).map_err(|_| {
        let shown = line(text);
        Failure::usage(format!(
            "--store: `{shown}` is not a store. Write NAME, KIND/NAME or SecretStore/NAMESPACE/NAME"
        ))
    })
}

fn asked(args: &ImpactArgs, session: &Session) -> Asked {
    Asked {
        keys: args.keys.iter().map(Into::into).collect(),
        secret: args.secret.as_ref().map(Into::into),
        store: args.store.as_ref().map(Into::into),
        namespace: session.connection.namespace.as_ref().map(Into::into),
    }
}

fn show(
    output: Option<ImpactOutput>,
    files: &ReportFiles,
    document: &Impact,
) -> Result<(), Failure> {
    let as_text = |output| print_as(output, files, document, impact::text);
    let graph = match output {
        None => return as_text(None),
        Some(ImpactOutput::Table) => return as_text(Some(Output::Table)),
        Some(ImpactOutput::Wide) => return as_text(Some(Output::Wide)),
        Some(ImpactOutput::Json) => return as_text(Some(Output::Json)),
        Some(ImpactOutput::Yaml) => return as_text(Some(Output::Yaml)),
        Some(ImpactOutput::Tree) => impact::tree(document),
        Some(ImpactOutput::Dot) => impact::dot(document),
        Some(ImpactOutput::Mermaid) => impact::mermaid(document),
    };
    let written = files.write(document);
    print(&graph).and(written)
}
