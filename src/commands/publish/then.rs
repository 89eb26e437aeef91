//! The run over the ExternalSecrets that read what was published.

use std::sync::Arc;

use jiff::Timestamp;

use super::Asked;
use crate::{
    asked::{Named, without_drift},
    cli::{PublishWhat, TableArgs},
    exit::Exit,
    failure::Failure,
    inventory::Inventory,
    lock_namespace::LockNamespace,
    output::print_as,
    policy::Policy,
    publish::{self as publishing, Done, Followed, Prepared, document::PublishDocument},
    record::{CutOff, Scope, Whole},
    report::{Document, format::Output},
    restart::workloads::Options,
    run::{self, Context, Narrow, Pipeline},
    session::{Connected, Session},
    stop::Level,
};

/// A document of `publish`, and the exit code.
type Ended = (PublishDocument, Exit);

/// A run that follows a publication.
pub(super) struct Then<'a> {
    session: &'a Session,
    connected: &'a Connected,
    asked: &'a Asked,
    policy: Policy,
    options: Options,
    lock_namespace: LockNamespace,
    output: Option<Output>,
    started: Timestamp,
}

impl<'a> Then<'a> {
    /// None if no published item asks for a sync. Fails if the run could not do its work, before anything is written.
    pub(super) fn of(
        session: &'a Session,
        asked: &'a Asked,
        what: &PublishWhat,
        started: Timestamp,
    ) -> Result<Option<Self>, Failure> {
        let syncs = publishing::syncs(&asked.section, &what.only);
        let Some(connected) = asked.connected.as_ref().filter(|_| syncs) else {
            return Ok(None);
        };
        let policy = asked.loaded.policy.after_publishing();
        // Another run may have read the providers before they were written, so this one follows it.
        let lock_namespace = LockNamespace::of_publisher(what, session).waiting(policy.deadline);
        let options = Options {
            lock_namespace: lock_namespace.of_stamps(),
            ..Options::default()
        };
        if options.lock_namespace.is_none() && !policy.restart.is_empty() {
            return Err(Failure::no_lock_namespace());
        }
        Ok(Some(Self {
            session,
            connected,
            asked,
            policy,
            options,
            lock_namespace,
            output: what.form.output,
            started,
        }))
    }

    /// Adds what a run would do after the planned writes.
    pub(super) async fn foresee(&self, prepared: &Prepared, (document, exit): Ended) -> Ended {
        let followed = prepared.followed(&self.asked.section, None);
        if followed.published.is_empty() {
            return (document, exit);
        }
        // The providers still have the old values, so nothing can be compared.
        let mut policy = self.policy.clone();
        without_drift(&mut policy);
        let narrow = |inventory: &Inventory| followed.part(inventory, false);
        let pipeline = self.pipeline(&policy, &narrow, false);
        match Box::pin(run::foresee(&pipeline)).await {
            Ok(done) => {
                let (run, of_run) = told(&pipeline, &followed, &done);
                let exit = exit.or(of_run);
                (document.followed_by(run, exit), exit)
            }
            Err(failure) => {
                let exit = exit.or(failure.exit);
                (document.not_followed(&failure, exit), exit)
            }
        }
    }

    /// Syncs, proves and restarts what the publication reaches. `asks` is true if nobody was asked about it yet.
    pub(super) async fn carry_out(
        &self,
        prepared: &Prepared,
        done: &[Done],
        asks: bool,
        (document, exit): Ended,
    ) -> Ended {
        let followed = prepared.followed(&self.asked.section, Some(done));
        let checks = self.policy.drift.enabled;
        let nothing_to_check = !checks || followed.unchanged.is_empty();
        if followed.published.is_empty() && nothing_to_check {
            return (document, exit);
        }
        let narrow = |inventory: &Inventory| followed.part(inventory, checks);
        self.reports_when_cut_off(&document);
        let pipeline = self.pipeline(&self.policy, &narrow, asks);
        match Box::pin(run::carry_out(&pipeline)).await {
            Ok(done) => {
                let (run, of_run) = told(&pipeline, &followed, &done);
                pipeline.announce(&done, &run).await;
                let exit = exit.or(of_run);
                (document.followed_by(run, exit), exit)
            }
            Err(failure) => {
                let exit = exit.or(failure.exit);
                (document.not_followed(&failure, exit), exit)
            }
        }
    }

    /// If the process is cut off, the watchdog reports the publication with what is known of the run.
    fn reports_when_cut_off(&self, document: &PublishDocument) {
        let (document, output) = (document.clone(), self.output);
        let report = move |cut: CutOff| {
            let document = document.clone();
            let document = if let Some(run) = cut.document {
                document.followed_by(run, Exit::Stopped)
            } else {
                let failure = Failure::stopped(Level::Now(cut.reason));
                document.not_followed(&failure, Exit::Stopped)
            };
            // An error on stdout can be reported nowhere.
            print_as(output, &cut.files, &document, PublishDocument::text).ok();
        };
        let record = &self.session.world.record;
        record.reports_together(Whole(Arc::new(report)));
    }

    fn pipeline<'b>(
        &'b self,
        policy: &'b Policy,
        only: &'b Narrow<'b>,
        asks: bool,
    ) -> Pipeline<'b> {
        Pipeline {
            context: Context {
                session: self.session,
                connected: self.connected,
                policy,
                options: Some(&self.options),
                holds: true,
                only: Some(only),
                awaited: None,
            },
            lock_namespace: self.lock_namespace.clone(),
            named: Named::default(),
            asks,
            scope: Scope::Published,
            digest: Some(&self.asked.loaded.digest),
            output: self.output,
            table: TableArgs::default(),
            started: self.started,
        }
    }
}

fn told(pipeline: &Pipeline<'_>, followed: &Followed, done: &run::Done) -> (Document, Exit) {
    let (mut document, exit) = pipeline.document(done);
    let inventory = &done.snapshot.discovered.inventory;
    let warnings = followed.warnings(inventory, &done.plan).into_iter();
    document.warnings.extend(warnings.map(Into::into));
    (document, exit)
}
