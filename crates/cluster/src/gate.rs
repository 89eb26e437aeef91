//! What every request passes on its way out: whether it may change anything, the pace of the API, and the count.
//!
//! It sits under the retry layer, so that a retry waits its turn and is counted too.

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
use pace::{Bucket, rate::Rate};
use tower::{BoxError, Layer, Service};

use crate::names::is_name;

/// How long the API server may take until its answer begins. Larger than the server's own bound of 60 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(65);

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads, the reviews that ask what is allowed, and requests for tokens: nothing that is kept.
    ReadOnly,
    /// Everything.
    Write,
}

/// The count of requests, and their pace.
#[derive(Debug)]
pub struct Ledger {
    access: Access,
    rate: Rate,
    requests: AtomicU64,
    bucket: Mutex<Bucket>,
    /// Who waits for a turn stands in this queue; it is fair.
    queue: tokio::sync::Mutex<()>,
}

/// Marks a request that has taken its turn already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paced;

/// Marks a request of a client that only looks, beside others over the same connection that may change something.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnlyReads;

impl Ledger {
    /// A new count at this pace.
    pub fn new(access: Access, rate: Rate) -> Self {
        Self {
            access,
            rate,
            requests: AtomicU64::new(0),
            bucket: Mutex::new(Bucket::new(rate)),
            queue: tokio::sync::Mutex::new(()),
        }
    }

    /// The pace.
    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn refuses(&self, request: &Request<Body>) -> bool {
        let only_reads =
            self.access == Access::ReadOnly || request.extensions().get::<OnlyReads>().is_some();
        only_reads
            && request.method() != Method::GET
            && !(request.method() == Method::POST && keeps_nothing(request.uri().path()))
    }

    /// Takes a turn, or says how long to wait for one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    async fn turn(&self) {
        let _place = self.queue.lock().await;
        while let Err(wait) = self.take() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Whether a POST to this path is answered and forgotten: reviews, and tokens of service accounts, which the API server signs
/// and does not store.
fn keeps_nothing(path: &str) -> bool {
    let token = matches!(
        *path.split('/').collect::<Vec<_>>(),
        ["", "api", "v1", "namespaces", namespace, "serviceaccounts", account, "token"]
            if is_name(namespace) && is_name(account)
    );
    token || path.ends_with("accessreviews")
}

/// Whether a path is that of Leases, and not one in which a tenant's object is only called so.
fn is_of_leases(path: &str) -> bool {
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

/// A request that would change something, from a command that only looks.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} would change something, and this command only looks")]
struct OnlyLooks {
    method: Method,
    path: String,
}

#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
struct NoAnswer;

/// Puts the gate in front of a client.
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
        // The inner service is a buffer: its readiness is a permit, which must not be held while a request waits its turn.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ledger = Arc::clone(&self.ledger);
        let inner = self.inner.clone();
        Box::pin(async move {
            if ledger.refuses(&request) {
                let path = request.uri().path().to_owned();
                return Err(OnlyLooks {
                    method: request.method().clone(),
                    path,
                }
                .into());
            }
            // The lock's renewal must not wait behind what it protects.
            let at_once =
                request.extensions().get::<Paced>().is_some() || is_of_leases(request.uri().path());
            if !at_once {
                ledger.turn().await;
            }
            ledger.requests.fetch_add(1, Ordering::Relaxed);
            tokio::time::timeout(ANSWER_TIMEOUT, tower::ServiceExt::oneshot(inner, request))
                .await
                .map_err(|_| NoAnswer)?
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
    fn what_only_looks_reads_and_asks_for_tokens() {
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
    fn an_object_that_is_called_leases_waits_its_turn() {
        let lease = "/apis/coordination.k8s.io/v1/namespaces/ops/leases";
        for path in [lease, &format!("{lease}/eso-sync")] {
            assert!(is_of_leases(path), "{path}");
        }
        for path in [
            "/api/v1/namespaces/team-a/secrets/leases",
            "/api/v1/namespaces/leases/secrets/db",
            "/apis/external-secrets.io/v1/namespaces/team-a/externalsecrets/leases-1",
            "/apis/evil.example/v1/namespaces/team-a/leases/x",
            "/apis/coordination.k8s.io/v1/namespaces/ops/leasesx",
        ] {
            assert!(!is_of_leases(path), "{path}");
        }
    }

    #[test]
    fn what_only_looks_keeps_nothing() {
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
