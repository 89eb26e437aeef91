//! `find` in Parameter Store, with the same calls as the operator.

use std::collections::BTreeMap;

use aws_sdk_ssm::{Client, types::ParameterStringFilter};
use eso_model::expected::{Failure, Raw, What};
use secret::Value;

use super::ParameterStore;
use crate::{
    Answered, RateLimiter, Unread,
    aws::{
        batch,
        error::{self, AwsError},
    },
    engine::Request,
    found::Found,
    names::Names,
    unread,
};

impl ParameterStore {
    /// Runs a search.
    pub(super) async fn find(&self, what: &What, limiter: &RateLimiter) -> Answered {
        let What::Find { path, name, tags } = what else {
            return Answered::Fails(Failure::Refused);
        };
        let searched = match (name, tags) {
            (Some(regexp), _) => match Names::matching(regexp, limiter).await {
                Ok(names) => {
                    let path = path.as_deref().unwrap_or("/");
                    self.by_path(path, names, limiter).await
                }
                Err(unread) => Err(unread),
            },
            (None, Some(tags)) => {
                let filters = filters(tags, path.as_deref());
                self.described(&filters, Names::all(limiter), limiter).await
            }
            (None, None) => return Answered::Fails(Failure::Refused),
        };
        match searched {
            Ok(found) => found,
            Err(unread) => Answered::Unread(unread),
        }
    }

    async fn by_path(
        &self,
        path: &str,
        mut names: Names,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        let request = Request::read("GetParametersByPath", Some(path));
        let mut found = Found::new(limiter)?;
        let mut next: Option<String> = None;
        loop {
            let page = self
                .engine
                .call(&request, limiter, |client: Client| {
                    let call = client
                        .get_parameters_by_path()
                        .path(path)
                        .recursive(true)
                        .with_decryption(true)
                        .set_next_token(next.clone());
                    async move { call.send().await.map_err(|error| AwsError::of(&error)) }
                })
                .await;
            let page = match page {
                Ok(page) => page,
                Err(failure) if error::answer(&failure).is_some_and(AwsError::is_denied) => {
                    return self.described(&[below(path)], names, limiter).await;
                }
                Err(failure) => return Ok(self.answered(failure, &request)),
            };
            let parameters = page.parameters.unwrap_or_default().into_iter();
            let parameters = parameters.filter_map(|parameter| {
                let value = Value::new(parameter.value?.into_bytes());
                Some((parameter.name?, value))
            });
            let matching = names.keep(parameters.collect(), |(name, _)| name, limiter);
            for (name, value) in matching.await? {
                found.insert(name, Raw::Bytes(value))?;
            }
            next = page.next_token;
            if next.is_none() {
                return Ok(found.into());
            }
        }
    }

    /// Lists the names, then reads each parameter.
    async fn described(
        &self,
        filters: &[ParameterStringFilter],
        mut names: Names,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        let listed = self.describe(filters, limiter).await?;
        let listed = names.of(listed, limiter).await?;
        let mut found = Found::new(limiter)?;
        for (name, answer) in batch::all(self, listed, limiter).await {
            match answer {
                Answered::One(raw, _) => {
                    found.insert(name, raw)?;
                }
                Answered::Unread(unread) => return Err(unread),
                // The parameter was deleted after it was listed.
                Answered::NotFound | Answered::Fails(_) | Answered::Many(_) => {
                    let detail = "parameters were deleted during the search";
                    return Err(Unread::secret(unread::UNREADABLE, detail));
                }
            }
        }
        Ok(found.into())
    }

    async fn describe(
        &self,
        filters: &[ParameterStringFilter],
        limiter: &RateLimiter,
    ) -> Result<Vec<String>, Unread> {
        let request = Request::read("DescribeParameters", None);
        let mut names = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .engine
                .call(&request, limiter, |client: Client| {
                    let call = client
                        .describe_parameters()
                        .set_parameter_filters(Some(filters.to_vec()))
                        .set_next_token(next.clone());
                    async move { call.send().await.map_err(|error| AwsError::of(&error)) }
                })
                .await
                .map_err(|failure| self.engine.unread(failure, &request))?;
            names.extend(
                page.parameters
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|parameter| parameter.name),
            );
            next = page.next_token;
            if next.is_none() {
                return Ok(names);
            }
        }
    }
}

fn below(path: &str) -> ParameterStringFilter {
    filter("Path", "Recursive", path)
}

/// `Key` is the only required field, so the build cannot fail.
fn filter(key: &str, option: &str, value: &str) -> ParameterStringFilter {
    let filter = ParameterStringFilter::builder()
        .key(key)
        .option(option)
        .values(value);
    #[expect(
        clippy::expect_used,
        reason = "`Key` is the only required field, and it is set"
    )]
    filter.build().expect("a filter with a key")
}

fn filters(tags: &BTreeMap<String, String>, path: Option<&str>) -> Vec<ParameterStringFilter> {
    tags.iter()
        .map(|(key, value)| filter(&format!("tag:{key}"), "Equals", value))
        .chain(path.map(below))
        .collect()
}
