//! Character classes.

use std::fmt::Write as _;

use super::{NotTranslated, Part, Translator};

impl Translator<'_> {
    /// Returns the content of a Perl class if one follows the backslash.
    pub(super) fn perl_class(&mut self) -> Option<&'static str> {
        let class = match self.peek()? {
            'd' => "0-9",
            'D' => "[^0-9]",
            'w' => "0-9A-Za-z_",
            'W' => "[^0-9A-Za-z_]",
            's' => r"\t\n\x{c}\r\x{20}",
            'S' => r"[^\t\n\x{c}\r\x{20}]",
            _ => return None,
        };
        let _ = self.next();
        Some(class)
    }

    /// Parses a character class after its opening bracket.
    pub(super) fn class(&mut self) -> Result<Part, NotTranslated> {
        let before = self.rest.len();
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            if !first && self.take("]") {
                self.out.push(']');
                // Each character of the list can add a state.
                return Ok(Part {
                    states: Part::CLASS.states + before - self.rest.len(),
                    ..Part::CLASS
                });
            }
            first = false;
            self.class_item()?;
        }
    }

    fn class_item(&mut self) -> Result<(), NotTranslated> {
        if self.rest.starts_with("[:") {
            return self.posix_class();
        }
        if let Some(after) = self.rest.strip_prefix('\\') {
            let before = std::mem::replace(&mut self.rest, after);
            if let Some(class) = self.perl_class() {
                self.out.push_str(class);
                return Ok(());
            }
            self.rest = before;
        }
        let low = self.class_char()?;
        self.literal(low);
        let range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
        if range && self.take("-") {
            let high = self.class_char()?;
            if high < low {
                return Err(NotTranslated);
            }
            self.out.push('-');
            self.literal(high);
        }
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, NotTranslated> {
        match self.next() {
            Some('\\') => self.escaped(),
            Some(c) => Ok(c),
            None => Err(NotTranslated),
        }
    }

    fn posix_class(&mut self) -> Result<(), NotTranslated> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        let (name, after) = self.rest.split_once(":]").ok_or(NotTranslated)?;
        let name = name.strip_prefix("[:").ok_or(NotTranslated)?;
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(NotTranslated);
        }
        let _ = write!(self.out, "[:{name}:]");
        self.rest = after;
        Ok(())
    }
}
