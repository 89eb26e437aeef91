//! The arguments of a credential plugin. An argument that is not known is an error, because ignoring it could change who logs in.

use std::collections::BTreeMap;

/// A flag of a plugin.
pub(crate) struct Flag {
    /// With its dashes.
    name: &'static str,
    short: Option<&'static str>,
    takes_value: bool,
}

/// A flag with a value.
pub(crate) const fn value(name: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes_value: true,
    }
}

/// A flag without a value.
pub(crate) const fn switch(name: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes_value: false,
    }
}

impl Flag {
    pub(crate) const fn or(mut self, short: &'static str) -> Self {
        self.short = Some(short);
        self
    }

    fn is(&self, name: &str) -> bool {
        self.name == name || self.short == Some(name)
    }
}

/// The values of flags. No `Debug`, because one may be a credential.
pub(crate) struct Arguments(BTreeMap<&'static str, String>);

impl Arguments {
    /// Parses `--flag VALUE`, `--flag=VALUE`, `-f VALUE` and `-fVALUE`, and these words between them. As in the programs, the last
    /// one counts if a flag is repeated.
    pub(crate) fn parse(
        words: &[&str],
        flags: &[Flag],
        arguments: &[String],
    ) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        let mut words = words.iter();
        let mut rest = arguments.iter().enumerate();
        while let Some((index, argument)) = rest.next() {
            if !argument.starts_with('-') {
                // It is not quoted, because it may be a credential behind an unknown flag.
                match words.next() {
                    Some(word) if word == argument => continue,
                    Some(word) => return Err(format!("argument {} must be `{word}`", index + 1)),
                    None => return Err(format!("argument {} is not expected", index + 1)),
                }
            }
            let (name, inline) = split(argument);
            let flag = flags.iter().find(|flag| flag.is(name));
            let flag = flag.ok_or_else(|| unknown(name, flags))?;
            let value = match (flag.takes_value, inline) {
                (true, None) => match rest.next() {
                    Some((_, value)) => value.clone(),
                    None => return Err(format!("the flag {name} needs a value")),
                },
                (false, None) => "true".to_owned(),
                (true, Some(value)) | (false, Some(value @ ("true" | "false"))) => value.to_owned(),
                (false, Some(_)) => return Err(format!("the flag {name} takes no value")),
            };
            values.insert(flag.name, value);
        }
        match words.next() {
            Some(word) => Err(format!("the argument `{word}` is missing")),
            None => Ok(Self(values)),
        }
    }

    /// The value of a flag, if it is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}

/// The name of a flag, and the value that is part of the argument.
fn split(argument: &str) -> (&str, Option<&str>) {
    if let Some((name, value)) = argument.split_once('=') {
        return (name, Some(value));
    }
    match argument.char_indices().nth(2) {
        Some((end, _)) if !argument.starts_with("--") => {
            let (name, value) = argument.split_at(end);
            (name, Some(value))
        }
        _ => (argument, None),
    }
}

fn unknown(name: &str, flags: &[Flag]) -> String {
    let known: Vec<&str> = flags.iter().map(|flag| flag.name).collect();
    format!(
        "the flag {name} is not supported; supported are {}",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(&'static str, String)>, String> {
        let flags = [value("--name").or("-n"), switch("--quiet").or("-q")];
        let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let parsed = Arguments::parse(&["get", "token"], &flags, &arguments)?;
        Ok(parsed.0.into_iter().collect())
    }

    #[test]
    fn flags_are_read_in_all_their_forms() {
        let name = |value: &str| Ok(vec![("--name", value.to_owned())]);
        for text in [
            "get token --name a",
            "get token --name=a",
            "--name a get token",
            "get -n a token",
            "get token -na",
            "get token -n=a",
            "get token --name b --name a",
        ] {
            assert_eq!(parsed(text), name("a"), "{text}");
        }
        assert_eq!(parsed("get token --name=--x=y"), name("--x=y"));
        assert_eq!(
            parsed("get token -q"),
            Ok(vec![("--quiet", "true".to_owned())])
        );
        assert_eq!(
            parsed("get token --quiet=false"),
            Ok(vec![("--quiet", "false".to_owned())])
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, why) in [
            (
                "get token --nam a",
                "the flag --nam is not supported; supported are --name, --quiet",
            ),
            (
                "get token --secret=hunter2",
                "the flag --secret is not supported; supported are --name, --quiet",
            ),
            (
                "get token -x",
                "the flag -x is not supported; supported are --name, --quiet",
            ),
            (
                "get token --",
                "the flag -- is not supported; supported are --name, --quiet",
            ),
            ("get token hunter2", "argument 3 is not expected"),
            ("put token", "argument 1 must be `get`"),
            ("get --name a", "the argument `token` is missing"),
            ("get token --name", "the flag --name needs a value"),
            (
                "get token --quiet=hunter2",
                "the flag --quiet takes no value",
            ),
        ] {
            assert_eq!(parsed(text), Err(why.to_owned()), "{text}");
        }
    }
}
