//! `init`: writes a policy for what the cluster has. Reads no provider and no Secret, and changes nothing in the cluster.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use cluster::{Access, Cluster, ErrorKind, wire};
use serde_json::json;

use crate::{
    asked::{Entry, Flags, is_namespace},
    cli::InitArgs,
    consumers::list::consumers,
    discover::{Discovered, discover},
    exit::Exit,
    failure::Failure,
    foreign::{line, shell_word},
    init::{Draft, Found, Install, References, draft, files},
    inventory::ExternalSecret,
    output::print,
    policy::Ceilings,
    rbac::{self, JobIdentity, ServiceAccountName},
    session::{Connected, Session},
    settings::Sections,
};

pub(super) async fn init(session: &Session, args: &InitArgs) -> Result<Exit, Failure> {
    let scope = scope(session)?;
    if let Some(dir) = &args.dir {
        create_new(dir)?;
    }
    let mut entry = Entry::new();
    if !scope.is_empty() {
        entry.insert("namespaces".to_owned(), json!(scope));
    }
    let ceilings = Ceilings::default();
    // Discovery keeps the settings of stores for the drift check.
    let loaded = session.policy_from_selection(&entry, Flags::new(), &ceilings, false)?;
    let connected = session.connect(Access::ReadOnly, &loaded.policy).await?;
    let cluster = &connected.cluster;
    let discovering = discover(cluster, &loaded.policy);
    let discovered = session.unless_stopped(discovering).await??;
    let all = discovered.inventory.external_secrets.iter();
    let written = all.filter(|one| one.target.written);
    let secrets: BTreeSet<_> = written.map(ExternalSecret::secret_id).collect();
    let consumers = session.unless_stopped(consumers(cluster, &secrets)).await?;
    let warning = warn_of_empty(&scope, &discovered, cluster);
    session.unless_stopped(warning).await?;
    let place = place(&connected);
    let drafted = draft(&Found {
        inventory: &discovered.inventory,
        sources: &discovered.sources,
        labels: discovered.labels.as_ref(),
        consumers: &consumers,
        scope: &scope,
        place: &place,
    });
    // A policy that is not valid must not be written, and the rights depend on what it says.
    let text = drafted.text.clone();
    let checked =
        session.policy_from_text(Sections::default(), "the new policy", text, ceilings)?;
    let Some(dir) = &args.dir else {
        print(&drafted.text)?;
        return Ok(Exit::Done);
    };
    let job = JobIdentity {
        namespace: rbac::DEFAULT_NAMESPACE.to_owned(),
        service_account: rbac::SERVICE_ACCOUNT.to_owned(),
    };
    let References {
        namespaces,
        accounts,
    } = &drafted.references;
    let namespaces: Vec<String> = namespaces.iter().cloned().collect();
    let accounts: Vec<ServiceAccountName> = accounts.iter().cloned().collect();
    let rights = rbac::rules(Some(&checked.policy), &job)
        .with_credentials_in(&namespaces)
        .with_tokens_only_for(&accounts);
    for warning in rights.warnings() {
        tracing::warn!("{warning}");
    }
    let install = files(&drafted, &rights);
    write(dir, &install)?;
    say_next(session, dir, &drafted, &install);
    Ok(Exit::Done)
}

/// The namespaces that `-n` names, separated by commas.
fn scope(session: &Session) -> Result<Vec<String>, Failure> {
    let Some(text) = &session.connection.namespace else {
        return Ok(Vec::new());
    };
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    match names.iter().find(|name| !is_namespace(name)) {
        None => Ok(names),
        Some(name) => Err(Failure::usage(format!(
            "-n: `{}` is not a valid namespace name. Several are separated by commas",
            line(name)
        ))),
    }
}

/// Warns about namespaces without ExternalSecrets, because a name may be mistyped.
async fn warn_of_empty(scope: &[String], discovered: &Discovered, cluster: &Cluster) {
    let all = &discovered.inventory.external_secrets;
    let has = |name: &str| all.iter().any(|one| one.id.namespace == name);
    for name in scope.iter().filter(|name| !has(name)) {
        let path = cluster::Path::core(None, "namespaces").named(name);
        // Without the right to read it, it is taken for one that exists.
        let why = match cluster.get::<wire::Namespace>(&path).await {
            Err(error) if error.kind == ErrorKind::NotFound => "does not exist",
            Ok(_) | Err(_) => "has no ExternalSecret that can be seen",
        };
        tracing::warn!("the namespace `{name}` {why}; the policy selects it anyway");
    }
    if scope.is_empty() && all.is_empty() {
        tracing::warn!(
            "no ExternalSecret can be seen in the cluster; the policy selects all that will be there"
        );
    }
}

/// The cluster, for people.
pub(super) fn place(connected: &Connected) -> String {
    let cluster = &connected.cluster;
    if connected.sandbox().is_some() {
        return "the sandbox".to_owned();
    }
    match &cluster.context {
        Some(context) => format!("the context {context} ({})", cluster.server),
        None => cluster.server.to_string(),
    }
}

/// Creates the folder. Fails if it has any content, so that nothing is overwritten, and if nothing can be written there.
fn create_new(dir: &Path) -> Result<(), Failure> {
    let failed = |why: &str| Failure::usage(format!("--dir {}: {why}", dir.display()));
    fs::create_dir_all(dir).map_err(|error| failed(&error.to_string()))?;
    let content = fs::read_dir(dir).map(Iterator::count);
    if content.map_err(|error| failed(&error.to_string()))? > 0 {
        return Err(failed(
            "the folder is not empty. Name a new one: nothing is overwritten",
        ));
    }
    let probe = dir.join(".eso-sync");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|_| fs::remove_file(&probe))
        .map_err(|error| failed(&format!("nothing can be written there: {error}")))
}

fn write(dir: &Path, install: &Install) -> Result<(), Failure> {
    let failed = |path: &Path, error: &io::Error| {
        Failure::failed(format!("cannot write {}: {error}", path.display()))
    };
    for (name, text) in &install.files {
        let path = dir.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// Says on stderr what to do with the files.
fn say_next(session: &Session, dir: &Path, drafted: &Draft, install: &Install) {
    let config = shell_word(&dir.join("config.yaml").to_string_lossy());
    let dir = shell_word(&dir.to_string_lossy());
    let names: Vec<&str> = install.files.iter().map(|(name, _)| *name).collect();
    let called = session.world.record.files().called();
    let plan = called.command(&format!("plan --config {config}"));
    let kubectl = format!("kubectl{}", session.connection.flags_of_kubectl());
    let mut text = format!(
        "wrote {} to {dir}\n\n\
         See what a run would do:      {plan}\n\
         Set your image, and install:  {kubectl} apply -k {dir}\n\
         The job has the ceilings:     {}\n",
        names.join(", "),
        install
            .flags
            .iter()
            .map(|flag| shell_word(flag))
            .collect::<Vec<_>>()
            .join(" ")
    );
    if drafted.allow.contains("drift") {
        text.push_str("The comments below `drift` in config.yaml say what the job still needs at the providers.\n");
    }
    // A closed stderr must not cause another error.
    write!(io::stderr(), "{text}").ok();
}
