//! The exit codes, and which of several counts.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: all done, or nothing to do.
    Done,
    /// 1: differences found (`plan --exit-code`), as `kubectl diff` has it.
    Differences,
    /// 2: usage or policy invalid; nothing was changed.
    Invalid,
    /// 3: done, but some items failed or stayed unknown.
    Failed,
    /// 4: no cluster, no credentials, or not enough rights; nothing was changed.
    NoAccess,
    /// 5: a safety limit refused the run or stopped it.
    Limit,
    /// 6: another run holds the lock; nothing was changed.
    Locked,
    /// 7: stopped by deadline or signal; the report is partial.
    Stopped,
}

impl Exit {
    /// The number.
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

    /// The one that counts where several apply: the first of 2, 4, 6, 7, 5, 3, 1.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        if self.rank() <= other.rank() {
            self
        } else {
            other
        }
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
    fn the_graver_counts_whichever_comes_first() {
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
        for (position, graver) in order.into_iter().enumerate() {
            for milder in order.into_iter().skip(position) {
                assert_eq!(graver.or(milder), graver);
                assert_eq!(milder.or(graver), graver);
            }
        }
    }
}
