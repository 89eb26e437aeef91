//! Where text for people is shown: the size of the terminal, and whether to use colour.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
};

use terminal_size::{Height, Width, terminal_size_of};

/// When colour is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR`, `CLICOLOR=0` or `TERM=dumb` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// True if colour is used in an output that is connected to a terminal or not. `NO_COLOR` comes before `CLICOLOR_FORCE`, and that
    /// before the terminal.
    pub fn is_used(self, is_terminal: bool, environment: &BTreeMap<String, String>) -> bool {
        let get = |name| environment.get(name).map_or("", |value| &**value);
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if !get("NO_COLOR").is_empty() => false,
            Self::Auto if !matches!(get("CLICOLOR_FORCE"), "" | "0") => true,
            Self::Auto => is_terminal && get("CLICOLOR") != "0" && get("TERM") != "dumb",
        }
    }
}

/// The place where text for people is shown. The default is a file or a pipe: nothing is shortened or coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// The width of the terminal, in columns. None if nothing is to be shortened.
    pub width: Option<usize>,
    /// The height of the terminal, in lines.
    pub height: Option<usize>,
    pub color: bool,
}

impl Screen {
    /// What stdout is connected to.
    pub fn of_stdout(color: Color, environment: &BTreeMap<String, String>) -> Self {
        let stdout = io::stdout();
        let size = stdout
            .is_terminal()
            .then(|| terminal_size_of(&stdout).unwrap_or((Width(0), Height(0))));
        Self::of(size, color, environment)
    }

    /// What stderr is connected to.
    pub fn of_stderr(color: Color, environment: &BTreeMap<String, String>) -> Self {
        let stderr = io::stderr();
        let size = stderr
            .is_terminal()
            .then(|| terminal_size_of(&stderr).unwrap_or((Width(0), Height(0))));
        Self::of(size, color, environment)
    }

    /// `size` is None without a terminal. A size of zero means that it is not known. As in other programs, `COLUMNS` and `LINES` come before the
    /// size that the terminal reports; without a terminal they do not count.
    fn of(
        size: Option<(Width, Height)>,
        color: Color,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let color = color.is_used(size.is_some(), environment);
        let Some((Width(width), Height(height))) = size else {
            return Self {
                color,
                ..Self::default()
            };
        };
        let or = |name: &str, reported: u16| {
            let set = environment.get(name).and_then(|text| text.parse().ok());
            let known = set.unwrap_or(usize::from(reported));
            (known > 0).then_some(known)
        };
        Self {
            width: or("COLUMNS", width),
            height: or("LINES", height),
            color,
        }
    }

    /// The same place, where lines may be longer than the terminal is wide.
    #[must_use]
    pub const fn without_width(self) -> Self {
        Self {
            width: None,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_follows_the_flag_then_the_variables_then_the_terminal() {
        use Color::{Always, Auto, Never};
        for (color, terminal, variables, used) in [
            (Auto, true, "", true),
            (Auto, false, "", false),
            (Auto, true, "NO_COLOR=1", false),
            (Auto, true, "NO_COLOR=", true),
            (Auto, true, "NO_COLOR=1 CLICOLOR_FORCE=1", false),
            (Auto, false, "CLICOLOR_FORCE=1", true),
            (Auto, false, "CLICOLOR_FORCE=0", false),
            (Auto, true, "CLICOLOR=0", false),
            (Auto, false, "CLICOLOR=1", false),
            (Auto, true, "TERM=dumb", false),
            (Always, false, "NO_COLOR=1", true),
            (Never, true, "CLICOLOR_FORCE=1", false),
        ] {
            let set = variables.split_whitespace();
            let set = set.filter_map(|one| one.split_once('='));
            let environment = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let environment = environment.collect();
            assert_eq!(
                color.is_used(terminal, &environment),
                used,
                "{color:?} {terminal} {variables}"
            );
        }
    }

    #[test]
    fn only_a_terminal_has_a_width() {
        let size = Some((Width(100), Height(30)));
        let unknown = Some((Width(0), Height(0)));
        for (size, columns, width) in [
            (size, None, Some(100)),
            (size, Some("72"), Some(72)),
            (size, Some("wide"), Some(100)),
            (unknown, None, None),
            (unknown, Some("72"), Some(72)),
            (None, None, None),
            (None, Some("72"), None),
        ] {
            let set = columns.map(|text| ("COLUMNS".to_owned(), text.to_owned()));
            let environment = set.into_iter().collect();
            let screen = Screen::of(size, Color::Never, &environment);
            assert_eq!(screen.width, width, "{size:?} {columns:?}");
        }
    }
}
