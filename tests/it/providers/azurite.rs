//! A queue of Azurite, Microsoft's emulator (`tests/azurite/run`).

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use serde_json::Value as Json;
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::proxy::{Proxy, Script, Tls};
use crate::support::optional_variable;

/// The path of the storage account.
const ACCOUNT: &str = "/devstoreaccount1";

/// A queue and its poison queue. Their names are different in each test and each run.
pub(crate) struct Azurite {
    endpoint: String,
    login: String,
    pub(crate) name: String,
    token: String,
}

impl Azurite {
    /// Creates a queue with this owner, or without one.
    pub(crate) async fn created(owner: Option<&str>) -> Self {
        let variable = |name: &str| optional_variable(name).expect("Azurite (tests/azurite/run)");
        let login = variable("ESO_SYNC_TEST_AZURITE_LOGIN");
        let answer = curl(&["-X", "POST", "-d", "", &login], "").await;
        let answer: Json = serde_json::from_str(&answer).expect("JSON");
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        let azurite = Self {
            endpoint: variable("ESO_SYNC_TEST_AZURITE"),
            login,
            name: format!("eso-sync-{:08x}", fastrand::u32(..)),
            token,
        };
        let owner = owner.map(|owner| format!("x-ms-meta-eso_sync_cluster: {owner}"));
        let header: Vec<&str> = owner.iter().flat_map(|it| ["-H", it]).collect();
        azurite.call("PUT", &azurite.name, &header, "").await;
        azurite.call("PUT", &azurite.poison(), &[], "").await;
        azurite
    }

    pub(crate) fn poison(&self) -> String {
        format!("{}-poison", self.name)
    }

    /// The URL as in a policy.
    pub(crate) fn url(&self) -> String {
        format!("https://shop.queue.core.windows.net/{}", self.name)
    }

    /// The job's environment.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let variables = [
            ("AZURE_STORAGE_QUEUE_ENDPOINT", self.endpoint.as_str()),
            ("AZURE_AUTHORITY_HOST", &self.login),
            ("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555"),
            ("AZURE_CLIENT_ID", "client"),
            ("AZURE_CLIENT_SECRET", "hunter2-planted"),
        ];
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        owned.into()
    }

    /// Starts a proxy in front of Azurite. Returns it with the job's environment that leads there.
    pub(crate) async fn behind(&self, script: Box<Script>) -> (Proxy, BTreeMap<String, String>) {
        let variable = |name: &str| optional_variable(name).expect("Azurite (tests/azurite/run)");
        let tls = Tls::of(
            &variable("SSL_CERT_FILE"),
            &variable("ESO_SYNC_TEST_AZURITE_KEY"),
        );
        let server = self.endpoint.strip_suffix(ACCOUNT).expect("its account");
        let proxy = Proxy::before_tls(server, tls, script).await;
        let mut environment = self.environment();
        let endpoint = format!("{}{ACCOUNT}", proxy.url);
        environment.insert("AZURE_STORAGE_QUEUE_ENDPOINT".to_owned(), endpoint);
        (proxy, environment)
    }

    /// The operation of a request to receive messages, as the proxy names it.
    pub(crate) fn receiving(&self) -> String {
        format!("GET {ACCOUNT}/{}/messages", self.name)
    }

    /// Sends a message as it is.
    pub(crate) async fn send(&self, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let body = format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>");
        let path = format!("{}/messages", self.name);
        self.call("POST", &path, &[], &body).await;
    }

    /// The texts of up to 32 messages that are visible, without receiving them.
    pub(crate) async fn visible(&self, queue: &str) -> Vec<String> {
        let path = format!("{queue}/messages?peekonly=true&numofmessages=32");
        let answer = self.call("GET", &path, &[], "").await;
        let texts = answer.split("<MessageText>").skip(1);
        let texts = texts.filter_map(|rest| rest.split("</MessageText>").next());
        texts.map(str::to_owned).collect()
    }

    /// The number of messages, whether they are visible or not.
    pub(crate) async fn count(&self, queue: &str) -> u64 {
        let path = format!("{queue}?comp=metadata");
        let answer = self.call("GET", &path, &["-D", "-"], "").await;
        let named = |line: &str| {
            line.strip_prefix("x-ms-approximate-messages-count: ")?
                .trim()
                .parse()
                .ok()
        };
        answer.lines().find_map(named).expect("a count")
    }

    pub(crate) async fn delete(&self) {
        self.call("DELETE", &self.name, &[], "").await;
    }

    async fn call(&self, method: &str, path: &str, more: &[&str], body: &str) -> String {
        let url = format!("{}/{path}", self.endpoint);
        let token = format!("Authorization: Bearer {}", self.token);
        let arguments = [
            "-X",
            method,
            "-H",
            &token,
            "-H",
            "x-ms-version: 2021-12-02",
            "-H",
            "Content-Type: application/xml",
            "--data-binary",
            "@-",
            &url,
        ];
        curl(&[&arguments, more].concat(), body).await
    }
}

async fn curl(arguments: &[&str], body: &str) -> String {
    let authority: PathBuf = optional_variable("SSL_CERT_FILE").expect("a CA").into();
    let mut child = Command::new("curl")
        .args(["-sSf", "--cacert"])
        .arg(authority)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(body.as_bytes()).await.expect("stdin");
    drop(input);
    let sent = child.wait_with_output().await.expect("curl");
    let error = String::from_utf8_lossy(&sent.stderr);
    assert!(sent.status.success(), "{arguments:?}: {error}");
    String::from_utf8(sent.stdout).expect("UTF-8")
}
