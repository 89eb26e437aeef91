//! The lists of workloads, and where a pod template stands.

use std::collections::BTreeMap;

use cluster::{CallError, Query, Trouble};

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

/// What one list holds that matters. A list that starts anew hands out items again: by name, each is kept once.
#[derive(Default)]
struct Listing {
    /// The workloads that a rule covers, with that rule.
    covered: BTreeMap<WorkloadId, (usize, Workload)>,
    /// Those whose pod template stands elsewhere: whether a rule covers them is still to be seen.
    borrowing: BTreeMap<WorkloadId, Workload>,
    /// Of each controller of single pods: its pods, and whether they are ready.
    families: BTreeMap<String, BTreeMap<String, bool>>,
}

impl Listing {
    /// A single pod is as well as all those of its controller.
    fn join_families(&mut self) {
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
                    self.borrow_templates(&mut listing, seen).await;
                    listing.join_families();
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

    /// Where Argo Rollouts is not installed there is none; whoever lacks the right to list them is refused there too.
    async fn has_no_rollouts(self, error: &CallError) -> bool {
        match error.trouble {
            Trouble::NotFound => true,
            Trouble::Denied => {
                let api = format!(
                    "/apis/{}/{}",
                    Kind::Rollout.group(),
                    Kind::Rollout.version()
                );
                let api = self.cluster.get::<serde::de::IgnoredAny>(&api).await;
                api.is_err_and(|error| error.trouble == Trouble::NotFound)
            }
            Trouble::Conflict
            | Trouble::Expired
            | Trouble::Invalid
            | Trouble::Unauthenticated
            | Trouble::Unavailable
            | Trouble::Unreadable => false,
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

    /// What cannot be had is a gap: whether the workload uses a Secret is not known then.
    async fn borrow_templates(self, listing: &mut Listing, seen: &mut Workloads) {
        for (id, mut workload) in std::mem::take(&mut listing.borrowing) {
            let what = format!("the pod template of {}/{}", id.kind.plural(), id.name);
            if let Some(TemplateIn::Other(of)) = &workload.template_in {
                seen.gaps.push(Gap {
                    what,
                    namespace: Some(id.namespace),
                    why: format!("it stands in {of}, which is not read"),
                });
            } else if let Err(error) = self.borrow_template(&mut workload).await {
                let gap = gap(&what, Some(&id.namespace), &error);
                // What is not there is not there in the next run either.
                if error.trouble != Trouble::NotFound {
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

    /// A Rollout may have its pod template in another workload: then it uses what that one does.
    pub(super) async fn borrow_template(self, workload: &mut Workload) -> Result<(), CallError> {
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
        if workload.selector == LabelSelector::default() {
            workload.selector = template.selector;
        }
        Ok(())
    }
}
