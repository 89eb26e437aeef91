//! Functions on the types of values, and functions that select one of several values.

use super::{
    Function,
    Parameter::{Any, Bool, Text},
    flag, refused, take, text, unsupported,
};
use crate::template::{
    Failure, print,
    value::{Heap, MAX_DEPTH, Of, Value},
};

pub(super) const TABLE: &[Function] = &[
    Function::new("default", &[Any], |heap, arguments| {
        let given = arguments.get(1).cloned().unwrap_or(Value::Nil);
        let chosen = if heap.truth(&given)? {
            Some(given)
        } else {
            arguments.into_iter().next()
        };
        chosen.ok_or_else(refused)
    })
    .with_rest(Any),
    Function::new("empty", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        Ok(Value::Bool(!heap.truth(&value)?))
    })
    .in_any_order(),
    Function::new("coalesce", &[], |heap, arguments| {
        for value in arguments {
            if heap.truth(&value)? {
                return Ok(value);
            }
        }
        Ok(Value::Nil)
    })
    .with_rest(Any),
    Function::new("all", &[], |heap, arguments| {
        for value in arguments {
            if !heap.truth(&value)? {
                return Ok(Value::Bool(false));
            }
        }
        Ok(Value::Bool(true))
    })
    .with_rest(Any),
    Function::new("any", &[], |heap, arguments| {
        for value in arguments {
            if heap.truth(&value)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    })
    .with_rest(Any),
    Function::new("ternary", &[Any, Any, Bool], |_, arguments| {
        let [yes, no, which] = take(arguments)?;
        Ok(if flag(&which)? { yes } else { no })
    }),
    Function::new("toString", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        let shown = print::shown(heap, &value)?;
        heap.text(shown)
    }),
    Function::new("kindOf", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        heap.text(kind(&value).as_bytes().to_vec())
    }),
    Function::new("kindIs", &[Text, Any], |_, arguments| {
        let [name, value] = take(arguments)?;
        Ok(Value::Bool(text(&name)?.bytes() == kind(&value).as_bytes()))
    }),
    Function::new("typeOf", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        let name = type_name(heap, &value)?;
        heap.text(name.as_bytes().to_vec())
    }),
    Function::new("typeIs", &[Text, Any], type_is),
    Function::new("typeIsLike", &[Text, Any], |heap, arguments| {
        if let Some(Value::Version(_)) = arguments.get(1) {
            return Err(unsupported("the type of a pointer"));
        }
        type_is(heap, arguments)
    }),
    Function::new("deepEqual", &[Any, Any], |heap, arguments| {
        let [a, b] = take(arguments)?;
        deep_equal(heap, &a, &b, 0).map(Value::Bool)
    }),
];

fn type_is(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [name, value] = take(arguments)?;
    let own = type_name(heap, &value)?;
    Ok(Value::Bool(text(&name)?.bytes() == own.as_bytes()))
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil | Value::NilElement => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Int64(_) => "int64",
        Value::Uint64(_) => "uint64",
        Value::Float(_) => "float64",
        Value::Time(_) => "struct",
        Value::Version(_) => "ptr",
        Value::Text(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
    }
}

fn type_name(heap: &Heap, value: &Value) -> Result<&'static str, Failure> {
    Ok(match value {
        Value::Nil | Value::NilElement => "<nil>",
        Value::List(list) => match list.of {
            Of::Any => "[]interface {}",
            Of::Text => "[]string",
            Of::Int => "[]int",
        },
        Value::Map(id) => match heap.get(*id)?.of {
            Of::Text => "map[string]string",
            _ => "map[string]interface {}",
        },
        Value::Time(_) => "time.Time",
        Value::Version(_) => "*semver.Version",
        value => kind(value),
    })
}

/// Compares values and their types recursively.
pub(super) fn deep_equal(
    heap: &mut Heap,
    a: &Value,
    b: &Value,
    depth: usize,
) -> Result<bool, Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::unverifiable("deep nesting"));
    }
    heap.step(1)?;
    match (a, b) {
        (Value::Nil | Value::NilElement, Value::Nil | Value::NilElement) => Ok(true),
        (Value::Time(_) | Value::Version(_), _) | (_, Value::Time(_) | Value::Version(_)) => {
            Err(unsupported("a comparison of times or versions"))
        }
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Uint64(a), Value::Uint64(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) | (Value::Int64(a), Value::Int64(b)) => Ok(a == b),
        #[expect(clippy::float_cmp, reason = "Go compares them like this")]
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => {
            heap.read(a.bytes().len().min(b.bytes().len()))?;
            Ok(a.bytes() == b.bytes())
        }
        (Value::List(a), Value::List(b)) => {
            if a.of != b.of || a.nil != b.nil || a.items().len() != b.items().len() {
                return Ok(false);
            }
            for (a, b) in a.ordered()?.iter().zip(b.ordered()?) {
                if !deep_equal(heap, a, b, depth + 1)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Map(a), Value::Map(b)) if a == b => Ok(true),
        (Value::Map(a), Value::Map(b)) => {
            let (a, b) = (heap.get(*a)?, heap.get(*b)?);
            let keys = a.entries.keys().map(|key| key.len() + 1).sum();
            heap.read(keys)?;
            if a.of != b.of || a.nil != b.nil || !a.entries.keys().eq(b.entries.keys()) {
                return Ok(false);
            }
            let pairs: Vec<_> = a
                .entries
                .values()
                .cloned()
                .zip(b.entries.values().cloned())
                .collect();
            for (a, b) in pairs {
                if !deep_equal(heap, &a, &b, depth + 1)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}
