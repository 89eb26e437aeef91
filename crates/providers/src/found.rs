//! The results of a search, while it goes on.

use std::{collections::BTreeMap, sync::Arc};

use eso_model::expected::Raw;
use pace::bytes::Held;

use super::{
    Answered, RateLimiter, Unread,
    answer::{ENTRY, size_of},
};

/// The results of a search so far. Holds their bytes.
pub(super) struct Found {
    found: BTreeMap<String, Raw>,
    held: Held,
}

impl Found {
    pub(super) fn new(limiter: &RateLimiter) -> Result<Self, Unread> {
        Ok(Self {
            found: BTreeMap::new(),
            held: limiter.hold(0)?,
        })
    }

    /// Adds a result. Fails if the search found too much.
    pub(super) fn insert(&mut self, name: String, raw: Raw) -> Result<(), Unread> {
        let bytes = ENTRY + name.len() + size_of(&raw);
        self.held.grow(bytes).map_err(|_| Unread::too_much_data())?;
        self.found.insert(name, raw);
        Ok(())
    }
}

impl From<Found> for Answered {
    fn from(found: Found) -> Self {
        Self::Many(Arc::new(found.found))
    }
}
