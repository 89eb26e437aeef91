//! The providers that whole publications write to: a place of its own for each test, behind a proxy that the test controls.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::KEY;
use crate::{
    providers::{
        aws::moto::Moto,
        azure::{
            Certificate, Tunnel,
            service::{CLIENT, Service, TENANT},
        },
        double::Double,
        gcp::{Job, google::Google, job},
        proxy::{Asked, Proxy, Script, Tls},
        publish::vault,
    },
    support::{Workspace, now},
};

/// A provider.
pub(crate) trait Target: Sized {
    /// A place in which no other test has secrets of this owner.
    async fn start(owner: &str) -> Self;

    /// A proxy in front of the provider.
    async fn proxy(&self, script: Box<Script>) -> Route;

    /// `to` of an item that publishes through the proxy at this address.
    fn to(&self, url: &str) -> String;

    /// `spec.provider` of a store that is reached through the proxy at this address.
    fn provider(&self, url: &str) -> Json;

    /// The variables of a job that publishes through the proxy at this address.
    fn variables(&self, url: &str) -> Vec<(&'static str, String)>;

    /// The current value of a secret, and the number of its versions.
    async fn held(&self, name: &str) -> (String, usize);

    /// The tag, label or custom metadata of a secret under this key.
    async fn tag(&self, name: &str, key: &str) -> Option<String>;

    /// Removes the value that a request writes from its body. What remains is metadata.
    fn remove_value(body: &mut Json);

    /// `remoteRef` of an ExternalSecret that reads a secret.
    fn remote(name: &str) -> Json {
        json!({"key": name})
    }

    /// Sets the variables of the job.
    fn prepare(&self, route: &Route, workspace: &mut Workspace) {
        workspace.set("PUBLISH_KEY", KEY);
        for (name, value) in self.variables(&route.url) {
            workspace.set(name, &value);
        }
    }

    /// A workspace whose item `app` publishes `app.env` through a proxy, with this prefix, which is the publisher's name, too.
    fn workspace(&self, route: &Route, owner: &str) -> Workspace {
        self.workspace_with(Vec::new(), route, owner)
    }

    /// The same with more arguments for all commands.
    fn workspace_with(&self, arguments: Vec<String>, route: &Route, owner: &str) -> Workspace {
        let mut workspace = Workspace::new(arguments);
        self.prepare(route, &mut workspace);
        let (to, url) = (self.to(&route.url), &route.url);
        let policy = format!(
            "publish:\n  owner: {owner}\n  key: env:PUBLISH_KEY\n  items:\n    - name: app\n      source: {{path: {{dir: ., revision: v1}}}}\n      \
             read: {{files: [{{path: app.env}}]}}\n      to: {to}\n      names: {{prefix: {owner}}}\ndrift: {{endpoints: ['{url}']}}\n"
        );
        workspace.file("policy.yaml", &policy);
        workspace
    }
}

/// How a job reaches a provider.
pub(crate) struct Route {
    /// The address that the job gets.
    pub(crate) url: String,
    proxy: Proxy,
    /// Connects Azure's hosts to the proxy.
    _tunnel: Option<Tunnel>,
}

impl Route {
    async fn before(server: &str, script: Box<Script>) -> Self {
        let proxy = Proxy::before(server, script).await;
        Self {
            url: proxy.url.clone(),
            proxy,
            _tunnel: None,
        }
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.proxy.asked()
    }
}

fn remove(body: &mut Json, fields: &[&str]) {
    if let Some(body) = body.as_object_mut() {
        for field in fields {
            body.remove(*field);
        }
    }
}

const REGION: &str = "eu-north-1";

fn keys_of_aws(url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", url.to_owned()),
        ("AWS_ACCESS_KEY_ID", "id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "key".to_owned()),
    ]
}

fn tag_of_aws(tags: &Json, key: &str) -> Option<String> {
    let tag = tags.as_array()?.iter().find(|tag| tag["Key"] == key)?;
    tag["Value"].as_str().map(str::to_owned)
}

/// AWS Secrets Manager, as moto implements it.
pub(super) struct SecretsManager(Moto);

impl Target for SecretsManager {
    async fn start(_: &str) -> Self {
        Self(Moto::at(REGION))
    }

    async fn proxy(&self, script: Box<Script>) -> Route {
        Route::before(&self.0.url, script).await
    }

    fn to(&self, _: &str) -> String {
        format!("{{aws: {{region: {REGION}}}}}")
    }

    fn provider(&self, _: &str) -> Json {
        json!({"aws": {"service": "SecretsManager", "region": REGION}})
    }

    fn variables(&self, url: &str) -> Vec<(&'static str, String)> {
        keys_of_aws(url)
    }

    async fn held(&self, name: &str) -> (String, usize) {
        let current = json!({"SecretId": name, "VersionStage": "AWSCURRENT"});
        let read = self.0.secrets("GetSecretValue", current).await;
        let all = json!({"SecretId": name, "IncludeDeprecated": true});
        let listed = self.0.secrets("ListSecretVersionIds", all).await;
        let versions = listed["Versions"].as_array().map_or(0, Vec::len);
        (
            read["SecretString"].as_str().unwrap_or_default().to_owned(),
            versions,
        )
    }

    async fn tag(&self, name: &str, key: &str) -> Option<String> {
        let described = self
            .0
            .secrets("DescribeSecret", json!({"SecretId": name}))
            .await;
        tag_of_aws(&described["Tags"], key)
    }

    fn remove_value(body: &mut Json) {
        remove(body, &["SecretString"]);
    }
}

/// AWS Parameter Store, as moto implements it.
pub(super) struct ParameterStore(Moto);

impl Target for ParameterStore {
    async fn start(_: &str) -> Self {
        Self(Moto::at(REGION))
    }

    async fn proxy(&self, script: Box<Script>) -> Route {
        Route::before(&self.0.url, script).await
    }

    fn to(&self, _: &str) -> String {
        format!("{{aws: {{region: {REGION}, service: ParameterStore}}}}")
    }

    fn provider(&self, _: &str) -> Json {
        json!({"aws": {"service": "ParameterStore", "region": REGION}})
    }

    fn variables(&self, url: &str) -> Vec<(&'static str, String)> {
        keys_of_aws(url)
    }

    async fn held(&self, name: &str) -> (String, usize) {
        let all = json!({"Name": name, "WithDecryption": true});
        let history = self.0.parameters("GetParameterHistory", all).await;
        let versions = history["Parameters"].as_array().expect("versions");
        let value = versions.last().and_then(|last| last["Value"].as_str());
        (value.unwrap_or_default().to_owned(), versions.len())
    }

    async fn tag(&self, name: &str, key: &str) -> Option<String> {
        let body = json!({"ResourceType": "Parameter", "ResourceId": name});
        let listed = self.0.parameters("ListTagsForResource", body).await;
        tag_of_aws(&listed["TagList"], key)
    }

    fn remove_value(body: &mut Json) {
        remove(body, &["Value"]);
    }
}

/// Google Secret Manager: the double that Google's own client accepts.
pub(super) struct SecretManager {
    google: Arc<Google>,
    double: Double,
    job: Job,
}

impl Target for SecretManager {
    async fn start(_: &str) -> Self {
        let google = Arc::new(Google::default());
        let answering = Arc::clone(&google);
        let double = Double::start(move |asked| answering.answer(asked)).await;
        // The address of the override is that of the proxy.
        let job = job("http://127.0.0.1:9");
        Self {
            google,
            double,
            job,
        }
    }

    async fn proxy(&self, script: Box<Script>) -> Route {
        Route::before(&self.double.url, script).await
    }

    fn to(&self, _: &str) -> String {
        "{gcp: {project: project}}".to_owned()
    }

    fn provider(&self, _: &str) -> Json {
        json!({"gcpsm": {"projectID": "project"}})
    }

    fn variables(&self, url: &str) -> Vec<(&'static str, String)> {
        let key = &self.job.ambient.environment["GOOGLE_APPLICATION_CREDENTIALS"];
        vec![
            ("GOOGLE_APPLICATION_CREDENTIALS", key.clone()),
            (
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
                url.to_owned(),
            ),
        ]
    }

    async fn held(&self, name: &str) -> (String, usize) {
        let secrets = self.google.secrets();
        let versions = &secrets.get(name).expect("a secret").versions;
        let last = versions.last().expect("a version");
        let value = String::from_utf8(last.payload.clone()).expect("UTF-8");
        (value, versions.len())
    }

    async fn tag(&self, name: &str, key: &str) -> Option<String> {
        self.google.secrets().get(name)?.labels.get(key).cloned()
    }

    fn remove_value(body: &mut Json) {
        remove(body, &["payload"]);
    }
}

/// Azure Key Vault: the double that Azure's own clients accept, under Azure's host names.
pub(crate) struct KeyVault {
    pub(crate) service: Service,
    /// The certificate of the double, its key, and the folder that contains both.
    pub(crate) certificate: String,
    key: String,
    _folder: TempDir,
}

impl Target for KeyVault {
    async fn start(_: &str) -> Self {
        let names = ["kv.vault.azure.net", "login.microsoftonline.com"];
        // The proxy knows the double by its address.
        let names = [&names[..], &["127.0.0.1"]].concat();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, pem: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).expect("a file");
            path.to_str().expect("UTF-8").to_owned()
        };
        let authority = made.cert.pem();
        let certificate = file("certificate.pem", &authority);
        let key = file("key.pem", &made.signing_key.serialize_pem());
        let shown = Certificate {
            public: CertificateDer::from_pem_file(&certificate).expect("PEM"),
            key: PrivateKeyDer::from_pem_file(&key).expect("PEM"),
            authority,
        };
        let service = Service::showing(shown).await;
        // Marks are bound to the time of their version.
        let now = usize::try_from(now().as_second()).expect("a time");
        service.change(|vault| vault.now = now);
        Self {
            service,
            certificate,
            key,
            _folder: folder,
        }
    }

    async fn proxy(&self, script: Box<Script>) -> Route {
        let double = format!("https://{}", self.service.secure.address);
        let tls = Tls::of(&self.certificate, &self.key);
        let proxy = Proxy::before_tls(&double, tls, script).await;
        let address = proxy.url.trim_start_matches("https://");
        let tunnel = Tunnel::start("127.0.0.1:0", address.parse().expect("an address")).await;
        Route {
            url: format!("http://{}", tunnel.address),
            proxy,
            _tunnel: Some(tunnel),
        }
    }

    fn to(&self, _: &str) -> String {
        "{azure: {vaultUrl: 'https://kv.vault.azure.net'}}".to_owned()
    }

    fn provider(&self, _: &str) -> Json {
        json!({"azurekv": {"authType": "ManagedIdentity", "vaultUrl": "https://kv.vault.azure.net"}})
    }

    fn variables(&self, url: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_TENANT_ID", TENANT.to_owned()),
            ("AZURE_CLIENT_ID", CLIENT.to_owned()),
            ("AZURE_CLIENT_SECRET", "s3cret".to_owned()),
            ("HTTPS_PROXY", url.to_owned()),
            ("SSL_CERT_FILE", self.certificate.clone()),
        ]
    }

    async fn held(&self, name: &str) -> (String, usize) {
        let versions = self.service.change(|vault| vault.versions(name));
        let value = versions.last().map(|(value, _)| value.clone());
        (value.unwrap_or_default(), versions.len())
    }

    async fn tag(&self, name: &str, key: &str) -> Option<String> {
        let versions = self.service.change(|vault| vault.versions(name));
        versions.last()?.1.get(key).cloned()
    }

    fn remove_value(body: &mut Json) {
        remove(body, &["value"]);
    }
}

/// Version 2 of the KV engine, in OpenBao.
pub(super) struct Vault {
    mount: String,
}

impl Vault {
    /// The path of a secret's data in the API.
    pub(super) fn data(&self, name: &str) -> String {
        format!("{}/data/{name}", self.mount)
    }
}

impl Target for Vault {
    async fn start(owner: &str) -> Self {
        let mount = vault::mount(owner).await;
        Self { mount }
    }

    async fn proxy(&self, script: Box<Script>) -> Route {
        Route::before(&vault::address(), script).await
    }

    fn to(&self, url: &str) -> String {
        format!("{{vault: {{server: '{url}', path: {}}}}}", self.mount)
    }

    fn provider(&self, url: &str) -> Json {
        let token = json!({"name": "token", "namespace": "elsewhere", "key": "token"});
        json!({"vault": {"server": url, "path": self.mount, "version": "v2", "auth": {"tokenSecretRef": token}}})
    }

    fn remote(name: &str) -> Json {
        json!({"key": name, "property": "value"})
    }

    fn variables(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("VAULT_TOKEN", vault::token())]
    }

    async fn held(&self, name: &str) -> (String, usize) {
        let get = async |path: String| vault::send("GET", &path, json!({})).await;
        let read = get(self.data(name)).await;
        let metadata = get(format!("{}/metadata/{name}", self.mount)).await;
        let versions = metadata["data"]["versions"].as_object();
        let value = read["data"]["data"]["value"].as_str();
        (
            value.unwrap_or_default().to_owned(),
            versions.map_or(0, serde_json::Map::len),
        )
    }

    async fn tag(&self, name: &str, key: &str) -> Option<String> {
        let path = format!("{}/metadata/{name}", self.mount);
        let metadata = vault::send("GET", &path, json!({})).await;
        let tag = metadata["data"]["custom_metadata"][key].as_str();
        tag.map(str::to_owned)
    }

    fn remove_value(body: &mut Json) {
        remove(body, &["data"]);
    }
}
