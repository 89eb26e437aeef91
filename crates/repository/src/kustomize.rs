//! The Secrets that `kustomize build` makes, computed by a strict subset of its rules.
//!
//! Only Secrets are followed, because nothing else is published. What can change the data of a Secret is either understood or
//! refused by name; fields that cannot are ignored. Where kustomize itself fails, this fails, too, as far as Secrets are
//! concerned. Names have no hash at their end.

use std::collections::BTreeMap;

use crate::{
    entry::Entry,
    fault::{Fault, Reason},
    node,
    source::{Source, Text},
    tree::{resolve, split},
};

mod file;
mod generate;
mod patch;
mod printed;
mod reader;
mod resource;
mod select;

use file::Kustomization;
pub use printed::{DecryptedFile, decrypted_files, printed_secrets};
use reader::Reader;
use resource::{Id, Resource};

/// The maximum number of kustomizations that are read, counting one each time that it is referred to.
const MAX_KUSTOMIZATIONS: usize = 1000;
/// The maximum number of Secrets.
const MAX_SECRETS: usize = 10_000;
/// The names of a kustomization.
const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// A Secret that a kustomization makes.
pub struct KustomizeSecret {
    /// Empty if the kustomization sets none.
    pub namespace: String,
    /// Without the hash of its content.
    pub name: String,
    /// The decoded data, ordered by key.
    pub entries: Vec<Entry>,
}

/// Returns the Secrets of a kustomization in the order in which kustomize makes them. `path` is its folder.
pub fn kustomize(source: Source<'_>, path: &str) -> Result<Vec<KustomizeSecret>, Fault> {
    let mut build = Build {
        source,
        kustomizations: 0,
    };
    let folder = resolve("", path)?;
    let mut secrets = Secrets::default();
    build.target(&folder, &[], false, &mut secrets)?;
    Ok(secrets.0.into_iter().map(Resource::finish).collect())
}

struct Build<'a> {
    source: Source<'a>,
    kustomizations: usize,
}

impl Build<'_> {
    /// Adds the Secrets of the kustomization in this folder. A component changes the Secrets that are there already.
    fn target(
        &mut self,
        folder: &str,
        referrers: &[String],
        is_component: bool,
        secrets: &mut Secrets,
    ) -> Result<(), Fault> {
        self.kustomizations += 1;
        if self.kustomizations > MAX_KUSTOMIZATIONS {
            let message = format!("more than {MAX_KUSTOMIZATIONS} kustomizations are needed");
            return Err(Fault::new(folder, Reason::TooLarge, message));
        }
        let text = self.kustomization_file(folder)?;
        let kustomization = Kustomization::parse(&text)?;
        if kustomization.is_component != is_component {
            let message = if is_component {
                "is not of kind Component, but `components` refers to it"
            } else {
                "is of kind Component, but `resources` or the policy refers to it"
            };
            return Err(text.fault(Reason::KustomizeInvalid, message));
        }
        let mut inner = referrers.to_vec();
        inner.push(folder.to_owned());
        for path in &kustomization.resources {
            self.resource(&text, path, &inner, secrets)?;
        }
        for generator in &kustomization.generators {
            generator.generate(self.source, &text, secrets)?;
        }
        for path in &kustomization.components {
            let component = self.folder(&text, path, &inner)?;
            self.target(&component, &inner, true, secrets)?;
        }
        self.transform(&text, &kustomization, secrets)
    }

    /// Returns the text of the only kustomization in a folder.
    fn kustomization_file(&self, folder: &str) -> Result<Text, Fault> {
        let paths = FILE_NAMES.map(|name| join(folder, name));
        let mut present = paths
            .iter()
            .filter(|path| self.source.tree.is_present(path));
        let (first, second) = (present.next(), present.next());
        match (first, second) {
            (Some(path), None) => self.source.yaml(path),
            (Some(path), Some(_)) => {
                let message = "is one of several kustomizations in its folder; remove the others";
                Err(Fault::new(path, Reason::KustomizeInvalid, message))
            }
            (None, _) => {
                let message = "there is no kustomization.yaml in this folder";
                Err(Fault::new(folder, Reason::NotFound, message))
            }
        }
    }

    /// Adds the Secrets of an entry of `resources`: a file, or the folder of a kustomization.
    fn resource(
        &mut self,
        text: &Text,
        path: &Located,
        referrers: &[String],
        secrets: &mut Secrets,
    ) -> Result<(), Fault> {
        let (folder, _) = split(&text.file);
        let resolved = path.resolve(text)?;
        if self.source.tree.is_present(&resolved) {
            check_below(text, path, folder, &resolved)?;
            let resources = self.source.yaml(&resolved)?;
            for document in node::documents(&resources)? {
                resource::read(Reader::new(&resources), &document, "", &mut |secret| {
                    secrets.append(secret)
                })?;
            }
            return Ok(());
        }
        let base = self.folder(text, path, referrers)?;
        let mut inner = Secrets::default();
        self.target(&base, referrers, false, &mut inner)?;
        inner
            .0
            .into_iter()
            .try_for_each(|secret| secrets.append(secret))
    }

    /// Returns the folder that an entry of `resources` or `components` refers to.
    fn folder(&self, text: &Text, path: &Located, referrers: &[String]) -> Result<String, Fault> {
        let resolved = path.resolve(text)?;
        if !self.source.tree.has_folder(&resolved) {
            if is_remote(&path.text) {
                let message = "refers to a remote resource, which is not supported: copy it into the repository";
                return Err(path.fault(text, Reason::KustomizeUnsupported, message));
            }
            return Err(Fault {
                message: format!(
                    "refers to a file or folder that {}",
                    self.source.tree.missing(&resolved).message
                ),
                ..path.fault(text, self.source.tree.missing(&resolved).reason, "")
            });
        }
        let contains = |referrer: &String| {
            resolved.is_empty()
                || *referrer == resolved
                || referrer.starts_with(&format!("{resolved}/"))
        };
        if referrers.iter().any(contains) {
            let message = "refers to a folder that contains the kustomization itself";
            return Err(path.fault(text, Reason::KustomizeInvalid, message));
        }
        Ok(resolved)
    }

    /// Applies patches, the namespace, the prefix and the suffix, in the order of kustomize.
    fn transform(
        &self,
        text: &Text,
        kustomization: &Kustomization,
        secrets: &mut Secrets,
    ) -> Result<(), Fault> {
        for patch in &kustomization.patches {
            patch.apply(self.source, text, secrets)?;
        }
        if let Some(namespace) = &kustomization.namespace {
            secrets.rename(text, |id| id.namespace.clone_from(namespace))?;
        }
        let (prefix, suffix) = (&kustomization.prefix, &kustomization.suffix);
        if !prefix.is_empty() {
            secrets.rename(text, |id| id.name.insert_str(0, prefix))?;
        }
        if !suffix.is_empty() {
            secrets.rename(text, |id| id.name.push_str(suffix))?;
        }
        for patch in &kustomization.last_patches {
            patch.apply(self.source, text, secrets)?;
        }
        Ok(())
    }
}

/// The Secrets so far, in order.
#[derive(Default)]
struct Secrets(Vec<Resource>);

impl Secrets {
    fn append(&mut self, secret: Resource) -> Result<(), Fault> {
        if self
            .0
            .iter()
            .any(|other| other.current.is_same(&secret.current))
        {
            let message = format!(
                "the Secret {} exists twice in the same namespace",
                secret.current.name
            );
            return Err(Fault::new(&secret.file, Reason::KustomizeInvalid, message));
        }
        if self.0.len() >= MAX_SECRETS {
            let message = format!("more than {MAX_SECRETS} Secrets");
            return Err(Fault::new(&secret.file, Reason::TooLarge, message));
        }
        self.0.push(secret);
        Ok(())
    }

    /// Returns the only Secret that has or had this ID.
    fn find(&mut self, id: &Id) -> Result<Option<&mut Resource>, ()> {
        let mut found = self.0.iter_mut().filter(|secret| secret.has_or_had(id));
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(()),
            (found, None) => Ok(found),
        }
    }

    fn rename(&mut self, text: &Text, change: impl Fn(&mut Id)) -> Result<(), Fault> {
        for secret in &mut self.0 {
            let before = secret.current.clone();
            change(&mut secret.current);
            secret.previous.push(before);
        }
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for secret in &self.0 {
            *counts.entry(secret.current.key()).or_default() += 1;
        }
        match counts.iter().find(|(_, count)| **count > 1) {
            None => Ok(()),
            Some(((_, name), _)) => {
                let message = format!("two Secrets become {name} in the same namespace");
                Err(text.fault(Reason::KustomizeInvalid, message))
            }
        }
    }
}

/// A path or another text in a kustomization, with its line.
struct Located {
    text: String,
    line: usize,
}

impl Located {
    fn fault(&self, text: &Text, reason: Reason, message: &str) -> Fault {
        text.fault(reason, message).at(self.line)
    }

    /// Returns the path in the repository, which is relative to the kustomization.
    fn resolve(&self, text: &Text) -> Result<String, Fault> {
        let (folder, _) = split(&text.file);
        resolve(folder, &self.text).map_err(|fault| Fault {
            file: text.file.clone(),
            ..fault.at(self.line)
        })
    }
}

/// Returns the path of a file that the kustomization needs. Like kustomize, it must be in or below the folder of the kustomization.
fn file_path(text: &Text, path: &Located) -> Result<String, Fault> {
    let (folder, _) = split(&text.file);
    let resolved = path.resolve(text)?;
    check_below(text, path, folder, &resolved)?;
    Ok(resolved)
}

fn check_below(text: &Text, path: &Located, folder: &str, resolved: &str) -> Result<(), Fault> {
    if folder.is_empty()
        || resolved
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    {
        return Ok(());
    }
    let message = "refers to a file outside its folder, which kustomize refuses: refer to the folder of a kustomization";
    Err(path.fault(text, Reason::KustomizeInvalid, message))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// True if the text looks like the address of a repository or file elsewhere.
fn is_remote(text: &str) -> bool {
    let (host, _) = text.split_once('/').unwrap_or((text, ""));
    text.contains("://")
        || text.contains("?ref=")
        || text.contains("//")
        || text.starts_with("git@")
        || text.starts_with("git::")
        || (host.contains('.') && !host.starts_with('.') && text.contains('/'))
}

#[cfg(test)]
mod tests;
