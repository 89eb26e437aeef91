//! Vault and OpenBao: a policy for the paths that the ExternalSecrets read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use eso_model::remote::vault::{Paths, Version};
use providers::trust::Origin;

use super::{Context, KnownStore, Parts, shell};
use crate::foreign::line;

/// The maximum number of paths of a store that a policy lists.
const NAMED: usize = 200;

pub(super) fn parts(context: &Context<'_>) -> Parts {
    let filled = context.filled();
    let rules = filled
        .as_ref()
        .map_or_else(placeholders, |stores| rules(stores));
    let mut parts = Parts::default();
    parts.add("set", variables(context, filled.as_deref()));
    parts.add("policy", rules.policy());
    let example = rules
        .paths
        .keys()
        .next()
        .map_or("<path of a secret>", String::as_str);
    parts.add("example", shell::word(&example.replace('*', "example")));
    let endpoints = filled
        .as_deref()
        .map_or_else(|| BTreeSet::from([ADDRESS.to_owned()]), endpoints);
    let quoted: Vec<String> = endpoints.iter().map(|it| shell::json(it)).collect();
    parts.add("endpoints", format!("[{}]", quoted.join(", ")));
    let flags: Vec<String> = endpoints
        .iter()
        .map(|it| format!(" --allow-endpoint={it}"))
        .collect();
    parts.add(
        "allow",
        shell::code(&format!("--allow=drift,sync{}", flags.concat())),
    );
    parts
}

const ADDRESS: &str = "<address of Vault>";

/// The addresses that a policy of eso-sync must list.
fn endpoints(stores: &[&KnownStore]) -> BTreeSet<String> {
    let addresses = stores.iter().map(|store| {
        let origin = Origin::of_address(store.at("/server"));
        origin.map_or_else(|_| ADDRESS.to_owned(), |origin| origin.to_string())
    });
    addresses.collect()
}

fn variables(context: &Context<'_>, stores: Option<&[&KnownStore]>) -> String {
    let stores = stores.unwrap_or_default();
    let addresses: BTreeSet<(&str, &str)> = stores
        .iter()
        .map(|store| (store.at("/server"), store.at("/namespace")))
        .collect();
    let mut text = context.job_variables();
    let mut addresses = addresses.into_iter();
    let (server, namespace) = addresses.next().unwrap_or((ADDRESS, ""));
    // Writing to a String cannot fail.
    let _ = write!(text, "\nexport VAULT_ADDR={}", shell::word(server));
    if !namespace.is_empty() {
        let _ = write!(text, "\nexport VAULT_NAMESPACE={}", shell::word(namespace));
    }
    for (server, namespace) in addresses {
        let _ = write!(
            text,
            "\n# Repeat sections 3 and 4 there: VAULT_ADDR={} VAULT_NAMESPACE={}",
            shell::word(server),
            shell::word(namespace)
        );
    }
    text
}

/// The rules of a policy.
#[derive(Default)]
struct Rules {
    /// The capabilities for each path, and the store that needs them.
    paths: BTreeMap<String, (BTreeSet<&'static str>, String)>,
    /// The number of keys that a policy cannot name.
    unnamed: usize,
}

fn placeholders() -> Rules {
    let mut rules = Rules::default();
    rules.add(
        "<mount>/data/<path of each secret>",
        &["read"],
        "a KV engine, version 2",
    );
    rules.add(
        "<mount>/metadata/<path>*",
        &["list", "read"],
        "only for `find` and `metadataPolicy: Fetch`, version 2",
    );
    rules
}

fn rules(stores: &[&KnownStore]) -> Rules {
    let mut rules = Rules::default();
    for store in stores {
        let mount = Some(store.at("/path")).filter(|path| !path.is_empty());
        let version = if store.at("/version") == "v1" {
            Version::V1
        } else {
            Version::V2
        };
        let paths = Paths {
            mount: mount.map(|mount| mount.trim_matches('/').to_owned()),
            version,
        };
        let name = line(&store.key.to_string());
        let metadata = |key: &str| paths.metadata(key).ok();
        let everything = store.is_incomplete || store.keys.len() > NAMED;
        let all: BTreeSet<String> = if everything {
            BTreeSet::from([String::new()])
        } else {
            BTreeSet::new()
        };
        for prefix in store.searches.union(&all) {
            let prefix = prefix.trim_start_matches('/');
            if paths.mount.is_none() && prefix.is_empty() {
                rules.unnamed += 1;
                continue;
            }
            rules.add_tree(&paths.data(prefix), &["read"], &name);
            if let Some(path) = metadata(prefix) {
                rules.add_tree(&path, &["list", "read"], &name);
            }
        }
        if everything {
            continue;
        }
        for key in &store.keys {
            rules.add_key(&paths.data(key), &name);
            if let Some(path) = metadata(key).filter(|_| store.reads_metadata) {
                rules.add_key(&path, &name);
            }
        }
    }
    rules
}

impl Rules {
    fn add(&mut self, path: &str, capabilities: &[&'static str], store: &str) {
        let rule = self.paths.entry(path.to_owned());
        let (all, _) = rule.or_insert_with(|| (BTreeSet::new(), store.to_owned()));
        all.extend(capabilities);
    }

    /// Adds everything below a path.
    fn add_tree(&mut self, path: &str, capabilities: &[&'static str], store: &str) {
        if is_literal(path) {
            self.add(&format!("{path}*"), capabilities, store);
        } else {
            self.unnamed += 1;
        }
    }

    fn add_key(&mut self, path: &str, store: &str) {
        if is_literal(path) {
            self.add(path, &["read"], store);
        } else {
            self.unnamed += 1;
        }
    }

    fn policy(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        for (path, (capabilities, store)) in &self.paths {
            if store != last {
                let gap = if text.is_empty() { "" } else { "\n" };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{gap}# {store}");
                last = store;
            }
            let capabilities: Vec<String> =
                capabilities.iter().map(|it| format!("\"{it}\"")).collect();
            let _ = writeln!(
                text,
                "path {} {{ capabilities = [{}] }}",
                shell::json(path),
                capabilities.join(", ")
            );
        }
        if self.unnamed > 0 {
            let _ = writeln!(
                text,
                "\n# Missing: {} keys or searches that a policy cannot name exactly.",
                self.unnamed
            );
        }
        text.trim_end().to_owned()
    }
}

/// True if a policy takes this path for exactly this path.
fn is_literal(path: &str) -> bool {
    !path.ends_with('*')
        && !path.split('/').any(|part| part == "+")
        && !path.contains("{{")
        && !path.contains("${")
        && !path.chars().any(char::is_control)
}
