//! Who takes a stamp away, and what to tell them.

use crate::workload::{MANAGER, Manager, Workload};

/// Those that write every workload, and no annotation of ours.
const BYSTANDERS: [&str; 4] = [
    MANAGER,
    "kube-controller-manager",
    "rollouts-controller",
    "kubelet",
];

/// Who wrote the workload's annotations last, and the rule that makes them leave the stamp alone.
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

/// The ignore rule, by what the manager seems to be.
fn rule(manager: &str, workload: &Workload) -> String {
    let (group, kind) = (workload.id.kind.group(), workload.id.kind.as_str());
    if manager.contains("argocd") {
        return format!(
            "In the Argo CD Application, add `ignoreDifferences: [{{group: {group}, kind: {kind}, jsonPointers: \
             [/metadata/annotations/eso-sync~1stamp]}}]` with the sync option RespectIgnoreDifferences=true, and do not sync \
             it with Replace=true."
        );
    }
    if manager.contains("helm") {
        return format!(
            "In the Flux HelmRelease, add `driftDetection: {{mode: enabled, ignore: [{{paths: \
             [/metadata/annotations/eso-sync~1stamp], target: {{kind: {kind}}}}}]}}`; with Helm itself, do not use --force."
        );
    }
    if manager.contains("kustomize") || manager.contains("flux") {
        return "In the Flux Kustomization, do not set `force: true` for it, and let the object bear `kustomize.toolkit.fluxcd.io/ssa: \
                Merge`."
            .to_owned();
    }
    "Make it leave the annotation eso-sync/stamp alone.".to_owned()
}
