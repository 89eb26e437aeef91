//! The calls that change a vault, and the one that finds a deleted secret.

use std::sync::Arc;

use azure_core::Bytes;
use azure_security_keyvault_secrets::{
    SecretClient,
    models::{SecretClientUpdateSecretPropertiesOptions, UpdateSecretPropertiesParameters},
};
use jiff::Timestamp;
use secret::Value;
use serde::Serialize;

use super::versions::{Tags, Version, version};
use crate::{
    RateLimiter,
    azure::{
        client::{Client, parsed},
        fault::{Fault, Problem},
        timestamp,
    },
    engine::{Failure, Request},
};

/// Room for the tags and the JSON around a value.
const AROUND: usize = 16 << 10;

/// A new version of a secret.
#[derive(Serialize)]
pub(super) struct NewVersion<'a> {
    pub(super) value: &'a str,
    #[serde(rename = "contentType", skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<&'a str>,
    pub(super) tags: Tags,
}

/// A body with a value, which is wiped when the last part of the SDK drops it.
struct Body(Value);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

impl NewVersion<'_> {
    fn body(&self) -> azure_core::Result<Bytes> {
        // An escaped character has up to six bytes. A buffer that grows would leave copies.
        let mut json = Vec::with_capacity(6 * self.value.len() + AROUND);
        serde_json::to_writer(&mut json, self)?;
        Ok(Bytes::from_owner(Body(Value::new(json))))
    }
}

impl Client {
    /// Writes a version, and returns its ID. `new` is called for each attempt.
    pub(super) async fn set<'v>(
        &self,
        name: &str,
        new: impl Fn() -> NewVersion<'v>,
        limiter: &RateLimiter,
    ) -> Result<Option<String>, Failure<Fault>> {
        let request = Request::write("SetSecret", name);
        self.call(&request, limiter, |client: Arc<SecretClient>| {
            let body = new().body();
            async move {
                let answer = client.set_secret(name, body?.into(), None);
                let secret = parsed(answer.await?)?;
                Ok(Version::of_secret(secret).map(|version| version.id))
            }
        })
        .await
    }

    /// Replaces the tags of a version.
    pub(super) async fn tag(
        &self,
        name: &str,
        of_version: &str,
        tags: &Tags,
        limiter: &RateLimiter,
    ) -> Result<(), Failure<Fault>> {
        let request = Request::repeatable_write("UpdateSecret", name);
        self.call(&request, limiter, |client: Arc<SecretClient>| {
            let tags = tags.clone().into_iter().collect();
            async move {
                let parameters = UpdateSecretPropertiesParameters {
                    tags: Some(tags),
                    ..UpdateSecretPropertiesParameters::default()
                };
                let options = SecretClientUpdateSecretPropertiesOptions {
                    secret_version: Some(of_version.to_owned()),
                    ..SecretClientUpdateSecretPropertiesOptions::default()
                };
                client
                    .update_secret_properties(name, parameters.try_into()?, Some(options))
                    .await
                    .map(drop)
            }
        })
        .await
    }

    /// Deletes a secret, and returns the ID of its last version.
    pub(super) async fn delete(
        &self,
        name: &str,
        limiter: &RateLimiter,
    ) -> Result<Option<String>, Failure<Fault>> {
        let request = Request::repeatable_write("DeleteSecret", name);
        self.call(&request, limiter, |client: Arc<SecretClient>| async move {
            let deleted = client.delete_secret(name, None).await?.into_model()?;
            Ok(version(deleted.id.as_deref()))
        })
        .await
    }

    /// Starts to restore a deleted secret.
    pub(super) async fn recover(
        &self,
        name: &str,
        limiter: &RateLimiter,
    ) -> Result<(), Failure<Fault>> {
        let request = Request::repeatable_write("RecoverDeletedSecret", name);
        self.call(&request, limiter, |client: Arc<SecretClient>| async move {
            client.recover_deleted_secret(name, None).await.map(drop)
        })
        .await
    }

    /// Describes a deleted secret: until when it can be restored, and its last version.
    pub(super) async fn deleted(
        &self,
        name: &str,
        limiter: &RateLimiter,
    ) -> Result<(Option<Timestamp>, Version), Problem> {
        let request = Request::read("GetDeletedSecret", Some(name));
        let answer = self.call(&request, limiter, |client: Arc<SecretClient>| async move {
            client.get_deleted_secret(name, None).await?.into_model()
        });
        let deleted = answer.await?;
        let until = deleted.scheduled_purge_date.and_then(timestamp);
        Ok((until, Version::of_deleted(deleted)))
    }
}
