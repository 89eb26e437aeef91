//! Decimal fractions of any length, as the operator's library computes with them: exact, except for the quotient, which has
//! 16 decimal places. Numbers that do not fit into 128 bits are unverifiable.

use super::unsupported;
use crate::{gojson::number::digits, template::Failure};

/// The decimal places of a quotient.
const PLACES: u32 = 16;

/// `value × 10^exponent`.
#[derive(Clone, Copy)]
pub(super) struct Decimal {
    value: i128,
    exponent: i32,
}

pub(super) type Operation = fn(Decimal, Decimal) -> Option<Decimal>;

impl Decimal {
    /// The shortest decimal fraction that stands for this float.
    fn from_float(number: f64) -> Option<Self> {
        if !number.is_finite() {
            return None;
        }
        if number == 0.0 {
            return Some(Self {
                value: 0,
                exponent: 0,
            });
        }
        let (digits, exponent) = digits(number);
        let value: i128 = digits.parse().ok()?;
        let places = i32::try_from(digits.len()).ok()? - 1;
        Some(Self {
            value: if number.is_sign_negative() {
                -value
            } else {
                value
            },
            exponent: exponent - places,
        })
    }

    /// Returns the same number with a smaller exponent.
    fn scaled(self, exponent: i32) -> Option<i128> {
        let places = u32::try_from(self.exponent - exponent).ok()?;
        self.value.checked_mul(10_i128.checked_pow(places)?)
    }

    fn to_float(self) -> Option<f64> {
        format!("{}e{}", self.value, self.exponent)
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
    }
}

/// Applies an operation from the left to the right.
pub(super) fn fold(first: f64, rest: &[f64], operation: Operation) -> Result<f64, Failure> {
    let compute = || {
        let mut result = Decimal::from_float(first)?;
        for number in rest {
            result = operation(result, Decimal::from_float(*number)?)?;
        }
        result.to_float()
    };
    compute().ok_or_else(|| unsupported("a number of this size, or a division by zero"))
}

fn aligned(a: Decimal, b: Decimal, operation: fn(i128, i128) -> Option<i128>) -> Option<Decimal> {
    let exponent = a.exponent.min(b.exponent);
    Some(Decimal {
        value: operation(a.scaled(exponent)?, b.scaled(exponent)?)?,
        exponent,
    })
}

pub(super) fn add(a: Decimal, b: Decimal) -> Option<Decimal> {
    aligned(a, b, i128::checked_add)
}

pub(super) fn sub(a: Decimal, b: Decimal) -> Option<Decimal> {
    aligned(a, b, i128::checked_sub)
}

pub(super) fn mul(a: Decimal, b: Decimal) -> Option<Decimal> {
    Some(Decimal {
        value: a.value.checked_mul(b.value)?,
        exponent: a.exponent.checked_add(b.exponent)?,
    })
}

/// Divides, and rounds the last place half away from zero.
pub(super) fn div(a: Decimal, b: Decimal) -> Option<Decimal> {
    let places = i32::try_from(PLACES).ok()?;
    let shift = a.exponent.checked_sub(b.exponent)?.checked_add(places)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    let (above, below) = if shift < 0 {
        (a.value, b.value.checked_mul(power)?)
    } else {
        (a.value.checked_mul(power)?, b.value)
    };
    let quotient = above.checked_div(below)?;
    let rest = above.checked_rem(below)?;
    let up = rest.unsigned_abs().checked_mul(2)? >= below.unsigned_abs();
    let away = if (above < 0) == (below < 0) { 1 } else { -1 };
    Some(Decimal {
        value: if up { quotient + away } else { quotient },
        exponent: -places,
    })
}
