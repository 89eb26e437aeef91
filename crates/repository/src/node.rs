//! YAML documents as trees of text. Numbers and booleans are not interpreted.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use secret::Value;

use crate::{
    fault::{Fault, Reason},
    source::Text,
};

/// The maximum depth of maps and lists.
pub(crate) const MAX_DEPTH: usize = 64;
/// The maximum number of maps, lists and scalars in a file, after the resolution of aliases.
const MAX_NODES: usize = 200_000;
/// The maximum size of the scalars in a file, after the resolution of aliases.
const MAX_SCALARS: usize = 16 << 20;

/// A map, list or scalar.
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Scalar {
        text: Value,
        style: Style,
    },
    List(Vec<Node>),
    Map(Vec<Member>),
    /// Something that programs read in different ways, with an explanation. It is a fault only if it is used.
    Unsupported(&'static str),
}

/// How a scalar is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes, so that it may be a number, a boolean or null.
    Plain,
    /// In quotes, or as a literal block (`|`).
    Text,
    /// As a folded block (`>`).
    Folded,
}

/// A key and its value.
pub(crate) struct Member {
    pub(crate) key: String,
    /// True if the key is written without quotes.
    pub(crate) is_plain: bool,
    pub(crate) line: usize,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) const fn new(line: usize, kind: Kind) -> Self {
        Self { line, kind }
    }

    /// Returns the value of a key. None if there is no such key, or if this is not a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Kind::Map(members) = &self.kind else {
            return None;
        };
        members
            .iter()
            .find(|member| member.key == key)
            .map(|member| &member.value)
    }

    /// Returns the text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => std::str::from_utf8(text.expose()).ok(),
            Kind::List(_) | Kind::Map(_) | Kind::Unsupported(_) => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style: Style::Plain } if is_null(text.expose()))
    }

    pub(crate) fn duplicate(&self) -> Self {
        let kind = match &self.kind {
            Kind::Scalar { text, style } => Kind::Scalar {
                text: text.duplicate(),
                style: *style,
            },
            Kind::List(items) => Kind::List(items.iter().map(Self::duplicate).collect()),
            Kind::Map(members) => Kind::Map(members.iter().map(Member::duplicate).collect()),
            Kind::Unsupported(message) => Kind::Unsupported(message),
        };
        Self::new(self.line, kind)
    }

    fn size(&self) -> Size {
        let start = Size {
            nodes: 1,
            bytes: 0,
            depth: 0,
        };
        let add = |size: Size, inner: Size| Size {
            nodes: size.nodes + inner.nodes,
            bytes: size.bytes + inner.bytes,
            depth: size.depth.max(inner.depth + 1),
        };
        match &self.kind {
            Kind::Scalar { text, .. } => Size {
                bytes: text.expose().len(),
                ..start
            },
            Kind::List(items) => items.iter().map(Self::size).fold(start, add),
            Kind::Map(members) => members
                .iter()
                .map(|member| member.value.size())
                .fold(start, add),
            Kind::Unsupported(_) => start,
        }
    }
}

struct Size {
    nodes: usize,
    /// The bytes of all scalars.
    bytes: usize,
    depth: usize,
}

impl Member {
    fn duplicate(&self) -> Self {
        Self {
            key: self.key.clone(),
            is_plain: self.is_plain,
            line: self.line,
            value: self.value.duplicate(),
        }
    }
}

pub(crate) const fn is_null(text: &[u8]) -> bool {
    matches!(text, b"" | b"~" | b"null" | b"Null" | b"NULL")
}

const TOO_DEEP: &str = "is nested too deeply";

/// Parses a YAML stream into its documents. `---` inside a value separates nothing.
pub(crate) fn documents(text: &Text) -> Result<Vec<Node>, Fault> {
    // YAML 1.1, which most programs read, takes them for line breaks.
    if let Some(place) = text.as_str().find(['\u{85}', '\u{2028}', '\u{2029}']) {
        let before = text.as_str().get(..place).unwrap_or_default();
        let message = "contains a line break of Unicode (U+0085, U+2028 or U+2029), which programs read differently: write it as an escape in double quotes";
        let fault = text.fault(Reason::UnsupportedYaml, message);
        return Err(fault.at(1 + before.matches('\n').count()));
    }
    let options = granit_parser::options! {
        emit_comments: false,
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder {
        text,
        events: Parser::new_from_str_with_options(text.as_str(), options),
        anchors: BTreeMap::new(),
        nodes: 0,
        bytes: 0,
        depth: 0,
    };
    let mut documents = Vec::new();
    while let Some((event, span)) = builder.next()? {
        if matches!(event, Event::DocumentStart(..)) {
            // Anchors are valid in one document.
            builder.anchors.clear();
        } else if event.is_node() {
            documents.push(builder.node(event, &span)?);
        }
    }
    Ok(documents)
}

struct Builder<'a> {
    text: &'a Text,
    events: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    bytes: usize,
    /// The number of maps and lists around the current event.
    depth: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Fault> {
        self.events.next().transpose().map_err(|error| {
            // The parser's message may quote the text, so only its kind of error would be safe, which has no stable text.
            let message = if matches!(
                error.kind(),
                granit_parser::ErrorKind::RecursionLimitExceeded
            ) {
                TOO_DEEP
            } else {
                "is not valid YAML"
            };
            self.text
                .fault(Reason::InvalidSyntax, message)
                .at(error.marker().line())
        })
    }

    /// Returns the next event, which the parser guarantees inside a map or list.
    fn inner(&mut self, line: usize) -> Result<(Event<'a>, Span), Fault> {
        let end = || {
            self.text
                .fault(Reason::InvalidSyntax, "is not valid YAML")
                .at(line)
        };
        match self.next() {
            Ok(next) => next.ok_or_else(end),
            Err(fault) => Err(fault),
        }
    }

    fn count(&mut self, nodes: usize, bytes: usize, line: usize) -> Result<(), Fault> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > MAX_NODES || self.bytes > MAX_SCALARS {
            let message = "has too many values, perhaps by aliases that refer to aliases";
            return Err(self.text.fault(Reason::TooLarge, message).at(line));
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no other event stands where a value belongs"
    )]
    fn node(&mut self, event: Event<'a>, span: &Span) -> Result<Node, Fault> {
        let line = span.start.line();
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, text.len(), line)?;
                (scalar(text, style, tag.as_deref()), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.count(1, 0, line)?;
                (tagged(self.list(line)?, tag.as_deref(), "seq"), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.count(1, 0, line)?;
                (tagged(self.map(line)?, tag.as_deref(), "map"), anchor)
            }
            Event::Alias(id) => return self.alias(id, line),
            _ => {
                return Err(self
                    .text
                    .fault(Reason::InvalidSyntax, "is not valid YAML")
                    .at(line));
            }
        };
        let node = Node::new(line, kind);
        if anchor != 0 {
            let Size { nodes, bytes, .. } = node.size();
            self.count(nodes, bytes, line)?;
            self.anchors.insert(anchor, node.duplicate());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, line: usize) -> Result<Node, Fault> {
        let Some(anchored) = self.anchors.get(&id) else {
            let message = "an alias refers to the value that it is a part of";
            return Err(self.text.fault(Reason::InvalidSyntax, message).at(line));
        };
        let Size {
            nodes,
            bytes,
            depth,
        } = anchored.size();
        if self.depth + depth > 2 * MAX_DEPTH {
            return Err(self.text.fault(Reason::TooLarge, TOO_DEEP).at(line));
        }
        let node = Node::new(line, anchored.duplicate().kind);
        self.count(nodes, bytes, line)?;
        Ok(node)
    }

    fn list(&mut self, line: usize) -> Result<Kind, Fault> {
        let mut items = Vec::new();
        self.depth += 1;
        loop {
            match self.inner(line)? {
                (Event::SequenceEnd, _) => break,
                (event, span) => items.push(self.node(event, &span)?),
            }
        }
        self.depth -= 1;
        Ok(Kind::List(items))
    }

    fn map(&mut self, line: usize) -> Result<Kind, Fault> {
        let mut members: Vec<Member> = Vec::new();
        let mut unsupported = None;
        let mut keys = BTreeSet::new();
        self.depth += 1;
        loop {
            let key = match self.inner(line)? {
                (Event::MappingEnd, _) => break,
                (event, span) => self.node(event, &span)?,
            };
            let (event, span) = self.inner(line)?;
            let value = self.node(event, &span)?;
            let (Some(text), &Kind::Scalar { style, .. }) = (key.text(), &key.kind) else {
                unsupported = Some("has a key that is not text");
                continue;
            };
            let is_plain = style == Style::Plain;
            if is_plain && text == "<<" {
                unsupported =
                    Some("has a merge key `<<`, which is not supported: write the keys out");
                continue;
            }
            if !keys.insert(text.to_owned()) {
                let fault = self.text.fault(
                    Reason::DuplicateKey,
                    "the key occurs twice in this map; remove one of them",
                );
                return Err(fault.at(key.line).of(text));
            }
            members.push(Member {
                key: text.to_owned(),
                is_plain,
                line: key.line,
                value,
            });
        }
        self.depth -= 1;
        Ok(unsupported.map_or(Kind::Map(members), Kind::Unsupported))
    }
}

const TAGGED: &str = "has a YAML tag, which is not supported: remove it";

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
    if tag.is_some() && !is_text {
        return Kind::Unsupported(TAGGED);
    }
    let text = match text {
        Cow::Borrowed(text) => Value::from(text),
        Cow::Owned(text) => Value::new(text.into_bytes()),
    };
    let style = match style {
        ScalarStyle::Plain if !is_text => Style::Plain,
        ScalarStyle::Folded => Style::Folded,
        ScalarStyle::Plain
        | ScalarStyle::SingleQuoted
        | ScalarStyle::DoubleQuoted
        | ScalarStyle::Literal => Style::Text,
    };
    Kind::Scalar { text, style }
}

fn tagged(kind: Kind, tag: Option<&Tag>, own: &str) -> Kind {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema_tag(own) => Kind::Unsupported(TAGGED),
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<Node>, Fault> {
        documents(&Text::for_tests(text.as_bytes(), false))
    }

    /// Writes a node without white space; `?` stands for unsupported parts.
    fn shown(node: &Node) -> String {
        match &node.kind {
            Kind::Scalar {
                style: Style::Plain,
                ..
            } => node.text().unwrap_or_default().to_owned(),
            Kind::Scalar { .. } => format!("'{}'", node.text().unwrap_or_default()),
            Kind::List(items) => format!(
                "[{}]",
                items.iter().map(shown).collect::<Vec<_>>().join(",")
            ),
            Kind::Map(members) => {
                let member = |member: &Member| format!("{}:{}", member.key, shown(&member.value));
                format!(
                    "{{{}}}",
                    members.iter().map(member).collect::<Vec<_>>().join(",")
                )
            }
            Kind::Unsupported(_) => "?".to_owned(),
        }
    }

    fn all(text: &str) -> Vec<String> {
        parsed(text).expect(text).iter().map(shown).collect()
    }

    #[test]
    fn scalars_keep_their_text() {
        assert_eq!(
            all("[1.50, 007, 0x1F, yes, ~, '', \"a\\n\", !!str 1, 1e3]"),
            ["[1.50,007,0x1F,yes,~,'','a\n','1',1e3]"]
        );
    }

    #[test]
    fn document_marker_inside_a_value_separates_nothing() {
        let pem =
            "a: |\n  -----BEGIN X-----\n  --- \n  -----END X-----\nb: x---y\n---\nc: 1\n...\n---\n";
        assert_eq!(
            all(pem),
            [
                "{a:'-----BEGIN X-----\n--- \n-----END X-----\n',b:x---y}",
                "{c:1}",
                "~"
            ]
        );
    }

    #[test]
    fn block_at_the_end_of_the_text_gains_no_line_feed() {
        assert_eq!(all("a: |\n  x"), ["{a:'x'}"]);
        assert_eq!(all("a: |\n  x\n"), ["{a:'x\n'}"]);
    }

    #[test]
    fn aliases_are_resolved() {
        assert_eq!(
            all("a: &x {b: 1}\nc: *x\nd: &x 2\ne: *x"),
            ["{a:{b:1},c:{b:1},d:2,e:2}"]
        );
        for text in ["a: *x", "a: &x [*x]", "a: &x 1\n---\nb: *x"] {
            assert_eq!(
                parsed(text).err().expect(text).reason,
                Reason::InvalidSyntax
            );
        }
    }

    #[test]
    fn alias_bombs_are_refused() {
        let line = |n: usize| {
            format!(
                "a{}: &a{} [{}]\n",
                n + 1,
                n + 1,
                format!("*a{n},").repeat(10)
            )
        };
        let bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned()
            + &(0..30).map(line).collect::<Vec<_>>().concat();
        assert_eq!(
            parsed(&bomb).err().expect("too large").reason,
            Reason::TooLarge
        );
        let large = format!("a: &x {}\nb: [{}]", "x".repeat(1 << 20), "*x,".repeat(20));
        assert_eq!(
            parsed(&large).err().expect("too large").reason,
            Reason::TooLarge
        );
    }

    #[test]
    fn depth_is_limited_also_through_aliases() {
        let line = |n: usize| {
            let (open, close) = ("[".repeat(60), "]".repeat(60));
            format!("a{}: &a{} {open}*a{n}{close}\n", n + 1, n + 1)
        };
        let text = "a0: &a0 x\n".to_owned() + &(0..60).map(line).collect::<Vec<_>>().concat();
        assert_eq!(
            parsed(&text).err().expect("too deep").reason,
            Reason::TooLarge
        );
        for text in [
            "[".repeat(10_000),
            "{a: ".repeat(10_000),
            "- ".repeat(10_000),
            "? ".repeat(10_000),
        ] {
            assert!(parsed(&text).is_err());
        }
    }

    #[test]
    fn ambiguous_parts_are_unsupported_where_they_stand() {
        assert_eq!(
            all("a: !x 1\nb: !!binary aGk=\nc: {<<: {d: 1}}\ne: {[1]: 2}\nf: !!set {g: }\nh: 1"),
            ["{a:?,b:?,c:?,e:?,f:?,h:1}"]
        );
        assert_eq!(all("{'<<': 1}"), ["{<<:1}"]);
    }

    #[test]
    fn line_breaks_of_unicode_are_refused() {
        for c in ['\u{85}', '\u{2028}', '\u{2029}'] {
            let fault = parsed(&format!("a: 1\nb: 'x{c}y'")).err().expect("refused");
            assert_eq!(
                (fault.reason, fault.line),
                (Reason::UnsupportedYaml, Some(2))
            );
        }
        assert_eq!(all("a: \"\\u2028\\u0085\""), ["{a:'\u{2028}\u{85}'}"]);
    }

    #[test]
    fn keys_that_occur_twice_are_refused() {
        let fault = parsed("a: 1\nb: {c: 1, c: 2}").err().expect("twice");
        assert_eq!(
            (fault.reason, fault.line, fault.key.as_deref()),
            (Reason::DuplicateKey, Some(2), Some("c"))
        );
    }

    #[test]
    fn syntax_errors_have_a_line_and_no_content() {
        let fault = parsed("a: 1\nb: 'hunter2\n").err().expect("invalid");
        assert_eq!(fault.reason, Reason::InvalidSyntax);
        assert!(fault.line.is_some() && !fault.message.contains("hunter2"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "([-:{}\\[\\]&*a!|>'\"?, \n]|.){0,60}") {
            drop(parsed(&text));
        }
    }
}
