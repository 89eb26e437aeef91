use std::{collections::BTreeMap, time::Duration};

use providers::{
    Ambient, connect_queue,
    queue::{DeadLetters, NotDone, Queue, QueueWarning, Receipt, address::Address},
    unread,
};

use super::{HIDDEN, acknowledged, all, bodies, hidden};
use crate::{
    providers::{
        azurite::Azurite,
        proxy::{Fault, first, page},
    },
    support::eventually,
};

/// Makes a fault.
type Faulty = fn() -> Fault;

const OWNER: &str = "0d9f7a66-0000-4000-8000-123456789abc";

async fn connected(azurite: &Azurite, poison: Option<&str>) -> Box<dyn Queue> {
    connected_by(azurite, poison, azurite.environment()).await
}

async fn connected_by(
    azurite: &Azurite,
    poison: Option<&str>,
    environment: BTreeMap<String, String>,
) -> Box<dyn Queue> {
    let ambient = Ambient {
        environment,
        ..Ambient::default()
    };
    let mut address: Address = azurite.url().parse().expect("an address");
    if let Some(poison) = poison {
        address = address.with_poison(poison).expect("another queue");
    }
    let connected = connect_queue(&address, &ambient).await;
    connected.unwrap_or_else(|unread| panic!("{unread:?}"))
}

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn messages_in_azurite_are_received_hidden_and_acknowledged() {
    let azurite = Azurite::created(Some(OWNER)).await;
    let queue = connected(&azurite, Some(&azurite.poison())).await;
    assert!(all(&*queue, HIDDEN).await.is_empty());

    let texts: Vec<String> = (0..40).map(|index| format!("m{index:02} &<é")).collect();
    for text in &texts {
        azurite.send(text).await;
    }
    let state = queue.look().await.expect("a state");
    assert_eq!(state.owner.as_deref(), Some(OWNER));
    assert_eq!(state.backlog, Some(40));
    assert_eq!(state.dead_letters, DeadLetters::Queue { count: Some(0) });
    assert_eq!(state.warnings, []);

    let mut received = all(&*queue, HIDDEN).await;
    assert_eq!(bodies(&received), texts);
    assert!(received.iter().all(|delivery| delivery.attempts == Some(1)));
    assert!(all(&*queue, HIDDEN).await.is_empty());
    // Each time gives new receipts, which then acknowledge.
    for _ in 0..2 {
        let done = hidden(&*queue, &mut received, HIDDEN).await;
        assert_eq!(done, vec![Ok(()); 40]);
    }
    let mut released = received.split_off(38);
    let done = hidden(&*queue, &mut released, Duration::ZERO).await;
    assert_eq!(done, vec![Ok(()); 2]);
    let done = acknowledged(&*queue, &received).await;
    assert_eq!(done, vec![Ok(()); 38]);
    let again = all(&*queue, HIDDEN).await;
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|delivery| delivery.attempts == Some(2)));
}

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn expired_receipts_in_azurite_acknowledge_nothing() {
    let azurite = Azurite::created(Some(OWNER)).await;
    azurite.send("m").await;
    let queue = connected(&azurite, None).await;
    let state = queue.look().await.expect("a state");
    assert_eq!(state.warnings, [QueueWarning::NoDeadLetters]);
    let first = all(&*queue, Duration::from_secs(1)).await;
    let second = eventually("it is delivered again", async || {
        let some = all(&*queue, HIDDEN).await;
        (!some.is_empty()).then_some(some)
    })
    .await;
    assert_eq!(second[0].attempts, Some(2));
    let expired = vec![Err(NotDone::ReceiptExpired)];
    assert_eq!(acknowledged(&*queue, &first).await, expired);
    let mut first = first;
    assert_eq!(hidden(&*queue, &mut first, HIDDEN).await, expired);
    assert_eq!(acknowledged(&*queue, &second).await, [Ok(())]);
    assert_eq!(azurite.count(&azurite.name).await, 0);
    // It is gone: nothing is left to acknowledge, and nothing to hide.
    assert_eq!(acknowledged(&*queue, &second).await, [Ok(())]);
    assert_eq!(hidden(&*queue, &mut first, HIDDEN).await, expired);
}

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn poison_in_azurite_is_moved_as_it_was() {
    let azurite = Azurite::created(None).await;
    let queue = connected(&azurite, Some(&azurite.poison())).await;
    assert_eq!(queue.look().await.expect("a state").owner, None);
    azurite.send("no <event> & more").await;
    let received = all(&*queue, HIDDEN).await;
    let done = queue.poison(&received[0].receipt, &received[0].body).await;
    assert_eq!(done, Ok(()));
    assert_eq!(azurite.count(&azurite.name).await, 0);
    let moved = azurite.visible(&azurite.poison()).await;
    assert_eq!(moved.len(), 1);
    assert!(moved[0].starts_with("no &lt;event"), "{moved:?}");
    let state = queue.look().await.expect("a state");
    assert_eq!(state.dead_letters, DeadLetters::Queue { count: Some(1) });
}

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn missing_queue_in_azurite_is_an_error() {
    let azurite = Azurite::created(Some(OWNER)).await;
    let queue = connected(&azurite, Some("no-such-queue")).await;
    azurite.send("m").await;
    let received = all(&*queue, HIDDEN).await;
    // The message stays where it is.
    let kept = queue.poison(&received[0].receipt, &received[0].body).await;
    let Err(NotDone::Failed(unread)) = kept else {
        panic!("{kept:?}");
    };
    assert_eq!(
        unread.why.detail,
        "the poison queue: the queue does not exist"
    );
    assert_eq!(azurite.count(&azurite.name).await, 1);
    let state = queue.look().await.expect("a state");
    assert_eq!(state.warnings, [QueueWarning::NoDeadLetters]);

    azurite.delete().await;
    let gone = queue.look().await.expect_err("no queue");
    assert_eq!(gone.why.reason, unread::STORE);
    let gone = queue.receive(1, HIDDEN, Duration::ZERO).await;
    assert_eq!(gone.err().map(|gone| gone.why.reason), Some(unread::STORE));
    let receipts: Vec<&Receipt> = received.iter().map(|it| &it.receipt).collect();
    let lost = queue.acknowledge(&receipts).await;
    assert!(matches!(lost[..], [Err(NotDone::Failed(_))]), "{lost:?}");
}

/// The last attempt may have been done: hiding it again needs the new receipt, which was lost, and so the message is delivered again.
#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn calls_in_azurite_are_repeated_after_faults() {
    let faults: [(Faulty, Result<(), NotDone>); 4] = [
        (|| page(503, None), Ok(())),
        (|| page(429, Some("0")), Ok(())),
        (|| Fault::Reset, Ok(())),
        (|| Fault::Lost, Err(NotDone::ReceiptExpired)),
    ];
    for (fault, hidden_again) in faults {
        let azurite = Azurite::created(Some(OWNER)).await;
        azurite.send("m").await;
        let (proxy, environment) = azurite.behind(first(1, fault)).await;
        let queue = connected_by(&azurite, None, environment).await;
        let state = queue.look().await.expect("a state");
        assert_eq!(state.owner.as_deref(), Some(OWNER));
        // What a lost answer contained is visible again after some seconds.
        let mut received = eventually("it is received", async || {
            let some = queue.receive(10, Duration::from_secs(3), Duration::ZERO);
            let some = some.await.expect("an answer");
            (!some.is_empty()).then_some(some)
        })
        .await;
        let done = hidden(&*queue, &mut received, Duration::ZERO).await;
        assert_eq!(done, [hidden_again]);
        let received = eventually("it is delivered again", async || {
            let some = all(&*queue, HIDDEN).await;
            (!some.is_empty()).then_some(some)
        })
        .await;
        assert_eq!(acknowledged(&*queue, &received).await, [Ok(())]);
        assert_eq!(azurite.count(&azurite.name).await, 0);
        assert!(proxy.faults() >= 3);
    }
}
