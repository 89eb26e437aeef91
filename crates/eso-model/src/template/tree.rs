//! A parsed template.

use super::value::Text;

/// What stands between two marks, in order.
pub(super) type Nodes = Vec<Node>;

/// A piece of a template.
pub(super) enum Node {
    Text(Vec<u8>),
    /// A pipeline whose value is printed, unless it declares or assigns.
    Print(Pipeline),
    If(Branches),
    With(Branches),
    Range(Branches),
    Break,
    Continue,
}

/// A condition with what follows from it.
pub(super) struct Branches {
    pub(super) pipeline: Pipeline,
    pub(super) then: Nodes,
    pub(super) otherwise: Nodes,
}

/// Commands, each with the one before as its last argument.
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// `=` and not `:=`.
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
    /// `$x.a.b`: the name with its dollar, and the fields.
    Variable(String, Vec<String>),
    /// `(…).a.b`
    Chain(Box<Self>, Vec<String>),
    Pipeline(Box<Pipeline>),
    Function(String),
}

/// A number, as every type that can hold it.
#[derive(Clone, Copy)]
pub(super) struct Number {
    /// Set when the number is whole.
    pub(super) whole: Option<i64>,
    pub(super) float: f64,
    /// Written as a fraction, which makes it a float64 where any type will do.
    pub(super) fraction: bool,
}

impl Number {
    #[expect(
        clippy::cast_precision_loss,
        reason = "Go converts a whole constant in the same way"
    )]
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
        reason = "only a value that comes back unchanged is whole"
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
