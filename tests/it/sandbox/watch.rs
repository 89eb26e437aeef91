//! The API server: watches.

use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _, io::AsyncBufReadExt as _};
use http::Request;
use sandbox::Sandbox;
use serde_json::{Value, json};

use super::support::{ALL, client, external_secret, get, patch, without_operator};

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
async fn watch_sends_every_change_after_the_list() {
    let sandbox = without_operator().await;
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
        "a patch without changes causes no event"
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
        "the deletion has a new resource version"
    );
}

#[tokio::test]
async fn filtered_watch_reports_objects_entering_and_leaving() {
    let sandbox = without_operator().await;
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
        "in its last matching state"
    );
    let present = sandbox.get("externalsecrets", "team-a", "db").unwrap();
    assert_eq!(
        gone["object"]["metadata"]["resourceVersion"],
        present["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn watch_without_version_starts_with_all_objects() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let mut events = watch(&sandbox, &format!("{ALL}?watch=true&timeoutSeconds=1")).await;
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db"));
    assert!(events.next().await.is_none(), "it ends after the timeout");
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
async fn bookmarks_advance_a_quiet_watch() {
    let sandbox = without_operator().await;
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
async fn watch_from_compacted_version_expires() {
    let sandbox = without_operator().await;
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
async fn cut_watch_can_be_resumed() {
    let sandbox = without_operator().await;
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
async fn silent_watch_stays_open_without_events() {
    let sandbox = without_operator().await;
    let from = version(&sandbox).await;
    sandbox.silence_watches(true);
    let mut events = watch(
        &sandbox,
        &format!("{ALL}?watch=true&resourceVersion={from}"),
    )
    .await;
    sandbox.apply(external_secret("db")).unwrap();
    // Another request was served in the meantime, so an event would have arrived by now.
    get(&sandbox, ALL).await;
    assert!(events.next().now_or_never().is_none());
    sandbox.silence_watches(false);
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db"));
}

#[tokio::test]
async fn events_can_be_watched_by_involved_object() {
    let sandbox = without_operator().await;
    let path = "/api/v1/namespaces/team-a/events";
    let query = "watch=true&fieldSelector=involvedObject.kind%3DExternalSecret";
    let mut events = watch(&sandbox, &format!("{path}?{query}")).await;
    for (about, kind) in [("other", "SecretStore"), ("db", "ExternalSecret")] {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "team-a", "name": format!("{about}.1")},
            "involvedObject": {"kind": kind, "namespace": "team-a", "name": about},
            "reason": "UpdateFailed", "type": "Warning",
        });
        sandbox.apply(event).unwrap();
    }
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "db.1"));
}
