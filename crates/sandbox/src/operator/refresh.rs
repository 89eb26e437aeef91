//! When the operator syncs an ExternalSecret, and when it reconciles it again.

use std::time::Duration;

use eso_model::{digest, refresh::Refresh};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    CLASS, Next, Reconciler,
    spec::{Spec, is_cluster_wide},
};
use crate::object;

impl Reconciler {
    /// The value of `status.syncedResourceVersion` for the object as it is.
    pub(super) fn synced_version(&self, external_secret: &Value) -> String {
        digest::synced_resource_version(
            self.algorithm,
            object::generation(external_secret),
            &object::texts(external_secret, "/metadata/annotations"),
            &object::texts(external_secret, "/metadata/labels"),
        )
    }

    pub(super) fn should_refresh(&self, external_secret: &Value, spec: &Spec) -> bool {
        let recorded = object::text(external_secret, "/status/syncedResourceVersion");
        let refreshed = refresh_time(external_secret);
        let never = recorded.is_empty() || refreshed.is_none();
        let changed = || recorded != self.synced_version(external_secret);
        match spec.refresh {
            Refresh::CreatedOnce => never,
            Refresh::OnChange => never || changed(),
            Refresh::Periodic(interval) => {
                if interval.is_zero() && !recorded.is_empty() {
                    return false;
                }
                let now = self.store.clock.now();
                changed()
                    || refreshed.is_none_or(|refreshed| {
                        let due = SignedDuration::try_from(interval)
                            .ok()
                            .and_then(|interval| refreshed.checked_add(interval).ok());
                        refreshed > now || due.is_some_and(|due| due < now)
                    })
            }
        }
    }

    /// When the operator reconciles an object again that needs no sync (`getRequeueResult`).
    pub(super) fn wait(&self, external_secret: &Value, spec: &Spec) -> Next {
        let interval = spec.interval;
        if interval.is_zero() {
            return Next::Done;
        }
        let Some(refreshed) = refresh_time(external_secret) else {
            return Next::After(interval);
        };
        let age = self.store.clock.now().duration_since(refreshed);
        match Duration::try_from(age) {
            Ok(age) if age < interval => Next::After(interval.saturating_sub(age)),
            _ => Next::Again,
        }
    }

    /// True if it uses a store of another controller class. The operator ignores such an ExternalSecret.
    pub(super) fn uses_foreign_store(&self, spec: &Spec, namespace: &str) -> bool {
        // As in the real operator, the namespace is lost after the first ClusterSecretStore.
        let mut namespace = namespace;
        for reference in spec.stores() {
            if is_cluster_wide(reference) {
                namespace = "";
            }
            let store = self.store_of(reference, namespace);
            if store.is_some_and(|store| {
                !matches!(object::text(&store, "/spec/controller"), "" | CLASS)
            }) {
                return true;
            }
        }
        false
    }
}

fn refresh_time(external_secret: &Value) -> Option<Timestamp> {
    object::text(external_secret, "/status/refreshTime")
        .parse()
        .ok()
}
