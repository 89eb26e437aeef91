//! The calls to the Kubernetes API, with plain paths and small types.
//!
//! Lists are read page by page and reduced while they are parsed: ten thousand whole ExternalSecrets take 360 MiB, and the needed
//! parts a tenth of that. The number of objects per page follows their size, because any tenant may write objects of 1.5 MB.
//! Tests replace the transport: the sandbox serves real HTTP.

mod address;
mod answer;
pub mod cause;
mod choose;
pub mod connect;
mod credentials;
pub mod escape;
mod failure;
mod gate;
mod header;
mod kubeconfig;
pub mod names;
pub mod native;
mod options;
mod page;
mod pages;
pub mod path;
mod plugin;
mod proxy;
pub mod remote;
mod tls;
mod transport;
pub mod wire;

use std::{fmt, ops::ControlFlow, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use http::Request;
use kube::core::WatchEvent;
use pace::{Wait, bytes::Share};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use self::{
    answer::{Body, Refused},
    gate::WaitsFor,
};
pub use address::{Address, InvalidAddress, Target};
pub use gate::{Access, Ledger};
pub use names::FIELD_MANAGER;
pub use pages::{ListObserver, Pages, ShowList};
pub use path::Path;
pub use plugin::{ProcessGroup, kill_plugins};

/// The maximum size of an answer in bytes. The largest object is a ConfigMap of 1 MiB in which each character is escaped.
const MAX_ANSWER: usize = 8 << 20;

/// The time limit for one call including retries. It does not apply to a watch.
const CALL_TIMEOUT: Duration = Duration::from_mins(2);

/// The time limit for one attempt, if the caller does the retries.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// The pauses before retries of a read that found no connection. Errors that the server returns are retried in a lower layer.
const READ_RETRY_PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// The API server ends a watch after this time, so that a silent connection is noticed.
const WATCH_SECONDS: u32 = 290;

/// A connected cluster.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    ledger: Arc<Ledger>,
    /// The server with its TLS settings and its proxy, without credentials.
    settings: Arc<transport::Settings>,
    /// The proxies that the environment names.
    proxies: Arc<proxy::Environment>,
    /// True if this client may only read, even if the connection allows writes.
    only_reads: bool,
    /// The time limit for one call.
    call_timeout: Duration,
    /// The maximum size of an answer in bytes, and the maximum number of pages of a list.
    max_answer: usize,
    max_pages: usize,
    /// The bytes that answers may hold while they are parsed. None: only `max_answer` limits them.
    bytes: Option<Share>,
    /// True if failed calls are not retried here, because the caller does the retries.
    once: bool,
    /// Shows how far a list has come. None: nobody looks.
    lists: Option<ListObserver>,
    /// The kubeconfig context, if there is one.
    pub context: Option<String>,
    pub server: Address,
    /// The namespace of the context or of the service account.
    pub namespace: String,
}

/// The class of a failed call, as far as callers depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 401: no valid credentials.
    Unauthenticated,
    /// 403: not allowed.
    Denied,
    /// 404.
    NotFound,
    /// 409: a precondition did not hold.
    Conflict,
    /// 410: the resource version or continue token is too old.
    Expired,
    /// 400, 422: the API server, or a webhook, refuses the object.
    Invalid,
    /// 429, 5xx, or no connection, after all retries.
    Unavailable,
    /// An invalid answer.
    Unreadable,
    /// The answer is too large to read.
    TooLarge,
    /// The answer does not fit in the rest of the share: see [`Cluster::holding`].
    Over,
}

/// A failed call: the operation, its object, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: {message}")]
pub struct ApiError {
    /// A classified error.
    pub kind: ErrorKind,
    operation: String,
    message: String,
    /// True if the message is the server's own text.
    is_server_text: bool,
    /// The problem with the server's certificate, if that is the reason.
    pub certificate: Option<cause::Certificate>,
    /// Tells the caller if it can retry the call.
    pub repeat: Repeat,
}

/// Tells the caller if a failed call can be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// 429: the call was not executed. Holds the `Retry-After`.
    Throttled(Option<Duration>),
    /// 5xx or no answer: the call may have been executed. Holds the `Retry-After`.
    Failed(Option<Duration>),
    /// There is no connection: the request was not sent.
    NotSent,
    /// A retry would get the same answer.
    Never,
}

/// True if the request was not sent because there was no connection. After any other error, the server may have received it.
fn is_connect(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        cause = error.source();
    }
    false
}

fn is_plugin(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<failure::PluginError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl ApiError {
    fn new(operation: &str, refused: &Refused) -> Self {
        let (kind, message, repeat) = match refused {
            Refused::Status {
                status,
                retry_after,
            } => (
                kind_of_code(status.code),
                status.message.clone(),
                Repeat::of_code(status.code, *retry_after),
            ),
            Refused::Stranger {
                code, retry_after, ..
            } => (
                kind_of_stranger(*code),
                refused.to_string(),
                Repeat::of_code(*code, *retry_after),
            ),
            Refused::Unreadable(_) | Refused::TooLarge | Refused::Over => {
                (ErrorKind::Unreadable, refused.to_string(), Repeat::Never)
            }
            Refused::NoAnswer(error) if is_plugin(error) => {
                (ErrorKind::Unauthenticated, cause::of(error), Repeat::Never)
            }
            Refused::NoAnswer(error) => (
                ErrorKind::Unavailable,
                cause::of(error),
                if is_connect(error) {
                    Repeat::NotSent
                } else {
                    Repeat::Failed(None)
                },
            ),
        };
        Self {
            kind,
            operation: operation.to_owned(),
            message,
            is_server_text: matches!(refused, Refused::Status { .. }),
            certificate: match refused {
                Refused::NoAnswer(error) => cause::certificate(error),
                Refused::Status { .. }
                | Refused::Stranger { .. }
                | Refused::Unreadable(_)
                | Refused::TooLarge
                | Refused::Over => None,
            },
            repeat,
        }
    }

    fn timed_out(operation: &str, call_timeout: Duration) -> Self {
        Self {
            kind: ErrorKind::Unavailable,
            operation: operation.to_owned(),
            message: format!("no answer within {} s", call_timeout.as_secs()),
            is_server_text: false,
            certificate: None,
            repeat: Repeat::Failed(None),
        }
    }

    fn not_a_name(operation: &str, part: &str) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            operation: operation.to_owned(),
            message: format!("`{}` is not a valid name", part.escape_debug()),
            // The part comes from an object.
            is_server_text: true,
            certificate: None,
            repeat: Repeat::Never,
        }
    }

    fn too_large(operation: &str, max_answer: usize) -> Self {
        Self {
            kind: ErrorKind::TooLarge,
            operation: operation.to_owned(),
            message: format!("the answer is larger than {} MiB", max_answer >> 20),
            is_server_text: false,
            certificate: None,
            repeat: Repeat::Never,
        }
    }

    fn over(operation: &str) -> Self {
        Self {
            kind: ErrorKind::Over,
            operation: operation.to_owned(),
            message: "too much data is read at the same time".to_owned(),
            is_server_text: false,
            certificate: None,
            repeat: Repeat::Never,
        }
    }

    /// The reason, without the operation.
    pub fn why(&self) -> &str {
        &self.message
    }

    /// The reason, without the server's own text, which is untrusted.
    pub fn trusted_message(&self) -> Option<&str> {
        (!self.is_server_text).then_some(&self.message)
    }
}

impl Repeat {
    const fn of_code(code: u16, retry_after: Option<Duration>) -> Self {
        match code {
            429 => Self::Throttled(retry_after),
            500..=599 => Self::Failed(retry_after),
            _ => Self::Never,
        }
    }
}

const fn kind_of_code(code: u16) -> ErrorKind {
    match code {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        410 => ErrorKind::Expired,
        400 | 422 => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}

/// The class of an answer that is not from an API server. Its code says nothing about rights or objects.
const fn kind_of_stranger(code: u16) -> ErrorKind {
    match code {
        429 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Unreadable,
    }
}

/// A path with query parameters.
#[derive(Clone, Debug)]
pub struct Query {
    path: Path,
    parameters: Vec<(&'static str, String)>,
}

impl Query {
    /// Creates a query without parameters.
    pub const fn new(path: Path) -> Self {
        Self {
            path,
            parameters: Vec::new(),
        }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.parameters.push((name, value.into()));
        self
    }

    /// The path and the query, or the part of the path that is not a name.
    fn uri(&self) -> Result<String, &str> {
        let path = self.path.valid()?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters);
        let query = query.finish();
        Ok(if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        })
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl Cluster {
    /// A read-only client for the same connection. It shares the rate limiter and the request counter, and refuses every request
    /// that would change something.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            only_reads: true,
            ..self.clone()
        }
    }

    /// The number of requests so far, including retries.
    pub fn requests(&self) -> u64 {
        self.ledger.requests()
    }

    /// The same client without retries.
    #[must_use]
    pub fn once(&self) -> Self {
        Self {
            once: true,
            call_timeout: self.call_timeout.min(ATTEMPT_TIMEOUT),
            ..self.clone()
        }
    }

    /// The same client, whose lists of more than one page are shown.
    #[must_use]
    pub fn showing_lists(self, lists: ListObserver) -> Self {
        Self {
            lists: Some(lists),
            ..self
        }
    }

    /// The same client, whose answers hold bytes of this share until they are parsed.
    #[must_use]
    pub fn holding(&self, bytes: &Share) -> Self {
        Self {
            bytes: Some(bytes.clone()),
            ..self.clone()
        }
    }

    /// Waits for a rate permit, then applies a JSON merge patch.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &Path,
        change: &Value,
    ) -> Result<T, ApiError> {
        while let Err(wait) = self.take_permit() {
            tokio::time::sleep(wait).await;
        }
        self.patch_paced(path, change).await
    }

    /// Takes a rate permit for a request that [`Cluster::patch_paced`] sends, or returns the time to wait.
    pub fn take_permit(&self) -> Result<(), Duration> {
        self.ledger.take()
    }

    /// Reads one object.
    pub async fn get<T: DeserializeOwned>(&self, path: &Path) -> Result<T, ApiError> {
        self.call(
            "GET",
            &Query::new(path.clone()),
            Vec::new(),
            &format!("read {path}"),
        )
        .await
    }

    /// Reads a list page by page and passes each item to `each`. Returns the resource version of the list.
    ///
    /// If a continue token expires, the list starts again once, and `each` may get items a second time.
    pub async fn list<T: DeserializeOwned>(
        &self,
        query: &Query,
        mut each: impl FnMut(T),
    ) -> Result<String, ApiError> {
        let each = |object| {
            each(object);
            ControlFlow::Continue(())
        };
        self.list_until(query, each).await
    }

    /// Like [`Cluster::list`], but ends when `each` breaks.
    pub async fn list_until<T: DeserializeOwned>(
        &self,
        query: &Query,
        mut each: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<String, ApiError> {
        let mut pages = self.pages(query);
        while pages.next(&mut each).await? {}
        Ok(pages.resource_version())
    }

    /// A list that the caller reads page by page.
    pub fn pages<'a>(&'a self, query: &'a Query) -> Pages<'a> {
        Pages::of(self, query)
    }

    /// The current resource version of a collection, read with a list of one item.
    pub async fn resource_version(&self, query: &Query) -> Result<String, ApiError> {
        let page = query.clone().with("limit", "1");
        let operation = format!("list {query}");
        let body = self.read("GET", &page, Vec::new(), &operation).await?;
        page::parse(body.as_bytes(), &mut |_: IgnoredAny| ControlFlow::Break(()))
            .map(|page| page.resource_version)
            .map_err(|_| ApiError::new(&operation, &body.unparsable()))
    }

    /// Applies a JSON merge patch and returns the patched object. The caller must hold a rate permit.
    pub async fn patch_paced<T: DeserializeOwned>(
        &self,
        path: &Path,
        change: &Value,
    ) -> Result<T, ApiError> {
        self.write("PATCH", path, change, &format!("patch {path}"))
            .await
    }

    /// Deletes an object, with its UID and resource version as preconditions.
    pub async fn delete(
        &self,
        path: &Path,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), ApiError> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
        });
        let operation = format!("delete {path}");
        self.call::<IgnoredAny>(
            "DELETE",
            &Query::new(path.clone()),
            options.to_string().into_bytes(),
            &operation,
        )
        .await
        .map(|_| ())
    }

    pub async fn create<T: DeserializeOwned>(
        &self,
        path: &Path,
        object: &Value,
    ) -> Result<T, ApiError> {
        self.write("POST", path, object, &format!("create in {path}"))
            .await
    }

    /// Replaces an object. `object` contains the resource version as a precondition.
    pub async fn replace<T: DeserializeOwned>(
        &self,
        path: &Path,
        object: &Value,
    ) -> Result<T, ApiError> {
        self.write("PUT", path, object, &format!("replace {path}"))
            .await
    }

    /// Sends a write with the field manager.
    async fn write<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: &Path,
        body: &Value,
        operation: &str,
    ) -> Result<T, ApiError> {
        let query = Query::new(path.clone()).with("fieldManager", FIELD_MANAGER);
        self.call(method, &query, body.to_string().into_bytes(), operation)
            .await
    }

    /// Watches a collection from this resource version.
    pub async fn watch<T>(
        &self,
        query: &Query,
        resource_version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>, ApiError>> + use<T>, ApiError>
    where
        T: Clone + DeserializeOwned,
    {
        let operation = format!("watch {query}");
        let watch = query
            .clone()
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("timeoutSeconds", WATCH_SECONDS.to_string())
            .with("resourceVersion", resource_version);
        let waits_for = WaitsFor::default();
        let mut request = self.request("GET", &watch, Vec::new(), &operation)?;
        request.extensions_mut().insert(waits_for.clone());
        let answer = answer::events(&self.client, request);
        let answer = Box::pin(tokio::time::timeout(self.call_timeout, answer));
        let events = self
            .announced(&operation, &waits_for, answer)
            .await
            .map_err(|_| ApiError::timed_out(&operation, self.call_timeout))?
            .map_err(|refused| ApiError::new(&operation, &refused))?;
        Ok(events.map(move |event| event.map_err(|refused| ApiError::new(&operation, &refused))))
    }

    /// Sends a request and parses the answer. (kube's own method keeps the text in plain memory and logs what it cannot parse.)
    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        query: &Query,
        body: Vec<u8>,
        operation: &str,
    ) -> Result<T, ApiError> {
        let body = self.read(method, query, body, operation).await?;
        serde_json::from_slice(body.as_bytes())
            .map_err(|_| ApiError::new(operation, &body.unparsable()))
    }

    async fn read(
        &self,
        method: &'static str,
        query: &Query,
        body: Vec<u8>,
        operation: &str,
    ) -> Result<Body, ApiError> {
        let waits_for = WaitsFor::default();
        // On the heap, so that the futures of callers stay small.
        let calling = Box::pin(self.attempts(method, query, body, operation, &waits_for));
        self.announced(operation, &waits_for, calling).await
    }

    /// Says what a call waits for, if it takes long.
    async fn announced<T>(
        &self,
        operation: &str,
        waits_for: &WaitsFor,
        calling: impl Future<Output = T>,
    ) -> T {
        let wait = Wait::at_most(self.call_timeout).shared(&self.ledger.announcer);
        let what = || format!("{}, to {operation}", waits_for.text());
        wait.on(what, calling).await
    }

    async fn attempts(
        &self,
        method: &'static str,
        query: &Query,
        body: Vec<u8>,
        operation: &str,
        waits_for: &WaitsFor,
    ) -> Result<Body, ApiError> {
        let mut pauses = if method == "GET" && !self.once {
            &READ_RETRY_PAUSES[..]
        } else {
            &[]
        };
        loop {
            let mut request = self.request(method, query, body.clone(), operation)?;
            request.extensions_mut().insert(waits_for.clone());
            if self.once {
                request.extensions_mut().insert(connect::Once);
            }
            let answer = answer::body(&self.client, request, self.max_answer, self.bytes.as_ref());
            let answer = tokio::time::timeout(self.call_timeout, answer).await;
            let error = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Refused::TooLarge)) => {
                    return Err(ApiError::too_large(operation, self.max_answer));
                }
                Ok(Err(Refused::Over)) => return Err(ApiError::over(operation)),
                Ok(Err(refused)) => ApiError::new(operation, &refused),
                Err(_) => return Err(ApiError::timed_out(operation, self.call_timeout)),
            };
            match pauses {
                [pause, rest @ ..] if error.kind == ErrorKind::Unavailable => {
                    pauses = rest;
                    if let Some(why) = error.trusted_message() {
                        waits_for.set(format!("the API server ({why})"));
                    }
                    tokio::time::sleep(*pause).await;
                }
                _ => return Err(error),
            }
        }
    }

    fn request(
        &self,
        method: &'static str,
        query: &Query,
        body: Vec<u8>,
        operation: &str,
    ) -> Result<Request<Vec<u8>>, ApiError> {
        let uri = query
            .uri()
            .map_err(|part| ApiError::not_a_name(operation, part))?;
        let mut request = request(method, &uri, body);
        if self.only_reads {
            request.extensions_mut().insert(gate::OnlyReads);
        }
        Ok(request)
    }
}

fn request(method: &'static str, uri: &str, body: Vec<u8>) -> Request<Vec<u8>> {
    let content_type = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let mut request = Request::new(body);
    // A path of names and an encoded query are always a valid URI. "/" would return no object.
    *request.uri_mut() = uri.parse().unwrap_or_default();
    *request.method_mut() = method.parse().unwrap_or_default();
    if method == "PATCH" {
        request.extensions_mut().insert(gate::Paced);
    }
    request.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    request
}
