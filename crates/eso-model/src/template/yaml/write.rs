//! Writes a value like `toYaml`.

use secret::Buffer;

use super::{Failure, Heap, Value, order, print, read::MAX_KEY, resolve::is_plain_text, unknown};
use crate::{
    gojson::json_float,
    template::value::{MAX_DEPTH, MapId},
};

/// Long lines are broken at spaces behind this column.
const WIDTH: usize = 80;

/// Returns the YAML text without the line break at its end. Empty if Go cannot write the value.
pub(in crate::template) fn write(heap: &mut Heap, value: &Value) -> Result<Vec<u8>, Failure> {
    if !is_json(heap, value, 0)? {
        return Ok(Vec::new());
    }
    let mut emitter = Emitter {
        output: Buffer::default(),
        column: 0,
        indent: None,
        whitespace: true,
        indention: true,
    };
    emitter.node(heap, value, false, 0)?;
    let output = emitter.output.as_bytes();
    Ok(output.strip_suffix(b"\n").unwrap_or(output).to_vec())
}

/// False if the value has a number that JSON does not have.
fn is_json(heap: &mut Heap, value: &Value, depth: usize) -> Result<bool, Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::unverifiable("deep nesting"));
    }
    heap.step(1)?;
    let items: Vec<Value> = match value {
        Value::Float(number) => return Ok(number.is_finite()),
        Value::List(list) => list.ordered()?.to_vec(),
        Value::Map(id) => heap.get(*id)?.entries.values().cloned().collect(),
        _ => return Ok(true),
    };
    for item in items {
        if !is_json(heap, &item, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The state of the operator's YAML writer.
struct Emitter {
    output: Buffer,
    column: usize,
    indent: Option<usize>,
    /// The last character was a space, or a sign that needs none after it.
    whitespace: bool,
    /// The line has only spaces and signs of lists so far.
    indention: bool,
}

/// The properties of a text that decide how it can be written.
struct Analysis {
    plain: bool,
    single_quoted: bool,
    block: bool,
}

impl Emitter {
    fn put(&mut self, text: &str) {
        self.output.push(text.as_bytes());
        self.column += text.chars().count();
    }

    fn line_break(&mut self) {
        self.output.push(b"\n");
        self.column = 0;
    }

    fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break();
        }
        while self.column < indent {
            self.put(" ");
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, sign: &str, needs_space: bool, is_indention: bool) {
        if needs_space && !self.whitespace {
            self.put(" ");
        }
        self.put(sign);
        self.whitespace = false;
        self.indention = self.indention && is_indention;
    }

    fn node(
        &mut self,
        heap: &mut Heap,
        value: &Value,
        in_map: bool,
        depth: usize,
    ) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::unverifiable("deep nesting"));
        }
        heap.step(1)?;
        heap.consume_bytes(2 * depth + 24)?;
        match value {
            Value::Nil | Value::NilElement => self.plain("null", false),
            Value::Bool(value) => self.plain(&value.to_string(), false),
            Value::Int(number) | Value::Int64(number) => self.plain(&number.to_string(), false),
            Value::Uint64(number) => self.plain(&number.to_string(), false),
            Value::Float(number) => self.plain(&float(*number), false),
            Value::Text(text) => self.text(heap, text.utf8()?, false)?,
            Value::Time(_) => return Err(Failure::unverifiable("a time in YAML")),
            Value::Version(_) => {
                let shown = print::shown(heap, value)?;
                self.text(
                    heap,
                    std::str::from_utf8(&shown).map_err(|_| unknown())?,
                    false,
                )?;
            }
            Value::List(list) if list.nil => self.plain("null", false),
            Value::List(list) => self.list(heap, list.ordered()?, in_map, depth)?,
            Value::Map(id) if heap.get(*id)?.nil => self.plain("null", false),
            Value::Map(id) => self.map(heap, *id, depth)?,
        }
        Ok(())
    }

    fn list(
        &mut self,
        heap: &mut Heap,
        items: &[Value],
        in_map: bool,
        depth: usize,
    ) -> Result<(), Failure> {
        if items.is_empty() {
            self.indicator("[]", true, false);
            return Ok(());
        }
        let outer = self.deeper(in_map && !self.indention);
        for item in items {
            self.write_indent();
            self.indicator("-", true, true);
            self.node(heap, item, false, depth + 1)?;
        }
        self.indent = outer;
        Ok(())
    }

    fn map(&mut self, heap: &mut Heap, id: MapId, depth: usize) -> Result<(), Failure> {
        let entries = heap.get(id)?.entries.clone();
        if entries.is_empty() {
            self.indicator("{}", true, false);
            return Ok(());
        }
        let entries = entries
            .into_iter()
            .map(|(key, value)| Ok((String::from_utf8(key).map_err(|_| unknown())?, value)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let entries = order::sort(heap, entries)?;
        let outer = self.deeper(false);
        for (key, value) in entries {
            if key.len() > MAX_KEY || key.contains(is_break) {
                return Err(Failure::unverifiable("a long key in YAML"));
            }
            self.write_indent();
            self.text(heap, &key, true)?;
            self.indicator(":", false, false);
            self.node(heap, &value, true, depth + 1)?;
        }
        self.indent = outer;
        Ok(())
    }

    /// Increases the indentation, unless a list stands below its key. Returns the previous one.
    fn deeper(&mut self, without_indent: bool) -> Option<usize> {
        let outer = self.indent;
        self.indent = match outer {
            None => Some(0),
            Some(indent) if without_indent => Some(indent),
            Some(indent) => Some(indent + 2),
        };
        outer
    }

    fn text(&mut self, heap: &mut Heap, text: &str, is_key: bool) -> Result<(), Failure> {
        heap.step(1 + text.len() / 8)?;
        heap.consume_bytes(text.len().saturating_mul(2))?;
        if !text.chars().all(is_readable) {
            return Err(Failure::unverifiable("a control character in YAML"));
        }
        let analysis = analyze(text);
        let multiline = text.contains('\n');
        // Further lines of a text are indented.
        let outer = self.indent;
        self.indent = Some(outer.map_or(2, |indent| indent + 2));
        if multiline && analysis.block && !is_key {
            // Each line can get the indentation.
            let lines = text.split('\n').count();
            heap.consume_bytes(lines.saturating_mul(self.indent.unwrap_or(0)))?;
            self.literal(text);
        } else if multiline || !is_plain_text(text)? {
            self.double_quoted(text, !is_key);
        } else if analysis.plain && !(text.is_empty() && is_key) {
            self.plain(text, !is_key);
        } else if analysis.single_quoted {
            self.single_quoted(text, !is_key);
        } else {
            self.double_quoted(text, !is_key);
        }
        self.indent = outer;
        Ok(())
    }

    /// True if the line is too long, and a single space stands here at which it can be broken.
    fn breaks_at(&self, character: char, before: Option<char>) -> bool {
        character == ' ' && before != Some(' ') && self.column > WIDTH
    }

    fn plain(&mut self, text: &str, breaks: bool) {
        if !self.whitespace {
            self.put(" ");
        }
        self.pieces(text, breaks, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn single_quoted(&mut self, text: &str, breaks: bool) {
        self.indicator("'", true, false);
        self.pieces(text, breaks, true);
        self.indicator("'", false, false);
    }

    fn pieces(&mut self, text: &str, breaks: bool, quoted: bool) {
        let mut before = None;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek().copied();
            let inside = !quoted || (before.is_some() && next.is_some());
            if breaks && inside && next != Some(' ') && self.breaks_at(character, before) {
                self.write_indent();
            } else {
                if quoted && character == '\'' {
                    self.put("'");
                }
                self.put(character.encode_utf8(&mut [0; 4]));
            }
            if character != ' ' {
                self.indention = false;
            }
            before = Some(character);
        }
    }

    fn double_quoted(&mut self, text: &str, breaks: bool) {
        self.indicator("\"", true, false);
        let mut before = None;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek().copied();
            if let Some(escaped) = escape(character) {
                self.put(&escaped);
            } else if breaks
                && before.is_some()
                && next.is_some()
                && self.breaks_at(character, before)
            {
                self.write_indent();
                if next == Some(' ') {
                    self.put("\\");
                }
            } else {
                self.put(character.encode_utf8(&mut [0; 4]));
            }
            before = Some(character);
        }
        self.indicator("\"", false, false);
    }

    fn literal(&mut self, text: &str) {
        self.indicator("|", true, false);
        if text.starts_with([' ', '\n']) {
            self.indicator("2", false, false);
        }
        if text == "\n" || text.ends_with("\n\n") {
            self.indicator("+", false, false);
        } else if !text.ends_with('\n') {
            self.indicator("-", false, false);
        }
        self.line_break();
        self.indention = true;
        self.whitespace = true;
        for line in text.split_inclusive('\n') {
            let content = line.strip_suffix('\n').unwrap_or(line);
            if !content.is_empty() {
                self.write_indent();
                self.put(content);
                self.indention = false;
            }
            if content.len() < line.len() {
                self.line_break();
                self.indention = true;
            }
        }
    }
}

/// A float as it is written after its way through JSON: integers have no exponent.
fn float(number: f64) -> String {
    let json = json_float(number);
    match json.parse::<i64>() {
        Ok(number) => number.to_string(),
        Err(_) if json.parse::<u64>().is_ok() => json.to_string(),
        Err(_) => print::float(number),
    }
}

/// True if the operator can read the character in the JSON text between, where line breaks and tabs are escaped.
const fn is_readable(character: char) -> bool {
    matches!(character, '\0'..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}'
        | '\u{10000}'..='\u{10ffff}')
}

/// True if the character can be written without an escape.
const fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn escape(character: char) -> Option<String> {
    let sign = match character {
        '\0' => '0',
        '\x07' => 'a',
        '\x08' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\x0b' => 'v',
        '\x0c' => 'f',
        '\r' => 'r',
        '\x1b' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        character if is_printable(character) => return None,
        character => {
            let code = u32::from(character);
            return Some(match code {
                0..0x100 => format!("\\x{code:02X}"),
                0x100..0x1_0000 => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    Some(format!("\\{sign}"))
}

const fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn analyze(text: &str) -> Analysis {
    let is_blank = |character: Option<char>| matches!(character, None | Some(' ' | '\t'));
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut special, mut multiline) = (false, false);
    let (mut break_space, mut space_break) = (false, false);
    let mut before = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let followed = is_blank(characters.peek().copied());
        indicators |= match (character, before) {
            (
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
                | '@' | '`',
                None,
            ) => true,
            ('?' | '-', None) | (':', _) => followed,
            ('#', Some(before)) => is_blank(Some(before)) || is_break(before) || before == '\0',
            _ => false,
        };
        special |= !is_printable(character);
        multiline |= is_break(character);
        break_space |= character == ' ' && before.is_some_and(is_break);
        space_break |= is_break(character) && before == Some(' ');
        before = Some(character);
    }
    let at_edge = |edge: fn(char) -> bool| text.starts_with(edge) || text.ends_with(edge);
    let edges = at_edge(|character| character == ' ')
        || text.starts_with(is_break)
        || text.ends_with(is_break);
    let trailing_space = text.ends_with(' ');
    let broken = space_break || special;
    Analysis {
        plain: !(indicators || edges || break_space || broken || multiline),
        single_quoted: !(break_space || broken),
        block: !(text.is_empty() || trailing_space || broken),
    }
}
