//! `spec.syncWindows` (operators since v2.7.0): times at which the operator makes no periodic sync. A changed annotation still
//! makes it sync (`isPeriodicRefreshAllowedByWindows` in its `externalsecret_controller.go`).

mod cron;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use self::cron::Schedule;
use crate::duration::GoDuration;

/// The number of windows that are evaluated. A longer list costs too much.
const MOST: usize = 100;

/// `spec.syncWindows`, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// `allow` or `deny`.
    pub kind: String,
    pub windows: Vec<SpecWindow>,
}

/// One entry of `windows`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SpecWindow {
    /// Five fields of cron, or a word like `@daily`, in UTC.
    pub schedule: String,
    /// A Go duration.
    pub duration: String,
}

/// The windows of an ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// True if syncs are denied in the windows; false if they are denied outside of them.
    deny: bool,
    list: Vec<(Schedule, Duration)>,
    too_many: bool,
}

/// Whether the operator may make a periodic sync now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Allowed,
    Denied,
    /// There are too many windows to tell.
    Unknown,
}

impl Windows {
    /// Parses the windows. None if there are none. The operator ignores a window with an invalid schedule, and so does this.
    pub fn of(spec: &Spec) -> Option<Self> {
        let deny = match &*spec.kind {
            "deny" => true,
            "allow" => false,
            _ => return None,
        };
        let window = |window: &SpecWindow| {
            let duration: GoDuration = window.duration.parse().ok()?;
            Some((window.schedule.parse().ok()?, duration.0))
        };
        (!spec.windows.is_empty()).then(|| Self {
            deny,
            list: spec.windows.iter().take(MOST).filter_map(window).collect(),
            too_many: spec.windows.len() > MOST,
        })
    }

    pub fn at(&self, now: Timestamp) -> Window {
        let open = |(schedule, duration): &(Schedule, Duration)| is_open(schedule, *duration, now);
        let any = self.list.iter().any(open);
        if !any && self.too_many {
            Window::Unknown
        } else if any == self.deny {
            Window::Denied
        } else {
            Window::Allowed
        }
    }
}

/// True if the window that opened at the schedule's first time after `now - duration - 1s` is still open.
fn is_open(schedule: &Schedule, duration: Duration, now: Timestamp) -> bool {
    let opened = || {
        let duration = SignedDuration::try_from(duration).ok()?;
        let from = now.checked_sub(duration).ok()?;
        let from = from.checked_sub(SignedDuration::from_secs(1)).ok()?;
        let opened = schedule.next(from, now)?;
        let closes = opened.checked_add(duration).unwrap_or(Timestamp::MAX);
        Some(opened <= now && now <= closes)
    };
    opened().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(kind: &str, windows: &[(&str, &str)]) -> Option<Windows> {
        let window = |(schedule, duration): &(&str, &str)| SpecWindow {
            schedule: (*schedule).to_owned(),
            duration: (*duration).to_owned(),
        };
        Windows::of(&Spec {
            kind: kind.to_owned(),
            windows: windows.iter().map(window).collect(),
        })
    }

    fn at(windows: Option<&Windows>, now: &str) -> Window {
        windows.unwrap().at(now.parse().unwrap())
    }

    /// The cases of the operator's own `syncwindow_test.go`, and their edges.
    #[test]
    fn deny_is_inside_and_allow_is_outside_of_a_window() {
        let nights = [("0 22 * * 1-5", "8h")];
        for (now, inside) in [
            ("2026-03-02T21:59:59Z", false),
            ("2026-03-02T22:00:00Z", true),
            ("2026-03-03T06:00:00Z", true),
            ("2026-03-03T06:00:01Z", false),
            // Friday night ends on Saturday; Saturday and Sunday have none.
            ("2026-03-07T03:00:00Z", true),
            ("2026-03-07T23:00:00Z", false),
            ("2026-03-08T23:00:00Z", false),
        ] {
            let deny = windows("deny", &nights);
            let allow = windows("allow", &nights);
            let (denied, allowed) = (Window::Denied, Window::Allowed);
            let expected = if inside {
                (denied, allowed)
            } else {
                (allowed, denied)
            };
            let found = (at(deny.as_ref(), now), at(allow.as_ref(), now));
            assert_eq!(found, expected, "{now}");
        }
    }

    #[test]
    fn any_window_of_the_list_counts() {
        let two = windows("deny", &[("0 1 * * *", "1h"), ("0 13 * * *", "1h")]);
        for (now, window) in [
            ("2026-03-02T01:30:00Z", Window::Denied),
            ("2026-03-02T13:30:00Z", Window::Denied),
            ("2026-03-02T12:30:00Z", Window::Allowed),
        ] {
            assert_eq!(at(two.as_ref(), now), window, "{now}");
        }
        let always = windows("deny", &[("0 0 * * *", "24h")]);
        assert_eq!(at(always.as_ref(), "2026-03-02T12:30:00Z"), Window::Denied);
    }

    #[test]
    fn an_invalid_window_is_ignored_like_by_the_operator() {
        let now = "2026-03-02T12:30:00Z";
        for invalid in [("* * *", "1h"), ("99 * * * *", "1h"), ("* * * * *", "soon")] {
            let deny = windows("deny", &[invalid]);
            assert_eq!(at(deny.as_ref(), now), Window::Allowed, "{invalid:?}");
            let both = windows("deny", &[invalid, ("0 12 * * *", "1h")]);
            assert_eq!(at(both.as_ref(), now), Window::Denied);
        }
        assert_eq!(windows("deny", &[]), None);
        assert_eq!(windows("sometimes", &[("* * * * *", "1h")]), None);
    }

    #[test]
    fn too_many_windows_are_unknown_and_cheap() {
        let never = vec![("0 0 30 2 *", "2562047h"); 100_000];
        let start = std::time::Instant::now();
        let windows = windows("deny", &never);
        assert_eq!(
            at(windows.as_ref(), "2026-03-02T12:30:00Z"),
            Window::Unknown
        );
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
