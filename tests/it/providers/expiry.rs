//! Credentials that end in the middle of a run, for each provider, behind a proxy that knows which ones are still valid. Azure has the
//! same tests with its double over TLS (`azure::tests::login` in `crates/providers`), because its host names are fixed, and those of
//! `credentials::own` with the double behind a proxy.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use eso_model::StoreKey;
use jiff::SignedDuration;
use providers::{Ambient, Answered, Identity, Provider, StoreSettings, connect, unread};
use serde_json::{Value as Json, json};

use super::{
    double::{Asked as Received, Double, Reply},
    gcp::google::{Google, Secret},
    proxy::{Asked, Fault, Proxy},
    support::{limiter, nowhere, put_account, read_only_cluster, resolver, sandbox, secret},
};
use crate::support::{eventually, now, optional_variable};

/// A secret value that must not appear anywhere.
const PLANTED: &str = "hunter2-planted";

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SecretsManager,
    ParameterStore,
    Gcp,
    Vault,
    Kubernetes,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::SecretsManager,
        Self::ParameterStore,
        Self::Gcp,
        Self::Vault,
        Self::Kubernetes,
    ];

    /// The credential of a request.
    fn credential(self, asked: &Asked) -> String {
        let header = match self {
            Self::Vault => asked.header("x-vault-token"),
            Self::SecretsManager | Self::ParameterStore | Self::Gcp | Self::Kubernetes => {
                asked.header("authorization")
            }
        };
        // A signature differs in each request.
        let (_, key) = header.split_once("Credential=").unwrap_or(("", header));
        key.split('/').next().unwrap_or_default().to_owned()
    }

    /// The provider's answer to a credential that has ended.
    fn rejection(self) -> Fault {
        let (status, body) = match self {
            Self::SecretsManager | Self::ParameterStore => (
                400,
                json!({"__type": "ExpiredTokenException", "message": PLANTED}),
            ),
            Self::Gcp => (
                401,
                json!({"error": {"code": 401, "message": PLANTED, "status": "UNAUTHENTICATED"}}),
            ),
            Self::Vault => (403, json!({"errors": ["permission denied"]})),
            Self::Kubernetes => (
                401,
                json!({"kind": "Status", "message": PLANTED, "code": 401}),
            ),
        };
        let headers = vec![("content-type", "application/json".to_owned())];
        Fault::Instead(status, headers, body.to_string())
    }

    /// What is said when the provider also rejects new credentials. Vault does not tell an expired token from a missing capability, so
    /// there the login fails.
    const fn told(self) -> &'static str {
        match self {
            Self::SecretsManager => {
                "credentials-expired (GetSecretValue: ExpiredTokenException, also with new credentials: check the session token that the login uses, and the time of this machine)"
            }
            Self::ParameterStore => {
                "credentials-expired (GetParameter: ExpiredTokenException, also with new credentials: check the session token that the login uses, and the time of this machine)"
            }
            Self::Gcp => {
                "credentials-expired (AccessSecretVersion: UNAUTHENTICATED, also with a new token: check that the service account and its key still exist, and the time of this machine)"
            }
            Self::Vault => {
                "credentials-expired (the credentials cannot be renewed: auth/approle/login: Vault answered 400 (invalid role or secret ID))"
            }
            Self::Kubernetes => {
                "credentials-expired (the API server rejects the credentials, also after they were fetched again: check that the token or certificate of the store is still valid there)"
            }
        }
    }

    /// The name of the secret.
    const fn key(self) -> &'static str {
        match self {
            Self::ParameterStore => "/db",
            Self::SecretsManager | Self::Gcp | Self::Vault | Self::Kubernetes => "db",
        }
    }
}

/// Which credentials the provider accepts.
#[derive(Default)]
struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    seen: BTreeSet<String>,
    ended: BTreeSet<String>,
    /// True if no new credentials are accepted either.
    closed: bool,
    /// True if logins succeed, and no credential is accepted.
    rejects_all: bool,
    rejected: usize,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }

    fn check(&self, kind: Kind, asked: &Asked) -> Fault {
        let mut state = self.state();
        if asked.is_login() {
            return if state.closed && kind == Kind::Vault {
                let body = json!({"errors": ["invalid role or secret ID"]});
                Fault::Instead(400, Vec::new(), body.to_string())
            } else {
                Fault::None
            };
        }
        let credential = kind.credential(asked);
        assert!(!credential.is_empty(), "{}", asked.operation);
        state.seen.insert(credential.clone());
        if state.closed || state.rejects_all || state.ended.contains(&credential) {
            state.rejected += 1;
            return kind.rejection();
        }
        Fault::None
    }

    /// Ends all credentials so far.
    fn end(&self) {
        let mut state = self.state();
        state.ended = state.seen.clone();
    }

    /// The number of different credentials so far.
    fn seen(&self) -> usize {
        self.state().seen.len()
    }
}

/// A provider behind the proxy.
struct Bed {
    kind: Kind,
    provider: Box<dyn Provider>,
    gate: Arc<Gate>,
    proxy: Proxy,
    held: Vec<Box<dyn Any>>,
}

impl Bed {
    /// The provider of a double, whose credentials live this long, in seconds.
    async fn of(kind: Kind, lifetime: i64) -> Self {
        let double = Double::start(server(kind, lifetime)).await;
        let mut bed = Self::before(kind, &double.url, &[]).await;
        bed.held.push(Box::new(double));
        bed
    }

    /// The provider of a server at this URL.
    async fn before(kind: Kind, server: &str, more: &[(&str, &str)]) -> Self {
        let gate = Arc::new(Gate::default());
        let of = Arc::clone(&gate);
        let script = move |asked: &Asked| of.check(kind, asked);
        let proxy = Proxy::before(server, Box::new(script)).await;
        let (provider, held) = connected(kind, &proxy.url, more).await;
        Self {
            kind,
            provider,
            gate,
            proxy,
            held,
        }
    }

    /// Reads this secret so many times at once.
    async fn read(&self, times: usize) -> Vec<String> {
        let wanted = vec![secret(self.kind.key()); times];
        let answers = self.provider.read(&wanted, &limiter()).await;
        let said = answers.iter().map(|answered| match answered {
            Answered::Unread(unread) => {
                assert!(!format!("{unread:?}").contains(PLANTED), "{unread:?}");
                assert!(unread.whole_store, "{unread:?}");
                unread.why.to_string()
            }
            Answered::One(..) => "read".to_owned(),
            Answered::Many(_) | Answered::NotFound | Answered::Fails(_) => "other".to_owned(),
        });
        said.collect()
    }
}

/// A double of AWS with the secret `db`, whose value is `v` and which is rotated every 30 days.
pub(crate) async fn secrets_manager() -> Double {
    Double::start(server(Kind::SecretsManager, 3600)).await
}

/// The server of a provider, which gives another credential at each login.
fn server(kind: Kind, lifetime: i64) -> impl Fn(&Received) -> Reply + Send + Sync + 'static {
    let issued = Mutex::new(0);
    let google = Google::of([("db", Secret::of(b"value"))]);
    move |received| {
        let mut issued = issued.lock().expect("no panic");
        *issued += 1;
        match kind {
            Kind::SecretsManager | Kind::ParameterStore => aws(received, *issued, lifetime),
            Kind::Gcp if received.path == "/token" => Reply::json(
                200,
                &json!({"access_token": format!("token-{issued}"), "expires_in": lifetime, "token_type": "Bearer"}),
            )
            .with("content-type", "application/json"),
            Kind::Gcp => google.answer(received),
            Kind::Vault => vault(received, *issued, lifetime),
            Kind::Kubernetes => Reply::json(
                200,
                &json!({"metadata": {"name": "db"}, "data": {"k": "dg=="}}),
            ),
        }
    }
}

fn aws(received: &Received, issued: u32, lifetime: i64) -> Reply {
    let target = received.header("x-amz-target");
    match target.split_once('.').map(|(_, operation)| operation) {
        Some("GetSecretValue") => Reply::json(
            200,
            &json!({"Name": "db", "ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf",
                "SecretString": "v", "VersionId": "v", "CreatedDate": 1.5e9}),
        ),
        Some("DescribeSecret") => Reply::json(
            200,
            &json!({"Name": "db", "RotationEnabled": true, "RotationRules": {"AutomaticallyAfterDays": 30},
                "NextRotationDate": 1.8e9}),
        ),
        Some("GetParameter") => Reply::json(
            200,
            &json!({"Parameter": {"Name": "/db", "Value": "v", "Version": 1, "Type": "String"}}),
        ),
        Some(other) => panic!("{other}"),
        None => {
            let end = now() + SignedDuration::from_secs(lifetime);
            let end = end.strftime("%Y-%m-%dT%H:%M:%SZ");
            Reply::Say(
                200,
                vec![("content-type", "text/xml".to_owned())],
                format!(
                    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
                     <AccessKeyId>KEY{issued}</AccessKeyId><SecretAccessKey>{PLANTED}</SecretAccessKey>\
                     <SessionToken>{PLANTED}</SessionToken><Expiration>{end}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
                ),
            )
        }
    }
}

fn vault(received: &Received, issued: u32, lifetime: i64) -> Reply {
    let body = match received.path.as_str() {
        "/v1/auth/approle/login" => {
            json!({"auth": {"client_token": format!("t{issued}"), "lease_duration": lifetime}})
        }
        "/v1/secret/data/db" => json!({"data": {"data": {"k": "v"}, "metadata": {}}}),
        // The mount.
        _ => json!({"data": {"path": "secret/", "type": "kv", "options": {"version": "2"}}}),
    };
    Reply::json(200, &body)
}

/// Logs in at this URL. Returns what must be kept, too.
async fn connected(
    kind: Kind,
    url: &str,
    more: &[(&str, &str)],
) -> (Box<dyn Provider>, Vec<Box<dyn Any>>) {
    if kind == Kind::Kubernetes {
        return kubernetes(url).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.json");
    let key = json!({"type": "authorized_user", "client_id": "a", "client_secret": PLANTED, "refresh_token": PLANTED,
        "token_uri": format!("{url}/token")});
    std::fs::write(&file, key.to_string()).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let aws = |service: &str| json!({"service": service, "region": "eu-west-1", "role": ROLE});
    let keys = [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "job"),
        ("AWS_SECRET_ACCESS_KEY", PLANTED),
    ];
    let (name, mut settings, mut variables) = match kind {
        Kind::SecretsManager => ("aws", aws("SecretsManager"), keys.to_vec()),
        Kind::ParameterStore => ("aws", aws("ParameterStore"), keys.to_vec()),
        Kind::Gcp => (
            "gcpsm",
            json!({"projectID": "project"}),
            vec![
                ("GOOGLE_APPLICATION_CREDENTIALS", file),
                ("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", url),
            ],
        ),
        Kind::Vault | Kind::Kubernetes => (
            "vault",
            json!({"server": url, "path": "secret"}),
            vec![("VAULT_ROLE_ID", "role"), ("VAULT_SECRET_ID", PLANTED)],
        ),
    };
    variables.extend(more);
    // Only a login looks at the variable.
    for (_, namespace) in more.iter().filter(|(name, _)| *name == "VAULT_NAMESPACE") {
        settings["namespace"] = json!(namespace);
    }
    let ambient = Ambient {
        environment: variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<BTreeMap<_, _>>(),
        endpoints: vec![url.to_owned()],
        ..Ambient::default()
    };
    let store = StoreKey::Cluster {
        name: "store".to_owned(),
    };
    let store = StoreSettings::new(store, name, settings);
    let provider = connect(&store, Identity::Ambient(&ambient), &nowhere()).await;
    let provider = provider.unwrap_or_else(|unread| panic!("{kind:?}: {unread:?}"));
    (provider, vec![Box::new(folder)])
}

/// A store in another cluster, with tokens of a service account of this one.
async fn kubernetes(url: &str) -> (Box<dyn Provider>, Vec<Box<dyn Any>>) {
    let own = sandbox().await;
    put_account(&own, "team-a", "reader");
    let resolver = resolver(&own, "SecretStore/team-a/other", "team-a");
    let settings: Json =
        json!({"server": {"url": url}, "auth": {"serviceAccount": {"name": "reader"}}});
    let store = super::support::kubernetes("SecretStore/team-a/other", settings);
    let cluster = read_only_cluster(&own.url());
    let provider = connect(&store, Identity::Store(&resolver), &cluster).await;
    let provider = provider.unwrap_or_else(|unread| panic!("{unread:?}"));
    (provider, vec![Box::new(own)])
}

/// They are renewed once, also if several calls are in flight, and each rejected call is repeated once.
async fn is_renewed(bed: &Bed) {
    let kind = bed.kind;
    assert_eq!(bed.read(1).await, ["read"], "{kind:?}");
    assert_eq!(bed.gate.seen(), 1, "{kind:?}");
    bed.gate.end();
    assert_eq!(bed.read(1).await, ["read"], "{kind:?}");
    assert_eq!(bed.gate.seen(), 2, "{kind:?}");
    // Vault is also asked if it still accepts the token.
    let once = 1 + usize::from(kind == Kind::Vault);
    assert_eq!(bed.gate.state().rejected, once, "{kind:?}");
    bed.gate.end();
    assert_eq!(bed.read(20).await, vec!["read"; 20], "{kind:?}");
    assert_eq!(bed.gate.seen(), 3, "{kind:?}");
}

/// The second rejection loses the store, which is not asked again.
async fn is_reported(bed: &Bed) {
    let kind = bed.kind;
    assert_eq!(bed.read(1).await, ["read"], "{kind:?}");
    bed.gate.state().closed = true;
    assert_eq!(bed.read(1).await, [kind.told()], "{kind:?}");
    assert!(kind.told().starts_with(unread::CREDENTIALS_EXPIRED));
    let asked = bed.proxy.asked().len();
    assert_eq!(bed.read(3).await, vec![kind.told(); 3], "{kind:?}");
    assert_eq!(bed.proxy.asked().len(), asked, "{kind:?}");
}

#[tokio::test]
async fn expired_credentials_are_renewed_once_and_the_call_repeated_once() {
    for kind in Kind::ALL {
        is_renewed(&Bed::of(kind, 3600).await).await;
    }
}

#[tokio::test]
async fn second_rejection_is_expired_credentials_with_what_to_look_at() {
    for kind in Kind::ALL {
        is_reported(&Bed::of(kind, 3600).await).await;
    }
}

/// The login of Vault still works, but its tokens do not: neither for what an earlier token could read, nor to look themselves up.
#[tokio::test]
async fn new_tokens_that_vault_rejects_are_expired_credentials() {
    tokens_are_rejected(&Bed::of(Kind::Vault, 3600).await).await;
}

async fn tokens_are_rejected(bed: &Bed) {
    assert_eq!(bed.read(1).await, ["read"]);
    bed.gate.state().rejects_all = true;
    let told = "credentials-expired (Vault answered 403, also with a new token: it can neither look itself up nor read what an earlier token could. Check the role of auth/approle/login, for example its policies, `token_bound_cidrs` and `token_num_uses`)";
    assert_eq!(bed.read(1).await, [told]);
    assert_eq!(bed.gate.seen(), 2, "the token was renewed once");
    let asked = bed.proxy.asked().len();
    assert_eq!(bed.read(3).await, vec![told; 3]);
    assert_eq!(bed.proxy.asked().len(), asked);
}

/// A run that needs longer than its credentials live. (Tokens for another cluster live ten minutes: `kubernetes::login::tests`.)
#[tokio::test]
async fn credentials_are_renewed_before_they_expire() {
    for (kind, lifetime) in [
        // The SDK renews ten seconds before the end, Google's library four minutes, and we after 4/5 of a lease.
        (Kind::SecretsManager, 9),
        (Kind::ParameterStore, 9),
        (Kind::Gcp, 241),
        (Kind::Vault, 1),
    ] {
        let bed = Bed::of(kind, lifetime).await;
        eventually("other credentials are used", async || {
            assert_eq!(bed.read(1).await, ["read"], "{kind:?}");
            (bed.gate.seen() > 1).then_some(())
        })
        .await;
        assert_eq!(bed.gate.state().rejected, 0, "{kind:?}");
    }
}

/// The same with moto and OpenBao behind the proxy.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn expired_credentials_in_aws_are_renewed_or_reported() {
    let url = optional_variable("ESO_SYNC_TEST_MOTO").expect("moto");
    let moto = super::aws::moto::Moto::at("eu-west-1");
    let body = json!({"Name": "db", "SecretString": "v", "ClientRequestToken": "a".repeat(32)});
    moto.secrets("CreateSecret", body).await;
    let body = json!({"Name": "/db", "Value": "v", "Type": "SecureString", "Overwrite": true});
    moto.parameters("PutParameter", body).await;
    for kind in [Kind::SecretsManager, Kind::ParameterStore] {
        is_renewed(&Bed::before(kind, &url, &[]).await).await;
        is_reported(&Bed::before(kind, &url, &[]).await).await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn expired_credentials_in_vault_are_renewed_or_reported() {
    let Some(server) = super::vault::server::Server::start().await else {
        return;
    };
    server
        .write("secret/data/db", r#"{"data":{"k":"v"}}"#)
        .await;
    let (role, id) = server.app_role("60s").await;
    let variables = [
        ("VAULT_ROLE_ID", role.as_str()),
        ("VAULT_SECRET_ID", id.as_str()),
        ("VAULT_NAMESPACE", server.namespace.as_str()),
    ];
    is_renewed(&Bed::before(Kind::Vault, &server.url, &variables).await).await;
    is_reported(&Bed::before(Kind::Vault, &server.url, &variables).await).await;
    tokens_are_rejected(&Bed::before(Kind::Vault, &server.url, &variables).await).await;
    server.end().await;
}
