//! What Stakater Reloader is set to restart: that is left to it.

use std::collections::BTreeMap;

use regex::Regex;

type Annotations = BTreeMap<String, String>;

/// Reloader's own annotations on a workload or its pod template, as far as they concern Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloader {
    /// Every Secret that the workload uses …
    auto: bool,
    /// … but these.
    except: Vec<String>,
    /// These, by name or regular expression.
    named: Vec<String>,
    /// Those that bear [`Reloader::MATCH`].
    search: bool,
}

impl Reloader {
    /// On a Secret: workloads that search take it.
    pub const MATCH: &str = "reloader.stakater.com/match";

    /// As these annotations say. Reloader looks at the workload first, and at the pod template where that says nothing.
    pub(super) fn of(workload: &Annotations, template: &Annotations) -> Self {
        let get = |name: &str| workload.get(name).or_else(|| template.get(name));
        let is = |name: &str| get(name).is_some_and(|value| value == "true");
        let list = |name: &str| -> Vec<String> {
            let names = get(name)
                .map(|value| value.split(','))
                .into_iter()
                .flatten();
            names
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect()
        };
        if is("reloader.stakater.com/ignore") {
            return Self::default();
        }
        Self {
            auto: is("reloader.stakater.com/auto") || is("secret.reloader.stakater.com/auto"),
            except: list("secrets.exclude.reloader.stakater.com/reload"),
            named: list("secret.reloader.stakater.com/reload"),
            search: is("reloader.stakater.com/search"),
        }
    }

    /// Whether Reloader restarts the workload when this Secret changes; `matched` says whether the Secret bears
    /// [`Reloader::MATCH`].
    pub fn covers(&self, secret: &str, matched: bool) -> bool {
        let fits = |pattern: &String| {
            pattern == secret
                || Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(secret))
        };
        (self.auto && !self.except.iter().any(fits))
            || self.named.iter().any(fits)
            || (self.search && matched)
    }
}
