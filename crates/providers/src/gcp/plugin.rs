//! Tokens for GKE, as `gke-gcloud-auth-plugin --use_application_default_credentials` makes them: an access token of the application
//! default credentials. Without the flag, the program takes the login of gcloud, which is not here either.

mod exchange;

use std::{path::PathBuf, sync::Arc, time::Duration};

use cluster::native::{Call, Source, Token};
use google_cloud_auth::credentials::{
    AccessTokenCredentials, external_account, impersonated, mds, user_account,
};
use jiff::Timestamp;
use secret::Value;
use serde_json::Value as Json;
use tokio::sync::Mutex;

use self::exchange::Key;
use super::login::{ANSWER, FILE, check_of_job, json_of, type_of};
use crate::{
    Ambient, Unread,
    arguments::{Arguments, switch},
};

/// The scopes of the program: the API server learns from the second one who the caller is.
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/userinfo.email",
];

/// How often the SDK is asked for its token. It does not say when the token expires, and renews it four minutes before that.
const ASKED: Duration = Duration::from_mins(1);

/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_mins(1);

/// The variables of a kubeconfig that are honoured. The SDK would read others from the process's own environment.
const VARIABLES: [&str; 5] = [
    FILE,
    "HOME",
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "USE_GKE_GCLOUD_AUTH_PLUGIN",
];

/// `gke-gcloud-auth-plugin`.
pub(crate) fn source(call: &Call) -> Result<Source, String> {
    let flags = [switch("--use_application_default_credentials")];
    Arguments::parse(&[], &flags, &call.arguments)?;
    let of_google = ["GOOGLE_", "GCE_", "CLOUDSDK_"];
    let unknown = |name: &&String| {
        let of_google = of_google.iter().any(|start| name.starts_with(start));
        of_google && !VARIABLES.contains(&name.as_str())
    };
    if let Some(name) = call.of_kubeconfig.iter().find(unknown) {
        return Err(format!(
            "the kubeconfig sets {name}, which is not supported there; set it for eso-sync"
        ));
    }
    let login = Arc::new(Login {
        call: call.clone(),
        current: Mutex::new(None),
    });
    Ok(Source {
        command: "gke-gcloud-auth-plugin --use_application_default_credentials",
        issue: Arc::new(move |rejected| {
            let login = Arc::clone(&login);
            Box::pin(async move {
                let token = tokio::time::timeout(ANSWER, login.token(rejected)).await;
                let token = token.map_err(|_| "fetching the credentials timed out")?;
                token.map_err(|unread| unread.why.detail)
            })
        }),
    })
}

/// The login for the tokens of one plugin.
struct Login {
    call: Call,
    /// The credentials, until the API server rejects their token.
    current: Mutex<Option<Of>>,
}

/// The kind of credentials.
enum Of {
    /// A key of a service account. The SDK would sign tokens itself, which GKE may not accept.
    Key(Key),
    /// Other credentials. The SDK keeps their token.
    Other(AccessTokenCredentials),
}

impl Login {
    async fn token(&self, rejected: bool) -> Result<Token, Unread> {
        let mut current = self.current.lock().await;
        let of = match current.take() {
            Some(of) if !rejected => of,
            Some(_) | None => self.log_in().await?,
        };
        let now = self.call.clock.now();
        let token = match &of {
            Of::Key(key) => key.token(now).await?,
            Of::Other(credentials) => {
                let token = credentials.access_token().await;
                // The error text contains the server's answer.
                let token = token.map_err(|_| failed("the credentials could not be fetched"))?;
                Token {
                    token: Value::new(token.token.into_bytes()),
                    renewed: now + ASKED,
                }
            }
        };
        *current = Some(of);
        Ok(token)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let value = self.call.environment.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// The file with the credentials: that of the variable, or where gcloud writes it.
    fn file(&self) -> Option<PathBuf> {
        if let Some(path) = self.variable(FILE) {
            return Some(path.into());
        }
        let folder = match (self.variable("CLOUDSDK_CONFIG"), self.variable("HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => PathBuf::from(home).join(".config/gcloud"),
            (None, None) => return None,
        };
        let file = folder.join("application_default_credentials.json");
        file.is_file().then_some(file)
    }

    async fn log_in(&self) -> Result<Of, Unread> {
        let Some(path) = self.file() else {
            let mut machine = mds::Builder::default().with_scopes(SCOPES);
            if let Some(host) = self.variable("GCE_METADATA_HOST") {
                machine = machine.with_endpoint(format!("http://{host}"));
            }
            let machine = machine.build_access_token_credentials();
            let machine = machine.map_err(|_| failed("the metadata server cannot be used"))?;
            return Ok(Of::Other(machine));
        };
        let text = tokio::fs::read(&path).await.map(Value::new);
        let text = text
            .map_err(|error| failed(format!("cannot read {}: {}", path.display(), error.kind())))?;
        let json = json_of(&text)?;
        check_of_job(&json, &Ambient::default()).await?;
        of_file(json)
    }
}

fn of_file(json: Json) -> Result<Of, Unread> {
    let built = match type_of(&json) {
        Some("service_account") => return Key::of(&json).map(Of::Key),
        Some("external_account") => external_account::Builder::new(json)
            .with_scopes(SCOPES)
            .build_access_token_credentials(),
        // The scopes of a user's login were chosen at that login.
        Some("authorized_user") => {
            user_account::Builder::new(json).build_access_token_credentials()
        }
        Some("impersonated_service_account") => impersonated::Builder::new(json)
            .with_scopes(SCOPES)
            .build_access_token_credentials(),
        _ => {
            return Err(failed(
                "the application default credentials have an unknown type",
            ));
        }
    };
    let built = built.map_err(|_| failed("the application default credentials are incomplete"));
    built.map(Of::Other)
}

fn failed(why: impl Into<String>) -> Unread {
    Unread::store(crate::unread::LOGIN, why)
}

/// When a token is renewed that is valid for this many seconds.
fn renewed(now: Timestamp, seconds: u64) -> Timestamp {
    now + Duration::from_secs(seconds).saturating_sub(EARLY)
}
