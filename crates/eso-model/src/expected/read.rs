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
pub(crate) fn of_ref(spec: &Spec, source: Option<&SourceRef>, remote: &RemoteRef) -> Option<Read> {
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

/// Returns the read for an entry of `dataFrom`; None for a generator.
pub(crate) fn of_data_from(spec: &Spec, entry: &DataFrom) -> Option<Read> {
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

/// Returns, for each read, the members of a JSON object that are all these specs need of its value. A read is missing if they may
/// need more.
///
/// A property is the name of a member, or a path that begins with one.
pub fn members(specs: &[&Spec]) -> BTreeMap<Read, BTreeSet<String>> {
    let mut members: BTreeMap<Read, Option<BTreeSet<String>>> = BTreeMap::new();
    for spec in specs {
        let whole = spec.data_from.iter();
        let whole = whole.filter_map(|entry| of_data_from(spec, entry));
        members.extend(whole.map(|read| (read, None)));
    }
    for spec in specs {
        for entry in &spec.data {
            let Some(read) = of_ref(spec, entry.source_ref.as_ref(), &entry.remote_ref) else {
                continue;
            };
            let needed = members.entry(read).or_insert_with(|| Some(BTreeSet::new()));
            let property = entry.remote_ref.property.as_str();
            if !is_path_of_members(property) {
                *needed = None;
            } else if let Some(needed) = needed {
                needed.insert(property.to_owned());
                needed.extend(property.split('.').next().map(str::to_owned));
            }
        }
    }
    members
        .into_iter()
        .filter_map(|(read, needed)| Some((read, needed?)))
        .collect()
}

/// True if a property cannot look at other members than those that it names.
fn is_path_of_members(property: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !property.is_empty() && !property.starts_with('.') && property.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_known_unless_an_entry_needs_the_whole_value() {
        let entry = |key: &str, property: &str| json!({"secretKey": "k", "remoteRef": {"key": key, "property": property}});
        let data = json!([
            entry("a", "user"),
            entry("a", "db.host"),
            entry("b", "user"),
            entry("c", ""),
            entry("d", "x"),
            entry("e", "#.x"),
        ]);
        let of = |data_from: &serde_json::Value| {
            let spec =
                json!({"secretStoreRef": {"name": "s"}, "data": data, "dataFrom": data_from});
            let spec = Spec::parse(&spec).unwrap();
            let shown = members(&[&spec]).into_iter().map(|(read, members)| {
                let What::Secret { key, .. } = read.what else {
                    return "a search".to_owned();
                };
                format!("{key}: {}", Vec::from_iter(members).join(" "))
            });
            shown.collect::<Vec<_>>()
        };
        assert_eq!(of(&json!([])), ["a: db db.host user", "b: user", "d: x"]);
        let extract = json!([{"extract": {"key": "d"}}]);
        assert_eq!(of(&extract), ["a: db db.host user", "b: user"]);
    }
}
