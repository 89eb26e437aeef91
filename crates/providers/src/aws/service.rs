//! An AWS service, as the engine calls it.

use async_trait::async_trait;
use aws_config::SdkConfig;

use super::{
    error::{AwsError, Needed},
    login::Login,
};
use crate::{
    Unread,
    engine::{ErrorClass, Request, Service},
};

/// One service in one region, with one login.
pub(super) struct Aws<C> {
    login: Login,
    names: &'static Names,
    /// Creates the SDK's client, with this endpoint if it is set. The SDK's own retries must be disabled.
    client: fn(&SdkConfig, Option<&str>) -> C,
}

/// The names of a service.
pub(super) struct Names {
    /// The name in permissions: `secretsmanager`.
    pub(super) permission: &'static str,
    /// The name in `AWS_ENDPOINT_URL_…`: `SECRETS_MANAGER`.
    pub(super) endpoint: &'static str,
}

impl<C> Aws<C> {
    pub(super) const fn new(
        login: Login,
        names: &'static Names,
        client: fn(&SdkConfig, Option<&str>) -> C,
    ) -> Self {
        Self {
            login,
            names,
            client,
        }
    }

    pub(super) fn region(&self) -> &str {
        self.login.region()
    }

    /// The permission that a request needs.
    pub(super) fn needed<'a>(&'a self, request: &Request<'a>) -> Needed<'a> {
        Needed::of(self.names.permission, self.login.region(), request)
    }
}

#[async_trait]
impl<C: Clone + Send + Sync + 'static> Service for Aws<C> {
    type Client = C;
    type Error = AwsError;

    async fn connect(&self, _refused: Option<&C>) -> Result<C, Unread> {
        let config = self.login.config().await?;
        let endpoint = self.login.endpoint(self.names.endpoint);
        Ok((self.client)(&config, endpoint))
    }

    fn class(&self, error: &AwsError) -> ErrorClass {
        error.class()
    }

    fn unread(&self, error: &AwsError, request: &Request<'_>) -> Unread {
        error.unread(&self.needed(request))
    }
}
