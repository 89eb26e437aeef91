//! Lists workloads and finds their pod templates.

use std::collections::BTreeMap;

use cluster::{ApiError, ErrorKind, Path, Query};

use super::Look;
use crate::{
    discover::gap,
    inventory::Gap,
    restart::{
        reasons::reason_of,
        workloads::{Unseen, Workloads},
    },
    workload::{
        Health, Kind, TemplateIn, Workload, WorkloadId, health,
        object::{LabelSelector, Object},
    },
};

/// The relevant items of one list, by name, because a list that is restarted returns items twice.
#[derive(Default)]
struct Listing {
    /// Workloads that a rule covers, with the index of the rule.
    covered: BTreeMap<WorkloadId, (usize, Workload)>,
    /// Workloads whose pod template is in another object. A rule may cover them.
    borrowing: BTreeMap<WorkloadId, Workload>,
    /// The pods of each controller of unmanaged pods, with their readiness.
    families: BTreeMap<String, BTreeMap<String, bool>>,
}

impl Listing {
    /// Sets the health of each unmanaged pod to the health of all pods of its controller.
    fn set_family_health(&mut self) {
        for (_, workload) in self.covered.values_mut() {
            let owner = workload.controller.as_ref();
            let family = owner.and_then(|owner| Some((owner, self.families.get(&owner.uid)?)));
            if let Some((owner, family)) = family {
                workload.health = health::lacking(owner, family.values().copied())
                    .map_or(Health::Healthy, Health::Unavailable);
            }
        }
    }
}

impl Look<'_> {
    pub(super) async fn list(
        self,
        kind: Kind,
        found: &mut Vec<(usize, Workload)>,
        seen: &mut Workloads,
    ) {
        let scopes: Vec<Option<String>> = match self.policy.literal_namespaces() {
            Some(namespaces) => namespaces.into_iter().map(Some).collect(),
            None => vec![None],
        };
        for namespace in scopes {
            let mut listing = Listing::default();
            let query = Query::new(kind.path(namespace.as_deref()));
            let listed = self
                .cluster
                .list(&query, |object: Object| {
                    let workload = object.workload(kind);
                    if !workload.addressed {
                        return;
                    }
                    seen.present.insert(workload.id.clone());
                    if self.context.targets.reach(&workload.id.namespace) {
                        self.take_workload(workload, &mut listing);
                    }
                })
                .await;
            match listed {
                Ok(_) => {
                    self.read_referenced_templates(&mut listing, seen).await;
                    listing.set_family_health();
                    found.extend(listing.covered.into_values());
                    seen.listed.push((kind, namespace));
                }
                Err(error) if kind == Kind::Rollout && self.has_no_rollouts(&error).await => {}
                Err(error) => {
                    let gap = gap(kind.plural(), namespace.as_deref(), &error);
                    seen.unseen.push(Unseen {
                        kind: Some(kind),
                        namespace,
                        reason: reason_of(&error),
                        why: format!("{} could not be listed: {}", gap.what, gap.why),
                    });
                    seen.gaps.push(gap);
                }
            }
        }
    }

    /// True if Argo Rollouts is not installed. Without the right to list Rollouts the API server denies the list in both cases.
    async fn has_no_rollouts(self, error: &ApiError) -> bool {
        match error.kind {
            ErrorKind::NotFound => true,
            ErrorKind::Denied => {
                let api = Path::api(Kind::Rollout.group(), Kind::Rollout.version());
                let api = self.cluster.get::<serde::de::IgnoredAny>(&api).await;
                api.is_err_and(|error| error.kind == ErrorKind::NotFound)
            }
            ErrorKind::Conflict
            | ErrorKind::Expired
            | ErrorKind::Invalid
            | ErrorKind::Unauthenticated
            | ErrorKind::Unavailable
            | ErrorKind::Unreadable
            | ErrorKind::TooLarge
            | ErrorKind::Over => false,
        }
    }

    fn take_workload(self, workload: Workload, listing: &mut Listing) {
        if let (Kind::Pod, Some(owner)) = (workload.id.kind, &workload.controller) {
            let family = listing.families.entry(owner.uid.clone()).or_default();
            family.insert(workload.uid.clone(), workload.health == Health::Healthy);
        }
        if workload.template_in.is_some() {
            listing.borrowing.insert(workload.id.clone(), workload);
        } else if let Some(rule) = self
            .context
            .targets
            .rule_of(&self.policy.restart, &workload)
        {
            let entry = (rule, workload);
            listing.covered.insert(entry.1.id.clone(), entry);
        }
    }

    /// Reads the pod templates from other objects. A failure is reported, because the workload may use a selected Secret.
    async fn read_referenced_templates(self, listing: &mut Listing, seen: &mut Workloads) {
        for (id, mut workload) in std::mem::take(&mut listing.borrowing) {
            let what = format!("the pod template of {}/{}", id.kind.plural(), id.name);
            if let Some(TemplateIn::Other(of)) = &workload.template_in {
                seen.gaps.push(Gap {
                    what,
                    namespace: Some(id.namespace),
                    why: format!("it is in {of}, a kind that eso-sync does not read"),
                });
            } else if let Err(error) = self.read_referenced_template(&mut workload).await {
                let gap = gap(&what, Some(&id.namespace), &error);
                // A template that is missing now is missing in the next run too, so nothing needs to wait for it.
                if error.kind != ErrorKind::NotFound {
                    seen.unseen.push(Unseen {
                        kind: Some(id.kind),
                        namespace: Some(id.namespace),
                        reason: reason_of(&error),
                        why: format!("{} could not be read: {}", gap.what, gap.why),
                    });
                }
                seen.gaps.push(gap);
            } else if let Some(rule) = self
                .context
                .targets
                .rule_of(&self.policy.restart, &workload)
            {
                listing.covered.insert(id, (rule, workload));
            }
        }
    }

    /// Reads the pod template of a Rollout from the workload that it references, if any.
    pub(super) async fn read_referenced_template(
        self,
        workload: &mut Workload,
    ) -> Result<(), ApiError> {
        let Some(TemplateIn::Workload(kind, name)) = &workload.template_in else {
            return Ok(());
        };
        let of = WorkloadId {
            namespace: workload.id.namespace.clone(),
            kind: *kind,
            name: name.clone(),
        };
        let template = self.cluster.get::<Object>(&of.path()).await?;
        let template = template.workload(of.kind);
        workload.uses = template.uses;
        workload.optional = template.optional;
        if workload.selector == LabelSelector::default() {
            workload.selector = template.selector;
        }
        Ok(())
    }
}
