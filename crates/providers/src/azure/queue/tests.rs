//! Tests against a double with the documented protocol, under Azure's host names. Azurite: `tests/azurite/run`.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::{StorageQueue, open};
use crate::{
    Ambient, Backoff, Unread,
    double::{Call, Certificate, Double, Reply},
    queue::{DeadLetters, NotDone, Queue as _, QueueState, QueueWarning, Receipt},
    unread,
};

const HOSTS: [&str; 2] = ["shop.queue.core.windows.net", "login.microsoftonline.com"];

const HIDDEN: Duration = Duration::from_mins(1);

#[derive(Default)]
struct State {
    /// The texts of the messages, by their ID, each with its pop receipt and the number of deliveries.
    messages: BTreeMap<String, (String, usize, usize)>,
    poison: Vec<String>,
    has_poison_queue: bool,
    /// Answers that replace the next answers of the queue.
    faults: VecDeque<Reply>,
    /// The methods and queries of the calls.
    calls: Vec<String>,
}

struct Account {
    state: Arc<Mutex<State>>,
    double: Double,
    http: reqwest::Client,
}

impl Account {
    async fn started() -> Self {
        let certificate = Certificate::self_signed(&HOSTS);
        let authority = reqwest::Certificate::from_pem(certificate.authority.as_bytes()).unwrap();
        let state = Arc::new(Mutex::new(State {
            has_poison_queue: true,
            ..State::default()
        }));
        let of = Arc::clone(&state);
        let double = Double::tls(certificate, move |call| answer(&of, call)).await;
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([authority]);
        for host in HOSTS {
            builder = builder.resolve(host, double.address);
        }
        let http = builder.build().unwrap();
        Self {
            state,
            double,
            http,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn send(&self, texts: &[&str]) {
        for (at, text) in texts.iter().enumerate() {
            let id = format!("00000000-{at}");
            let message = ((*text).to_owned(), 0, 0);
            self.state().messages.insert(id, message);
        }
    }

    fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state().faults = replies.into_iter().collect();
    }

    async fn connected(&self, environment: &[(&str, &str)]) -> Result<StorageQueue, Unread> {
        let job = [
            ("AZURE_CLIENT_ID", "client"),
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_SECRET", "hunter2"),
        ];
        let all = job.iter().chain(environment);
        let ambient = Ambient {
            environment: all
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Ambient::default()
        };
        let address = "https://shop.queue.core.windows.net/eso-sync".parse();
        let address =
            address.and_then(|it: crate::queue::address::Address| it.with_poison("poison"));
        let mut queue = open(&address.unwrap(), &ambient, self.http.clone()).await?;
        queue.limiter = queue.limiter.with_backoff(Backoff {
            first: Duration::from_millis(5),
            longest: Duration::from_millis(20),
        });
        Ok(queue)
    }

    async fn queue(&self) -> StorageQueue {
        self.connected(&[]).await.unwrap()
    }
}

fn fault(status: u16, code: &'static str) -> Reply {
    Reply::new(status, "hunter2").with("x-ms-error-code", code)
}

fn answer(state: &Mutex<State>, call: &Call) -> Reply {
    if call.path().ends_with("/token") {
        let token = r#"{"token_type": "Bearer", "expires_in": 3600, "access_token": "token"}"#;
        return Reply::new(200, token).with("content-type", "application/json");
    }
    assert_eq!(call.header("authorization"), "Bearer token");
    let mut state = state.lock().unwrap();
    let query = call.uri.query().unwrap_or_default().to_owned();
    state.calls.push(format!("{} {query}", call.method));
    if let Some(fault) = state.faults.pop_front() {
        return fault;
    }
    let mut path = call.path().trim_start_matches('/').split('/');
    let (queue, _, id) = (path.next(), path.next(), path.next().unwrap_or_default());
    let pop = call.query("popreceipt").unwrap_or_default();
    match (call.method.as_str(), queue, id) {
        ("GET", Some("poison"), "") if !state.has_poison_queue => fault(404, "QueueNotFound"),
        ("GET", Some("poison"), "") => count(state.poison.len()),
        ("GET", Some("eso-sync"), "") if call.query("comp").is_some() => {
            count(state.messages.len()).with("x-ms-meta-Eso_Sync_Cluster", "cluster")
        }
        ("GET", Some("eso-sync"), "") => state.receive(),
        ("POST", Some("poison"), "") => {
            state.poison.push(call.body.clone());
            Reply::new(201, "<QueueMessagesList/>").with("content-type", "application/xml")
        }
        ("PUT" | "DELETE", Some("eso-sync"), id) => state.change(&call.method, id, &pop),
        other => panic!("the double does not know {other:?}"),
    }
}

fn count(messages: usize) -> Reply {
    Reply::new(200, "").with("x-ms-approximate-messages-count", messages.to_string())
}

impl State {
    fn receive(&mut self) -> Reply {
        let mut all = String::new();
        for (id, (text, pop, received)) in &mut self.messages {
            *pop += 1;
            *received += 1;
            // Writing to a String cannot fail.
            let _ = write!(
                all,
                "<QueueMessage><MessageId>{id}</MessageId><PopReceipt>/+{pop}=</PopReceipt><DequeueCount>{received}</DequeueCount>\
                 <MessageText>{text}</MessageText></QueueMessage>"
            );
        }
        let body = format!("<?xml version=\"1.0\"?><QueueMessagesList>{all}</QueueMessagesList>");
        Reply::new(200, body).with("content-type", "application/xml")
    }

    fn change(&mut self, method: &str, id: &str, receipt: &str) -> Reply {
        let Some((_, pop, _)) = self.messages.get_mut(id) else {
            return fault(404, "MessageNotFound");
        };
        if receipt != format!("/+{pop}=") {
            return fault(400, "PopReceiptMismatch");
        }
        *pop += 1;
        let renewed = format!("/+{pop}=");
        if method == "DELETE" {
            self.messages.remove(id);
        }
        Reply::new(204, "").with("x-ms-popreceipt", renewed)
    }
}

#[tokio::test]
async fn queue_shows_its_owner_backlog_and_dead_letters() {
    let account = Account::started().await;
    account.send(&["a", "b"]);
    account.state().poison.push("c".to_owned());
    let queue = account.queue().await;
    let expected = QueueState {
        owner: Some("cluster".to_owned()),
        backlog: Some(2),
        dead_letters: DeadLetters::Queue { count: Some(1) },
        warnings: Vec::new(),
    };
    assert_eq!(queue.look().await, Ok(expected));
    account.state().has_poison_queue = false;
    let state = queue.look().await.unwrap();
    assert_eq!(state.warnings, [QueueWarning::NoDeadLetters]);
    assert_eq!(queue.owner_tag(), "eso_sync_cluster");
}

#[tokio::test]
async fn hidden_message_is_acknowledged_with_its_new_receipt() {
    let account = Account::started().await;
    account.send(&["a&amp;b", "c"]);
    let queue = account.queue().await;
    let mut received = queue.receive(100, HIDDEN, Duration::ZERO).await.unwrap();
    let shown: Vec<_> = received
        .iter()
        .map(|it| (it.body.as_str(), it.attempts))
        .collect();
    assert_eq!(shown, [("a&b", Some(1)), ("c", Some(1))]);
    let first = received[0].receipt.clone();
    let mut receipts: Vec<_> = received.iter_mut().map(|it| &mut it.receipt).collect();
    assert_eq!(
        queue.hide(&mut receipts, Duration::ZERO).await,
        vec![Ok(()); 2]
    );
    // The receipt before it no longer works.
    assert_eq!(
        queue.acknowledge(&[&first]).await,
        [Err(NotDone::ReceiptExpired)]
    );
    let receipts: Vec<&Receipt> = received.iter().map(|it| &it.receipt).collect();
    assert_eq!(queue.acknowledge(&receipts).await, vec![Ok(()); 2]);
    assert!(account.state().messages.is_empty());
    // As after an answer that was lost.
    assert_eq!(queue.acknowledge(&receipts).await, vec![Ok(()); 2]);
    let calls = account.state().calls.join("\n");
    assert!(
        calls.contains("numofmessages=32&visibilitytimeout=60"),
        "{calls}"
    );
    assert!(
        calls.contains("popreceipt=%2F%2B1%3D&visibilitytimeout=0"),
        "{calls}"
    );
}

#[tokio::test]
async fn poison_is_sent_before_it_is_removed() {
    let account = Account::started().await;
    account.send(&["not&lt;json"]);
    let queue = account.queue().await;
    let received = queue.receive(1, HIDDEN, Duration::ZERO).await.unwrap();
    let message = &received[0];
    assert!(queue.poisons());
    account.next([fault(403, "AuthorizationPermissionMismatch")]);
    let refused = queue.poison(&message.receipt, &message.body).await;
    let Err(NotDone::Failed(unread)) = refused else {
        panic!("{refused:?}");
    };
    let lacking = "\"Storage Queue Data Message Sender\" on the queue shop/eso-sync";
    assert_eq!(unread.permission.as_deref(), Some(lacking));
    assert_eq!(account.state().messages.len(), 1);
    assert_eq!(queue.poison(&message.receipt, &message.body).await, Ok(()));
    let state = account.state();
    assert!(state.messages.is_empty());
    assert!(
        state.poison[0].contains("<MessageText>not&lt;json</MessageText>"),
        "{:?}",
        state.poison
    );
    assert!(
        state.calls.contains(&"POST messagettl=-1".to_owned()),
        "{:?}",
        state.calls
    );
}

#[tokio::test]
async fn calls_are_repeated_after_faults() {
    for reply in [
        fault(503, "ServerBusy"),
        fault(500, "OperationTimedOut"),
        Reply::new(429, "").with("retry-after", "0"),
        Reply::reset(),
    ] {
        let account = Account::started().await;
        account.send(&["a"]);
        let queue = account.queue().await;
        account.next([reply]);
        let received = queue.receive(1, HIDDEN, Duration::ZERO).await.unwrap();
        assert_eq!(received.len(), 1);
    }
}

#[tokio::test]
async fn errors_say_what_is_missing_without_the_servers_text() {
    for (reply, reason, said) in [
        (
            fault(404, "QueueNotFound"),
            unread::STORE,
            "the queue does not exist",
        ),
        (
            fault(403, "AuthorizationPermissionMismatch"),
            unread::DENIED,
            "Azure Storage answered 403 (AuthorizationPermissionMismatch)",
        ),
        (
            fault(403, "AuthorizationFailure"),
            unread::DENIED,
            "Azure Storage answered 403 (AuthorizationFailure): its network rules do not allow this address",
        ),
        (
            Reply::new(404, "hunter2"),
            unread::UNAVAILABLE,
            "Azure Storage answered 404",
        ),
        (
            Reply::new(302, "").with("location", "https://evil.example/"),
            unread::UNAVAILABLE,
            "Azure Storage answered 302",
        ),
        (
            Reply::new(200, "hunter2"),
            unread::UNREADABLE,
            "the answer of the queue is invalid",
        ),
    ] {
        let account = Account::started().await;
        let queue = account.queue().await;
        account.next([reply]);
        let failed = queue
            .receive(1, HIDDEN, Duration::ZERO)
            .await
            .err()
            .unwrap();
        assert_eq!(
            (failed.why.reason, failed.why.detail.as_str()),
            (reason, said)
        );
        let lacks = reason == unread::DENIED && !failed.whole_store;
        assert_eq!(failed.permission.is_some(), lacks, "{failed:?}");
    }
}

#[tokio::test]
async fn token_goes_only_to_azure_or_to_this_machine() {
    let account = Account::started().await;
    for bad in [
        "https://evil.example/devstoreaccount1",
        "http://127.0.0.1:10001/devstoreaccount1",
        "https://127.0.0.1.evil.example/devstoreaccount1",
        "https://localhost:10001/devstoreaccount1",
        "https://127.0.0.1:10001/devstoreaccount1?sig=x",
        "nonsense",
    ] {
        let refused = account
            .connected(&[("AZURE_STORAGE_QUEUE_ENDPOINT", bad)])
            .await;
        let refused = refused.err().unwrap();
        assert_eq!(refused.why.reason, unread::NOT_TRUSTED, "{bad}");
    }
    for good in [
        "https://127.0.0.1:10001/devstoreaccount1/",
        "https://[::1]:10001/a",
    ] {
        assert!(
            account
                .connected(&[("AZURE_STORAGE_QUEUE_ENDPOINT", good)])
                .await
                .is_ok()
        );
    }
    assert_eq!(account.double.asked(), Vec::<String>::new());
}
