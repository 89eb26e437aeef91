//! The Secrets that the policy selects: whether each is verified, and whether the run may change it. Pure.

use std::collections::{BTreeMap, btree_map::Entry};

use cluster::wire;
use eso_model::{
    Id,
    expected::{Spec, SpecNames},
    window::Window,
};

use super::subject::{Found, Standing};
use crate::{
    edits::is_edited,
    finding::{Finding, Findings, Judged, Verdict},
    inventory::{ExternalSecret, Inventory},
    key_names::Names,
    outcome::{ItemResult, Outcome},
    policy::{KeyNames, Require, RestartRule},
    reason::Reason,
    select::Selected,
    workload::{Keys, Workload},
};

/// The target Secrets of the selected ExternalSecrets.
///
/// The selection alone defines the Secrets, so that workloads can be listed before the plan. The plan and the results only change
/// whether a Secret may still change and whether it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    sources: BTreeMap<Id, Vec<Source>>,
    /// The rules for the names of their keys.
    names: BTreeMap<Id, Names>,
}

/// An ExternalSecret that writes a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    id: Id,
    /// True if the run has yet to sync it.
    pending: bool,
    /// Why the sync is not proven, if so.
    unproven: Option<String>,
    judgement: Option<Judgement>,
    /// True if only the operator may write the Secret.
    exclusive: bool,
    /// True if its `syncWindows` deny syncs now, or may do so.
    denied: bool,
}

/// The result of the drift check for one ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Judgement {
    verdict: Verdict,
    /// The data that was checked, if any.
    judged: Option<Judged>,
}

impl From<&Finding> for Judgement {
    fn from(finding: &Finding) -> Self {
        Self {
            verdict: finding.verdict,
            judged: finding.judged.clone(),
        }
    }
}

impl Targets {
    /// Returns the targets before the plan.
    pub fn selected(
        selected: &Selected<'_>,
        findings: &Findings,
        inventory: &Inventory,
        mode: KeyNames,
    ) -> Self {
        let mut targets = Self::default();
        for one in selected {
            let external_secret = one.external_secret;
            let opted_out = matches!(one.taken_out, Some(Reason::Ignored | Reason::Excluded));
            if opted_out || !external_secret.target.written {
                continue;
            }
            let finding = findings.of.get(&external_secret.id);
            let source = Source {
                id: external_secret.id.clone(),
                pending: false,
                unproven: unproven(None, external_secret.proven),
                judgement: finding.map(Judgement::from),
                exclusive: external_secret.target.creation.is_exclusive(),
                denied: one.window.is_some_and(|window| window != Window::Allowed),
            };
            let secret = external_secret.secret_id();
            targets.sources.entry(secret).or_default().push(source);
        }
        for external_secret in &inventory.external_secrets {
            let secret = external_secret.secret_id();
            if targets.sources.contains_key(&secret) {
                let finding = findings.of.get(&external_secret.id);
                let names = names_of(external_secret, finding, mode);
                targets.name(secret, names);
            }
        }
        for secret in inventory.others.keys() {
            if targets.sources.contains_key(secret) {
                let unknown = Names::new(mode, SpecNames::unknown());
                targets.name(secret.clone(), unknown);
            }
        }
        targets
    }

    fn name(&mut self, secret: Id, names: Names) {
        match self.names.entry(secret) {
            Entry::Vacant(vacant) => drop(vacant.insert(names)),
            Entry::Occupied(mut known) => known.get_mut().extend(&names),
        }
    }

    /// The rule for the names of a Secret's keys.
    pub fn names(&self, namespace: &str, secret: &str) -> Option<&Names> {
        let id = Id {
            namespace: namespace.to_owned(),
            name: secret.to_owned(),
        };
        self.names.get(&id)
    }

    /// Returns the targets with the ExternalSecrets that the run will sync marked as pending.
    #[must_use]
    pub fn planned(mut self, is_synced: impl Fn(&Id) -> bool) -> Self {
        for source in self.sources.values_mut().flatten() {
            source.pending = is_synced(&source.id);
        }
        self
    }

    /// Returns the targets after the syncs, with the results of the syncs and of the drift check after them.
    #[must_use]
    pub fn synced<'a>(
        mut self,
        of: impl Fn(&Id) -> (Option<&'a ItemResult>, Option<&'a Finding>),
    ) -> Self {
        for (secret, source) in self
            .sources
            .iter_mut()
            .flat_map(|(secret, sources)| sources.iter_mut().map(move |source| (secret, source)))
        {
            let (result, finding) = of(&source.id);
            source.pending = false;
            // An ExternalSecret without a result was not synced and keeps its earlier proof, if any.
            if let Some(result) = result {
                source.unproven = unproven(Some(result), false);
            }
            if let Some(finding) = finding {
                source.judgement = Some(finding.into());
                let known = self.names.get_mut(secret);
                if let Some((known, found)) = known.zip(finding.names.as_deref()) {
                    known.extend(found);
                }
            }
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The IDs of the target Secrets.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.sources.keys()
    }

    /// The names of the targets in a namespace.
    pub fn within<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a str> {
        self.sources
            .keys()
            .filter(move |secret| secret.namespace == namespace)
            .map(|secret| &*secret.name)
    }

    /// True if a target is in this namespace.
    pub fn reach(&self, namespace: &str) -> bool {
        self.within(namespace).next().is_some()
    }

    fn sources(&self, namespace: &str, secret: &str) -> &[Source] {
        let id = Id {
            namespace: namespace.to_owned(),
            name: secret.to_owned(),
        };
        self.sources.get(&id).map_or(&[], Vec::as_slice)
    }

    /// True if the run may change the data of this Secret.
    pub fn may_change(&self, namespace: &str, secret: &str) -> bool {
        self.sources(namespace, secret)
            .iter()
            .any(|source| source.pending && source.verdict() != Some(Verdict::InSync))
    }

    /// The ExternalSecret whose `syncWindows` deny a change of this Secret now.
    pub fn denied_by(&self, namespace: &str, secret: &str) -> Option<&Id> {
        let mut sources = self.sources(namespace, secret).iter();
        sources
            .find(|source| source.denied)
            .map(|source| &source.id)
    }

    /// Checks a Secret that was read.
    pub fn found(&self, namespace: &str, secret: &wire::Secret) -> Found {
        let sources = self.sources(namespace, &secret.metadata.name);
        Found {
            // If others may add keys, a mismatch of the digest does not mean that the operator's data changed.
            intact: is_edited(secret)
                .map(|edited| !edited)
                .filter(|intact| *intact || sources.iter().all(|source| source.exclusive)),
            changed: sources.iter().any(|source| source.is_outdated(secret)),
        }
    }

    /// Returns whether this Secret is verified.
    pub fn standing(
        &self,
        namespace: &str,
        secret: &str,
        require: Require,
        found: Found,
    ) -> Standing {
        let sources = self.sources(namespace, secret);
        if sources.iter().any(|source| source.pending) {
            return Standing::Pending;
        }
        let tampered = |source: &Source| source.verdict() == Some(Verdict::Tampered);
        if found.intact == Some(false) || sources.iter().any(tampered) {
            return Standing::Tampered;
        }
        sources
            .iter()
            .find_map(|source| Some((source, source.lacks(require, found)?)))
            .map_or(Standing::Verified, |(source, why)| {
                Standing::Unverified(format!("its ExternalSecret {} {why}", source.id.name))
            })
    }

    /// The Secrets that this rule considers for a workload, with the keys that count.
    pub fn concerning(&self, rule: &RestartRule, workload: &Workload) -> BTreeMap<String, Keys> {
        let named = |name: &str| {
            rule.secrets.is_empty() || rule.secrets.iter().any(|glob| glob.matches(name))
        };
        // Without `match`, a rule that lists Secrets covers workloads that do not use them.
        let used_only = rule.r#match.is_some() || rule.secrets.is_empty();
        self.within(&workload.id.namespace)
            .filter(|name| named(name))
            .filter_map(|name| match workload.uses.get(name) {
                Some(keys) => Some((name.to_owned(), keys.clone())),
                None => (!used_only).then(|| (name.to_owned(), Keys::All)),
            })
            .collect()
    }

    /// The index of the first rule that covers a workload.
    pub fn rule_of(&self, rules: &[RestartRule], workload: &Workload) -> Option<usize> {
        let id = &workload.id;
        let covers = |rule: &RestartRule| {
            rule.kinds.contains(&id.kind)
                && (rule.namespaces.is_empty()
                    || rule
                        .namespaces
                        .iter()
                        .any(|glob| glob.matches(&id.namespace)))
                && (rule.names.is_empty() || rule.names.iter().any(|glob| glob.matches(&id.name)))
                && rule
                    .label_selector
                    .as_ref()
                    .is_none_or(|selector| selector.matches(&workload.labels))
                && (rule.r#match.is_none() || !self.concerning(rule, workload).is_empty())
        };
        rules.iter().position(covers)
    }
}

/// The rule for the names of the keys that an ExternalSecret writes.
fn names_of(external_secret: &ExternalSecret, finding: Option<&Finding>, mode: KeyNames) -> Names {
    if let Some(names) = finding.and_then(|finding| finding.names.as_deref()) {
        return names.clone();
    }
    let spec = external_secret.spec.as_deref().map(Spec::from_json);
    let spec = spec.and_then(Result::ok);
    let names = spec.map(|spec| SpecNames::of(&spec, |_, _| None));
    Names::new(mode, names.unwrap_or_else(SpecNames::unknown))
}

impl Source {
    fn verdict(&self) -> Option<Verdict> {
        self.judgement.as_ref().map(|judgement| judgement.verdict)
    }

    /// True if it was in sync with other data than this.
    fn is_outdated(&self, secret: &wire::Secret) -> bool {
        self.judgement.as_ref().is_some_and(|judgement| {
            let fits = |judged: &Judged| judged.fits(secret);
            judgement.verdict == Verdict::InSync && !judgement.judged.as_ref().is_some_and(fits)
        })
    }

    /// Returns which part of `require` it does not fulfil.
    fn lacks(&self, require: Require, found: Found) -> Option<String> {
        match (require, self.verdict()) {
            (Require::Proven, _) => self.unproven.clone(),
            (Require::InSync, Some(Verdict::InSync)) if found.changed => {
                Some("was in sync, but its Secret's data has changed since the check".to_owned())
            }
            (Require::InSync, Some(Verdict::InSync)) => None,
            (Require::InSync, None) => {
                Some("was not compared with the provider in this run".to_owned())
            }
            (Require::InSync, Some(verdict)) => Some(format!("is {}", word(verdict))),
        }
    }
}

/// A synced item is proven by this run. Any other item may be proven from an earlier one.
fn unproven(result: Option<&ItemResult>, proven: bool) -> Option<String> {
    match result {
        Some(result) if result.outcome == Outcome::Synced => None,
        Some(result) => {
            let reason = result.reason.map(Reason::as_str).unwrap_or_default();
            Some(format!("is {}({reason})", result.outcome.into_str()))
        }
        None if proven => None,
        None => Some("has no proof that its current version was synced".to_owned()),
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::InSync => "in sync",
        Verdict::Stale => "stale",
        Verdict::Tampered => "tampered with",
        Verdict::Partial => "partial",
        Verdict::Missing => "missing",
        Verdict::Unverifiable => "unverifiable",
    }
}

#[cfg(test)]
impl Targets {
    /// No targets.
    pub(super) const fn none() -> Self {
        Self {
            sources: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// The same with open deny windows.
    pub(super) fn in_deny_window(mut self) -> Self {
        for source in self.sources.values_mut().flatten() {
            source.denied = true;
        }
        self
    }

    /// The Secret `shop/db`, pending or with this verdict.
    pub(super) fn db(pending: bool, verdict: Option<Verdict>) -> Self {
        let id = Id {
            namespace: "shop".to_owned(),
            name: "db".to_owned(),
        };
        let source = Source {
            id: id.clone(),
            pending,
            unproven: None,
            judgement: verdict.map(|verdict| Judgement {
                verdict,
                judged: None,
            }),
            exclusive: true,
            denied: false,
        };
        Self {
            sources: BTreeMap::from([(id, vec![source])]),
            names: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn target(exclusive: bool) -> Targets {
        let id = |name: &str| Id {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let source = Source {
            id: id("db"),
            pending: false,
            unproven: None,
            judgement: None,
            exclusive,
            denied: false,
        };
        Targets {
            sources: BTreeMap::from([(id("db"), vec![source])]),
            names: BTreeMap::new(),
        }
    }

    /// A Secret whose data does not match this digest, with the managed fields of other writers.
    fn secret(digest: &str, managed: &Json) -> wire::Secret {
        let secret = json!({
            "metadata": {
                "namespace": "shop", "name": "db", "managedFields": managed,
                "annotations": {"reconcile.external-secrets.io/data-hash": digest},
            },
            "data": {"password": "YQ=="},
        });
        serde_json::from_value(secret).unwrap()
    }

    #[test]
    fn a_digest_mismatch_is_judged_like_in_the_drift_check() {
        let others =
            json!([{"manager": "kubectl-edit", "fieldsV1": {"f:data": {"f:password": {}}}}]);
        let (new, old) = ("0".repeat(56), "0".repeat(32));
        let intact =
            |exclusive, secret: &wire::Secret| target(exclusive).found("shop", secret).intact;
        assert_eq!(intact(true, &secret(&new, &json!([]))), Some(false));
        assert_eq!(intact(true, &secret(&old, &others)), Some(false));
        // Old operators also hashed keys that they had removed.
        assert_eq!(intact(true, &secret(&old, &json!([]))), None);
        // Other writers may add keys to a merged Secret.
        assert_eq!(intact(false, &secret(&new, &others)), None);
    }
}
