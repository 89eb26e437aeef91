//! Parses templates within a template: `define`, `template` and `block`.

use super::{Ending, Parser, Purpose, syntax};
use crate::template::{
    Failure,
    lex::Kind,
    literal,
    tree::{Node, Nodes},
};

impl Parser<'_> {
    /// Parses a `define` after that word, up to its `end`.
    pub(super) fn definition(&mut self) -> Result<(), Failure> {
        let name = self.name()?;
        self.expect_close()?;
        self.body(name)
    }

    /// Parses a `template` or `block` after that word. A `block` also defines the template.
    pub(super) fn call_of_template(&mut self, defines: bool) -> Result<Node, Failure> {
        let name = self.name()?;
        let closes = self.peek_beyond_spaces().kind == Kind::Close;
        let pipeline = if closes && !defines {
            self.at += 1;
            None
        } else {
            Some(self.pipeline(Purpose::Print)?)
        };
        if defines {
            self.body(name.clone())?;
        }
        Ok(Node::Template(name, pipeline))
    }

    fn name(&mut self) -> Result<String, Failure> {
        let token = self.next_beyond_spaces();
        let name = match token.kind {
            Kind::Quoted => literal::quoted(token.text)?,
            Kind::Raw => literal::raw(token.text),
            _ => return Err(syntax()),
        };
        String::from_utf8(name).map_err(|_| Failure::unverifiable("the name of a template"))
    }

    /// Parses the body of a definition. It does not see the variables and loops around it.
    fn body(&mut self, name: String) -> Result<(), Failure> {
        self.deeper()?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, ending) = self.list()?;
        self.variables = variables;
        self.ranges = ranges;
        self.nesting -= 1;
        if !matches!(ending, Ending::End) {
            return Err(syntax());
        }
        self.define(name, nodes)
    }

    fn define(&mut self, name: String, nodes: Nodes) -> Result<(), Failure> {
        if self.defined.insert(name, nodes).is_some() {
            return Err(Failure::unverifiable("a template that is defined twice"));
        }
        Ok(())
    }
}
