//! The dependencies between modules, computed from the source.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// The modules by path (`eso_sync::plan::classify`), each with the modules and external crates that it uses outside of tests.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// The graph of all crates of the workspace.
    pub(crate) fn of_workspace(root: &Path) -> Self {
        let mut sources = Vec::new();
        read(&root.join("src"), "eso_sync", &mut sources);
        for entry in fs::read_dir(root.join("crates")).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            read(&path.join("src"), &name.replace('-', "_"), &mut sources);
        }
        Self::of(&sources)
    }

    /// The graph of these sources, each with the path of its module.
    pub(crate) fn of(sources: &[(String, String)]) -> Self {
        let modules: BTreeSet<&str> = sources.iter().map(|(module, _)| &**module).collect();
        let mut graph = Self::default();
        for (module, text) in sources {
            let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module}: {error}"));
            let mut names = Names {
                module,
                modules: &modules,
                found: BTreeSet::new(),
            };
            names.visit_file(&file);
            names.found.remove(module);
            graph.edges.insert(module.clone(), names.found);
        }
        graph
    }

    /// The dependencies between sibling modules that are part of a cycle: `parent: a -> b`.
    pub(crate) fn edges_in_cycles(&self) -> BTreeSet<String> {
        let mut by_parent: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, targets) in &self.edges {
            for to in targets {
                if let Some((parent, a, b)) = siblings(from, to) {
                    let children = by_parent.entry(parent).or_default();
                    children.entry(a).or_default().insert(b);
                }
            }
        }
        let mut found = BTreeSet::new();
        for (parent, children) in &by_parent {
            for (a, targets) in children {
                for b in targets.iter().filter(|b| reaches(children, b, a)) {
                    found.insert(format!("{parent}: {a} -> {b}"));
                }
            }
        }
        found
    }

    /// The path of dependencies from `from`, or a module below it, to a module that `to` accepts; None if there is no path.
    pub(crate) fn path(&self, from: &str, to: &dyn Fn(&str) -> bool) -> Option<Vec<String>> {
        let mut paths: Vec<Vec<String>> = self
            .edges
            .keys()
            .filter(|module| is_within(module, from))
            .map(|module| vec![module.clone()])
            .collect();
        let mut known: BTreeSet<String> = paths.iter().flatten().cloned().collect();
        while let Some(path) = paths.pop() {
            let last = path.last().expect("a path has a start");
            if to(last) {
                return Some(path);
            }
            for next in self.edges.get(last).into_iter().flatten() {
                if known.insert(next.clone()) {
                    paths.push([&path[..], std::slice::from_ref(next)].concat());
                }
            }
        }
        None
    }
}

/// True if `module` is `parent` or lies below it.
pub(crate) fn is_within(module: &str, parent: &str) -> bool {
    module == parent
        || module
            .strip_prefix(parent)
            .is_some_and(|rest| rest.starts_with("::"))
}

/// The closest common parent of two modules, and the children of it that contain them.
fn siblings(from: &str, to: &str) -> Option<(String, String, String)> {
    let (from, to): (Vec<&str>, Vec<&str>) = (from.split("::").collect(), to.split("::").collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let (a, b) = (from.get(shared)?, to.get(shared)?);
    (shared > 0).then(|| (from[..shared].join("::"), (*a).to_owned(), (*b).to_owned()))
}

fn reaches(edges: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut known = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        if module == to {
            return true;
        }
        for next in edges.get(module).into_iter().flatten() {
            if known.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

/// Reads all files below a folder; `lib.rs` and `main.rs` are the crate itself.
fn read(folder: &Path, module: &str, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() {
            if name != "tests" && name != "content" {
                read(&path, &format!("{module}::{name}"), sources);
            }
        } else if let Some(name) = name.strip_suffix(".rs").filter(|name| *name != "tests") {
            let module = match name {
                "lib" => module.to_owned(),
                name => format!("{module}::{name}"),
            };
            let text = fs::read_to_string(&path).expect("a source file");
            sources.push((module, text));
        }
    }
}

/// Collects the modules that a file names.
struct Names<'a> {
    module: &'a str,
    modules: &'a BTreeSet<&'a str>,
    found: BTreeSet<String>,
}

impl Names<'_> {
    fn name(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let krate = self.module.split("::").next().unwrap_or(self.module);
        let mut base = match first.as_str() {
            "crate" => krate.to_owned(),
            "self" => self.module.to_owned(),
            "super" => parent(self.module),
            "kube" | "tokio" => {
                self.found.insert(first.clone());
                return;
            }
            child if self.modules.contains(&*format!("{}::{child}", self.module)) => {
                format!("{}::{child}", self.module)
            }
            other if self.modules.contains(other) => other.to_owned(),
            _ => return,
        };
        for segment in rest {
            if segment == "super" {
                base = parent(&base);
                continue;
            }
            let below = format!("{base}::{segment}");
            if !self.modules.contains(&*below) {
                break;
            }
            base = below;
        }
        self.found.insert(base);
    }

    fn tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                let prefix = [prefix, &[path.ident.to_string()]].concat();
                self.tree(&prefix, &path.tree);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(prefix, tree);
                }
            }
            syn::UseTree::Name(name) => {
                self.name(&[prefix, &[name.ident.to_string()]].concat());
            }
            syn::UseTree::Rename(name) => {
                self.name(&[prefix, &[name.ident.to_string()]].concat());
            }
            syn::UseTree::Glob(_) => self.name(prefix),
        }
    }

    /// Paths in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.name(&std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    self.name(&std::mem::take(&mut path));
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.name(&std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.name(&path);
    }
}

fn parent(module: &str) -> String {
    module
        .rsplit_once("::")
        .map_or(module, |(parent, _)| parent)
        .to_owned()
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "no other items of this project are for tests only"
        )]
        let attributes: &[syn::Attribute] = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !attributes.iter().any(is_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    /// `pub(in path)` names no dependency.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single name is a variable or an item that a `use` brought in.
        if path.segments.len() > 1 {
            let segments = path.segments.iter();
            let names: Vec<String> = segments.map(|segment| segment.ident.to_string()).collect();
            self.name(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

/// `#[cfg(test)]` and its kin.
fn is_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.clone().into_iter().any(
            |token| matches!(&token, TokenTree::Ident(ident) if ident == "test")
        ))
}
