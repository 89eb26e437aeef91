//! Connections: kubectl's configuration means what it means to kubectl, credential plugins, and answers of strangers.

mod plugins;
pub(crate) mod servers;
mod strangers;
mod table;

use std::{
    collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio,
    sync::Arc, time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{StreamExt as _, stream};
use tokio::{process::Command, time::timeout};

use self::{
    servers::{Authority, Log, Server, forbidden},
    table::{Case, cases},
};
use crate::support::optional_variable;

/// The servers of a case, and the folder with its files.
struct Scene {
    folder: tempfile::TempDir,
    log: Log,
    texts: BTreeMap<&'static str, String>,
    _servers: Vec<Server>,
}

impl Scene {
    async fn new() -> Self {
        let log: Log = Arc::default();
        let folder = tempfile::tempdir().expect("a folder");
        let (authority, other) = (Authority::new("authority"), Authority::new("other"));
        let own = authority.server(&["127.0.0.1", "localhost", "::1", "api.test"]);
        let of_b = authority.server(&["other.test"]);
        let alice = authority.client("alice");
        let write = |name: &str, text: &str| write(folder.path(), name, text);
        write("ca.pem", &authority.pem);
        write("other-ca.pem", &other.pem);
        write(
            "both-ca.pem",
            &format!("text\n{}\n{}", other.pem, authority.pem),
        );
        write("alice.pem", &alice.certificate);
        write("alice.key", &alice.key);
        write("bob.key", &authority.client("bob").key);
        write("token", "file-token\n");
        write("empty", "\n");
        let tls = async |name, host, pair| {
            Server::tls(name, host, &authority, pair, &log, forbidden()).await
        };
        let a = tls("a", "127.0.0.1", &own).await;
        let a6 = tls("a6", "::1", &own).await;
        let b = tls("b", "127.0.0.1", &of_b).await;
        let plain = Server::plain("plain", &log, forbidden()).await;
        let proxy = Server::http_proxy("proxy", None, a.address, &log).await;
        let tls_proxy =
            Server::http_proxy("tls-proxy", Some((&authority, &own)), a.address, &log).await;
        let socks = Server::socks("socks", a.address, &log).await;
        let texts = BTreeMap::from([
            ("{A}", format!("https://{}", a.address)),
            ("{A_HOST}", a.address.to_string()),
            ("{A6_PORT}", a6.address.port().to_string()),
            ("{B}", format!("https://{}", b.address)),
            ("{P}", format!("http://{}", plain.address)),
            ("{P_HOST}", plain.address.to_string()),
            ("{PROXY}", format!("http://{}", proxy.address)),
            ("{PROXY_HOST}", proxy.address.to_string()),
            ("{TLS_PROXY_HOST}", tls_proxy.address.to_string()),
            ("{SOCKS_HOST}", socks.address.to_string()),
            ("{CA_DATA}", STANDARD.encode(&authority.pem)),
            ("{ALICE_DATA}", STANDARD.encode(&alice.certificate)),
            ("{ALICE_KEY_DATA}", STANDARD.encode(&alice.key)),
            ("{JWT}", jwt(4_000_000_000)),
            ("{OLD_JWT}", jwt(1_000_000_000)),
        ]);
        Self {
            folder,
            log,
            texts,
            _servers: vec![a, a6, b, plain, proxy, tls_proxy, socks],
        }
    }

    /// Replaces the names of servers and files.
    fn filled(&self, text: &str) -> String {
        let replace = |text: String, (name, value): (&&str, &String)| text.replace(*name, value);
        self.texts.iter().fold(text.to_owned(), replace)
    }

    /// Runs a program in this case. Returns the proxies and the server that it reaches first, and what it printed.
    async fn reached(&self, case: &Case, program: &str, arguments: &[&str]) -> (String, String) {
        for (name, text) in &case.files {
            write(self.folder.path(), name, &self.filled(text));
        }
        let flags = case.flags.iter().map(|flag| self.filled(flag));
        let variables = case.environment.iter();
        let running = Command::new(program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.folder.path())
            .envs(variables.map(|(name, value)| (name, self.filled(value))))
            .current_dir(self.folder.path())
            .args(arguments)
            .args(flags)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(Duration::from_secs(100), running).await;
        let output = output.expect("it ends").expect("it starts");
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!printed.contains("panicked"), "{}: {printed}", case.name);
        assert_ne!(output.status.code(), Some(101), "{}", case.name);
        let mut seen = Vec::new();
        for entry in self.log.lock().unwrap().iter() {
            if seen.last() != Some(entry) {
                seen.push(entry.clone());
            }
            if !entry.ends_with('>') {
                return (seen.join(" "), printed);
            }
        }
        (String::new(), printed)
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a file");
}

fn jwt(expires: u64) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let head = part(r#"{"alg":"RS256"}"#.to_owned());
    format!("{head}.{}.c2ln", part(format!(r#"{{"exp":{expires}}}"#)))
}

/// The cases in which a program does something else than the table says.
async fn differences(program: &str, arguments: &[&str]) -> Vec<String> {
    let checked = stream::iter(cases()).map(async |case| {
        let scene = Scene::new().await;
        let (reached, printed) = scene.reached(&case, program, arguments).await;
        let wanted = scene.filled(case.reaches);
        (reached != wanted).then(|| {
            format!(
                "{}: it reaches {reached:?}, not {wanted:?}\n{printed}",
                case.name
            )
        })
    });
    let checked: Vec<_> = checked.buffer_unordered(4).collect().await;
    checked.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_means_what_it_means_to_kubectl() {
    let found = differences(env!("CARGO_BIN_EXE_eso-sync"), &["status"]).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Holds the table itself to the real kubectl.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubectl (tests/kubectl/run)"]
async fn kubectl_does_what_the_table_says() {
    let kubectl = optional_variable("ESO_SYNC_TEST_KUBECTL").expect("the path of kubectl");
    let arguments = ["get", "--raw", "/api/v1"];
    let found = differences(&kubectl, &arguments).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}
