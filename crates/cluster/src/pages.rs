//! A list that its caller reads page by page.

use std::{ops::ControlFlow, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    ApiError, Cluster, ErrorKind, Query, Repeat,
    answer::Body,
    page::{self, PageSize},
};

/// Shows one list: how many objects were read, and how many are left. The server does not tell the latter if the list has a
/// selector. Dropped when the list ends.
pub type ShowList = Box<dyn FnMut(usize, Option<usize>) + Send>;

/// Begins to show a list of more than one page. The argument is the collection, for example `externalsecrets`.
pub type ListObserver = Arc<dyn Fn(&str) -> ShowList + Send + Sync>;

/// A list that is read page by page.
pub struct Pages<'a> {
    cluster: &'a Cluster,
    query: &'a Query,
    operation: String,
    token: Option<String>,
    size: PageSize,
    restarted: bool,
    /// The number of pages that were read.
    read: usize,
    complete: bool,
    resource_version: String,
    /// The number of objects that were read.
    objects: usize,
    show: Option<ShowList>,
}

impl<'a> Pages<'a> {
    pub(super) fn of(cluster: &'a Cluster, query: &'a Query) -> Self {
        Self {
            cluster,
            query,
            operation: format!("list {query}"),
            token: None,
            size: PageSize::within(cluster.max_answer),
            restarted: false,
            read: 0,
            complete: false,
            resource_version: String::new(),
            objects: 0,
            show: None,
        }
    }

    /// The resource version of the list, after its last page.
    pub fn resource_version(self) -> String {
        self.resource_version
    }

    /// Reads the next page and passes each object to `each`. Returns false if there was no page left. The list ends when `each`
    /// breaks.
    ///
    /// If a continue token expires, the list starts again once, and `each` may get objects a second time.
    pub async fn next<T: DeserializeOwned>(
        &mut self,
        mut each: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<bool, ApiError> {
        if self.complete {
            return Ok(false);
        }
        let body = self.body().await?;
        let page = page::parse(body.as_bytes(), &mut each)
            .map_err(|_| ApiError::new(&self.operation, &body.unparsable()))?;
        self.size.learn(page.objects, body.as_bytes().len());
        self.token = page.token.filter(|_| page.flow.is_continue());
        self.objects += usize::try_from(page.objects).unwrap_or_default();
        if self.token.is_none() {
            self.complete = true;
            self.resource_version = page.resource_version;
            self.show = None;
        } else {
            self.show(page.remaining);
        }
        Ok(true)
    }

    fn show(&mut self, left: Option<usize>) {
        if self.show.is_none()
            && let Some(observer) = &self.cluster.lists
        {
            self.show = Some(observer(self.query.path.collection_name()));
        }
        if let Some(show) = &mut self.show {
            show(self.objects, left);
        }
    }

    async fn body(&mut self) -> Result<Body, ApiError> {
        let most = self.cluster.max_pages;
        while self.read < most {
            let mut page = self
                .query
                .clone()
                .with("limit", self.size.limit().to_string());
            if let Some(token) = &self.token {
                page = page.with("continue", token.clone());
            }
            let read = self
                .cluster
                .read("GET", &page, Vec::new(), &self.operation)
                .await;
            match read {
                Ok(body) => {
                    self.read += 1;
                    return Ok(body);
                }
                Err(error) if error.kind == ErrorKind::Expired && !self.restarted => {
                    self.restarted = true;
                    self.token = None;
                    self.objects = 0;
                }
                Err(error) if error.kind == ErrorKind::TooLarge && self.size.shrink() => {}
                Err(error) => return Err(error),
            }
        }
        Err(ApiError {
            kind: ErrorKind::Unreadable,
            operation: self.operation.clone(),
            message: format!("the list has more than {most} pages"),
            is_server_text: false,
            certificate: None,
            repeat: Repeat::Never,
        })
    }
}
