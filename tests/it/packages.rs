//! What is shipped for clusters: the chart and the components. Their rights are those that `rbac` prints for their policies.

use std::{fs, path::Path};

use serde_json::Value as Json;

use crate::support::Workspace;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).expect(path)
}

/// The rights as values of the chart, for a policy with the ceilings among these arguments.
async fn values(policy: &str, arguments: &Json, command: &str) -> Json {
    let workspace = Workspace::new(Vec::new());
    workspace.file("config.yaml", policy);
    let arguments = arguments.as_array().expect("arguments").iter();
    let arguments = arguments.filter_map(Json::as_str);
    let ceilings =
        arguments.filter(|flag| flag.starts_with("--allow") || flag.starts_with("--max"));
    let mut all = vec![
        "rbac",
        "-o",
        "helm-values",
        "-n",
        "eso-sync",
        "--config",
        "config.yaml",
    ];
    all.extend(ceilings);
    if command == "publish" {
        all.push("--publish");
    }
    let outcome = workspace.run(&all).await;
    serde_saphyr::from_str(&outcome.exits(0).stdout).expect("YAML")
}

#[tokio::test]
async fn chart_ships_the_rights_of_its_policies() {
    let chart: Json = serde_saphyr::from_str(&read("charts/eso-sync/values.yaml")).expect("YAML");
    let jobs = chart["jobs"].as_object().expect("jobs");
    assert_eq!(
        jobs.keys().collect::<Vec<_>>(),
        ["events", "publish", "sync"]
    );
    for (name, job) in jobs {
        let policy = job["policy"].as_str().expect("a policy");
        let command = job["command"].as_str().expect("a command");
        let printed = values(policy, &job["args"], command).await;
        assert_eq!(
            printed["jobs"][name]["rbac"]["rules"], job["rbac"]["rules"],
            "{name}"
        );
    }
}

/// The rules of the first object of this kind in a file.
fn rules(file: &str, kind: &str) -> Json {
    let documents = file.split("\n---\n");
    let mut objects = documents.map(|text| serde_saphyr::from_str::<Json>(text).expect("YAML"));
    let object = objects.find(|object| object["kind"] == kind);
    let rules = &object.expect(kind)["rules"];
    sorted(rules.as_array().expect("rules").clone())
}

fn sorted(mut rules: Vec<Json>) -> Json {
    rules.sort_by_key(Json::to_string);
    Json::Array(rules)
}

/// The rights, and what the flags of the CronJob allow.
#[tokio::test]
async fn component_for_events_fits_its_policy() {
    let of = |name: &str| read(&format!("manifests/components/events/{name}"));
    let cron_job: Json = serde_saphyr::from_str(&of("cronjob.yaml")).expect("YAML");
    let container = &cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    let printed = values(&of("config.yaml"), &container["args"], "events").await;
    let needed = &printed["jobs"]["events"]["rbac"]["rules"];
    let rules_of = |part: &str| sorted(needed[part].as_array().expect(part).clone());
    assert_eq!(rules(&of("rbac.yaml"), "ClusterRole"), rules_of("cluster"));
    assert_eq!(rules(&of("rbac.yaml"), "Role"), rules_of("own"));
    assert_eq!(needed["namespaces"], serde_json::json!([]));
}

/// Rights in other namespaces are apart from those in the namespace of the release.
#[tokio::test]
async fn values_name_other_namespaces() {
    let policy = "select: [{namespaces: [payments]}]\ndrift: {enabled: false}\n";
    let printed = values(policy, &serde_json::json!([]), "run").await;
    let rules = &printed["jobs"]["sync"]["rbac"]["rules"];
    assert_eq!(rules["namespaces"][0]["name"], "payments");
    let own = rules["own"].to_string();
    assert!(
        own.contains("leases") && !own.contains("externalsecrets"),
        "{own}"
    );
}
