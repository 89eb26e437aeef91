//! Files for PGP keys of gpg, AWS KMS (moto) and Vault transit (OpenBao). The tests are the key services' clients.

use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secret::Value;
use serde_json::{Value as Json, json};
use sops::{Answer, File, Identities, MasterKey, Reason};

use super::{
    NAMES, assert_same, format, opened, printed_by,
    program::{Program, age},
};
use crate::support::optional_variable;

const PLAIN: &str = "A=one\nB=two\n";

/// Runs gpg in the program's folder, and returns what it prints.
fn gpg(program: &Program, arguments: &[&str]) -> String {
    let output = Command::new("gpg")
        .args([
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ])
        .args(arguments)
        .env("GNUPGHOME", program.folder())
        .output()
        .expect("gpg");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
#[ignore = "needs sops and gpg (tests/cluster/run)"]
fn pgp_keys_of_gnupg_open_files_with_gpg() {
    let program = Program::new();
    let home = program.folder().display().to_string();
    let program = program.with("GNUPGHOME", &home);
    let mut identities = Identities::default();
    for (user, algorithm) in [("rsa@test", "default"), ("curve@test", "future-default")] {
        gpg(
            &program,
            &["--quick-gen-key", user, algorithm, "default", "never"],
        );
        let listed = gpg(&program, &["--list-keys", "--with-colons", user]);
        let fingerprint = listed
            .lines()
            .find_map(|line| line.strip_prefix("fpr:::::::::"));
        let fingerprint = fingerprint.expect("a fingerprint").trim_end_matches(':');
        let key = gpg(&program, &["--armor", "--export-secret-keys", user]);
        identities.add_pgp(key.as_bytes()).expect("a key");
        for name in NAMES {
            let plain = match name {
                "a.json" | "a.yaml" => r#"{"a": "one", "b": [2, true]}"#,
                _ => PLAIN,
            };
            let encrypted = program.encrypt(name, plain, &["--pgp", fingerprint]);
            let decrypted = opened(name, &encrypted, &identities)
                .unwrap_or_else(|refused| panic!("{user}, {name}: {refused}"));
            let printed = printed_by(&program, name).expect("sops opens it");
            assert_same(&decrypted, &printed, name);
            let other = opened(name, &encrypted, &age()).err().expect("a refusal");
            assert_eq!(other.reason, Reason::NoIdentityFits);
        }
    }
    let stopped = Command::new("gpgconf")
        .args(["--homedir", &home, "--kill", "gpg-agent"])
        .status();
    assert!(stopped.expect("gpgconf").success());
}

/// Asks moto's KMS.
async fn kms(url: &str, operation: &str, body: &Json) -> Json {
    let answer = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("TrentService.{operation}"))
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/kms/aws4_request",
        )
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    let text = answer.text().await.expect("a text");
    serde_json::from_str(&text).expect("JSON")
}

fn decoded(value: &Json) -> Value {
    let text = value.as_str().expect("a plaintext");
    Value::new(STANDARD.decode(text).expect("base64"))
}

#[tokio::test]
#[ignore = "needs sops and moto (tests/cluster/run)"]
async fn key_in_aws_kms_opens_a_file_with_its_encryption_context() {
    let url = optional_variable("ESO_SYNC_TEST_MOTO").expect("moto (tests/cluster/run)");
    let created = kms(&url, "CreateKey", &json!({})).await;
    let key = created["KeyMetadata"]["Arn"].as_str().expect("an ARN");
    let program = Program::new()
        .with("AWS_ENDPOINT_URL", &url)
        .with("AWS_ACCESS_KEY_ID", "test")
        .with("AWS_SECRET_ACCESS_KEY", "test");
    let flags = ["--kms", key, "--encryption-context", "app:shop,stage:prod"];
    for name in NAMES {
        let plain = match name {
            "a.json" | "a.yaml" => r#"{"a": "one"}"#,
            _ => PLAIN,
        };
        let encrypted = program.encrypt(name, plain, &flags);
        let file = File::parse(format(name), &encrypted).expect(name);
        let [recipient] = file.recipients() else {
            panic!("{name}: other recipients");
        };
        let MasterKey::AwsKms {
            arn,
            context,
            encrypted,
            role,
            ..
        } = &recipient.key
        else {
            panic!("{name}: another recipient");
        };
        assert_eq!((arn.as_str(), role.as_str()), (key, ""));
        assert_eq!(json!(context), json!({"app": "shop", "stage": "prod"}));
        let asked = json!({"KeyId": arn, "CiphertextBlob": STANDARD.encode(encrypted), "EncryptionContext": context});
        let answer = kms(&url, "Decrypt", &asked).await;
        let answers = [Answer {
            recipient: 0,
            decrypted: decoded(&answer["Plaintext"]),
        }];
        let data_key = file.data_key(&Identities::default(), &answers).expect(name);
        let decrypted = file.decrypt(&data_key).expect(name);
        assert_same(
            &decrypted,
            &printed_by(&program, name).expect("sops opens it"),
            name,
        );
    }
}

#[tokio::test]
#[ignore = "needs sops and OpenBao (tests/cluster/run)"]
async fn key_in_vault_transit_and_age_open_a_file_of_two_groups() {
    let url = optional_variable("ESO_SYNC_TEST_VAULT").expect("OpenBao (tests/cluster/run)");
    let token = optional_variable("ESO_SYNC_TEST_VAULT_TOKEN").expect("a token");
    let mount = format!("transit-{:08x}", fastrand::u32(..));
    let send = async |path: &str, body: Json| -> Json {
        let http = reqwest::Client::new().post(format!("{url}/v1/{path}"));
        let sent = http
            .header("x-vault-token", &token)
            .body(body.to_string())
            .send();
        let text = sent.await.expect("an answer").text().await.expect("a text");
        serde_json::from_str(&text).unwrap_or_default()
    };
    send(&format!("sys/mounts/{mount}"), json!({"type": "transit"})).await;
    send(&format!("{mount}/keys/shop"), json!({})).await;
    let program = Program::new().with("VAULT_TOKEN", &token);
    let rules = json!({"creation_rules": [{"shamir_threshold": 2, "key_groups": [
        {"age": [program.age]}, {"hc_vault": [format!("{url}/v1/{mount}/keys/shop")]},
    ]}]});
    program.write(".sops.yaml", rules.to_string());
    for name in ["a.env", "a.ini"] {
        let encrypted = program.encrypt(name, PLAIN, &[]);
        let file = File::parse(format(name), &encrypted).expect(name);
        let mut recipients = file.recipients().iter().enumerate();
        let found = recipients.find_map(|(index, recipient)| match &recipient.key {
            MasterKey::VaultTransit {
                address,
                engine_path,
                key_name,
                encrypted,
            } => {
                assert_eq!((address.as_str(), recipient.group), (url.as_str(), 1));
                Some((
                    index,
                    format!("{engine_path}/decrypt/{key_name}"),
                    encrypted,
                ))
            }
            MasterKey::Age { .. }
            | MasterKey::Pgp { .. }
            | MasterKey::AwsKms { .. }
            | MasterKey::GcpKms { .. }
            | MasterKey::AzureKeyVault { .. }
            | MasterKey::HuaweiKms { .. } => None,
        });
        let (recipient, path, ciphertext) = found.expect("a recipient in Vault");
        let answer = send(&path, json!({"ciphertext": ciphertext})).await;
        let part = Answer {
            recipient,
            decrypted: decoded(&answer["data"]["plaintext"]),
        };
        let missing = file.data_key(&age(), &[]).err().expect("a refusal");
        assert_eq!(missing.reason, Reason::NoIdentityFits);
        let data_key = file.data_key(&age(), &[part]).expect(name);
        let decrypted = file.decrypt(&data_key).expect(name);
        assert_same(
            &decrypted,
            &printed_by(&program, name).expect("sops opens it"),
            name,
        );
    }
}
