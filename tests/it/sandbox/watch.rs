//! The API server: watches.

use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _, io::AsyncBufReadExt as _};
use http::Request;
use sandbox::Sandbox;
use serde_json::{Value, json};

use super::support::{ALL, client, external_secret, get, patch, resting};

/// The events of a watch.
async fn watch(
    sandbox: &Sandbox,
    path: &str,
) -> impl Stream<Item = Result<Value, String>> + Unpin + use<> {
    let request = Request::get(path).body(Vec::new()).unwrap();
    let lines = client(sandbox)
        .request_stream(request)
        .await
        .unwrap()
        .lines();
    Box::pin(lines.map(|line| {
        let line = line.map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|error| error.to_string())
    }))
}

async fn next(events: &mut (impl Stream<Item = Result<Value, String>> + Unpin)) -> Value {
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
    event.expect("an event in time").expect("an event").unwrap()
}

fn shown(event: &Value) -> (&str, &str) {
    (
        event["type"].as_str().unwrap(),
        event["object"]["metadata"]["name"]
            .as_str()
            .unwrap_or_default(),
    )
}

async fn version(sandbox: &Sandbox) -> String {
    get(sandbox, &format!("{ALL}?limit=1")).await["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_watch_shows_every_change_after_the_list_and_no_other() {
    let sandbox = resting().await;
    sandbox.apply(external_secret("before")).unwrap();
    let from = version(&sandbox).await;
    sandbox.apply(external_secret("between")).unwrap();
    let mut events = watch(
        &sandbox,
        &format!("{ALL}?watch=true&resourceVersion={from}"),
    )
    .await;
    let event = next(&mut events).await;
    assert_eq!(shown(&event), ("ADDED", "between"));
    assert_eq!(event["object"]["kind"], "ExternalSecret");
    patch(
        &sandbox,
        "before",
        json!({"metadata": {"labels": {"a": "1"}}}),
    )
    .await;
    let patched = next(&mut events).await;
    assert_eq!(shown(&patched), ("MODIFIED", "before"));
    patch(
        &sandbox,
        "before",
        json!({"metadata": {"labels": {"a": "1"}}}),
    )
    .await;
    sandbox.delete("externalsecrets", "team-a", "before");
    let deleted = next(&mut events).await;
    assert_eq!(
        shown(&deleted),
        ("DELETED", "before"),
        "a patch that changes nothing is no event"
    );
    let number = |event: &Value| {
        event["object"]["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(
        number(&deleted) > number(&patched),
        "the deletion has a version of its own"
    );
}

#[tokio::test]
async fn a_narrowed_watch_sees_objects_come_and_go() {
    let sandbox = resting().await;
    sandbox.apply(external_secret("db")).unwrap();
    let from = version(&sandbox).await;
    let path = format!("{ALL}?watch=true&resourceVersion={from}&labelSelector=team%3Dx");
    let mut events = watch(&sandbox, &path).await;
    let labelled = |team: &str| json!({"metadata": {"labels": {"team": team}}});
    for team in ["y", "x", "z"] {
        patch(&sandbox, "db", labelled(team)).await;
    }
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db"));
    let gone = next(&mut events).await;
    assert_eq!(shown(&gone), ("DELETED", "db"));
    assert_eq!(
        gone["object"]["metadata"]["labels"]["team"], "x",
        "as it was last seen"
    );
    let present = sandbox.get("externalsecrets", "team-a", "db").unwrap();
    assert_eq!(
        gone["object"]["metadata"]["resourceVersion"],
        present["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn a_watch_from_nowhere_begins_with_what_there_is() {
    let sandbox = resting().await;
    sandbox.apply(external_secret("db")).unwrap();
    let mut events = watch(&sandbox, &format!("{ALL}?watch=true&timeoutSeconds=1")).await;
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db"));
    assert!(events.next().await.is_none(), "it ends when its time is up");
    let path = format!("{ALL}?watch=true&resourceVersion=0&allowWatchBookmarks=true");
    let mut events = watch(&sandbox, &path).await;
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db"));
    let bookmark = next(&mut events).await;
    assert_eq!(
        bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
}

#[tokio::test]
async fn a_bookmark_tells_how_far_a_quiet_watch_has_come() {
    let sandbox = resting().await;
    let from = version(&sandbox).await;
    let path = format!(
        "{ALL}?watch=true&resourceVersion={from}&allowWatchBookmarks=true&timeoutSeconds=3"
    );
    let mut events = watch(&sandbox, &path).await;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "another"}});
    let made = sandbox.apply(namespace).unwrap();
    let bookmark = next(&mut events).await;
    assert_eq!(
        bookmark,
        json!({"type": "BOOKMARK", "object": {
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]},
        }})
    );
}

#[tokio::test]
async fn a_watch_from_a_forgotten_past_is_told_so() {
    let sandbox = resting().await;
    let from = version(&sandbox).await;
    sandbox.apply(external_secret("db")).unwrap();
    sandbox.compact();
    let mut events = watch(
        &sandbox,
        &format!("{ALL}?watch=true&resourceVersion={from}"),
    )
    .await;
    let event = next(&mut events).await;
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(event["object"]["reason"], "Expired");
    assert!(events.next().await.is_none());
    let present = version(&sandbox).await;
    let mut events = watch(
        &sandbox,
        &format!("{ALL}?watch=true&resourceVersion={present}"),
    )
    .await;
    patch(&sandbox, "db", json!({"metadata": {"labels": {"a": "1"}}})).await;
    assert_eq!(shown(&next(&mut events).await), ("MODIFIED", "db"));
}

#[tokio::test]
async fn a_cut_watch_breaks_and_can_be_taken_up_again() {
    let sandbox = resting().await;
    let from = version(&sandbox).await;
    let path = format!("{ALL}?watch=true&resourceVersion={from}");
    let mut events = watch(&sandbox, &path).await;
    sandbox.apply(external_secret("db")).unwrap();
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db"));
    sandbox.cut_watches();
    let cut = tokio::time::timeout(Duration::from_secs(20), events.next())
        .await
        .unwrap();
    assert!(matches!(cut, Some(Err(_))), "{cut:?}");
    let mut events = watch(&sandbox, &path).await;
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db"));
}

#[tokio::test]
async fn a_silent_watch_stays_open_and_says_nothing() {
    let sandbox = resting().await;
    let from = version(&sandbox).await;
    sandbox.silence_watches(true);
    let mut events = watch(
        &sandbox,
        &format!("{ALL}?watch=true&resourceVersion={from}"),
    )
    .await;
    sandbox.apply(external_secret("db")).unwrap();
    // Another connection is served meanwhile, so this one has had its chance.
    get(&sandbox, ALL).await;
    assert!(events.next().now_or_never().is_none());
    sandbox.silence_watches(false);
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db"));
}

#[tokio::test]
async fn events_can_be_watched_by_what_they_are_about() {
    let sandbox = resting().await;
    let path = "/api/v1/namespaces/team-a/events";
    let query =
        "watch=true&fieldSelector=involvedObject.kind%3DExternalSecret,involvedObject.name%3Ddb";
    let mut events = watch(&sandbox, &format!("{path}?{query}")).await;
    for about in ["other", "db"] {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "team-a", "name": format!("{about}.1")},
            "involvedObject": {"kind": "ExternalSecret", "namespace": "team-a", "name": about},
            "reason": "UpdateFailed", "type": "Warning",
        });
        sandbox.apply(event).unwrap();
    }
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db.1"));
}
