//! `layout: document`: the values of an item are the keys of one secret of Vault (OpenBao).

use serde_json::{Value as Json, json};

use super::{
    publish,
    targets::{Route, Target, Vault},
};
use crate::{
    providers::{proxy::Fault, publish::vault},
    support::Workspace,
};

/// A workspace whose item publishes `app.env` as one document.
async fn workspace(target: &Vault, owner: &str) -> (Workspace, Route) {
    let route = target.proxy(Box::new(|_| Fault::None)).await;
    let workspace = target.workspace(&route, owner);
    let path = workspace.path().join("policy.yaml");
    let policy = std::fs::read_to_string(path).expect("it was written");
    let layout = format!("names: {{prefix: {owner}}}\n      layout: document\n");
    let names = format!("names: {{prefix: {owner}}}\n");
    workspace.file("policy.yaml", &policy.replace(&names, &layout));
    (workspace, route)
}

/// The outcomes of all secrets.
async fn published(workspace: &Workspace) -> Json {
    let outcome = publish(workspace, &["--yes", "-o", "json"]).await;
    outcome.exits(0).document()["summary"]["outcomes"].clone()
}

#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn values_in_vault_are_keys_of_one_secret() {
    let owner = format!("document-{:08x}", fastrand::u32(..));
    let target = Vault::start(&owner).await;
    let (workspace, _route) = workspace(&target, &owner).await;
    let path = target.data(&owner);
    workspace.file("app.env", "A=one\nB=two\n");
    assert_eq!(published(&workspace).await, json!({"published": 1}));
    assert_eq!(published(&workspace).await, json!({"in-sync": 1}));
    let held = vault::send("GET", &path, json!({})).await;
    assert_eq!(held["data"]["data"], json!({"A": "one", "B": "two"}));

    // Two changes are one version. A key that the repository no longer has stays.
    workspace.file("app.env", "A=other\nC=new\n");
    assert_eq!(published(&workspace).await, json!({"published": 1}));
    let held = vault::send("GET", &path, json!({})).await;
    assert_eq!(
        held["data"]["data"],
        json!({"A": "other", "B": "two", "C": "new"})
    );
    assert_eq!(held["data"]["metadata"]["version"], 2);
}

#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn keys_of_others_in_a_published_document_in_vault_stay() {
    let owner = format!("document-{:08x}", fastrand::u32(..));
    let target = Vault::start(&owner).await;
    let (workspace, _route) = workspace(&target, &owner).await;
    let path = target.data(&owner);
    vault::send("POST", &path, json!({"data": {"theirs": "x"}})).await;
    workspace.file("app.env", "A=one\n");
    // It has no owner.
    let refused = publish(&workspace, &["--yes", "-o", "json"]).await;
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    let text = std::fs::read_to_string(workspace.path().join("policy.yaml")).expect("a policy");
    let text = text.replace(
        "layout: document",
        "layout: document\n      write: {adopt: any}",
    );
    workspace.file("policy.yaml", &text);
    assert_eq!(published(&workspace).await, json!({"published": 1}));
    let held = vault::send("GET", &path, json!({})).await;
    assert_eq!(held["data"]["data"], json!({"theirs": "x", "A": "one"}));
}
