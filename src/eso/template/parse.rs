//! Parses a template by the grammar of Go's text/template.

use super::functions;
use super::lex::{Kind, Token, tokens};
use super::literal;
use super::tree::{Branches, Node, Nodes, Operand, Pipeline};
use super::value::Text;
use super::{Failure, MAX_NESTING};

/// Parses a whole template.
pub(super) fn parse(template: &str) -> Result<Nodes, Failure> {
    let mut parser = Parser {
        tokens: tokens(template)?,
        at: 0,
        variables: vec!["$".to_owned()],
        ranges: 0,
        nesting: 0,
    };
    let (nodes, end) = parser.list()?;
    match end {
        Ending::Template => Ok(nodes),
        Ending::End | Ending::Else => Err(syntax()),
    }
}

fn syntax() -> Failure {
    Failure::fails("the template's syntax")
}

/// What ended a list of nodes.
enum Ending {
    Template,
    End,
    Else,
}

/// What a pipeline is parsed for.
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
    /// What is declared here, outermost first.
    variables: Vec<String>,
    ranges: usize,
    nesting: usize,
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

    /// Nodes up to the end of the template, an `end` or an `else`.
    fn list(&mut self) -> Result<(Nodes, Ending), Failure> {
        let mut nodes = Nodes::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::End => return Ok((nodes, Ending::Template)),
                Kind::Text => nodes.push(Node::Text(token.text.as_bytes().to_vec())),
                Kind::Open => match self.action()? {
                    Action::Node(node) => nodes.push(node),
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
            "define" | "template" | "block" => {
                return Err(Failure::unverifiable(format!("`{}`", token.text)));
            }
            _ => return self.print(),
        };
        Ok(Action::Node(node))
    }

    fn print(&mut self) -> Result<Action, Failure> {
        let pipeline = self.pipeline(Purpose::Print)?;
        Ok(Action::Node(Node::Print(pipeline)))
    }

    /// `if`, `with` or `range`, up to its `end`.
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

    /// What stands behind an `else`, which may itself be an `if` or a `with` that shares the `end`.
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

    fn pipeline(&mut self, purpose: Purpose) -> Result<Pipeline, Failure> {
        let (variables, assigns) = self.declarations(purpose)?;
        let end = if purpose == Purpose::Parenthesis {
            Kind::RightParen
        } else {
            Kind::Close
        };
        let mut commands = Vec::new();
        while self.peek_beyond_spaces().kind != end {
            let command = self.command()?;
            let constant = matches!(
                command.first(),
                Some(
                    Operand::Bool(_)
                        | Operand::Dot
                        | Operand::Nil
                        | Operand::Number(_)
                        | Operand::Text(_)
                )
            );
            if constant && !commands.is_empty() {
                return Err(syntax());
            }
            commands.push(command);
        }
        self.at += 1;
        if commands.is_empty() {
            return Err(syntax());
        }
        Ok(Pipeline {
            variables,
            assigns,
            commands,
        })
    }

    /// `$x :=`, `$x =`, and for a range `$i, $x :=`.
    fn declarations(&mut self, purpose: Purpose) -> Result<(Vec<String>, bool), Failure> {
        let mut names = Vec::new();
        while self.peek_beyond_spaces().kind == Kind::Variable {
            let start = self.at;
            let name = self.next().text.to_owned();
            match self.peek_beyond_spaces().kind {
                kind @ (Kind::Assign | Kind::Declare) => {
                    self.at += 1;
                    self.variables.push(name.clone());
                    names.push(name);
                    return Ok((names, kind == Kind::Assign));
                }
                Kind::Comma => {
                    self.at += 1;
                    self.variables.push(name.clone());
                    names.push(name);
                    let follows = matches!(
                        self.peek_beyond_spaces().kind,
                        Kind::Variable | Kind::Close | Kind::RightParen
                    );
                    if purpose != Purpose::Range || names.len() > 1 || !follows {
                        return Err(syntax());
                    }
                }
                _ => {
                    self.at = start;
                    break;
                }
            }
        }
        if names.is_empty() {
            return Ok((names, false));
        }
        // Go goes on with one name and no sign; no such template makes sense.
        Err(Failure::unverifiable("a range's variables"))
    }

    fn command(&mut self) -> Result<Vec<Operand>, Failure> {
        let mut operands = Vec::new();
        loop {
            self.skip_spaces();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            match self.peek().kind {
                Kind::Space => self.at += 1,
                Kind::Close | Kind::RightParen => break,
                Kind::Pipe => {
                    self.at += 1;
                    break;
                }
                _ => return Err(syntax()),
            }
        }
        if operands.is_empty() {
            return Err(syntax());
        }
        Ok(operands)
    }

    /// A term with the fields behind it.
    fn operand(&mut self) -> Result<Option<Operand>, Failure> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        let mut more = Vec::new();
        while self.peek().kind == Kind::Field {
            more.push(self.next().text.trim_start_matches('.').to_owned());
        }
        if more.is_empty() {
            return Ok(Some(term));
        }
        Ok(Some(match term {
            Operand::Field(mut fields) => {
                fields.append(&mut more);
                Operand::Field(fields)
            }
            Operand::Variable(name, _) => Operand::Variable(name, more),
            Operand::Pipeline(_) | Operand::Function(_) | Operand::Chain(..) => {
                Operand::Chain(Box::new(term), more)
            }
            Operand::Dot
            | Operand::Nil
            | Operand::Bool(_)
            | Operand::Number(_)
            | Operand::Text(_) => return Err(syntax()),
        }))
    }

    fn term(&mut self) -> Result<Option<Operand>, Failure> {
        let token = self.peek();
        let term = match token.kind {
            Kind::Word => Self::word(token.text)?,
            Kind::Dot => Operand::Dot,
            Kind::Variable => {
                if !self.variables.iter().any(|name| name == token.text) {
                    return Err(Failure::fails("an undefined variable"));
                }
                Operand::Variable(token.text.to_owned(), Vec::new())
            }
            Kind::Field => Operand::Field(vec![token.text.trim_start_matches('.').to_owned()]),
            Kind::Number => Operand::Number(literal::number(token.text)?),
            Kind::Character => Operand::Number(literal::character(token.text)?),
            Kind::Quoted => Operand::Text(Text::from(literal::quoted(token.text)?)),
            Kind::Raw => Operand::Text(Text::from(literal::raw(token.text))),
            Kind::LeftParen => {
                self.at += 1;
                self.deeper()?;
                let pipeline = self.pipeline(Purpose::Parenthesis)?;
                self.nesting -= 1;
                return Ok(Some(Operand::Pipeline(Box::new(pipeline))));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(term))
    }

    fn word(word: &str) -> Result<Operand, Failure> {
        match word {
            "true" | "false" => Ok(Operand::Bool(word == "true")),
            "nil" => Ok(Operand::Nil),
            "if" | "else" | "end" | "range" | "with" | "define" | "block" | "template"
            | "break" | "continue" => Err(syntax()),
            name if functions::exists(name) => Ok(Operand::Function(name.to_owned())),
            name => Err(Failure::unverifiable(format!("the function `{name}`"))),
        }
    }
}

enum Action {
    Node(Node),
    End(Ending),
}
