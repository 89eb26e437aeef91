//! `advise`: says which refresh intervals are too long or too short. Reads no provider and no Secret.

use crate::{
    advise::{self, Facts, advice},
    asked::{Asked, Flags, Named, without_drift},
    cli::AdviseArgs,
    discover::discover,
    exit::Exit,
    failure::Failure,
    inventory::ExternalSecret,
    output::{print, print_as},
    policy::Ceilings,
    select::select,
    session::Session,
    settings::Sections,
};

pub(super) async fn advise(session: &Session, args: AdviseArgs) -> Result<Exit, Failure> {
    let started = session.world.clock.now();
    let asked = Asked {
        config: &args.policy.config,
        select: &args.select,
        ceilings: Ceilings::from(&args.policy.ceilings).of_reading(),
        flags: Flags::new(),
        // Queues with events make short intervals needless.
        sections: Sections::EVENTS,
    };
    let (chosen, loaded, connected) = session.connect_read_only(asked).await?;
    let cluster = &connected.cluster;
    let mut policy = loaded.policy.clone();
    // Discovery keeps the specs.
    policy.drift.enabled = true;
    let discovered = session.unless_stopped(discover(cluster, &policy)).await??;
    without_drift(&mut policy);
    let inventory = discovered.inventory;
    let mut selected = select(&policy, &inventory, session.world.clock.now());
    if let Some(only) = chosen.narrowing() {
        selected = selected.only(&only(&inventory));
    }
    let named = Named::of(&args.select);
    named.check_found(&selected, cluster).await?;
    let wanted = selected.iter().filter(|one| one.taken_out.is_none());
    let wanted: Vec<&ExternalSecret> = wanted.map(|one| one.external_secret).collect();
    let queues = policy.events.iter().flat_map(|events| &events.queues);
    let queues: Vec<_> = queues.filter_map(|queue| queue.address().ok()).collect();
    let facts = Facts {
        inventory: &inventory,
        selected: &wanted,
        advise: &policy.advise,
        queues: &queues,
    };
    let run = session.run(Some(cluster), chosen.digest(&loaded), started);
    let document = advice(facts, run);
    let files = session.world.record.files();
    if args.patch {
        let patch = document.patch(&discovered.api.api_version());
        let patch =
            patch.map_err(|why| Failure::failed(format!("cannot print the patch: {why}")))?;
        let written = files.write(&document);
        print(&patch).and(written)?;
    } else {
        print_as(args.output, &files, &document, advise::text)?;
    }
    Ok(document.exit())
}
