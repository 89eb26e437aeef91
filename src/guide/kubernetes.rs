//! Kubernetes: the job's rights in its own cluster, and Roles for stores that read Kubernetes Secrets.

use std::fmt::Write as _;

use super::{Context, KnownStore, Parts, rbac_flags, shell};
use crate::{foreign::line, rbac::ServiceAccountName};

/// The maximum number of Secrets that a Role names.
const NAMED: usize = 100;

/// The number of stores and Secrets that are checked.
const CHECKED: usize = 3;

/// A Role for one store.
struct Wanted {
    store: String,
    /// The name of the Role and its binding.
    name: String,
    /// The namespace that is read.
    namespace: String,
    account: ServiceAccountName,
    /// Empty for all.
    secrets: Vec<String>,
    is_searched: bool,
}

pub(super) fn parts(context: &Context<'_>) -> Parts {
    let wanted: Vec<Wanted> = match context.filled() {
        Some(stores) => stores.iter().map(|store| wanted(store)).collect(),
        None => vec![placeholder()],
    };
    let mut parts = Parts::default();
    parts.add("set", context.job_variables());
    // The job uses the identities of all stores, not only of those that read Kubernetes.
    let stores = context.known.iter().flat_map(|known| &known.stores);
    parts.add("rbac", rbac_flags(stores));
    let roles: Vec<String> = wanted.iter().map(Wanted::role).collect();
    parts.add("roles", roles.join("---\n").trim_end());
    let checks: Vec<String> = wanted
        .iter()
        .take(CHECKED)
        .flat_map(Wanted::checks)
        .collect();
    parts.add("check", checks.join("\n"));
    parts
}

fn placeholder() -> Wanted {
    Wanted {
        store: "for each store".to_owned(),
        name: "eso-sync-read-<store>".to_owned(),
        namespace: "<remoteNamespace of the store>".to_owned(),
        account: ServiceAccountName {
            namespace: "<namespace of the ServiceAccount>".to_owned(),
            name: "<ServiceAccount of the store>".to_owned(),
        },
        secrets: vec!["<name of each Secret>".to_owned()],
        is_searched: true,
    }
}

fn wanted(store: &KnownStore) -> Wanted {
    let namespace = match store.at("/remoteNamespace") {
        "" => "default",
        namespace => namespace,
    };
    let account = store.accounts.first().cloned();
    let is_all = store.is_incomplete || !store.searches.is_empty() || store.keys.len() > NAMED;
    let owner = store
        .key
        .namespace()
        .map(|namespace| format!("{namespace}-"));
    Wanted {
        store: line(&store.key.to_string()),
        name: format!(
            "eso-sync-read-{}{}",
            owner.unwrap_or_default(),
            store.key.name()
        ),
        namespace: namespace.to_owned(),
        account: account.unwrap_or_else(|| placeholder().account),
        secrets: if is_all {
            Vec::new()
        } else {
            store.keys.iter().cloned().collect()
        },
        is_searched: is_all,
    }
}

impl Wanted {
    fn role(&self) -> String {
        let (name, namespace) = (shell::json(&self.name), shell::json(&self.namespace));
        let mut text = format!(
            "# {}\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name}, namespace: {namespace}}}\nrules:\n",
            self.store
        );
        let secrets: Vec<String> = self.secrets.iter().map(|it| shell::json(it)).collect();
        // Writing to a String cannot fail.
        let _ = match &*secrets {
            [] => writeln!(
                text,
                "  - {{apiGroups: [\"\"], resources: [secrets], verbs: [get]}}"
            ),
            names => writeln!(
                text,
                "  - {{apiGroups: [\"\"], resources: [secrets], resourceNames: [{}], verbs: [get]}}",
                names.join(", ")
            ),
        };
        if self.is_searched {
            text.push_str(
                "  - {apiGroups: [\"\"], resources: [secrets], verbs: [list]} # only for `find`\n",
            );
        }
        let _ = write!(
            text,
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}\n\
             subjects:\n  - {{kind: ServiceAccount, name: {}, namespace: {}}}\n",
            shell::json(&self.account.name),
            shell::json(&self.account.namespace)
        );
        text
    }

    fn checks(&self) -> Vec<String> {
        let account = format!(
            "system:serviceaccount:{}:{}",
            self.account.namespace, self.account.name
        );
        let secrets = self.secrets.iter().take(CHECKED);
        let check = |what: String| {
            format!(
                "kubectl auth can-i get {what} --namespace {} --as {}",
                shell::word(&self.namespace),
                shell::word(&account)
            )
        };
        if self.secrets.is_empty() {
            return vec![check("secrets".to_owned())];
        }
        secrets
            .map(|name| check(shell::word(&format!("secrets/{name}"))))
            .collect()
    }
}
