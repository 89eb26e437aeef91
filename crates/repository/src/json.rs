//! JSON documents as trees of text. Numbers keep their text.

use std::{collections::BTreeSet, fmt};

use secret::Value;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    fault::{Fault, Reason},
    node::{Kind, MAX_DEPTH, Member, Node, Style},
    source::Text,
};

/// The maximum size of a file: each level of a document is read again.
const MAX_SIZE: usize = 4 << 20;

/// Parses a JSON document.
pub(crate) fn document(text: &Text) -> Result<Node, Fault> {
    let whole = text.as_str();
    if whole.len() > MAX_SIZE {
        let message = format!("is larger than {} MiB", MAX_SIZE >> 20);
        return Err(text.fault(Reason::TooLarge, message));
    }
    let raw: &RawValue = serde_json::from_str(whole).map_err(|error| {
        let fault = text.fault(Reason::InvalidSyntax, "is not valid JSON");
        fault.at(error.line())
    })?;
    let reader = Reader {
        text,
        line_ends: whole.match_indices('\n').map(|(end, _)| end).collect(),
    };
    reader.node(raw.get(), 0)
}

struct Reader<'a> {
    text: &'a Text,
    /// The places of all line feeds.
    line_ends: Vec<usize>,
}

impl Reader<'_> {
    /// Returns the line of a part of the text.
    fn line(&self, part: &str) -> usize {
        let start = part.as_ptr() as usize - self.text.as_str().as_ptr() as usize;
        1 + self.line_ends.partition_point(|end| *end < start)
    }

    fn parse<'r, T: Deserialize<'r>>(&self, raw: &'r str) -> Result<T, Fault> {
        serde_json::from_str(raw).map_err(|_| {
            let fault = self.text.fault(Reason::InvalidSyntax, "is not valid JSON");
            fault.at(self.line(raw))
        })
    }

    fn node(&self, raw: &str, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            let fault = self.text.fault(Reason::TooLarge, "is nested too deeply");
            return Err(fault.at(self.line(raw)));
        }
        let kind = match raw.bytes().next() {
            Some(b'{') => self.map(raw, depth)?,
            Some(b'[') => {
                let items: Vec<&RawValue> = self.parse(raw)?;
                let items = items.iter().map(|item| self.node(item.get(), depth + 1));
                Kind::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Kind::Scalar {
                text: Value::new(self.parse::<String>(raw)?.into_bytes()),
                style: Style::Text,
            },
            _ => Kind::Scalar {
                text: Value::from(raw),
                style: Style::Plain,
            },
        };
        Ok(Node::new(self.line(raw), kind))
    }

    fn map(&self, raw: &str, depth: usize) -> Result<Kind, Fault> {
        let Members(pairs) = self.parse(raw)?;
        let mut keys = BTreeSet::new();
        let mut members = Vec::new();
        for (key, raw) in pairs {
            let line = self.line(raw.get());
            if !keys.insert(key.clone()) {
                let message = "the key occurs twice in this object; remove one of them";
                let fault = self.text.fault(Reason::DuplicateKey, message);
                return Err(fault.at(line).of(&key));
            }
            members.push(Member {
                value: self.node(raw.get(), depth + 1)?,
                key,
                is_plain: false,
                line,
            });
        }
        Ok(Kind::Map(members))
    }
}

/// The members of an object, in order, also those that occur twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Node, Fault> {
        document(&Text::for_tests(text.as_bytes(), false))
    }

    #[test]
    fn numbers_keep_their_text_and_strings_are_decoded() {
        let node = parsed("{\n\t\"a\": 1.50,\n\t\"b\": [1e3, true, null, \"\\ud83d\\ude00\\n\"]}")
            .expect("valid");
        let Some(Kind::List(items)) = node.get("b").map(|node| &node.kind) else {
            panic!("a list");
        };
        let texts: Vec<_> = items
            .iter()
            .map(|item| item.text().expect("a scalar"))
            .collect();
        assert_eq!(texts, ["1e3", "true", "null", "😀\n"]);
        assert!(items[2].is_null() && !items[3].is_null());
        let a = node.get("a").expect("a value");
        assert_eq!((a.text(), a.line), (Some("1.50"), 2));
    }

    #[test]
    fn keys_that_occur_twice_are_refused() {
        let fault = parsed("{\"a\": {\"b\": 1,\n\"b\": 2}}")
            .err()
            .expect("twice");
        assert_eq!((fault.reason, fault.line), (Reason::DuplicateKey, Some(2)));
    }

    #[test]
    fn invalid_json_has_a_line_and_no_content() {
        for text in [
            "{\"a\": hunter2}",
            "{\"a\":\n'hunter2'}",
            "",
            "{} hunter2",
            "{\"a\": \"hunter2",
        ] {
            let fault = parsed(text).err().expect(text);
            assert_eq!(fault.reason, Reason::InvalidSyntax);
            assert!(fault.line.is_some() && !fault.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn depth_and_size_are_limited() {
        assert!(parsed(&"[".repeat(100_000)).is_err());
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(
            parsed(&deep).err().expect("too deep").reason,
            Reason::TooLarge
        );
        let large = " ".repeat(MAX_SIZE) + "1";
        assert_eq!(
            parsed(&large).err().expect("too large").reason,
            Reason::TooLarge
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "([{}\\[\\]\",:\\\\u0ntf \n]|.){0,40}") {
            drop(parsed(&text));
        }
    }
}
