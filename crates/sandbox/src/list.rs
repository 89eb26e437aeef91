//! List requests. All pages of a list show the same resource version.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

use super::{
    call::{Call, Target},
    failure::Failure,
    object,
    resource::Resource,
    select::Filter,
    store::{Compacted, Page, Store},
};

/// A continue token: the next key, and the resource version of the list. Opaque to clients.
#[derive(Deserialize, Serialize)]
struct Token {
    v: String,
    rv: u64,
    start: String,
}

/// The form in which an object is returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Full,
    /// Without `kind` and `apiVersion`, as in lists of built-in kinds.
    Bare,
    /// Only the metadata (`PartialObjectMetadata`).
    Metadata,
}

/// An object, serialised in one of these forms.
pub(super) struct Rendered<'a>(pub(super) &'a Value, pub(super) View);

impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value, view) = self;
        match view {
            View::Full => value.serialize(serializer),
            View::Bare => {
                let entries = value.as_object().into_iter().flatten();
                let entries = entries.filter(|(key, _)| *key != "kind" && *key != "apiVersion");
                serializer.collect_map(entries)
            }
            View::Metadata => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("kind", "PartialObjectMetadata")?;
                map.serialize_entry("apiVersion", "meta.k8s.io/v1")?;
                map.serialize_entry("metadata", object::at(value, "/metadata"))?;
                map.end()
            }
        }
    }
}

/// True if the client asks for `PartialObjectMetadata`.
pub(super) fn wants_metadata(call: &Call) -> bool {
    call.accept.contains("as=PartialObjectMetadata")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    kind: String,
    api_version: String,
    metadata: ListMetadata,
    items: Vec<Rendered<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#continue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<usize>,
}

/// Returns the body of the response to a list request.
pub(super) fn answer(store: &Store, call: &Call, target: &Target<'_>) -> Result<Vec<u8>, Failure> {
    let resource = target.resource;
    let filter = Filter::parse(
        resource,
        call.parameter("labelSelector"),
        call.parameter("fieldSelector"),
    )?;
    let token = token(call)?;
    let limit = limit(call)?;
    let Page { revision, objects } = page(store, call, target, token.as_ref(), &filter)?;
    let start = token.as_ref().map_or("", |token| token.start.as_str());
    let from = objects.partition_point(|(key, _)| key.as_str() < start);
    let rest = objects.get(from..).unwrap_or_default();

    let mut found = Vec::new();
    let mut more = None;
    for (index, (key, object)) in rest.iter().enumerate() {
        if limit.is_some_and(|limit| found.len() == limit) {
            more = Some((key, rest.len() - index));
            break;
        }
        if filter.matches(object) {
            found.push(object);
        }
    }
    let metadata = ListMetadata {
        resource_version: revision.to_string(),
        remaining_item_count: more
            .filter(|_| filter.is_empty())
            .map(|(_, remaining)| remaining),
        r#continue: match more {
            Some((start, _)) => Some(continue_token(revision, start)),
            // For the operator's kinds the server returns an empty token.
            None => resource.is_custom().then(String::new),
        },
    };
    Ok(body(
        store,
        resource,
        wants_metadata(call),
        metadata,
        &found,
    ))
}

fn body(
    store: &Store,
    resource: &Resource,
    metadata_only: bool,
    metadata: ListMetadata,
    found: &[&Arc<Value>],
) -> Vec<u8> {
    let (kind, api_version, view) = if metadata_only {
        (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
            View::Metadata,
        )
    } else {
        let view = if resource.is_custom() {
            View::Full
        } else {
            View::Bare
        };
        (
            format!("{}List", resource.kind),
            store.api_version(resource),
            view,
        )
    };
    let items = found.iter().map(|object| Rendered(object, view)).collect();
    // Serialisation cannot fail: all maps have string keys.
    serde_json::to_vec(&List {
        kind,
        api_version,
        metadata,
        items,
    })
    .unwrap_or_default()
}

/// The objects at the requested resource version. For the current one only the matching objects, because there may be
/// many others.
fn page(
    store: &Store,
    call: &Call,
    target: &Target<'_>,
    token: Option<&Token>,
    filter: &Filter,
) -> Result<Page, Failure> {
    let namespace = Some(target.namespace).filter(|namespace| !namespace.is_empty());
    let present =
        || store.list_matching(target.resource, namespace, |object| filter.matches(object));
    let version = call.parameter("resourceVersion");
    let wanted = match (token, version) {
        (Some(token), _) => token.rv,
        (None, "" | "0") => return Ok(present()),
        (None, version) => version.parse().map_err(|_| {
            Failure::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing \
                 {version:?}: invalid syntax"
            ))
        })?,
    };
    let newest = store.revision();
    if wanted > newest {
        return Err(Failure::too_large_version(wanted, newest));
    }
    // Without `Exact`, a resource version only sets the maximum age of the result.
    if token.is_none() && call.parameter("resourceVersionMatch") != "Exact" {
        return Ok(present());
    }
    store.list_at(target.resource, namespace, wanted).map_err(|Compacted(_)| {
        Failure::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
             results. Continuing with the provided token results in an inconsistent list - objects that were created, \
             modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        )
    })
}

fn limit(call: &Call) -> Result<Option<usize>, Failure> {
    let text = call.parameter("limit");
    // A list with `resourceVersion=0` is served from a cache, which does not support pages.
    if text.is_empty() || call.parameter("resourceVersion") == "0" {
        return Ok(None);
    }
    let limit: i64 = text.parse().map_err(|_| {
        Failure::bad_request(format!(
            "strconv.ParseInt: parsing {text:?}: invalid syntax"
        ))
    })?;
    Ok(usize::try_from(limit).ok().filter(|limit| *limit > 0))
}

fn token(call: &Call) -> Result<Option<Token>, Failure> {
    let text = call.parameter("continue");
    if text.is_empty() {
        return Ok(None);
    }
    if !matches!(call.parameter("resourceVersion"), "" | "0") {
        return Err(Failure::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let token = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    token
        .map(Some)
        .ok_or_else(|| Failure::bad_request("invalid continue token: continue key is not valid"))
}

fn continue_token(revision: u64, start: &str) -> String {
    let token = Token {
        v: "meta.k8s.io/v1".to_owned(),
        rv: revision,
        start: start.to_owned(),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}
