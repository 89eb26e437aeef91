//! Runs the example `expected` and compares its output.
#![cfg(test)]

use std::{ffi::OsString, fs};

#[path = "../examples/expected.rs"]
#[expect(dead_code, reason = "the tests call `run` instead of `main`")]
mod expected;

const EXTERNAL_SECRET: &str = include_str!("../examples/external-secret.yaml");
const VALUES: &str = include_str!("../examples/values.yaml");

/// Runs the example with files of these contents.
fn run(external_secret: &str, values: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let paths = [("es.yaml", external_secret), ("values.yaml", values)].map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        OsString::from(path)
    });
    let shown = expected::run(&paths);
    let prefix = format!("{}/", folder.path().display());
    shown.map_err(|message| message.replace(&prefix, ""))
}

/// Returns the error message for the example's own files after these replacements.
fn error(external_secret: (&str, &str), values: (&str, &str)) -> String {
    let edit = |text: &str, (from, to): (&str, &str)| {
        assert!(text.contains(from), "{from:?} is not in the file");
        text.replacen(from, to, 1)
    };
    let shown = run(
        &edit(EXTERNAL_SECRET, external_secret),
        &edit(VALUES, values),
    );
    shown.expect_err("must fail")
}

const SAME: (&str, &str) = ("", "");

/// The digests were also computed with Python's `hashlib` and `hmac`.
#[test]
fn example_prints_keys_and_digests() {
    let shown = expected::run(&[]).unwrap();
    insta::assert_snapshot!(shown, @r"
    ExternalSecret:         database
    syncedResourceVersion:  3-dbe60505ee4d105c995c42d5eaa128ef72b2dcf611164c039d235f2b
    the operator will:      create or update the Secret

    expected keys, with digests (HMAC-SHA-256) of their values:
      host      cf05016439354f69d367984b5a2fce988dfa478b0a47e4af1b4e168a54eecf7c
      password  d9c98de2c332b766a7e9b09efe3fe185a3a7384f13407ee2d1e668a161337194
      port      cb82155d270c7019a727beba64b2d79a26634d377e4f3d793c06f7e0fa065346
      tls.crt   2b46415786919fdfc7e8e88bc2f654cbf494521727051419ce0aac3e9b2882e9
      url       2114a794397a4552b34a1a8d639e007af825dfbbb5e0857a61cf12f897fcc8b1
      username  adbc0a02531a130f6aeb40b6a3cee0d229c0cf2d48127b55adc89a3d4959f709

    annotation reconcile.external-secrets.io/data-hash:
      d2c56b6aeaef6e03b327add7c121cb97da28f49a39a19602de79150b
    ");
    assert_eq!(shown, run(EXTERNAL_SECRET, VALUES).unwrap());
}

#[test]
fn output_contains_no_values() {
    let shown = expected::run(&[]).unwrap();
    for value in ["made", "db.example.com", "5432", "postgres", "bWFkZSB1cA"] {
        assert!(!shown.contains(value), "{value}");
    }
}

#[test]
fn digest_of_one_key_changes_with_its_value() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let before = lines(&expected::run(&[]).unwrap());
    let rotated = VALUES.replace("bWFkZSB1cA==", "cm90YXRlZA==");
    let after = lines(&run(EXTERNAL_SECRET, &rotated).unwrap());
    let changed: Vec<&str> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .filter_map(|(before, _)| before.split_whitespace().next())
        .collect();
    let [key, hash] = changed[..] else {
        panic!("{changed:?}")
    };
    assert_eq!(key, "tls.crt");
    assert_eq!(hash.len(), 56, "the data hash");
}

#[test]
fn hash_of_a_shared_secret_is_unknown() {
    let merged = EXTERNAL_SECRET.replace("  target:\n", "  target:\n    creationPolicy: Merge\n");
    let shown = run(&merged, VALUES).unwrap();
    assert!(shown.contains("add these keys to the Secret, if it exists"));
    assert!(shown.ends_with("depends on the other keys of the Secret\n"));
}

#[test]
fn vault_and_kubernetes_stores_have_their_own_formats() {
    let external_secret = "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: two-stores}
spec:
  data:
    - {secretKey: a, remoteRef: {key: app, property: user}, sourceRef: {storeRef: {name: vault}}}
    - {secretKey: b, remoteRef: {key: app, property: user}, sourceRef: {storeRef: {name: other}}}
";
    let values = r#"
stores:
  - {kind: SecretStore, name: vault, provider: {vault: {}}, secrets: {app: '{"user": "made-up"}'}}
  - {kind: SecretStore, name: other, provider: {kubernetes: {}}, secrets: {app: {user: made-up}}}
"#;
    let shown = run(external_secret, values).unwrap();
    let digests: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("  a  ").or(line.strip_prefix("  b  ")))
        .collect();
    assert_eq!(digests.len(), 2, "{shown}");
    assert_eq!(digests[0], digests[1], "both stores hold the same text");
}

#[test]
fn bad_files_are_reported() {
    let messages = [
        error(("kind: ExternalSecret\n", "kind: Secret\n"), SAME),
        error(("spec:\n", "spec: [\n"), SAME),
        error(("generation: 3", "generation: three"), SAME),
        error(("\"1700000000\"", "1700000000"), SAME),
        error(("Merge", "Unknown"), SAME),
        error(SAME, ("stores:", "shops:")),
        error(SAME, ("secrets:", "secrets: 'made up\n     ")),
        error(SAME, ("kind: ClusterSecretStore", "kind: Store")),
        error(SAME, ("aws: {", "other: {")),
        error(SAME, ("\"bWFkZSB1cA==\"", "5432")),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    es.yaml: is not an ExternalSecret
    es.yaml: line 14 is not valid YAML
    es.yaml: metadata.generation must be a number
    es.yaml: metadata.annotations must be a map of texts
    es.yaml: spec: unknown variant `Unknown`, expected one of ``, `Replace`, `Merge`
    values.yaml: stores must be a list
    values.yaml: line 12 is not valid YAML
    values.yaml: stores[0].kind must be SecretStore or ClusterSecretStore
    values.yaml: stores[0].provider: unknown provider other; known are aws, azurekv, fake, gcpsm, kubernetes, vault
    values.yaml: stores[0].secrets.shop/certificate must be a text (in quotes)
    ");
}

#[test]
fn results_that_do_not_exist_are_reported() {
    let messages = [
        error(SAME, ("shop/certificate", "shop/other")),
        error(SAME, ("name: aws", "name: other")),
        error(SAME, ("bWFkZSB1cA==", "not base64")),
        error(("urlquery", "unknownFunction"), SAME),
        error((".host", ".hostname"), SAME),
        error(
            (
                "key: shop/database",
                "key: shop/database\n        version: '1'",
            ),
            SAME,
        ),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    the operator's sync would fail: not-found (spec.data[0])
    cannot compute the operator's result: unread (spec.dataFrom[0]: ClusterSecretStore aws is not in the file of values)
    the operator's sync would fail: decoding (spec.data[0])
    cannot compute the operator's result: template (spec.target.template: data.url: the function `unknownFunction`)
    the operator's sync would fail: template (spec.target.template: data.url: the missing key `hostname`)
    cannot compute the operator's result: unread (spec.dataFrom[0]: this example has only one version of each secret)
    ");
}

#[test]
fn bad_arguments_are_reported() {
    let run = |arguments: &[&str]| {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        expected::run(&arguments)
    };
    assert!(run(&["one"]).unwrap_err().contains("usage: "));
    assert!(run(&["--help"]).unwrap().starts_with("usage: "));
    let message = run(&["/does/not/exist", "values.yaml"]).unwrap_err();
    assert!(message.starts_with("/does/not/exist: "), "{message}");
}
