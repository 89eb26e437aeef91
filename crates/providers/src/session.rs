//! A client that is logged in, and logs in again when its credentials are out of date. Once it cannot, or nobody answers, nothing
//! more is sent.

use std::sync::OnceLock;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::{
    Turns, Unread,
    attempts::{Again, Attempts},
};

/// Logs in, and makes a client of it.
type Connect<C> = Box<dyn Fn() -> BoxFuture<'static, Result<C, Unread>> + Send + Sync>;

/// A client, and how it came to be.
pub(super) struct Session<C, E> {
    connect: Connect<C>,
    present: Mutex<Present<C>>,
    /// What lost the store: it is the answer to all further calls.
    lost: OnceLock<E>,
}

struct Present<C> {
    client: C,
    /// How many there were before.
    generation: u64,
}

/// What an error means for the attempts at a call.
pub(super) trait Classified: Clone {
    /// Whether to try again.
    fn again(&self) -> Again;

    /// Whether, as the last word on a call, it is that on all others too.
    fn is_of_all(&self) -> bool;
}

impl<C: Clone, E: Classified> Session<C, E> {
    /// Logs in.
    pub(super) async fn start(
        connect: impl Fn() -> BoxFuture<'static, Result<C, Unread>> + Send + Sync + 'static,
    ) -> Result<Self, Unread> {
        let client = connect().await?;
        Ok(Self {
            connect: Box::new(connect),
            present: Mutex::new(Present {
                client,
                generation: 0,
            }),
            lost: OnceLock::new(),
        })
    }

    /// One call, as often as it takes.
    pub(super) async fn call<T, F>(&self, turns: &Turns, send: impl Fn(C) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send,
    {
        let mut attempts = Attempts::new(turns);
        let mut renewed = false;
        loop {
            self.check()?;
            attempts.turn().await;
            // Another call may have found out meanwhile.
            self.check()?;
            // After the turn: meanwhile another call may have renewed it.
            let (client, generation) = self.present().await;
            let error = match send(client).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = error.again();
            let renews = again == Again::Expired && !renewed;
            renewed |= renews;
            if renews && self.renew(generation).await.is_ok() {
                continue;
            }
            if !attempts.again(again).await {
                if error.is_of_all() {
                    return Err(self.lost.get_or_init(|| error).clone());
                }
                return Err(error);
            }
        }
    }

    fn check(&self) -> Result<(), E> {
        self.lost.get().cloned().map_or(Ok(()), Err)
    }

    async fn present(&self) -> (C, u64) {
        let present = self.present.lock().await;
        (present.client.clone(), present.generation)
    }

    /// Logs in anew, unless another call has done so since.
    async fn renew(&self, generation: u64) -> Result<(), Unread> {
        let mut present = self.present.lock().await;
        if present.generation == generation {
            present.client = (self.connect)().await?;
            present.generation += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use futures::FutureExt as _;
    use pace::rate::Rate;

    use super::*;
    use crate::unread;

    impl Classified for Again {
        fn again(&self) -> Again {
            *self
        }

        fn is_of_all(&self) -> bool {
            matches!(self, Self::Expired | Self::Unreachable)
        }
    }

    /// What is sent for a hundred calls that all end so, and the logins after the first.
    async fn sent(error: Again) -> (u64, u64) {
        let (logins, sent) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let counted = Arc::clone(&logins);
        let connect = move || {
            let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            let refused = Unread::store(unread::LOGIN, "no");
            async move { if first { Ok(()) } else { Err(refused) } }.boxed()
        };
        let session: Session<(), Again> = Session::start(connect).await.unwrap();
        let turns = Turns::new(Rate::per_second(1000.0).unwrap());
        for _ in 0..100 {
            let answer: Result<(), Again> = session
                .call(&turns, |()| {
                    sent.fetch_add(1, Ordering::Relaxed);
                    async move { Err(error) }
                })
                .await;
            assert_eq!(answer, Err(error));
        }
        let sent = sent.into_inner();
        assert_eq!(turns.calls(), sent, "what is not sent takes no turn");
        (sent, logins.load(Ordering::Relaxed) - 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_fails_is_not_tried_for_each_secret() {
        assert_eq!(sent(Again::Expired).await, (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_not_asked_for_each_secret() {
        assert_eq!(sent(Again::Unreachable).await, (4, 0));
        assert_eq!(
            sent(Again::Transient(None)).await,
            (400, 0),
            "it may be the one"
        );
    }
}
