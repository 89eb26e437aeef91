//! The keys of the data that a template uses, without the data.

use std::collections::BTreeSet;

use super::{
    parse::parse,
    tree::{Branches, Node, Nodes, Operand, Pipeline},
};

/// The keys of the data that a template uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uses {
    /// At most these.
    Keys(BTreeSet<String>),
    /// It may use every key: it loops over the data, passes all of it on, or cannot be parsed.
    All,
}

/// Returns the keys that the template may use. It never returns too few.
pub fn uses(template: &str) -> Uses {
    if !template.contains("{{") {
        return Uses::Keys(BTreeSet::new());
    }
    let Ok(tree) = parse(template) else {
        return Uses::All;
    };
    let mut found = Found::default();
    found.nodes(&tree.main, Dot::Data);
    for nodes in tree.defined.values() {
        // Its `.` and `$` are what the action `template` passes on, which is found there.
        found.nodes(nodes, Dot::Part);
    }
    if found.all {
        Uses::All
    } else {
        Uses::Keys(found.keys)
    }
}

/// What `.` is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dot {
    /// The whole data.
    Data,
    /// A part of the data, which was found where it was selected.
    Part,
}

#[derive(Default)]
struct Found {
    keys: BTreeSet<String>,
    all: bool,
}

impl Found {
    fn nodes(&mut self, nodes: &Nodes, dot: Dot) {
        for node in nodes {
            match node {
                Node::Print(pipeline) | Node::Template(_, Some(pipeline)) => {
                    self.pipeline(pipeline, dot);
                }
                Node::If(branches) => self.branches(branches, dot, dot),
                Node::With(branches) | Node::Range(branches) => {
                    self.branches(branches, dot, Dot::Part);
                }
                Node::Text(_) | Node::Template(_, None) | Node::Break | Node::Continue => {}
            }
        }
    }

    fn branches(&mut self, branches: &Branches, dot: Dot, then: Dot) {
        self.pipeline(&branches.pipeline, dot);
        self.nodes(&branches.then, then);
        self.nodes(&branches.otherwise, dot);
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: Dot) {
        for command in &pipeline.commands {
            match command.as_slice() {
                [Operand::Function(name), of, Operand::Text(key), rest @ ..]
                    if name == "index" && is_data(of, dot) =>
                {
                    match key.utf8() {
                        Ok(key) => drop(self.keys.insert(key.to_owned())),
                        Err(_) => self.all = true,
                    }
                    self.operands(rest, dot);
                }
                operands => self.operands(operands, dot),
            }
        }
    }

    fn operands(&mut self, operands: &[Operand], dot: Dot) {
        for operand in operands {
            match operand {
                Operand::Field(fields) => {
                    if dot == Dot::Data {
                        self.first_of(fields);
                    }
                }
                Operand::Variable(name, fields) if name == "$" => self.first_of(fields),
                Operand::Dot => self.all |= dot == Dot::Data,
                Operand::Chain(of, _) => self.operands(std::slice::from_ref(of), dot),
                Operand::Pipeline(pipeline) => self.pipeline(pipeline, dot),
                // Another variable has what was found where it was declared.
                Operand::Variable(..)
                | Operand::Nil
                | Operand::Bool(_)
                | Operand::Number(_)
                | Operand::Text(_)
                | Operand::Function(_) => {}
            }
        }
    }

    fn first_of(&mut self, fields: &[String]) {
        match fields.first() {
            Some(key) => drop(self.keys.insert(key.clone())),
            None => self.all = true,
        }
    }
}

/// True if the operand is the whole data.
fn is_data(operand: &Operand, dot: Dot) -> bool {
    match operand {
        Operand::Dot => dot == Dot::Data,
        Operand::Variable(name, fields) => name == "$" && fields.is_empty(),
        Operand::Field(_)
        | Operand::Chain(..)
        | Operand::Pipeline(_)
        | Operand::Nil
        | Operand::Bool(_)
        | Operand::Number(_)
        | Operand::Text(_)
        | Operand::Function(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(template: &str) -> String {
        match uses(template) {
            Uses::Keys(keys) => keys.into_iter().collect::<Vec<_>>().join(" "),
            Uses::All => "all".to_owned(),
        }
    }

    #[test]
    fn keys_of_a_template_are_found_wherever_they_stand() {
        for (template, keys) in [
            ("plain", ""),
            ("{{ \"a\" }}", ""),
            ("{{ .a }}:{{ .b | upper }}", "a b"),
            ("{{ printf \"%s\" (.a | b64enc) .b.c }}", "a b"),
            ("{{ index . \"tls.crt\" }}", "tls.crt"),
            ("{{ (index $ \"a\" | fromJson).x }}", "a"),
            ("{{ if .a }}{{ .b }}{{ else }}{{ $.c }}{{ end }}", "a b c"),
            (
                "{{ with .a }}{{ . }}{{ .x }}{{ else }}{{ .b }}{{ end }}",
                "a b",
            ),
            (
                "{{ range $i, $v := .a | fromJson }}{{ . }}{{ $v }}{{ $.b }}{{ end }}",
                "a b",
            ),
            ("{{ $x := .a }}{{ $x.y }}", "a"),
            (
                "{{ define \"t\" }}{{ . }}{{ .x }}{{ end }}{{ template \"t\" .a }}",
                "a",
            ),
        ] {
            assert_eq!(used(template), keys, "{template}");
        }
    }

    #[test]
    fn template_that_may_use_every_key_says_so() {
        for template in [
            "{{ . | toJson }}",
            "{{ range $k, $v := . }}{{ $k }}{{ end }}",
            "{{ $ | toJson }}",
            "{{ index . .a }}",
            "{{ define \"t\" }}{{ .a }}{{ end }}{{ template \"t\" . }}",
            "{{ if }",
        ] {
            assert_eq!(used(template), "all", "{template}");
        }
    }
}
