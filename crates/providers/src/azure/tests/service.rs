//! A double of Key Vault, of Entra's token endpoint and of a machine's identity endpoint, with the documented protocols.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value as Json, json};

use super::{Call, Certificate, Double, Reply};

pub(super) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const CLIENT: &str = "client";

/// The content and behaviour of the double.
#[derive(Default)]
pub(super) struct State {
    /// The versions of each secret, oldest first.
    secrets: BTreeMap<String, Vec<Version>>,
    deleted: BTreeSet<String>,
    /// The number of issued tokens, and which of them are valid.
    issued: u32,
    valid: BTreeSet<String>,
    /// Answers that replace the next answers of the vault.
    pub(super) faults: VecDeque<Reply>,
    /// The number of secrets on a page of a list.
    pub(super) page: usize,
    /// True if every token is rejected.
    pub(super) takes_no_token: bool,
    /// The resource that tokens must be for.
    pub(super) resource: String,
    /// The host of the next page, if it is not the vault.
    pub(super) elsewhere: Option<String>,
}

#[derive(Clone)]
struct Version {
    id: String,
    value: String,
    enabled: bool,
    tags: BTreeMap<String, String>,
}

impl State {
    /// Adds a version of a secret.
    pub(super) fn set(&mut self, name: &str, value: &str) -> String {
        let versions = self.secrets.entry(name.to_owned()).or_default();
        let id = format!("{:032x}", versions.len() + 1);
        versions.push(Version {
            id: id.clone(),
            value: value.to_owned(),
            enabled: true,
            tags: BTreeMap::new(),
        });
        id
    }

    pub(super) fn tag(&mut self, name: &str, tag: &str, value: &str) {
        self.newest(name)
            .tags
            .insert(tag.to_owned(), value.to_owned());
    }

    pub(super) fn disable(&mut self, name: &str) {
        self.newest(name).enabled = false;
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.deleted.insert(name.to_owned());
    }

    /// Invalidates all issued tokens.
    pub(super) fn end_tokens(&mut self) {
        self.valid.clear();
    }

    fn newest(&mut self, name: &str) -> &mut Version {
        let versions = self.secrets.get_mut(name).expect("a secret");
        versions.last_mut().expect("a version")
    }

    fn token(&mut self) -> String {
        self.issued += 1;
        let token = format!("token-{}", self.issued);
        self.valid.insert(token.clone());
        token
    }
}

/// The running double.
pub(super) struct Service {
    pub(super) state: Arc<Mutex<State>>,
    /// The vault and the login endpoint, over HTTPS.
    pub(super) secure: Double,
    /// The machine's identity endpoint, over HTTP.
    pub(super) machine: Double,
    pub(super) pem: String,
}

impl Service {
    pub(super) async fn start() -> Self {
        let names = [
            "kv.vault.azure.net",
            "login.microsoftonline.com",
            "localhost",
        ];
        Self::showing(Certificate::self_signed(&names)).await
    }

    /// Starts with this certificate.
    pub(super) async fn showing(certificate: Certificate) -> Self {
        let pem = certificate.authority.clone();
        let state = Arc::new(Mutex::new(State {
            page: 25,
            resource: "https://vault.azure.net".to_owned(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let secure = Double::tls(certificate, move |call| {
            let state = &mut *shared.lock().expect("the state");
            let path = call.path();
            if path.ends_with("/.well-known/openid-configuration") {
                discovery(call)
            } else if path == "/common/discovery/instance" {
                instances(call)
            } else if let Some(tenant) = path.strip_suffix("/oauth2/v2.0/token") {
                let wanted = format!("{}/.default", state.resource);
                let scope = call.form("scope").unwrap_or_default();
                let wanted = scope.split(' ').any(|word| word == wanted);
                log_in(state, tenant.trim_matches('/'), wanted, call)
            } else if let Some(tenant) = path.strip_suffix("/oauth2/token") {
                let wanted = call.form("resource").as_deref() == Some(&state.resource);
                log_in(state, tenant.trim_matches('/'), wanted, call)
            } else {
                vault(state, call)
            }
        })
        .await;
        let shared = Arc::clone(&state);
        let machine =
            Double::plain(move |call| identity(&mut shared.lock().expect("the state"), call)).await;
        Self {
            state,
            secure,
            machine,
            pem,
        }
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("the state"))
    }

    /// The requests for a token.
    pub(super) fn logins(&self) -> Vec<Call> {
        let calls = self.secure.calls().into_iter();
        calls.filter(|call| call.method == "POST").collect()
    }
}

/// The OpenID configuration. Some Azure clients read it first.
fn discovery(call: &Call) -> Reply {
    let authority = format!("https://{}/{TENANT}", call.header("host"));
    Reply::new(
        200,
        json!({"issuer": format!("{authority}/v2.0"), "token_endpoint": format!("{authority}/oauth2/v2.0/token"),
            "authorization_endpoint": format!("{authority}/oauth2/v2.0/authorize")}),
    )
}

/// The hosts that belong to the same login endpoint.
fn instances(call: &Call) -> Reply {
    let host = call.header("host");
    Reply::new(
        200,
        json!({"tenant_discovery_endpoint": format!("https://{host}/{TENANT}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]}),
    )
}

/// Entra's `/TENANT/oauth2/v2.0/token` and the older `/TENANT/oauth2/token`. They encode differently if the token is for the
/// vault (`wanted`).
fn log_in(state: &mut State, tenant: &str, wanted: bool, call: &Call) -> Reply {
    let refused = |status: u16, number: u32, error: &str| {
        let description = format!("AADSTS{number}: a long text with names. Trace ID: x");
        Reply::new(
            status,
            json!({"error": error, "error_description": description, "error_codes": [number],
                "timestamp": "2026-01-01 00:00:00Z", "trace_id": "x", "correlation_id": "y"}),
        )
    };
    let form = |name| call.form(name).unwrap_or_default();
    if tenant != TENANT {
        return refused(400, 90002, "invalid_request");
    }
    if form("grant_type") != "client_credentials" || !wanted {
        return refused(400, 70011, "invalid_scope");
    }
    if form("client_id") != CLIENT {
        return refused(400, 700_016, "unauthorized_client");
    }
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    match (call.form("client_secret"), call.form("client_assertion")) {
        (Some(secret), None) if secret == "s3cret" => {}
        (Some(_), None) => return refused(401, 7_000_215, "invalid_client"),
        (None, Some(token)) if is_token(&token) && form("client_assertion_type") == kind => {}
        (None, Some(_)) => return refused(400, 700_213, "invalid_client"),
        _ => return refused(400, 900_144, "invalid_request"),
    }
    let token = state.token();
    Reply::new(
        200,
        json!({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token}),
    )
}

/// True if the text has the form of a service account token.
fn is_token(text: &str) -> bool {
    text.split('.').filter(|part| !part.is_empty()).count() == 3
}

/// `169.254.169.254/metadata/identity/oauth2/token`.
fn identity(state: &mut State, call: &Call) -> Reply {
    let wanted = call.path() == "/metadata/identity/oauth2/token"
        && call.header("metadata") == "true"
        && call.query("api-version").is_some()
        && call.query("resource").as_deref() == Some(&state.resource);
    if !wanted {
        return Reply::new(400, json!({"error": "invalid_request"}));
    }
    if call
        .query("client_id")
        .is_some_and(|client| client != CLIENT)
    {
        let text = "Identity not found";
        return Reply::new(
            400,
            json!({"error": "invalid_request", "error_description": text}),
        );
    }
    let ends = UNIX_EPOCH.elapsed().expect("a time") + Duration::from_hours(24);
    let (token, resource) = (state.token(), state.resource.clone());
    Reply::new(
        200,
        json!({"access_token": token, "client_id": CLIENT, "expires_in": "86400",
            "expires_on": ends.as_secs().to_string(), "ext_expires_in": "86399", "not_before": "0",
            "resource": resource, "token_type": "Bearer"}),
    )
}

fn fault(status: u16, code: &str, inner: Option<&str>) -> Reply {
    let mut error = json!({"code": code, "message": "A long text with names."});
    if let Some(inner) = inner {
        error["innererror"] = json!({"code": inner});
    }
    Reply::new(status, json!({"error": error}))
}

/// The data plane of the vault.
fn vault(state: &mut State, call: &Call) -> Reply {
    let token = call.header("authorization").strip_prefix("Bearer ");
    if state.takes_no_token || !token.is_some_and(|token| state.valid.contains(token)) {
        let challenge = format!(
            r#"Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="{}""#,
            state.resource
        );
        return fault(401, "Unauthorized", None).with("www-authenticate", challenge);
    }
    if call.query("api-version").is_none() {
        return fault(400, "BadParameter", None);
    }
    if let Some(fault) = state.faults.pop_front() {
        return fault;
    }
    let host = format!("https://{}", call.header("host"));
    let path = call.path().trim_matches('/').to_owned();
    match path.split('/').collect::<Vec<_>>()[..] {
        ["secrets"] => list(state, call, &host),
        ["secrets", name, "versions"] => versions(state, name, &host),
        ["secrets", name] => one(state, name, None, &host),
        ["secrets", name, version] => one(state, name, Some(version), &host),
        ["deletedsecrets", name] if state.deleted.contains(name) => {
            let versions = state.secrets.get(name).expect("a secret");
            let mut secret = bundle(name, versions.last().expect("a version"), &host);
            secret["recoveryId"] = json!(format!("{host}/deletedsecrets/{name}"));
            Reply::new(200, secret)
        }
        _ => fault(404, "SecretNotFound", None),
    }
}

fn one(state: &State, name: &str, version: Option<&str>, host: &str) -> Reply {
    let versions = state.secrets.get(name);
    let versions = versions.filter(|_| !state.deleted.contains(name));
    let found = versions.and_then(|versions| match version {
        Some(id) => versions.iter().find(|version| version.id == id),
        None => versions.last(),
    });
    match found {
        None => fault(404, "SecretNotFound", None),
        Some(version) if !version.enabled => fault(403, "Forbidden", Some("SecretDisabled")),
        Some(version) => {
            let mut secret = bundle(name, version, host);
            secret["value"] = json!(version.value);
            Reply::new(200, secret)
        }
    }
}

fn bundle(name: &str, version: &Version, host: &str) -> Json {
    let mut secret = item(name, version, host);
    secret["id"] = json!(format!("{host}/secrets/{name}/{}", version.id));
    secret
}

fn item(name: &str, version: &Version, host: &str) -> Json {
    json!({"id": format!("{host}/secrets/{name}"), "tags": version.tags,
        "attributes": {"enabled": version.enabled, "created": 1_700_000_000, "updated": 1_700_000_000,
            "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}})
}

fn list(state: &State, call: &Call, host: &str) -> Reply {
    let all = state
        .secrets
        .iter()
        .filter(|(name, _)| !state.deleted.contains(*name));
    let skip = call
        .query("$skiptoken")
        .map_or(0, |skip| skip.parse().expect("a number"));
    let size = call
        .query("maxresults")
        .map_or(state.page, |size| size.parse().expect("a number"));
    let page: Vec<Json> = all
        .clone()
        .skip(skip)
        .take(size)
        .map(|(name, versions)| item(name, versions.last().expect("a version"), host))
        .collect();
    let place = state.elsewhere.as_deref().unwrap_or(host);
    let next = (skip + size < all.count()).then(|| {
        let skip = skip + size;
        format!("{place}/secrets?api-version=7.4&$skiptoken={skip}&maxresults={size}")
    });
    Reply::new(200, json!({"value": page, "nextLink": next}))
}

fn versions(state: &State, name: &str, host: &str) -> Reply {
    let versions = state.secrets.get(name).into_iter().flatten();
    let all: Vec<Json> = versions
        .map(|version| bundle(name, version, host))
        .collect();
    Reply::new(200, json!({"value": all, "nextLink": null}))
}
