use serde_json::json;

use super::*;

const TEAM: &str = "SecretStore/team-a/vault";
const SHARED: &str = "ClusterSecretStore/vault";

/// A store whose credential is the same for all namespaces.
fn vault() -> Json {
    json!({
        "server": "https://vault.corp:8200",
        "auth": {"tokenSecretRef": {"name": "t", "key": "k", "namespace": "vault"}},
    })
}

/// A store whose credential depends on the namespace.
fn referent() -> Json {
    json!({"server": "https://vault.corp:8200", "auth": {"tokenSecretRef": {"name": "t", "key": "k"}}})
}

fn rules(credentials: Credentials) -> Rules {
    Rules {
        credentials,
        ..Rules::default()
    }
}

/// The decision for an ExternalSecret in `team-a`, as a word.
fn decided(rules: &Rules, store: &str, provider: &str, settings: &Json) -> String {
    decided_with(rules, store, provider, settings, &[])
}

fn decided_with(
    rules: &Rules,
    store: &str,
    provider: &str,
    settings: &Json,
    conditions: &[Condition],
) -> String {
    let asked = Asked {
        store: &store.parse().unwrap(),
        provider: &ProviderKind::of(provider, settings),
        settings,
        conditions,
    };
    match rules.decide(asked, "team-a", Some(&BTreeMap::new())) {
        Decision::Ambient => "ambient".to_owned(),
        Decision::Store => "store".to_owned(),
        Decision::Refused(refused) => refused.why.reason.to_owned(),
    }
}

#[test]
fn job_credentials_are_for_cluster_stores_by_default() {
    let mut rules = rules(Credentials::Ambient);
    assert_eq!(decided(&rules, SHARED, "vault", &vault()), "ambient");
    assert_eq!(
        decided(&rules, TEAM, "vault", &vault()),
        unread::NOT_TRUSTED
    );
    rules.namespaced_stores = true;
    assert_eq!(decided(&rules, TEAM, "vault", &vault()), "ambient");
}

#[test]
fn policy_entry_applies_to_one_store_only() {
    let mut rules = rules(Credentials::Ambient);
    rules
        .stores
        .insert(TEAM.parse().unwrap(), Credentials::Ambient);
    assert_eq!(decided(&rules, TEAM, "vault", &vault()), "ambient");
    let other = "SecretStore/team-a/other";
    assert_eq!(
        decided(&rules, other, "vault", &vault()),
        unread::NOT_TRUSTED
    );
    rules
        .stores
        .insert(SHARED.parse().unwrap(), Credentials::Store);
    assert_eq!(decided(&rules, SHARED, "vault", &vault()), "store");
}

#[test]
fn job_credentials_need_an_entry_where_the_operator_reads_less() {
    let account = json!({"auth": {"serviceAccount": {"name": "reader", "namespace": "remote"}}});
    let kubeconfig = json!({"authRef": {"name": "k", "key": "k", "namespace": "remote"}});
    let mut rules = Rules {
        namespaced_stores: true,
        ..rules(Credentials::Ambient)
    };
    for (store, provider, settings) in [
        (SHARED, "vault", &referent()),
        (SHARED, "kubernetes", &account),
        (SHARED, "kubernetes", &kubeconfig),
        (SHARED, "kubernetes", &json!({})),
        (TEAM, "kubernetes", &account),
    ] {
        let decision = decided(&rules, store, provider, settings);
        assert_eq!(decision, unread::NOT_TRUSTED, "{store} {settings}");
        for (named, as_named) in [
            (Credentials::Ambient, "ambient"),
            (Credentials::Store, "store"),
        ] {
            rules.stores.insert(store.parse().unwrap(), named);
            assert_eq!(decided(&rules, store, provider, settings), as_named);
        }
        rules.stores.clear();
    }
}

#[test]
fn conditions_of_a_cluster_store_exclude_namespaces() {
    let conditions: Vec<Condition> =
        serde_json::from_value(json!([{"namespaces": ["team-b"]}])).unwrap();
    for credentials in [Credentials::Ambient, Credentials::Store] {
        let decision = decided_with(&rules(credentials), SHARED, "vault", &vault(), &conditions);
        assert_eq!(decision, unread::NAMESPACE);
    }
    // The conditions do not apply to a SecretStore.
    let decision = decided_with(
        &rules(Credentials::Store),
        TEAM,
        "vault",
        &vault(),
        &conditions,
    );
    assert_eq!(decision, "store");
}

#[test]
fn secret_store_serves_only_its_own_namespace() {
    let rules = Rules {
        namespaced_stores: true,
        ..Rules::default()
    };
    let elsewhere = "SecretStore/team-b/vault";
    assert_eq!(
        decided(&rules, elsewhere, "vault", &vault()),
        unread::NAMESPACE
    );
}

#[test]
fn unreadable_labels_name_the_missing_permission() {
    let conditions: Vec<Condition> =
        serde_json::from_value(json!([{"namespaceSelector": {"matchLabels": {"a": "b"}}}]))
            .unwrap();
    let asked = Asked {
        store: &SHARED.parse().unwrap(),
        provider: &ProviderKind::Vault,
        settings: &vault(),
        conditions: &conditions,
    };
    let Decision::Refused(refused) = Rules::default().decide(asked, "team-a", None) else {
        panic!("expected a refusal because the labels are unknown");
    };
    assert_eq!(refused.permission.as_deref(), Some("list namespaces"));
}

#[test]
fn store_without_identity_is_refused() {
    let role = json!({"role": "r"});
    for (provider, settings) in [
        ("aws", json!({"region": "r"})),
        ("aws", json!({"role": "r", "auth": {}})),
        ("aws", json!({"auth": {"secretRef": null}})),
        ("azurekv", json!({"authType": "ManagedIdentity"})),
        ("azurekv", json!({"authType": "WorkloadIdentity"})),
        ("gcpsm", json!({"projectID": "p"})),
        ("vault", json!({"auth": {"namespace": "n"}})),
        ("vault", json!({"auth": {"kubernetes": role}})),
        ("vault", json!({"auth": {"iam": role}})),
    ] {
        let decision = decided(&rules(Credentials::Store), SHARED, provider, &settings);
        let expected = unread::CONTROLLER_IDENTITY;
        assert_eq!(decision, expected, "{provider} {settings}");
    }
}

#[test]
fn store_with_identity_is_read_with_it() {
    let account = json!({"serviceAccountRef": {"name": "a"}});
    for (provider, settings) in [
        ("aws", json!({"auth": {"jwt": account}})),
        (
            "azurekv",
            json!({"authType": "WorkloadIdentity", "serviceAccountRef": {"name": "a"}}),
        ),
        ("azurekv", json!({"authSecretRef": {}})),
        ("gcpsm", json!({"auth": {"workloadIdentity": account}})),
        ("vault", json!({"auth": {"kubernetes": account}})),
        ("vault", json!({"auth": {"appRole": {}}})),
        ("kubernetes", json!({})),
    ] {
        let decision = decided(&rules(Credentials::Store), SHARED, provider, &settings);
        assert_eq!(decision, "store", "{provider} {settings}");
    }
}

#[test]
fn fake_store_needs_no_credentials() {
    for credentials in [Credentials::Ambient, Credentials::Store] {
        assert_eq!(
            decided(&rules(credentials), TEAM, "fake", &json!({})),
            "store"
        );
    }
}

#[test]
fn cluster_store_is_referent_if_a_reference_has_no_namespace() {
    let shared: StoreKey = SHARED.parse().unwrap();
    assert!(is_referent(&shared, &referent()));
    assert!(!is_referent(&shared, &vault()));
    assert!(!is_referent(&TEAM.parse().unwrap(), &referent()));
    let azure = json!({"authSecretRef": {
        "clientId": {"name": "t", "key": "k", "namespace": "n"},
        "clientSecret": {"name": "t", "key": "k"},
    }});
    assert!(is_referent(&shared, &azure));
}

#[test]
fn rules_parse_words_and_addresses() {
    let parse = |value: Json| serde_json::from_value::<Origin>(value);
    assert!(parse(json!("https://vault.corp:8200")).is_ok());
    assert!(parse(json!("vault.corp")).is_err());
    assert_eq!(
        serde_json::to_value(Credentials::Store).unwrap(),
        json!("store")
    );
}

#[test]
fn own_certificate_authority_of_a_tenant_is_not_for_job_credentials() {
    let mut rules = rules(Credentials::Ambient);
    rules.namespaced_stores = true;
    for (field, value) in [
        ("caBundle", json!("LS0t")),
        (
            "caProvider",
            json!({"type": "ConfigMap", "name": "ca", "key": "k", "namespace": "vault"}),
        ),
    ] {
        let mut settings = vault();
        settings[field] = value;
        assert_eq!(
            decided(&rules, TEAM, "vault", &settings),
            unread::NOT_TRUSTED
        );
        assert_eq!(decided(&rules, SHARED, "vault", &settings), "ambient");
        let mut named = rules.clone();
        let team = TEAM.parse().unwrap();
        named.stores.insert(team, Credentials::Ambient);
        assert_eq!(decided(&named, TEAM, "vault", &settings), "ambient");
        named
            .stores
            .insert(TEAM.parse().unwrap(), Credentials::Store);
        assert_eq!(decided(&named, TEAM, "vault", &settings), "store");
    }
    let mut without = vault();
    without["caBundle"] = json!("");
    assert_eq!(decided(&rules, TEAM, "vault", &without), "ambient");
}

fn decided_write(rules: &Rules, store: &str, provider: &str, settings: &Json) -> String {
    let asked = Asked {
        store: &store.parse().unwrap(),
        provider: &ProviderKind::of(provider, settings),
        settings,
        conditions: &[],
    };
    match rules.decide_write(asked) {
        Decision::Ambient => "ambient".to_owned(),
        Decision::Store => "store".to_owned(),
        Decision::Refused(refused) => refused.why.reason.to_owned(),
    }
}

/// Whatever the policy permits for reading.
#[test]
fn job_credentials_never_write_through_a_secret_store() {
    let mut rules = rules(Credentials::Ambient);
    rules.namespaced_stores = true;
    rules
        .stores
        .insert(TEAM.parse().unwrap(), Credentials::Ambient);
    assert_eq!(decided(&rules, TEAM, "vault", &vault()), "ambient");
    assert_eq!(
        decided_write(&rules, TEAM, "vault", &vault()),
        unread::NOT_TRUSTED
    );
    assert_eq!(decided_write(&rules, SHARED, "vault", &vault()), "ambient");
}

#[test]
fn store_credentials_write_unless_they_depend_on_a_namespace() {
    let rules = rules(Credentials::Store);
    assert_eq!(decided_write(&rules, SHARED, "vault", &vault()), "store");
    assert_eq!(decided_write(&rules, TEAM, "vault", &referent()), "store");
    assert_eq!(
        decided_write(&rules, SHARED, "vault", &referent()),
        unread::NOT_TRUSTED
    );
    let none = json!({"server": "https://vault.corp:8200"});
    assert_eq!(
        decided_write(&rules, SHARED, "vault", &none),
        unread::CONTROLLER_IDENTITY
    );
}

#[test]
fn provider_that_is_not_published_to_is_refused() {
    for provider in ["kubernetes", "fake", "webhook"] {
        let rules = rules(Credentials::Ambient);
        assert_eq!(
            decided_write(&rules, SHARED, provider, &json!({})),
            unread::UNSUPPORTED
        );
    }
}
