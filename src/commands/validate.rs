//! `validate`: checks if a policy is valid.

use crate::{
    cli::ValidateArgs, exit::Exit, failure::Failure, output::print, session::Session,
    settings::Sections,
};

pub(super) fn validate(session: &Session, args: &ValidateArgs) -> Result<Exit, Failure> {
    let ceilings = (&args.policy.ceilings).into();
    let loaded = session.policy_with(Sections::ALL, &args.policy.config, ceilings, true)?;
    print(&format!("the policy is valid (digest {})\n", loaded.digest))?;
    Ok(Exit::Done)
}
