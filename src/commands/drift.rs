//! `drift`: compares the data of the Secrets with the providers.

use crate::{
    asked::{Asked, reading},
    cli::DriftArgs,
    exit::Exit,
    exit::decide::{Tells, exit_of},
    failure::Failure,
    output::print_as,
    policy::Ceilings,
    report::{Document, Kind, text},
    results::Results,
    run::{Context, Narrow, read_and_plan},
    session::Session,
    settings::Sections,
};

pub(super) async fn drift(session: &Session, args: DriftArgs) -> Result<Exit, Failure> {
    args.table.check(Kind::Drift)?;
    let started = session.world.clock.now();
    let asked = Asked {
        config: &args.policy.config,
        select: &args.select,
        ceilings: Ceilings::from(&args.policy.ceilings).of_reading(),
        flags: reading(&args.providers),
        sections: Sections::default(),
    };
    let (chosen, loaded, connected) = session.connect_read_only(asked).await?;
    let narrowing = chosen.narrowing();
    let context = Context {
        session,
        connected: &connected,
        policy: &loaded.policy,
        options: None,
        holds: false,
        only: narrowing.as_ref().map(|only| only as &Narrow<'_>),
        awaited: None,
    };
    let (plan, heading) = {
        let (snapshot, plan) = read_and_plan(context, chosen.named(&args.select)).await?;
        let digest = chosen.digest(&loaded);
        (plan, snapshot.heading(context, digest, started))
    };
    let exit = exit_of(Tells::Drift, &plan, &Results::default());
    let mut document = Document::of_plan(Kind::Drift, &plan, heading, exit);
    args.table.sort(&mut document);
    let files = session.world.record.files();
    print_as(args.form.output, &files, &document, |document, view| {
        text::render(document, &args.table.view(view))
    })?;
    Ok(exit)
}
