//! The cluster of a test: the sandbox in this process, or a real one. Scenarios use both in the same way.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Request, StatusCode};
use kube::Client;
use sandbox::{Sandbox, Settings};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Running, Workspace};

/// The longest wait for a state.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `state` returns a value.
pub(crate) async fn eventually<T>(what: &str, mut state: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = state().await {
            return value;
        }
        assert!(Instant::now() < deadline, "timed out waiting until: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A cluster, with a namespace that only this test uses.
pub(crate) struct World {
    pub(crate) sandbox: Option<Sandbox>,
    client: Client,
    /// The API server's URL, and the PEM of its certificate authority in base64.
    api_server: (String, String),
    /// The version of ESO's API that the cluster serves.
    pub(crate) version: &'static str,
    /// The test's namespace. The names of its cluster-scoped objects begin with it.
    pub(crate) namespace: String,
    pub(crate) bin: Workspace,
}

impl World {
    /// An empty sandbox.
    pub(crate) async fn sandbox() -> Self {
        Self::sandbox_with(Settings::default()).await
    }

    /// An empty sandbox with these settings.
    pub(crate) async fn sandbox_with(settings: Settings) -> Self {
        let sandbox = Sandbox::empty(settings, now()).await.expect("a sandbox");
        let url = sandbox.url();
        let config = kube::Config::new(url.parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client");
        let version = if settings.v1beta1 { "v1beta1" } else { "v1" };
        let api_server = (url.clone(), String::new());
        let arguments = vec!["--server".to_owned(), url];
        Self::new(Some(sandbox), client, api_server, version, arguments).await
    }

    /// The real cluster of `ESO_SYNC_TEST_KUBECONFIG`.
    pub(crate) async fn cluster() -> Self {
        let kubeconfig = variable("ESO_SYNC_TEST_KUBECONFIG");
        let loaded = kube::config::Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let api_server = api_server_of(&loaded);
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(loaded, &options);
        let client = Client::try_from(config.await.expect("a context")).expect("a client");
        if optional_variable("ESO_SYNC_TEST_ESO_PID").is_some() {
            // A failed test may have left the operator stopped.
            signal_operator("CONT").await;
        }
        let old = optional_variable("ESO_SYNC_TEST_OLD_OPERATOR").is_some();
        let version = if old { "v1beta1" } else { "v1" };
        let arguments = vec!["--kubeconfig".to_owned(), kubeconfig];
        Self::new(None, client, api_server, version, arguments).await
    }

    async fn new(
        sandbox: Option<Sandbox>,
        client: Client,
        api_server: (String, String),
        version: &'static str,
        arguments: Vec<String>,
    ) -> Self {
        let namespace = format!("t-{:08x}", fastrand::u32(..));
        let mut bin = Workspace::new(arguments);
        // Each test has its own lock, so that tests can run in parallel.
        bin.set("ESO_SYNC_LOCK_NAMESPACE", &namespace);
        let world = Self {
            sandbox,
            client,
            api_server,
            version,
            namespace,
            bin,
        };
        world
            .apply(json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": world.namespace, "labels": {"test": world.namespace}},
            }))
            .await;
        world
    }

    /// Stops the operator: nothing is synced from now on.
    pub(crate) async fn rest(&self) {
        match &self.sandbox {
            Some(sandbox) => sandbox.stop_operator(),
            None => signal_operator("STOP").await,
        }
    }

    /// Continues the operator.
    pub(crate) async fn resume(&self) {
        match &self.sandbox {
            Some(sandbox) => sandbox.start_operator(),
            None => signal_operator("CONT").await,
        }
    }

    /// The sandbox. Panics on a real cluster.
    pub(crate) fn embedded(&self) -> &Sandbox {
        self.sandbox
            .as_ref()
            .expect("this test runs in the sandbox")
    }

    /// The API server's URL, and the PEM of its certificate authority in base64.
    pub(crate) fn api_server(&self) -> (&str, &str) {
        (&self.api_server.0, &self.api_server.1)
    }

    fn path(&self, kind: &str, namespace: &str) -> String {
        let eso = format!("external-secrets.io/{}", self.version);
        let (group, plural) = match kind {
            "Namespace" => return "/api/v1/namespaces".to_owned(),
            "ClusterSecretStore" => return format!("/apis/{eso}/clustersecretstores"),
            "ClusterExternalSecret" => return format!("/apis/{eso}/clusterexternalsecrets"),
            "ClusterRole" => return "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
            "ClusterRoleBinding" => {
                return "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned();
            }
            "CustomResourceDefinition" => {
                return "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned();
            }
            "GitRepository" => (
                "apis/source.toolkit.fluxcd.io/v1".to_owned(),
                "gitrepositories",
            ),
            "ExternalSecret" => (format!("apis/{eso}"), "externalsecrets"),
            "SecretStore" => (format!("apis/{eso}"), "secretstores"),
            "Secret" => ("api/v1".to_owned(), "secrets"),
            "Event" => ("api/v1".to_owned(), "events"),
            "Pod" => ("api/v1".to_owned(), "pods"),
            "ServiceAccount" => ("api/v1".to_owned(), "serviceaccounts"),
            "ConfigMap" => ("api/v1".to_owned(), "configmaps"),
            "Deployment" => ("apis/apps/v1".to_owned(), "deployments"),
            "StatefulSet" => ("apis/apps/v1".to_owned(), "statefulsets"),
            "DaemonSet" => ("apis/apps/v1".to_owned(), "daemonsets"),
            "ReplicaSet" => ("apis/apps/v1".to_owned(), "replicasets"),
            "ReplicationController" => ("api/v1".to_owned(), "replicationcontrollers"),
            "PodDisruptionBudget" => ("apis/policy/v1".to_owned(), "poddisruptionbudgets"),
            "Rollout" => ("apis/argoproj.io/v1alpha1".to_owned(), "rollouts"),
            "Lease" => ("apis/coordination.k8s.io/v1".to_owned(), "leases"),
            "Role" => ("apis/rbac.authorization.k8s.io/v1".to_owned(), "roles"),
            "RoleBinding" => (
                "apis/rbac.authorization.k8s.io/v1".to_owned(),
                "rolebindings",
            ),
            other => panic!("the tests do not support the kind {other}"),
        };
        format!("/{group}/namespaces/{namespace}/{plural}")
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content: &str,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content)
            .body(body);
        self.client.request(request.expect("a request")).await
    }

    /// Creates an object, or merges the change if it exists.
    pub(crate) async fn apply(&self, object: Value) -> Value {
        let namespace = object["metadata"]["namespace"]
            .as_str()
            .unwrap_or(&self.namespace)
            .to_owned();
        let path = self.path(object["kind"].as_str().expect("a kind"), &namespace);
        match self.send("POST", &path, "application/json", &object).await {
            Ok(created) => created,
            Err(kube::Error::Api(status)) if status.code == StatusCode::CONFLICT.as_u16() => {
                let path = format!(
                    "{path}/{}",
                    object["metadata"]["name"].as_str().expect("a name")
                );
                self.send("PATCH", &path, "application/merge-patch+json", &object)
                    .await
                    .expect("a change")
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Applies all documents of a YAML stream, with the placeholders of [`Self::named`].
    pub(crate) async fn apply_yaml(&self, yaml: &str) {
        let yaml = self.named(yaml);
        for document in yaml
            .split("\n---")
            .filter(|document| !document.trim().is_empty())
        {
            let object: Value = serde_saphyr::from_str(document)
                .unwrap_or_else(|error| panic!("{error}: {document}"));
            self.apply(object).await;
        }
    }

    /// Replaces `NS` by the test's namespace, and `VERSION` by the version of ESO's API.
    pub(crate) fn named(&self, text: &str) -> String {
        text.replace("VERSION", self.version)
            .replace("NS", &self.namespace)
    }

    /// Starts `run` with a policy, with the placeholders of [`Self::named`].
    pub(crate) fn start(&self, policy: &str) -> Running {
        let path = self.bin.file("started.yaml", &self.named(policy));
        self.bin.start(&[
            "run",
            "-o",
            "json",
            "--config",
            path.to_str().expect("UTF-8"),
        ])
    }

    /// Applies a merge patch to an object of the test's namespace.
    pub(crate) async fn patch(&self, kind: &str, name: &str, change: &Value) -> Value {
        let path = format!("{}/{name}", self.path(kind, &self.namespace));
        self.send("PATCH", &path, "application/merge-patch+json", change)
            .await
            .expect("a change")
    }

    /// Applies an object of the test's namespace server-side, as this field manager, with `force`.
    pub(crate) async fn apply_server_side(&self, object: &Value, manager: &str) {
        let path = self.path_of(object);
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.send("PATCH", &path, "application/apply-patch+yaml", object)
            .await
            .expect("applied");
    }

    /// Like `apply_server_side`, but as a dry run. Returns the object that would result.
    pub(crate) async fn applied(&self, object: &Value, manager: &str) -> Value {
        let path = self.path_of(object);
        let path = format!("{path}?fieldManager={manager}&force=true&dryRun=All");
        self.send("PATCH", &path, "application/apply-patch+yaml", object)
            .await
            .expect("it can be applied")
    }

    /// Applies a JSON patch to an object of the test's namespace, as this field manager.
    pub(crate) async fn patch_json(&self, object: &Value, operations: &[Value], manager: &str) {
        let path = format!("{}?fieldManager={manager}", self.path_of(object));
        let operations = Value::from(operations);
        self.send("PATCH", &path, "application/json-patch+json", &operations)
            .await
            .expect("a change");
    }

    /// Replaces an object of the test's namespace without a precondition, as this field manager.
    pub(crate) async fn replace(&self, object: &Value, manager: &str) {
        let path = format!("{}?fieldManager={manager}", self.path_of(object));
        self.send("PUT", &path, "application/json", object)
            .await
            .expect("replaced");
    }

    /// Tries a merge patch as this user, as a dry run. Returns the API server's error.
    pub(crate) async fn try_patch_as(
        &self,
        user: &str,
        kind: &str,
        name: &str,
        change: &Value,
    ) -> Result<(), String> {
        let path = format!("{}/{name}", self.path(kind, &self.namespace));
        self.dry_run_as(user, "PATCH", &path, change).await
    }

    /// Tries to create an object as this user, as a dry run. Returns the API server's error.
    pub(crate) async fn try_create_as(&self, user: &str, object: &Value) -> Result<(), String> {
        let path = self.path(object["kind"].as_str().expect("a kind"), &self.namespace);
        self.dry_run_as(user, "POST", &path, object).await
    }

    async fn dry_run_as(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<(), String> {
        let content = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?dryRun=All"))
            .header("Content-Type", content)
            .header("Impersonate-User", user)
            .body(body.to_string().into_bytes())
            .expect("a request");
        let sent = self.client.request::<Value>(request).await;
        sent.map(drop).map_err(|error| error.to_string())
    }

    fn path_of(&self, object: &Value) -> String {
        let kind = object["kind"].as_str().expect("a kind");
        let name = object["metadata"]["name"].as_str().expect("a name");
        format!("{}/{name}", self.path(kind, &self.namespace))
    }

    /// An object of the test's namespace, if it exists.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.get_in(&self.namespace, kind, name).await
    }

    /// An object, if it exists.
    pub(crate) async fn get_in(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        match self
            .send(
                "GET",
                &format!("{}/{name}", self.path(kind, namespace)),
                "application/json",
                &Value::Null,
            )
            .await
        {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == StatusCode::NOT_FOUND.as_u16() => None,
            Err(error) => panic!("{kind} {name}: {error}"),
        }
    }

    /// All objects of a kind in the test's namespace.
    pub(crate) async fn list(&self, kind: &str) -> Vec<Value> {
        let path = self.path(kind, &self.namespace);
        let list = self
            .send("GET", &path, "application/json", &Value::Null)
            .await
            .expect("a list");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        let path = format!("{}/{name}", self.path(kind, &self.namespace));
        self.send("DELETE", &path, "application/json", &Value::Null)
            .await
            .expect("deleted");
    }

    /// Deletes an object with these preconditions. Returns the HTTP status.
    pub(crate) async fn delete_if_unchanged(
        &self,
        kind: &str,
        name: &str,
        uid: &str,
        resource_version: &str,
    ) -> u16 {
        let path = format!("{}/{name}", self.path(kind, &self.namespace));
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
        });
        match self
            .send("DELETE", &path, "application/json", &options)
            .await
        {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{kind} {name}: {error}"),
        }
    }

    /// Deletes an object, if it still exists.
    pub(crate) async fn delete_if_there(&self, kind: &str, name: &str) {
        let path = format!("{}/{name}", self.path(kind, &self.namespace));
        let sent = self.send("DELETE", &path, "application/json", &Value::Null);
        expect_success_or_not_found(sent.await);
    }

    /// Applies a merge patch to an object, if it still exists.
    pub(crate) async fn patch_if_there(&self, kind: &str, name: &str, change: &Value) {
        let path = format!("{}/{name}", self.path(kind, &self.namespace));
        let sent = self.send("PATCH", &path, "application/merge-patch+json", change);
        expect_success_or_not_found(sent.await);
    }

    /// Waits until an ExternalSecret of the test has this reason in its Ready condition.
    pub(crate) async fn ready(&self, name: &str, reason: &str) {
        self.ready_in(&self.namespace, name, reason).await;
    }

    pub(crate) async fn ready_in(&self, namespace: &str, name: &str, reason: &str) {
        eventually(&format!("{namespace}/{name} is {reason}"), async || {
            let object = self.get_in(namespace, "ExternalSecret", name).await?;
            let conditions = object["status"]["conditions"].as_array()?.clone();
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["reason"] == reason)
                .then_some(())
        })
        .await;
    }

    /// Waits until the Ready condition of a store of the test has this status.
    pub(crate) async fn store_is(&self, name: &str, status: &str) {
        eventually(&format!("store {name} has Ready={status}"), async || {
            let object = self.get("SecretStore", name).await?;
            let conditions = object["status"]["conditions"].as_array()?.clone();
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == status)
                .then_some(())
        })
        .await;
    }

    /// The value under a key of a Secret of the test, in base64.
    pub(crate) async fn secret(&self, name: &str, key: &str) -> Option<String> {
        let secret = self.get("Secret", name).await?;
        secret["data"][key].as_str().map(str::to_owned)
    }

    /// Deletes the test's namespace with everything in it.
    pub(crate) async fn end(self) {
        if self.sandbox.is_none() {
            if optional_variable("ESO_SYNC_TEST_ESO_PID").is_some() {
                self.resume().await;
            }
            let path = format!("/api/v1/namespaces/{}", self.namespace);
            self.send("DELETE", &path, "application/json", &Value::Null)
                .await
                .expect("deleted");
        }
    }
}

fn expect_success_or_not_found(sent: Result<Value, kube::Error>) {
    match sent {
        Err(kube::Error::Api(status)) if status.code == StatusCode::NOT_FOUND.as_u16() => {}
        sent => drop(sent.expect("done")),
    }
}

fn api_server_of(kubeconfig: &kube::config::Kubeconfig) -> (String, String) {
    let cluster = kubeconfig.clusters.first();
    let cluster = cluster
        .and_then(|named| named.cluster.clone())
        .expect("a cluster");
    let authority = cluster.certificate_authority_data.or_else(|| {
        let pem = std::fs::read(cluster.certificate_authority?).expect("a certificate");
        Some(BASE64_STANDARD.encode(pem))
    });
    (
        cluster.server.expect("an address"),
        authority.unwrap_or_default(),
    )
}

/// The current time. The binary under test uses the real clock too.
#[expect(clippy::disallowed_methods, reason = "the tests run on the real clock")]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// An environment variable that `tests/cluster/run` sets.
#[expect(
    clippy::disallowed_methods,
    reason = "the script that starts the cluster passes its address this way"
)]
pub(crate) fn optional_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn variable(name: &str) -> String {
    optional_variable(name).unwrap_or_else(|| panic!("{name} is not set; run tests/cluster/run"))
}

/// Sends a signal to the process of a real operator, which must run on this machine.
async fn signal_operator(name: &str) {
    let pid = variable("ESO_SYNC_TEST_ESO_PID");
    let sent = tokio::process::Command::new("kill")
        .args(["-s", name, &pid])
        .status()
        .await
        .expect("kill");
    assert!(sent.success());
}
