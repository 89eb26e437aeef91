//! The same calls against moto, which stores secrets like AWS. (It does not throttle, and accepts any key.)

use eso_model::rotation::Rotation;
use serde_json::{Value as Json, json};

use super::{connected, find, limiter, line, metadata, read, rotation, secret, version};
use crate::support::optional_variable;

/// A client that writes to moto, in its own region so that tests can run in parallel.
pub(crate) struct Moto {
    pub(crate) url: String,
    region: &'static str,
}

impl Moto {
    pub(crate) fn at(region: &'static str) -> Self {
        Self {
            url: optional_variable("ESO_SYNC_TEST_MOTO").expect("moto (tests/cluster/run)"),
            region,
        }
    }

    /// Deletes the data of an earlier run: the moto of a developer's cluster keeps running.
    async fn emptied(region: &'static str) -> Self {
        let moto = Self::at(region);
        let all = json!({"IncludePlannedDeletion": true, "MaxResults": 100});
        let listed = moto.secrets("ListSecrets", all).await;
        for secret in listed["SecretList"].as_array().into_iter().flatten() {
            let body = json!({"SecretId": secret["ARN"], "ForceDeleteWithoutRecovery": true});
            moto.secrets("DeleteSecret", body).await;
        }
        let listed = moto.parameters("DescribeParameters", json!({})).await;
        for parameter in listed["Parameters"].as_array().into_iter().flatten() {
            let body = json!({"Name": parameter["Name"]});
            moto.parameters("DeleteParameter", body).await;
        }
        moto
    }

    async fn call(&self, service: &str, target: &str, body: Json) -> Json {
        let credential = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/{}/{service}/aws4_request",
            self.region
        );
        let sent = tokio::process::Command::new("curl")
            .args([
                "-sSf",
                "-X",
                "POST",
                "-H",
                "Content-Type: application/x-amz-json-1.1",
            ])
            .args(["-H", &format!("X-Amz-Target: {target}"), "-H", &credential])
            .args(["-d", &body.to_string(), &self.url])
            .output()
            .await
            .expect("curl");
        assert!(
            sent.status.success(),
            "{target}: {}",
            String::from_utf8_lossy(&sent.stderr)
        );
        serde_json::from_slice(&sent.stdout).unwrap_or_default()
    }

    pub(crate) async fn secrets(&self, operation: &str, body: Json) -> Json {
        self.call(
            "secretsmanager",
            &format!("secretsmanager.{operation}"),
            body,
        )
        .await
    }

    pub(crate) async fn parameters(&self, operation: &str, body: Json) -> Json {
        self.call("ssm", &format!("AmazonSSM.{operation}"), body)
            .await
    }

    async fn connected(&self, more: Json) -> Box<dyn providers::Provider> {
        let mut settings = json!({"region": self.region});
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        connected(&self.url, &settings).await
    }
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn secrets_in_aws_are_read_by_name_arn_version_and_stage() {
    let moto = Moto::emptied("eu-west-2").await;
    let token = |letter: &str| letter.repeat(32);
    let create = json!({"Name": "prod/db", "SecretString": "one", "ClientRequestToken": token("a"), "Tags": [{"Key": "team", "Value": "x"}]});
    let created = moto.secrets("CreateSecret", create).await;
    let arn = created["ARN"].as_str().expect("an ARN").to_owned();
    let put =
        json!({"SecretId": "prod/db", "SecretString": "two", "ClientRequestToken": token("b")});
    moto.secrets("PutSecretValue", put).await;
    for (name, value) in [
        ("prod/db-replica", json!({"SecretString": "three"})),
        ("prod/binary", json!({"SecretBinary": "AP8K"})),
        ("prod/deleted", json!({"SecretString": "gone"})),
    ] {
        let mut body = value;
        body["Name"] = json!(name);
        body["ClientRequestToken"] = json!(token("c"));
        moto.secrets("CreateSecret", body).await;
    }
    moto.secrets("DeleteSecret", json!({"SecretId": "prod/deleted"}))
        .await;

    let provider = moto.connected(json!({})).await;
    let shortened = &arn[..arn.len() - 7];
    let wanted = [
        secret("prod/db"),
        secret(&arn),
        secret(shortened),
        version("prod/db", "AWSPREVIOUS"),
        version("prod/db", &format!("uuid/{}", token("a"))),
        version("prod/db", "NOSTAGE"),
        secret("prod/db-replica"),
        secret("prod/gone"),
        secret("prod/deleted"),
        secret("prod/binary"),
        metadata("prod/db"),
    ];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        [
            "two",
            "two",
            "two",
            "one",
            "one",
            "not found",
            "three",
            "not found",
            "fails: scheduled-for-deletion",
            "\u{0}\u{fffd}\n",
            r#"{"team":"x"}"#,
        ]
    );
    let prefixed = moto.connected(json!({"prefix": "prod/"})).await;
    assert_eq!(read(&*prefixed, &[secret("db")], &limiter()).await, ["two"]);
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn rotations_in_aws_are_read_by_name_and_arn() {
    let moto = Moto::emptied("eu-south-2").await;
    for name in ["db", "api"] {
        let body = json!({"Name": name, "SecretString": "v", "ClientRequestToken": "a".repeat(32)});
        moto.secrets("CreateSecret", body).await;
    }
    let rules = json!({"AutomaticallyAfterDays": 30});
    let body =
        json!({"SecretId": "db", "RotationRules": rules, "ClientRequestToken": "b".repeat(32)});
    moto.secrets("RotateSecret", body).await;
    let described = moto
        .secrets("DescribeSecret", json!({"SecretId": "db"}))
        .await;
    let arn = described["ARN"].as_str().expect("an ARN").to_owned();
    let provider = moto.connected(json!({})).await;
    let keys = ["db", &arn, &arn[..arn.len() - 7], "api", "gone"];
    let keys = keys.map(str::to_owned);
    let said = provider.rotations(&keys, &limiter()).await;
    let said: Vec<String> = said.into_iter().map(rotation).collect();
    let next = described["NextRotationDate"].as_f64().expect("a date");
    #[expect(clippy::cast_possible_truncation, reason = "seconds")]
    let next = jiff::Timestamp::from_second(next as i64).expect("a time");
    let scheduled = format!("every 2592000 s, next {next}");
    let gone = "unreadable (DescribeSecret: ResourceNotFoundException)";
    assert_eq!(
        said,
        [&*scheduled, &scheduled, &scheduled, "unscheduled", gone]
    );
    let parameters = moto.connected(json!({"service": "ParameterStore"})).await;
    let said = parameters.rotations(&keys[..1], &limiter()).await;
    assert_eq!(said, [Ok(Rotation::NotKept)]);
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn secrets_in_aws_are_found_by_name_and_tags() {
    let moto = Moto::emptied("eu-south-1").await;
    for (name, value, tags) in [
        ("prod/db", "two", json!([{"Key": "team", "Value": "x"}])),
        ("prod/db-replica", "three", json!([])),
        ("test/db", "four", json!([])),
    ] {
        let body = json!({"Name": name, "SecretString": value, "Tags": tags, "ClientRequestToken": "a".repeat(32)});
        moto.secrets("CreateSecret", body).await;
    }
    let provider = moto.connected(json!({})).await;
    let found = [
        find(Some("prod/db"), Some("."), &[]),
        find(None, Some("^prod/db"), &[]),
        find(None, None, &[("team", "x")]),
    ];
    assert_eq!(
        read(&*provider, &found, &limiter()).await,
        [
            "prod/db=two prod/db-replica=three",
            "prod/db=two prod/db-replica=three",
            "prod/db=two"
        ]
    );
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn forty_five_secrets_in_aws_are_three_calls() {
    let moto = Moto::emptied("eu-west-3").await;
    for n in 0..45 {
        let body = json!({"Name": format!("many/{n}"), "SecretString": n.to_string(), "ClientRequestToken": "a".repeat(32)});
        moto.secrets("CreateSecret", body).await;
    }
    let provider = moto.connected(json!({})).await;
    let wanted: Vec<_> = (0..45).map(|n| secret(&format!("many/{n}"))).collect();
    let limiter = limiter();
    let answers = read(&*provider, &wanted, &limiter).await;
    assert_eq!(answers, (0..45).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(limiter.calls(), 3);
    // More than one page of names and more than one page of values.
    for what in [
        find(Some("many/"), Some("."), &[]),
        find(None, Some("^many/"), &[]),
    ] {
        let answers = provider.read(&[what], &limiter).await;
        let providers::Answered::Many(found) = &answers[0] else {
            panic!("{}", line(&answers[0]));
        };
        assert_eq!(found.len(), 45);
    }
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn parameters_in_aws_are_read_by_name_arn_version_and_label() {
    let moto = Moto::emptied("eu-central-1").await;
    for (name, value, more) in [
        (
            "/prod/db",
            "one",
            json!({"Tags": [{"Key": "team", "Value": "x"}]}),
        ),
        ("/prod/db", "two", json!({"Overwrite": true})),
        ("/prod/api/key", "three", json!({})),
        ("/test/db", "four", json!({})),
    ] {
        let mut body = more;
        body["Name"] = json!(name);
        body["Value"] = json!(value);
        body["Type"] = json!("SecureString");
        moto.parameters("PutParameter", body).await;
    }
    let label = json!({"Name": "/prod/db", "ParameterVersion": 1, "Labels": ["live"]});
    moto.parameters("LabelParameterVersion", label).await;
    let provider = moto.connected(json!({"service": "ParameterStore"})).await;
    let arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/test/db";
    let wanted = [
        secret("/prod/db"),
        version("/prod/db", "1"),
        version("/prod/db", "live"),
        version("/prod/db", "9"),
        secret("/prod/gone"),
        secret(arn),
        metadata("/prod/db"),
    ];
    let limiter = limiter();
    let answers = read(&*provider, &wanted, &limiter).await;
    assert_eq!(
        answers,
        [
            "two",
            "one",
            "one",
            "fails: not-found",
            "not found",
            "four",
            r#"{"team":"x"}"#
        ]
    );
    let found = [
        find(Some("/prod"), Some("."), &[]),
        find(None, Some("db$"), &[]),
        find(None, None, &[("team", "x")]),
    ];
    assert_eq!(
        read(&*provider, &found, &limiter).await,
        [
            "/prod/api/key=three /prod/db=two",
            "/prod/db=two /test/db=four",
            "/prod/db=two"
        ]
    );
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn other_account_in_aws_is_read_with_a_role() {
    let moto = Moto::emptied("eu-north-1").await;
    let body = json!({"Name": "db", "SecretString": "ours", "ClientRequestToken": "a".repeat(32)});
    moto.secrets("CreateSecret", body).await;
    let provider = moto.connected(json!({})).await;
    assert_eq!(
        read(&*provider, &[secret("db")], &limiter()).await,
        ["ours"]
    );
    let role = json!({"role": "arn:aws:iam::210987654321:role/reader"});
    let provider = moto.connected(role).await;
    assert_eq!(
        read(&*provider, &[secret("db")], &limiter()).await,
        ["not found"],
        "the other account has no secret"
    );
}
