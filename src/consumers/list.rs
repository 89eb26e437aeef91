//! Lists the workloads that use Secrets.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{Cluster, ErrorKind, Query};
use eso_model::Id;

use super::{Consumer, Consumers};
use crate::{
    discover::gap,
    reason::Reason,
    workload::{Kind, Marks, TemplateIn, Workload, WorkloadId, object::Object},
};

/// From this many namespaces, one list of all namespaces is cheaper.
const LIST_ALL: usize = 10;

/// Lists the workloads of all kinds that use any of these Secrets. Reads no Secret.
pub async fn consumers(cluster: &Cluster, secrets: &BTreeSet<Id>) -> Consumers {
    let mut consumers = Consumers::default();
    let namespaces: BTreeSet<&str> = secrets.iter().map(|id| &*id.namespace).collect();
    let scopes: Vec<Option<&str>> = if namespaces.len() > LIST_ALL {
        vec![None]
    } else {
        namespaces.into_iter().map(Some).collect()
    };
    for namespace in scopes {
        let mut listing = Listing::default();
        for &kind in <Kind as strum::VariantArray>::VARIANTS {
            let query = Query::new(kind.path(namespace));
            let each = |object: Object| listing.take(object.workload(kind), secrets);
            match cluster.list(&query, each).await {
                Ok(_) => {}
                // Argo Rollouts is not installed.
                Err(error) if error.kind == ErrorKind::NotFound && kind == Kind::Rollout => {}
                Err(error) => consumers.gaps.push(gap(kind.plural(), namespace, &error)),
            }
        }
        listing.borrow_templates();
        consumers.of.extend(listing.addressed());
    }
    consumers
}

/// The workloads of some lists.
#[derive(Default)]
struct Listing {
    /// The workloads that use one of the Secrets, also those that no rule can cover.
    using: BTreeMap<WorkloadId, (Consumer, bool)>,
    /// Rollouts with their pod template in another workload.
    borrowing: Vec<(WorkloadId, WorkloadId)>,
}

impl Listing {
    fn take(&mut self, workload: Workload, secrets: &BTreeSet<Id>) {
        let is_wanted = |name: &&String| {
            secrets.contains(&Id {
                namespace: workload.id.namespace.clone(),
                name: (*name).clone(),
            })
        };
        let used: BTreeSet<String> = workload.uses.keys().filter(is_wanted).cloned().collect();
        if let Some(TemplateIn::Workload(kind, name)) = &workload.template_in {
            let of = WorkloadId {
                namespace: workload.id.namespace.clone(),
                kind: *kind,
                name: name.clone(),
            };
            self.borrowing.push((workload.id.clone(), of));
        }
        if used.is_empty() {
            return;
        }
        let mut left = used.iter();
        let left = left.any(|name| workload.is_left_to_other(name, Marks::default()));
        let tool = if workload.reloader.is_wave() {
            Reason::HandledByWave
        } else {
            Reason::HandledByReloader
        };
        let consumer = Consumer {
            secrets: used,
            left_to: left.then_some(tool),
        };
        let addressed = workload.addressed;
        self.using.insert(workload.id, (consumer, addressed));
    }

    /// A Rollout uses the Secrets of the workload that has its pod template.
    fn borrow_templates(&mut self) {
        for (rollout, of) in std::mem::take(&mut self.borrowing) {
            if let Some((consumer, _)) = self.using.get(&of) {
                let secrets = consumer.secrets.clone();
                let (own, addressed) = self.using.entry(rollout).or_default();
                own.secrets.extend(secrets);
                *addressed = true;
            }
        }
    }

    fn addressed(self) -> impl Iterator<Item = (WorkloadId, Consumer)> {
        let using = self.using.into_iter();
        using.filter_map(|(id, (consumer, addressed))| addressed.then_some((id, consumer)))
    }
}
