//! Parses pipelines: declarations, commands and operands.

use super::{Parser, Purpose, syntax};
use crate::template::{
    Failure, functions,
    lex::Kind,
    literal,
    tree::{Operand, Pipeline},
    value::Text,
};

impl Parser<'_> {
    pub(super) fn pipeline(&mut self, purpose: Purpose) -> Result<Pipeline, Failure> {
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

    /// Parses `$x :=` and `$x =`, and for a range `$i, $x :=`.
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
        // Go accepts one name without a sign here, but no useful template contains that.
        Err(Failure::unverifiable("the variables of this `range`"))
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

    /// Parses a term and the fields after it.
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
