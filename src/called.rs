//! How the user called the program, so that the commands that it suggests reach the same cluster when they are copied.

/// The name of the program in the texts of this crate.
pub const NAME: &str = "eso-sync";

/// The commands that connect to a cluster.
const CONNECTING: [&str; 13] = [
    "advise", "diagnose", "drift", "events", "history", "impact", "init", "plan", "publish",
    "restart", "run", "status", "sync",
];

/// The other commands, which take no flags of the connection.
const OTHERS: [&str; 4] = ["explain", "rbac", "schema", "validate"];

/// The name of the program and the flags of the connection, as the user gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    program: &'static str,
    /// Empty, or the flags with a space before each.
    flags: String,
}

impl Default for Called {
    fn default() -> Self {
        Self {
            program: NAME,
            flags: String::new(),
        }
    }
}

impl Called {
    /// By this name, with these flags.
    pub const fn with(program: &'static str, flags: String) -> Self {
        Self { program, flags }
    }

    /// This command as the user would call it.
    pub fn command(&self, command: &str) -> String {
        format!("{}{} {command}", self.program, self.flags)
    }

    /// The text with this name and these flags in its commands: those in backquotes, and those that are a step of a numbered list.
    pub fn in_commands(&self, text: &str) -> String {
        let mut adapted = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(NAME) {
            let (before, after) = rest.split_at(at);
            adapted.push_str(before);
            rest = after.strip_prefix(NAME).unwrap_or_default();
            let word = rest.strip_prefix(' ').unwrap_or_default();
            let word = word
                .split(|c: char| !c.is_ascii_lowercase())
                .next()
                .unwrap_or_default();
            let connects = CONNECTING.contains(&word);
            if begins_command(&adapted) && (connects || OTHERS.contains(&word)) {
                adapted.push_str(self.program);
                if connects {
                    adapted.push_str(&self.flags);
                }
            } else {
                adapted.push_str(NAME);
            }
        }
        adapted.push_str(rest);
        adapted
    }
}

/// True if a command begins after this text.
fn begins_command(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let number = line.strip_suffix(". ");
    let is_step = number.is_some_and(|number| {
        !number.is_empty() && number.chars().all(|digit| digit.is_ascii_digit())
    });
    is_step || line.ends_with('`')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    #[test]
    fn commands_reach_the_same_cluster() {
        let prod = Called::with(NAME, " --context 'pr od' --as ops".to_owned());
        for (text, adapted) in [
            (
                "run `eso-sync diagnose NAME` to see why",
                "run `eso-sync --context 'pr od' --as ops diagnose NAME` to see why",
            ),
            (
                "WRONG\n\n1. eso-sync sync a -n n --restart\n",
                "WRONG\n\n1. eso-sync --context 'pr od' --as ops sync a -n n --restart\n",
            ),
            ("`eso-sync explain stale`", "`eso-sync explain stale`"),
            ("another eso-sync run", "another eso-sync run"),
            ("`eso-sync` and eso-sync", "`eso-sync` and eso-sync"),
            ("`eso-sync/ignore`", "`eso-sync/ignore`"),
            ("`eso-sync", "`eso-sync"),
        ] {
            assert_eq!(prod.in_commands(text), adapted);
            assert_eq!(Called::default().in_commands(text), text);
        }
        let plugin = Called::with("kubectl eso-sync", " --context c".to_owned());
        assert_eq!(
            plugin.in_commands("`eso-sync rbac`, `eso-sync plan`"),
            "`kubectl eso-sync rbac`, `kubectl eso-sync --context c plan`"
        );
    }

    /// A new command that is missing here would be suggested for another cluster.
    #[test]
    fn each_command_is_known() {
        use clap::CommandFactory as _;
        let known: Vec<&str> = CONNECTING
            .into_iter()
            .chain(OTHERS)
            .chain(["guide", "completion", "man"])
            .collect();
        for command in Cli::command().get_subcommands() {
            assert!(
                known.contains(&command.get_name()),
                "{}",
                command.get_name()
            );
        }
    }
}
