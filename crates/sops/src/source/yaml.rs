//! YAML, read as SOPS reads it: one map for each document.
//!
//! Comments belong to the tree, because the rules `encrypted_comment_regex` and `unencrypted_comment_regex` depend on them. A comment
//! that is attached to another place than by SOPS cannot make a changed file valid: the values that it decides about would then not
//! be encrypted, or not match the MAC.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of the parser are non-exhaustive, and have many variants"
)]

mod resolve;

use granit_parser::{Event, Parser, Placement, ScalarStyle, Span, StrInput};

use self::resolve::resolve;
use super::{
    Document, Element, MAX_DEPTH, Member, Plain, Stored,
    limits::{Keys, Limits},
};
use crate::{
    refusal::{Reason, Refused},
    tree::Kind,
};

pub(super) fn parse(text: &str) -> Result<Vec<Document>, Refused> {
    let options = granit_parser::options! {
        emit_comments: true,
        max_buffered_comment_events: super::MAX_NODES,
        emit_unresolved_aliases: true,
        simple_key_max_lookahead: super::MAX_PATH,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        limits: Limits::default(),
        pending: Vec::new(),
    };
    reader.documents()
}

/// A comment that is not yet in the tree.
struct Pending {
    text: String,
    column: usize,
}

/// The place of a map or list, and of its last entry.
struct Place {
    column: usize,
    /// The line on which the last entry ends, if its value is a scalar.
    scalar_line: Option<usize>,
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    limits: Limits,
    pending: Vec<Pending>,
}

impl<'a> Reader<'a> {
    fn documents(&mut self) -> Result<Vec<Document>, Refused> {
        let mut documents = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(documents),
                Event::DocumentStart(..) => documents.push(self.document()?),
                Event::Comment(text, _) => {
                    self.limits.count()?;
                    self.pend(text.into_owned(), &span);
                }
                _ => {}
            }
        }
    }

    fn document(&mut self) -> Result<Document, Refused> {
        self.limits.count()?;
        let (event, span) = self.node_start(None)?;
        match self.node(event, &span)? {
            Stored::Map(members) => Ok(members),
            Stored::Scalar(scalar) if scalar.kind == Kind::Null => Ok(Vec::new()),
            Stored::List(_) | Stored::Scalar(_) => Err(Reason::NotAMap.into()),
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Refused> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.limits.refuse(match error.kind() {
                granit_parser::ErrorKind::RecursionLimitExceeded => Reason::TooDeep,
                _ => Reason::NotYaml,
            })),
            None => Err(Reason::NotYaml.into()),
        }
    }

    /// Returns the event that starts a node. SOPS puts a comment that follows a key on its line before the key: these go to
    /// `above`.
    fn node_start(
        &mut self,
        mut above: Option<&mut Vec<String>>,
    ) -> Result<(Event<'a>, Span), Refused> {
        loop {
            let (event, span) = self.next()?;
            let Event::Comment(text, placement) = event else {
                return Ok((event, span));
            };
            self.limits.count()?;
            match &mut above {
                Some(above) if placement == Placement::Right => above.push(text.into_owned()),
                _ => self.pend(text.into_owned(), &span),
            }
        }
    }

    fn pend(&mut self, text: String, span: &Span) {
        let column = span.start.col();
        self.pending.push(Pending { text, column });
    }

    fn node(&mut self, event: Event<'a>, span: &Span) -> Result<Stored, Refused> {
        if event.tag().is_some() {
            return Err(self.limits.refuse(Reason::YamlTag));
        }
        match event {
            Event::Scalar(text, style, 0, _) => {
                self.limits.count()?;
                self.scalar(&text, style).map(Stored::Scalar)
            }
            Event::SequenceStart(_, 0, _) => self.list(span),
            Event::MappingStart(_, 0, _) => self.map(span),
            Event::Alias(_)
            | Event::UnresolvedAlias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..) => Err(self.limits.refuse(Reason::YamlAlias)),
            _ => Err(self.limits.refuse(Reason::NotYaml)),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle) -> Result<Plain, Refused> {
        if style != ScalarStyle::Plain {
            return Ok(Plain::text(text.to_owned()));
        }
        resolve(text).ok_or_else(|| self.limits.refuse(Reason::UnsupportedValue))
    }

    fn map(&mut self, span: &Span) -> Result<Stored, Refused> {
        self.limits.enter()?;
        let mut place = Place {
            column: span.start.col(),
            scalar_line: None,
        };
        let mut keys = Keys::default();
        let mut members = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::Comment(text, placement) => {
                    self.limits.count()?;
                    let text = text.into_owned();
                    if is_beside(&place, placement, &span) {
                        let last = members.len().saturating_sub(1);
                        members.insert(last, Member::Comment(text));
                    } else {
                        self.pend(text, &span);
                    }
                }
                Event::MappingEnd => {
                    let own = self.own_comments(&place);
                    members.extend(own.into_iter().map(Member::Comment));
                    self.limits.leave();
                    return Ok(Stored::Map(members));
                }
                key => {
                    let key = self.key(key)?;
                    self.limits.push(&key)?;
                    keys.add(&key, &self.limits)?;
                    members.extend(self.all_comments().map(Member::Comment));
                    let mut above = Vec::new();
                    let (event, span) = self.node_start(Some(&mut above))?;
                    members.extend(above.into_iter().map(Member::Comment));
                    let value = self.value(event, &span, &mut place, |comment| {
                        members.push(Member::Comment(comment));
                    })?;
                    members.push(Member::Entry(key, value));
                    self.limits.pop();
                }
            }
        }
    }

    fn list(&mut self, span: &Span) -> Result<Stored, Refused> {
        self.limits.enter()?;
        let mut place = Place {
            column: span.start.col(),
            scalar_line: None,
        };
        let mut elements = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::Comment(text, placement) => {
                    self.limits.count()?;
                    let text = text.into_owned();
                    if is_beside(&place, placement, &span) {
                        let last = elements.len().saturating_sub(1);
                        elements.insert(last, Element::Comment(text));
                    } else {
                        self.pend(text, &span);
                    }
                }
                Event::SequenceEnd => {
                    let own = self.own_comments(&place);
                    elements.extend(own.into_iter().map(Element::Comment));
                    self.limits.leave();
                    return Ok(Stored::List(elements));
                }
                event => {
                    elements.extend(self.all_comments().map(Element::Comment));
                    let value = self.value(event, &span, &mut place, |_| {})?;
                    elements.push(Element::Value(value));
                }
            }
        }
    }

    /// Reads the value of an entry. Comments between a key and its scalar go before the entry.
    fn value(
        &mut self,
        event: Event<'a>,
        span: &Span,
        place: &mut Place,
        above: impl FnMut(String),
    ) -> Result<Stored, Refused> {
        let is_scalar = matches!(event, Event::Scalar(..));
        place.scalar_line = is_scalar.then(|| span.end.line());
        if is_scalar {
            self.all_comments().for_each(above);
        }
        self.node(event, span)
    }

    fn key(&self, event: Event<'a>) -> Result<String, Refused> {
        if event.tag().is_some() {
            return Err(self.limits.refuse(Reason::YamlTag));
        }
        let Event::Scalar(text, style, 0, _) = event else {
            return Err(self.limits.refuse(match event {
                Event::SequenceStart(..) | Event::MappingStart(..) => Reason::KeyNotText,
                Event::Alias(_) | Event::UnresolvedAlias(_) | Event::Scalar(..) => {
                    Reason::YamlAlias
                }
                _ => Reason::NotYaml,
            }));
        };
        if style == ScalarStyle::Plain {
            if text == "<<" {
                return Err(self.limits.refuse(Reason::YamlMergeKey));
            }
            if resolve(&text).is_none_or(|plain| plain.kind != Kind::Text) {
                return Err(self.limits.refuse(Reason::KeyNotText));
            }
        }
        Ok(text.into_owned())
    }

    fn all_comments(&mut self) -> impl Iterator<Item = String> + use<> {
        std::mem::take(&mut self.pending)
            .into_iter()
            .map(|comment| comment.text)
    }

    /// Takes the comments at the end of a map or list that are indented like it. The others belong to a map or list around it.
    fn own_comments(&mut self, place: &Place) -> Vec<String> {
        let own = self
            .pending
            .iter()
            .take_while(|comment| comment.column >= place.column)
            .count();
        self.pending
            .drain(..own)
            .map(|comment| comment.text)
            .collect()
    }
}

/// True for a comment on the line of the last entry.
fn is_beside(place: &Place, placement: Placement, span: &Span) -> bool {
    placement == Placement::Right && place.scalar_line == Some(span.start.line())
}
