//! A parsed template.

use std::collections::BTreeMap;

use super::value::Text;

/// The nodes between two control actions, in order.
pub(super) type Nodes = Vec<Node>;

/// A piece of a template.
pub(super) enum Node {
    Text(Vec<u8>),
    /// A pipeline whose value is printed, unless it declares or assigns.
    Print(Pipeline),
    If(Branches),
    With(Branches),
    Range(Branches),
    /// `template`: the name and the new `.`.
    Template(String, Option<Pipeline>),
    Break,
    Continue,
}

/// A template, and those that it defines.
pub(super) struct Tree {
    pub(super) main: Nodes,
    pub(super) defined: BTreeMap<String, Nodes>,
}

/// A condition or range, with its branches.
pub(super) struct Branches {
    pub(super) pipeline: Pipeline,
    pub(super) then: Nodes,
    pub(super) otherwise: Nodes,
}

/// Commands. Each gets the result of the previous one as its last argument.
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// True for `=`, false for `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A term of a command.
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text(Text),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`: the name with its dollar sign, and the fields.
    Variable(String, Vec<String>),
    /// `(…).a.b`
    Chain(Box<Self>, Vec<String>),
    Pipeline(Box<Pipeline>),
    Function(String),
}

/// A number in all types that can represent it.
#[derive(Clone, Copy)]
pub(super) struct Number {
    /// Set if the number is an integer.
    pub(super) whole: Option<i64>,
    pub(super) float: f64,
    /// True if it is written as a fraction: then it is a float64 where any type is allowed.
    pub(super) fraction: bool,
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "same conversion as in Go")]
    pub(super) const fn whole(value: i64) -> Self {
        Self {
            whole: Some(value),
            float: value as f64,
            fraction: false,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "a number is an integer if the conversion is exact"
    )]
    pub(super) fn fraction(value: f64) -> Self {
        let whole = value as i64;
        let fits = value.abs() < 9e18 && whole as f64 == value;
        Self {
            whole: fits.then_some(whole),
            float: value,
            fraction: true,
        }
    }
}
