//! Maps and lists as a flat list of keys: `a.b`, `a[0]`.

use std::collections::BTreeSet;

use secret::Value;

use crate::{
    entry::Entry,
    fault::{Fault, Reason},
    node::{Kind, Member, Node, Style},
    source::Text,
};

mod serde_yaml;

/// How numbers and booleans become text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Render {
    /// As they are written: `1.50`, `007`.
    Text,
    /// As the Secret Manager Controller prints them, with the library `serde_yaml`: `1.5`, `true` for `True`. Null is empty.
    SerdeYaml,
}

/// Flattens the only document of a file.
pub(crate) fn flatten(
    text: &Text,
    documents: &[Node],
    render: Render,
    faults: &mut Vec<Fault>,
) -> Vec<Entry> {
    let mut flattener = Flattener {
        text,
        render,
        faults,
        entries: Vec::new(),
        keys: BTreeSet::new(),
    };
    match documents {
        [] => {}
        [document] if matches!(document.kind, Kind::Map(_)) => flattener.node("", document),
        [document] if document.is_null() => {}
        [document] => {
            let message = "needs keys and values at its top";
            flattener.fault(Reason::NotAMap, message, document.line, "");
        }
        [_, second, ..] => {
            let message = "has more than one document; use one file for each";
            flattener.fault(Reason::UnsupportedYaml, message, second.line, "");
        }
    }
    flattener.entries
}

struct Flattener<'a> {
    text: &'a Text,
    render: Render,
    faults: &'a mut Vec<Fault>,
    entries: Vec<Entry>,
    keys: BTreeSet<String>,
}

impl Flattener<'_> {
    fn fault(&mut self, reason: Reason, message: &str, line: usize, key: &str) {
        self.faults
            .push(self.text.fault(reason, message).at(line).of(key));
    }

    fn node(&mut self, key: &str, node: &Node) {
        match &node.kind {
            Kind::Scalar { text, style } => match self.value(text, *style, node) {
                Ok(value) => self.entry(key, value, node.line),
                Err((reason, message)) => self.fault(reason, message, node.line, key),
            },
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.node(&format!("{key}[{index}]"), item);
                }
            }
            Kind::Map(members) => {
                for member in members {
                    self.member(key, member);
                }
            }
            Kind::Unsupported(message) => {
                self.fault(Reason::UnsupportedYaml, message, node.line, key);
            }
        }
    }

    fn member(&mut self, key: &str, member: &Member) {
        let is_text = !member.is_plain || serde_yaml::is_text(&member.key);
        if member.key.is_empty() {
            self.fault(Reason::EmptyKey, "a key is empty", member.line, "");
        } else if !is_text && self.render == Render::SerdeYaml {
            let message = "a key is a number, a boolean or null, which the Secret Manager Controller drops: quote it";
            self.fault(Reason::UnsupportedYaml, message, member.line, &member.key);
        } else if key.is_empty() {
            self.node(&member.key, &member.value);
        } else {
            self.node(&format!("{key}.{}", member.key), &member.value);
        }
    }

    fn value(
        &self,
        text: &Value,
        style: Style,
        node: &Node,
    ) -> Result<Value, (Reason, &'static str)> {
        let plain = node.text().filter(|_| style == Style::Plain);
        match (self.render, plain) {
            (Render::Text, _) if node.is_null() => {
                let message = "the value is null; write a value, or quotes for an empty one";
                Err((Reason::NullValue, message))
            }
            (Render::SerdeYaml, Some(plain)) => {
                let message =
                    "the number is larger than the Secret Manager Controller can read: quote it";
                serde_yaml::rendered(plain).ok_or((Reason::UnsupportedYaml, message))
            }
            (Render::Text, _) | (Render::SerdeYaml, None) => Ok(text.duplicate()),
        }
    }

    fn entry(&mut self, key: &str, value: Value, line: usize) {
        if self.keys.insert(key.to_owned()) {
            self.entries.push(self.text.entry(key, value, line));
        } else {
            let message = "two values have the same flattened key, such as `a.b` and `b` below `a`; rename one of them";
            self.fault(Reason::DuplicateKey, message, line, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node;

    fn reading(yaml: &str, render: Render) -> String {
        let text = Text::for_tests(yaml.as_bytes(), false);
        let mut faults = Vec::new();
        let documents = node::documents(&text).expect("valid YAML");
        let entries = flatten(&text, &documents, render, &mut faults);
        let faults = faults
            .iter()
            .map(|fault| format!("{}:{}", fault.line.unwrap_or_default(), fault.reason.word()));
        let entries = entries
            .iter()
            .map(|entry| format!("{}={}", entry.key, entry.text()));
        entries.chain(faults).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keys_are_flattened() {
        let yaml = "a: {b: 1, c: [x, {d: y}]}\ne.f: z\n8: w\nempty: {}\nnone: []";
        assert_eq!(
            reading(yaml, Render::Text),
            "a.b=1 a.c[0]=x a.c[1].d=y e.f=z 8=w"
        );
    }

    /// Plain scalars, and what `serde_yaml` 0.9.34 makes of them.
    const SCALARS: &[(&str, &str)] = &[
        ("1.50", "1.5"),
        ("007", "007"),
        ("-007", "-007"),
        ("0x1F", "31"),
        ("-0x1F", "-31"),
        ("0o17", "15"),
        ("0b101", "5"),
        ("+5", "5"),
        ("-0", "0"),
        ("18446744073709551615", "18446744073709551615"),
        ("1e3", "1000.0"),
        ("1E3", "1000.0"),
        ("1e15", "1000000000000000.0"),
        ("1e16", "1e16"),
        ("12345678901234567.0", "1.2345678901234568e16"),
        ("1e-5", "0.00001"),
        ("1e-6", "1e-6"),
        ("0.0001", "0.0001"),
        ("0.000012", "0.000012"),
        ("0.0000012", "1.2e-6"),
        ("00.5", "0.5"),
        ("+.5", "0.5"),
        ("+-5", "+-5"),
        ("0x+1", "0x+1"),
        (
            "340282366920938463463374607431768211456",
            "3.402823669209385e38",
        ),
        ("1.", "1.0"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("-0.0", "-0.0"),
        ("5e-324", "5e-324"),
        (".inf", ".inf"),
        ("-.INF", "-.inf"),
        (".NaN", ".nan"),
        ("1e999", "1e999"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("True", "true"),
        ("FALSE", "false"),
        ("yes", "yes"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-11-29", "2026-11-29"),
        ("x: y", "x: y"),
    ];

    #[test]
    fn scalars_keep_their_text_unless_smc_renders_them() {
        for (scalar, smc) in SCALARS {
            let quoted = scalar.contains(": ");
            let yaml = if quoted {
                format!("a: '{scalar}'")
            } else {
                format!("a: {scalar}")
            };
            assert_eq!(reading(&yaml, Render::Text), format!("a={scalar}"));
            assert_eq!(
                reading(&yaml, Render::SerdeYaml),
                format!("a={smc}"),
                "{scalar}"
            );
            assert_eq!(
                reading(&format!("a: '{scalar}'"), Render::SerdeYaml),
                format!("a={scalar}")
            );
        }
    }

    #[test]
    fn null_is_refused_and_empty_for_smc() {
        for null in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(reading(&format!("a: {null}"), Render::Text), "1:null-value");
            assert_eq!(reading(&format!("a: {null}"), Render::SerdeYaml), "a=");
        }
        assert_eq!(reading("a: ''", Render::Text), "a=");
    }

    #[test]
    fn ambiguous_yaml_is_refused() {
        for render in [Render::Text, Render::SerdeYaml] {
            assert_eq!(
                reading("a: {b: 1}\na.b: 2", render),
                "a.b=1 2:duplicate-key"
            );
            assert_eq!(reading("a: !x 1\nb: 2", render), "b=2 1:unsupported-yaml");
            assert_eq!(reading("a: {<<: {b: 1}}", render), "1:unsupported-yaml");
            assert_eq!(reading("'': 1", render), "1:empty-key");
            assert_eq!(reading("a: 1\n---\nb: 2", render), "3:unsupported-yaml");
            for text in ["- a", "text", "'null'"] {
                assert_eq!(reading(text, render), "1:not-a-map");
            }
            assert_eq!(reading("", render), "");
            assert_eq!(reading("# nothing", render), "");
        }
        for key in ["8", "true", "~", "1.5", ".inf"] {
            assert_eq!(
                reading(&format!("{key}: 1"), Render::SerdeYaml),
                "1:unsupported-yaml"
            );
        }
        assert_eq!(
            reading(
                "340282366920938463463374607431768211455: a",
                Render::SerdeYaml
            ),
            "1:unsupported-yaml"
        );
        assert_eq!(
            reading("a: 18446744073709551616", Render::SerdeYaml),
            "1:unsupported-yaml"
        );
        assert_eq!(
            reading("a: -9223372036854775809", Render::SerdeYaml),
            "1:unsupported-yaml"
        );
    }
}
