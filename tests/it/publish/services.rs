//! Files of the real sops, whose keys are in key services.

use serde_json::json;

use super::publish;
use crate::{
    providers::double::{Double, Reply},
    sops::program::Program,
    support::{Outcome, Workspace, optional_variable},
};

/// Publishes this encrypted file. Nothing is written: no provider answers.
async fn planned(
    encrypted: &[u8],
    kms: &str,
    variables: &[(&str, &str)],
    endpoints: &[&str],
) -> Outcome {
    let mut workspace = Workspace::new(Vec::new());
    workspace.set("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9");
    for (name, value) in variables {
        workspace.set(name, value);
    }
    let text = String::from_utf8(encrypted.to_vec()).expect("UTF-8");
    workspace.file("app.env", &text);
    let endpoints = json!([endpoints, &["http://127.0.0.1:9"]].concat());
    workspace.file(
        "policy.yaml",
        &format!(
            "publish:\n  owner: test\n  items:\n    - name: app\n      source: {{path: {{dir: .}}}}\n      \
             read: {{files: [{{path: app.env}}]}}\n      sops: {{kms: ['{kms}']}}\n      to: {{aws: {{region: eu-west-1}}}}\n\
             drift: {{endpoints: {endpoints}}}\n"
        ),
    );
    let outcome = publish(&workspace, &["--dry-run", "-o", "json"]).await;
    assert!(!outcome.stdout.contains("hunter2") && !outcome.stderr.contains("hunter2"));
    outcome
}

const PLAIN: &str = "A=hunter2\n";

/// The first secret's name, or the first fault's reason.
fn result(outcome: &Outcome) -> String {
    let document = outcome.document();
    let item = &document["items"][0];
    let name = item["secrets"][0]["name"].as_str();
    let reason = item["faults"][0]["reason"].as_str();
    name.or(reason).unwrap_or_default().to_owned()
}

#[tokio::test]
#[ignore = "needs sops and moto (tests/cluster/run)"]
async fn permitted_key_in_aws_kms_opens_a_file() {
    let url = optional_variable("ESO_SYNC_TEST_MOTO").expect("moto (tests/cluster/run)");
    let created = reqwest::Client::new()
        .post(&url)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "TrentService.CreateKey")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/kms/aws4_request",
        )
        .body("{}")
        .send();
    let created = created
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a text");
    let created: serde_json::Value = serde_json::from_str(&created).expect("JSON");
    let key = created["KeyMetadata"]["Arn"].as_str().expect("an ARN");
    let keys = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let program = Program::new()
        .with("AWS_ENDPOINT_URL", &url)
        .with(keys[0].0, keys[0].1)
        .with(keys[1].0, keys[1].1);
    let flags = ["--kms", key, "--encryption-context", "app:shop"];
    let encrypted = program.encrypt("app.env", PLAIN, &flags);
    let variables = [&keys[..], &[("AWS_ENDPOINT_URL_KMS", &*url)]].concat();
    let with = async |text: &[u8], kms: &str| planned(text, kms, &variables, &[]).await;
    assert_eq!(result(&with(&encrypted, "arn:aws:kms:*:key/*").await), "A");
    assert_eq!(result(&with(&encrypted, key).await), "A");
    let other = with(&encrypted, "arn:aws:kms:us-east-1:*").await;
    assert_eq!(result(&other), "key-not-permitted");
    // The role and the profile of a file are not used.
    let text = String::from_utf8(encrypted).expect("UTF-8");
    let role = text.clone() + "sops_kms__list_0__map_role=arn:aws:iam::1:role/evil\n";
    assert_eq!(result(&with(role.as_bytes(), key).await), "A");
    let context = text.replace("map_context__map_app=shop", "map_context__map_app=evil");
    assert_ne!(context, text);
    assert_eq!(result(&with(context.as_bytes(), key).await), "unreadable");
}

#[tokio::test]
#[ignore = "needs sops and OpenBao (tests/cluster/run)"]
async fn no_file_chooses_the_server_of_its_key_in_vault_transit() {
    let url = optional_variable("ESO_SYNC_TEST_VAULT").expect("OpenBao (tests/cluster/run)");
    let token = optional_variable("ESO_SYNC_TEST_VAULT_TOKEN").expect("a token");
    let mount = format!("transit-{:08x}", fastrand::u32(..));
    for (path, body) in [
        (format!("sys/mounts/{mount}"), json!({"type": "transit"})),
        (format!("{mount}/keys/shop"), json!({})),
    ] {
        let sent = reqwest::Client::new()
            .post(format!("{url}/v1/{path}"))
            .header("x-vault-token", &token)
            .body(body.to_string())
            .send();
        sent.await.expect("an answer");
    }
    let program = Program::new().with("VAULT_TOKEN", &token);
    let key = format!("{url}/v1/{mount}/keys/shop");
    let encrypted = program.encrypt("app.env", PLAIN, &["--hc-vault-transit", &key]);
    let variables = [
        ("VAULT_TOKEN", &*token),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let with = async |text: &[u8], kms: &str, endpoints: &[&str]| {
        planned(text, kms, &variables, endpoints).await
    };
    assert_eq!(result(&with(&encrypted, &key, &[&url]).await), "A");
    assert_eq!(
        result(&with(&encrypted, "https://other/*", &[&url]).await),
        "key-not-permitted"
    );
    assert_eq!(
        result(&with(&encrypted, &key, &[]).await),
        "store-not-trusted"
    );

    let foreign = Double::start(|_| Reply::Say(200, Vec::new(), "{}".to_owned())).await;
    let text = String::from_utf8(encrypted).expect("UTF-8");
    let moved = text.replace(&url, &foreign.url);
    assert_ne!(moved, text);
    for (kms, endpoints, expected) in [
        (&*key, &[&*url][..], "key-not-permitted"),
        ("*", &[&*url], "store-not-trusted"),
    ] {
        let outcome = with(moved.as_bytes(), kms, endpoints).await;
        assert_eq!(result(&outcome), expected, "{}", outcome.stdout);
    }
    assert!(
        foreign.asked().is_empty(),
        "a token was sent to a foreign server"
    );
}
