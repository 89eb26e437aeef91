//! Which remote reads an ExternalSecret needs.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{DataFrom, Find, MetadataPolicy, RemoteRef, SourceRef, Spec, StoreRef};

/// A read at a provider. (Parts of one secret need one read: the property is not in it.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Read {
    /// The store, as the ExternalSecret names it.
    pub store: StoreRef,
    /// What is read there.
    pub what: What,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// One secret.
    Secret {
        /// Its key.
        key: String,
        /// Its version; empty for the newest.
        version: String,
        /// Whether its tags and labels are read in place of its value.
        metadata: bool,
    },
    /// All that a search finds.
    Find {
        /// Where.
        path: Option<String>,
        /// The regular expression that names have to match, anywhere.
        name: Option<String>,
        /// The tags that they have to have.
        tags: Option<BTreeMap<String, String>>,
    },
}

/// The reads that the spec needs, each once, in an order that does not depend on that of its entries.
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

/// The read of an entry of `data`, or of `extract`; nothing if no store is named.
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

/// The read of a search.
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
