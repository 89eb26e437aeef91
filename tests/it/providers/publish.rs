//! Publishing to real providers, and to doubles of those that cannot run here, as a run does it: list, describe, compare, plan,
//! write, and read back.
//!
//! [`rules`] holds what is true for every provider. Each provider says how a test reaches it, and has tests of its own traps.

mod aws;
mod driver;
mod gcp;
mod parameters;
mod rules;
pub(crate) mod vault;

use std::sync::atomic::{AtomicUsize, Ordering};

use self::driver::{Place, Publisher, Run};

/// Makes a test of each rule, for one provider.
macro_rules! keeps {
    ($place:path: $($rule:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $rule() {
                super::rules::$rule(&$place(stringify!($rule)).await).await;
            }
        )*
    };
    ($place:path, $needs:literal: $($rule:ident),* $(,)?) => {
        $(
            #[tokio::test]
            #[ignore = $needs]
            async fn $rule() {
                super::rules::$rule(&$place(stringify!($rule)).await).await;
            }
        )*
    };
}
use keeps;

/// A text that no other test has, also not an earlier one at a server that keeps running.
fn unique(test: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let now = crate::support::now().as_nanosecond();
    format!("{test}-{}-{now}-{number}", std::process::id())
}
