use base64::engine::general_purpose::STANDARD;
use eso_model::expected::What;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::notice::{Touched, Warned};

/// A value that nothing may show.
const PLANTED: &str = "hunter2-hunter2";

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf";
const ID: &str = "1b2c3d4e-0000-4000-8000-123456789abc";

fn one(body: &Json) -> Notice {
    let decoder = Decoder::default();
    let mut notices = decoder.decode(&body.to_string());
    assert_eq!(notices.len(), 1, "{notices:?}");
    notices.pop().unwrap()
}

/// `kind reason: names [region account host] version touched`
fn shown(notice: &Notice) -> String {
    let reason = notice.says.reason().map(|why| format!(" {why}"));
    let keys = notice.keys.iter().map(|key| {
        let names: Vec<&str> = key.names.iter().map(String::as_str).collect();
        let realm = [&key.realm.region, &key.realm.account, &key.realm.host];
        let realm: Vec<&str> = realm
            .iter()
            .map(|it| it.as_deref().unwrap_or("?"))
            .collect();
        format!(" {} [{}]", names.join("|"), realm.join(" "))
    });
    let keys: String = keys.collect();
    let version = notice.version.as_deref().unwrap_or("-");
    let touched = match &notice.touched {
        Touched::Any => "any".to_owned(),
        Touched::Stages(stages) => stages.iter().cloned().collect::<Vec<_>>().join("+"),
        Touched::Newest(id) => format!("newest {id}"),
    };
    let says = notice.says.word();
    if keys.is_empty() {
        let kind = notice.kind.as_ref().map(|kind| format!(" `{kind}`"));
        return format!(
            "{says}{}{}",
            reason.unwrap_or_default(),
            kind.unwrap_or_default()
        );
    }
    format!(
        "{says}{}:{keys} {version} {touched}",
        reason.unwrap_or_default()
    )
}

fn native(label: &str) -> Json {
    json!({
        "version": "0", "id": ID, "detail-type": "Secret Label Updated", "source": "aws.secretsmanager",
        "account": "123456789012", "time": "2026-11-29T10:00:00Z", "region": "eu-west-1", "resources": [ARN],
        "detail": {"name": "prod/db", "labelUpdated": label, "versionId": ID},
    })
}

fn call(name: &str, parameters: &Json, more: &Json) -> Json {
    let mut detail = json!({
        "eventVersion": "1.08", "eventTime": "2026-11-29T09:59:58Z", "eventSource": "secretsmanager.amazonaws.com",
        "eventName": name, "awsRegion": "eu-west-1", "recipientAccountId": "123456789012", "readOnly": false,
        "requestParameters": parameters, "responseElements": null, "eventID": ID, "eventType": "AwsApiCall",
        "userIdentity": {"arn": PLANTED},
    });
    let fields = detail.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    json!({
        "version": "0", "id": ID, "detail-type": "AWS API Call via CloudTrail", "source": "aws.secretsmanager",
        "account": "123456789012", "time": "2026-11-29T10:00:00Z", "region": "eu-west-1", "resources": [],
        "detail": detail,
    })
}

fn service(name: &str) -> Json {
    let mut event = call(
        name,
        &Json::Null,
        &json!({"additionalEventData": {"SecretId": ARN}, "eventType": "AwsServiceEvent"}),
    );
    event["detail-type"] = json!("AWS Service Event via CloudTrail");
    event
}

/// `call | requestParameters | other fields | result`
const CALLS: &str = r#"
PutSecretValue | {"secretId": "prod/db", "clientRequestToken": "@id"} | {} | changed: @name @id AWSCURRENT
PutSecretValue | {"secretId": "prod/db", "versionStages": ["AWSPENDING"]} | {} | irrelevant pending
PutSecretValue | {"secretId": "prod/db", "versionStages": ["AWSCURRENT", "blue"]} | {} | changed: @name - AWSCURRENT+blue
UpdateSecret | {"secretId": "prod/db"} | {} | changed: @name - AWSCURRENT
UpdateSecret | {"secretId": "prod/db", "clientRequestToken": "@id"} | {} | changed: @name - AWSCURRENT
UpdateSecret | {"secretId": "prod/db"} | {"responseElements": {"versionId": "@id"}} | changed: @name @id AWSCURRENT
UpdateSecret | {"secretId": "@arn"} | {} | changed: @names - AWSCURRENT
UpdateSecret | {"secretId": "@partial"} | {} | changed: @name - AWSCURRENT
UpdateSecret | {"secretId": "db-abcdef"} | {} | changed: db-abcdef @here - AWSCURRENT
UpdateSecret | {} | {"responseElements": {"aRN": "@arn"}} | changed: @names - AWSCURRENT
CreateSecret | {"name": "prod/db"} | {"responseElements": {"arn": "@arn"}} | changed: @name - AWSCURRENT
UpdateSecretVersionStage | {"secretId": "prod/db", "versionStage": "AWSCURRENT", "moveToVersionId": "@id"} | {} | changed: @name @id AWSCURRENT
UpdateSecretVersionStage | {"secretId": "prod/db", "versionStage": "AWSPENDING", "removeFromVersionId": "@id"} | {} | irrelevant pending
RestoreSecret | {"secretId": "prod/db"} | {} | changed: @name - any
DeleteSecret | {"secretId": "prod/db"} | {} | gone: @name - any
PutSecretValue | {"secretId": "prod/db"} | {"errorCode": "AccessDenied"} | irrelevant failed-call
GetSecretValue | {"secretId": "prod/db"} | {"readOnly": true} | irrelevant read-only
TagResource | {"secretId": "prod/db"} | {} | irrelevant metadata
RotateSecret | {"secretId": "prod/db"} | {} | irrelevant pending
SomethingNew | {"secretId": "prod/db"} | {} | irrelevant unknown-kind `SomethingNew`
PutSecretValue | null | {} | unreadable no-key
PutSecretValue | {"secretId": ""} | {} | unreadable no-key
PutSecretValue | {"secretId": ["db"]} | {} | unreadable no-key
PutSecretValue | {"secretId": "a\u001b[2J"} | {} | unreadable no-key
PutSecretValue | {"secretId": "@long"} | {} | unreadable no-key
PutSecretValue | {"secretId": "arn:aws:s3:::bucket"} | {} | unreadable no-key
"#;

/// Replaces the names in a table.
fn with_names(text: &str) -> String {
    let here = "[eu-west-1 123456789012 ?]";
    let names = [
        ("@names", format!("prod/db|prod/db-AbCdEf {here}")),
        ("@name", format!("prod/db {here}")),
        ("@here", here.to_owned()),
        ("@partial", ARN.replace("-AbCdEf", "")),
        ("@arn", ARN.to_owned()),
        ("@id", ID.to_owned()),
        ("@long", "a".repeat(5000)),
    ];
    let mut text = text.to_owned();
    for (name, value) in names {
        text = text.replace(name, &value);
    }
    text
}

#[test]
fn calls_of_secrets_manager() {
    for line in CALLS.lines().filter(|line| !line.is_empty()) {
        let line = with_names(line);
        let cells: Vec<&str> = line.splitn(4, " | ").collect();
        let json = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        let body = call(cells[0], &json(cells[1]), &json(cells[2]));
        assert_eq!(shown(&one(&body)), cells[3], "{line}");
    }
    // The time of the call, not of its delivery.
    let called = one(&call("UpdateSecret", &json!({"secretId": "a"}), &json!({})));
    assert_eq!(called.at, "2026-11-29T09:59:58Z".parse().ok());
}

#[test]
fn own_events_of_secrets_manager() {
    for (body, expected) in [
        (native("AWSCURRENT"), "changed: @name @id AWSCURRENT"),
        (native("blue"), "changed: @name @id blue"),
        (native("AWSPENDING"), "irrelevant pending"),
        (native("AWSPREVIOUS"), "irrelevant pending"),
        (service("RotationSucceeded"), "changed: @names - AWSCURRENT"),
        (
            service("RotationFailed"),
            "warning rotation-failed: @names - AWSCURRENT",
        ),
        (
            service("RotationAbandoned"),
            "warning rotation-abandoned: @names - AWSCURRENT",
        ),
        (service("RotationStarted"), "irrelevant pending"),
    ] {
        assert_eq!(shown(&one(&body)), with_names(expected), "{body}");
    }
    let at = one(&native("AWSCURRENT")).at;
    assert_eq!(at, "2026-11-29T10:00:00Z".parse().ok());
}

#[test]
fn parameter_store_bodies() {
    let event = |operation: &str| {
        json!({
            "source": "aws.ssm", "detail-type": "Parameter Store Change", "time": "2026-11-29T10:00:00Z",
            "account": "123456789012", "region": "eu-west-1",
            "resources": ["arn:aws:ssm:eu-west-1:123456789012:parameter/prod/db"],
            "detail": {"operation": operation, "name": "/prod/db", "type": "SecureString", "description": PLANTED},
        })
    };
    let mut api = call(
        "PutParameter",
        &json!({"name": "/prod/db", "value": PLANTED}),
        &json!({}),
    );
    api["source"] = json!("aws.ssm");
    let mut command = api.clone();
    command["detail"]["eventName"] = json!("SendCommand");
    let here = "/prod/db [eu-west-1 123456789012 ?] - any";
    for (body, expected) in [
        (event("Create"), format!("changed: {here}")),
        (event("Update"), format!("changed: {here}")),
        (event("LabelParameterVersion"), format!("changed: {here}")),
        (event("Delete"), format!("gone: {here}")),
        (event("New"), "irrelevant unknown-kind `New`".to_owned()),
        (api, format!("changed: {here}")),
        // Not about parameters: another application's event is never taken for one of ours.
        (command, "unreadable unknown-shape".to_owned()),
        (
            json!({"source": "aws.ssm", "detail-type": "EC2 Command Status-change Notification"}),
            "unreadable unknown-shape".to_owned(),
        ),
    ] {
        assert_eq!(shown(&one(&body)), expected, "{body}");
    }
}

#[test]
fn key_vault_bodies() {
    let id = "https://Shop.vault.azure.net/secrets/Db/0123abcd";
    let grid = |kind: &str| {
        json!({
            "id": ID, "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/shop", "subject": "Db",
            "eventType": kind, "eventTime": "2026-11-29T10:00:00Z", "dataVersion": "1", "metadataVersion": "1",
            "data": {"Id": id, "VaultName": "Shop", "ObjectType": "Secret", "ObjectName": "Db", "Version": "0123abcd", "NBF": null, "EXP": null},
        })
    };
    let cloud = json!({
        "specversion": "1.0", "id": ID, "source": "/subscriptions/s", "subject": "Db", "time": "2026-11-29T10:00:00Z",
        "type": "Microsoft.KeyVault.SecretNewVersionCreated",
        "data": {"id": id, "vaultName": "Shop", "objectType": "Secret", "objectName": "Db", "version": "0123abcd"},
    });
    let certificate = json!({
        "eventType": "Microsoft.KeyVault.CertificateNewVersionCreated",
        "data": {"Id": "https://shop.vault.azure.net/certificates/tls/77"},
    });
    let bare = json!({"eventType": "Microsoft.KeyVault.SecretNewVersionCreated", "data": {"ObjectName": "db"}});
    let here = "Db [? ? shop.vault.azure.net] 0123abcd newest 0123abcd";
    let new = "Microsoft.KeyVault.SecretNewVersionCreated";
    for (body, expected) in [
        (grid(new), format!("changed: {here}")),
        (
            grid("MICROSOFT.keyvault.secretnewversioncreated"),
            format!("changed: {here}"),
        ),
        (cloud, format!("changed: {here}")),
        (
            certificate,
            "changed: tls [? ? shop.vault.azure.net] 77 newest 77".to_owned(),
        ),
        (bare, "changed: db [? ? ?] - any".to_owned()),
        (
            grid("Microsoft.KeyVault.SecretNearExpiry"),
            format!("warning near-expiry: {here}"),
        ),
        (
            grid("Microsoft.KeyVault.SecretExpired"),
            format!("gone: {here}"),
        ),
        (
            grid("Microsoft.KeyVault.VaultAccessPolicyChanged"),
            "irrelevant unknown-kind `vaultaccesspolicychanged`".to_owned(),
        ),
        (json!({"eventType": new}), "unreadable no-key".to_owned()),
        (
            json!({"eventType": new, "data": {"Id": "https://evil.example/x"}}),
            "unreadable no-key".to_owned(),
        ),
        (
            grid("Microsoft.Storage.BlobCreated"),
            "unreadable unknown-shape".to_owned(),
        ),
        (
            json!({"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationUrl": "https://evil.example"}}),
            "unreadable unknown-shape".to_owned(),
        ),
    ] {
        assert_eq!(shown(&one(&body)), expected, "{body}");
    }
}

fn notification(kind: &str, secret: &str) -> Json {
    json!({
        "messageId": "1", "publishTime": "2026-11-29T10:00:01Z", "data": STANDARD.encode(json!({"name": PLANTED}).to_string()),
        "attributes": {
            "eventType": kind, "dataFormat": "JSON_API_V1", "secretId": secret,
            "versionId": format!("{secret}/versions/7"), "timestamp": "2026-11-29T10:00:00Z",
        },
    })
}

#[test]
fn notifications_of_google() {
    let secret = "projects/shop/secrets/db";
    let regional = "projects/shop/locations/europe-west1/secrets/db";
    let here = "db [ shop ?] 7 newest 7";
    for (kind, secret, expected) in [
        ("SECRET_VERSION_ADD", secret, format!("changed: {here}")),
        ("SECRET_VERSION_ENABLE", secret, format!("changed: {here}")),
        (
            "SECRET_VERSION_ADD",
            regional,
            "changed: db [europe-west1 shop ?] 7 newest 7".to_owned(),
        ),
        ("SECRET_VERSION_DISABLE", secret, format!("gone: {here}")),
        ("SECRET_DELETE", secret, format!("gone: {here}")),
        ("SECRET_ROTATE", secret, "irrelevant reminder".to_owned()),
        ("SECRET_UPDATE", secret, "irrelevant metadata".to_owned()),
        (
            "SECRET_NEW_KIND",
            secret,
            "irrelevant unknown-kind `SECRET_NEW_KIND`".to_owned(),
        ),
    ] {
        let body = notification(kind, secret);
        assert_eq!(shown(&one(&body)), expected, "{kind}");
        let pushed = json!({"message": body, "subscription": "s"});
        assert_eq!(shown(&one(&pushed)), expected, "{kind}");
    }
    let attributes = json!({"eventType": "TOPIC_CONFIGURED", "dataFormat": "JSON_API_V1"});
    let configured = json!({"messageId": "1", "attributes": attributes});
    assert_eq!(shown(&one(&configured)), "irrelevant metadata");
    let other = json!({"attributes": {"eventType": "OBJECT_FINALIZE"}});
    assert_eq!(shown(&one(&other)), "unreadable unknown-shape");
}

#[test]
fn audit_log_of_google() {
    let secret = "projects/shop/secrets/db";
    for (method, name, code, expected) in [
        ("AddSecretVersion", secret, 0, "changed: db [ shop ?] - any"),
        (
            "AddSecretVersion",
            "projects/42/secrets/db/versions/8",
            0,
            "changed: db [ 42 ?] 8 newest 8",
        ),
        (
            "CreateSecret",
            "projects/shop",
            0,
            "changed: db [ shop ?] - any",
        ),
        (
            "DestroySecretVersion",
            secret,
            0,
            "gone: db [ shop ?] - any",
        ),
        ("AddSecretVersion", secret, 7, "irrelevant failed-call"),
        ("AccessSecretVersion", secret, 0, "irrelevant read-only"),
        ("UpdateSecret", secret, 0, "irrelevant metadata"),
        (
            "AddSecretVersion",
            "projects/shop/topics/x",
            0,
            "unreadable no-key",
        ),
    ] {
        let call = format!("google.cloud.secretmanager.v1.SecretManagerService.{method}");
        let mut payload =
            json!({"methodName": call, "resourceName": name, "status": {"code": code}});
        if method == "CreateSecret" {
            payload["request"] = json!({"secretId": "db"});
        }
        let entry = json!({"timestamp": "2026-11-29T10:00:00Z", "logName": PLANTED, "protoPayload": payload});
        assert_eq!(shown(&one(&entry)), expected, "{method}");
        let data = STANDARD.encode(entry.to_string());
        let message = json!({"message": {"messageId": "1", "attributes": {}, "data": data}});
        assert_eq!(shown(&one(&message)), expected, "{method}");
    }
    let other = json!({"protoPayload": {"methodName": "storage.objects.create"}});
    assert_eq!(shown(&one(&other)), "unreadable unknown-shape");
}

#[test]
fn envelopes_are_opened_and_bounded() {
    let event = native("AWSCURRENT").to_string();
    let expected = shown(&one(&native("AWSCURRENT")));
    let sns = |inner: &str| {
        json!({"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": inner}).to_string()
    };
    let received = json!({"MessageId": "1", "ReceiptHandle": "h", "Body": event}).to_string();
    let decoder = Decoder::default();
    for body in [
        sns(&event),
        received,
        STANDARD.encode(&event),
        format!("[{event}]"),
        STANDARD.encode(format!("[{event}]")),
        format!("\n {event}\n"),
        sns(&STANDARD.encode(&event)),
    ] {
        let notices = decoder.decode(&body);
        assert_eq!(
            notices.iter().map(shown).collect::<Vec<_>>(),
            std::slice::from_ref(&expected)
        );
    }
    let nested = (0..10).fold(event.clone(), |inner, _| sns(&inner));
    let both = decoder.decode(&format!("[{event}, {{}}]"));
    assert_eq!(
        both.iter().map(shown).collect::<Vec<_>>(),
        [&*expected, "unreadable unknown-shape"]
    );
    for (body, why) in [
        (nested, "too-deep"),
        (
            format!("[{}]", vec!["{}"; MOST + 1].join(",")),
            "too-many-events",
        ),
        ("x".repeat(MAX_BODY + 1), "too-large"),
        ("[]".to_owned(), "unknown-shape"),
        ("{}".to_owned(), "unknown-shape"),
        ("not JSON".to_owned(), "not-json"),
        (String::new(), "not-json"),
        (
            format!("{}1{}", "[".repeat(5000), "]".repeat(5000)),
            "too-deep",
        ),
        (
            r#"{"source": "aws.secretsmanager", "source": "x"}"#.to_owned(),
            "field-twice",
        ),
        (
            json!({"Type": "SubscriptionConfirmation", "SubscribeURL": "https://evil.example"})
                .to_string(),
            "unknown-shape",
        ),
    ] {
        let notices = decoder.decode(&body);
        assert_eq!(
            notices.iter().map(shown).collect::<Vec<_>>(),
            [format!("unreadable {why}")]
        );
    }
}

#[test]
fn pointer_of_the_policy_finds_the_key() {
    let decoder = Decoder {
        key: Some("/secret/name".to_owned()),
    };
    let of = |name: Json| {
        let body = json!({"secret": {"name": name}});
        shown(&decoder.decode(&body.to_string())[0])
    };
    assert_eq!(of(json!("prod/db")), "changed: prod/db [? ? ?] - any");
    let by_arn = "changed: prod/db|prod/db-AbCdEf [eu-west-1 123456789012 ?] - any";
    assert_eq!(of(json!(ARN)), by_arn);
    assert_eq!(of(json!("")), "unreadable no-key");
    assert_eq!(of(json!(7)), "unreadable unknown-shape");
    // Known sources are decoded as such.
    let known = decoder.decode(&native("AWSPENDING").to_string());
    assert_eq!(shown(&known[0]), "irrelevant pending");
}

#[test]
fn read_of_a_fixed_version_is_concerned_only_by_its_own_change() {
    let secret = |version: &str| What::Secret {
        key: "db".to_owned(),
        version: version.to_owned(),
        metadata: false,
    };
    let current = Touched::current();
    let blue = Touched::Stages(["blue".to_owned()].into());
    let newest = Touched::Newest("7".to_owned());
    let (aws, azure, gcp) = (
        ProviderKind::SecretsManager,
        ProviderKind::AzureKeyVault,
        ProviderKind::GcpSecretManager,
    );
    for (touched, provider, version, concerned) in [
        (&current, &aws, "", true),
        (&current, &aws, "AWSCURRENT", true),
        (&current, &aws, "blue", false),
        (&current, &aws, "uuid/1", false),
        (&blue, &aws, "blue", true),
        (&blue, &aws, "", false),
        (&newest, &azure, "", true),
        (&newest, &azure, "6", false),
        (&newest, &azure, "7", true),
        (&newest, &gcp, "", true),
        (&newest, &gcp, "latest", true),
        (&newest, &gcp, "prod", true),
        (&newest, &gcp, "6", false),
        (&newest, &gcp, "7", true),
        (&Touched::Any, &aws, "uuid/1", true),
    ] {
        let found = touched.concerns(provider, &secret(version));
        assert_eq!(found, concerned, "{touched:?} {provider:?} {version:?}");
    }
    let find = What::Find {
        path: None,
        name: None,
        tags: None,
    };
    assert!(current.concerns(&aws, &find));
}

/// Somebody else wrote it.
#[test]
fn name_of_an_unknown_kind_is_bounded_and_plain() {
    let kind = format!("A\u{1b}[2J<b>\n{}", "x".repeat(100));
    let notice = one(&call(&kind, &json!({"secretId": "a"}), &json!({})));
    let name = notice.kind.unwrap();
    assert_eq!(name.len(), 64);
    assert!(name.starts_with("A??2J?b??xxx"), "{name}");
}

#[test]
fn debug_shows_nothing_of_a_body() {
    let put = json!({"secretId": PLANTED, "secretString": PLANTED, "clientRequestToken": PLANTED});
    let gone = call("DeleteSecret", &json!({"secretId": PLANTED}), &json!({}));
    for body in [
        call("PutSecretValue", &put, &json!({})),
        gone,
        json!({"password": PLANTED}),
        json!(PLANTED),
        notification(
            "SECRET_VERSION_ADD",
            &format!("projects/{PLANTED}/secrets/{PLANTED}"),
        ),
    ] {
        let notices = Decoder::default().decode(&body.to_string());
        assert!(!format!("{notices:?}").contains("hunter2"), "{body}");
    }
}

/// The body of each kind, with names in it.
fn bodies(name: &str) -> [Json; 4] {
    let arn = format!("arn:aws:secretsmanager:eu-west-1:1:secret:{name}-AbCdEf");
    let mut native = native("AWSCURRENT");
    native["detail"]["name"] = json!(name);
    native["resources"] = json!([arn]);
    let mut service = service("RotationSucceeded");
    service["detail"]["additionalEventData"]["SecretId"] = json!(arn);
    [
        native,
        service,
        call("PutSecretValue", &json!({"secretId": name}), &json!({})),
        call("PutSecretValue", &json!({"secretId": arn}), &json!({})),
    ]
}

proptest! {
    #[test]
    fn right_name_is_among_the_candidates(name in "[a-zA-Z][a-zA-Z0-9/_+=.@-]{0,40}") {
        for body in bodies(&name) {
            let notice = one(&body);
            prop_assert!(notice.keys.iter().any(|key| key.names.contains(&name)), "{}", body);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        for body in [text.clone(), STANDARD.encode(&bytes), format!("[{text}]"), json!([text]).to_string()] {
            prop_assert!(!Decoder::default().decode(&body).is_empty());
        }
    }
}

#[test]
fn warnings_name_their_key() {
    let notice = one(&service("RotationFailed"));
    assert_eq!(notice.says, Says::Warning(Warned::RotationFailed));
    assert!(!notice.keys.is_empty());
}
