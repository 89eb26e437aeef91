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
