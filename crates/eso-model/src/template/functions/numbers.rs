//! Arithmetic.

use super::{Function, Parameter::Any, refused, take, unsupported};
use crate::template::{Failure, value::Value};

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
];

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

/// Returns plain decimal digits with an optional minus sign, which all versions of the operator parse in the same way.
fn plain(text: &[u8]) -> Option<&str> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let leads = digits.len() > 1 && digits.first() == Some(&b'0');
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let short = digits.len() < 19;
    if leads || !all || !short {
        return None;
    }
    std::str::from_utf8(text).ok()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "same conversion as in Go; the value is in range"
)]
pub(super) fn to_int(value: &Value) -> Result<i64, Failure> {
    match value {
        Value::Int(value) | Value::Int64(value) => Ok(*value),
        Value::Float(value) if value.abs() < 9e18 => Ok(*value as i64),
        Value::Float(_) => Err(unsupported("a number of this size")),
        Value::Bool(value) => Ok(i64::from(*value)),
        Value::Text(text) if text.bytes().is_empty() => Ok(0),
        Value::Text(text) => match plain(text.bytes()) {
            Some(digits) => digits
                .parse()
                .map_err(|_| unsupported("this number format")),
            // Without any digit, all versions return 0.
            None if !text.bytes().iter().any(u8::is_ascii_digit) => Ok(0),
            None => Err(unsupported("this number format")),
        },
        Value::Nil | Value::NilElement | Value::List(_) | Value::Map(_) => Ok(0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "same conversion as in Go")]
fn to_float(value: &Value) -> Result<f64, Failure> {
    match value {
        Value::Int(value) | Value::Int64(value) => Ok(*value as f64),
        Value::Float(value) => Ok(*value),
        Value::Bool(value) => Ok(if *value { 1.0 } else { 0.0 }),
        Value::Text(text) if text.bytes().is_empty() => Ok(0.0),
        Value::Text(text) => {
            let decimal = text
                .bytes()
                .iter()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
            let number = text.utf8().ok().filter(|_| decimal);
            number
                .and_then(|number| number.parse().ok())
                .ok_or_else(|| unsupported("this number format"))
        }
        Value::Nil | Value::NilElement | Value::List(_) | Value::Map(_) => Ok(0.0),
    }
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
