//! `status`: shows the state of the cluster. Does not read providers.

mod watch;

use crate::{
    asked::{Asked, Flags, Named, without_drift},
    cli::{StatusArgs, StatusOutput},
    exit::Exit,
    exit::decide::{Tells, exit_of},
    failure::Failure,
    lock_namespace::LockNamespace,
    output::{ReportFiles, print, print_as},
    policy::Ceilings,
    report::{Document, DocumentItem, Kind, format::Output, text},
    restart::workloads::Options,
    results::Results,
    run::{Context, Narrow, read_and_plan},
    session::Session,
    settings::Sections,
};

pub(super) async fn status(session: &Session, args: StatusArgs) -> Result<Exit, Failure> {
    args.table.check(Kind::Status)?;
    let asked = Asked {
        config: &args.policy.config,
        select: &args.select,
        ceilings: Ceilings::from(&args.policy.ceilings).of_reading(),
        flags: Flags::new(),
        sections: Sections::default(),
    };
    let (chosen, mut loaded, connected) = session.connect_read_only(asked).await?;
    without_drift(&mut loaded.policy);
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
        holds: false,
        only: narrowing.as_ref().map(|only| only as &Narrow<'_>),
        awaited: None,
    };
    let digest = chosen.digest(&loaded);
    let look = async |named: Named<'_>| {
        let started = session.world.clock.now();
        let (plan, heading) = {
            let (snapshot, plan) = read_and_plan(context, named).await?;
            (plan, snapshot.heading(context, digest, started))
        };
        let exit = exit_of(Tells::Status, &plan, &Results::default());
        let mut document = Document::of_plan(Kind::Status, &plan, heading, exit);
        args.table.sort(&mut document);
        Ok::<_, Failure>((document, exit))
    };
    let (document, exit) = look(chosen.named(&args.select)).await?;
    if args.watch {
        // What was named may vanish meanwhile.
        let again = async || look(Named::default()).await;
        return watch::watch(session, &args, (document, exit), again).await;
    }
    show(&args, &session.world.record.files(), &document)?;
    Ok(exit)
}

fn show(args: &StatusArgs, files: &ReportFiles, document: &Document) -> Result<(), Failure> {
    let chosen = match args.output {
        None => None,
        Some(StatusOutput::Table) => Some(Output::Table),
        Some(StatusOutput::Wide) => Some(Output::Wide),
        Some(StatusOutput::Json) => Some(Output::Json),
        Some(StatusOutput::Yaml) => Some(Output::Yaml),
        Some(StatusOutput::Name) => {
            let written = files.write(document);
            return print(&names(document.items.iter())).and(written);
        }
    };
    print_as(chosen, files, document, |document, view| {
        text::render(document, &args.table.view(view))
    })
}

fn names<'a>(items: impl Iterator<Item = &'a DocumentItem>) -> String {
    let names = items.map(|item| {
        format!(
            "externalsecret.external-secrets.io/{}\n",
            item.name.terminal()
        )
    });
    names.collect()
}
