//! The order in which the operator writes the keys of a map: letters after other characters, numbers by their value.

use super::{Failure, Heap, unknown};

/// The number of keys up to which Go sorts by insertion, so that the result is the same even if the order has cycles.
const SORTED_BY_INSERTION: usize = 12;

/// Sorts the keys.
pub(super) fn sort<T>(
    heap: &mut Heap,
    entries: Vec<(String, T)>,
) -> Result<Vec<(String, T)>, Failure> {
    let ascii = entries.iter().all(|(key, _)| key.is_ascii());
    if entries.len() > 1 && !ascii {
        return Err(Failure::unverifiable(
            "the order of keys with non-ASCII characters",
        ));
    }
    let mut sorted: Vec<(String, T)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut at = sorted.len();
        while let Some((before, _)) = at.checked_sub(1).and_then(|before| sorted.get(before)) {
            heap.step(1)?;
            if !is_less(entry.0.as_bytes(), before.as_bytes())? {
                break;
            }
            at -= 1;
        }
        sorted.insert(at, entry);
    }
    if sorted.len() > SORTED_BY_INSERTION {
        for (index, (key, _)) in sorted.iter().enumerate() {
            for (later, _) in sorted.iter().skip(index + 1) {
                heap.step(1)?;
                if is_less(later.as_bytes(), key.as_bytes())? {
                    return Err(unknown());
                }
            }
        }
    }
    Ok(sorted)
}

fn is_less(a: &[u8], b: &[u8]) -> Result<bool, Failure> {
    let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) else {
        return Ok(a.len() < b.len());
    };
    let first = |of: &[u8]| of.get(at).copied().unwrap_or_default();
    let (first_a, first_b) = (first(a), first(b));
    match (first_a.is_ascii_alphabetic(), first_b.is_ascii_alphabetic()) {
        (true, true) => return Ok(first_a < first_b),
        (true, false) | (false, true) => return Ok(first_b.is_ascii_alphabetic()),
        (false, false) => {}
    }
    let before = a.get(..at).unwrap_or_default();
    let digits_before = before.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let zero = first_a == b'0' || first_b == b'0';
    let within_number = zero && digits_before.into_iter().any(|byte| *byte != b'0');
    let start = i64::from(within_number);
    let (number_a, end_a) = number(a, at, start)?;
    let (number_b, end_b) = number(b, at, start)?;
    Ok((number_a, end_a, first_a) < (number_b, end_b, first_b))
}

/// Returns the number that the digits from here on continue, and its end.
fn number(text: &[u8], from: usize, start: i64) -> Result<(i64, usize), Failure> {
    let mut number = start;
    let mut end = from;
    while let Some(digit) = text.get(end).filter(|byte| byte.is_ascii_digit()) {
        let next = number.checked_mul(10);
        number = next
            .and_then(|number| number.checked_add(i64::from(*digit - b'0')))
            .ok_or_else(unknown)?;
        end += 1;
    }
    Ok((number, end))
}
