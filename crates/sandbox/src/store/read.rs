//! Reads of the store: the current state, past resource versions, and changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;
use tokio::sync::watch;

use super::{Changes, Compacted, Page, Store};
use crate::{object, resource::Resource};

impl Store {
    /// Notifies of each new resource version.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// The current resource version.
    pub(crate) fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// One object.
    pub(crate) fn get(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        self.lock()
            .table(resource)?
            .objects
            .get(&resource.key(namespace, name))
            .cloned()
    }

    /// Lists the current objects of a resource, in one namespace or in all.
    pub(crate) fn list(&self, resource: &Resource, namespace: Option<&str>) -> Page {
        self.list_matching(resource, namespace, |_| true)
    }

    /// Lists those current objects for which `wanted` returns true.
    pub(crate) fn list_matching(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        wanted: impl Fn(&Value) -> bool,
    ) -> Page {
        let inner = self.lock();
        let prefix = prefix(resource, namespace);
        let objects = inner.table(resource).map_or_else(Vec::new, |table| {
            let range = table.objects.range(prefix.clone()..);
            let range = range.take_while(|(key, _)| key.starts_with(&prefix));
            range
                .filter(|(_, object)| wanted(object))
                .map(|(key, object)| (key.clone(), Arc::clone(object)))
                .collect()
        });
        Page {
            revision: inner.revision,
            objects,
        }
    }

    /// Lists the objects of a resource that belong to an owner, sorted by key.
    pub(crate) fn owned_by(&self, resource: &Resource, owner: &str) -> Vec<Arc<Value>> {
        let all = self.lock().dependents(owner).into_iter();
        all.filter(|(of, ..)| of.plural == resource.plural)
            .map(|(_, _, object)| object)
            .collect()
    }

    /// Lists the objects as of an earlier resource version.
    pub(crate) fn list_at(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Page, Compacted> {
        let inner = self.lock();
        let Some(table) = inner.table(resource) else {
            return Ok(Page {
                revision,
                objects: Vec::new(),
            });
        };
        if revision < table.compacted {
            return Err(Compacted(table.compacted));
        }
        let prefix = prefix(resource, namespace);
        let mut objects: BTreeMap<String, Arc<Value>> = table
            .objects
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect();
        for change in table
            .log
            .iter()
            .rev()
            .take_while(|change| change.revision > revision)
        {
            match &change.before {
                _ if !change.key.starts_with(&prefix) => {}
                Some(before) => {
                    objects.insert(change.key.clone(), Arc::clone(before));
                }
                None => {
                    objects.remove(&change.key);
                }
            }
        }
        Ok(Page {
            revision,
            objects: objects.into_iter().collect(),
        })
    }

    /// The changes after `revision`.
    pub(crate) fn changes_since(
        &self,
        resource: &Resource,
        revision: u64,
    ) -> Result<Changes, Compacted> {
        let inner = self.lock();
        let changes = match inner.table(resource) {
            Some(table) if revision < table.compacted => return Err(Compacted(table.compacted)),
            Some(table) => {
                let from = table
                    .log
                    .partition_point(|change| change.revision <= revision);
                table.log.range(from..).cloned().collect()
            }
            None => Vec::new(),
        };
        Ok(Changes {
            revision: inner.revision,
            changes,
        })
    }

    /// All states of the objects of a resource since the last compaction.
    pub(crate) fn history(&self, resource: &Resource) -> Vec<Arc<Value>> {
        let inner = self.lock();
        let changes = inner
            .table(resource)
            .into_iter()
            .flat_map(|table| &table.log);
        changes.map(|change| Arc::clone(&change.object)).collect()
    }

    /// Discards the changes so far, like etcd's compaction.
    pub(crate) fn compact(&self) {
        let mut inner = self.lock();
        let revision = inner.revision;
        for table in inner.tables.values_mut() {
            table.log.clear();
            table.compacted = revision;
        }
    }

    /// The namespaces that contain objects, and `default`.
    pub(crate) fn namespaces_in_use(&self) -> BTreeSet<String> {
        let inner = self.lock();
        let objects = inner
            .tables
            .values()
            .flat_map(|table| table.objects.values());
        let namespaces = objects.map(|object| object::namespace(object).to_owned());
        namespaces
            .filter(|namespace| !namespace.is_empty())
            .chain(["default".to_owned()])
            .collect()
    }

    /// The resource version of the last change of any object of a resource.
    pub(crate) fn last_change(&self, resource: &Resource) -> u64 {
        let inner = self.lock();
        let table = inner.table(resource);
        table.map_or(0, |table| table.last)
    }
}

fn prefix(resource: &Resource, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if resource.namespaced => format!("{namespace}/"),
        _ => String::new(),
    }
}
