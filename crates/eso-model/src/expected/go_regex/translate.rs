//! Parses a pattern with Go's grammar and writes it for Rust.

mod class;

use std::fmt::Write as _;

use super::NotTranslated;

/// Go's limit for repetition counts.
const MAX_REPETITIONS: u32 = 1000;

/// A pattern in Rust's syntax.
pub(super) struct Translated {
    pub(super) pattern: String,
    pub(super) names: Vec<String>,
    pub(super) states: usize,
    pub(super) longest: Option<usize>,
}

/// Properties of a part of a pattern.
#[derive(Clone, Copy, Default)]
struct Part {
    /// It may match the empty string. The engines repeat empty matches differently.
    nullable: bool,
    /// It is an anchor, such as `^`. Its repetitions match what it matches.
    anchor: bool,
    /// It contains a counted repetition. Go limits the product of nested counts.
    counted: bool,
    /// The states that it compiles to, roughly.
    states: usize,
    /// The bytes of the longest match, unless it is unlimited.
    longest: Option<usize>,
}

impl Part {
    const EMPTY: Self = Self {
        nullable: true,
        anchor: false,
        counted: false,
        states: 0,
        longest: Some(0),
    };

    const ANCHOR: Self = Self {
        anchor: true,
        states: 1,
        ..Self::EMPTY
    };

    /// Some characters. In UTF-8 and without regard to case, one has up to four bytes.
    const fn characters(count: usize) -> Self {
        Self {
            nullable: count == 0,
            states: count,
            longest: Some(4 * count),
            ..Self::EMPTY
        }
    }

    /// One character of a class. Its states are the sequences of bytes that it can have in UTF-8.
    const CLASS: Self = Self {
        states: 8,
        ..Self::characters(1)
    };

    fn followed_by(self, next: Self) -> Self {
        Self {
            nullable: self.nullable && next.nullable,
            anchor: false,
            counted: self.counted || next.counted,
            states: self.states.saturating_add(next.states),
            longest: self
                .longest
                .zip(next.longest)
                .map(|(a, b)| a.saturating_add(b)),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            nullable: self.nullable || other.nullable,
            anchor: false,
            counted: self.counted || other.counted,
            states: self.states.saturating_add(other.states).saturating_add(1),
            longest: self.longest.zip(other.longest).map(|(a, b)| a.max(b)),
        }
    }

    /// This part as often as `most`, or without a limit.
    fn repeated(self, least: u32, most: Option<u32>) -> Self {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let copies = count(most.unwrap_or(least)).max(1);
        Self {
            nullable: least == 0 || self.nullable,
            states: self.states.saturating_add(1).saturating_mul(copies),
            longest: self
                .longest
                .zip(most)
                .map(|(longest, most)| longest.saturating_mul(count(most))),
            ..self
        }
    }
}

pub(super) fn translate(pattern: &str) -> Result<Translated, NotTranslated> {
    let mut translator = Translator {
        rest: pattern,
        out: String::new(),
        names: vec![String::new()],
        depth: 0,
    };
    let whole = translator.alternatives()?;
    if !translator.rest.is_empty() {
        return Err(NotTranslated);
    }
    Ok(Translated {
        pattern: translator.out,
        names: translator.names,
        states: whole.states.max(1),
        longest: whole.longest,
    })
}

struct Translator<'p> {
    rest: &'p str,
    out: String,
    names: Vec<String>,
    depth: usize,
}

impl Translator<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn take(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn literal(&mut self, c: char) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, r"\x{{{:x}}}", u32::from(c));
    }

    fn alternatives(&mut self) -> Result<Part, NotTranslated> {
        let mut whole = self.sequence()?;
        while self.take("|") {
            self.out.push('|');
            whole = whole.or(self.sequence()?);
        }
        Ok(whole)
    }

    fn sequence(&mut self) -> Result<Part, NotTranslated> {
        let mut whole = Part::EMPTY;
        while let Some(c) = self.peek() {
            if matches!(c, '|' | ')') {
                break;
            }
            let Some(atom) = self.atom()? else { continue };
            whole = whole.followed_by(self.repeated(atom)?);
        }
        Ok(whole)
    }

    /// Parses one repeatable item; None for a change of flags or an empty quotation.
    fn atom(&mut self) -> Result<Option<Part>, NotTranslated> {
        if parse_count(self.rest).is_some() {
            return Err(NotTranslated);
        }
        match self.next() {
            Some('(') => self.group(),
            Some('[') => self.class().map(Some),
            Some('.') => {
                self.out.push('.');
                Ok(Some(Part::CLASS))
            }
            Some(anchor @ ('^' | '$')) => {
                self.out.push(anchor);
                Ok(Some(Part::ANCHOR))
            }
            Some('\\') => self.escape(),
            Some('*' | '+' | '?') | None => Err(NotTranslated),
            Some(c) => {
                self.literal(c);
                Ok(Some(Part::characters(1)))
            }
        }
    }

    fn escape(&mut self) -> Result<Option<Part>, NotTranslated> {
        let anchor = match self.peek() {
            Some('A') => r"\A",
            Some('z') => r"\z",
            Some('b') => r"(?-u:\b)",
            Some('Q') => return self.quotation(),
            _ => {
                if let Some(class) = self.perl_class() {
                    let _ = write!(self.out, "[{class}]");
                    return Ok(Some(Part::CLASS));
                }
                let c = self.escaped()?;
                self.literal(c);
                return Ok(Some(Part::characters(1)));
            }
        };
        let _ = self.next();
        self.out.push_str(anchor);
        Ok(Some(Part::ANCHOR))
    }

    /// Parses `\Q…\E`. Its last character may be repeated, so only an empty quotation is not an atom.
    fn quotation(&mut self) -> Result<Option<Part>, NotTranslated> {
        let _ = self.next();
        let (quoted, after) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
        self.rest = after;
        for c in quoted.chars() {
            self.literal(c);
        }
        if quoted.is_empty() && matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(NotTranslated);
        }
        let quoted = Part::characters(quoted.chars().count());
        Ok((!quoted.nullable).then_some(quoted))
    }

    /// Parses the character of an escape.
    fn escaped(&mut self) -> Result<char, NotTranslated> {
        match self.next() {
            Some('a') => Ok('\x07'),
            Some('f') => Ok('\x0c'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('v') => Ok('\x0b'),
            Some('x') => self.hex(),
            Some(c) if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(NotTranslated),
        }
    }

    fn hex(&mut self) -> Result<char, NotTranslated> {
        let (digits, after) = if self.take("{") {
            self.rest.split_once('}').ok_or(NotTranslated)?
        } else {
            self.rest.split_at_checked(2).ok_or(NotTranslated)?
        };
        self.rest = after;
        let hex = !digits.is_empty()
            && digits.len() <= 6
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).map_err(|_| NotTranslated)?;
        if hex {
            char::from_u32(number).ok_or(NotTranslated)
        } else {
            Err(NotTranslated)
        }
    }

    fn group(&mut self) -> Result<Option<Part>, NotTranslated> {
        self.depth += 1;
        if self.depth > 50 {
            return Err(NotTranslated);
        }
        if self.take("?P<") || self.take("?<") {
            let (name, after) = self.rest.split_once('>').ok_or(NotTranslated)?;
            let valid = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
            if !valid || self.names.iter().any(|other| other == name) {
                return Err(NotTranslated);
            }
            self.names.push(name.to_owned());
            self.rest = after;
            self.out.push('(');
        } else if self.take("?") {
            if !self.flags()? {
                self.depth -= 1;
                return Ok(None);
            }
        } else {
            self.names.push(String::new());
            self.out.push('(');
        }
        let inner = self.alternatives()?;
        if !self.take(")") {
            return Err(NotTranslated);
        }
        self.out.push(')');
        self.depth -= 1;
        Ok(Some(inner))
    }

    /// Parses the flags `i`, `m`, `s`, `U`, also after a minus. Returns true if a group follows; otherwise the flags
    /// apply to the rest of the enclosing group.
    fn flags(&mut self) -> Result<bool, NotTranslated> {
        let end = self.rest.find([':', ')']).ok_or(NotTranslated)?;
        let (flags, after) = self.rest.split_at(end);
        let (on, off) = flags.split_once('-').unwrap_or((flags, "i"));
        let known = |flags: &str| flags.chars().all(|flag| "imsU".contains(flag));
        let twice = flags
            .chars()
            .enumerate()
            .any(|(at, flag)| flags.chars().skip(at + 1).any(|other| other == flag));
        let grouped = after.starts_with(':');
        if !known(on) || !known(off) || off.is_empty() || twice || (flags.is_empty() && !grouped) {
            return Err(NotTranslated);
        }
        let _ = write!(self.out, "(?{flags}{}", if grouped { ":" } else { ")" });
        self.rest = after.get(1..).unwrap_or_default();
        if !grouped && matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(NotTranslated);
        }
        Ok(grouped)
    }

    /// Parses the repetition after an atom.
    fn repeated(&mut self, atom: Part) -> Result<Part, NotTranslated> {
        let (least, most, counted) = match self.peek() {
            Some(sign @ ('*' | '+' | '?')) => {
                let _ = self.next();
                self.out.push(sign);
                (u32::from(sign == '+'), (sign == '?').then_some(1), false)
            }
            Some('{') => match self.count()? {
                Some((least, most)) => (least, most, true),
                None => return Ok(atom),
            },
            _ => return Ok(atom),
        };
        let once = !counted && most == Some(1);
        let repeats_empty_match = atom.nullable && !atom.anchor && !once;
        if repeats_empty_match || (counted && atom.counted) {
            return Err(NotTranslated);
        }
        if self.take("?") {
            self.out.push('?');
        }
        let again = matches!(self.peek(), Some('*' | '+' | '?'))
            || (self.rest.starts_with('{') && parse_count(self.rest).is_some());
        if again {
            return Err(NotTranslated);
        }
        Ok(Part {
            counted: counted || atom.counted,
            ..atom.repeated(least, most)
        })
    }

    /// Parses `{n}`, `{n,}` or `{n,m}` and returns the minimum and maximum. Any other text in braces is literal.
    fn count(&mut self) -> Result<Option<(u32, Option<u32>)>, NotTranslated> {
        let Some((least, most, after)) = parse_count(self.rest) else {
            return Ok(None);
        };
        if least > MAX_REPETITIONS
            || most.is_some_and(|most| most > MAX_REPETITIONS || most < least)
        {
            return Err(NotTranslated);
        }
        let end = self.rest.len() - after.len();
        self.out.push_str(self.rest.get(..end).unwrap_or_default());
        self.rest = after;
        Ok(Some((least, most)))
    }
}

fn parse_count(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let (least, most) = match inside.split_once(',') {
        None => (inside, Some(inside)),
        Some((least, "")) => (least, None),
        Some((least, most)) => (least, Some(most)),
    };
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'));
        // A count with too many digits is also too large.
        plain
            .then(|| digits.parse().unwrap_or(u32::MAX))
            .filter(|_| !digits.is_empty())
    };
    let most = match most {
        Some(most) => Some(number(most)?),
        None => None,
    };
    Some((number(least)?, most, after))
}
