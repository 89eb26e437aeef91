//! Commands that only look: their client refuses everything but reads.

use std::path::PathBuf;

use super::{
    Connected, Refusal, Session,
    act::names_are_found,
    policy::{Flags, selection},
    print, print_as,
    restart::{homes, verdicts},
};
use crate::{
    cli::{HomeArgs, Output, PlanArgs, SelectArgs, StatusArgs, StatusOutput},
    cluster::Access,
    discover::discover,
    drift::Findings,
    exit::Exit,
    plan::{self, Plan},
    policy::Ceilings,
    report::{Document, Heading, Kind, exit_of_plan, exit_of_restart_plan, text},
    restart::{self, Restarts, plan::RestartPlan},
    settings::Loaded,
};

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
            Kind::Plan,
            &args.policy.config,
            &args.select,
            &args.home,
            ceilings,
            exit,
        )
        .await?;
    print_as(args.output, &looked.document, |document| {
        text::render(document, false)
    })?;
    Ok(looked.exit)
}

pub(super) async fn status(session: &Session, args: StatusArgs) -> Result<Exit, Refusal> {
    let looked = session
        .look(
            Kind::Status,
            &args.policy.config,
            &args.select,
            &args.home,
            Ceilings::default(),
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
        kind: Kind,
        config: &[PathBuf],
        select: &SelectArgs,
        home: &HomeArgs,
        ceilings: Ceilings,
        exit: impl Fn(&Plan, &RestartPlan) -> Exit,
    ) -> Result<Looked, Refusal> {
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
        let started = self.world.clock.now();
        let by_policy = !config.is_empty()
            || (self.connection.sandbox.is_some()
                && self.connection.namespace.is_none()
                && !selects);
        let (loaded, connected) = if by_policy {
            let loaded = self.policy_from_files(config, Flags::new(), ceilings)?;
            let connected = self.connect(Access::ReadOnly, &loaded.policy).await?;
            (loaded, connected)
        } else {
            self.ad_hoc(
                Access::ReadOnly,
                |namespace| selection(select, namespace),
                limits(&ceilings),
            )
            .await?
        };
        let cluster = &connected.cluster;
        let discovered = self
            .unless_stopped(discover(cluster, &loaded.policy))
            .await??;
        let plan = plan::plan(
            &loaded.policy,
            &discovered.inventory,
            &Findings::default(),
            self.world.clock.now(),
        );
        let digest = by_policy.then_some(&*loaded.digest);
        let heading = Heading {
            run: self.run(cluster, digest, started),
            requests: cluster.requests(),
        };
        names_are_found(&select.names, &plan, &cluster.namespace)?;
        let restarts = if loaded.policy.restart.is_empty() {
            RestartPlan::default()
        } else {
            let restarts = Restarts {
                cluster,
                policy: &loaded.policy,
                inventory: &discovered.inventory,
                plan: &plan,
                verdicts: &verdicts(&plan),
                options: &restart::Options {
                    namespaces: homes(home.lock_namespace.as_ref().or(home.pod_namespace.as_ref())),
                    ..restart::Options::default()
                },
                clock: self.world.clock,
            };
            self.unless_stopped(restarts.look()).await?.plan
        };
        let exit = exit(&plan, &restarts);
        let document = Document::of_plan(kind, &plan, heading, exit).with_restarts(&restarts);
        Ok(Looked { document, exit })
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

/// `--max-syncs` where no policy says how many may be synced.
fn limits(ceilings: &Ceilings) -> Flags {
    let limit = ceilings
        .max_syncs
        .map(|limit| ("safety.maxSyncs".to_owned(), serde_json::json!(limit)));
    limit.into_iter().collect()
}

/// A DNS label, as Kubernetes wants it.
pub(super) fn is_namespace(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
