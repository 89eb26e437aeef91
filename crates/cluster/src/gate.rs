//! The gate that every request passes: it blocks changes of read-only clients, waits for a rate permit, and counts.
//!
//! It is below the retry layer, so that each retry takes a rate permit and is counted.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::Body;
use pace::{Announcer, Requests, rate::Rate};
use tower::{BoxError, Layer, Service};

use crate::{cause::Own, names::is_name};

/// The requests that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads, access reviews and token requests. Nothing that is stored.
    ReadOnly,
    Write,
}

/// Requests that were not made in this time may be made at once, as with the clients of Kubernetes.
const BURST: Duration = Duration::from_secs(2);

/// Counts requests and limits their rate.
#[derive(Debug)]
pub struct Ledger {
    access: Access,
    rate: Rate,
    requests: AtomicU64,
    limiter: Requests,
    /// The queue of requests that wait for a rate permit. It is fair.
    queue: tokio::sync::Mutex<()>,
    pub(super) announcer: Announcer,
}

/// What a call waits for, for people. Each layer that waits sets it.
#[derive(Clone, Debug)]
pub(super) struct WaitsFor(Arc<Mutex<String>>);

impl Default for WaitsFor {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(ANSWER.to_owned())))
    }
}

impl WaitsFor {
    pub(super) fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn of(request: &Request<Body>) -> Option<Self> {
        request.extensions().get().cloned()
    }

    /// Sets the text for a request.
    pub(super) fn set_for(request: &Request<Body>, text: String) {
        if let Some(waits_for) = Self::of(request) {
            waits_for.set(text);
        }
    }
}

const ANSWER: &str = "the API server";

/// Marks a request that already holds a rate permit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paced;

/// Marks a request of a read-only client on a connection that may also write.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnlyReads;

impl Ledger {
    pub fn new(access: Access, rate: Rate) -> Self {
        Self {
            access,
            rate,
            requests: AtomicU64::new(0),
            limiter: Requests::new(rate, BURST),
            queue: tokio::sync::Mutex::new(()),
            announcer: Announcer::default(),
        }
    }

    /// The configured rate.
    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn refuses(&self, request: &Request<Body>) -> bool {
        let only_reads =
            self.access == Access::ReadOnly || request.extensions().get::<OnlyReads>().is_some();
        only_reads
            && request.method() != Method::GET
            && !(request.method() == Method::POST && stores_nothing(request.uri().path()))
    }

    /// Takes a rate permit, or returns the time to wait.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.limiter.take()
    }

    async fn wait_for_permit(&self) {
        let _place = self.queue.lock().await;
        while let Err(wait) = self.take() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// True if a POST to this path stores nothing: access reviews, and service account tokens, which the API server signs but does
/// not store.
fn stores_nothing(path: &str) -> bool {
    let token = matches!(
        *path.split('/').collect::<Vec<_>>(),
        ["", "api", "v1", "namespaces", namespace, "serviceaccounts", account, "token"]
            if is_name(namespace) && is_name(account)
    );
    token || path.ends_with("accessreviews")
}

/// True for a path of Leases. A tenant's object with that name does not match.
fn is_lease_path(path: &str) -> bool {
    matches!(
        *path.split('/').collect::<Vec<_>>(),
        [
            "",
            "apis",
            "coordination.k8s.io",
            _,
            "namespaces",
            _,
            "leases"
        ] | [
            "",
            "apis",
            "coordination.k8s.io",
            _,
            "namespaces",
            _,
            "leases",
            _
        ]
    )
}

/// The tower layer that adds the gate to a client.
#[derive(Clone)]
pub(super) struct GateLayer(pub(super) Arc<Ledger>);

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            ledger: Arc::clone(&self.0),
        }
    }
}

#[derive(Clone)]
pub(super) struct Gate<S> {
    inner: S,
    ledger: Arc<Ledger>,
}

impl<S, B> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The inner service is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ledger = Arc::clone(&self.ledger);
        let inner = self.inner.clone();
        Box::pin(async move {
            if ledger.refuses(&request) {
                let (method, path) = (request.method(), request.uri().path());
                let refused = format!(
                    "{method} {path} would change something, but this command is read-only"
                );
                return Err(Own(refused).into());
            }
            // The renewal of the lock must not wait behind the work that the lock protects.
            let skips_queue = request.extensions().get::<Paced>().is_some()
                || is_lease_path(request.uri().path());
            if !skips_queue {
                let before = WaitsFor::of(&request).map(|it| it.text());
                WaitsFor::set_for(&request, "the rate limit of API requests".to_owned());
                ledger.wait_for_permit().await;
                WaitsFor::set_for(&request, before.unwrap_or_default());
            }
            ledger.requests.fetch_add(1, Ordering::Relaxed);
            tower::ServiceExt::oneshot(inner, request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(access: Access, method: &str, path: &str) -> bool {
        let ledger = Ledger::new(access, Rate::per_second(1.0).unwrap());
        let request = Request::builder()
            .method(method)
            .uri(format!("https://kubernetes{path}"));
        ledger.refuses(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn read_only_client_may_read_and_request_tokens() {
        for (method, path) in [
            ("GET", "/api/v1/namespaces/a/secrets/b"),
            (
                "POST",
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            ),
            ("POST", "/api/v1/namespaces/a/serviceaccounts/b.c/token"),
            (
                "POST",
                "/api/v1/namespaces/a/serviceaccounts/b/token?fieldManager=eso-sync",
            ),
        ] {
            assert!(!refuses(Access::ReadOnly, method, path), "{method} {path}");
        }
    }

    #[test]
    fn object_named_leases_is_rate_limited() {
        let lease = "/apis/coordination.k8s.io/v1/namespaces/ops/leases";
        for path in [lease, &format!("{lease}/eso-sync")] {
            assert!(is_lease_path(path), "{path}");
        }
        for path in [
            "/api/v1/namespaces/team-a/secrets/leases",
            "/api/v1/namespaces/leases/secrets/db",
            "/apis/external-secrets.io/v1/namespaces/team-a/externalsecrets/leases-1",
            "/apis/evil.example/v1/namespaces/team-a/leases/x",
            "/apis/coordination.k8s.io/v1/namespaces/ops/leasesx",
        ] {
            assert!(!is_lease_path(path), "{path}");
        }
    }

    #[test]
    fn read_only_client_changes_nothing() {
        for (method, path) in [
            ("PUT", "/api/v1/namespaces/a/serviceaccounts/b/token"),
            ("PATCH", "/api/v1/namespaces/a/serviceaccounts/b"),
            ("POST", "/api/v1/namespaces/a/serviceaccounts"),
            ("POST", "/api/v1/namespaces/a/serviceaccounts/token"),
            (
                "POST",
                "/api/v1/namespaces/a/secrets/serviceaccounts/b/token",
            ),
            ("POST", "/api/v1/namespaces/a/serviceaccounts//token"),
            ("POST", "/api/v1/namespaces/a/serviceaccounts/b%2F../token"),
            ("POST", "/api/v1/namespaces/a/pods/b/token"),
            ("POST", "/api/v1/namespaces/a/serviceaccounts/b/token/x"),
            ("DELETE", "/api/v1/namespaces/a/secrets/b"),
        ] {
            assert!(refuses(Access::ReadOnly, method, path), "{method} {path}");
            assert!(!refuses(Access::Write, method, path), "{method} {path}");
        }
    }
}
