//! Reads stores of the Kubernetes provider over TLS, with tokens and rights of a real API server.

use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::{
    Access, Cluster,
    connect::{Options, connect},
};
use eso_model::{
    StoreKey,
    expected::{Raw, What},
};
use kube::config::Kubeconfig;
use pace::{Clock, rate::Rate};
use providers::{Answered, Identity, RateLimiter, Resolver, StoreSettings, connect as open};
use serde_json::{Value, json};

use crate::support::{World, eventually, optional_variable};

/// The API server's URL, and the PEM of its certificate authority in base64.
fn server() -> (String, String) {
    let path = optional_variable("ESO_SYNC_TEST_KUBECONFIG").expect("a kubeconfig");
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    let cluster = kubeconfig.clusters[0].cluster.clone().expect("a cluster");
    let authority = cluster.certificate_authority_data.unwrap_or_else(|| {
        let path = cluster.certificate_authority.expect("an authority");
        STANDARD.encode(std::fs::read(path).expect("an authority"))
    });
    (cluster.server.expect("a server"), authority)
}

async fn read_only_cluster() -> Cluster {
    let options = Options {
        kubeconfig: optional_variable("ESO_SYNC_TEST_KUBECONFIG").map(Into::into),
        ..Options::new(Clock::starting_at(crate::support::now()))
    };
    let rate = Rate::per_second(1000.0).expect("a rate");
    connect(&options, Access::ReadOnly, rate)
        .await
        .expect("a cluster")
}

/// The values of these keys, or the reasons why they cannot be read.
async fn answers(world: &World, store: &str, settings: &Value, keys: &[&str]) -> Vec<String> {
    let own = read_only_cluster().await;
    let key: StoreKey = store.parse().expect("a store");
    let resolver = Resolver::new(own.clone(), key.clone(), &world.namespace);
    let store = StoreSettings::new(key, "kubernetes", settings.clone());
    let provider = match open(&store, Identity::Store(&resolver), &own).await {
        Ok(provider) => provider,
        Err(unread) => return vec![unread.why.to_string()],
    };
    let wanted: Vec<What> = keys
        .iter()
        .map(|key| What::Secret {
            key: (*key).to_owned(),
            version: String::new(),
            metadata: false,
        })
        .collect();
    let limiter = RateLimiter::new(Rate::per_second(1000.0).expect("a rate"));
    let answers = provider.read(&wanted, &limiter).await;
    answers
        .iter()
        .map(|answered| match answered {
            Answered::One(Raw::Keys(keys), _) => {
                let password = keys.get("password").expect("a password");
                String::from_utf8(password.expose().to_vec()).expect("UTF-8")
            }
            Answered::NotFound => "not found".to_owned(),
            Answered::Unread(unread) => {
                let right = unread.permission.as_deref().unwrap_or_default();
                format!("{} [{right}]", unread.why)
            }
            Answered::One(..) | Answered::Many(_) | Answered::Fails(_) => {
                "something else".to_owned()
            }
        })
        .collect()
}

/// Creates the Secret `source`, a ServiceAccount that may read it, and one without rights.
async fn prepare(world: &World) {
    let yaml = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: NS}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nobody, namespace: NS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: NS}
rules:
  - {apiGroups: [''], resources: [secrets], resourceNames: [source, absent], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: NS}]
---
apiVersion: v1
kind: Secret
metadata: {name: source, namespace: NS}
stringData: {password: before}
";
    world.apply_yaml(yaml).await;
}

/// Uses another host name for the same server: the address of the job's own cluster would use the existing connection.
fn settings(world: &World, account: &str) -> Value {
    let (url, authority) = server();
    let url = url.replace("127.0.0.1", "localhost");
    json!({
        "server": {"url": url, "caBundle": authority},
        "remoteNamespace": world.namespace,
        "auth": {"serviceAccount": {"name": account}},
    })
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn kubernetes_stores_are_read_like_the_operator_does() {
    let world = World::cluster().await;
    prepare(&world).await;
    let settings = settings(&world, "reader");
    let shared = world.namespace.clone();
    for (kind, name) in [("SecretStore", "own"), ("ClusterSecretStore", &*shared)] {
        let mut store = json!({
            "apiVersion": format!("external-secrets.io/{}", world.version), "kind": kind,
            "metadata": {"name": name}, "spec": {"provider": {"kubernetes": settings}},
        });
        let mut key = format!("ClusterSecretStore/{name}");
        if kind == "SecretStore" {
            store["metadata"]["namespace"] = json!(world.namespace);
            key = format!("SecretStore/{}/{name}", world.namespace);
        }
        world.apply(store).await;
        let target = kind.to_ascii_lowercase();
        world
            .apply(json!({
                "apiVersion": format!("external-secrets.io/{}", world.version), "kind": "ExternalSecret",
                "metadata": {"name": target, "namespace": world.namespace},
                "spec": {
                    "secretStoreRef": {"kind": kind, "name": name},
                    "data": [{"secretKey": "password", "remoteRef": {"key": "source", "property": "password"}}],
                },
            }))
            .await;
        let synced = eventually("the operator syncs it", async || {
            world.secret(&target, "password").await
        })
        .await;
        let read = answers(&world, &key, &settings, &["source", "absent"]).await;
        let encoded = STANDARD.encode(&read[0]);
        assert_eq!(
            [encoded, read[1].clone()],
            [synced, "not found".to_owned()],
            "{kind}"
        );
    }
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_denied_read_names_the_missing_right() {
    let world = World::cluster().await;
    prepare(&world).await;
    let namespace = &world.namespace;
    let store = format!("SecretStore/{namespace}/own");
    let denied = |key: &str| {
        format!("denied (the API server denies the read) [get secrets/{key} in {namespace}]")
    };
    let read = answers(&world, &store, &settings(&world, "reader"), &["other"]).await;
    assert_eq!(read, [denied("other")]);
    let read = answers(&world, &store, &settings(&world, "nobody"), &["source"]).await;
    assert_eq!(read, [denied("source")]);
    let read = answers(&world, &store, &settings(&world, "unborn"), &["source"]).await;
    assert_eq!(
        read,
        [format!(
            "store-unreadable (ServiceAccount {namespace}/unborn does not exist)"
        )]
    );
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_server_with_an_untrusted_certificate_gets_no_token() {
    let world = World::cluster().await;
    prepare(&world).await;
    let store = format!("SecretStore/{}/own", world.namespace);
    let mut settings = settings(&world, "reader");
    settings["server"]["caBundle"] = json!(STANDARD.encode(self_signed().0));
    let read = answers(&world, &store, &settings, &["source"]).await;
    assert!(
        read[0].starts_with("unknown-authority") && read[0].contains("certificate"),
        "{read:?}"
    );
    world.end().await;
}

/// A client certificate is sent even if the server does not trust it. The result is the server's answer.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn client_certificate_and_key_are_read_from_secrets() {
    let world = World::cluster().await;
    prepare(&world).await;
    let store = format!("SecretStore/{}/own", world.namespace);
    let (certificate, key) = self_signed();
    world
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "stringData": {"cert": certificate, "key": key},
            "metadata": {"name": "client", "namespace": world.namespace},
        }))
        .await;
    let mut settings = settings(&world, "reader");
    settings["auth"] = json!({"cert": {
        "clientCert": {"name": "client", "key": "cert"}, "clientKey": {"name": "client", "key": "key"},
    }});
    let read = answers(&world, &store, &settings, &["source"]).await;
    assert!(
        read[0].starts_with("login-failed") || read[0].starts_with("denied"),
        "{read:?}"
    );
    settings["auth"]["cert"]["clientKey"]["key"] = json!("cert");
    let read = answers(&world, &store, &settings, &["source"]).await;
    assert!(read[0].starts_with("login-failed"), "{read:?}");
    assert!(!read[0].contains("BEGIN"), "{read:?}");
    world.end().await;
}

/// A self-signed certificate and its key, both as PEM.
fn self_signed() -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let [certificate, key] = ["cert", "key"].map(|name| folder.path().join(name));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "1", "-subj", "/CN=stranger", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl");
    assert!(made.status.success());
    let read = |path| std::fs::read_to_string(path).expect("PEM");
    (read(certificate), read(key))
}
