//! Commands that only look: their client refuses everything but reads.

use std::path::PathBuf;

use super::{
    Connected, Refusal, Session,
    policy::{Flags, selection},
    print, print_as,
};
use crate::{
    cli::{Output, PlanArgs, SelectArgs, StatusArgs, StatusOutput},
    cluster::Access,
    discover::discover,
    exit::Exit,
    plan,
    policy::Ceilings,
    report::{Document, Heading, Kind, exit_of_plan, text},
    settings::Loaded,
};

/// A plan, its document and the connection that it was made over.
struct Looked {
    document: Document,
    plan: plan::Plan,
}

pub(super) async fn plan(session: &Session, args: PlanArgs) -> Result<Exit, Refusal> {
    let ceilings = Ceilings::from(&args.ceilings);
    let looked = session
        .look(Kind::Plan, &args.policy.config, &args.select, ceilings)
        .await?;
    print_as(args.output, &looked.document, |document| {
        text::render(document, false)
    })?;
    let differs = args.exit_code && !looked.plan.steps.is_empty();
    let exit = exit_of_plan(&looked.plan);
    Ok(if differs {
        exit.or(Exit::Differences)
    } else {
        exit
    })
}

pub(super) async fn status(session: &Session, args: StatusArgs) -> Result<Exit, Refusal> {
    let looked = session
        .look(
            Kind::Status,
            &args.policy.config,
            &args.select,
            Ceilings::default(),
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
    Ok(if looked.document.gaps.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

impl Session {
    /// Looks by a policy, or at what names, `-n`, `-A` and `-l` select.
    async fn look(
        &self,
        kind: Kind,
        config: &[PathBuf],
        select: &SelectArgs,
        ceilings: Ceilings,
    ) -> Result<Looked, Refusal> {
        let selects =
            !select.names.is_empty() || select.all_namespaces || select.selector.is_some();
        if selects && !config.is_empty() {
            return Err(Refusal::usage(
                "a policy (--config) and names, -A or -l exclude each other",
            ));
        }
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
                Flags::new(),
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
            self.world.clock.now(),
        );
        let digest = by_policy.then_some(&*loaded.digest);
        let heading = Heading {
            run: self.run(cluster, digest, started),
            requests: cluster.requests(),
        };
        let document = Document::of_plan(kind, &plan, heading, exit_of_plan(&plan));
        Ok(Looked { document, plan })
    }

    /// A connection and a policy for what was typed: only the connection tells the namespace that is meant.
    pub(super) async fn ad_hoc(
        &self,
        access: Access,
        selection: impl Fn(&str) -> super::policy::Entry,
        flags: Flags,
    ) -> Result<(Loaded, Connected), Refusal> {
        // Everything but the namespace is checked first, so that a typing error is told before anything is asked for.
        let checked = self.policy_from_selection(&selection("default"), flags.clone())?;
        let connected = self.connect(access, &checked.policy).await?;
        let loaded = self.policy_from_selection(&selection(&connected.cluster.namespace), flags)?;
        Ok((loaded, connected))
    }
}
