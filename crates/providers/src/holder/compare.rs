//! Reads and compares values of providers that store one value in a secret.

use eso_model::expected::{Raw, What};
use publish::{Compared, Format};
use secret::{RunKey, Value};

use super::{Ask, Change, WriteFailure, result::is_equal};
use crate::{Answered, Provider, RateLimiter, Unread, unread};

/// Reads values with the provider's read side, and compares them.
pub(crate) async fn compare(
    provider: &dyn Provider,
    asked: &[Ask<'_>],
    key: &RunKey,
    limiter: &RateLimiter,
) -> Vec<Compared> {
    let wanted: Vec<What> = asked.iter().map(|ask| newest(ask.name)).collect();
    let answers = provider.read(&wanted, limiter).await;
    let pairs = asked.iter().zip(answers);
    pairs
        .map(|(ask, answer)| match answer {
            Answered::One(Raw::Bytes(held), _) => ask.compared(|wanted| {
                wanted.target.property.is_none() && is_equal(key, &held, &wanted.value)
            }),
            Answered::Unread(unread) => Compared::Unknown(unread.why),
            Answered::One(..) | Answered::NotFound | Answered::Fails(_) | Answered::Many(_) => {
                ask.compared(|_| false)
            }
        })
        .collect()
}

/// A read of the current version.
fn newest(name: &str) -> What {
    What::Secret {
        key: name.to_owned(),
        version: String::new(),
        metadata: false,
    }
}

impl Change<'_> {
    /// The value, if it is the whole secret.
    pub(crate) fn value(&self) -> Result<(&Value, Format), WriteFailure> {
        match self.wanted {
            [one] if one.target.property.is_none() => Ok((&one.value, one.format)),
            _ => {
                let detail = "this provider stores one value in a secret: `layout: document` is not supported";
                Err(Unread::secret(unread::UNSUPPORTED, detail).into())
            }
        }
    }
}
