//! `run`: what a policy says.

use std::io::{self, IsTerminal as _};

use cluster::Access;

use crate::{
    asked::{Flags, Named, act_flags},
    cli::{ActArgs, RestartFlags, RunArgs},
    exit::Exit,
    failure::Failure,
    lock_namespace::LockNamespace,
    restart::workloads::Options,
    run::{self, By, Scope, Tour},
    session::Session,
    settings::Loaded,
};

pub(super) async fn run(session: &Session, args: RunArgs) -> Result<Exit, Failure> {
    let loaded = load(session, &args, act_flags(&args.act))?;
    Box::pin(by_policy(session, &args, &loaded, Scope::All)).await
}

/// The policy of a run.
pub(super) fn load(session: &Session, args: &RunArgs, flags: Flags) -> Result<Loaded, Failure> {
    session.no_namespace_beside_a_policy(&args.policy.config)?;
    session.policy_from_files(&args.policy.config, flags, (&args.ceilings).into())
}

/// Does what a policy says.
pub(super) async fn by_policy(
    session: &Session,
    args: &RunArgs,
    loaded: &Loaded,
    scope: Scope,
) -> Result<Exit, Failure> {
    let started = session.world.clock.now();
    let connected = session.connect(access(&args.act), &loaded.policy).await?;
    let home = LockNamespace::from(&args.act);
    let options = options(&home, &args.restart);
    let tour = Tour {
        by: By {
            session,
            connected: &connected,
            policy: &loaded.policy,
            options: Some(&options),
            holds: true,
        },
        home,
        named: Named::default(),
        asks: !args.act.yes && session.connection.sandbox.is_none() && is_terminal(),
        scope,
        digest: Some(&loaded.digest),
        output: args.form.output,
        started,
    };
    tour_or_preview(&tour, &args.act).await
}

/// A dry run only looks.
pub(super) async fn tour_or_preview(tour: &Tour<'_>, act: &ActArgs) -> Result<Exit, Failure> {
    if act.dry_run {
        run::preview(tour).await
    } else {
        Box::pin(run::run(tour)).await
    }
}

/// A dry run only looks.
pub(super) const fn access(act: &ActArgs) -> Access {
    if act.dry_run {
        Access::ReadOnly
    } else {
        Access::Write
    }
}

/// What restarts are told.
pub(super) fn options(home: &LockNamespace, flags: &RestartFlags) -> Options {
    Options {
        namespaces: home.namespaces(),
        adopt_anew: flags.adopt_anew,
        retry: flags.retry,
    }
}

/// Whether somebody can be asked.
pub(super) fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
