//! The OpenBao server of the test cluster, with one Vault namespace per test.

use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::support::{eventually, optional_variable};

/// A namespace of the server, with KV version 2 at `secret/`.
pub(in crate::providers) struct Server {
    pub(in crate::providers) url: String,
    /// The root token of the namespace.
    pub(in crate::providers) token: String,
    pub(in crate::providers) namespace: String,
    http: reqwest::Client,
}

impl Server {
    /// Starts, or returns None and prints a message if the cluster has no such server.
    #[expect(
        clippy::print_stderr,
        reason = "the message is for the reader of the test output"
    )]
    pub(in crate::providers) async fn start() -> Option<Self> {
        let (Some(url), Some(token)) = (
            optional_variable("ESO_SYNC_TEST_VAULT"),
            optional_variable("ESO_SYNC_TEST_VAULT_TOKEN"),
        ) else {
            eprintln!("not tested: this cluster has no OpenBao");
            return None;
        };
        let server = Self {
            url,
            token,
            namespace: format!("t-{:08x}", fastrand::u32(..)),
            http: reqwest::Client::new(),
        };
        let created = format!("sys/namespaces/{}", server.namespace);
        server.root("POST", &created, "{}").await;
        server.mount("secret", "kv", "2").await;
        Some(server)
    }

    /// The settings of a store in this namespace.
    pub(super) fn settings(&self, more: &Value) -> Value {
        let mut settings = json!({"server": self.url, "namespace": self.namespace});
        for (name, value) in more.as_object().expect("an object") {
            settings[name] = value.clone();
        }
        settings
    }

    async fn answer(
        &self,
        method: &str,
        url: Url,
        namespace: &str,
        body: &str,
    ) -> reqwest::Response {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self
            .http
            .request(method, url)
            .header("x-vault-token", &self.token)
            .header("x-vault-namespace", namespace)
            .body(body.to_owned());
        request.send().await.expect("an answer")
    }

    async fn request(&self, method: &str, url: Url, namespace: &str, body: &str) -> Value {
        let response = self.answer(method, url.clone(), namespace, body).await;
        let status = response.status();
        let text = response.text().await.expect("a text");
        let empty_list = status == 404 && text.contains(r#""errors":[]"#);
        assert!(status.is_success() || empty_list, "{url}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url: Url = self.url.parse().expect("a URL");
        let mut segments = url.path_segments_mut().expect("a path");
        segments.push("v1");
        for part in path {
            segments.extend(part.split('/'));
        }
        drop(segments);
        url
    }

    async fn root(&self, method: &str, path: &str, body: &str) {
        self.request(method, self.at(&[path]), "", body).await;
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: &str) -> Value {
        self.request(method, self.at(&[path]), &self.namespace, body)
            .await
    }

    pub(in crate::providers) async fn write(&self, path: &str, body: &str) -> Value {
        self.send("POST", path, body).await
    }

    /// Writes to a path whose segments are escaped.
    pub(super) async fn write_at(&self, path: &[&str], body: &Value) {
        let url = self.at(path);
        self.request("POST", url, &self.namespace, &body.to_string())
            .await;
    }

    /// Mounts a secrets engine.
    pub(super) async fn mount(&self, path: &str, kind: &str, version: &str) {
        let mut mount = json!({"type": kind});
        if !version.is_empty() {
            mount["options"] = json!({"version": version});
        }
        self.write(&format!("sys/mounts/{path}"), &mount.to_string())
            .await;
        // An engine of version 2 is unavailable at first.
        if version == "2" {
            eventually("the mount can be used", async || {
                let config = self.at(&[path, "config"]);
                let answer = self.answer("GET", config, &self.namespace, "").await;
                answer.status().is_success().then_some(())
            })
            .await;
        }
    }

    /// Sets the policy of the logged-in identities.
    pub(super) async fn policy(&self, rules: &str) {
        let body = json!({"policy": rules}).to_string();
        self.write("sys/policies/acl/reader", &body).await;
    }

    async fn auth(&self, kind: &str) {
        let body = json!({"type": kind}).to_string();
        self.write(&format!("sys/auth/{kind}"), &body).await;
        self.policy(r#"path "secret/*" { capabilities = ["read", "list"] }"#)
            .await;
    }

    /// Creates an `AppRole` whose tokens have this lifetime. Returns its id and secret.
    pub(in crate::providers) async fn app_role(&self, life: &str) -> (String, String) {
        self.auth("approle").await;
        let role = json!({"token_ttl": life, "token_policies": ["reader"]}).to_string();
        self.write("auth/approle/role/job", &role).await;
        let id = self.send("GET", "auth/approle/role/job/role-id", "").await;
        let secret = self.write("auth/approle/role/job/secret-id", "{}").await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (
            text(&id["data"]["role_id"]),
            text(&secret["data"]["secret_id"]),
        )
    }

    /// Creates a user.
    pub(super) async fn user(&self, name: &str, password: &str) {
        self.auth("userpass").await;
        let body = json!({"password": password, "token_policies": ["reader"]}).to_string();
        self.write(&format!("auth/userpass/users/{name}"), &body)
            .await;
    }

    /// Enables logins for a service account of the cluster.
    pub(super) async fn kubernetes_auth(&self, account: &str, namespace: &str) {
        self.auth("kubernetes").await;
        let path = optional_variable("ESO_SYNC_TEST_KUBECONFIG").expect("a cluster");
        let kubeconfig = kube::config::Kubeconfig::read_from(path).expect("a kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .expect("a context");
        let ca = config.root_cert.expect("an authority").remove(0);
        let reviewer = config.auth_info.token.expect("a token");
        let body = json!({
            "kubernetes_host": config.cluster_url.to_string(),
            "kubernetes_ca_cert": pem(&ca),
            "token_reviewer_jwt": secrecy::ExposeSecret::expose_secret(&reviewer),
        });
        self.write("auth/kubernetes/config", &body.to_string())
            .await;
        let role = json!({"bound_service_account_names": [account], "bound_service_account_namespaces": [namespace],
            "audience": "vault", "token_policies": ["reader"]});
        self.write(
            &format!("auth/kubernetes/role/{account}"),
            &role.to_string(),
        )
        .await;
    }

    /// The accessors of all tokens.
    pub(super) async fn tokens(&self) -> Vec<String> {
        let listed = self.send("LIST", "auth/token/accessors", "").await;
        let keys = listed["data"]["keys"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        keys.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// Limits the requests per second at a mount.
    pub(super) async fn quota(&self, mount: &str, rate: u32) {
        let headers = r#"{"enable_rate_limit_response_headers":true}"#;
        self.root("POST", "sys/quotas/config", headers).await;
        let path = format!("{}/{mount}", self.namespace);
        let body = json!({"path": path, "rate": rate, "interval": "1s"}).to_string();
        let name = format!("sys/quotas/rate-limit/{}", self.namespace);
        self.root("POST", &name, &body).await;
    }

    /// Deletes everything that the test created.
    pub(in crate::providers) async fn end(self) {
        let quota = format!("sys/quotas/rate-limit/{}", self.namespace);
        self.root("DELETE", &quota, "").await;
        let namespace = format!("sys/namespaces/{}", self.namespace);
        self.root("DELETE", &namespace, "").await;
    }
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
