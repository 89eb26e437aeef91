//! The state of the cluster: the objects, one resource version for all of them, and a log of changes for each resource.
//!
//! The API, the operator and the controllers all read and write here, by the rules of the API server: optimistic locking,
//! no write if nothing changes, a generation that counts changes of the spec, and finalizers that delay a deletion.

mod read;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pace::Clock;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    data,
    failure::Failure,
    managed::{self, Manager},
    object,
    resource::{ARGO, ESO, RESOURCES, Resource},
    time,
};

/// The number of changes kept for each resource. A request for an older resource version fails as expired.
const KEPT: usize = 50_000;

/// The kinds that are deleted together with their owner.
const DEPENDENTS: [&str; 5] = [
    "Secret",
    "ExternalSecret",
    "ReplicaSet",
    "ControllerRevision",
    "Pod",
];

pub(super) struct Store {
    inner: Mutex<Inner>,
    revision: watch::Sender<u64>,
    pub(super) clock: Clock,
    pub(super) eso_version: &'static str,
    argo: bool,
}

struct Inner {
    tables: BTreeMap<&'static str, Table>,
    /// The tables and keys of the dependents, by the owner's uid.
    dependents: BTreeMap<String, BTreeSet<(&'static str, String)>>,
    revision: u64,
    random: fastrand::Rng,
}

#[derive(Default)]
struct Table {
    objects: BTreeMap<String, Arc<Value>>,
    log: VecDeque<Change>,
    compacted: u64,
    /// The resource version of the last change.
    last: u64,
}

#[derive(Clone)]
pub(super) struct Change {
    /// The resource version of this change.
    pub(super) revision: u64,
    key: String,
    /// The object before the change; None if it was created.
    pub(super) before: Option<Arc<Value>>,
    /// The object after the change, or its last state if it was deleted.
    pub(super) object: Arc<Value>,
    pub(super) deleted: bool,
}

/// Options of a write.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) manager: &'a str,
    /// True for a write to `/status`.
    pub(super) status: bool,
    /// Returns the result without storing it.
    pub(super) dry_run: bool,
}

impl<'a> Write<'a> {
    /// A write to the main resource by this field manager.
    pub(super) fn by(manager: &'a str) -> Self {
        Self {
            manager,
            status: false,
            dry_run: false,
        }
    }

    /// The same write, but to `/status`.
    pub(super) fn status(self) -> Self {
        Self {
            status: true,
            ..self
        }
    }
}

/// The preconditions of a DELETE request.
#[derive(Clone, Debug, Default)]
pub(super) struct Preconditions {
    /// `preconditions.uid`
    pub(super) uid: Option<String>,
    /// `preconditions.resourceVersion`
    pub(super) version: Option<String>,
}

/// A consistent list of objects of one resource.
pub(super) struct Page {
    /// The resource version of the list.
    pub(super) revision: u64,
    /// Sorted by key.
    pub(super) objects: Vec<(String, Arc<Value>)>,
}

/// The changes after a resource version, in order.
pub(super) struct Changes {
    /// The resource version up to which the changes are complete.
    pub(super) revision: u64,
    pub(super) changes: Vec<Change>,
}

/// The requested changes are no longer kept. Holds the oldest resource version that can be requested.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compacted(pub(super) u64);

impl Store {
    /// Creates an empty cluster that serves the operator's resources in this version, and Argo Rollouts if `argo` is
    /// true.
    pub(super) fn new(clock: Clock, eso_version: &'static str, argo: bool) -> Self {
        let tables = RESOURCES
            .iter()
            .map(|resource| (resource.plural, Table::default()))
            .collect();
        // A fixed seed: two sandboxes with the same content have the same uids.
        let random = fastrand::Rng::with_seed(0xe50);
        let inner = Mutex::new(Inner {
            tables,
            dependents: BTreeMap::new(),
            revision: 1,
            random,
        });
        Self {
            inner,
            revision: watch::Sender::new(1),
            clock,
            eso_version,
            argo,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the group is served.
    pub(super) fn serves(&self, group: &str) -> bool {
        self.argo || group != ARGO
    }

    /// The version in which a resource is served.
    pub(super) fn version_of(&self, resource: &Resource) -> &'static str {
        version_of(resource.group, self.eso_version)
    }

    /// The `apiVersion` of the resource's objects.
    pub(super) fn api_version(&self, resource: &Resource) -> String {
        match resource.group {
            "" => "v1".to_owned(),
            group => format!("{group}/{}", self.version_of(resource)),
        }
    }

    /// Creates an object by the API server's rules.
    pub(super) fn create(
        &self,
        resource: &Resource,
        object: Value,
        write: Write<'_>,
    ) -> Result<Arc<Value>, Failure> {
        let mut inner = self.lock();
        let (namespace, name) = (
            object::namespace(&object).to_owned(),
            object::name(&object).to_owned(),
        );
        let key = resource.key(&namespace, &name);
        rules::check_new(resource, &object)?;
        if resource.namespaced && !inner.has_namespace(&namespace) {
            return Err(Failure::namespace_not_found(&namespace));
        }
        if inner
            .table(resource)
            .is_some_and(|table| table.objects.contains_key(&key))
        {
            return Err(Failure::already_exists(resource, &name));
        }
        let mut object = rules::new_object(resource, object, &self.api_version(resource));
        data::check_created(resource, &object)?;
        let time = time::stamp(self.clock);
        let metadata = object::metadata(&mut object);
        metadata.insert("uid".to_owned(), inner.uid().into());
        metadata.insert("creationTimestamp".to_owned(), time.as_str().into());
        let manager = Manager {
            name: write.manager,
            status: write.status,
            time: &time,
        };
        managed::record(&json!({}), &mut object, manager);
        if write.dry_run {
            return Ok(Arc::new(object));
        }
        Ok(self.commit(&mut inner, resource, key, object, false))
    }

    /// Replaces an object by the result of `change`, by the API server's rules.
    pub(super) fn update(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        write: Write<'_>,
        change: impl FnOnce(&Value) -> Result<Value, Failure>,
    ) -> Result<Arc<Value>, Failure> {
        let mut inner = self.lock();
        let key = resource.key(namespace, name);
        let current = inner
            .table(resource)
            .and_then(|table| table.objects.get(&key).cloned());
        let current = current.ok_or_else(|| Failure::not_found(resource, name))?;
        let asked = change(&current)?;
        rules::check_update(resource, &current, &asked)?;
        let mut next = rules::updated_object(resource, &current, asked, write.status);
        data::check_update(resource, &current, &next)?;
        if next == *current {
            return Ok(current);
        }
        let time = time::stamp(self.clock);
        let manager = Manager {
            name: write.manager,
            status: write.status,
            time: &time,
        };
        managed::record(&current, &mut next, manager);
        if write.dry_run {
            return Ok(Arc::new(next));
        }
        let released =
            object::is_deleting(&next) && object::items(&next, "/metadata/finalizers").is_empty();
        // Watches report an object that lost its last finalizer in its last state before that.
        let last = if released {
            Value::clone(&current)
        } else {
            next
        };
        let object = self.commit(&mut inner, resource, key, last, released);
        if released {
            self.collect_garbage(&mut inner, &object);
        }
        Ok(object)
    }

    /// Deletes an object, or marks it as deleted if it has finalizers. Returns the object and true if it is gone.
    pub(super) fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        preconditions: &Preconditions,
        dry_run: bool,
    ) -> Result<(Arc<Value>, bool), Failure> {
        let mut inner = self.lock();
        let key = resource.key(namespace, name);
        let current = inner
            .table(resource)
            .and_then(|table| table.objects.get(&key).cloned());
        let current = current.ok_or_else(|| Failure::not_found(resource, name))?;
        rules::check_preconditions(resource, &current, preconditions)?;
        let held = !object::items(&current, "/metadata/finalizers").is_empty();
        if dry_run || (held && object::is_deleting(&current)) {
            return Ok((current, !held));
        }
        let mut last = Value::clone(&current);
        if held {
            rules::mark_deleted(&mut last, &time::stamp(self.clock));
        }
        let object = self.commit(&mut inner, resource, key, last, !held);
        if !held {
            self.collect_garbage(&mut inner, &object);
        }
        Ok((object, !held))
    }

    /// Stores an object unchanged and without validation. It gets a uid and a creation timestamp if it has none.
    pub(super) fn put(&self, resource: &Resource, mut object: Value) -> Arc<Value> {
        let mut inner = self.lock();
        let metadata = object::metadata(&mut object);
        if !metadata.contains_key("uid") {
            metadata.insert("uid".to_owned(), inner.uid().into());
        }
        if !metadata.contains_key("creationTimestamp") {
            metadata.insert(
                "creationTimestamp".to_owned(),
                time::stamp(self.clock).into(),
            );
        }
        let key = resource.key(object::namespace(&object), object::name(&object));
        self.commit(&mut inner, resource, key, object, false)
    }

    /// Changes the creation timestamp and the times in `managedFields` of an object.
    pub(super) fn backdate(&self, resource: &Resource, object: &Value, time: &str) -> Arc<Value> {
        let mut object = object.clone();
        let metadata = object::metadata(&mut object);
        metadata.insert("creationTimestamp".to_owned(), time.into());
        if let Some(Value::Array(entries)) = metadata.get_mut("managedFields") {
            for entry in entries {
                object::as_map(entry).insert("time".to_owned(), time.into());
            }
        }
        self.put(resource, object)
    }

    /// Stores an object from a manifest, with the fields that the API server would fill in.
    pub(super) fn put_manifest(&self, resource: &Resource, mut object: Value) {
        rules::complete(resource, &mut object, &self.api_version(resource));
        if object::at(&object, "/metadata/managedFields").is_null() {
            let status = object::as_map(&mut object).remove("status");
            let time = time::stamp(self.clock);
            let manager = Manager {
                name: "kubectl-create",
                status: false,
                time: &time,
            };
            managed::record(&Value::Null, &mut object, manager);
            if let Some(status) = status {
                object::as_map(&mut object).insert("status".to_owned(), status);
            }
        }
        self.put(resource, object);
    }

    /// Deletes the dependents of a deleted owner, like the garbage collector of a real cluster.
    fn collect_garbage(&self, inner: &mut Inner, owner: &Value) {
        for (resource, key, object) in inner.dependents(object::uid(owner)) {
            let mut last = Value::clone(&object);
            let held = !object::items(&object, "/metadata/finalizers").is_empty();
            if held {
                rules::mark_deleted(&mut last, &time::stamp(self.clock));
            }
            let last = self.commit(inner, resource, key, last, !held);
            if !held {
                self.collect_garbage(inner, &last);
            }
        }
    }

    fn commit(
        &self,
        inner: &mut Inner,
        resource: &Resource,
        key: String,
        mut object: Value,
        deleted: bool,
    ) -> Arc<Value> {
        inner.revision += 1;
        let revision = inner.revision;
        object::metadata(&mut object)
            .insert("resourceVersion".to_owned(), revision.to_string().into());
        let object = Arc::new(object);
        if let Some(table) = inner.tables.get_mut(resource.plural) {
            table.last = revision;
            let before = if deleted {
                table.objects.remove(&key)
            } else {
                table.objects.insert(key.clone(), Arc::clone(&object))
            };
            if DEPENDENTS.contains(&resource.kind) {
                let after = (!deleted).then_some(&*object);
                update_dependents(
                    &mut inner.dependents,
                    (resource.plural, &key),
                    before.as_deref(),
                    after,
                );
            }
            table.log.push_back(Change {
                revision,
                key,
                before,
                object: Arc::clone(&object),
                deleted,
            });
            if table.log.len() > KEPT {
                table.compacted = table.log.pop_front().map_or(0, |change| change.revision);
            }
        }
        self.revision.send_replace(revision);
        object
    }
}

/// Updates the index of dependents after a change of an object.
fn update_dependents(
    dependents: &mut BTreeMap<String, BTreeSet<(&'static str, String)>>,
    (plural, key): (&'static str, &str),
    before: Option<&Value>,
    after: Option<&Value>,
) {
    let owners = |object: Option<&Value>| -> BTreeSet<String> {
        let references = object.map_or(&[][..], |object| {
            object::items(object, "/metadata/ownerReferences")
        });
        let uids = references
            .iter()
            .map(|reference| object::text(reference, "/uid").to_owned());
        uids.collect()
    };
    let (before, after) = (owners(before), owners(after));
    for gone in before.difference(&after) {
        if let Some(entries) = dependents.get_mut(gone) {
            entries.remove(&(plural, key.to_owned()));
            if entries.is_empty() {
                dependents.remove(gone);
            }
        }
    }
    for uid in after.difference(&before) {
        let entries = dependents.entry(uid.clone()).or_default();
        entries.insert((plural, key.to_owned()));
    }
}

/// The version in which a group is served. Only the operator's version is variable.
pub(super) fn version_of(group: &str, eso_version: &'static str) -> &'static str {
    match group {
        ESO => eso_version,
        ARGO => "v1alpha1",
        _ => "v1",
    }
}

impl Inner {
    fn table(&self, resource: &Resource) -> Option<&Table> {
        self.tables.get(resource.plural)
    }

    fn dependents(&self, owner: &str) -> Vec<(&'static Resource, String, Arc<Value>)> {
        let of_owner = self.dependents.get(owner).into_iter().flatten();
        let found = of_owner.filter_map(|(plural, key)| {
            let object = self.tables.get(plural)?.objects.get(key)?;
            Some((
                Resource::of_plural(plural)?,
                key.clone(),
                Arc::clone(object),
            ))
        });
        found.collect()
    }

    fn has_namespace(&self, name: &str) -> bool {
        self.tables
            .get("namespaces")
            .is_some_and(|table| table.objects.contains_key(name))
    }

    /// A version 4 UUID.
    fn uid(&mut self) -> String {
        let bits = self.random.u128(..) & !(0xf000 << 64) & !(0xc000 << 48)
            | (0x4000 << 64)
            | (0x8000 << 48);
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        )
    }
}
