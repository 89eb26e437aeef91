//! Logins with the keys and identities of stores.

use cluster::{Access, connect::connect_plain};
use pace::rate::Rate;
use serde_json::json;

use super::*;
use crate::double::{Double, Reply};

#[test]
fn only_service_account_keys_are_accepted() {
    // Credentials that contain their own token URLs are rejected.
    for text in [
        r#"{"type": "external_account", "token_url": "http://127.0.0.1:1"}"#,
        r#"{"type": "authorized_user"}"#,
        "{}",
        "not json: hunter2",
        r#"{"type": "service_account"}"#,
    ] {
        let unread = of_key(&Value::from(text)).map(|_| ()).unwrap_err();
        assert_eq!(unread.why.reason, unread::LOGIN);
        assert!(!unread.why.detail.contains("hunter2"));
    }
}

#[test]
fn email_cannot_change_the_path() {
    assert!(is_email("reader@my-project.iam.gserviceaccount.com"));
    for bad in ["a/b@c", "a@b:generateIdToken?", "a", "a@b#"] {
        assert!(!is_email(bad), "{bad}");
    }
}

/// One server for the cluster, the token exchange and Secret Manager.
async fn double() -> Double {
    Double::plain(|call| {
        let metadata = json!({"name": "a", "namespace": "team", "uid": "u", "resourceVersion": "1"});
        let token = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "spec": {"audiences": []}, "status": {"token": "jwt", "expirationTimestamp": "2099-01-01T00:00:00Z"}});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        match call.path() {
            "/api/v1/namespaces/team/serviceaccounts/reader/token" => Reply::new(201, token),
            "/api/v1/namespaces/team/serviceaccounts/reader" => Reply::new(200, account),
            "/exchange" => {
                let answer = json!({"access_token": "exchanged", "token_type": "Bearer", "expires_in": 3600,
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"});
                Reply::new(200, answer).with("content-type", "application/json")
            }
            _ => Reply::new(404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})),
        }
    })
    .await
}

async fn bearer(double: &Double, auth: Json) -> String {
    let settings = json!({"projectID": "p", "auth": auth});
    let url = format!("http://{}", double.address);
    let rate = Rate::per_second(1000.0).unwrap();
    let cluster = connect_plain(&url, Access::ReadOnly, rate).unwrap();
    let resolver = Resolver::new(cluster, "SecretStore/team/gcp".parse().unwrap(), "team");
    let mut login = Login::new(
        serde_json::from_value(settings).unwrap(),
        Identity::Store(&resolver),
    );
    login.exchange = format!("{url}/exchange");
    let credentials = login.of_store(&resolver).await.unwrap();
    let google_cloud_auth::credentials::CacheableResource::New { data, .. } =
        credentials.headers(http::Extensions::new()).await.unwrap()
    else {
        panic!("expected fresh headers");
    };
    data["authorization"].to_str().unwrap().to_owned()
}

/// The audiences of the cluster's token, and the form fields of the token exchange.
fn exchange(double: &Double) -> (Json, [String; 4]) {
    let calls = double.calls();
    let token = calls
        .iter()
        .find(|call| call.path().ends_with("/token"))
        .unwrap();
    let token: Json = serde_json::from_str(&token.body).unwrap();
    let form = calls
        .iter()
        .find(|call| call.path() == "/exchange")
        .unwrap();
    let fields = ["audience", "subject_token", "subject_token_type", "scope"];
    (
        token["spec"]["audiences"].clone(),
        fields.map(|name| form.form(name).unwrap_or_default()),
    )
}

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

#[tokio::test]
async fn workload_identity_token_is_exchanged() {
    let double = double().await;
    let auth = json!({"workloadIdentity": {"serviceAccountRef": {"name": "reader"},
        "clusterProjectID": "c", "clusterLocation": "europe-west1", "clusterName": "prod"}});
    assert_eq!(bearer(&double, auth).await, "Bearer exchanged");
    let (audiences, form) = exchange(&double);
    assert_eq!(audiences, json!(["c.svc.id.goog"]));
    assert_eq!(
        form,
        [
            "identitynamespace:c.svc.id.goog:https://container.googleapis.com/v1/projects/c/locations/europe-west1/clusters/prod",
            "jwt",
            JWT,
            SCOPE,
        ]
    );
}

#[tokio::test]
async fn federated_token_is_exchanged() {
    let double = double().await;
    let auth = json!({"workloadIdentityFederation": {
        "serviceAccountRef": {"name": "reader", "audiences": ["pool"]}, "audience": "//iam.googleapis.com/x"}});
    assert_eq!(bearer(&double, auth).await, "Bearer exchanged");
    let (audiences, form) = exchange(&double);
    assert_eq!(audiences, json!(["pool"]));
    assert_eq!(form, ["//iam.googleapis.com/x", "jwt", JWT, SCOPE]);
}

/// The error of a login with the job's own credentials: this file, and this endpoint if it is set.
async fn refused_job(file: &Json, endpoint: Option<&str>) -> Unread {
    let place = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(place.path(), file.to_string()).unwrap();
    let mut ambient = Ambient::default();
    let path = place.path().to_str().unwrap().to_owned();
    ambient.environment.insert(FILE.to_owned(), path);
    if let Some(url) = endpoint {
        ambient
            .environment
            .insert(ELSEWHERE.to_owned(), url.to_owned());
    }
    let settings = serde_json::from_value(json!({"projectID": "p"})).unwrap();
    let login = Login::new(settings, Identity::Ambient(&ambient));
    login.client().await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn job_credentials_never_go_over_plain_http() {
    let why = refused_job(&json!({}), Some("http://gcp.corp")).await.why;
    assert_eq!(why.reason, unread::NOT_TRUSTED);
    for field in [
        "token_url",
        "token_uri",
        "service_account_impersonation_url",
    ] {
        let file = json!({"type": "external_account", field: "http://sts.corp"});
        let why = refused_job(&file, None).await.why;
        assert_eq!(why.reason, unread::NOT_TRUSTED, "{field}");
        assert!(why.detail.contains(field), "{why}");
    }
}

#[tokio::test]
async fn job_token_of_the_api_server_is_not_sent() {
    let token = tempfile::NamedTempFile::new().unwrap();
    // {"iss":"https://issuer","aud":["https://issuer"]}
    let jwt = "e30.eyJpc3MiOiJodHRwczovL2lzc3VlciIsImF1ZCI6WyJodHRwczovL2lzc3VlciJdfQ.s";
    std::fs::write(token.path(), jwt).unwrap();
    let file = json!({"type": "external_account", "credential_source": {"file": token.path()}});
    let why = refused_job(&file, None).await.why;
    assert_eq!(why.reason, unread::LOGIN);
    assert!(why.detail.contains("--allow api-server-token"), "{why}");
}
