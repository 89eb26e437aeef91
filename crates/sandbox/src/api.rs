//! The API server: routes a request and returns the response.

mod action;
mod write;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Bytes;
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

pub(super) use self::action::evict;
use super::{
    Request, artifact,
    call::{Call, Target, Verb},
    discovery,
    failure::Failure,
    fault::{self, Effect, Faults},
    list, schema,
    store::Store,
    watch::{Watch, WatchFaults},
};

/// A response body, complete or streamed.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The state of the API server.
pub(super) struct Api {
    pub(super) store: Arc<Store>,
    pub(super) faults: Faults,
    pub(super) watch_faults: watch::Sender<WatchFaults>,
    requests: Mutex<Vec<Request>>,
}

/// Close the connection without a response.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a fault closed the connection")]
pub(super) struct Dropped;

impl Api {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            faults: Faults::default(),
            watch_faults: watch::Sender::new(WatchFaults::default()),
            requests: Mutex::default(),
        }
    }

    /// All requests so far, in the order in which they arrived.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn record_request(&self, call: &Call, target: Option<&Target<'_>>) {
        let request = Request {
            method: call.method.to_string(),
            path: call.path.clone(),
            query: call.query.clone(),
            verb: target.map_or("", |target| target.verb.as_str()),
            resource: target.map_or("", |target| target.resource.plural),
            user_agent: call.user_agent.clone(),
            body: call.body.to_vec(),
            at: Instant::now(),
        };
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    }

    /// Returns the response to one request.
    pub(super) async fn answer(&self, call: &Call) -> Result<Response<Body>, Dropped> {
        let target = call.target();
        self.record_request(call, target.as_ref());
        let mut lose_answer = false;
        for effect in self.faults.take(call, target.as_ref()) {
            match effect {
                Effect::Delay(delay) => tokio::time::sleep(delay).await,
                Effect::DropBefore => return Err(Dropped),
                Effect::DropAfter => lose_answer = true,
                Effect::Forbid => return Ok(failure_response(&forbidden(call, target.as_ref()))),
                Effect::Answer {
                    code: 429,
                    retry_after,
                } => return Ok(too_many(retry_after)),
                Effect::Answer { code, .. } => {
                    return Ok(failure_response(&fault::injected_failure(
                        code,
                        target.as_ref(),
                    )));
                }
            }
        }
        let response = match &target {
            Some(target) => self
                .resource(call, target)
                .unwrap_or_else(|failure| failure_response(&failure)),
            None => self.non_resource(call),
        };
        if lose_answer {
            Err(Dropped)
        } else {
            Ok(response)
        }
    }

    fn non_resource(&self, call: &Call) -> Response<Body> {
        if let Some(archive) = artifact::at(&self.store, &call.path) {
            return respond(200, "application/gzip", whole(archive.into()));
        }
        match discovery::answer(&self.store, &call.path) {
            Some(found) => json(200, &found),
            None => plain(404, "404 page not found\n"),
        }
    }

    fn resource(&self, call: &Call, target: &Target<'_>) -> Result<Response<Body>, Failure> {
        let is_served = self.store.serves(target.resource.group);
        if !is_served || target.version != self.store.version_of(target.resource) {
            return Ok(plain(404, "404 page not found\n"));
        }
        if let Some(action) = target.action() {
            return action::act(&self.store, call, target, action).map(|answer| json(201, &answer));
        }
        match target.verb {
            Verb::Get => self.get(target).map(|object| json(200, &*object)),
            Verb::List => Ok(bytes(200, list::answer(&self.store, call, target)?)),
            Verb::Watch => {
                let watch = Watch::open(&self.store, call, target, self.watch_faults.subscribe())?;
                let body = StreamBody::new(watch.into_stream()).boxed_unsync();
                Ok(respond(200, "application/json", body))
            }
            Verb::Create => {
                write::create(&self.store, call, target).map(|object| json(201, &*object))
            }
            Verb::Update => {
                write::replace(&self.store, call, target).map(|(code, object)| json(code, &*object))
            }
            Verb::Patch => {
                write::patch(&self.store, call, target).map(|object| json(200, &*object))
            }
            Verb::Delete => {
                write::delete(&self.store, call, target).map(|object| json(200, &object))
            }
        }
    }

    fn get(&self, target: &Target<'_>) -> Result<Arc<Value>, Failure> {
        let Target {
            resource,
            namespace,
            name,
            ..
        } = *target;
        if resource.kind == "CustomResourceDefinition"
            && name == "externalsecrets.external-secrets.io"
        {
            return Ok(Arc::new(schema::crd(self.store.eso_version)));
        }
        self.store
            .get(resource, namespace, name)
            .ok_or_else(|| Failure::not_found(resource, name))
    }
}

fn forbidden(call: &Call, target: Option<&Target<'_>>) -> Failure {
    if let Some(Target {
        verb,
        resource,
        namespace,
        name,
        subresource,
        ..
    }) = target
    {
        // The namespace of a Namespace object is the object itself.
        let namespace = if resource.kind == "Namespace" {
            name
        } else {
            namespace
        };
        return Failure::forbidden(verb.as_str(), resource, *subresource, namespace, name);
    }
    let (method, path) = (call.method.as_str().to_lowercase(), &call.path);
    let message = format!("forbidden: User \"sandbox\" cannot {method} path {path:?}");
    Failure::new(403, "Forbidden", message)
}

fn json(code: u16, body: &impl serde::Serialize) -> Response<Body> {
    bytes(code, serde_json::to_vec(body).unwrap_or_default())
}

fn failure_response(failure: &Failure) -> Response<Body> {
    json(failure.code, &failure.to_json())
}

/// The response of API priority and fairness: plain text, with a `Retry-After` header.
fn too_many(retry_after: Option<u32>) -> Response<Body> {
    let mut response = plain(429, "Too many requests, please try again later.\n");
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn plain(code: u16, text: &'static str) -> Response<Body> {
    respond(code, "text/plain; charset=utf-8", whole(text.into()))
}

fn bytes(code: u16, body: Vec<u8>) -> Response<Body> {
    respond(code, "application/json", whole(body.into()))
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn respond(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    headers.insert(
        header::CACHE_CONTROL,
        http::HeaderValue::from_static("no-cache, private"),
    );
    response
}
