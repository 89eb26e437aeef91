//! Patches of Secrets: strategic merge and JSON (RFC 6902).

use super::{
    Located, Secrets, file_path,
    reader::Reader,
    resource::{self, Data, Field, Resource, datum},
    select::Selector,
};
use crate::{
    fault::{Fault, Reason},
    node::{self, Kind, Member, Node},
    source::{Source, Text},
};

/// A patch, which is read when it is applied.
pub(super) struct Patch {
    content: Content,
    target: Option<Selector>,
}

enum Content {
    Inline(Located),
    Path(Located),
}

/// What is done to one value or to all of a field.
enum Change<'a> {
    /// The operations `add` and `replace`. As kustomize applies it, `replace` adds what is missing.
    Set(&'a Node),
    Remove,
}

impl Patch {
    /// Reads `patches`.
    pub(super) fn parse_all(reader: &Reader<'_>, node: &Node) -> Result<Vec<Self>, Fault> {
        let items = reader.items(node)?.iter();
        items.map(|item| Self::parse(reader, item)).collect()
    }

    /// Reads `patchesJson6902`.
    pub(super) fn json(reader: &Reader<'_>, node: &Node) -> Result<Vec<Self>, Fault> {
        let all = Self::parse_all(reader, node)?;
        if all.iter().any(|patch| patch.target.is_none()) {
            return Err(reader.invalid(node, "a JSON patch needs a `target`"));
        }
        Ok(all)
    }

    /// Reads `patchesStrategicMerge`, whose items are paths or patches.
    pub(super) fn strategic(reader: &Reader<'_>, node: &Node) -> Result<Vec<Self>, Fault> {
        let items = reader.texts(node)?.into_iter();
        let patches = items.map(|item| {
            let documents = node::documents(&reader.text.inline(&item.text));
            let is_inline = documents.is_ok_and(|documents| {
                documents
                    .iter()
                    .any(|document| matches!(document.kind, Kind::Map(_)))
            });
            Self {
                content: if is_inline {
                    Content::Inline(item)
                } else {
                    Content::Path(item)
                },
                target: None,
            }
        });
        Ok(patches.collect())
    }

    fn parse(reader: &Reader<'_>, node: &Node) -> Result<Self, Fault> {
        let (mut text, mut path, mut target) = (None, None, None);
        for member in reader.members(node)? {
            let value = &member.value;
            match member.key.as_str() {
                "patch" | "path" | "target" | "options" if value.is_null() => {}
                "patch" => {
                    text = Some(reader.located(value)?).filter(|text| !text.text.trim().is_empty());
                }
                "path" => path = Some(reader.located(value)?).filter(|path| !path.text.is_empty()),
                "target" => target = Some(Selector::parse(reader, value)?),
                // They allow that a patch changes the name or the kind.
                "options" => {
                    let options = reader.members(value)?;
                    if let Some(option) = options
                        .iter()
                        .find(|option| option.value.text() != Some("false"))
                    {
                        return Err(reader.unsupported(option));
                    }
                }
                _ => return Err(reader.unsupported(member)),
            }
        }
        let content = match (text, path) {
            (Some(text), None) => Content::Inline(text),
            (None, Some(path)) => Content::Path(path),
            _ => return Err(reader.invalid(node, "a patch needs one of `patch` and `path`")),
        };
        Ok(Self { content, target })
    }

    pub(super) fn apply(
        &self,
        source: Source<'_>,
        text: &Text,
        secrets: &mut Secrets,
    ) -> Result<(), Fault> {
        match &self.content {
            Content::Path(path) => {
                let file = source.yaml(&file_path(text, path)?)?;
                self.apply_text(&file, secrets)
            }
            // Lines in the patch are no lines of the file.
            Content::Inline(patch) => {
                let inline = text.inline(&patch.text);
                self.apply_text(&inline, secrets)
                    .map_err(|fault| fault.at(patch.line))
            }
        }
    }

    fn apply_text(&self, text: &Text, secrets: &mut Secrets) -> Result<(), Fault> {
        let reader = Reader::new(text);
        let documents = node::documents(text)?;
        let documents: Vec<&Node> = documents
            .iter()
            .filter(|document| !document.is_null())
            .collect();
        let Some(first) = documents.first() else {
            return Err(text.fault(Reason::KustomizeInvalid, "the patch is empty"));
        };
        if matches!(first.kind, Kind::List(_)) {
            return self.apply_json(&reader, first, secrets);
        }
        let Some(target) = &self.target else {
            return documents
                .iter()
                .try_for_each(|patch| merge_by_name(&reader, patch, secrets));
        };
        if documents.len() > 1 {
            let message = "a patch with a `target` is one document";
            return Err(text.fault(Reason::KustomizeInvalid, message));
        }
        merge_where(&reader, first, secrets, &|secret| target.selects(secret))
    }

    fn apply_json(
        &self,
        reader: &Reader<'_>,
        patch: &Node,
        secrets: &mut Secrets,
    ) -> Result<(), Fault> {
        let Some(target) = &self.target else {
            return Err(reader.invalid(patch, "a JSON patch needs a `target`"));
        };
        let items = reader.items(patch)?;
        // It could turn another object into a Secret.
        if let Some(item) = items.iter().find(|item| changes_kind(item)) {
            return Err(unsupported(reader, item));
        }
        for secret in &mut secrets.0 {
            // Operations on other objects are not followed, and not read.
            if target.selects(secret)? {
                for item in items {
                    Operation::parse(reader, item)?.apply(reader, secret)?;
                }
            }
        }
        Ok(())
    }
}

/// Merges a patch into the Secret that it names.
fn merge_by_name(reader: &Reader<'_>, patch: &Node, secrets: &mut Secrets) -> Result<(), Fault> {
    let field = |name| patch.get(name).and_then(Node::text);
    let (Some(kind), Some(version)) = (field("kind"), field("apiVersion")) else {
        return Err(reader.invalid(
            patch,
            "a patch without `target` needs `apiVersion` and `kind`",
        ));
    };
    if patch.get("items").is_some() && kind.ends_with("List") {
        return Err(reader
            .text
            .fault(
                Reason::KustomizeUnsupported,
                "a patch that is a list of objects is not supported: use one document for each",
            )
            .at(patch.line));
    }
    if (kind, version) != ("Secret", "v1") {
        return Ok(());
    }
    let id = resource::id(reader, patch)?;
    if !matches!(secrets.find(&id), Ok(Some(_))) {
        let message = "the patch names no Secret, or several Secrets, of the resources";
        return Err(reader.invalid(patch, message));
    }
    merge_where(reader, patch, secrets, &|secret| Ok(secret.has_or_had(&id)))
}

fn merge_where(
    reader: &Reader<'_>,
    patch: &Node,
    secrets: &mut Secrets,
    selects: &dyn Fn(&Resource) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let mut kept = Vec::new();
    for mut secret in std::mem::take(&mut secrets.0) {
        let is_kept = !selects(&secret)? || merge(reader, patch, &mut secret)?;
        if is_kept {
            kept.push(secret);
        }
    }
    secrets.0 = kept;
    Ok(())
}

/// Merges a patch into a Secret. Returns false if it deletes the Secret.
fn merge(reader: &Reader<'_>, patch: &Node, secret: &mut Resource) -> Result<bool, Fault> {
    resource::id(reader, patch)?;
    let members = reader.members(patch)?;
    match directive(reader, members)? {
        Directive::Merge => {}
        Directive::Delete => return Ok(false),
        // kustomize has no effect here up to version 5.8.
        Directive::Replace => {
            let message = "`$patch: replace` of a whole object is not supported: use it below `data` or `stringData`";
            return Err(reader
                .text
                .fault(Reason::KustomizeUnsupported, message)
                .at(patch.line));
        }
    }
    for member in members {
        let Some(field) = Field::of(&member.key) else {
            continue;
        };
        let data = secret.field(field);
        if member.value.is_null() {
            *data = None;
            continue;
        }
        let values = reader.members(&member.value)?;
        match directive(reader, values)? {
            Directive::Delete => {
                *data = None;
                continue;
            }
            Directive::Replace => *data = None,
            Directive::Merge => {}
        }
        let data = data.get_or_insert_default();
        for value in values.iter().filter(|value| value.key != DIRECTIVE) {
            if value.value.is_null() {
                data.remove(&value.key);
            } else {
                let datum = datum(reader, field, value, "")?;
                data.insert(value.key.clone(), datum);
            }
        }
    }
    Ok(true)
}

const DIRECTIVE: &str = "$patch";

/// What a map in a patch does with the map that it meets.
enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(reader: &Reader<'_>, members: &[Member]) -> Result<Directive, Fault> {
    let mut directive = Directive::Merge;
    for member in members.iter().filter(|member| member.key.starts_with('$')) {
        if member.key != DIRECTIVE {
            return Err(reader.unsupported(member));
        }
        directive = match reader.text(&member.value)? {
            "merge" => Directive::Merge,
            "replace" => Directive::Replace,
            "delete" => Directive::Delete,
            _ => return Err(reader.invalid(&member.value, "`$patch` is merge, replace or delete")),
        };
    }
    Ok(directive)
}

/// An operation of a JSON patch.
struct Operation<'a> {
    node: &'a Node,
    change: Change<'a>,
    path: Vec<String>,
}

/// True if an operation may change the kind of an object.
fn changes_kind(operation: &Node) -> bool {
    let field = |name| operation.get(name).and_then(Node::text);
    let is_change = !matches!(field("op"), Some("remove" | "test"));
    is_change && matches!(field("path"), Some("" | "/kind"))
}

fn unsupported(reader: &Reader<'_>, operation: &Node) -> Fault {
    let message = "an operation on this path is not supported; patch `data`, `stringData`, labels or annotations, or use the real kustomize";
    let fault = reader.text.fault(Reason::KustomizeUnsupported, message);
    fault.at(operation.line)
}

impl<'a> Operation<'a> {
    fn parse(reader: &Reader<'_>, node: &'a Node) -> Result<Self, Fault> {
        let text = |name: &str| {
            let field = node.get(name).and_then(Node::text);
            field.ok_or_else(|| reader.invalid(node, "an operation needs `op` and `path`"))
        };
        let value = || {
            node.get("value")
                .ok_or_else(|| reader.invalid(node, "the operation needs a `value`"))
        };
        let change = match text("op")? {
            "add" | "replace" => Change::Set(value()?),
            "remove" => Change::Remove,
            _ => {
                let message = "only the operations add, replace and remove are supported";
                return Err(reader
                    .text
                    .fault(Reason::KustomizeUnsupported, message)
                    .at(node.line));
            }
        };
        let path = text("path")?;
        if !path.is_empty() && !path.starts_with('/') {
            return Err(reader.invalid(node, "the path of an operation starts with `/`"));
        }
        let parts = path.split('/').skip(1);
        let path = parts
            .map(|part| part.replace("~1", "/").replace("~0", "~"))
            .collect();
        Ok(Self { node, change, path })
    }

    fn apply(&self, reader: &Reader<'_>, secret: &mut Resource) -> Result<(), Fault> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["type" | "immutable"] | ["metadata", "labels", ..] => Ok(()),
            ["metadata", "annotations", rest @ ..] => self.check_annotations(reader, rest),
            [name] => match Field::of(name) {
                Some(field) => self.apply_to_field(reader, secret, field),
                None => Err(unsupported(reader, self.node)),
            },
            [name, key] => match Field::of(name) {
                Some(field) => self.apply_to_value(reader, secret, field, key),
                None => Err(unsupported(reader, self.node)),
            },
            _ => Err(unsupported(reader, self.node)),
        }
    }

    fn check_annotations(&self, reader: &Reader<'_>, rest: &[&str]) -> Result<(), Fault> {
        match (&self.change, rest) {
            (Change::Set(value), []) => reader.annotations(value),
            (Change::Set(_), [annotation]) if super::reader::is_instruction(annotation) => {
                Err(unsupported(reader, self.node))
            }
            _ => Ok(()),
        }
    }

    fn apply_to_field(
        &self,
        reader: &Reader<'_>,
        secret: &mut Resource,
        field: Field,
    ) -> Result<(), Fault> {
        let data = secret.field(field);
        if data.is_none() && matches!(self.change, Change::Remove) {
            return Err(reader.invalid(
                self.node,
                "the field that the operation removes does not exist",
            ));
        }
        *data = match self.change {
            Change::Remove => None,
            Change::Set(value) if value.is_null() => None,
            Change::Set(value) => {
                let mut values = Data::new();
                for member in reader
                    .members(value)?
                    .iter()
                    .filter(|member| !member.value.is_null())
                {
                    values.insert(member.key.clone(), datum(reader, field, member, "")?);
                }
                Some(values)
            }
        };
        Ok(())
    }

    fn apply_to_value(
        &self,
        reader: &Reader<'_>,
        secret: &mut Resource,
        field: Field,
        key: &str,
    ) -> Result<(), Fault> {
        let missing = |message| Err(reader.invalid(self.node, message).of(key));
        let Some(data) = secret.field(field) else {
            return missing("the Secret has no such field; add the whole field first");
        };
        if !data.contains_key(key) && matches!(self.change, Change::Remove) {
            return missing("the key that the operation removes does not exist");
        }
        match self.change {
            Change::Set(value) if !value.is_null() => {
                let member = Member {
                    key: key.to_owned(),
                    is_plain: false,
                    line: value.line,
                    value: value.duplicate(),
                };
                data.insert(key.to_owned(), datum(reader, field, &member, "")?);
            }
            Change::Set(_) | Change::Remove => {
                data.remove(key);
            }
        }
        Ok(())
    }
}
