//! A client that is logged in, and logs in again when its credentials are out of date.

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::{
    Turns, Unread,
    attempts::{Again, Attempts},
};

/// Logs in, and makes a client of it.
type Connect<C> = Box<dyn Fn() -> BoxFuture<'static, Result<C, Unread>> + Send + Sync>;

/// A client, and how it came to be.
pub(super) struct Session<C> {
    connect: Connect<C>,
    present: Mutex<Present<C>>,
}

struct Present<C> {
    client: C,
    /// How many there were before.
    generation: u64,
}

/// What an error means for the attempts at a call.
pub(super) trait Classified {
    /// Whether to try again.
    fn again(&self) -> Again;
}

impl<C: Clone> Session<C> {
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
        })
    }

    /// One call, as often as it takes.
    pub(super) async fn call<T, E, F>(&self, turns: &Turns, send: impl Fn(C) -> F) -> Result<T, E>
    where
        E: Classified,
        F: Future<Output = Result<T, E>> + Send,
    {
        let mut attempts = Attempts::new(turns);
        let mut renewed = false;
        loop {
            attempts.turn().await;
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
                return Err(error);
            }
        }
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
