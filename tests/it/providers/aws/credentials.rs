//! Logins: roles, expired tokens, invalid keys, and unsupported stores.

use std::sync::atomic::{AtomicUsize, Ordering};

use eso_model::StoreKey;
use providers::{Identity, Resolver, connect, unread};
use serde_json::json;

use super::{
    assumed, connected, error, everything, limiter, operation, operations, read, secret, signed_by,
    store, sts_error, try_connect,
};
use crate::providers::{double::Double, support::nowhere};

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

#[tokio::test]
async fn roles_are_assumed_in_order() {
    let double = Double::start(|asked| match asked.field("RoleArn").as_str() {
        "" => everything(asked),
        arn => {
            let name = arn.rsplit('/').next().unwrap_or_default();
            assumed(asked, &format!("KEY{name}"))
        }
    })
    .await;
    let settings = json!({
        "role": ROLE,
        "additionalRoles": ["arn:aws:iam::1:role/first", "arn:aws:iam::2:role/second"],
        "externalID": "outside",
        "sessionTags": [{"key": "team", "value": "a"}],
        "transitiveTagKeys": ["team"],
    });
    let provider = connected(&double.url, &settings).await;
    assert_eq!(
        read(&*provider, &[secret("db")], &limiter()).await,
        ["value of db"]
    );
    let asked = double.asked();
    let steps: Vec<_> = asked
        .iter()
        .map(|asked| (signed_by(asked), operation(asked), asked.field("RoleArn")))
        .collect();
    let step = |key: &str, operation: &str, role: &str| {
        (key.to_owned(), operation.to_owned(), role.to_owned())
    };
    assert_eq!(
        steps,
        [
            step("job", "AssumeRole", "arn:aws:iam::1:role/first"),
            step("KEYfirst", "AssumeRole", "arn:aws:iam::2:role/second"),
            step("KEYsecond", "AssumeRole", ROLE),
            step("KEYreader", "GetSecretValue", ""),
        ],
        "each role is assumed once"
    );
    let fields = |place: usize| {
        [
            "ExternalId",
            "Tags.member.1.Key",
            "Tags.member.1.Value",
            "TransitiveTagKeys.member.1",
        ]
        .map(|name| asked[place].field(name))
    };
    assert_eq!(
        fields(0),
        ["", "", "", ""],
        "they apply only to the last role"
    );
    assert_eq!(fields(2), ["outside", "team", "a", "team"]);
}

#[tokio::test]
async fn expired_token_is_renewed_once() {
    let logins = AtomicUsize::new(0);
    let double = Double::start(move |asked| match operation(asked).as_str() {
        "AssumeRole" => assumed(
            asked,
            &format!("KEY{}", logins.fetch_add(1, Ordering::Relaxed)),
        ),
        _ if signed_by(asked) == "KEY0" => error(400, "ExpiredTokenException", "expired"),
        _ => everything(asked),
    })
    .await;
    let provider = connected(&double.url, &json!({"role": ROLE})).await;
    let limiter = limiter();
    assert_eq!(
        read(&*provider, &[secret("db")], &limiter).await,
        ["value of db"]
    );
    assert_eq!(
        operations(&double.asked()),
        [
            "AssumeRole",
            "GetSecretValue",
            "AssumeRole",
            "GetSecretValue"
        ]
    );
    assert_eq!(limiter.calls(), 2);
}

/// Several calls are in flight when the token expires.
#[tokio::test]
async fn expired_token_is_renewed_once_for_all_calls() {
    let logins = AtomicUsize::new(0);
    let double = Double::start(move |asked| match operation(asked).as_str() {
        "AssumeRole" => assumed(
            asked,
            &format!("KEY{}", logins.fetch_add(1, Ordering::Relaxed)),
        ),
        _ if signed_by(asked) == "KEY0" => error(400, "ExpiredTokenException", "expired"),
        _ => everything(asked),
    })
    .await;
    let provider = connected(&double.url, &json!({"role": ROLE})).await;
    let wanted: Vec<_> = (0..100).map(|n| secret(&n.to_string())).collect();
    let answers = read(&*provider, &wanted, &limiter()).await;
    assert!(answers.iter().all(|answer| answer.starts_with("value of")));
    let logins = operations(&double.asked());
    assert_eq!(
        logins.iter().filter(|name| *name == "AssumeRole").count(),
        2
    );
}

#[tokio::test]
async fn endless_expiry_is_reported_as_expired_credentials() {
    let double = Double::start(|_| error(400, "ExpiredTokenException", "expired")).await;
    let provider = connected(&double.url, &json!({})).await;
    let limiter = limiter();
    assert_eq!(
        read(&*provider, &[secret("db")], &limiter).await,
        [
            "credentials-expired (GetSecretValue: ExpiredTokenException, also with new credentials: check the session token that the login uses, and the time of this machine) (store)"
        ]
    );
    assert_eq!(limiter.calls(), 2);
}

#[tokio::test]
async fn unknown_access_key_is_a_failed_login() {
    for code in ["UnrecognizedClientException", "InvalidSignatureException"] {
        let double = Double::start(move |_| error(400, code, "no")).await;
        let provider = connected(&double.url, &json!({})).await;
        let limiter = limiter();
        assert_eq!(
            read(&*provider, &[secret("db")], &limiter).await,
            [format!("login-failed (GetSecretValue: {code}) (store)")]
        );
        assert_eq!(limiter.calls(), 1, "the call is not retried");
    }
}

/// It is reported once for the store, before the first read.
#[tokio::test]
async fn denied_role_is_named() {
    let double = Double::start(|asked| match asked.field("RoleArn").as_str() {
        ROLE => sts_error("AccessDenied"),
        _ => assumed(asked, "KEY"),
    })
    .await;
    for more in [
        json!({}),
        json!({"additionalRoles": ["arn:aws:iam::1:role/first"]}),
    ] {
        let mut settings = json!({"role": ROLE});
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let unread = try_connect(&double.url, &settings)
            .await
            .err()
            .expect("expected a failed login");
        assert_eq!(
            unread.why.to_string(),
            format!("login-failed (AssumeRole {ROLE}: AccessDenied)")
        );
        assert_eq!(
            unread.permission.as_deref(),
            Some(&*format!("sts:AssumeRole on {ROLE}"))
        );
        assert!(unread.whole_store);
    }
    // The role before it is denied, and that error is reported.
    let settings = json!({"role": "arn:aws:iam::1:role/last", "additionalRoles": [ROLE]});
    let unread = try_connect(&double.url, &settings)
        .await
        .err()
        .expect("expected a failed login");
    assert_eq!(
        unread.permission.as_deref(),
        Some(&*format!("sts:AssumeRole on {ROLE}"))
    );
}

/// The operator reads it with its own Pod's identity, which the job does not have. No request is sent.
#[tokio::test]
async fn store_without_auth_is_refused() {
    let key = StoreKey::Cluster {
        name: "aws".to_owned(),
    };
    let resolver = Resolver::new(nowhere(), key, "default");
    let unread = connect(&store(&json!({})), Identity::Store(&resolver), &nowhere())
        .await
        .err()
        .expect("expected a failed login");
    assert_eq!(unread.why.reason, unread::CONTROLLER_IDENTITY);
    assert!(unread.whole_store);
}

#[tokio::test]
async fn unsupported_setting_sends_no_request() {
    let double = Double::start(everything).await;
    for (settings, named) in [
        (
            json!({"service": "CertificateManager"}),
            "CertificateManager",
        ),
        (json!({"region": "evil.example/"}), "`region`"),
        (
            json!({"sessionTagsPolicy": "Custom"}),
            "`sessionTagsPolicy`",
        ),
        (json!({"endpoint": "https://evil.example"}), "`endpoint`"),
    ] {
        let unread = try_connect(&double.url, &settings)
            .await
            .err()
            .expect("refused");
        assert_eq!(unread.why.reason, unread::UNSUPPORTED);
        assert!(unread.why.detail.contains(named), "{}", unread.why);
    }
    assert_eq!(operations(&double.asked()), [""; 0]);
}
