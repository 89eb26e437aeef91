//! The names of a Secret's keys, as everything outside of a decision may know them. A name can hold a value, so [`Names`] judges it
//! while the values are in memory, and what it returns no longer has a hidden name.

use std::{collections::BTreeSet, fmt};

use eso_model::expected::{HeldValues, SpecNames, looks_like_a_name};
use secret::RunKey;
use serde::{Deserialize, Serialize};

use crate::policy::KeyNames;

/// The first character of the label of a hidden name. A key of a Secret cannot have it.
const HIDDEN: char = '#';

/// A name that may be shown, or a label without the name. Stamps have it as text, and one from a stamp may be of an earlier run
/// that had other rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyName(String);

impl KeyName {
    /// A hidden name. `label` distinguishes it from other hidden names, and must not reveal it.
    pub fn hidden(label: &str) -> Self {
        Self(format!("{HIDDEN}{label}"))
    }

    /// The name, unless it is hidden.
    pub fn shown(&self) -> Option<&str> {
        (!self.0.starts_with(HIDDEN)).then_some(&*self.0)
    }

    /// The name or the label.
    pub fn label(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
impl From<&str> for KeyName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// The rule for the key names of one Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    mode: KeyNames,
    spec: SpecNames,
    /// Names that hold a value.
    holding: BTreeSet<String>,
}

impl Names {
    pub fn new(mode: KeyNames, spec: SpecNames) -> Self {
        Self {
            mode,
            spec,
            holding: BTreeSet::new(),
        }
    }

    /// Adds the names of another ExternalSecret that writes the same Secret.
    pub fn extend(&mut self, other: &Self) {
        self.spec.extend(other.spec.clone());
        self.holding.extend(other.holding.iter().cloned());
    }

    /// Adds names that stand in a workload.
    pub fn add_references<'n>(&mut self, names: impl IntoIterator<Item = &'n String>) {
        self.spec.add(names);
    }

    /// True if the values decide about any of these names.
    pub fn need_values<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> bool {
        names.any(|name| self.shows(name) && !self.spec.is_written(name))
    }

    /// Hides those of these names that hold a value. Must be called with all names before one is shown.
    pub fn hide_values<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        held: &HeldValues,
        key: &RunKey,
    ) {
        for name in names {
            if self.shows(name) && !self.spec.is_written(name) && held.are_in(name, key) {
                self.holding.insert(name.to_owned());
            }
        }
    }

    /// Returns the name, without the name itself if it is hidden.
    pub fn of(&self, name: &str) -> KeyName {
        self.labelled(name, String::new)
    }

    /// The same. `label` returns what takes the place of a hidden name.
    pub fn labelled(&self, name: &str, label: impl FnOnce() -> String) -> KeyName {
        if self.shows(name) {
            KeyName(name.to_owned())
        } else {
            KeyName::hidden(&label())
        }
    }

    /// The same rule without what is in the spec itself. None if there is nothing else.
    pub fn beyond_spec(&self) -> Option<&Self> {
        (!self.holding.is_empty() || self.spec.has_referred()).then_some(self)
    }

    /// A name that stands in the spec or in a workload reveals nothing, even if it equals a value: everybody who knows that it is
    /// a value knows the value.
    fn shows(&self, name: &str) -> bool {
        match self.mode {
            KeyNames::None => false,
            KeyNames::Literal => self.spec.stands_in_spec(name),
            KeyNames::Safe => {
                self.spec.is_written(name)
                    || (!self.spec.may_compute()
                        && looks_like_a_name(name)
                        && !self.holding.contains(name))
            }
        }
    }
}

/// The number of hidden names, in words.
pub struct Hidden(pub usize);

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 key whose name comes from data"),
            count => write!(f, "{count} keys whose names come from data"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use eso_model::expected::Spec;
    use secret::Value;
    use serde_json::{Value as Json, json};

    use super::*;

    fn names(mode: KeyNames, spec: &Json) -> Names {
        let spec = Spec::parse(spec).unwrap();
        Names::new(mode, SpecNames::of(&spec, |_, _| None))
    }

    fn extract(mode: KeyNames) -> Names {
        let spec = json!({"data": [{"secretKey": "hunter2", "remoteRef": {"key": "db"}}], "dataFrom": [{"extract": {"key": "db"}}]});
        names(mode, &spec)
    }

    fn computing(mode: KeyNames) -> Names {
        let literal = "plain: x\n{{ .v }}: x";
        names(
            mode,
            &json!({"target": {"template": {"templateFrom": [{"literal": literal}]}}}),
        )
    }

    /// The names that are shown of a Secret with this data.
    fn shown(mut names: Names, data: &[(&str, &str)]) -> String {
        let key = RunKey::from_bytes([5; 32]);
        let data: BTreeMap<String, Value> = data
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        let held = HeldValues::of(&data, &key);
        names.hide_values(data.keys().map(String::as_str), &held, &key);
        let shown = data
            .keys()
            .filter_map(|name| names.of(name).shown().map(str::to_owned));
        shown.collect::<Vec<_>>().join(" ")
    }

    const DATA: [(&str, &str); 5] = [
        ("user", "alice"),
        ("alice-old", "x"),
        ("sk-live-4242", "x"),
        ("hunter2", "x"),
        ("password", "hunter2"),
    ];

    #[test]
    fn each_mode_shows_a_part_of_the_one_before() {
        assert_eq!(
            shown(extract(KeyNames::Safe), &DATA),
            "hunter2 password user"
        );
        assert_eq!(shown(extract(KeyNames::Literal), &DATA), "hunter2");
        assert_eq!(shown(extract(KeyNames::None), &DATA), "");
    }

    #[test]
    fn name_that_a_template_may_have_computed_is_hidden() {
        let data = [("plain", "x"), ("secretly", "x")];
        assert_eq!(shown(computing(KeyNames::Safe), &data), "plain");
        assert_eq!(
            shown(Names::new(KeyNames::Safe, SpecNames::unknown()), &data),
            ""
        );
    }

    #[test]
    fn name_that_stands_in_a_workload_is_shown() {
        let with_reference = |mode| {
            let mut names = computing(mode);
            names.add_references([&"secretly".to_owned()]);
            shown(names, &[("secretly", "x")])
        };
        assert_eq!(with_reference(KeyNames::Safe), "secretly");
        assert_eq!(with_reference(KeyNames::Literal), "secretly");
        assert_eq!(with_reference(KeyNames::None), "");
    }

    #[test]
    fn hidden_name_is_gone() {
        let name = computing(KeyNames::Safe).labelled("secretly", || "label".to_owned());
        assert_eq!((name.shown(), name.label()), (None, "#label"));
        assert!(!format!("{name:?}{}", json!(name)).contains("secretly"));
        assert_eq!(Hidden(1).to_string(), "1 key whose name comes from data");
        assert_eq!(Hidden(2).to_string(), "2 keys whose names come from data");
    }
}
