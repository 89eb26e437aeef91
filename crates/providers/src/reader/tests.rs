//! Whole rounds against providers that are slow or return large values.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use cluster::{Access, connect::connect_plain};
use eso_model::{
    expected::{Content, Raw, Read, StoreRef},
    rotation::{RemoteSecret, Rotation},
};
use futures::FutureExt as _;
use secret::Value;

use super::{round::KEPT_OPEN, *};
use crate::{Answered, trust::Credentials};

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

/// Answers by the key: `slow-…` after 7 s, `N-…` with a value of N bytes, anything else with a short value.
#[derive(Clone, Default)]
struct Double {
    calls: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    read: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Provider for Double {
    async fn read(&self, wanted: &[What], _: &RateLimiter) -> Vec<Answered> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        let mut answers = Vec::new();
        for what in wanted {
            let What::Secret { key, .. } = what else {
                panic!("no searches")
            };
            let pause = if key.starts_with("slow") {
                7 * SECOND
            } else {
                Duration::from_millis(20)
            };
            tokio::time::sleep(pause).await;
            self.read.lock().unwrap().push(key.clone());
            let size = key.split('-').next().and_then(|size| size.parse().ok());
            let value = Value::new(vec![b'x'; size.unwrap_or(5)]);
            answers.push(Answered::One(Raw::Bytes(value), None));
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        answers
    }

    async fn read_members(
        &self,
        _: &What,
        members: &BTreeSet<String>,
        _: &RateLimiter,
    ) -> Answered {
        let text = members.iter().cloned().collect::<Vec<_>>().join(" ");
        Answered::One(Raw::Bytes(Value::new(text.into_bytes())), None)
    }

    async fn rotations(&self, keys: &[String], _: &RateLimiter) -> Vec<Result<Rotation, Unread>> {
        self.read.lock().unwrap().extend(keys.iter().cloned());
        if keys.iter().any(|key| key.starts_with("slow")) {
            tokio::time::sleep(7 * SECOND).await;
        }
        vec![Ok(Rotation::Unscheduled); keys.len()]
    }
}

/// A group: its namespace, and `(store, key)` of each read. A store whose name begins with `shared` is a ClusterSecretStore.
type Group = (&'static str, Vec<(&'static str, String)>);

fn read((store, key): &(&str, String)) -> Read {
    let kind = if store.starts_with("shared") {
        "ClusterSecretStore"
    } else {
        "SecretStore"
    };
    Read {
        store: StoreRef {
            name: (*store).to_owned(),
            kind: kind.to_owned(),
        },
        what: What::Secret {
            key: key.clone(),
            version: String::new(),
            metadata: false,
        },
    }
}

fn reader(groups: &[Group], double: &Double) -> Reader {
    let rate = Rate::per_second(1000.0).unwrap();
    let url = "http://127.0.0.1:1";
    let keys = groups
        .iter()
        .flat_map(|(namespace, reads)| reads.iter().map(|it| read(it).store.key(namespace)));
    let stores = keys.map(|key| {
        let settings = StoreSettings::new(key.clone(), "fake", serde_json::json!({}));
        let source = Source {
            quota: settings.provider.quota(&settings.settings),
            settings,
            conditions: Vec::new(),
        };
        (key, Ok(source))
    });
    let double = double.clone();
    Reader::new(ReaderInput {
        cluster: connect_plain(url, Access::ReadOnly, rate).unwrap(),
        stores: stores.collect(),
        labels: Some(BTreeMap::new()),
        rules: Rules {
            credentials: Credentials::Store,
            ..Rules::default()
        },
        environment: BTreeMap::new(),
        rates: Rates {
            default: rate,
            providers: BTreeMap::new(),
            stores: BTreeMap::new(),
        },
    })
    .through(Some(Arc::new(move |_| Ok(Box::new(double.clone())))))
}

/// The result of one group: the first reason, or `read`, and the seconds after which it was complete.
type Shown = (String, u64);

/// Reads all groups, and keeps the answers of at most `kept` groups at a time.
async fn results(
    groups: &[Group],
    double: &Double,
    until: Option<Duration>,
    members: bool,
) -> Vec<Shown> {
    let mut reader = reader(groups, double);
    let budget = reader.budget.clone();
    let start = Instant::now();
    let wanted = Wanted {
        namespaces: groups.iter().map(|(namespace, _)| *namespace).collect(),
        reads: Box::new(|group| {
            let reads: BTreeSet<Read> = groups[group].1.iter().map(read).collect();
            let reads: Vec<Read> = reads.into_iter().collect();
            // Every second group is computed on another thread.
            async move {
                if group % 2 == 1 {
                    tokio::task::yield_now().await;
                }
                reads
            }
            .boxed_local()
        }),
        members: Box::new(move |group| {
            let user = || BTreeSet::from(["user".to_owned()]);
            let reads = groups[group].1.iter().map(read).filter(|_| members);
            std::future::ready(reads.map(|read| (read, user())).collect()).boxed_local()
        }),
    };
    let mut round = reader.round(wanted, until.map(|until| start + until)).await;
    let mut shown = BTreeMap::new();
    while let Some(ready) = round.next().await {
        let floors = groups.len() * BYTES.floor;
        assert!(budget.held() <= BYTES.total + floors, "{}", budget.held());
        let reads = groups[ready.group].1.iter().map(read);
        let mut why = "read".to_owned();
        for read in reads {
            match ready.answers.answer(&read).content {
                Content::Unread(unread) => why = unread.reason.to_owned(),
                Content::One(Raw::Bytes(value)) if members => {
                    why = String::from_utf8_lossy(value.expose()).into_owned();
                }
                Content::One(_) | Content::Many(_) | Content::NotFound | Content::Fails(_) => {}
            }
        }
        shown.insert(ready.group, (why, start.elapsed().as_secs()));
    }
    drop(round);
    assert_eq!(budget.held(), 0, "all bytes are freed");
    let open = reader.lines.iter().filter(|line| line.is_open());
    let of_one = open.filter(|line| line.is_of_one_namespace()).count();
    assert!(of_one <= KEPT_OPEN, "{of_one} connections are kept");
    assert_eq!(shown.len(), groups.len(), "each group is returned once");
    shown.into_values().collect()
}

fn keys(prefix: &str, count: usize, store: &'static str) -> Vec<Vec<(&'static str, String)>> {
    (0..count)
        .map(|index| vec![(store, format!("{prefix}-{index}"))])
        .collect()
}

const TEAMS: [&str; 5] = ["team-a", "team-b", "team-c", "team-y", "team-z"];

fn groups(namespace: &'static str, prefix: &str, count: usize, store: &'static str) -> Vec<Group> {
    let reads = keys(prefix, count, store).into_iter();
    reads.map(|reads| (namespace, reads)).collect()
}

#[tokio::test(start_paused = true)]
async fn slow_store_does_not_delay_other_namespaces() {
    let mut all = groups("slow", "slow", 1500, "own");
    for team in TEAMS {
        all.extend(groups(team, "k", 40, "own"));
    }
    let shown = results(&all, &Double::default(), Some(300 * SECOND), false).await;
    let (slow, others) = shown.split_at(1500);
    assert!(
        others
            .iter()
            .all(|(why, after)| why == "read" && *after < 3)
    );
    let read = slow.iter().filter(|(why, _)| why == "read").count();
    assert!(
        (300..350).contains(&read),
        "eight at a time, each for 7 s: {read}"
    );
    let late = slow
        .iter()
        .filter(|(why, _)| why == unread::NOT_READ_IN_TIME);
    assert_eq!(
        late.count(),
        1500 - read,
        "the rest is known not to be read"
    );
    assert!(slow.iter().all(|(_, after)| *after <= 300));
}

#[tokio::test(start_paused = true)]
async fn slow_keys_of_a_shared_store_do_not_stop_other_namespaces() {
    let mut all = groups("slow", "slow", 500, "shared");
    for team in TEAMS {
        all.extend(groups(team, "k", 20, "shared"));
    }
    let shown = results(&all, &Double::default(), Some(300 * SECOND), false).await;
    let late = shown.iter().skip(500).map(|(_, after)| *after).max();
    assert!(
        late.is_some_and(|late| late <= 14),
        "two slow answers: {late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn many_slow_stores_leave_calls_to_others() {
    let names: Vec<&'static str> = (0..40)
        .map(|index| &*format!("slow-{index:02}").leak())
        .collect();
    let mut all: Vec<Group> = Vec::new();
    for name in names {
        all.extend(groups(name, "slow", 100, "own"));
    }
    let slow = all.len();
    for team in TEAMS {
        all.extend(groups(team, "k", 40, "own"));
    }
    let double = Double::default();
    let shown = results(&all, &double, Some(120 * SECOND), false).await;
    assert!(shown[slow..].iter().all(|(why, _)| why == "read"));
    let late = shown[slow..].iter().map(|(_, after)| *after).max();
    assert!(late.is_some_and(|late| late <= 30), "{late:?}");
    assert!(double.most.load(Ordering::Relaxed) <= 128);
}

#[tokio::test(start_paused = true)]
async fn groups_complete_in_turns_of_their_namespaces() {
    let mut all = Vec::new();
    for team in TEAMS {
        all.extend(groups(team, team, 200, "shared"));
    }
    let double = Double::default();
    results(&all, &double, None, false).await;
    let read = double.read.lock().unwrap();
    for team in TEAMS {
        let half = read[..500].iter().filter(|key| key.starts_with(team));
        assert!((90..110).contains(&half.count()), "{team}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_values_are_read_a_few_at_a_time() {
    let large = format!("{}", MIB - 1);
    let all = groups("team-a", &large, 20, "own");
    let shown = results(&all, &Double::default(), None, false).await;
    assert!(shown.iter().all(|(why, _)| why == "read"), "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn group_is_judged_by_its_own_values_only() {
    let kb700 = |count: usize| -> Vec<(&'static str, String)> {
        (0..count)
            .map(|index| ("own", format!("700000-{index}")))
            .collect()
    };
    let mine: Vec<Group> = vec![
        ("team-m", kb700(5)),
        ("team-m", kb700(9)),
        ("team-m", vec![("own", "2000000-x".to_owned())]),
        ("team-m", vec![("own", "k".to_owned())]),
    ];
    let expected = [
        "read",
        unread::TOO_MUCH_DATA,
        unread::VALUE_TOO_LARGE,
        "read",
    ];
    let whys = |shown: Vec<Shown>| -> Vec<String> {
        shown.into_iter().take(4).map(|(why, _)| why).collect()
    };
    let alone = results(&mine, &Double::default(), None, false).await;
    assert_eq!(whys(alone), expected);
    let mut crowd = mine;
    for team in &TEAMS[..3] {
        let large = format!("{}", MIB - 1);
        crowd.extend(groups(team, &large, 8, "own"));
        crowd.extend(groups(team, "slow", 20, "own"));
        crowd.push((team, kb700(9)));
    }
    let crowded = results(&crowd, &Double::default(), None, false).await;
    assert_eq!(whys(crowded), expected);
}

#[tokio::test(start_paused = true)]
async fn large_value_is_read_as_far_as_properties_need_it() {
    let all = groups("team-a", "16000000", 3, "own");
    let shown = results(&all, &Double::default(), None, true).await;
    assert!(shown.iter().all(|(why, _)| why == "user"), "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn shared_value_is_read_once_for_all_groups() {
    let mut all: Vec<Group> = Vec::new();
    for _ in 0..500 {
        for team in TEAMS {
            all.push((team, vec![("shared", "900-ca".to_owned())]));
        }
    }
    let double = Double::default();
    results(&all, &double, None, false).await;
    assert_eq!(double.calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn group_with_too_many_reads_is_not_read() {
    let reads = (0..2001).map(|index| ("own", format!("k-{index}")));
    let all = vec![
        ("team-a", reads.collect()),
        ("team-a", vec![("own", "k-1".to_owned())]),
    ];
    let double = Double::default();
    let shown = results(&all, &double, None, false).await;
    assert_eq!(
        (&*shown[0].0, &*shown[1].0),
        (unread::TOO_MUCH_DATA, "read")
    );
    assert_eq!(double.calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn rotation_is_looked_up_once_for_all_namespaces_and_within_the_time() {
    let one = |store, key: &str| vec![(store, key.to_owned())];
    let groups: Vec<Group> = vec![
        ("a", one("shared", "db")),
        ("b", one("shared", "db")),
        ("b", one("own", "slow")),
    ];
    let double = Double::default();
    let mut reader = reader(&groups, &double);
    let key = serde_json::json!({"name": "x", "key": "y", "namespace": "z"});
    let settings = serde_json::json!({"projectID": "p", "auth": {"secretRef": {"secretAccessKeySecretRef": key}}});
    for (store, source) in &mut reader.core.known.stores {
        let source = source.as_mut().unwrap();
        source.settings = StoreSettings::new(store.clone(), "gcpsm", settings.clone());
    }
    let of = |(namespace, reads): &Group| RemoteSecret {
        namespace: (*namespace).to_owned(),
        store: read(&reads[0]).store.key(namespace),
        key: reads[0].1.clone(),
    };
    let wanted: BTreeSet<RemoteSecret> = groups.iter().map(of).collect();
    let until = Some(Instant::now() + 3 * SECOND);
    let found = reader.rotations(&wanted, until).await;
    let told = |group: &Group| match &found[&of(group)] {
        Ok(rotation) => format!("{rotation:?}"),
        Err(unread) => unread.why.reason.to_owned(),
    };
    let told: Vec<String> = groups.iter().map(told).collect();
    assert_eq!(
        told,
        ["Unscheduled", "Unscheduled", unread::NOT_READ_IN_TIME]
    );
    let mut asked = double.read.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["db", "slow"]);
}
