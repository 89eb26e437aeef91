//! Reads fields, with faults that name their lines.

use super::{Fault, Kind, Member, Node, Reason, Text};

/// Reads the fields of one manifest. A fault of one field does not hide those of others.
pub(super) struct Reader<'a> {
    pub(super) text: &'a Text,
    pub(super) warnings: &'a mut Vec<Fault>,
    pub(super) faults: &'a mut Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(
        text: &'a Text,
        warnings: &'a mut Vec<Fault>,
        faults: &'a mut Vec<Fault>,
    ) -> Self {
        Self {
            text,
            warnings,
            faults,
        }
    }

    pub(super) fn members<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Member] {
        match &node.kind {
            Kind::Map(members) => members,
            Kind::Scalar { .. } | Kind::List(_) => {
                self.fault(node.line, path, "must be a map");
                &[]
            }
            Kind::Unsupported(message) => {
                self.fault(node.line, path, message);
                &[]
            }
        }
    }

    pub(super) fn string(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = node.text().map(str::to_owned);
        if text.is_none() {
            self.fault(node.line, path, "must be text");
        }
        text
    }

    pub(super) fn boolean(&mut self, node: &Node, path: &str) -> Option<bool> {
        match node.text() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => {
                self.fault(node.line, path, "must be true or false");
                None
            }
        }
    }

    /// Reports a missing or empty text, unless a fault of it was reported already.
    pub(super) fn required(
        &mut self,
        text: Option<String>,
        line: usize,
        path: &str,
    ) -> Option<String> {
        self.present(text.filter(|text| !text.is_empty()), line, path)
    }

    pub(super) fn present<T>(&mut self, value: Option<T>, line: usize, path: &str) -> Option<T> {
        let is_of_path = |fault: &Fault| {
            fault
                .key
                .as_deref()
                .is_some_and(|key| key.starts_with(path))
        };
        if value.is_none() && !self.faults.iter().any(is_of_path) {
            self.fault(line, path, "is missing");
        }
        value
    }

    pub(super) fn unknown(&mut self, member: &Member, path: &str) {
        let message = "is not a field of SecretManagerConfig that is known here; remove it, or correct its name";
        let fault = self.text.fault(Reason::UnknownField, message);
        self.faults.push(fault.at(member.line).of(path));
    }

    pub(super) fn fault(&mut self, line: usize, path: &str, message: &str) {
        let fault = self.text.fault(Reason::InvalidField, message);
        self.faults.push(fault.at(line).of(path));
    }

    pub(super) fn warn(&mut self, line: usize, path: &str, message: &str) {
        let warning = self.text.fault(Reason::WithoutEffect, message);
        self.warnings.push(warning.at(line).of(path));
    }
}
