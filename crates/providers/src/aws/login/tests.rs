//! Logins with the credentials of stores. One server stands for both the cluster and AWS.

use cluster::{Access, connect::connect_plain};
use pace::rate::Rate;
use serde_json::{Value as Json, json};

use super::*;
use crate::double::{Call, Double, Reply};

fn secret(call: &Call) -> Option<Reply> {
    let data = match call.path() {
        "/api/v1/namespaces/team/secrets/keys" => {
            json!({"id": "QUtJRA==", "key": "a2V5", "token": "dG9rZW4="})
        }
        "/api/v1/namespaces/team/secrets/bytes" => json!({"id": "/w==", "key": "a2V5"}),
        _ => return None,
    };
    let metadata = json!({"name": "keys", "namespace": "team", "uid": "u", "resourceVersion": "1"});
    Some(Reply::new(
        200,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}),
    ))
}

fn account(call: &Call) -> Option<Reply> {
    let annotations = match call.path() {
        "/api/v1/namespaces/team/serviceaccounts/reader" => {
            json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/reader"})
        }
        "/api/v1/namespaces/team/serviceaccounts/other" => {
            json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/other", "eks.amazonaws.com/audience": "own"})
        }
        "/api/v1/namespaces/team/serviceaccounts/plain" => json!({}),
        _ => return None,
    };
    let metadata = json!({"name": "a", "namespace": "team", "uid": "u", "resourceVersion": "1", "annotations": annotations});
    Some(Reply::new(
        200,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
    ))
}

fn sts(call: &Call) -> Option<Reply> {
    let action = call.form("Action")?;
    let role = call.form("RoleArn")?;
    if role.ends_with("/other") {
        let error = "<Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>hunter2</Message></Error>";
        return Some(Reply::new(
            400,
            format!("<ErrorResponse>{error}</ErrorResponse>"),
        ));
    }
    let credentials = "<Credentials><AccessKeyId>TAKEN</AccessKeyId><SecretAccessKey>x</SecretAccessKey>\
                       <SessionToken>y</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>";
    Some(Reply::new(
        200,
        format!(
            "<{action}Response><{action}Result>{credentials}</{action}Result></{action}Response>"
        ),
    ))
}

async fn double() -> Double {
    Double::plain(|call| {
        let token = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "spec": {"audiences": []}, "status": {"token": "jwt", "expirationTimestamp": "2099-01-01T00:00:00Z"}});
        secret(call)
            .or_else(|| account(call))
            .or_else(|| sts(call))
            .or_else(|| call.path().ends_with("/token").then(|| Reply::new(201, token)))
            .unwrap_or_else(|| Reply::new(404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})))
    })
    .await
}

async fn log_in(double: &Double, more: &Json) -> Result<Credentials, Unread> {
    let mut settings = json!({"service": "SecretsManager", "region": "eu-west-1"});
    settings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let url = format!("http://{}", double.address);
    let rate = Rate::per_second(1000.0).unwrap();
    let cluster = connect_plain(&url, Access::ReadOnly, rate).unwrap();
    let resolver = Resolver::new(cluster, "SecretStore/team/aws".parse().unwrap(), "team");
    let mut login = Login::new(
        serde_json::from_value(settings).unwrap(),
        Identity::Store(&resolver),
    );
    login
        .endpoint_overrides
        .insert("AWS_ENDPOINT_URL".to_owned(), url);
    let config = login.config().await?;
    let provider = config.credentials_provider().unwrap();
    Ok(provider.provide_credentials().await.unwrap())
}

fn reference(name: &str, key: &str) -> Json {
    json!({"name": name, "key": key})
}

fn keys(name: &str) -> Json {
    json!({"auth": {"secretRef": {
        "accessKeyIDSecretRef": reference(name, "id"), "secretAccessKeySecretRef": reference(name, "key")}}})
}

#[tokio::test]
async fn access_keys_come_from_secrets() {
    let double = double().await;
    let credentials = log_in(&double, &keys("keys")).await.unwrap();
    let shown = |credentials: &Credentials| {
        (
            credentials.access_key_id().to_owned(),
            credentials.secret_access_key().to_owned(),
            credentials.session_token().map(str::to_owned),
        )
    };
    assert_eq!(
        shown(&credentials),
        ("AKID".to_owned(), "key".to_owned(), None)
    );

    let mut with_token = keys("keys");
    with_token["auth"]["secretRef"]["sessionTokenSecretRef"] = reference("keys", "token");
    let credentials = log_in(&double, &with_token).await.unwrap();
    assert_eq!(credentials.session_token(), Some("token"));
}

#[tokio::test]
async fn access_keys_assume_the_role() {
    let double = double().await;
    let mut settings = keys("keys");
    settings["role"] = json!("arn:aws:iam::1:role/reader");
    let credentials = log_in(&double, &settings).await.unwrap();
    assert_eq!(credentials.access_key_id(), "TAKEN");
    let calls = double.calls();
    let sts = calls
        .iter()
        .find(|call| call.form("Action").is_some())
        .unwrap();
    assert!(sts.header("authorization").contains("Credential=AKID/"));
}

#[tokio::test]
async fn service_account_assumes_the_annotated_role() {
    let double = double().await;
    let settings =
        json!({"auth": {"jwt": {"serviceAccountRef": {"name": "reader", "audiences": ["more"]}}}});
    let credentials = log_in(&double, &settings).await.unwrap();
    assert_eq!(credentials.access_key_id(), "TAKEN");
    let calls = double.calls();
    let token = calls
        .iter()
        .find(|call| call.path().ends_with("/token"))
        .unwrap();
    let mut audiences: Vec<String> = serde_json::from_value(
        serde_json::from_str::<Json>(&token.body).unwrap()["spec"]["audiences"].clone(),
    )
    .unwrap();
    audiences.sort();
    assert_eq!(audiences, ["more", "sts.amazonaws.com"]);
    let sts = calls
        .iter()
        .find(|call| call.form("Action").is_some())
        .unwrap();
    assert_eq!(
        sts.form("Action").as_deref(),
        Some("AssumeRoleWithWebIdentity")
    );
    assert_eq!(
        sts.form("RoleArn").as_deref(),
        Some("arn:aws:iam::1:role/reader")
    );
    assert_eq!(sts.form("WebIdentityToken").as_deref(), Some("jwt"));
    assert_eq!(
        sts.header("authorization"),
        "",
        "the call is not signed: the token authenticates it"
    );
}

#[tokio::test]
async fn failed_login_has_a_reason() {
    let double = double().await;
    let jwt = |name: &str| json!({"auth": {"jwt": {"serviceAccountRef": {"name": name}}}});
    for (settings, why) in [
        (
            jwt("other"),
            "login-failed (AssumeRole arn:aws:iam::1:role/other: InvalidIdentityToken)",
        ),
        (
            jwt("plain"),
            "login-failed (the service account has no annotation eks.amazonaws.com/role-arn)",
        ),
        (
            keys("bytes"),
            "login-failed (the access key is not valid UTF-8)",
        ),
    ] {
        let unread = log_in(&double, &settings).await.err().unwrap();
        assert!(unread.whole_store);
        assert_eq!(unread.why.to_string(), why);
    }
    let unread = log_in(&double, &keys("absent")).await.err().unwrap();
    assert_eq!(unread.why.reason, unread::STORE);
}

/// The error of a login with the job's own credentials and this environment.
async fn refused_job(variables: &[(&str, &str)]) -> Unread {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
    ]
    .into_iter()
    .chain(variables.iter().copied());
    let ambient = Ambient {
        environment: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..Ambient::default()
    };
    let settings = json!({"service": "SecretsManager", "region": "eu-west-1"});
    let settings = serde_json::from_value(settings).unwrap();
    let login = Login::new(settings, Identity::Ambient(&ambient));
    login.config().await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn job_credentials_never_go_over_plain_http() {
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"] {
        let why = refused_job(&[(variable, "http://localstack.corp:4566")])
            .await
            .why;
        assert_eq!(why.reason, unread::NOT_TRUSTED);
        assert!(
            why.detail
                .contains(&format!("{variable} must be an https address")),
            "{why}"
        );
    }
}

#[tokio::test]
async fn job_token_of_the_api_server_is_not_sent() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // {"iss":"https://issuer","aud":["https://issuer"]}
    let token = "e30.eyJpc3MiOiJodHRwczovL2lzc3VlciIsImF1ZCI6WyJodHRwczovL2lzc3VlciJdfQ.s";
    std::fs::write(file.path(), token).unwrap();
    let path = file.path().to_str().unwrap();
    let why = refused_job(&[("AWS_WEB_IDENTITY_TOKEN_FILE", path)])
        .await
        .why;
    assert_eq!(why.reason, unread::LOGIN);
    assert!(why.detail.contains("--allow api-server-token"), "{why}");
}

#[expect(
    deprecated,
    reason = "the new names are in a crate of which nothing else is needed"
)]
#[tokio::test]
async fn own_credentials_never_go_to_plain_http_of_the_shared_configuration() {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    let ambient = Ambient::default();
    for (url, refused) in [
        ("http://10.0.0.1", true),
        ("https://vpce.example", false),
        ("http://127.0.0.1:4566", false),
    ] {
        for service in ["secrets-manager", "ssm", "sts", ""] {
            let shared = if service.is_empty() {
                format!("[default]\nendpoint_url = {url}\n")
            } else {
                format!(
                    "[default]\nservices = own\n[services own]\n{service} =\n  endpoint_url = {url}\n"
                )
            };
            let files = ProfileFiles::builder()
                .with_contents(ProfileFileKind::Config, shared)
                .build();
            let config = aws_config::defaults(BehaviorVersion::latest())
                .profile_files(files)
                .region(Region::new("eu-west-1"))
                .no_credentials()
                .load()
                .await;
            let settings = serde_json::from_value(json!({"service": "SecretsManager"})).unwrap();
            let login = Login::new(settings, Identity::Ambient(&ambient));
            let checked = login.check_ambient(&ambient, &config).await;
            assert_eq!(checked.is_err(), refused, "{service} {url}");
        }
    }
}
