//! Arguments, endpoints and the form of tokens. `tests/it/providers/aws/eks.rs` compares them with the real programs.

use std::collections::{BTreeMap, BTreeSet};

use pace::Clock;

use super::*;
use crate::double::{Double, Reply};

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn wanted(cluster: &str, region: Option<&str>, profile: Option<&str>) -> Wanted {
    Wanted {
        cluster: cluster.to_owned(),
        region: region.map(str::to_owned),
        profile: profile.map(str::to_owned),
        role: None,
    }
}

fn role(session: &str, external_id: Option<&str>) -> Role {
    Role {
        arn: "arn:r".to_owned(),
        session: session.to_owned(),
        external_id: external_id.map(str::to_owned),
    }
}

#[test]
fn arguments_of_the_cli_are_understood() {
    let read = |text: &str| parse_cli(&words(text));
    // As `aws eks update-kubeconfig` writes them.
    assert_eq!(
        read("--region eu-west-1 eks get-token --cluster-name prod --output json"),
        Ok(wanted("prod", Some("eu-west-1"), None))
    );
    assert_eq!(
        read("eks get-token --cluster-name prod --profile admin --no-cli-pager"),
        Ok(wanted("prod", None, Some("admin")))
    );
    let mut with_role = wanted("id", None, None);
    with_role.role = Some(role("EKSGetTokenAuth", None));
    assert_eq!(
        read("eks get-token --cluster-id=id --role-arn arn:r"),
        Ok(with_role)
    );
}

#[test]
fn arguments_of_the_authenticator_are_understood() {
    let read = |text: &str| parse_authenticator(&words(text));
    assert_eq!(read("token -i prod"), Ok(wanted("prod", None, None)));
    let mut with_role = wanted("prod", Some("eu-west-1"), None);
    with_role.role = Some(role("me", Some("x")));
    assert_eq!(
        read("token --cluster-id prod -r arn:r -e x -s me --region eu-west-1"),
        Ok(with_role)
    );
}

#[test]
fn other_arguments_are_refused() {
    for (text, why) in [
        ("eks get-token", "the flag --cluster-name is missing"),
        (
            "eks get-token --cluster-name a --cluster-id b",
            "--cluster-name and --cluster-id exclude each other",
        ),
        (
            "eks get-token --cluster-name a --output text",
            "--output must be json, as `aws eks update-kubeconfig` writes it",
        ),
        ("ecr get-login-password", "argument 1 must be `eks`"),
        (
            "eks get-token --cluster-name a prod",
            "argument 5 is not expected",
        ),
    ] {
        assert_eq!(
            parse_cli(&words(text)).err().as_deref(),
            Some(why),
            "{text}"
        );
    }
    let debug = parse_cli(&words("eks get-token --cluster-name a --debug")).unwrap_err();
    assert!(
        debug.starts_with("the flag --debug is not supported; supported are --cluster-name,"),
        "{debug}"
    );
    let only = parse_authenticator(&words("token -i a --token-only")).unwrap_err();
    assert!(
        only.starts_with("the flag --token-only is not supported"),
        "{only}"
    );
    assert!(
        parse_authenticator(&words("token"))
            .unwrap_err()
            .contains("--cluster-id (-i) is missing")
    );
}

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "hunter2"),
];

/// A plugin with these variables in the kubeconfig.
fn call(arguments: &str, variables: &[(&str, &str)]) -> Call {
    let pairs = KEYS.iter().chain(variables);
    let environment: BTreeMap<String, String> = pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let names = variables.iter().map(|(name, _)| (*name).to_owned());
    Call {
        program: "aws".to_owned(),
        arguments: words(arguments),
        of_kubeconfig: names.collect(),
        environment,
        clock: Clock::starting_at("2026-03-01T12:00:00Z".parse().unwrap()),
    }
}

async fn token(arguments: &str, variables: &[(&str, &str)]) -> Result<(String, String), String> {
    let token = (of_cli(&call(arguments, variables))?.issue)(false).await?;
    let text = std::str::from_utf8(token.token.expose()).unwrap();
    let url = URL_SAFE_NO_PAD.decode(text.strip_prefix("k8s-aws-v1.").unwrap());
    let renewed = token.renewed.to_string();
    Ok((
        String::from_utf8(url.unwrap()).unwrap(),
        renewed[..19].to_owned(),
    ))
}

const PROD: &str = "eks get-token --cluster-name prod";

#[tokio::test]
async fn token_is_a_presigned_request() {
    let variables = [("AWS_REGION", "eu-west-1"), ("AWS_SESSION_TOKEN", "s/t")];
    let (url, renewed) = token(PROD, &variables).await.unwrap();
    let (unsigned, signature) = url.split_once("X-Amz-Signature=").unwrap();
    let (signature, rest) = signature.split_at(64);
    assert!(signature.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(
        format!("{unsigned}{rest}").replace("&&", "&"),
        "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=AKIAEXAMPLE%2F20260301%2Feu-west-1%2Fsts%2Faws4_request&X-Amz-Date=20260301T120000Z&X-Amz-Expires=60\
         &X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Security-Token=s%2Ft"
    );
    assert_eq!(renewed, "2026-03-01T12:14:00");
}

/// Arguments, variables, the host, and the region that signs.
type EndpointCase = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
);

const ENDPOINTS: &[EndpointCase] = &[
    (
        "--region us-gov-west-1",
        &[],
        "sts.us-gov-west-1.amazonaws.com",
        "us-gov-west-1",
    ),
    (
        "--region cn-north-1",
        &[],
        "sts.cn-north-1.amazonaws.com.cn",
        "cn-north-1",
    ),
    (
        "",
        &[("AWS_DEFAULT_REGION", "eu-west-1")],
        "sts.eu-west-1.amazonaws.com",
        "eu-west-1",
    ),
    (
        "--region eu-west-1",
        &[("AWS_REGION", "eu-west-2")],
        "sts.eu-west-1.amazonaws.com",
        "eu-west-1",
    ),
    (
        "--region eu-west-1",
        &[("AWS_STS_REGIONAL_ENDPOINTS", "legacy")],
        "sts.amazonaws.com",
        "us-east-1",
    ),
    (
        "--region eu-south-1",
        &[("AWS_STS_REGIONAL_ENDPOINTS", "legacy")],
        "sts.eu-south-1.amazonaws.com",
        "eu-south-1",
    ),
    (
        "--region us-east-2",
        &[("AWS_USE_FIPS_ENDPOINT", "true")],
        "sts-fips.us-east-2.amazonaws.com",
        "us-east-2",
    ),
    (
        "--region us-east-2",
        &[
            ("AWS_ENDPOINT_URL", "https://a.example"),
            ("AWS_ENDPOINT_URL_STS", "https://b.example/"),
        ],
        "b.example",
        "us-east-2",
    ),
];

#[tokio::test]
async fn endpoint_is_that_of_the_region() {
    for (arguments, variables, host, region) in ENDPOINTS {
        let token = token(&format!("{PROD} {arguments}"), variables).await;
        let (url, _) = token.unwrap();
        assert!(
            url.starts_with(&format!("https://{host}/?Action=")),
            "{url}"
        );
        assert!(url.contains(&format!("%2F{region}%2Fsts%2F")), "{url}");
    }
}

#[tokio::test]
async fn role_is_assumed_at_the_endpoint() {
    let double = Double::plain(|call| {
        assert_eq!(call.form("RoleArn").as_deref(), Some("arn:aws:iam::1:role/admin"));
        assert_eq!(call.form("RoleSessionName").as_deref(), Some("EKSGetTokenAuth"));
        assert!(call.header("authorization").contains("AKIAEXAMPLE/"));
        Reply::new(200, "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
            <SecretAccessKey>k</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>\
            </Credentials></AssumeRoleResult></AssumeRoleResponse>")
    })
    .await;
    let url = format!("http://{}", double.address);
    let variables = [("AWS_ENDPOINT_URL_STS", &*url), ("AWS_REGION", "eu-west-1")];
    let arguments = format!("{PROD} --role-arn arn:aws:iam::1:role/admin");
    let (token, _) = token(&arguments, &variables).await.unwrap();
    assert!(
        token.starts_with(&url) && token.contains("X-Amz-Credential=ASIAROLE%2F"),
        "{token}"
    );
}

#[tokio::test]
async fn profile_of_the_kubeconfig_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let [config, keys] =
        ["config", "credentials"].map(|name| folder.path().join(name).display().to_string());
    std::fs::write(&config, "[profile admin]\nregion = eu-central-1\n").unwrap();
    std::fs::write(
        &keys,
        "[admin]\naws_access_key_id = AKIAADMIN\naws_secret_access_key = k\n",
    )
    .unwrap();
    let files = [
        ("AWS_CONFIG_FILE", &*config),
        ("AWS_SHARED_CREDENTIALS_FILE", &*keys),
    ];
    let (url, _) = token(&format!("{PROD} --profile admin"), &files)
        .await
        .unwrap();
    assert!(
        url.starts_with("https://sts.eu-central-1.amazonaws.com/"),
        "{url}"
    );
    assert!(url.contains("X-Amz-Credential=AKIAADMIN%2F"), "{url}");
    // Keys in the environment take precedence over the profile of the environment, but not over the flag.
    let (url, _) = token(PROD, &[files[0], files[1], ("AWS_PROFILE", "admin")])
        .await
        .unwrap();
    assert!(
        url.contains("eu-central-1") && url.contains("AKIAEXAMPLE"),
        "{url}"
    );
    let none = token(&format!("{PROD} --profile none --region eu-west-1"), &files).await;
    assert!(!none.unwrap_err().contains("hunter2"));
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused() {
    for (variables, why) in [
        (
            &[("AWS_EC2_METADATA_DISABLED", "true")][..],
            "the kubeconfig sets AWS_EC2_METADATA_DISABLED, which is not supported there; set it for eso-sync",
        ),
        (
            &[("AWS_ENDPOINT_URL_STS", "http://sts.corp")],
            "the job's own credentials are never sent over plain HTTP: AWS_ENDPOINT_URL_STS must be an https address",
        ),
        (&[("AWS_REGION", "evil.example/")], "the region is invalid"),
    ] {
        assert_eq!(token(PROD, variables).await.err().as_deref(), Some(why));
    }
    let mut of_process = call(
        PROD,
        &[("AWS_REGION", "eu-west-1"), ("AWS_MAX_ATTEMPTS", "2")],
    );
    of_process.of_kubeconfig = BTreeSet::new();
    assert!(of_cli(&of_process).is_ok());
}
