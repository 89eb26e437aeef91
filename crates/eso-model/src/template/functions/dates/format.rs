//! Formats a time in UTC with a layout.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

use super::{
    layout::{Part, next},
    unsupported,
};
use crate::template::{Failure, value::Moment};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

pub(super) fn format(layout: &[u8], moment: Moment) -> Result<Vec<u8>, Failure> {
    let of_size = || unsupported("a time of this size");
    let at = Timestamp::from_second(moment.seconds).map_err(|_| of_size())?;
    let date = Offset::UTC.to_datetime(at);
    if date.year() < 0 {
        return Err(of_size());
    }
    let mut output = Vec::new();
    let mut rest = layout;
    while !rest.is_empty() {
        let (before, part, after) = next(rest);
        output.extend_from_slice(before);
        if let Some(part) = part {
            push(&mut output, part, date, moment.nanoseconds);
        }
        rest = after;
    }
    Ok(output)
}

fn name(names: &[&'static str], from_one: i8) -> &'static str {
    let index = usize::try_from(from_one - 1).unwrap_or_default();
    names.get(index).copied().unwrap_or_default()
}

fn push(output: &mut Vec<u8>, part: Part, date: DateTime, nanoseconds: u32) {
    let weekday = name(&DAYS, date.weekday().to_monday_one_offset());
    let month = name(&MONTHS, date.month());
    let (hour, year_day) = (date.hour(), date.day_of_year());
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let short = |name: &str| name.get(..3).unwrap_or(name).to_owned();
    let shown = match part {
        Part::LongMonth => month.to_owned(),
        Part::Month => short(month),
        Part::NumMonth => date.month().to_string(),
        Part::ZeroMonth => format!("{:02}", date.month()),
        Part::LongWeekDay => weekday.to_owned(),
        Part::WeekDay => short(weekday),
        Part::Day => date.day().to_string(),
        Part::UnderDay => format!("{:2}", date.day()),
        Part::ZeroDay => format!("{:02}", date.day()),
        Part::UnderYearDay => format!("{year_day:3}"),
        Part::ZeroYearDay => format!("{year_day:03}"),
        Part::Hour => format!("{hour:02}"),
        Part::Hour12 => hour12.to_string(),
        Part::ZeroHour12 => format!("{hour12:02}"),
        Part::Minute => date.minute().to_string(),
        Part::ZeroMinute => format!("{:02}", date.minute()),
        Part::Second => date.second().to_string(),
        Part::ZeroSecond => format!("{:02}", date.second()),
        Part::LongYear => format!("{:04}", date.year()),
        Part::Year => format!("{:02}", date.year() % 100),
        Part::UpperHalf => if hour < 12 { "AM" } else { "PM" }.to_owned(),
        Part::LowerHalf => if hour < 12 { "am" } else { "pm" }.to_owned(),
        Part::ZoneName => "UTC".to_owned(),
        Part::Offset { z: true, .. } => "Z".to_owned(),
        Part::Offset { colon, parts, .. } => {
            let between = if colon { ":00" } else { "00" };
            format!("+00{}", between.repeat(usize::from(parts) - 1))
        }
        Part::Fraction {
            sign,
            places,
            trimmed,
        } => fraction(char::from(sign), places, trimmed, nanoseconds),
    };
    output.extend_from_slice(shown.as_bytes());
}

fn fraction(sign: char, places: usize, trimmed: bool, nanoseconds: u32) -> String {
    let digits = format!("{nanoseconds:09}");
    let digits = digits.get(..places.min(9)).unwrap_or_default();
    if !trimmed {
        return format!("{sign}{digits}");
    }
    match digits.trim_end_matches('0') {
        "" => String::new(),
        digits => format!("{sign}{digits}"),
    }
}
