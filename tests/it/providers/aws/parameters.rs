//! Tests of Parameter Store.

use serde_json::{Value as Json, json};

use super::{
    connected, error, find, limiter, metadata, operation, operations, read, secret, version,
};
use crate::providers::double::{Asked, Double, Reply};

fn parameter(name: &str, value: &str) -> Json {
    let (name, selector) = name.split_once(':').unwrap_or((name, ""));
    let selector = if selector.is_empty() {
        Json::Null
    } else {
        json!(format!(":{selector}"))
    };
    json!({"Name": name, "Value": value, "Type": "SecureString", "Version": 1, "Selector": selector})
}

fn names(asked: &Asked) -> Vec<String> {
    asked.json()["Names"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// Answers every read, except for names that contain `gone` and for version 9.
fn everything(asked: &Asked) -> Reply {
    let absent = |name: &str| name.contains("gone") || name.ends_with(":9");
    match operation(asked).as_str() {
        "GetParameters" => {
            assert_eq!(asked.json()["WithDecryption"], true);
            let (absent, there): (Vec<_>, Vec<_>) =
                names(asked).into_iter().partition(|name| absent(name));
            let there: Vec<Json> = there
                .iter()
                .map(|name| parameter(name, &format!("value of {name}")))
                .collect();
            Reply::json(
                200,
                &json!({"Parameters": there, "InvalidParameters": absent}),
            )
        }
        "GetParameter" => {
            assert_eq!(asked.json()["WithDecryption"], true);
            let name = asked.json()["Name"].as_str().unwrap_or_default().to_owned();
            if name.contains("gone") {
                error(400, "ParameterNotFound", "")
            } else if name.ends_with(":9") {
                error(400, "ParameterVersionNotFound", "no such version")
            } else {
                Reply::json(
                    200,
                    &json!({"Parameter": parameter(&name, &format!("value of {name}"))}),
                )
            }
        }
        other => panic!("{other}"),
    }
}

fn settings() -> Json {
    json!({"service": "ParameterStore"})
}

#[tokio::test]
async fn ten_parameters_are_one_call() {
    let double = Double::start(everything).await;
    let provider = connected(&double.url, &settings()).await;
    let wanted: Vec<_> = (0..40).map(|n| secret(&format!("/prod/{n}"))).collect();
    let limiter = limiter();
    let answers = read(&*provider, &wanted, &limiter).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, format!("value of /prod/{n}"));
    }
    assert_eq!(limiter.calls(), 4);
    assert_eq!(operations(&double.asked()), ["GetParameters"; 4]);
}

#[tokio::test]
async fn missing_version_differs_from_missing_parameter() {
    let double = Double::start(everything).await;
    let provider = connected(
        &double.url,
        &json!({"service": "ParameterStore", "prefix": "/p"}),
    )
    .await;
    let wanted = [
        version("/db", "3"),
        secret("/db"),
        version("/db", "9"),
        secret("/gone"),
        version("/gone", "1"),
    ];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        [
            "value of /p/db:3",
            "value of /p/db",
            "fails: not-found",
            "not found",
            "not found"
        ]
    );
    assert_eq!(
        operations(&double.asked()),
        ["GetParameters", "GetParameter", "GetParameter"],
        "only a missing version is read again"
    );
}

/// AWS denies the whole call if one of its names is denied.
#[tokio::test]
async fn denied_parameter_does_not_deny_the_others() {
    let denied = |asked: &Asked| {
        names(asked).iter().any(|name| name == "/mine") || asked.json()["Name"] == "/mine"
    };
    let double = Double::start(move |asked| {
        if denied(asked) {
            return error(
                400,
                "AccessDeniedException",
                "User: arn:aws:iam::123456789012:user/job may not",
            );
        }
        everything(asked)
    })
    .await;
    let provider = connected(&double.url, &settings()).await;
    let wanted = ["/a", "/b", "/mine"].map(secret);
    let limiter = limiter();
    let answers = provider.read(&wanted, &limiter).await;
    assert_eq!(
        answers.iter().map(super::line).collect::<Vec<_>>(),
        [
            "value of /a",
            "value of /b",
            "denied (GetParameter: AccessDeniedException)"
        ]
    );
    let providers::Answered::Unread(unread) = &answers[2] else {
        panic!("expected a denied read");
    };
    assert_eq!(
        unread.permission.as_deref(),
        Some("ssm:GetParameter on arn:aws:ssm:eu-west-1:123456789012:parameter/mine")
    );
    assert_eq!(limiter.calls(), 1 + 3);
    read(&*provider, &["/a", "/b"].map(secret), &limiter).await;
    assert_eq!(limiter.calls(), 1 + 3 + 1, "batches are still used");
}

#[tokio::test]
async fn denied_batch_is_read_one_by_one() {
    let double = Double::start(|asked| match operation(asked).as_str() {
        "GetParameters" => error(400, "AccessDeniedException", "no"),
        _ => everything(asked),
    })
    .await;
    let provider = connected(&double.url, &settings()).await;
    let limiter = limiter();
    let wanted = ["/a", "/b"].map(secret);
    assert_eq!(
        read(&*provider, &wanted, &limiter).await,
        ["value of /a", "value of /b"]
    );
    assert_eq!(limiter.calls(), 1 + 2);
    read(&*provider, &wanted, &limiter).await;
    assert_eq!(
        limiter.calls(),
        1 + 2 + 2,
        "the batch call is not tried again"
    );
}

#[tokio::test]
async fn metadata_are_tags() {
    let double = Double::start(|asked| match asked.json()["ResourceId"].as_str() {
        Some("/db") => Reply::json(200, &json!({"TagList": [{"Key": "team", "Value": "a"}]})),
        _ => error(400, "InvalidResourceId", ""),
    })
    .await;
    let provider = connected(&double.url, &settings()).await;
    assert_eq!(
        read(
            &*provider,
            &[metadata("/db"), metadata("/gone")],
            &limiter()
        )
        .await,
        [r#"{"team":"a"}"#, "fails: not-found"]
    );
}

fn found(asked: &Asked) -> Reply {
    match operation(asked).as_str() {
        "GetParametersByPath" => {
            let body = asked.json();
            assert_eq!([&body["Recursive"], &body["WithDecryption"]], [true, true]);
            match body["NextToken"].as_str() {
                None => Reply::json(
                    200,
                    &json!({"Parameters": [parameter("/a/db", "1"), parameter("/a/api", "2")], "NextToken": "n"}),
                ),
                Some(_) => Reply::json(200, &json!({"Parameters": [parameter("/a/b/db", "3")]})),
            }
        }
        "DescribeParameters" => {
            let next = asked.json()["NextToken"].is_null().then_some("n");
            let list = if next.is_some() {
                json!([{"Name": "/a/db"}, {"Name": "/a/api"}])
            } else {
                json!([{"Name": "/a/b/db"}])
            };
            Reply::json(200, &json!({"Parameters": list, "NextToken": next}))
        }
        _ => everything(asked),
    }
}

#[tokio::test]
async fn search_by_name_reads_below_a_path() {
    let double = Double::start(found).await;
    let provider = connected(&double.url, &settings()).await;
    let wanted = [
        find(Some("/a"), Some("db$"), &[]),
        find(None, Some("api"), &[]),
    ];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        ["/a/b/db=3 /a/db=1", "/a/api=2"]
    );
    let mut paths: Vec<String> = double
        .asked()
        .iter()
        .map(|asked| asked.json()["Path"].to_string())
        .collect();
    paths.sort();
    assert_eq!(paths, ["\"/\"", "\"/\"", "\"/a\"", "\"/a\""]);
}

#[tokio::test]
async fn denied_path_search_describes_names() {
    let double = Double::start(|asked| match operation(asked).as_str() {
        "GetParametersByPath" => error(400, "AccessDeniedException", "no"),
        _ => found(asked),
    })
    .await;
    let provider = connected(&double.url, &settings()).await;
    let wanted = [find(Some("/a"), Some("db$"), &[])];
    assert_eq!(
        read(&*provider, &wanted, &limiter()).await,
        ["/a/b/db=value of /a/b/db /a/db=value of /a/db"]
    );
    let asked = double.asked();
    assert_eq!(
        operations(&asked),
        [
            "GetParametersByPath",
            "DescribeParameters",
            "DescribeParameters",
            "GetParameters"
        ]
    );
    assert_eq!(
        asked[1].json()["ParameterFilters"],
        json!([{"Key": "Path", "Option": "Recursive", "Values": ["/a"]}])
    );
}

#[tokio::test]
async fn search_by_tags_describes_names() {
    let double = Double::start(found).await;
    let provider = connected(&double.url, &settings()).await;
    let wanted = [find(Some("/a"), None, &[("team", "x")])];
    let answers = read(&*provider, &wanted, &limiter()).await;
    assert!(
        answers[0].starts_with("/a/api=value of /a/api"),
        "{}",
        answers[0]
    );
    assert_eq!(
        double.asked()[0].json()["ParameterFilters"],
        json!([
            {"Key": "tag:team", "Option": "Equals", "Values": ["x"]},
            {"Key": "Path", "Option": "Recursive", "Values": ["/a"]},
        ])
    );
}
