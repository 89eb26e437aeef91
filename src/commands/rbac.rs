//! `rbac`: prints the rights that a job needs.

use crate::{
    asked::Flags,
    cli::{RbacArgs, RightsForm},
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
    // The job in the chart's values.
    let (needed, values_of) = if args.publish {
        (publishing(session, args, &job)?, "publish")
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
    print(&match args.rights_form {
        Some(RightsForm::HelmValues) => rules.to_helm_values(values_of),
        Some(RightsForm::Yaml) | None => rules.to_yaml(),
    })?;
    Ok(Exit::Done)
}

/// The rights of a run, and the job in the chart's values that has such a policy.
fn running(
    session: &Session,
    args: &RbacArgs,
    job: &JobIdentity,
) -> Result<(Rbac, &'static str), Failure> {
    let policy = if args.policy.config.is_empty() {
        None
    } else {
        let ceilings = (&args.policy.ceilings).into();
        let config = &args.policy.config;
        let loaded = session.policy_of_run(Sections::EVENTS, config, Flags::new(), ceilings)?;
        Some(loaded.policy)
    };
    let takes_events = policy
        .as_ref()
        .is_some_and(|policy| policy.events.is_some());
    let values_of = if takes_events { "events" } else { "sync" };
    Ok((rbac::rules(policy.as_ref(), job), values_of))
}

/// The rights of `publish`.
fn publishing(session: &Session, args: &RbacArgs, job: &JobIdentity) -> Result<Rbac, Failure> {
    let ceilings = Ceilings::from(&args.policy.ceilings).of_publishing();
    let loaded = session.policy_with(Sections::PUBLISH, &args.policy.config, ceilings, true)?;
    let Policy { publish, .. } = &loaded.policy;
    let publish = publish.as_ref().ok_or_else(Failure::nothing_to_publish)?;
    Ok(rbac::publish::publishing(&loaded.policy, publish, job))
}
