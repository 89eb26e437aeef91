//! The target of a patch.

use regex::bytes::{Regex, RegexBuilder};

use super::{
    reader::Reader,
    resource::{Id, Resource},
};
use crate::{
    fault::{Fault, Reason},
    node::Node,
};

/// The maximum size of a compiled pattern.
const MAX_PATTERN: usize = 1 << 20;

/// Selects resources by patterns. An empty pattern selects all.
#[derive(Default)]
pub(super) struct Selector {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    /// The fault for a selector by labels or annotations, which are not followed.
    unsupported: Option<Fault>,
}

impl Selector {
    pub(super) fn parse(reader: &Reader<'_>, node: &Node) -> Result<Self, Fault> {
        let mut selector = Self::default();
        for member in reader.members(node)? {
            let slot = match member.key.as_str() {
                "group" => &mut selector.group,
                "version" => &mut selector.version,
                "kind" => &mut selector.kind,
                "name" => &mut selector.name,
                "namespace" => &mut selector.namespace,
                "labelSelector" | "annotationSelector" => {
                    if !member.value.is_null() && !reader.text(&member.value)?.is_empty() {
                        selector.unsupported = Some(reader.unsupported(member));
                    }
                    continue;
                }
                _ => return Err(reader.unsupported(member)),
            };
            if !member.value.is_null() {
                *slot = pattern(reader, &member.value)?;
            }
        }
        Ok(selector)
    }

    /// True if it selects Secrets at all, whatever their names.
    pub(super) fn is_for_secrets(&self) -> bool {
        let matches = |pattern: &Option<Regex>, text: &str| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(text.as_bytes()))
        };
        matches(&self.group, "") && matches(&self.version, "v1") && matches(&self.kind, "Secret")
    }

    pub(super) fn selects(&self, secret: &Resource) -> Result<bool, Fault> {
        let ids = [secret.original(), &secret.current];
        let any = |pattern: &Option<Regex>, texts: [&str; 2]| {
            let Some(pattern) = pattern else {
                return true;
            };
            texts.iter().any(|text| pattern.is_match(text.as_bytes()))
        };
        let selects = self.is_for_secrets()
            && any(&self.namespace, ids.map(Id::effective_namespace))
            && any(&self.name, ids.map(|id| id.name.as_str()));
        match &self.unsupported {
            Some(fault) if selects => Err(fault.clone()),
            _ => Ok(selects),
        }
    }
}

/// Compiles a pattern that must match the whole text. Names are ASCII, as Go's classes `\d`, `\w` and `\s` are.
fn pattern(reader: &Reader<'_>, node: &Node) -> Result<Option<Regex>, Fault> {
    let text = reader.text(node)?;
    if text.is_empty() {
        return Ok(None);
    }
    let anchored = format!("^(?:{text})$");
    let compiled = RegexBuilder::new(&anchored)
        .unicode(false)
        .size_limit(MAX_PATTERN)
        .build();
    compiled.map(Some).map_err(|_| {
        let message = "the pattern is not a regular expression that is supported";
        reader
            .text
            .fault(Reason::KustomizeUnsupported, message)
            .at(node.line)
    })
}
