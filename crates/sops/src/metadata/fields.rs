//! Reads fields of the metadata by name. Unknown fields are ignored, as by SOPS.

use crate::{
    refusal::{Reason, Refused},
    source::{Element, Member, Stored},
    tree::Kind,
};

/// A map of the metadata.
pub(super) struct Fields<'a> {
    members: &'a [Member],
    path: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(members: &'a [Member], path: &[&'a str]) -> Self {
        Self {
            members,
            path: path.to_vec(),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Stored> {
        self.members.iter().find_map(|member| match member {
            Member::Entry(key, node) if key == name => Some(node),
            Member::Entry(..) | Member::Comment(_) => None,
        })
    }

    /// The text of a field; None if it is missing or null.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Stored::Scalar(scalar)) if scalar.kind == Kind::Null => Ok(None),
            Some(Stored::Scalar(scalar)) => Ok(Some(&scalar.text)),
            Some(Stored::Map(_) | Stored::List(_)) => Err(self.refuse(name)),
        }
    }

    /// The text of a field that must have one.
    pub(super) fn required(&self, name: &str) -> Result<&'a str, Refused> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.refuse(name))
    }

    pub(super) fn bool(&self, name: &str) -> Result<bool, Refused> {
        match self.text(name)? {
            None | Some("" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(self.refuse(name)),
        }
    }

    /// The maps in the list of this name; empty if it is missing or null.
    pub(super) fn maps(&self, name: &'a str) -> Result<Vec<Self>, Refused> {
        let elements = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Stored::Scalar(scalar)) if scalar.kind == Kind::Null => return Ok(Vec::new()),
            Some(Stored::List(elements)) => elements,
            Some(Stored::Map(_) | Stored::Scalar(_)) => return Err(self.refuse(name)),
        };
        let path: Vec<&str> = self.path.iter().copied().chain([name]).collect();
        let mut maps = Vec::new();
        for element in elements {
            match element {
                Element::Value(Stored::Map(members)) => maps.push(Self::new(members, &path)),
                Element::Comment(_) => {}
                Element::Value(_) => return Err(self.refuse(name)),
            }
        }
        Ok(maps)
    }

    /// The texts in the map of this name, in order; empty if it is missing or null.
    pub(super) fn texts(&self, name: &'a str) -> Result<Vec<(&'a str, &'a str)>, Refused> {
        let members = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Stored::Scalar(scalar)) if scalar.kind == Kind::Null => return Ok(Vec::new()),
            Some(Stored::Map(members)) => members,
            Some(Stored::List(_) | Stored::Scalar(_)) => return Err(self.refuse(name)),
        };
        let map = Self::new(members, &[]);
        let keys = members.iter().filter_map(|member| match member {
            Member::Entry(key, _) => Some(key.as_str()),
            Member::Comment(_) => None,
        });
        keys.map(|key| match map.text(key) {
            Ok(Some(text)) => Ok((key, text)),
            Ok(None) | Err(_) => Err(self.refuse(name)),
        })
        .collect()
    }

    pub(super) fn refuse(&self, name: &str) -> Refused {
        let path: Vec<&str> = self.path.iter().copied().chain([name]).collect();
        Refused::at(Reason::InvalidMetadata, &path)
    }
}
