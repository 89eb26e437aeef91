//! A Secret in the making.

use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secret::Value;
use zeroize::Zeroizing;

use super::{KustomizeSecret, reader::Reader};
use crate::{
    entry::Entry,
    fault::{Fault, Reason},
    node::{Kind, Member, Node, Style},
    plain,
};

/// Base64 as Kubernetes reads it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Names a Secret.
#[derive(Clone)]
pub(super) struct Id {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Id {
    /// Returns the namespace and the name. No namespace is the namespace `default`.
    pub(super) fn key(&self) -> (&str, &str) {
        (self.effective_namespace(), &self.name)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    pub(super) fn effective_namespace(&self) -> &str {
        if self.namespace.is_empty() {
            "default"
        } else {
            &self.namespace
        }
    }
}

/// A value of a Secret, decoded.
pub(super) struct Datum {
    pub(super) value: Value,
    pub(super) file: String,
    pub(super) line: Option<usize>,
    pub(super) encrypted: bool,
}

pub(super) type Data = BTreeMap<String, Datum>;

/// The two maps of a Secret that hold values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Data,
    StringData,
}

impl Field {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "data" => Some(Self::Data),
            "stringData" => Some(Self::StringData),
            _ => None,
        }
    }
}

/// A Secret in the making.
pub(super) struct Resource {
    /// The IDs that it had before it was renamed, the first one first.
    pub(super) previous: Vec<Id>,
    pub(super) current: Id,
    /// The file that it comes from.
    pub(super) file: String,
    /// None if there is no such field.
    pub(super) data: Option<Data>,
    pub(super) string_data: Option<Data>,
}

impl Resource {
    pub(super) fn field(&mut self, field: Field) -> &mut Option<Data> {
        match field {
            Field::Data => &mut self.data,
            Field::StringData => &mut self.string_data,
        }
    }

    pub(super) fn has_or_had(&self, id: &Id) -> bool {
        self.current.is_same(id) || self.previous.iter().any(|previous| previous.is_same(id))
    }

    /// The ID that it had in the file or generator that it comes from.
    pub(super) fn original(&self) -> &Id {
        self.previous.first().unwrap_or(&self.current)
    }

    /// Returns the values, of which those of `stringData` win.
    pub(super) fn finish(self) -> KustomizeSecret {
        let mut data = self.data.unwrap_or_default();
        data.extend(self.string_data.unwrap_or_default());
        let entry = |(key, datum): (String, Datum)| Entry {
            key,
            value: datum.value,
            file: datum.file,
            line: datum.line,
            encrypted: datum.encrypted,
        };
        KustomizeSecret {
            namespace: self.current.namespace,
            name: self.current.name,
            entries: data.into_iter().map(entry).collect(),
        }
    }
}

/// Passes on the Secrets in a document, which may be a list of objects.
pub(super) fn read(
    reader: Reader<'_>,
    document: &Node,
    path: &str,
    found: &mut dyn FnMut(Resource) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if document.is_null() {
        return Ok(());
    }
    let kind = document.get("kind").and_then(Node::text);
    if let (Some(kind), Some(items)) = (kind, document.get("items"))
        && kind.ends_with("List")
    {
        if items.is_null() {
            return Ok(());
        }
        for (index, item) in reader.items(items)?.iter().enumerate() {
            read(reader, item, &format!("{path}items[{index}]."), found)?;
        }
        return Ok(());
    }
    let is_core = document.get("apiVersion").and_then(Node::text) == Some("v1");
    match kind {
        Some("Secret") if is_core => found(secret(&reader, document, path)?),
        Some(_) => Ok(()),
        None => Err(reader.invalid(document, "is not a Kubernetes object: it has no `kind`")),
    }
}

fn secret(reader: &Reader<'_>, object: &Node, path: &str) -> Result<Resource, Fault> {
    let (mut data, mut string_data) = (None, None);
    for member in reader.members(object)? {
        let (field, slot) = match Field::of(&member.key) {
            Some(field @ Field::Data) => (field, &mut data),
            Some(field @ Field::StringData) => (field, &mut string_data),
            None => continue,
        };
        if member.value.is_null() {
            continue;
        }
        let mut values = Data::new();
        for value in reader.members(&member.value)? {
            // A null has no value, and deletes one only in a patch.
            if !value.value.is_null() {
                values.insert(value.key.clone(), datum(reader, field, value, path)?);
            }
        }
        *slot = Some(values);
    }
    Ok(Resource {
        previous: Vec::new(),
        current: id(reader, object)?,
        file: reader.text.file.clone(),
        data,
        string_data,
    })
}

/// Returns the name and namespace of an object, after a check of its annotations.
pub(super) fn id(reader: &Reader<'_>, object: &Node) -> Result<Id, Fault> {
    let missing = || reader.invalid(object, "has no `metadata.name`");
    let metadata = object.get("metadata").ok_or_else(missing)?;
    if let Some(annotations) = metadata
        .get("annotations")
        .filter(|annotations| !annotations.is_null())
    {
        reader.annotations(annotations)?;
    }
    let name = reader.text(metadata.get("name").ok_or_else(missing)?)?;
    if name.is_empty() {
        return Err(missing());
    }
    let namespace = metadata
        .get("namespace")
        .filter(|namespace| !namespace.is_null());
    let namespace = namespace
        .map(|namespace| reader.text(namespace))
        .transpose()?;
    Ok(Id {
        namespace: namespace.unwrap_or_default().to_owned(),
        name: name.to_owned(),
    })
}

/// Reads one value. `path` is the path of the object in its file.
pub(super) fn datum(
    reader: &Reader<'_>,
    field: Field,
    member: &Member,
    path: &str,
) -> Result<Datum, Fault> {
    let (name, key) = match field {
        Field::Data => ("data", &member.key),
        Field::StringData => ("stringData", &member.key),
    };
    let encrypted = reader.text.is_encrypted(&format!("{path}{name}.{key}"));
    let text = text(reader, &member.value, key)?;
    let value = match field {
        Field::StringData => Value::from(text),
        Field::Data => decoded(text).ok_or_else(|| {
            let message = "the value below `data` is not base64; use `stringData` for plain text";
            let fault = reader.text.fault(Reason::InvalidBase64, message);
            fault.at(member.value.line).of(key)
        })?,
    };
    Ok(Datum {
        value,
        file: reader.text.file.clone(),
        line: Some(member.value.line),
        encrypted,
    })
}

/// Returns a scalar that every YAML parser reads as text.
pub(super) fn text<'n>(reader: &Reader<'_>, node: &'n Node, key: &str) -> Result<&'n str, Fault> {
    let text = reader.text(node).map_err(|fault| fault.of(key))?;
    let Kind::Scalar { style, .. } = node.kind else {
        return Ok(text);
    };
    let starts_indented = |line: &str| line.starts_with([' ', '\t']);
    let is_changed =
        text.starts_with('\n') || text.ends_with("\n\n") || text.split('\n').any(starts_indented);
    if style == Style::Folded && is_changed {
        let message = "kustomize changes the line breaks of this folded block (`>`), because it has indented lines, or empty lines at an end: use `|`";
        let fault = reader.text.fault(Reason::UnsupportedYaml, message);
        return Err(fault.at(node.line).of(key));
    }
    if style == Style::Plain && plain::may_be_no_text(text) {
        let message = "the value of a Secret must be text, and this may be a number, a boolean or a date: quote it";
        return Err(reader
            .text
            .fault(Reason::NotText, message)
            .at(node.line)
            .of(key));
    }
    Ok(text)
}

/// Decodes base64, ignoring line breaks.
pub(super) fn decoded(text: &str) -> Option<Value> {
    let mut encoded = Zeroizing::new(Vec::with_capacity(text.len()));
    encoded.extend(text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(encoded.len())]);
    let length = BASE64.decode_slice(&*encoded, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(Value::new(std::mem::take(&mut *bytes)))
}
