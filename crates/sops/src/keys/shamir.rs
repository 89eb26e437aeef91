//! Shamir's secret sharing over GF(2⁸), as in SOPS: it combines the parts of several key groups.

use secret::{Buffer, Value};

use crate::refusal::{Reason, Refused};

/// Combines parts. The last byte of each is its x coordinate.
pub(super) fn combine(parts: &[Value]) -> Result<Value, Refused> {
    let split: Option<Vec<(&[u8], u8)>> = parts
        .iter()
        .map(|part| part.expose().split_last().map(|(x, ys)| (ys, *x)))
        .collect();
    let split = split.ok_or(Reason::InvalidDataKey)?;
    let length = split.first().map_or(0, |(ys, _)| ys.len());
    for (index, (ys, x)) in split.iter().enumerate() {
        let is_repeated = split.iter().skip(index + 1).any(|(_, other)| other == x);
        if ys.len() != length || is_repeated {
            return Err(Reason::InvalidDataKey.into());
        }
    }
    let mut key = Buffer::with_capacity(length);
    for byte in 0..length {
        // Lagrange's interpolation at x = 0. Subtraction is XOR.
        let sum = split.iter().fold(0, |sum, (ys, x)| {
            let basis = split
                .iter()
                .filter(|(_, other)| other != x)
                .fold(1, |basis, (_, other)| {
                    multiply(basis, multiply(*other, inverse(x ^ other)))
                });
            sum ^ multiply(ys.get(byte).copied().unwrap_or_default(), basis)
        });
        key.push(&[sum]);
    }
    Ok(key.finish())
}

/// Multiplies in constant time, modulo x⁸ + x⁴ + x³ + x + 1.
fn multiply(a: u8, b: u8) -> u8 {
    (0..8).rev().fold(0, |product: u8, bit| {
        let summand = 0_u8.wrapping_sub(b >> bit & 1) & a;
        let reduction = 0_u8.wrapping_sub(product >> 7) & 0x1b;
        summand ^ reduction ^ (product << 1)
    })
}

/// The inverse of a number that is not zero: its 254th power.
fn inverse(a: u8) -> u8 {
    (0..253).fold(a, |power, _| multiply(power, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_that_of_the_field() {
        // FIPS 197, section 4.2.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1);
        }
    }

    /// Splits with the polynomial `byte + 7x + 9x²`.
    fn split(secret: &[u8], x: u8) -> Value {
        let mut part: Vec<u8> = secret
            .iter()
            .map(|byte| byte ^ multiply(7, x) ^ multiply(9, multiply(x, x)))
            .collect();
        part.push(x);
        Value::new(part)
    }

    #[test]
    fn three_parts_give_the_secret_and_two_do_not() {
        let secret = [0, 1, 0x80, 0xff];
        let [a, b, c] = [1, 2, 5].map(|x| split(&secret, x));
        let both = [a.duplicate(), b.duplicate()];
        assert_ne!(combine(&both).expect("a value").expose(), secret);
        let all = combine(&[c, a, b]).expect("the secret");
        assert_eq!(all.expose(), secret);
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let part = |bytes: &[u8]| Value::from(bytes);
        for parts in [
            vec![part(&[1, 1]), part(&[2, 1])],
            vec![part(&[1, 1]), part(&[2, 2, 2])],
            vec![part(&[1, 1]), part(&[])],
        ] {
            let refused = combine(&parts).err().expect("an error");
            assert_eq!(refused.reason, Reason::InvalidDataKey);
        }
    }
}
