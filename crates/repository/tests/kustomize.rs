//! The subset of kustomize on small trees, in `kustomize/corpus.txt`. tests/kubectl/run compares each tree with the real program.
#![cfg(test)]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use repository::{Decrypted, KustomizeSecret, Reason, Source, Tree, kustomize};
use secret::Value;
use serde_json::Value as Json;

struct Case {
    name: &'static str,
    /// The expected reason; None if the Secrets are computed.
    refused: Option<&'static str>,
    folder: &'static str,
    files: Vec<(&'static str, String)>,
}

fn corpus() -> Vec<Case> {
    let text = include_str!("kustomize/corpus.txt");
    let cases = text.split("\n## ").skip(1).map(|case| {
        let (header, files) = case.split_once('\n').expect("a header");
        let parts: Vec<&str> = header.split(" | ").collect();
        let files = files.strip_prefix("-- ").expect("a file").split("\n-- ");
        Case {
            name: parts[0],
            refused: parts[1].strip_prefix("refused "),
            folder: parts.get(2).copied().unwrap_or("."),
            files: files.map(file).collect(),
        }
    });
    cases.collect()
}

fn file(text: &'static str) -> (&'static str, String) {
    let (path, content) = text.split_once('\n').unwrap_or((text, ""));
    // The empty line before the next tree belongs to no file.
    let content = content.strip_suffix('\n').unwrap_or(content);
    (path, content.replace('␍', "\r") + "\n")
}

/// The values by key, and these by namespace and name.
type Secrets = BTreeMap<String, BTreeMap<String, String>>;

fn computed(case: &Case) -> Result<Secrets, &'static str> {
    let mut tree = Tree::default();
    for (path, content) in &case.files {
        tree.insert(path, Value::from(content.as_str()))
            .expect("a valid path");
    }
    let source = Source {
        tree: &tree,
        decrypt: &|_, _| Ok(Decrypted::NotSops),
    };
    let secrets = kustomize(source, case.folder).map_err(|fault| fault.reason.word())?;
    let text = |value: &Value| String::from_utf8(value.expose().to_vec()).expect("text");
    let secret = |secret: KustomizeSecret| {
        let entries = secret
            .entries
            .iter()
            .map(|entry| (entry.key.clone(), text(&entry.value)));
        (
            format!("{}/{}", secret.namespace, secret.name),
            entries.collect(),
        )
    };
    Ok(secrets.into_iter().map(secret).collect())
}

#[test]
fn trees_are_computed_or_refused_by_name() {
    let mut counts = BTreeMap::new();
    for case in corpus() {
        let found = computed(&case);
        assert_eq!(found.as_ref().err().copied(), case.refused, "{}", case.name);
        *counts.entry(found.is_ok()).or_insert(0) += 1;
        // A refusal names the file or folder.
        assert!(!case.files.is_empty(), "{}", case.name);
    }
    assert!(counts[&true] >= 50 && counts[&false] >= 40, "{counts:?}");
}

#[test]
fn computed_secrets_are_those_of_the_snapshot() {
    let shown = corpus().into_iter().filter_map(|case| {
        let secrets = serde_json::to_string(&computed(&case).ok()?).expect("JSON");
        Some(format!("{}: {secrets}\n", case.name))
    });
    insta::assert_snapshot!(shown.collect::<String>());
}

/// The Secrets that the real program makes. None if it fails.
fn real(kubectl: &str, case: &Case) -> Option<Secrets> {
    let root = tempfile::tempdir().expect("a folder");
    for (path, content) in &case.files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).expect("folders");
        fs::write(path, content).expect("a file");
    }
    let mut command = Command::new(kubectl);
    let output = command
        .arg("kustomize")
        .arg(root.path().join(case.folder))
        .output()
        .expect("kubectl runs");
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).expect("text");
    let documents: Vec<Json> = serde_saphyr::from_multiple(&text).expect("YAML");
    let is_secret = |object: &&Json| object["kind"] == "Secret" && object["apiVersion"] == "v1";
    Some(documents.iter().filter(is_secret).map(secret).collect())
}

fn decoded(value: &str) -> String {
    let lines: String = value.split_whitespace().collect();
    let bytes = STANDARD.decode(lines).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.unwrap_or_else(|| format!("not base64: {value}"))
}

fn secret(object: &Json) -> (String, BTreeMap<String, String>) {
    let mut values = BTreeMap::new();
    for (field, is_encoded) in [("data", true), ("stringData", false)] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let value = match value.as_str() {
                None if value.is_null() => continue,
                // The API server refuses these, and so does the subset.
                None => format!("not text: {value}"),
                Some(value) if is_encoded => decoded(value),
                Some(value) => value.to_owned(),
            };
            values.insert(key.clone(), value);
        }
    }
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().expect("a name");
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    (format!("{namespace}/{name}"), values)
}

/// True if the names are equal but for the hash at the end of the real one.
fn is_same_name(real: &str, ours: &str) -> bool {
    let rest = real.strip_prefix(ours);
    rest.is_some_and(|rest| rest.is_empty() || (rest.len() == 11 && rest.starts_with('-')))
}

#[test]
#[ignore = "needs kubectl (tests/kubectl/run)"]
fn trees_have_the_secrets_of_the_real_kustomize() {
    let kubectl = std::env::vars().find(|(name, _)| name == "ESO_SYNC_TEST_KUBECTL");
    let (_, kubectl) = kubectl.expect("the path of kubectl");
    let mut different = Vec::new();
    for case in corpus() {
        let (ours, real) = (computed(&case), real(&kubectl, &case));
        let is_same = match (&ours, &real) {
            (Ok(ours), Some(real)) => {
                let same = |(ours, real): (_, _)| {
                    let ((name, values), (real_name, real_values)): ((&String, _), (&String, _)) =
                        (ours, real);
                    is_same_name(real_name, name) && values == real_values
                };
                ours.len() == real.len() && ours.iter().zip(real).all(same)
            }
            (Ok(_), None) => false,
            // Where kustomize fails, the refusal says so. Other refusals may be stricter.
            (Err("kustomize-invalid"), real) => real.is_none(),
            (Err(_), _) => true,
        };
        if !is_same {
            different.push(format!("{}: {ours:?}, kustomize: {real:?}", case.name));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn reasons_of_kustomize_are_stable() {
    assert_eq!(Reason::KustomizeInvalid.word(), "kustomize-invalid");
    assert_eq!(Reason::KustomizeUnsupported.word(), "kustomize-unsupported");
}
