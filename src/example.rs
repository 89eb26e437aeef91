//! What a command shows in the embedded cluster if it is called without a name: at the first call, nobody knows one.

use sandbox::Content;

use crate::cli::{Cli, Command, DiagnoseArgs, ImpactArgs, SyncArgs};

/// Adds what the command lacks, if it uses the embedded cluster. Returns a line that says what was chosen.
pub fn choose(cli: &mut Cli) -> Option<String> {
    let Ok(content) = cli.connection.sandbox.as_deref()?.parse::<Content>();
    let flags = match content {
        Content::Default => "--sandbox",
        Content::BadDay => "--sandbox=bad-day",
        // The examples are in the built-in content.
        Content::Directory(_) => return None,
    };
    let example = content.example()?;
    // Another namespace does not have it.
    let is_elsewhere = cli
        .connection
        .namespace
        .as_ref()
        .is_some_and(|it| it != example.namespace);
    let is_anywhere = cli.connection.namespace.is_none();
    let chosen = match &mut cli.command {
        Command::Sync(args) if is_anywhere && selects_in_a_namespace(args) => {
            args.select.all_namespaces = true;
            return Some(format!(
                "the namespace `default` is empty, so this selects in all namespaces: eso-sync sync -A {flags}"
            ));
        }
        Command::Diagnose(_) | Command::Sync(_) if is_elsewhere => None,
        Command::Diagnose(args) => name(args, example.name).then(|| {
            let namespace = cli
                .connection
                .namespace
                .insert(example.namespace.to_owned());
            format!("diagnose {} -n {namespace}", example.name)
        }),
        Command::Impact(args) => key(args, example.key).then(|| format!("impact {}", example.key)),
        Command::Sync(args) => chain(args, example.name).then(|| {
            let namespace = cli
                .connection
                .namespace
                .insert(example.namespace.to_owned());
            format!("sync {} -n {namespace} --restart", example.name)
        }),
        Command::Run(_)
        | Command::Plan(_)
        | Command::Drift(_)
        | Command::Restart(_)
        | Command::Events(_)
        | Command::Publish(_)
        | Command::Status(_)
        | Command::History(_)
        | Command::Explain { .. }
        | Command::Advise(_)
        | Command::Init(_)
        | Command::Guide(_)
        | Command::Validate(_)
        | Command::Schema(_)
        | Command::Rbac(_)
        | Command::Completion { .. }
        | Command::Man => None,
    };
    chosen.map(|command| format!("nothing is named, so this shows: eso-sync {command} {flags}"))
}

fn name(args: &mut DiagnoseArgs, example: &str) -> bool {
    let lacks = args.name.is_none();
    args.name.get_or_insert_with(|| example.to_owned());
    lacks
}

fn key(args: &mut ImpactArgs, example: &str) -> bool {
    let lacks = args.keys.is_empty() && args.secret.is_none() && args.store.is_none();
    if lacks {
        args.keys.push(example.to_owned());
    }
    lacks
}

/// True if the arguments select by something else than names, and not in all namespaces.
fn selects_in_a_namespace(args: &SyncArgs) -> bool {
    args.selects() && args.select.names.is_empty() && !args.select.all_namespaces
}

/// With its restarts, so that it ends with the whole chain.
fn chain(args: &mut SyncArgs, example: &str) -> bool {
    let lacks = !args.selects();
    if lacks {
        args.select.names.push(example.to_owned());
        args.restart = true;
    }
    lacks
}
