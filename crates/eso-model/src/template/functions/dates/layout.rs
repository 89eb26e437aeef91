//! Go's time layouts: the parts of a time, written as those of 2006-01-02 15:04:05.

/// A part of a time in a layout.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekDay,
    WeekDay,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperHalf,
    LowerHalf,
    ZoneName,
    /// An offset from UTC, with its separators and its number of parts (hours, minutes, seconds). With `z`, UTC is `Z`.
    Offset {
        z: bool,
        colon: bool,
        parts: u8,
    },
    /// Decimal places after the sign; `trimmed` leaves out zeros at the end.
    Fraction {
        sign: u8,
        places: usize,
        trimmed: bool,
    },
}

/// Returns the text before the next part, the part, and the rest.
pub(super) fn next(layout: &[u8]) -> (&[u8], Option<Part>, &[u8]) {
    for at in 0..layout.len() {
        let rest = layout.get(at..).unwrap_or_default();
        if let Some((skipped, part, length)) = part(rest) {
            let before = layout.get(..at + skipped).unwrap_or_default();
            let after = rest.get(skipped + length..).unwrap_or_default();
            return (before, Some(part), after);
        }
    }
    (layout, None, &[])
}

/// Returns a part at the start of the text: the bytes before it, and its length.
fn part(text: &[u8]) -> Option<(usize, Part, usize)> {
    let word_ends = !text.get(3).is_some_and(u8::is_ascii_lowercase);
    if text.starts_with(b"_2006") {
        return Some((1, Part::LongYear, 4));
    }
    if let Some(fraction) = fraction(text) {
        return Some(fraction);
    }
    FIXED
        .iter()
        .filter(|(pattern, _)| text.starts_with(pattern))
        .find(|(pattern, _)| word_ends || !matches!(*pattern, b"Jan" | b"Mon"))
        .map(|(pattern, part)| (0, *part, pattern.len()))
}

fn fraction(text: &[u8]) -> Option<(usize, Part, usize)> {
    let [sign @ (b'.' | b','), digit @ (b'0' | b'9'), ..] = text else {
        return None;
    };
    let places = text
        .iter()
        .skip(1)
        .take_while(|byte| *byte == digit)
        .count();
    if text.get(1 + places).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let part = Part::Fraction {
        sign: *sign,
        places,
        trimmed: *digit == b'9',
    };
    Some((0, part, 1 + places))
}

const fn offset(z: bool, colon: bool, parts: u8) -> Part {
    Part::Offset { z, colon, parts }
}

/// The parts in the order in which Go recognises them: the longer ones first.
const FIXED: &[(&[u8], Part)] = &[
    (b"January", Part::LongMonth),
    (b"Jan", Part::Month),
    (b"Monday", Part::LongWeekDay),
    (b"Mon", Part::WeekDay),
    (b"MST", Part::ZoneName),
    (b"01", Part::ZeroMonth),
    (b"002", Part::ZeroYearDay),
    (b"02", Part::ZeroDay),
    (b"03", Part::ZeroHour12),
    (b"04", Part::ZeroMinute),
    (b"05", Part::ZeroSecond),
    (b"06", Part::Year),
    (b"15", Part::Hour),
    (b"1", Part::NumMonth),
    (b"2006", Part::LongYear),
    (b"2", Part::Day),
    (b"__2", Part::UnderYearDay),
    (b"_2", Part::UnderDay),
    (b"3", Part::Hour12),
    (b"4", Part::Minute),
    (b"5", Part::Second),
    (b"PM", Part::UpperHalf),
    (b"pm", Part::LowerHalf),
    (b"-07:00:00", offset(false, true, 3)),
    (b"-070000", offset(false, false, 3)),
    (b"-07:00", offset(false, true, 2)),
    (b"-0700", offset(false, false, 2)),
    (b"-07", offset(false, false, 1)),
    (b"Z07:00:00", offset(true, true, 3)),
    (b"Z070000", offset(true, false, 3)),
    (b"Z07:00", offset(true, true, 2)),
    (b"Z0700", offset(true, false, 2)),
    (b"Z07", offset(true, false, 1)),
];
