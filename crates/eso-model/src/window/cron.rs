//! Schedules as `robfig/cron` v3 reads them: five fields, or a word like `@daily`. Times are in UTC.

use std::{str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::duration::GoDuration;

/// How far ahead the library searches for a matching day.
const FIVE_YEARS: i32 = 5 * 366;

/// When a window opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    Fields(Fields),
    /// `@every`, in whole seconds and at least one.
    Every(Duration),
}

/// The matching values of each field, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// True if the day of the month or the weekday is `*`. Then both must match; otherwise one is enough.
    any_day: bool,
}

/// The schedule is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// The values that a field may have.
struct Range {
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTES: Range = Range {
    least: 0,
    most: 59,
    names: &[],
};
const HOURS: Range = Range {
    least: 0,
    most: 23,
    names: &[],
};
const DAYS: Range = Range {
    least: 1,
    most: 31,
    names: &[],
};
const MONTHS: Range = Range {
    least: 1,
    most: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Range = Range {
    least: 0,
    most: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl FromStr for Schedule {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(every) = text.strip_prefix("@every ") {
            let every: GoDuration = every.parse().map_err(|_| Invalid)?;
            let seconds = every.0.as_secs().max(1);
            return Ok(Self::Every(Duration::from_secs(seconds)));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            fields => fields,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = &*fields else {
            return Err(Invalid);
        };
        let (days, any_day) = field(days, &DAYS)?;
        let (weekdays, any_weekday) = field(weekdays, &WEEKDAYS)?;
        Ok(Self::Fields(Fields {
            minutes: field(minutes, &MINUTES)?.0,
            hours: field(hours, &HOURS)?.0,
            days,
            months: field(months, &MONTHS)?.0,
            weekdays,
            any_day: any_day || any_weekday,
        }))
    }
}

/// The bits of a comma-separated field, and true if a part of it is `*`.
fn field(text: &str, range: &Range) -> Result<(u64, bool), Invalid> {
    let mut all = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (bits, star) = part_of(part, range)?;
        all = (all.0 | bits, all.1 || star);
    }
    Ok(all)
}

/// `*`, `a`, `a-b`, each with an optional `/step`.
fn part_of(text: &str, range: &Range) -> Result<(u64, bool), Invalid> {
    let (values, step) = match text.split_once('/') {
        None => (text, None),
        Some((values, step)) => (values, Some(number(step)?)),
    };
    let star = matches!(values, "*" | "?");
    let (from, to) = match values.split_once('-') {
        _ if star => (range.least, range.most),
        Some((from, to)) => (value(from, range)?, value(to, range)?),
        None if step.is_some() => (value(values, range)?, range.most),
        None => {
            let only = value(values, range)?;
            (only, only)
        }
    };
    let step = step.unwrap_or(1);
    if from < range.least || to > range.most || from > to || step == 0 {
        return Err(Invalid);
    }
    let values = (from..=to).step_by(step as usize);
    let bits = values.fold(0, |bits, value| bits | 1 << value);
    // With a step, `*` counts as a list.
    Ok((bits, star && step == 1))
}

fn value(text: &str, range: &Range) -> Result<u32, Invalid> {
    let lower = text.to_ascii_lowercase();
    let named = (range.least..).zip(range.names);
    match named.into_iter().find(|(_, name)| **name == lower) {
        Some((value, _)) => Ok(value),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, Invalid> {
    text.parse().map_err(|_| Invalid)
}

impl Schedule {
    /// The first time after `after`, if it is not later than `until`.
    pub(super) fn next(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Fields(fields) => fields.next(after, until),
            Self::Every(every) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                let every = SignedDuration::try_from(*every).ok()?;
                whole.checked_add(every).ok()
            }
        }
    }
}

impl Fields {
    fn next(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        // The start of the next minute; a time in the future has no fraction of a second.
        let minute = (after.as_second() + 1).checked_add(59)?.div_euclid(60);
        let start = Timestamp::from_second(minute.checked_mul(60)?).ok()?;
        let start = start.to_zoned(TimeZone::UTC).datetime();
        let mut first =
            u32::try_from(start.hour()).ok()? * 60 + u32::try_from(start.minute()).ok()?;
        let mut day = start.date();
        let last = until.to_zoned(TimeZone::UTC).date();
        for _ in 0..FIVE_YEARS {
            if day > last {
                return None;
            }
            if self.matches(day)
                && let Some(minute) = (first..24 * 60).find(|minute| self.is_minute(*minute))
            {
                let (hour, minute) = (minute / 60, minute % 60);
                let time = day.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
                return time.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
            }
            first = 0;
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn matches(&self, day: jiff::civil::Date) -> bool {
        let has = |bits: u64, value: i8| (bits >> value) & 1 == 1;
        let weekday = day.weekday().to_sunday_zero_offset();
        let of_month = has(self.days, day.day());
        let of_week = has(self.weekdays, weekday);
        has(self.months, day.month())
            && if self.any_day {
                of_month && of_week
            } else {
                of_month || of_week
            }
    }

    const fn is_minute(&self, minute: u32) -> bool {
        (self.hours >> (minute / 60)) & 1 == 1 && (self.minutes >> (minute % 60)) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> Option<String> {
        let schedule: Schedule = schedule.parse().unwrap();
        let after: Timestamp = after.parse().unwrap();
        let next = schedule.next(after, Timestamp::MAX);
        next.map(|next| next.to_string())
    }

    #[test]
    fn the_next_time_is_that_of_the_library() {
        for (schedule, after, expected) in [
            (
                "0 22 * * 1-5",
                "2026-03-06T22:00:00Z",
                "2026-03-09T22:00:00Z",
            ),
            (
                "0 22 * * mon-FRI",
                "2026-03-06T22:00:00Z",
                "2026-03-09T22:00:00Z",
            ),
            (
                "*/15 * * * *",
                "2026-03-01T12:00:00.5Z",
                "2026-03-01T12:15:00Z",
            ),
            (
                "*/15 * * * *",
                "2026-03-01T11:59:59.9Z",
                "2026-03-01T12:00:00Z",
            ),
            (
                "5/20 3 * * *",
                "2026-03-01T03:06:00Z",
                "2026-03-01T03:25:00Z",
            ),
            ("0 0 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // A list of days and weekdays: one of them is enough.
            ("0 0 13 * 5", "2026-03-01T00:00:00Z", "2026-03-06T00:00:00Z"),
            // A star with a step is a list.
            (
                "0 0 */13 * 5",
                "2026-03-01T00:00:00Z",
                "2026-03-06T00:00:00Z",
            ),
            ("0 0 ? * 5", "2026-03-01T00:00:00Z", "2026-03-06T00:00:00Z"),
            (
                "0,30 1,2 1 jan *",
                "2026-01-01T01:00:00Z",
                "2026-01-01T01:30:00Z",
            ),
            ("@daily", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("@weekly", "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"),
            ("@yearly", "2026-03-02T00:00:00Z", "2027-01-01T00:00:00Z"),
            (
                "@every 90m",
                "2026-03-02T00:00:00.7Z",
                "2026-03-02T01:30:00Z",
            ),
        ] {
            assert_eq!(
                next(schedule, after).as_deref(),
                Some(expected),
                "{schedule}"
            );
        }
        assert_eq!(next("0 0 30 2 *", "2026-03-01T00:00:00Z"), None);
    }

    #[test]
    fn invalid_schedules_are_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "*/0 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "-1 * * * *",
            "@reboot",
            "@every x",
            "TZ=UTC 0 0 * *",
        ] {
            assert_eq!(text.parse::<Schedule>(), Err(Invalid), "{text}");
        }
    }
}
