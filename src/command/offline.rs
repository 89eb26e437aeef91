//! Commands that need no cluster.

use clap::CommandFactory as _;
use serde_json::Value;

use super::{Refusal, Session, print};
use crate::{
    cli::{Cli, RbacArgs, SchemaOf, ValidateArgs},
    exit::Exit,
    rbac::{self, JobIdentity},
    report, settings,
};

pub(super) fn validate(session: &Session, args: &ValidateArgs) -> Result<Exit, Refusal> {
    let loaded = session.policy_from_files(
        &args.policy.config,
        super::policy::Flags::new(),
        (&args.ceilings).into(),
    )?;
    print(&format!("the policy is valid (digest {})\n", loaded.digest))?;
    Ok(Exit::Done)
}

pub(super) fn schema(of: SchemaOf) -> Result<Exit, Refusal> {
    let schema: Value = match of {
        SchemaOf::Policy => settings::schema(),
        SchemaOf::Report => report::schema(),
    };
    print(&format!("{schema:#}\n"))?;
    Ok(Exit::Done)
}

pub(super) fn rbac(session: &Session, args: &RbacArgs) -> Result<Exit, Refusal> {
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
        let ceilings = (&args.ceilings).into();
        Some(
            session
                .policy_from_files(&args.policy.config, super::policy::Flags::new(), ceilings)?
                .policy,
        )
    };
    let rules = rbac::rules(policy.as_ref(), &job).with_credentials_in(&args.credentials_in);
    print(&rules.to_yaml())?;
    Ok(Exit::Done)
}

pub(super) fn completion(shell: clap_complete::Shell) -> Result<Exit, Refusal> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "eso-sync", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(super) fn man() -> Result<Exit, Refusal> {
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    clap_mangen::Man::new(Cli::command()).render(&mut page).ok();
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
