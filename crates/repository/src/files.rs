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

/// The entries of files, and what is wrong with them. With a fault, the entries are incomplete.
#[derive(Default)]
pub struct Contents {
    pub entries: Vec<Entry>,
    pub faults: Vec<Fault>,
}

/// Reads the files that the policy names.
pub fn read_files(source: Source<'_>, files: &[File<'_>]) -> Contents {
    let mut contents = Contents::default();
    for file in files {
        match entries(source, file, &mut contents.faults) {
            Ok(entries) => contents.entries.extend(entries),
            Err(fault) => contents.faults.push(fault),
        }
    }
    contents
}

/// Reads a file. Faults that do not end the reading are added to `faults`.
pub(crate) fn entries(
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
    let text = source.text(file.path)?;
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
            ("d.json", "{\"a\": [null, 1.50]}"),
            ("e.key", "raw\n"),
            ("i.ini", "[s]\na = 1"),
            ("f.env", "SOPS A"),
            ("g.env", "SOPS broken"),
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
            Some(_) => Ok(Decrypted::Sops {
                text: Value::from("A=x \nplain=y"),
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
            ("d.json", None, "a[1]=\"1.50\" d.json: null-value"),
            ("e.key", Some(Format::Binary), "e.key=\"raw\\n\""),
            (
                "d.json",
                Some(Format::Yaml),
                "a[1]=\"1.50\" d.json: null-value",
            ),
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

    #[test]
    fn binary_is_encrypted_only_if_all_of_the_file_is() {
        assert_eq!(
            reading("f.env", Some(Format::Binary), None),
            "f.env=\"A=x \\nplain=y\""
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_fault() {
        assert_eq!(reading("e.key", None, None), "e.key: unknown-format");
        assert_eq!(reading("none.env", None, None), "none.env: not-found");
        assert_eq!(reading("h.yml", None, None), "h.yml: not-utf8");
    }
}
