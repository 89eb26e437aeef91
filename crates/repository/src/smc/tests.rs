use proptest::prelude::*;

use super::*;

const NESTED: &str = "apiVersion: secret-management.microscaler.io/v1beta1
kind: SecretManagerConfig
metadata: {name: shop, namespace: apps}
spec:
  sourceRef: {kind: GitRepository, name: shop, namespace: flux-system}
  provider:
    type: aws
    aws: {region: eu-west-1}
  secrets:
    environment: dev
    basePath: services
";

const FLAT: &str = "apiVersion: secret-management.microscaler.io/v1
kind: SecretManagerConfig
metadata: {name: shop, namespace: apps}
spec:
  sourceRef: {name: shop, namespace: flux-system}
  gcpProjectId: shop-dev
  environment: dev
  secretPrefix: shop
  secretSuffix: -eu
";

fn manifests(text: &str) -> Manifests {
    parse("smc.yaml", Value::from(text))
}

#[track_caller]
fn one(text: &str) -> SecretManagerConfig {
    let manifests = manifests(text);
    assert_eq!(manifests.faults, []);
    let [config] = <[_; 1]>::try_from(manifests.configs).expect("one manifest");
    config
}

/// Returns each fault and warning as `REASON FIELD:LINE`.
fn found(text: &str) -> Vec<String> {
    let manifests = manifests(text);
    let shown = |fault: &Fault| {
        let key = fault.key.as_deref().unwrap_or_default();
        format!(
            "{} {key}:{}",
            fault.reason.word(),
            fault.line.unwrap_or_default()
        )
    };
    manifests
        .faults
        .iter()
        .chain(&manifests.warnings)
        .map(shown)
        .collect()
}

#[test]
fn nested_shape_is_read() {
    let expected = SecretManagerConfig {
        name: "shop".to_owned(),
        namespace: "apps".to_owned(),
        source: GitSource {
            kind: SourceKind::GitRepository,
            name: "shop".to_owned(),
            namespace: "flux-system".to_owned(),
            credentials: None,
        },
        provider: Provider::Aws {
            region: "eu-west-1".to_owned(),
        },
        auth: Auth::Default,
        environment: "dev".to_owned(),
        read: Read::Profile {
            base_path: "services".to_owned(),
        },
        prefix: None,
        suffix: String::new(),
        configs: Configs::Json,
        suspend: false,
        creates_only: false,
    };
    assert_eq!(one(NESTED), expected);
    assert_eq!(found(NESTED), [""; 0]);
}

#[test]
fn flat_shape_is_read() {
    let config = one(FLAT);
    let project = "shop-dev".to_owned();
    assert_eq!(config.provider, Provider::Gcp { project });
    assert_eq!(config.source.kind, SourceKind::GitRepository);
    assert_eq!(
        (config.prefix.as_deref(), config.suffix.as_str()),
        (Some("shop"), "-eu")
    );
    assert_eq!(
        config.read,
        Read::Profile {
            base_path: String::new()
        }
    );
    let old = FLAT
        .replace("sourceRef:", "gitRepository:")
        .replace("secretPrefix: shop", "basePath: .");
    assert_eq!(one(&old).source, config.source);
    assert_eq!(one(&old).prefix, None);
}

#[test]
fn argo_application_and_its_credentials_are_read() {
    let with = |credentials: &str| {
        let source = format!(
            "sourceRef: {{kind: Application, name: a, namespace: argocd, gitCredentials: {credentials}}}"
        );
        let text = FLAT.replace("sourceRef: {name: shop, namespace: flux-system}", &source);
        let source = one(&text).source;
        assert_eq!(source.kind, SourceKind::Application);
        source
            .credentials
            .map(|secret| format!("{}/{}", secret.namespace, secret.name))
    };
    assert_eq!(with("{name: git}").as_deref(), Some("argocd/git"));
    assert_eq!(
        with("{name: git, namespace: apps}").as_deref(),
        Some("apps/git")
    );
    assert_eq!(with("null"), None);
}

#[test]
fn kustomize_wins_over_the_base_path() {
    let text = NESTED.replace(
        "environment: dev",
        "environment: dev\n    kustomizePath: ./a/profiles/dev\n    prefix: p",
    );
    let path = "a/profiles/dev".to_owned();
    assert_eq!(one(&text).read, Read::Kustomize { path });
    assert_eq!(found(&text), ["without-effect spec.secrets.basePath:5"]);
    assert_eq!(
        found(
            &text
                .replace("    prefix: p\n", "")
                .replace("    basePath: services\n", "")
        ),
        ["without-effect spec.secrets.prefix:5"]
    );
}

/// Returns `auth` of a manifest with these settings of the provider.
fn auth(provider: &str) -> Auth {
    let text = NESTED.replace("aws: {region: eu-west-1}", provider);
    one(&text.replace("    type: aws\n", "")).auth
}

#[test]
fn auth_is_read_in_the_spelling_of_the_code_and_of_the_documentation() {
    for spelling in ["Irsa", "irsa", "IRSA"] {
        let found = auth(&format!(
            "aws: {{region: r, auth: {{authType: {spelling}, roleArn: arn}}}}"
        ));
        assert_eq!(
            found,
            Auth::Role {
                arn: "arn".to_owned()
            }
        );
    }
    let identity = || Auth::WorkloadIdentity {
        identity: "who".to_owned(),
    };
    for spelling in ["WorkloadIdentity", "workloadIdentity"] {
        let gcp = format!(
            "gcp: {{projectId: p, auth: {{authType: {spelling}, serviceAccountEmail: who}}}}"
        );
        assert_eq!(auth(&gcp), identity());
        let azure =
            format!("azure: {{vaultName: v, auth: {{authType: {spelling}, clientId: who}}}}");
        assert_eq!(auth(&azure), identity());
    }
}

#[test]
fn credentials_in_secrets_are_read() {
    let key = || Some("k".to_owned());
    for (provider, auth_type, keys, format) in [
        (
            "gcp: {projectId: p",
            "JsonCredentials",
            ", secretKey: k",
            CredentialsFormat::Json { key: key() },
        ),
        (
            "gcp: {projectId: p",
            "jsonCredentials",
            "",
            CredentialsFormat::Json { key: None },
        ),
        (
            "aws: {region: r",
            "AccessKeys",
            ", accessKeyIdKey: k, secretAccessKeyKey: k",
            CredentialsFormat::AccessKey {
                id_key: key(),
                secret_key: key(),
            },
        ),
        (
            "azure: {vaultName: v",
            "ServicePrincipal",
            ", secretKey: k",
            CredentialsFormat::ServicePrincipal { key: key() },
        ),
    ] {
        let found = auth(&format!(
            "{provider}, auth: {{authType: {auth_type}, secretName: s, secretNamespace: n{keys}}}}}"
        ));
        let secret = SecretRef {
            name: "s".to_owned(),
            namespace: "n".to_owned(),
        };
        assert_eq!(found, Auth::Credentials { secret, format });
    }
}

#[test]
fn auth_of_another_provider_is_refused() {
    for (auth, expected) in [
        (
            "{authType: WorkloadIdentity}",
            "invalid-field spec.provider.aws.auth.authType:8",
        ),
        (
            "{authType: IAMRole}",
            "invalid-field spec.provider.aws.auth.authType:8",
        ),
        (
            "{roleArn: x}",
            "invalid-field spec.provider.aws.auth.authType:8",
        ),
        (
            "{authType: Irsa}",
            "invalid-field spec.provider.aws.auth.roleArn:8",
        ),
        (
            "{authType: AccessKeys}",
            "invalid-field spec.provider.aws.auth.secretName:8",
        ),
        (
            "{authType: Irsa, roleArn: x, clientId: y}",
            "unknown-field spec.provider.aws.auth.clientId:8",
        ),
    ] {
        assert_eq!(
            found(&NESTED.replace("eu-west-1", &format!("r, auth: {auth}"))),
            [expected],
            "{auth}"
        );
    }
}

#[test]
fn config_stores_are_mapped_or_refused() {
    let with = |text: &str, configs: &str| manifests(&format!("{text}  configs: {configs}\n"));
    let configs = |text: &str, configs: &str| {
        with(text, configs)
            .configs
            .pop()
            .map(|config| config.configs)
    };
    let path = |path: &str| {
        Some(Configs::Parameters {
            path: Some(path.to_owned()),
        })
    };
    assert_eq!(
        configs(NESTED, "{enabled: true}"),
        Some(Configs::Parameters { path: None })
    );
    assert_eq!(
        configs(NESTED, "{enabled: true, parameterPath: /a/b}"),
        path("/a/b")
    );
    assert_eq!(
        configs(NESTED, "{enabled: true, parameterPath: a/b}"),
        path("/a/b")
    );
    assert_eq!(
        configs(NESTED, "{enabled: false, parameterPath: /a}"),
        Some(Configs::Json)
    );
    assert_eq!(configs(NESTED, "{parameterPath: /a}"), Some(Configs::Json));
    assert_eq!(configs(FLAT, "{enabled: true}"), Some(Configs::Secrets));
    assert_eq!(
        configs(FLAT, "{enabled: true, store: SecretManager}"),
        Some(Configs::Secrets)
    );
    let azure = NESTED.replace("aws: {region: eu-west-1}", "azure: {vaultName: v}");
    for (text, configs) in [
        (FLAT, "{enabled: true, store: ParameterManager}"),
        (&azure, "{enabled: true, appConfigEndpoint: x}"),
    ] {
        let faults = with(text, configs).faults;
        assert!(
            faults
                .iter()
                .any(|fault| fault.reason == Reason::ConfigStoreUnsupported),
            "{configs}"
        );
    }
}

#[test]
fn suspend_and_create_only_are_read() {
    let config = one(&format!("{FLAT}  suspend: true\n  triggerUpdate: false\n"));
    assert!(config.suspend && config.creates_only);
    let config = one(&format!("{FLAT}  suspend: false\n  triggerUpdate: true\n"));
    assert!(!config.suspend && !config.creates_only);
    assert_eq!(
        found(&format!("{FLAT}  suspend: 'yes'\n")),
        ["invalid-field spec.suspend:10"]
    );
}

#[test]
fn fields_of_the_controllers_operation_are_warned_about_by_name() {
    let fields = "  otel: {type: datadog, apiKey: hunter2}
  notifications: {}
  reconcileInterval: 1m
  gitRepositoryPullInterval: 5m
  diffDiscovery: true
  suspendGitPulls: true
  logging: {secrets: INFO}
  hotReload: {enabled: true}
";
    let text = format!("{FLAT}{fields}");
    let expected: Vec<String> = [
        "otel",
        "notifications",
        "reconcileInterval",
        "gitRepositoryPullInterval",
        "diffDiscovery",
        "suspendGitPulls",
        "logging",
        "hotReload",
    ]
    .iter()
    .enumerate()
    .map(|(index, name)| format!("without-effect spec.{name}:{}", 10 + index))
    .collect();
    assert_eq!(found(&text), expected);
    assert!(
        manifests(&text)
            .warnings
            .iter()
            .all(|warning| !warning.to_string().contains("hunter2"))
    );
}

#[test]
fn unknown_fields_are_refused_by_name() {
    for (from, to, expected) in [
        (
            "  suspendx",
            "  suspendx",
            "unknown-field spec.awsRegion:13",
        ),
        (
            "    environment: dev",
            "    environment: dev\n    enviroment: dev",
            "unknown-field spec.secrets.enviroment:11",
        ),
        (
            "name: shop, namespace: flux-system",
            "name: s, namespace: n, branch: x",
            "unknown-field spec.sourceRef.branch:5",
        ),
        (
            "region: eu-west-1",
            "region: r, account: x",
            "unknown-field spec.provider.aws.account:8",
        ),
        (
            "    type: aws",
            "    type: aws\n    vault: {}",
            "unknown-field spec.provider.vault:8",
        ),
    ] {
        let text = if from == to {
            format!("{NESTED}\n  awsRegion: x\n")
        } else {
            NESTED.replace(from, to)
        };
        assert_eq!(found(&text), [expected]);
        assert!(manifests(&text).configs.is_empty());
    }
}

#[test]
fn missing_and_wrong_fields_are_reported_together() {
    let head = "apiVersion: secret-management.microscaler.io/v1\nkind: SecretManagerConfig\n";
    assert_eq!(
        found(&format!("{head}spec: {{}}")),
        [
            "invalid-field metadata.name:1",
            "invalid-field spec.sourceRef:3",
            "invalid-field spec.provider:3",
            "invalid-field spec.secrets.environment:3",
        ]
    );
    assert_eq!(
        found(head),
        ["invalid-field metadata.name:1", "invalid-field spec:1"]
    );
    let text = NESTED
        .replace("name: shop, namespace: flux-system", "kind: Bucket")
        .replace("kind: GitRepository, ", "");
    assert_eq!(
        found(&text),
        [
            "invalid-field spec.sourceRef.kind:5",
            "invalid-field spec.sourceRef.name:5",
            "invalid-field spec.sourceRef.namespace:5"
        ]
    );
    let two = NESTED.replace("aws: {", "gcp: {projectId: x}\n    aws: {");
    assert_eq!(found(&two), ["invalid-field spec.provider:7"]);
    for path in ["/etc", "../x"] {
        let text = NESTED.replace("basePath: services", &format!("basePath: {path}"));
        assert_eq!(found(&text), ["outside-repository spec.secrets.basePath:5"]);
    }
}

#[test]
fn other_provider_type_is_warned_about() {
    assert_eq!(
        found(&NESTED.replace("type: aws", "type: gcp")),
        ["without-effect spec.provider.type:7"]
    );
}

#[test]
fn several_documents_and_lists_are_read() {
    let flat = FLAT.replace("name: shop, namespace: apps", "name: two");
    let names = |text: &str| {
        manifests(text)
            .configs
            .iter()
            .map(|config| config.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&format!("---\n{NESTED}---\n---\n{flat}")),
        ["shop", "two"]
    );
    let json = |text: &str| {
        let value: serde_json::Value = serde_saphyr::from_str(text).expect("YAML");
        value.to_string()
    };
    for (version, kind) in [
        ("v1", "List"),
        (
            "secret-management.microscaler.io/v1",
            "SecretManagerConfigList",
        ),
    ] {
        let list = format!(
            "{{\"apiVersion\": \"{version}\", \"kind\": \"{kind}\", \"metadata\": {{}}, \"items\": [{}, {}]}}",
            json(NESTED),
            json(&flat)
        );
        assert_eq!(names(&list), ["shop", "two"]);
    }
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\n";
    assert_eq!(names(&format!("{other}{NESTED}")), ["shop"]);
    assert_eq!(
        found(&format!("{other}{NESTED}")),
        ["without-effect kind:1"]
    );
    assert_eq!(
        found("apiVersion: v1\nkind: List\n"),
        ["invalid-field items:1"]
    );
    assert_eq!(found("a: b"), ["invalid-field :1"]);
    assert_eq!(found("a: ["), ["invalid-syntax :1"]);
    assert_eq!(found(""), [""; 0]);
}

#[test]
fn one_wrong_manifest_leaves_the_others() {
    let text = format!("{}---\n{FLAT}", NESTED.replace("environment: dev", "x: y"));
    let found = manifests(&text);
    assert_eq!((found.configs.len(), found.faults.is_empty()), (1, false));
}

proptest! {
    #[test]
    fn arbitrary_text_does_not_panic(text in ".{0,80}", line in 0..12_usize) {
        manifests(&text);
        let damaged = NESTED.lines().enumerate().map(|(index, own)| if index == line { text.as_str() } else { own });
        manifests(&damaged.collect::<Vec<_>>().join("\n"));
    }
}
