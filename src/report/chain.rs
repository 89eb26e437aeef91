//! From the provider to the pods, one line for each link: proven, or not checked and why.

use eso_model::Id;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, DocumentItem, DocumentRestart};
use crate::{
    finding::Verdict,
    outcome::Outcome,
    plan::{Item, Plan},
    restart::results::{RestartOutcome, RestartResults},
    results::Results,
};

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Link {
    /// Which one.
    pub link: LinkKind,
    /// What it is about.
    pub of: String,
    /// Whether it was proven in this run.
    pub proven: bool,
    /// What was found, or why it was not checked.
    pub message: String,
}

/// The links, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// What the provider holds.
    Provider,
    /// That the operator synced.
    ExternalSecret,
    /// What the Secret holds.
    Secret,
    /// That what uses it was restarted.
    Workload,
    /// That its pods are new.
    Pods,
}

impl LinkKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::ExternalSecret => "ExternalSecret",
            Self::Secret => "Secret",
            Self::Workload => "workload",
            Self::Pods => "pods",
        }
    }
}

fn link(link: LinkKind, of: impl Into<String>, found: Result<String, String>) -> Link {
    Link {
        link,
        of: of.into(),
        proven: found.is_ok(),
        message: found.unwrap_or_else(|why| why),
    }
}

impl Document {
    /// Adds the chain of every item.
    #[must_use]
    pub fn with_chain(mut self, plan: &Plan, results: &Results) -> Self {
        let restarts = &results.restarts;
        let mut chain = Vec::new();
        for (item, (at, planned)) in self.items.iter().zip(plan.items.entries()) {
            let of = planned.id.to_string();
            chain.push(link(
                LinkKind::Provider,
                format!("{} of {of}", item.provider),
                provider(
                    results.finding(at, planned).map(|found| found.verdict),
                    item,
                    planned,
                ),
            ));
            let synced = match (item.outcome, item.current_sync) {
                (Some(Outcome::Synced), Some(at)) => {
                    Ok(format!("the operator synced it, begun at {at}"))
                }
                (Some(Outcome::Synced), None) => Ok("the operator synced it".to_owned()),
                _ => Err(reason(
                    item.reason.map(crate::reason::Reason::as_str),
                    &item.message,
                )),
            };
            chain.push(link(LinkKind::ExternalSecret, &*of, synced));
            let id = planned.secret_id();
            chain.push(link(
                LinkKind::Secret,
                id.to_string(),
                secret(&id, restarts),
            ));
            chain.extend(workloads(&id, &self.restarts, restarts));
        }
        self.chain = chain;
        self
    }
}

fn provider(
    verdict: Option<Verdict>,
    item: &DocumentItem,
    planned: &Item,
) -> Result<String, String> {
    match verdict {
        Some(Verdict::InSync) => Ok("the Secret holds what the provider holds".to_owned()),
        Some(Verdict::Unverifiable) => {
            let found = planned.finding.as_ref();
            Err(reason(
                item.unverifiable.map(str::to_owned),
                found.map_or("", |finding| &finding.message),
            ))
        }
        Some(_) => Err("the Secret does not hold what the provider holds".to_owned()),
        None => Err("the provider was not read by this command".to_owned()),
    }
}

fn secret(id: &Id, restarts: &RestartResults) -> Result<String, String> {
    match restarts.secrets.get(id) {
        None => Err("nothing that can be restarted uses it, so it was not read".to_owned()),
        Some(seen) => {
            let keys = seen.keys.join(", ");
            match &seen.doubt {
                None => Ok(format!("holds what the operator wrote: {keys}")),
                Some(why) => Err(why.clone()),
            }
        }
    }
}

/// The workloads that use this Secret, and their pods.
fn workloads(id: &Id, documents: &[DocumentRestart], restarts: &RestartResults) -> Vec<Link> {
    let mut chain = Vec::new();
    for document in documents {
        let concerned = document.namespace == id.namespace
            && (document.secrets.iter().any(|secret| secret.name == id.name)
                || document.assumed.contains(&id.name)
                || restarts.secrets.get(id).is_some_and(|seen| {
                    seen.used_by
                        .iter()
                        .any(|by| by.kind == document.kind && by.name == document.name)
                }));
        if !concerned {
            continue;
        }
        let of = format!(
            "{}/{}/{}",
            document.namespace,
            document.kind.as_str(),
            document.name
        );
        let why = || reason(Some(document.reason.as_str()), &document.message);
        let found = match document.outcome {
            Some(RestartOutcome::Restarted) => Ok(format!(
                "restarted, and healthy again after {} s",
                document.took_seconds.unwrap_or_default()
            )),
            Some(RestartOutcome::Left | RestartOutcome::Renewed)
                if !document.behind
                    && document.assumed.is_empty()
                    && !document.reason.is_trouble() =>
            {
                Ok(format!("left alone: {}", why()))
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
        return Err(format!("pods could not be read: {why}"));
    }
    let (before, after) = (document.old_pods.len(), document.new_pods.len());
    match document.outcome {
        Some(RestartOutcome::Restarted) if before == 0 && after == 0 => {
            Err("no pod has started since the restart".to_owned())
        }
        Some(RestartOutcome::Restarted) if before == 0 => Ok(format!(
            "{after} started after the restart, none of the {} from before is left",
            document.pods_before.unwrap_or_default()
        )),
        Some(_) if document.pods_before.is_some() => Err(format!(
            "{after} started after the restart, {before} from before are left: {}",
            document.old_pods.join(", ")
        )),
        _ => Err("it was not restarted, so its pods were not looked at".to_owned()),
    }
}

fn reason(word: Option<String>, message: &str) -> String {
    let word = word.unwrap_or_default();
    if message.is_empty() {
        word
    } else {
        format!("{word}: {message}")
    }
}

/// The chain as text.
pub(super) fn render(chain: &[Link]) -> String {
    let lines = chain.iter().map(|link| {
        let proven = if link.proven {
            "proven: "
        } else {
            "not checked: "
        };
        format!(
            "{:<15} {:<40} {proven}{}\n",
            link.link.as_str(),
            link.of,
            link.message
        )
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
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        DocumentRestart {
            namespace: "shop".to_owned(),
            kind: Kind::Deployment,
            name: "web".to_owned(),
            rule: 0,
            action: RestartAction::Restart,
            stamp: None,
            outcome: Some(RestartOutcome::Restarted),
            reason: Reason::DataChanged,
            message: String::new(),
            next_step: None,
            behind: !old.is_empty(),
            secrets: Vec::new(),
            assumed: Vec::new(),
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
    fn only_new_pods_in_place_of_all_old_ones_are_proof() {
        assert_eq!(
            pods(&restarted(&[], &["b"])),
            Ok("1 started after the restart, none of the 2 from before is left".to_owned())
        );
        assert_eq!(
            pods(&restarted(&["a"], &["b"])),
            Err("1 started after the restart, 1 from before are left: a".to_owned())
        );
        assert_eq!(
            pods(&restarted(&[], &[])),
            Err("no pod has started since the restart".to_owned())
        );
        let unread = DocumentRestart {
            pods_unread: Some("forbidden".to_owned()),
            ..restarted(&[], &["b"])
        };
        assert_eq!(
            pods(&unread),
            Err("pods could not be read: forbidden".to_owned())
        );
    }
}
