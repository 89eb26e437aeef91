//! Looks up when secrets are rotated: with the same connections, trust rules and rates as reads of values.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{
    provider::RotationMetadata,
    rotation::{RemoteSecret, Rotation},
};
use futures::{StreamExt as _, stream};
use pace::bytes::Share;
use tokio::time::Instant;

use super::{Core, Line, Reader, too_slow};
use crate::{Unread, unread};

/// The connections that are used at the same time.
const CONNECTIONS: usize = 16;

/// What is known about each secret, or why it is not.
pub type Rotations = BTreeMap<RemoteSecret, Result<Rotation, Unread>>;

impl Reader {
    /// Looks up when these secrets are rotated. Reads metadata, never a value. What is not read at `until` is reported as not read
    /// in time.
    pub async fn rotations(
        &mut self,
        wanted: &BTreeSet<RemoteSecret>,
        until: Option<Instant>,
    ) -> Rotations {
        let mut rotations = Rotations::new();
        let mut by_line: BTreeMap<usize, Vec<&RemoteSecret>> = BTreeMap::new();
        for secret in wanted {
            let kept = self.core.provider(&secret.store).facts().rotation;
            // The answer does not depend on the store, so it needs no trust in the store.
            if kept == RotationMetadata::NotKept {
                rotations.insert(secret.clone(), Ok(Rotation::NotKept));
                continue;
            }
            match self.route(&secret.namespace, &secret.store) {
                Ok(line) => by_line.entry(line).or_default().push(secret),
                Err(unread) => drop(rotations.insert(secret.clone(), Err(unread))),
            }
        }
        let lookups = by_line.into_iter().filter_map(|(line, secrets)| {
            let line = self.lines.get(line)?;
            let namespace = secrets.first()?.namespace.as_str();
            let share = self.budget.share(namespace);
            Some(look_up(&self.core, line, secrets, share, until))
        });
        let mut lookups = stream::iter(lookups).buffer_unordered(CONNECTIONS);
        while let Some(found) = lookups.next().await {
            rotations.extend(found);
        }
        rotations
    }
}

/// Looks up the secrets of one connection.
async fn look_up(
    core: &Core,
    line: &Line,
    secrets: Vec<&RemoteSecret>,
    share: Share,
    until: Option<Instant>,
) -> Rotations {
    // Several namespaces may read the same secret.
    let keys: BTreeSet<&String> = secrets.iter().map(|secret| &secret.key).collect();
    let keys: Vec<String> = keys.into_iter().cloned().collect();
    let limiter = line
        .limiter
        .within(&share, eso_model::budget::Limits::default());
    let limiter = limiter.reading(&line.store, until.or(core.deadline));
    let work = async {
        let provider = core.connect(&line.link).await?;
        let asked = limiter
            .within_timeout(async |limiter| provider.rotations(&keys, limiter).await)
            .await;
        asked.ok_or_else(too_slow)
    };
    let answers = match until {
        Some(until) => {
            let in_time = tokio::time::timeout_at(until, work).await;
            in_time.unwrap_or_else(|_| Err(not_read_in_time()))
        }
        None => work.await,
    };
    let answers = answers.unwrap_or_else(|unread| vec![Err(unread); keys.len()]);
    let by_key: BTreeMap<String, Result<Rotation, Unread>> =
        keys.into_iter().zip(answers).collect();
    let answer = |secret: &RemoteSecret| Some((secret.clone(), by_key.get(&secret.key)?.clone()));
    secrets.into_iter().filter_map(answer).collect()
}

fn not_read_in_time() -> Unread {
    let detail = "its rotation was not looked up before the deadline";
    Unread::secret(unread::NOT_READ_IN_TIME, detail)
}
