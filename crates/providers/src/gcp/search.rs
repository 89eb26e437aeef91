//! `find`, with the same calls as the operator.

use std::collections::BTreeMap;

use eso_model::expected::{Failure, why};
use futures::{StreamExt as _, stream};
use google_cloud_secretmanager_v1::client::SecretManagerService;

use super::{error::GcpError, secrets::Secrets};
use crate::{
    Answered, RateLimiter, Unread,
    engine::{Request, SEARCH_CALLS},
    found::Found,
    names::Names,
};

impl Secrets {
    /// Runs a search.
    pub(super) async fn find(
        &self,
        path: Option<&str>,
        name: Option<&str>,
        tags: Option<&BTreeMap<String, String>>,
        limiter: &RateLimiter,
    ) -> Answered {
        let tags = tags.filter(|tags| !tags.is_empty());
        let (filter, mut names) = match (name, tags) {
            (Some(regexp), _) => match Names::matching(regexp, limiter).await {
                Ok(names) => (path.map(by_path).unwrap_or_default(), names),
                Err(unread) => return Answered::Unread(unread),
            },
            // For such a store the operator calls the regional endpoint without a location in the path.
            (None, Some(_)) if !self.settings.location.is_empty() => {
                let detail = "`find` by tags in a store with a `location`";
                return Answered::Unread(Unread::secret(why::SPEC, detail));
            }
            (None, Some(tags)) => (by_tags(tags, path), Names::all(limiter)),
            (None, None) => return Answered::Fails(Failure::Refused),
        };
        let mut keys = match self.list(&filter, limiter).await {
            Ok(keys) => keys,
            Err(answer) => return answer,
        };
        keys.retain(|key| path.is_none_or(|path| key.starts_with(path)));
        let keys = match names.of(keys, limiter).await {
            Ok(keys) => keys,
            Err(unread) => return Answered::Unread(unread),
        };
        let calls = keys.into_iter().map(|key| async move {
            let answer = self.value(&key, "", limiter).await;
            (key, answer)
        });
        let mut found = match Found::new(limiter) {
            Ok(found) => found,
            Err(unread) => return Answered::Unread(unread),
        };
        let mut ends = None;
        let mut answers = stream::iter(calls).buffer_unordered(SEARCH_CALLS);
        while let Some((key, answer)) = answers.next().await {
            match answer {
                Answered::One(raw, _) => {
                    if let Err(unread) = found.insert(key, raw) {
                        return Answered::Unread(unread);
                    }
                }
                // An unknown result takes precedence over an operator failure.
                Answered::Unread(_) => return answer,
                Answered::NotFound | Answered::Fails(_) | Answered::Many(_) => ends = Some(answer),
            }
        }
        ends.unwrap_or_else(|| found.into())
    }

    /// Lists the ids of secrets.
    async fn list(&self, filter: &str, limiter: &RateLimiter) -> Result<Vec<String>, Answered> {
        let parent = self.parent();
        let request = Request::read("ListSecrets", Some(&parent)).listing();
        let mut keys = Vec::new();
        let mut next = String::new();
        loop {
            let page = self
                .engine
                .call(&request, limiter, |client: SecretManagerService| {
                    let call = client
                        .list_secrets()
                        .set_parent(&parent)
                        .set_filter(filter)
                        .set_page_token(next.clone());
                    async move { call.send().await.map_err(|error| GcpError::of(&error)) }
                })
                .await
                .map_err(|failure| Answered::Unread(self.engine.unread(failure, &request)))?;
            // The names contain the project number, even if the request used the project id.
            keys.extend(page.secrets.into_iter().filter_map(|secret| {
                let (_, key) = secret.name.split_once("/secrets/")?;
                Some(key.to_owned())
            }));
            next = page.next_page_token;
            if next.is_empty() {
                return Ok(keys);
            }
        }
    }
}

fn by_path(path: &str) -> String {
    format!("name:{path}")
}

fn by_tags(tags: &BTreeMap<String, String>, path: Option<&str>) -> String {
    tags.iter()
        .map(|(key, value)| format!("labels.{key}={value}"))
        .chain(path.map(by_path))
        .collect::<Vec<_>>()
        .join(" ")
}
