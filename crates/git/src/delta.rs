//! Deltas: an object as copies from another object and new bytes.

use secret::{Buffer, Value};

use crate::{budget::Budget, refusal::Refused};

/// Applies a delta to its base.
pub(crate) fn apply(base: &[u8], delta: &[u8], budget: &mut Budget) -> Result<Value, Refused> {
    let invalid = || Refused::damaged("the server sent an invalid delta");
    let (base_size, rest) = size_of(delta).ok_or_else(invalid)?;
    let (size, mut rest) = size_of(rest).ok_or_else(invalid)?;
    if base_size != base.len() {
        return Err(invalid());
    }
    budget.take(size)?;
    let mut result = Buffer::with_capacity(size);
    while let Some((&operation, after)) = rest.split_first() {
        rest = after;
        let part = if operation & 0x80 == 0 {
            // Zero is reserved.
            let length = usize::from(operation);
            let (part, after) = rest.split_at_checked(length).ok_or_else(invalid)?;
            rest = after;
            if part.is_empty() { None } else { Some(part) }
        } else {
            let (from, length) = copied(operation, &mut rest).ok_or_else(invalid)?;
            base.get(from..from + length)
        };
        let part = part.ok_or_else(invalid)?;
        if result.as_bytes().len() + part.len() > size {
            return Err(invalid());
        }
        result.push(part);
    }
    if result.as_bytes().len() == size {
        Ok(result.finish())
    } else {
        Err(invalid())
    }
}

/// A number in groups of seven bits, the lowest first.
fn size_of(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut size = 0_usize;
    let mut rest = bytes;
    for shift in (0..).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        // No number here is larger than a size that is accepted.
        if shift > 35 {
            return None;
        }
        size |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((size, rest))
}

/// The offset and the length of a copy. Each of the seven lower bits of the operation announces a byte.
fn copied(operation: u8, rest: &mut &[u8]) -> Option<(usize, usize)> {
    let mut number = |bits: std::ops::Range<u8>| {
        let mut value = 0_usize;
        for (place, bit) in bits.enumerate() {
            if operation & (1 << bit) != 0 {
                let (&byte, after) = rest.split_first()?;
                *rest = after;
                value |= usize::from(byte) << (8 * place);
            }
        }
        Some(value)
    };
    let from = number(0..4)?;
    let length = number(4..7)?;
    Some((from, if length == 0 { 0x1_0000 } else { length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
        let result = apply(base, delta, &mut Budget::new(1 << 20));
        result.ok().map(|value| value.expose().to_vec())
    }

    #[test]
    fn deltas_copy_and_insert() {
        // Copies 3 bytes from offset 1, then inserts "x".
        let delta = [6, 4, 0x91, 1, 3, 1, b'x'];
        assert_eq!(applied(b"abcdef", &delta).as_deref(), Some(&b"bcdx"[..]));
        // Without a length, a copy has 65,536 bytes.
        let base = vec![7; 0x1_0000];
        let delta = [0x80, 0x80, 4, 0x80, 0x80, 4, 0x80];
        assert_eq!(applied(&base, &delta), Some(base.clone()));
    }

    #[test]
    fn deltas_that_leave_their_base_or_their_size_are_refused() {
        for delta in [
            &[5, 4, 0x91, 1, 3, 1, b'x'][..], // another base
            &[6, 4, 0x91, 4, 3, 1, b'x'],     // beyond the base
            &[6, 5, 0x91, 1, 3, 1, b'x'],     // too short
            &[6, 3, 0x91, 1, 3, 1, b'x'],     // too long
            &[6, 4, 0x91, 1, 3, 0],           // a reserved operation
            &[6, 4, 0x91, 1, 3, 2, b'x'],     // cut off
            &[6, 4, 0x91, 1],                 // cut off
            &[6, 0xff, 0xff],                 // no size
            &[],
        ] {
            assert_eq!(applied(b"abcdef", delta), None, "{delta:?}");
        }
    }

    #[test]
    fn a_delta_announces_at_most_what_is_left() {
        let delta = [6, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(apply(b"abcdef", &delta, &mut Budget::new(1 << 20)).is_err());
    }
}
