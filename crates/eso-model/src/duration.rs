//! Durations in Go's format (`1h0m0s`, `1.5h`, `300ms`), which Kubernetes users also write.

use std::{fmt, str::FromStr, time::Duration};

/// The error for text that is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a duration; {}", Self::HINT)]
pub struct InvalidDuration;

impl InvalidDuration {
    /// Shows the correct form.
    pub const HINT: &str = "write it like `30s`, `5m` or `1h30m`";
}

/// A duration that is parsed and printed in Go's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// Units in nanoseconds. Integers, so that a printed duration parses back exactly.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The longest duration that Go can represent: an `i64` of nanoseconds.
const MAX_NANOS: u128 = i64::MAX as u128;

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    /// Accepts what Go's `time.ParseDuration` accepts, except negative durations.
    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(InvalidDuration);
        }
        let mut nanos = 0_u128;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| c != '.' && !c.is_ascii_digit())
                .ok_or(InvalidDuration)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            let (_, scale) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or(InvalidDuration)?;
            nanos += scaled(number, *scale).ok_or(InvalidDuration)?;
            if nanos > MAX_NANOS {
                return Err(InvalidDuration);
            }
            rest = tail;
        }
        let nanos = u64::try_from(nanos).map_err(|_| InvalidDuration)?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

/// Converts a decimal number of a unit to nanoseconds. Digits below one nanosecond are dropped, as in Go.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    if whole > MAX_NANOS || fraction.contains('.') {
        return None;
    }
    let fraction = fraction.get(..fraction.len().min(18))?;
    let parts: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let of = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole * scale + parts * scale / of)
}

impl fmt::Display for GoDuration {
    /// Prints without the zero units that Go prints: `1h`, `1h30m`, `1.5s`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if whole == 0 && nanos > 0 {
            let (unit, scale, width) = match nanos {
                1_000_000.. => ("ms", 1_000_000, 6),
                1_000.. => ("µs", 1_000, 3),
                _ => ("ns", 1, 0),
            };
            return write!(
                f,
                "{}{}{unit}",
                nanos / scale,
                Fraction {
                    parts: nanos % scale,
                    width
                }
            );
        }
        let (hours, minutes, seconds) = (whole / 3600, whole % 3600 / 60, whole % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if seconds > 0 || nanos > 0 || whole == 0 {
            write!(
                f,
                "{seconds}{}s",
                Fraction {
                    parts: nanos,
                    width: 9
                }
            )?;
        }
        Ok(())
    }
}

impl serde::Serialize for GoDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for GoDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A decimal fraction: 500 with width 3 prints as `.5`, zero as nothing.
struct Fraction {
    parts: u32,
    width: usize,
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts == 0 {
            return Ok(());
        }
        let digits = format!("{:0width$}", self.parts, width = self.width);
        write!(f, ".{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Duration, InvalidDuration> {
        text.parse::<GoDuration>().map(|duration| duration.0)
    }

    #[test]
    fn parses_what_go_parses() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("1h0m0s", 3_600_000),
            ("1.5h", 5_400_000),
            ("90s", 90_000),
            ("1h15m30.918s", 4_530_918),
            ("300ms", 300),
            ("+5m", 300_000),
            (".5s", 500),
            ("5.s", 5_000),
            ("2000µs", 2),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn rejects_what_go_rejects() {
        for text in [
            "",
            "5",
            "5 m",
            "1d",
            "-1s",
            "m",
            "1h-5m",
            ".s",
            "1..5s",
            "1.5.s",
            "1e3s",
            "9999999999999999999999h",
            "2562048h",
        ] {
            assert_eq!(parse(text), Err(InvalidDuration), "{text}");
        }
    }

    #[test]
    fn printed_short_form_parses_back() {
        for (text, shown) in [
            ("1h0m0s", "1h"),
            ("90s", "1m30s"),
            ("0", "0s"),
            ("1500ms", "1.5s"),
            ("250ms", "250ms"),
            ("2us", "2µs"),
            ("1h0.5s", "1h0.5s"),
        ] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(duration.to_string(), shown);
            assert_eq!(shown.parse(), Ok(duration));
        }
    }

    proptest! {
        #[test]
        fn every_printed_duration_parses_back_exactly(nanos in 0..=i64::MAX.unsigned_abs()) {
            let duration = GoDuration(Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _read: Result<GoDuration, _> = text.parse();
        }
    }
}
