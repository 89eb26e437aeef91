//! `history`: shows the summaries that runs keep in a ConfigMap.

use cluster::{Access, ErrorKind, names::is_name};

use crate::{
    asked::is_namespace,
    cli::HistoryArgs,
    exit::Exit,
    failure::Failure,
    foreign::line,
    history::{self, About, HistoryError},
    lock_namespace::LockNamespace,
    output::print_as,
    policy::Policy,
    rbac::HISTORY,
    session::Session,
};

pub(super) async fn history(session: &Session, args: &HistoryArgs) -> Result<Exit, Failure> {
    let started = session.world.clock.now();
    session.check_namespace()?;
    let named = args.name.as_deref().map(named).transpose()?;
    let policy = Policy::selecting(Vec::new());
    let connected = session.connect(Access::ReadOnly, &policy).await?;
    let cluster = &connected.cluster;
    let about = named.map(|(namespace, name)| About {
        namespace: namespace.unwrap_or_else(|| cluster.namespace.clone()),
        name,
    });
    let home = LockNamespace::of_reader(&args.home, session);
    let namespace = home.of_history();
    let reading = history::read(cluster, namespace);
    let kept = session.unless_stopped(reading).await?;
    let kept = kept.map_err(|error| failed(&error))?.unwrap_or_default();
    let document = history::document(
        kept,
        format!("{namespace}/{HISTORY}"),
        about,
        args.form.files.job.as_ref(),
        session.run(Some(cluster), None, started),
    );
    let files = session.world.record.files();
    print_as(args.form.output, &files, &document, history::text)?;
    Ok(Exit::Done)
}

/// The namespace, if it is given, and the name.
fn named(text: &str) -> Result<(Option<String>, String), Failure> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    if !is_name(name) || !namespace.is_none_or(is_namespace) {
        let shown = line(text);
        return Err(Failure::usage(format!(
            "`{shown}` is not a name. Write NAME or NAMESPACE/NAME of an ExternalSecret or a workload"
        )));
    }
    Ok((namespace.map(str::to_owned), name.to_owned()))
}

fn failed(error: &HistoryError) -> Failure {
    match error {
        HistoryError::Call(call) if call.kind == ErrorKind::Denied => Failure::new(
            Exit::NoAccess,
            error,
        )
        .hint(
            "`eso-sync rbac` prints the right that is needed, if the policy has `report.history`",
        ),
        HistoryError::Call(_) | HistoryError::Slow | HistoryError::Busy(_) => {
            Failure::new(Exit::NoAccess, error)
        }
        HistoryError::Foreign(_) => Failure::new(Exit::Failed, error),
    }
}
