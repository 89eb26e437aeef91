//! Runs Azure's own Python clients against the double, to show that it behaves like Azure.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    cluster::skipped,
    providers::azure::{
        Tunnel,
        service::{CLIENT, Service, TENANT},
    },
    support::optional_variable,
};

#[tokio::test]
#[ignore = "needs the clouds' clients (tests/cluster/run)"]
async fn azure_clients_accept_the_double() {
    let Some(python) = optional_variable("ESO_SYNC_TEST_PYTHON") else {
        return skipped("Python with Azure's clients");
    };
    let service = Service::start().await;
    service.change(|vault| {
        vault.page = 2;
        vault.set("db", "before");
        vault.set("db", "after");
        vault.tag("db", "owner", "team");
        for name in ["off", "doomed", "third", "certificate"] {
            vault.set(name, name);
        }
        vault.manage("certificate");
        vault.recovery = 1;
        vault.disable("off");
        vault.delete("doomed");
    });
    let proxy = Tunnel::start("127.0.0.1:0", service.secure.address).await;
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, &service.pem).expect("a file");
    let ran = Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/cluster/azure/client.py"
        ))
        .args([TENANT, CLIENT])
        .env_clear()
        .env("HTTPS_PROXY", format!("http://{}", proxy.address))
        .env("REQUESTS_CA_BUNDLE", &authority)
        .env(
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            format!("http://{}", service.machine.address),
        )
        .output()
        .await
        .expect("Python");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let read: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let expected = json!({
        "value": "after",
        "tags": {"owner": "team"},
        "first": "before",
        "list": [["certificate", true], ["db", true], ["off", false], ["third", true]],
        "off": ["HttpResponseError", 403, "SecretDisabled"],
        "doomed": ["ResourceNotFoundError", 404, "SecretNotFound"],
        "none": ["ResourceNotFoundError", 404, "SecretNotFound"],
        "recovery": "https://kv.vault.azure.net/deletedsecrets/doomed",
        "wrong": "ClientAuthenticationError",
        "assertion": "after",
        "managed": "after",
        "writes": written(),
    });
    assert_eq!(read, expected);
}

/// What Azure's client reads from its writes.
fn written() -> Value {
    let [first, second] = [1, 2].map(|number| format!("{number:032x}"));
    let tags = json!({"team": "x"});
    json!({
        "first": [first, {"eso-sync-owner": "prod/item"}, "text/plain", true],
        // Tags and type belong to the version.
        "second": [second, {}, null, true],
        "tagged": [first, tags, "text/plain"],
        "versions": [[first, tags, true], [second, {}, true]],
        "deleted": [second, true],
        "gone": ["ResourceNotFoundError", 404, "SecretNotFound"],
        "reserved": ["ResourceExistsError", 409, "ObjectIsDeletedButRecoverable"],
        "purge": ["HttpResponseError", 403, "ForbiddenByRbac"],
        "recovered": second,
        "current": "b",
        "too-long": ["HttpResponseError", 400, "BadParameter"],
        "too-many-tags": ["HttpResponseError", 400, "BadParameter"],
        "certificate": [true],
    })
}
