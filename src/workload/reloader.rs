//! What Stakater Reloader is set to restart: that is left to it.

use std::collections::BTreeMap;

use regex::Regex;

type Annotations = BTreeMap<String, String>;

/// Reloader's own annotations on a workload or its pod template, as far as they concern Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloader {
    /// Every Secret that the workload uses.
    auto: bool,
    /// These, by name or regular expression.
    named: Vec<String>,
    /// Those whose marks say so.
    search: bool,
    /// Whatever the others say, not these.
    except: Vec<String>,
}

/// Reloader's own annotations on a Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Workloads that search take it.
    pub matched: bool,
    /// Reloader restarts nothing on it.
    pub ignored: bool,
}

impl Marks {
    /// Says that a Secret is matched.
    pub const MATCH: &str = "reloader.stakater.com/match";

    /// Says that a Secret is ignored. On a workload it says nothing.
    pub const IGNORE: &str = "reloader.stakater.com/ignore";
}

impl Reloader {
    /// As these annotations say. Where those of the workload say nothing of which Secrets, those of the pod template count.
    pub(super) fn of(workload: &Annotations, template: &Annotations) -> Self {
        const AUTO: &str = "reloader.stakater.com/auto";
        const AUTO_SECRETS: &str = "secret.reloader.stakater.com/auto";
        const NAMED: &str = "secret.reloader.stakater.com/reload";
        const SEARCH: &str = "reloader.stakater.com/search";
        const EXCEPT: &str = "secrets.exclude.reloader.stakater.com/reload";
        let says = |name: &str| workload.contains_key(name);
        let own = [AUTO, AUTO_SECRETS, NAMED, SEARCH].into_iter().any(says);
        let counts = if own { workload } else { template };
        let is = |name: &str| counts.get(name).is_some_and(|value| value == "true");
        let mut except = list(workload, EXCEPT);
        // Reloader's versions differ in where they look for this. What one of them leaves alone is better restarted twice than never.
        if !own {
            except.extend(list(template, EXCEPT));
        }
        Self {
            auto: is(AUTO) || is(AUTO_SECRETS),
            named: list(counts, NAMED),
            search: is(SEARCH),
            except,
        }
    }

    /// Whether Reloader restarts the workload when this Secret, which bears these marks, changes.
    pub fn covers(&self, secret: &str, marks: Marks) -> bool {
        let fits = |pattern: &String| {
            pattern == secret
                || Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(secret))
        };
        !marks.ignored
            && !self.except.iter().any(|name| name == secret)
            && (self.auto || self.named.iter().any(fits) || (self.search && marks.matched))
    }
}

fn list(annotations: &Annotations, name: &str) -> Vec<String> {
    let names = annotations.get(name).map(|value| value.split(','));
    names
        .into_iter()
        .flatten()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}
