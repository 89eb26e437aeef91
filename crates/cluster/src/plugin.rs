//! Credential plugins (`exec` of a kubeconfig user): started once for all requests, and again when the credentials expire or the
//! API server rejects them.

mod in_process;
mod process;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::HeaderValue;
use jiff::Timestamp;
use pace::{Clock, Wait};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

pub use self::process::{ProcessGroup, kill_plugins};
use self::{
    in_process::InProcess,
    process::{Output, Started},
};
use super::{
    failure::{ConnectError, PluginError},
    header::bearer,
    kubeconfig::{self, Exec},
    native::Native,
    tls,
};

/// The time limits for a plugin. A person may have to log in on a terminal.
const LIMIT: Duration = Duration::from_mins(1);
const LIMIT_ON_TERMINAL: Duration = Duration::from_mins(10);

/// The time after which a command says that it waits for the plugin.
const ANNOUNCED: Duration = Duration::from_secs(3);

/// A plugin that failed, or whose renewed credentials are expired or rejected, is not started again before this time has passed.
const PAUSE: Duration = Duration::from_secs(10);

/// The credentials that a plugin returned.
pub(super) struct Issued {
    pub(super) header: Option<HeaderValue>,
    pub(super) identity: Option<Arc<CertifiedKey>>,
    expires: Option<Timestamp>,
    at: Instant,
    /// True if the API server rejected the credentials before these.
    after_rejection: bool,
}

/// A credential plugin with its last credentials.
pub(super) struct Plugin {
    exec: Exec,
    /// The `KUBERNETES_EXEC_INFO`.
    info: String,
    clock: Clock,
    /// True if the plugin may use the terminal.
    interactive: bool,
    /// Makes the token if the program is missing.
    native: Option<InProcess>,
    /// Locked while the plugin runs, so that it runs once for all requests.
    last: Mutex<Option<Last>>,
}

/// The result of the last start, and when it failed.
type Last = Result<Arc<Issued>, (Instant, PluginError)>;

/// The part of the environment that plugins depend on.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) clock: Clock,
    pub(super) stdin_is_terminal: bool,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) native: Option<&'a Native>,
}

impl Plugin {
    /// `cluster` is the description of the cluster, if the plugin asks for it.
    pub(super) fn new(
        exec: Exec,
        cluster: Option<Value>,
        surroundings: Surroundings<'_>,
    ) -> Result<Self, ConnectError> {
        let terminal = surroundings.stdin_is_terminal;
        let name = short_name(&exec.command);
        let interactive = match &*exec.interactive_mode {
            "Never" => false,
            "Always" if !terminal => {
                return Err(ConnectError::Plugin(PluginError {
                    name,
                    why:
                        "needs a terminal (`interactiveMode: Always`), but stdin is not a terminal"
                            .to_owned(),
                    hint: String::new(),
                }));
            }
            _ => terminal,
        };
        let mut spec = json!({"interactive": interactive});
        if let (Some(cluster), Some(spec)) = (cluster, spec.as_object_mut()) {
            spec.insert("cluster".to_owned(), cluster);
        }
        let info = json!({"kind": "ExecCredential", "apiVersion": exec.api_version, "spec": spec});
        let native = InProcess::of(&exec, surroundings).map_err(|why| {
            ConnectError::Plugin(PluginError {
                name: short_name(&exec.command),
                why,
                hint: String::new(),
            })
        })?;
        Ok(Self {
            native,
            exec,
            info: info.to_string(),
            clock: surroundings.clock,
            interactive,
            last: Mutex::new(None),
        })
    }

    /// Returns valid credentials. Starts the plugin if there are none.
    pub(super) async fn credentials(self: &Arc<Self>) -> Result<Arc<Issued>, PluginError> {
        let plugin = Arc::clone(self);
        self.in_task(async move {
            let mut last = plugin.last.lock().await;
            match &*last {
                Some(Ok(issued)) if !plugin.is_expired(issued) => Ok(Arc::clone(issued)),
                Some(Err((at, error))) if at.elapsed() < PAUSE => Err(error.clone()),
                _ => plugin.start(&mut last, false).await,
            }
        })
        .await
    }

    /// Returns other credentials than these, which the API server rejected. Fails if there are none.
    pub(super) async fn other_than(
        self: &Arc<Self>,
        rejected: &Arc<Issued>,
    ) -> Result<Arc<Issued>, PluginError> {
        let (plugin, rejected) = (Arc::clone(self), Arc::clone(rejected));
        self.in_task(async move {
            let mut last = plugin.last.lock().await;
            match &*last {
                Some(Ok(issued)) if !Arc::ptr_eq(issued, &rejected) => Ok(Arc::clone(issued)),
                Some(Ok(issued)) if issued.after_rejection && issued.at.elapsed() < PAUSE => {
                    Err(plugin.failed(Why::Rejected))
                }
                Some(Err((at, error))) if at.elapsed() < PAUSE => Err(error.clone()),
                _ => {
                    let renewed = plugin.start(&mut last, true).await;
                    renewed.inspect_err(|error| tracing::warn!("{error}"))
                }
            }
        })
        .await
    }

    /// Does this in a task, so that the plugin continues for the other requests if this request times out. The end of the runtime
    /// ends the task and with it the plugin.
    async fn in_task(
        &self,
        work: impl Future<Output = Result<Arc<Issued>, PluginError>> + Send + 'static,
    ) -> Result<Arc<Issued>, PluginError> {
        match tokio::spawn(work).await {
            Ok(result) => result,
            Err(_) => Err(self.failed(Why::Failed("it was stopped".to_owned()))),
        }
    }

    fn is_expired(&self, issued: &Issued) -> bool {
        let now = self.clock.now();
        issued.expires.is_some_and(|expires| expires < now) && issued.at.elapsed() >= PAUSE
    }

    async fn start(
        &self,
        last: &mut Option<Last>,
        after_rejection: bool,
    ) -> Result<Arc<Issued>, PluginError> {
        let result = self
            .run(after_rejection)
            .await
            .map_err(|why| self.failed(why));
        match &result {
            Ok(issued) => *last = Some(Ok(Arc::clone(issued))),
            Err(error) => *last = Some(Err((Instant::now(), error.clone()))),
        }
        result
    }

    fn failed(&self, why: Why) -> PluginError {
        let hint = self.exec.install_hint.trim();
        let hint = if matches!(why, Why::NotInstalled) && !hint.is_empty() {
            format!("; {}", process::shown(hint))
        } else {
            String::new()
        };
        PluginError {
            name: short_name(&self.exec.command),
            why: why.text(),
            hint,
        }
    }

    async fn run(&self, after_rejection: bool) -> Result<Arc<Issued>, Why> {
        let Some(native) = &self.native else {
            return self.run_program(after_rejection).await;
        };
        if !native.is_forced() {
            match self.run_program(after_rejection).await {
                Err(Why::NotInstalled) => {}
                result => return result,
            }
        }
        let token = native
            .token(&short_name(&self.exec.command), after_rejection)
            .await?;
        let text = std::str::from_utf8(token.token.expose()).ok();
        let header = text.and_then(bearer).ok_or(Why::BadToken)?;
        Ok(Arc::new(Issued {
            header: Some(header),
            identity: None,
            expires: Some(token.renewed),
            at: Instant::now(),
            after_rejection,
        }))
    }

    async fn run_program(&self, after_rejection: bool) -> Result<Arc<Issued>, Why> {
        let limit = if self.interactive {
            LIMIT_ON_TERMINAL
        } else {
            LIMIT
        };
        let name = short_name(&self.exec.command);
        let mut environment: BTreeMap<&str, &str> = BTreeMap::new();
        for variable in &self.exec.env {
            environment.insert(&variable.name, &variable.value);
        }
        environment.insert("KUBERNETES_EXEC_INFO", &self.info);
        let started = Started::new(&self.exec, &environment, self.interactive)?;
        let waiting = Wait::at_most(limit)
            .announced_after(ANNOUNCED)
            .on(
                || format!("the credential plugin {name}"),
                timeout(limit, started.output(&name)),
            )
            .await;
        let output = waiting.map_err(|_| Why::TookTooLong(limit))??;
        self.issued(&output, after_rejection)
    }

    fn issued(&self, output: &Output, after_rejection: bool) -> Result<Arc<Issued>, Why> {
        let text = std::str::from_utf8(&output.stdout).map_err(|_| Why::NoCredential)?;
        let printed: ExecCredential = kubeconfig::yaml(text).ok_or(Why::NoCredential)?;
        if printed.kind != "ExecCredential" {
            return Err(Why::NoCredential);
        }
        if printed.api_version != self.exec.api_version {
            return Err(Why::OtherVersion(self.exec.api_version.clone()));
        }
        let status = printed.status.ok_or(Why::NoToken)?;
        let header = match &*status.token {
            "" => None,
            token => Some(bearer(token).ok_or(Why::BadToken)?),
        };
        let identity = match (&*status.client_certificate_data, &*status.client_key_data) {
            ("", "") if header.is_none() => return Err(Why::NoToken),
            ("", "") => None,
            ("", _) | (_, "") => return Err(Why::HalfCertificate),
            (certificate, key) => {
                let identity = tls::identity(certificate.as_bytes(), key.as_bytes());
                Some(identity.map_err(Why::BadCertificate)?)
            }
        };
        let expires = match &status.expiration_timestamp {
            Some(time) => Some(time.parse().map_err(|_| Why::BadTime)?),
            None => None,
        };
        Ok(Arc::new(Issued {
            header,
            identity,
            expires,
            at: Instant::now(),
            after_rejection,
        }))
    }
}

/// What a plugin prints.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    token: String,
    client_certificate_data: String,
    client_key_data: String,
    expiration_timestamp: Option<String>,
}

/// Why a plugin returned no credentials. The texts do not quote its output, which may contain a token.
enum Why {
    NotInstalled,
    NotMade(String),
    NotStarted(String),
    Failed(String),
    TookTooLong(Duration),
    TooMuch,
    NoCredential,
    OtherVersion(String),
    NoToken,
    Rejected,
    BadToken,
    HalfCertificate,
    BadCertificate(String),
    BadTime,
}

impl Why {
    fn text(self) -> String {
        match self {
            Self::NotInstalled => "is not installed here, or not on the PATH".to_owned(),
            Self::NotMade(why) => why,
            Self::NotStarted(why) => format!("cannot be started: {why}"),
            Self::Failed(how) => format!("failed: {how}"),
            Self::TookTooLong(limit) => format!(
                "did not end within {} s, and was killed. If it asks you to log in, log in first",
                limit.as_secs()
            ),
            Self::TooMuch => "printed more than 1 MiB".to_owned(),
            Self::NoCredential => "did not print an ExecCredential".to_owned(),
            Self::OtherVersion(version) => {
                format!("did not print an ExecCredential of version {version}")
            }
            Self::NoToken => "printed neither a token nor a client certificate".to_owned(),
            Self::Rejected => "printed credentials that the API server rejects".to_owned(),
            Self::BadToken => "printed a token with a line break or a control character".to_owned(),
            Self::HalfCertificate => {
                "printed only one of a client certificate and its key".to_owned()
            }
            Self::BadCertificate(why) => format!("printed an invalid client certificate: {why}"),
            Self::BadTime => "printed an expirationTimestamp that is not a time".to_owned(),
        }
    }
}

/// The command without its folder.
fn short_name(command: &str) -> String {
    let name = command.rsplit('/').next().unwrap_or_default();
    process::shown(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A plugin that counts its starts. The folder contains the script and the count.
    fn plugin(script: &str) -> (Arc<Plugin>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin");
        let text = format!(
            "#!/bin/sh\ncd {}\necho >> starts\n{script}\n",
            folder.path().display()
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let exec = Exec {
            command: path.display().to_string(),
            api_version: "client.authentication.k8s.io/v1".to_owned(),
            interactive_mode: "Never".to_owned(),
            ..Exec::default()
        };
        let surroundings = Surroundings {
            clock: Clock::starting_at("2026-03-01T12:00:00Z".parse().unwrap()),
            stdin_is_terminal: false,
            environment: &BTreeMap::new(),
            native: None,
        };
        (
            Arc::new(Plugin::new(exec, None, surroundings).unwrap()),
            folder,
        )
    }

    fn starts(folder: &tempfile::TempDir) -> usize {
        let starts = std::fs::read(folder.path().join("starts")).unwrap();
        starts.len()
    }

    fn expires(time: &str) -> String {
        format!(
            r#"echo '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"t","expirationTimestamp":"{time}"}}}}'"#
        )
    }

    async fn pass(seconds: u64) {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn expired_credentials_are_renewed() {
        let (plugin, folder) = plugin(&expires("2026-03-01T12:15:00Z"));
        let first = plugin.credentials().await.unwrap();
        pass(600).await;
        assert!(Arc::ptr_eq(&plugin.credentials().await.unwrap(), &first));
        assert_eq!(starts(&folder), 1);
        pass(301).await;
        assert!(!Arc::ptr_eq(&plugin.credentials().await.unwrap(), &first));
        assert_eq!(starts(&folder), 2);
    }

    #[tokio::test]
    async fn plugin_with_expired_credentials_is_not_started_for_each_request() {
        let (plugin, folder) = plugin(&expires("2026-03-01T11:00:00Z"));
        for _ in 0..5 {
            plugin.credentials().await.unwrap();
        }
        assert_eq!(starts(&folder), 1);
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_start() {
        let (plugin, folder) = plugin(&expires("2026-03-01T13:00:00Z"));
        let requests = (0..8).map(|_| plugin.credentials());
        for issued in futures::future::join_all(requests).await {
            assert!(issued.is_ok());
        }
        assert_eq!(starts(&folder), 1);
    }

    #[tokio::test]
    async fn failed_plugin_is_not_started_for_each_request() {
        let (plugin, folder) = plugin("exit 1");
        for _ in 0..5 {
            assert!(plugin.credentials().await.is_err());
        }
        assert_eq!(starts(&folder), 1);
    }

    /// The paused time passes at once while the test waits for the process.
    #[tokio::test(start_paused = true)]
    async fn plugin_has_a_time_limit() {
        let (plugin, _folder) = plugin("sleep 1000");
        let error = plugin.credentials().await.err().unwrap().to_string();
        assert!(error.contains("did not end within 60 s"), "{error}");
    }
}
