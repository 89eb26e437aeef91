//! `advise`: says which refresh intervals are too long or too short. Reads no target Secret and no value; with `--rotation`, it asks
//! the providers for metadata.

use std::collections::BTreeMap;

use providers::Unread;

use crate::{
    advise::{self, Advice, Facts, Rotations, Users, advice, rotated},
    asked::{Asked, Flags, Named, reading, without_drift},
    cli::AdviseArgs,
    discover::{Discovered, discover},
    exit::Exit,
    failure::Failure,
    inventory::ExternalSecret,
    output::{ReportFiles, print, print_as},
    policy::{Ceilings, Policy},
    select::select,
    session::{Connected, Session},
    settings::Sections,
};

pub(super) async fn advise(session: &Session, args: AdviseArgs) -> Result<Exit, Failure> {
    let started = session.world.clock.now();
    let asked = Asked {
        config: &args.policy.config,
        select: &args.select,
        ceilings: Ceilings::from(&args.policy.ceilings).of_reading(),
        flags: args
            .rotation
            .map_or_else(Flags::new, |_| reading(&args.providers)),
        // Queues with events make short intervals needless.
        sections: Sections::EVENTS,
    };
    let (chosen, loaded, connected) = session.connect_read_only(asked).await?;
    let cluster = &connected.cluster;
    let mut policy = loaded.policy.clone();
    // Discovery keeps the specs.
    policy.drift.enabled = true;
    let mut discovered = session.unless_stopped(discover(cluster, &policy)).await??;
    without_drift(&mut policy);
    let inventory = std::mem::take(&mut discovered.inventory);
    let mut selected = select(&policy, &inventory, session.world.clock.now());
    if let Some(only) = chosen.narrowing() {
        selected = selected.only(&only(&inventory));
    }
    let named = Named::of(&args.select);
    named.check_found(&selected, cluster).await?;
    let wanted = selected.iter().filter(|one| one.taken_out.is_none());
    let wanted: Vec<&ExternalSecret> = wanted.map(|one| one.external_secret).collect();
    let look = Look {
        session,
        connected: &connected,
        policy: &policy,
    };
    let rotations = match args.rotation {
        Some(users) => Some(look.rotations(users, &wanted, &mut discovered).await?),
        None => None,
    };
    let queues = policy.events.iter().flat_map(|events| &events.queues);
    let queues: Vec<_> = queues.filter_map(|queue| queue.address().ok()).collect();
    let facts = Facts {
        inventory: &inventory,
        selected: &wanted,
        advise: &policy.advise,
        queues: &queues,
        rotations: rotations.as_ref(),
    };
    let run = session.run(Some(cluster), chosen.digest(&loaded), started);
    let document = advice(facts, run);
    let api_version = discovered.api.api_version();
    let files = session.world.record.files();
    if args.patch {
        print_patch(&document, &api_version, &files)?;
    } else {
        print_as(args.output, &files, &document, advise::text)?;
    }
    Ok(document.exit())
}

fn print_patch(document: &Advice, api_version: &str, files: &ReportFiles) -> Result<(), Failure> {
    let patch = document.patch(api_version);
    let patch = patch.map_err(|why| Failure::failed(format!("cannot print the patch: {why}")))?;
    let written = files.write(document);
    print(&patch).and(written)
}

/// What providers are asked with.
struct Look<'a> {
    session: &'a Session,
    connected: &'a Connected,
    policy: &'a Policy,
}

impl Look<'_> {
    /// Asks the providers when they rotate the secrets of these ExternalSecrets.
    async fn rotations(
        &self,
        users: Users,
        external_secrets: &[&ExternalSecret],
        discovered: &mut Discovered,
    ) -> Result<Rotations, Failure> {
        let secrets = rotated(external_secrets.iter().copied());
        let mut reader = self.connected.reader(self.session, self.policy, discovered);
        let until = self.session.world.stop.deadline();
        let asking = reader.rotations(&secrets, until);
        let found = self.session.unless_stopped(asking).await?;
        let known = found.into_iter();
        let of: BTreeMap<_, _> = known
            .map(|(secret, rotation)| (secret, rotation.map_err(|unread| why(&unread))))
            .collect();
        Ok(Rotations { users, of })
    }
}

fn why(unread: &Unread) -> String {
    let lacking = unread.permission.as_ref();
    let lacking = lacking.map(|it| format!("; missing permission: {it}"));
    format!("{}{}", unread.why, lacking.unwrap_or_default())
}
