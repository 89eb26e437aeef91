//! The real kustomize: the files that it needs decrypted, and the Secrets that it prints.

use std::collections::{BTreeMap, BTreeSet};

use secret::Value;

use super::{FILE_NAMES, KustomizeSecret, Secrets, join, reader::Reader, resource};
use crate::{
    fault::Fault,
    node,
    source::{Source, Text, no_exact_text},
    tree::{Tree, resolve, split},
};

/// The largest file in which references are looked for, in bytes.
const MAX_SCANNED: usize = 1 << 20;

/// A decrypted SOPS file that a kustomization may refer to.
pub struct DecryptedFile {
    pub text: Value,
    /// False if it may be another notation than that of `sops decrypt`.
    is_exact: bool,
}

impl DecryptedFile {
    /// Returns a copy.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            text: self.text.duplicate(),
            is_exact: self.is_exact,
        }
    }
}

/// Decrypts the SOPS files that the kustomization in this folder may refer to. Returns them by their paths, or all faults.
pub fn decrypted_files(
    source: Source<'_>,
    folder: &str,
) -> Result<BTreeMap<String, DecryptedFile>, Vec<Fault>> {
    let folder = resolve("", folder).map_err(|fault| vec![fault])?;
    let (mut decrypted, mut faults) = (BTreeMap::new(), Vec::new());
    for path in referred(source.tree, &folder) {
        match source.data(&path) {
            Ok(opened) if opened.is_sops => {
                let file = DecryptedFile {
                    is_exact: opened.is_exact,
                    text: opened.content,
                };
                decrypted.insert(path, file);
            }
            Ok(_) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(decrypted)
    } else {
        Err(faults)
    }
}

/// The files that a kustomization may refer to: those that a word in its files names, and so on. These may be too many, but a file
/// that is missing here is only not decrypted, and values that are still encrypted are never published.
fn referred(tree: &Tree, folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = kustomizations(tree, folder);
    while let Some(path) = open.pop() {
        if !found.insert(path.clone()) {
            continue;
        }
        let Ok(content) = tree.get(&path) else {
            continue;
        };
        if content.expose().len() > MAX_SCANNED {
            continue;
        }
        let text = String::from_utf8_lossy(content.expose());
        let (folder, _) = split(&path);
        for word in text.split(is_separator).filter(|word| !word.is_empty()) {
            let Ok(resolved) = resolve(folder, word) else {
                continue;
            };
            if tree.get(&resolved).is_ok() {
                open.push(resolved);
            } else {
                open.extend(kustomizations(tree, &resolved));
            }
        }
    }
    found
}

fn kustomizations(tree: &Tree, folder: &str) -> Vec<String> {
    let paths = FILE_NAMES.map(|name| join(folder, name)).into_iter();
    paths.filter(|path| tree.get(path).is_ok()).collect()
}

/// True for what stands around a path in YAML. A generator writes `KEY=PATH`.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\'' | ',' | '[' | ']' | '{' | '}' | '=' | '#' | '|' | '>'
        )
}

/// Returns the Secrets in what the real kustomize printed for the kustomization in this folder, given the files that it saw
/// decrypted.
pub fn printed_secrets(
    folder: &str,
    printed: Value,
    decrypted: &BTreeMap<String, DecryptedFile>,
) -> Result<Vec<KustomizeSecret>, Fault> {
    let read = || {
        let text = Text::of(folder, printed)?;
        let mut secrets = Secrets::default();
        for document in node::documents(&text)? {
            resource::read(Reader::of_output(&text), &document, "", &mut |secret| {
                secrets.append(secret)
            })?;
        }
        Ok(secrets)
    };
    // The lines are those of the output, which nobody sees.
    let secrets: Secrets = read().map_err(|fault: Fault| Fault {
        line: None,
        ..fault
    })?;
    let mut secrets: Vec<_> = secrets.0.into_iter().map(super::Resource::finish).collect();
    let entries = secrets.iter_mut().flat_map(|secret| &mut secret.entries);
    entries.for_each(|entry| entry.line = None);
    let values = secrets.iter().flat_map(|secret| &secret.entries);
    for value in values.map(|entry| &entry.value) {
        let mut inexact = decrypted.iter().filter(|(_, file)| !file.is_exact);
        if let Some((path, _)) = inexact.find(|(_, file)| file.text.expose() == value.expose()) {
            return Err(no_exact_text(path));
        }
    }
    Ok(secrets)
}
