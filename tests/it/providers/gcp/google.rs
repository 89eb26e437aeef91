//! A double of Secret Manager, after its REST reference: names, versions and states, checksums, pages, filters and errors.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};

use crate::providers::double::{Asked, Reply};

/// The project's number. Lists return names with it, even if the request used the project id.
const NUMBER: &str = "314159265358";

/// A secret of the project or of one of its locations.
#[derive(Clone, Default)]
pub(super) struct Secret {
    pub(super) labels: BTreeMap<&'static str, &'static str>,
    pub(super) annotations: BTreeMap<&'static str, &'static str>,
    pub(super) versions: Vec<Version>,
}

/// A version. The first one is 1.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) state: &'static str,
    pub(super) payload: Vec<u8>,
    pub(super) created: &'static str,
}

impl Secret {
    /// A secret with one version.
    pub(super) fn of(payload: &[u8]) -> Self {
        Self::default().then("ENABLED", payload, "2026-01-01T00:00:00Z")
    }

    /// Adds a version.
    pub(super) fn then(
        mut self,
        state: &'static str,
        payload: &[u8],
        created: &'static str,
    ) -> Self {
        self.versions.push(Version {
            state,
            payload: payload.to_vec(),
            created,
        });
        self
    }

    pub(super) fn labelled(mut self, key: &'static str, value: &'static str) -> Self {
        self.labels.insert(key, value);
        self
    }

    pub(super) fn annotated(mut self, key: &'static str, value: &'static str) -> Self {
        self.annotations.insert(key, value);
        self
    }
}

/// The secrets of the project `project`, by id. An id with the prefix `@` belongs to the location `europe-west1`.
#[derive(Clone, Default)]
pub(super) struct Google(pub(super) BTreeMap<&'static str, Secret>);

/// An error answer of Google.
pub(super) fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({"error": {"code": status, "message": message, "status": code}}),
    )
}

/// A page has two entries.
fn paged(asked: &Asked, field: &str, all: &[Json]) -> Reply {
    let start = asked.field("pageToken").parse().unwrap_or(0);
    let page: Vec<&Json> = all.iter().skip(start).take(2).collect();
    let mut body = json!({field: page, "totalSize": all.len()});
    if start + 2 < all.len() {
        body["nextPageToken"] = json!((start + 2).to_string());
    }
    Reply::json(200, &body)
}

impl Google {
    pub(super) fn answer(&self, asked: &Asked) -> Reply {
        if asked.method != "GET" {
            return error(405, "UNIMPLEMENTED", "only reads are supported");
        }
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
        let found = |id: &str| {
            let secret = self.0.get(format!("{at}{id}").as_str());
            secret.ok_or_else(|| {
                error(
                    404,
                    "NOT_FOUND",
                    &format!("Secret [{parent}/secrets/{id}] not found."),
                )
            })
        };
        match rest {
            ["secrets"] => self.list(at, &parent, asked),
            ["secrets", id] => found(id).map_or_else(
                |refused| refused,
                |secret| {
                    Reply::json(
                        200,
                        &json!({"name": format!("{parent}/secrets/{id}"), "labels": secret.labels,
                    "annotations": secret.annotations, "etag": "\"1\""}),
                    )
                },
            ),
            ["secrets", id, "versions"] => found(id).map_or_else(
                |refused| refused,
                |secret| {
                    assert_eq!(asked.field("filter"), "state:ENABLED");
                    let enabled: Vec<Json> = secret
                        .versions
                        .iter()
                        .enumerate()
                        .filter(|(_, version)| version.state == "ENABLED")
                        .map(|(n, version)| {
                            json!({"name": format!("{parent}/secrets/{id}/versions/{}", n + 1),
                        "state": version.state, "createTime": version.created})
                        })
                        .rev()
                        .collect();
                    paged(asked, "versions", &enabled)
                },
            ),
            ["secrets", id, "versions", version] => found(id).map_or_else(
                |refused| refused,
                |secret| access(secret, &parent, id, version),
            ),
            _ => error(404, "NOT_FOUND", "no such method"),
        }
    }

    fn list(&self, at: &str, parent: &str, asked: &Asked) -> Reply {
        let filter = asked.field("filter");
        let matches = |id: &str, secret: &Secret| {
            filter
                .split_whitespace()
                .all(|term| match term.split_once('=') {
                    Some((label, value)) => {
                        let label = label.strip_prefix("labels.").expect("a label");
                        secret.labels.get(label) == Some(&value)
                    }
                    // Matches anywhere in the name.
                    None => id.contains(term.strip_prefix("name:").expect("a name")),
                })
        };
        let all: Vec<Json> = self
            .0
            .iter()
            .filter_map(|(id, secret)| {
                let id = match at {
                    "" => Some(*id).filter(|id| !id.starts_with('@')),
                    at => id.strip_prefix(at),
                }?;
                matches(id, secret).then(|| json!({"name": format!("{parent}/secrets/{id}")}))
            })
            .collect();
        paged(asked, "secrets", &all)
    }
}

fn access(secret: &Secret, parent: &str, id: &str, version: &str) -> Reply {
    let Some(version) = version.strip_suffix(":access") else {
        return error(404, "NOT_FOUND", "no such method");
    };
    let number = match version {
        "latest" => secret.versions.len(),
        number => number.parse().unwrap_or(0),
    };
    let name = format!("{parent}/secrets/{id}/versions/{number}");
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
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
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
