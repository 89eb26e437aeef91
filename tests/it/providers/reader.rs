//! Tests of the reader, which reads provider data for all ExternalSecrets of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    time::{Duration, Instant},
};

use eso_model::{
    expected::{Content, Read},
    rotation::RemoteSecret,
};
use eso_sync::policy::Pace;
use futures::FutureExt as _;
use pace::rate::Rate;
use providers::{
    StoreSettings, Unread,
    reader::{Answers, Members, Reader, ReaderInput, Source, Wanted},
    trust::{Credentials, Rules},
    unread,
};
use sandbox::Sandbox;
use serde_json::{Value as Json, json};

use super::{
    double::{Double, Reply},
    support::{asked, put, read, read_only_cluster, rotation, sandbox, shown_raw},
};

/// A reader, and the answers that it read.
pub(super) struct Answering {
    pub(super) reader: Reader,
    answers: BTreeMap<(String, Read), Answers>,
}

impl Answering {
    /// Reads for ExternalSecrets of these namespaces.
    pub(super) async fn read<'r>(&mut self, wanted: impl IntoIterator<Item = (&'r str, &'r Read)>) {
        let wanted: Vec<(&str, &Read)> = wanted.into_iter().collect();
        let input = Wanted {
            namespaces: wanted.iter().map(|(namespace, _)| *namespace).collect(),
            reads: Box::new(|group| ready(vec![wanted[group].1.clone()]).boxed_local()),
            members: Box::new(|_| ready(Members::new()).boxed_local()),
        };
        let mut round = self.reader.round(input, None).await;
        while let Some(ready) = round.next().await {
            let (namespace, read) = wanted[ready.group];
            let key = (namespace.to_owned(), read.clone());
            self.answers.insert(key, ready.answers);
        }
    }

    fn unread(&self, namespace: &str, read: &Read) -> Option<Unread> {
        self.answers[&(namespace.to_owned(), read.clone())].unread(read)
    }
}

/// A reader with the stores' own credentials.
pub(super) fn reader(sandbox: &Sandbox, stores: &[(&str, &str, Json)]) -> Answering {
    let rules = Rules {
        credentials: Credentials::Store,
        ..Rules::default()
    };
    reader_with(sandbox, stores, rules)
}

/// A reader for these stores (key, provider, settings) with these rules.
pub(super) fn reader_with(
    sandbox: &Sandbox,
    stores: &[(&str, &str, Json)],
    rules: Rules,
) -> Answering {
    paced(sandbox, stores, rules, &Pace::default())
}

/// A reader with these rates.
fn paced(sandbox: &Sandbox, stores: &[(&str, &str, Json)], rules: Rules, pace: &Pace) -> Answering {
    let stores = stores.iter().map(|(key, provider, settings)| {
        let key = key.parse::<eso_model::StoreKey>().unwrap();
        let store = StoreSettings::new(key.clone(), provider, settings.clone());
        let source = Source {
            conditions: serde_json::from_value(settings["conditions"].clone()).unwrap_or_default(),
            quota: store.provider.quota(settings),
            settings: store,
        };
        (key, Ok(source))
    });
    let reader = Reader::new(ReaderInput {
        cluster: read_only_cluster(&sandbox.url()),
        stores: stores.collect(),
        labels: Some(BTreeMap::new()),
        rules,
        environment: BTreeMap::new(),
        rates: eso_sync::session::rates(pace),
    });
    Answering {
        reader,
        answers: BTreeMap::new(),
    }
}

/// An answer as one line.
pub(super) fn answer(reader: &Answering, namespace: &str, read: &Read) -> String {
    let answers = reader.answers.get(&(namespace.to_owned(), read.clone()));
    let none = Answers::default();
    match answers.unwrap_or(&none).answer(read).content {
        Content::One(raw) => shown_raw(raw),
        Content::NotFound => "not found".to_owned(),
        Content::Unread(unread) => unread.reason.to_owned(),
        Content::Many(_) | Content::Fails(_) => panic!("unexpected kind of answer"),
    }
}

fn shared(key: &str) -> Read {
    read("ClusterSecretStore", "shared", key)
}

const SHARED: &str = "ClusterSecretStore/shared";

#[tokio::test]
async fn secret_is_read_once_for_all() {
    let sandbox = sandbox().await;
    put(&sandbox, "remote", "db", &[("k", "v")]);
    let mut reader = reader(
        &sandbox,
        &[(SHARED, "kubernetes", json!({"remoteNamespace": "remote"}))],
    );
    let (db, absent) = (shared("db"), shared("absent"));
    let wanted = [("team-a", &db), ("team-b", &db), ("team-a", &absent)];
    reader.read(wanted).await;
    for namespace in ["team-a", "team-b"] {
        assert_eq!(answer(&reader, namespace, &db), "k=v");
    }
    assert_eq!(answer(&reader, "team-a", &absent), "not found");
    assert_eq!(asked(&sandbox).len(), 2);
    let calls: Vec<u64> = reader.reader.calls().into_values().collect();
    assert_eq!(calls, [2]);
    assert!(reader.reader.store_errors().is_empty());
}

#[tokio::test]
async fn each_round_reads_only_the_wanted_secrets() {
    let sandbox = sandbox().await;
    put(&sandbox, "remote", "db", &[("k", "before")]);
    put(&sandbox, "remote", "web", &[("k", "before")]);
    let mut reader = reader(
        &sandbox,
        &[(SHARED, "kubernetes", json!({"remoteNamespace": "remote"}))],
    );
    let (db, web) = (shared("db"), shared("web"));
    reader.read([("team-a", &db), ("team-a", &web)]).await;
    for name in ["db", "web"] {
        put(&sandbox, "remote", name, &[("k", "after")]);
    }
    reader.read([("team-a", &db)]).await;
    assert_eq!(answer(&reader, "team-a", &db), "k=after");
    assert_eq!(answer(&reader, "team-a", &web), "k=before");
}

#[tokio::test]
async fn failed_login_is_reported_once_and_not_repeated() {
    let sandbox = sandbox().await;
    let settings = json!({"auth": {"token": {"bearerToken": {"name": "login", "key": "token"}}}});
    let mut reader = reader(
        &sandbox,
        &[("SecretStore/team-a/own", "kubernetes", settings)],
    );
    let reads: Vec<Read> = (0..50)
        .map(|index| read("SecretStore", "own", &format!("s{index}")))
        .collect();
    let wanted = || reads.iter().map(|read| ("team-a", read));
    reader.read(wanted()).await;
    reader.read(wanted()).await;
    reader.read(wanted()).await;
    for read in &reads {
        assert_eq!(answer(&reader, "team-a", read), unread::STORE);
        assert!(reader.unread("team-a", read).unwrap().whole_store);
    }
    assert_eq!(
        asked(&sandbox),
        ["GET /api/v1/namespaces/team-a/secrets/login"]
    );
    let troubles: Vec<String> = reader
        .reader
        .store_errors()
        .iter()
        .map(|(store, unread)| format!("{store}: {}", unread.why.detail))
        .collect();
    assert_eq!(
        troubles,
        ["SecretStore/team-a/own: Secret team-a/login does not exist"]
    );
}

#[tokio::test]
async fn lost_store_gets_no_more_requests() {
    let sandbox = sandbox().await;
    let other = Double::start(|_| Reply::json(401, &json!({"kind": "Status", "code": 401}))).await;
    let settings = json!({"server": {"url": other.url}});
    let mut reader = reader(&sandbox, &[(SHARED, "kubernetes", settings)]);
    let (a, b) = (shared("a"), shared("b"));
    reader.read([("team-a", &a)]).await;
    let calls = other.asked().len();
    reader.read([("team-a", &b)]).await;
    reader.read([("team-a", &a)]).await;
    assert_eq!(other.asked().len(), calls);
    for read in [&a, &b] {
        assert_eq!(answer(&reader, "team-a", read), unread::LOGIN);
    }
    assert_eq!(reader.reader.store_errors().len(), 1);
}

#[tokio::test]
async fn referent_store_is_connected_once_per_namespace() {
    let sandbox = sandbox().await;
    for namespace in ["team-a", "team-b"] {
        put(&sandbox, namespace, "login", &[("token", namespace)]);
    }
    // The server returns the identity of the caller.
    let other = Double::start(|asked| {
        let who = asked.header("authorization").replace("Bearer ", "");
        let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, who);
        Reply::json(200, &json!({"data": {"who": data}}))
    })
    .await;
    let settings = json!({
        "server": {"url": other.url},
        "auth": {"token": {"bearerToken": {"name": "login", "key": "token"}}},
    });
    let mut reader = reader(&sandbox, &[(SHARED, "kubernetes", settings)]);
    let (a, b) = (shared("a"), shared("b"));
    let of_both = ["team-a", "team-b"].map(|namespace| [(namespace, &a), (namespace, &b)]);
    reader.read(of_both.concat()).await;
    for namespace in ["team-a", "team-b"] {
        let who = format!("who={namespace}");
        assert_eq!(answer(&reader, namespace, &a), who);
        assert_eq!(answer(&reader, namespace, &b), who);
    }
    assert_eq!(asked(&sandbox).len(), 2, "each login is resolved once");
}

#[tokio::test]
async fn rate_of_a_store_is_shared_by_its_namespaces() {
    let sandbox = sandbox().await;
    for namespace in ["team-a", "team-b"] {
        put(&sandbox, namespace, "login", &[("token", namespace)]);
    }
    let other = Double::start(|_| Reply::json(200, &json!({"data": {}}))).await;
    let settings = json!({
        "server": {"url": other.url},
        "auth": {"token": {"bearerToken": {"name": "login", "key": "token"}}},
    });
    let rules = Rules {
        credentials: Credentials::Store,
        ..Rules::default()
    };
    let mut pace = Pace::default();
    let rate = Rate::per_second(4.0).unwrap();
    pace.stores.insert(SHARED.parse().unwrap(), rate);
    let mut reader = paced(&sandbox, &[(SHARED, "kubernetes", settings)], rules, &pace);
    let reads = ["a", "b", "c", "d"].map(shared);
    let wanted = ["team-a", "team-b"].map(|of| reads.each_ref().map(|read| (of, read)));
    let start = Instant::now();
    reader.read(wanted.concat()).await;
    assert_eq!(other.asked().len(), 8);
    assert!(
        start.elapsed() > Duration::from_millis(1600),
        "one immediately, then seven at four per second: {:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn missing_answer_is_always_an_error() {
    let sandbox = sandbox().await;
    let mut reader = reader(
        &sandbox,
        &[
            (SHARED, "kubernetes", json!({})),
            ("ClusterSecretStore/odd", "doppler", json!({})),
        ],
    );
    assert_eq!(
        answer(&reader, "team-a", &shared("db")),
        unread::UNAVAILABLE
    );
    let (odd, unseen) = (
        read("ClusterSecretStore", "odd", "k"),
        read("SecretStore", "unseen", "k"),
    );
    reader.read([("team-a", &odd), ("team-a", &unseen)]).await;
    assert_eq!(answer(&reader, "team-a", &odd), unread::UNSUPPORTED);
    assert_eq!(answer(&reader, "team-a", &unseen), unread::STORE);
    assert_eq!(asked(&sandbox), [""; 0]);
    let troubled: Vec<Unread> = reader
        .reader
        .store_errors()
        .into_iter()
        .map(|(_, unread)| unread)
        .collect();
    assert_eq!(troubled.len(), 2);
}

/// The namespace `team-a` reads `k` from each of these stores.
async fn rotations(reader: &mut Answering, stores: &[&str]) -> Vec<String> {
    let secret = |store: &&str| RemoteSecret {
        namespace: "team-a".to_owned(),
        store: store.parse().unwrap(),
        key: "k".to_owned(),
    };
    let wanted: BTreeSet<RemoteSecret> = stores.iter().map(secret).collect();
    let mut found = reader.reader.rotations(&wanted, None).await;
    let stores = stores.iter();
    stores
        .map(|store| rotation(found.remove(&secret(store)).unwrap()))
        .collect()
}

/// Providers without schedules are not asked, whoever they belong to. What is not known is not taken for none.
#[tokio::test]
async fn rotation_is_looked_up_where_schedules_are_kept() {
    let sandbox = sandbox().await;
    let stores = [
        (
            "ClusterSecretStore/vault",
            "vault",
            json!({"server": "https://vault.corp:8200"}),
        ),
        ("ClusterSecretStore/cluster", "kubernetes", json!({})),
        (
            "ClusterSecretStore/ssm",
            "aws",
            json!({"service": "ParameterStore", "region": "eu-west-1"}),
        ),
        ("ClusterSecretStore/odd", "doppler", json!({})),
        (
            "ClusterSecretStore/other",
            "azurekv",
            json!({"vaultUrl": "https://kv.vault.azure.net", "conditions": [{"namespaces": ["team-b"]}]}),
        ),
    ];
    let mut reader = reader(&sandbox, &stores);
    let mut asked_for = stores.iter().map(|(store, ..)| *store).collect::<Vec<_>>();
    asked_for.push("SecretStore/team-a/unseen");
    let said = rotations(&mut reader, &asked_for).await;
    let reasons: Vec<&str> = said.iter().filter_map(|it| it.split(" (").next()).collect();
    let unknown = [unread::UNSUPPORTED, unread::NAMESPACE, unread::STORE];
    assert_eq!(reasons[..3], ["not kept"; 3]);
    assert_eq!(reasons[3..], unknown);
    assert_eq!(asked(&sandbox), [""; 0]);
}
