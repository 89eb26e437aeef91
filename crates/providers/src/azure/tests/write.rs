//! Writes of one publisher, as a run does them: describe, then write what was planned.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use eso_model::ProviderKind;
use jiff::Timestamp;
use pace::Clock;
use publish::{
    Compared, Format, Held, Mark, MarkKey, Origin, Owner, Presence, Refusal, Store, Target, Wanted,
    Wrote,
};
use secret::{RunKey, Value};

use super::{
    super::write::Publisher,
    service::{NOW, Service},
    *,
};
use crate::holder::{Ask, Change, Creation, Holder as _, Scope, WriteFailure, Writer as _};

fn marks() -> MarkKey {
    MarkKey::from_bytes([3; 32])
}

async fn publisher(service: &Service) -> Publisher {
    let now = Timestamp::from_second(i64::try_from(NOW).unwrap()).unwrap();
    let vault = vault(service).await;
    Publisher::new(vault, "prod".to_owned(), Clock::starting_at(now))
}

fn wanted(name: &str, value: &str) -> Wanted {
    let kind = ProviderKind::AzureKeyVault;
    let store = Store::new("azure", kind, &settings(&json!({}))).unwrap();
    Wanted {
        target: Target {
            store: Arc::new(store),
            name: name.to_owned(),
            property: None,
        },
        value: Value::from(value),
        format: Format::Secret,
        origin: Origin {
            item: "item".to_owned(),
            file: "a.env".to_owned(),
            key: name.to_owned(),
            revision: None,
        },
    }
}

fn mark(name: &str, value: &str) -> Mark {
    let wanted = wanted(name, value);
    marks().mark(&wanted.target.remote_key(), &[&wanted])
}

#[derive(Clone, Copy)]
enum Act {
    Create,
    Update,
    Restore,
    Adopt,
}

/// Writes what was planned when the vault held this.
async fn write(
    publisher: &Publisher,
    act: Act,
    held: &Held,
    (name, value): (&str, &str),
) -> Result<Wrote, WriteFailure> {
    let (wanted, marks, creation) = (wanted(name, value), marks(), Creation::default());
    let change = Change {
        name,
        wanted: &[&wanted],
        held,
        dropped: &[],
        mark: mark(name, value),
        marks: &marks,
        item: "item",
        provenance: "repo@0a1b2c:a.env",
        creation: &creation,
    };
    let limiter = limiter();
    match act {
        Act::Create => publisher.create(&change, &limiter).await,
        Act::Update => publisher.update(&change, &limiter).await,
        Act::Restore => publisher.restore(&change, &limiter).await,
        Act::Adopt => publisher.adopt(&change, &limiter).await,
    }
}

async fn held(publisher: &Publisher, name: &str) -> Held {
    publisher.describe(name, &limiter()).await
}

/// Describes and writes, without anybody else in between.
async fn publish(
    publisher: &Publisher,
    act: Act,
    (name, value): (&str, &str),
) -> Result<Wrote, WriteFailure> {
    let held = held(publisher, name).await;
    write(publisher, act, &held, (name, value)).await
}

async fn create(publisher: &Publisher, name: &str, value: &str) {
    let wrote = publish(publisher, Act::Create, (name, value)).await;
    assert!(wrote.is_ok(), "{wrote:?}");
}

async fn holds(publisher: &Publisher, name: &str, value: &str) -> Compared {
    let wanted = wanted(name, value);
    let ask = Ask {
        name,
        wanted: &[&wanted],
    };
    let key = RunKey::from_bytes([6; 32]);
    publisher.compare(&[ask], &key, &limiter()).await.remove(0)
}

/// The values of all versions, oldest first.
fn values(service: &Service, name: &str) -> Vec<String> {
    let versions = service.change(|vault| vault.versions(name));
    versions.into_iter().map(|(value, _)| value).collect()
}

/// The number of requests with this method, without logins and those that were challenged.
fn count(service: &Service, method: &str) -> usize {
    let calls = service.secure.calls().into_iter();
    let is_one = |call: &Call| {
        call.method == method
            && call.header("host") == "kv.vault.azure.net"
            && !call.header("authorization").is_empty()
    };
    calls.filter(is_one).count()
}

fn is_raced(wrote: &Result<Wrote, WriteFailure>) -> bool {
    matches!(wrote, Err(WriteFailure::Raced(_)))
}

#[tokio::test]
async fn value_is_created_with_its_owner_origin_and_mark() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    assert_eq!(held(&publisher, "db").await, Held::absent());
    create(&publisher, "db", "hunter2").await;
    let held = held(&publisher, "db").await;
    let item = "item".to_owned();
    assert_eq!(held.owner, Owner::Ours { item });
    assert_eq!(held.provenance.as_deref(), Some("repo@0a1b2c:a.env"));
    assert_eq!(held.mark, Some(mark("db", "hunter2")));
    assert_eq!(holds(&publisher, "db", "hunter2").await, Compared::Equal);
    assert_eq!(
        (values(&service, "db").len(), count(&service, "PUT")),
        (1, 1)
    );
}

#[tokio::test]
async fn unchanged_secrets_are_recognised_by_the_list_alone() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    service.change(|vault| vault.set("foreign", "x"));
    let names: BTreeSet<String> = (0..100).map(|number| format!("key-{number}")).collect();
    for name in &names {
        create(&publisher, name, "v").await;
    }
    let limiter = limiter();
    let scope = Scope {
        items: &BTreeSet::from(["item".to_owned()]),
        names: &names,
        prefixes: &BTreeSet::new(),
    };
    let listed = publisher.list(scope, &limiter).await.unwrap();
    assert_eq!(listed.len(), 100, "not the secrets of others");
    for (name, held) in &listed {
        assert_eq!(held.mark, Some(mark(name, "v")), "{name}");
    }
    assert!(limiter.calls() <= 5, "{} calls", limiter.calls());
}

#[tokio::test]
async fn update_keeps_the_tags_and_the_type_of_others() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    service.change(|vault| {
        vault.tag("db", "team", "x");
        vault.describe("db", "text/plain");
    });
    let wrote = publish(&publisher, Act::Update, ("db", "b")).await.unwrap();
    let held = held(&publisher, "db").await;
    assert_eq!(wrote.version, held.version);
    assert_eq!(held.mark, Some(mark("db", "b")));
    assert_eq!(held.history.unwrap().earlier, [mark("db", "a")]);
    assert_eq!(values(&service, "db"), ["a", "b"]);
    let (versions, content_type) =
        service.change(|vault| (vault.versions("db"), vault.content_type("db")));
    assert_eq!(versions[1].1["team"], "x");
    assert_eq!(content_type.as_deref(), Some("text/plain"));
}

#[tokio::test]
async fn version_that_was_written_after_the_plan_is_not_replaced() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    let planned = held(&publisher, "db").await;
    service.change(|vault| vault.set("db", "foreign"));
    for act in [Act::Update, Act::Adopt, Act::Create] {
        let wrote = write(&publisher, act, &planned, ("db", "b")).await;
        assert!(is_raced(&wrote), "{wrote:?}");
    }
    let retired = publisher.retire("db", &planned, 7, &limiter()).await;
    assert!(
        matches!(retired, Err(WriteFailure::Raced(_))),
        "{retired:?}"
    );
    assert_eq!(values(&service, "db"), ["a", "foreign"]);
}

/// Key Vault has no compare-and-swap, so this can only be noticed afterwards.
#[tokio::test]
async fn version_of_somebody_else_around_a_write_is_noticed() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    let rival = || Some(("db".to_owned(), "foreign".to_owned()));
    for act in [Act::Create, Act::Update] {
        service.change(|vault| vault.before_write = rival());
        let wrote = publish(&publisher, act, ("db", "b")).await;
        assert!(is_raced(&wrote), "before: {wrote:?}");
    }
    service.change(|vault| vault.after_write = rival());
    let wrote = publish(&publisher, Act::Update, ("db", "c")).await;
    assert!(is_raced(&wrote), "after: {wrote:?}");
    let expected = ["foreign", "b", "foreign", "b", "c", "foreign"];
    assert_eq!(values(&service, "db"), expected);
}

#[tokio::test]
async fn lost_answer_makes_no_second_version() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    for (number, reply) in [
        Reply::reset(),
        Reply::new(503, "wonderwall"),
        Reply::new(200, "not JSON"),
        Reply::new(200, "{}"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("db-{number}");
        for (act, value) in [(Act::Create, "a"), (Act::Update, "b")] {
            service.change(|vault| vault.lost.push_back(reply.clone()));
            let wrote = publish(&publisher, act, (&name, value)).await;
            let wrote = wrote.unwrap_or_else(|failure| panic!("{name}: {failure:?}"));
            assert_eq!(wrote.version, held(&publisher, &name).await.version);
        }
        assert_eq!(values(&service, &name), ["a", "b"]);
    }
}

/// The answer is lost, and somebody else wrote, too.
#[tokio::test]
async fn lost_answer_and_a_version_of_somebody_else_is_a_race() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    service.change(|vault| {
        vault.lost.push_back(Reply::reset());
        vault.before_write = Some(("db".to_owned(), "foreign".to_owned()));
    });
    let wrote = publish(&publisher, Act::Update, ("db", "b")).await;
    assert!(is_raced(&wrote), "{wrote:?}");
}

/// Fails the next write with these answers, each before anything is done.
async fn failing(service: &Service, publisher: &Publisher, replies: &[Reply]) -> WriteFailure {
    let planned = held(publisher, "db").await;
    // The first answer is that of the read before the write.
    let name = service.change(|vault| {
        let reads =
            json!({"id": "https://kv.vault.azure.net/secrets/db/00000000000000000000000000000001"});
        vault.faults.push_back(Reply::new(200, reads));
        vault.faults.extend(replies.iter().cloned());
        "db"
    });
    let wrote = write(publisher, Act::Update, &planned, (name, "b")).await;
    wrote.expect_err("a failure")
}

#[tokio::test]
async fn failed_write_is_read_back_and_not_repeated() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    for reply in [Reply::reset(), Reply::new(500, ""), Reply::new(504, "")] {
        let before = count(&service, "PUT");
        let failure = failing(&service, &publisher, &[reply]).await;
        assert!(matches!(failure, WriteFailure::Failed(_)), "{failure:?}");
        assert_eq!(count(&service, "PUT") - before, 1);
    }
    // It cannot be read back, so nothing is known.
    let replies = [Reply::new(503, ""), Reply::new(403, "")];
    let failure = failing(&service, &publisher, &replies).await;
    assert!(matches!(failure, WriteFailure::Unknown(_)), "{failure:?}");
    assert_eq!(values(&service, "db"), ["a"]);
}

#[tokio::test]
async fn throttled_write_is_repeated_after_the_pause() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    let planned = held(&publisher, "db").await;
    service.change(|vault| {
        let current =
            json!({"id": "https://kv.vault.azure.net/secrets/db/00000000000000000000000000000001"});
        vault.faults.push_back(Reply::new(200, current));
        let throttled = json!({"error": {"code": "Throttled"}});
        let throttled = Reply::new(429, throttled).with("retry-after", "1");
        vault.faults.push_back(throttled);
    });
    let start = Instant::now();
    let wrote = write(&publisher, Act::Update, &planned, ("db", "b")).await;
    assert!(wrote.is_ok(), "{wrote:?}");
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(values(&service, "db"), ["a", "b"]);
}

#[tokio::test]
async fn denied_write_names_the_missing_role() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    let denied = json!({"error": {"code": "Forbidden", "innererror": {"code": "ForbiddenByRbac"}}});
    let failure = failing(&service, &publisher, &[Reply::new(403, denied)]).await;
    let WriteFailure::Failed(unread) = failure else {
        panic!("{failure:?}");
    };
    assert_eq!(unread.why.reason, unread::DENIED);
    assert_eq!(
        unread.permission.as_deref(),
        Some("\"Key Vault Secrets Officer\" on kv.vault.azure.net")
    );
}

/// A proxy, or another server.
#[tokio::test]
async fn not_found_without_key_vaults_code_is_not_absence() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    let replies = [
        Reply::new(404, ""),
        Reply::new(404, "<html>"),
        Reply::new(404, json!({"error": {"code": "NotFound"}})),
        Reply::new(404, json!({"error": {"code": "ResourceNotFound"}})),
    ];
    for reply in replies {
        service.change(|vault| vault.faults.push_back(reply.clone()));
        let Presence::Unknown(why) = held(&publisher, "none").await.presence else {
            panic!("{reply:?}");
        };
        assert_eq!(why.reason, unread::UNAVAILABLE);
        // Also the answer about the deleted secret.
        let absent = json!({"error": {"code": "SecretNotFound"}});
        service.change(|vault| {
            vault.faults.push_back(Reply::new(404, absent));
            vault.faults.push_back(reply.clone());
        });
        let presence = held(&publisher, "none").await.presence;
        assert!(matches!(presence, Presence::Unknown(_)), "{presence:?}");
    }
    let read = vault(&service).await;
    service.change(|vault| vault.faults.push_back(Reply::new(404, "")));
    let unread = unread(&read).await;
    assert_eq!(unread.why.reason, unread::UNAVAILABLE);
}

#[tokio::test]
async fn deleted_secret_is_restored_without_a_new_version() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    let planned = held(&publisher, "db").await;
    let retired = publisher.retire("db", &planned, 7, &limiter()).await;
    assert_eq!(retired, Ok(()));
    assert_eq!(
        publisher.retire("db", &planned, 7, &limiter()).await,
        Ok(())
    );
    let held = held(&publisher, "db").await;
    assert!(matches!(
        held.presence,
        Presence::Retired { until: Some(_) }
    ));
    assert_eq!(held.mark, Some(mark("db", "a")));
    // Restoring takes a while.
    service.change(|vault| vault.recovery = 3);
    let restored = write(&publisher, Act::Restore, &held, ("db", "a")).await;
    assert_eq!(restored.unwrap().version, planned.version);
    assert_eq!(values(&service, "db"), ["a"]);
    assert_eq!(holds(&publisher, "db", "a").await, Compared::Equal);
}

#[tokio::test]
async fn deleted_secret_is_restored_with_another_value() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    service.change(|vault| {
        vault.delete("db");
        vault.recovery = 1;
        // The answer is lost.
        vault.lost.push_back(Reply::reset());
    });
    let wrote = publish(&publisher, Act::Restore, ("db", "b")).await;
    assert!(wrote.is_ok(), "{wrote:?}");
    assert_eq!(values(&service, "db"), ["a", "b"]);
}

#[tokio::test]
async fn restore_that_takes_too_long_is_left_to_the_next_run() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    service.change(|vault| {
        vault.delete("db");
        vault.recovery = 100;
    });
    let wrote = publish(&publisher, Act::Restore, ("db", "b")).await;
    let Err(WriteFailure::Failed(unread)) = wrote else {
        panic!("{wrote:?}");
    };
    assert_eq!(unread.why.reason, unread::UNAVAILABLE);
    assert_eq!(values(&service, "db"), ["a"]);
}

#[tokio::test]
async fn name_of_a_deleted_secret_is_not_created() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    let planned = held(&publisher, "db").await;
    service.change(|vault| {
        vault.set("db", "foreign");
        vault.delete("db");
    });
    let wrote = write(&publisher, Act::Create, &planned, ("db", "a")).await;
    let Err(WriteFailure::Raced(why)) = wrote else {
        panic!("{wrote:?}");
    };
    assert!(why.contains("ObjectIsDeletedButRecoverable"), "{why}");
    assert_eq!(values(&service, "db"), ["foreign"]);
}

#[tokio::test]
async fn value_that_returns_gets_a_new_version() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    for value in ["b", "a"] {
        let wrote = publish(&publisher, Act::Update, ("db", value)).await;
        assert!(wrote.is_ok(), "{wrote:?}");
    }
    assert_eq!(values(&service, "db"), ["a", "b", "a"]);
    let history = held(&publisher, "db").await.history.unwrap();
    assert_eq!(history.earlier, [mark("db", "b"), mark("db", "a")]);
    assert_eq!((history.writes.len(), history.versions.len()), (3, 2));
    assert!(history.versions.iter().all(|version| version.is_ours));
}

#[tokio::test]
async fn names_ignore_the_case() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "Db-Main", "a").await;
    let scope = Scope {
        items: &BTreeSet::new(),
        names: &BTreeSet::from(["DB-main".to_owned()]),
        prefixes: &BTreeSet::new(),
    };
    let listed = publisher.list(scope, &limiter()).await.unwrap();
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["db-main"]);
    assert_eq!(listed["db-main"].mark, Some(mark("db-main", "a")));
    let wrote = publish(&publisher, Act::Update, ("db-MAIN", "b")).await;
    assert!(wrote.is_ok(), "{wrote:?}");
    assert_eq!(values(&service, "Db-Main"), ["a", "b"]);
}

#[tokio::test]
async fn adoption_and_a_renewed_mark_make_no_version() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    service.change(|vault| {
        vault.set("db", "a");
        vault.tag("db", "team", "x");
        vault.tag(
            "db",
            "eso-sync-mark",
            &format!("{} {NOW}", mark("db", "old")),
        );
        // Not now, so only its own time can bind a mark to it.
        vault.date("db", 86_400);
    });
    let before = held(&publisher, "db").await;
    assert_eq!((before.owner, before.mark), (Owner::None, None));
    let wrote = publish(&publisher, Act::Adopt, ("db", "a")).await.unwrap();
    assert_eq!(wrote.version, before.version);
    let after = held(&publisher, "db").await;
    assert_eq!(after.mark, Some(mark("db", "a")));
    assert_eq!(
        after.owner,
        Owner::Ours {
            item: "item".to_owned()
        }
    );
    let versions = service.change(|vault| vault.versions("db"));
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0].1["team"], "x");
    // Nothing changes any more.
    publish(&publisher, Act::Adopt, ("db", "a")).await.unwrap();
    assert_eq!((count(&service, "PATCH"), count(&service, "PUT")), (1, 0));
}

/// People copy tags to a new version with another value.
#[tokio::test]
async fn copied_tags_prove_no_value() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    service.change(|vault| {
        let (_, tags) = vault.versions("db").remove(0);
        vault.set("db", "foreign");
        vault.retag("db", tags);
        vault.date("db", 3600);
    });
    let now = held(&publisher, "db").await;
    assert_eq!(now.mark, None);
    let history = now.history.unwrap();
    assert_eq!((history.writes.len(), history.earlier), (1, Vec::new()));
    let different = Compared::Different {
        properties: Vec::new(),
    };
    assert_eq!(holds(&publisher, "db", "a").await, different);
}

#[tokio::test]
async fn version_that_appears_before_a_deletion_is_restored() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    let planned = held(&publisher, "db").await;
    service.change(|vault| vault.before_write = Some(("db".to_owned(), "foreign".to_owned())));
    let retired = publisher.retire("db", &planned, 7, &limiter()).await;
    assert!(
        matches!(retired, Err(WriteFailure::Raced(_))),
        "{retired:?}"
    );
    assert!(!service.change(|vault| vault.is_deleted("db")));
    assert_eq!(values(&service, "db"), ["a", "foreign"]);
}

#[tokio::test]
async fn lost_answer_to_a_deletion_is_read_back() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    create(&publisher, "db", "a").await;
    let planned = held(&publisher, "db").await;
    service.change(|vault| vault.lost.push_back(Reply::reset()));
    let retired = publisher.retire("db", &planned, 7, &limiter()).await;
    assert_eq!(retired, Ok(()));
    assert!(service.change(|vault| vault.is_deleted("db")));
}

#[tokio::test]
async fn managed_and_disabled_secrets_are_refused() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    service.change(|vault| {
        for name in ["certificate", "off"] {
            vault.set(name, "x");
        }
        vault.manage("certificate");
        vault.set("off", "y");
        vault.disable("off");
    });
    let names = ["certificate", "off"].map(str::to_owned);
    let scope = Scope {
        items: &BTreeSet::new(),
        names: &BTreeSet::from(names),
        prefixes: &BTreeSet::new(),
    };
    let listed = publisher.list(scope, &limiter()).await.unwrap();
    for (name, refusal) in [
        ("certificate", Refusal::Managed),
        ("off", Refusal::Disabled),
    ] {
        assert_eq!(listed[name].refusal, Some(refusal));
        let held = held(&publisher, name).await;
        assert_eq!(
            (held.refusal, held.presence),
            (Some(refusal), Presence::Present)
        );
    }
    let off = held(&publisher, "off").await;
    let wrote = write(&publisher, Act::Update, &off, ("off", "z")).await;
    assert!(is_raced(&wrote), "{wrote:?}");
}

#[tokio::test]
async fn history_has_all_pages() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    for number in 0..60 {
        service.change(|vault| vault.set("db", &number.to_string()));
    }
    let held = held(&publisher, "db").await;
    assert_eq!(held.history.unwrap().versions.len(), 59);
    assert_eq!(held.version, Some(format!("{:032x}", 60)));
}

#[tokio::test]
async fn tags_beyond_the_limit_drop_the_origin_first() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    let tags = |count: usize| -> BTreeMap<String, String> {
        (0..count)
            .map(|n| (format!("tag-{n}"), n.to_string()))
            .collect()
    };
    for (count, provenance) in [(12, true), (13, false)] {
        let name = format!("db-{count}");
        service.change(|vault| {
            vault.set(&name, "a");
            vault.retag(&name, tags(count));
        });
        let wrote = publish(&publisher, Act::Update, (&name, "b")).await;
        assert!(wrote.is_ok(), "{wrote:?}");
        let held = held(&publisher, &name).await;
        assert_eq!(held.provenance.is_some(), provenance);
        assert_eq!(held.mark, Some(mark(&name, "b")));
    }
    service.change(|vault| {
        vault.set("full", "a");
        vault.retag("full", tags(14));
    });
    let wrote = publish(&publisher, Act::Update, ("full", "b")).await;
    assert!(matches!(wrote, Err(WriteFailure::Failed(_))), "{wrote:?}");
    assert_eq!(values(&service, "full"), ["a"]);
}

#[tokio::test]
async fn no_value_is_in_an_error_or_log() {
    let service = Service::start().await;
    let publisher = publisher(&service).await;
    let (guard, log) = capture_log();
    create(&publisher, "db", "wonderwall-1").await;
    publish(&publisher, Act::Update, ("db", "wonderwall-2"))
        .await
        .unwrap();
    let repeated = json!({"error": {"code": "wonderwall", "message": "wonderwall-3"}});
    let mut said = String::new();
    for reply in [
        Reply::new(400, &repeated),
        Reply::new(500, &repeated),
        Reply::new(409, &repeated),
    ] {
        service.change(|vault| vault.lost.push_back(reply));
        let wrote = publish(&publisher, Act::Update, ("db", "wonderwall-3")).await;
        said = format!("{said}{wrote:?}");
    }
    drop(guard);
    let log = log.text();
    assert!(
        log.contains("kv.vault.azure.net"),
        "the log was not captured"
    );
    for planted in ["wonderwall-", "s3cret", "token-1"] {
        assert_eq!(log.lines().find(|line| line.contains(planted)), None);
        assert!(!said.contains(planted), "{said}");
    }
}
