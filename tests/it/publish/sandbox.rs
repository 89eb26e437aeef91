//! The stories of `publish --sandbox`.

use serde_json::json;

use crate::support::{Outcome, Workspace};

async fn sandbox(arguments: &[&str]) -> Outcome {
    let workspace = Workspace::new(Vec::new());
    workspace.run(arguments).await
}

fn matches_its_schema(document: &serde_json::Value) {
    let schema = eso_sync::publish::document::schema();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// The verdict, and the outcome or planned action, of a secret.
fn of(outcome: &Outcome, item: usize, name: &str) -> (String, String) {
    let items = outcome.document()["items"].clone();
    let secrets = items[item]["secrets"].as_array().expect("secrets").clone();
    let found = secrets.iter().find(|secret| secret["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{name}: {items}"));
    let text = |key: &str| found[key].as_str().map(str::to_owned);
    let done = text("outcome").or_else(|| text("action"));
    (
        text("verdict").expect("a verdict"),
        done.expect("an outcome or action"),
    )
}

#[tokio::test]
async fn default_content_is_decrypted_and_published() {
    let outcome = sandbox(&["publish", "--sandbox", "-o", "json"]).await;
    outcome.exits(0);
    for (name, verdict, done) in [
        ("catalog-images.key", "absent", "published"),
        ("catalog-search.token", "changed", "published"),
        ("checkout-DATABASE_PASSWORD", "changed", "published"),
        ("checkout-PAYMENT_TOKEN", "in-sync", "in-sync"),
    ] {
        let expected = (verdict.to_owned(), done.to_owned());
        assert_eq!(of(&outcome, 0, name), expected, "{name}");
    }
}

/// The chain from Git to the pods is one report.
#[tokio::test]
async fn readers_of_what_is_published_are_synced_and_their_pods_restarted() {
    let outcome = sandbox(&["publish", "--sandbox", "-o", "json"]).await;
    let document = outcome.exits(0).document();
    matches_its_schema(&document);
    let run = &document["sync"];
    let of = |list: &str, field: &str| -> Vec<String> {
        let rows = run[list].as_array().expect("rows").iter();
        rows.map(|row| {
            format!(
                "{}: {}",
                row["name"].as_str().unwrap_or("?"),
                row[field].as_str().unwrap_or("?")
            )
        })
        .collect()
    };
    assert_eq!(
        of("items", "outcome"),
        ["catalog: synced", "checkout: synced"]
    );
    assert_eq!(
        of("restarts", "outcome"),
        ["catalog: restarted", "checkout: restarted"]
    );
    let chain = run["chain"].as_array().expect("a chain");
    assert!(
        chain.len() == 10 && chain.iter().all(|link| link["proven"] == true),
        "{chain:?}"
    );
    let text = sandbox(&["publish", "--sandbox"]).await.stdout;
    assert!(text.contains("The ExternalSecrets that read it:"), "{text}");
}

#[tokio::test]
async fn dry_run_shows_what_would_follow() {
    let outcome = sandbox(&["publish", "--sandbox", "--dry-run", "-o", "json"]).await;
    let document = outcome.exits(0).document();
    matches_its_schema(&document);
    let items = document["sync"]["items"].as_array().expect("items");
    let planned = items.iter().map(|item| (&item["action"], &item["reason"]));
    let expected = (&json!("sync"), &json!("published"));
    assert_eq!(planned.collect::<Vec<_>>(), [expected, expected]);
}

/// The flags that the publication needs, and those of the run that follows.
#[tokio::test]
async fn run_follows_only_if_its_ceilings_permit_it() {
    let closed = [
        "publish",
        "--sandbox",
        "--allow-source=*",
        "--allow-target=*",
        "-o",
        "json",
    ];
    for (allowed, missing) in [
        ("--allow=publish,drift,namespaced-stores", "--allow sync"),
        (
            "--allow=publish,drift,namespaced-stores,sync",
            "--allow restart",
        ),
    ] {
        let outcome = sandbox(&[&closed[..], &[allowed]].concat()).await;
        let told = &outcome.exits(2).stderr;
        assert!(told.contains(missing), "{told}");
    }
    let all = "--allow=publish,drift,namespaced-stores,sync,restart";
    sandbox(&[&closed[..], &[all]].concat()).await.exits(0);
}

#[tokio::test]
async fn bad_day_holds_back_what_would_lose_or_mix_up_values() {
    let outcome = sandbox(&["publish", "--sandbox=bad-day", "-o", "json"]).await;
    outcome.exits(5);
    for (item, name, verdict) in [
        (0, "checkout-DATABASE_PASSWORD", "foreign-change"),
        (0, "checkout-PAYMENT_TOKEN", "would-revert"),
        (1, "payments-TOKEN", "absent"),
        (2, "payments-TOKEN", "absent"),
    ] {
        let expected = (verdict.to_owned(), "left".to_owned());
        assert_eq!(of(&outcome, item, name), expected, "{name}");
    }
    let document = outcome.document();
    let reasons: Vec<_> = (0..3)
        .map(|item| document["items"][item]["faults"][0]["reason"].clone())
        .collect();
    let expected = ["mac-missing", "collision", "collision"].map(|reason| json!(reason));
    assert_eq!(reasons, expected);
    matches_its_schema(&document);
    let text = sandbox(&["publish", "--sandbox=bad-day"]).await.stdout;
    for advice in [
        "foreign-change (checkout-DATABASE_PASSWORD): somebody else changed the value",
        "would-revert (checkout-PAYMENT_TOKEN): the value is one that was published before",
    ] {
        assert!(text.contains(advice), "{text}");
    }
}

#[tokio::test]
async fn allowed_revert_of_the_bad_day_is_written() {
    let allowed = "--allow=publish,drift,sync,restart,namespaced-stores,revert";
    let (source, target) = ("--allow-source=*", "--allow-target=*");
    let command = [
        "publish",
        "--sandbox=bad-day",
        "--dry-run",
        "-o",
        "json",
        allowed,
        source,
        target,
    ];
    let outcome = sandbox(&command).await;
    let (verdict, action) = of(&outcome, 0, "checkout-PAYMENT_TOKEN");
    assert_eq!((&*verdict, &*action), ("would-revert", "update"));
}
