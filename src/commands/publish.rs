//! `publish`: writes secrets from repositories to providers; `publish list` and `publish status` only look.

use std::path::PathBuf;

use cluster::{Access, Cluster};
use publish::plan::Ceilings as Limits;

mod smc;
mod then;

use self::then::Then;
use crate::{
    cli::{PublishArgs, PublishCommand, PublishStatusArgs, PublishWhat},
    discover::discover,
    exit::Exit,
    failure::Failure,
    lock_namespace::LockNamespace,
    output::{print, print_as},
    pattern::Wildcard,
    policy::{Capability, Ceilings, Policy, Publish, Selection},
    publish::{
        self as publishing, Job, Prepared, Programs,
        document::{PublishDocument, PublishKind},
    },
    readers::Readers,
    report::Run,
    session::{Connected, Session},
    settings::{Loaded, Sections},
    trace::Phase,
};

pub(super) async fn publish(session: &Session, args: PublishArgs) -> Result<Exit, Failure> {
    let what = match &args.command {
        None => &args.what,
        Some(PublishCommand::List(what)) => what,
        Some(PublishCommand::Status(args)) => &args.what,
    };
    if what.print_policy {
        let text = smc::policy(what)?;
        // What is printed is a valid policy. Its ceilings are those of the job that gets it.
        let nothing_closed = Ceilings::default();
        session.policy_from_text(
            Sections::PUBLISH,
            "the manifests",
            text.clone(),
            nothing_closed,
        )?;
        print(&text)?;
        return Ok(Exit::Done);
    }
    match &args.command {
        None => Box::pin(write(session, &args)).await,
        Some(PublishCommand::List(what)) => list(session, what),
        Some(PublishCommand::Status(args)) => Box::pin(status(session, args)).await,
    }
}

/// A policy with the section `publish`, and the connection if one is needed.
struct Asked {
    loaded: Loaded,
    section: Publish,
    limits: Limits,
    connected: Option<Connected>,
    /// The sources that flags permit. None: all.
    sources: Option<Vec<Wildcard>>,
}

impl Asked {
    fn cluster(&self) -> Option<&Cluster> {
        Some(&self.connected.as_ref()?.cluster)
    }
}

async fn write(session: &Session, args: &PublishArgs) -> Result<Exit, Failure> {
    let asks = !args.yes && !args.dry_run && session.connection.sandbox.is_none();
    let access = if args.dry_run {
        Access::ReadOnly
    } else {
        Access::Write
    };
    let loaded = load_to_write(session, &args.what)?;
    let asked = asked(session, &args.what, access, loaded).await?;
    if let Some(connected) = asked.connected.as_ref().filter(|_| !args.dry_run) {
        let home = LockNamespace::of_publisher(&args.what, session);
        home.keep_history(session, connected, &asked.loaded.policy.report);
    }
    let started = session.world.clock.now();
    let then = Then::of(session, &asked, &args.what, started)?;
    let prepared = prepared(session, &args.what, &asked, false).await?;
    let run = || of_run(session, &asked, started);
    let kind = (PublishKind::PublishPlan, run());
    let (plan, exit) = prepared.document(&asked.section, kind, None, args.exit_code);
    if args.dry_run {
        let (plan, exit) = match &then {
            Some(then) => then.foresee(&prepared, (plan, exit)).await,
            None => (plan, exit),
        };
        return printed(session, &args.what, &plan, exit);
    }
    let writes = prepared.writes();
    if asks && writes > 0 {
        let question = if then.is_some() {
            format!("Write {writes} secrets, and sync the ExternalSecrets that read them?")
        } else {
            format!("Write {writes} secrets?")
        };
        session
            .confirm(&plan.text(&session.asking()), &question)
            .await?;
    }
    let writing = prepared.carry_out(&session.world.stop);
    let done = session.in_phase(Phase::Publish, writing).await;
    let kind = (PublishKind::PublishReport, run());
    let ended = prepared.document(&asked.section, kind, Some(&done), false);
    let (document, exit) = match &then {
        Some(then) => {
            let asks = asks && writes == 0;
            then.carry_out(&prepared, &done, asks, ended).await
        }
        None => ended,
    };
    if !session.world.record.reports(exit) {
        // The watchdog reports, and ends the process.
        std::future::pending::<()>().await;
    }
    session.write_termination_message(&document.termination_summary());
    printed(session, &args.what, &document, exit)
}

async fn status(session: &Session, args: &PublishStatusArgs) -> Result<Exit, Failure> {
    let loaded = load(session, &args.what)?;
    let asked = asked(session, &args.what, Access::ReadOnly, loaded).await?;
    let started = session.world.clock.now();
    let prepared = prepared(session, &args.what, &asked, args.verify).await?;
    let kind = (PublishKind::PublishStatus, of_run(session, &asked, started));
    let (document, exit) = prepared.document(&asked.section, kind, None, true);
    printed(session, &args.what, &document, exit)
}

fn list(session: &Session, what: &PublishWhat) -> Result<Exit, Failure> {
    let loaded = load(session, what)?;
    let section = section(&loaded, what)?;
    let run = session.run(None, Some(&loaded.digest), session.world.clock.now());
    let document = publishing::list(&section, &what.only, run);
    printed(session, what, &document, Exit::Done)
}

fn load(session: &Session, what: &PublishWhat) -> Result<Loaded, Failure> {
    let ceilings = Ceilings::from(&what.policy.ceilings).of_publishing();
    if what.from_smc.is_empty() {
        return session.policy_with(Sections::PUBLISH, &what.policy.config, ceilings, true);
    }
    let text = smc::policy(what)?;
    session.say("the equivalent policy:");
    // Each line is escaped and shortened on its own.
    text.lines().for_each(|line| session.say(line));
    session.policy_from_text(Sections::PUBLISH, "the manifests", text, ceilings)
}

/// Like [`load`], for a command that writes. If a run follows, its ceilings hold, too.
fn load_to_write(session: &Session, what: &PublishWhat) -> Result<Loaded, Failure> {
    let loaded = load(session, what)?;
    let follows = loaded.policy.publish.as_ref().is_some_and(Publish::syncs);
    if follows {
        let ceilings = Ceilings::from(&what.policy.ceilings);
        // Its warnings were logged already.
        return session.policy_with(Sections::PUBLISH, &what.policy.config, ceilings, false);
    }
    Ok(loaded)
}

fn section(loaded: &Loaded, what: &PublishWhat) -> Result<Publish, Failure> {
    let section = loaded.policy.publish.clone();
    let section = section.ok_or_else(Failure::nothing_to_publish)?;
    match publishing::unknown_item(&section, &what.only) {
        None => Ok(section),
        Some(name) => Err(Failure::usage(format!(
            "--only {name}: the policy has no such item. `eso-sync publish list` shows them"
        ))),
    }
}

async fn asked(
    session: &Session,
    what: &PublishWhat,
    access: Access,
    loaded: Loaded,
) -> Result<Asked, Failure> {
    let section = section(&loaded, what)?;
    let ceilings = Ceilings::from(&what.policy.ceilings);
    let limits = Limits {
        publish: true,
        prune: ceilings.allows(Capability::Prune),
        revert: ceilings.allow.is_some() && ceilings.allows(Capability::Revert),
        destroy: ceilings.allows(Capability::Destroy),
        max_writes: usize::try_from(what.ceilings.max_writes).ok(),
        max_prunes: usize::try_from(what.ceilings.max_prunes).ok(),
    };
    let connected = if publishing::needs_cluster(&section, &what.only) {
        Some(session.connect(access, &loaded.policy).await?)
    } else {
        session.world.end_in(loaded.policy.deadline);
        let deletes = publishing::deletes(&section, &what.only, limits);
        let keeps = loaded.policy.keeps_history() && matches!(access, Access::Write);
        if deletes || keeps {
            let connected = session.connect(access, &loaded.policy).await;
            let failed = |Failure { message, .. }: &Failure| {
                session.say(&if deletes {
                    unread(message)
                } else {
                    format!("the run will be missing in the history: {message}")
                });
            };
            connected.inspect_err(failed).ok()
        } else {
            None
        }
    };
    Ok(Asked {
        loaded,
        section,
        limits,
        connected,
        // The artifacts of the sandbox are on loopback.
        sources: ceilings
            .permitted_sources()
            .filter(|_| session.connection.sandbox.is_none()),
    })
}

/// Reads, looks and plans.
async fn prepared(
    session: &Session,
    what: &PublishWhat,
    asked: &Asked,
    verify: bool,
) -> Result<Prepared, Failure> {
    let namespace = LockNamespace::of_publisher(what, session).of_stamps();
    let deletes = publishing::deletes(&asked.section, &what.only, asked.limits);
    let readers = match asked.cluster() {
        Some(cluster) if deletes => readers(session, cluster, &asked.loaded.policy).await?,
        Some(_) | None => None,
    };
    // A relative path is one of the current folder, which the programs do not get.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let programs = Programs {
        kustomize: what.kustomize_program.as_ref().map(absolute),
        sops: what.sops_program.as_ref().map(absolute),
    };
    let job = Job {
        policy: &asked.loaded.policy,
        publish: &asked.section,
        cluster: asked.cluster(),
        sandbox: asked.connected.as_ref().and_then(Connected::sandbox),
        namespace: namespace.as_deref(),
        environment: &session.world.environment,
        ceilings: asked.limits,
        sources: asked.sources.as_deref(),
        programs: &programs,
        verify,
        readers: readers.as_ref(),
        clock: session.world.clock,
    };
    let reading = Box::pin(job.prepare(&what.only));
    let preparing = session.in_phase(Phase::ReadSources, reading);
    let prepared = session.unless_stopped(preparing).await?;
    prepared.map_err(|fault| failed(&fault))
}

/// What the ExternalSecrets of the whole cluster read. None if some of them could not be read.
async fn readers(
    session: &Session,
    cluster: &Cluster,
    policy: &Policy,
) -> Result<Option<Readers>, Failure> {
    let mut everywhere = policy.clone();
    everywhere.select = vec![Selection::default()];
    let discovering = discover(cluster, &everywhere);
    let inventory = session.unless_stopped(discovering).await??.inventory;
    let readers = Readers::of(&inventory);
    let gap = inventory.gaps.first();
    let why = gap
        .map(|gap| format!("{}: {}", gap.what, gap.why))
        .or_else(|| {
            let (id, why) = readers.unknown.first_key_value()?;
            Some(format!("{id}: {why}"))
        });
    match why {
        None => Ok(Some(readers)),
        Some(why) => {
            session.say(&unread(&why));
            Ok(None)
        }
    }
}

fn unread(why: &str) -> String {
    format!("nothing is deleted, because it is not known what ExternalSecrets read: {why}")
}

fn of_run(session: &Session, asked: &Asked, started: jiff::Timestamp) -> Run {
    session.run(asked.cluster(), Some(&asked.loaded.digest), started)
}

fn printed(
    session: &Session,
    what: &PublishWhat,
    document: &PublishDocument,
    exit: Exit,
) -> Result<Exit, Failure> {
    let files = session.world.record.files();
    print_as(what.form.output, &files, document, PublishDocument::text)?;
    Ok(exit)
}

fn failed(fault: &publishing::Fault) -> Failure {
    Failure {
        exit: Exit::NoAccess,
        message: format!("{} ({})", fault.message, fault.reason),
        hint: None,
        problems: Vec::new(),
    }
}
