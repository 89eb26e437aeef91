//! A double of Secret Manager, after its REST reference: names, versions and states, checksums, pages, filters, etags and errors.

mod write;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};

use crate::providers::double::{Asked, Reply};

/// The project's number. Lists return names with it, even if the request used the project id.
const NUMBER: &str = "314159265358";

/// An etag that no other resource had. It contains its quotes.
fn etag() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    format!("\"{}\"", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A secret of the project or of one of its locations.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) aliases: BTreeMap<String, i64>,
    pub(crate) replication: Json,
    /// Null without a rotation.
    rotation: Json,
    pub(crate) versions: Vec<Version>,
    etag: String,
}

impl Default for Secret {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            aliases: BTreeMap::new(),
            replication: Json::Null,
            rotation: Json::Null,
            versions: Vec::new(),
            etag: etag(),
        }
    }
}

/// A version. The first one is 1.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) state: &'static str,
    pub(crate) payload: Vec<u8>,
    pub(crate) created: String,
    etag: String,
}

impl Secret {
    /// A secret with one version.
    pub(crate) fn of(payload: &[u8]) -> Self {
        Self::default().then("ENABLED", payload, "2026-01-01T00:00:00Z")
    }

    /// Adds a version.
    pub(crate) fn then(mut self, state: &'static str, payload: &[u8], created: &str) -> Self {
        self.versions.push(Version {
            state,
            payload: payload.to_vec(),
            created: created.to_owned(),
            etag: etag(),
        });
        self
    }

    pub(crate) fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets the rotation, in the form of the REST reference.
    pub(crate) fn rotated(mut self, rotation: Json) -> Self {
        self.rotation = rotation;
        self
    }

    /// The resource, as `GetSecret` returns it.
    fn resource(&self, name: &str) -> Json {
        let mut resource = json!({"name": name, "labels": self.labels, "annotations": self.annotations, "etag": self.etag,
            "versionAliases": self.aliases.iter().map(|(alias, number)| (alias, number.to_string())).collect::<BTreeMap<_, _>>()});
        if !self.rotation.is_null() {
            resource["rotation"] = self.rotation.clone();
        }
        resource
    }
}

impl Version {
    /// The resource, as `ListSecretVersions` returns it.
    fn resource(&self, secret: &str, number: usize) -> Json {
        json!({"name": format!("{secret}/versions/{number}"), "state": self.state, "createTime": self.created, "etag": self.etag})
    }
}

/// The secrets of the project `project`, by id. An id with the prefix `@` belongs to the location `europe-west1`.
#[derive(Default)]
pub(crate) struct Google(Mutex<BTreeMap<String, Secret>>);

/// An error answer of Google.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({"error": {"code": status, "message": message, "status": code}}),
    )
}

fn not_found(name: &str) -> Reply {
    error(404, "NOT_FOUND", &format!("Secret [{name}] not found."))
}

/// A page has two entries, if the request does not say how many.
fn paged(asked: &Asked, field: &str, all: &[Json]) -> Reply {
    let start = asked.field("pageToken").parse().unwrap_or(0);
    let size: usize = match asked.field("pageSize").parse().unwrap_or(0) {
        0 => 2,
        size => size,
    };
    assert!(size <= 25_000);
    let page: Vec<&Json> = all.iter().skip(start).take(size).collect();
    let mut body = json!({field: page, "totalSize": all.len()});
    if start + size < all.len() {
        body["nextPageToken"] = json!((start + size).to_string());
    }
    Reply::json(200, &body)
}

impl Google {
    pub(crate) fn of(secrets: impl IntoIterator<Item = (&'static str, Secret)>) -> Self {
        let secrets = secrets.into_iter();
        let secrets = secrets.map(|(id, secret)| (id.to_owned(), secret));
        Self(Mutex::new(secrets.collect()))
    }

    /// The secrets, to look at them or to change them by hand.
    pub(crate) fn secrets(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Secret>> {
        self.0.lock().expect("no panic")
    }

    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        if !asked.header("authorization").starts_with("Bearer ") {
            return error(
                401,
                "UNAUTHENTICATED",
                "Request is missing required authentication credential.",
            );
        }
        let path = asked.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            // The project number means the same project.
            ["v1", "projects", "project" | NUMBER, rest @ ..] => match rest {
                ["locations", "europe-west1", rest @ ..] => self.below("@", rest, asked),
                rest => self.below("", rest, asked),
            },
            _ => error(
                403,
                "PERMISSION_DENIED",
                "Permission denied on resource project.",
            ),
        }
    }

    fn below(&self, at: &str, rest: &[&str], asked: &Asked) -> Reply {
        let parent = match at {
            "" => format!("projects/{NUMBER}"),
            _ => format!("projects/{NUMBER}/locations/europe-west1"),
        };
        let mut secrets = self.secrets();
        if asked.method != "GET" {
            return write::answer(&mut secrets, at, &parent, rest, asked);
        }
        let (["secrets"] | ["secrets", _, ..]) = rest else {
            return error(404, "NOT_FOUND", "no such method");
        };
        let [_, id, rest @ ..] = rest else {
            return list(&secrets, at, &parent, asked);
        };
        let name = format!("{parent}/secrets/{id}");
        let Some(secret) = secrets.get(format!("{at}{id}").as_str()) else {
            return not_found(&name);
        };
        match rest {
            [] => Reply::json(200, &secret.resource(&name)),
            ["versions"] => {
                let filter = asked.field("filter");
                assert!(filter.is_empty() || filter == "state:ENABLED", "{filter}");
                let versions = secret.versions.iter().enumerate();
                let versions: Vec<Json> = versions
                    .filter(|(_, version)| filter.is_empty() || version.state == "ENABLED")
                    .map(|(n, version)| version.resource(&name, n + 1))
                    .rev()
                    .collect();
                paged(asked, "versions", &versions)
            }
            ["versions", version] => access(secret, &name, version),
            _ => error(404, "NOT_FOUND", "no such method"),
        }
    }
}

fn list(secrets: &BTreeMap<String, Secret>, at: &str, parent: &str, asked: &Asked) -> Reply {
    let filter = asked.field("filter");
    let matches = |id: &str, secret: &Secret| {
        filter
            .split_whitespace()
            .all(|term| match term.split_once('=') {
                Some((label, value)) => {
                    let label = label.strip_prefix("labels.").expect("a label");
                    secret.labels.get(label).is_some_and(|it| it == value)
                }
                // Matches anywhere in the name.
                None => id.contains(term.strip_prefix("name:").expect("a name")),
            })
    };
    let all: Vec<Json> = secrets
        .iter()
        .filter_map(|(id, secret)| {
            let id = match at {
                "" => Some(id.as_str()).filter(|id| !id.starts_with('@')),
                at => id.strip_prefix(at),
            }?;
            matches(id, secret).then(|| secret.resource(&format!("{parent}/secrets/{id}")))
        })
        .collect();
    paged(asked, "secrets", &all)
}

fn access(secret: &Secret, name: &str, version: &str) -> Reply {
    let Some(version) = version.strip_suffix(":access") else {
        return error(404, "NOT_FOUND", "no such method");
    };
    let number = match version {
        "latest" => secret.versions.len(),
        number => number.parse().unwrap_or(0),
    };
    let name = format!("{name}/versions/{number}");
    match number
        .checked_sub(1)
        .and_then(|place| secret.versions.get(place))
    {
        None => error(
            404,
            "NOT_FOUND",
            &format!("Secret Version [{name}] not found."),
        ),
        Some(Version {
            state: "ENABLED",
            payload,
            ..
        }) => Reply::json(
            200,
            &json!({"name": name, "payload": {"data": STANDARD.encode(payload), "dataCrc32c": crc32c(payload).to_string()}}),
        ),
        Some(Version { state, .. }) => error(
            400,
            "FAILED_PRECONDITION",
            &format!("Secret Version [{name}] is in {state} state."),
        ),
    }
}

/// CRC-32C (Castagnoli), bit by bit. Does not use the library under test.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                (sum >> 1) ^ 0x82f6_3b78
            } else {
                sum >> 1
            }
        })
    })
}
