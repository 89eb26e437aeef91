//! JSON, with the order of keys and the text of numbers.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Document, Element, Member, Plain, Stored,
    limits::{Keys, Limits},
};
use crate::refusal::{Reason, Refused};

pub(super) fn parse(text: &str) -> Result<Document, Refused> {
    let mut limits = Limits::default();
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| Reason::NotJson)?;
    match node(raw, &mut limits)? {
        Stored::Map(members) => Ok(members),
        Stored::List(_) | Stored::Scalar(_) => Err(Reason::NotAMap.into()),
    }
}

fn node(raw: &RawValue, limits: &mut Limits) -> Result<Stored, Refused> {
    let text = raw.get();
    match text.bytes().next() {
        Some(b'{') => map(text, limits),
        Some(b'[') => list(text, limits),
        _ => {
            limits.count()?;
            scalar(text, limits).map(Stored::Scalar)
        }
    }
}

fn map(text: &str, limits: &mut Limits) -> Result<Stored, Refused> {
    limits.enter()?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let pairs = parser
        .deserialize_map(Pairs)
        .map_err(|_| limits.refuse(Reason::NotJson))?;
    let mut keys = Keys::default();
    let mut members = Vec::with_capacity(pairs.len());
    for (key, raw) in pairs {
        limits.push(&key)?;
        keys.add(&key, limits)?;
        let value = node(raw, limits)?;
        limits.pop();
        members.push(Member::Entry(key, value));
    }
    limits.leave();
    Ok(Stored::Map(members))
}

fn list(text: &str, limits: &mut Limits) -> Result<Stored, Refused> {
    limits.enter()?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let items = parser
        .deserialize_seq(Items)
        .map_err(|_| limits.refuse(Reason::NotJson))?;
    let elements = items
        .into_iter()
        .map(|raw| node(raw, limits).map(Element::Value))
        .collect::<Result<Vec<_>, _>>()?;
    limits.leave();
    Ok(Stored::List(elements))
}

fn scalar(text: &str, limits: &Limits) -> Result<Plain, Refused> {
    match text {
        "null" => return Ok(Plain::null()),
        "true" => return Ok(Plain::bool(true)),
        "false" => return Ok(Plain::bool(false)),
        _ => {}
    }
    if text.starts_with('"') {
        let text = serde_json::from_str(text).map_err(|_| limits.refuse(Reason::NotJson))?;
        return Ok(Plain::text(text));
    }
    // `-0` is the float that SOPS 3.11 and older write.
    if let (Ok(value), true) = (text.parse(), text != "-0") {
        return Ok(Plain::int(text, value));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Plain::float(text, value)),
        _ => Err(limits.refuse(Reason::UnsupportedValue)),
    }
}

/// The members of a map, with unparsed values.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

/// The elements of a list, unparsed.
struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(items)
    }
}
