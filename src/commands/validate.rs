//! `validate`: checks if a policy is valid.

use crate::{cli::ValidateArgs, exit::Exit, failure::Failure, output::print, session::Session};

pub(super) fn validate(session: &Session, args: &ValidateArgs) -> Result<Exit, Failure> {
    let loaded = session.policy_to_publish(&args.policy.config, (&args.policy.ceilings).into())?;
    print(&format!("the policy is valid (digest {})\n", loaded.digest))?;
    Ok(Exit::Done)
}
