//! Who takes a stamp away, and what to tell them.

use cluster::names::FIELD_MANAGER;

use crate::workload::{Kind, Manager, Workload};

/// Those that write every workload, and no annotation of ours.
const BYSTANDERS: [&str; 4] = [
    FIELD_MANAGER,
    "kube-controller-manager",
    "rollouts-controller",
    "kubelet",
];

/// Who wrote the workload's annotations last, and what makes them leave the stamp alone.
pub(super) fn who_took_it(workload: &Workload) -> String {
    let last = workload
        .managers
        .iter()
        .filter(|manager| !BYSTANDERS.contains(&&*manager.name))
        .max_by_key(|manager| (manager.annotations, manager.time));
    match last {
        None => format!("Nobody knows who took it away. {ANEW}"),
        Some(Manager { name, .. }) => {
            format!(
                "The field manager {name} wrote its annotations last. {} {ANEW}",
                rule(name, workload)
            )
        }
    }
}

const ANEW: &str = "Once that is done, `--adopt-anew` makes a new stamp";

/// How to make it leave the stamp alone, by what the manager seems to be.
fn rule(manager: &str, workload: &Workload) -> String {
    let (group, kind) = (workload.id.kind.group(), workload.id.kind.as_str());
    if manager.contains("argocd") {
        let restart = if workload.id.kind == Kind::Rollout {
            "/spec/restartAt"
        } else {
            "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"
        };
        return format!(
            "In the Argo CD Application, do not sync it with Replace=true. Where that has to be, add `ignoreDifferences: [{{group: \
             {group}, kind: {kind}, jsonPointers: [/metadata/annotations/eso-sync~1stamp, {restart}]}}]` with the sync option \
             RespectIgnoreDifferences=true."
        );
    }
    if manager.contains("helm") {
        return "In the Flux HelmRelease, set neither `upgrade.force` nor `rollback.force`, and have no rule in \
                `driftDetection.ignore` for annotations of it; with Helm itself, do not use --force or --force-replace."
            .to_owned();
    }
    if manager.contains("kustomize") || manager.contains("flux") {
        return "In the Flux Kustomization, do not set `force: true` for it, and let the object bear `kustomize.toolkit.fluxcd.io/ssa: \
                Merge`."
            .to_owned();
    }
    "Make it leave the annotation eso-sync/stamp alone.".to_owned()
}
