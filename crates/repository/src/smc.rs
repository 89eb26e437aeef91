//! `SecretManagerConfig` manifests of the Secret Manager Controller (SMC).
//!
//! Its documentation and examples use two shapes, and spellings that the controller itself refuses. Both shapes and all spellings are
//! read. Every other field is a fault, and every field that has no effect here is a warning, by its name.

use secret::Value;

use crate::{
    fault::{Fault, Reason},
    node::{self, Kind, Member, Node},
    source::Text,
    tree::resolve,
};

mod auth;
mod reader;
mod spec;

pub use auth::{Auth, CredentialsFormat, SecretRef};

/// The group in `apiVersion`. The version is v1 in the documentation and v1beta1 in the code.
const GROUP: &str = "secret-management.microscaler.io/";

/// The manifests of a file.
#[derive(Default)]
pub struct Manifests {
    pub configs: Vec<SecretManagerConfig>,
    /// Fields without effect, and objects of other kinds.
    pub warnings: Vec<Fault>,
    /// What is not understood. The manifest that it belongs to is missing in `configs`.
    pub faults: Vec<Fault>,
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretManagerConfig {
    pub name: String,
    /// Empty if the manifest has none.
    pub namespace: String,
    pub source: GitSource,
    pub provider: Provider,
    pub auth: Auth,
    /// The name of the folder below `profiles`.
    pub environment: String,
    pub read: Read,
    /// None: the name of each service, or for a kustomization the word `default`.
    pub prefix: Option<String>,
    pub suffix: String,
    pub configs: Configs,
    pub suspend: bool,
    /// True if existing secrets are not changed (`triggerUpdate: false`).
    pub creates_only: bool,
}

/// Where the repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    pub kind: SourceKind,
    pub name: String,
    pub namespace: String,
    /// The credentials for the repository of an Application.
    pub credentials: Option<SecretRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A `GitRepository` of Flux.
    GitRepository,
    /// An Application of Argo CD.
    Application,
}

/// Where secrets are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    Gcp { project: String },
    Aws { region: String },
    Azure { vault: String },
}

/// How the repository is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The path of the folder with the kustomization.
    Kustomize { path: String },
    /// Profile folders. An empty path is the root.
    Profile { base_path: String },
}

/// Where `application.properties` goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configs {
    /// All properties in one secret, as JSON.
    Json,
    /// Each property as a secret of its own, named like a secret.
    Secrets,
    /// Each property as a parameter of the type `String` in Parameter Store, below this path. None: `/PREFIX/ENVIRONMENT`.
    Parameters { path: Option<String> },
}

/// Parses the manifests of a file: one or several documents, and lists.
pub fn parse(file: &str, content: Value) -> Manifests {
    let mut manifests = Manifests::default();
    match Text::of(file, content) {
        Ok(text) => {
            let mut parser = Parser {
                text: &text,
                manifests: &mut manifests,
            };
            match node::documents(&text) {
                Ok(documents) => documents
                    .iter()
                    .for_each(|document| parser.object(document)),
                Err(fault) => manifests.faults.push(fault),
            }
        }
        Err(fault) => manifests.faults.push(fault),
    }
    manifests
}

struct Parser<'a> {
    text: &'a Text,
    manifests: &'a mut Manifests,
}

impl Parser<'_> {
    fn object(&mut self, object: &Node) {
        let field = |name| object.get(name).and_then(Node::text);
        let fault = |reason, message: &str| self.text.fault(reason, message).at(object.line);
        match (field("apiVersion"), field("kind")) {
            _ if object.is_null() => {}
            (Some("v1"), Some("List")) => self.list(object),
            (Some(version), Some("SecretManagerConfigList")) if version.starts_with(GROUP) => {
                self.list(object);
            }
            (Some(version), Some("SecretManagerConfig")) if version.starts_with(GROUP) => {
                let mut faults = Vec::new();
                let config =
                    reader::Reader::new(self.text, &mut self.manifests.warnings, &mut faults)
                        .config(object);
                match config {
                    Some(config) if faults.is_empty() => self.manifests.configs.push(config),
                    _ => self.manifests.faults.append(&mut faults),
                }
            }
            (Some(_), Some(_)) => {
                let message = "is not a SecretManagerConfig of secret-management.microscaler.io: it is ignored";
                let warning = fault(Reason::WithoutEffect, message).of("kind");
                self.manifests.warnings.push(warning);
            }
            (version, kind) => {
                let message = match (version, kind) {
                    (None, Some(_)) => "is not a Kubernetes object: it has no `apiVersion`",
                    (Some(_), None) => "is not a Kubernetes object: it has no `kind`",
                    (None | Some(_), _) => {
                        "is not a Kubernetes object: it has no `apiVersion` and no `kind`"
                    }
                };
                let fault = fault(Reason::InvalidField, message);
                self.manifests.faults.push(fault);
            }
        }
    }

    fn list(&mut self, list: &Node) {
        if let Some(Kind::List(items)) = list.get("items").map(|items| &items.kind) {
            for item in items {
                self.object(item);
            }
        } else {
            let fault = self
                .text
                .fault(Reason::InvalidField, "must be a list of objects");
            self.manifests.faults.push(fault.at(list.line).of("items"));
        }
    }
}

#[cfg(test)]
mod tests;
