//! Commands that only look: their client refuses everything but reads.

use std::{collections::BTreeMap, path::PathBuf};

use cluster::{Access, Cluster};
use serde_json::json;

use super::{
    Connected, Refusal, Session,
    act::names_are_found,
    policy::{Flags, selection},
    print, print_as,
    restart::{homes, verdicts},
};
use crate::{
    cli::{
        DriftArgs, HomeArgs, Output, PlanArgs, ProviderArgs, SelectArgs, StatusArgs, StatusOutput,
    },
    discover::{Discovered, discover},
    drift::{
        Findings,
        check::{Check, checked},
    },
    exit::Exit,
    inventory::Inventory,
    plan::{self, Plan},
    policy::{Ceilings, Policy, When},
    reason::Reason,
    report::{Document, Heading, Kind, exit_of_drift, exit_of_plan, exit_of_restart_plan, text},
    restart::{self, Restarts, plan::RestartPlan, results::RestartResults},
    settings::Loaded,
};

/// What a command is asked to look at.
struct Asked<'a> {
    kind: Kind,
    config: &'a [PathBuf],
    select: &'a SelectArgs,
    /// Where stamps are understood; None: workloads are of no interest.
    home: Option<&'a HomeArgs>,
    ceilings: Ceilings,
    flags: Flags,
}

/// What was seen, and how that ends the command.
struct Looked {
    document: Document,
    exit: Exit,
}

pub(super) async fn plan(session: &Session, args: PlanArgs) -> Result<Exit, Refusal> {
    let exit = |plan: &Plan, restarts: &RestartPlan| {
        let differs = args.exit_code && (!plan.steps.is_empty() || restarts.writes_anything());
        let exit = exit_of_plan(plan).or(exit_of_restart_plan(restarts));
        if differs {
            exit.or(Exit::Differences)
        } else {
            exit
        }
    };
    let ceilings = Ceilings::from(&args.ceilings);
    let looked = session
        .look(
            Asked {
                kind: Kind::Plan,
                config: &args.policy.config,
                select: &args.select,
                home: Some(&args.home),
                ceilings,
                flags: Flags::new(),
            },
            exit,
        )
        .await?;
    print_as(args.form.output, &looked.document, |document| {
        text::render(document, false)
    })?;
    Ok(looked.exit)
}

pub(super) async fn drift(session: &Session, args: DriftArgs) -> Result<Exit, Refusal> {
    let looked = session
        .look(
            Asked {
                kind: Kind::Drift,
                config: &args.policy.config,
                select: &args.select,
                home: None,
                ceilings: Ceilings::default(),
                flags: reading(&args.providers),
            },
            |plan, _| exit_of_drift(plan),
        )
        .await?;
    print_as(args.form.output, &looked.document, |document| {
        text::render(document, false)
    })?;
    Ok(looked.exit)
}

/// What the flags say of how providers are read.
pub(super) fn reading(args: &ProviderArgs) -> Flags {
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

pub(super) async fn status(session: &Session, args: StatusArgs) -> Result<Exit, Refusal> {
    let looked = session
        .look(
            Asked {
                kind: Kind::Status,
                config: &args.policy.config,
                select: &args.select,
                home: Some(&args.home),
                ceilings: Ceilings::default(),
                flags: Flags::new(),
            },
            |plan, restarts| {
                if plan.gaps.is_empty() && restarts.gaps.is_empty() {
                    Exit::Done
                } else {
                    Exit::Failed
                }
            },
        )
        .await?;
    let wide = args.output == StatusOutput::Wide;
    let text = |document: &Document| text::render(document, wide);
    match args.output {
        StatusOutput::Table | StatusOutput::Wide => {
            print_as(Output::Table, &looked.document, text)?;
        }
        StatusOutput::Json => print_as(Output::Json, &looked.document, text)?,
        StatusOutput::Yaml => print_as(Output::Yaml, &looked.document, text)?,
        StatusOutput::Name => {
            let names: Vec<String> = looked
                .document
                .items
                .iter()
                .map(|item| format!("externalsecret.external-secrets.io/{}\n", item.name))
                .collect();
            print(&names.concat())?;
        }
    }
    Ok(looked.exit)
}

impl Session {
    /// Looks by a policy, or at what names, `-n`, `-A` and `-l` select.
    async fn look(
        &self,
        asked: Asked<'_>,
        exit: impl Fn(&Plan, &RestartPlan) -> Exit,
    ) -> Result<Looked, Refusal> {
        let Asked {
            kind, select, home, ..
        } = asked;
        let started = self.world.clock.now();
        let (by_policy, loaded, connected) = self.load_and_connect(asked).await?;
        let cluster = &connected.cluster;
        let discovered = self
            .unless_stopped(discover(cluster, &loaded.policy))
            .await??;
        let (mut plan, _) = self
            .planned(&connected, &loaded.policy, &discovered)
            .await?;
        let digest = by_policy.then_some(&*loaded.digest);
        let heading = Heading {
            run: self.run(cluster, digest, started),
            requests: cluster.requests(),
        };
        names_are_found(&select.names, &plan, &cluster.namespace)?;
        let (restarts, held) = match home {
            Some(home) if !loaded.policy.restart.is_empty() => {
                let looked = self.look_at_workloads(
                    home,
                    cluster,
                    &loaded.policy,
                    &discovered.inventory,
                    &plan,
                );
                looked.await?
            }
            _ => (RestartPlan::default(), BTreeMap::new()),
        };
        if kind == Kind::Plan {
            plan.hold_back(Reason::StampNotWritten, held);
        }
        // The document of ten thousand takes its room.
        drop(discovered);
        let exit = exit(&plan, &restarts);
        let document = Document::of_plan(kind, &plan, heading, exit).with_restarts(&restarts);
        Ok(Looked { document, exit })
    }

    /// By a policy or not, and where.
    async fn load_and_connect(
        &self,
        asked: Asked<'_>,
    ) -> Result<(bool, Loaded, Connected), Refusal> {
        let Asked {
            kind,
            config,
            select,
            ceilings,
            flags,
            ..
        } = asked;
        let selects =
            !select.names.is_empty() || select.all_namespaces || select.selector.is_some();
        if selects && !config.is_empty() {
            return Err(Refusal::usage(
                "a policy (--config) and names, -A or -l exclude each other",
            ));
        }
        self.no_namespace_beside_a_policy(config)
            .or_else(|refusal| {
                // Without a policy -n says where to look.
                if config.is_empty() {
                    Ok(())
                } else {
                    Err(refusal)
                }
            })?;
        let by_policy = !config.is_empty()
            || (self.connection.sandbox.is_some()
                && self.connection.namespace.is_none()
                && !selects);
        let (mut loaded, connected) = if by_policy {
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
        if kind == Kind::Status {
            without_drift(&mut loaded.policy);
        }
        Ok((by_policy, loaded, connected))
    }

    /// What would be restarted, and what would not be synced for its sake.
    async fn look_at_workloads(
        &self,
        home: &HomeArgs,
        cluster: &Cluster,
        policy: &Policy,
        inventory: &Inventory,
        plan: &Plan,
    ) -> Result<(RestartPlan, BTreeMap<usize, String>), Refusal> {
        let own = home.lock_namespace.as_ref().or(home.pod_namespace.as_ref());
        let restarts = Restarts {
            cluster,
            policy,
            inventory,
            plan,
            verdicts: &verdicts(plan),
            options: &restart::Options {
                namespaces: homes(own),
                ..restart::Options::default()
            },
            clock: self.world.clock,
        };
        let looked = self.unless_stopped(restarts.look()).await?;
        let held = restarts.held_back(&looked, &RestartResults::default());
        Ok((looked.plan, held))
    }

    /// The plan, and the drift check that it rests on.
    pub(super) async fn planned(
        &self,
        connected: &Connected,
        policy: &Policy,
        discovered: &Discovered,
    ) -> Result<(Plan, Option<Check>), Refusal> {
        let inventory = &discovered.inventory;
        let now = self.world.clock.now();
        let unchecked = plan::plan(policy, inventory, &Findings::default(), now);
        if !policy.drift.enabled {
            return Ok((unchecked, None));
        }
        let mut check = connected.check(self, policy, discovered)?;
        let wanted = checked(&unchecked);
        drop(unchecked);
        let findings = self.unless_stopped(check.first(inventory, &wanted)).await?;
        let now = self.world.clock.now();
        Ok((plan::plan(policy, inventory, &findings, now), Some(check)))
    }

    /// A connection and a policy for what was typed: only the connection tells the namespace that is meant.
    pub(super) async fn ad_hoc(
        &self,
        access: Access,
        selection: impl Fn(&str) -> super::policy::Entry,
        flags: Flags,
    ) -> Result<(Loaded, Connected), Refusal> {
        // Everything but the namespace is checked first, so that a typing error is told before anything is asked for.
        if let Some(namespace) = &self.connection.namespace
            && !is_namespace(namespace)
        {
            return Err(Refusal::usage(format!(
                "-n `{namespace}` is no name of a namespace"
            )));
        }
        let checked = self.policy_from_selection(&selection("default"), flags.clone(), false)?;
        let connected = self.connect(access, &checked.policy).await?;
        let loaded =
            self.policy_from_selection(&selection(&connected.cluster.namespace), flags, true)?;
        Ok((loaded, connected))
    }
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
fn without_drift(policy: &mut Policy) {
    policy.drift.enabled = false;
    if policy.sync.when == When::Drifted {
        policy.sync.when = When::Always;
    }
}

/// A DNS label, as Kubernetes wants it.
pub(super) fn is_namespace(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
