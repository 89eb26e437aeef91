//! Reads a policy from defaults, files, `ESO_SYNC_…` variables and flags. Each source overrides the ones before it.
//!
//! Each source is parsed into a tree with line numbers (`tree`), validated against the schema of the types in [`crate::policy`]
//! (`schema`, `check`, `rules`), and then merged. All errors of all sources are therefore reported at once, with their lines.

mod check;
mod drift;
mod environment;
mod events;
mod problem;
mod publish;
mod report;
mod rules;
mod schema;
mod tree;

use std::{collections::BTreeMap, fs, path::PathBuf};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::Serialized,
    value::{Dict, Map},
};
use sha2::{Digest, Sha256};

use self::{
    problem::Found,
    tree::{Entry, Node, Style, Value},
};
pub use self::{
    problem::{Invalid, Problem, Source},
    schema::schema,
};
use crate::policy::{Ceilings, Policy};

/// A policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as given by the user, for messages.
    pub path: PathBuf,
    pub text: String,
}

/// The sections of a policy that only single commands read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sections {
    pub publish: bool,
    pub events: bool,
}

impl Sections {
    pub const ALL: Self = Self {
        publish: true,
        events: true,
    };
    pub const PUBLISH: Self = Self {
        publish: true,
        events: false,
    };
    pub const EVENTS: Self = Self {
        publish: false,
        events: true,
    };
}

/// All sources of a policy.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Later files override earlier ones.
    pub files: Vec<SourceFile>,
    /// The whole environment. Variables without the prefix `ESO_SYNC_` are ignored.
    pub environment: BTreeMap<String, String>,
    /// Dotted keys (`sync.timeout`) with values in the form of a policy file.
    pub flags: BTreeMap<String, serde_json::Value>,
    /// Upper limits for the policy.
    pub ceilings: Ceilings,
    /// The sections of single commands that this command reads. The others must not stop it.
    pub sections: Sections,
}

/// A valid policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub policy: Policy,
    /// The start of a SHA-256 in hexadecimal, over the policy's content and not over its sources.
    pub digest: String,
    /// Problems that do not make the policy invalid.
    pub warnings: Vec<String>,
}

/// Reads the files that `--config` names.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Invalid> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match fs::read_to_string(path) {
            Ok(text) => files.push(SourceFile {
                path: path.clone(),
                text,
            }),
            Err(error) => problems.push(Problem {
                source: Source::File {
                    path: path.clone(),
                    line: None,
                },
                key: String::new(),
                what: format!("cannot be read: {error}"),
                hint: "name the policy with --config FILE".to_owned(),
            }),
        }
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(Invalid { problems })
    }
}

/// Validates and merges the layers. `known_flags` are the environment variables that set flags and are not policy keys.
pub fn load(sources: &Sources, known_flags: &[&str]) -> Result<Loaded, Invalid> {
    let (variables, warnings) = environment::layers(&sources.environment, known_flags);
    let layers: Vec<Layer> = sources
        .files
        .iter()
        .map(Layer::of_file)
        .chain(variables)
        .chain(sources.flags.iter().map(Layer::of_flag))
        .collect();
    let mut problems = Vec::new();
    let mut figment = Figment::from(Serialized::defaults(Policy::selecting(Vec::new())));
    let mut all_read = true;
    for layer in &layers {
        let data = layer.check(&mut problems);
        all_read &= data.is_some();
        figment = figment.merge(Checked(data.unwrap_or_default()));
    }
    // A layer that could not be read may have a selection.
    if all_read {
        problems.extend(nothing_to_do(sources, &layers));
    }
    let mut policy: Policy = match figment.extract() {
        Ok(policy) => policy,
        Err(error) => {
            // Usually the consequence of an error that is reported already.
            if problems.is_empty() {
                problems.extend(error.into_iter().map(|error| unforeseen(&error)));
            }
            return Err(Invalid { problems });
        }
    };
    if !sources.sections.publish {
        policy.publish = None;
    }
    if !sources.sections.events {
        policy.events = None;
    }
    let place = |keys: &[String]| layers.iter().rev().find_map(|layer| layer.place(keys));
    let exceeded = sources
        .ceilings
        .hold(&mut policy, &|keys| place(keys).is_some());
    problems.extend(exceeded.into_iter().map(|exceeded| Problem {
        source: place(&exceeded.place).unwrap_or(Source::Defaults),
        key: tree::path_of(&exceeded.place),
        what: exceeded.what,
        hint: exceeded.hint,
    }));
    drift::settle(&mut policy, &place, &mut problems);
    publish::check(&policy, &place, &mut problems);
    report::check(&policy.report, &place, &mut problems);
    events::check(policy.events.as_ref(), &place, &mut problems);
    if !problems.is_empty() {
        return Err(Invalid { problems });
    }
    let digest = digest(&policy);
    Ok(Loaded {
        policy,
        digest,
        warnings,
    })
}

/// The error of a policy that neither selects nor publishes anything.
fn nothing_to_do(sources: &Sources, layers: &[Layer]) -> Option<Problem> {
    let is_set = |key: &str| {
        let key = [key.to_owned()];
        layers.iter().any(|layer| layer.place(&key).is_some())
    };
    (!is_set("select") && !is_set("publish")).then(|| Problem {
        source: sources.files.last().map_or(Source::Defaults, whole),
        key: "select".to_owned(),
        what: "is missing, so nothing is selected".to_owned(),
        hint:
            "write `select: [{namespaces: [\"prod-*\"]}]`, or `select: [{}]` to select everything"
                .to_owned(),
    })
}

/// The content of one source.
struct Layer {
    /// The source, without a line.
    source: Source,
    /// None if the source is not valid YAML.
    tree: Option<Node>,
    /// Errors from parsing.
    found: Vec<Found>,
}

impl Layer {
    fn of_file(file: &SourceFile) -> Self {
        let mut found = Vec::new();
        let nothing_said = || Node {
            line: 1,
            value: Value::Map(Vec::new()),
        };
        let tree = tree::parse(&file.text, "", &mut found).map(|root| {
            if root.says_nothing() {
                nothing_said()
            } else {
                root
            }
        });
        Self {
            source: whole(file),
            tree,
            found,
        }
    }

    fn of_flag((key, value): (&String, &serde_json::Value)) -> Self {
        let keys: Vec<&str> = key.split('.').collect();
        Self {
            source: Source::CommandLine,
            tree: Some(nested(&keys, from_json(value))),
            found: Vec::new(),
        }
    }

    /// Returns the valid part, or None if the source is not a policy. Adds errors to `problems`.
    fn check(&self, problems: &mut Vec<Problem>) -> Option<Dict> {
        let mut found = self.found.clone();
        let data = self
            .tree
            .as_ref()
            .and_then(|tree| check::policy(tree, &mut found));
        found.sort_by_key(|found| found.line);
        problems.extend(found.into_iter().map(|Found { line, key, fault }| Problem {
            source: self.at(line),
            key,
            what: fault.what,
            hint: fault.hint,
        }));
        data
    }

    /// Returns the place of this key, if the layer sets it.
    fn place(&self, keys: &[String]) -> Option<Source> {
        let node = self.tree.as_ref()?.at(keys)?;
        Some(self.at(node.line))
    }

    fn at(&self, line: usize) -> Source {
        let mut source = self.source.clone();
        if let Source::File { line: place, .. } = &mut source {
            *place = Some(line);
        }
        source
    }
}

fn whole(file: &SourceFile) -> Source {
    Source::File {
        path: file.path.clone(),
        line: None,
    }
}

/// A validated layer, as a provider for figment.
struct Checked(Dict);

impl Provider for Checked {
    fn metadata(&self) -> Metadata {
        Metadata::named("policy")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

/// Wraps a value in maps with these keys.
fn nested(keys: &[&str], value: Node) -> Node {
    let wrap = |inner: Node, key: &&str| {
        let line = inner.line;
        Node {
            line,
            value: Value::Map(vec![Entry {
                key: (*key).to_owned(),
                line,
                value: inner,
            }]),
        }
    };
    keys.iter().rev().fold(value, wrap)
}

/// Converts the value of a flag. Flags are text, so a scalar takes the type that its key needs.
fn from_json(json: &serde_json::Value) -> Node {
    let untyped = |text: String| Value::Scalar {
        text,
        style: Style::Untyped,
    };
    let value = match json {
        serde_json::Value::Null => untyped(String::new()),
        serde_json::Value::Bool(switch) => untyped(switch.to_string()),
        serde_json::Value::Number(number) => untyped(number.to_string()),
        serde_json::Value::String(text) => untyped(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    line: 0,
                    value: from_json(value),
                })
                .collect(),
        ),
    };
    Node { line: 0, value }
}

/// An error of the types that validation missed. Should never happen.
fn unforeseen(error: &figment::Error) -> Problem {
    Problem {
        source: Source::Defaults,
        key: error.path.join("."),
        what: format!("is invalid: {}", error.kind),
        hint: String::new(),
    }
}

/// Returns the digest of the serialised policy, in which maps are sorted and durations and rates are normalised.
fn digest(policy: &Policy) -> String {
    let text = serde_json::to_vec(policy).unwrap_or_default();
    let digest = Sha256::digest(text);
    let start = digest
        .as_slice()
        .first_chunk()
        .copied()
        .map(u64::from_be_bytes)
        .unwrap_or_default();
    // 48 bits are enough to distinguish policies, and short enough to read.
    format!("{:012x}", start >> 16)
}

#[cfg(test)]
mod tests;
