//! Finds out who removes or overwrites a stamp, and what to do about it.

use cluster::names::FIELD_MANAGER;

use crate::workload::{Kind, Manager, Workload};

/// Field managers that write workloads but do not remove our annotation.
const IRRELEVANT_MANAGERS: [&str; 4] = [
    FIELD_MANAGER,
    "kube-controller-manager",
    "rollouts-controller",
    "kubelet",
];

/// Names the last writer of the workload's annotations and how to make it keep the stamp.
pub(super) fn field_owner(workload: &Workload) -> String {
    let last = workload
        .managers
        .iter()
        .filter(|manager| !IRRELEVANT_MANAGERS.contains(&&*manager.name))
        .max_by_key(|manager| (manager.annotations, manager.time));
    match last {
        None => format!("It is unknown who removed it. {ADOPT_AGAIN}"),
        Some(Manager { name, .. }) => {
            format!(
                "The field manager {name} wrote its annotations last. {} {ADOPT_AGAIN}",
                rule(name, workload)
            )
        }
    }
}

const ADOPT_AGAIN: &str = "Then run once with `--adopt-anew` to create the stamp again";

/// How to make this field manager keep the stamp.
fn rule(manager: &str, workload: &Workload) -> String {
    let (group, kind) = (workload.id.kind.group(), workload.id.kind.into_str());
    if manager.contains("argocd") {
        let restart = if workload.id.kind == Kind::Rollout {
            "/spec/restartAt"
        } else {
            "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"
        };
        return format!(
            "In the Argo CD Application, do not sync it with Replace=true. If you need Replace=true, add `ignoreDifferences: [{{group: \
             {group}, kind: {kind}, jsonPointers: [/metadata/annotations/eso-sync~1stamp, {restart}]}}]` and the sync option \
             RespectIgnoreDifferences=true."
        );
    }
    if manager.contains("helm") {
        return "In the Flux HelmRelease, set neither `upgrade.force` nor `rollback.force`, and remove rules in \
                `driftDetection.ignore` for its annotations. With Helm itself, do not use --force or --force-replace."
            .to_owned();
    }
    if manager.contains("kustomize") || manager.contains("flux") {
        return "In the Flux Kustomization, do not set `force: true` for it, and annotate the object with `kustomize.toolkit.fluxcd.io/ssa: \
                Merge`."
            .to_owned();
    }
    "Configure it to keep the annotation eso-sync/stamp.".to_owned()
}
