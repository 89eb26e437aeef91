//! `restart`: executes only the restarts of a policy.

use serde_json::json;

use super::run::{by_policy, load};
use crate::{
    asked::act_flags, cli::RunArgs, exit::Exit, failure::Failure, record::Scope, session::Session,
};

pub(super) async fn restart(session: &Session, args: RunArgs) -> Result<Exit, Failure> {
    if !args.table.columns.is_empty() || args.table.sort_by.is_some() {
        return Err(Failure::usage(
            "--columns and --sort-by are for tables of ExternalSecrets, and `restart` shows workloads",
        ));
    }
    let mut flags = act_flags(&args.act);
    flags.insert("sync.when".to_owned(), json!("never"));
    let loaded = load(session, &args, flags)?;
    if loaded.policy.restart.is_empty() {
        return Err(Failure::usage("the policy restarts nothing")
            .hint("add a rule to `restart`, or use `eso-sync sync NAME --restart`"));
    }
    Box::pin(by_policy(session, &args, &loaded, Scope::Restarts)).await
}
