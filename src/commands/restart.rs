//! `restart`: executes only the restarts of a policy.

use serde_json::json;

use super::run::{by_policy, load};
use crate::{
    asked::act_flags, cli::RunArgs, exit::Exit, failure::Failure, record::Scope, session::Session,
};

pub(super) async fn restart(session: &Session, args: RunArgs) -> Result<Exit, Failure> {
    let mut flags = act_flags(&args.act);
    flags.insert("sync.when".to_owned(), json!("never"));
    let loaded = load(session, &args, flags)?;
    if loaded.policy.restart.is_empty() {
        return Err(Failure::usage("the policy restarts nothing")
            .hint("add a rule to `restart`, or use `eso-sync sync NAME --restart`"));
    }
    Box::pin(by_policy(session, &args, &loaded, Scope::Restarts)).await
}
