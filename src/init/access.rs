//! How a job can read a store, with the least trust that is sufficient.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{ProviderKind, StoreKey, provider::Identity};
use providers::{
    Unread, origins_to_trust,
    reader::{NamespaceLabels, Source},
    trust::{Asked, Credentials, Decision, Origin, Rules},
};
use serde_json::Value as Json;

use crate::{
    foreign::line,
    rbac::{ServiceAccountName, provider::Side},
};

/// How a store can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Without credentials.
    Free,
    /// With the credentials that it names.
    Own,
    /// With the job's own credentials, which the policy must permit for these addresses.
    Ambient { endpoints: BTreeSet<Origin> },
    /// Not by a rule that needs no decision of people, for this reason.
    None(String),
}

/// The access for the namespaces that use a store.
pub struct Accesses<'a> {
    pub access: Access,
    /// The namespaces for which the store is read.
    pub namespaces: BTreeSet<&'a str>,
    /// The others, and why the first of them is refused. Without any namespace above, the access has the reason.
    pub refused: Option<(BTreeSet<&'a str>, String)>,
}

impl<'a> Accesses<'a> {
    /// Decides for each namespace, because a store may serve only some of them.
    pub fn of(
        key: &StoreKey,
        source: Option<&Result<Source, Unread>>,
        namespaces: BTreeSet<&'a str>,
        labels: Option<&NamespaceLabels>,
    ) -> Self {
        let decide = |namespace: &str| Access::of(key, source, namespace, labels);
        let mut readable = BTreeSet::new();
        let (mut access, mut refused) = (None, None::<(BTreeSet<&str>, String)>);
        for namespace in namespaces {
            match decide(namespace) {
                Access::None(why) => {
                    let (all, _) = refused.get_or_insert((BTreeSet::new(), why));
                    all.insert(namespace);
                }
                one @ (Access::Free | Access::Own | Access::Ambient { .. }) => {
                    readable.insert(namespace);
                    access.get_or_insert(one);
                }
            }
        }
        match access {
            Some(access) => Self {
                access,
                namespaces: readable,
                refused,
            },
            None => Self {
                access: Access::None(refused.map(|(_, why)| why).unwrap_or_default()),
                namespaces: readable,
                refused: None,
            },
        }
    }
}

impl Access {
    /// Asks the trust rules. A store that names an identity is read with it, because the operator reads it so, too.
    fn of(
        key: &StoreKey,
        source: Option<&Result<Source, Unread>>,
        namespace: &str,
        labels: Option<&NamespaceLabels>,
    ) -> Self {
        let source = match source {
            Some(Ok(source)) => source,
            Some(Err(unread)) => return Self::None(line(&unread.why.detail)),
            None => return Self::None("it does not exist, or could not be read".to_owned()),
        };
        let settings = &source.settings;
        let asked = Asked {
            store: key,
            provider: &settings.provider,
            settings: &settings.settings,
            conditions: &source.conditions,
        };
        let labels: Option<&BTreeMap<String, String>> = labels.and_then(|all| all.get(namespace));
        let decide = |credentials| {
            let rules = Rules {
                credentials,
                ..Rules::default()
            };
            rules.decide(asked, namespace, labels)
        };
        if decide(Credentials::Store) == Decision::Store {
            let needs_none = matches!(settings.provider.facts().identity, Identity::NotNeeded);
            return if needs_none { Self::Free } else { Self::Own };
        }
        match decide(Credentials::Ambient) {
            Decision::Ambient => match origins_to_trust(settings) {
                Ok(endpoints) => Self::Ambient { endpoints },
                Err(unread) => Self::None(line(&unread.why.detail)),
            },
            Decision::Refused(unread) => Self::None(line(&unread.why.detail)),
            Decision::Store => Self::Own,
        }
    }

    pub(super) const fn is_readable(&self) -> bool {
        !matches!(self, Self::None(_))
    }

    /// The credentials of the policy that it needs. None if any will do.
    pub(super) const fn credentials(&self) -> Option<Credentials> {
        match self {
            Self::Own => Some(Credentials::Store),
            Self::Ambient { .. } => Some(Credentials::Ambient),
            Self::Free | Self::None(_) => None,
        }
    }

    /// The addresses that must be listed for the job's own credentials.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Origin> {
        let listed = match self {
            Self::Ambient { endpoints } => Some(endpoints),
            Self::Free | Self::Own | Self::None(_) => None,
        };
        listed.into_iter().flatten()
    }

    /// What the job needs, for people.
    pub(super) fn needs(&self, provider: Option<&ProviderKind>) -> String {
        match self {
            Self::Free => "needs no credentials".to_owned(),
            Self::Own => "read with the credentials that it names".to_owned(),
            Self::Ambient { .. } => {
                let permission =
                    provider.map_or("the right to read", |kind| kind.facts().permission);
                let more = provider
                    .and_then(Side::of)
                    .map_or_else(String::new, |side| {
                        let side = side.word();
                        format!("; `eso-sync rbac --for {side}` prints what to apply there")
                    });
                format!("read with the job's own identity, which needs {permission}{more}")
            }
            Self::None(why) => format!("cannot be read: {why}"),
        }
    }
}

/// What stores name to be read with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// The namespaces of Secrets, besides those of the ExternalSecrets.
    pub namespaces: BTreeSet<String>,
    pub accounts: BTreeSet<ServiceAccountName>,
}

impl References {
    /// Adds what a store names. A reference of a `ClusterSecretStore` without a namespace means that of each ExternalSecret.
    pub fn add(&mut self, key: &StoreKey, settings: &Json, namespaces: &BTreeSet<&str>) {
        walk(settings, false, &mut |reference| {
            let own = key.namespace().or(reference.namespace);
            let places = match &own {
                Some(place) => std::slice::from_ref(place),
                None => &*namespaces.iter().copied().collect::<Vec<&str>>(),
            };
            for place in places {
                if !reference.is_account {
                    if !namespaces.contains(place) {
                        self.namespaces.insert((*place).to_owned());
                    }
                // What is no valid name cannot exist.
                } else if let Ok(account) = format!("{place}/{}", reference.name).parse() {
                    self.accounts.insert(account);
                }
            }
        });
    }

    /// The flags with which `rbac` prints the rights to use them.
    pub(super) fn flags(&self) -> Vec<String> {
        let secrets = self.namespaces.iter();
        let secrets = secrets.map(|namespace| format!("--credentials-in {}", line(namespace)));
        let tokens = self.accounts.iter();
        let tokens = tokens.map(|it| format!("--token-for {}/{}", it.namespace, it.name));
        secrets.chain(tokens).collect()
    }
}

/// A reference of a store to a Secret or a ServiceAccount.
struct Reference<'a> {
    namespace: Option<&'a str>,
    name: &'a str,
    is_account: bool,
}

/// Visits the references.
fn walk<'a>(value: &'a Json, is_account: bool, each: &mut impl FnMut(&Reference<'a>)) {
    match value {
        Json::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Json::as_str);
            if let Some(name) = text("name") {
                each(&Reference {
                    namespace: text("namespace"),
                    name,
                    is_account,
                });
            }
            for (name, inner) in members {
                let is_account = name == "serviceAccountRef" || name == "serviceAccount";
                walk(inner, is_account, each);
            }
        }
        Json::Array(items) => {
            for item in items {
                walk(item, is_account, each);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
