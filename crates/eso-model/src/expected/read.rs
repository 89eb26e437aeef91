//! The remote reads that an ExternalSecret needs.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{DataFrom, Find, MetadataPolicy, RemoteRef, SourceRef, Spec, StoreRef};

/// A read from a provider. It does not include the property: all parts of a secret need only one read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Read {
    /// The store, as referenced by the ExternalSecret.
    pub store: StoreRef,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    Secret {
        key: String,
        /// The version; empty for the latest.
        version: String,
        /// True if tags and labels are read instead of the value.
        metadata: bool,
    },
    /// All secrets that a search finds.
    Find {
        /// The path to search in.
        path: Option<String>,
        /// A regular expression that must match a part of the name.
        name: Option<String>,
        /// The tags that a secret must have.
        tags: Option<BTreeMap<String, String>>,
    },
}

/// Returns the reads that the spec needs, without duplicates and in an order that is independent of the order of its
/// entries.
pub fn reads(spec: &Spec) -> Vec<Read> {
    let data = spec
        .data
        .iter()
        .filter_map(|entry| of_ref(spec, entry.source_ref.as_ref(), &entry.remote_ref));
    let data_from = spec
        .data_from
        .iter()
        .filter_map(|entry| of_data_from(spec, entry));
    let distinct: BTreeSet<Read> = data.chain(data_from).collect();
    distinct.into_iter().collect()
}

/// Returns the read for an entry of `data` or for `extract`; None if no store is named.
pub(super) fn of_ref(spec: &Spec, source: Option<&SourceRef>, remote: &RemoteRef) -> Option<Read> {
    Some(Read {
        store: store(spec, source)?,
        what: What::Secret {
            key: remote.key.clone(),
            version: remote.version.clone(),
            metadata: remote.metadata_policy == MetadataPolicy::Fetch,
        },
    })
}

/// Returns the read for a search; None if no store is named.
pub(super) fn of_find(spec: &Spec, source: Option<&SourceRef>, find: &Find) -> Option<Read> {
    Some(Read {
        store: store(spec, source)?,
        what: What::Find {
            path: find.path.clone(),
            name: find.name.as_ref().map(|name| name.regexp.clone()),
            tags: find.tags.clone(),
        },
    })
}

fn of_data_from(spec: &Spec, entry: &DataFrom) -> Option<Read> {
    let source = entry.source_ref.as_ref();
    match (&entry.find, &entry.extract) {
        (Some(find), _) => of_find(spec, source, find),
        (None, Some(extract)) => of_ref(spec, source, extract),
        (None, None) => None,
    }
}

fn store(spec: &Spec, source: Option<&SourceRef>) -> Option<StoreRef> {
    source
        .and_then(|source| source.store_ref.as_ref())
        .or(spec.secret_store_ref.as_ref())
        .cloned()
}

/// Returns the members of a JSON object that are all the spec needs of the value of this read; None if it may need more.
///
/// A property is the name of a member, or a path that begins with one.
pub fn members(spec: &Spec, read: &Read) -> Option<BTreeSet<String>> {
    let extracts = spec
        .data_from
        .iter()
        .any(|entry| of_data_from(spec, entry).as_ref() == Some(read));
    if extracts {
        return None;
    }
    let mut members = BTreeSet::new();
    for entry in &spec.data {
        let remote = &entry.remote_ref;
        if of_ref(spec, entry.source_ref.as_ref(), remote).as_ref() == Some(read) {
            let property = remote.property.as_str();
            // Anything else in a path may look at other members.
            let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if property.is_empty() || property.starts_with('.') || !property.chars().all(is_path) {
                return None;
            }
            members.insert(property.to_owned());
            members.extend(property.split('.').next().map(str::to_owned));
        }
    }
    Some(members)
}
