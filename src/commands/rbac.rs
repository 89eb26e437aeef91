//! `rbac`: prints the rights that a job needs.

use crate::{
    asked::Flags,
    cli::RbacArgs,
    exit::Exit,
    failure::Failure,
    output::print,
    policy::{Ceilings, Policy},
    rbac::{self, JobIdentity, Rbac},
    session::Session,
    settings::Sections,
};

pub(super) fn rbac(session: &Session, args: &RbacArgs) -> Result<Exit, Failure> {
    if let Some(side) = args.side {
        let rights = if args.publish {
            rbac::provider::rights_to_publish(side)
        } else {
            rbac::provider::rights(side)
        };
        print(&rights)?;
        return Ok(Exit::Done);
    }
    let job = JobIdentity {
        namespace: session
            .connection
            .namespace
            .clone()
            .unwrap_or_else(|| rbac::DEFAULT_NAMESPACE.to_owned()),
        service_account: args.service_account.clone().unwrap_or_else(|| {
            let of_publish = args.publish.then_some(rbac::publish::SERVICE_ACCOUNT);
            of_publish.unwrap_or(rbac::SERVICE_ACCOUNT).to_owned()
        }),
    };
    let needed = if args.publish {
        publishing(session, args, &job)?
    } else {
        running(session, args, &job)?
    };
    let mut rules = needed.with_credentials_in(&args.credentials_in);
    if !args.token_for.is_empty() {
        rules = rules.with_tokens_only_for(&args.token_for);
    }
    for warning in rules.warnings() {
        tracing::warn!("{warning}");
    }
    print(&rules.to_yaml())?;
    Ok(Exit::Done)
}

/// The rights of a run.
fn running(session: &Session, args: &RbacArgs, job: &JobIdentity) -> Result<Rbac, Failure> {
    let policy = if args.policy.config.is_empty() {
        None
    } else {
        let ceilings = (&args.policy.ceilings).into();
        let config = &args.policy.config;
        let loaded = session.policy_of_run(Sections::EVENTS, config, Flags::new(), ceilings)?;
        Some(loaded.policy)
    };
    Ok(rbac::rules(policy.as_ref(), job))
}

/// The rights of `publish`.
fn publishing(session: &Session, args: &RbacArgs, job: &JobIdentity) -> Result<Rbac, Failure> {
    let ceilings = Ceilings::from(&args.policy.ceilings).of_publishing();
    let loaded = session.policy_with(Sections::PUBLISH, &args.policy.config, ceilings, true)?;
    let Policy { publish, .. } = &loaded.policy;
    let publish = publish.as_ref().ok_or_else(Failure::nothing_to_publish)?;
    Ok(rbac::publish::publishing(&loaded.policy, publish, job))
}
