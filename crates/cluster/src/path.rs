//! Paths of the Kubernetes API.

use std::fmt;

use crate::names::is_name;

/// The path of a collection or an object. Parts of it can come from objects that a tenant writes (`ownerReferences`,
/// `target.name`, `templateFrom`), so each must be a valid name: a part such as `../../kube-system/secrets/x` makes the path
/// invalid, and no request is sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    /// The first part that is not a name.
    invalid: Option<String>,
}

impl Path {
    /// An API: the core group (`""`), or `GROUP` with a version.
    pub fn api(group: &str, version: &str) -> Self {
        if group.is_empty() {
            Self::start("/api").named(version)
        } else {
            Self::group(group).named(version)
        }
    }

    /// An API group, which answers with its versions.
    pub fn group(group: &str) -> Self {
        Self::start("/apis").named(group)
    }

    /// A collection of the core API, in one namespace or in all.
    pub fn core(namespace: Option<&str>, plural: &str) -> Self {
        Self::api("", "v1").collection(namespace, plural)
    }

    /// A collection of this API, in one namespace or in all.
    #[must_use]
    pub fn collection(self, namespace: Option<&str>, plural: &str) -> Self {
        match namespace {
            Some(namespace) => self.named("namespaces").named(namespace).named(plural),
            None => self.named(plural),
        }
    }

    /// An object of this collection, or a subresource of this object.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        if self.invalid.is_some() {
            return self;
        }
        if is_name(name) {
            self.text.push('/');
            self.text.push_str(name);
        } else {
            self.invalid = Some(name.to_owned());
        }
        self
    }

    /// The last part: the plural name of a collection.
    pub(crate) fn collection_name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    fn start(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            invalid: None,
        }
    }

    /// The path, or the part that is not a name.
    pub(crate) fn valid(&self) -> Result<&str, &str> {
        match &self.invalid {
            None => Ok(&self.text),
            Some(part) => Err(part),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.invalid.is_some() {
            f.write_str("/…")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_built_from_names() {
        let secrets = Path::core(Some("shop"), "secrets");
        assert_eq!(secrets.valid(), Ok("/api/v1/namespaces/shop/secrets"));
        assert_eq!(
            secrets.named("db").valid(),
            Ok("/api/v1/namespaces/shop/secrets/db")
        );
        assert_eq!(
            Path::api("apps", "v1")
                .collection(None, "deployments")
                .valid(),
            Ok("/apis/apps/v1/deployments")
        );
    }

    #[test]
    fn a_part_that_is_not_a_name_makes_the_path_invalid() {
        for part in [
            "",
            ".",
            "..",
            "../../kube-system/secrets/x",
            "a/b",
            "a%2fb",
            "a?b",
            "a#b",
            "a b",
            "A",
            "a\n",
        ] {
            let path = Path::core(Some("shop"), "secrets").named(part).named("x");
            assert_eq!(path.valid(), Err(part), "{part:?}");
            assert_eq!(path.to_string(), "/api/v1/namespaces/shop/secrets/…");
            assert_eq!(Path::core(Some(part), "secrets").valid(), Err(part));
        }
    }

    proptest! {
        #[test]
        fn no_name_changes_the_collection(namespace in "\\PC*", name in "\\PC*") {
            let path = Path::core(Some(&namespace), "secrets").named(&name);
            if let Ok(text) = path.valid() {
                prop_assert_eq!(text, format!("/api/v1/namespaces/{namespace}/secrets/{name}"));
                prop_assert!(!namespace.contains('/') && !name.contains('/'));
            }
        }
    }
}
