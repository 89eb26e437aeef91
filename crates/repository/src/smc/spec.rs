//! The fields of a manifest.

use super::{
    Auth, Configs, Fault, GitSource, Member, Node, Provider, Read, Reason, SecretManagerConfig,
    SecretRef, SourceKind, auth, reader::Reader, resolve,
};

/// Fields of the controller's own operation, and what replaces them.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "otel",
        "set OTEL_EXPORTER_OTLP_ENDPOINT for the job: eso-sync sends its metrics and traces there",
    ),
    (
        "notifications",
        "set `notify` in the policy, which sends messages about runs",
    ),
    (
        "reconcileInterval",
        "the schedule of the CronJob decides when a run starts",
    ),
    (
        "gitRepositoryPullInterval",
        "set `spec.interval` of the GitRepository",
    ),
    (
        "diffDiscovery",
        "every run compares the provider, and `publish status` only compares",
    ),
    (
        "suspendGitPulls",
        "set `spec.suspend` of the GitRepository; the last artifact is still published",
    ),
    ("logging", "use the options for log output"),
    ("hotReload", "every run reads its settings again"),
];

/// Fields of `spec` in both shapes, before they are combined.
#[derive(Default)]
struct Spec {
    source: Option<GitSource>,
    provider: Option<(Provider, Auth)>,
    environment: Option<String>,
    kustomize_path: Option<String>,
    base_path: Option<String>,
    prefix: Option<String>,
    suffix: Option<String>,
    configs: Option<ConfigStore>,
    suspend: bool,
    creates_only: bool,
}

struct ConfigStore {
    line: usize,
    parameter_path: Option<String>,
    store: Option<String>,
}

impl Reader<'_> {
    /// Returns None after a fault.
    pub(super) fn config(&mut self, object: &Node) -> Option<SecretManagerConfig> {
        let metadata = object.get("metadata");
        let text = |name| {
            metadata
                .and_then(|metadata| metadata.get(name))
                .and_then(Node::text)
        };
        let name = text("name").unwrap_or_default();
        if name.is_empty() {
            self.fault(object.line, "metadata.name", "is missing");
        }
        let Some(fields) = object.get("spec") else {
            self.fault(object.line, "spec", "is missing");
            return None;
        };
        let mut spec = Spec::default();
        for member in self.members(fields, "spec") {
            self.field(member, &mut spec);
        }
        let line = fields.line;
        let source = self.present(spec.source.take(), line, "spec.sourceRef");
        let provider = self.present(spec.provider.take(), line, "spec.provider");
        let environment = self.required(spec.environment.take(), line, "spec.secrets.environment");
        let ((provider, auth), environment) = (provider?, environment?);
        let configs = self.configs(
            spec.configs.as_ref(),
            &provider,
            spec.kustomize_path.is_some(),
        );
        let read = self.read(&spec, line);
        Some(SecretManagerConfig {
            name: name.to_owned(),
            namespace: text("namespace").unwrap_or_default().to_owned(),
            source: source?,
            provider,
            auth,
            environment,
            read: read?,
            prefix: spec.prefix.filter(|prefix| !prefix.is_empty()),
            suffix: spec.suffix.unwrap_or_default(),
            configs: configs?,
            suspend: spec.suspend,
            creates_only: spec.creates_only,
        })
    }

    fn field(&mut self, member: &Member, spec: &mut Spec) {
        let value = &member.value;
        if value.is_null() {
            return;
        }
        match member.key.as_str() {
            "sourceRef" => spec.source = self.source(value, "spec.sourceRef"),
            "gitRepository" => spec.source = self.source(value, "spec.gitRepository"),
            "provider" => spec.provider = self.provider(value),
            "gcpProjectId" => {
                let project = self.string(value, "spec.gcpProjectId");
                spec.provider = project.map(|project| (Provider::Gcp { project }, Auth::Default));
            }
            "secrets" => {
                for member in self.members(value, "spec.secrets") {
                    let path = format!("spec.secrets.{}", member.key);
                    if !self.secret_field(member, &member.key, &path, spec) {
                        self.unknown(member, &path);
                    }
                }
            }
            "secretPrefix" => spec.prefix = self.string(value, "spec.secretPrefix"),
            "secretSuffix" => spec.suffix = self.string(value, "spec.secretSuffix"),
            "configs" => spec.configs = self.config_store(value),
            "suspend" => spec.suspend = self.boolean(value, "spec.suspend") == Some(true),
            "triggerUpdate" => {
                spec.creates_only = self.boolean(value, "spec.triggerUpdate") == Some(false);
            }
            key => {
                let path = format!("spec.{key}");
                let is_flat = matches!(key, "environment" | "kustomizePath" | "basePath");
                if is_flat && self.secret_field(member, key, &path, spec) {
                    return;
                }
                match WITHOUT_EFFECT.iter().find(|(name, _)| *name == key) {
                    Some((_, instead)) => self.warn(
                        member.line,
                        &path,
                        &format!("has no effect here: {instead}"),
                    ),
                    None => self.unknown(member, &path),
                }
            }
        }
    }

    /// Reads a field of `secrets`, which the flat shape has in `spec`. Returns false if there is no such field.
    fn secret_field(&mut self, member: &Member, key: &str, path: &str, spec: &mut Spec) -> bool {
        let slot = match key {
            "environment" => &mut spec.environment,
            "kustomizePath" => &mut spec.kustomize_path,
            "basePath" => &mut spec.base_path,
            "prefix" => &mut spec.prefix,
            "suffix" => &mut spec.suffix,
            _ => return false,
        };
        if !member.value.is_null() {
            *slot = self.string(&member.value, path);
        }
        true
    }

    fn source(&mut self, node: &Node, path: &str) -> Option<GitSource> {
        let (mut name, mut namespace, mut credentials) = (None, None, None);
        let mut kind = Some(SourceKind::GitRepository);
        for member in self.members(node, path) {
            let inner = format!("{path}.{}", member.key);
            match member.key.as_str() {
                _ if member.value.is_null() => {}
                "kind" => {
                    kind = match member.value.text() {
                        Some("GitRepository") => Some(SourceKind::GitRepository),
                        Some("Application") => Some(SourceKind::Application),
                        _ => {
                            self.fault(member.line, &inner, "must be GitRepository or Application");
                            None
                        }
                    }
                }
                "name" => name = self.string(&member.value, &inner),
                "namespace" => namespace = self.string(&member.value, &inner),
                "gitCredentials" => credentials = self.secret_ref(&member.value, &inner),
                _ => self.unknown(member, &inner),
            }
        }
        let name = self.required(name, node.line, &format!("{path}.name"));
        let namespace = self.required(namespace, node.line, &format!("{path}.namespace"))?;
        // Like the controller: the credentials are beside the source if they have no namespace.
        let credentials = credentials.map(|(name, own)| SecretRef {
            name,
            namespace: own.unwrap_or_else(|| namespace.clone()),
        });
        Some(GitSource {
            kind: kind?,
            name: name?,
            namespace,
            credentials,
        })
    }

    fn secret_ref(&mut self, node: &Node, path: &str) -> Option<(String, Option<String>)> {
        let (mut name, mut namespace) = (None, None);
        for member in self.members(node, path) {
            let inner = format!("{path}.{}", member.key);
            match member.key.as_str() {
                _ if member.value.is_null() => {}
                "name" => name = self.string(&member.value, &inner),
                "namespace" => namespace = self.string(&member.value, &inner),
                _ => self.unknown(member, &inner),
            }
        }
        let name = self.required(name, node.line, &format!("{path}.name"))?;
        Some((name, namespace))
    }

    fn provider(&mut self, node: &Node) -> Option<(Provider, Auth)> {
        let mut found = Vec::new();
        let mut named = None;
        for member in self.members(node, "spec.provider") {
            match member.key.as_str() {
                _ if member.value.is_null() => {}
                "type" => named = member.value.text(),
                kind @ ("gcp" | "aws" | "azure") => found.push((kind, &member.value)),
                key => self.unknown(member, &format!("spec.provider.{key}")),
            }
        }
        let [(kind, settings)] = found.as_slice() else {
            self.fault(
                node.line,
                "spec.provider",
                "must have exactly one of gcp, aws and azure",
            );
            return None;
        };
        if named.is_some_and(|named| named != *kind) {
            let message = format!(
                "differs from the settings, which are for {kind}; the controller ignores it, too"
            );
            self.warn(node.line, "spec.provider.type", &message);
        }
        self.settings(kind, settings)
    }

    fn settings(&mut self, kind: &str, node: &Node) -> Option<(Provider, Auth)> {
        let path = format!("spec.provider.{kind}");
        let place = match kind {
            "gcp" => "projectId",
            "aws" => "region",
            _ => "vaultName",
        };
        let (mut name, mut auth) = (None, Some(Auth::Default));
        for member in self.members(node, &path) {
            let inner = format!("{path}.{}", member.key);
            match member.key.as_str() {
                _ if member.value.is_null() => {}
                "auth" => auth = auth::read(self, &member.value, &inner, kind),
                key if key == place => name = self.string(&member.value, &inner),
                _ => self.unknown(member, &inner),
            }
        }
        let name = self.required(name, node.line, &format!("{path}.{place}"))?;
        let provider = match kind {
            "gcp" => Provider::Gcp { project: name },
            "aws" => Provider::Aws { region: name },
            _ => Provider::Azure { vault: name },
        };
        Some((provider, auth?))
    }

    /// Returns None if properties stay in one secret.
    fn config_store(&mut self, node: &Node) -> Option<ConfigStore> {
        let (mut is_enabled, mut parameter_path, mut store) = (false, None, None);
        for member in self.members(node, "spec.configs") {
            let inner = format!("spec.configs.{}", member.key);
            match member.key.as_str() {
                _ if member.value.is_null() => {}
                "enabled" => is_enabled = self.boolean(&member.value, &inner) == Some(true),
                "parameterPath" => parameter_path = self.string(&member.value, &inner),
                "store" => store = self.string(&member.value, &inner),
                "appConfigEndpoint" => {}
                _ => self.unknown(member, &inner),
            }
        }
        is_enabled.then_some(ConfigStore {
            line: node.line,
            parameter_path,
            store,
        })
    }

    fn configs(
        &mut self,
        store: Option<&ConfigStore>,
        provider: &Provider,
        is_kustomize: bool,
    ) -> Option<Configs> {
        let Some(store) = store else {
            return Some(Configs::Json);
        };
        if is_kustomize {
            let message = "has no effect with `kustomizePath`: the controller reads no properties of a kustomization";
            self.warn(store.line, "spec.configs", message);
            return Some(Configs::Json);
        }
        let unsupported = match (provider, store.store.as_deref()) {
            (Provider::Aws { .. }, _) => {
                let path = store
                    .parameter_path
                    .as_ref()
                    .map(|path| format!("/{}", path.trim_start_matches('/')));
                return Some(Configs::Parameters { path });
            }
            (Provider::Gcp { .. }, None | Some("SecretManager" | "secretManager")) => {
                return Some(Configs::Secrets);
            }
            (Provider::Gcp { .. }, Some(_)) => "GCP Parameter Manager",
            (Provider::Azure { .. }, _) => "Azure App Configuration",
        };
        let message = format!(
            "{unsupported} is not supported; remove `configs`, and publish properties as secrets"
        );
        let fault = self.text.fault(Reason::ConfigStoreUnsupported, message);
        self.faults.push(fault.at(store.line).of("spec.configs"));
        None
    }

    fn read(&mut self, spec: &Spec, line: usize) -> Option<Read> {
        let path = spec.kustomize_path.as_ref().or(spec.base_path.as_ref());
        let path = match resolve("", path.map_or("", String::as_str)) {
            Ok(path) => path,
            Err(fault) => {
                let field = if spec.kustomize_path.is_some() {
                    "spec.secrets.kustomizePath"
                } else {
                    "spec.secrets.basePath"
                };
                self.faults.push(Fault {
                    file: self.text.file.clone(),
                    ..fault.at(line).of(field)
                });
                return None;
            }
        };
        if spec.kustomize_path.is_none() {
            return Some(Read::Profile { base_path: path });
        }
        if spec.base_path.is_some() {
            self.warn(
                line,
                "spec.secrets.basePath",
                "has no effect beside `kustomizePath`",
            );
        }
        if spec.prefix.as_deref().unwrap_or_default().is_empty() {
            let message =
                "is missing, so the names start with the word `default`, as with the controller";
            self.warn(line, "spec.secrets.prefix", message);
        }
        Some(Read::Kustomize { path })
    }
}
