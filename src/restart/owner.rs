//! Finds out who removes or overwrites a stamp, and what to do about it.

use cluster::names::FIELD_MANAGER;

use crate::workload::{Kind, Manager, Workload, shown};

/// Field managers that write workloads but do not remove our annotation.
const IRRELEVANT_MANAGERS: [&str; 4] = [
    FIELD_MANAGER,
    "kube-controller-manager",
    "rollouts-controller",
    "kubelet",
];

/// The last writer of some fields of the workload.
fn last_writer(workload: &Workload, owns: impl Fn(&Manager) -> bool) -> Option<&Manager> {
    let managers = workload.managers.iter();
    managers
        .filter(|manager| !IRRELEVANT_MANAGERS.contains(&&*manager.name))
        .max_by_key(|manager| (owns(manager), manager.time))
}

/// Names who takes restarts of the workload back, as far as its metadata shows it, and says what to do instead. A manager that
/// only removed a field leaves no entry, so the last writer of the pod template is named.
pub(super) fn who_took_back(workload: &Workload) -> String {
    let writer =
        last_writer(workload, |manager| manager.template).filter(|manager| manager.template);
    let owner = workload.owner.as_ref();
    let who = match (owner, writer) {
        (Some(owner), Some(writer)) => format!(
            "Its owner is {owner}, and the field manager {} wrote its pod template last.",
            shown(&writer.name)
        ),
        (Some(owner), None) => format!("Its owner is {owner}."),
        (None, Some(writer)) => {
            let (name, rule) = (shown(&writer.name), rule(&writer.name, workload));
            format!("The field manager {name} wrote its pod template last. {rule}")
        }
        (None, None) => "It is unknown who did it.".to_owned(),
    };
    format!("its restart was taken back, and its old pods still run. {who} {INSTEAD}")
}

/// What to do about a workload whose owner takes restarts back.
const INSTEAD: &str = "Use `strategy: evict` for it, which changes nothing that its owner can take back, or restart it \
                                  through its owner";

/// Names the last writer of the workload's annotations and how to make it keep the stamp.
pub(super) fn field_owner(workload: &Workload) -> String {
    match last_writer(workload, |manager| manager.annotations) {
        None => format!("It is unknown who removed it. {ADOPT_AGAIN}"),
        Some(Manager { name, .. }) => {
            format!(
                "The field manager {} wrote its annotations last. {} {ADOPT_AGAIN}",
                shown(name),
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
