//! Vault logins: with the store's `auth`, or with the job's own credentials.

use eso_model::gojson;
use secret::Value;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::settings::{Settings, not_understood, unsupported};
use crate::{Ambient, Identity, Resolver, Unread, credentials::TokenFile, unread};

/// The way to get a token.
pub(super) enum Login {
    /// The token is given.
    Token(Source),
    /// The token is requested from Vault.
    Request(Request),
}

pub(super) struct Request {
    /// The path below `v1/`.
    pub(super) path: String,
    fields: Vec<(&'static str, Source)>,
}

/// The source of a credential. It is read again for each login because it may have been rotated.
pub(super) enum Source {
    /// A fixed value.
    Known(Value),
    File(TokenFile),
    Key(Box<Resolver>, Json),
    /// A service account token.
    Account(Box<Resolver>, Json, Vec<String>),
}

impl Source {
    pub(super) async fn value(&self) -> Result<Value, Unread> {
        match self {
            Self::Known(value) => Ok(value.duplicate()),
            Self::File(token) => token.read().await,
            Self::Key(resolver, reference) => resolver.secret_key(reference).await,
            Self::Account(resolver, account, audiences) => {
                resolver.service_account_token(account, audiences).await
            }
        }
    }
}

impl Request {
    fn new(mount: &str, fields: Vec<(&'static str, Source)>) -> Self {
        Self {
            path: format!("auth/{}/login", mount.trim_matches('/')),
            fields,
        }
    }

    /// A login with user name and password.
    fn of_user(mount: &str, user: &str, password: Source) -> Self {
        let mut request = Self::new(mount, vec![("password", password)]);
        request.path = format!("{}/{}", request.path, user.trim());
        request
    }

    /// The JSON body.
    pub(super) async fn body(&self) -> Result<Value, Unread> {
        let mut fields = Vec::new();
        for (name, source) in &self.fields {
            fields.push((*name, source.value().await?));
        }
        let fields = fields.iter().map(|(name, value)| (*name, value.expose()));
        Ok(gojson::encode_strings(fields, false))
    }
}

impl Login {
    /// Selects the login for a store.
    pub(super) fn of(settings: &Settings, identity: Identity<'_>) -> Result<Self, Unread> {
        match identity {
            Identity::Ambient(ambient) => of_job(ambient),
            Identity::Store(resolver) => match &settings.auth {
                Some(auth) => of_store(auth, resolver),
                None => Err(controller_identity("the store has no `auth`")),
            },
        }
    }
}

/// The Vault namespace for the login.
pub(super) fn namespace(settings: &Settings, identity: Identity<'_>) -> Option<String> {
    let named = match identity {
        Identity::Ambient(ambient) => variable(ambient, "VAULT_NAMESPACE"),
        Identity::Store(_) => settings
            .auth
            .as_ref()
            .and_then(|auth| auth.get("namespace")?.as_str()),
    };
    named
        .map(str::to_owned)
        .or_else(|| settings.namespace.clone())
}

fn variable<'a>(ambient: &'a Ambient, name: &str) -> Option<&'a str> {
    ambient
        .environment
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

/// The job's own login: a token, an `AppRole`, or the Pod's service account. Kubernetes and JWT auth use the same request.
fn of_job(ambient: &Ambient) -> Result<Login, Unread> {
    let known = |name| variable(ambient, name).map(|it| Source::Known(Value::from(it.trim())));
    let mount = |default| variable(ambient, "VAULT_AUTH_PATH").unwrap_or(default);
    if let Some(token) = known("VAULT_TOKEN") {
        return Ok(Login::Token(token));
    }
    if let (Some(role), Some(secret)) = (known("VAULT_ROLE_ID"), known("VAULT_SECRET_ID")) {
        let fields = vec![("role_id", role), ("secret_id", secret)];
        return Ok(Login::Request(Request::new(mount("approle"), fields)));
    }
    if let Some(role) = known("VAULT_AUTH_ROLE") {
        let token = TokenFile::of(ambient, "VAULT_AUTH_TOKEN_FILE");
        let fields = vec![("role", role), ("jwt", Source::File(token))];
        return Ok(Login::Request(Request::new(mount("kubernetes"), fields)));
    }
    Err(Unread::store(
        unread::LOGIN,
        "the job has no credentials for Vault: set VAULT_TOKEN; or VAULT_ROLE_ID and VAULT_SECRET_ID; or \
         VAULT_AUTH_ROLE and VAULT_AUTH_TOKEN_FILE (with VAULT_AUTH_PATH if it is not `kubernetes`)",
    ))
}

/// The `auth` of a store.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Auth {
    #[serde(default, rename = "namespace")]
    _namespace: Option<String>,
    token_secret_ref: Option<Json>,
    app_role: Option<AppRole>,
    kubernetes: Option<Kubernetes>,
    ldap: Option<User>,
    user_pass: Option<User>,
    jwt: Option<Jwt>,
    cert: Option<Json>,
    iam: Option<Json>,
    gcp: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AppRole {
    #[serde(default = "approle")]
    path: String,
    #[serde(default)]
    role_id: String,
    role_ref: Option<Json>,
    secret_ref: Json,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kubernetes {
    #[serde(default = "kubernetes")]
    mount_path: String,
    role: String,
    service_account_ref: Option<Json>,
    secret_ref: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct User {
    path: String,
    username: String,
    secret_ref: Json,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    #[serde(default = "jwt")]
    path: String,
    #[serde(default)]
    role: String,
    secret_ref: Option<Json>,
    kubernetes_service_account_token: Option<AccountToken>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccountToken {
    service_account_ref: Json,
    audiences: Option<Vec<String>>,
    #[serde(default, rename = "expirationSeconds")]
    _expiration_seconds: Option<i64>,
}

fn approle() -> String {
    "approle".to_owned()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn jwt() -> String {
    "jwt".to_owned()
}

/// In the operator's order: the first configured method is used.
fn of_store(auth: &Json, resolver: &Resolver) -> Result<Login, Unread> {
    let auth = Auth::deserialize(auth).map_err(|error| not_understood(".auth", &error))?;
    let key = |reference: Json| Source::Key(Box::new(resolver.clone()), reference);
    let request = if let Some(token) = auth.token_secret_ref {
        return Ok(Login::Token(key(token)));
    } else if let Some(role) = auth.app_role {
        let id = match role.role_ref {
            _ if !role.role_id.is_empty() => Source::Known(Value::from(role.role_id.trim())),
            Some(reference) => key(reference),
            None => return Err(unsupported(missing_field("appRole", "roleId or roleRef"))),
        };
        let fields = vec![("role_id", id), ("secret_id", key(role.secret_ref))];
        Request::new(&role.path, fields)
    } else if let Some(kubernetes) = auth.kubernetes {
        of_kubernetes(kubernetes, resolver)?
    } else if let Some(user) = auth.ldap.or(auth.user_pass) {
        Request::of_user(&user.path, &user.username, key(user.secret_ref))
    } else if let Some(jwt) = auth.jwt {
        of_jwt(jwt, resolver)?
    } else {
        let methods = [("cert", auth.cert), ("iam", auth.iam), ("gcp", auth.gcp)];
        let given = methods.iter().find(|(_, method)| method.is_some());
        return Err(unsupported(given.map_or_else(
            || "spec.provider.vault.auth has no method".to_owned(),
            |(name, _)| format!("spec.provider.vault.auth.{name} is not supported"),
        )));
    };
    Ok(Login::Request(request))
}

fn of_kubernetes(kubernetes: Kubernetes, resolver: &Resolver) -> Result<Request, Unread> {
    let resolver = Box::new(resolver.clone());
    let token = match (kubernetes.service_account_ref, kubernetes.secret_ref) {
        (Some(account), _) => Source::Account(resolver, account, Vec::new()),
        (None, Some(mut reference)) => {
            if let Some(reference) = reference.as_object_mut() {
                let key = reference.entry("key").or_insert_with(|| json!("token"));
                if key.as_str() == Some("") {
                    *key = json!("token");
                }
            }
            Source::Key(resolver, reference)
        }
        (None, None) => {
            let detail = "auth.kubernetes has neither serviceAccountRef nor secretRef";
            return Err(controller_identity(detail));
        }
    };
    let role = Source::Known(Value::from(kubernetes.role.as_str()));
    let fields = vec![("role", role), ("jwt", token)];
    Ok(Request::new(&kubernetes.mount_path, fields))
}

fn of_jwt(jwt: Jwt, resolver: &Resolver) -> Result<Request, Unread> {
    let resolver = Box::new(resolver.clone());
    let token = match (jwt.secret_ref, jwt.kubernetes_service_account_token) {
        (Some(reference), _) => Source::Key(resolver, reference),
        (None, Some(token)) => Source::Account(
            resolver,
            token.service_account_ref,
            token.audiences.unwrap_or_else(|| vec!["vault".to_owned()]),
        ),
        (None, None) => {
            let wanted = "secretRef or kubernetesServiceAccountToken";
            return Err(unsupported(missing_field("jwt", wanted)));
        }
    };
    let role = Source::Known(Value::from(jwt.role.trim()));
    Ok(Request::new(
        &jwt.path,
        vec![("role", role), ("jwt", token)],
    ))
}

fn missing_field(method: &str, what: &str) -> String {
    format!("spec.provider.vault.auth.{method} has no {what}")
}

fn controller_identity(why: &str) -> Unread {
    let detail = format!("{why}: the operator reads with its own Pod's identity");
    Unread::store(unread::CONTROLLER_IDENTITY, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambient(variables: &[(&str, &str)]) -> Ambient {
        Ambient {
            environment: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Ambient::default()
        }
    }

    async fn asked(variables: &[(&str, &str)]) -> String {
        match of_job(&ambient(variables)) {
            Ok(Login::Token(_)) => "a token".to_owned(),
            Ok(Login::Request(request)) => {
                let body = request
                    .body()
                    .await
                    .map_err(|unread| unread.why.to_string());
                let body = body.map(|it| String::from_utf8(it.expose().to_vec()).unwrap());
                format!("{} {}", request.path, body.unwrap_or_else(|error| error))
            }
            Err(unread) => unread.why.reason.to_owned(),
        }
    }

    #[tokio::test]
    async fn job_login_depends_on_the_environment() {
        let role = [("VAULT_ROLE_ID", "r"), ("VAULT_SECRET_ID", "s\"")];
        assert_eq!(
            asked(&[("VAULT_TOKEN", "t"), role[0], role[1]]).await,
            "a token"
        );
        assert_eq!(
            asked(&role).await,
            r#"auth/approle/login {"role_id":"r","secret_id":"s\""}"#
        );
        assert_eq!(asked(&role[..1]).await, unread::LOGIN);
        assert_eq!(asked(&[("VAULT_TOKEN", "")]).await, unread::LOGIN);
    }

    #[tokio::test]
    async fn pod_service_account_uses_kubernetes_or_jwt_auth() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a.b.c\n").unwrap();
        let file = file.path().to_str().unwrap();
        let role = ("VAULT_AUTH_ROLE", "job");
        assert_eq!(
            asked(&[role, ("VAULT_AUTH_TOKEN_FILE", file)]).await,
            r#"auth/kubernetes/login {"role":"job","jwt":"a.b.c"}"#
        );
        let gone = asked(&[
            role,
            ("VAULT_AUTH_TOKEN_FILE", "/nowhere"),
            ("VAULT_AUTH_PATH", "jwt/"),
        ])
        .await;
        assert!(
            gone.starts_with("auth/jwt/login login-failed (cannot read /nowhere"),
            "{gone}"
        );
    }
}
