//! Azure Key Vault: a double that answers the real operator like Azure, under Azure's host names.
//!
//! The tests compare the Secrets that the operator writes with the results of the drift check. Both programs reach the double
//! through a proxy, and trust its certificate.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::skipped;
use crate::{
    drift::verdicts,
    providers::azure::{
        Certificate, Reply, Tunnel,
        service::{CLIENT, Service, TENANT},
    },
    support::{Outcome, World, optional_variable},
};

mod client;

/// A part of each value. It must not appear in any output.
const PLANTED: &str = "wonderwall-planted";

/// Starts the double and its proxy, for the operator and for eso-sync.
async fn azure(world: &mut World, proxy: &str, certificates: &str) -> (Service, Tunnel) {
    let folder = Path::new(certificates);
    let authority = folder.join("ca.crt");
    let certificate = Certificate {
        public: CertificateDer::from_pem_file(folder.join("server.crt")).expect("PEM"),
        key: PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("PEM"),
        authority: std::fs::read_to_string(&authority).expect("PEM"),
    };
    let service = Service::showing(certificate).await;
    let proxy_url = format!("http://{proxy}");
    for (name, value) in [
        ("HTTPS_PROXY", proxy_url.as_str()),
        ("NO_PROXY", "127.0.0.1"),
        ("SSL_CERT_FILE", authority.to_str().expect("UTF-8")),
    ] {
        world.bin.set(name, value);
    }
    let proxy = Tunnel::start(proxy, service.secure.address).await;
    (service, proxy)
}

/// The name of a store, how it logs in, and if the operator uses its new SDK for Azure (it has two).
const STORES: [(&str, &str, bool); 4] = [
    ("secret", "ServicePrincipal", false),
    ("secret-sdk", "ServicePrincipal", true),
    ("account", "WorkloadIdentity", false),
    ("account-sdk", "WorkloadIdentity", true),
];

async fn stores(world: &World) {
    let ns = &world.namespace;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "azure", "namespace": ns},
        "stringData": {"client": CLIENT, "right": "s3cret", "wrong": PLANTED}});
    world.apply(secret).await;
    let identity = "azure.workload.identity";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "azure", "namespace": ns,
        "annotations": {format!("{identity}/client-id"): CLIENT, format!("{identity}/tenant-id"): TENANT}}});
    world.apply(account).await;
    let wrong = ("wrong", "ServicePrincipal", true);
    for (name, auth, sdk) in STORES.into_iter().chain([wrong]) {
        let mut azure = json!({"authType": auth, "vaultUrl": format!("https://{ns}.vault.azure.net"), "useAzureSDK": sdk});
        if auth == "ServicePrincipal" {
            let key = if name == "wrong" { "wrong" } else { "right" };
            azure["tenantId"] = json!(TENANT);
            azure["authSecretRef"] = json!({"clientId": {"name": "azure", "key": "client"}, "clientSecret": {"name": "azure", "key": key}});
        } else {
            azure["serviceAccountRef"] = json!({"name": "azure"});
        }
        let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": name, "namespace": ns},
            "spec": {"provider": {"azurekv": azure}}});
        world.apply(store).await;
    }
}

/// The name of a case, its spec, and its expected verdict after the change of the vault.
fn specs(first: &str) -> Vec<(&'static str, Value, &'static str)> {
    let one = |reference: Value| json!({"data": [{"secretKey": "k", "remoteRef": reference}]});
    let found = |find: Value| json!({"dataFrom": [{"find": find}]});
    let mut gone = one(json!({"key": "doomed"}));
    gone["target"] = json!({"deletionPolicy": "Delete"});
    let tag = json!({"key": "db", "metadataPolicy": "Fetch", "property": "owner"});
    vec![
        ("plain", one(json!({"key": "db"})), "stale: k changed"),
        ("kind", one(json!({"key": "secret/db"})), "stale: k changed"),
        (
            "version",
            one(json!({"key": "db", "version": first})),
            "in-sync",
        ),
        (
            "property",
            one(json!({"key": "json", "property": "a.b"})),
            "stale: k changed",
        ),
        (
            "other-property",
            one(json!({"key": "json", "property": "n"})),
            "in-sync",
        ),
        ("tag", one(tag), "stale: k changed"),
        (
            "extract",
            json!({"dataFrom": [{"extract": {"key": "json"}}]}),
            "stale: a changed",
        ),
        (
            "by-name",
            found(json!({"name": {"regexp": "^page-"}})),
            "stale: page-1 changed, page-2 extra, page-4 missing",
        ),
        (
            "by-tags",
            found(json!({"tags": {"tier": "1"}})),
            "stale: page-1 extra",
        ),
        // The operator fails for disabled and deleted secrets, except with `deletionPolicy: Delete`.
        ("off", one(json!({"key": "off"})), "stale"),
        ("doomed", one(json!({"key": "doomed"})), "stale"),
        ("gone", gone, "stale: k extra"),
    ]
}

/// The cases for which the operator's two SDKs may differ.
const CASES_OF_EACH_SDK: [&str; 6] = ["tag", "by-name", "by-tags", "off", "doomed", "gone"];

fn is_read_from(store: &str, name: &str) -> bool {
    name == "plain"
        || store == "secret"
        || (store == "secret-sdk" && CASES_OF_EACH_SDK.contains(&name))
}

/// Fills the vault. Returns the first version of `db`.
fn fill(service: &Service) -> String {
    let value = |name: &str| format!("{PLANTED}-{name}");
    service.change(|vault| {
        // A small page size, so that searches need several pages.
        vault.page = 3;
        let first = vault.set("db", &value("first"));
        vault.set("db", &value("second"));
        vault.tag("db", "owner", &value("owner"));
        vault.set("json", &format!(r#"{{"a":{{"b":"{PLANTED}"}},"n":1.50}}"#));
        for name in ["page-1", "page-2", "page-3", "off", "doomed"] {
            vault.set(name, &value(name));
        }
        vault.tag("page-1", "tier", "1");
        vault.tag("page-3", "tier", "1");
        first
    })
}

fn change(service: &Service) {
    let value = |name: &str| format!("{PLANTED}-new-{name}");
    service.change(|vault| {
        vault.set("db", &value("third"));
        vault.tag("db", "owner", &value("owner"));
        vault.set(
            "json",
            &format!(r#"{{"a":{{"b":"{PLANTED}-new"}},"n":1.50}}"#),
        );
        vault.set("page-1", &value("1"));
        vault.set("page-4", &value("4"));
        vault.disable("page-2");
        vault.disable("off");
        vault.delete("doomed");
    });
}

async fn external_secret(world: &World, name: &str, store: &str, mut spec: Value) {
    spec["refreshInterval"] = json!("24h");
    spec["secretStoreRef"] = json!({"kind": "SecretStore", "name": store});
    let object = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": world.namespace}, "spec": spec});
    world.apply(object).await;
}

async fn drift(world: &World, names: &[&str]) -> Outcome {
    let all = ["drift", "-vvv", "-n", &world.namespace];
    let form = ["-o", "json", "--credentials", "store"];
    let outcome = world.bin.run(&[&all, &form, names].concat()).await;
    for said in [&outcome.stdout, &outcome.stderr] {
        let leak = said.lines().find(|line| line.contains(PLANTED));
        assert_eq!(leak, None, "a value or a credential is printed");
    }
    outcome
}

/// The expected verdicts of all names. A name is CASE-in-STORE.
fn expected_verdicts(
    names: &[String],
    of: impl Fn(&str) -> &'static str,
) -> BTreeMap<String, String> {
    names
        .iter()
        .map(|name| {
            let (read, _) = name.split_once("-in-").expect("a store");
            (name.clone(), of(read).to_owned())
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn verdicts_in_azure_match_the_operator() {
    let (Some(proxy), Some(certificates)) = (
        optional_variable("ESO_SYNC_TEST_CLOUDS"),
        optional_variable("ESO_SYNC_TEST_CERTIFICATES"),
    ) else {
        return skipped("proxy to the clouds");
    };
    let mut world = World::cluster().await;
    let (service, _proxy) = azure(&mut world, &proxy, &certificates).await;
    let specs = specs(&fill(&service));
    stores(&world).await;
    let mut names = Vec::new();
    for (store, _, _) in STORES {
        for (read, spec, _) in specs
            .iter()
            .filter(|(read, _, _)| is_read_from(store, read))
        {
            let name = format!("{read}-in-{store}");
            external_secret(&world, &name, store, spec.clone()).await;
            names.push(name);
        }
    }
    for name in &names {
        world.ready(name, "SecretSynced").await;
    }
    let outcome = drift(&world, &[]).await;
    let in_sync = expected_verdicts(&names, |_| "in-sync");
    assert_eq!(verdicts(&outcome.exits(0).document()), in_sync);

    change(&service);
    let then = |read: &str| {
        let (_, _, then) = specs.iter().find(|(name, _, _)| *name == read).expect("it");
        *then
    };
    let outcome = drift(&world, &[]).await;
    assert_eq!(
        verdicts(&outcome.exits(1).document()),
        expected_verdicts(&names, then)
    );

    run_syncs_what_drifted(&world, &names).await;
    let outcome = drift(&world, &[]).await;
    let failing = expected_verdicts(&names, |read| match read {
        "off" | "doomed" => "stale",
        _ => "in-sync",
    });
    assert_eq!(verdicts(&outcome.exits(1).document()), failing);

    faults_are_reported(&world, &service).await;
    wait_until_idle(&world).await;
    world.end().await;
}

/// Waits until the operator is idle. After the double has stopped, each request would block its only worker for a minute.
async fn wait_until_idle(world: &World) {
    for object in world.list("ExternalSecret").await {
        let name = object["metadata"]["name"].as_str().expect("a name");
        world.delete("ExternalSecret", name).await;
    }
    world.apply_yaml(LAST).await;
    world.ready("last", "SecretSynced").await;
}

/// An ExternalSecret that the operator syncs after it has finished the others.
const LAST: &str = r"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: last, namespace: NS}
spec: {provider: {fake: {data: [{key: k, value: v}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: last, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: last, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: k}}]}
";

/// A run syncs what drifted, and the operator fails exactly for the items that are reported as `would-fail`.
async fn run_syncs_what_drifted(world: &World, names: &[String]) {
    let fails = |name: &str| name.starts_with("off-") || name.starts_with("doomed-");
    for name in names.iter().filter(|name| fails(name)) {
        let forced = json!({"metadata": {"annotations": {"force-sync": "by hand"}}});
        world.patch("ExternalSecret", name, &forced).await;
    }
    let policy = "select: [{namespaces: [NS]}]\ndrift: {credentials: store}\n";
    let outcome = world.bin.policy(&world.named(policy), &[]).await;
    for name in names {
        let became = outcome.of(name);
        let (read, _) = name.split_once("-in-").expect("a store");
        let expected = match read {
            "off" | "doomed" => "skipped(would-fail)",
            "version" | "other-property" => "skipped(in-sync)",
            "gone" => "unproven(secret-deleted)",
            _ => "synced",
        };
        assert_eq!(became, expected, "{name}");
        if fails(name) {
            world.ready(name, "SecretSyncedError").await;
        }
    }
}

/// A throttled call is retried, and a wrong client secret is reported for its store.
async fn faults_are_reported(world: &World, service: &Service) {
    external_secret(
        world,
        "refused",
        "wrong",
        json!({"data": [{"secretKey": "k", "remoteRef": {"key": "db"}}]}),
    )
    .await;
    world.ready("refused", "SecretSyncedError").await;
    let throttled = json!({"error": {"code": "Throttled", "message": PLANTED}});
    let throttled = Reply::new(429, throttled).with("retry-after", "1");
    service.change(|vault| vault.faults.push_back(throttled));
    let outcome = drift(world, &["plain-in-secret", "refused"]).await;
    let document = outcome.document();
    let told: Vec<String> = verdicts(&document).into_values().collect();
    assert_eq!(told, ["in-sync", "missing"]);
    let store = format!("SecretStore/{}/wrong", world.namespace);
    let why = "login-failed (the login was answered with 401 (AADSTS7000215: the client's secret is wrong))";
    assert_eq!(document["unread"], json!([{"what": store, "why": why}]));
    service.change(|vault| assert!(vault.faults.is_empty(), "the fault was used"));
}
