//! The shortest decimal text of a float64, as Go's `strconv` formats it. Rust differs when two texts are equally short
//! and equally close.

/// Returns the shortest digits that identify the number, and the decimal exponent of the first digit.
pub(crate) fn digits(value: f64) -> (String, i32) {
    let value = value.abs();
    let mut text = format!("{value:e}");
    let (mantissa, _) = text.split_once('e').unwrap_or((&text, ""));
    let decimals = mantissa.len().saturating_sub(2);
    // If two texts are equally short and equally close, Go uses the one with an even last digit.
    let nearest = format!("{value:.decimals$e}");
    if nearest.parse() == Ok(value) {
        text = nearest;
    }
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (
        mantissa.replace('.', ""),
        exponent.parse().unwrap_or_default(),
    )
}

/// Formats the number without an exponent.
pub(crate) fn plain(value: f64) -> String {
    let (digits, exponent) = digits(value);
    let mut text = String::new();
    if value.is_sign_negative() {
        text.push('-');
    }
    let before = usize::try_from(exponent + 1).unwrap_or(0);
    if before == 0 {
        let zeros = usize::try_from(-1 - exponent).unwrap_or(0);
        text.push_str("0.");
        text.push_str(&"0".repeat(zeros));
        text.push_str(&digits);
    } else if let Some((whole, fraction)) = digits.split_at_checked(before)
        && !fraction.is_empty()
    {
        text.push_str(whole);
        text.push('.');
        text.push_str(fraction);
    } else {
        text.push_str(&digits);
        text.push_str(&"0".repeat(before.saturating_sub(digits.len())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn ties_are_formatted_with_an_even_last_digit() {
        let tie = "979736170364911.28".parse().unwrap();
        assert_eq!(plain(tie), "979736170364911.2");
        assert_eq!(plain(-0.000_001_5), "-0.0000015");
        assert_eq!(plain(1e21), "1000000000000000000000");
    }
}
