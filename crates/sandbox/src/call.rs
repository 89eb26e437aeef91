//! Parses one HTTP request into its verb, resource and object.

use std::collections::BTreeMap;

use http::{Method, header};
use hyper::body::Bytes;

use super::resource::{Action, Resource};

/// The verb of a request, as in RBAC rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

impl Verb {
    /// The verb as RBAC rules write it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// An HTTP request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) content_type: String,
    pub(super) user_agent: String,
    pub(super) body: Bytes,
    parameters: BTreeMap<String, String>,
}

/// The verb, resource and object of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) verb: Verb,
    pub(super) resource: &'static Resource,
    pub(super) version: &'a str,
    /// Empty for a cluster-wide request.
    pub(super) namespace: &'a str,
    /// Empty for a request about a collection.
    pub(super) name: &'a str,
    pub(super) subresource: Option<&'a str>,
}

impl Target<'_> {
    /// The action that the request's subresource stands for.
    pub(super) fn action(&self) -> Option<Action> {
        self.resource.action.filter(|_| self.subresource.is_some())
    }
}

impl Call {
    /// Parses a request.
    pub(super) fn new(parts: &http::request::Parts, body: Bytes) -> Self {
        let header = |name| {
            let value = parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let query = parts.uri.query().unwrap_or_default().to_owned();
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            content_type: header(header::CONTENT_TYPE),
            user_agent: header(header::USER_AGENT),
            parameters: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            query,
            body,
        }
    }

    /// The value of a query parameter; empty if it is missing.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// True if a boolean query parameter is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), "true" | "1")
    }

    /// The field manager: the `fieldManager` parameter, or the program name from the `User-Agent` header.
    pub(super) fn manager(&self) -> &str {
        match self.parameter("fieldManager") {
            "" => match self.user_agent.split('/').next() {
                None | Some("") => "unknown",
                Some(program) => program,
            },
            manager => manager,
        }
    }

    /// The resource that the path names; None if it names none.
    pub(super) fn target(&self) -> Option<Target<'_>> {
        let segments: Vec<&str> = self.path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        self.parse_target(group, version, rest)
    }

    fn parse_target<'a>(
        &'a self,
        group: &str,
        version: &'a str,
        rest: &[&'a str],
    ) -> Option<Target<'a>> {
        let (namespace, rest) = match rest {
            // A Namespace is an object too.
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            _ => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", None),
            [plural, name] => (*plural, *name, None),
            [plural, name, subresource] => (*plural, *name, Some(*subresource)),
            _ => return None,
        };
        let resource = Resource::of_plural(plural).filter(|resource| resource.group == group)?;
        let fits = match (resource.namespaced, namespace.is_empty()) {
            (true, false) | (false, true) => true,
            // Only list and watch work across all namespaces.
            (true, true) => name.is_empty(),
            (false, false) => false,
        };
        let verb = self.verb(name)?;
        let served = subresource.is_none_or(|subresource| {
            resource.action.map(Action::as_str) == Some(subresource) && verb == Verb::Create
        });
        (fits && served).then_some(Target {
            verb,
            resource,
            version,
            namespace,
            name,
            subresource,
        })
    }

    fn verb(&self, name: &str) -> Option<Verb> {
        let collection = name.is_empty();
        Some(match self.method {
            Method::GET if collection && self.flag("watch") => Verb::Watch,
            Method::GET if collection => Verb::List,
            Method::GET => Verb::Get,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if !collection => Verb::Delete,
            _ => return None,
        })
    }
}
