//! Amounts of money in a policy.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An amount of US dollars, written like `$0.05`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dollars(pub f64);

/// The error for a text that is not an amount of dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an amount of US dollars")]
pub struct InvalidDollars;

impl InvalidDollars {
    /// How to fix an invalid text.
    pub const HINT: &str = "write it like `$50` or `$0.05`";
}

impl FromStr for Dollars {
    type Err = InvalidDollars;

    fn from_str(text: &str) -> Result<Self, InvalidDollars> {
        let number = text.strip_prefix('$').ok_or(InvalidDollars)?;
        let is_plain = number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        let amount: f64 = number.parse().map_err(|_| InvalidDollars)?;
        if is_plain && amount <= 1e9 {
            Ok(Self(amount))
        } else {
            Err(InvalidDollars)
        }
    }
}

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

impl TryFrom<String> for Dollars {
    type Error = InvalidDollars;

    fn try_from(text: String) -> Result<Self, InvalidDollars> {
        text.parse()
    }
}

impl From<Dollars> for String {
    fn from(amount: Dollars) -> Self {
        amount.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_alike() {
        for text in ["$0", "$50", "$0.05", "$1000000"] {
            assert_eq!(text.parse::<Dollars>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "$",
            "50",
            "$-1",
            "$1e3",
            "$NaN",
            "$inf",
            "50$",
            "$1,000",
            "$9999999999",
        ] {
            assert_eq!(text.parse::<Dollars>(), Err(InvalidDollars), "{text}");
        }
    }
}
