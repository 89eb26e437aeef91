//! A double of Key Vault, of Entra's token endpoint and of a machine's identity endpoint, with the documented protocols.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value as Json, json};

use super::{Call, Certificate, Double, Reply};

pub(crate) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const CLIENT: &str = "client";

/// The content and behaviour of the double.
#[derive(Default)]
pub(crate) struct State {
    /// The versions of each secret, oldest first.
    secrets: BTreeMap<String, Vec<Version>>,
    deleted: BTreeSet<String>,
    /// The secrets that belong to certificates.
    managed: BTreeSet<String>,
    /// How often a secret that is being restored is still not found.
    recovering: BTreeMap<String, usize>,
    /// How often a secret is not found after it was restored.
    pub(crate) recovery: usize,
    /// The name and value that somebody else writes directly before the next write, and directly after it.
    pub(crate) before_write: Option<(String, String)>,
    pub(crate) after_write: Option<(String, String)>,
    /// Answers that replace the next answers to writes, which are done.
    pub(crate) lost: VecDeque<Reply>,
    /// The number of issued tokens, and which of them are valid.
    issued: u32,
    valid: BTreeSet<String>,
    /// Answers that replace the next answers of the vault.
    pub(crate) faults: VecDeque<Reply>,
    /// The number of secrets on a page of a list.
    pub(crate) page: usize,
    /// True if every token is rejected.
    pub(crate) takes_no_token: bool,
    /// False if the client's secret is rejected.
    pub(crate) secret_is_valid: bool,
    /// The lifetime of tokens in seconds.
    pub(crate) lifetime: u32,
    /// The resource that tokens must be for.
    pub(crate) resource: String,
    /// The time at which a secret's first version is created, in seconds. Each later version is a second younger.
    pub(crate) now: usize,
    /// The host of the next page, if it is not the vault.
    pub(crate) elsewhere: Option<String>,
}

#[derive(Clone)]
struct Version {
    id: String,
    value: String,
    enabled: bool,
    tags: BTreeMap<String, String>,
    content_type: Option<String>,
    /// In seconds.
    created: usize,
    expires: Option<usize>,
}

/// The time of the double, unless a test sets another one.
pub(crate) const NOW: usize = 1_700_000_000;

impl State {
    /// Adds a version of a secret.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> String {
        let now = self.now;
        let versions = self.secrets.entry(self.spelling(name)).or_default();
        let id = format!("{:032x}", versions.len() + 1);
        versions.push(Version {
            id: id.clone(),
            value: value.to_owned(),
            enabled: true,
            tags: BTreeMap::new(),
            content_type: None,
            created: now + versions.len(),
            expires: None,
        });
        id
    }

    /// The name of a secret as it was created: Key Vault ignores the case.
    fn spelling(&self, name: &str) -> String {
        let mut names = self.secrets.keys();
        let found = names.find(|found| found.eq_ignore_ascii_case(name));
        found.map_or_else(|| name.to_owned(), Clone::clone)
    }

    /// The values and tags of all versions, oldest first.
    pub(crate) fn versions(&self, name: &str) -> Vec<(String, BTreeMap<String, String>)> {
        let versions = self.secrets.get(name).into_iter().flatten();
        versions
            .map(|version| (version.value.clone(), version.tags.clone()))
            .collect()
    }

    /// Replaces the tags of the newest version.
    pub(crate) fn retag(&mut self, name: &str, tags: BTreeMap<String, String>) {
        self.newest(name).tags = tags;
    }

    /// Moves the newest version to this many seconds after the time of the double.
    pub(crate) fn date(&mut self, name: &str, seconds: usize) {
        self.newest(name).created = self.now + seconds;
    }

    /// The newest version expires this many seconds after the time of the double.
    pub(crate) fn expire(&mut self, name: &str, seconds: usize) {
        self.newest(name).expires = Some(self.now + seconds);
    }

    pub(crate) fn content_type(&self, name: &str) -> Option<String> {
        let versions = self.secrets.get(name).expect("a secret");
        versions.last().expect("a version").content_type.clone()
    }

    pub(crate) fn describe(&mut self, name: &str, content_type: &str) {
        self.newest(name).content_type = Some(content_type.to_owned());
    }

    /// Makes it the secret of a certificate.
    pub(crate) fn manage(&mut self, name: &str) {
        self.managed.insert(name.to_owned());
    }

    pub(crate) fn is_deleted(&self, name: &str) -> bool {
        self.deleted.contains(name)
    }

    pub(crate) fn tag(&mut self, name: &str, tag: &str, value: &str) {
        self.newest(name)
            .tags
            .insert(tag.to_owned(), value.to_owned());
    }

    pub(crate) fn disable(&mut self, name: &str) {
        self.newest(name).enabled = false;
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.deleted.insert(name.to_owned());
    }

    /// Invalidates all issued tokens.
    pub(crate) fn end_tokens(&mut self) {
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
pub(crate) struct Service {
    pub(crate) state: Arc<Mutex<State>>,
    /// The vault and the login endpoint, over HTTPS.
    pub(crate) secure: Double,
    /// The machine's identity endpoint, over HTTP.
    pub(crate) machine: Double,
    pub(crate) pem: String,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let names = [
            "kv.vault.azure.net",
            "login.microsoftonline.com",
            "localhost",
        ];
        Self::showing(Certificate::self_signed(&names)).await
    }

    /// Starts with this certificate.
    pub(crate) async fn showing(certificate: Certificate) -> Self {
        let pem = certificate.authority.clone();
        let state = Arc::new(Mutex::new(State {
            page: 25,
            now: NOW,
            secret_is_valid: true,
            lifetime: 3599,
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

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("the state"))
    }

    /// The requests for a token.
    pub(crate) fn logins(&self) -> Vec<Call> {
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
        (Some(secret), None) if state.secret_is_valid && secret == "s3cret" => {}
        (Some(_), None) => return refused(401, 7_000_215, "invalid_client"),
        (None, Some(token)) if is_token(&token) && form("client_assertion_type") == kind => {}
        (None, Some(_)) => return refused(400, 700_213, "invalid_client"),
        _ => return refused(400, 900_144, "invalid_request"),
    }
    let (token, lifetime) = (state.token(), state.lifetime);
    Reply::new(
        200,
        json!({"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token}),
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
    let parts: Vec<&str> = path.split('/').collect();
    if call.method == "GET" {
        return read(state, call, &parts, &host);
    }
    if let Some((name, value)) = state.before_write.take() {
        state.set(&name, &value);
    }
    let reply = write(state, call, &parts, &host);
    if let Some((name, value)) = state.after_write.take() {
        state.set(&name, &value);
    }
    state.lost.pop_front().unwrap_or(reply)
}

fn read(state: &mut State, call: &Call, parts: &[&str], host: &str) -> Reply {
    match *parts {
        ["secrets"] => list(state, call, host),
        ["secrets", name, "versions"] => versions(state, call, &state.spelling(name), host),
        ["secrets", name] => current(state, &state.spelling(name), host),
        ["secrets", name, version] => one(state, &state.spelling(name), Some(version), host),
        ["deletedsecrets", name] if state.deleted.contains(&state.spelling(name)) => {
            Reply::new(200, deleted(state, &state.spelling(name), host))
        }
        _ => fault(404, "SecretNotFound", None),
    }
}

/// The writes. The body of the first request is missing: Azure's clients send it after the challenge.
fn write(state: &mut State, call: &Call, parts: &[&str], host: &str) -> Reply {
    let body: Json = serde_json::from_str(&call.body).unwrap_or_default();
    match (&*call.method, parts) {
        ("PUT", ["secrets", name]) => put(state, &state.spelling(name), &body, host),
        ("PATCH", ["secrets", name, version]) => {
            patch(state, &state.spelling(name), version, &body, host)
        }
        ("DELETE", ["secrets", name]) => {
            let name = state.spelling(name);
            let exists = state.secrets.contains_key(&name) && state.deleted.insert(name.clone());
            if exists {
                Reply::new(200, deleted(state, &name, host))
            } else {
                fault(404, "SecretNotFound", None)
            }
        }
        ("POST", ["deletedsecrets", name, "recover"]) => {
            let name = state.spelling(name);
            if !state.deleted.remove(&name) {
                return fault(404, "SecretNotFound", None);
            }
            state.recovering.insert(name.clone(), state.recovery);
            Reply::new(200, bundle(state, &name, newest(state, &name), host))
        }
        // Purging is a right of its own.
        _ => fault(403, "Forbidden", Some("ForbiddenByRbac")),
    }
}

fn tags(body: &Json) -> Option<BTreeMap<String, String>> {
    let tags = body["tags"].as_object()?.iter();
    let text = |value: &Json| value.as_str().expect("text").to_owned();
    Some(
        tags.map(|(name, value)| (name.clone(), text(value)))
            .collect(),
    )
}

fn put(state: &mut State, name: &str, body: &Json, host: &str) -> Reply {
    let conflict = |inner: &str| fault(409, "Conflict", Some(inner));
    if state.deleted.contains(name) {
        return conflict("ObjectIsDeletedButRecoverable");
    }
    if state.recovering.get(name).is_some_and(|looks| *looks > 0) {
        return conflict("ObjectIsBeingRecovered");
    }
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let tags = tags(body).unwrap_or_default();
    let too_long = |(name, value): (&String, &String)| name.len() > 256 || value.len() > 256;
    let Some(value) = body["value"].as_str() else {
        return fault(400, "BadParameter", None);
    };
    let fits = value.len() <= 25 << 10 && tags.len() <= 15 && !tags.iter().any(too_long);
    if !fits || !name.chars().all(good) || !(1..=127).contains(&name.len()) {
        return fault(400, "BadParameter", None);
    }
    state.set(name, value);
    let version = state.newest(name);
    version.tags = tags;
    version.content_type = body["contentType"].as_str().map(str::to_owned);
    let version = newest(state, name);
    let mut secret = bundle(state, name, version, host);
    secret["value"] = json!(value);
    Reply::new(200, secret)
}

fn patch(state: &mut State, name: &str, id: &str, body: &Json, host: &str) -> Reply {
    if state.deleted.contains(name) {
        return fault(404, "SecretNotFound", None);
    }
    let versions = state.secrets.get_mut(name).into_iter().flatten();
    let Some(version) = versions.into_iter().find(|version| version.id == id) else {
        return fault(404, "SecretNotFound", None);
    };
    // What is not sent stays; tags are replaced as a whole.
    if let Some(tags) = tags(body) {
        version.tags = tags;
    }
    if let Some(enabled) = body["attributes"]["enabled"].as_bool() {
        version.enabled = enabled;
    }
    let version = version.clone();
    Reply::new(200, bundle(state, name, &version, host))
}

fn newest<'s>(state: &'s State, name: &str) -> &'s Version {
    let versions = state.secrets.get(name).expect("a secret");
    versions.last().expect("a version")
}

fn deleted(state: &State, name: &str, host: &str) -> Json {
    let mut secret = bundle(state, name, newest(state, name), host);
    secret["recoveryId"] = json!(format!("{host}/deletedsecrets/{name}"));
    secret["deletedDate"] = json!(state.now);
    secret["scheduledPurgeDate"] = json!(state.now + 90 * 24 * 3600);
    secret
}

/// The current version. A secret that is being restored is not there at first.
fn current(state: &mut State, name: &str, host: &str) -> Reply {
    match state.recovering.get_mut(name) {
        Some(looks) if *looks > 0 => {
            *looks -= 1;
            fault(404, "SecretNotFound", None)
        }
        _ => one(state, name, None, host),
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
            let mut secret = bundle(state, name, version, host);
            secret["value"] = json!(version.value);
            Reply::new(200, secret)
        }
    }
}

fn bundle(state: &State, name: &str, version: &Version, host: &str) -> Json {
    let mut secret = item(state, name, version, host);
    secret["id"] = json!(format!("{host}/secrets/{name}/{}", version.id));
    secret
}

fn item(state: &State, name: &str, version: &Version, host: &str) -> Json {
    let mut item = json!({"id": format!("{host}/secrets/{name}"), "tags": version.tags,
        "attributes": {"enabled": version.enabled, "created": version.created, "updated": version.created,
            "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}});
    if let Some(content_type) = &version.content_type {
        item["contentType"] = json!(content_type);
    }
    if let Some(expires) = version.expires {
        item["attributes"]["exp"] = json!(expires);
    }
    if state.managed.contains(name) {
        item["managed"] = json!(true);
    }
    item
}

fn list(state: &State, call: &Call, host: &str) -> Reply {
    let all = state
        .secrets
        .iter()
        .filter(|(name, _)| !state.deleted.contains(*name));
    let all = all.map(|(name, _)| item(state, name, newest(state, name), host));
    page(state, call, all.collect(), host)
}

fn versions(state: &State, call: &Call, name: &str, host: &str) -> Reply {
    let versions = state.secrets.get(name);
    let versions = versions.filter(|_| !state.deleted.contains(name));
    let all = versions.into_iter().flatten();
    let all = all.map(|version| bundle(state, name, version, host));
    page(state, call, all.collect(), host)
}

fn page(state: &State, call: &Call, all: Vec<Json>, host: &str) -> Reply {
    let number = |name: &str| call.query(name).map(|text| text.parse().expect("a number"));
    let skip: usize = number("$skiptoken").unwrap_or_default();
    let size: usize = number("maxresults").unwrap_or(state.page);
    let next = (skip + size < all.len()).then(|| {
        let place = state.elsewhere.as_deref().unwrap_or(host);
        let (path, skip) = (call.path(), skip + size);
        format!("{place}{path}?api-version=7.4&$skiptoken={skip}&maxresults={size}")
    });
    let page: Vec<Json> = all.into_iter().skip(skip).take(size).collect();
    Reply::new(200, json!({"value": page, "nextLink": next}))
}
