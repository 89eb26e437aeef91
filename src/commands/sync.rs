//! `sync`: syncs the ExternalSecrets that the arguments select.

use serde_json::json;

use super::run::{access, options, run_or_preview};
use crate::{
    asked::{
        Entry, Flags, Named, act_flags, reading, reading_if_asked, restart_by_reference, selection,
        store,
    },
    cli::SyncArgs,
    exit::Exit,
    failure::Failure,
    lock_namespace::LockNamespace,
    policy::{Ceilings, RestartWhen, When},
    record::Scope,
    run::{Context, Pipeline},
    session::Session,
};

pub(super) async fn sync(session: &Session, args: SyncArgs) -> Result<Exit, Failure> {
    let asks = !args.act.yes && !args.act.dry_run && session.connection.sandbox.is_none();
    check(&args)?;
    args.table.check_run(args.act.dry_run)?;
    let started = session.world.clock.now();
    let selects = |namespace: &str| entry(&args, namespace);
    let ceilings = Ceilings {
        allow: args.allow.clone(),
        max_syncs: args.max_syncs,
        max_restarts: args.max_restarts,
        ..Ceilings::default()
    };
    let (loaded, connected) = session
        .ad_hoc(access(&args.act), selects, flags(&args), &ceilings)
        .await?;
    let lock_namespace = LockNamespace::of_run(&args.act, session);
    let options = options(&lock_namespace, &args.restart_flags);
    let pipeline = Pipeline {
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
        named: Named {
            store: args.store.as_deref(),
            ..Named::of(&args.select)
        },
        asks,
        scope: if args.restart {
            Scope::Chain
        } else {
            Scope::Syncs
        },
        digest: None,
        output: args.form.output,
        table: args.table.clone(),
        started,
    };
    run_or_preview(&pipeline, &args.act).await
}

/// Checks the combination of arguments before connecting.
fn check(args: &SyncArgs) -> Result<(), Failure> {
    if !args.selects() {
        return Err(Failure::usage(
            "specify what to sync: NAME, --all, -A, --store, --failed or -l",
        ));
    }
    if args.all && !args.select.names.is_empty() {
        return Err(Failure::usage("NAME and --all cannot be used together"));
    }
    Ok(())
}

/// The entry of `select` for the arguments.
fn entry(args: &SyncArgs, namespace: &str) -> Entry {
    let mut entry = selection(&args.select, namespace);
    if let Some(text) = &args.store {
        entry.insert("stores".to_owned(), json!([store(text)]));
    }
    if args.failed {
        entry.insert("states".to_owned(), json!(["failed", "never-synced"]));
    }
    entry
}

/// The policy keys that the flags of `sync` set.
fn flags(args: &SyncArgs) -> Flags {
    let mut flags = act_flags(&args.act);
    flags.insert("sync.generators".to_owned(), json!(args.generators));
    // Sync everything that the user selected, even if its Secret is in sync.
    flags.insert("sync.when".to_owned(), json!(When::Always.into_str()));
    flags.insert("drift.enabled".to_owned(), json!(false));
    if let Some(limit) = args.max_syncs {
        flags.insert("safety.maxSyncs".to_owned(), json!(limit));
    }
    if args.restart {
        // All workloads that use a Secret, unless they are known to run with its data.
        let rule = restart_by_reference(RestartWhen::Unproven);
        flags.insert("restart".to_owned(), rule);
    }
    if let Some(remedy) = args.on_still_stale {
        flags.insert("sync.onStillStale".to_owned(), json!(remedy));
    }
    // The chain begins at the provider, and so does the comparison after a sync.
    let reads = if args.restart || args.on_still_stale.is_some() {
        reading(&args.providers)
    } else {
        reading_if_asked(&args.providers)
    };
    if !reads.is_empty() {
        // What cannot be compared is synced, too: the user selected it.
        flags.insert("drift.onUnverifiable".to_owned(), json!("report"));
    }
    flags.extend(reads);
    if let Some(limit) = args.max_restarts {
        flags.insert("safety.maxRestarts".to_owned(), json!(limit));
    }
    flags
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    /// The user selected what to sync, so a store that cannot be read must not hold it back.
    #[test]
    fn comparison_never_prevents_a_sync() {
        for (more, compares) in [
            (&[][..], false),
            (&["--restart"], true),
            (&["--on-still-stale", "report"], true),
            (&["--credentials", "store"], true),
            (&["--endpoint", "https://vault.example:8200"], true),
            (&["--namespaced-stores"], true),
        ] {
            let cli = Cli::parse_from([&["eso-sync", "sync", "db"], more].concat());
            let Command::Sync(args) = cli.command else {
                panic!("another command")
            };
            let flags = flags(&args);
            assert_eq!(flags["drift.enabled"], compares, "{more:?}");
            let unverifiable = flags.get("drift.onUnverifiable");
            assert_eq!(
                unverifiable,
                compares.then_some(&json!("report")),
                "{more:?}"
            );
            assert_eq!(flags["sync.when"], "always", "{more:?}");
        }
    }
}
