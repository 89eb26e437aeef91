//! Finds values inside names. Values are compared by keyed digests, so that they can be freed before the names are judged.

use std::{cell::Cell, collections::BTreeMap};

use secret::{RunKey, Value};
use zeroize::Zeroizing;

use super::{
    answer::{Content, Raw},
    keys::convert_key,
    names::LONGEST_NAME,
    spec::ConversionStrategy,
};
use crate::{
    budget::{Budget, Limits},
    gojson::{self, Node, Numbers, Shape},
};

/// A shorter value counts only if it is the whole name. Otherwise the value `a` would hide most names.
const SHORTEST_PART: usize = 4;

/// The number of digests that are computed to judge the names of one Secret. Then the rest counts as held.
const CHECKS: u32 = 100_000;

/// The limits for finding the values inside JSON values. If they do not suffice, every name counts as one that holds a value.
const LIMITS: Limits = Limits {
    work: 64 << 20,
    memory: 4 << 20,
};

/// The values that a name must not hold: digests of all that are short enough.
#[derive(Clone)]
pub struct HeldValues {
    /// Sorted. (A set would need several times the memory.)
    digests: Vec<u64>,
    /// A bit for each length of a value.
    lengths: u128,
    /// False if a document was too large to find all values in it.
    is_complete: bool,
    checks: Cell<u32>,
}

impl Default for HeldValues {
    fn default() -> Self {
        Self {
            digests: Vec::new(),
            lengths: 0,
            is_complete: true,
            checks: Cell::new(CHECKS),
        }
    }
}

impl HeldValues {
    /// The values of a Secret.
    pub fn of(data: &BTreeMap<String, Value>, key: &RunKey) -> Self {
        let mut held = Self::default();
        held.add_all(data.values(), key);
        held.digests.shrink_to_fit();
        held
    }

    /// Adds values, and the values inside those that are JSON.
    pub fn add_all<'v>(&mut self, values: impl IntoIterator<Item = &'v Value>, key: &RunKey) {
        let budget = Budget::new(LIMITS);
        for value in values {
            self.add(value.expose(), &budget, key);
        }
        self.sort();
    }

    /// Adds all values of a provider's answer.
    pub fn add_answer(&mut self, content: &Content<'_>, key: &RunKey) {
        match content {
            Content::One(raw) => self.add_all(values_of(raw), key),
            Content::Many(found) => self.add_all(found.values().flat_map(values_of), key),
            Content::NotFound | Content::Fails(_) | Content::Unread(_) => {}
        }
    }

    /// Adds the values that another one has.
    pub fn extend(&mut self, other: &Self) {
        self.digests.extend(&other.digests);
        self.sort();
        self.lengths |= other.lengths;
        self.is_complete &= other.is_complete;
    }

    /// True if the name is a value, contains one, or may do so. Case does not matter, and a value also counts in the form that
    /// `conversionStrategy` gives to names.
    pub fn are_in(&self, name: &str, key: &RunKey) -> bool {
        if !self.is_complete || name.len() > LONGEST_NAME {
            return true;
        }
        let name = Zeroizing::new(name.to_ascii_lowercase());
        let lengths = (1..=name.len()).filter(|length| self.lengths & (1 << length) != 0);
        lengths
            .filter(|length| *length >= SHORTEST_PART || *length == name.len())
            .any(|length| {
                let mut parts = name.as_bytes().windows(length);
                parts.any(|part| {
                    let left = self.checks.get().checked_sub(1);
                    self.checks.set(left.unwrap_or_default());
                    left.is_none()
                        || self
                            .digests
                            .binary_search(&key.fingerprint(part).start())
                            .is_ok()
                })
            })
    }

    fn sort(&mut self) {
        self.digests.sort_unstable();
        self.digests.dedup();
    }

    fn add(&mut self, value: &[u8], budget: &Budget, key: &RunKey) {
        let value = value.trim_ascii();
        if let Ok(text) = std::str::from_utf8(value)
            && value.len() <= LONGEST_NAME
        {
            self.add_text(text, key);
            for strategy in [ConversionStrategy::Default, ConversionStrategy::Unicode] {
                self.add_text(&Zeroizing::new(convert_key(text, strategy)), key);
            }
        }
        if !matches!(value.first(), Some(b'{' | b'[')) {
            return;
        }
        match gojson::parse_within(value, budget) {
            Ok(document) => self.add_members(&document, budget, key),
            Err(gojson::NotJson::Invalid) => {}
            Err(gojson::NotJson::TooDeep | gojson::NotJson::TooCostly(_)) => {
                self.is_complete = false;
            }
        }
    }

    fn add_members(&mut self, node: &Node<'_>, budget: &Budget, key: &RunKey) {
        if budget.step(8).is_err() {
            self.is_complete = false;
            return;
        }
        match &node.shape {
            Shape::Array(items) => {
                for item in items {
                    self.add_members(item, budget, key);
                }
            }
            Shape::Object(members) => {
                for (_, member) in members {
                    self.add_members(member, budget, key);
                }
            }
            // A string may hold a document too.
            Shape::String(_) => {
                let text = gojson::byte_value(node, Numbers::Verbatim);
                self.add(text.expose(), budget, key);
            }
            // Words that stand for themselves.
            Shape::Null | Shape::Bool => {}
            Shape::Number => self.add(node.raw, budget, key),
        }
    }

    fn add_text(&mut self, text: &str, key: &RunKey) {
        if (1..=LONGEST_NAME).contains(&text.len()) {
            let text = Zeroizing::new(text.to_ascii_lowercase());
            self.lengths |= 1 << text.len();
            self.digests.push(key.fingerprint(text.as_bytes()).start());
        }
    }
}

fn values_of(raw: &Raw) -> Vec<&Value> {
    match raw {
        Raw::Bytes(value) | Raw::Json(value) => vec![value],
        Raw::Keys(values) | Raw::Tags(values) => values.values().collect(),
        Raw::Metadata {
            labels,
            annotations,
        } => labels.values().chain(annotations.values()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> RunKey {
        RunKey::from_bytes([4; 32])
    }

    fn held(value: &str) -> HeldValues {
        let data = BTreeMap::from([("k".to_owned(), Value::from(value))]);
        HeldValues::of(&data, &key())
    }

    #[test]
    fn name_that_is_or_contains_a_value_holds_it() {
        for (value, name) in [
            ("hunter2", "hunter2"),
            ("hunter2", "db-hunter2.old"),
            ("hunter2\n", "hunter2"),
            ("hunter2", "HUNTER2"),
            ("Hunter2", "hunter2"),
            ("a", "a"),
            ("p@ss/word", "p_ss_word"),
            ("p@ss/word", "p_U0040_ss_U002f_word"),
            (r#"{"a": ["x", {"b": "hunter2"}]}"#, "hunter2"),
            (r#"{"a": "{\"b\": \"hunter2\"}"}"#, "hunter2"),
            (r#"{"a": "hunter\u0032"}"#, "hunter2"),
            (r#"{"pin": 4711}"#, "pin-4711"),
        ] {
            assert!(held(value).are_in(name, &key()), "{value} in {name}");
        }
        for (value, name) in [
            ("a", "password"),
            ("pas", "password"),
            ("", "password"),
            ("password is long", "password"),
            (r#"{"password": "hunter2"}"#, "password"),
            (r#"{"password": "hunter2"}"#, "user"),
            ("true", "user"),
        ] {
            assert!(!held(value).are_in(name, &key()), "{value} in {name}");
        }
    }

    #[test]
    fn values_of_every_answer_count() {
        let values = || BTreeMap::from([("k".to_owned(), Value::from("hunter2"))]);
        let metadata = |labels, annotations| Raw::Metadata {
            labels,
            annotations,
        };
        for raw in [
            Raw::Bytes(Value::from("hunter2")),
            Raw::Json(Value::from(r#"{"k": "hunter2"}"#)),
            Raw::Keys(values()),
            Raw::Tags(values()),
            metadata(values(), BTreeMap::new()),
            metadata(BTreeMap::new(), values()),
        ] {
            let mut one = HeldValues::default();
            one.add_answer(&Content::One(&raw), &key());
            assert!(one.are_in("hunter2", &key()));
            let found = BTreeMap::from([("name".to_owned(), raw)]);
            let mut many = HeldValues::default();
            many.add_answer(&Content::Many(&found), &key());
            assert!(many.are_in("hunter2", &key()));
            let mut both = HeldValues::default();
            both.extend(&many);
            assert!(both.are_in("hunter2", &key()));
        }
    }

    #[test]
    fn names_hold_values_once_too_much_would_be_computed() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert!(held(&deep).are_in("user", &key()));
        let many = format!("[{}1]", "1,".repeat(1 << 18));
        assert!(held(&many).are_in("user", &key()));
        let data = (4..=60).map(|length| ("x".repeat(length), Value::from(&*"x".repeat(length))));
        let held = HeldValues::of(&data.collect(), &key());
        let name = "y".repeat(80);
        assert!(!held.are_in(&name, &key()));
        assert!((0..CHECKS / 80).any(|_| held.are_in(&name, &key())));
    }

    proptest! {
        #[test]
        fn value_in_a_name_is_found(before in "[a-z.-]{0,20}", value in "[a-zA-Z0-9]{4,30}", after in "[a-z.-]{0,20}") {
            let name = format!("{before}{value}{after}");
            prop_assert!(held(&value).are_in(&name, &key()));
        }
    }
}
