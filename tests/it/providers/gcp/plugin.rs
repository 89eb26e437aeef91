//! Tokens for GKE, against a double of Google's token endpoint and of a machine's metadata server, which Google's own Python client
//! accepts, too.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cluster::native::{Call, Source};
use pace::Clock;
use serde_json::{Value as Json, json};
use tokio::process::Command;

use super::{EMAIL, KEY, job};
use crate::{
    cluster::skipped,
    providers::double::{Asked, Double, Reply},
    support::{now, optional_variable},
};

const SCOPES: &str =
    "https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/userinfo.email";

/// The content of a signed assertion.
fn claims(assertion: &str) -> Option<Json> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, KEY.public_key().as_ref());
    key.verify(signed.as_bytes(), &signature).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(signed.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// Answers like `oauth2.googleapis.com/token` and `metadata.google.internal`. Each token has another number.
fn answer(asked: &Asked, issued: &Mutex<usize>) -> Reply {
    let path = asked.path.split('?').next().unwrap_or_default();
    let good = match path {
        // The SDK sends JSON, and the Python client a form. Google accepts both.
        "/token" if asked.json()["grant_type"] == "refresh_token" => {
            asked.json()["refresh_token"] == "refresh" && asked.json()["client_id"] == "gcloud"
        }
        "/token" if asked.field("grant_type") == "refresh_token" => {
            asked.field("refresh_token") == "refresh" && asked.field("client_id") == "gcloud"
        }
        "/token" => {
            let is_grant =
                asked.field("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer";
            let claims = claims(&asked.field("assertion")).unwrap_or_default();
            let audience = claims["aud"].as_str().unwrap_or_default();
            let lasts = claims["exp"].as_i64().unwrap_or_default()
                - claims["iat"].as_i64().unwrap_or_default();
            is_grant
                && claims["iss"] == EMAIL
                && claims["scope"] == SCOPES
                && audience.ends_with("/token")
                && lasts == 3600
        }
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            asked.header("metadata-flavor") == "Google"
        }
        "/computeMetadata/v1/instance/service-accounts/default/" | "/" => {
            let account = json!({"email": EMAIL, "scopes": SCOPES.split(' ').collect::<Vec<_>>(), "aliases": ["default"]});
            return Reply::json(200, &account)
                .with("metadata-flavor", "Google")
                .with("content-type", "application/json");
        }
        _ => return Reply::json(404, &json!({"error": "not found"})),
    };
    if !good {
        return Reply::json(
            400,
            &json!({"error": "invalid_grant", "error_description": "Invalid JWT: hunter2"}),
        );
    }
    let mut issued = issued.lock().expect("the number");
    *issued += 1;
    let token = json!({"access_token": format!("ya29.{issued}"), "expires_in": 3599, "token_type": "Bearer"});
    Reply::json(200, &token)
        .with("content-type", "application/json")
        .with("metadata-flavor", "Google")
}

async fn double() -> Double {
    let issued = Mutex::new(0);
    Double::start(move |asked| answer(asked, &issued)).await
}

fn plugin(environment: &[(&str, &str)]) -> Source {
    let environment = environment.iter();
    let call = Call {
        program: "gke-gcloud-auth-plugin".to_owned(),
        arguments: vec!["--use_application_default_credentials".to_owned()],
        environment: environment
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        of_kubeconfig: BTreeSet::new(),
        clock: Clock::starting_at(now()),
    };
    providers::plugin::find(&call)
        .expect("a known program")
        .expect("known arguments")
}

/// The token, and for how many seconds it is used.
async fn token(source: &Source, rejected: bool) -> Result<(String, i64), String> {
    let token = (source.issue)(rejected).await?;
    let text = String::from_utf8(token.token.expose().to_vec()).expect("text");
    let seconds = token.renewed.as_second() - now().as_second();
    Ok((text, seconds))
}

#[tokio::test]
async fn key_of_a_service_account_is_exchanged() {
    let double = double().await;
    let job = job(&double.url);
    let file = &job.ambient.environment["GOOGLE_APPLICATION_CREDENTIALS"];
    let source = plugin(&[("GOOGLE_APPLICATION_CREDENTIALS", file)]);
    let (first, seconds) = token(&source, false).await.expect("a token");
    assert_eq!(first, "ya29.1");
    assert!((3530..=3540).contains(&seconds), "{seconds}");
    assert_eq!(token(&source, true).await.expect("a token").0, "ya29.2");
}

#[tokio::test]
async fn refused_login_quotes_no_answer() {
    let double =
        Double::start(|_| Reply::json(400, &json!({"error_description": "hunter2"}))).await;
    let job = job(&double.url);
    let file = &job.ambient.environment["GOOGLE_APPLICATION_CREDENTIALS"];
    let source = plugin(&[("GOOGLE_APPLICATION_CREDENTIALS", file)]);
    let refused = token(&source, false).await.expect_err("no token");
    assert_eq!(refused, "Google answers the login with 400");
}

/// The SDK does not say when its token expires, so it is asked every minute. After a rejection it must not return the same one.
#[tokio::test]
async fn login_of_a_user_and_of_a_machine_give_tokens() {
    let double = double().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("application_default_credentials.json");
    let user = json!({"type": "authorized_user", "client_id": "gcloud", "client_secret": "s", "refresh_token": "refresh",
        "token_uri": format!("{}/token", double.url)});
    std::fs::write(&file, user.to_string()).expect("a file");
    let folder = folder.path().to_str().expect("UTF-8");
    let machine = double.url.trim_start_matches("http://");
    for environment in [("CLOUDSDK_CONFIG", folder), ("GCE_METADATA_HOST", machine)] {
        let source = plugin(&[environment]);
        let (first, seconds) = token(&source, false).await.expect("a token");
        assert!((55..=60).contains(&seconds), "{seconds}");
        assert_eq!(token(&source, false).await.expect("a token").0, first);
        assert_ne!(token(&source, true).await.expect("a token").0, first);
    }
}

#[tokio::test]
async fn key_is_never_sent_over_plain_http() {
    let job = job("http://oauth2.corp");
    let file = &job.ambient.environment["GOOGLE_APPLICATION_CREDENTIALS"];
    let source = plugin(&[("GOOGLE_APPLICATION_CREDENTIALS", file)]);
    let refused = token(&source, false).await.expect_err("no token");
    assert!(
        refused.contains("never sent over plain HTTP: token_uri"),
        "{refused}"
    );
}

/// Google's own client logs in at the double in the same three ways.
#[tokio::test]
#[ignore = "needs the clouds' clients (tests/cluster/run)"]
async fn google_client_accepts_the_double_of_logins() {
    let Some(python) = optional_variable("ESO_SYNC_TEST_PYTHON") else {
        return skipped("Python with Google's client");
    };
    let double = Arc::new(double().await);
    let job = job(&double.url);
    let ran = Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/providers/gcp/login.py"
        ))
        .arg(&job.ambient.environment["GOOGLE_APPLICATION_CREDENTIALS"])
        .arg(format!("{}/token", double.url))
        .env_clear()
        .env(
            "GCE_METADATA_HOST",
            double.url.trim_start_matches("http://"),
        )
        .env("GCE_METADATA_IP", double.url.trim_start_matches("http://"))
        .output()
        .await
        .expect("Python");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let tokens: Json = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(tokens, json!(["ya29.1", "ya29.2", "ya29.3"]));
}
