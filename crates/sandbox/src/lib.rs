//! The sandbox: a Kubernetes API server on loopback, with a small External Secrets Operator and workload controllers.
//!
//! `--sandbox` runs any command against it, and the tests use it to produce failures. It serves only the requests that
//! eso-sync makes, with the messages of a real API server and the semantics of the real operator (v0.20.4). A difference
//! from the real ones is a bug in the sandbox. eso-sync reaches it over HTTP, with the same client as for any cluster.
//!
//! ```text
//!   manifests ─► load ─► store ◄── api ◄── server ◄── HTTP
//!                          ▲ ▲
//!                          │ └──── operator ── provider
//!                          └────── workloads
//! ```

mod api;
mod artifact;
mod backend;
mod call;
mod data;
mod defaults;
mod discovery;
mod failure;
mod fault;
mod list;
mod load;
mod managed;
mod object;
mod operator;
mod provider;
mod resource;
mod schema;
mod select;
mod server;
mod store;
mod time;
mod watch;
mod workloads;

use std::{io, path::PathBuf, str::FromStr, sync::Arc};

use eso_model::StoreKey;
use jiff::Timestamp;
use pace::Clock;
use serde_json::Value;
use tokio::time::Instant;

use self::{
    api::Api,
    load::Manifest,
    operator::{Operator, Reconciler},
    resource::Resource,
    server::Server,
    store::{Preconditions, Store, Write},
    workloads::Controllers,
};
pub use self::{
    backend::{Backend, CallError, Kept, Records},
    fault::Fault,
    load::LoadError,
};

/// The initial content of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A dozen ExternalSecrets without failures: a sync succeeds.
    Default,
    /// The same kinds of objects, with many failures.
    BadDay,
    /// The manifests in a directory.
    Directory(PathBuf),
}

impl Content {
    /// The policy for this content, for commands that need one and get none.
    pub const fn policy(&self) -> &'static str {
        match self {
            Self::Default | Self::Directory(_) => include_str!("content/policy.yaml"),
            Self::BadDay => include_str!("content/bad-day-policy.yaml"),
        }
    }

    /// What commands show if nothing is named. None for a directory.
    pub const fn example(&self) -> Option<Example> {
        match self {
            Self::Default => Some(Example {
                namespace: "payments",
                name: "stripe",
                key: "prod/web/oauth",
            }),
            Self::BadDay => Some(Example {
                namespace: "platform",
                name: "pipeline",
                key: "prod/web/oauth",
            }),
            Self::Directory(_) => None,
        }
    }
}

/// An ExternalSecret of the built-in content that has a fault, and a key that a workload depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    pub namespace: &'static str,
    pub name: &'static str,
    /// The name of the key at its provider.
    pub key: &'static str,
}

impl FromStr for Content {
    type Err = std::convert::Infallible;

    /// Reads the value of `--sandbox`: empty, `bad-day`, or a directory.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "" => Self::Default,
            "bad-day" => Self::BadDay,
            directory => Self::Directory(directory.into()),
        })
    }
}

/// The reason why the sandbox did not start or did not accept an object.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox could not listen on loopback")]
    Listen(#[source] io::Error),
    #[error("the sandbox could not load its content")]
    Content(#[from] LoadError),
    /// A test applied an invalid object. Holds the API server's message.
    #[error("{0}")]
    Refused(String),
}

/// A request that the API received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PATCH`, …
    pub method: String,
    pub path: String,
    /// The query, without the `?`.
    pub query: String,
    /// `get`, `list`, `watch`, `patch`, …; empty for a path without a resource.
    pub verb: &'static str,
    /// `externalsecrets`, …; empty for a path without a resource.
    pub resource: &'static str,
    /// The `User-Agent` header.
    pub user_agent: String,
    pub body: Vec<u8>,
    /// When the body was read completely.
    pub at: Instant,
}

/// A running sandbox. It stops when it is dropped.
pub struct Sandbox {
    api: Arc<Api>,
    server: Server,
    operator: Operator,
    _controllers: Controllers,
}

/// Settings of a sandbox. A ConfigMap named `eso-sync-sandbox` in the content overrides some of them.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches are independent, and tests set them by name"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Serve `external-secrets.io/v1beta1` instead of `v1`, like operators before v0.16.
    pub v1beta1: bool,
    /// Write MD5 digests, like operators before v0.16.2.
    pub md5: bool,
    /// The number of ExternalSecrets that the operator reconciles concurrently.
    pub workers: u32,
    /// The factor by which the operator's retry delays are shorter than those of the real operator.
    pub speed: u32,
    /// True if the operator runs from the start.
    pub operator: bool,
    /// True if the API serves Argo Rollouts.
    pub argo: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            v1beta1: false,
            md5: false,
            workers: 10,
            speed: 10,
            operator: true,
            argo: true,
        }
    }
}

/// Starts a sandbox with this content. Its clock starts at `now`.
pub async fn start(content: &Content, now: Timestamp) -> Result<Sandbox, SandboxError> {
    Sandbox::with(content, Settings::default(), now).await
}

impl Sandbox {
    /// Starts a sandbox that contains only the namespace `default`.
    pub async fn empty(settings: Settings, now: Timestamp) -> Result<Self, SandboxError> {
        Self::build(&[], settings, now).await
    }

    /// Starts a sandbox with this content.
    pub async fn with(
        content: &Content,
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, SandboxError> {
        let shipped = |file: &str, text: &str| {
            vec![Manifest {
                file: file.to_owned(),
                text: text.to_owned(),
            }]
        };
        let manifests = match content {
            Content::Default => shipped("default.yaml", include_str!("content/default.yaml")),
            Content::BadDay => shipped("bad-day.yaml", include_str!("content/bad-day.yaml")),
            Content::Directory(directory) => load::read_directory(directory)?,
        };
        Self::build(&manifests, settings, now).await
    }

    async fn build(
        manifests: &[Manifest],
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, SandboxError> {
        let version = if settings.v1beta1 { "v1beta1" } else { "v1" };
        let store = Arc::new(Store::new(Clock::starting_at(now), version, settings.argo));
        load::load(&store, manifests)?;
        let settings = load::settings(&store, settings)?;
        let reconciler = Arc::new(Reconciler::new(Arc::clone(&store), settings));
        reconciler.restore_history().await;
        let controllers = workloads::start(Arc::clone(&store)).await;
        // As in a real cluster, the history before the start is not available.
        store.compact();
        let operator = Operator::new(reconciler, settings);
        let api = Arc::new(Api::new(Arc::clone(&store)));
        let server = Server::start(Arc::clone(&api))
            .await
            .map_err(SandboxError::Listen)?;
        artifact::publish(&store, server.address());
        if settings.operator {
            operator.start();
        }
        Ok(Self {
            api,
            server,
            operator,
            _controllers: controllers,
        })
    }

    /// The base URL of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The provider behind a store, with the values that the operator gets from it. The store's address and credentials are not
    /// used, because the sandbox has no provider server.
    pub fn backend(&self, store: &StoreKey) -> Backend {
        Backend::new(
            Arc::clone(&self.api.store),
            Arc::clone(self.operator.provider()),
            store.clone(),
        )
    }

    /// All requests so far, in the order in which they arrived.
    pub fn requests(&self) -> Vec<Request> {
        self.api.requests()
    }

    /// Returns the current state of an object without an API request: `get("externalsecrets", "team-a", "db")`.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let object = self
            .api
            .store
            .get(Resource::of_plural(resource)?, namespace, name)?;
        Some(Value::clone(&object))
    }

    /// Returns the current objects of a resource, in one namespace or in all, without an API request.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        let Some(resource) = Resource::of_plural(resource) else {
            return Vec::new();
        };
        let page = self.api.store.list(resource, namespace);
        page.objects
            .iter()
            .map(|(_, object)| Value::clone(object))
            .collect()
    }

    /// Returns all states of the objects of a resource, in order, since the last compaction.
    pub fn history(&self, resource: &str) -> Vec<Arc<Value>> {
        Resource::of_plural(resource)
            .map_or_else(Vec::new, |resource| self.api.store.history(resource))
    }

    /// Creates or replaces an object, including its status if it has one. This is not an API request: faults do not apply
    /// to it, and it is not recorded.
    pub fn apply(&self, object: Value) -> Result<Value, SandboxError> {
        let refused = |failure: failure::Failure| SandboxError::Refused(failure.message);
        let (api_version, kind) = (
            object::text(&object, "/apiVersion"),
            object::text(&object, "/kind"),
        );
        let resource = Resource::of_manifest(api_version, kind).ok_or_else(|| {
            SandboxError::Refused(format!("the sandbox does not serve {kind} ({api_version})"))
        })?;
        let (namespace, name) = (
            object::namespace(&object).to_owned(),
            object::name(&object).to_owned(),
        );
        let write = Write::by("test");
        let store = &self.api.store;
        let status = object.get("status").cloned();
        let mut applied = match store.get(resource, &namespace, &name) {
            None => store.create(resource, object, write),
            Some(_) => store.update(resource, &namespace, &name, write, |_| Ok(object)),
        }
        .map_err(refused)?;
        if let Some(status) = status.filter(|_| resource.status) {
            let with_status = |current: &Value| {
                let mut next = current.clone();
                object::as_map(&mut next).insert("status".to_owned(), status);
                Ok(next)
            };
            applied = store
                .update(resource, &namespace, &name, write.status(), with_status)
                .map_err(refused)?;
        }
        Ok(Value::clone(&applied))
    }

    /// Deletes an object. Returns false if it does not exist.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        Resource::of_plural(resource).is_some_and(|resource| {
            self.api
                .store
                .delete(resource, namespace, name, &Preconditions::default(), false)
                .is_ok()
        })
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.api.faults.inject(fault);
    }

    /// Removes all faults, and makes silenced watches send events again.
    pub fn clear_faults(&self) {
        self.api.faults.clear();
        self.silence_watches(false);
    }

    /// Starts the operator as a new process that reconciles everything.
    pub fn start_operator(&self) {
        self.operator.start();
    }

    /// Stops the operator immediately, even during a reconciliation.
    pub fn stop_operator(&self) {
        self.operator.stop();
    }

    /// Closes all open watches with a connection error.
    pub fn cut_watches(&self) {
        self.api
            .watch_faults
            .send_modify(|watch_faults| watch_faults.cuts += 1);
    }

    /// Keeps watches open without sending events, or lets them send events again.
    pub fn silence_watches(&self, silent: bool) {
        self.api
            .watch_faults
            .send_modify(|watch_faults| watch_faults.silent = silent);
    }

    /// Compacts the history: a list or watch from an earlier resource version fails with `410 Gone`.
    pub fn compact(&self) {
        self.api.store.compact();
    }
}
