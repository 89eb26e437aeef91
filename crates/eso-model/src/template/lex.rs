//! Splits a template into tokens with the rules of Go's text/template: delimiters, trim markers, comments, words.

use super::Failure;

/// The kind of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text outside of actions, trimmed.
    Text,
    /// `{{`
    Open,
    /// `}}`
    Close,
    Space,
    Assign,
    Declare,
    Pipe,
    Comma,
    LeftParen,
    RightParen,
    Dot,
    /// `.name`, with its dot.
    Field,
    /// `$` or `$name`, with its dollar.
    Variable,
    /// A function, `true`, `false` or a keyword.
    Word,
    Number,
    Character,
    Quoted,
    Raw,
    /// Any other printable character. It is never valid, but only the parser may reject it.
    Other,
    End,
}

/// A piece of the template.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

/// Returns all tokens. The last one is `End`.
pub(super) fn tokens(input: &str) -> Result<Vec<Token<'_>>, Failure> {
    let mut lexer = Lexer {
        input,
        at: 0,
        parens: 0,
        tokens: Vec::new(),
    };
    while lexer.text()? {
        while lexer.inside()? {}
    }
    lexer.push(Kind::End, lexer.at);
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    parens: usize,
    tokens: Vec<Token<'a>>,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn trim_end(text: &str) -> &str {
    text.trim_end_matches([' ', '\t', '\r', '\n'])
}

fn trim_start(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.input.as_bytes().get(self.at + ahead).copied()
    }

    /// Adds the token that starts at `start`.
    fn push(&mut self, kind: Kind, start: usize) {
        let text = self.input.get(start..self.at).unwrap_or_default();
        self.tokens.push(Token { kind, text });
    }

    fn fail<T>() -> Result<T, Failure> {
        Err(Failure::fails("the template syntax"))
    }

    /// True for `- `: a trim marker must be followed by a space.
    fn trims_left(&self) -> bool {
        self.byte(0) == Some(b'-') && self.byte(1).is_some_and(is_space)
    }

    /// Returns None unless the action ends here, else whether the end has a trim marker.
    fn closes(&self) -> Option<bool> {
        let marked = self.byte(0).is_some_and(is_space)
            && self.byte(1) == Some(b'-')
            && self.byte(2) == Some(b'}')
            && self.byte(3) == Some(b'}');
        if marked {
            return Some(true);
        }
        self.rest().starts_with("}}").then_some(false)
    }

    /// Moves past the closing delimiter.
    fn close(&mut self, trims: bool) {
        if trims {
            self.at += 2;
        }
        let start = self.at;
        self.at += 2;
        self.push(Kind::Close, start);
        if trims {
            self.at = self.input.len() - trim_start(self.rest()).len();
        }
    }

    /// Reads text and comments up to the next action. Returns false at the end of the template.
    fn text(&mut self) -> Result<bool, Failure> {
        loop {
            let Some(length) = self.rest().find("{{") else {
                let start = self.at;
                self.at = self.input.len();
                if self.at > start {
                    self.push(Kind::Text, start);
                }
                return Ok(false);
            };
            let text = self.rest().get(..length).unwrap_or_default();
            self.at += length + 2;
            let trims = self.trims_left();
            let text = if trims { trim_end(text) } else { text };
            if !text.is_empty() {
                self.tokens.push(Token {
                    kind: Kind::Text,
                    text,
                });
            }
            if trims {
                self.at += 2;
            }
            if !self.rest().starts_with("/*") {
                self.parens = 0;
                self.tokens.push(Token {
                    kind: Kind::Open,
                    text: "{{",
                });
                return Ok(true);
            }
            self.comment()?;
        }
    }

    fn comment(&mut self) -> Result<(), Failure> {
        self.at += 2;
        let Some(length) = self.rest().find("*/") else {
            return Self::fail();
        };
        self.at += length + 2;
        let Some(trims) = self.closes() else {
            return Self::fail();
        };
        self.at += if trims { 4 } else { 2 };
        if trims {
            self.at = self.input.len() - trim_start(self.rest()).len();
        }
        Ok(())
    }

    /// Reads one token of an action. Returns false at the end of the action.
    fn inside(&mut self) -> Result<bool, Failure> {
        if let Some(trims) = self.closes() {
            if self.parens > 0 {
                return Self::fail();
            }
            self.close(trims);
            return Ok(false);
        }
        let start = self.at;
        let Some(byte) = self.byte(0) else {
            return Self::fail();
        };
        match byte {
            byte if is_space(byte) => return Ok(self.space()),
            b'"' | b'\'' => self.quoted(byte)?,
            b'`' => {
                self.at += 1;
                let Some(length) = self.rest().find('`') else {
                    return Self::fail();
                };
                self.at += length + 1;
                self.push(Kind::Raw, start);
            }
            b'$' => self.name(Kind::Variable, Kind::Variable)?,
            b'.' if !self.byte(1).is_some_and(|next| next.is_ascii_digit()) => {
                self.name(Kind::Field, Kind::Dot)?;
            }
            b'.' | b'+' | b'-' | b'0'..=b'9' => self.number()?,
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => self.name(Kind::Word, Kind::Word)?,
            byte if byte.is_ascii() => self.sign(byte)?,
            _ => return Err(Failure::unverifiable("a non-ASCII name")),
        }
        Ok(true)
    }

    /// Reads spaces. Returns false if the last one belongs to a trim marker at the end.
    fn space(&mut self) -> bool {
        let start = self.at;
        while self.byte(0).is_some_and(is_space) {
            self.at += 1;
        }
        self.at -= 1;
        if self.closes() == Some(true) {
            if self.at > start {
                self.push(Kind::Space, start);
                return true;
            }
            self.close(true);
            return false;
        }
        self.at += 1;
        self.push(Kind::Space, start);
        true
    }

    fn sign(&mut self, byte: u8) -> Result<(), Failure> {
        let start = self.at;
        self.at += 1;
        let kind = match byte {
            b'=' => Kind::Assign,
            b':' if self.byte(0) == Some(b'=') => {
                self.at += 1;
                Kind::Declare
            }
            b':' => return Self::fail(),
            b'|' => Kind::Pipe,
            b',' => Kind::Comma,
            b'(' => {
                self.parens += 1;
                Kind::LeftParen
            }
            b')' => {
                let Some(parens) = self.parens.checked_sub(1) else {
                    return Self::fail();
                };
                self.parens = parens;
                Kind::RightParen
            }
            byte if byte.is_ascii_graphic() => Kind::Other,
            _ => return Self::fail(),
        };
        self.push(kind, start);
        Ok(())
    }

    fn quoted(&mut self, quote: u8) -> Result<(), Failure> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.byte(0) {
                None | Some(b'\n') => return Self::fail(),
                Some(b'\\') => match self.byte(1) {
                    None | Some(b'\n') => return Self::fail(),
                    // Further bytes of a multi-byte character are read as ordinary text.
                    Some(_) => self.at += 2,
                },
                Some(byte) => {
                    self.at += 1;
                    if byte == quote {
                        break;
                    }
                }
            }
        }
        let kind = if quote == b'"' {
            Kind::Quoted
        } else {
            Kind::Character
        };
        self.push(kind, start);
        Ok(())
    }

    /// True if a name may end here.
    fn terminates(&self) -> bool {
        self.byte(0).is_none_or(|byte| {
            is_space(byte) || matches!(byte, b'.' | b',' | b'|' | b':' | b')' | b'(')
        }) || self.rest().starts_with("}}")
    }

    /// Reads a name with its leading sign or letter. The token is `alone` if there is only the sign.
    fn name(&mut self, kind: Kind, alone: Kind) -> Result<(), Failure> {
        let start = self.at;
        self.at += 1;
        if kind != Kind::Word && self.terminates() {
            self.push(alone, start);
            return Ok(());
        }
        while self.byte(0).is_some_and(is_name) {
            self.at += 1;
        }
        if self.byte(0).is_some_and(|byte| !byte.is_ascii()) {
            return Err(Failure::unverifiable("a non-ASCII name"));
        }
        if !self.terminates() {
            return Self::fail();
        }
        self.push(kind, start);
        Ok(())
    }

    /// Reads anything that looks like a number. It is validated later, when its value is parsed.
    fn number(&mut self) -> Result<(), Failure> {
        let start = self.at;
        self.at += usize::from(matches!(self.byte(0), Some(b'+' | b'-')));
        let hex = self.byte(0) == Some(b'0') && matches!(self.byte(1), Some(b'x' | b'X'));
        while let Some(byte) = self.byte(0) {
            let last = self.input.as_bytes().get(self.at - 1);
            let exponent = match last {
                Some(b'e' | b'E') => !hex,
                Some(b'p' | b'P') => hex,
                _ => false,
            };
            match byte {
                b'.' => self.at += 1,
                byte if is_name(byte) => self.at += 1,
                b'+' | b'-' if exponent && self.at > start + 1 => self.at += 1,
                b'+' | b'-' => return Err(Failure::unverifiable("this number format")),
                byte if byte.is_ascii() => break,
                _ => return Err(Failure::unverifiable("a non-ASCII name")),
            }
        }
        self.push(Kind::Number, start);
        Ok(())
    }
}

const fn is_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}
