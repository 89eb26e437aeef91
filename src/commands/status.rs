//! `status`: shows the state of the cluster. Does not read providers.

use crate::{
    asked::{Asked, Flags, Named, without_drift},
    cli::{StatusArgs, StatusOutput},
    exit::Exit,
    exit::decide::{Tells, exit_of},
    failure::Failure,
    lock_namespace::LockNamespace,
    output::{ReportFiles, print, print_as},
    policy::Ceilings,
    report::{Document, Kind, format::Output, text},
    restart::workloads::Options,
    results::Results,
    run::{Context, Narrow, read_and_plan},
    session::Session,
};

pub(super) async fn status(session: &Session, args: StatusArgs) -> Result<Exit, Failure> {
    let started = session.world.clock.now();
    let asked = Asked {
        config: &args.policy.config,
        select: &args.select,
        ceilings: Ceilings::from(&args.policy.ceilings).of_reading(),
        flags: Flags::new(),
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
    };
    let (plan, heading) = {
        let (snapshot, plan) = read_and_plan(context, Named::of(&args.select)).await?;
        let digest = chosen.digest(&loaded);
        (plan, snapshot.heading(context, digest, started))
    };
    let exit = exit_of(Tells::Status, &plan, &Results::default());
    let document = Document::of_plan(Kind::Status, &plan, heading, exit);
    show(args.output, &session.world.record.files(), &document)?;
    Ok(exit)
}

fn show(
    output: Option<StatusOutput>,
    files: &ReportFiles,
    document: &Document,
) -> Result<(), Failure> {
    let text = |document: &Document| text::render(document, output == Some(StatusOutput::Wide));
    let chosen = match output {
        None => None,
        Some(StatusOutput::Table | StatusOutput::Wide) => Some(Output::Table),
        Some(StatusOutput::Json) => Some(Output::Json),
        Some(StatusOutput::Yaml) => Some(Output::Yaml),
        Some(StatusOutput::Name) => {
            let names: Vec<String> = document
                .items
                .iter()
                .map(|item| {
                    format!(
                        "externalsecret.external-secrets.io/{}\n",
                        item.name.terminal()
                    )
                })
                .collect();
            let written = files.write(document);
            return print(&names.concat()).and(written);
        }
    };
    print_as(chosen, files, document, text)
}
