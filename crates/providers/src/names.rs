//! The regular expression of a search, which a tenant writes. It is compiled and matched on the threads for computing, within a
//! budget, because both may take long.

use std::sync::Arc;

use eso_model::{
    budget::{Budget, Limits},
    expected::{GoRegex, NotCompiled, why},
};

use crate::{RateLimiter, Unread};

/// The names that a search finds.
pub(crate) struct Names {
    /// None: all names.
    regexp: Option<Arc<GoRegex>>,
    /// What is left for the names that are listed later.
    left: Limits,
}

impl Names {
    /// All names.
    pub(crate) fn all(limiter: &RateLimiter) -> Self {
        Self {
            regexp: None,
            left: limiter.limits(),
        }
    }

    /// The names in which this Go regular expression matches.
    pub(crate) async fn matching(regexp: &str, limiter: &RateLimiter) -> Result<Self, Unread> {
        let (regexp, limits) = (regexp.to_owned(), limiter.limits());
        let compile = move || {
            let budget = Budget::new(limits);
            GoRegex::within(&regexp, &budget).map(|regexp| (regexp, budget.left()))
        };
        let (regexp, left) = limiter
            .compute(compile)
            .await?
            .map_err(|error| match error {
                NotCompiled::NotTranslated => {
                    let detail = "Go and Rust may understand `find.name.regexp` differently";
                    Unread::secret(why::REGEXP, detail)
                }
                NotCompiled::TooCostly(error) => Unread::secret(why::TOO_COSTLY, error.to_string()),
            })?;
        Ok(Self {
            regexp: Some(Arc::new(regexp)),
            left,
        })
    }

    /// Keeps the items whose name matches.
    pub(crate) async fn keep<T: Send + 'static>(
        &mut self,
        items: Vec<T>,
        name: fn(&T) -> &str,
        limiter: &RateLimiter,
    ) -> Result<Vec<T>, Unread> {
        let Some(regexp) = self.regexp.clone().filter(|_| !items.is_empty()) else {
            return Ok(items);
        };
        let limits = self.left;
        let search = move || {
            let budget = Budget::new(limits);
            let mut kept = Vec::new();
            for item in items {
                if regexp.matches(name(&item), &budget)? {
                    kept.push(item);
                }
            }
            Ok((kept, budget.left()))
        };
        let searched: Result<_, eso_model::budget::TooCostly> = limiter.compute(search).await?;
        let (kept, left) =
            searched.map_err(|error| Unread::secret(why::TOO_COSTLY, error.to_string()))?;
        self.left = left;
        Ok(kept)
    }

    /// Keeps the names that match.
    pub(crate) async fn of(
        &mut self,
        names: Vec<String>,
        limiter: &RateLimiter,
    ) -> Result<Vec<String>, Unread> {
        self.keep(names, String::as_str, limiter).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use pace::{Workers, bytes, rate::Rate};

    use super::*;

    fn limiter(limits: Limits) -> RateLimiter {
        let workers = Arc::new(Workers::start().unwrap());
        let share = bytes::Budget::of(1 << 20).share("ns");
        RateLimiter::new(Rate::per_second(1.0).unwrap())
            .computing_on(&workers)
            .within(&share, limits)
    }

    #[tokio::test]
    async fn only_names_in_which_the_expression_matches_are_kept() {
        let limiter = limiter(Limits::default());
        let listed = ["app", "db", "app-2"].map(str::to_owned).to_vec();
        let mut names = Names::matching("^app", &limiter).await.unwrap();
        let kept = names.of(listed.clone(), &limiter).await.unwrap();
        assert_eq!(kept, ["app", "app-2"]);
        let kept = Names::all(&limiter).of(listed.clone(), &limiter).await;
        assert_eq!(kept.unwrap(), listed);
    }

    #[tokio::test]
    async fn search_that_needs_too_much_work_is_too_costly() {
        let limits = Limits {
            work: 4 << 20,
            ..Limits::default()
        };
        let limiter = limiter(limits);
        let mut names = Names::matching("(a|b){100}c", &limiter).await.unwrap();
        let page = vec!["ab".repeat(1000)];
        let mut pages = 0;
        let unread = loop {
            match names.of(page.clone(), &limiter).await {
                Ok(kept) => assert!(kept.is_empty()),
                Err(unread) => break unread,
            }
            pages += 1;
            assert!(pages < 1000, "the pages share the limit");
        };
        assert_eq!(unread.why.reason, why::TOO_COSTLY);
        let compiling = Names::matching(&"(a|b){100}".repeat(20), &limiter).await;
        assert_eq!(compiling.err().unwrap().why.reason, why::TOO_COSTLY);
    }

    /// Runs other work on the runtime's thread during a search. Returns the longest time without that, and that of the search.
    async fn longest_hold(search: impl Future) -> (Duration, Duration) {
        let start = Instant::now();
        let (mut last, mut longest) = (start, Duration::ZERO);
        let mut search = std::pin::pin!(search);
        while futures::poll!(search.as_mut()).is_pending() {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            tokio::task::yield_now().await;
        }
        (longest.max(last.elapsed()), start.elapsed())
    }

    #[tokio::test]
    async fn search_leaves_the_thread_of_the_runtime_free() {
        let limiter = limiter(Limits::default());
        let mut names = Names::matching("(a|b){100}c", &limiter).await.unwrap();
        // Each name takes long by itself, so the page takes many times as long.
        let page: Vec<String> = (0..32).map(|_| "ab".repeat(50_000)).collect();
        let (held, all) = longest_hold(names.of(page, &limiter)).await;
        assert!(held < all / 4, "{held:?} of {all:?}");
    }
}
