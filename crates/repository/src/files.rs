//! Files that the policy names.

use serde::{Deserialize, Serialize};

use crate::{
    dotenv::{self, Dialect},
    entry::Entry,
    fault::{Fault, Reason},
    flatten::{Render, flatten},
    ini, json, node, properties,
    source::Source,
    tree::split,
};

/// How a file is written.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Format {
    Dotenv,
    Properties,
    Yaml,
    Json,
    Ini,
    /// The whole content is one value. The key is the name of the file.
    Binary,
}

impl Format {
    /// Returns the format of a file by its name.
    pub fn of(path: &str) -> Option<Self> {
        let (_, name) = split(path);
        match name.rsplit_once('.')?.1 {
            "env" => Some(Self::Dotenv),
            "properties" => Some(Self::Properties),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "ini" => Some(Self::Ini),
            _ => None,
        }
    }

    /// True if a file of this format can be read in this dialect.
    pub const fn has_dialect(self, dialect: Dialect) -> bool {
        match self {
            Self::Dotenv => true,
            Self::Properties | Self::Yaml => matches!(dialect, Dialect::Smc),
            Self::Json | Self::Ini | Self::Binary => false,
        }
    }
}

/// A file that the policy names.
pub struct File<'a> {
    pub path: &'a str,
    /// None: by the file's name.
    pub format: Option<Format>,
    pub dialect: Option<Dialect>,
}

/// The entries of files, and what is wrong with them. A file with a fault has no entries.
#[derive(Default)]
pub struct Contents {
    pub entries: Vec<Entry>,
    pub faults: Vec<Fault>,
}

/// Reads the files that the policy names.
pub fn read_files(source: Source<'_>, files: &[File<'_>]) -> Contents {
    let mut contents = Contents::default();
    for file in files {
        match entries(source, file) {
            Ok(entries) => contents.entries.extend(entries),
            Err(faults) => contents.faults.extend(faults),
        }
    }
    contents
}

/// Reads a file completely, or not at all: where one line is misread, the others may be, too. A value of several lines looks
/// like several keys, for example.
pub(crate) fn entries(source: Source<'_>, file: &File<'_>) -> Result<Vec<Entry>, Vec<Fault>> {
    let mut faults = Vec::new();
    match parsed(source, file, &mut faults) {
        Ok(entries) if faults.is_empty() => return Ok(entries),
        Ok(_) => {}
        Err(fault) => faults.push(fault),
    }
    Err(faults)
}

/// Faults that do not end the reading are added to `faults`.
fn parsed(
    source: Source<'_>,
    file: &File<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Vec<Entry>, Fault> {
    let format = file.format.or_else(|| Format::of(file.path)).ok_or_else(|| {
        let message = "the format cannot be told from the file's name; set `format`: dotenv, properties, yaml, json, ini or binary";
        Fault::new(file.path, Reason::UnknownFormat, message)
    })?;
    let is_smc = file.dialect == Some(Dialect::Smc);
    if format == Format::Binary {
        return binary(source, file.path);
    }
    let text = match format {
        Format::Yaml => source.yaml(file.path)?,
        Format::Dotenv | Format::Properties | Format::Json | Format::Ini | Format::Binary => {
            source.text(file.path)?
        }
    };
    let render = if is_smc {
        Render::SerdeYaml
    } else {
        Render::Text
    };
    let rules = if is_smc {
        properties::Rules::Smc
    } else {
        properties::Rules::Java
    };
    Ok(match format {
        Format::Dotenv => dotenv::read(&text, file.dialect, faults),
        Format::Ini => ini::read(&text, faults),
        Format::Properties => properties::read(&text, rules, faults),
        Format::Yaml => flatten(&text, &node::documents(&text)?, render, faults),
        Format::Json | Format::Binary => {
            flatten(&text, &[json::document(&text)?], Render::Text, faults)
        }
    })
}

fn binary(source: Source<'_>, path: &str) -> Result<Vec<Entry>, Fault> {
    let opened = source.open(path)?;
    let encrypted = opened.is_all_encrypted();
    Ok(vec![Entry {
        key: split(path).1.to_owned(),
        value: opened.content,
        file: opened.file,
        line: None,
        encrypted,
    }])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use secret::Value;

    use super::*;
    use crate::{Decrypted, Tree, Undecrypted};

    fn tree() -> Tree {
        let mut tree = Tree::default();
        for (path, content) in [
            ("a.env", "A=1\nB=\n"),
            ("b.properties", "a : 1\n"),
            ("c.yaml", "a: {b: 1.50}\n"),
            ("d.json", "{\"a\": [1.50]}"),
            ("null.json", "{\"a\": [null, 1.50]}"),
            ("e.key", "raw\n"),
            ("i.ini", "[s]\na = 1"),
            ("f.env", "SOPS A"),
            ("g.env", "SOPS broken"),
            ("sealed.yaml", "SOPS yaml"),
        ] {
            tree.insert(path, Value::from(content))
                .expect("a valid path");
        }
        tree.insert("h.yml", Value::from([0xff].as_slice()))
            .expect("a valid path");
        tree
    }

    /// Decrypts files that start with `SOPS`: the rest is a key whose value is encrypted.
    fn decrypt(_: &str, content: &[u8]) -> Result<Decrypted, Undecrypted> {
        match content.strip_prefix(b"SOPS ") {
            None => Ok(Decrypted::NotSops),
            Some(b"broken") => Err(Undecrypted {
                reason: "mac-mismatch",
                message: "the MAC differs".to_owned(),
            }),
            Some(b"yaml") => Ok(Decrypted::Sops {
                text: Value::from("---\n{\"A\": \"x\"}\n"),
                is_exact: false,
                unencrypted: BTreeSet::new(),
            }),
            Some(_) => Ok(Decrypted::Sops {
                text: Value::from("A=x \nplain=y"),
                is_exact: true,
                unencrypted: BTreeSet::from(["plain".to_owned()]),
            }),
        }
    }

    fn reading(path: &str, format: Option<Format>, dialect: Option<Dialect>) -> String {
        let tree = tree();
        let source = Source {
            tree: &tree,
            decrypt: &decrypt,
        };
        let contents = read_files(
            source,
            &[File {
                path,
                format,
                dialect,
            }],
        );
        let entry = |entry: &Entry| {
            let mark = if entry.encrypted { "!" } else { "" };
            format!("{mark}{}={:?}", entry.key, entry.text())
        };
        let faults = contents
            .faults
            .iter()
            .map(|fault| format!("{}: {}", fault.file, fault.reason.word()));
        contents
            .entries
            .iter()
            .map(entry)
            .chain(faults)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn each_format_is_read() {
        for (path, format, expected) in [
            ("a.env", None, "A=\"1\" B=\"\""),
            ("b.properties", None, "a=\"1\""),
            ("c.yaml", None, "a.b=\"1.50\""),
            ("i.ini", None, "s.a=\"1\""),
            ("d.json", None, "a[0]=\"1.50\""),
            ("e.key", Some(Format::Binary), "e.key=\"raw\\n\""),
            ("d.json", Some(Format::Yaml), "a[0]=\"1.50\""),
        ] {
            assert_eq!(reading(path, format, None), expected, "{path}");
        }
    }

    #[test]
    fn smc_dialect_applies_to_properties_and_yaml() {
        assert_eq!(reading("b.properties", None, Some(Dialect::Smc)), "");
        assert_eq!(reading("c.yaml", None, Some(Dialect::Smc)), "a.b=\"1.5\"");
    }

    #[test]
    fn sops_files_are_decrypted_as_read() {
        assert_eq!(reading("f.env", None, None), "!A=\"x \" plain=\"y\"");
        assert_eq!(reading("g.env", None, None), "g.env: mac-mismatch");
    }

    /// sops writes YAML in a notation of its own, which another program cannot know.
    #[test]
    fn encrypted_yaml_is_read_as_data_only() {
        assert_eq!(reading("sealed.yaml", None, None), "!A=\"x\"");
        for format in [
            Format::Binary,
            Format::Dotenv,
            Format::Json,
            Format::Properties,
            Format::Ini,
        ] {
            assert_eq!(
                reading("sealed.yaml", Some(format), None),
                "sealed.yaml: no-exact-text"
            );
        }
    }

    #[test]
    fn binary_is_encrypted_only_if_all_of_the_file_is() {
        assert_eq!(
            reading("f.env", Some(Format::Binary), None),
            "f.env=\"A=x \\nplain=y\""
        );
    }

    /// The lines after the first one of a value look like keys, so nothing of such a file is known for certain.
    #[test]
    fn a_file_with_a_fault_has_no_entries() {
        for (format, dialect, content) in [
            (Format::Dotenv, None, "A=1\nA=2\nB=3\n"),
            (Format::Dotenv, None, "A=1\nno equals sign\n"),
            (Format::Dotenv, None, PEM),
            (Format::Dotenv, Some(Dialect::Sops), PEM),
            (Format::Dotenv, Some(Dialect::Kustomize), PEM),
            (Format::Dotenv, Some(Dialect::Smc), PEM),
            (Format::Dotenv, Some(Dialect::Plain), PEM),
            (Format::Dotenv, Some(Dialect::Smc), BASE64),
            (Format::Dotenv, Some(Dialect::Sops), BASE64),
            (Format::Properties, None, "a=1\na=2\nb=3\n"),
            (Format::Properties, None, "a=1\nb=\\u12\n"),
            (Format::Properties, None, PEM),
            (Format::Properties, Some(Dialect::Smc), PEM),
            (Format::Properties, Some(Dialect::Smc), BASE64),
            (Format::Ini, None, "[dev]\na=1\n[prod\na=2\n"),
            (Format::Ini, None, "[a]\nb=1\nb=2\nc=3\n"),
            (Format::Ini, None, PEM),
            (Format::Yaml, None, "a: 1\nb: null\n"),
            (Format::Json, None, "{\"a\": 1, \"b\": null}"),
        ] {
            let mut tree = Tree::default();
            tree.insert("file", Value::from(content)).expect("a file");
            tree.insert("good.env", Value::from("GOOD=1"))
                .expect("a file");
            let source = Source {
                tree: &tree,
                decrypt: &decrypt,
            };
            let file = |path, format, dialect| File {
                path,
                format: Some(format),
                dialect,
            };
            let files = [
                file("file", format, dialect),
                file("good.env", Format::Dotenv, None),
            ];
            let Contents { entries, faults } = read_files(source, &files);
            let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            assert_eq!(keys, ["GOOD"], "{format:?} {dialect:?} {content}");
            assert!(!faults.is_empty(), "{format:?} {dialect:?} {content}");
            for fault in faults {
                let shown = format!("{fault} {fault:?}");
                for part in ["MIIEowIBAAKCAQEA", "hV8fGtq2Lw9JmZc4QzYnRw", "PRIVATE"] {
                    assert!(!shown.contains(part), "{shown}");
                }
            }
        }
    }

    const PEM: &str = "KEY=-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nhV8fGtq2Lw9JmZc4QzYnRw==\n-----END RSA PRIVATE KEY-----\nOTHER=1\n";
    const BASE64: &str = "KEY=MIIEowIBAAKCAQEA\nhV8fGtq2Lw9JmZc4QzYnRw==\n";

    #[test]
    fn a_file_that_cannot_be_read_is_a_fault() {
        assert_eq!(reading("e.key", None, None), "e.key: unknown-format");
        assert_eq!(reading("null.json", None, None), "null.json: null-value");
        assert_eq!(reading("none.env", None, None), "none.env: not-found");
        assert_eq!(reading("h.yml", None, None), "h.yml: not-utf8");
    }
}
