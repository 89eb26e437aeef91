//! `secretGenerator`.

use std::collections::btree_map::Entry as Slot;

use secret::Value;

use super::{
    Located, Secrets, file_path,
    reader::Reader,
    resource::{Data, Datum, Id, Resource},
};
use crate::{
    dotenv::{self, Dialect},
    fault::{Fault, Reason},
    node::Node,
    source::{Source, Text},
    tree::split,
};

/// The fields of an entry. kustomize fails on all others, even if they are null.
const FIELDS: &[&str] = &[
    "name",
    "namespace",
    "behavior",
    "env",
    "envs",
    "literals",
    "files",
    "options",
    "type",
];

#[derive(Default)]
enum Behavior {
    #[default]
    Create,
    Merge,
    Replace,
}

/// An entry of `secretGenerator`.
pub(super) struct Generator {
    id: Id,
    line: usize,
    behavior: Behavior,
    envs: Vec<Located>,
    literals: Vec<Located>,
    files: Vec<Located>,
}

impl Generator {
    pub(super) fn parse(reader: &Reader<'_>, node: &Node) -> Result<Self, Fault> {
        let mut generator = Self {
            id: Id {
                namespace: String::new(),
                name: String::new(),
            },
            line: node.line,
            behavior: Behavior::Create,
            envs: Vec::new(),
            literals: Vec::new(),
            files: Vec::new(),
        };
        let mut env = None;
        for member in reader.members(node)? {
            let value = &member.value;
            match member.key.as_str() {
                key if value.is_null() && FIELDS.contains(&key) => {}
                "name" => reader.text(value)?.clone_into(&mut generator.id.name),
                "namespace" => reader.text(value)?.clone_into(&mut generator.id.namespace),
                "behavior" => {
                    generator.behavior = match reader.text(value)? {
                        "merge" => Behavior::Merge,
                        "replace" => Behavior::Replace,
                        _ => Behavior::Create,
                    }
                }
                "env" => env = Some(reader.located(value)?).filter(|env| !env.text.is_empty()),
                "envs" => generator.envs = reader.texts(value)?,
                "literals" => generator.literals = reader.texts(value)?,
                "files" => generator.files = reader.texts(value)?,
                "options" => reader.options(value)?,
                "type" => {}
                _ => return Err(reader.unsupported(member)),
            }
        }
        if generator.id.name.is_empty() {
            return Err(reader.invalid(node, "a generator needs a `name`"));
        }
        generator.envs.extend(env);
        Ok(generator)
    }

    /// Adds the Secret, or merges it into the one of the same name.
    pub(super) fn generate(
        &self,
        source: Source<'_>,
        text: &Text,
        secrets: &mut Secrets,
    ) -> Result<(), Fault> {
        let invalid =
            |message: &str| Err(text.fault(Reason::KustomizeInvalid, message).at(self.line));
        let mut data = self.data(source, text)?;
        let Ok(found) = secrets.find(&self.id) else {
            return invalid("several Secrets have or had the name of this generator");
        };
        match (found, &self.behavior) {
            (None, Behavior::Create) => secrets.append(Resource {
                previous: Vec::new(),
                current: self.id.clone(),
                file: text.file.clone(),
                data: Some(data),
                string_data: None,
            }),
            (None, Behavior::Merge | Behavior::Replace) => {
                invalid("there is no Secret of this name to merge into or to replace")
            }
            (Some(_), Behavior::Create) => {
                invalid("a Secret of this name exists; set `behavior` to merge or replace")
            }
            (Some(secret), behavior) => {
                // kustomize puts the generated Secret in place of the other one, and takes over its data at most.
                if matches!(behavior, Behavior::Merge) {
                    for (key, datum) in secret.data.take().unwrap_or_default() {
                        data.entry(key).or_insert(datum);
                    }
                }
                secret.data = Some(data);
                secret.string_data = None;
                Ok(())
            }
        }
    }

    fn data(&self, source: Source<'_>, text: &Text) -> Result<Data, Fault> {
        let mut data = Data::new();
        for path in &self.envs {
            let env = source.text(&file_path(text, path)?)?;
            let mut faults = Vec::new();
            let entries = dotenv::read(&env, Some(Dialect::Kustomize), &mut faults);
            if let Some(fault) = faults.into_iter().next() {
                return Err(fault);
            }
            for entry in entries {
                let datum = Datum {
                    value: entry.value,
                    file: entry.file,
                    line: entry.line,
                    encrypted: entry.encrypted,
                };
                insert(&mut data, entry.key, datum)?;
            }
        }
        for literal in &self.literals {
            let (key, datum) = read_literal(text, literal)?;
            insert(&mut data, key, datum)?;
        }
        for path in &self.files {
            let (key, datum) = read_file(source, text, path)?;
            insert(&mut data, key, datum)?;
        }
        Ok(data)
    }
}

fn insert(data: &mut Data, key: String, datum: Datum) -> Result<(), Fault> {
    match data.entry(key) {
        Slot::Vacant(slot) => {
            slot.insert(datum);
            Ok(())
        }
        Slot::Occupied(slot) => {
            let message = "the key occurs twice in one generator; remove one of them";
            let fault = Fault::new(&datum.file, Reason::DuplicateKey, message).of(slot.key());
            Err(Fault {
                line: datum.line,
                ..fault
            })
        }
    }
}

/// Reads `KEY=VALUE`. Quotes around the value are removed.
fn read_literal(text: &Text, literal: &Located) -> Result<(String, Datum), Fault> {
    let (key, value) = match literal.text.split_once('=') {
        Some((key, value)) if !key.is_empty() => (key, value),
        _ => {
            return Err(literal.fault(
                text,
                Reason::KustomizeInvalid,
                "a literal needs the form KEY=VALUE",
            ));
        }
    };
    let unquoted = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    let datum = Datum {
        value: Value::from(unquoted.unwrap_or(value)),
        file: text.file.clone(),
        line: Some(literal.line),
        encrypted: text.is_all_encrypted(),
    };
    Ok((key.to_owned(), datum))
}

/// Reads `PATH` or `KEY=PATH`.
fn read_file(source: Source<'_>, text: &Text, file: &Located) -> Result<(String, Datum), Fault> {
    let (key, path) = match file.text.split_once('=') {
        None => (split(&file.text).1, file.text.as_str()),
        Some((key, path)) if !key.is_empty() && !path.is_empty() && !path.contains('=') => {
            (key, path)
        }
        Some(_) => {
            return Err(file.fault(
                text,
                Reason::KustomizeInvalid,
                "a file needs the form PATH or KEY=PATH",
            ));
        }
    };
    let path = Located {
        text: path.to_owned(),
        line: file.line,
    };
    let opened = source.open(&file_path(text, &path)?)?;
    let datum = Datum {
        encrypted: opened.is_all_encrypted(),
        value: opened.content,
        file: opened.file,
        line: None,
    };
    Ok((key.to_owned(), datum))
}
