//! The operator's template functions: those that are implemented, those that have no reproducible result, and those that
//! were not compared yet.

#![expect(
    clippy::needless_pass_by_value,
    reason = "all functions in the table have the same type"
)]

use std::{collections::BTreeMap, sync::LazyLock};

use super::{
    Failure,
    value::{Heap, List, MapId, Text, Value},
};

mod builtin;
mod certificates;
mod dates;
mod dicts;
mod encoding;
mod kinds;
mod lists;
mod names;
mod numbers;
mod paths;
mod printf;
mod regexps;
mod text;
mod urls;
mod versions;
mod words;

pub(super) use versions::version_method;

#[cfg(test)]
mod tests;

/// The type of a parameter, as far as Go's type check depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    /// `interface{}`, or the template package's own `any`.
    Any,
    /// `string`
    Text,
    /// `int`
    Int,
    /// `float64`
    Float,
    /// `bool`
    Bool,
    /// `time.Time`
    Time,
    /// A named type of `string`: Go accepts only a constant.
    ConstantText,
    /// `map[string]interface{}`
    Map,
}

type Run = fn(&mut Heap, Vec<Value>) -> Result<Value, Failure>;

/// A function of the operator.
pub(super) struct Function {
    name: &'static str,
    pub(super) fixed: &'static [Parameter],
    /// The type of further arguments, if they are allowed.
    pub(super) rest: Option<Parameter>,
    /// The result does not depend on the order of a list.
    pub(super) any_order: bool,
    /// The work for each byte of a text argument, and each item of a list or map. The call takes it from the budget.
    pub(super) work_per_byte: usize,
    pub(super) run: Run,
}

impl Function {
    const fn new(name: &'static str, fixed: &'static [Parameter], run: Run) -> Self {
        Self {
            name,
            fixed,
            rest: None,
            any_order: false,
            work_per_byte: 1,
            run,
        }
    }

    const fn with_rest(mut self, rest: Parameter) -> Self {
        self.rest = Some(rest);
        self
    }

    const fn in_any_order(mut self) -> Self {
        self.any_order = true;
        self
    }

    /// For a function that works longer than a nanosecond on each byte.
    const fn with_work_per_byte(mut self, work: usize) -> Self {
        self.work_per_byte = work;
        self
    }
}

static TABLE: LazyLock<BTreeMap<&str, &Function>> = LazyLock::new(|| {
    [
        builtin::TABLE,
        certificates::TABLE,
        dates::TABLE,
        dicts::TABLE,
        encoding::TABLE,
        kinds::TABLE,
        lists::TABLE,
        numbers::TABLE,
        paths::TABLE,
        regexps::TABLE,
        text::TABLE,
        urls::TABLE,
        versions::TABLE,
        words::TABLE,
    ]
    .into_iter()
    .flatten()
    .map(|function| (function.name, function))
    .collect()
});

/// True if the operator has this function. Otherwise no template that uses it can be parsed.
pub(super) fn exists(name: &str) -> bool {
    TABLE.contains_key(name)
        || names::NOT_REPRODUCIBLE.contains(&name)
        || names::NOT_COMPARED.contains(&name)
}

/// Returns the function, if it is implemented.
pub(super) fn find(name: &str) -> Result<&'static Function, Failure> {
    TABLE.get(name).copied().ok_or_else(|| {
        let why = if names::NOT_REPRODUCIBLE.contains(&name) {
            " (its result is not reproducible)"
        } else {
            ""
        };
        Failure::unverifiable(format!("the function `{name}`{why}"))
    })
}

/// The error of a function that fails or panics in the operator.
fn refused() -> Failure {
    Failure::fails("")
}

/// The error for an input whose result was not compared with the operator.
fn unsupported(what: &str) -> Failure {
    Failure::unverifiable(what)
}

/// Returns exactly `N` arguments. Their number was already checked.
fn take<const N: usize>(arguments: Vec<Value>) -> Result<[Value; N], Failure> {
    arguments.try_into().map_err(|_| refused())
}

fn text(value: &Value) -> Result<&Text, Failure> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(refused()),
    }
}

fn int(value: &Value) -> Result<i64, Failure> {
    match value {
        Value::Int(value) => Ok(*value),
        _ => Err(refused()),
    }
}

fn flag(value: &Value) -> Result<bool, Failure> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(refused()),
    }
}

fn map(value: &Value) -> Result<MapId, Failure> {
    match value {
        Value::Map(id) => Ok(*id),
        _ => Err(refused()),
    }
}

fn list(value: &Value) -> Result<&List, Failure> {
    match value {
        Value::List(list) => Ok(list),
        _ => Err(refused()),
    }
}
