//! The exit codes and their precedence.

pub mod decide;

use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum Exit {
    /// 0: done, or nothing to do.
    Done,
    /// 1: differences found, as in `kubectl diff`.
    Differences,
    /// 2: invalid usage or policy; nothing was changed.
    Invalid,
    /// 3: done, but some items failed or are unknown.
    Failed,
    /// 4: no cluster, credentials or rights; nothing was changed.
    NoAccess,
    /// 5: a safety limit refused or stopped the run.
    Limit,
    /// 6: another run holds the lock; nothing was changed.
    Locked,
    /// 7: stopped by the deadline or a signal; the report is partial.
    Stopped,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Differences => 1,
            Self::Invalid => 2,
            Self::Failed => 3,
            Self::NoAccess => 4,
            Self::Limit => 5,
            Self::Locked => 6,
            Self::Stopped => 7,
        }
    }

    /// Returns the exit code with precedence: the first of 2, 4, 6, 7, 5, 3, 1.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        if self.rank() <= other.rank() {
            self
        } else {
            other
        }
    }

    /// True if it is the code of a run that failed, could not begin, was refused or was stopped. Differences are no failure, and a run
    /// that finds the lock taken leaves the work to the other one.
    pub const fn is_failure(code: u8) -> bool {
        matches!(code, 2..=5 | 7)
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Invalid => 0,
            Self::NoAccess => 1,
            Self::Locked => 2,
            Self::Stopped => 3,
            Self::Limit => 4,
            Self::Failed => 5,
            Self::Differences => 6,
            Self::Done => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_have_a_fixed_precedence() {
        let order = [
            Exit::Invalid,
            Exit::NoAccess,
            Exit::Locked,
            Exit::Stopped,
            Exit::Limit,
            Exit::Failed,
            Exit::Differences,
            Exit::Done,
        ];
        assert_eq!(order.map(Exit::code), [2, 4, 6, 7, 5, 3, 1, 0]);
        for (position, first) in order.into_iter().enumerate() {
            for second in order.into_iter().skip(position) {
                assert_eq!(first.or(second), first);
                assert_eq!(second.or(first), first);
            }
        }
    }
}
