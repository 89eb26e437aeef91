//! Tokens for EKS, compared with the real `aws`, and shown to the STS of moto.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cluster::native::Call;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use pace::Clock;
use serde_json::Value as Json;
use tokio::process::Command;

use super::moto::Moto;
use crate::{cluster::skipped, support::optional_variable};

/// The parameters of the request in a token, with the address under the name `@`.
fn request(token: &str) -> BTreeMap<String, String> {
    let url = token.strip_prefix("k8s-aws-v1.").expect("the prefix");
    let url = URL_SAFE_NO_PAD.decode(url).expect("base64 without padding");
    let url = String::from_utf8(url).expect("text");
    let (address, query) = url.split_once('?').expect("a query");
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    pairs
        .chain([("@".to_owned(), address.to_owned())])
        .collect()
}

fn url(token: &str) -> String {
    let url = URL_SAFE_NO_PAD.decode(token.strip_prefix("k8s-aws-v1.").expect("the prefix"));
    String::from_utf8(url.expect("base64")).expect("text")
}

/// The `aws` that is installed beside Python.
fn aws() -> Option<PathBuf> {
    let python = optional_variable("ESO_SYNC_TEST_PYTHON")?;
    Some(PathBuf::from(python).with_file_name("aws"))
}

async fn of_aws(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (String, Timestamp) {
    let ran = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .await
        .expect("aws");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let printed: Json = serde_json::from_slice(&ran.stdout).expect("JSON");
    let status = &printed["status"];
    let token = status["token"].as_str().expect("a token").to_owned();
    let expires = status["expirationTimestamp"].as_str().expect("a time");
    (token, expires.parse().expect("a time"))
}

async fn own(
    arguments: &[&str],
    environment: &[(&str, &str)],
    at: Timestamp,
) -> (String, Timestamp) {
    let call = Call {
        program: "aws".to_owned(),
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        of_kubeconfig: BTreeSet::new(),
        clock: Clock::starting_at(at),
    };
    let source = providers::plugin::find(&call)
        .expect("a known program")
        .expect("known arguments");
    let token = (source.issue)(false).await.expect("a token");
    let text = String::from_utf8(token.token.expose().to_vec()).expect("text");
    (text, token.renewed)
}

/// The time at which a request was signed.
fn signed(request: &BTreeMap<String, String>) -> Timestamp {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", &request["X-Amz-Date"]).expect("a time");
    time.to_zoned(TimeZone::UTC).expect("a time").timestamp()
}

/// Arguments and variables.
const CASES: &[(&str, &[(&str, &str)])] = &[
    ("--region eu-west-1", &[]),
    ("--region us-east-1", &[("AWS_SESSION_TOKEN", "a/b+c==")]),
    (
        "--region eu-west-1",
        &[("AWS_STS_REGIONAL_ENDPOINTS", "legacy")],
    ),
    (
        "--region eu-south-1",
        &[("AWS_STS_REGIONAL_ENDPOINTS", "legacy")],
    ),
    ("--region cn-north-1", &[]),
    ("--region us-gov-west-1", &[]),
    ("--region us-west-2", &[("AWS_USE_FIPS_ENDPOINT", "true")]),
    (
        "--region us-west-2",
        &[("AWS_USE_DUALSTACK_ENDPOINT", "true")],
    ),
    (
        "--region us-west-2",
        &[("AWS_ENDPOINT_URL_STS", "https://sts.corp:8443")],
    ),
    ("", &[("AWS_DEFAULT_REGION", "ap-southeast-2")]),
    ("", &[]),
    ("--profile admin", &[]),
    ("", &[("AWS_PROFILE", "admin")]),
];

/// The same parameters, and at the same time the same signature.
#[tokio::test]
#[ignore = "needs moto and the clouds' clients (tests/cluster/run)"]
async fn tokens_are_those_of_the_real_aws() {
    let Some(aws) = aws() else {
        return skipped("aws");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    let profile = "[profile admin]\nregion = eu-central-1\naws_access_key_id = AKIAADMIN\naws_secret_access_key = k\n";
    std::fs::write(&config, profile).expect("a file");
    let config = config.to_str().expect("UTF-8");
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
        // Is read only with a profile.
        ("AWS_CONFIG_FILE", config),
    ];
    let get = [
        "eks",
        "get-token",
        "--output",
        "json",
        "--cluster-name",
        "prod",
    ];
    for (more, variables) in CASES {
        let more: Vec<&str> = more.split_whitespace().collect();
        let arguments: Vec<&str> = get.iter().chain(&more).copied().collect();
        let environment: Vec<(&str, &str)> = keys.iter().chain(*variables).copied().collect();
        let (theirs, their_end) = of_aws(&aws, &arguments, &environment).await;
        let theirs = request(&theirs);
        let at = signed(&theirs);
        let (ours, our_end) = own(&arguments, &environment, at).await;
        assert_eq!(request(&ours), theirs, "{more:?} {variables:?}");
        let apart = our_end.as_second() - their_end.as_second();
        assert!(apart.abs() <= 2, "{our_end} {their_end}");
    }
}

/// As the API server of EKS sends the request: with the name of its cluster in the header.
#[tokio::test]
#[ignore = "needs moto and the clouds' clients (tests/cluster/run)"]
async fn sts_accepts_the_token_in_aws_() {
    let moto = Moto::at("eu-west-1");
    let environment = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL_STS", &moto.url),
    ];
    let get = ["eks", "get-token", "--cluster-name", "prod"];
    let role = [
        &get[..],
        &["--role-arn", "arn:aws:iam::123456789012:role/admin"],
    ]
    .concat();
    for (arguments, caller) in [
        (&get[..], "arn:aws:sts::123456789012:user/moto"),
        (
            &role[..],
            "arn:aws:sts::123456789012:assumed-role/admin/EKSGetTokenAuth",
        ),
    ] {
        let (token, _) = own(arguments, &environment, crate::support::now()).await;
        // moto takes service and caller from the header only, so what the query says is sent there, too.
        let request = request(&token);
        let header = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={}",
            request["X-Amz-Credential"], request["X-Amz-SignedHeaders"], request["X-Amz-Signature"]
        );
        let ran = Command::new("curl")
            .args(["-sSf", "-H", "x-k8s-aws-id: prod", "-H", &header])
            .arg(url(&token))
            .output()
            .await
            .expect("curl");
        let answer = String::from_utf8_lossy(&ran.stdout);
        assert!(
            answer.contains(caller),
            "{answer} {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}
