//! The dialects of dotenv, and INI, compared with the real programs.
#![cfg(test)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use repository::{Contents, Decrypted, Dialect, File, Format, Source, Tree, read_files};
use secret::Value;
use serde_json::Value as Json;

/// Files of one to three lines.
const FILES: &[&str] = &[
    "A=x",
    "A=\"x\"",
    "A='x'",
    "A=x ",
    "A= x",
    "A=x\t",
    "A=l1\\nl2",
    "A=l1\\\\nl2",
    "A=x # c",
    "A=a$HOME",
    "A=${HOME}",
    "A=$(id)",
    "export A=x",
    "A",
    "A=",
    "A=1\nA=2",
    "A=x=y",
    " A=x",
    "\tA=x",
    "A =x",
    "#A=x",
    " #A=x",
    "# see http://x?y=1",
    "",
    "\n\nA=1\n\n",
    "   ",
    "A=x\r\nB=y\r\n",
    "\u{feff}A=x",
    "A=x\n\u{feff}B=y",
    "a.b-c=x",
    "é=x",
    "A=é",
    "A=\u{a0}x\u{a0}",
    "-----BEGIN X-----\nA=1",
    "A=1\n=x",
];

type Entries = BTreeMap<String, String>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Returns the entries, or None after a fault.
fn ours(content: &str, format: Format, dialect: Option<Dialect>) -> Option<Entries> {
    let mut tree = Tree::default();
    tree.insert("file", Value::from(content))
        .expect("a valid path");
    let source = Source {
        tree: &tree,
        decrypt: &|_, _| Ok(Decrypted::NotSops),
    };
    let file = File {
        path: "file",
        format: Some(format),
        dialect,
    };
    let Contents { entries, faults } = read_files(source, &[file]);
    let entries = entries
        .iter()
        .map(|entry| (entry.key.clone(), text(entry.value.expose())));
    faults.is_empty().then(|| entries.collect())
}

/// The path of a program; a relative one is relative to the root of the repository.
fn program(variable: &str) -> PathBuf {
    let found = std::env::vars().find(|(name, _)| name == variable);
    let (_, path) = found.unwrap_or_else(|| panic!("{variable} names no program"));
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn stdout(output: &Output) -> Option<String> {
    output.status.success().then(|| text(&output.stdout))
}

#[test]
#[ignore = "needs kubectl (tests/kubectl/run)"]
fn dialect_of_kustomize_is_that_of_kubectl() {
    let kubectl = program("ESO_SYNC_TEST_KUBECTL");
    for content in FILES {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        // Literals, because kubectl shows the data of a Secret in base64 only.
        fs::write(
            path("kustomization.yaml"),
            "configMapGenerator: [{name: s, envs: [a.env]}]",
        )
        .expect("a file");
        fs::write(path("a.env"), content).expect("a file");
        let output = Command::new(&kubectl)
            .arg("kustomize")
            .arg(folder.path())
            .output()
            .expect("kubectl runs");
        let real = stdout(&output).map(|yaml| {
            let object: Json = serde_saphyr::from_str(&yaml).expect("YAML");
            strings(&object["data"])
        });
        // A line without a key is ignored there, and a fault here.
        let expected = if content.contains("\n=") { None } else { real };
        assert_eq!(
            ours(content, Format::Dotenv, Some(Dialect::Kustomize)),
            expected,
            "{content:?}"
        );
    }
}

fn strings(map: &Json) -> Entries {
    let entries = map.as_object().into_iter().flatten();
    entries
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Encrypts and decrypts a file. Returns what `sops decrypt` prints in this format; None if it refuses the file.
fn sops(content: &str, name: &str, output: &str) -> Option<String> {
    let sops = program("ESO_SYNC_TEST_SOPS");
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sops/tests/files/age.txt");
    let keys = fs::read_to_string(&key).expect("the keys of the tests");
    let recipient = keys
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .expect("a public key");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a file");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&sops);
        command
            .env("SOPS_AGE_KEY_FILE", &key)
            .arg("--disable-version-check")
            .args(arguments)
            .arg(&path);
        stdout(&command.output().expect("sops runs"))
    };
    let encrypted = run(&["encrypt", "--age", recipient])?;
    fs::write(&path, encrypted).expect("a file");
    run(&["decrypt", "--output-type", output])
}

#[test]
#[ignore = "needs sops (tests/cluster/run)"]
fn dialect_of_sops_is_that_of_sops() {
    for content in FILES {
        let real = sops(content, "a.env", "json")
            .map(|json| strings(&serde_json::from_str(&json).expect("JSON")));
        let found = ours(content, Format::Dotenv, Some(Dialect::Sops));
        match (&real, &found) {
            // sops encrypts no empty file, keeps both values of a key, and accepts an empty key.
            (None, Some(found)) if found.is_empty() => {}
            (Some(_), None) if content.contains("\n=") || *content == "A=1\nA=2" => {}
            _ => assert_eq!(found, real, "{content:?}"),
        }
        // The text that it prints is read alike.
        if let Some(text) = sops(content, "a.env", "dotenv").filter(|_| found.is_some()) {
            assert_eq!(
                ours(&text, Format::Dotenv, Some(Dialect::Sops)),
                real,
                "{content:?}"
            );
        }
    }
}

/// Values that need quotes in an INI file.
const INI_VALUES: &[&str] = &[
    "x",
    "two words",
    " blanks ",
    "a#b",
    "a ; b",
    "`tick`",
    "\"quoted\"",
    "'quoted'",
    "it's",
    "a=b",
    "a:b",
    "[x]",
    "l1\nl2",
    "l1\n#l2\n",
    "\"",
    "'",
    "\\",
    "a\\",
    "é",
    "{\"a\": 1}",
    "-----BEGIN X-----\nabc=\n-----END X-----\n",
];

#[test]
#[ignore = "needs sops (tests/cluster/run)"]
fn ini_is_read_like_sops_reads_it() {
    for value in INI_VALUES {
        let content = format!("top = 1\n[section]\nkey = \"\"\"{value}\"\"\"\nother = 2\n");
        let Some(tree) = sops(&content, "a.ini", "json") else {
            continue;
        };
        let tree: Json = serde_json::from_str(&tree).expect("JSON");
        let mut expected = strings(&tree["DEFAULT"]);
        expected.extend(
            strings(&tree["section"])
                .into_iter()
                .map(|(key, value)| (format!("section.{key}"), value)),
        );
        assert_eq!(
            ours(&content, Format::Ini, None).as_ref(),
            Some(&expected),
            "{value:?}"
        );
        let printed = sops(&content, "a.ini", "ini").expect("it is decrypted");
        let again = sops(&printed, "a.ini", "json")
            .map(|json| serde_json::from_str::<Json>(&json).expect("JSON"));
        // Not all that it prints is read back as it was. Then both read the same.
        if let Some(again) = again {
            let found = ours(&printed, Format::Ini, None);
            let expected = again["section"]["key"].as_str().unwrap_or_default();
            match found {
                Some(found) => assert_eq!(found["section.key"], expected, "{value:?}"),
                None => assert!(value.ends_with('\\'), "{value:?}"),
            }
        }
    }
}
