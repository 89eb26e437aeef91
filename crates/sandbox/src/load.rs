//! Loads manifests, as people write them and as `kubectl get -o yaml` prints them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use eso_model::duration::GoDuration;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    Settings, object, provider::setting, resource::Resource, store::Store, time::whole_seconds,
    workloads,
};

/// The reason why manifests could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no manifests (*.yaml, *.yml or *.json) in {}", .0.display())]
    Nothing(PathBuf),
    #[error("{file}:{line}: {message}")]
    Manifest {
        file: String,
        /// The line number, starting at 1.
        line: usize,
        message: String,
    },
    /// A key or value in the settings ConfigMap is invalid.
    #[error(
        "invalid `{0}` in the ConfigMap {SETTINGS}; supported: `workers`, `speed` (numbers above 0) and `digest` (`md5` or `sha3-224`)"
    )]
    Settings(String),
}

/// The name of the ConfigMap with settings. It can be in any namespace.
const SETTINGS: &str = "eso-sync-sandbox";

/// The name and text of a file.
pub(super) struct Manifest {
    pub(super) file: String,
    pub(super) text: String,
}

/// Reads the manifests in a directory, in the order of their file names.
pub(super) fn read_directory(directory: &Path) -> Result<Vec<Manifest>, LoadError> {
    let read = |source| LoadError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = std::fs::read_dir(directory)
        .map_err(read)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(read)?;
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.retain(|path| {
        path.extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
    });
    paths.sort();
    if paths.is_empty() {
        return Err(LoadError::Nothing(directory.to_owned()));
    }
    let manifest = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Manifest {
            file: path.display().to_string(),
            text,
        }),
        Err(source) => Err(LoadError::Read { path, source }),
    };
    paths.into_iter().map(manifest).collect()
}

/// Puts the objects of manifests into the store, with the status and metadata that the manifests contain.
pub(super) fn load(store: &Store, manifests: &[Manifest]) -> Result<(), LoadError> {
    let mut unknown = Unknown::new();
    for manifest in manifests {
        for document in documents(&manifest.text) {
            load_document(store, manifest, &document, &mut unknown)?;
        }
    }
    for ((kind, api_version), objects) in unknown {
        tracing::warn!(
            kind,
            api_version,
            objects,
            "ignored objects: the sandbox does not serve this kind"
        );
    }
    add_namespaces(store);
    Ok(())
}

/// The number of objects of each kind that is not served.
type Unknown = BTreeMap<(String, String), usize>;

/// One YAML document of a file.
struct Document {
    /// The first line of the document, starting at 1.
    line: usize,
    text: String,
}

/// Splits a file into documents. A line of three hyphens cannot be part of a document, because block scalars are
/// indented.
fn documents(text: &str) -> Vec<Document> {
    let mut documents = vec![Document {
        line: 1,
        text: String::new(),
    }];
    for (index, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") || line.starts_with("---\t") {
            // The rest of the line belongs to the new document, at the same column.
            let rest = line.get(3..).unwrap_or_default();
            documents.push(Document {
                line: index + 1,
                text: format!("   {rest}\n"),
            });
        } else if let Some(document) = documents.last_mut() {
            document.text.push_str(line);
            document.text.push('\n');
        }
    }
    documents
}

fn load_document(
    store: &Store,
    manifest: &Manifest,
    document: &Document,
    unknown: &mut Unknown,
) -> Result<(), LoadError> {
    let wrong = |line: usize, message: String| LoadError::Manifest {
        file: manifest.file.clone(),
        line,
        message,
    };
    let text = expand(&document.text, store.clock.now())
        .map_err(|(line, message)| wrong(document.line + line, message))?;
    // A snippet in the error message could contain a secret value. There is no size limit, because users load their own
    // files.
    let options = serde_saphyr::options! { with_snippet: false, budget: None };
    let parsed: Option<Value> =
        serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
            let line = error
                .location()
                .map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
            wrong(
                document.line + line.saturating_sub(1),
                "is not valid YAML".to_owned(),
            )
        })?;
    let Some(parsed) = parsed.filter(|parsed| !parsed.is_null()) else {
        return Ok(());
    };
    let is_list = object::text(&parsed, "/kind").ends_with("List")
        && object::at(&parsed, "/items").is_array();
    let objects = if is_list {
        object::items(&parsed, "/items").to_vec()
    } else {
        vec![parsed]
    };
    let many = objects.len() > 1;
    for (index, object) in objects.into_iter().enumerate() {
        load_object(store, object, unknown).map_err(|message| {
            let message = if many {
                format!("item {}: {message}", index + 1)
            } else {
                message
            };
            wrong(first_line(document), message)
        })?;
    }
    Ok(())
}

fn first_line(document: &Document) -> usize {
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    document.line + document.text.lines().take_while(|line| !says(line)).count()
}

fn load_object(store: &Store, mut object: Value, unknown: &mut Unknown) -> Result<(), String> {
    if !object.is_object() {
        return Err("is not a Kubernetes object".to_owned());
    }
    let (api_version, kind) = (
        object::text(&object, "/apiVersion"),
        object::text(&object, "/kind"),
    );
    if kind.is_empty() || api_version.is_empty() {
        return Err("`apiVersion` or `kind` is missing".to_owned());
    }
    let Some(resource) = Resource::of_manifest(api_version, kind) else {
        *unknown
            .entry((kind.to_owned(), api_version.to_owned()))
            .or_default() += 1;
        return Ok(());
    };
    if object::name(&object).is_empty() {
        return Err(format!("{kind}: `metadata.name` is missing"));
    }
    setting::check(&object)
        .and_then(|()| workloads::check(&object))
        .map_err(|key| {
            format!(
                "{kind} {}: invalid value of the annotation {key}",
                object::name(&object)
            )
        })?;
    let metadata = object::metadata(&mut object);
    if resource.namespaced {
        metadata
            .entry("namespace")
            .or_insert_with(|| "default".into());
    } else {
        metadata.remove("namespace");
    }
    if resource.generation {
        metadata.entry("generation").or_insert_with(|| 1.into());
    }
    store.put_manifest(resource, object);
    Ok(())
}

/// Applies the settings in the ConfigMap `eso-sync-sandbox`: `workers`, `speed`, `digest`.
pub(super) fn settings(store: &Store, mut settings: Settings) -> Result<Settings, LoadError> {
    let Some(config_maps) = Resource::of_plural("configmaps") else {
        return Ok(settings);
    };
    let page = store.list(config_maps, None);
    let Some((_, found)) = page
        .objects
        .iter()
        .find(|(_, object)| object::name(object) == SETTINGS)
    else {
        return Ok(settings);
    };
    let wrong = |key: &str| LoadError::Settings(key.to_owned());
    for (key, value) in object::texts(found, "/data") {
        let number = || {
            value
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| wrong(&key))
        };
        match key.as_str() {
            "workers" => settings.workers = number()?,
            "speed" => settings.speed = number()?,
            "digest" if value == "md5" => settings.md5 = true,
            "digest" if value == "sha3-224" => settings.md5 = false,
            _ => return Err(wrong(&key)),
        }
    }
    Ok(settings)
}

/// Creates a Namespace for each namespace that contains an object.
fn add_namespaces(store: &Store) {
    let Some(namespaces) = Resource::of_plural("namespaces") else {
        return;
    };
    for namespace in store.namespaces_in_use() {
        if store.get(namespaces, "", &namespace).is_none() {
            let object = serde_json::json!({"metadata": {"name": namespace}});
            store.put_manifest(namespaces, object);
        }
    }
}

/// Replaces `${now}`, `${now-2h}` and `${now+5m}` by timestamps. The error contains the line number, starting at 0.
fn expand(text: &str, now: Timestamp) -> Result<String, (usize, String)> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${now") {
        expanded.push_str(before);
        let line = expanded.matches('\n').count();
        let time = after
            .split_once('}')
            .and_then(|(offset, tail)| Some((now.checked_add(offset_of(offset)?).ok()?, tail)));
        let Some((time, tail)) = time else {
            return Err((
                line,
                "invalid time; use `${now}` or `${now-2h30m}`".to_owned(),
            ));
        };
        expanded.push_str(&whole_seconds(time));
        rest = tail;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn offset_of(text: &str) -> Option<SignedDuration> {
    if text.is_empty() {
        return Some(SignedDuration::ZERO);
    }
    let (sign, text) = text.split_at_checked(1)?;
    let GoDuration(offset): GoDuration = text.parse().ok()?;
    let offset = SignedDuration::try_from(Duration::max(offset, Duration::ZERO)).ok()?;
    match sign {
        "-" => Some(-offset),
        "+" => Some(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_to_the_start() {
        let now = "2026-05-01T12:00:00.75Z".parse().unwrap();
        for (text, expanded) in [
            ("a: ${now}", "a: 2026-05-01T12:00:00Z"),
            (
                "a: ${now-2h30m}\nb: ${now+1m}",
                "a: 2026-05-01T09:30:00Z\nb: 2026-05-01T12:01:00Z",
            ),
            ("a: ${synced}", "a: ${synced}"),
        ] {
            assert_eq!(expand(text, now).as_deref(), Ok(expanded));
        }
        assert_eq!(expand("a: b\nc: ${now-2x}", now).unwrap_err().0, 1);
        assert!(expand("a: ${now", now).is_err());
    }
}
