//! Parses a template with the grammar of Go's text/template.

use std::collections::BTreeMap;

use super::{
    Failure, MAX_NESTING,
    lex::{Kind, Token, tokens},
    tree::{Branches, Node, Nodes, Tree},
};

mod definitions;
mod pipelines;

pub(super) fn parse(template: &str) -> Result<Tree, Failure> {
    let mut parser = Parser {
        tokens: tokens(template)?,
        at: 0,
        variables: vec!["$".to_owned()],
        ranges: 0,
        nesting: 0,
        defined: BTreeMap::new(),
    };
    let (main, end) = parser.list()?;
    match end {
        Ending::Template => Ok(Tree {
            main,
            defined: parser.defined,
        }),
        Ending::End | Ending::Else => Err(syntax()),
    }
}

fn syntax() -> Failure {
    Failure::fails("the template syntax")
}

/// The end of a list of nodes.
enum Ending {
    Template,
    End,
    Else,
}

/// The context of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Print,
    Condition,
    Range,
    Parenthesis,
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    /// The declared variables, outermost first.
    variables: Vec<String>,
    ranges: usize,
    nesting: usize,
    defined: BTreeMap<String, Nodes>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token {
            kind: Kind::End,
            text: "",
        })
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn skip_spaces(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn peek_beyond_spaces(&mut self) -> Token<'a> {
        self.skip_spaces();
        self.peek()
    }

    fn next_beyond_spaces(&mut self) -> Token<'a> {
        self.skip_spaces();
        self.next()
    }

    fn expect_close(&mut self) -> Result<(), Failure> {
        match self.next_beyond_spaces().kind {
            Kind::Close => Ok(()),
            _ => Err(syntax()),
        }
    }

    fn deeper(&mut self) -> Result<(), Failure> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(Failure::unverifiable("deep nesting"));
        }
        Ok(())
    }

    /// Parses nodes up to the end of the template, an `end` or an `else`.
    fn list(&mut self) -> Result<(Nodes, Ending), Failure> {
        let mut nodes = Nodes::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::End => return Ok((nodes, Ending::Template)),
                Kind::Text => nodes.push(Node::Text(token.text.as_bytes().to_vec())),
                Kind::Open => match self.action()? {
                    Action::Node(node) => nodes.push(node),
                    Action::Definition => {}
                    Action::End(ending) => return Ok((nodes, ending)),
                },
                _ => return Err(syntax()),
            }
        }
    }

    fn action(&mut self) -> Result<Action, Failure> {
        let token = self.peek_beyond_spaces();
        if token.kind != Kind::Word {
            return self.print();
        }
        let node = match token.text {
            "if" | "with" | "range" => {
                self.at += 1;
                self.control(token.text)?
            }
            "end" => {
                self.at += 1;
                self.expect_close()?;
                return Ok(Action::End(Ending::End));
            }
            "else" => {
                self.at += 1;
                let next = self.peek_beyond_spaces();
                if !(next.kind == Kind::Word && matches!(next.text, "if" | "with")) {
                    self.expect_close()?;
                }
                return Ok(Action::End(Ending::Else));
            }
            "break" | "continue" => {
                self.at += 1;
                self.expect_close()?;
                if self.ranges == 0 {
                    return Err(syntax());
                }
                if token.text == "break" {
                    Node::Break
                } else {
                    Node::Continue
                }
            }
            "define" if self.nesting == 0 => {
                self.at += 1;
                self.definition()?;
                return Ok(Action::Definition);
            }
            "define" => return Err(syntax()),
            "template" | "block" => {
                self.at += 1;
                self.call_of_template(token.text == "block")?
            }
            _ => return self.print(),
        };
        Ok(Action::Node(node))
    }

    fn print(&mut self) -> Result<Action, Failure> {
        let pipeline = self.pipeline(Purpose::Print)?;
        Ok(Action::Node(Node::Print(pipeline)))
    }

    /// Parses `if`, `with` or `range` up to its `end`.
    fn control(&mut self, word: &str) -> Result<Node, Failure> {
        self.deeper()?;
        let visible = self.variables.len();
        let (purpose, ranges) = if word == "range" {
            (Purpose::Range, 1)
        } else {
            (Purpose::Condition, 0)
        };
        let pipeline = self.pipeline(purpose)?;
        self.ranges += ranges;
        let (then, ending) = self.list()?;
        self.ranges -= ranges;
        let otherwise = match ending {
            Ending::Template => return Err(syntax()),
            Ending::End => Nodes::new(),
            Ending::Else => self.otherwise(word)?,
        };
        self.variables.truncate(visible);
        self.nesting -= 1;
        let branches = Branches {
            pipeline,
            then,
            otherwise,
        };
        Ok(match word {
            "if" => Node::If(branches),
            "with" => Node::With(branches),
            _ => Node::Range(branches),
        })
    }

    /// Parses the part after an `else`, which may be an `if` or `with` that shares the `end`.
    fn otherwise(&mut self, word: &str) -> Result<Nodes, Failure> {
        let token = self.peek();
        if token.kind == Kind::Word && token.text == word && word != "range" {
            self.at += 1;
            return Ok(vec![self.control(word)?]);
        }
        match self.list()? {
            (nodes, Ending::End) => Ok(nodes),
            _ => Err(syntax()),
        }
    }
}

enum Action {
    Node(Node),
    /// A `define`, which leaves nothing in its place.
    Definition,
    End(Ending),
}
