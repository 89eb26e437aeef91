//! Secrets Manager and Parameter Store.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use serde_json::json;

use super::{Calls, Case, PLANTED, differences, drift, leaks, moto};
use crate::{
    cluster::skipped,
    drift::verdicts,
    providers::proxy::{Asked, Fault, Proxy, Script, always, first, page},
    support::{World, optional_variable},
};

/// The verdicts without a fault.
pub(super) const WITHOUT_FAULTS: [(&str, &str); 10] = [
    ("many", "in-sync"),
    ("binary", "in-sync"),
    ("rotated", "stale: k changed"),
    ("version", "in-sync"),
    // It is marked for deletion, so the operator would fail.
    ("doomed", "stale"),
    // No version ever had this stage.
    ("unstaged", "missing"),
    ("found", "in-sync"),
    ("tagged", "in-sync"),
    ("parameters", "in-sync"),
    ("parameter-rotated", "stale: k changed"),
];

/// One ExternalSecret of each service. Each needs one call.
const ROTATED: [&str; 2] = ["rotated", "parameter-rotated"];
const BATCH: &str = "secretsmanager.BatchGetSecretValue";
const SECRET: &str = "secretsmanager.GetSecretValue";
const PARAMETER: &str = "AmazonSSM.GetParameter";

/// An error response, in the format of both services.
fn error(code: &str) -> Fault {
    let kind = ("content-type", "application/x-amz-json-1.1".to_owned());
    let body = json!({"__type": code, "message": PLANTED});
    Fault::Instead(400, vec![kind], body.to_string())
}

type Faulty = (Case, Box<Script>);

fn case(name: &'static str, calls: usize) -> Case {
    Case {
        logins: 2..=2,
        ..Case::passes(name, &WITHOUT_FAULTS, calls)
    }
}

/// Transient faults, and faults for which there is another way to read: the verdicts do not change.
fn transient_faults(calls: usize) -> Vec<Faulty> {
    let case = |name| case(name, calls);
    let expires_early = |asked: &Asked| {
        let first = ["secretsmanager.ListSecrets", "AmazonSSM.GetParameters"]
            .contains(&asked.operation.as_str());
        if first && asked.before == 0 {
            error("ExpiredTokenException")
        } else {
            Fault::None
        }
    };
    let truncated_batch = |asked: &Asked| {
        let batch = asked.json()["SecretIdList"].is_array() || asked.json()["Names"].is_array();
        if batch && asked.before < 2 {
            Fault::Halved
        } else {
            Fault::None
        }
    };
    vec![
        (
            case("throttled twice"),
            first(2, || error("ThrottlingException")),
        ),
        (case("429 once"), first(1, || page(429, None))),
        (case("503 once"), first(1, || page(503, None))),
        (
            case("connection reset during an answer"),
            first(1, || Fault::Reset),
        ),
        (
            case("no answer in time").of(&ROTATED, Calls::OneMoreEach(4)),
            first(1, || Fault::Late),
        ),
        (
            Case {
                logins: 4..=4,
                ..case("tokens expire early")
            },
            Box::new(expires_early),
        ),
        (
            Case {
                calls: Calls::AtMost(calls + moto::MANY + 4 + moto::PARAMETERS + 1),
                ..case("truncated batch answer")
            },
            Box::new(truncated_batch),
        ),
    ]
}

/// Permanent faults: everything is unverifiable, with a reason.
fn permanent_faults(ns: &str, calls: usize) -> Vec<Faulty> {
    let case = |name| case(name, calls);
    let each = moto::MANY + moto::PARAMETERS;
    let denied = case("denied").stays(
        "denied",
        Calls::AtMost(calls + each),
        &format!(
            "missing permission: ssm:GetParameter on arn:aws:ssm:sa-east-1:*:parameter/{ns}/rotated"
        ),
    );
    let mut faults: Vec<Faulty> = vec![
        (
            case("always throttled")
                .stays(
                    "throttled",
                    Calls::AtMost(0),
                    "GetSecretValue: ThrottlingException",
                )
                .of(&ROTATED, Calls::Exactly(16)),
            always(|| error("ThrottlingException")),
        ),
        (
            // The store of secrets is lost after five keys without an answer. The store of parameters has fewer keys.
            Case {
                unread: 1,
                ..case("always 503").stays("unavailable", Calls::AtMost(36), "HTTP 503")
            },
            always(|| page(503, None)),
        ),
        (
            Case {
                unread: 1,
                ..case("connection always reset during an answer").stays(
                    "unavailable",
                    Calls::AtMost(36),
                    "GetParameters: the answer broke off",
                )
            },
            always(|| Fault::Reset),
        ),
        (
            case("truncated answers").stays("unreadable", Calls::AtMost(calls + each), "HTTP 200"),
            always(|| Fault::Halved),
        ),
        (denied, always(|| error("AccessDeniedException"))),
    ];
    faults.extend(login_faults(calls));
    faults
}

/// Faults of a login: both stores are lost.
fn login_faults(calls: usize) -> [Faulty; 2] {
    let no_login = |name, reason, code: &str, at_most| Case {
        unread: 2,
        ..case(name, calls).stays(reason, Calls::AtMost(at_most), code)
    };
    [
        (
            // Parallel calls may each log in once.
            Case {
                logins: 4..=6,
                ..no_login(
                    "tokens are always expired",
                    "credentials-expired",
                    "ExpiredTokenException",
                    8,
                )
            },
            always(|| error("ExpiredTokenException")),
        ),
        (
            no_login(
                "unknown access key",
                "login-failed",
                "UnrecognizedClientException",
                4,
            ),
            always(|| error("UnrecognizedClientException")),
        ),
    ]
}

/// Faults of one secret in a batch.
fn batch_faults(ns: &str, calls: usize) -> Vec<Faulty> {
    let case = |name| case(name, calls);
    let one = format!("{ns}-p-3");
    let arn = format!("arn:aws:secretsmanager:sa-east-1:*:secret:{one}-*");
    let mut denied = case("one secret of a batch is denied").stays(
        "denied",
        Calls::AtMost(calls + 2),
        &format!("secretsmanager:GetSecretValue on {arn}"),
    );
    for (name, verdict) in WITHOUT_FAULTS {
        if !["many", "found", "tagged"].contains(&name) {
            denied.told.insert(name.to_owned(), verdict.to_owned());
        }
    }
    let id = one.clone();
    let is_denied = move |asked: &Asked| match asked.operation.as_str() {
        BATCH => replaced_by_error(&id, "AccessDeniedException"),
        SECRET if asked.json()["SecretId"] == *id => error("AccessDeniedException"),
        _ => Fault::None,
    };
    let is_throttled = move |asked: &Asked| match asked.operation.as_str() {
        BATCH => replaced_by_error(&one, "ThrottlingException"),
        _ => Fault::None,
    };
    let shortened = |asked: &Asked| {
        if asked.json()["SecretIdList"].is_array() {
            Fault::Edited(Box::new(|answer| {
                let values = answer["SecretValues"].as_array_mut().expect("values");
                values.truncate(values.len() / 2);
                answer["NextToken"] = json!("more");
            }))
        } else {
            Fault::None
        }
    };
    vec![
        (denied, Box::new(is_denied)),
        (
            Case {
                calls: Calls::AtMost(calls + 3),
                ..case("one secret of a batch is throttled")
            },
            Box::new(is_throttled),
        ),
        (
            Case {
                calls: Calls::AtMost(calls + moto::MANY + 4),
                ..case("a batch answer has a second page")
            },
            Box::new(shortened),
        ),
    ]
}

/// Replaces the value of this secret by an error.
fn replaced_by_error(name: &str, code: &'static str) -> Fault {
    let name = name.to_owned();
    Fault::Edited(Box::new(move |answer| {
        let values = answer["SecretValues"].as_array_mut().expect("values");
        let before = values.len();
        values.retain(|value| value["Name"] != *name);
        if values.len() < before {
            let failed = json!({"SecretId": name, "ErrorCode": code, "Message": PLANTED});
            answer["Errors"]
                .as_array_mut()
                .expect("errors")
                .push(failed);
        }
    }))
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn faults_in_aws_are_reported_correctly() {
    let Some(url) = optional_variable("ESO_SYNC_TEST_MOTO") else {
        return skipped("moto");
    };
    let world = World::cluster().await;
    moto::prepare(&world, &url).await;
    let calls = calls_without_faults(&world, &url).await;
    let ns = &world.namespace;
    let cases = [
        transient_faults(calls),
        permanent_faults(ns, calls),
        batch_faults(ns, calls),
    ];
    // All in parallel, because most of the time is spent waiting.
    let checks = cases.into_iter().flatten().map(async |(case, script)| {
        let proxy = Proxy::before(&url, script).await;
        differences(&world, &proxy, &case).await
    });
    let (wrong, waits, pace) = futures::join!(
        join_all(checks),
        retry_after_is_respected(&world, &url),
        rate_is_halved(&world, &url)
    );
    let wrong: Vec<String> = wrong.into_iter().chain([waits, pace]).flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.end().await;
}

async fn calls_without_faults(world: &World, url: &str) -> usize {
    let proxy = Proxy::before(url, Box::new(|_| Fault::None)).await;
    let outcome = drift(&proxy, &["-n", &world.namespace]).await;
    let told = verdicts(&outcome.exits(1).document());
    let expected = WITHOUT_FAULTS.map(|(name, verdict)| (name.to_owned(), verdict.to_owned()));
    assert_eq!(told, BTreeMap::from(expected));
    assert_eq!(leaks("without a fault", &outcome), None);
    let asked = proxy.asked();
    asked.iter().filter(|asked| !asked.is_login()).count()
}

/// A retry waits for the time in the `Retry-After` header.
async fn retry_after_is_respected(world: &World, url: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (status, name) in [(429, "429 with Retry-After"), (503, "503 with Retry-After")] {
        let case = case(name, 0).of(&ROTATED, Calls::OneMoreEach(4));
        let proxy = Proxy::before(url, first(1, move || page(status, Some("1")))).await;
        wrong.extend(differences(world, &proxy, &case).await);
        for operation in [SECRET, PARAMETER] {
            let pause = proxy.pause(operation);
            if pause < Duration::from_secs(1) {
                wrong.push(format!("{name}: {operation} again after {pause:?}"));
            }
        }
    }
    wrong
}

/// Each secret takes one call, at twenty per second. The first one is throttled, so the rate is then ten per second.
async fn rate_is_halved(world: &World, url: &str) -> Vec<String> {
    let denied_and_throttled = |asked: &Asked| match asked.operation.as_str() {
        BATCH => error("AccessDeniedException"),
        SECRET if asked.before == 0 => error("ThrottlingException"),
        _ => Fault::None,
    };
    let proxy = Proxy::before(url, Box::new(denied_and_throttled)).await;
    let policy = "select: [{namespaces: [NS], names: [many]}]\npace: {providers: {aws: 20/s}}\n";
    let policy = world.bin.file("pace.yaml", &world.named(policy));
    let arguments = ["--config", policy.to_str().expect("UTF-8")];
    let outcome = drift(&proxy, &arguments).await;
    let mut wrong: Vec<String> = leaks("pace", &outcome).into_iter().collect();
    if outcome.code != 0 {
        wrong.push(format!(
            "pace: exit code {}: {}",
            outcome.code, outcome.stdout
        ));
        return wrong;
    }
    let said = "AWS denies secretsmanager:BatchGetSecretValue";
    if outcome.stderr.matches(said).count() != 1 {
        wrong.push("pace: the denied batch call must be reported exactly once".to_owned());
    }
    // The rate itself is tested with a virtual clock (`limiter::tests`). When calls arrive here also depends on the load.
    let said = "the provider throttles reads; their rate is halved";
    let lines: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.contains(said))
        .collect();
    if lines.len() != 1 || !lines.iter().all(|line| line.contains("rate=10")) {
        wrong.push(format!(
            "pace: the rate must be halved exactly once: {lines:?}"
        ));
    }
    wrong
}
