//! The impact as a graph: keys, ExternalSecrets, Secrets, workloads. As a tree for people, and in the languages of Graphviz and
//! Mermaid.
//!
//! Names of nodes are numbers of ours. Names from outside are only in labels, escaped by the rules of each language.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    document::{Impact, ImpactItem, UseCertainty},
    keys::{MoreSecretKeys, listed_keys},
    text::{action, unseen},
};
use crate::{
    foreign::{Foreign, line},
    report::view::View,
};

/// The longest indentation of a tree, in bytes. Templates can form a chain without end.
const DEEPEST: usize = 100;

/// The keys of a Secret that its node names.
const SECRET_KEYS: usize = 3;

/// A graph. An edge goes from a node to one that depends on it.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    by_name: BTreeMap<(Layer, String), usize>,
}

struct Node {
    layer: Layer,
    /// Not escaped.
    label: Vec<String>,
}

struct Edge {
    from: usize,
    to: usize,
    certain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Key,
    ExternalSecret,
    Secret,
    Workload,
}

impl Graph {
    fn of(impact: &Impact) -> Self {
        let mut graph = Self::default();
        for item in &impact.items {
            let at = graph.external_secret(item);
            graph.keys_of(item, at);
        }
        for item in &impact.items {
            graph.templates_of(item);
        }
        graph.keys_of_secrets(&impact.items);
        for workload in &impact.workloads {
            let namespace = workload.namespace.exact();
            let (kind, name) = (workload.kind.into_str(), workload.name.exact());
            let label = vec![
                format!("{kind} {namespace}/{name}"),
                format!(
                    "{}: {}",
                    workload.action.into_str(),
                    workload.reason.as_str()
                ),
            ];
            let named = format!("{namespace}/{kind}/{name}");
            let at = graph.node(Layer::Workload, named, label);
            for secret in &workload.secrets {
                let from = graph.secret(namespace, secret);
                graph.edge(from, at, true);
            }
        }
        graph
    }

    fn node(&mut self, layer: Layer, name: String, label: Vec<String>) -> usize {
        let next = self.nodes.len();
        let at = *self.by_name.entry((layer, name)).or_insert(next);
        if at == next {
            self.nodes.push(Node { layer, label });
        }
        at
    }

    fn edge(&mut self, from: usize, to: usize, certain: bool) {
        self.edges.push(Edge { from, to, certain });
    }

    fn secret(&mut self, namespace: &str, name: &Foreign) -> usize {
        let named = format!("{namespace}/{}", name.exact());
        let label = vec![format!("Secret {named}")];
        self.node(Layer::Secret, named, label)
    }

    fn external_secret(&mut self, item: &ImpactItem) -> usize {
        let named = format!("{}/{}", item.namespace.exact(), item.name.exact());
        let label = vec![
            format!("ExternalSecret {named}"),
            format!("{}: {}", action(item), item.reason.as_str()),
        ];
        let at = self.node(Layer::ExternalSecret, named, label);
        if let Some(secret) = &item.secret {
            let to = self.secret(item.namespace.exact(), secret);
            self.edge(at, to, true);
        }
        at
    }

    /// Adds the keys that the change reaches to the labels of the Secrets. Several ExternalSecrets can write one.
    fn keys_of_secrets(&mut self, items: &[ImpactItem]) {
        #[derive(Default)]
        struct Keys<'a> {
            names: BTreeSet<&'a Foreign>,
            more: BTreeSet<MoreSecretKeys>,
        }
        let mut keys: BTreeMap<usize, Keys<'_>> = BTreeMap::new();
        for item in items {
            if let Some(secret) = &item.secret {
                let of = keys.entry(self.secret(item.namespace.exact(), secret));
                let of = of.or_default();
                of.names.extend(&item.secret_keys);
                of.more.extend(&item.more_secret_keys);
            }
        }
        for (at, Keys { names, more }) in keys {
            let more: Vec<MoreSecretKeys> = more.into_iter().collect();
            let listed = listed_keys(names.into_iter(), &more, SECRET_KEYS);
            if let (Some(node), Some(listed)) = (self.nodes.get_mut(at), listed) {
                node.label.push(format!("keys: {}", listed.exact()));
            }
        }
    }

    fn keys_of(&mut self, item: &ImpactItem, at: usize) {
        for used in &item.uses {
            let name = used.key.as_ref().or(used.search.as_ref());
            let name = name.map(Foreign::exact).unwrap_or_default();
            let (kind, store) = (used.store.kind.into_str(), used.store.name.exact());
            let namespace = item.namespace.exact();
            let of = if kind == "SecretStore" {
                format!("{kind}/{namespace}/{store}")
            } else {
                format!("{kind}/{store}")
            };
            let label = vec![name.to_owned(), of.clone()];
            let from = self.node(Layer::Key, format!("{of} {name}"), label);
            self.edge(from, at, used.certainty == UseCertainty::Uses);
        }
    }

    fn templates_of(&mut self, item: &ImpactItem) {
        for secret in &item.templates {
            let from = self.secret(item.namespace.exact(), secret);
            let at = self.external_secret_at(item);
            self.edge(from, at, true);
        }
    }

    fn external_secret_at(&self, item: &ImpactItem) -> usize {
        let named = format!("{}/{}", item.namespace.exact(), item.name.exact());
        let found = self.by_name.get(&(Layer::ExternalSecret, named));
        found.copied().unwrap_or_default()
    }
}

/// Renders a tree for each key.
pub fn tree(impact: &Impact) -> String {
    let graph = Graph::of(impact);
    if graph.nodes.is_empty() {
        return super::text::text(impact, &View::default());
    }
    let mut tree = Tree::of(&graph);
    let children: BTreeSet<usize> = graph.edges.iter().map(|edge| edge.to).collect();
    let roots = (0..graph.nodes.len()).filter(|at| !children.contains(at));
    for root in roots {
        tree.branch(root, "", "");
    }
    // Nodes of a cycle have no root.
    for at in 0..graph.nodes.len() {
        if !tree.shown.contains(&at) {
            tree.branch(at, "", "");
        }
    }
    tree.text + &unseen(impact)
}

/// A tree while it is written.
struct Tree<'a> {
    graph: &'a Graph,
    /// The edges from each node.
    below: BTreeMap<usize, Vec<&'a Edge>>,
    /// The nodes that were written with everything below them.
    shown: BTreeSet<usize>,
    text: String,
}

impl<'a> Tree<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut below: BTreeMap<usize, Vec<&Edge>> = BTreeMap::new();
        for edge in &graph.edges {
            below.entry(edge.from).or_default().push(edge);
        }
        Self {
            graph,
            below,
            shown: BTreeSet::new(),
            text: String::new(),
        }
    }

    /// Writes a node, and what is below it unless that was written before.
    fn branch(&mut self, at: usize, first: &str, rest: &str) {
        let Some(node) = self.graph.nodes.get(at) else {
            return;
        };
        let label: Vec<String> = node.label.iter().map(|part| line(part)).collect();
        let label = match node.layer {
            Layer::Key => label.join(" at "),
            Layer::ExternalSecret | Layer::Secret | Layer::Workload => label.join("  "),
        };
        let below = self.below.get(&at).cloned().unwrap_or_default();
        let again = !self.shown.insert(at) && !below.is_empty();
        let above = if again { " (see above)" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{first}{label}{above}");
        if again {
            return;
        }
        if rest.len() > DEEPEST {
            let _ = writeln!(self.text, "{rest}└─ …");
            return;
        }
        let last = below.len().saturating_sub(1);
        for (number, edge) in below.into_iter().enumerate() {
            let (corner, bar) = if number == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            let perhaps = if edge.certain { "" } else { "(may use) " };
            let (first, rest) = (format!("{rest}{corner}{perhaps}"), format!("{rest}{bar}"));
            self.branch(edge.to, &first, &rest);
        }
    }
}

/// Renders the graph for Graphviz.
pub fn dot(impact: &Impact) -> String {
    let graph = Graph::of(impact);
    let mut text = "digraph impact {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for (at, node) in graph.nodes.iter().enumerate() {
        let label: Vec<String> = node.label.iter().map(|part| dot_text(part)).collect();
        let shape = match node.layer {
            Layer::Key => ", shape=note",
            Layer::ExternalSecret => "",
            Layer::Secret => ", shape=folder",
            Layer::Workload => ", shape=component",
        };
        let _ = writeln!(text, "  n{at} [label=\"{}\"{shape}];", label.join("\\n"));
    }
    for Edge { from, to, certain } in &graph.edges {
        let style = if *certain { "" } else { " [style=dashed]" };
        let _ = writeln!(text, "  n{from} -> n{to}{style};");
    }
    text + "}\n"
}

/// Escapes a text for a quoted string of Graphviz, in which a backslash starts an escape.
fn dot_text(text: &str) -> String {
    line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

/// Renders the graph for Mermaid.
pub fn mermaid(impact: &Impact) -> String {
    let graph = Graph::of(impact);
    let mut text = "flowchart LR\n".to_owned();
    for (at, node) in graph.nodes.iter().enumerate() {
        let label: Vec<String> = node.label.iter().map(|part| mermaid_text(part)).collect();
        let label = label.join("<br/>");
        let (open, close) = match node.layer {
            Layer::Key => ("[[", "]]"),
            Layer::ExternalSecret => ("[", "]"),
            Layer::Secret => ("[(", ")]"),
            Layer::Workload => ("([", "])"),
        };
        let _ = writeln!(text, "  n{at}{open}\"{label}\"{close}");
    }
    for Edge { from, to, certain } in &graph.edges {
        let arrow = if *certain { "-->" } else { "-.->" };
        let _ = writeln!(text, "  n{from} {arrow} n{to}");
    }
    text
}

/// Escapes a text for a quoted label of Mermaid: everything but letters, digits and harmless punctuation as an entity. Mermaid
/// also understands Markdown and HTML in labels.
fn mermaid_text(text: &str) -> String {
    let mut escaped = String::new();
    for c in line(text).chars() {
        if c.is_alphanumeric() || " ./:=,-".contains(c) {
            escaped.push(c);
        } else {
            let _ = write!(escaped, "#{};", u32::from(c));
        }
    }
    escaped
}
