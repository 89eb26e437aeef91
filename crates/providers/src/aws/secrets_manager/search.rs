//! `find` in Secrets Manager, with the same calls as the operator.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::{
    Client,
    types::{ApiErrorType, Filter, FilterNameStringType, SecretValueEntry},
};
use eso_model::expected::{Failure, Raw, What, why};

use super::{CURRENT, SecretsManager, is_throttled, value};
use crate::{
    Answered, RateLimiter, Unread,
    aws::{
        batch,
        error::{self, AwsError, Kind},
    },
    engine::Request,
    found::Found,
    names::Names,
};

impl SecretsManager {
    /// Runs a search.
    pub(super) async fn find(&self, what: &What, limiter: &RateLimiter) -> Answered {
        let What::Find { path, name, tags } = what else {
            return Answered::Fails(Failure::Refused);
        };
        let tags = tags.as_ref().filter(|tags| !tags.is_empty());
        let searched = match (name, tags) {
            (None, None) => return Answered::Fails(Failure::Refused),
            (Some(_), Some(_)) => {
                let detail = "`find` by name and tags: some versions of the operator filter by the tags, others ignore them";
                return Answered::Unread(Unread::secret(why::SPEC, detail));
            }
            (None, Some(tags)) => {
                let filters = filters(tags, path.as_deref());
                self.filtered(filters, Names::all(limiter), limiter).await
            }
            (Some(regexp), None) => match (Names::matching(regexp, limiter).await, path) {
                (Err(unread), _) => Err(unread),
                (Ok(names), Some(path)) => {
                    let filters = vec![filter(FilterNameStringType::Name, path)];
                    self.filtered(filters, names, limiter).await
                }
                (Ok(names), None) => self.everywhere(names, limiter).await,
            },
        };
        match searched {
            Ok(found) => found,
            Err(unread) => Answered::Unread(unread),
        }
    }

    /// Reads the values with `BatchGetSecretValue`, page by page.
    async fn filtered(
        &self,
        filters: Vec<Filter>,
        mut names: Names,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        let request = Request::read("BatchGetSecretValue", None);
        let mut found = Found::new(limiter)?;
        let mut next: Option<String> = None;
        loop {
            let page = self
                .engine
                .call(&request, limiter, |client: Client| {
                    let call = client
                        .batch_get_secret_value()
                        .set_filters(Some(filters.clone()))
                        .set_next_token(next.clone());
                    async move { call.send().await.map_err(|error| AwsError::of(&error)) }
                })
                .await;
            let page = match page {
                Ok(page) => page,
                Err(failure) if error::answer(&failure).is_some_and(AwsError::is_denied) => {
                    return self.listed(filters, names, limiter).await;
                }
                Err(failure) => return Ok(self.answered(failure, &request)),
            };
            for entry in page.secret_values.unwrap_or_default() {
                let SecretValueEntry {
                    name,
                    secret_string,
                    secret_binary,
                    ..
                } = entry;
                // Without text or bytes, the operator omits the secret.
                if let (Some(name), Answered::One(raw, _)) =
                    (name, value(secret_string, secret_binary, None))
                {
                    found.insert(name, raw)?;
                }
            }
            let errors = page.errors.unwrap_or_default();
            if errors.iter().any(is_throttled) {
                limiter.throttled(None);
            }
            for error in errors {
                if let Some((name, raw)) = self.lacking(error, &mut names, limiter).await? {
                    found.insert(name, raw)?;
                }
            }
            next = page.next_token;
            if next.is_none() {
                return Ok(found.into());
            }
        }
    }

    /// Reads a secret whose value is missing in a page.
    async fn lacking(
        &self,
        entry: ApiErrorType,
        names: &mut Names,
        limiter: &RateLimiter,
    ) -> Result<Option<(String, Raw)>, Unread> {
        let error = AwsError::said(entry.error_code.as_deref(), entry.message.as_deref(), None);
        let id = entry.secret_id.unwrap_or_default();
        let name = name_of(&id);
        let matching = names.of(vec![name.to_owned()], limiter).await?;
        if error.kind == Kind::NotFound || matching.is_empty() {
            return Ok(None);
        }
        // The operator silently omits what it cannot read. Its permissions may differ from the job's, so the result is unknown.
        if !matches!(error.kind, Kind::Call(_)) {
            let request = Request::read("GetSecretValue", Some(&id));
            return Err(error.unread(&self.engine.service().needed(&request)));
        }
        // Throttled or failed: a single read may succeed.
        match self.version(&id, CURRENT, limiter).await {
            Answered::One(raw, _) => Ok(Some((name.to_owned(), raw))),
            Answered::Unread(unread) => Err(unread),
            Answered::NotFound | Answered::Fails(_) | Answered::Many(_) => Ok(None),
        }
    }

    /// The same search if batches are denied: lists the names, then reads each secret.
    async fn listed(
        &self,
        filters: Vec<Filter>,
        mut names: Names,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        let keys = self.list(filters, limiter).await?;
        let keys = names.of(keys, limiter).await?;
        let mut found = Found::new(limiter)?;
        for (name, answer) in batch::one_by_one(self, keys, limiter).await {
            match answer {
                Answered::One(raw, _) => {
                    found.insert(name, raw)?;
                }
                Answered::Unread(unread) => return Err(unread),
                Answered::NotFound | Answered::Fails(_) | Answered::Many(_) => {}
            }
        }
        Ok(found.into())
    }

    /// Lists all names, then reads each secret. Like the operator, it adds the store's prefix to the found names, although these
    /// are complete already.
    async fn everywhere(
        &self,
        mut names: Names,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        let listed = self.list(Vec::new(), limiter).await?;
        let listed = names.of(listed, limiter).await?;
        let keys = listed
            .iter()
            .map(|name| format!("{}{name}", self.prefix))
            .collect();
        let mut answers: BTreeMap<String, Answered> =
            batch::all(self, keys, limiter).await.into_iter().collect();
        let mut found = Found::new(limiter)?;
        for name in listed {
            match answers.remove(&format!("{}{name}", self.prefix)) {
                Some(Answered::One(raw, _)) => {
                    found.insert(name, raw)?;
                }
                Some(Answered::Unread(unread)) => return Err(unread),
                Some(Answered::Fails(Failure::NoValue) | Answered::Many(_)) | None => {}
                // The first missing secret ends the operator's search.
                Some(ends @ (Answered::NotFound | Answered::Fails(_))) => return Ok(ends),
            }
        }
        Ok(found.into())
    }

    async fn list(
        &self,
        filters: Vec<Filter>,
        limiter: &RateLimiter,
    ) -> Result<Vec<String>, Unread> {
        let request = Request::read("ListSecrets", None);
        let mut names = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .engine
                .call(&request, limiter, |client: Client| {
                    let call = client
                        .list_secrets()
                        .set_filters(Some(filters.clone()).filter(|filters| !filters.is_empty()))
                        .set_next_token(next.clone());
                    async move { call.send().await.map_err(|error| AwsError::of(&error)) }
                })
                .await
                .map_err(|failure| self.engine.unread(failure, &request))?;
            names.extend(
                page.secret_list
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|secret| secret.name),
            );
            next = page.next_token;
            if next.is_none() {
                return Ok(names);
            }
        }
    }
}

fn filter(key: FilterNameStringType, value: &str) -> Filter {
    Filter::builder().key(key).values(value).build()
}

fn filters(tags: &BTreeMap<String, String>, path: Option<&str>) -> Vec<Filter> {
    let path = path.map(|path| filter(FilterNameStringType::Name, path));
    tags.iter()
        .flat_map(|(key, value)| {
            [
                filter(FilterNameStringType::TagKey, key),
                filter(FilterNameStringType::TagValue, value),
            ]
        })
        .chain(path)
        .collect()
}

/// The name of a secret that is given by name or ARN.
fn name_of(id: &str) -> &str {
    let Some((_, name)) = id.split_once(":secret:") else {
        return id;
    };
    name.len()
        .checked_sub(7)
        .and_then(|end| name.get(..end))
        .unwrap_or(name)
}
