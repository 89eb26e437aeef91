//! From a rotation to the pods: `EventBridge` and a queue in moto, `events`, the real operator, the Secret and a Deployment. The test puts
//! the events of the documentation on the bus, because moto sends none for its secrets.

use serde_json::{Value, json};

use super::aws_store;
use super::curl;
use crate::{
    restart::{is_up, rolled, workload},
    scenarios::AFTER,
    support::{World, now, optional_variable},
};

/// A region that no other test uses.
const REGION: &str = "eu-south-1";

const ACCOUNT: &str = "123456789012";

fn queue_url(name: &str) -> String {
    format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}")
}

struct Moto {
    url: String,
    name: String,
}

impl Moto {
    async fn call(&self, service: &str, operation: &str, body: Value) -> Value {
        let (target, content) = match service {
            "sqs" => ("AmazonSQS", "application/x-amz-json-1.0"),
            "events" => ("AWSEvents", "application/x-amz-json-1.1"),
            service => (service, "application/x-amz-json-1.1"),
        };
        let target = format!("X-Amz-Target: {target}.{operation}");
        let content = format!("Content-Type: {content}");
        let scope = format!("test/20260101/{REGION}/{service}/aws4_request");
        let credential = format!("Authorization: AWS4-HMAC-SHA256 Credential={scope}");
        let body = body.to_string();
        let arguments = [
            "-H",
            &content,
            "-H",
            &target,
            "-H",
            &credential,
            "-d",
            &body,
        ];
        let answer = curl(&[&arguments[..], &[&self.url]].concat()).await;
        serde_json::from_str(&answer).unwrap_or_default()
    }

    /// Creates the queue of this cluster, its dead letters, and the rule of `docs/events.md` that fills it.
    async fn with_queue(world: &World) -> Self {
        let moto = Self {
            url: optional_variable("ESO_SYNC_TEST_MOTO").expect("moto"),
            name: world.namespace.clone(),
        };
        let cluster = world.get("Namespace", "kube-system").await.expect("it");
        let dead = format!("{}-dead", moto.name);
        moto.call("sqs", "CreateQueue", json!({"QueueName": dead}))
            .await;
        let redrive = json!({"deadLetterTargetArn": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{dead}"), "maxReceiveCount": 100});
        let queue = json!({
            "QueueName": moto.name, "tags": {"eso-sync-cluster": cluster["metadata"]["uid"]},
            "Attributes": {"RedrivePolicy": redrive.to_string(), "MessageRetentionPeriod": "1209600"},
        });
        moto.call("sqs", "CreateQueue", queue).await;
        let pattern = json!({
            "source": ["aws.secretsmanager"], "detail-type": ["Secret Label Updated"],
            "detail": {"labelUpdated": ["AWSCURRENT"], "name": [format!("{}-db", moto.name)]},
        });
        let rule = json!({"Name": moto.name, "EventPattern": pattern.to_string()});
        moto.call("events", "PutRule", rule).await;
        let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", moto.name);
        let targets = json!({"Rule": moto.name, "Targets": [{"Id": "queue", "Arn": arn}]});
        let put = moto.call("events", "PutTargets", targets).await;
        assert_eq!(put["FailedEntryCount"], json!(0), "{put}");
        moto
    }

    async fn count(&self, name: &str) -> Value {
        let body = json!({"QueueUrl": queue_url(name), "AttributeNames": ["All"]});
        let state = self.call("sqs", "GetQueueAttributes", body).await;
        let of = |name: &str| state["Attributes"][name].clone();
        json!([
            of("ApproximateNumberOfMessages"),
            of("ApproximateNumberOfMessagesNotVisible")
        ])
    }

    /// Puts the event on the bus that Secrets Manager sends when a label moves to a version.
    async fn put(&self, secret: &Value, label: &str) {
        let detail =
            json!({"name": secret["Name"], "labelUpdated": label, "versionId": "b".repeat(32)});
        let entry = json!({
            "Source": "aws.secretsmanager", "DetailType": "Secret Label Updated", "Resources": [secret["ARN"]],
            "Detail": detail.to_string(), "Time": now().as_second(),
        });
        let put = self.call("events", "PutEvents", json!({"Entries": [entry]}));
        let put = put.await;
        assert_eq!(put["FailedEntryCount"], json!(0), "{put}");
    }

    /// Writes a value. Another label moves first, which the rule leaves out.
    async fn rotate(&self, secret: &Value, value: &str) {
        let arn = secret["ARN"].as_str().expect("an ARN");
        let body =
            json!({"SecretId": arn, "SecretString": value, "ClientRequestToken": "b".repeat(32)});
        self.call("secretsmanager", "PutSecretValue", body).await;
        self.put(secret, "AWSPENDING").await;
        self.put(secret, "AWSCURRENT").await;
    }
}

async fn prepared(moto: &Moto, world: &World) {
    let ns = &world.namespace;
    aws_store(world, REGION).await;
    let version = format!("external-secrets.io/{}", world.version);
    for object in [
        json!({"apiVersion": version, "kind": "ExternalSecret", "metadata": {"name": "db", "namespace": ns},
            "spec": {"refreshInterval": "24h", "secretStoreRef": {"name": "aws", "kind": "SecretStore"},
                "data": [{"secretKey": "password", "remoteRef": {"key": format!("{ns}-db")}}]}}),
        workload("Deployment", "web", "db"),
    ] {
        world.apply(object).await;
    }
    world.ready("db", "SecretSynced").await;
    is_up(world, "Deployment", "web").await;
    let policy = format!(
        "select: [{{namespaces: [{ns}]}}]
drift: {{credentials: store, endpoints: ['{}']}}
pace: {{restarts: 100/s}}
restart: [{{match: references, wait: 1m, cooldown: 0s}}]
events: {{queues: [{{sqs: {{url: '{}'}}}}], settle: 1s}}
",
        moto.url,
        queue_url(&moto.name)
    );
    world.bin.file("events.yaml", &policy);
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn rotation_in_aws_reaches_the_pods_by_its_event() {
    let mut world = World::cluster().await;
    let moto = Moto::with_queue(&world).await;
    for (name, value) in [
        ("AWS_ENDPOINT_URL", moto.url.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ] {
        world.bin.set(name, value);
    }
    let name = format!("{}-db", world.namespace);
    let body =
        json!({"Name": name, "SecretString": "before", "ClientRequestToken": "a".repeat(32)});
    let secret = moto.call("secretsmanager", "CreateSecret", body).await;
    prepared(&moto, &world).await;
    let once = rolled(&world, "Deployment", "web").await + 1;
    moto.rotate(&secret, "after").await;
    assert_eq!(moto.count(&moto.name).await, json!(["1", "0"]));

    let path = world.bin.path().join("events.yaml");
    let path = path.to_str().expect("UTF-8");
    let command = [
        "events",
        "--config",
        path,
        "--lock-namespace",
        &world.namespace,
        "-o",
        "json",
    ];
    let outcome = world.bin.run(&command).await;
    outcome.exits(0);
    let summary = outcome.document()["summary"].clone();
    assert_eq!(summary["keys"], json!({"synced": 1}), "{summary}");
    assert_eq!(summary["acknowledged"], json!(1));
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    assert_eq!(rolled(&world, "Deployment", "web").await, once);
    assert_eq!(moto.count(&moto.name).await, json!(["0", "0"]));
    assert_eq!(
        moto.count(&format!("{}-dead", moto.name)).await,
        json!(["0", "0"])
    );
    world.end().await;
}
