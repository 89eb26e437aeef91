use eso_model::QuotaKey;
use insta::assert_snapshot;
use providers::StoreSettings;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    consumers::Consumer,
    inventory::{Calls, Gap, StoreUse},
    workload::Kind,
};

fn cluster_store(name: &str) -> StoreKey {
    StoreKey::Cluster {
        name: name.to_owned(),
    }
}

fn source(key: &StoreKey, provider: &str, settings: Json) -> Source {
    let kind = ProviderKind::of(provider, &settings);
    Source {
        settings: StoreSettings::new(key.clone(), provider, settings),
        conditions: Vec::new(),
        quota: QuotaKey {
            provider: kind,
            account: String::new(),
        },
    }
}

#[derive(Default)]
struct World {
    inventory: Inventory,
    sources: BTreeMap<StoreKey, Result<Source, Unread>>,
    consumers: Consumers,
    scope: Vec<String>,
}

impl World {
    fn with(mut self, key: &StoreKey, provider: &str, settings: Json) -> Self {
        self.sources
            .insert(key.clone(), Ok(source(key, provider, settings)));
        self.using(key, "shop")
    }

    fn using(mut self, key: &StoreKey, namespace: &str) -> Self {
        let name = format!("es-{}", self.inventory.external_secrets.len());
        let stores = vec![StoreUse {
            key: key.clone(),
            calls: Calls::default(),
        }];
        let one = ExternalSecret::sample(namespace, &name, stores);
        self.inventory.external_secrets.push(one);
        self
    }

    fn draft(&self) -> Draft {
        draft(&Found {
            inventory: &self.inventory,
            sources: &self.sources,
            labels: None,
            consumers: &self.consumers,
            scope: &self.scope,
            place: "the context prod",
        })
    }
}

#[test]
fn each_store_gets_what_it_needs() {
    let [own, pod, other, odd] = ["own", "pod", "other", "odd"].map(cluster_store);
    let tenant = StoreKey::Namespaced {
        namespace: "shop".to_owned(),
        name: "vault".to_owned(),
    };
    let account = json!({"serviceAccountRef": {"name": "reader", "namespace": "auth"}});
    let mut world = World::default()
        .with(
            &own,
            "aws",
            json!({"service": "SecretsManager", "region": "eu-west-1", "auth": {"jwt": account}}),
        )
        .with(
            &pod,
            "vault",
            json!({"server": "https://vault.corp:8200/ui", "path": "kv"}),
        )
        .with(&other, "bitwarden", json!({}))
        .with(
            &tenant,
            "azurekv",
            json!({"vaultUrl": "https://v.vault.azure.net"}),
        )
        .using(&odd, "web");
    let missing = Unread::store(providers::unread::STORE, "it could not be read: forbidden");
    world.sources.insert(odd, Err(missing));
    let draft = world.draft();
    assert_snapshot!(draft.text);
    assert_eq!(
        draft.allow.iter().copied().collect::<Vec<_>>(),
        ["drift", "store-credentials", "sync"]
    );
    assert_eq!(endpoints(&draft), ["https://vault.corp:8200"]);
    assert_eq!(accounts(&draft), ["auth/reader"]);
}

fn endpoints(draft: &Draft) -> Vec<String> {
    draft.endpoints.iter().map(ToString::to_string).collect()
}

fn accounts(draft: &Draft) -> Vec<String> {
    let all = draft.references.accounts.iter();
    all.map(|it| format!("{}/{}", it.namespace, it.name))
        .collect()
}

#[test]
fn reference_without_a_namespace_means_that_of_each_external_secret() {
    let key = cluster_store("referent");
    let vault = json!({"server": "https://vault.corp", "path": "kv", "auth": {"kubernetes": {"mountPath": "k", "role": "r",
        "serviceAccountRef": {"name": "reader"}}}});
    let draft = World::default()
        .with(&key, "vault", vault)
        .using(&key, "web")
        .draft();
    assert_eq!(accounts(&draft), ["shop/reader", "web/reader"]);
    assert!(
        draft
            .text
            .contains("--token-for shop/reader --token-for web/reader` prints the rights"),
        "{}",
        draft.text
    );
}

#[test]
fn store_that_is_not_read_gets_no_rights() {
    let [secret, other] = ["secret", "other"].map(cluster_store);
    let reference = |namespace: &str| {
        json!({"service": "SecretsManager", "region": "eu-west-1", "auth": {"secretRef": {
            "accessKeyIDSecretRef": {"name": "keys", "key": "id", "namespace": namespace},
            "secretAccessKeySecretRef": {"name": "keys", "key": "key", "namespace": namespace},
        }}})
    };
    let account =
        json!({"auth": {"serviceAccountRef": {"name": "admin", "namespace": "kube-system"}}});
    let draft = World::default()
        .with(&secret, "aws", reference("auth"))
        .with(&other, "bitwarden", account)
        .draft();
    let all = draft.references.namespaces.iter().collect::<Vec<_>>();
    assert_eq!(all, ["auth"]);
    assert_eq!(accounts(&draft), Vec::<String>::new());
    assert!(
        draft
            .text
            .contains("`eso-sync rbac --config FILE --credentials-in auth` prints the rights"),
        "{}",
        draft.text
    );
}

#[test]
fn access_is_decided_for_each_namespace() {
    let key = cluster_store("limited");
    let mut limited = source(
        &key,
        "aws",
        json!({"service": "SecretsManager", "region": "eu-west-1"}),
    );
    limited.conditions =
        serde_json::from_value(json!([{"namespaces": ["web"]}])).expect("conditions");
    let mut world = World::default().using(&key, "api").using(&key, "web");
    world.sources.insert(key, Ok(limited));
    let text = world.draft().text.replace("\n  #", "");
    assert!(
        text.contains("read with the job's own identity")
            && text.contains(
                "; not for api: ClusterSecretStore/limited does not allow the namespace `api`"
            ),
        "{text}"
    );
}

#[test]
fn vault_at_another_host_than_azures_must_be_listed() {
    let at = |address: &str| {
        let settings = json!({"vaultUrl": address});
        let world = World::default().with(&cluster_store("kv"), "azurekv", settings);
        endpoints(&world.draft())
    };
    assert_eq!(at("https://v.vault.azure.net/"), Vec::<String>::new());
    assert_eq!(
        at("https://v.vault.azure.net.evil.example/x"),
        ["https://v.vault.azure.net.evil.example"]
    );
}

#[test]
fn without_a_store_that_can_be_read_drift_is_off() {
    let other = cluster_store("other");
    let draft = World::default()
        .with(&other, "bitwarden", json!({}))
        .draft();
    assert!(
        draft.text.contains("\ndrift: {enabled: false}\n"),
        "{}",
        draft.text
    );
    assert!(
        draft.text.contains("\nsync: {when: overdue}\n"),
        "{}",
        draft.text
    );
    assert_eq!(draft.allow, BTreeSet::from(["sync"]));
}

#[test]
fn plain_http_is_never_listed_as_an_endpoint() {
    let vault = cluster_store("vault");
    let draft = World::default()
        .with(
            &vault,
            "vault",
            json!({"server": "http://vault.corp:8200", "path": "kv"}),
        )
        .draft();
    assert_eq!(endpoints(&draft), Vec::<String>::new());
    assert!(
        draft
            .text
            .contains("cannot be read: its address must use https"),
        "{}",
        draft.text
    );
}

#[test]
fn empty_cluster_has_a_policy_too() {
    let draft = World::default().draft();
    assert!(draft.text.contains("There is no ExternalSecret yet."));
    assert!(
        draft.text.contains("  - namespaces: [\"*\"]\n"),
        "{}",
        draft.text
    );
    assert_eq!(draft.max_syncs, 10);
    assert!(
        draft.text.contains("\ndrift: {enabled: true}\n")
            && draft.text.contains("\nsync: {when: drifted}\n"),
        "{}",
        draft.text
    );
    assert_eq!(draft.allow, BTreeSet::from(["drift", "sync"]));
}

#[test]
fn many_namespaces_are_selected_by_a_glob() {
    let fake = cluster_store("fake");
    let world = |count: usize| {
        (0..count).fold(World::default(), |world, number| {
            world.using(&fake, &format!("team-{number}"))
        })
    };
    assert!(world(LISTED).draft().text.contains("[team-0, team-1,"));
    assert!(
        world(LISTED + 1)
            .draft()
            .text
            .contains("  - namespaces: [\"*\"]\n")
    );
}

#[test]
fn rule_for_restarts_names_whom_it_would_concern() {
    let id = |name: &str| WorkloadId {
        namespace: "shop".to_owned(),
        kind: Kind::Deployment,
        name: name.to_owned(),
    };
    let reloaded = Consumer {
        left_to: Some(Reason::HandledByReloader),
        ..Consumer::default()
    };
    let mut world = World::default();
    for number in 0..8 {
        let name = id(&format!("api-{number}"));
        world.consumers.of.insert(name, Consumer::default());
    }
    world.consumers.of.insert(id("reloaded"), reloaded);
    world.consumers.gaps.push(Gap {
        what: "statefulsets.apps".to_owned(),
        namespace: None,
        why: "forbidden".to_owned(),
    });
    let text = world.draft().text;
    let restarts = text.find("# Restarts").unwrap();
    assert_snapshot!(&text[restarts..], @r"
    # Restarts of workloads that run on old data: one first, then the others, each until it is healthy. It would
    # concern 8 workloads: shop/Deployment/api-0, shop/Deployment/api-1, shop/Deployment/api-2,
    # shop/Deployment/api-3, shop/Deployment/api-4, shop/Deployment/api-5 and 2 more.
    # Left to Stakater Reloader: shop/Deployment/reloaded.
    # Not seen: statefulsets.apps: forbidden
    # Restarts need a key for stamps: name the namespace that has it with --lock-namespace. For a job, add `restart` to its flag
    # --allow, and grant what `eso-sync rbac --config FILE` prints.
    #restart:
    #  - match: references
    ");
}

#[test]
fn hostile_names_stay_in_their_line() {
    let hostile = "x\nlock: {enabled: false}\n#\u{2028}\u{85}\u{1b}[2J\"'\\";
    let key = cluster_store(hostile);
    let mut world = World::default().with(&key, "aws", json!({"service": "SecretsManager"}));
    world = world.using(&key, hostile);
    let draft = world.draft();
    let lines = draft.text.lines();
    let starts = lines.filter(|line| line.trim_start().starts_with("lock"));
    assert_eq!(starts.count(), 0, "{}", draft.text);
    let control = |c: char| c != '\n' && (c.is_control() || c == '\u{2028}');
    assert!(!draft.text.contains(control), "{:?}", draft.text);
    for text in [
        hostile,
        "true",
        "1",
        "-",
        "a: b",
        "*",
        "~",
        "a#b",
        "",
        "ClusterSecretStore/x",
    ] {
        let yaml = word(text);
        let read: Json = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read, Json::from(text), "{yaml}");
    }
}

#[test]
fn comment_is_wrapped_and_keeps_what_is_quoted() {
    let mut text = String::new();
    comment(
        &mut text,
        2,
        &format!("{} `eso-sync rbac --for aws` end", "word ".repeat(19)),
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1], "  # `eso-sync rbac --for aws` end");
}
