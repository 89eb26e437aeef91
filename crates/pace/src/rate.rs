//! Rates as people write them.

use std::{fmt, str::FromStr, time::Duration};

/// A rate above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
}

impl Rate {
    /// Returns None unless `per_second` is finite and greater than zero.
    pub fn per_second(per_second: f64) -> Option<Self> {
        (per_second.is_finite() && per_second > 0.0).then_some(Self { per_second })
    }

    /// The nearest rate from one call an hour to a million a second.
    pub const fn clamped(per_second: f64) -> Self {
        Self {
            per_second: per_second.clamp(1.0 / 3600.0, 1e6),
        }
    }

    /// Returns calls or requests per second.
    pub const fn as_per_second(self) -> f64 {
        self.per_second
    }

    /// The time that so many calls take at this rate.
    pub fn time_of(self, calls: u32) -> Duration {
        Duration::try_from_secs_f64(f64::from(calls) / self.per_second)
            .map_or(FOREVER, |time| time.min(FOREVER))
    }
}

/// Longer than any run, and short enough to be added to the current time.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// The error for an invalid rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    /// The text does not have the format of a rate.
    #[error("is not a rate")]
    Form,
    /// The rate is zero.
    #[error("must be greater than zero")]
    Zero,
    /// The rate is outside the supported range.
    #[error("must be between `1/h` and `1000000/s`")]
    Range,
}

impl InvalidRate {
    pub const HINT: &str = "write it like `20/s`, `30/min` or `100/h`";
}

/// The units of a rate in seconds. If a unit has two names, the first is printed.
const UNITS: [(&str, f64); 4] = [("s", 1.0), ("min", 60.0), ("m", 60.0), ("h", 3600.0)];

impl FromStr for Rate {
    type Err = InvalidRate;

    /// Reads `20/s`, `0.5/s`, `30/min`, `30/m`, `100/h`.
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (number, unit) = text.split_once('/').ok_or(InvalidRate::Form)?;
        if number.contains(|c: char| c != '.' && !c.is_ascii_digit()) {
            return Err(InvalidRate::Form);
        }
        let number: f64 = number.parse().map_err(|_| InvalidRate::Form)?;
        let (_, seconds) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(InvalidRate::Form)?;
        let per_second = number / seconds;
        if per_second == 0.0 {
            return Err(InvalidRate::Zero);
        }
        if !(1.0 / 3600.0..=1e6).contains(&per_second) {
            return Err(InvalidRate::Range);
        }
        Ok(Self { per_second })
    }
}

impl fmt::Display for Rate {
    /// Uses the unit that makes the number whole, if there is one: `20/s`, `30/min`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, seconds) in UNITS {
            let number = (self.per_second * seconds).round();
            #[expect(
                clippy::float_cmp,
                reason = "a printed rate must parse back to exactly the same rate"
            )]
            if number >= 1.0 && number / seconds == self.per_second {
                return write!(f, "{number}/{unit}");
            }
        }
        write!(f, "{}/s", self.per_second)
    }
}

impl serde::Serialize for Rate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rate_parses_in_every_unit() {
        for (text, per_second) in [
            ("20/s", 20.0),
            ("0.5/s", 0.5),
            ("30/min", 0.5),
            ("30/m", 0.5),
            ("1/h", 1.0 / 3600.0),
        ] {
            assert_eq!(text.parse(), Ok(Rate { per_second }), "{text}");
        }
    }

    #[test]
    fn rate_prints_whole_numbers_if_possible() {
        for (text, shown) in [
            ("20/s", "20/s"),
            ("0.5/s", "30/min"),
            ("10/m", "10/min"),
            ("7/h", "7/h"),
            ("1.5/s", "90/min"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn invalid_rates_are_rejected() {
        for text in [
            "", "10", "/s", "-1/s", "10/d", "10 /s", "1e3/s", "inf/s", "NaN/s", "1.2.3/s", "10/s/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate::Form), "{text}");
        }
        assert_eq!("0/s".parse::<Rate>(), Err(InvalidRate::Zero));
        assert_eq!("0.00/h".parse::<Rate>(), Err(InvalidRate::Zero));
        assert_eq!("0.9/h".parse::<Rate>(), Err(InvalidRate::Range));
        assert_eq!("1000001/s".parse::<Rate>(), Err(InvalidRate::Range));
    }

    proptest! {
        #[test]
        fn printed_rate_parses_to_the_same_rate(per_second in 1.0 / 3600.0..1e6_f64, number in 1..1_000_000_u32, unit in 0..4_usize) {
            for rate in [Rate { per_second }, Rate { per_second: f64::from(number) / UNITS[unit].1 }] {
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _rate: Result<Rate, _> = text.parse();
        }
    }
}
