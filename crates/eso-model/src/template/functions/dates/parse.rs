//! Parses a time with a layout. Only what is written exactly as the layout asks is accepted: what else Go tolerates was not
//! compared.

use jiff::{civil::Date, tz::Offset};

use super::{
    format::MONTHS,
    layout::{Part, next},
};
use crate::template::value::Moment;

#[derive(Default)]
struct Fields {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    hour: i8,
    minute: i8,
    second: i8,
    nanoseconds: u32,
    /// Seconds east of UTC.
    offset: i64,
}

/// Returns None if the text is not accepted.
pub(super) fn parse(layout: &[u8], text: &str) -> Option<Moment> {
    let mut fields = Fields::default();
    let (mut layout, mut text) = (layout, text);
    while !layout.is_empty() {
        let (before, part, after) = next(layout);
        text = text.strip_prefix(std::str::from_utf8(before).ok()?)?;
        if let Some(part) = part {
            text = fields.read(part, text)?;
        }
        layout = after;
    }
    text.is_empty().then(|| fields.moment()).flatten()
}

/// Splits off a number of this many digits.
fn digits(text: &str, count: usize) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(count)?;
    let all = number.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| number.parse().ok())
        .flatten()
        .map(|number| (number, rest))
}

/// Splits off a number of two digits that is at most `limit`.
fn two(text: &str, limit: i8) -> Option<(i8, &str)> {
    let (number, rest) = digits(text, 2)?;
    let number = i8::try_from(number).ok()?;
    (number <= limit).then_some((number, rest))
}

impl Fields {
    fn read<'t>(&mut self, part: Part, text: &'t str) -> Option<&'t str> {
        let rest;
        match part {
            Part::LongYear => {
                let (year, after) = digits(text, 4)?;
                (self.year, rest) = (i16::try_from(year).ok(), after);
            }
            Part::ZeroMonth => {
                let (month, after) = two(text, 12)?;
                (self.month, rest) = (Some(month), after);
            }
            Part::LongMonth | Part::Month => {
                let length = if part == Part::Month { 3 } else { usize::MAX };
                let (month, after) = month(text, length)?;
                (self.month, rest) = (Some(month), after);
            }
            Part::ZeroDay => {
                let (day, after) = two(text, 31)?;
                (self.day, rest) = (Some(day), after);
            }
            Part::Hour => (self.hour, rest) = two(text, 23)?,
            Part::ZeroMinute => (self.minute, rest) = two(text, 59)?,
            Part::ZeroSecond => {
                let (second, after) = two(text, 59)?;
                self.second = second;
                return self.fraction(after);
            }
            Part::Offset { z, colon, parts: 2 } => {
                (self.offset, rest) = offset(text, z, colon)?;
            }
            Part::ZoneName => rest = text.strip_prefix("UTC")?,
            _ => return None,
        }
        Some(rest)
    }

    /// Reads decimal places of a second, which Go accepts even if the layout has none.
    fn fraction<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let Some(after) = text.strip_prefix('.') else {
            return Some(text);
        };
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 || count > 9 {
            return None;
        }
        let (number, rest) = digits(after, count)?;
        self.nanoseconds = number * 10_u32.pow(u32::try_from(9 - count).ok()?);
        Some(rest)
    }

    fn moment(&self) -> Option<Moment> {
        let date = Date::new(
            self.year.unwrap_or(0),
            self.month.unwrap_or(1),
            self.day.unwrap_or(1),
        )
        .ok()?;
        let time = date.at(self.hour, self.minute, self.second, 0);
        let seconds = Offset::UTC.to_timestamp(time).ok()?.as_second();
        Some(Moment {
            seconds: seconds - self.offset,
            nanoseconds: self.nanoseconds,
        })
    }
}

fn month(text: &str, length: usize) -> Option<(i8, &str)> {
    let position = MONTHS.iter().position(|name| {
        let name = name.get(..length).unwrap_or(name);
        text.starts_with(name)
    })?;
    let name = MONTHS.get(position)?;
    let rest = text.get(length.min(name.len())..)?;
    Some((i8::try_from(position + 1).ok()?, rest))
}

/// Splits off an offset of hours and minutes, in seconds.
fn offset(text: &str, z: bool, colon: bool) -> Option<(i64, &str)> {
    if z && let Some(rest) = text.strip_prefix('Z') {
        return Some((0, rest));
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = two(rest, 23)?;
    let rest = if colon { rest.strip_prefix(':')? } else { rest };
    let (minutes, rest) = two(rest, 59)?;
    let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
    Some((sign * seconds, rest))
}
