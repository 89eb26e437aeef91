//! `guide`: how to give the job the least access at a provider. Pure: from what is known of a cluster to a text in Markdown.
//!
//! The text of each provider is a template with slots. Without a cluster the slots hold placeholders, and the result is a page of the
//! documentation.

mod aws;
mod azure;
mod gcp;
mod known;
mod kubernetes;
mod shell;
mod vault;

use std::{collections::BTreeSet, fmt::Write as _};

pub use self::known::{Known, KnownStore};
use crate::{foreign::line, init::Access, rbac::JobIdentity};

/// What the guide is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Secrets Manager and Parameter Store: an IAM policy and a role
    Aws,
    /// Key Vault: a managed identity with role assignments or access policies
    Azure,
    /// Secret Manager: bindings for the ServiceAccount
    Gcp,
    /// Vault and OpenBao: a policy and an auth role
    Vault,
    /// The job's own cluster, and stores that read Kubernetes Secrets
    Kubernetes,
}

impl Subject {
    /// The word of the command line.
    pub fn word(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    const fn template(self) -> &'static str {
        match self {
            Self::Aws => include_str!("guide/aws.md"),
            Self::Azure => include_str!("guide/azure.md"),
            Self::Gcp => include_str!("guide/gcp.md"),
            Self::Vault => include_str!("guide/vault.md"),
            Self::Kubernetes => include_str!("guide/kubernetes.md"),
        }
    }
}

/// Where the names in a guide come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A page of the documentation.
    Page,
    /// The cluster could not be asked, for this reason.
    Unknown(&'a str),
    Cluster(&'a Known),
}

/// The text, in Markdown.
pub fn guide(subject: Subject, job: &JobIdentity, source: Source<'_>) -> String {
    let context = Context {
        subject,
        job,
        stores: match source {
            Source::Cluster(known) => Some(known.of(subject)),
            Source::Page | Source::Unknown(_) => None,
        },
        known: match source {
            Source::Cluster(known) => Some(known),
            Source::Page | Source::Unknown(_) => None,
        },
    };
    let mut parts = match subject {
        Subject::Aws => aws::parts(&context),
        Subject::Azure => azure::parts(&context),
        Subject::Gcp => gcp::parts(&context),
        Subject::Vault => vault::parts(&context),
        Subject::Kubernetes => kubernetes::parts(&context),
    };
    parts.add("stores", context.list());
    parts.add("use-identities", context.use_identities());
    parts.add("covered", context.covered());
    parts.add("job-check", context.check());
    let template = subject.template();
    let placeholders = placeholders(&fill(template, &parts));
    parts.add("head", context.head(source, &placeholders));
    fill(template, &parts)
}

/// What the texts of all providers need.
struct Context<'a> {
    subject: Subject,
    job: &'a JobIdentity,
    /// The stores of this subject. None without a cluster.
    stores: Option<Vec<&'a KnownStore>>,
    known: Option<&'a Known>,
}

/// The texts for the slots of a template. The first text for a slot counts.
#[derive(Default)]
struct Parts {
    texts: Vec<(&'static str, String)>,
}

impl Parts {
    fn add(&mut self, slot: &'static str, text: impl Into<String>) {
        self.texts.push((slot, text.into()));
    }

    fn text(&self, slot: &str) -> &str {
        let found = self.texts.iter().find(|(name, _)| *name == slot);
        found.map_or("", |(_, text)| text)
    }
}

/// Replaces the slots. What a text holds is never taken for a slot.
fn fill(template: &str, parts: &Parts) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (slot, after) = after.split_once("}}").unwrap_or((after, ""));
        text.push_str(before);
        text.push_str(parts.text(slot));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// The placeholders in a text, without duplicates, in their order.
fn placeholders(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || " -_/".contains(c);
    for after in text.split('<').skip(1) {
        let Some((inside, _)) = after.split_once('>') else {
            continue;
        };
        let placeholder = format!("<{inside}>");
        let is_one =
            inside.starts_with(|c: char| c.is_ascii_alphabetic()) && inside.chars().all(is_word);
        if is_one && !found.contains(&placeholder) {
            found.push(placeholder);
        }
    }
    found
}

/// The maximum number of stores that a guide lists.
const LISTED: usize = 100;

impl Context<'_> {
    /// Says where the names come from, and what is still to be replaced.
    fn head(&self, source: Source<'_>, placeholders: &[String]) -> String {
        let word = self.subject.word();
        let mut text = match source {
            Source::Page => format!(
                "`eso-sync guide {word}` prints this page with the stores, names and ServiceAccounts of your cluster."
            ),
            Source::Unknown(why) => format!(
                "The cluster could not be asked, so that this text has placeholders: {}.",
                shell::code(why)
            ),
            Source::Cluster(known) => {
                let stores = self.stores.as_ref().map_or(0, Vec::len);
                let s = if stores == 1 { "" } else { "s" };
                format!(
                    "Filled in from {}: {stores} store{s} of this kind.",
                    shell::code(&known.place)
                )
            }
        };
        if !placeholders.is_empty() {
            let quoted: Vec<String> = placeholders.iter().map(|it| format!("`{it}`")).collect();
            // Writing to a String cannot fail.
            let _ = write!(text, "\nReplace: {}.", quoted.join(", "));
        }
        for gap in self.known.map_or(&[][..], |known| &known.gaps) {
            let _ = write!(text, "\nNot seen: {}.", shell::code(gap));
        }
        text
    }

    /// The stores, a line for each.
    fn list(&self) -> String {
        let Some(stores) = &self.stores else {
            return "your stores, each with the identity that it is read with".to_owned();
        };
        let mut lines: Vec<String> = stores
            .iter()
            .take(LISTED)
            .map(|store| {
                format!(
                    "{} ({}): {}",
                    line(&store.key.to_string()),
                    counted(store.used_by, "ExternalSecret"),
                    identity(store)
                )
            })
            .collect();
        if stores.len() > LISTED {
            lines.push(format!("… and {} more", stores.len() - LISTED));
        }
        if lines.is_empty() {
            lines.push("no ExternalSecret of this cluster reads such a store".to_owned());
        }
        lines.join("\n")
    }

    /// The stores whose names fill the commands. None without such stores: the commands then have placeholders.
    fn filled(&self) -> Option<Vec<&KnownStore>> {
        Some(self.ambient()).filter(|stores| !stores.is_empty())
    }

    /// The stores whose keys the job's own identity needs: those without an identity of their own, or all stores if each has one.
    fn ambient(&self) -> Vec<&KnownStore> {
        let all = self.stores.as_deref().unwrap_or_default();
        let ambient = all
            .iter()
            .filter(|store| matches!(store.access, Access::Ambient { .. }));
        let ambient: Vec<&KnownStore> = ambient.copied().collect();
        if ambient.is_empty() {
            let own = all
                .iter()
                .filter(|store| matches!(store.access, Access::Own));
            own.copied().collect()
        } else {
            ambient
        }
    }

    /// The stores that the following sections are about, in words.
    fn covered(&self) -> String {
        let Some(all) = &self.stores else {
            return "what the ExternalSecrets of these stores read".to_owned();
        };
        let covered = self.ambient();
        match &*covered {
            [] => "nothing, because no store needs it".to_owned(),
            [first, ..] if matches!(first.access, Access::Own) => format!(
                "what the ExternalSecrets of {} read, although each names an identity of its own",
                counted(all.len(), "store")
            ),
            some_of => format!("what the ExternalSecrets of {} read", names(some_of)),
        }
    }

    /// The stores of this subject, or none without a cluster.
    fn known_stores(&self) -> impl Iterator<Item = &KnownStore> {
        self.stores.iter().flatten().copied()
    }

    fn use_identities(&self) -> String {
        let flags = match self.stores {
            Some(_) => rbac_flags(self.known_stores()),
            None => " --token-for '<NAMESPACE/NAME of each ServiceAccount>'".to_owned(),
        };
        format!(
            "eso-sync rbac --config policy.yaml --allow=drift,sync,store-credentials --namespace {}{flags}",
            shell::word(&self.job.namespace)
        )
    }

    /// How to see that the job can read: by a run of it.
    fn check(&self) -> String {
        let namespace = shell::word(&self.job.namespace);
        format!(
            "Then run the job once. Its report lists each ExternalSecret that cannot be verified, and which right is missing:\n\n\
             ```sh\n\
             CHECK=eso-sync-check-$(date +%s)\n\
             kubectl create job $CHECK --from cronjob/eso-sync --namespace {namespace}\n\
             kubectl logs --follow job/$CHECK --namespace {namespace}\n\
             ```"
        )
    }

    /// The variables that name the job.
    fn job_variables(&self) -> String {
        format!(
            "NAMESPACE={}\nSERVICE_ACCOUNT={}",
            shell::word(&self.job.namespace),
            shell::word(&self.job.service_account)
        )
    }
}

/// The flags of `rbac` that limit the use of the stores' identities.
fn rbac_flags<'a>(stores: impl Iterator<Item = &'a KnownStore>) -> String {
    let (mut accounts, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for store in stores {
        let named = store.accounts.iter();
        accounts.extend(named.map(|it| format!("{}/{}", it.namespace, it.name)));
        namespaces.extend(&store.credentials_in);
    }
    let mut flags = String::new();
    for account in accounts {
        // Writing to a String cannot fail.
        let _ = write!(flags, " --token-for {}", shell::word(&account));
    }
    for namespace in namespaces {
        let _ = write!(flags, " --credentials-in {}", shell::word(namespace));
    }
    flags
}

/// With whose identity a store is read.
fn identity(store: &KnownStore) -> String {
    match &store.access {
        Access::Free => "needs no credentials".to_owned(),
        Access::Own => {
            let accounts: Vec<String> = store
                .accounts
                .iter()
                .map(|it| line(&format!("{}/{}", it.namespace, it.name)))
                .collect();
            match &*accounts {
                [] => "names an identity of its own".to_owned(),
                accounts => format!(
                    "names an identity of its own: the ServiceAccount {}",
                    accounts.join(", ")
                ),
            }
        }
        Access::Ambient { .. } => "the job's own identity".to_owned(),
        Access::None(why) => format!("cannot be read: {}", line(why)),
    }
}

/// The names of stores, at most three.
fn names(stores: &[&KnownStore]) -> String {
    let named = stores.iter().take(3);
    let named: Vec<String> = named
        .map(|store| shell::code(&store.key.to_string()))
        .collect();
    match stores.len().saturating_sub(3) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// `1 store`, `2 stores`
fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

#[cfg(test)]
mod tests;
