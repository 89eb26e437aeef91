//! `rbac`: prints the rights that a job needs.

use providers::queue::address::Address;

use crate::{
    asked::Flags,
    cli::{RbacArgs, RightsForm},
    exit::Exit,
    failure::Failure,
    output::print,
    policy::{Ceilings, Policy},
    rbac::{self, JobIdentity, Rbac, provider::Side},
    session::Session,
    settings::Sections,
};

pub(super) fn rbac(session: &Session, args: &RbacArgs) -> Result<Exit, Failure> {
    if let Some(side) = args.side {
        return at_provider(session, args, side);
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

/// The rights at a provider. Those on queues need a policy to be exact.
fn at_provider(session: &Session, args: &RbacArgs, side: Side) -> Result<Exit, Failure> {
    if args.publish {
        print(&rbac::provider::rights_to_publish(side))?;
        return Ok(Exit::Done);
    }
    let policy = policy(session, args)?;
    let queues: Option<Vec<Address>> = policy.map(|policy| {
        let queues = policy.events.iter().flat_map(|events| &events.queues);
        queues.filter_map(|queue| queue.address().ok()).collect()
    });
    print(&rbac::provider::rights(side, queues.as_deref()))?;
    for hint in rbac::provider::hints(side, queues.as_deref().unwrap_or_default()) {
        session.say(&hint);
    }
    Ok(Exit::Done)
}

/// The policy, if one is given.
fn policy(session: &Session, args: &RbacArgs) -> Result<Option<Policy>, Failure> {
    let config = &args.policy.config;
    if config.is_empty() {
        return Ok(None);
    }
    let ceilings = (&args.policy.ceilings).into();
    let loaded = session.policy_of_run(Sections::EVENTS, config, Flags::new(), ceilings)?;
    Ok(Some(loaded.policy))
}

/// The rights of a run, and the job in the chart's values that has such a policy.
fn running(
    session: &Session,
    args: &RbacArgs,
    job: &JobIdentity,
) -> Result<(Rbac, &'static str), Failure> {
    let policy = policy(session, args)?;
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
