//! `plan`: shows what a run would do.

use crate::{
    asked::{Asked, reading_if_asked},
    cli::PlanArgs,
    exit::Exit,
    exit::decide::{Tells, exit_of},
    failure::Failure,
    lock_namespace::LockNamespace,
    output::print_as,
    policy::Ceilings,
    report::{Document, Kind, text},
    restart::workloads::Options,
    results::Results,
    run::{Context, Narrow, read_and_plan},
    session::Session,
    settings::Sections,
};

pub(super) async fn plan(session: &Session, args: PlanArgs) -> Result<Exit, Failure> {
    args.table.check(Kind::Plan)?;
    let started = session.world.clock.now();
    let asked = Asked {
        config: &args.policy.config,
        select: &args.select,
        ceilings: Ceilings::from(&args.policy.ceilings),
        flags: reading_if_asked(&args.providers),
        sections: Sections::default(),
    };
    let (chosen, loaded, connected) = session.connect_read_only(asked).await?;
    let options = Options {
        lock_namespace: LockNamespace::of_reader(&args.home, session).of_stamps(),
        ..Options::default()
    };
    let narrowing = chosen.narrowing();
    let context = Context {
        session,
        connected: &connected,
        policy: &loaded.policy,
        options: Some(&options),
        holds: true,
        only: narrowing.as_ref().map(|only| only as &Narrow<'_>),
        awaited: None,
    };
    let (plan, heading) = {
        let (snapshot, plan) = read_and_plan(context, chosen.named(&args.select)).await?;
        let digest = chosen.digest(&loaded);
        (plan, snapshot.heading(context, digest, started))
    };
    let tells = Tells::Plan {
        differences: args.exit_code,
    };
    let exit = exit_of(tells, &plan, &Results::default());
    let mut document = Document::of_plan(Kind::Plan, &plan, heading, exit);
    args.table.sort(&mut document);
    let files = session.world.record.files();
    print_as(args.form.output, &files, &document, |document, view| {
        text::render(document, &args.table.view(view))
    })?;
    Ok(exit)
}
