//! List requests. All pages of a list show the same resource version.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{
    call::{Call, Target},
    failure::Failure,
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

/// An item of a list. Items of built-in kinds have no `kind` and `apiVersion`.
struct Item<'a> {
    object: &'a Value,
    has_kind: bool,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.has_kind {
            return self.object.serialize(serializer);
        }
        let entries = self.object.as_object().into_iter().flatten();
        serializer.collect_map(entries.filter(|(key, _)| *key != "kind" && *key != "apiVersion"))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    kind: String,
    api_version: String,
    metadata: ListMetadata,
    items: Vec<Item<'a>>,
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
            found.push(&**object);
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
    let has_kind = resource.is_custom();
    let items = found
        .into_iter()
        .map(|object| Item { object, has_kind })
        .collect();
    // Serialisation cannot fail: all maps have string keys.
    Ok(serde_json::to_vec(&List {
        kind: format!("{}List", resource.kind),
        api_version: store.api_version(resource),
        metadata,
        items,
    })
    .unwrap_or_default())
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
