//! Counts the bytes of an answer while it arrives, before the provider's client keeps them in memory.
//!
//! The clients of the clouds read answers of any length. The parts of them that see an answer arrive belong to no call, so they
//! find the call's share by the task that runs it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use pace::bytes::{Held, Share};

tokio::task_local! {
    static ANSWER: Arc<Arriving>;
}

/// An answer that arrives.
#[derive(Debug)]
pub(crate) struct Arriving {
    held: Mutex<Held>,
    is_over: AtomicBool,
}

/// The answer does not fit in the share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is too long")]
pub(crate) struct TooLong;

impl Arriving {
    /// The answer to the call that this task makes. None outside of a call.
    #[cfg(any(feature = "aws", feature = "azure"))]
    pub(crate) fn current() -> Option<Arc<Self>> {
        ANSWER.try_with(Arc::clone).ok()
    }

    /// Holds more bytes.
    #[cfg(any(feature = "aws", feature = "azure"))]
    pub(crate) fn take(&self, bytes: usize) -> Result<(), TooLong> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.grow(bytes).map_err(|_| {
            self.is_over.store(true, Ordering::Relaxed);
            TooLong
        })
    }
}

/// Makes a call whose answer holds bytes of this share until it is parsed.
pub(super) async fn within<T>(share: &Share, call: impl Future<Output = T>) -> Result<T, TooLong> {
    let answer = Arc::new(Arriving {
        held: Mutex::new(share.nothing()),
        is_over: AtomicBool::new(false),
    });
    let done = ANSWER.scope(Arc::clone(&answer), call).await;
    if answer.is_over.load(Ordering::Relaxed) {
        return Err(TooLong);
    }
    Ok(done)
}
