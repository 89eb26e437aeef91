//! Reads kubeconfig files as kubectl does: which files, how they are merged, and relative to what their paths are.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{address::Address, failure::ConnectError};

/// The entries of all files. In each map the first file that has a name wins.
#[derive(Default)]
pub(super) struct Kubeconfig {
    pub(super) current_context: String,
    pub(super) contexts: BTreeMap<String, Context>,
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) users: BTreeMap<String, User>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Context {
    #[serde(deserialize_with = "or_default")]
    pub(super) cluster: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) namespace: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Cluster {
    #[serde(deserialize_with = "address")]
    pub(super) server: Address,
    #[serde(deserialize_with = "or_default")]
    pub(super) tls_server_name: String,
    #[serde(deserialize_with = "flag")]
    pub(super) insecure_skip_tls_verify: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) certificate_authority: String,
    #[serde(deserialize_with = "bytes")]
    pub(super) certificate_authority_data: Vec<u8>,
    #[serde(deserialize_with = "address")]
    pub(super) proxy_url: Address,
    #[serde(deserialize_with = "flag")]
    pub(super) disable_compression: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) extensions: Vec<Extension>,
}

/// The name of the extension that a credential plugin receives.
const PLUGIN_EXTENSION: &str = "client.authentication.k8s.io/exec";

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Extension {
    #[serde(deserialize_with = "or_default")]
    name: String,
    extension: serde_json::Value,
}

impl Cluster {
    /// The `config` of this cluster that a credential plugin receives.
    pub(super) fn plugin_config(&self) -> Option<&serde_json::Value> {
        let mut extensions = self.extensions.iter();
        Some(&extensions.find(|it| it.name == PLUGIN_EXTENSION)?.extension)
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct User {
    #[serde(deserialize_with = "or_default")]
    pub(super) client_certificate: String,
    #[serde(deserialize_with = "bytes")]
    pub(super) client_certificate_data: Vec<u8>,
    #[serde(deserialize_with = "or_default")]
    pub(super) client_key: String,
    #[serde(deserialize_with = "bytes")]
    pub(super) client_key_data: Vec<u8>,
    #[serde(deserialize_with = "secret")]
    pub(super) token: SecretString,
    #[serde(rename = "tokenFile", deserialize_with = "or_default")]
    pub(super) token_file: String,
    #[serde(rename = "as", deserialize_with = "or_default")]
    pub(super) impersonate: String,
    #[serde(rename = "as-uid", deserialize_with = "or_default")]
    pub(super) impersonate_uid: String,
    #[serde(rename = "as-groups", deserialize_with = "or_default")]
    pub(super) impersonate_groups: Vec<String>,
    #[serde(rename = "as-user-extra", deserialize_with = "or_default")]
    pub(super) impersonate_extra: BTreeMap<String, Option<Vec<String>>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) username: String,
    #[serde(deserialize_with = "secret")]
    pub(super) password: SecretString,
    pub(super) auth_provider: Option<AuthProvider>,
    pub(super) exec: Option<Exec>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthProvider {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) config: BTreeMap<String, String>,
}

/// A credential plugin.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Exec {
    #[serde(deserialize_with = "or_default")]
    pub(super) command: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) args: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) env: Vec<Variable>,
    #[serde(deserialize_with = "or_default")]
    pub(super) api_version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) install_hint: String,
    #[serde(deserialize_with = "flag")]
    pub(super) provide_cluster_info: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) interactive_mode: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Variable {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) value: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    #[serde(deserialize_with = "or_default")]
    api_version: String,
    #[serde(deserialize_with = "or_default")]
    kind: String,
    #[serde(rename = "current-context", deserialize_with = "or_default")]
    current_context: String,
    #[serde(deserialize_with = "or_default")]
    contexts: Vec<NamedContext>,
    #[serde(deserialize_with = "or_default")]
    clusters: Vec<NamedCluster>,
    #[serde(deserialize_with = "or_default")]
    users: Vec<NamedUser>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    context: Context,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    user: User,
}

/// `null` counts as absent, as in Go.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    or_default(deserializer).map(|text: String| Address::new(text))
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    or_default(deserializer).map(|text: String| SecretString::from(text))
}

/// A boolean. kubectl reads YAML 1.1, in which `yes` and `on` are booleans.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match or_default(deserializer)? {
        serde_json::Value::Bool(flag) => Ok(flag),
        serde_json::Value::Null => Ok(false),
        serde_json::Value::String(text) => match &*text.to_ascii_lowercase() {
            "y" | "yes" | "on" => Ok(true),
            "n" | "no" | "off" => Ok(false),
            _ => Err(serde::de::Error::custom("not a boolean")),
        },
        serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => Err(serde::de::Error::custom("not a boolean")),
    }
}

/// Base64. Go ignores line breaks in it.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text: String = or_default(deserializer)?;
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD
        .decode(text)
        .map_err(|_| serde::de::Error::custom("not base64"))
}

impl Kubeconfig {
    /// Reads `--kubeconfig`, or the files of `$KUBECONFIG`, or `~/.kube/config`. A missing file is an error only if
    /// `--kubeconfig` names it.
    pub(super) fn read(
        flag: Option<&Path>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConnectError> {
        if let Some(path) = flag.filter(|path| !path.as_os_str().is_empty()) {
            let mut merged = Self::default();
            merged.add(path, &read(path)?)?;
            return Ok(merged);
        }
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let paths: Vec<PathBuf> = if let Some(list) = set("KUBECONFIG") {
            std::env::split_paths(list).collect()
        } else {
            let home = set("HOME").map(PathBuf::from).unwrap_or_default();
            vec![home.join(".kube/config")]
        };
        let mut merged = Self::default();
        let mut seen: Vec<&Path> = Vec::new();
        for path in paths.iter().filter(|path| !path.as_os_str().is_empty()) {
            if seen.contains(&&**path) {
                continue;
            }
            seen.push(path);
            match read(path) {
                Ok(text) => merged.add(path, &text)?,
                Err(ConnectError::Unreadable { missing: true, .. }) => {
                    tracing::debug!(path = %path.display(), "there is no such kubeconfig");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(merged)
    }

    fn add(&mut self, path: &Path, text: &[u8]) -> Result<(), ConnectError> {
        let invalid = |why: &str| ConnectError::Kubeconfig(format!("{}: {why}", path.display()));
        let file = parse(text).map_err(invalid)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if self.current_context.is_empty() {
            self.current_context = file.current_context;
        }
        let duplicate = |kind: &str, name: &str| {
            let name = name.escape_default();
            invalid(&format!("it has two {kind}s with the name `{name}`"))
        };
        add(&mut self.contexts, file.contexts, |it| {
            (it.name, it.context)
        })
        .map_err(|name| duplicate("context", &name))?;
        add(&mut self.clusters, file.clusters, |it| {
            let mut cluster = it.cluster;
            resolve(folder, &mut cluster.certificate_authority);
            (it.name, cluster)
        })
        .map_err(|name| duplicate("cluster", &name))?;
        add(&mut self.users, file.users, |it| {
            let mut user = it.user;
            for path in [
                &mut user.client_certificate,
                &mut user.client_key,
                &mut user.token_file,
            ] {
                resolve(folder, path);
            }
            if let Some(exec) = &mut user.exec
                && exec.command.contains('/')
            {
                resolve(folder, &mut exec.command);
            }
            (it.name, user)
        })
        .map_err(|name| duplicate("user", &name))
    }
}

/// Adds the entries of one file, unless an earlier file has them. Fails with the name of an entry that the file has twice.
fn add<N, T>(
    merged: &mut BTreeMap<String, T>,
    entries: Vec<N>,
    split: impl Fn(N) -> (String, T),
) -> Result<(), String> {
    let mut own: BTreeMap<String, T> = BTreeMap::new();
    for (name, entry) in entries.into_iter().map(split) {
        if own.contains_key(&name) {
            return Err(name);
        }
        own.insert(name, entry);
    }
    for (name, entry) in own {
        merged.entry(name).or_insert(entry);
    }
    Ok(())
}

/// Makes a path relative to the kubeconfig's folder.
fn resolve(folder: &Path, path: &mut String) {
    if !path.is_empty() {
        *path = folder.join(&*path).to_string_lossy().into_owned();
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|error| ConnectError::Unreadable {
        path: path.to_owned(),
        missing: error.kind() == io::ErrorKind::NotFound,
        why: error.kind().to_string(),
    })
}

const WRONG_TYPE: &str = "it is not a kubeconfig: a field has the wrong type";

/// Parses one file. The error does not quote the file, which contains credentials.
fn parse(text: &[u8]) -> Result<File, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8")?;
    let tree: serde_json::Value = yaml(text).ok_or("it is not valid YAML")?;
    if tree.is_null() {
        return Ok(File::default());
    }
    if !has_mappings(&tree) {
        return Err(WRONG_TYPE);
    }
    let file: File = serde_json::from_value(tree).map_err(|_| WRONG_TYPE)?;
    if !matches!(&*file.kind, "" | "Config") || !matches!(&*file.api_version, "" | "v1") {
        return Err("it is not a kubeconfig: it must have `apiVersion: v1` and `kind: Config`");
    }
    Ok(file)
}

/// True if all sections are mappings. (serde would take a list for a struct.)
fn has_mappings(tree: &serde_json::Value) -> bool {
    let is_mapping = |value: &serde_json::Value| value.is_object() || value.is_null();
    let sections = [
        ("contexts", "/context"),
        ("clusters", "/cluster"),
        ("users", "/user"),
        ("users", "/user/exec"),
        ("users", "/user/auth-provider"),
    ];
    tree.is_object()
        && sections.iter().all(|(list, section)| {
            let entries = tree.get(list).and_then(serde_json::Value::as_array);
            entries
                .into_iter()
                .flatten()
                .all(|entry| is_mapping(entry) && entry.pointer(section).is_none_or(is_mapping))
        })
}

/// The first document of a YAML or JSON text.
pub(super) fn yaml<T: DeserializeOwned + Default>(text: &str) -> Option<T> {
    if text.trim().is_empty() {
        return Some(T::default());
    }
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).ok()
}
