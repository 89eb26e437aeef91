//! Reads parts of a file, with faults that name their lines.

use super::Located;
use crate::{
    fault::{Fault, Reason},
    node::{Kind, Member, Node},
    source::Text,
};

/// True for null, an empty list, map or text, which kustomize takes for absent.
pub(super) fn is_empty(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar { text, .. } => text.expose().is_empty() || node.is_null(),
        Kind::List(items) => items.is_empty(),
        Kind::Map(members) => members.is_empty(),
        Kind::Unsupported(_) => false,
    }
}

/// Reads parts of a file, with faults that name their lines.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) text: &'a Text,
    /// True if kustomize printed the text: then its instructions were already followed.
    is_output: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(text: &'a Text) -> Self {
        Self {
            text,
            is_output: false,
        }
    }

    pub(super) const fn of_output(text: &'a Text) -> Self {
        Self {
            text,
            is_output: true,
        }
    }
}

impl Reader<'_> {
    pub(super) fn invalid(&self, node: &Node, message: &str) -> Fault {
        let (reason, message) = match node.kind {
            Kind::Unsupported(unsupported) => (Reason::UnsupportedYaml, unsupported),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => {
                (Reason::KustomizeInvalid, message)
            }
        };
        self.text.fault(reason, message).at(node.line)
    }

    /// A field that is not supported, by its name.
    pub(super) fn unsupported(&self, member: &Member) -> Fault {
        let message = "this field is not supported; remove it, or use the real kustomize";
        let fault = self.text.fault(Reason::KustomizeUnsupported, message);
        fault.at(member.line).of(&member.key)
    }

    pub(super) fn members<'n>(&self, node: &'n Node) -> Result<&'n [Member], Fault> {
        match &node.kind {
            Kind::Map(members) => Ok(members),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Unsupported(_) => {
                Err(self.invalid(node, "a map is needed here"))
            }
        }
    }

    pub(super) fn items<'n>(&self, node: &'n Node) -> Result<&'n [Node], Fault> {
        match &node.kind {
            Kind::List(items) => Ok(items),
            Kind::Scalar { .. } | Kind::Map(_) | Kind::Unsupported(_) => {
                Err(self.invalid(node, "a list is needed here"))
            }
        }
    }

    pub(super) fn text<'n>(&self, node: &'n Node) -> Result<&'n str, Fault> {
        node.text()
            .ok_or_else(|| self.invalid(node, "text is needed here"))
    }

    pub(super) fn located(&self, node: &Node) -> Result<Located, Fault> {
        Ok(Located {
            text: self.text(node)?.to_owned(),
            line: node.line,
        })
    }

    pub(super) fn texts(&self, node: &Node) -> Result<Vec<Located>, Fault> {
        self.items(node)?
            .iter()
            .map(|item| self.located(item))
            .collect()
    }

    pub(super) fn is_component(&self, node: &Node) -> Result<bool, Fault> {
        match self.text(node)? {
            "Kustomization" => Ok(false),
            "Component" => Ok(true),
            _ => Err(self.invalid(node, "the kind is neither Kustomization nor Component")),
        }
    }

    /// Checks the options of generators, which change labels, annotations and names.
    pub(super) fn options(&self, node: &Node) -> Result<(), Fault> {
        for member in self.members(node)? {
            match member.key.as_str() {
                "annotations" if !is_empty(&member.value) => self.annotations(&member.value)?,
                "annotations" | "labels" | "disableNameSuffixHash" | "immutable" => {}
                _ => return Err(self.unsupported(member)),
            }
        }
        Ok(())
    }

    /// Checks `labels`: with its own field paths it can change everything.
    pub(super) fn labels(&self, node: &Node) -> Result<(), Fault> {
        for item in self.items(node)? {
            for member in self.members(item)? {
                match member.key.as_str() {
                    "pairs" | "includeSelectors" | "includeTemplates" => {}
                    "fields" if is_empty(&member.value) => {}
                    _ => return Err(self.unsupported(member)),
                }
            }
        }
        Ok(())
    }

    /// Checks annotations: some are instructions for kustomize.
    pub(super) fn annotations(&self, node: &Node) -> Result<(), Fault> {
        if self.is_output {
            return Ok(());
        }
        match self
            .members(node)?
            .iter()
            .find(|member| is_instruction(&member.key))
        {
            Some(member) => Err(self.unsupported(member)),
            None => Ok(()),
        }
    }
}

/// True for annotations by which kustomize drops or renames an object, other than that for the hash in its name.
pub(super) fn is_instruction(annotation: &str) -> bool {
    let domain = annotation.split('/').next().unwrap_or_default();
    let is_of_kustomize =
        domain.ends_with("config.kubernetes.io") || domain.ends_with("config.k8s.io");
    is_of_kustomize && annotation != "kustomize.config.k8s.io/needs-hash"
}
