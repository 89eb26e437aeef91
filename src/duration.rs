//! Durations as Go writes and reads them (`1h0m0s`, `1.5h`, `300ms`), which is how Kubernetes users write them too.

use std::{fmt, str::FromStr, time::Duration};

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a duration; write it like `30s`, `5m` or `1h30m`")]
pub struct InvalidDuration;

/// A span of time that reads and prints in Go's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    /// Reads what Go's `time.ParseDuration` reads, save negative spans, which mean nothing here.
    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(InvalidDuration);
        }
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or(InvalidDuration)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            let number: f64 = number.parse().map_err(|_| InvalidDuration)?;
            let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidDuration)?;
            seconds += number * scale;
            rest = tail;
        }
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| InvalidDuration)
    }
}

impl fmt::Display for GoDuration {
    /// Prints without the zero units that Go keeps: `1h`, `1h30m`, `1.5s`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_secs();
        if whole == 0 && self.0.subsec_nanos() > 0 {
            return write!(f, "{}ms", self.0.as_secs_f64() * 1000.0);
        }
        let (hours, minutes, seconds) = (whole / 3600, whole % 3600 / 60, whole % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        let fraction = f64::from(self.0.subsec_nanos()) / 1e9;
        if fraction > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "less than 60")]
            return write!(f, "{}s", seconds as f64 + fraction);
        }
        if seconds > 0 || whole == 0 {
            write!(f, "{seconds}s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Duration, InvalidDuration> {
        text.parse::<GoDuration>().map(|duration| duration.0)
    }

    #[test]
    fn reads_what_go_reads() {
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
            ("2000µs", 2),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "5", "5 m", "1d", "-1s", "m", "1h-5m", ".s", "1..5s", "1e3s", "9999999999999999999999h"] {
            assert_eq!(parse(text), Err(InvalidDuration), "{text}");
        }
    }

    #[test]
    fn prints_the_short_form_and_reads_it_back() {
        for (text, shown) in [("1h0m0s", "1h"), ("90s", "1m30s"), ("0", "0s"), ("1500ms", "1.5s"), ("250ms", "250ms")] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(duration.to_string(), shown);
            assert_eq!(shown.parse(), Ok(duration));
        }
    }
}
