//! A cluster to try things in: a Kubernetes API on loopback with a small External Secrets Operator behind it.
//!
//! `--sandbox` runs any command against it, and the tests drive their bad days with it. It answers what eso-sync asks, in
//! the words of a real API server and with the semantics of the real operator (v0.20.4), and no more. What differs from the
//! real ones is a bug here. Nothing of eso-sync looks in: it is reached over HTTP, by the same client stack as any cluster.
//!
//! ```text
//!   manifests ─► load ─► store ◄── api ◄── server ◄── HTTP
//!                          ▲ ▲
//!                          │ └──── operator ── provider
//!                          └────── workloads
//! ```

mod api;
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
    backend::{Backend, CallError},
    fault::Fault,
    load::LoadError,
};

/// What the cluster holds at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A dozen ExternalSecrets on an ordinary day: after a sync all is well.
    Default,
    /// The other kind of day.
    BadDay,
    /// The manifests in a directory.
    Directory(PathBuf),
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

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No port on loopback.
    #[error("the sandbox could not listen on loopback")]
    Listen(#[source] io::Error),
    /// The content cannot be loaded.
    #[error("the sandbox could not load its content")]
    Content(#[from] LoadError),
    /// An object that a test wants to apply is no good.
    #[error("{0}")]
    Refused(String),
}

/// A request that the API was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PATCH`, …
    pub method: String,
    /// The path.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// `get`, `list`, `watch`, `patch`, …; empty where the path is about no resource.
    pub verb: &'static str,
    /// `externalsecrets`, …; empty where the path is about no resource.
    pub resource: &'static str,
    /// The header of that name.
    pub user_agent: String,
    /// The body.
    pub body: Vec<u8>,
    /// When it was read in full.
    pub at: Instant,
}

/// A running sandbox. It ends when it is dropped.
pub struct Sandbox {
    api: Arc<Api>,
    server: Server,
    operator: Operator,
    _controllers: Controllers,
}

/// What a sandbox is like apart from its content. A ConfigMap `eso-sync-sandbox` in the content can say otherwise.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, and tests name those that they turn"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Serve `external-secrets.io/v1beta1`, as operators before v0.16 do, not `v1`.
    pub v1beta1: bool,
    /// Write MD5 digests, as operators before v0.16.2 do.
    pub md5: bool,
    /// ExternalSecrets that the operator works on at a time.
    pub workers: u32,
    /// The operator comes back after failures so many times sooner than a real one.
    pub speed: u32,
    /// Whether the operator runs from the start.
    pub operator: bool,
    /// Whether the kinds of Argo Rollouts are installed.
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

/// Starts a sandbox with this content, in which it is `now`.
pub async fn start(content: &Content, now: Timestamp) -> Result<Sandbox, SandboxError> {
    Sandbox::with(content, Settings::default(), now).await
}

impl Sandbox {
    /// A sandbox with nothing in it but the namespace `default`.
    pub async fn empty(settings: Settings, now: Timestamp) -> Result<Self, SandboxError> {
        Self::build(&[], settings, now).await
    }

    /// A sandbox with this content.
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
        reconciler.recall().await;
        let controllers = workloads::start(Arc::clone(&store)).await;
        // A cluster has a past that nobody remembers.
        store.compact();
        let operator = Operator::new(reconciler, settings);
        let api = Arc::new(Api::new(store));
        let server = Server::start(Arc::clone(&api))
            .await
            .map_err(SandboxError::Listen)?;
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

    /// The address of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The provider behind a store, with the values that the operator gets from it. The store's address and credentials play no
    /// part: the sandbox has no server to send them to.
    pub fn backend(&self, store: &StoreKey) -> Backend {
        Backend::new(
            Arc::clone(&self.api.store),
            Arc::clone(self.operator.provider()),
            store.clone(),
        )
    }

    /// The requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        self.api.requests()
    }

    /// An object as it is now, past the API: `get("externalsecrets", "team-a", "db")`.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let object = self
            .api
            .store
            .get(Resource::of_plural(resource)?, namespace, name)?;
        Some(Value::clone(&object))
    }

    /// All objects of a resource as they are now, of one namespace or of all, past the API.
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

    /// Every state that objects of a resource were in, in order, as far back as watches may begin.
    pub fn history(&self, resource: &str) -> Vec<Arc<Value>> {
        Resource::of_plural(resource)
            .map_or_else(Vec::new, |resource| self.api.store.history(resource))
    }

    /// Creates an object, or replaces it where it exists; with its status, if it brings one. Past the API: no fault hits it
    /// and no request is noted.
    pub fn apply(&self, object: Value) -> Result<Value, SandboxError> {
        let refused = |failure: failure::Failure| SandboxError::Refused(failure.message);
        let (api_version, kind) = (
            object::text(&object, "/apiVersion"),
            object::text(&object, "/kind"),
        );
        let resource = Resource::of_manifest(api_version, kind).ok_or_else(|| {
            SandboxError::Refused(format!("the sandbox knows no {kind} ({api_version})"))
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

    /// Deletes an object; false where there is none.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        Resource::of_plural(resource).is_some_and(|resource| {
            self.api
                .store
                .delete(resource, namespace, name, &Preconditions::default(), false)
                .is_ok()
        })
    }

    /// Brings a fault about.
    pub fn inject(&self, fault: Fault) {
        self.api.faults.inject(fault);
    }

    /// Ends all faults, and the silence of watches.
    pub fn clear_faults(&self) {
        self.api.faults.clear();
        self.silence_watches(false);
    }

    /// Starts the operator, as a new process that looks at everything.
    pub fn start_operator(&self) {
        self.operator.start();
    }

    /// Stops the operator, in the middle of whatever it does.
    pub fn stop_operator(&self) {
        self.operator.stop();
    }

    /// Cuts all watches that are open.
    pub fn cut_watches(&self) {
        self.api
            .disturbance
            .send_modify(|disturbance| disturbance.cuts += 1);
    }

    /// Keeps watches open but sends nothing, or lets them speak again.
    pub fn silence_watches(&self, silent: bool) {
        self.api
            .disturbance
            .send_modify(|disturbance| disturbance.silent = silent);
    }

    /// Forgets the past: whoever goes on from an earlier resource version is told `410 Gone`.
    pub fn compact(&self) {
        self.api.store.compact();
    }
}
