//! The values of one path, without copies that are not wiped.

use std::collections::BTreeMap;

use eso_model::{
    budget::Budget,
    gojson::{self, Node, Shape},
};
use secret::{Buffer, Value};
use serde::Deserialize;

use super::metadata::{Answer, Recorded, unreadable};
use crate::{
    Unread,
    holder::{Change, WriteFailure, property},
    unread,
};

/// What a path holds.
#[derive(Default)]
pub(super) struct Content {
    /// Zero if there is no version.
    pub(super) version: u64,
    /// The JSON text of each value.
    members: BTreeMap<String, Value>,
    pub(super) recorded: Recorded,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
    metadata: OfVersion,
}

#[derive(Deserialize)]
struct OfVersion {
    version: u64,
    #[serde(default)]
    custom_metadata: Option<Recorded>,
}

impl Content {
    /// Parses the answer of `data/…`. For a deleted version it is a 404 with its metadata.
    pub(super) fn of(body: &[u8], found: bool) -> Result<Self, Unread> {
        let answer: Answer<Data<'_>> = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let Some(data) = answer.data(found)? else {
            return Ok(Self::default());
        };
        let text = data.data.map_or("null", |raw| raw.get());
        let document = gojson::parse_within(text.as_bytes(), &Budget::default());
        let document = document.map_err(|_| unreadable())?;
        let members = document.members().ok_or_else(unreadable)?;
        Ok(Self {
            version: data.metadata.version,
            members: members
                .into_iter()
                .map(|(name, node)| (name, Value::from(node.raw)))
                .collect(),
            recorded: data.metadata.custom_metadata.unwrap_or_default(),
        })
    }

    /// Parses the data of a path of version 1.
    pub(super) fn unversioned(data: &Value) -> Result<Self, Unread> {
        let document = gojson::parse_within(data.expose(), &Budget::default());
        let document = document.map_err(|_| unreadable())?;
        let members = document.members().ok_or_else(unreadable)?;
        let members = members.into_iter();
        Ok(Self {
            members: members
                .map(|(name, node)| (name, Value::from(node.raw)))
                .collect(),
            ..Self::default()
        })
    }

    /// A value as text: a string without quotes, anything else as it is written.
    pub(super) fn text(&self, name: &str) -> Option<Value> {
        let raw = self.members.get(name)?;
        let node = gojson::parse(raw.expose()).ok()?;
        Some(match node {
            Node {
                shape: Shape::String(inner),
                ..
            } => gojson::unquote(inner),
            Node { raw, .. } => Value::from(raw),
        })
    }
}

/// The values to write.
pub(super) struct Document {
    /// The JSON text of each value.
    members: BTreeMap<String, Value>,
    wanted: Vec<String>,
}

impl Document {
    /// The values of the path, with those of the change.
    pub(super) fn new(before: &Content, change: &Change<'_>) -> Result<Self, WriteFailure> {
        let is_dropped = |name: &str| {
            let Some(first) = change.wanted.first() else {
                return false;
            };
            let tag = change.marks.property(&first.target.remote_key(), name);
            change.dropped.contains(&tag)
        };
        let mut members: BTreeMap<String, Value> = before
            .members
            .iter()
            .filter(|(name, _)| !is_dropped(name))
            .map(|(name, value)| (name.clone(), value.duplicate()))
            .collect();
        let mut wanted = Vec::new();
        for one in change.wanted {
            let text = std::str::from_utf8(one.value.expose()).map_err(|_| {
                let detail = "Vault stores text: the value is not UTF-8";
                Unread::secret(unread::UNSUPPORTED, detail)
            })?;
            let name = property(one).to_owned();
            members.insert(name.clone(), gojson::quoted(text, false));
            wanted.push(name);
        }
        Ok(Self { members, wanted })
    }

    /// The request that writes it in place of this version.
    pub(super) fn request(&self, base: u64) -> Value {
        let mut body = self.buffer();
        body.push(format!(r#"{{"options":{{"cas":{base}}},"data":"#).as_bytes());
        self.push_into(&mut body);
        body.push(b"}");
        body.finish()
    }

    /// The request that replaces the values of a path of version 1.
    pub(super) fn unversioned_request(&self) -> Value {
        let mut body = self.buffer();
        self.push_into(&mut body);
        body.finish()
    }

    fn buffer(&self) -> Buffer {
        let size: usize = self.members.values().map(|it| it.expose().len()).sum();
        Buffer::with_capacity(size + 64 * (1 + self.members.len()))
    }

    fn push_into(&self, body: &mut Buffer) {
        body.push(b"{");
        for (index, (name, value)) in self.members.iter().enumerate() {
            if index > 0 {
                body.push(b",");
            }
            body.push(gojson::quoted(name, false).expose());
            body.push(b":");
            body.push(value.expose());
        }
        body.push(b"}");
    }

    /// True if the path holds the wanted values.
    pub(super) fn is_in(&self, content: &Content) -> bool {
        let text = |raw: &Value| {
            let node = gojson::parse(raw.expose()).ok()?;
            match node.shape {
                Shape::String(inner) => Some(gojson::unquote(inner)),
                Shape::Null | Shape::Bool | Shape::Number | Shape::Array(_) | Shape::Object(_) => {
                    None
                }
            }
        };
        self.wanted.iter().all(|name| {
            let held = content.members.get(name).and_then(text);
            let wanted = self.members.get(name).and_then(text);
            match (held, wanted) {
                (Some(held), Some(wanted)) => held.expose() == wanted.expose(),
                (None, _) | (_, None) => false,
            }
        })
    }
}
