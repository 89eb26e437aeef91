//! Runs Google's own Python client against the double, to prove that the double behaves like Google.

use serde_json::{Value as Json, json};
use tokio::process::Command;

use super::google::{Google, Secret, crc32c};
use crate::{cluster::skipped, providers::double::Double, support::optional_variable};

#[tokio::test]
#[ignore = "needs the clouds' clients (tests/cluster/run)"]
async fn google_client_accepts_the_double() {
    let Some(python) = optional_variable("ESO_SYNC_TEST_PYTHON") else {
        return skipped("Python with Google's client");
    };
    let secrets = [
        (
            "db",
            Secret::of(b"before")
                .then("ENABLED", b"after", "2026-01-02T00:00:00Z")
                .labelled("tier", "1")
                .annotated("owner", "team"),
        ),
        (
            "off",
            Secret::default().then("DISABLED", b"off", "2026-01-01T00:00:00Z"),
        ),
        ("third", Secret::of(b"third").labelled("tier", "2")),
        ("@db", Secret::of(b"regional")),
    ];
    let google = Google::of(secrets);
    let double = Double::start(move |asked| google.answer(asked)).await;
    let ran = Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/providers/gcp/client.py"
        ))
        .arg(double.url.trim_start_matches("http://"))
        .env_clear()
        .output()
        .await
        .expect("Python");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let read: Json = serde_json::from_slice(&ran.stdout).expect("JSON");
    let value = |text: &str| json!([text, crc32c(text.as_bytes())]);
    let name = |id: &str| format!("projects/314159265358/secrets/{id}");
    let expected = json!({
        "latest": value("after"),
        "first": value("before"),
        "regional": value("regional"),
        "disabled": ["BadRequest", 400],
        "none": ["NotFound", 404],
        "other": ["Forbidden", 403],
        "labels": {"tier": "1"},
        "annotations": {"owner": "team"},
        "versions": ["2", "1"],
        "all": [name("db"), name("off"), name("third")],
        "labelled": [name("db")],
        "written": written(&name("new")),
    });
    assert_eq!(read, expected);
}

/// What the client says about the write side.
fn written(name: &str) -> Json {
    json!({
        "created": name,
        "twice": ["Conflict", 409],
        "without replication": ["BadRequest", 400],
        "wrong checksum": ["BadRequest", 400],
        "numbers": ["1", "2"],
        "annotations": {"owner": "other"},
        "old etag": ["BadRequest", 400],
        "old etag of a deletion": ["BadRequest", 400],
        "states": ["DISABLED", "DESTROYED"],
        "old etag of a version": ["BadRequest", 400],
        "deleted": ["NotFound", 404],
    })
}
