//! Queues against real servers: moto as SQS and Google's emulator of Pub/Sub, each with faults in front of it, and Azurite.

#[cfg(feature = "events-azure")]
mod azurite;
#[cfg(feature = "events-gcp")]
mod pubsub;
#[cfg(feature = "events-aws")]
mod sqs;

use std::time::Duration;

use providers::queue::{Delivery, NotDone, Queue, Receipt};

const HIDDEN: Duration = Duration::from_mins(1);

/// Receives until the queue is empty.
async fn all(queue: &dyn Queue, hidden: Duration) -> Vec<Delivery> {
    let (mut all, mut empty) = (Vec::new(), 0);
    while empty < 2 {
        let some = queue.receive(100, hidden, Duration::ZERO).await;
        let some = some.expect("an answer");
        empty = if some.is_empty() { empty + 1 } else { 0 };
        all.extend(some);
    }
    all
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    let mut bodies: Vec<String> = deliveries.iter().map(|it| it.body.clone()).collect();
    bodies.sort();
    bodies
}

async fn acknowledged(queue: &dyn Queue, deliveries: &[Delivery]) -> Vec<Result<(), NotDone>> {
    let receipts: Vec<&Receipt> = deliveries.iter().map(|it| &it.receipt).collect();
    queue.acknowledge(&receipts).await
}

async fn hidden(
    queue: &dyn Queue,
    deliveries: &mut [Delivery],
    time: Duration,
) -> Vec<Result<(), NotDone>> {
    let mut receipts: Vec<_> = deliveries.iter_mut().map(|it| &mut it.receipt).collect();
    queue.hide(&mut receipts, time).await
}
