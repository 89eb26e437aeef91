//! Arithmetic.

use super::{
    Function,
    Parameter::{Any, Float, Int},
    refused, take, unsupported,
};
use crate::template::{
    Failure,
    integer::{self, parse_int},
    print,
    value::{Heap, Value},
};

mod decimal;

pub(super) const TABLE: &[Function] = &[
    Function::new("int", &[Any], |_, arguments| {
        let [value] = take(arguments)?;
        to_int(&value).map(Value::Int)
    }),
    Function::new("int64", &[Any], |_, arguments| {
        let [value] = take(arguments)?;
        to_int(&value).map(Value::Int64)
    }),
    Function::new("float64", &[Any], |_, arguments| {
        let [value] = take(arguments)?;
        to_float(&value).map(Value::Float)
    }),
    Function::new("atoi", &[super::Parameter::Text], |_, arguments| {
        let [value] = take(arguments)?;
        atoi(super::text(&value)?.bytes()).map(Value::Int)
    }),
    Function::new("add", &[], |_, arguments| {
        arguments
            .iter()
            .try_fold(0_i64, |sum, value| Ok(sum.wrapping_add(to_int(value)?)))
            .map(Value::Int64)
    })
    .with_rest(Any),
    Function::new("add1", &[Any], |_, arguments| {
        let [value] = take(arguments)?;
        Ok(Value::Int64(to_int(&value)?.wrapping_add(1)))
    }),
    Function::new("sub", &[Any, Any], |_, arguments| {
        let [a, b] = take(arguments)?;
        Ok(Value::Int64(to_int(&a)?.wrapping_sub(to_int(&b)?)))
    }),
    Function::new("mul", &[Any], |_, arguments| {
        arguments
            .iter()
            .try_fold(1_i64, |product, value| {
                Ok(product.wrapping_mul(to_int(value)?))
            })
            .map(Value::Int64)
    })
    .with_rest(Any),
    Function::new("div", &[Any, Any], |_, arguments| {
        let [a, b] = take(arguments)?;
        divide(&a, &b, i64::wrapping_div)
    }),
    Function::new("mod", &[Any, Any], |_, arguments| {
        let [a, b] = take(arguments)?;
        divide(&a, &b, i64::wrapping_rem)
    }),
    Function::new("max", &[Any], |_, arguments| extreme(&arguments, i64::max)).with_rest(Any),
    Function::new("biggest", &[Any], |_, arguments| {
        extreme(&arguments, i64::max)
    })
    .with_rest(Any),
    Function::new("min", &[Any], |_, arguments| extreme(&arguments, i64::min)).with_rest(Any),
    Function::new("floor", &[Any], |_, arguments| {
        let [value] = take(arguments)?;
        Ok(Value::Float(to_float(&value)?.floor()))
    }),
    Function::new("ceil", &[Any], |_, arguments| {
        let [value] = take(arguments)?;
        Ok(Value::Float(to_float(&value)?.ceil()))
    }),
    Function::new("maxf", &[Any], |_, arguments| {
        extreme_float(&arguments, f64::max)
    })
    .with_rest(Any),
    Function::new("minf", &[Any], |_, arguments| {
        extreme_float(&arguments, f64::min)
    })
    .with_rest(Any),
    Function::new("round", &[Any, Int], round).with_rest(Float),
    Function::new("toDecimal", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        let shown = print::shown(heap, &value)?;
        Ok(Value::Int64(parse_int(&shown, 8).unwrap_or(0)))
    }),
    Function::new("add1f", &[Any], |_, arguments| {
        let [value] = take(arguments)?;
        decimal::fold(to_float(&value)?, &[1.0], decimal::add).map(Value::Float)
    }),
    Function::new("addf", &[], |_, arguments| {
        decimals(&arguments, Some(0.0), decimal::add)
    })
    .with_rest(Any),
    Function::new("subf", &[Any], |_, arguments| {
        decimals(&arguments, None, decimal::sub)
    })
    .with_rest(Any),
    Function::new("mulf", &[Any], |_, arguments| {
        decimals(&arguments, None, decimal::mul)
    })
    .with_rest(Any),
    Function::new("divf", &[Any], |_, arguments| {
        decimals(&arguments, None, decimal::div)
    })
    .with_rest(Any),
];

/// Computes with decimal fractions, from the left to the right.
fn decimals(
    arguments: &[Value],
    first: Option<f64>,
    operation: decimal::Operation,
) -> Result<Value, Failure> {
    let mut numbers = first
        .map(Ok)
        .into_iter()
        .chain(arguments.iter().map(to_float));
    let first = numbers.next().ok_or_else(refused)??;
    let rest = numbers.collect::<Result<Vec<_>, _>>()?;
    decimal::fold(first, &rest, operation).map(Value::Float)
}

/// Rounds to a number of decimal places: up if the rest is at least the third argument, which is one half by default.
fn round(_: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [value, places, rest @ ..] = arguments.as_slice() else {
        return Err(refused());
    };
    let up_from = match rest.first() {
        Some(Value::Float(up_from)) => *up_from,
        Some(_) => return Err(refused()),
        None => 0.5,
    };
    // Powers of ten are exact up to this one.
    let places = i32::try_from(super::int(places)?)
        .ok()
        .filter(|places| places.abs() <= 22)
        .ok_or_else(|| unsupported("a number of this size"))?;
    let power = if places < 0 {
        1.0 / 10_f64.powi(-places)
    } else {
        10_f64.powi(places)
    };
    let shifted = power * to_float(value)?;
    let rounded = if shifted.fract() >= up_from {
        shifted.ceil()
    } else {
        shifted.floor()
    };
    Ok(Value::Float(rounded / power))
}

fn divide(a: &Value, b: &Value, divide: fn(i64, i64) -> i64) -> Result<Value, Failure> {
    let (a, b) = (to_int(a)?, to_int(b)?);
    if b == 0 {
        return Err(refused());
    }
    Ok(Value::Int64(divide(a, b)))
}

fn extreme(values: &[Value], of: fn(i64, i64) -> i64) -> Result<Value, Failure> {
    let numbers = values.iter().map(to_int).collect::<Result<Vec<_>, _>>()?;
    let extreme = numbers.into_iter().reduce(of);
    extreme.map(Value::Int64).ok_or_else(refused)
}

fn extreme_float(values: &[Value], of: fn(f64, f64) -> f64) -> Result<Value, Failure> {
    let numbers = values.iter().map(to_float).collect::<Result<Vec<_>, _>>()?;
    let extreme = numbers.into_iter().reduce(of).ok_or_else(refused)?;
    // Go distinguishes negative zero from zero.
    if extreme == 0.0 {
        return Err(unsupported("the sign of zero"));
    }
    Ok(Value::Float(extreme))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "same conversion as in Go; the value is in range"
)]
pub(super) fn to_int(value: &Value) -> Result<i64, Failure> {
    match value {
        Value::Int(value) | Value::Int64(value) => Ok(*value),
        Value::Uint64(value) => {
            i64::try_from(*value).map_err(|_| unsupported("a number of this size"))
        }
        Value::Float(value) if value.abs() < 9e18 => Ok(*value as i64),
        Value::Float(_) => Err(unsupported("a number of this size")),
        Value::Bool(value) => Ok(i64::from(*value)),
        Value::Text(text) if text.bytes().is_empty() => Ok(0),
        Value::Text(text) => integer::of_text(text.bytes())
            .ok_or_else(|| unsupported("a fraction where an integer is expected")),
        Value::Nil
        | Value::NilElement
        | Value::List(_)
        | Value::Map(_)
        | Value::Time(_)
        | Value::Version(_) => Ok(0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "same conversion as in Go")]
fn to_float(value: &Value) -> Result<f64, Failure> {
    match value {
        Value::Int(value) | Value::Int64(value) => Ok(*value as f64),
        Value::Uint64(value) => Ok(*value as f64),
        Value::Float(value) => Ok(*value),
        Value::Bool(value) => Ok(if *value { 1.0 } else { 0.0 }),
        Value::Text(text) => float_of_text(text.bytes()),
        Value::Nil
        | Value::NilElement
        | Value::List(_)
        | Value::Map(_)
        | Value::Time(_)
        | Value::Version(_) => Ok(0.0),
    }
}

/// Parses a float64 like Go, which uses 0 for text that is not a number.
fn float_of_text(text: &[u8]) -> Result<f64, Failure> {
    let unknown = || unsupported("this number format");
    let unsigned = text
        .strip_prefix(b"-")
        .or_else(|| text.strip_prefix(b"+"))
        .unwrap_or(text);
    let decimal = text
        .iter()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'));
    if decimal {
        let text = std::str::from_utf8(text).map_err(|_| unknown())?;
        let number: f64 = text.parse().unwrap_or(0.0);
        return if number.is_finite() {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let special = [&b"inf"[..], b"infinity", b"nan"]
        .iter()
        .any(|word| unsigned.eq_ignore_ascii_case(word));
    let hexadecimal = unsigned
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"0x"));
    let separated = text.contains(&b'_') && text.iter().any(u8::is_ascii_digit);
    if special || hexadecimal || separated {
        return Err(unknown());
    }
    Ok(0.0)
}

/// Go's `Atoi` without its error: 0 for text that is not a number, the largest or smallest integer if out of range.
fn atoi(text: &[u8]) -> Result<i64, Failure> {
    let signed = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+"));
    let digits = signed.unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Ok(0);
    }
    let text = std::str::from_utf8(text).map_err(|_| refused())?;
    Ok(text.parse().unwrap_or(if text.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    }))
}
