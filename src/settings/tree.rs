//! A YAML tree with line numbers and quoting styles.
//!
//! Typed parsers stop at the first error and accept `1234` as text. Untyped parsers read `no` as a boolean and lose line numbers.
//! Validating this tree avoids both. Aliases, merge keys, tags and second documents are rejected here.

use eso_model::ProviderName;
use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::problem::{Fault, Found, quoted};

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Counts from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Scalar {
        text: String,
        style: Style,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Already reported as an error; validation skips it.
    Refused,
}

/// The quoting style of a scalar, which decides its possible types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: may be a number, a boolean or null.
    Plain,
    /// Quoted or a block scalar: always text.
    Quoted,
    /// From a source that has only text, such as an environment variable: takes the type that its key needs.
    Untyped,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
}

/// The maximum nesting depth. A deeper tree is an attack or a mistake.
const DEEPEST: usize = 32;

impl Node {
    /// True for an empty value or `null`.
    pub(super) fn says_nothing(&self) -> bool {
        match &self.value {
            Value::Scalar {
                text,
                style: Style::Plain,
            } => looks_like(text) == Some("empty"),
            Value::Scalar {
                text,
                style: Style::Untyped,
            } => text.is_empty(),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) | Value::Refused => false,
        }
    }

    /// Returns the entries of a map; empty for other values.
    pub(super) fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value {
            entries
        } else {
            &[]
        }
    }

    /// Returns the value at this place: keys of maps, and `[0]` for an item of a list.
    pub(super) fn at(&self, place: &[String]) -> Option<&Self> {
        let Some((first, rest)) = place.split_first() else {
            return Some(self);
        };
        let index = first
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        match (&self.value, index) {
            (Value::List(items), Some(index)) => items.get(index.parse::<usize>().ok()?)?.at(rest),
            (Value::Map(_), None) => self.get(first).or_else(|| self.aliased(first))?.at(rest),
            _ => None,
        }
    }

    /// Returns the value of a provider under its other name.
    fn aliased(&self, provider: &str) -> Option<&Self> {
        let is_it = |entry: &&Entry| {
            let name: Result<ProviderName, _> = entry.key.parse();
            name.is_ok_and(|name| name.as_str() == provider)
        };
        self.entries().iter().find(is_it).map(|entry| &entry.value)
    }

    /// Returns the value of a key in a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }
}

/// Appends a key to a path.
pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Formats a place for messages: `restart[0].cooldown`.
pub(super) fn path_of(place: &[String]) -> String {
    place.iter().fold(String::new(), |path, key| {
        if key.starts_with('[') {
            path + key
        } else {
            below(&path, key)
        }
    })
}

/// Parses one document at `path` in the policy. Returns None if the text is not YAML.
pub(super) fn parse(text: &str, path: &str, found: &mut Vec<Found>) -> Option<Node> {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(text, options),
        found,
    };
    match builder.document(path) {
        Ok(node) => Some(node),
        Err(Stop { line, fault }) => {
            found.push(Found {
                line,
                key: path.to_owned(),
                fault,
            });
            None
        }
    }
}

/// An error that ends parsing.
struct Stop {
    line: usize,
    fault: Fault,
}

struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    found: &'a mut Vec<Found>,
}

impl<'a> Builder<'a> {
    fn document(&mut self, path: &str) -> Result<Node, Stop> {
        let mut root = None;
        let mut documents = 0;
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    let hint = "a policy is one document: use several files, or remove the `---`";
                    return Err(stop(
                        &span,
                        Fault::new("a second document starts here", hint),
                    ));
                }
            } else if !matches!(
                event,
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd
            ) {
                root = Some(self.node(event, &span, path)?);
            }
        }
        let nothing = Node {
            line: 1,
            value: Value::Scalar {
                text: String::new(),
                style: Style::Plain,
            },
        };
        Ok(root.unwrap_or(nothing))
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Stop> {
        self.events.next().transpose().map_err(|error| {
            let fault = if matches!(
                error.kind(),
                granit_parser::ErrorKind::RecursionLimitExceeded
            ) {
                Fault::new(
                    format!("is nested deeper than {DEEPEST} levels"),
                    "use fewer levels",
                )
            } else {
                Fault::new(format!("is not YAML: {}", error.kind()), "")
            };
            Stop {
                line: error.marker().line(),
                fault,
            }
        })
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no other event stands where a value belongs"
    )]
    fn node(&mut self, event: Event<'a>, span: &Span, path: &str) -> Result<Node, Stop> {
        let tagged = event.tag().is_some();
        let mut value = match event {
            Event::Scalar(text, style, ..) => Value::Scalar {
                text: text.into_owned(),
                style: match style {
                    ScalarStyle::Plain => Style::Plain,
                    _ => Style::Quoted,
                },
            },
            Event::SequenceStart(..) => self.list(path)?,
            Event::MappingStart(..) => self.map(path)?,
            Event::UnresolvedAlias(name) => {
                let what = format!("{} is a YAML alias", quoted(&format!("*{name}")));
                let hint = format!("if a glob is meant, quote it: `\"*{name}\"`");
                self.refuse(span, path, Fault::new(what, hint))
            }
            Event::Alias(_) => {
                let what = "is a YAML alias, which a policy may not use";
                self.refuse(span, path, Fault::new(what, "write the value instead"))
            }
            _ => {
                let fault = Fault::new("is not YAML: a value is missing", "");
                return Err(stop(span, fault));
            }
        };
        if tagged {
            let what = "has a YAML tag, which a policy may not use";
            let hint = "remove it, or quote the value if it starts with `!`";
            value = self.refuse(span, path, Fault::new(what, hint));
        }
        Ok(Node {
            line: line(span),
            value,
        })
    }

    fn list(&mut self, path: &str) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                None | Some((Event::SequenceEnd, _)) => return Ok(Value::List(items)),
                Some((event, span)) => {
                    let path = format!("{path}[{}]", items.len());
                    items.push(self.node(event, &span, &path)?);
                }
            }
        }
    }

    fn map(&mut self, path: &str) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, &span, path)?;
            let Some((event, value_span)) = self.next()? else {
                break;
            };
            let Value::Scalar { text: key, .. } = key.value else {
                if key.value != Value::Refused {
                    self.report(
                        &span,
                        path,
                        Fault::new("a key is not text", "write `key: value`"),
                    );
                }
                self.node(event, &value_span, path)?;
                continue;
            };
            let path = below(path, &key);
            if key == "<<" {
                self.report(
                    &span,
                    &path,
                    Fault::new(
                        "is a YAML merge key, which a policy may not use",
                        "write the keys instead",
                    ),
                );
                self.unread(event, &value_span)?;
                continue;
            }
            let value = self.node(event, &value_span, &path)?;
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let what = format!("is set twice, first in line {}", first.line);
                self.report(&span, &path, Fault::new(what, "remove one of the two"));
            } else {
                entries.push(Entry {
                    key,
                    line: line(&span),
                    value,
                });
            }
        }
        Ok(Value::Map(entries))
    }

    /// Skips a value and ignores its errors.
    fn unread(&mut self, event: Event<'a>, span: &Span) -> Result<(), Stop> {
        let before = self.found.len();
        self.node(event, span, "")?;
        self.found.truncate(before);
        Ok(())
    }

    fn refuse(&mut self, span: &Span, key: &str, fault: Fault) -> Value {
        self.report(span, key, fault);
        Value::Refused
    }

    fn report(&mut self, span: &Span, key: &str, fault: Fault) {
        self.found.push(Found {
            line: line(span),
            key: key.to_owned(),
            fault,
        });
    }
}

fn line(span: &Span) -> usize {
    span.start.line()
}

fn stop(span: &Span, fault: Fault) -> Stop {
    Stop {
        line: line(span),
        fault,
    }
}

/// Returns the type that YAML parsers give a plain scalar, or None for text. `yes`, `no`, `on` and `off` are booleans in the
/// parsers of kubectl and Helm.
pub(super) fn looks_like(plain: &str) -> Option<&'static str> {
    let lower = plain.to_ascii_lowercase();
    match &*lower {
        "" | "~" | "null" => return Some("empty"),
        "true" | "false" | "yes" | "no" | "on" | "off" => return Some("a boolean"),
        ".inf" | "+.inf" | "-.inf" | ".nan" => return Some("a number"),
        _ => {}
    }
    let digits = lower.strip_prefix(['-', '+']).unwrap_or(&lower);
    let number = digits.replace('_', "");
    let prefixed = ["0x", "0o", "0b"]
        .iter()
        .zip([16, 8, 2])
        .any(|(prefix, radix)| {
            number.strip_prefix(prefix).is_some_and(|digits| {
                !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix))
            })
        });
    let decimal = number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && number.parse::<f64>().is_ok();
    (prefixed || decimal).then_some("a number")
}
