//! The tree of a file: maps and lists in the order of the file, with comments.

use secret::Value;

/// A node of a tree. `S` is the type of scalars, `C` of comments.
pub enum Node<S = Scalar, C = Comment> {
    Map(Vec<Member<S, C>>),
    List(Vec<Element<S, C>>),
    Scalar(S),
}

/// A member of a map.
pub enum Member<S = Scalar, C = Comment> {
    Entry(String, Node<S, C>),
    Comment(C),
}

/// An element of a list.
pub enum Element<S = Scalar, C = Comment> {
    Value(Node<S, C>),
    Comment(C),
}

/// A decrypted value. It has no `Debug`, and is wiped when dropped.
pub struct Scalar {
    /// The text as it was encrypted, or for an unencrypted value as it is in the file, without quotes. Booleans are `true` or
    /// `false`.
    pub value: Value,
    pub kind: Kind,
    pub protection: Protection,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Bytes,
    Time,
    Null,
}

/// What a person without the data key could have changed, although the MAC is correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing: the value is encrypted together with its path.
    Encrypted,
    /// The key, or with `mac_only_encrypted` the value too: it is unencrypted according to the file's rules.
    Unencrypted,
    /// Everything: the value is empty or null. SOPS neither encrypts it nor includes it in the MAC, so anybody can add, rename
    /// and remove it.
    Empty,
}

/// A comment. The MAC covers no comments: anybody can add unencrypted ones, and remove or repeat encrypted ones.
pub struct Comment {
    /// The text after the `#` or `;`.
    pub text: Value,
    /// True if the comment was encrypted with the data key, for the map or list that it stands in. False if it is unencrypted,
    /// or if it looks encrypted but cannot be decrypted.
    pub encrypted: bool,
}

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Key(&'a str),
    /// Counts from 0, without comments.
    Index(usize),
}

/// A scalar with its path in a document.
pub struct Entry<'a> {
    pub path: Vec<Step<'a>>,
    pub scalar: &'a Scalar,
}

/// Returns the scalars of a document in the order of the file. Empty maps and lists have none.
pub fn entries(document: &[Member]) -> Vec<Entry<'_>> {
    let found = scalars(document).into_iter();
    found.map(|(path, scalar)| Entry { path, scalar }).collect()
}

/// The scalars of a document in the order of the file, with their paths.
pub(crate) fn scalars<S, C>(document: &[Member<S, C>]) -> Vec<(Vec<Step<'_>>, &S)> {
    let mut found = Vec::new();
    map(document, &mut Vec::new(), &mut found);
    found
}

type Found<'a, S> = Vec<(Vec<Step<'a>>, &'a S)>;

fn map<'a, S, C>(members: &'a [Member<S, C>], path: &mut Vec<Step<'a>>, found: &mut Found<'a, S>) {
    for member in members {
        if let Member::Entry(key, node) = member {
            below(Step::Key(key), node, path, found);
        }
    }
}

fn list<'a, S, C>(
    elements: &'a [Element<S, C>],
    path: &mut Vec<Step<'a>>,
    found: &mut Found<'a, S>,
) {
    let nodes = elements.iter().filter_map(|element| match element {
        Element::Value(node) => Some(node),
        Element::Comment(_) => None,
    });
    for (index, node) in nodes.enumerate() {
        below(Step::Index(index), node, path, found);
    }
}

fn below<'a, S, C>(
    step: Step<'a>,
    node: &'a Node<S, C>,
    path: &mut Vec<Step<'a>>,
    found: &mut Found<'a, S>,
) {
    path.push(step);
    match node {
        Node::Map(members) => map(members, path, found),
        Node::List(elements) => list(elements, path, found),
        Node::Scalar(scalar) => found.push((path.clone(), scalar)),
    }
    path.pop();
}
