//! Dates of a fixed time. Functions of the current time are unverifiable.
//!
//! The operator's image has no time zone of its own, so its local time is UTC. Other zones depend on the zone data of its
//! image.

use super::{
    Function,
    Parameter::{Any, Text, Time},
    refused, take, text, unsupported,
};
use crate::{
    duration::GoDuration,
    template::{
        Failure,
        integer::parse_int,
        value::{Heap, Moment, Value},
    },
};

mod format;
mod layout;
mod parse;

/// The layout of `htmlDate`.
const DAY: &[u8] = b"2006-01-02";

pub(super) const TABLE: &[Function] = &[
    Function::new("date", &[Text, Any], |heap, arguments| {
        let [layout, date] = take(arguments)?;
        formatted(heap, text(&layout)?.bytes(), &date, b"Local")
    }),
    Function::new("dateInZone", &[Text, Any, Text], in_zone),
    Function::new("date_in_zone", &[Text, Any, Text], in_zone),
    Function::new("htmlDate", &[Any], |heap, arguments| {
        let [date] = take(arguments)?;
        formatted(heap, DAY, &date, b"Local")
    }),
    Function::new("htmlDateInZone", &[Any, Text], |heap, arguments| {
        let [date, zone] = take(arguments)?;
        formatted(heap, DAY, &date, text(&zone)?.bytes())
    }),
    Function::new("dateModify", &[Text, Time], |_, arguments| {
        modify(arguments, false)
    }),
    Function::new("date_modify", &[Text, Time], |_, arguments| {
        modify(arguments, false)
    }),
    Function::new("mustDateModify", &[Text, Time], |_, arguments| {
        modify(arguments, true)
    }),
    Function::new("must_date_modify", &[Text, Time], |_, arguments| {
        modify(arguments, true)
    }),
    Function::new("toDate", &[Text, Text], to_date),
    Function::new("mustToDate", &[Text, Text], to_date),
    Function::new("unixEpoch", &[Time], |heap, arguments| {
        let [date] = take(arguments)?;
        let seconds = moment(&date)?.seconds;
        heap.text(seconds.to_string().into_bytes())
    }),
    Function::new("duration", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        let shown = duration(seconds(&value)?);
        heap.text(shown.into_bytes())
    }),
    Function::new("durationRound", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        let shown = rounded(nanoseconds(&value)?);
        heap.text(shown.into_bytes())
    }),
];

fn moment(value: &Value) -> Result<Moment, Failure> {
    match value {
        Value::Time(moment) => Ok(*moment),
        _ => Err(refused()),
    }
}

fn in_zone(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [layout, date, zone] = take(arguments)?;
    formatted(heap, text(&layout)?.bytes(), &date, text(&zone)?.bytes())
}

fn formatted(heap: &mut Heap, layout: &[u8], date: &Value, zone: &[u8]) -> Result<Value, Failure> {
    let moment = match date {
        Value::Time(moment) => *moment,
        Value::Int(seconds) | Value::Int64(seconds) => Moment {
            seconds: *seconds,
            nanoseconds: 0,
        },
        _ => return Err(unsupported("the current time")),
    };
    if !matches!(zone, b"" | b"UTC" | b"Local") {
        return Err(unsupported("this time zone"));
    }
    heap.step(1 + layout.len())?;
    let shown = format::format(layout, moment)?;
    heap.text(shown)
}

fn to_date(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [layout, value] = take(arguments)?;
    let (layout, value) = (text(&layout)?.bytes(), text(&value)?.utf8()?);
    heap.step(1 + layout.len())?;
    parse::parse(layout, value)
        .map(Value::Time)
        .ok_or_else(|| unsupported("a time in this format"))
}

/// Parses a duration with an optional sign.
fn parse_duration(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) if !unsigned.starts_with('+') => (true, unsigned),
        Some(_) => return None,
        None => (false, text),
    };
    let nanoseconds = unsigned.parse::<GoDuration>().ok()?.0.as_nanos();
    let nanoseconds = i64::try_from(nanoseconds).ok()?;
    Some(if negative { -nanoseconds } else { nanoseconds })
}

fn modify(arguments: Vec<Value>, must: bool) -> Result<Value, Failure> {
    let [by, date] = take(arguments)?;
    let date = moment(&date)?;
    let Some(by) = parse_duration(text(&by)?.utf8()?) else {
        return if must {
            Err(refused())
        } else {
            Ok(Value::Time(date))
        };
    };
    let total =
        i128::from(date.seconds) * 1_000_000_000 + i128::from(date.nanoseconds) + i128::from(by);
    let of_size = || unsupported("a time of this size");
    Ok(Value::Time(Moment {
        seconds: i64::try_from(total.div_euclid(1_000_000_000)).map_err(|_| of_size())?,
        nanoseconds: u32::try_from(total.rem_euclid(1_000_000_000)).map_err(|_| of_size())?,
    }))
}

/// Returns the seconds of a string or an int64; the operator treats all other types as 0.
fn seconds(value: &Value) -> Result<i64, Failure> {
    let of_size = || unsupported("a duration of this size");
    let seconds = match value {
        Value::Int64(seconds) => *seconds,
        Value::Text(text) => match parse_int(text.bytes(), 10) {
            Some(seconds) => seconds,
            // Digits that are out of range are not 0.
            None if text.bytes().len() > 18 => return Err(of_size()),
            None => 0,
        },
        _ => 0,
    };
    seconds
        .checked_mul(1_000_000_000)
        .map(|_| seconds)
        .ok_or_else(of_size)
}

fn duration(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let whole = seconds.unsigned_abs();
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{sign}{hours}h{minutes}m{seconds}s")
    } else if minutes > 0 {
        format!("{sign}{minutes}m{seconds}s")
    } else {
        format!("{sign}{seconds}s")
    }
}

/// Returns the nanoseconds of a string or an int64; the operator treats all other types as 0, except times, which it
/// compares with the current time.
fn nanoseconds(value: &Value) -> Result<u64, Failure> {
    match value {
        Value::Time(_) => Err(unsupported("the current time")),
        Value::Int64(nanoseconds) => Ok(nanoseconds.unsigned_abs()),
        Value::Text(text) => Ok(parse_duration(text.utf8()?).unwrap_or(0).unsigned_abs()),
        _ => Ok(0),
    }
}

/// Returns the largest unit of which there is more than one.
fn rounded(nanoseconds: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * SECOND;
    for (unit, name) in [
        (365 * DAY, "y"),
        (30 * DAY, "mo"),
        (DAY, "d"),
        (3600 * SECOND, "h"),
        (60 * SECOND, "m"),
        (SECOND, "s"),
    ] {
        if nanoseconds > unit {
            return format!("{}{name}", nanoseconds / unit);
        }
    }
    "0s".to_owned()
}
