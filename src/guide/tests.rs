use std::{fs, path::Path};

use clap::ValueEnum as _;
use eso_model::{ProviderKind, StoreKey};
use serde_json::{Value as Json, json};

use super::*;
use crate::rbac::ServiceAccountName;

fn job() -> JobIdentity {
    JobIdentity {
        namespace: "eso-sync".to_owned(),
        service_account: "eso-sync".to_owned(),
    }
}

fn store(name: &str, provider: &str, settings: Json, keys: &[&str]) -> KnownStore {
    KnownStore {
        key: StoreKey::Cluster {
            name: name.to_owned(),
        },
        provider: ProviderKind::of(provider, &settings),
        settings,
        access: Access::Ambient {
            endpoints: BTreeSet::new(),
        },
        used_by: keys.len(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        searches: BTreeSet::new(),
        reads_metadata: false,
        is_incomplete: false,
        accounts: Vec::new(),
        credentials_in: BTreeSet::new(),
    }
}

fn filled(subject: Subject, stores: Vec<KnownStore>) -> String {
    let known = Known {
        place: "the context prod (https://k8s.corp)".to_owned(),
        context: None,
        stores,
        gaps: Vec::new(),
    };
    guide(subject, &job(), Source::Cluster(&known))
}

/// The code blocks of this language. A fence is alone on its line.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}");
    let mut lines = text.lines().map(str::trim);
    let mut blocks = Vec::new();
    while lines.any(|line| line == start) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

/// The policy between the `END` lines.
fn here_document(text: &str) -> &str {
    let (_, rest) = text.split_once("<<'END'\n").unwrap();
    rest.split_once("\nEND\n").unwrap().0
}

#[test]
fn page_of_the_documentation_is_what_the_command_prints() {
    for subject in Subject::value_variants() {
        let word = subject.word();
        let name = format!("docs/guide-{word}.md");
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        let page = fs::read_to_string(page).unwrap_or_default();
        assert!(
            page == guide(*subject, &job(), Source::Page),
            "{name} is old: eso-sync guide {word} --offline > {name}"
        );
    }
}

#[test]
fn every_slot_of_a_template_has_a_text() {
    for subject in Subject::value_variants() {
        let template = subject.template();
        let slots = template.split("{{").skip(1);
        let slots: Vec<&str> = slots
            .filter_map(|rest| Some(rest.split_once("}}")?.0))
            .collect();
        assert!(slots.len() > 5, "{subject:?}");
        let marked = slots.iter().fold(template.to_owned(), |text, slot| {
            text.replace(&format!("{{{{{slot}}}}}"), "")
        });
        assert!(!marked.contains("{{"), "{subject:?}");
        let text = guide(*subject, &job(), Source::Page);
        assert!(!text.contains("{{") && !text.contains("\n\n\n"), "{text}");
        for block in blocks(&text, "sh") {
            assert!(!block.trim().is_empty(), "{text}");
        }
    }
}

#[test]
fn placeholders_are_named_at_the_top() {
    for subject in Subject::value_variants() {
        let text = guide(
            *subject,
            &job(),
            Source::Unknown("it did not answer within 3 s"),
        );
        let head = text.lines().skip(2).take(2).collect::<Vec<_>>().join("\n");
        assert!(head.contains("`it did not answer within 3 s`"), "{head}");
        assert!(head.contains("Replace: `<"), "{head}");
    }
}

#[test]
fn aws_policy_names_the_secrets_that_are_read() {
    let sm = json!({"service": "SecretsManager", "region": "eu-west-1"});
    let ps = json!({"service": "ParameterStore", "region": "cn-north-1"});
    let role = json!({"service": "SecretsManager", "region": "eu-west-1", "role": "arn:aws:iam::111111111111:role/reader"});
    let text = filled(
        Subject::Aws,
        vec![
            store(
                "sm",
                "aws",
                sm,
                &[
                    "prod/db",
                    "arn:aws:secretsmanager:eu-west-1:111111111111:secret:x",
                ],
            ),
            store("ps", "aws", ps, &["/prod/db:3", "plain"]),
            store("role", "aws", role, &["other"]),
        ],
    );
    let policy: Json = serde_json::from_str(here_document(&text)).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let lines: Vec<String> = statements
        .map(|it| format!("{} {} {}", it["Sid"], it["Action"], it["Resource"]))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r##"
    "ReadSecrets" ["secretsmanager:GetSecretValue"] ["arn:aws:secretsmanager:eu-west-1:*:secret:prod/db-??????","arn:aws:secretsmanager:eu-west-1:111111111111:secret:x","arn:aws:secretsmanager:eu-west-1:111111111111:secret:x-??????"]
    "ReadSecretsInBatches" ["secretsmanager:BatchGetSecretValue"] "*"
    "OnlyForParameterStore" ["ssm:GetParameter","ssm:GetParameters"] ["arn:aws-cn:ssm:cn-north-1:*:parameter/plain","arn:aws-cn:ssm:cn-north-1:*:parameter/prod/db"]
    "AssumeTheRolesOfStores" ["sts:AssumeRole"] ["arn:aws:iam::111111111111:role/reader"]
    "##);
    assert!(
        text.contains("secret:x-abcdef") || text.contains("secret:prod/db-abcdef"),
        "{text}"
    );
}

#[test]
fn aws_policy_allows_a_search_and_metadata_only_if_they_are_used() {
    let settings = json!({"service": "SecretsManager", "region": "eu-west-1"});
    let mut searched = store("sm", "aws", settings.clone(), &[]);
    searched.searches = BTreeSet::from(["team/".to_owned()]);
    searched.reads_metadata = true;
    let text = filled(Subject::Aws, vec![searched]);
    let policy = here_document(&text);
    assert!(
        policy.contains("ListSecrets") && policy.contains("DescribeSecret"),
        "{policy}"
    );
    assert!(
        policy.contains("secret:team/*") && !policy.contains("ssm:"),
        "{policy}"
    );
    let text = filled(Subject::Aws, vec![store("sm", "aws", settings, &["a"])]);
    assert!(!here_document(&text).contains("ListSecrets"), "{text}");
}

#[test]
fn too_many_secrets_are_named_by_their_folders() {
    let settings = json!({"service": "SecretsManager", "region": "eu-west-1"});
    let keys: Vec<String> = (0..100).map(|n| format!("team-{}/{n}", n % 2)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let text = filled(Subject::Aws, vec![store("sm", "aws", settings, &keys)]);
    let policy = here_document(&text);
    assert!(
        policy.contains(":secret:team-0*") && policy.contains(":secret:team-1*"),
        "{policy}"
    );
    assert_eq!(policy.matches("arn:").count(), 2, "{policy}");
}

#[test]
fn names_of_the_cloud_come_from_the_context() {
    let known = |context: &str| Known {
        context: Some(context.to_owned()),
        ..Known::default()
    };
    let eks = known("arn:aws-cn:eks:cn-north-1:111111111111:cluster/prod");
    let text = guide(Subject::Aws, &job(), Source::Cluster(&eks));
    for line in [
        "CLUSTER=prod\n",
        "PARTITION=aws-cn\n",
        "AWS_REGION=cn-north-1\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let gke = known("gke_shop-prod_europe-west1_main");
    let text = guide(Subject::Gcp, &job(), Source::Cluster(&gke));
    assert!(text.contains("CLUSTER_PROJECT=shop-prod\n"), "{text}");
}

#[test]
fn azure_roles_are_for_single_secrets_unless_they_are_searched() {
    let at = |url: &str| json!({"vaultUrl": url});
    let mut searched = store("b", "azurekv", at("https://other.vault.azure.net/"), &["x"]);
    searched.searches = BTreeSet::from([String::new()]);
    let keys = ["db", "secret/api", "key/sign", "cert/tls"];
    let text = filled(
        Subject::Azure,
        vec![
            store("a", "azurekv", at("https://shop.vault.azure.net"), &keys),
            searched,
        ],
    );
    let shell = blocks(&text, "sh").join("\n");
    insta::assert_snapshot!(
        shell.lines().filter(|line| line.contains("keyvault") || line.contains("scope") || line.starts_with("for")).collect::<Vec<_>>().join("\n"),
        @r##"
    VAULT_ID=$(az keyvault show --name other --query id --output tsv)
    --assignee-principal-type ServicePrincipal --scope "$VAULT_ID"
    VAULT_ID=$(az keyvault show --name shop --query id --output tsv)
    for SECRET in api db; do
    --assignee-principal-type ServicePrincipal --scope "$VAULT_ID/secrets/$SECRET"
    az keyvault set-policy --name other --object-id "$PRINCIPAL_ID" --secret-permissions get list
    az keyvault set-policy --name shop --object-id "$PRINCIPAL_ID" --secret-permissions get
    az role assignment list --assignee "$PRINCIPAL_ID" --all --query '[].[roleDefinitionName, scope]' --output tsv
    "##
    );
}

#[test]
fn gcp_bindings_are_for_single_secrets_of_their_project_and_location() {
    let settings = json!({"projectID": "shop", "location": "europe-west1"});
    let text = filled(
        Subject::Gcp,
        vec![store("a", "gcpsm", settings, &["db", "api"])],
    );
    let shell = blocks(&text, "sh").join("\n");
    assert!(shell.contains("for SECRET in api db; do\n"), "{shell}");
    assert!(
        shell.contains("\"$SECRET\" --project shop --location europe-west1 "),
        "{shell}"
    );
    assert!(!shell.contains("secretmanager.viewer"), "{shell}");
}

#[test]
fn vault_policy_has_the_paths_that_the_operator_reads() {
    let v2 = json!({"server": "https://vault.corp:8200", "path": "kv", "version": "v2"});
    let v1 = json!({"server": "https://vault.corp:8200", "path": "old", "version": "v1"});
    let mut searched = store("find", "vault", v2.clone(), &[]);
    searched.searches = BTreeSet::from(["team".to_owned()]);
    let text = filled(
        Subject::Vault,
        vec![
            store(
                "v2",
                "vault",
                v2,
                &[
                    "shop/db",
                    "kv/data/api",
                    "a/+/b",
                    "{{identity.entity.name}}",
                    "x*",
                ],
            ),
            store("v1", "vault", v1, &["db"]),
            searched,
        ],
    );
    insta::assert_snapshot!(here_document(&text), @r##"
    # ClusterSecretStore/v2
    path "kv/data/api" { capabilities = ["read"] }
    path "kv/data/shop/db" { capabilities = ["read"] }

    # ClusterSecretStore/find
    path "kv/data/team*" { capabilities = ["read"] }
    path "kv/metadata/team*" { capabilities = ["list", "read"] }

    # ClusterSecretStore/v1
    path "old/db" { capabilities = ["read"] }

    # Missing: 3 keys or searches that a policy cannot name exactly.
    "##);
    assert!(
        text.contains("endpoints: [\"https://vault.corp:8200\"]"),
        "{text}"
    );
    assert!(
        text.contains("--allow-endpoint=https://vault.corp:8200"),
        "{text}"
    );
}

#[test]
fn kubernetes_role_names_the_secrets_and_the_account() {
    let mut one = store(
        "k",
        "kubernetes",
        json!({"remoteNamespace": "shared"}),
        &["db"],
    );
    one.access = Access::Own;
    one.accounts = vec!["auth/reader".parse().unwrap()];
    let text = filled(Subject::Kubernetes, vec![one]);
    let blocks = blocks(&text, "yaml");
    let [roles] = &*blocks else { panic!("{text}") };
    insta::assert_snapshot!(roles, @r##"
    # ClusterSecretStore/k
    apiVersion: rbac.authorization.k8s.io/v1
    kind: Role
    metadata: {name: "eso-sync-read-k", namespace: "shared"}
    rules:
    - {apiGroups: [""], resources: [secrets], resourceNames: ["db"], verbs: [get]}
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: RoleBinding
    metadata: {name: "eso-sync-read-k", namespace: "shared"}
    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: "eso-sync-read-k"}
    subjects:
    - {kind: ServiceAccount, name: "reader", namespace: "auth"}
    "##);
    let check = "kubectl auth can-i get secrets/db --namespace shared --as system:serviceaccount:auth:reader\n";
    assert!(text.contains(check), "{text}");
    assert!(text.contains(" --token-for auth/reader"), "{text}");
}

/// What a name must not become: commands, the end of a block, markup, control characters, slots, commands of a CI system.
const HOSTILE: &str = "x'\"; touch /tmp/owned; `id` $(id)\n```\n# Heading <script>\u{1b}[2J\u{202e} {{set}} ##[error]";

/// Whatever a name holds, it stays a name: in the shell, in JSON and in Markdown.
#[test]
fn hostile_names_stay_names() {
    let x = HOSTILE;
    for (subject, provider, settings) in [
        (
            Subject::Aws,
            "aws",
            json!({"service": "SecretsManager", "region": x, "prefix": x}),
        ),
        (
            Subject::Aws,
            "aws",
            json!({"service": "SecretsManager", "role": x}),
        ),
        (Subject::Azure, "azurekv", json!({"vaultUrl": x})),
        (
            Subject::Gcp,
            "gcpsm",
            json!({"projectID": x, "location": x}),
        ),
        (
            Subject::Vault,
            "vault",
            json!({"server": x, "path": x, "namespace": x}),
        ),
        (
            Subject::Kubernetes,
            "kubernetes",
            json!({"remoteNamespace": x}),
        ),
    ] {
        let mut one = store(x, provider, settings, &[x]);
        one.searches = BTreeSet::from([x.to_owned()]);
        one.accounts = vec![ServiceAccountName {
            namespace: x.to_owned(),
            name: x.to_owned(),
        }];
        let known = Known {
            place: x.to_owned(),
            context: Some(format!("gke_{x}_b_c")),
            stores: vec![one],
            gaps: vec![x.to_owned()],
        };
        let text = guide(subject, &job(), Source::Cluster(&known));
        assert_harmless(&text, &guide(subject, &job(), Source::Page));
    }
}

/// Fails if a filled text has other lines of its own than the page.
fn assert_harmless(text: &str, page: &str) {
    let heading = text.lines().any(|line| line.starts_with("# Heading"));
    assert!(!heading, "{text}");
    let changes = |c: char| c != '\n' && cluster::escape::changes_the_screen(c);
    assert!(!text.contains(changes), "{text}");
    assert!(!text.contains("##["), "{text}");
    let fences = |text: &str| {
        let lines = text.lines().map(str::trim_start);
        lines.filter(|line| line.starts_with("```")).count()
    };
    assert_eq!(fences(text), fences(page), "{text}");
    for block in blocks(text, "sh") {
        only_parses(&block);
    }
}

/// The shell parses it, and a hostile part is no command of its own.
fn only_parses(block: &str) {
    let checked = std::process::Command::new("bash")
        .args(["-n", "-c", block])
        .output();
    // Not every machine has bash.
    if let Ok(checked) = checked {
        let error = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{error}\n{block}");
    }
    for line in block.lines() {
        assert!(!line.trim_start().starts_with("touch"), "{block}");
    }
}
