//! Go's built-in functions: comparisons, `index`, `len`, printing.

use super::{
    Function,
    Parameter::{Any, Text},
    flag, printf, refused, take, unsupported,
};
use crate::template::{
    Failure, print,
    value::{Heap, Of, Value},
};

pub(super) const TABLE: &[Function] = &[
    // `and` and `or` are evaluated by the caller, because they do not evaluate all arguments.
    Function::new("and", &[Any], evaluated_by_caller)
        .with_rest(Any)
        .in_any_order(),
    Function::new("or", &[Any], evaluated_by_caller)
        .with_rest(Any)
        .in_any_order(),
    Function::new("not", &[Any], not).in_any_order(),
    Function::new("len", &[Any], len).in_any_order(),
    Function::new("index", &[Any], index).with_rest(Any),
    Function::new("eq", &[Any], eq).with_rest(Any),
    Function::new("ne", &[Any, Any], ne),
    Function::new("lt", &[Any, Any], |_, arguments| {
        let [a, b] = take(arguments)?;
        less(&a, &b).map(Value::Bool)
    }),
    Function::new("le", &[Any, Any], |_, arguments| {
        let [a, b] = take(arguments)?;
        at_most(&a, &b).map(Value::Bool)
    }),
    Function::new("gt", &[Any, Any], |_, arguments| {
        let [a, b] = take(arguments)?;
        at_most(&a, &b).map(|at_most| Value::Bool(!at_most))
    }),
    Function::new("ge", &[Any, Any], |_, arguments| {
        let [a, b] = take(arguments)?;
        less(&a, &b).map(|less| Value::Bool(!less))
    }),
    Function::new("print", &[], |heap, arguments| {
        let text = joined(heap, &arguments, false)?;
        heap.text(text)
    })
    .with_rest(Any),
    Function::new("println", &[], |heap, arguments| {
        let mut text = joined(heap, &arguments, true)?;
        text.push(b'\n');
        heap.text(text)
    })
    .with_rest(Any),
    Function::new("printf", &[Text], printf::printf).with_rest(Any),
    Function::new("html", &[], html).with_rest(Any),
    Function::new("js", &[], js).with_rest(Any),
    Function::new("urlquery", &[], urlquery).with_rest(Any),
    // No value in a template is a function.
    Function::new("call", &[Any], |_, _| Err(refused())).with_rest(Any),
    Function::new("fail", &[Text], |_, _| Err(refused())),
    Function::new("hello", &[], |heap, _| heap.text(b"Hello!".to_vec())),
];

fn evaluated_by_caller(_: &mut Heap, _: Vec<Value>) -> Result<Value, Failure> {
    Err(refused())
}

fn not(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    Ok(Value::Bool(!heap.truth(&value)?))
}

fn count(length: usize) -> Result<Value, Failure> {
    i64::try_from(length).map(Value::Int).map_err(|_| refused())
}

fn len(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    match &value {
        Value::Text(text) => count(text.bytes().len()),
        Value::List(list) => count(list.items().len()),
        Value::Map(id) => count(heap.get(*id)?.entries.len()),
        _ => Err(refused()),
    }
}

fn index(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let mut arguments = arguments.into_iter();
    let mut value = arguments.next().ok_or_else(refused)?;
    if matches!(value, Value::Nil) {
        return Err(refused());
    }
    for key in arguments {
        value = match (&value, &key) {
            (Value::Map(id), Value::Text(key)) => {
                let map = heap.get(*id)?;
                match (map.entries.get(key.bytes()), map.of) {
                    (Some(value), _) => value.clone(),
                    (None, Of::Any) => Value::Nil,
                    (None, _) => heap.text(Vec::new())?,
                }
            }
            (Value::List(list), Value::Int(key) | Value::Int64(key)) => {
                let key = usize::try_from(*key).map_err(|_| refused())?;
                list.items().get(key).cloned().ok_or_else(refused)?
            }
            (Value::Text(text), Value::Int(key) | Value::Int64(key)) => {
                let key = usize::try_from(*key).map_err(|_| refused())?;
                if key >= text.bytes().len() {
                    return Err(refused());
                }
                return Err(unsupported("the index of a byte in a string"));
            }
            _ => return Err(refused()),
        };
    }
    Ok(value)
}

/// True if the values are equal. Fails for values that Go cannot compare.
fn equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    match (a, b) {
        (Value::Time(_) | Value::Version(_), _) | (_, Value::Time(_) | Value::Version(_)) => {
            Err(unsupported("a comparison of times or versions"))
        }
        (Value::Uint64(a), Value::Uint64(b)) => Ok(a == b),
        (Value::Uint64(a), Value::Int(b) | Value::Int64(b))
        | (Value::Int(b) | Value::Int64(b), Value::Uint64(a)) => {
            Ok(u64::try_from(*b).is_ok_and(|b| *a == b))
        }
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a) | Value::Int64(a), Value::Int(b) | Value::Int64(b)) => Ok(a == b),
        #[expect(clippy::float_cmp, reason = "Go compares them like this")]
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a.bytes() == b.bytes()),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, Value::List(list)) | (Value::List(list), Value::Nil) => Ok(list.nil),
        // A nil map would also equal nil, but it cannot occur here.
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::List(a), Value::List(b)) if a.nil || b.nil => Ok(a.nil == b.nil),
        _ => Err(refused()),
    }
}

fn eq(_: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let (first, rest) = arguments.split_first().ok_or_else(refused)?;
    if rest.is_empty() {
        return Err(refused());
    }
    for other in rest {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn ne(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let equal = eq(heap, arguments)?;
    Ok(Value::Bool(!flag(&equal)?))
}

fn less(a: &Value, b: &Value) -> Result<bool, Failure> {
    match (a, b) {
        (Value::Uint64(a), Value::Uint64(b)) => Ok(a < b),
        (Value::Uint64(a), Value::Int(b) | Value::Int64(b)) => {
            Ok(u64::try_from(*b).is_ok_and(|b| *a < b))
        }
        (Value::Int(a) | Value::Int64(a), Value::Uint64(b)) => {
            Ok(u64::try_from(*a).map_or(true, |a| a < *b))
        }
        (Value::Int(a) | Value::Int64(a), Value::Int(b) | Value::Int64(b)) => Ok(a < b),
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Text(a), Value::Text(b)) => Ok(a.bytes() < b.bytes()),
        _ => Err(refused()),
    }
}

fn at_most(a: &Value, b: &Value) -> Result<bool, Failure> {
    Ok(less(a, b)? || equal(a, b)?)
}

/// Joins the arguments as text, with a space between any two (`always`) or only between two that are not text.
fn joined(heap: &mut Heap, arguments: &[Value], always: bool) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let mut text_before = true;
    for (index, argument) in arguments.iter().enumerate() {
        let is_text = matches!(argument, Value::Text(_));
        if index > 0 && (always || !(is_text || text_before)) {
            output.push(b' ');
        }
        text_before = is_text;
        print::show(heap, argument, &mut output)?;
    }
    Ok(output)
}

/// Formats the arguments as an action prints them.
fn printed(heap: &mut Heap, arguments: Vec<Value>) -> Result<Vec<u8>, Failure> {
    let arguments = arguments
        .into_iter()
        .map(|argument| match argument {
            Value::Nil => heap.text(b"<no value>".to_vec()),
            argument => Ok(argument),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let text = joined(heap, &arguments, false)?;
    // An escape makes at most six bytes of one.
    heap.budget.room(text.len().saturating_mul(6))?;
    Ok(text)
}

fn html(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let text = printed(heap, arguments)?;
    let mut output = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            0 => output.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => output.extend_from_slice(b"&#34;"),
            b'\'' => output.extend_from_slice(b"&#39;"),
            b'&' => output.extend_from_slice(b"&amp;"),
            b'<' => output.extend_from_slice(b"&lt;"),
            b'>' => output.extend_from_slice(b"&gt;"),
            byte => output.push(byte),
        }
    }
    heap.text(output)
}

fn js(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let text = printed(heap, arguments)?;
    let mut output = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\\' => output.extend_from_slice(b"\\\\"),
            b'\'' => output.extend_from_slice(b"\\'"),
            b'"' => output.extend_from_slice(b"\\\""),
            b'<' | b'>' | b'&' | b'=' | 0..0x20 => {
                output.extend_from_slice(format!("\\u{byte:04X}").as_bytes());
            }
            byte if byte.is_ascii() => output.push(byte),
            _ => return Err(unsupported("non-ASCII text")),
        }
    }
    heap.text(output)
}

fn urlquery(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let text = printed(heap, arguments)?;
    let mut output = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' => output.push(b'+'),
            b'-' | b'_' | b'.' | b'~' => output.push(byte),
            byte if byte.is_ascii_alphanumeric() => output.push(byte),
            byte => output.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    heap.text(output)
}
