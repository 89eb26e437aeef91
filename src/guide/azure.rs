//! Azure: roles for the secrets that the ExternalSecrets read, or access policies of their vaults.

use std::collections::BTreeMap;

use super::{Context, KnownStore, Parts, shell};

/// The maximum number of secrets of a vault that get a role each. A subscription has a limit for assignments.
const NAMED: usize = 50;

/// What is read from one vault.
#[derive(Default)]
struct Vault {
    /// The names of the secrets.
    secrets: Vec<String>,
    /// Why all secrets are needed.
    all: Option<&'static str>,
    is_searched: bool,
}

pub(super) fn parts(context: &Context<'_>) -> Parts {
    let vaults = context
        .filled()
        .map_or_else(placeholders, |stores| vaults(&stores));
    let mut parts = Parts::default();
    parts.add("set", variables(context, &vaults));
    let rbac: Vec<String> = vaults
        .iter()
        .map(|(name, vault)| vault.roles(name))
        .collect();
    parts.add("rbac", rbac.join("\n"));
    let policies: Vec<String> = vaults
        .iter()
        .map(|(name, vault)| vault.policy(name))
        .collect();
    parts.add("policies", policies.join("\n"));
    parts
}

fn placeholders() -> BTreeMap<String, Vault> {
    let vault = Vault {
        secrets: vec!["<name of each secret>".to_owned()],
        is_searched: true,
        ..Vault::default()
    };
    BTreeMap::from([("<name of the vault>".to_owned(), vault)])
}

fn variables(context: &Context<'_>, vaults: &BTreeMap<String, Vault>) -> String {
    let vault = vaults
        .keys()
        .next()
        .map_or("<name of the vault>", String::as_str);
    format!(
        "{}\nIDENTITY=eso-sync\nRESOURCE_GROUP='<resource group of the AKS cluster>'\nCLUSTER='<name of the AKS cluster>'\nVAULT={}",
        context.job_variables(),
        shell::word(vault),
    )
}

fn vaults(stores: &[&KnownStore]) -> BTreeMap<String, Vault> {
    let mut vaults: BTreeMap<String, Vault> = BTreeMap::new();
    for store in stores {
        let vault = vaults.entry(name(store.at("/vaultUrl"))).or_default();
        let secrets = store.keys.iter().filter_map(|key| secret(key));
        vault.secrets.extend(secrets.map(str::to_owned));
        vault.is_searched |= !store.searches.is_empty() || store.is_incomplete;
    }
    for vault in vaults.values_mut() {
        vault.secrets.sort_unstable();
        vault.secrets.dedup();
        vault.all = match vault.secrets.len() {
            _ if vault.is_searched => Some("`find` lists the secrets of the vault"),
            0 => Some("its ExternalSecrets name no secret"),
            NAMED.. => Some("it has too many secrets for a role each"),
            _ => None,
        };
    }
    vaults
}

/// The name of a vault: the first label of its host.
fn name(url: &str) -> String {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let name = host.split(['/', ':', '.']).next().unwrap_or_default();
    if name.is_empty() {
        "<name of the vault>".to_owned()
    } else {
        name.to_owned()
    }
}

/// The name of a secret. None for a key or a certificate, which eso-sync does not read.
fn secret(key: &str) -> Option<&str> {
    match key.split_once('/') {
        None => Some(key),
        Some(("secret", name)) => Some(name),
        Some(_) => None,
    }
}

impl Vault {
    fn roles(&self, name: &str) -> String {
        let id = format!(
            "VAULT_ID=$(az keyvault show --name {} --query id --output tsv)",
            shell::word(name)
        );
        let assign = "az role assignment create --role \"Key Vault Secrets User\" --assignee-object-id \"$PRINCIPAL_ID\"";
        let kind = "--assignee-principal-type ServicePrincipal --scope";
        if let Some(why) = self.all {
            return format!("# The whole vault: {why}.\n{id}\n{assign} \\\n  {kind} \"$VAULT_ID\"");
        }
        let secrets: Vec<String> = self.secrets.iter().map(|it| shell::word(it)).collect();
        format!(
            "{id}\nfor SECRET in {}; do\n  {assign} \\\n    {kind} \"$VAULT_ID/secrets/$SECRET\"\ndone",
            secrets.join(" ")
        )
    }

    fn policy(&self, name: &str) -> String {
        let list = if self.is_searched { " list" } else { "" };
        format!(
            "az keyvault set-policy --name {} --object-id \"$PRINCIPAL_ID\" --secret-permissions get{list}",
            shell::word(name)
        )
    }
}
