//! The policy that publishes what SecretManagerConfig manifests of the Secret Manager Controller say.
//!
//! The result is the text of a policy, so that the same rules, errors and ceilings apply as to a file, and so that people can keep it
//! instead of the manifests.

use repository::smc::{Auth, Configs, Provider, Read, SecretManagerConfig, SourceKind};
use serde_json::{Value as Json, json};

/// The owner of what the manifests publish, if nobody names another one.
pub const OWNER: &str = "smc";

/// The Secret in which the controller looks first for the private key.
pub const SOPS_KEY: &str = "secret:sops-private-key";

/// The items of a policy, and what people must know about them.
#[derive(Debug, Default, PartialEq)]
pub struct Converted {
    pub items: Vec<Json>,
    /// What works differently.
    pub warnings: Vec<String>,
    /// What cannot be published like this. The manifest has no item.
    pub faults: Vec<String>,
}

/// Converts manifests. `keys` are the places of the private keys, in the form of `sops.keys`.
pub fn converted(configs: &[SecretManagerConfig], keys: &[String]) -> Converted {
    let mut converted = Converted::default();
    for config in configs {
        let same = configs.iter().filter(|other| other.name == config.name);
        let name = if same.count() > 1 && !config.namespace.is_empty() {
            format!("{}.{}", config.namespace, config.name)
        } else {
            config.name.clone()
        };
        if let Some(why) = refused(config) {
            converted.faults.push(format!("{name}: {why}"));
            continue;
        }
        let warnings = warnings(config).into_iter();
        converted
            .warnings
            .extend(warnings.map(|warning| format!("{name}: {warning}")));
        converted.items.push(item(config, &name, keys));
        converted.items.extend(parameters(config, &name, keys));
    }
    converted
}

/// Why a manifest cannot be published.
fn refused(config: &SecretManagerConfig) -> Option<String> {
    if let Auth::Credentials { secret, .. } = &config.auth {
        return Some(format!(
            "`auth` names the Secret `{}`. The job uses an identity of its own: bind its ServiceAccount to it, or create a SecretStore \
             with these credentials and publish to it with `to.store`",
            secret.name
        ));
    }
    let is_parameters = matches!(config.configs, Configs::Parameters { path: None });
    (is_parameters && config.prefix.is_none()).then(|| {
        "`configs` without `parameterPath` needs `prefix`: the path of the parameters starts with it".to_owned()
    })
}

fn warnings(config: &SecretManagerConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    match &config.auth {
        Auth::WorkloadIdentity { identity } => warnings.push(format!(
            "the job must have the identity {identity}: annotate its ServiceAccount"
        )),
        Auth::Role { arn } => warnings.push(format!(
            "the job must have the role {arn}: annotate its ServiceAccount"
        )),
        Auth::Default | Auth::Credentials { .. } => {}
    }
    if config.source.kind == SourceKind::Application {
        let what = "`repos: [\"*\"]` accepts every repository that the Application names. Whoever edits it chooses what is published";
        warnings.push(what.to_owned());
    }
    if let Some(secret) = &config.source.credentials {
        warnings.push(format!(
            "the Secret `{}` with the credentials for the repository must be in the job's own namespace",
            secret.name
        ));
    }
    warnings
}

/// The item for the secrets of a manifest.
fn item(config: &SecretManagerConfig, name: &str, keys: &[String]) -> Json {
    let read = match &config.read {
        Read::Kustomize { path } => json!({"kustomize": {"path": path}}),
        Read::Profile { base_path } => {
            let properties = match config.configs {
                Configs::Json => "json",
                Configs::Secrets => "secrets",
                Configs::Parameters { .. } => "none",
            };
            profile(config, base_path, properties)
        }
    };
    // Without a prefix, the names of a kustomization start with this word.
    let is_kustomize = matches!(config.read, Read::Kustomize { .. });
    let prefix = config
        .prefix
        .clone()
        .or(is_kustomize.then(|| "default".to_owned()));
    let mut names = json!({"style": "smc"});
    set(&mut names, "prefix", prefix.map(Json::from));
    let suffix = Some(config.suffix.clone()).filter(|suffix| !suffix.is_empty());
    set(&mut names, "suffix", suffix.map(Json::from));
    let to = match &config.provider {
        Provider::Gcp { project } => json!({"gcp": {"project": project}}),
        Provider::Aws { region } => json!({"aws": {"region": region}}),
        Provider::Azure { vault } => {
            json!({"azure": {"vaultUrl": format!("https://{vault}.vault.azure.net")}})
        }
    };
    whole(config, name, keys, (read, names, to))
}

/// The item for the properties that are parameters, if there are any.
fn parameters(config: &SecretManagerConfig, name: &str, keys: &[String]) -> Option<Json> {
    let (Configs::Parameters { path }, Provider::Aws { region }, Read::Profile { base_path }) =
        (&config.configs, &config.provider, &config.read)
    else {
        return None;
    };
    let prefix = config.prefix.as_deref().unwrap_or_default();
    let path = path
        .clone()
        .unwrap_or_else(|| format!("/{prefix}/{}", config.environment));
    let read = profile(config, base_path, "parameters");
    let names = json!({"prefix": path, "style": "smc"});
    let to = json!({"aws": {"region": region, "service": "ParameterStore"}});
    let name = format!("{name}-parameters");
    Some(whole(config, &name, keys, (read, names, to)))
}

fn profile(config: &SecretManagerConfig, base_path: &str, properties: &str) -> Json {
    let mut profile =
        json!({"environment": config.environment, "dialect": "smc", "properties": properties});
    let base_path = Some(base_path).filter(|path| !path.is_empty());
    set(&mut profile, "basePath", base_path.map(Json::from));
    json!({ "profile": profile })
}

/// What all items of a manifest share.
fn whole(
    config: &SecretManagerConfig,
    name: &str,
    keys: &[String],
    (read, names, to): (Json, Json, Json),
) -> Json {
    let source = &config.source;
    let (namespace, of) = (&source.namespace, &source.name);
    let source = match source.kind {
        SourceKind::GitRepository => json!({"flux": {"namespace": namespace, "name": of}}),
        SourceKind::Application => {
            let mut application = json!({"namespace": namespace, "name": of, "repos": ["*"]});
            let secret = source
                .credentials
                .as_ref()
                .map(|secret| secret.name.clone());
            set(&mut application, "secret", secret.map(Json::from));
            json!({ "argocd": application })
        }
    };
    let when = if config.creates_only {
        "absent"
    } else {
        "changed"
    };
    json!({
        "name": name,
        "suspend": config.suspend,
        "source": source,
        "read": read,
        // The controller publishes values that are empty or not encrypted, too.
        "sops": {"keys": keys, "allowUnencrypted": true},
        "to": to,
        "names": names,
        // The repository is the source of truth, and what the controller wrote is taken over without a new version.
        "write": {"when": when, "adopt": "equal", "onForeignChange": "overwrite"},
    })
}

fn set(object: &mut Json, key: &str, value: Option<Json>) {
    if let (Some(value), Some(object)) = (value, object.as_object_mut()) {
        object.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use secret::Value;

    use super::*;

    fn of(text: &str) -> Converted {
        let manifests = repository::smc::parse("smc.yaml", Value::from(text));
        assert_eq!(manifests.faults, []);
        converted(&manifests.configs, &[SOPS_KEY.to_owned()])
    }

    const START: &str = "apiVersion: secret-management.microscaler.io/v1beta1\nkind: SecretManagerConfig\nmetadata: {name: shop, namespace: apps}\nspec:\n  \
        sourceRef: {kind: GitRepository, name: shop, namespace: flux-system}\n";

    #[test]
    fn profile_manifest_becomes_an_item_with_the_controllers_names() {
        let text = format!(
            "{START}  provider: {{type: gcp, gcp: {{projectId: shop-dev}}}}\n  secrets: {{environment: dev, basePath: services, suffix: -eu}}\n  \
             triggerUpdate: false\n"
        );
        assert_eq!(
            of(&text),
            Converted {
                items: vec![json!({
                    "name": "shop", "suspend": false,
                    "source": {"flux": {"namespace": "flux-system", "name": "shop"}},
                    "read": {"profile": {"environment": "dev", "basePath": "services", "dialect": "smc", "properties": "json"}},
                    "sops": {"keys": [SOPS_KEY], "allowUnencrypted": true},
                    "to": {"gcp": {"project": "shop-dev"}},
                    "names": {"style": "smc", "suffix": "-eu"},
                    "write": {"when": "absent", "adopt": "equal", "onForeignChange": "overwrite"},
                })],
                ..Converted::default()
            }
        );
    }

    #[test]
    fn properties_of_aws_become_an_item_of_parameters() {
        let text = format!(
            "{START}  provider: {{type: aws, aws: {{region: eu-west-1}}}}\n  secrets: {{environment: dev, prefix: shop}}\n  configs: {{enabled: true}}\n"
        );
        let items = of(&text).items;
        assert_eq!(items.len(), 2);
        assert_eq!(items[0]["read"]["profile"]["properties"], "none");
        assert_eq!(items[1]["read"]["profile"]["properties"], "parameters");
        assert_eq!(
            items[1]["names"],
            json!({"prefix": "/shop/dev", "style": "smc"})
        );
        assert_eq!(items[1]["to"]["aws"]["service"], "ParameterStore");
    }

    #[test]
    fn kustomization_without_a_prefix_has_the_controllers_word() {
        let text = format!(
            "{START}  provider: {{type: azure, azure: {{vaultName: shop}}}}\n  secrets: {{environment: dev, kustomizePath: overlays/dev}}\n"
        );
        let items = of(&text).items;
        assert_eq!(
            items[0]["read"],
            json!({"kustomize": {"path": "overlays/dev"}})
        );
        assert_eq!(items[0]["names"]["prefix"], "default");
        assert_eq!(
            items[0]["to"],
            json!({"azure": {"vaultUrl": "https://shop.vault.azure.net"}})
        );
    }

    #[test]
    fn credentials_are_refused_and_identities_are_said() {
        let auth = |auth: &str| {
            of(&format!(
                "{START}  provider: {{type: aws, aws: {{region: r, auth: {auth}}}}}\n  secrets: {{environment: dev}}\n"
            ))
        };
        let refused = auth("{authType: AccessKeys, secretName: keys}");
        assert!(
            refused.items.is_empty() && refused.faults[0].contains("`keys`"),
            "{refused:?}"
        );
        let warned = auth("{authType: irsa, roleArn: 'arn:aws:iam::123456789012:role/shop'}");
        assert!(
            warned.warnings[0].contains("arn:aws:iam::123456789012:role/shop"),
            "{warned:?}"
        );
    }

    #[test]
    fn manifests_of_one_name_have_the_namespace_in_their_items() {
        let spec = "  gcpProjectId: p\n  environment: dev\n";
        let other = START.replace("namespace: apps", "namespace: other");
        let items = of(&format!("{START}{spec}---\n{other}{spec}")).items;
        assert_eq!(
            (&items[0]["name"], &items[1]["name"]),
            (&json!("apps.shop"), &json!("other.shop"))
        );
    }
}
