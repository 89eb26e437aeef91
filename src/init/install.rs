//! The files of `init --dir`: the policy with a CronJob that runs it, and the rights that it needs.

use std::fmt::Write as _;

use super::Draft;
use crate::rbac::Rbac;

const NAMESPACE: &str = include_str!("../../manifests/namespace.yaml");
const RIGHTS: &str = include_str!("../../manifests/rbac.yaml");
const CRONJOB: &str = include_str!("../../manifests/cronjob.yaml");
const ADMISSION: &str = include_str!("../../manifests/components/admission/policy.yaml");

/// The flags of the CronJob in `manifests`.
const ARGS: &str = "args: [run, --config=/etc/eso-sync/config.yaml, --allow=sync, --max-syncs=500]";

/// The files, and the flags of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// The names and texts.
    pub files: Vec<(&'static str, String)>,
    /// The flags that the policy needs.
    pub flags: Vec<String>,
}

/// The files for this policy and these rights.
pub fn files(draft: &Draft, rights: &Rbac) -> Install {
    let allow: Vec<&str> = draft.allow.iter().copied().collect();
    let mut flags = vec![
        format!("--allow={}", allow.join(",")),
        format!("--max-syncs={}", draft.max_syncs),
    ];
    flags.extend(
        draft
            .endpoints
            .iter()
            .map(|it| format!("--allow-endpoint={it}")),
    );
    let args = [
        "run".to_owned(),
        "--config=/etc/eso-sync/config.yaml".to_owned(),
    ];
    let args: Vec<String> = args
        .iter()
        .chain(&flags)
        .map(|flag| super::word(flag))
        .collect();
    // Without `namespace` for all, which would move the Roles of other namespaces.
    let mut kustomization = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        kustomization,
        "# kubectl apply -k .\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
         labels:\n  - pairs:\n      app.kubernetes.io/name: eso-sync\n    includeTemplates: true\n\
         resources:\n  - namespace.yaml\n  - serviceaccount.yaml\n  - rbac.yaml\n  - cronjob.yaml\n  - admission.yaml\n\
         configMapGenerator:\n  - name: eso-sync-policy\n    namespace: eso-sync\n    files:\n      - config.yaml\n\
         images:\n  # Set `newName` to your registry.\n  - name: eso-sync\n    newTag: {}\n",
        env!("CARGO_PKG_VERSION")
    );
    Install {
        files: vec![
            ("config.yaml", draft.text.clone()),
            ("serviceaccount.yaml", service_account()),
            ("rbac.yaml", rights.to_yaml()),
            (
                "cronjob.yaml",
                CRONJOB.replace(ARGS, &format!("args: [{}]", args.join(", "))),
            ),
            ("namespace.yaml", NAMESPACE.to_owned()),
            ("admission.yaml", ADMISSION.to_owned()),
            ("kustomization.yaml", kustomization),
        ],
        flags,
    }
}

/// The first object of `manifests/rbac.yaml`, without the comment about all of them.
fn service_account() -> String {
    let first = RIGHTS.split("\n---\n").next().unwrap_or_default();
    let start = first.find("apiVersion").unwrap_or_default();
    format!("{}\n", first.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cronjob_finds_its_service_account() {
        let account = service_account();
        assert!(
            account.starts_with("apiVersion: v1\nkind: ServiceAccount\n"),
            "{account}"
        );
        let lines: Vec<&str> = account.lines().map(str::trim).collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("name: "));
        let used = CRONJOB
            .lines()
            .find_map(|line| line.trim().strip_prefix("serviceAccountName: "));
        assert!(name.is_some() && name == used, "{account}");
        assert!(lines.contains(&"namespace: eso-sync"), "{account}");
    }

    #[test]
    fn cronjob_of_the_manifests_has_the_flags_that_are_replaced() {
        assert!(CRONJOB.contains(ARGS));
    }
}
