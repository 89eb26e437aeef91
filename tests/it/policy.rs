//! The example policy and the JSON Schema of policies.

use std::{collections::BTreeSet, fs, path::Path};

use eso_sync::{
    policy::{Policy, Report},
    settings::{self, Loaded, SourceFile, Sources},
};
use serde_json::Value;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Loads a policy from one file, without variables and flags.
pub(crate) fn load(text: &str) -> Result<Loaded, settings::Invalid> {
    let files = vec![SourceFile {
        path: "config.yaml".into(),
        text: text.to_owned(),
    }];
    settings::load(
        &Sources {
            files,
            ..Sources::default()
        },
        &[],
    )
}

fn matches_schema(text: &str) -> bool {
    let data: Value = serde_saphyr::from_str(text).unwrap();
    jsonschema::is_valid(&settings::schema(), &data)
}

/// Returns all fixed keys of a schema.
fn keys_of_schema(schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        keys_of_schema(property, &path, keys);
        keys.insert(path);
    }
    if schema["items"].is_object() {
        keys_of_schema(&schema["items"], &format!("{path}[]"), keys);
    }
}

fn keys_of_data(data: &Value, path: &str, keys: &mut BTreeSet<String>) {
    for (name, value) in data.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        keys_of_data(value, &path, keys);
        keys.insert(path);
    }
    for item in data.as_array().into_iter().flatten() {
        keys_of_data(item, &format!("{path}[]"), keys);
    }
}

#[test]
fn the_example_has_every_key() {
    let (mut known, mut shown) = (BTreeSet::new(), BTreeSet::new());
    keys_of_schema(&settings::schema(), "", &mut known);
    known.retain(|key| !key.starts_with(".exclude["));
    keys_of_data(
        &serde_saphyr::from_str(&file("config.example.yaml")).unwrap(),
        "",
        &mut shown,
    );
    let missing: Vec<_> = known.difference(&shown).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Collects the example's value and the default of each key that has a default.
fn values_and_defaults(
    schema: &Value,
    data: &Value,
    path: &str,
    found: &mut Vec<(String, Value, Value)>,
) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let (path, shown) = (format!("{path}.{name}"), &data[name]);
        // Only the first item has all keys, the items show both services of AWS, and each receiver is of another kind.
        let is_item = path.starts_with(".publish.items[]") || path.starts_with(".notify.to[]");
        if is_item && (shown.is_null() || path.ends_with(".service")) {
            continue;
        }
        if let Some(default) = property.get("default") {
            found.push((path.clone(), shown.clone(), default.clone()));
        }
        values_and_defaults(property, shown, &path, found);
    }
    for item in data.as_array().into_iter().flatten() {
        values_and_defaults(&schema["items"], item, &format!("{path}[]"), found);
    }
}

/// Except for selection, `restart`, `publish`, the queues of `events`, the receivers of `notify` and the files of `report`, whose
/// default is missing or empty.
#[test]
fn the_example_shows_every_default() {
    let text = file("config.example.yaml");
    let data: Value = serde_saphyr::from_str(&text).unwrap();
    let mut found = Vec::new();
    values_and_defaults(&settings::schema(), &data, "", &mut found);
    assert!(found.len() > 25, "{}", found.len());
    for (path, shown, default) in found {
        assert!(
            shown == default
                || [".restart", ".events.queues", ".notify.to", ".report.files"].contains(&&*path),
            "{path}: {shown} is not the default {default}"
        );
    }
    // The defaults of maps are not in the schema, only in the types.
    let Loaded { policy, .. } = load(&text).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(
        Policy {
            restart: Vec::new(),
            publish: None,
            events: None,
            notify: None,
            report: Report {
                files: Vec::new(),
                url: None,
                ..policy.report.clone()
            },
            ..policy.clone()
        },
        Policy::selecting(policy.select)
    );
}

#[test]
fn every_key_of_the_example_has_a_comment() {
    let text = file("config.example.yaml");
    let mut above = "";
    let mut without = Vec::new();
    for line in text.lines() {
        let of_the_operator = ["aws", "azure", "gcp", "vault"]
            .iter()
            .any(|name| line.trim().starts_with(name));
        let repeated = ["- kind: SecretStore", "name: vault"].contains(&line.trim());
        if !line.contains('#')
            && !above.starts_with('#')
            && !line.is_empty()
            && !of_the_operator
            && !repeated
        {
            without.push(line);
        }
        above = line;
    }
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn example_matches_its_schema() {
    let text = file("config.example.yaml");
    assert!(text.starts_with("# yaml-language-server: $schema=docs/config.schema.json\n"));
    assert!(matches_schema(&text));
}

#[test]
fn schema_file_is_up_to_date() {
    let printed = serde_json::to_string_pretty(&settings::schema()).unwrap() + "\n";
    assert!(
        file("docs/config.schema.json") == printed,
        "docs/config.schema.json is out of date: cargo run -- schema > docs/config.schema.json"
    );
}

#[test]
fn schema_is_a_valid_json_schema() {
    assert!(jsonschema::meta::is_valid(&settings::schema()));
}

#[test]
fn every_key_of_the_schema_has_a_description() {
    fn check(schema: &Value, path: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(
                property["description"]
                    .as_str()
                    .is_some_and(|text| text.ends_with(['.', '…'])),
                "{path}.{name}"
            );
            check(property, &format!("{path}.{name}"));
        }
        if schema["items"].is_object() {
            check(&schema["items"], path);
        }
    }
    check(&settings::schema(), "");
}

#[test]
fn schema_and_program_reject_invalid_policies() {
    for below in [
        "restart: {}",
        "Sync: {}",
        "sync: {when: stale}",
        "sync: {onStillStale: delete}",
        "drift: yes",
        "drift: {enabled: 1}",
        "drift: {credentials: mine}",
        "drift: {stores: {vault: store}}",
        "drift: {stores: {ClusterSecretStore/vault: mine}}",
        "drift: {endpoints: https://vault.corp}",
        "drift: {endpoints: [vault.corp]}",
        "drift: {endpoints: ['https://vault.corp/v1']}",
        "drift: {endpoints: ['http://vault.corp:8200']}",
        "drift: {endpoints: ['http://localhost:8200']}",
        "drift: {endpoints: ['http://127.0.0.1.evil.example']}",
        "drift: {onUnverifiable: ignore}",
        "sync: {timeout: 5 minutes}",
        "sync: {timeout: 90}",
        "sync: {retries: -1}",
        "sync: {retries: many}",
        "sync: {generators: 1}",
        "sync: {annotation: a b}",
        "sync: now",
        "pace: {default: 10}",
        "pace: {default: -1/s}",
        "pace: {inFlight: 0}",
        "pace: {inFlight: few}",
        "pace: {providers: {AWS: 1/s}}",
        "pace: {providers: [aws]}",
        "pace: {stores: {vault: 1/s}}",
        "pace: {writes: {AWS: 1/s}}",
        "safety: {maxSyncs: 0}",
        "safety: {maxSyncs: 1.5}",
        "safety: {stopAfterFailures: '20'}",
        "lock: true",
        "deadline: 1d",
        "exclude: [{names: [Web]}]",
        "exclude: [{names: web}]",
        "exclude: [{labelSelector: {a: b}}]",
        "exclude: [{states: [stale]}]",
        "exclude: [{stores: [{kind: Store, name: a}]}]",
        "exclude: [{stores: [{kind: SecretStore}]}]",
        "exclude: [{overdueAfter: soon}]",
    ] {
        let text = format!("select: [{{}}]\n{below}\n");
        assert!(load(&text).is_err(), "the program must reject {below}");
        assert!(!matches_schema(&text), "the schema must reject {below}");
    }
    assert!(!matches_schema("select: []"));
}

#[test]
fn schema_and_program_accept_valid_policies() {
    for text in [
        "select: [{}]",
        "select: [{names: ['a-{b,c}', '[!a]*', 'x?'], labelSelector: 'a in (b, c),!d', overdueAfter: 1h30m}]",
        "select: [{}]\npace: {inFlight: 3, default: .5/s, stores: {SecretStore/a/b: 1/min}, providers: {onepasswordSDK: 1/h}, writes: {aws: 5/s}}",
        "select: [{}]\nsafety: {stopAfterFailures: 3}\nsync: {annotation: example.com/x, timeout: 1.5h, retries: 0}",
        "select: [{}]\nsafety: {stopAfterFailures: 2.5%}",
        "select: [{}]\ndrift: {stores: {SecretStore/a/b: ambient}, endpoints: ['https://vault.corp:8200', 'http://127.0.0.1:8200']}",
        "select: [{}]\ndrift: {enabled: false}\nsync: {when: always}",
    ] {
        assert!(load(text).is_ok(), "the program must accept {text}");
        assert!(matches_schema(text), "the schema must accept {text}");
    }
}
