//! `run`: executes a policy.

use cluster::Access;

use crate::{
    asked::{Chosen, Flags, act_flags, reading_if_asked},
    cli::{ActArgs, RestartFlags, RunArgs},
    exit::Exit,
    failure::Failure,
    lock_namespace::LockNamespace,
    record::Scope,
    restart::workloads::Options,
    run::{self, Context, Narrow, Pipeline},
    session::{Session, can_ask},
    settings::Loaded,
};

pub(super) async fn run(session: &Session, args: RunArgs) -> Result<Exit, Failure> {
    let loaded = load(session, &args, act_flags(&args.act))?;
    Box::pin(by_policy(session, &args, &loaded, Scope::All)).await
}

/// Loads the policy of a run.
pub(super) fn load(session: &Session, args: &RunArgs, mut flags: Flags) -> Result<Loaded, Failure> {
    flags.extend(reading_if_asked(&args.providers));
    args.table.check_run(args.act.dry_run)?;
    session.check_namespace()?;
    session.policy_from_files(&args.policy.config, flags, (&args.policy.ceilings).into())
}

/// Executes a policy.
pub(super) async fn by_policy(
    session: &Session,
    args: &RunArgs,
    loaded: &Loaded,
    scope: Scope,
) -> Result<Exit, Failure> {
    let started = session.world.clock.now();
    let chosen = Chosen::by_policy(&args.names, session)?;
    let narrowing = chosen.narrowing();
    let connected = session.connect(access(&args.act), &loaded.policy).await?;
    let lock_namespace = LockNamespace::of_run(&args.act, session);
    if !args.act.dry_run {
        lock_namespace.keep_history(session, &connected, &loaded.policy.report);
    }
    let options = options(&lock_namespace, &args.restart);
    let pipeline = Pipeline {
        context: Context {
            session,
            connected: &connected,
            policy: &loaded.policy,
            options: Some(&options),
            holds: true,
            only: narrowing.as_ref().map(|only| only as &Narrow<'_>),
            awaited: None,
        },
        lock_namespace,
        named: chosen.policy_has(&args.names),
        asks: !args.act.yes && session.connection.sandbox.is_none() && can_ask(),
        scope,
        digest: Some(&loaded.digest),
        output: args.form.output,
        table: args.table.clone(),
        started,
    };
    run_or_preview(&pipeline, &args.act).await
}

/// Runs the pipeline. A dry run only shows the plan.
pub(super) async fn run_or_preview(
    pipeline: &Pipeline<'_>,
    act: &ActArgs,
) -> Result<Exit, Failure> {
    if act.dry_run {
        run::preview(pipeline).await
    } else {
        Box::pin(run::run(pipeline)).await
    }
}

/// A dry run uses a read-only connection.
pub(super) const fn access(act: &ActArgs) -> Access {
    if act.dry_run {
        Access::ReadOnly
    } else {
        Access::Write
    }
}

/// The options for restarts.
pub(super) fn options(lock_namespace: &LockNamespace, flags: &RestartFlags) -> Options {
    Options {
        lock_namespace: lock_namespace.of_stamps(),
        adopt_anew: flags.adopt_anew,
        retry: flags.retry,
    }
}
