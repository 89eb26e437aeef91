//! Rotation schedules of Key Vault. It rotates no secrets itself, but a secret may have a time at which it expires, and until then
//! it must be replaced.
//!
//! Reading a single secret returns its value, so the properties come from the list of the vault.

use std::{collections::BTreeMap, time::Duration};

use azure_security_keyvault_secrets::models::SecretProperties;
use eso_model::rotation::{Rotation, Schedule};

use super::{KeyVault, MAX_PAGES, client::Listing, fault::Fault, name_of, timestamp};
use crate::{RateLimiter, Unread, unread};

impl KeyVault {
    pub(super) async fn schedules(
        &self,
        keys: &[String],
        limiter: &RateLimiter,
    ) -> Vec<Result<Rotation, Unread>> {
        // Key Vault ignores the case.
        let name = |key: &String| Ok(name_of(key)?.map(str::to_ascii_lowercase));
        let names: Vec<Result<Option<String>, Unread>> = keys.iter().map(name).collect();
        let wanted = names.iter().flatten().flatten();
        let mut found: BTreeMap<&str, Option<Rotation>> =
            wanted.map(|name| (&**name, None)).collect();
        let listed = self.look_up(&mut found, limiter).await;
        let answer = |name: &Result<Option<String>, Unread>| {
            let name = name.as_ref().map_err(Unread::clone)?.as_deref();
            let found = name.and_then(|name| *found.get(name)?);
            match (found, &listed) {
                (Some(rotation), _) => Ok(rotation),
                (None, Err(unread)) => Err(unread.clone()),
                (None, Ok(())) => {
                    let detail = "the vault lists no such secret";
                    Err(Unread::secret(unread::UNREADABLE, detail))
                }
            }
        };
        names.iter().map(answer).collect()
    }

    /// Reads the list until all of these secrets are found.
    async fn look_up(
        &self,
        found: &mut BTreeMap<&str, Option<Rotation>>,
        limiter: &RateLimiter,
    ) -> Result<(), Unread> {
        let mut missing = found.len();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            if missing == 0 {
                return Ok(());
            }
            let page = self.client.page(Listing::Secrets, next.as_ref(), limiter);
            let page = page.await.map_err(|problem| {
                self.lacking(Fault::answer(problem).unread(), "Key Vault Reader")
            })?;
            next = self.client.next(&page)?;
            for secret in &page.value {
                let id = secret.id.as_deref().unwrap_or_default();
                let name = id.rsplit('/').next().unwrap_or_default();
                let wanted = found.get_mut(&*name.to_ascii_lowercase());
                if let Some(empty @ None) = wanted {
                    *empty = Some(rotation(secret));
                    missing -= 1;
                }
            }
            if next.is_none() {
                return Ok(());
            }
        }
        let detail = "the vault lists too many secrets";
        Err(Unread::secret(unread::UNREADABLE, detail))
    }
}

/// The rotation of the current version: its end, and the time that it is valid for.
fn rotation(secret: &SecretProperties) -> Rotation {
    let attributes = secret.attributes.as_ref();
    let end = attributes.and_then(|it| timestamp(it.expires?));
    let Some(end) = end else {
        return Rotation::Unscheduled;
    };
    let start = attributes.and_then(|it| timestamp(it.not_before.or(it.created)?));
    let period = start.and_then(|start| Duration::try_from(end.duration_since(start)).ok());
    Rotation::Scheduled(Schedule {
        next: Some(end),
        period: period.filter(|period| !period.is_zero()),
    })
}
