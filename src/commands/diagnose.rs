//! `diagnose`: finds out why one ExternalSecret is stale or failing.

use std::collections::BTreeSet;

use cluster::{Access, Cluster, Path, Query, names::is_name, wire};
use eso_model::Id;
use serde_json::json;

use crate::{
    asked::{Entry, Named, reading, restart_by_reference, with_namespace},
    cli::DiagnoseArgs,
    consumers::list::consumers,
    diagnose::{self, Consumer, Facts, PodData},
    exit::Exit,
    failure::Failure,
    lock_namespace::LockNamespace,
    output::print_as,
    plan::Plan,
    policy::{Ceilings, RestartWhen},
    restart::workloads::Options,
    run::{Context, read_and_plan},
    session::Session,
    suggest::suggesting,
};

pub(super) async fn diagnose(session: &Session, args: DiagnoseArgs) -> Result<Exit, Failure> {
    let name = name(&args)?;
    let started = session.world.clock.now();
    let entry = |namespace: &str| only(name, namespace);
    let (mut flags, ceilings) = (reading(&args.providers), Ceilings::default());
    let options = stamps(&args, session);
    if options.is_some() {
        let rule = restart_by_reference(RestartWhen::Changed);
        flags.insert("restart".to_owned(), rule);
    }
    let connecting = session.ad_hoc(Access::ReadOnly, entry, flags, &ceilings);
    let (loaded, connected) = connecting.await?;
    let cluster = &connected.cluster;
    let context = Context {
        session,
        connected: &connected,
        policy: &loaded.policy,
        options: options.as_ref(),
        holds: false,
        only: None,
        awaited: None,
    };
    let (snapshot, plan) = read_and_plan(context, Named::default()).await?;
    let inventory = &snapshot.discovered.inventory;
    let item = plan.items.iter().find(|item| item.id.name == *name);
    let external_secret = inventory
        .external_secrets
        .iter()
        .find(|external_secret| external_secret.id.name == *name);
    let (Some(item), Some(external_secret)) = (item, external_secret) else {
        return Err(not_found(cluster, name).await);
    };
    let check = snapshot.check.as_ref();
    let reads = check
        .map(|check| check.reads(external_secret))
        .unwrap_or_default();
    let warnings = session
        .unless_stopped(warnings(cluster, &item.id, &item.uid))
        .await?;
    let consumers = session
        .unless_stopped(using(cluster, item.secret_id(), &plan))
        .await?;
    let facts = Facts {
        item,
        inventory,
        warnings: warnings.as_deref().map_err(|why| &**why),
        reads: &reads,
        consumers: consumers.as_deref().map_err(|why| &**why),
    };
    let diagnosis = diagnose::diagnose(facts, session.run(Some(cluster), None, started));
    print_as(
        args.form.output,
        &session.world.record.files(),
        &diagnosis,
        |diagnosis, _| diagnosis.text(),
    )?;
    Ok(diagnosis.exit())
}

/// How the stamps of workloads are read: they can be compared only with the key in the lock namespace.
fn stamps(args: &DiagnoseArgs, session: &Session) -> Option<Options> {
    let lock_namespace = LockNamespace::of_reader(&args.home, session).of_stamps()?;
    Some(Options {
        lock_namespace: Some(lock_namespace),
        ..Options::default()
    })
}

/// The name of the ExternalSecret.
fn name(args: &DiagnoseArgs) -> Result<&String, Failure> {
    let Some(name) = &args.name else {
        return Err(Failure::usage("give the NAME of one ExternalSecret"));
    };
    if is_name(name) {
        return Ok(name);
    }
    let message =
        format!("`{name}` is not a valid name. Give the name of one ExternalSecret, without globs");
    Err(Failure {
        hint: with_namespace(name),
        ..Failure::usage(message)
    })
}

/// The error for a name that is not found, with what may be meant.
async fn not_found(cluster: &Cluster, name: &str) -> Failure {
    let namespace = &cluster.namespace;
    let failure = Failure::not_found(&format!(
        "externalsecrets \"{name}\" not found in namespace {namespace}"
    ));
    suggesting(failure, cluster, name, namespace).await
}

/// The selection of this ExternalSecret.
fn only(name: &str, namespace: &str) -> Entry {
    let mut entry = Entry::new();
    entry.insert("names".to_owned(), json!([name]));
    entry.insert("namespaces".to_owned(), json!([namespace]));
    entry
}

/// The workloads whose pods use a Secret in any form, and what the plan knows about their pods.
async fn using(cluster: &Cluster, secret: Id, plan: &Plan) -> Result<Vec<Consumer>, String> {
    let found = consumers(cluster, &BTreeSet::from([secret])).await;
    if let Some(gap) = found.gaps.first() {
        return Err(gap.why.clone());
    }
    let consumers = found.of.keys().map(|id| {
        let mut steps = plan.restarts.steps.iter();
        Consumer {
            workload: format!("{}/{}", id.kind.into_str(), id.name),
            data: steps
                .find(|step| step.id == *id)
                .map_or(PodData::NotRead, PodData::of),
        }
    });
    Ok(consumers.collect())
}

/// The operator's warnings about this ExternalSecret, oldest first.
async fn warnings(cluster: &Cluster, id: &Id, uid: &str) -> Result<Vec<String>, String> {
    let path = Path::core(Some(&id.namespace), "events");
    let query = Query::new(path).with("fieldSelector", "involvedObject.kind=ExternalSecret");
    let mut found: Vec<(u64, String)> = Vec::new();
    let each = |event: wire::Event| {
        if event.involved_object.uid == uid && event.r#type == "Warning" {
            let version = event.metadata.resource_version.parse().unwrap_or_default();
            found.push((version, event.message));
        }
    };
    cluster
        .list(&query, each)
        .await
        .map_err(|error| error.to_string())?;
    found.sort_by_key(|(version, _)| *version);
    Ok(found.into_iter().map(|(_, message)| message).collect())
}
