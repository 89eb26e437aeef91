//! Parses untrusted JSON within limits: a bounded depth, and no object with two equal fields.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use crate::notice::Unreadable;

/// The most that objects and arrays may be nested. `CloudTrail` and audit logs need about ten.
const DEPTH: usize = 32;

const TWICE: &str = "a field appears twice";
const DEEP: &str = "too deep";

/// Parses a whole text. Equal fields are refused, because programs disagree about which of them counts.
pub(crate) fn parse(text: &str) -> Result<Json, Unreadable> {
    let mut input = serde_json::Deserializer::from_str(text);
    let parsed = Depth(DEPTH).deserialize(&mut input);
    let parsed = parsed.and_then(|json| input.end().map(|()| json));
    parsed.map_err(|error| {
        // The text of the error can contain a part of the body.
        let text = error.to_string();
        if text.starts_with(TWICE) {
            Unreadable::FieldTwice
        } else if text.starts_with(DEEP) {
            Unreadable::TooDeep
        } else {
            Unreadable::NotJson
        }
    })
}

/// The remaining depth.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn below<E: Error>(self) -> Result<Self, E> {
        let below = self.0.checked_sub(1).map(Self);
        below.ok_or_else(|| E::custom(DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Json, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut all = Vec::new();
        while let Some(one) = input.next_element_seed(below)? {
            all.push(one);
        }
        Ok(Json::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut all = Map::new();
        while let Some(name) = input.next_key::<String>()? {
            let value = input.next_value_seed(below)?;
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Json::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_parsed_within_limits() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(DEPTH)).is_ok());
        for (text, why) in [
            (&*nested(DEPTH + 1), Unreadable::TooDeep),
            (&*"[".repeat(100_000), Unreadable::TooDeep),
            (r#"{"a": 1, "a": 2}"#, Unreadable::FieldTwice),
            (r#"[{"a": {"b": 1, "\u0062": 2}}]"#, Unreadable::FieldTwice),
            (r#"{"a": 1} x"#, Unreadable::NotJson),
            ("", Unreadable::NotJson),
            ("{", Unreadable::NotJson),
            ("\u{0}", Unreadable::NotJson),
        ] {
            assert_eq!(parse(text), Err(why));
        }
    }

    #[test]
    fn values_are_those_of_serde_json() {
        let text = r#"{"a": [1, -2, 1.5, true, null, "x", {}], "b": 18446744073709551615}"#;
        assert_eq!(parse(text), Ok(serde_json::from_str(text).unwrap()));
    }
}
