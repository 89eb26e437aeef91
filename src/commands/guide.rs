//! `guide`: how to give the job the least access at a provider. Reads the cluster, if it answers soon, and changes nothing.

use std::time::Duration;

use cluster::{Access, names::is_name};

use super::init;
use crate::{
    asked::{Entry, Flags},
    cli::GuideArgs,
    discover::discover,
    exit::Exit,
    failure::Failure,
    foreign::line,
    guide::{self, Known, Source},
    output::print,
    policy::Ceilings,
    rbac::{self, JobIdentity},
    session::Session,
};

/// The time in which the cluster must answer. The text is useful without it.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn guide(session: &Session, args: &GuideArgs) -> Result<Exit, Failure> {
    let job = job(session, args)?;
    if args.offline {
        print(&guide::guide(args.subject, &job, Source::Page))?;
        return Ok(Exit::Done);
    }
    // The embedded cluster always answers.
    let patience = if session.connection.sandbox.is_some() {
        Duration::MAX
    } else {
        PATIENCE
    };
    let known = within(patience, Box::pin(known(session)));
    let known = session.unless_stopped(known).await?;
    let source = match &known {
        Ok(known) => Source::Cluster(known),
        Err(why) => Source::Unknown(why),
    };
    print(&guide::guide(args.subject, &job, source))?;
    Ok(Exit::Done)
}

/// The job that the guide is for.
fn job(session: &Session, args: &GuideArgs) -> Result<JobIdentity, Failure> {
    session.check_namespace()?;
    let namespace = session.connection.namespace.as_deref();
    let account = args.service_account.as_deref();
    let account = account.unwrap_or(rbac::SERVICE_ACCOUNT);
    if !is_name(account) {
        return Err(Failure::usage(format!(
            "--service-account: `{}` is not a valid name",
            line(account)
        )));
    }
    Ok(JobIdentity {
        namespace: namespace.unwrap_or(rbac::DEFAULT_NAMESPACE).to_owned(),
        service_account: account.to_owned(),
    })
}

/// The answer of the cluster, or the reason why it gave no answer.
async fn within<T>(
    patience: Duration,
    asked: impl Future<Output = Result<T, Failure>>,
) -> Result<T, String> {
    match tokio::time::timeout(patience, asked).await {
        Ok(answer) => answer.map_err(|failure| failure.message),
        Err(_) => Err(format!("it did not answer within {} s", patience.as_secs())),
    }
}

/// Reads the stores and the ExternalSecrets.
async fn known(session: &Session) -> Result<Known, Failure> {
    let ceilings = Ceilings::default();
    // Discovery keeps the settings of stores for the drift check.
    let loaded = session.policy_from_selection(&Entry::new(), Flags::new(), &ceilings, false)?;
    let connected = session.connect(Access::ReadOnly, &loaded.policy).await?;
    let discovered = discover(&connected.cluster, &loaded.policy).await?;
    Ok(Known::new(
        &discovered.inventory,
        &discovered.sources,
        discovered.labels.as_ref(),
        connected.cluster.context.clone(),
        init::place(&connected),
    ))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn cluster_that_does_not_answer_is_given_up_after_three_seconds() {
        let started = Instant::now();
        let never = std::future::pending::<Result<Known, Failure>>();
        let why = within(PATIENCE, never).await.unwrap_err();
        assert_eq!(why, "it did not answer within 3 s");
        assert_eq!(started.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_in_time_is_used_and_an_error_is_the_reason() {
        assert_eq!(within(PATIENCE, async { Ok(1) }).await, Ok(1));
        let failed = async { Err::<(), _>(Failure::usage("no kubeconfig")) };
        let why = within(PATIENCE, failed).await.unwrap_err();
        assert_eq!(why, "no kubeconfig");
    }
}
