//! `init`: writes a policy for what a cluster has. Pure: from an inventory to a text with comments.

mod access;
mod install;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use eso_model::{ProviderKind, StoreKey};
use providers::{
    Unread,
    reader::{NamespaceLabels, Source},
    trust::{Credentials, Origin},
};

pub use self::{
    access::{Access, Accesses, References},
    install::{Install, files},
};
use crate::{
    consumers::Consumers,
    foreign::{Foreign, first, line},
    inventory::{ExternalSecret, Inventory},
    reason::Reason,
    workload::WorkloadId,
};

/// With more namespaces, the policy selects all of them, and needs a `ClusterRole`.
const LISTED: usize = 40;

/// The objects that a comment names.
const NAMED: usize = 6;

/// The most flags in a command that a comment shows.
const FLAGS: usize = 12;

/// What the cluster has.
pub struct Found<'a> {
    pub inventory: &'a Inventory,
    /// The stores, or why one could not be read.
    pub sources: &'a BTreeMap<StoreKey, Result<Source, Unread>>,
    /// The labels of namespaces, if they could be read.
    pub labels: Option<&'a NamespaceLabels>,
    pub consumers: &'a Consumers,
    /// The namespaces that the user named. Empty: all.
    pub scope: &'a [String],
    /// Where it was found, for people: the context and the server.
    pub place: &'a str,
}

/// A policy, and what the job that runs it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The policy with comments.
    pub text: String,
    /// The words of `--allow` that it needs.
    pub allow: BTreeSet<&'static str>,
    /// The addresses that it lists in `drift.endpoints`.
    pub endpoints: BTreeSet<Origin>,
    pub max_syncs: usize,
    /// What the stores name that are read with their own credentials.
    pub references: References,
}

/// One store with the ExternalSecrets that read from it.
struct StoreFacts<'a> {
    key: &'a StoreKey,
    provider: Option<&'a ProviderKind>,
    access: Access,
    /// The namespaces for which it is not read although it is for others, and why.
    refused: Option<(BTreeSet<&'a str>, String)>,
    /// The number of ExternalSecrets.
    used_by: usize,
}

/// Writes the policy.
pub fn draft(found: &Found<'_>) -> Draft {
    let (stores, references) = stores(found);
    let default = default_credentials(&stores);
    let exceptions: Vec<&StoreFacts<'_>> = stores
        .iter()
        .filter(|store| store.access.credentials().is_some_and(|it| it != default))
        .collect();
    let endpoints = stores.iter().flat_map(|store| store.access.endpoints());
    let endpoints: BTreeSet<Origin> = endpoints.cloned().collect();
    let checks = checks(&stores);
    let max_syncs = room(found.inventory.external_secrets.len());
    let mut allow = BTreeSet::from(["sync"]);
    if checks {
        allow.insert("drift");
        if stores
            .iter()
            .any(|store| store.access.credentials() == Some(Credentials::Store))
        {
            allow.insert("store-credentials");
        }
        if exceptions
            .iter()
            .any(|store| store.access.credentials() == Some(Credentials::Ambient))
        {
            allow.insert("ambient-stores");
        }
    }
    let text = [
        heading(found),
        selection(found),
        synced(checks),
        drift(&stores, default, &exceptions, &endpoints, &references),
        pace(&stores),
        safety(found, max_syncs),
        restart(found.consumers),
    ]
    .join("\n");
    Draft {
        text,
        allow,
        endpoints,
        max_syncs,
        references,
    }
}

/// True if the policy checks drift: a store can be read, or none is known yet.
fn checks(stores: &[StoreFacts<'_>]) -> bool {
    stores.is_empty() || stores.iter().any(|store| store.access.is_readable())
}

/// The stores that ExternalSecrets read from, in the order of their names, and what they name to be read with.
fn stores<'a>(found: &Found<'a>) -> (Vec<StoreFacts<'a>>, References) {
    let mut used: BTreeMap<&StoreKey, Vec<&ExternalSecret>> = BTreeMap::new();
    for one in &found.inventory.external_secrets {
        for key in one.store_keys() {
            used.entry(key).or_default().push(one);
        }
    }
    let mut references = References::default();
    let stores = used.into_iter().map(|(key, users)| {
        let source = found.sources.get(key);
        let namespaces: BTreeSet<&str> = users.iter().map(|one| &*one.id.namespace).collect();
        let accesses = Accesses::of(key, source, namespaces, found.labels);
        let settings = source.and_then(|source| source.as_ref().ok());
        let settings = settings.map(|source| &source.settings);
        if let (Access::Own, Some(settings)) = (&accesses.access, settings) {
            references.add(key, &settings.settings, &accesses.namespaces);
        }
        StoreFacts {
            key,
            provider: settings.map(|settings| &settings.provider),
            access: accesses.access,
            refused: accesses.refused,
            used_by: users.len(),
        }
    });
    let stores = stores.collect();
    (stores, references)
}

/// What most stores need, so that few have to be listed.
fn default_credentials(stores: &[StoreFacts<'_>]) -> Credentials {
    let count = |wanted| {
        let all = stores.iter();
        all.filter(|store| store.access.credentials() == Some(wanted))
            .count()
    };
    if count(Credentials::Store) > count(Credentials::Ambient) {
        Credentials::Store
    } else {
        Credentials::Ambient
    }
}

/// A limit with some room for what is added: a fifth more, rounded up to tens.
fn room(count: usize) -> usize {
    (count + count / 5 + 1).div_ceil(10) * 10
}

fn heading(found: &Found<'_>) -> String {
    let all = &found.inventory.external_secrets;
    let stores: BTreeSet<&StoreKey> = all.iter().flat_map(ExternalSecret::store_keys).collect();
    let mut text = format!(
        "# A policy for {}: {}, {}.\n",
        line(found.place),
        counted(all.len(), "ExternalSecret"),
        counted(stores.len(), "store"),
    );
    text.push_str(
        "# Check it: eso-sync validate --config FILE. See what a run would do: eso-sync plan --config FILE.\n\
         # All keys: config.example.yaml. A key or a word: eso-sync explain sync.when\n",
    );
    for gap in &found.inventory.gaps {
        comment(
            &mut text,
            0,
            &format!("Not seen: {}: {}", line(&gap.what), line(&gap.why)),
        );
    }
    text
}

fn selection(found: &Found<'_>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &found.inventory.external_secrets {
        *counts.entry(&one.id.namespace).or_default() += 1;
    }
    let mut text = "select:\n".to_owned();
    if counts.is_empty() {
        comment(&mut text, 2, "There is no ExternalSecret yet.");
    }
    let namespaces: Vec<String> = if !found.scope.is_empty() {
        found.scope.iter().map(|name| word(name)).collect()
    } else if counts.is_empty() || counts.len() > LISTED {
        comment(
            &mut text,
            2,
            "All namespaces, also new ones. Roles would be sufficient if you listed them.",
        );
        vec![word("*")]
    } else {
        comment(
            &mut text,
            2,
            "The namespaces that have ExternalSecrets now, so that Roles are sufficient. `\"*\"` selects new ones, too.",
        );
        counts.keys().map(|name| word(name)).collect()
    };
    let all = counts.iter();
    let all = all.map(|(name, count)| Foreign::from(format!("{name} ({count})")));
    if !counts.is_empty() {
        comment(&mut text, 2, &format!("{}.", first(NAMED, all)));
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  - namespaces: [{}]", namespaces.join(", "));
    text
}

fn synced(checks: bool) -> String {
    if checks {
        "# Only what differs from its provider is synced, and each sync is proven.\n\
         sync: {when: drifted}\n"
            .to_owned()
    } else {
        "# No store can be read, so what differs is not known: what failed, or is older than it should be, is synced.\n\
         sync: {when: overdue}\n"
            .to_owned()
    }
}

fn drift(
    stores: &[StoreFacts<'_>],
    default: Credentials,
    exceptions: &[&StoreFacts<'_>],
    endpoints: &BTreeSet<Origin>,
    references: &References,
) -> String {
    let mut text = String::new();
    if stores.is_empty() {
        comment(
            &mut text,
            0,
            "No store is known yet. When there are ExternalSecrets, `eso-sync init` says what the job needs to read each store.",
        );
        return text + "drift: {enabled: true}\n";
    }
    if !checks(stores) {
        for store in stores {
            comment(&mut text, 0, &store.line());
        }
        text.push_str("drift: {enabled: false}\n");
        return text;
    }
    text.push_str("# How the job reads the providers, and what is missing for it.\ndrift:\n");
    for store in stores {
        comment(&mut text, 2, &store.line());
    }
    if stores.iter().any(|store| store.access == Access::Own) {
        comment(&mut text, 2, &rights(references));
    }
    let _ = writeln!(text, "  credentials: {}", default.into_str());
    if !exceptions.is_empty() {
        text.push_str("  stores:\n");
        for store in exceptions {
            let other = store.access.credentials().unwrap_or(default);
            let _ = writeln!(
                text,
                "    {}: {}",
                word(&store.key.to_string()),
                other.into_str()
            );
        }
    }
    if !endpoints.is_empty() {
        comment(&mut text, 2, "The job's own credentials may be sent there.");
        let endpoints: Vec<String> = endpoints.iter().map(|it| word(&it.to_string())).collect();
        let _ = writeln!(text, "  endpoints: [{}]", endpoints.join(", "));
    }
    if stores.iter().any(|store| !store.access.is_readable()) {
        comment(
            &mut text,
            2,
            "With `fail`, ExternalSecrets of stores that cannot be read make the exit code 3.",
        );
        text.push_str("  onUnverifiable: report\n");
    }
    text
}

/// The command that prints the rights to use the credentials that stores name.
fn rights(references: &References) -> String {
    let flags = references.flags();
    let command = if flags.len() > FLAGS {
        let count = flags.len();
        format!(
            "`eso-sync rbac --config FILE` with {count} flags `--credentials-in` and `--token-for`, which `eso-sync init --dir` sets by itself,"
        )
    } else {
        let words = ["eso-sync rbac --config FILE".to_owned()];
        let words: Vec<String> = words.into_iter().chain(flags).collect();
        format!("`{}`", words.join(" "))
    };
    format!("{command} prints the rights to use the credentials that stores name.")
}

impl StoreFacts<'_> {
    /// What the job needs to read it.
    fn line(&self) -> String {
        let provider = self.provider.map(ProviderKind::name);
        let provider = provider.map(|name| line(&name));
        let provider = provider.filter(|name| !name.is_empty());
        let mut text = format!(
            "{} ({}, {}): {}",
            line(&self.key.to_string()),
            provider.as_deref().unwrap_or("unknown provider"),
            counted(self.used_by, "ExternalSecret"),
            self.access.needs(self.provider)
        );
        if let Some((namespaces, why)) = &self.refused {
            let all = namespaces.iter().map(|name| Foreign::from(*name));
            let names = first(NAMED, all);
            let _ = write!(text, "; not for {names}: {why}");
        }
        text
    }
}

/// The rates of the providers that the stores use.
fn pace(stores: &[StoreFacts<'_>]) -> String {
    let kinds: BTreeSet<&ProviderKind> = stores.iter().filter_map(|store| store.provider).collect();
    let mut text = String::new();
    for kind in kinds {
        let facts = kind.facts();
        let Some(rate) = facts.rate else { continue };
        let name = facts.service.or(facts.alias).unwrap_or(&facts.name);
        let why = match facts.read_quota.map(|quota| quota.per_second) {
            Some(quota) => {
                format!("the provider's default quota is {quota}/s, for all callers together")
            }
            None => "the provider documents no quota: ask who runs it".to_owned(),
        };
        let _ = writeln!(text, "    {}: {rate}/s # {why}", word(name));
    }
    if text.is_empty() {
        return "# Rates: eso-sync explain pace\n".to_owned();
    }
    format!(
        "# Calls per second, for each account. A run lowers them by itself when a provider throttles.\npace:\n  providers:\n{text}"
    )
}

fn safety(found: &Found<'_>, max_syncs: usize) -> String {
    format!(
        "# If a run would do more, it leaves the namespaces alone that need more than half of it. If the rest is still too much, it\n\
         # changes nothing. Both are higher than what there is now.\n\
         safety:\n  maxSyncs: {max_syncs}\n  maxRestarts: {}\n",
        room(coverable(found.consumers).count())
    )
}

/// The workloads that use the Secrets and that nobody else restarts.
fn coverable(consumers: &Consumers) -> impl Iterator<Item = &WorkloadId> {
    let all = consumers.of.iter();
    all.filter(|(_, consumer)| consumer.left_to.is_none())
        .map(|(id, _)| id)
}

/// The rule for restarts, commented out: a restart is a decision of people.
fn restart(consumers: &Consumers) -> String {
    let mut text = String::new();
    let named = |id: &WorkloadId| Foreign::from(id.to_string());
    let concerned: Vec<Foreign> = coverable(consumers).map(named).collect();
    let concerns = match &*concerned {
        [] => "No workload uses these Secrets now.".to_owned(),
        some_of => format!(
            "It would concern {}: {}.",
            counted(some_of.len(), "workload"),
            first(NAMED, some_of.iter())
        ),
    };
    let says = format!(
        "Restarts of workloads that run on old data: one first, then the others, each until it is healthy. {concerns}"
    );
    comment(&mut text, 0, &says);
    for (reason, by) in [
        (Reason::HandledByReloader, "Stakater Reloader"),
        (Reason::HandledByWave, "wave"),
    ] {
        let left = consumers
            .of
            .iter()
            .filter(|(_, it)| it.left_to == Some(reason));
        let left: Vec<Foreign> = left.map(|(id, _)| named(id)).collect();
        if !left.is_empty() {
            comment(
                &mut text,
                0,
                &format!("Left to {by}: {}.", first(NAMED, left.iter())),
            );
        }
    }
    for gap in &consumers.gaps {
        comment(
            &mut text,
            0,
            &format!("Not seen: {}: {}", line(&gap.what), line(&gap.why)),
        );
    }
    text.push_str("# Restarts need a key for stamps: name the namespace that has it with --lock-namespace. For a job, add `restart` to its flag\n");
    text.push_str("# --allow, and grant what `eso-sync rbac --config FILE` prints.\n");
    text.push_str("#restart:\n#  - match: references\n");
    text
}

/// `1 store`, `2 stores`
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A text as a YAML scalar. A plain one where it cannot be taken for anything else.
fn word(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/'))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text);
    if is_plain {
        text.to_owned()
    } else {
        // JSON is YAML. Other characters of line ends must not end the line.
        let quoted = serde_json::Value::from(text).to_string();
        let escape = |c: char| match c {
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{7f}' => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        };
        quoted.chars().map(escape).collect()
    }
}

/// Adds comment lines, with words wrapped at 110 characters. What is between backticks stays on one line.
fn comment(text: &mut String, indent: usize, says: &str) {
    let mut width = usize::MAX;
    let mut is_quoted = false;
    let words = says.split(|c: char| {
        is_quoted ^= c == '`';
        c == ' ' && !is_quoted
    });
    for word in words.filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if width.saturating_add(length) >= 110 {
            if width != usize::MAX {
                text.push('\n');
            }
            let start = format!("{:indent$}#", "");
            text.push_str(&start);
            width = start.len();
        }
        let _ = write!(text, " {word}");
        width += length + 1;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests;
