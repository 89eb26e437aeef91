//! Parses a document into nodes.

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};

use super::{Failure, Heap, Resolved, resolve, shown, unknown};
use crate::template::value::MAX_DEPTH;

/// The maximum length of a key. Longer ones are written and read in another way.
pub(super) const MAX_KEY: usize = 128;

/// The maximum size of a document's nodes in memory, per byte of its text.
const NODE: usize = 32;

pub(super) enum Node {
    Scalar {
        text: String,
        /// True if it is written without quotes, so that it has a type.
        plain: bool,
    },
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

pub(super) fn document(heap: &mut Heap, text: &[u8]) -> Result<Node, Failure> {
    heap.consume_bytes(text.len().saturating_mul(NODE))?;
    heap.step(1 + text.len() / 8)?;
    let text = std::str::from_utf8(text).map_err(|_| unknown())?;
    // The operator's parser does not know the escape `\/`.
    let unknown_escape = text.contains('"') && text.contains("\\/");
    if unknown_escape || !text.chars().all(is_accepted) || text.lines().any(is_unusual) {
        return Err(unknown());
    }
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut events = parser
        .map(|event| event.map(|(event, span)| (event, span.start.line() != span.end.line())))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unknown())?;
    if !text.ends_with('\n') {
        end_without_line_break(text, &mut events)?;
    }
    let mut builder = Builder {
        events: events.into_iter(),
        flow: false,
    };
    builder.document()
}

/// The operator's parser ends a block at the end of the text without a line break if the text has none there.
fn end_without_line_break(text: &str, events: &mut [(Event<'_>, bool)]) -> Result<(), Failure> {
    let last = events
        .iter_mut()
        .map(|(event, _)| event)
        .rev()
        .find(|event| matches!(event, Event::Scalar(..)));
    let Some(Event::Scalar(content, ScalarStyle::Literal | ScalarStyle::Folded, ..)) = last else {
        return Ok(());
    };
    let line = text.lines().next_back().unwrap_or_default();
    // Whether another last line belongs to the block depends on its indentation.
    if !line.starts_with(' ') || line.trim_start().is_empty() || line.trim_start().starts_with('#')
    {
        return Err(unknown());
    }
    if let Some(ended) = content.strip_suffix('\n') {
        *content = ended.to_owned().into();
    }
    Ok(())
}

/// True for characters that both parsers treat as printable, without special line breaks.
const fn is_accepted(character: char) -> bool {
    matches!(character, '\n' | '\t' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}'
        | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// True for directives, document markers other than a single `---`, and tabs in the place of indentation.
fn is_unusual(line: &str) -> bool {
    line.starts_with('%')
        || line
            .trim_start_matches([' ', '-', '?', ':'])
            .starts_with('\t')
        || line.starts_with("...")
        || (line.starts_with("---") && line.trim_end() != "---")
}

struct Builder<'a> {
    /// The events, and whether each spans several lines.
    events: std::vec::IntoIter<(Event<'a>, bool)>,
    /// True between brackets or braces.
    flow: bool,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Event<'a>, Failure> {
        self.events
            .next()
            .map(|(event, _)| event)
            .ok_or_else(unknown)
    }

    fn document(&mut self) -> Result<Node, Failure> {
        let mut root = None;
        loop {
            match self.next()? {
                Event::StreamEnd => {
                    return Ok(root.unwrap_or(Node::Scalar {
                        text: String::new(),
                        plain: true,
                    }));
                }
                Event::StreamStart | Event::DocumentEnd | Event::DocumentStart(..) => {}
                event => {
                    // The operator reads only the first document.
                    if root.is_some() {
                        return Err(unknown());
                    }
                    root = Some(self.node(event)?);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>) -> Result<Node, Failure> {
        if event.tag().is_some() {
            return Err(unknown());
        }
        match event {
            Event::Scalar(text, style, 0, _) => {
                let plain = style == ScalarStyle::Plain;
                // The operator's parser reads a question mark between brackets as a sign.
                if plain && self.flow && text.contains('?') {
                    return Err(unknown());
                }
                Ok(Node::Scalar {
                    text: text.into_owned(),
                    plain,
                })
            }
            Event::SequenceStart(style, 0, _) => self.within(style, Self::list),
            Event::MappingStart(style, 0, _) => self.within(style, Self::map),
            _ => Err(unknown()),
        }
    }

    fn within(
        &mut self,
        style: StructureStyle,
        read: fn(&mut Self) -> Result<Node, Failure>,
    ) -> Result<Node, Failure> {
        let outer = self.flow;
        self.flow |= style == StructureStyle::Flow;
        let node = read(self);
        self.flow = outer;
        node
    }

    fn list(&mut self) -> Result<Node, Failure> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Node::List(items)),
                event => items.push(self.node(event)?),
            }
        }
    }

    fn map(&mut self) -> Result<Node, Failure> {
        let mut members: Vec<(String, Node)> = Vec::new();
        loop {
            let key = match self.events.next().ok_or_else(unknown)? {
                (Event::MappingEnd, _) => break,
                (_, true) => return Err(unknown()),
                (event, false) => self.node(event)?,
            };
            let Node::Scalar { text, plain } = key else {
                return Err(unknown());
            };
            if text.len() > MAX_KEY || text.contains('\n') || text == "<<" {
                return Err(unknown());
            }
            let resolved = if plain {
                resolve(&text)?
            } else {
                Resolved::Text
            };
            let key = shown(text, &resolved)?;
            let event = self.next()?;
            members.push((key, self.node(event)?));
        }
        let mut keys: Vec<&String> = members.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(unknown());
        }
        Ok(Node::Map(members))
    }
}
