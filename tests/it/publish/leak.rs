//! No published value leaves memory but to the provider: unique values are planted in files of every format, and publications run at
//! the highest log level while the provider's answers have faults that repeat the values. All output, all report files, everything that is written to
//! the cluster, and all that the provider gets beside the values, are searched for them.

use std::{fs, path::Path, sync::LazyLock};

use futures::{StreamExt as _, stream};
use serde_json::json;

use super::{
    KEY,
    faults::{Faults, KINDS, Kind},
    targets::{KeyVault, ParameterStore, Route, SecretManager, SecretsManager, Target, Vault},
};
use crate::{
    sops::program::key_file,
    support::{Outcome, Planted, Workspace, World},
};

/// The published keys, and their planted values. Those of SOPS files are in `crates/sops/tests/files/plain`.
const PUBLISHED: [(&str, &str); 13] = [
    ("ENV", BEFORE),
    ("yaml", "aT7xKv2Wp9LmbFrq"),
    ("json", "qW3eZs5Xa1FgdCmq"),
    ("ini", "uI9oPk7Jb2MneDtq"),
    ("blob", "gH5yTf3Rd8CstMpq"),
    ("sealedEnv", "tN5wXq8Lr2VbhJke"),
    ("sealedYaml", "yP3cKz7Mf9WdgRue"),
    ("sealedJson", "kB6rTn1Hx4QvsZye"),
    ("sealedIni", "mG9jDs2Fw5UcxLae"),
    ("sealedBlob", "wC4hVb8Jt6NyqPme"),
    ("literal", "vB6nMj4Lq9XzsTkq"),
    ("data", "cX2dSw7Ea5QpaPkq"),
    ("SERVICE", "lO8iKu6Gy3HteRxq"),
];

const BEFORE: &str = "zQ7xKv9Wp2LmbFrs";
const AFTER: &str = "jR4tYh8Nc6VdrTdq";
/// In a property, in files that cannot be read, and in the provider's errors.
const PROPERTY: &str = "oP4rVn1Qk8ZwxTkq";
const BROKEN: &str = "eS6uJm3Dv7GzkYwb";
/// A line of a value of several lines, which looks like a key.
const PEM: &str = "rD7kUz3Hm8QsyVbx";
const ERROR: &str = "nF2gLx8Ct5RhpWvd";

static SEARCH: LazyLock<Planted> = LazyLock::new(|| {
    let key = fs::read_to_string(key_file("age.txt")).expect("a key");
    let key = key.split("AGE-SECRET-KEY-1").nth(1).expect("a key").trim();
    let values = PUBLISHED.map(|(_, value)| value);
    let others = [AFTER, PROPERTY, BROKEN, PEM, ERROR, KEY, key];
    Planted::new(values.into_iter().chain(others))
});

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn published_value_in_aws_leaves_memory_only_to_the_provider() {
    nothing_leaks::<SecretsManager>().await;
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn published_value_in_aws_parameter_store_leaves_memory_only_to_the_provider() {
    nothing_leaks::<ParameterStore>().await;
}

#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn published_value_in_vault_leaves_memory_only_to_the_provider() {
    nothing_leaks::<Vault>().await;
}

#[tokio::test]
async fn published_value_at_google_leaves_memory_only_to_the_provider() {
    nothing_leaks::<SecretManager>().await;
}

#[tokio::test]
async fn published_value_at_azure_leaves_memory_only_to_the_provider() {
    nothing_leaks::<KeyVault>().await;
}

/// Files of every format, plain and encrypted, and files that cannot be read.
fn plant(folder: &Path) {
    let of = |key: &str| {
        let found = PUBLISHED.iter().find(|(name, _)| *name == key);
        found.expect("a planted value").1
    };
    let profile = "shop/deployment-configuration/profiles/dev";
    for folder_name in ["built", profile, "reports"] {
        fs::create_dir_all(folder.join(folder_name)).expect("a folder");
    }
    for (name, text) in [
        ("app.env", format!("ENV={BEFORE}\n")),
        ("app.yaml", format!("yaml: {}\n", of("yaml"))),
        ("app.json", json!({"json": of("json")}).to_string()),
        ("app.ini", format!("ini = {}\n", of("ini"))),
        ("blob", of("blob").to_owned()),
        (
            "built/kustomization.yaml",
            format!(
                "resources: [secret.yaml]\nsecretGenerator: [{{name: a, literals: [literal={}]}}]\n",
                of("literal")
            ),
        ),
        (
            "built/secret.yaml",
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: b}}\nstringData: {{data: {}}}\n",
                of("data")
            ),
        ),
        (
            &format!("{profile}/application.secrets.env"),
            format!("SERVICE={}\n", of("SERVICE")),
        ),
        (
            &format!("{profile}/application.properties"),
            format!("a.b={PROPERTY}\n"),
        ),
        ("broken.env", format!("A={BROKEN}\\nmore\n")),
        (
            "pem.env",
            format!(
                "A={BROKEN}\nB=-----BEGIN PRIVATE KEY-----\n{PEM}==\n-----END PRIVATE KEY-----\n"
            ),
        ),
        ("broken.yaml", format!("a: [{BROKEN}\nb: }}\n")),
        ("broken.json", format!("{{\"a\": \"{BROKEN}\",,}}")),
        ("broken.ini", format!("[{BROKEN}\n")),
        ("broken.properties", format!("a={BROKEN}\\u12\n")),
    ] {
        fs::write(folder.join(name), text).expect("a file");
    }
    let encrypted = |format: &str| {
        let path = key_file(&format!("encrypted/planted.{format}"));
        fs::read_to_string(path).expect("a file")
    };
    for format in ["env", "yaml", "json", "ini"] {
        fs::write(folder.join(format!("sealed.{format}")), encrypted(format)).expect("a file");
    }
    fs::write(folder.join("sealedBlob"), encrypted("bin")).expect("a file");
    // Its MAC is that of another time.
    let changed = encrypted("env").replace("lastmodified=2", "lastmodified=3");
    fs::write(folder.join("changed.env"), changed).expect("a file");
}

/// The files that the item `files` publishes, and the keys in them.
const FILES: [(&str, &str); 10] = [
    ("app.env", "ENV"),
    ("sealed.env", "sealedEnv"),
    ("app.yaml", "yaml"),
    ("app.json", "json"),
    ("app.ini", "ini"),
    ("blob", "blob"),
    ("sealed.yaml", "sealedYaml"),
    ("sealed.json", "sealedJson"),
    ("sealed.ini", "sealedIni"),
    ("sealedBlob", "sealedBlob"),
];

const BROKEN_FILES: [&str; 7] = [
    "broken.env",
    "pem.env",
    "broken.yaml",
    "broken.json",
    "broken.ini",
    "broken.properties",
    "changed.env",
];

/// `read.files`
fn list<'f>(files: impl Iterator<Item = &'f str>) -> String {
    let files = files.map(|file| {
        let format = if file.contains('.') {
            ""
        } else {
            ", format: binary"
        };
        format!("{{path: {file}{format}}}")
    });
    format!("files: [{}]", files.collect::<Vec<_>>().join(", "))
}

/// What the items read. The rates of writes are low, so only one kind of fault gets all formats.
fn reads(kind: Kind) -> Vec<(&'static str, String)> {
    let broken = ("broken", list(BROKEN_FILES.into_iter()));
    let files = FILES.iter().map(|(file, _)| *file);
    if !matches!(kind, Kind::Lost) {
        return vec![("files", list(files.take(2))), broken];
    }
    vec![
        ("files", list(files)),
        broken,
        ("kustomize", "kustomize: {path: built}".to_owned()),
        ("profile", "profile: {environment: dev}".to_owned()),
    ]
}

fn policy(kind: Kind, namespace: &str, owner: &str, url: &str) -> String {
    let keys = key_file("age.txt").display().to_string();
    let items = reads(kind).into_iter().map(|(name, read)| {
        format!(
            "    - name: {name}\n      source: {{path: {{dir: ., revision: v1}}}}\n      read: {{{read}}}\n      sops: {{keys: ['file:{keys}']}}\n      \
             to: {{store: {{kind: ClusterSecretStore, name: {namespace}-store}}}}\n      names: {{prefix: {owner}}}\n      then: {{sync: true}}\n"
        )
    });
    format!(
        "select: [{{namespaces: [{namespace}]}}]\nsync: {{timeout: 3s, retries: 0}}\ndrift: {{endpoints: ['{url}']}}\n\
         publish:\n  owner: {owner}\n  key: env:PUBLISH_KEY\n  items:\n{}",
        items.collect::<String>()
    )
}

async fn nothing_leaks<T: Target>() {
    let cases = stream::iter(KINDS).map(nothing_leaks_with::<T>);
    cases.buffer_unordered(KINDS.len()).collect::<()>().await;
}

async fn nothing_leaks_with<T: Target>(kind: Kind) {
    let mut world = World::sandbox().await;
    let owner = format!("leak-{:08x}", fastrand::u32(..));
    let target = T::start(&owner).await;
    let faults = Faults::new(kind, ERROR);
    let route = target.proxy(faults.script()).await;
    target.prepare(&route, &mut world.bin);
    world.bin.set("RUST_LOG", "trace");
    plant(world.bin.path());
    objects(&world, &target, &route, &owner).await;
    let text = policy(kind, &world.namespace, &owner, &route.url);
    world.bin.file("policy.yaml", &text);
    let run = async |arguments: &[&str]| searched(&world, &format!("{kind:?}"), arguments).await;
    let happened = || assert!(faults.stop() > 0, "{kind:?}: no answer had a fault");

    faults.start(false);
    run(&["publish", "--yes", "-o", "json", "--log-format", "json"]).await;
    happened();
    let completed = run(&["publish", "--yes", "-o", "table"]).await;
    let is_published = |key: &str| {
        let few = FILES.iter().take(2).any(|(_, of)| *of == key);
        few || matches!(kind, Kind::Lost)
    };
    for (key, value) in PUBLISHED.into_iter().filter(|(key, _)| is_published(key)) {
        let held = target.held(&format!("{owner}-{key}")).await;
        assert_eq!(
            held,
            (value.to_owned(), 1),
            "{kind:?}: {key}: {}",
            completed.stdout
        );
    }
    world.bin.file("app.env", &format!("ENV={AFTER}\n"));
    faults.start(false);
    run(&["publish", "--yes", "-o", "yaml"]).await;
    happened();
    faults.start(true);
    run(&["publish", "status", "--verify", "-o", "json"]).await;
    happened();
    run(&["publish", "--yes", "-o", "json"]).await;
    let held = target.held(&format!("{owner}-ENV")).await;
    assert_eq!(held, (AFTER.to_owned(), 2), "{kind:?}");

    for request in world.embedded().requests() {
        let said = format!(
            "{} {}",
            request.path,
            String::from_utf8_lossy(&request.body)
        );
        SEARCH.not_in(&said, "a request to the API server");
    }
    metadata_holds_no_value::<T>(&route);
}

/// A store, an ExternalSecret that reads a published value, and the job's own Pod, which gets an Event.
async fn objects<T: Target>(world: &World, target: &T, route: &Route, owner: &str) {
    let ns = &world.namespace;
    let version = format!("external-secrets.io/{}", world.version);
    let store = format!("{ns}-store");
    for object in [
        json!({"apiVersion": version, "kind": "ClusterSecretStore", "metadata": {"name": store},
            "spec": {"provider": target.provider(&route.url)}}),
        json!({"apiVersion": version, "kind": "ExternalSecret", "metadata": {"name": "app", "namespace": ns},
            "spec": {"refreshInterval": "24h", "secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
                "data": [{"secretKey": "k", "remoteRef": T::remote(&format!("{owner}-ENV"))}]}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job", "namespace": ns}}),
    ] {
        world.apply(object).await;
    }
}

const REPORTS: [&str; 7] = ["json", "yaml", "csv", "junit", "markdown", "sarif", "html"];

/// Runs a command, and searches its output and its report files.
async fn searched(world: &World, case: &str, arguments: &[&str]) -> Outcome {
    let ns = &world.namespace;
    let reports = REPORTS
        .map(|format| format!("{format}=reports/{format}"))
        .join(",");
    let policy = world.bin.path().join("policy.yaml");
    let policy = policy.to_str().expect("UTF-8");
    let more = [
        "-vvv",
        "--config",
        policy,
        "--report",
        &reports,
        "--lock-namespace",
        ns,
        "--pod-namespace",
        ns,
        "--pod-name",
        "job",
    ];
    let outcome = world.bin.run(&[arguments, &more].concat()).await;
    let shown = format!("{case}: {arguments:?}");
    assert!(
        ![2, 4].contains(&outcome.code),
        "{shown}: {}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("TRACE"),
        "{shown} must log at trace level"
    );
    SEARCH.not_in(&outcome.stdout, &format!("stdout of {shown}"));
    SEARCH.not_in(&outcome.stderr, &format!("stderr of {shown}"));
    reports_hold_no_value(&world.bin, &shown);
    outcome
}

fn reports_hold_no_value(workspace: &Workspace, shown: &str) {
    for format in REPORTS {
        let path = workspace.path().join("reports").join(format);
        let text = fs::read_to_string(path).expect("a report");
        SEARCH.not_in(&text, &format!("{format} of {shown}"));
    }
}

/// Names, tags, labels, annotations, descriptions and marks.
fn metadata_holds_no_value<T: Target>(route: &Route) {
    let mut is_sent = false;
    for asked in route.asked().iter().filter(|asked| !asked.is_login()) {
        let mut body = asked.json();
        is_sent |= SEARCH.found(&body.to_string()).is_some();
        T::remove_value(&mut body);
        let said = format!("{} {} {body}", asked.operation, asked.path());
        SEARCH.not_in(&said, "the metadata of a request to the provider");
    }
    assert!(is_sent, "no request had a value");
}
