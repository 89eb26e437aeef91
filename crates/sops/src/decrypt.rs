//! Decrypts the values of a file, and verifies its MAC.

use secret::Value;
use zeroize::Zeroizing;

use crate::{
    cipher::{Cipher, Opened, looks_encrypted},
    keys::DataKey,
    mac::Mac,
    metadata::Metadata,
    refusal::{Reason, Refused},
    rules::Scope,
    source::{self, Plain, Stored, hashed_bool, hashed_float, is_time},
    tree::{Comment, Element, Kind, Member, Node, Protection, Scalar},
};

/// Decrypts all documents. Returns nothing of them if the MAC is missing or wrong.
pub(crate) fn decrypt(
    documents: &[source::Document],
    metadata: &Metadata,
    key: &DataKey,
) -> Result<Vec<Vec<Member>>, Refused> {
    let mut walk = Walk {
        metadata,
        cipher: Cipher::new(key),
        mac: Mac::new(metadata.mac_only_encrypted),
        keys: Vec::new(),
        path: String::new(),
    };
    let decrypted = documents
        .iter()
        .map(|document| walk.map(document, Scope::default()))
        .collect::<Result<Vec<_>, _>>()?;
    walk.mac.verify(metadata, &walk.cipher)?;
    Ok(decrypted)
}

struct Walk<'a> {
    metadata: &'a Metadata,
    cipher: Cipher,
    mac: Mac,
    keys: Vec<&'a str>,
    /// The keys, each followed by a colon: what values are authenticated with. Positions in lists are not part of it.
    path: String,
}

impl<'a> Walk<'a> {
    fn map(&mut self, members: &'a [source::Member], scope: Scope) -> Result<Vec<Member>, Refused> {
        let mut scope = scope.enter();
        let mut decrypted = Vec::with_capacity(members.len());
        for member in members {
            decrypted.push(match member {
                source::Member::Comment(text) => Member::Comment(self.comment(text, &mut scope)),
                source::Member::Entry(key, node) => {
                    let before = self.path.len();
                    self.keys.push(key);
                    self.path.push_str(key);
                    self.path.push(':');
                    let node = self.node(node, scope.below(&self.metadata.rule, key))?;
                    self.path.truncate(before);
                    self.keys.pop();
                    scope.after_value();
                    Member::Entry(key.clone(), node)
                }
            });
        }
        Ok(decrypted)
    }

    fn list(
        &mut self,
        elements: &'a [source::Element],
        scope: Scope,
    ) -> Result<Vec<Element>, Refused> {
        let mut scope = scope.enter();
        let mut decrypted = Vec::with_capacity(elements.len());
        for element in elements {
            decrypted.push(match element {
                source::Element::Comment(text) => Element::Comment(self.comment(text, &mut scope)),
                source::Element::Value(node) => {
                    let comment = self.comment_among_values(node, scope)?;
                    let element = match comment {
                        Some(comment) => Element::Comment(comment),
                        None => Element::Value(self.node(node, scope)?),
                    };
                    scope.after_value();
                    element
                }
            });
        }
        Ok(decrypted)
    }

    fn node(&mut self, node: &'a Stored, scope: Scope) -> Result<Node, Refused> {
        match node {
            Node::Map(members) => self.map(members, scope).map(Node::Map),
            Node::List(elements) => self.list(elements, scope).map(Node::List),
            Node::Scalar(plain) => self
                .scalar(plain, scope)
                .map(Node::Scalar)
                .map_err(|reason| Refused::at(reason, &self.keys)),
        }
    }

    fn scalar(&mut self, plain: &Plain, scope: Scope) -> Result<Scalar, Reason> {
        let encrypted = scope.is_encrypted(&self.metadata.rule);
        if plain.text.is_empty() {
            return Ok(Scalar {
                value: Value::default(),
                kind: plain.kind,
                protection: Protection::Empty,
            });
        }
        if !encrypted {
            self.mac.add(plain.hashed().as_bytes(), false);
            return Ok(Scalar {
                value: Value::from(plain.text.as_str()),
                kind: plain.kind,
                protection: Protection::Unencrypted,
            });
        }
        if plain.kind != Kind::Text || !looks_encrypted(&plain.text) {
            return Err(Reason::NotEncrypted);
        }
        let opened = self.cipher.open(&plain.text, &self.path)?;
        let mut typed = Typed::new(opened)?;
        self.mac.add(typed.hashed(), true);
        Ok(Scalar {
            value: Value::new(std::mem::take(&mut typed.text)),
            kind: typed.kind,
            protection: Protection::Encrypted,
        })
    }

    /// A comment. SOPS passes one that it cannot decrypt, since older versions did not encrypt comments.
    fn comment(&self, text: &str, scope: &mut Scope) -> Comment {
        // Without keys, only the colon is left.
        let path = if self.path.is_empty() {
            ":"
        } else {
            &self.path
        };
        if scope.comment(&self.metadata.rule, text)
            && let Ok(mut opened) = self.cipher.open(text, path)
        {
            return Comment {
                text: Value::new(std::mem::take(&mut opened.text)),
                encrypted: true,
            };
        }
        Comment {
            text: Value::from(text),
            encrypted: false,
        }
    }

    /// SOPS writes an encrypted comment of a list like one of its values. The MAC does not cover it.
    fn comment_among_values(
        &self,
        node: &Stored,
        scope: Scope,
    ) -> Result<Option<Comment>, Refused> {
        let Node::Scalar(plain) = node else {
            return Ok(None);
        };
        if !plain.text.ends_with(",type:comment]") || !scope.is_encrypted(&self.metadata.rule) {
            return Ok(None);
        }
        let mut opened = self
            .cipher
            .open(&plain.text, &self.path)
            .map_err(|reason| Refused::at(reason, &self.keys))?;
        Ok(Some(Comment {
            text: Value::new(std::mem::take(&mut opened.text)),
            encrypted: true,
        }))
    }
}

/// A decrypted value with its type.
struct Typed {
    text: Zeroizing<Vec<u8>>,
    kind: Kind,
    /// What the MAC covers, if it differs from the text.
    hashed: Option<Zeroizing<Vec<u8>>>,
}

impl Typed {
    fn new(opened: Opened<'_>) -> Result<Self, Reason> {
        let Opened { mut text, kind } = opened;
        let mut hashed = None;
        let kind = match kind {
            "str" => Kind::Text,
            "bytes" => Kind::Bytes,
            "int" => {
                let value: i64 = parse(&text)?;
                // What SOPS shows, without a plus sign or zeros at the start.
                text = Zeroizing::new(value.to_string().into_bytes());
                Kind::Int
            }
            "float" => {
                let value: f64 = parse(&text)?;
                hashed = Some(Zeroizing::new(hashed_float(value).into_bytes()));
                Kind::Float
            }
            "bool" => {
                let value = bool_of(&text)?;
                hashed = Some(Zeroizing::new(hashed_bool(value).as_bytes().to_vec()));
                text = Zeroizing::new(value.to_string().into_bytes());
                Kind::Bool
            }
            "time" => {
                let is_time = std::str::from_utf8(&text).is_ok_and(is_time);
                if !is_time {
                    return Err(Reason::InvalidValue);
                }
                Kind::Time
            }
            _ => return Err(Reason::UnknownType),
        };
        Ok(Self { text, kind, hashed })
    }

    fn hashed(&self) -> &[u8] {
        self.hashed.as_ref().unwrap_or(&self.text)
    }
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Result<T, Reason> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Reason::InvalidValue)
}

/// Go's `strconv.ParseBool`.
fn bool_of(text: &[u8]) -> Result<bool, Reason> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
        _ => Err(Reason::InvalidValue),
    }
}
