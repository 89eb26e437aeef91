//! Reads the configuration of Stakater Reloader and of wave, whose workloads eso-sync does not restart.

use std::collections::BTreeMap;

use regex::RegexBuilder;

use super::Kind;

/// The expressions of one workload that are compiled, the length of each, and its compiled size in bytes. A name of a Secret has
/// at most 253 letters.
const MAX_PATTERNS: usize = 20;
const MAX_PATTERN: usize = 253;
const MAX_REGEX_SIZE: usize = 64 << 10;

type Annotations = BTreeMap<String, String>;

/// Reloader's annotations on a workload or its pod template that concern Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloader {
    /// All Secrets that the workload uses.
    auto: bool,
    /// Secrets by name or regular expression.
    named: Vec<String>,
    /// Secrets with the match annotation.
    search: bool,
    /// Secrets that are excluded in any case.
    except: Vec<String>,
    /// If wave restarts it: the names of further Secrets, in addition to those that it uses.
    wave: Option<Vec<String>>,
}

/// Reloader's annotations on a Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Workloads with the search annotation use it.
    pub matched: bool,
    /// Reloader ignores it.
    pub ignored: bool,
}

impl Marks {
    /// Marks a Secret as matched.
    pub const MATCH: &str = "reloader.stakater.com/match";

    /// Makes Reloader ignore a Secret. Has no effect on a workload.
    pub const IGNORE: &str = "reloader.stakater.com/ignore";
}

impl Reloader {
    /// Reads these annotations. Those of the pod template count only if the workload itself has none that select Secrets.
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
        // Reloader's versions differ in where they read this. One version would not restart it, and two restarts are better
        // than none.
        if !own {
            except.extend(list(template, EXCEPT));
        }
        Self {
            auto: is(AUTO) || is(AUTO_SECRETS),
            named: list(counts, NAMED),
            search: is(SEARCH),
            except,
            wave: None,
        }
    }

    /// Adds the annotations of wave. Only those of the workload itself count, and only for these kinds.
    #[must_use]
    pub fn with_wave(mut self, kind: Kind, namespace: &str, workload: &Annotations) -> Self {
        const WAVE: &str = "wave.pusher.com/update-on-config-change";
        const MORE: &str = "wave.pusher.com/extra-secrets";
        let of_wave = matches!(kind, Kind::DaemonSet | Kind::Deployment | Kind::StatefulSet);
        if of_wave && workload.get(WAVE).is_some_and(|value| value == "true") {
            let more = list(workload, MORE).into_iter();
            let own = |name: String| match name.split_once('/') {
                None => Some(name),
                Some((of, name)) => (of == namespace).then(|| name.to_owned()),
            };
            self.wave = Some(more.filter_map(own).collect());
        }
        self
    }

    /// True if wave restarts the workload.
    pub const fn is_wave(&self) -> bool {
        self.wave.is_some()
    }

    /// True if wave restarts the workload when this Secret changes.
    pub(super) fn wave_covers(&self, secret: &str, used: bool) -> bool {
        let more = |more: &Vec<String>| used || more.iter().any(|name| name == secret);
        self.wave.as_ref().is_some_and(more)
    }

    /// True if Reloader restarts the workload when this Secret changes.
    pub fn covers(&self, secret: &str, marks: Marks) -> bool {
        !marks.ignored
            && !self.except.iter().any(|name| name == secret)
            && (self.auto || self.names(secret) || (self.search && marks.matched))
    }

    /// True if `named` contains this Secret, or an expression that matches it. Whoever may write a workload writes the
    /// expressions, so only a few small ones are compiled. If others match too, the workload is restarted twice.
    fn names(&self, secret: &str) -> bool {
        let is_name = |name: &String| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            name.bytes().all(plain)
        };
        let fits = |pattern: &String| {
            RegexBuilder::new(&format!("^(?:{pattern})$"))
                .size_limit(MAX_REGEX_SIZE)
                .build()
                .is_ok_and(|regex| regex.is_match(secret))
        };
        let patterns = self
            .named
            .iter()
            .filter(|pattern| pattern.len() <= MAX_PATTERN && !is_name(pattern));
        self.named.iter().any(|name| name == secret) || patterns.take(MAX_PATTERNS).any(fits)
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
