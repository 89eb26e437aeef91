//! Unencrypted scalars: their types, and the bytes of them that the MAC covers.

use crate::tree::Kind;

/// A scalar as it is stored.
#[derive(Clone)]
pub(crate) struct Plain {
    /// The text, without quotes and escapes.
    pub(crate) text: String,
    pub(crate) kind: Kind,
    /// The text that the MAC covers, if it differs: SOPS computes it from the parsed value.
    hashed: Option<String>,
}

impl Plain {
    pub(crate) fn text(text: String) -> Self {
        Self {
            text,
            kind: Kind::Text,
            hashed: None,
        }
    }

    pub(crate) fn null() -> Self {
        Self {
            text: String::new(),
            kind: Kind::Null,
            hashed: None,
        }
    }

    pub(crate) fn bool(value: bool) -> Self {
        Self {
            text: value.to_string(),
            kind: Kind::Bool,
            hashed: Some(hashed_bool(value).to_owned()),
        }
    }

    pub(crate) fn int(text: &str, value: i64) -> Self {
        Self {
            text: text.to_owned(),
            kind: Kind::Int,
            hashed: Some(value.to_string()),
        }
    }

    pub(crate) fn float(text: &str, value: f64) -> Self {
        Self {
            text: text.to_owned(),
            kind: Kind::Float,
            hashed: Some(hashed_float(value)),
        }
    }

    pub(crate) fn time(text: &str, hashed: String) -> Self {
        Self {
            text: text.to_owned(),
            kind: Kind::Time,
            hashed: Some(hashed),
        }
    }

    pub(crate) fn hashed(&self) -> &str {
        self.hashed.as_deref().unwrap_or(&self.text)
    }
}

/// The form of booleans in the MAC, from the time when SOPS was written in Python.
pub(crate) const fn hashed_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Go's `strconv.FormatFloat(value, 'f', -1, 64)`: the shortest digits, without exponent.
pub(crate) fn hashed_float(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

/// True for a time as Go's `time.Time.MarshalText` writes it, for example `2026-01-31T12:00:00.5+01:00`.
pub(crate) fn is_time(text: &str) -> bool {
    let mut shape = String::new();
    let (date, rest) = text.split_at_checked(19).unwrap_or((text, ""));
    shape.extend(
        date.chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c }),
    );
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            let digits = fraction.len() - zone.len();
            if digits == 0 || digits > 9 || fraction.get(..digits).is_some_and(|f| f.ends_with('0'))
            {
                return false;
            }
            zone
        }
        None => rest,
    };
    shape == "0000-00-00T00:00:00" && is_zone(zone)
}

fn is_zone(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    // Go writes an offset of zero as Z.
    text == "Z" || (matches!(shape.as_str(), "+00:00" | "-00:00") && !text.ends_with("00:00"))
}
