use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, sample::select};
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    Id, ProviderKind, StoreKey,
    expected::{Spec, What},
};

fn id(name: &str) -> Id {
    Id {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn store(name: &str) -> StoreKey {
    StoreKey::Cluster {
        name: name.to_owned(),
    }
}

fn kind(name: &str, settings: &Json) -> ProviderKind {
    ProviderKind::of(name, settings)
}

/// One store `s` of this provider, and one ExternalSecret for each list of `dataFrom`.
fn index(provider: &str, settings: &Json, external_secrets: &[(&str, Json)]) -> Index {
    let place = Place::of(&kind(provider, settings), settings);
    let mut index = Index::new(BTreeMap::from([(store("s"), place)]));
    for (name, data_from) in external_secrets {
        let spec = json!({
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "s"},
            "dataFrom": data_from,
        });
        index.add(&id(name), &Spec::parse(&spec).unwrap());
    }
    index
}

fn extract(key: &str) -> Json {
    json!([{"extract": {"key": key}}])
}

/// The names of the ExternalSecrets that use or may use the key, the latter with the reason.
fn users(index: &Index, key: &str) -> Vec<String> {
    let keys = RemoteKey::read(key).unwrap();
    let found: BTreeSet<String> = index
        .users(&keys)
        .into_iter()
        .map(|(_, used)| match used.certainty {
            Certainty::Uses => used.by.name.clone(),
            Certainty::MayUse(why) => format!("{}? {why:?}", used.by.name),
        })
        .collect();
    found.into_iter().collect()
}

fn none() -> Vec<String> {
    Vec::new()
}

const AWS: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:";

fn aws(prefix: &str) -> Json {
    json!({
        "service": "SecretsManager", "region": "eu-west-1", "prefix": prefix,
        "role": "arn:aws:iam::123456789012:role/eso",
    })
}

#[test]
fn an_arn_matches_with_and_without_its_random_suffix() {
    let keys = [
        ("name", extract("db")),
        ("suffixed", extract("db-abcdef")),
        ("arn", extract(&format!("{AWS}db-XyZ123"))),
        ("partial", extract(&format!("{AWS}db"))),
        ("other", extract("dbx")),
    ];
    let index = index("aws", &aws(""), &keys);
    let all = ["arn", "name", "partial"];
    assert_eq!(users(&index, "db"), all);
    assert_eq!(users(&index, &format!("{AWS}db")), all);
    assert_eq!(users(&index, &format!("{AWS}db-XyZ123")), all);
    // It may be the secret `db`, or one that is called like that.
    let either = ["arn", "name", "partial", "suffixed"];
    assert_eq!(users(&index, &format!("{AWS}db-abcdef")), either);
    assert_eq!(
        users(&index, "db-abcdef"),
        ["suffixed"],
        "a plain name is never cut"
    );
    let whole = format!("{AWS}db-abcdef-Q1w2E3");
    assert_eq!(users(&index, &whole), ["suffixed"]);
}

#[test]
fn region_and_account_must_be_those_of_the_store() {
    let index = index("aws", &aws(""), &[("db", extract("db"))]);
    let named = |region: &str, account: &str| {
        users(
            &index,
            &format!("arn:aws:secretsmanager:{region}:{account}:secret:db"),
        )
    };
    assert_eq!(named("eu-west-1", "123456789012"), ["db"]);
    assert_eq!(named("us-east-1", "123456789012"), none());
    assert_eq!(named("eu-west-1", "999999999999"), none());
    assert_eq!(
        users(&index, "arn:aws:ssm:eu-west-1:123456789012:parameter/db"),
        none()
    );
}

#[test]
fn a_store_without_a_role_may_be_in_any_account() {
    let settings = json!({"service": "SecretsManager", "region": "eu-west-1"});
    let index = index("aws", &settings, &[("db", extract("db"))]);
    assert_eq!(users(&index, &format!("{AWS}db")), ["db"]);
}

#[test]
fn the_prefix_of_the_store_is_part_of_the_name() {
    let index = index("aws", &aws("prod/"), &[("db", extract("db"))]);
    assert_eq!(users(&index, "prod/db"), ["db"]);
    assert_eq!(users(&index, &format!("{AWS}prod/db-abcdef")), ["db"]);
    assert_eq!(users(&index, "db"), none());
}

#[test]
fn parameters_match_with_and_without_slash_and_version() {
    let settings = json!({"service": "ParameterStore", "region": "eu-west-1"});
    let keys = [("a", extract("/prod/db")), ("b", extract("flat:3"))];
    let index = index("aws", &settings, &keys);
    for name in [
        "/prod/db",
        "prod/db",
        "arn:aws:ssm:eu-west-1:1:parameter/prod/db",
    ] {
        assert_eq!(users(&index, name), ["a"], "{name}");
    }
    for name in ["flat", "/flat", "arn:aws:ssm:eu-west-1:1:parameter/flat"] {
        assert_eq!(users(&index, name), ["b"], "{name}");
    }
}

#[test]
fn a_key_vault_ignores_case_kind_and_version() {
    let settings = json!({"vaultUrl": "https://Prod.vault.azure.net"});
    let keys = [
        ("plain", extract("Db")),
        ("secret", extract("secret/db")),
        ("cert", extract("cert/db")),
        ("other", extract("db2")),
    ];
    let index = index("azurekv", &settings, &keys);
    let all = ["cert", "plain", "secret"];
    for name in [
        "db",
        "DB",
        "https://prod.vault.azure.net/secrets/db",
        "https://prod.vault.azure.net:443/secrets/dB/0123456789abcdef",
        "https://PROD.vault.azure.net/certificates/db/1",
    ] {
        assert_eq!(users(&index, name), all, "{name}");
    }
    let elsewhere = "https://test.vault.azure.net/secrets/db";
    assert_eq!(users(&index, elsewhere), none());
}

#[test]
fn a_gcp_secret_matches_by_project_and_location() {
    let keys = [("db", extract("db"))];
    let global = index("gcpsm", &json!({"projectID": "shop"}), &keys);
    let regional = json!({"projectID": "shop", "location": "europe-west1"});
    let regional = index("gcpsm", &regional, &keys);
    for name in [
        "db",
        "projects/shop/secrets/db",
        "projects/shop/secrets/db/versions/7",
        "//secretmanager.googleapis.com/projects/shop/secrets/db",
        "projects/123456789/secrets/db",
    ] {
        assert_eq!(users(&global, name), ["db"], "{name}");
    }
    assert_eq!(users(&global, "projects/bank/secrets/db"), none());
    let place = "projects/shop/locations/europe-west1/secrets/db";
    assert_eq!(users(&global, place), none());
    assert_eq!(users(&regional, place), ["db"]);
    assert_eq!(users(&regional, "projects/shop/secrets/db"), none());
}

#[test]
fn a_vault_secret_matches_by_each_of_its_paths() {
    let settings = json!({"server": "https://vault.corp:8200/", "path": "secret", "version": "v2"});
    let keys = [
        ("inside", extract("payments/db")),
        ("mounted", extract("secret/payments/db")),
        ("api", extract("secret/data/payments/db")),
    ];
    let index = index("vault", &settings, &keys);
    let all = ["api", "inside", "mounted"];
    for name in [
        "payments/db",
        "secret/payments/db",
        "/secret/data/payments/db/",
        "secret/metadata/payments/db",
        "https://vault.corp:8200/v1/secret/data/payments/db?version=3",
    ] {
        assert_eq!(users(&index, name), all, "{name}");
    }
    let elsewhere = "https://vault.corp:8201/v1/secret/data/payments/db";
    assert_eq!(users(&index, elsewhere), none());
    assert_eq!(users(&index, "other/payments/db"), none());
}

#[test]
fn searches_are_tried_on_the_name() {
    let find = |value: Json| json!([{"find": value}]);
    let keys = [
        ("name", find(json!({"name": {"regexp": "^prod/db"}}))),
        (
            "path",
            find(json!({"path": "prod/", "name": {"regexp": "db"}})),
        ),
        (
            "elsewhere",
            find(json!({"path": "test/", "name": {"regexp": "db"}})),
        ),
        ("tags", find(json!({"tags": {"team": "shop"}}))),
        ("bad", find(json!({"name": {"regexp": "("}}))),
        ("miss", find(json!({"name": {"regexp": "^test"}}))),
    ];
    let index = index("aws", &aws(""), &keys);
    let found = ["bad? Regexp", "name? Name", "path? Name", "tags? Tags"];
    assert_eq!(users(&index, "prod/db"), found);
    assert_eq!(users(&index, &format!("{AWS}prod/db-abcdef")), found);
    let other_region = "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db";
    assert_eq!(users(&index, other_region), none());
}

#[test]
fn searches_in_a_vault_are_tried_inside_the_mount() {
    let settings = json!({"server": "https://vault.corp", "path": "secret"});
    let find = json!([{"find": {"path": "payments", "name": {"regexp": "^payments/d"}}}]);
    let index = index("vault", &settings, &[("find", find)]);
    for name in ["payments/db", "secret/data/payments/db"] {
        assert_eq!(users(&index, name), ["find? Name"], "{name}");
    }
    assert_eq!(users(&index, "payments2/db"), none());
}

#[test]
fn searches_of_a_kubernetes_store_find_secrets_of_its_namespace() {
    let find = json!([{"find": {"name": {"regexp": "^db$"}}}]);
    let settings = json!({"remoteNamespace": "shop"});
    let index = index("kubernetes", &settings, &[("find", find)]);
    assert_eq!(users(&index, "db"), ["find? Name"]);
    assert_eq!(users(&index, "shop/db"), ["find? Name"]);
    assert_eq!(users(&index, "bank/db"), none());
}

#[test]
fn an_unknown_store_may_add_a_prefix() {
    let mut index = Index::new(BTreeMap::new());
    let spec = json!({
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": "gone"},
        "dataFrom": [{"extract": {"key": "db"}}],
    });
    index.add(&id("db"), &Spec::parse(&spec).unwrap());
    assert_eq!(users(&index, "prod/db"), ["db? Store"]);
    assert_eq!(users(&index, "prod/api"), none());
}

#[test]
fn a_version_is_told_and_does_not_narrow() {
    let data_from = json!([{"extract": {"key": "db", "version": "uuid/1"}}]);
    let index = index("aws", &aws(""), &[("db", data_from)]);
    let keys = RemoteKey::read("db").unwrap();
    let found = index.users(&keys);
    let versions: Vec<&What> = found.iter().map(|(_, used)| used.what).collect();
    assert!(matches!(versions[..], [What::Secret { version, .. }] if version == "uuid/1"));
}

#[test]
fn texts_that_name_no_key_are_refused() {
    for (text, why) in [
        (" ", InvalidKey::Empty),
        ("a\nb", InvalidKey::Control),
        ("arn:aws:s3:::bucket", InvalidKey::Arn),
        ("arn:aws:secretsmanager:eu-west-1", InvalidKey::Arn),
        ("https://example.com/page", InvalidKey::Url),
        ("ftp://v.vault.azure.net/secrets/a", InvalidKey::Url),
        ("https://v.vault.azure.net/secrets/", InvalidKey::Url),
    ] {
        assert_eq!(RemoteKey::read(text), Err(why), "{text:?}");
    }
    assert_eq!(RemoteKey::read(&"a".repeat(3000)), Err(InvalidKey::TooLong));
}

/// A provider, the settings of a store, a key of a spec, and the names that the provider and its tools show for that key.
type Case = (&'static str, Json, String, Vec<String>);

const SEGMENT: &str = "[a-z][a-zA-Z0-9]{0,6}(-[a-zA-Z0-9]{6})?";

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(SEGMENT, 1..4).prop_map(|parts| parts.join("/"))
}

fn secrets_manager() -> impl Strategy<Value = Case> {
    let prefix = select(vec!["", "prod/", "a-"]);
    let suffix = "[a-zA-Z0-9]{6}";
    let names = (path(), prefix, suffix).prop_map(|(key, prefix, suffix)| {
        let name = format!("{prefix}{key}");
        let names = vec![
            format!("{AWS}{name}-{suffix}"),
            format!("{AWS}{name}"),
            name,
        ];
        ("aws", aws(prefix), key, names)
    });
    let arns = (path(), suffix, any::<bool>()).prop_map(|(name, suffix, partial)| {
        let whole = format!("{AWS}{name}-{suffix}");
        let key = if partial {
            format!("{AWS}{name}")
        } else {
            whole.clone()
        };
        ("aws", aws(""), key, vec![whole, name])
    });
    prop_oneof![names, arns]
}

fn parameters() -> impl Strategy<Value = Case> {
    (path(), any::<bool>()).prop_map(|(name, slash)| {
        let settings = json!({"service": "ParameterStore", "region": "eu-west-1"});
        let key = format!("{}{name}", if slash { "/" } else { "" });
        let arn = format!("arn:aws:ssm:eu-west-1:123456789012:parameter/{name}");
        ("aws", settings, key.clone(), vec![key, arn])
    })
}

fn key_vault() -> impl Strategy<Value = Case> {
    let kind = select(vec!["", "secret/", "cert/", "key/"]);
    (SEGMENT, kind, any::<bool>()).prop_map(|(name, kind, upper)| {
        let settings = json!({"vaultUrl": "https://prod.vault.azure.net"});
        let shown = if upper {
            name.to_uppercase()
        } else {
            name.clone()
        };
        let id = format!("https://prod.vault.azure.net/secrets/{shown}/0123");
        (
            "azurekv",
            settings,
            format!("{kind}{name}"),
            vec![id, shown],
        )
    })
}

fn gcp() -> impl Strategy<Value = Case> {
    (SEGMENT, select(vec!["", "europe-west1"])).prop_map(|(name, location)| {
        let settings = json!({"projectID": "shop", "location": location});
        let within = match location {
            "" => String::new(),
            location => format!("/locations/{location}"),
        };
        let of = |project: &str| format!("projects/{project}{within}/secrets/{name}");
        let names = vec![of("shop"), of("42"), format!("{}/versions/3", of("shop"))];
        ("gcpsm", settings, name.clone(), names)
    })
}

fn vault() -> impl Strategy<Value = Case> {
    (path(), select(vec!["v1", "v2"]), 0..3_usize).prop_map(|(name, version, form)| {
        let settings = json!({"server": "https://vault.corp", "path": "kv", "version": version});
        let api = match version {
            "v1" => format!("kv/{name}"),
            _ => format!("kv/data/{name}"),
        };
        let key = [name.clone(), format!("kv/{name}"), api.clone()][form].clone();
        let url = format!("https://vault.corp/v1/{api}");
        let names = vec![api, format!("kv/{name}"), name, url];
        ("vault", settings, key, names)
    })
}

fn reads_and_names() -> impl Strategy<Value = Case> {
    let plain = (path(), select(vec!["fake", "webhook", "kubernetes"]))
        .prop_map(|(name, provider)| (provider, json!({}), name.clone(), vec![name]));
    prop_oneof![
        secrets_manager(),
        parameters(),
        key_vault(),
        gcp(),
        vault(),
        plain
    ]
}

proptest! {
    #[test]
    fn every_key_that_is_read_maps_back_to_its_reader(
        reads in prop::collection::vec(reads_and_names(), 1..6),
        in_data in any::<bool>(),
    ) {
        let mut places = BTreeMap::new();
        let mut specs = Vec::new();
        for (number, (provider, settings, key, _)) in reads.iter().enumerate() {
            let name = format!("s{number}");
            places.insert(store(&name), Place::of(&kind(provider, settings), settings));
            let mut spec = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": name}});
            if in_data {
                spec["data"] = json!([{"secretKey": "k", "remoteRef": {"key": key, "property": "p"}}]);
            } else {
                spec["dataFrom"] = extract(key);
            }
            specs.push(Spec::parse(&spec).unwrap());
        }
        let mut index = Index::new(places);
        for (number, spec) in specs.iter().enumerate() {
            index.add(&id(&format!("es{number}")), spec);
        }
        for (number, (_, _, key, names)) in reads.iter().enumerate() {
            for name in names {
                let found = users(&index, name);
                prop_assert!(found.contains(&format!("es{number}")), "{name} does not lead to {key}: {found:?}");
            }
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), key in any::<String>()) {
        drop(RemoteKey::read(&text));
        for provider in ["aws", "azurekv", "gcpsm", "vault", "kubernetes", "fake", "odd"] {
            let settings = json!({"prefix": key, "path": key, "vaultUrl": key, "server": key});
            let index = index(provider, &settings, &[("a", extract(&key))]);
            if let Ok(keys) = RemoteKey::read(&text) {
                index.users(&keys);
            }
        }
    }
}
