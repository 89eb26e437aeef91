//! The chain from the provider to the pods: one line for each link, which is proven, or not proven with the reason.

use std::{collections::BTreeMap, fmt::Write as _};

use eso_model::Id;
use schemars::JsonSchema;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::{
    Document, DocumentItem, DocumentRestart,
    layout::Header,
    sheet::{ChainLink, Level},
    table::fitted,
    view::View,
};
use crate::{
    finding::Verdict,
    foreign::{self, Foreign},
    key_names::Hidden,
    outcome::Outcome,
    plan::{Item, Plan},
    restart::results::{RestartOutcome, RestartResults},
    results::Results,
};

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Link {
    /// The kind of the link.
    pub link: LinkKind,
    /// The object that the link describes.
    pub of: Foreign,
    /// True if this run proved the link.
    pub proven: bool,
    /// The proof; for a link that is not proven, the reason.
    pub message: Foreign,
}

/// The kinds of links, in their order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum LinkKind {
    /// The Secret has the provider's data.
    Provider,
    /// The operator synced the ExternalSecret.
    #[strum(serialize = "ExternalSecret")]
    ExternalSecret,
    /// The Secret has the data that the operator wrote.
    #[strum(serialize = "Secret")]
    Secret,
    /// The workload that uses the Secret was restarted.
    Workload,
    /// All pods of the workload are new.
    Pods,
}

fn link(link: LinkKind, of: impl Into<Foreign>, found: Result<String, String>) -> Link {
    Link {
        link,
        of: of.into(),
        proven: found.is_ok(),
        message: found.unwrap_or_else(|why| why).into(),
    }
}

/// The chains that a report contains. It bounds the size of the JSON document: a chain takes about 1 kB.
const MOST: usize = 1_000;

/// The links that a command does not look at.
const PROVIDER_UNREAD: &str = "this command did not read the provider";
const SECRET_UNREAD: &str = "this command did not read the Secret";

impl Link {
    /// True if the command did not look at it.
    fn was_not_read(&self) -> bool {
        !self.proven && [PROVIDER_UNREAD, SECRET_UNREAD].contains(&self.message.exact())
    }
}

/// So many chains are shown link by link.
const FEW: usize = 3;

/// The chains that a table shows if all of their links are proven.
const SHOWN: usize = 20;

impl Document {
    /// Adds the chain of every item.
    #[must_use]
    pub fn with_chain(self, plan: &Plan, results: &Results) -> Self {
        self.with_chains_of(plan, results, |_, _| true)
    }

    /// Adds the chains of what was synced or failed, and of the other Secrets whose workloads were restarted or failed.
    #[must_use]
    pub fn with_chain_of_syncs(self, plan: &Plan, results: &Results) -> Self {
        let restarts = self.restarts_with_a_chain();
        let is_good = |item: &DocumentItem| item.outcome == Some(Outcome::Synced);
        let bad = self
            .synced_or_failed()
            .filter(|item| !is_good(item))
            .count();
        // What failed comes before what went well.
        let (mut bad, mut good) = (bad.min(MOST), MOST.saturating_sub(bad));
        self.with_chains_of(plan, results, |item, planned| {
            let is_restarted = || {
                let id = planned.secret_id();
                let mut restarts = restarts.iter();
                restarts.any(|restart| is_concerned(restart, &id, &results.restarts))
            };
            let left = match item.outcome {
                None => return false,
                Some(Outcome::Skipped) if !is_restarted() => return false,
                Some(Outcome::Synced | Outcome::Skipped) => &mut good,
                Some(Outcome::Failed | Outcome::Unproven | Outcome::NotReached) => &mut bad,
            };
            let is_shown = *left > 0;
            *left -= usize::from(is_shown);
            is_shown
        })
    }

    /// What was synced, or would have been.
    fn synced_or_failed(&self) -> impl Iterator<Item = &DocumentItem> {
        let outcome = |item: &&DocumentItem| item.outcome.is_some_and(|it| it != Outcome::Skipped);
        self.items.iter().filter(outcome)
    }

    /// The workloads that were restarted or failed.
    fn restarts_with_a_chain(&self) -> Vec<DocumentRestart> {
        let restarts = self.restarts.iter().filter(|restart| {
            let outcome = restart.outcome;
            outcome.is_some_and(|it| it == RestartOutcome::Restarted || !it.is_good())
        });
        restarts.cloned().collect()
    }

    /// Adds the chains of the Secrets whose workloads were restarted or failed.
    #[must_use]
    pub fn with_chain_of_restarts(self, plan: &Plan, results: &Results) -> Self {
        let restarts = self.restarts_with_a_chain();
        let mut left = MOST;
        self.with_chains_of(plan, results, |_, planned| {
            let id = planned.secret_id();
            let is_shown = left > 0
                && restarts
                    .iter()
                    .any(|restart| is_concerned(restart, &id, &results.restarts));
            left -= usize::from(is_shown);
            is_shown
        })
    }

    /// Adds the chains of what the run changed or failed to change, if it restarts workloads.
    #[must_use]
    pub fn with_chain_of_changes(self, plan: &Plan, results: &Results) -> Self {
        if self.restarts.is_empty() {
            return self;
        }
        self.with_chain_of_syncs(plan, results)
    }

    fn with_chains_of(
        mut self,
        plan: &Plan,
        results: &Results,
        mut is_shown: impl FnMut(&DocumentItem, &Item) -> bool,
    ) -> Self {
        let restarts = &results.restarts;
        let mut chain = Vec::new();
        for (item, (at, planned)) in self.items.iter().zip(plan.items.entries()) {
            if !is_shown(item, planned) {
                continue;
            }
            let verdict = results.finding(at, planned).map(|found| found.verdict);
            let of = planned.id.to_string();
            chain.push(link(
                LinkKind::Provider,
                format!("{} of {of}", planned.provider),
                provider(verdict, item, planned),
            ));
            let synced = match (item.outcome, item.current_sync) {
                (Some(Outcome::Synced), Some(at)) => Ok(format!("the operator synced it at {at}")),
                (Some(Outcome::Synced), None) => Ok("the operator synced it".to_owned()),
                (Some(Outcome::Skipped), _) if verdict == Some(Verdict::InSync) => {
                    Ok("no sync was needed: its Secret has the provider's data".to_owned())
                }
                _ => Err(reason(
                    item.reason.map(crate::reason::Reason::as_str),
                    item.message.exact(),
                )),
            };
            chain.push(link(LinkKind::ExternalSecret, &*of, synced));
            let id = planned.secret_id();
            chain.push(link(
                LinkKind::Secret,
                id.to_string(),
                secret(&id, restarts, verdict),
            ));
            chain.extend(workloads(&id, &self.restarts, restarts));
        }
        self.chain = chain;
        self
    }
}

impl Document {
    /// The links from the provider to this workload, for each of its Secrets.
    pub(super) fn chain_of(&self, restart: &DocumentRestart) -> Vec<ChainLink> {
        let of = workload(restart);
        let is_its = |link: &Link| link.link >= LinkKind::Workload && link.of.exact() == of;
        let chains = self
            .chain
            .chunk_by(|_, next| next.link != LinkKind::Provider);
        let concerned = chains.filter(|chain| chain.iter().any(is_its));
        let links = concerned
            .flatten()
            .filter(|link| link.link < LinkKind::Workload || is_its(link));
        let mut shown: Vec<ChainLink> = Vec::new();
        for link in links {
            let one = link.shown(restart);
            // Several Secrets lead to the same pods.
            if !shown.contains(&one) {
                shown.push(one);
            }
        }
        shown
    }
}

impl Link {
    /// The link in the chain of this workload.
    fn shown(&self, restart: &DocumentRestart) -> ChainLink {
        let (level, state) = match (self.link, self.proven) {
            (LinkKind::Workload, _) => (restart.level(), restart.outcome_word()),
            (_, true) => (Level::Good, "proven"),
            (_, false) if self.was_not_read() => (Level::Skipped, "not read"),
            (_, false) => (Level::Unknown, "not proven"),
        };
        let (kind, name) = match self.link {
            // The name of its ExternalSecret tells it from other Secrets of the workload.
            LinkKind::Provider => ("provider", self.of.clone()),
            LinkKind::Workload => (restart.kind.into_str(), restart.name.clone()),
            LinkKind::Pods => ("pods", restart.name.clone()),
            LinkKind::ExternalSecret | LinkKind::Secret => {
                let id = self.of.exact();
                let name = id.rsplit('/').next().unwrap_or(id);
                (self.link.into_str(), name.into())
            }
        };
        ChainLink {
            kind,
            name,
            level,
            state,
        }
    }
}

/// The workload in the form of a link.
fn workload(restart: &DocumentRestart) -> String {
    let (namespace, kind) = (restart.namespace.exact(), restart.kind.into_str());
    format!("{namespace}/{kind}/{}", restart.name.exact())
}

fn provider(
    verdict: Option<Verdict>,
    item: &DocumentItem,
    planned: &Item,
) -> Result<String, String> {
    match verdict {
        Some(Verdict::InSync) => Ok("the Secret has the provider's data".to_owned()),
        Some(Verdict::Unverifiable) => {
            let found = planned.finding.as_ref();
            Err(reason(
                item.unverifiable.map(str::to_owned),
                found.map_or("", |finding| &finding.message),
            ))
        }
        Some(_) => Err("the Secret does not have the provider's data".to_owned()),
        None => Err(PROVIDER_UNREAD.to_owned()),
    }
}

fn secret(id: &Id, restarts: &RestartResults, verdict: Option<Verdict>) -> Result<String, String> {
    match restarts.secrets.get(id) {
        None if verdict == Some(Verdict::InSync) => {
            Ok("has the data that its ExternalSecret asks for".to_owned())
        }
        None if verdict.is_some_and(Verdict::is_drift) => {
            Err("does not have the data that its ExternalSecret asks for".to_owned())
        }
        None if verdict.is_some() => Err("cannot be compared with the provider".to_owned()),
        None if restarts.secrets.is_empty() => Err(SECRET_UNREAD.to_owned()),
        None => Err("not read, because no workload that can be restarted uses it".to_owned()),
        Some(seen) => {
            let mut keys: Vec<String> = seen.keys.iter().cloned().collect();
            if seen.hidden_keys > 0 {
                keys.push(Hidden(seen.hidden_keys).to_string());
            }
            let keys = keys.join(", ");
            match &seen.doubt {
                None => Ok(format!("has the data that the operator wrote: {keys}")),
                Some(why) => Err(why.clone()),
            }
        }
    }
}

/// True if the workload uses this Secret.
fn is_concerned(document: &DocumentRestart, id: &Id, restarts: &RestartResults) -> bool {
    document.namespace.exact() == id.namespace
        && (document
            .secrets
            .iter()
            .any(|secret| secret.name.exact() == id.name)
            || document.assumed.iter().any(|name| name.exact() == id.name)
            || restarts.secrets.get(id).is_some_and(|seen| {
                seen.used_by
                    .iter()
                    .any(|by| by.kind == document.kind && by.name == document.name.exact())
            }))
}

/// Returns the links of the workloads that use this Secret, and of their pods.
fn workloads(id: &Id, documents: &[DocumentRestart], restarts: &RestartResults) -> Vec<Link> {
    let mut chain = Vec::new();
    for document in documents {
        if !is_concerned(document, id, restarts) {
            continue;
        }
        let of = workload(document);
        let why = || reason(Some(document.reason.as_str()), document.message.exact());
        let found = match document.outcome {
            Some(RestartOutcome::Restarted) => Ok(format!(
                "restarted, and healthy after {} s",
                document.took_seconds.unwrap_or_default()
            )),
            Some(RestartOutcome::Left | RestartOutcome::Renewed)
                if !document.behind
                    && document.assumed.is_empty()
                    && !document.reason.needs_attention() =>
            {
                Ok(format!("not restarted: {}", why()))
            }
            _ => Err(why()),
        };
        chain.push(link(LinkKind::Workload, &*of, found));
        chain.push(link(LinkKind::Pods, of, pods(document)));
    }
    chain
}

fn pods(document: &DocumentRestart) -> Result<String, String> {
    if let Some(why) = &document.pods_unread {
        return Err(format!("pods could not be read: {}", why.exact()));
    }
    let (before, after) = (document.old_pods.len(), document.new_pods.len());
    match document.outcome {
        Some(RestartOutcome::Restarted) if before == 0 && after == 0 => {
            Err("no pod started after the restart".to_owned())
        }
        Some(RestartOutcome::Restarted) if before == 0 => Ok(format!(
            "{after} pods started after the restart, and none of the {} old pods is left",
            document.pods_before.unwrap_or_default()
        )),
        Some(_) if document.pods_before.is_some() => Err(format!(
            "{after} pods started after the restart, but {before} old pods are left: {}",
            foreign::first(5, document.old_pods.iter())
        )),
        _ => Err("not checked, because the workload was not restarted".to_owned()),
    }
}

fn reason(word: Option<String>, message: &str) -> String {
    let word = word.unwrap_or_default();
    if message.is_empty() {
        word
    } else if message.ends_with(&word) {
        message.to_owned()
    } else {
        format!("{word}: {message}")
    }
}

/// A line for each ExternalSecret.
fn table(chain: &[Link], view: &View) -> String {
    let chains = chain.chunk_by(|_, next| next.link != LinkKind::Provider);
    let (all, open): (Vec<&[Link]>, Vec<&[Link]>) =
        chains.partition(|chain| chain.iter().all(|link| link.proven || link.was_not_read()));
    let shown = if view.wide { all.len() } else { SHOWN };
    let more = all.len().saturating_sub(shown);
    let shown = open.into_iter().chain(all.into_iter().take(shown));
    let mut rows: Vec<[String; 2]> = shown.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    rows.sort();
    let headers = [Header::name("EXTERNALSECRET"), Header::list("PROVEN")];
    let table = fitted(&headers, rows.into_iter(), view.of_tables());
    let unread = unread(chain);
    let like = if unread.is_empty() {
        "all proven"
    } else {
        "where nothing that was read is unproven"
    };
    let rest = match more {
        0 => String::new(),
        more => format!("and {more} more, {like} (`-o wide` shows them)\n"),
    };
    format!("\n{table}{rest}{unread}{}", not_proven(chain))
}

/// A line for each kind of link that was not read, with the objects that it concerns.
fn unread(chain: &[Link]) -> String {
    let mut concerned: BTreeMap<&str, Vec<&Foreign>> = BTreeMap::new();
    for link in chain.iter().filter(|link| link.was_not_read()) {
        concerned
            .entry(link.message.exact())
            .or_default()
            .push(&link.of);
    }
    let lines = concerned.into_iter().map(|(why, of)| {
        let of = foreign::first(FEW, of.into_iter());
        format!("{why}: {of}\n")
    });
    lines.collect()
}

/// A line for each reason why links are not proven, with the ExternalSecrets that it concerns. It is below the table, because no part of a
/// reason may be cut.
fn not_proven(chain: &[Link]) -> String {
    let mut concerned: BTreeMap<(LinkKind, String, String), Vec<&Foreign>> = BTreeMap::new();
    let mut of = None;
    let before = [None].into_iter().chain(chain.iter().map(Some));
    for (link, before) in chain.iter().zip(before) {
        if link.link == LinkKind::ExternalSecret {
            of = Some(&link.of);
        }
        // The pods of a workload that was not restarted have the same reason.
        let repeats = link.link == LinkKind::Pods && before.is_some_and(|before| !before.proven);
        if link.proven || link.was_not_read() || repeats {
            continue;
        }
        // The provider comes before its ExternalSecret.
        let id = match link.link {
            LinkKind::Provider => Some(&link.of),
            LinkKind::ExternalSecret | LinkKind::Secret | LinkKind::Workload | LinkKind::Pods => of,
        };
        let one = (link.link, kind(link), link.message.terminal());
        concerned.entry(one).or_default().extend(id);
    }
    let lines = concerned.into_iter().map(|((_, kind, why), of)| {
        let of = foreign::first(FEW, of.into_iter());
        format!("{kind} not proven ({of}): {why}\n")
    });
    let lines: String = lines.collect();
    if lines.is_empty() {
        return lines;
    }
    format!("\n{lines}")
}

/// The kind of a link, or the workload without its namespace.
fn kind(link: &Link) -> String {
    let name = link.of.terminal();
    match name.split_once('/') {
        Some((_, name)) if link.link == LinkKind::Workload => name.to_owned(),
        _ => link.link.into_str().to_owned(),
    }
}

/// The proven links, in few words if they begin at the provider.
fn proven(chain: &[Link]) -> Vec<String> {
    let upstream = chain
        .iter()
        .take_while(|link| link.link <= LinkKind::Secret);
    if !upstream.clone().all(|link| link.proven) {
        return chain.iter().filter(|link| link.proven).map(kind).collect();
    }
    let downstream: Vec<&Link> = chain.iter().skip(upstream.count()).collect();
    // Each workload is followed by its pods.
    let (whole, partly): (Vec<&[&Link]>, Vec<&[&Link]>) = downstream
        .chunks(2)
        .partition(|links| links.iter().all(|link| link.proven));
    let names = |links: Vec<&[&Link]>| -> Vec<String> {
        let first = links.into_iter().filter_map(<[&Link]>::first);
        first
            .filter(|link| link.proven)
            .map(|link| kind(link))
            .collect()
    };
    let up_to = match names(whole).as_slice() {
        [] => "provider to Secret".to_owned(),
        all => format!("provider to pods of {}", all.join(", ")),
    };
    [up_to].into_iter().chain(names(partly)).collect()
}

/// The name of the ExternalSecret, and the proven links.
fn row(chain: &[Link]) -> [String; 2] {
    let name = chain
        .iter()
        .find(|link| link.link == LinkKind::ExternalSecret)
        .map(|link| link.of.terminal());
    let proven = match proven(chain).join(", ") {
        text if text.is_empty() => "-".to_owned(),
        text => text,
    };
    [name.unwrap_or_default(), proven]
}

/// Renders chains as text, and says how many there are beside them.
pub(super) fn render(document: &Document, view: &View) -> String {
    let mut text = shown(&document.chain, view);
    let count = count(&document.chain);
    let others = document.synced_or_failed().count().saturating_sub(count);
    if count > 0 && others > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "the report has {count} chains at most, those of what failed first; {others} more are in the table above only"
        );
    }
    text
}

fn count(chain: &[Link]) -> usize {
    let chains = chain.iter().filter(|link| link.link == LinkKind::Provider);
    chains.count()
}

/// Each link, or a line for each ExternalSecret if there are many.
fn shown(chain: &[Link], view: &View) -> String {
    if count(chain) > FEW {
        table(chain, view)
    } else {
        links(chain, view.of_tables().width)
    }
}

/// A line for each link. Where it does not fit, the message is on a line of its own.
fn links(chain: &[Link], width: Option<usize>) -> String {
    let names = chain.iter().map(|link| link.of.terminal().width());
    let longest = names.max().unwrap_or_default();
    let lines = chain.iter().map(|link| {
        let proven = if link.proven {
            "proven: "
        } else {
            "not proven: "
        };
        let name = link.of.terminal();
        let gap = " ".repeat(longest - name.width());
        let start = format!("{:<15} {name}", link.link.into_str());
        let message = format!("{proven}{}", link.message.terminal());
        let line = format!("{start}{gap}  {message}");
        match width {
            Some(width) if line.width() > width => format!("{start}\n    {message}\n"),
            Some(_) | None => format!("{line}\n"),
        }
    });
    let text: String = lines.collect();
    if text.is_empty() {
        text
    } else {
        format!("\n{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{reason::Reason, report::RestartAction, workload::Kind};

    fn restarted(old: &[&str], new: &[&str]) -> DocumentRestart {
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        DocumentRestart {
            namespace: "shop".into(),
            kind: Kind::Deployment,
            name: "web".into(),
            rule: 0,
            action: RestartAction::Restart,
            stamp: None,
            outcome: Some(RestartOutcome::Restarted),
            reason: Reason::DataChanged,
            message: Foreign::default(),
            next_step: None,
            owner: None,
            behind: !old.is_empty(),
            secrets: Vec::new(),
            assumed: Vec::new(),
            linked: Vec::new(),
            wave: None,
            restarted_at: None,
            took_seconds: None,
            pods_before: Some(2),
            old_pods: names(old),
            new_pods: names(new),
            pods_unread: None,
        }
    }

    #[test]
    fn many_chains_are_a_table_with_what_is_not_proven() {
        let chain = |number: usize, provider: Result<String, String>| {
            let of = format!("shop/es-{number:02}");
            let good = || Ok(String::new());
            vec![
                link(LinkKind::Provider, format!("aws of {of}"), provider),
                link(LinkKind::ExternalSecret, &*of, good()),
                link(LinkKind::Secret, &*of, good()),
                link(LinkKind::Workload, "shop/Deployment/web", good()),
                link(LinkKind::Pods, "shop/Deployment/web", good()),
            ]
        };
        let good = |number| chain(number, Ok(String::new()));
        let few: Vec<Link> = (0..3).flat_map(good).collect();
        assert_eq!(shown(&few, &View::default()).trim().lines().count(), 15);
        let unread = |number| chain(number, Err(PROVIDER_UNREAD.to_owned()));
        let unread: Vec<Link> = (0..23).flat_map(unread).collect();
        let text = shown(&unread, &View::default());
        let end: Vec<&str> = text.lines().skip(2 + SHOWN).collect();
        assert_eq!(
            end,
            [
                "and 3 more, where nothing that was read is unproven (`-o wide` shows them)",
                "this command did not read the provider: aws of shop/es-00, aws of shop/es-01, aws of shop/es-02 and 20 more",
            ]
        );
        let bad = chain(99, Err("denied".to_owned()));
        let many: Vec<Link> = (0..23).flat_map(good).chain(bad).collect();
        let text = shown(&many, &View::default());
        let lines: Vec<&str> = text.trim().lines().collect();
        assert_eq!(lines.len(), 1 + SHOWN + 1 + 1 + 2, "{text}");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(lines[1]),
            "shop/es-00 provider to pods of Deployment/web"
        );
        assert_eq!(
            words(lines[21]),
            "shop/es-99 ExternalSecret, Secret, Deployment/web, pods"
        );
        assert_eq!(lines[22], "and 3 more, all proven (`-o wide` shows them)");
        assert_eq!(lines[24], "provider not proven (aws of shop/es-99): denied");
    }

    #[test]
    fn pods_are_proven_only_if_all_old_pods_are_gone() {
        assert_eq!(
            pods(&restarted(&[], &["b"])),
            Ok("1 pods started after the restart, and none of the 2 old pods is left".to_owned())
        );
        assert_eq!(
            pods(&restarted(&["a"], &["b"])),
            Err("1 pods started after the restart, but 1 old pods are left: a".to_owned())
        );
        assert_eq!(
            pods(&restarted(&[], &[])),
            Err("no pod started after the restart".to_owned())
        );
        let unread = DocumentRestart {
            pods_unread: Some("forbidden".into()),
            ..restarted(&[], &["b"])
        };
        assert_eq!(
            pods(&unread),
            Err("pods could not be read: forbidden".to_owned())
        );
    }
}
