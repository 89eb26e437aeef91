//! `rbac`: prints the rights that a job needs.

use crate::{
    asked::Flags,
    cli::RbacArgs,
    exit::Exit,
    failure::Failure,
    output::print,
    rbac::{self, JobIdentity},
    session::Session,
};

pub(super) fn rbac(session: &Session, args: &RbacArgs) -> Result<Exit, Failure> {
    if let Some(side) = args.side {
        print(&rbac::provider::rights(side))?;
        return Ok(Exit::Done);
    }
    let job = JobIdentity {
        namespace: session
            .connection
            .namespace
            .clone()
            .unwrap_or_else(|| rbac::DEFAULT_NAMESPACE.to_owned()),
        service_account: args.service_account.clone(),
    };
    let policy = if args.policy.config.is_empty() {
        None
    } else {
        let ceilings = (&args.policy.ceilings).into();
        Some(
            session
                .policy_from_files(&args.policy.config, Flags::new(), ceilings)?
                .policy,
        )
    };
    let rules = rbac::rules(policy.as_ref(), &job)
        .with_credentials_in(&args.credentials_in)
        .with_tokens_only_for(&args.token_for);
    for warning in rules.warnings() {
        tracing::warn!("{warning}");
    }
    print(&rules.to_yaml())?;
    Ok(Exit::Done)
}
