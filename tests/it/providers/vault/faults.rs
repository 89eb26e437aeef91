//! A real OpenBao behind a proxy that injects faults.

use std::{ops::RangeInclusive, time::Duration};

use futures::future::join_all;
use providers::RateLimiter;
use serde_json::json;

use super::{as_job, rate, said, secret, server::Server};
use crate::providers::proxy::{Asked, Fault, Proxy, Script, always, first, page};

const DB: &str = "GET /v1/secret/data/db";
const FOUND: [&str; 2] = [r#"{"k":"v"}"#; 2];

/// A fault and the expected result.
struct Case {
    name: &'static str,
    script: Box<Script>,
    /// The start of each answer.
    read: [&'static str; 2],
    /// The calls, without the logins.
    calls: RangeInclusive<usize>,
    logins: usize,
}

/// A fault that is retried successfully: one call for the mount and two for the secrets, each up to twice.
fn passes(name: &'static str, script: Box<Script>) -> Case {
    Case {
        name,
        script,
        read: FOUND,
        calls: 6..=6,
        logins: 1,
    }
}

fn refusal(status: u16, text: &str) -> Fault {
    Fault::Instead(status, Vec::new(), json!({"errors": [text]}).to_string())
}

fn cases() -> Vec<Case> {
    let denied = |asked: &Asked| match asked.operation.as_str() {
        DB => refusal(403, "permission denied"),
        _ => Fault::None,
    };
    let ended = |asked: &Asked| match asked.operation.as_str() {
        DB | "GET /v1/auth/token/lookup-self" if asked.before == 0 => {
            refusal(403, "permission denied")
        }
        _ => Fault::None,
    };
    vec![
        passes("429 once", first(1, || refusal(429, "quota exceeded"))),
        passes("503 once", first(1, || page(503, None))),
        passes("connection reset", first(1, || Fault::Reset)),
        passes("with retry-after", first(1, || page(503, Some("1")))),
        Case {
            read: ["unreadable (this is not an answer of Vault)"; 2],
            calls: 1..=2,
            ..passes("truncated answers", always(|| Fault::Halved))
        },
        Case {
            read: ["unavailable (connection reset)"; 2],
            calls: 4..=8,
            ..passes("connection always reset", always(|| Fault::Reset))
        },
        Case {
            read: ["sealed (Vault answered 503 (Vault is sealed))"; 2],
            calls: 1..=1,
            ..passes("sealed", always(|| refusal(503, "Vault is sealed")))
        },
        Case {
            read: ["unavailable (Vault answered that it is a standby node)"; 2],
            calls: 1..=1,
            ..passes("standby node", always(|| page(473, None)))
        },
        Case {
            read: ["denied (Vault answered 403 (permission denied))", FOUND[1]],
            calls: 4..=4,
            ..passes("one secret is denied", Box::new(denied))
        },
        Case {
            calls: 5..=5,
            logins: 2,
            ..passes("a token expires early", Box::new(ended))
        },
        Case {
            read: ["denied (the mount does not exist, or the token may not read anything in it)";
                2],
            calls: 3..=6,
            logins: 2,
            ..passes(
                "no token is valid",
                always(|| refusal(403, "permission denied")),
            )
        },
    ]
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn faults_in_vault_are_classified() {
    let Some(server) = Server::start().await else {
        return;
    };
    for name in ["db", "api"] {
        let path = format!("secret/data/{name}");
        server.write(&path, r#"{"data":{"k":"v"}}"#).await;
    }
    let (role, id) = server.app_role("60s").await;
    let wrong = join_all(cases().into_iter().map(async |case| {
        let proxy = Proxy::before(&server.url, case.script).await;
        let variables = [
            ("VAULT_ROLE_ID", role.as_str()),
            ("VAULT_SECRET_ID", id.as_str()),
        ];
        let settings = json!({"path": "secret", "server": proxy.url});
        let vault = as_job(&server, settings, &variables).await;
        let limiter = RateLimiter::new(rate());
        let wanted = [secret("db"), secret("api")];
        let read: Vec<String> = vault
            .read(&wanted, &limiter)
            .await
            .iter()
            .map(said)
            .collect();
        let asked = proxy.asked();
        let logins = asked.iter().filter(|asked| asked.is_login()).count();
        let calls = asked.len() - logins;
        let mut both = read.iter().zip(case.read);
        let as_told = both.all(|(read, begins)| read.starts_with(begins))
            && case.calls.contains(&calls)
            && logins == case.logins
            && proxy.faults() > 0
            && limiter.calls() == calls as u64;
        let kept = case.name != "with retry-after" || proxy.pause(DB) >= Duration::from_secs(1);
        let counted = limiter.calls();
        let name = case.name;
        (!as_told || !kept).then(|| {
            format!("{name}: {read:?} in {calls} calls (reported as {counted}) and {logins} logins")
        })
    }))
    .await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.end().await;
}
