use serde_json::{Value, json};

use super::{object::Object, *};

fn workload(kind: Kind, object: Value) -> Workload {
    serde_json::from_value::<Object>(object)
        .unwrap()
        .workload(kind)
}

fn of_template(spec: &Value) -> Workload {
    workload(
        Kind::Deployment,
        json!({"spec": {"template": {"spec": spec}}}),
    )
}

#[test]
fn every_form_of_reference_is_found() {
    let found = of_template(&json!({
        "containers": [{
            "name": "a",
            "env": [
                {"name": "A", "value": "plain"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}},
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "no-secret", "key": "k"}}},
            ],
            "envFrom": [{"secretRef": {"name": "env-from"}}, {"configMapRef": {"name": "no-secret"}}],
        }],
        "initContainers": [{"name": "i", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "init", "key": "k"}}}]}],
        "volumes": [
            {"name": "a", "secret": {"secretName": "volume"}},
            {"name": "b", "secret": {"secretName": "items", "items": [{"key": "one", "path": "x"}]}},
            {"name": "c", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "no-secret"}}]}},
            {"name": "d", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "csi"}}},
            {"name": "e", "azureFile": {"secretName": "azure", "shareName": "s"}},
            {"name": "f", "cephfs": {"monitors": [], "secretRef": {"name": "ceph"}}},
            {"name": "g", "emptyDir": {}},
        ],
        "imagePullSecrets": [{"name": "pull"}],
    }));
    let names: Vec<&str> = found.uses.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "azure",
            "ceph",
            "csi",
            "env",
            "env-from",
            "init",
            "items",
            "projected",
            "volume"
        ]
    );
    let some = |key: &str| Keys::Some(BTreeSet::from([key.to_owned()]));
    assert_eq!(found.uses["env"], some("k"));
    assert_eq!(found.uses["items"], some("one"));
    assert_eq!(found.uses["volume"], Keys::All);
}

#[test]
fn secrets_that_only_pull_images_are_no_references() {
    let pulls = of_template(&json!({
        "containers": [{"envFrom": [{"secretRef": {"name": "both"}}]}],
        "imagePullSecrets": [{"name": "pull"}, {"name": "both"}],
    }));
    assert_eq!(pulls.uses.keys().collect::<Vec<_>>(), ["both"]);
}

#[test]
fn references_that_pods_can_start_without_are_optional() {
    let key = |key: &str, optional: bool| json!({"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": key, "optional": optional}}}]});
    let whole =
        |optional: bool| json!({"envFrom": [{"secretRef": {"name": "s", "optional": optional}}]});
    let some = |keys: &[&str]| {
        Some(Keys::Some(
            keys.iter().map(|key| (*key).to_owned()).collect(),
        ))
    };
    for (containers, optional) in [
        (vec![key("a", true)], some(&["a"])),
        (vec![key("a", false)], None),
        (vec![key("a", true), key("b", false)], some(&["a"])),
        (vec![key("a", true), key("a", false)], some(&[])),
        (vec![whole(true)], Some(Keys::All)),
        (vec![whole(true), key("a", true)], Some(Keys::All)),
        (vec![whole(true), key("a", false)], None),
        (vec![whole(false), key("a", true)], None),
    ] {
        let found = of_template(&json!({"containers": containers}));
        assert_eq!(found.optional.get("s"), optional.as_ref(), "{containers:?}");
    }
    for (volume, optional) in [
        (
            json!({"secret": {"secretName": "s", "optional": true}}),
            true,
        ),
        (json!({"secret": {"secretName": "s"}}), false),
        (
            json!({"projected": {"sources": [{"secret": {"name": "s", "optional": true}}]}}),
            true,
        ),
        (json!({"azureFile": {"secretName": "s"}}), false),
    ] {
        let found = of_template(&json!({"volumes": [volume]}));
        assert_eq!(found.optional.contains_key("s"), optional, "{volume}");
    }
}

#[test]
fn keys_add_up_over_containers() {
    let env = |key: &str| json!({"name": key, "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": key}}}]});
    let both = of_template(&json!({"containers": [env("a"), env("b")]}));
    assert_eq!(
        both.uses["s"],
        Keys::Some(BTreeSet::from(["a".to_owned(), "b".to_owned()]))
    );
    let whole = json!({"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]});
    for containers in [json!([env("a"), whole]), json!([whole, env("a")])] {
        let all = of_template(&json!({"containers": containers}));
        assert_eq!(all.uses["s"], Keys::All);
    }
}

fn reloader(annotations: &Value) -> Reloader {
    workload(
        Kind::Deployment,
        json!({"metadata": {"annotations": annotations}}),
    )
    .reloader
}

const UNMARKED: Marks = Marks {
    matched: false,
    ignored: false,
};

const MATCHED: Marks = Marks {
    matched: true,
    ..UNMARKED
};

#[test]
fn secrets_that_reloader_watches_are_recognized() {
    let auto = reloader(&json!({"reloader.stakater.com/auto": "true"}));
    assert!(auto.covers("any", UNMARKED));
    let of_secrets = reloader(&json!({"secret.reloader.stakater.com/auto": "true"}));
    assert!(of_secrets.covers("any", UNMARKED));
    let named = reloader(&json!({"secret.reloader.stakater.com/reload": "a,db-.*"}));
    assert!(named.covers("a", UNMARKED) && named.covers("db-1", UNMARKED));
    assert!(!named.covers("b", UNMARKED));
    let hostile = vec!["\\pL{200}x"; 20_000].join(",");
    let many = reloader(&json!({"secret.reloader.stakater.com/reload": format!("{hostile},a")}));
    assert!(many.covers("a", UNMARKED) && !many.covers("b", UNMARKED));
    let search = reloader(&json!({"reloader.stakater.com/search": "true"}));
    assert!(search.covers("a", MATCHED) && !search.covers("a", UNMARKED));
    let off = reloader(&json!({"reloader.stakater.com/auto": "false"}));
    assert!(!off.covers("a", MATCHED));
    let config_maps = reloader(&json!({"configmap.reloader.stakater.com/reload": "a"}));
    assert!(!config_maps.covers("a", MATCHED));
}

#[test]
fn reloader_exclusions_apply_in_every_mode() {
    for (mode, value) in [
        ("reloader.stakater.com/auto", "true"),
        ("secret.reloader.stakater.com/auto", "true"),
        ("secret.reloader.stakater.com/reload", "a,b,ab"),
        ("reloader.stakater.com/search", "true"),
    ] {
        let except =
            reloader(&json!({mode: value, "secrets.exclude.reloader.stakater.com/reload": "a, b"}));
        assert!(!except.covers("b", MATCHED), "{mode}");
        assert!(
            except.covers("ab", MATCHED),
            "{mode}: only exact names are excluded"
        );
    }
}

#[test]
fn the_reloader_ignore_annotation_only_counts_on_secrets() {
    let ignored = Marks {
        ignored: true,
        matched: true,
    };
    let auto = json!({"reloader.stakater.com/auto": "true"});
    assert!(!reloader(&auto).covers("a", ignored));
    let both =
        json!({"reloader.stakater.com/auto": "true", "reloader.stakater.com/ignore": "true"});
    assert!(reloader(&both).covers("a", UNMARKED));
}

#[test]
fn reloader_annotations_of_the_template_are_a_fallback() {
    let of = |own: Value, template: Value| {
        let object = json!({
            "metadata": {"annotations": own},
            "spec": {"template": {"metadata": {"annotations": template}}},
        });
        workload(Kind::Deployment, object).reloader
    };
    let auto = json!({"reloader.stakater.com/auto": "true"});
    assert!(of(json!({}), auto.clone()).covers("a", UNMARKED));
    let named = json!({"secret.reloader.stakater.com/reload": "b"});
    assert!(!of(named, auto.clone()).covers("a", UNMARKED));
    let except = json!({"secrets.exclude.reloader.stakater.com/reload": "a"});
    assert!(!of(except, auto).covers("a", UNMARKED));
}

/// The health of a workload of generation 2 with three pods.
fn health(kind: Kind, spec: Value, status: Value) -> Health {
    let mut object = json!({
        "metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {"observedGeneration": 2},
    });
    for (part, more) in [("spec", spec), ("status", status)] {
        for (key, value) in more.as_object().unwrap() {
            object[part][key] = value.clone();
        }
    }
    workload(kind, object).health
}

fn is_rolling(health: &Health) -> bool {
    matches!(health, Health::Rolling(_))
}

#[test]
fn a_deployment_is_healthy_once_all_pods_are_new_and_available() {
    let of = |status| health(Kind::Deployment, json!({}), status);
    let done = json!({"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
    assert_eq!(of(done.clone()), Health::Healthy);
    let mut unseen = done.clone();
    unseen["observedGeneration"] = json!(1);
    assert_eq!(of(unseen), Health::Unobserved);
    assert!(is_rolling(&of(
        json!({"replicas": 4, "updatedReplicas": 3, "availableReplicas": 4})
    )));
    assert!(is_rolling(&of(
        json!({"replicas": 3, "updatedReplicas": 1, "availableReplicas": 3})
    )));
    let lacking = of(json!({"replicas": 3, "updatedReplicas": 3, "availableReplicas": 2}));
    assert!(matches!(lacking, Health::Unavailable(_)));
    let mut exceeded = done;
    exceeded["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m"}]);
    assert_eq!(of(exceeded), Health::Failing("m".to_owned()));
}

#[test]
fn a_partition_excludes_pods_from_health() {
    let spec =
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    let of = |updated: i64| {
        let status = json!({
            "replicas": 3, "updatedReplicas": updated, "availableReplicas": 3, "currentRevision": "a", "updateRevision": "b",
        });
        health(Kind::StatefulSet, spec.clone(), status)
    };
    assert!(is_rolling(&of(0)));
    assert_eq!(
        of(1),
        Health::Healthy,
        "the partition excludes two of three pods"
    );
    let all = workload(
        Kind::StatefulSet,
        json!({"spec": {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 3}}}}),
    );
    assert!(all.holds.partitioned);
}

#[test]
fn a_daemon_set_counts_nodes() {
    let of = |updated: i64, available: i64| {
        let status = json!({"desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available});
        health(Kind::DaemonSet, json!({}), status)
    };
    assert_eq!(of(2, 2), Health::Healthy);
    assert!(is_rolling(&of(1, 2)));
    assert!(matches!(of(2, 1), Health::Unavailable(_)));
}

#[test]
fn a_daemon_set_within_its_max_unavailable_can_roll() {
    let of = |max_unavailable: Value, updated: i64, available: i64| {
        let object = json!({
            "metadata": {"generation": 2},
            "spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": max_unavailable}}},
            "status": {"observedGeneration": 2, "desiredNumberScheduled": 15,
                "updatedNumberScheduled": updated, "numberAvailable": available},
        });
        workload(Kind::DaemonSet, object)
    };
    for (allowed, available, can_roll) in [
        (Value::Null, 14, true),
        (Value::Null, 13, false),
        (json!(3), 12, true),
        (json!("10%"), 13, true),
        (json!("10%"), 12, false),
        (json!(0), 14, false),
        (json!("x%"), 14, false),
    ] {
        let set = of(allowed.clone(), 15, available);
        assert_eq!(set.can_roll(0), can_roll, "{allowed} {available}");
        let spared = if can_roll { 15 - available } else { 0 };
        assert_eq!(set.spared(), spared);
    }
    // A pod on a node that is down stays, and the rollout of the others does not end.
    let rolling = of(Value::Null, 14, 14);
    assert!(rolling.can_roll(1) && !rolling.can_roll(0));
    let deployment = json!({"status": {"availableReplicas": 0}});
    assert!(!workload(Kind::Deployment, deployment).can_roll(0));
}

#[test]
fn workloads_of_wave_are_recognized() {
    let of = |kind: Kind, annotations: Value| {
        let template =
            json!({"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "used"}}]}]}});
        let metadata = json!({"namespace": "shop", "annotations": annotations});
        let object = workload(
            kind,
            json!({"metadata": metadata, "spec": {"template": template}}),
        );
        ["used", "more", "far", "other"].map(|name| object.is_left_to_other(name, UNMARKED))
    };
    let wave = json!({"wave.pusher.com/update-on-config-change": "true"});
    for kind in [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet] {
        assert_eq!(of(kind, wave.clone()), [true, false, false, false]);
    }
    assert_eq!(of(Kind::Rollout, wave), [false; 4], "wave does not know it");
    let off = json!({"wave.pusher.com/update-on-config-change": "false"});
    assert_eq!(of(Kind::Deployment, off), [false; 4]);
    let more = json!({
        "wave.pusher.com/update-on-config-change": "true",
        "wave.pusher.com/extra-secrets": "shop/more, bank/far",
    });
    assert_eq!(of(Kind::Deployment, more), [true, true, false, false]);
}

#[test]
fn a_rollout_is_healthy_when_its_restart_is_done() {
    let of = |spec: Value, mut status: Value| {
        status["observedGeneration"] = json!("2");
        status["availableReplicas"] = json!(3);
        health(Kind::Rollout, spec, status)
    };
    let at = json!({"restartAt": "2026-03-01T12:00:00Z"});
    assert!(is_rolling(&of(at.clone(), json!({"phase": "Healthy"}))));
    let done = json!({"phase": "Healthy", "restartedAt": "2026-03-01T12:00:00Z"});
    assert_eq!(of(at, done), Health::Healthy);
    let degraded = of(json!({}), json!({"phase": "Degraded", "message": "m"}));
    assert_eq!(degraded, Health::Failing("m".to_owned()));
    let paused = workload(Kind::Rollout, json!({"status": {"phase": "Paused"}}));
    assert!(paused.holds.paused);
}

#[test]
fn pods_are_matched_by_selector_and_owner() {
    let pod = |owner: Value, labels: Value| {
        let object = json!({
            "metadata": {"namespace": "shop", "name": "p", "uid": "u", "creationTimestamp": "2026-03-01T12:00:00Z",
                "labels": labels, "ownerReferences": [owner]},
            "status": {"phase": "Running"},
        });
        serde_json::from_value::<object::PodObject>(object)
            .unwrap()
            .pod()
            .unwrap()
    };
    let deployment = workload(
        Kind::Deployment,
        json!({
            "metadata": {"namespace": "shop", "name": "api", "uid": "d"},
            "spec": {"selector": {"matchLabels": {"app": "api"}}},
        }),
    );
    let replica_set =
        |name: &str| json!({"kind": "ReplicaSet", "name": name, "uid": "r", "controller": true});
    let labels = json!({"app": "api", "pod-template-hash": "1"});
    assert!(deployment.owns(&pod(replica_set("api-1"), labels.clone())));
    assert!(!deployment.owns(&pod(replica_set("api1-1"), labels.clone())));
    assert!(!deployment.owns(&pod(replica_set("api-1"), json!({"app": "web"}))));
    let job = json!({"kind": "Job", "name": "api-1", "uid": "j", "controller": true});
    assert!(!deployment.owns(&pod(job, labels)));
}

#[test]
fn ended_pods_do_not_count_and_deleted_ones_are_ending() {
    let pod = |status: &str, deleted: Value| {
        let object = json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-03-01T12:00:00Z", "deletionTimestamp": deleted},
            "status": {"phase": status},
        });
        serde_json::from_value::<object::PodObject>(object)
            .unwrap()
            .pod()
    };
    assert!(pod("Running", Value::Null).is_some() && pod("Pending", Value::Null).is_some());
    assert!(pod("Succeeded", Value::Null).is_none() && pod("Failed", Value::Null).is_none());
    let ending = |deleted: Value| pod("Running", deleted).unwrap().ending;
    assert!(ending(json!("2026-03-01T12:00:00Z")) && !ending(Value::Null));
}

#[test]
fn rules_cover_pods_that_only_their_controller_replaces() {
    let controlled = |kind: &str, api: &str| json!([{"apiVersion": api, "kind": kind, "name": "o", "uid": "o", "controller": true}]);
    let pod = |owners: Value, restart_policy: &str, phase: &str| {
        let pod = json!({
            "metadata": {"namespace": "shop", "name": "p", "uid": "p", "ownerReferences": owners},
            "spec": {"restartPolicy": restart_policy}, "status": {"phase": phase},
        });
        workload(Kind::Pod, pod).addressed
    };
    for (kind, api) in [
        ("StrimziPodSet", "core.strimzi.io/v1beta2"),
        ("StatefulSet", "apps.kruise.io/v1beta1"),
        ("ReplicationController", "v1"),
        ("Cluster", "postgresql.cnpg.io/v1"),
    ] {
        assert!(pod(controlled(kind, api), "Always", "Running"), "{kind}");
        assert!(
            !pod(controlled(kind, api), "OnFailure", "Running"),
            "{kind}: it runs to completion"
        );
        assert!(
            !pod(controlled(kind, api), "Always", "Failed"),
            "{kind}: it has ended"
        );
    }
    for (kind, api) in [
        ("ReplicaSet", "apps/v1"),
        ("StatefulSet", "apps/v1"),
        ("DaemonSet", "apps/v1"),
        ("Node", "v1"),
        ("Job", "batch/v1"),
        ("Job", "batch.volcano.sh/v1alpha1"),
        ("SparkJob", "example.org/v1"),
    ] {
        assert!(
            !pod(controlled(kind, api), "Always", "Running"),
            "{kind} {api}"
        );
    }
    assert!(
        !pod(json!([]), "Always", "Running"),
        "no controller replaces it"
    );
    let set = |owners: Value| {
        let set = json!({"metadata": {"namespace": "shop", "name": "s", "uid": "s", "ownerReferences": owners}});
        workload(Kind::ReplicaSet, set).addressed
    };
    assert!(set(json!([])) && !set(controlled("Deployment", "apps/v1")));
}

#[test]
fn a_pod_uses_the_secrets_of_its_spec() {
    let pod = json!({
        "metadata": {"namespace": "shop", "name": "p", "uid": "p"},
        "spec": {
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]}],
            "volumes": [{"name": "v", "secret": {"secretName": "tls"}}],
            "imagePullSecrets": [{"name": "registry"}],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let pod = workload(Kind::Pod, pod);
    assert_eq!(pod.uses.keys().collect::<Vec<_>>(), ["db", "tls"]);
    assert_eq!(
        pod.uses["db"],
        Keys::Some(BTreeSet::from(["password".to_owned()]))
    );
    assert_eq!(pod.health, Health::Healthy);
}

#[test]
fn an_unready_pod_makes_its_siblings_unhealthy() {
    let owner = Owner {
        api_version: "core.strimzi.io/v1beta2".to_owned(),
        kind: "StrimziPodSet".to_owned(),
        name: "kafka".to_owned(),
        uid: "o".to_owned(),
    };
    assert_eq!(health::lacking(&owner, [true, true].into_iter()), None);
    assert_eq!(
        health::lacking(&owner, [true, false, true].into_iter()),
        Some("2 of 3 pods of StrimziPodSet kafka are ready".to_owned())
    );
}

#[test]
fn only_a_partition_that_covers_all_old_pods_keeps_them() {
    let set = |start: i64, partition: i64| {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
        let spec = json!({"replicas": 3, "updateStrategy": rolling, "ordinals": {"start": start}});
        workload(Kind::StatefulSet, json!({"spec": spec}))
    };
    let pods = |names: &[&str]| -> Vec<Pod> {
        let object = |name: &&str| json!({"metadata": {"name": name, "creationTimestamp": "2026-03-01T12:00:00Z"}});
        names
            .iter()
            .filter_map(|name| {
                serde_json::from_value::<object::PodObject>(object(name))
                    .unwrap()
                    .pod()
            })
            .collect()
    };
    let keeps = |set: &Workload, names: &[&str]| {
        let pods = pods(names);
        set.keeps(&pods.iter().collect::<Vec<_>>()).is_some()
    };
    assert!(keeps(&set(0, 2), &["web-0", "web-1"]));
    assert!(!keeps(&set(0, 2), &["web-1", "web-2"]));
    assert!(!keeps(&set(0, 0), &["web-0"]));
    assert!(keeps(&set(5, 1), &["web-5"]) && !keeps(&set(5, 1), &["web-6"]));
    assert!(!keeps(&set(0, 2), &[]));
}

#[test]
fn the_restart_of_the_spec_and_the_owner_are_read() {
    let annotations = json!({RESTARTED_AT: "2026-03-01T12:00:00.5Z"});
    let deployment = json!({
        "metadata": {
            "ownerReferences": [{"kind": "Csv", "name": "a"}, {"kind": "App", "name": "b", "controller": true}],
            "managedFields": [{"manager": "olm", "fieldsV1": {"f:spec": {"f:template": {}}}}],
        },
        "spec": {"template": {"metadata": {"annotations": annotations}}},
    });
    let deployment = workload(Kind::Deployment, deployment);
    assert_eq!(
        deployment.restarted.as_deref(),
        Some("2026-03-01T12:00:00.5Z")
    );
    assert_eq!(deployment.owner.unwrap().to_string(), "App b");
    assert!(deployment.managers[0].template && !deployment.managers[0].annotations);
    let only = json!({"metadata": {"ownerReferences": [{"kind": "Csv", "name": "a"}]}});
    let only = workload(Kind::Deployment, only);
    assert_eq!(only.owner.unwrap().to_string(), "Csv a");
    assert!(only.controller.is_none() && only.restarted.is_none());
    let rollout = json!({"spec": {"restartAt": "2026-03-01T12:00:00Z"}});
    let rollout = workload(Kind::Rollout, rollout);
    assert_eq!(rollout.restarted.as_deref(), Some("2026-03-01T12:00:00Z"));
}
