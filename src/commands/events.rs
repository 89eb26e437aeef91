//! `events`: receives rotation events from queues, syncs what they concern, and acknowledges what is proven.

use std::path::Path as FilePath;

use cluster::{Cluster, Path, wire::Namespace};
use providers::{Ambient, queue::address::InvalidAddress};
use tokio::io::AsyncReadExt as _;

use super::run::{access, options};
use crate::{
    asked::{Named, act_flags},
    cli::{EventsArgs, TableArgs},
    events::{self, EventsDocument, Job, Source, Tally, check_owners, story},
    exit::Exit,
    failure::Failure,
    lock_namespace::LockNamespace,
    output::print_as,
    policy::{Capability, Ceilings, Events},
    record::Scope,
    run::{Context, Pipeline},
    session::{Session, can_ask},
    settings::{Loaded, Sections},
};

/// The largest file with events, in bytes.
const LARGEST: u64 = 256 << 20;

pub(super) async fn events(session: &Session, args: &EventsArgs) -> Result<Exit, Failure> {
    let started = session.world.clock.now();
    let (loaded, events) = load(session, args)?;
    let lines = match &args.from {
        Some(path) => Some(session.unless_stopped(read(path)).await??),
        None => None,
    };
    let connected = session.connect(access(&args.act), &loaded.policy).await?;
    let lock_namespace = LockNamespace::of_run(&args.act, session);
    if !args.act.dry_run {
        lock_namespace.keep_history(session, &connected, &loaded.policy.report);
    }
    let options = options(&lock_namespace, &args.restart);
    let tally = Tally::default();
    let queues = match lines {
        Some(_) => Vec::new(),
        None => open(session, &events, &connected.cluster, &tally).await?,
    };
    let job = Job {
        pipeline: Pipeline {
            context: Context {
                session,
                connected: &connected,
                policy: &loaded.policy,
                options: Some(&options),
                holds: true,
                only: None,
                awaited: None,
            },
            lock_namespace,
            named: Named::default(),
            asks: false,
            scope: Scope::All,
            digest: Some(&loaded.digest),
            output: args.form.output,
            table: TableArgs::default(),
            started,
        },
        events: &events,
        queues: &queues,
        listen: events.listen,
        tally,
    };
    match &lines {
        Some(lines) if args.act.dry_run => job.preview(lines).await,
        // A receive counts as a delivery, so of most queues a dry run shows only the state.
        None if args.act.dry_run => {
            let peeked = job.peek().await;
            report(&job, peeked).await
        }
        lines => {
            confirm(session, args, queues.len()).await?;
            job.reports_when_cut_off();
            let done = match lines {
                Some(lines) => job.from_lines(lines).await,
                None => job.carry_out().await,
            };
            report(&job, done).await
        }
    }
}

/// Reports what was done, also before a failure.
async fn report(job: &Job<'_>, done: Result<(), Failure>) -> Result<Exit, Failure> {
    let failure = match done {
        Err(failure) if job.tally.is_empty() => return Err(failure),
        done => done.err().map(|failure| after_changes(failure, &job.tally)),
    };
    let pipeline = &job.pipeline;
    let session = pipeline.context.session;
    let (document, exit) = job.tally.document(pipeline.heading().run, failure.as_ref());
    if !session.world.record.reports(exit) {
        // The watchdog reports, and ends the process.
        std::future::pending::<()>().await;
    }
    if let Some(failure) = failure {
        failure.print(&session.world.record.files().called());
    }
    session.write_termination_message(&document.termination_summary());
    let files = session.world.record.files();
    print_as(pipeline.output, &files, &document, EventsDocument::text)?;
    Ok(exit)
}

/// A queue that cannot be read any more ends a run that has changed something. So its exit code may not say that nothing was changed.
fn after_changes(mut failure: Failure, tally: &Tally) -> Failure {
    if failure.exit == Exit::NoAccess && tally.has_run() {
        failure.exit = Exit::Failed;
    }
    failure
}

/// Loads the policy and its section.
fn load(session: &Session, args: &EventsArgs) -> Result<(Loaded, Events), Failure> {
    session.no_namespace_beside_a_policy(&args.policy.config)?;
    let ceilings = Ceilings::from(&args.policy.ceilings);
    let flags = act_flags(&args.act);
    let config = &args.policy.config;
    let mut loaded = session.policy_of_run(Sections::EVENTS, config, flags, ceilings.clone())?;
    // Events from a file are in no policy that the ceilings could hold.
    for needed in [Capability::Events, Capability::Sync] {
        if !ceilings.allows(needed) {
            let word = needed.word();
            return Err(Failure::usage(format!(
                "events need `{word}`, which --allow does not permit"
            ))
            .hint(format!("add --allow {word}")));
        }
    }
    let mut events = loaded.policy.events.get_or_insert_default().clone();
    let embedded = session.connection.sandbox.is_some();
    if events.queues.is_empty() && args.from.is_none() && !embedded {
        return Err(Failure::usage(
            "the policy names no queue. List the queues in `events.queues`, or use --from",
        ));
    }
    if let Some(listen) = args.listen {
        events.listen = listen.0;
    }
    if events.listen >= loaded.policy.deadline {
        return Err(Failure::usage(
            "listening must end before the `deadline` of the policy. Set --listen or `events.listen` to a shorter time",
        ));
    }
    events::settings(&mut loaded.policy, &events)?;
    Ok((loaded, events))
}

/// Connects to the queues, and refuses those that do not belong to this cluster.
async fn open(
    session: &Session,
    events: &Events,
    cluster: &Cluster,
    tally: &Tally,
) -> Result<Vec<Source>, Failure> {
    let (owner, queues) = if let Some(content) = &session.connection.sandbox {
        story::queues(content, session.world.clock.now())
    } else {
        let owner = cluster_id(cluster).await?;
        (owner, connect(session, events).await?)
    };
    let checking = check_owners(queues, &owner, events.owner, tally);
    session.unless_stopped(checking).await?
}

async fn connect(session: &Session, events: &Events) -> Result<Vec<Source>, Failure> {
    let ambient = Ambient {
        environment: session.world.environment.clone(),
        ..Ambient::default()
    };
    let mut queues = Vec::with_capacity(events.queues.len());
    for from in &events.queues {
        let name = from.to_string();
        let invalid = |error: InvalidAddress| {
            Failure::usage(format!("{name}: the address {error}")).hint(error.hint())
        };
        let address = from.address().map_err(invalid)?;
        let connecting = providers::connect_queue(&address, &ambient);
        let queue = session.unless_stopped(connecting).await?;
        let queue = queue.map_err(|unread| Source::failure_of(&name, "connect to", unread))?;
        queues.push(Source { name, queue });
    }
    Ok(queues)
}

/// The UID of the namespace kube-system, which identifies a cluster.
async fn cluster_id(cluster: &Cluster) -> Result<String, Failure> {
    let path = Path::core(None, "namespaces").named("kube-system");
    let namespace: Namespace = cluster.get(&path).await.map_err(|error| {
        Failure::new(Exit::NoAccess, &error)
            .hint("the owner of a queue is the UID of the namespace kube-system; the job needs the right to get it")
    })?;
    Ok(namespace.metadata.uid)
}

async fn confirm(session: &Session, args: &EventsArgs, queues: usize) -> Result<(), Failure> {
    if args.act.yes || session.connection.sandbox.is_some() || !can_ask() {
        return Ok(());
    }
    let plural = if queues == 1 { "" } else { "s" };
    let question = format!(
        "Receive from {queues} queue{plural}, sync what the events concern, and acknowledge them?"
    );
    session.confirm("", &question).await
}

/// Reads a file with events, or stdin.
async fn read(path: &FilePath) -> Result<String, Failure> {
    let failed =
        |why: &dyn std::fmt::Display| Failure::usage(format!("--from {}: {why}", path.display()));
    let mut text = String::new();
    let read = if path == FilePath::new("-") {
        let mut input = tokio::io::stdin().take(LARGEST);
        input.read_to_string(&mut text).await
    } else {
        let file = tokio::fs::File::open(path)
            .await
            .map_err(|error| failed(&error))?;
        file.take(LARGEST).read_to_string(&mut text).await
    };
    match read {
        Ok(size) if size as u64 == LARGEST => Err(failed(&"the file is larger than 256 MiB")),
        Ok(_) => Ok(text),
        Err(error) => Err(failed(&error)),
    }
}
