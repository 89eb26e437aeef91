//! Reads several keys with one call. Keys that the batch does not answer are read with a call each.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::FutureExt as _;

use super::error::{self, AwsError};
use crate::{
    Answered, RateLimiter,
    engine::{Failure, in_flight},
    unread,
};

/// The answers of a batch, and the keys that it does not answer.
pub(super) type Assigned = (Vec<(String, Answered)>, Vec<String>);

/// A store that reads several keys with one call.
#[async_trait]
pub(super) trait Batch: Sync {
    /// The maximum number of keys in one call.
    const SIZE: usize;

    /// The warning if batch calls are denied, because this multiplies the number of calls.
    const DENIED: &'static str;

    /// True once a batch call was denied for lack of permission.
    fn batch_denied(&self) -> &AtomicBool;

    /// Reads several keys with one call.
    async fn several(
        &self,
        keys: &[String],
        limiter: &RateLimiter,
    ) -> Result<Assigned, Failure<AwsError>>;

    /// Reads one key with one call.
    async fn single(&self, key: &str, limiter: &RateLimiter) -> Answered;

    /// The reason why a batch call failed.
    fn unread(&self, failure: Failure<AwsError>) -> crate::Unread;
}

/// Reads these keys with as few calls as possible.
pub(super) async fn all<B: Batch>(
    store: &B,
    keys: Vec<String>,
    limiter: &RateLimiter,
) -> Vec<(String, Answered)> {
    let batches = keys.chunks(B::SIZE);
    let calls = batches.map(|keys| batch(store, keys.to_vec(), limiter).boxed());
    in_flight(calls.collect())
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// Reads each of these keys with a separate call.
pub(super) async fn one_by_one<B: Batch>(
    store: &B,
    keys: Vec<String>,
    limiter: &RateLimiter,
) -> Vec<(String, Answered)> {
    let calls = keys.into_iter().map(|key| {
        let call = async move {
            let answer = store.single(&key, limiter).await;
            (key, answer)
        };
        call.boxed()
    });
    in_flight(calls.collect()).await
}

async fn batch<B: Batch>(
    store: &B,
    keys: Vec<String>,
    limiter: &RateLimiter,
) -> Vec<(String, Answered)> {
    if keys.len() < 2 || store.batch_denied().load(Ordering::Relaxed) {
        return one_by_one(store, keys, limiter).await;
    }
    let failure = match store.several(&keys, limiter).await {
        Ok((mut answers, left)) => {
            // For example secrets of other accounts, throttled secrets, and ambiguous versions.
            answers.extend(one_by_one(store, left, limiter).await);
            return answers;
        }
        Err(failure) => failure,
    };
    match error::answer(&failure) {
        Some(error) if error.is_denied() => {
            let answers = one_by_one(store, keys, limiter).await;
            // If a single key is denied too, that key may be the reason why the batch was denied.
            if answers.iter().all(|(_, answer)| !is_denied(answer)) {
                warn_once::<B>(store);
            }
            answers
        }
        // One invalid key fails the whole batch.
        Some(error) if error.may_be_caused_by_a_key() => one_by_one(store, keys, limiter).await,
        _ => {
            let unread = store.unread(failure);
            keys.into_iter()
                .map(|key| (key, Answered::Unread(unread.clone())))
                .collect()
        }
    }
}

fn warn_once<B: Batch>(store: &B) {
    if !store.batch_denied().swap(true, Ordering::Relaxed) {
        tracing::warn!("{}", B::DENIED);
    }
}

fn is_denied(answer: &Answered) -> bool {
    matches!(answer, Answered::Unread(unread) if unread.why.reason == unread::DENIED)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pace::rate::Rate;

    use super::*;
    use crate::{Unread, aws::error::Needed};

    /// A store where the start of each key selects the result of its read.
    #[derive(Default)]
    struct Double {
        batch_denied: AtomicBool,
        /// True if batch calls are denied.
        no_batches: bool,
        calls: Mutex<Vec<String>>,
    }

    fn denied() -> AwsError {
        AwsError::said(Some("AccessDeniedException"), None, Some(400))
    }

    const NEEDED: Needed<'static> = Needed {
        service: "double",
        call: "Batch",
        region: "eu-west-1",
        key: None,
    };

    #[async_trait]
    impl Batch for Double {
        const SIZE: usize = 3;
        const DENIED: &'static str = "batches are denied";

        fn batch_denied(&self) -> &AtomicBool {
            &self.batch_denied
        }

        async fn several(
            &self,
            keys: &[String],
            _: &RateLimiter,
        ) -> Result<Assigned, Failure<AwsError>> {
            self.calls.lock().unwrap().push(keys.join("+"));
            let any = |start: &str| keys.iter().any(|key| key.starts_with(start));
            if self.no_batches || any("denied") {
                return Err(Failure::Answer(denied()));
            }
            if any("invalid") {
                let code = Some("ValidationException");
                return Err(Failure::Answer(AwsError::said(code, None, Some(400))));
            }
            if any("down") {
                return Err(Failure::Unread(Unread::secret(unread::UNAVAILABLE, "down")));
            }
            let (left, told): (Vec<String>, Vec<String>) = keys
                .iter()
                .cloned()
                .partition(|key| key.starts_with("foreign"));
            let answers = told.into_iter().map(|key| (key, Answered::NotFound));
            Ok((answers.collect(), left))
        }

        async fn single(&self, key: &str, _: &RateLimiter) -> Answered {
            self.calls.lock().unwrap().push(key.to_owned());
            if key.starts_with("denied") {
                return denied().answer(&NEEDED);
            }
            Answered::NotFound
        }

        fn unread(&self, failure: Failure<AwsError>) -> Unread {
            match failure {
                Failure::Answer(error) => error.unread(&NEEDED),
                Failure::Unread(unread) | Failure::Unknown(unread) => unread,
            }
        }
    }

    async fn calls(store: &Double, keys: &[&str]) -> Vec<String> {
        let limiter = RateLimiter::new(Rate::per_second(1000.0).unwrap());
        let wanted = keys.iter().map(|key| (*key).to_owned()).collect();
        let answers = all(store, wanted, &limiter).await;
        assert_eq!(answers.len(), keys.len(), "each key has one answer");
        let mut calls = std::mem::take(&mut *store.calls.lock().unwrap());
        calls.sort();
        calls
    }

    #[tokio::test]
    async fn keys_are_read_in_batches() {
        let store = Double::default();
        assert_eq!(
            calls(&store, &["a", "b", "c", "d", "e"]).await,
            ["a+b+c", "d+e"]
        );
        assert_eq!(calls(&store, &["a"]).await, ["a"], "one key needs no batch");
    }

    #[tokio::test]
    async fn keys_that_a_batch_does_not_answer_are_read_one_by_one() {
        let store = Double::default();
        assert_eq!(
            calls(&store, &["a", "foreign"]).await,
            ["a+foreign", "foreign"]
        );
    }

    #[tokio::test]
    async fn invalid_key_does_not_fail_the_others() {
        let store = Double::default();
        assert_eq!(
            calls(&store, &["a", "invalid"]).await,
            ["a", "a+invalid", "invalid"]
        );
    }

    #[tokio::test]
    async fn failed_batch_is_not_read_one_by_one() {
        let store = Double::default();
        assert_eq!(calls(&store, &["a", "down"]).await, ["a+down"]);
    }

    #[tokio::test]
    async fn denied_batch_call_is_tried_once() {
        let store = Double {
            no_batches: true,
            ..Double::default()
        };
        assert_eq!(calls(&store, &["a", "b"]).await, ["a", "a+b", "b"]);
        assert_eq!(calls(&store, &["a", "b"]).await, ["a", "b"]);
    }

    /// Otherwise one denied secret of a tenant would multiply the calls for all tenants.
    #[tokio::test]
    async fn denied_key_does_not_end_batch_calls() {
        let store = Double::default();
        assert_eq!(
            calls(&store, &["a", "denied"]).await,
            ["a", "a+denied", "denied"]
        );
        assert_eq!(calls(&store, &["a", "b"]).await, ["a+b"]);
    }
}
