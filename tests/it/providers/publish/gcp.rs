//! Google Secret Manager, against the double that Google's own client accepts.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
};

use eso_model::StoreKey;
use futures::{FutureExt as _, future::BoxFuture};
use pace::Clock;
use providers::{
    Identity, StoreSettings, Unread, connect_writer,
    holder::{Change, Creation, MARK, OWNER, WriteFailure, Writer},
};
use publish::{
    Owner, Presence, Refusal, Wanted,
    plan::{Adopt, PruneMode},
};
use serde_json::{Value as Json, json};

use super::{Place, Publisher, keeps, unique};
use crate::{
    providers::{
        double::{Double, Reply, logged},
        gcp::{
            google::{Google, Secret, error},
            job,
        },
        proxy::{Asked, Fault, Proxy, page},
    },
    support::now,
};

/// A secret value that must not appear anywhere.
const PLANTED: &str = "hunter2-planted";

const IN_SYNC: &str = "db: in-sync leave in-sync";

/// The doubles of this process, by address. They end with the test that started them.
static DOUBLES: LazyLock<Mutex<Doubles>> = LazyLock::new(Mutex::default);

type Doubles = BTreeMap<String, (Arc<Google>, Double)>;

fn doubles() -> MutexGuard<'static, Doubles> {
    DOUBLES.lock().expect("no panic")
}

async fn place(test: &str) -> Place {
    at_location(test, "").await
}

/// A place in a location, or in none.
async fn at_location(test: &str, location: &str) -> Place {
    let google = Arc::new(Google::default());
    let answering = Arc::clone(&google);
    let double = Double::start(move |asked| answering.answer(asked)).await;
    let url = double.url.clone();
    doubles().insert(url.clone(), (google, double));
    let key = StoreKey::Cluster {
        name: "gcp".to_owned(),
    };
    let settings = json!({"projectID": "project", "location": location});
    Place {
        settings: StoreSettings::new(key, "gcpsm", settings),
        url,
        unique: format!("{}-", unique(test)),
        connect,
        by_hand,
        // Each value is compared.
        calls: 1.005,
        document: false,
    }
}

fn connect<'a>(
    settings: &'a StoreSettings,
    url: &'a str,
    owner: &'a str,
) -> BoxFuture<'a, Result<Box<dyn Writer>, Unread>> {
    async move {
        let job = job(url);
        let clock = Clock::starting_at(now());
        connect_writer(settings, Identity::Ambient(&job.ambient), owner, clock).await
    }
    .boxed()
}

fn by_hand<'a>(place: &'a Place, name: &'a str, value: &'a str) -> BoxFuture<'a, ()> {
    async move {
        edited(place, name, |secret| {
            *secret = secret
                .clone()
                .then("ENABLED", value.as_bytes(), "2026-01-01T00:00:00Z");
        });
    }
    .boxed()
}

/// Changes a secret by hand. Creates it if it does not exist.
fn edited<T>(place: &Place, name: &str, edit: impl FnOnce(&mut Secret) -> T) -> T {
    let google = Arc::clone(&doubles()[&place.url].0);
    let mut secrets = google.secrets();
    edit(secrets.entry(place.name(name)).or_default())
}

/// The states of the versions.
fn states(place: &Place, name: &str) -> Vec<&'static str> {
    edited(place, name, |secret| {
        secret
            .versions
            .iter()
            .map(|version| version.state)
            .collect()
    })
}

/// The calls of a place since the last question, without their paths' starts.
fn calls(place: &Place) -> Vec<String> {
    let asked = doubles()[&place.url].1.asked();
    let short = |path: &str| {
        let path = path.split('?').next().unwrap_or_default();
        path.trim_start_matches("/v1/projects/project/")
            .replace(&place.unique, "")
    };
    asked
        .iter()
        .map(|asked| format!("{} {}", asked.method, short(&asked.path)))
        .collect()
}

/// Calls whose answers get a fault: those of this method, if the path ends so.
fn at_call(
    method: &'static str,
    end: &'static str,
    fault: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
) -> Box<crate::providers::proxy::Script> {
    Box::new(move |asked| {
        if asked.operation.starts_with(method) && asked.operation.ends_with(end) {
            fault(asked)
        } else {
            Fault::None
        }
    })
}

keeps!(place:
    every_call_may_fail,
    foreign_change_is_kept_or_overwritten,
    lost_mark_key_makes_no_version,
    repeated_run_makes_no_version,
    secret_of_another_publisher_is_left_alone,
    secret_that_appears_after_the_plan_is_not_overwritten,
    secret_without_owner_is_adopted_without_a_version,
    two_publishers_do_not_overwrite_each_other,
    value_is_created_and_read_back,
    value_that_returns_is_current_again,
);

/// One list, and one exact read for each key.
#[tokio::test]
async fn unchanged_key_costs_one_call() {
    let place = place("unchanged").await;
    let values = [("a", "1"), ("b", "2"), ("c", "3")];
    place.publisher().await.run(&values).await;
    let before = calls(&place).len();
    let run = place.publisher().await.run(&values).await;
    assert!(
        run.lines
            .iter()
            .all(|line| line.ends_with(": in-sync leave in-sync")),
        "{:?}",
        run.lines
    );
    let mut made = calls(&place).split_off(before);
    made.sort();
    assert_eq!(
        made,
        [
            "GET secrets",
            "GET secrets/a/versions/latest:access",
            "GET secrets/b/versions/latest:access",
            "GET secrets/c/versions/latest:access",
        ]
    );
    assert_eq!(run.calls, 4);
}

/// A new secret has its owner before it has a value.
#[tokio::test]
async fn publication_that_was_killed_between_secret_and_version_is_completed() {
    let place = place("killed").await;
    let kill = at_call("POST", ":addVersion", |_| page(403, None));
    let proxy = Proxy::before(&place.url, kill).await;
    let run = place.through(&proxy.url).await.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: absent create absent → failed denied"]);
    let publisher = place.publisher().await;
    let held = publisher.held("db").await;
    assert_eq!(held.presence, Presence::Empty);
    let item = "item".to_owned();
    assert_eq!(held.owner, Owner::Ours { item });
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: absent update no-version"]);
    assert!(publisher.holds("db", "a").await);
    assert_eq!(publisher.run(&[("db", "a")]).await.lines, [IN_SYNC]);
    assert_eq!(states(&place, "db"), ["ENABLED"]);
}

/// Killed before the mark is recorded: one more read, and no second version.
#[tokio::test]
async fn publication_that_was_killed_before_the_mark_is_completed() {
    let place = place("unmarked").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    let kill = at_call("PATCH", "", |_| page(403, None));
    let proxy = Proxy::before(&place.url, kill).await;
    let run = place.through(&proxy.url).await.run(&[("db", "b")]).await;
    assert_eq!(
        run.lines,
        ["db: changed update changed → unrecorded denied"]
    );
    let run = publisher.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: in-sync adopt mark-renewed"]);
    assert_eq!(publisher.run(&[("db", "b")]).await.lines, [IN_SYNC]);
    assert_eq!(states(&place, "db").len(), 2);
    // The first value is known as an earlier one.
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: would-revert leave would-revert"]);
}

/// The version was added, and its answer was lost.
#[tokio::test]
async fn lost_answer_makes_no_second_version() {
    let place = place("lost").await;
    for (values, count) in [([("db", "a")], 1), ([("db", "b")], 2)] {
        let reset = at_call("POST", ":addVersion", |_| Fault::Reset);
        let proxy = Proxy::before(&place.url, reset).await;
        let publisher = place.through(&proxy.url).await;
        let run = publisher.run(&values).await;
        assert!(!run.lines[0].contains('→'), "{:?}", run.lines);
        assert_eq!(states(&place, "db").len(), count);
        let run = place.publisher().await.run(&values).await;
        assert_eq!(run.lines, [IN_SYNC]);
    }
}

/// The version was not added, which is certain after a look at the versions.
#[tokio::test]
async fn version_that_was_not_added_is_a_failure_and_written_by_the_next_run() {
    let place = place("failed").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    let fail = at_call("POST", ":addVersion", |_| page(503, None));
    let proxy = Proxy::before(&place.url, fail).await;
    let run = place.through(&proxy.url).await.run(&[("db", "b")]).await;
    assert_eq!(
        run.lines,
        ["db: changed update changed → failed unavailable"]
    );
    let added = |asked: &&Asked| asked.operation.ends_with(":addVersion");
    assert_eq!(
        proxy.asked().iter().filter(added).count(),
        1,
        "a POST is not repeated"
    );
    let run = publisher.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: changed update changed"]);
    assert_eq!(states(&place, "db").len(), 2);
}

/// Somebody else adds a version at the same time, so the number in the answer does not follow the one that was seen.
#[tokio::test]
async fn version_of_somebody_else_at_the_same_time_is_noticed() {
    let place = place("raced").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    let (google, name) = (Arc::clone(&doubles()[&place.url].0), place.name("db"));
    let race = at_call("POST", ":addVersion", move |_| {
        let mut secrets = google.secrets();
        let secret = secrets.get_mut(&name).expect("a secret");
        *secret = secret
            .clone()
            .then("ENABLED", b"theirs", "2026-01-01T00:00:00Z");
        Fault::None
    });
    let proxy = Proxy::before(&place.url, race).await;
    let run = place.through(&proxy.url).await.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: changed update changed → raced"]);
    assert_eq!(states(&place, "db").len(), 3, "theirs stays");
}

/// Somebody else changes the annotations after they were read.
#[tokio::test]
async fn owner_that_changes_at_the_same_time_is_not_overwritten() {
    let place = place("etag").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    let (google, name) = (Arc::clone(&doubles()[&place.url].0), place.name("db"));
    let race = at_call("POST", ":addVersion", move |_| {
        let mut secrets = google.secrets();
        let mut other = Secret::default().annotated(OWNER, "other/item");
        other.versions = secrets[&name].versions.clone();
        secrets.insert(name.clone(), other);
        Fault::None
    });
    let proxy = Proxy::before(&place.url, race).await;
    let run = place.through(&proxy.url).await.run(&[("db", "b")]).await;
    assert_eq!(run.lines, ["db: changed update changed → raced"]);
    assert_eq!(publisher.held("db").await.owner, Owner::Other);
    assert_eq!(
        edited(&place, "db", |secret| secret.annotations.get(MARK).cloned()),
        None
    );
}

/// `latest` may be some minutes old: the value is there, and only its read does not show it yet.
#[tokio::test]
async fn stale_read_of_latest_makes_no_second_version() {
    let place = place("stale").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    publisher.run(&[("db", "b")]).await;
    let stale = at_call("GET", "/versions/latest:access", |_| {
        // CRC-32C of `a`.
        let payload = json!({"data": "YQ==", "dataCrc32c": "3251651376"});
        let body = json!({"name": "projects/1/secrets/x/versions/1", "payload": payload});
        let json = vec![("content-type", "application/json".to_owned())];
        Fault::Instead(200, json, body.to_string())
    });
    let proxy = Proxy::before(&place.url, stale).await;
    let mut stale = place.through(&proxy.url).await;
    stale.ceilings.revert = true;
    stale.run(&[("db", "b")]).await;
    assert_eq!(states(&place, "db").len(), 2);
    assert_eq!(publisher.run(&[("db", "b")]).await.lines, [IN_SYNC]);
}

/// A disabled version is not an absent one, and nobody knows why it was disabled.
#[tokio::test]
async fn secret_with_a_disabled_version_is_left_alone() {
    let place = place("disabled").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    edited(&place, "db", |secret| secret.versions[0].state = "DISABLED");
    for value in ["a", "b"] {
        let run = publisher.run(&[("db", value)]).await;
        assert!(run.lines[0].ends_with(" leave disabled"), "{:?}", run.lines);
    }
    let held = publisher.held("db").await;
    assert_eq!(
        (held.presence, held.refusal),
        (Presence::Present, Some(Refusal::Disabled))
    );
    assert_eq!(states(&place, "db"), ["DISABLED"]);
}

#[tokio::test]
async fn secret_whose_version_was_destroyed_gets_a_new_one() {
    let place = place("destroyed").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    edited(&place, "db", |secret| {
        secret.versions[0].state = "DESTROYED";
    });
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: absent update no-version"]);
    assert_eq!(states(&place, "db"), ["DESTROYED", "ENABLED"]);
    assert_eq!(publisher.run(&[("db", "a")]).await.lines, [IN_SYNC]);
}

/// Errors of every call that looks.
#[tokio::test]
async fn error_is_never_taken_for_absence() {
    let place = place("errors").await;
    place.publisher().await.run(&[("db", "a")]).await;
    for end in ["secrets", "db", "/versions", ":access"] {
        for status in [403, 404, 429, 500] {
            let fail = at_call("GET", end, move |_| page(status, Some("0")));
            let proxy = Proxy::before(&place.url, fail).await;
            let publisher = place.through(&proxy.url).await;
            let run = publisher.run(&[("db", "b")]).await;
            assert_eq!(run.lines.len(), 1);
            assert!(
                !run.lines[0].contains("absent"),
                "{end} {status}: {:?}",
                run.lines
            );
            let held = publisher.held("db").await;
            assert_ne!(held.presence, Presence::Absent, "{end} {status}");
            assert_ne!(held.presence, Presence::Empty, "{end} {status}");
        }
    }
    assert_eq!(states(&place, "db"), ["ENABLED"]);
}

/// A deletion is final, so it is announced first.
#[tokio::test]
async fn orphan_is_announced_before_it_is_deleted() {
    let place = place("orphan").await;
    let mut publisher = place.publisher().await;
    publisher.run(&[("db", "a"), ("old", "1")]).await;
    publisher.rules.prune.mode = PruneMode::Prune;
    let values = [("db", "a")];
    let run = publisher.run(&values).await;
    assert_eq!(run.lines[1], "old: orphaned announce orphaned");
    assert_eq!(
        publisher.run(&values).await.lines[1],
        "old: orphaned leave prune-later"
    );
    publisher.now += jiff::SignedDuration::from_hours(31 * 24);
    assert_eq!(
        publisher.run(&values).await.lines[1],
        "old: orphaned retire orphaned"
    );
    assert_eq!(publisher.run(&values).await.lines, [IN_SYNC]);
}

#[tokio::test]
async fn orphan_that_is_wanted_again_is_no_longer_one() {
    let place = place("again").await;
    let mut publisher = place.publisher().await;
    let both = [("db", "a"), ("old", "1")];
    publisher.run(&both).await;
    publisher.rules.prune.mode = PruneMode::Prune;
    publisher.run(&[("db", "a")]).await;
    let run = publisher.run(&both).await;
    assert_eq!(run.lines[1], "old: in-sync adopt wanted-again");
    assert_eq!(publisher.held("old").await.orphaned_since, None);
    assert_eq!(states(&place, "old").len(), 1);
}

/// The etag of a secret does not change with a new version, so the versions are looked at, too.
#[tokio::test]
async fn secret_that_changed_after_the_plan_is_not_deleted() {
    let place = place("kept").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    let held = publisher.held("db").await;
    let retire = async || {
        let name = place.name("db");
        publisher
            .writer
            .retire(&name, &held, 30, &publisher.limiter)
            .await
    };
    by_hand(&place, "db", "theirs").await;
    assert_eq!(retire().await, Err(WriteFailure::raced()));
    edited(&place, "db", |secret| secret.versions.truncate(1));
    edited(&place, "db", |secret| {
        *secret = secret.clone().annotated(OWNER, "other/item");
    });
    assert_eq!(retire().await, Err(WriteFailure::raced()));
    assert_eq!(states(&place, "db").len(), 1);
}

/// The deletion was done, and its answer was lost.
#[tokio::test]
async fn lost_answer_to_a_deletion_is_no_failure() {
    let place = place("deleted").await;
    place.publisher().await.run(&[("db", "a")]).await;
    let reset = at_call("DELETE", "", |asked| {
        if asked.before == 0 {
            Fault::Reset
        } else {
            Fault::None
        }
    });
    let proxy = Proxy::before(&place.url, reset).await;
    place.through(&proxy.url).await.retire("db").await;
    assert_eq!(
        place.publisher().await.held("db").await.presence,
        Presence::Absent
    );
}

async fn destroy(publisher: &Publisher, name: &str, version: &str) -> Result<(), WriteFailure> {
    publisher
        .writer
        .destroy_version(name, version, &publisher.limiter)
        .await
}

/// First it is disabled, so that whoever still reads it notices in time.
#[tokio::test]
async fn old_version_is_disabled_and_then_destroyed() {
    let place = place("versions").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    publisher.run(&[("db", "b")]).await;
    let name = place.name("db");
    for state in ["DISABLED", "DESTROYED", "DESTROYED"] {
        assert_eq!(destroy(&publisher, &name, "1").await, Ok(()));
        assert_eq!(states(&place, "db"), [state, "ENABLED"]);
    }
    // The current one stays.
    assert_eq!(
        destroy(&publisher, &name, "2").await,
        Err(WriteFailure::raced())
    );
    assert_eq!(states(&place, "db"), ["DESTROYED", "ENABLED"]);
}

#[tokio::test]
async fn version_with_an_alias_is_not_destroyed() {
    let place = place("alias").await;
    let publisher = place.publisher().await;
    publisher.run(&[("db", "a")]).await;
    publisher.run(&[("db", "b")]).await;
    edited(&place, "db", |secret| {
        secret.aliases.insert("stable".to_owned(), 1)
    });
    let held = publisher.held("db").await;
    assert!(held.history.expect("a history").versions[0].is_named);
    let name = place.name("db");
    assert_eq!(
        destroy(&publisher, &name, "1").await,
        Err(WriteFailure::raced())
    );
    assert_eq!(states(&place, "db"), ["ENABLED", "ENABLED"]);
}

/// Creates a secret in this way, and returns what the double then has.
async fn created(location: &str, creation: &Creation) -> Secret {
    let place = at_location("creation", location).await;
    let publisher = place.publisher().await;
    let item = publisher.item(&[("db", "a")]);
    let (plan, known) = publisher.planned(&item).await.expect("a plan");
    let entry = &plan.entries[0];
    let wanted: Vec<&Wanted> = item.wanted.iter().collect();
    let change = Change {
        name: &entry.name,
        wanted: &wanted,
        held: &known[&entry.key].held,
        dropped: &[],
        mark: entry.mark.expect("a mark"),
        marks: &publisher.marks,
        item: "item",
        provenance: "",
        creation,
    };
    let wrote = publisher.writer.create(&change, &publisher.limiter).await;
    assert!(wrote.expect("a secret").proven);
    let google = Arc::clone(&doubles()[&place.url].0);
    let at = if location.is_empty() { "" } else { "@" };
    let secrets = google.secrets();
    secrets[&format!("{at}{}", entry.name)].clone()
}

#[tokio::test]
async fn creation_has_labels_replication_and_a_key() {
    let automatic = created("", &Creation::default()).await;
    assert_eq!(automatic.replication, json!({"automatic": {}}));
    let key = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k";
    let creation = Creation {
        tags: [("team".to_owned(), "shop".to_owned())].into(),
        kms_key: Some(key.to_owned()),
        replication: vec!["europe-west1".to_owned()],
        ..Creation::default()
    };
    let managed = created("", &creation).await;
    let encryption = json!({"kmsKeyName": key});
    let replica = json!({"location": "europe-west1", "customerManagedEncryption": encryption});
    assert_eq!(
        managed.replication,
        json!({"userManaged": {"replicas": [replica]}})
    );
    assert_eq!(managed.labels["team"], "shop");
    let regional = created("europe-west1", &Creation::default()).await;
    assert_eq!(regional.replication, Json::Null);
}

/// Annotations of others stay.
#[tokio::test]
async fn annotations_of_others_stay() {
    let place = place("annotations").await;
    edited(&place, "db", |secret| {
        *secret = Secret::of(b"a").annotated("note", "x y");
    });
    let mut publisher = place.publisher().await;
    publisher.rules.adopt = Adopt::Equal;
    publisher.run(&[("db", "a")]).await;
    publisher.run(&[("db", "b")]).await;
    let annotations = edited(&place, "db", |secret| secret.annotations.clone());
    assert_eq!(annotations["note"], "x y");
    assert!(annotations[MARK].ends_with(" 2"), "{annotations:?}");
}

/// The SDK shows payloads with `Debug`, and a server may repeat them in its errors.
#[tokio::test]
async fn value_reaches_neither_the_log_nor_an_error() {
    let said = logged(async {
        let place = place("leak").await;
        let publisher = place.publisher().await;
        publisher.run(&[("db", PLANTED)]).await;
        publisher.run(&[("db", PLANTED)]).await;
        for (method, end) in [
            ("POST", "secrets"),
            ("POST", ":addVersion"),
            ("PATCH", ""),
            ("GET", ":access"),
        ] {
            let repeat = at_call(method, end, |_| {
                let Reply::Say(status, headers, body) = error(400, "INVALID_ARGUMENT", PLANTED)
                else {
                    return Fault::Reset;
                };
                Fault::Instead(status, headers, body)
            });
            let proxy = Proxy::before(&place.url, repeat).await;
            let publisher = place.through(&proxy.url).await;
            for name in ["db", "other"] {
                let value = format!("{PLANTED}-{method}");
                let run = publisher.run(&[(name, &value)]).await;
                assert!(!run.lines.join(" ").contains(PLANTED), "{:?}", run.lines);
            }
        }
    })
    .await;
    assert!(!said.contains(PLANTED) && !said.contains("aHVudGVyMi1wbGFudGVk"));
}
